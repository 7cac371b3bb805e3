//! The chat's component: it runs the reducer's effects and draws its state.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use gloo_events::EventListener;
use gloo_timers::callback::{Interval, Timeout};
use talkback_client::{Cursor, RoomName, RoomNameError};
use wasm_bindgen_futures::spawn_local;
use web_sys::{
    AudioContext, Element, EventTarget, FocusEvent, HtmlElement, HtmlTextAreaElement, KeyboardEvent, MouseEvent,
    PointerEvent,
    wasm_bindgen::{JsCast, JsValue},
};
use yew::{Callback, Component, Context, Html, Properties, html};

use super::{
    composer::{FIELD_ID, composer},
    connection_banner::connection_banner,
    conversation_head::{OPENER_ID, PEOPLE_ID, ROOMS_ID, conversation_head},
    drawn_blocks::DrawnBlocks,
    found_words,
    history_store::HistoryStore,
    join_card::{NAME_ID, join_card},
    message_actions::{self, MessageActions},
    message_list::message_list,
    message_list_scroll::MessageListScroll,
    message_text,
    people::{FIND_ID, people},
    preview,
    rail::{ADD_ROOM_ID, OTHER_ROOM_ID, rail},
    read_cursors::ReadCursors,
    recent_rooms::RecentRooms,
    reducer::{Action, ChatState, Effect, Focus, SessionEvent, Sheet},
    search_bar::{SEARCH_ID, search_bar},
    sentences,
    session::Session,
    switcher::SWITCHER_ID,
    timeline::{Body, Entry, Newer, Older, RoomMessage, Seek, Target},
};
use crate::{
    animation_frame::FrameRequest,
    announcer::Announcer,
    browser, connection,
    form::FormError,
    i18n::{Language, Text},
    keyboard::{ChatKey, chat_key},
    route::{Route, chat_path},
    rows::Row,
    server_address,
};

/// How often the view is drawn while it shows a countdown or typing users.
const TICK_MS: u32 = 250;

/// So long after a message came, it is kept by the browser together with those that follow it, in milliseconds.
const KEEP_AFTER_MS: u32 = 500;

/// So long after the server was asked for what is new in rooms that are not joined, it is not asked again, in milliseconds.
const HEADS_EVERY_MS: f64 = 60_000.0;

/// A room is joined without what the browser kept of it if that is not there after so many milliseconds.
const HISTORY_LATE_MS: u32 = 1_000;

/// The room of the path, and the callback for another one.
#[derive(PartialEq, Properties)]
pub(crate) struct Props {
    /// Whether the view is drawn; the component keeps its state and connection when it is not.
    pub(crate) visible: bool,
    pub(crate) language: Language,
    pub(crate) room: Result<RoomName, RoomNameError>,
    pub(crate) onroom: Callback<RoomName>,
}

pub(crate) struct ChatView {
    state: ChatState,
    session: Session,
    history: HistoryStore,
    /// The browser is to keep what came.
    keeps: Option<Timeout>,
    /// The browser reads what it kept of rooms that are to be joined.
    reads_history: Option<Timeout>,
    sound: Option<AudioContext>,
    announcer: Announcer,
    scroll: Rc<MessageListScroll>,
    drawn: RefCell<DrawnBlocks>,
    actions: Rc<MessageActions>,
    /// The rooms that are joined besides the one that is shown, as they are kept for a reload.
    joined: String,
    /// The number of the row to show after the next drawing.
    shows_row: Option<u64>,
    /// A sheet covers the other parts of the chat.
    is_covered: bool,
    /// Words that the search has found may be marked.
    marks_found: Cell<bool>,
    frame: FrameRequest,
    ticks: Option<Interval>,
    wants_focus: Option<Focus>,
    /// Where the caret of the message field is after the next drawing, in UTF-16.
    wants_caret: Option<usize>,
    /// The room was not shown yet. When it is, a user with a remembered name joins it.
    is_new: bool,
    /// Where the logs of rooms end that are not joined, and when they were asked for.
    heads: Vec<(RoomName, Cursor)>,
    heads_at: f64,
    _page: [EventListener; 4],
    _left_and_back: [EventListener; 2],
    _keys: EventListener,
    _fragment: EventListener,
}

pub(crate) enum Msg {
    Action(Action),
    /// Draws the state; several messages are drawn at once.
    Draw,
    /// The window has another size: rows may have other heights.
    Resized,
    Announce,
    /// The browser keeps what came.
    Keep,
    /// The page is left; another tab may write what this user reads.
    Left,
    /// The page is restored from the browser's back-forward cache.
    Back,
    Scrolled,
    /// The page became visible or hidden.
    Visibility,
    Key(ChatKey),
    /// The address has another fragment.
    Fragment,
    /// Another tab has changed what the browser remembers.
    Stored,
    /// Where the logs of rooms end that are not joined.
    Heads(Vec<(RoomName, Cursor)>),
}

impl Component for ChatView {
    type Message = Msg;
    type Properties = Props;

    fn create(ctx: &Context<Self>) -> Self {
        let name = browser::remembered_name().unwrap_or_else(|| guest_name(ctx.props().language));
        let url = server_address::websocket_url(&browser::server_origin(), "/ws");
        let events = ctx.link().callback(|event| Msg::Action(Action::Session(event)));
        let room_events = ctx
            .link()
            .callback(|(room, event)| Msg::Action(Action::InRoom(room, event)));
        let (visibility, resized) = (ctx.link().clone(), ctx.link().clone());
        let stored = ctx.link().clone();
        let (left, back) = (ctx.link().clone(), ctx.link().clone());
        let (keys, fragment) = (ctx.link().clone(), ctx.link().clone());
        let offline = ctx.link().callback(|()| Msg::Action(Action::NetworkLost));
        let mut view = Self {
            state: ChatState::new(name, browser::local_day, browser::lower_case),
            history: HistoryStore::new(browser::server_origin()),
            keeps: None,
            reads_history: None,
            sound: None,
            session: Session::new(url, events, room_events),
            announcer: Announcer::new(0),
            scroll: Rc::default(),
            drawn: RefCell::default(),
            actions: Rc::default(),
            joined: browser::joined_rooms(),
            shows_row: None,
            is_covered: false,
            marks_found: Cell::default(),
            frame: FrameRequest::default(),
            ticks: None,
            wants_focus: None,
            wants_caret: None,
            is_new: true,
            heads: Vec::new(),
            heads_at: f64::NEG_INFINITY,
            _page: [
                browser::events::on_visibility_change(move || visibility.send_message(Msg::Visibility)),
                browser::events::on_resize(move || resized.send_message(Msg::Resized)),
                browser::events::on_offline(move || offline.emit(())),
                browser::events::on_storage_change(move || stored.send_message(Msg::Stored)),
            ],
            _left_and_back: browser::events::on_page_left_and_back(
                move || left.send_message(Msg::Left),
                move || back.send_message(Msg::Back),
            ),
            // Of the window: where nothing has the focus, it is the body that gets the keys.
            _keys: browser::events::on_key(move |event| {
                let is_shown = matches!(Route::from_path(&browser::path()), Route::Chat(_));
                if let Some(key) = is_shown.then(|| chat_key(event)).flatten() {
                    keys.send_message(Msg::Key(key));
                }
            }),
            _fragment: browser::events::on_fragment_change(move || fragment.send_message(Msg::Fragment)),
        };
        view.state.alerts = browser::remembered_alerts();
        view.state.sounds = browser::remembered_sounds();
        let before_reload = RecentRooms::parse(&view.joined);
        view.route_changed(ctx);
        let rooms = before_reload.iter().map(|room| room.name.clone()).collect();
        view.dispatch(ctx, Action::Rejoin(rooms));
        view.load_heads(ctx);
        view
    }

    fn changed(&mut self, ctx: &Context<Self>, old: &Props) -> bool {
        self.is_new |= old.room != ctx.props().room;
        self.route_changed(ctx);
        self.load_heads(ctx);
        true
    }

    fn update(&mut self, ctx: &Context<Self>, msg: Msg) -> bool {
        match msg {
            Msg::Action(action) => {
                // A burst of messages is drawn once, at the next frame.
                let is_burst = matches!(
                    action,
                    Action::InRoom(
                        _,
                        SessionEvent::Message(_) | SessionEvent::Written(_) | SessionEvent::Acked { .. }
                    )
                );
                self.dispatch(ctx, action);
                if is_burst {
                    self.frame.request(ctx.link().callback(|()| Msg::Draw));
                    return false;
                }
            }
            Msg::Draw => {
                self.frame.complete();
                let at_end = self.state.unread.at_end;
                self.state.timeline.apply_bounds(at_end);
            }
            Msg::Resized => self.scroll.resized(),
            Msg::Announce => {
                let since = self.announcer.last_number();
                let rows = self.state.timeline.newest().rev();
                let new = rows.take_while(|row| row.number > since);
                let texts = new.map(|row| announcement(row, ctx.props().language));
                self.announcer
                    .announce(self.state.timeline.last_number(), texts, ctx.props().language);
            }
            Msg::Keep => {
                self.keep();
                self.dispatch(ctx, Action::KeepRead);
                return false;
            }
            Msg::Left => {
                self.keep();
                self.state.writes_history = false;
                self.history.release();
                return false;
            }
            Msg::Back => {
                self.write_history(ctx);
                return false;
            }
            Msg::Scrolled => {
                self.actions.hide();
                self.mark_found();
                let Some(place) = self.scroll.position() else {
                    return false;
                };
                let before = self.state.unread;
                self.dispatch(ctx, Action::Scrolled { at_end: place.at_end });
                if let Some(page) = self.needs_page() {
                    self.dispatch(ctx, page);
                    return true;
                }
                return before != self.state.unread;
            }
            Msg::Visibility => {
                let shown = ctx.props().visible && browser::is_page_visible();
                self.dispatch(ctx, Action::VisibilityChanged(shown));
                if !shown {
                    // It may be the last event of the page.
                    self.keep();
                }
                self.load_heads(ctx);
            }
            Msg::Key(ChatKey::Rooms) => self.dispatch(ctx, Action::ToggleSwitcher),
            Msg::Key(ChatKey::Search) => self.dispatch(ctx, Action::ToggleSearch),
            Msg::Key(ChatKey::Dismiss) => self.dispatch(ctx, Action::Dismiss),
            Msg::Fragment => self.go_to_fragment(ctx),
            Msg::Stored => {
                let rooms = browser::remembered_rooms().unwrap_or_default();
                self.dispatch(ctx, Action::RoomsLoaded(RecentRooms::parse(&rooms)));
                self.dispatch(ctx, Action::ReadElsewhere(self.read_cursors()));
                self.count_unjoined(ctx);
            }
            Msg::Heads(heads) => {
                self.heads = heads;
                self.count_unjoined(ctx);
            }
        }
        true
    }

    fn view(&self, ctx: &Context<Self>) -> Html {
        let Props { visible, language, .. } = *ctx.props();
        if !visible {
            self.drawn.take();
            return Html::default();
        }
        self.scroll.before_drawing(self.state.unread.at_end);
        let dispatch = ctx.link().callback(Msg::Action);
        let now = js_sys::Date::now();
        let is_out = self.state.is_out();
        let is_bare = is_out && self.state.timeline.is_empty() && self.state.outbox.shown().next().is_none();
        let dismiss = dispatch.reform(|_| Action::Dismiss);
        let onclick = {
            let dispatch = dispatch.clone();
            move |event: MouseEvent| {
                if let Some((room, offset)) = message_text::followed(&event) {
                    event.prevent_default();
                    dispatch.emit(Action::Follow(room, offset));
                }
            }
        };
        let point = |target: Option<EventTarget>, actions: &MessageActions| {
            actions.point_at(target.and_then(|target| target.dyn_into::<Element>().ok()));
        };
        let onpointerover = {
            let actions = self.actions.clone();
            move |event: PointerEvent| point(event.target(), &actions)
        };
        let onfocusin = {
            let (actions, viewport) = (self.actions.clone(), self.scroll.viewport.clone());
            move |event: FocusEvent| {
                point(event.target(), &actions);
                let target = event.target().and_then(|target| target.dyn_into::<Element>().ok());
                if let (Some(list), Some(target)) = (viewport.cast(), target) {
                    message_actions::let_tab_into(&list, &target);
                }
            }
        };
        let hide = {
            let actions = self.actions.clone();
            move |_: PointerEvent| actions.hide()
        };
        html! {
            <div class="chat" {onclick}>
                { rail(&self.state, &dispatch, language) }
                <section
                    key="conversation" class="conversation" aria-label={Text::Messages.in_language(language)}
                    data-bare={is_bare.then_some("")}
                >
                    { conversation_head(&self.state, &dispatch, language) }
                    if let Some(search) = &self.state.search {
                        { search_bar(search, self.state.has_older(), &dispatch, language) }
                    }
                    <div key="list" class="chat-list" onpointerleave={hide}>
                        { connection_banner(&self.state, &dispatch, now, language) }
                        <div
                            key="viewport" class="chat-viewport" tabindex="0" ref={self.scroll.viewport.clone()}
                            onscroll={ctx.link().callback(|_| Msg::Scrolled)} {onpointerover} {onfocusin}
                            onkeydown={self.list_keys(&dispatch)}
                        >
                            { message_list(&self.state, &mut self.drawn.borrow_mut(), &dispatch, now, language) }
                        </div>
                        { self.pill(&dispatch, language) }
                        { self.actions.draw(&dispatch, language) }
                    </div>
                    { self.announcer.draw() }
                    if is_out {
                        { join_card(&self.state, &dispatch, language) }
                    } else {
                        { composer(&self.state, &dispatch, language) }
                    }
                </section>
                { people(&self.state, &dispatch, language) }
                if let Some(switcher) = &self.state.switcher {
                    { switcher.draw(&dispatch, language) }
                }
                if self.state.sheet.is_some() {
                    <div key="backdrop" class="backdrop" onclick={dismiss.reform(|_| ())} />
                }
            </div>
        }
    }

    fn rendered(&mut self, ctx: &Context<Self>, _first: bool) {
        let unread = self.state.unread_in_all();
        if browser::unread() != unread {
            browser::set_unread(unread);
        }
        self.scroll.drawn();
        let is_complete = self.drawn.borrow().is_complete();
        if ctx.props().visible && !(is_complete && self.state.timeline.is_within_bounds(self.state.unread.at_end)) {
            self.frame.request(ctx.link().callback(|()| Msg::Draw));
        }
        // A short page of history, or one inserted at the very top, leaves the list near its start without a `scroll`
        // event.
        if let Some(page) = self.needs_page() {
            ctx.link().send_message(Msg::Action(page));
        }
        if self
            .shows_row
            .take_if(|row| self.scroll.show(*row) || is_complete)
            .is_some()
        {
            // Without a `scroll` event if the row is in sight already.
            ctx.link().send_message(Msg::Scrolled);
        }
        self.mark_found();
        if self.state.sheet.is_some() || self.is_covered {
            self.cover();
        }
        if let Some(focus) = self.wants_focus.take() {
            set_focus(focus);
        }
        if let Some(caret) = self.wants_caret.take() {
            move_caret(caret);
        }
    }
}

impl ChatView {
    /// The path or the visibility may have changed. A user with a remembered name joins a new room at once; a user who
    /// left stays out.
    fn route_changed(&mut self, ctx: &Context<Self>) {
        let Props { visible, room, .. } = ctx.props();
        let shown = self.state.room.clone();
        self.dispatch(ctx, Action::RoomChanged(room.clone()));
        if self.state.room != shown {
            // Their rows have numbers of their own, and the list is another one.
            self.announcer = Announcer::new(self.state.timeline.last_number());
            self.scroll.forget();
            self.drawn.take();
            self.actions.hide();
            self.go_to_fragment(ctx);
        }
        self.dispatch(ctx, Action::VisibilityChanged(*visible && browser::is_page_visible()));
        if *visible && std::mem::take(&mut self.is_new) && browser::remembered_name().is_some() {
            self.dispatch(ctx, Action::Join);
        }
    }

    /// Marks what the search has found in the messages that are drawn; nothing once it is closed.
    fn mark_found(&self) {
        let text = self.state.search.as_ref().map(|search| search.text.as_str());
        if let Some(list) = self.scroll.viewport.cast::<Element>()
            && (text.is_some() || self.marks_found.get())
        {
            found_words::mark(&list, text.unwrap_or_default());
            self.marks_found.set(text.is_some());
            if text.is_none() {
                self.scroll.unmark();
            }
        }
    }

    /// Takes what an open sheet covers from the keyboard and from screen readers, or gives it back. Where the page is wide, the style sheet
    /// shows no backdrop, and nothing is covered.
    fn cover(&mut self) {
        let find = |selector| browser::document().query_selector(selector).ok().flatten();
        self.is_covered = find(".backdrop").is_some_and(|backdrop| backdrop.client_height() > 0);
        for (part, sheet) in [
            (".rail", Some(Sheet::Rooms)),
            (".conversation", None),
            (".people", Some(Sheet::People)),
        ] {
            let is_open = sheet.is_some() && sheet == self.state.sheet;
            if let Some(part) = find(part) {
                // The name is a valid one.
                let _: Result<(), JsValue> = if self.is_covered && !is_open {
                    part.set_attribute("inert", "")
                } else {
                    part.remove_attribute("inert")
                };
            }
        }
    }

    /// The address may be a link to a message.
    fn go_to_fragment(&mut self, ctx: &Context<Self>) {
        if let Some(target) = Target::parse(&browser::fragment()).filter(|_| ctx.props().visible) {
            self.dispatch(ctx, Action::GoTo(Seek::Message(target)));
        }
    }

    /// The list is scrolled near its start, or near its end where more follows: loads that. Not while a drawing is due, because the position
    /// of an unfinished list is wrong.
    fn needs_page(&self) -> Option<Action> {
        let is_more = self.state.timeline.older() == Older::More || self.state.timeline.newer() == Newer::More;
        if !is_more || !self.state.has_caught_up() || self.frame.is_pending() {
            return None;
        }
        let place = self.scroll.position()?;
        if place.near_start && self.state.timeline.older() == Older::More {
            return Some(Action::LoadOlder);
        }
        (place.near_end && self.state.timeline.newer() == Newer::More).then_some(Action::LoadNewer)
    }

    fn dispatch(&mut self, ctx: &Context<Self>, action: Action) {
        // What had the focus is removed.
        match action {
            Action::Join => self.wants_focus = Some(Focus::Message),
            Action::Leave => self.wants_focus = Some(Focus::Name),
            _ => {}
        }
        for effect in self.state.update(action, js_sys::Date::now()) {
            match effect {
                Effect::Join { room, name, since } => {
                    self.write_history(ctx);
                    if let Err(error) = self.session.join(&room, name, since) {
                        self.dispatch(ctx, Action::Leave);
                        self.state.error = Some(FormError::of_connection(connection::explain(&error)));
                    }
                }
                Effect::Leave => self.session.leave(),
                Effect::LeaveRoom(room) => self.session.leave_room(&room),
                Effect::ConnectNow => self.session.connect_now(),
                Effect::CheckConnection => self.session.check(),
                Effect::Send { key, text } => self.in_room(|session, room| session.send(room, key, &text)),
                Effect::TrackRestored(room, key) => self.session.track_restored(&room, key),
                Effect::SignalTyping => self.in_room(Session::signal_typing),
                Effect::RequestPage { before, limit } => {
                    self.in_room(|session, room| session.request_page(room, before, limit));
                }
                Effect::FindPeople { part, for_mention } => {
                    self.in_room(|session, room| session.find_people(room, part, for_mention));
                }
                Effect::Navigate(room) => ctx.props().onroom.emit(room),
                Effect::NavigateTo(room, target) => browser::push_path(&path_to(&room, Some(&target))),
                Effect::RememberName(name) => {
                    if browser::remembered_name().as_ref() != Some(&name) {
                        // Another user has read other messages.
                        self.heads_at = f64::NEG_INFINITY;
                        self.load_heads(ctx);
                    }
                    browser::remember_name(&name);
                }
                Effect::RememberRoom(room) => self.change_rooms(ctx, |rooms| rooms.add(room)),
                Effect::LoadRead(room) => {
                    if let Some(cursor) = self.read_cursors().get(&room) {
                        self.dispatch(ctx, Action::ReadLoaded(room, cursor.clone()));
                    }
                }
                Effect::SaveRead(room, cursor) => {
                    let user = self.state.own_name();
                    let mut read = ReadCursors::parse(&browser::read_cursors(user));
                    read.set(room, cursor);
                    browser::save_read_cursors(user, &read.to_text());
                }
                Effect::LowerRead(room, cursor) => {
                    let user = self.state.own_name();
                    let mut read = ReadCursors::parse(&browser::read_cursors(user));
                    read.lower(&room, &cursor);
                    browser::save_read_cursors(user, &read.to_text());
                }
                Effect::LoadHistory(room) => self.load_history(ctx, room),
                Effect::LoadPreview(room) => {
                    let link = ctx.link().clone();
                    spawn_local(async move {
                        if let Some(preview) = preview::fetch(room.clone()).await {
                            link.send_message(Msg::Action(Action::PreviewLoaded(room, preview)));
                        }
                    });
                }
                Effect::LoadFailed(room, user) => {
                    let text = browser::failed_messages(&room, &user);
                    self.dispatch(ctx, Action::FailedLoaded(room, text));
                }
                Effect::SaveFailed { room, user, text } => browser::save_failed_messages(&room, &user, &text),
                Effect::ForgetRoom(room) => {
                    self.history.forget(room.clone());
                    self.change_rooms(ctx, |rooms| rooms.remove(&room));
                }
                Effect::ToggleMute(room) => self.change_rooms(ctx, |rooms| rooms.toggle_mute(&room)),
                Effect::Focus(focus) => self.wants_focus = Some(focus),
                Effect::AskForAlerts => {
                    let link = ctx.link().clone();
                    spawn_local(async move {
                        let is_allowed = browser::ask_for_notifications().await;
                        link.send_message(Msg::Action(Action::AlertsAllowed(is_allowed)));
                    });
                }
                Effect::SaveAlerts(wanted) => browser::remember_alerts(wanted),
                Effect::SaveSounds(wanted) => browser::remember_sounds(wanted),
                Effect::Sound => browser::play_sound(&mut self.sound),
                Effect::Alert { room, from, text } => {
                    browser::notify(&format!("{from} · #{room}"), &text, &room, chat_path(&room));
                }
                Effect::ShowRow(row) => self.shows_row = Some(row),
                Effect::Copy(text) => copy(ctx, text),
                Effect::CopyLink(room, target) => copy(ctx, browser::origin() + &path_to(&room, target.as_ref())),
                Effect::MoveCaret(caret) => self.wants_caret = Some(caret),
                Effect::LoadDraft(room) => self.dispatch(ctx, Action::DraftLoaded(browser::draft(&room))),
                Effect::SaveDraft { room, text } => browser::save_draft(&room, &text),
            }
        }
        let joined = self.state.others.joined_text();
        if joined != self.joined {
            browser::save_joined_rooms(&joined);
            self.joined = joined;
        }
        if self.keeps.is_none() && (self.state.has_unkept() || self.state.has_unsaved_read()) {
            let link = ctx.link().clone();
            self.keeps = Some(Timeout::new(KEEP_AFTER_MS, move || link.send_message(Msg::Keep)));
        }
        self.announcer.log_changed(
            self.state.timeline.last_number(),
            ctx.link().callback(|()| Msg::Announce),
        );
        if self.state.needs_ticks() != self.ticks.is_some() {
            let link = ctx.link().clone();
            let tick = move || link.send_message(Msg::Action(Action::Tick));
            self.ticks = self.state.needs_ticks().then(|| Interval::new(TICK_MS, tick));
        }
    }

    fn read_cursors(&self) -> ReadCursors {
        ReadCursors::parse(&browser::read_cursors(self.state.own_name()))
    }

    /// Asks the server for what is new in rooms of the list that are not joined, one after the other.
    fn load_heads(&mut self, ctx: &Context<Self>) {
        let now = js_sys::Date::now();
        if !(ctx.props().visible && browser::is_page_visible()) || now - self.heads_at < HEADS_EVERY_MS {
            return;
        }
        let read = self.read_cursors();
        let rooms = self.state.recent.iter().map(|room| &room.name);
        let rooms: Vec<_> = rooms
            .filter(|room| !self.state.has(room) && read.get(room).is_some())
            .cloned()
            .collect();
        if rooms.is_empty() {
            return;
        }
        self.heads_at = now;
        let link = ctx.link().clone();
        spawn_local(async move {
            let mut heads = Vec::new();
            for room in rooms {
                if let Some(head) = preview::head(&room).await {
                    heads.push((room, head));
                }
            }
            link.send_message(Msg::Heads(heads));
        });
    }

    fn count_unjoined(&mut self, ctx: &Context<Self>) {
        let read = self.read_cursors();
        let counts = self.heads.iter();
        let counts = counts.map(|(room, head)| (room.clone(), read.unread(room, head)));
        let counts = counts.collect();
        self.dispatch(ctx, Action::UnjoinedCounted(counts));
    }

    /// Gives the browser what it is to keep.
    fn keep(&mut self) {
        self.keeps = None;
        for batch in self.state.take_unkept() {
            self.history.write(batch);
        }
    }

    /// Asks to be the tab that writes what the user reads.
    fn write_history(&self, ctx: &Context<Self>) {
        if let Some(user) = self.state.reading_user() {
            let granted = ctx.link().callback(|()| Msg::Action(Action::HistoryWritable));
            self.history.write_as(&user, granted);
        }
    }

    /// Has what the browser kept of a room reported. Before a user has a name here, that of another one will do.
    fn load_history(&mut self, ctx: &Context<Self>, room: RoomName) {
        let late = ctx.link().clone();
        self.reads_history = Some(Timeout::new(HISTORY_LATE_MS, move || {
            late.send_message(Msg::Action(Action::HistoryLate));
        }));
        let of_any = browser::remembered_name().is_none();
        let name = room.clone();
        let loaded = ctx
            .link()
            .callback(move |stored| Msg::Action(Action::HistoryLoaded(name.clone(), stored)));
        self.history.load(room, self.state.history_user(), of_any, loaded);
    }

    /// The keys of the list and of the message in it that has the focus.
    fn list_keys(&self, dispatch: &Callback<Action>) -> Callback<KeyboardEvent> {
        let (dispatch, viewport) = (dispatch.clone(), self.scroll.viewport.clone());
        Callback::from(move |event: KeyboardEvent| {
            if event.ctrl_key() || event.meta_key() || event.alt_key() || event.shift_key() {
                return;
            }
            let key = event.key();
            let copy = |link: bool| {
                if let Some(row) = message_actions::row_of(&event) {
                    dispatch.emit(Action::Copy { row, link });
                }
            };
            // With Caps Lock, the letters are capitals.
            match key.as_str() {
                "ArrowUp" | "ArrowDown" => {
                    let list = viewport.cast::<Element>();
                    if list.is_some_and(|list| message_actions::move_focus(&list, &event, key == "ArrowUp")) {
                        event.prevent_default();
                    }
                }
                "c" | "C" => copy(false),
                "l" | "L" => copy(true),
                _ => {}
            }
        })
    }

    /// Calls the session for the room that is shown.
    fn in_room(&self, call: impl FnOnce(&Session, &RoomName)) {
        if let Some(room) = &self.state.room {
            call(&self.session, room);
        }
    }

    /// Changes the list that the browser remembers, which other tabs change too.
    fn change_rooms(&mut self, ctx: &Context<Self>, change: impl FnOnce(&mut RecentRooms)) {
        let remembered = browser::remembered_rooms().map(|text| RecentRooms::parse(&text));
        let mut rooms = remembered.unwrap_or_else(|| self.state.recent.clone());
        change(&mut rooms);
        browser::remember_rooms(&rooms.to_text());
        self.dispatch(ctx, Action::RoomsLoaded(rooms));
    }

    /// The button that scrolls to the newest messages, with the number of unread ones.
    fn pill(&self, dispatch: &Callback<Action>, language: Language) -> Html {
        if self.state.unread.at_end {
            return Html::default();
        }
        let (id, label) = match self.state.unread.count {
            0 if self.state.timeline.is_away() => ("to_newest", Text::OlderShown.in_language(language).to_owned()),
            0 => ("to_newest", Text::ToNewest.in_language(language).to_owned()),
            count => ("new_messages", sentences::unread(count).in_language(language)),
        };
        html! {
            <button
                key="pill" {id} type="button" class="pill"
                onclick={dispatch.reform(|_| Action::ShowEnd)}
            >
                { "↓ " }{ label }
            </button>
        }
    }
}

/// The path of a room, or of a message in it.
fn path_to(room: &RoomName, target: Option<&Target>) -> String {
    let mut path = chat_path(room);
    if let Some(target) = target {
        path.push('#');
        path += &target.to_text();
    }
    path
}

fn copy(ctx: &Context<ChatView>, text: String) {
    let link = ctx.link().clone();
    spawn_local(async move {
        let is_copied = browser::copy(&text).await;
        link.send_message(Msg::Action(Action::Copied(is_copied)));
    });
}

fn move_caret(caret: usize) {
    let field = browser::document().get_element_by_id(FIELD_ID);
    if let (Some(Ok(field)), Ok(caret)) = (field.map(JsCast::dyn_into::<HtmlTextAreaElement>), u32::try_from(caret)) {
        // A text area takes every index.
        let _: Result<(), _> = field.set_selection_range(caret, caret);
    }
}

fn set_focus(focus: Focus) {
    // What the user writes in keeps it.
    if matches!(focus, Focus::NameIfLost | Focus::SearchOpener) && browser::has_focus() {
        return;
    }
    let ids: &[&str] = match focus {
        Focus::Name | Focus::NameIfLost => &[NAME_ID],
        // Out of the room there is no field for a message.
        Focus::Message => &[NAME_ID, FIELD_ID],
        Focus::OtherRoom => &[OTHER_ROOM_ID],
        Focus::Search => &[SEARCH_ID],
        Focus::Switcher => &[SWITCHER_ID],
        Focus::SearchOpener => &[OPENER_ID],
        Focus::In(Sheet::People) => &[FIND_ID],
        Focus::Opener(Sheet::People) => &[PEOPLE_ID],
        // Where the page is wide, there is no sheet and no button for it.
        Focus::In(Sheet::Rooms) | Focus::AddRoom | Focus::Opener(Sheet::Rooms) => &[ROOMS_ID, ADD_ROOM_ID],
    };
    for id in ids {
        let element = browser::document().get_element_by_id(id);
        if let Some(Ok(element)) = element.map(JsCast::dyn_into::<HtmlElement>) {
            // Focusing an element that is on the page cannot fail; a hidden one does not get it.
            let _: Result<(), _> = element.focus();
        }
    }
}

/// The text for screen readers: new messages of others and notices.
fn announcement(row: &Row<Entry>, language: Language) -> Option<String> {
    match &row.content.body {
        _ if !row.content.live => None,
        Body::Notice(_, message) => Some(message.in_language(language)),
        Body::Presence { joined, left } => Some(sentences::presence(joined, left).in_language(language)),
        Body::Message(RoomMessage { own: true, .. }) => None,
        Body::Message(RoomMessage { from, text, .. }) => Some(format!("{from}: {text}")),
    }
}

/// A default user name, with a random number so that two tabs rarely have the same.
fn guest_name(language: Language) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the random number is below 1000"
    )]
    let number = (js_sys::Math::random() * 1000.0) as u32;
    format!("{} {number:03}", Text::Guest.in_language(language))
}

//! The chat's component: it runs the reducer's effects and draws its state.

use std::rc::Rc;

use gloo_events::EventListener;
use gloo_timers::callback::Interval;
use talkback_client::{RoomName, RoomNameError};
use web_sys::{HtmlElement, wasm_bindgen::JsCast};
use yew::{Callback, Component, Context, Html, Properties, html};

use super::{
    composer::{FIELD_ID, composer},
    connection_banner::connection_banner,
    message_list::message_list,
    message_list_scroll::MessageListScroll,
    reducer::{Action, ChatState, Effect, SessionEvent},
    room_card::room_card,
    roster_card::roster_card,
    session::Session,
    timeline::{Body, Entry, Older, RoomMessage},
};
use crate::{
    animation_frame::FrameRequest,
    announcer::Announcer,
    browser, connection,
    form::FormError,
    i18n::{Language, Sentence, Text},
    rows::Row,
    server_address,
};

/// How often the view is drawn while it shows a countdown or typing users.
const TICK_MS: u32 = 250;

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
    announcer: Announcer,
    scroll: Rc<MessageListScroll>,
    frame: FrameRequest,
    ticks: Option<Interval>,
    /// The message field gets the focus after the next drawing, because the button that had it is removed.
    wants_focus: bool,
    /// The room was not shown yet. When it is, a user with a remembered name joins it.
    is_new: bool,
    _page: [EventListener; 2],
}

pub(crate) enum Msg {
    Action(Action),
    /// Draws the state; several messages are drawn at once.
    Draw,
    Announce,
    Scrolled,
    /// The page became visible or hidden.
    Visibility,
}

impl Component for ChatView {
    type Message = Msg;
    type Properties = Props;

    fn create(ctx: &Context<Self>) -> Self {
        let name = browser::remembered_name().unwrap_or_else(|| guest_name(ctx.props().language));
        let url = server_address::websocket_url(&browser::server_origin(), "/ws");
        let events = ctx.link().callback(|event| Msg::Action(Action::Session(event)));
        let (visibility, resized) = (ctx.link().clone(), ctx.link().clone());
        let mut view = Self {
            state: ChatState::new(name, browser::local_day),
            session: Session::new(url, events),
            announcer: Announcer::new(0),
            scroll: Rc::default(),
            frame: FrameRequest::default(),
            ticks: None,
            wants_focus: false,
            is_new: true,
            _page: [
                browser::events::on_visibility_change(move || visibility.send_message(Msg::Visibility)),
                browser::events::on_resize(move || resized.send_message(Msg::Draw)),
            ],
        };
        view.route_changed(ctx);
        view
    }

    fn changed(&mut self, ctx: &Context<Self>, old: &Props) -> bool {
        self.is_new |= old.room != ctx.props().room;
        self.route_changed(ctx);
        true
    }

    fn update(&mut self, ctx: &Context<Self>, msg: Msg) -> bool {
        match msg {
            Msg::Action(action) => {
                // A burst of messages is drawn once, at the next frame.
                let is_burst = matches!(
                    action,
                    Action::Session(SessionEvent::Message(_) | SessionEvent::Written(_) | SessionEvent::Acked { .. })
                );
                self.dispatch(ctx, action);
                if is_burst {
                    self.frame.request(ctx.link().callback(|()| Msg::Draw));
                    return false;
                }
            }
            Msg::Draw => self.frame.complete(),
            Msg::Announce => {
                let since = self.announcer.last_number();
                let rows = self.state.timeline.current().rev();
                let new = rows.take_while(|row| row.number > since);
                let texts = new.map(|row| announcement(row, ctx.props().language));
                self.announcer
                    .announce(self.state.timeline.last_number(), texts, ctx.props().language);
            }
            Msg::Scrolled => {
                let Some(place) = self.scroll.position() else {
                    return false;
                };
                let before = self.state.unread;
                self.dispatch(ctx, Action::Scrolled { at_end: place.at_end });
                if self.needs_older() {
                    self.dispatch(ctx, Action::LoadOlder);
                    return true;
                }
                return before != self.state.unread;
            }
            Msg::Visibility => {
                let shown = ctx.props().visible && browser::is_page_visible();
                self.dispatch(ctx, Action::VisibilityChanged(shown));
            }
        }
        true
    }

    fn view(&self, ctx: &Context<Self>) -> Html {
        let Props { visible, language, .. } = *ctx.props();
        if !visible {
            return Html::default();
        }
        self.scroll.before_drawing(self.state.unread.at_end);
        let dispatch = ctx.link().callback(Msg::Action);
        let now = js_sys::Date::now();
        html! {
            <div class="chat">
                { room_card(&self.state, &dispatch, language) }
                <div class="talk">
                    <section class="card conversation" aria-label={Text::Messages.in_language(language)}>
                        <div class="chat-list">
                            { connection_banner(&self.state, &dispatch, now, language) }
                            <div
                                key="viewport" class="chat-viewport" tabindex="0" ref={self.scroll.viewport.clone()}
                                onscroll={ctx.link().callback(|_| Msg::Scrolled)}
                            >
                                { message_list(&self.state, &dispatch, now, language) }
                            </div>
                            { self.pill(&dispatch, language) }
                        </div>
                        { self.announcer.draw() }
                        { composer(&self.state, &dispatch, language) }
                    </section>
                    if !self.state.is_out() {
                        { roster_card(&self.state, language) }
                    }
                </div>
            </div>
        }
    }

    fn rendered(&mut self, ctx: &Context<Self>, _first: bool) {
        if browser::unread() != self.state.unread.count {
            browser::set_unread(self.state.unread.count);
        }
        self.scroll.drawn();
        // A short page of history, or one inserted at the very top, leaves the list near its start without a `scroll`
        // event.
        if self.needs_older() {
            ctx.link().send_message(Msg::Action(Action::LoadOlder));
        }
        if std::mem::take(&mut self.wants_focus)
            && let Some(field) = browser::document().get_element_by_id(FIELD_ID)
            && let Ok(field) = field.dyn_into::<HtmlElement>()
        {
            // Focusing an element that is on the page cannot fail.
            let _: Result<(), _> = field.focus();
        }
    }
}

impl ChatView {
    /// The path or the visibility may have changed. A user with a remembered name joins a new room at once; a user who
    /// left stays out.
    fn route_changed(&mut self, ctx: &Context<Self>) {
        let Props { visible, room, .. } = ctx.props();
        self.dispatch(ctx, Action::RoomChanged(room.clone()));
        self.dispatch(ctx, Action::VisibilityChanged(*visible && browser::is_page_visible()));
        if *visible && std::mem::take(&mut self.is_new) && browser::remembered_name().is_some() {
            self.dispatch(ctx, Action::Join);
        }
    }

    /// The list is scrolled near its start. Not while a drawing is due, because the position of an unfinished list is
    /// wrong.
    fn needs_older(&self) -> bool {
        self.state.timeline.older() == Older::More
            && self.state.has_caught_up()
            && !self.frame.is_pending()
            && self.scroll.position().is_some_and(|place| place.near_start)
    }

    fn dispatch(&mut self, ctx: &Context<Self>, action: Action) {
        self.wants_focus |= matches!(action, Action::Join);
        for effect in self.state.update(action, js_sys::Date::now()) {
            match effect {
                Effect::Join { room, name, since } => {
                    if let Err(error) = self.session.join(&room, name, since) {
                        self.dispatch(ctx, Action::Leave);
                        self.state.error = Some(FormError::of_connection(connection::explain(&error)));
                    }
                }
                Effect::Leave => self.session.leave(),
                Effect::ConnectNow => self.session.connect_now(),
                Effect::Send { key, text } => self.session.send(key, &text),
                Effect::TrackRestored(key) => self.session.track_restored(key),
                Effect::SignalTyping => self.session.signal_typing(),
                Effect::RequestOlder { before } => self.session.request_older(before),
                Effect::Navigate(room) => ctx.props().onroom.emit(room),
                Effect::RememberName(name) => browser::remember_name(&name),
                Effect::LoadDraft(room) => self.dispatch(ctx, Action::DraftLoaded(browser::draft(&room))),
                Effect::SaveDraft { room, text } => browser::save_draft(&room, &text),
            }
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

    /// The button that scrolls to the newest messages, with the number of unread ones.
    fn pill(&self, dispatch: &Callback<Action>, language: Language) -> Html {
        if self.state.unread.at_end {
            return Html::default();
        }
        let (id, label) = match self.state.unread.count {
            0 => ("to_newest", Text::ToNewest.in_language(language).to_owned()),
            count => ("new_messages", Sentence::Unread(count).in_language(language)),
        };
        html! {
            <button
                key="pill" {id} type="button" class="pill"
                onclick={dispatch.reform(|_| Action::Scrolled { at_end: true })}
            >
                { "↓ " }{ label }
            </button>
        }
    }
}

/// The text for screen readers: new messages of others and notices.
fn announcement(row: &Row<Entry>, language: Language) -> Option<String> {
    match &row.content.body {
        _ if !row.content.live => None,
        Body::Notice(message) => Some(message.in_language(language)),
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

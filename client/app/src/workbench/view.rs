//! The workbench's component: it runs the reducer's effects and draws its state.

use std::string::FromUtf8Error;

use gloo_events::EventListener;
use gloo_timers::callback::{Interval, Timeout};
use web_sys::File;
use yew::{Callback, Component, Context, Html, Properties, html};

use super::{
    addresses::Addresses,
    composer::{Composer, SNIPPETS_ID},
    detail_pane::DetailMode,
    echo_over_http,
    log_entry::Payload,
    log_filter::Filter,
    log_panel::{DETAIL_MODE, FILTER, LogPanel, Resend},
    log_view::LogView,
    message_mode::Mode,
    reducer::{Action, ChosenFile, Effect, Field, HISTORY, MODE, WorkbenchState},
    saved::{Change, Full, ImportProblem, Kind, MAX_BYTES, Saved},
    saved_sheet::{MOVED_ID, SavedSheet, SheetMove},
    sentences, share_link,
    shared_log::{LogMemory, SharedLog},
    tab_strip::{MAX_TABS, StripTab, TabMove, TabNumbers, field_name, tab_id, tab_strip},
    traffic::RATE_STEP_MS,
    url_bar::{OPTIONS_ID, SAVED_ID, UrlBar, buttons_of, connection_notice},
    url_menu::{Choice, MenuMove, UrlMenu},
};
use crate::{
    browser::{self, Setting, files::FileParts},
    connection::{Connection, ConnectionEvent, Phase, WAIT_TICK_MS},
    format,
    i18n::{Language, Sentence, Text},
    keyboard::{WorkbenchKey, workbench_key},
    server_address::websocket_url,
};

/// The rows of a log, at most: enough for a long session.
const MAX_ROWS: usize = 100_000;

/// The bytes of the logs of all tabs together, at most: a small part of the memory that a browser gives a page.
const MAX_LOG_BYTES: usize = 64 << 20;

/// The bytes of a path where there is nothing that the page shows, at most.
const MAX_PATH_BYTES: usize = 200;

/// The name in storage of the numbers of the tabs.
const TABS: &str = "tabs";

/// The counts in the status strip are drawn at most once in this time, in milliseconds, however many messages come.
const COUNT_MS: u32 = 200;

/// Whether and in which language the view is drawn.
#[derive(PartialEq, Properties)]
pub(crate) struct Props {
    /// Whether the view is drawn; the component keeps its state and connection when it is not.
    pub(crate) visible: bool,
    pub(crate) language: Language,
}

/// One connection with its log, and what is written for it.
struct Tab {
    number: u32,
    state: WorkbenchState,
    connection: Connection,
    log: SharedLog,
    /// Sends again, with its interval.
    repeat: Option<(u32, Interval)>,
    /// The file to send.
    file: Option<File>,
    /// How many messages had come when the tab was shown last.
    seen: u64,
}

pub(crate) struct WorkbenchView {
    /// At least one.
    tabs: Vec<Tab>,
    /// That of their logs.
    memory: LogMemory,
    /// The index of the shown one.
    shown: usize,
    /// The tab that was closed last and can be opened again, with its index.
    closed: Option<(usize, Tab)>,
    /// The number of the next new tab: that of a closed tab is not used again, because events of it may still come.
    next_number: u32,
    addresses: Addresses,
    saved: Saved,
    /// In the order of [`Kind::ALL`].
    sheets: [SavedSheet; 2],
    /// The button that moved something has another place when that is drawn, and is to be focused there.
    refocus: bool,
    /// The tab that is shown may be outside of the strip, which scrolls.
    tab_moved: bool,
    menu: UrlMenu,
    /// Whether the link that the user asked for last is on the clipboard.
    shared: Option<bool>,
    server_origin: String,
    /// Draws the elapsed times while there are connections, with its interval.
    clock: Option<(u32, Interval)>,
    /// Draws what was received since the last drawing.
    counts: Option<Timeout>,
    /// The same for each drawing, so that the panel of the log is not drawn again.
    onresend: Callback<Resend>,
    onpreset: Callback<&'static str>,
    onkeep: Callback<(&'static str, String)>,
    _page: [EventListener; 2],
    _keys: EventListener,
    _stored: EventListener,
}

pub(crate) enum Msg {
    /// Of the tab with this number.
    Action(u32, Action),
    /// Some time has passed.
    Tick,
    PageLeft,
    PageBack,
    Tab(TabMove),
    /// A message of the shown tab's log is sent again.
    Resend(Resend),
    /// Connect to a path of the page's server.
    Preset(&'static str),
    /// Keep a text of the shown tab with a name over a reload.
    Keep(&'static str, String),
    /// The counts have changed.
    Count,
    Key(WorkbenchKey),
    /// Of the list of addresses.
    Menu(MenuMove),
    Choose(Choice),
    /// Forget a recent address.
    RemoveAddress(String),
    Sheet(Kind, SheetMove),
    /// Another tab has changed what is remembered.
    Stored,
    Pin,
    /// Put a link to the address on the clipboard.
    Share,
    Shared(bool),
    File(Option<File>),
    /// The bytes of the file, or none if it cannot be read any more.
    FileRead(u32, Option<Vec<u8>>),
}

impl Component for WorkbenchView {
    type Message = Msg;
    type Properties = Props;

    fn create(ctx: &Context<Self>) -> Self {
        let (left, back) = (ctx.link().clone(), ctx.link().clone());
        let (keys, stored) = (ctx.link().clone(), ctx.link().clone());
        let server_origin = browser::server_origin();
        let memory = LogMemory::new(MAX_LOG_BYTES);
        let numbers = TabNumbers::from_text(&browser::field(TABS).unwrap_or_default());
        let shown = numbers.all.iter().position(|number| *number == numbers.shown);
        let next_number = numbers.next();
        let tabs: Vec<_> = numbers
            .all
            .into_iter()
            .map(|number| Tab::restored(number, &server_origin, &memory))
            .collect();
        let mut view = Self {
            tabs,
            memory,
            shown: shown.unwrap_or_default(),
            closed: None,
            next_number,
            addresses: remembered_addresses(),
            saved: remembered_saved(),
            sheets: Default::default(),
            refocus: false,
            tab_moved: true,
            menu: UrlMenu::default(),
            shared: None,
            server_origin,
            clock: None,
            counts: None,
            onresend: ctx.link().callback(Msg::Resend),
            onpreset: ctx.link().callback(Msg::Preset),
            onkeep: ctx.link().callback(|(name, text)| Msg::Keep(name, text)),
            _page: browser::events::on_page_left_and_back(
                move || left.send_message(Msg::PageLeft),
                move || back.send_message(Msg::PageBack),
            ),
            _stored: browser::events::on_storage_change(move || stored.send_message(Msg::Stored)),
            _keys: browser::events::on_key(move |event| {
                keys.send_message_batch(workbench_key(event).map(Msg::Key).into_iter().collect())
            }),
        };
        if let Some(url) = share_link::address(&browser::fragment()) {
            browser::remove_fragment();
            let number = view.tab().number;
            view.dispatch(ctx, number, Action::Edit(Field::Url, url));
        }
        view
    }

    fn rendered(&mut self, _: &Context<Self>, _: bool) {
        if std::mem::take(&mut self.refocus) {
            browser::focus(MOVED_ID);
        }
        if std::mem::take(&mut self.tab_moved) {
            browser::show_parent(&tab_id(self.tab().number));
        }
    }

    fn update(&mut self, ctx: &Context<Self>, msg: Msg) -> bool {
        let mut number = self.tab().number;
        let action = match msg {
            Msg::Action(of, action) => {
                number = of;
                action
            }
            Msg::Resend(resend) => Action::Resend(resend),
            // The log offers it, which the user may have cleared during a connection.
            Msg::Preset(_) if !self.tab().state.phase.is_over() => return false,
            Msg::Preset(path) => {
                let url = websocket_url(&self.server_origin, path);
                self.dispatch(ctx, number, Action::Edit(Field::Url, url));
                Action::Connect
            }
            Msg::Tick => return self.dispatch_to_all(ctx, || Action::Tick),
            Msg::PageLeft => return self.dispatch_to_all(ctx, || Action::PageLeft),
            Msg::PageBack => return self.dispatch_to_all(ctx, || Action::PageBack),
            Msg::Tab(movement) => {
                self.move_tabs(ctx, movement);
                self.set_clock(ctx);
                return true;
            }
            Msg::Keep(name, text) => {
                self.tab().save(name, &text);
                return false;
            }
            Msg::Count => {
                self.counts = None;
                return true;
            }
            Msg::Key(_) if !ctx.props().visible => return false,
            Msg::Key(WorkbenchKey::Address) => {
                browser::focus_and_select("url");
                return false;
            }
            Msg::Key(WorkbenchKey::Send) => Action::Send,
            Msg::Key(WorkbenchKey::Connection) => match self.tab().state.phase {
                Phase::Idle | Phase::Closed(_) => Action::Connect,
                Phase::Connecting { .. } | Phase::Waiting { .. } => Action::Cancel,
                Phase::Open { .. } | Phase::Closing { .. } => Action::Close,
            },
            Msg::Menu(movement) => {
                self.shared = None;
                if matches!(movement, MenuMove::Toggle) {
                    browser::focus("url");
                }
                let count = self.choices().len();
                self.menu.update(movement, count);
                return true;
            }
            Msg::Choose(Choice::Saved(item)) => {
                self.update_sheet(ctx, Kind::Connection, SheetMove::Open(item));
                return true;
            }
            Msg::Choose(choice) => {
                self.menu.update(MenuMove::Close, 0);
                browser::focus("url");
                Action::Edit(Field::Url, choice.url().to_owned())
            }
            Msg::RemoveAddress(url) => {
                self.change_addresses(|addresses, _| addresses.remove(&url));
                return true;
            }
            Msg::Sheet(kind, movement) => {
                self.update_sheet(ctx, kind, movement);
                return true;
            }
            Msg::Stored => {
                self.addresses = remembered_addresses();
                self.saved = remembered_saved();
                return true;
            }
            Msg::File(file) => {
                let chosen = file.as_ref().map(|file| ChosenFile {
                    name: file.name(),
                    #[expect(
                        clippy::cast_possible_truncation,
                        clippy::cast_sign_loss,
                        reason = "a size in bytes, which is far below 2^53"
                    )]
                    bytes: file.size() as u64,
                });
                self.tab_mut().file = file;
                Action::File(chosen)
            }
            Msg::FileRead(of, bytes) => {
                number = of;
                let Some(tab) = self.tabs.iter().position(|tab| tab.number == of) else {
                    return false;
                };
                if !self.tabs[tab].state.is_reading() {
                    // Its connection has ended.
                    return false;
                }
                self.dispatch(ctx, of, Action::FileRead);
                let tab = &self.tabs[tab];
                let sent = bytes.ok_or_else(|| Text::FileUnreadable.into());
                let sent = sent.and_then(|bytes| tab.connection.send(bytes.as_slice()).map(|()| bytes));
                sent.map_or_else(Action::NotSent, |bytes| Action::Sent(Payload::Binary(bytes)))
            }
            Msg::Share => {
                let link = share_link::link(&browser::page_address(), self.tab().state.url.trim());
                ctx.link()
                    .send_future(async move { Msg::Shared(browser::copy(&link).await) });
                return false;
            }
            Msg::Shared(done) => {
                self.shared = Some(done);
                return true;
            }
            Msg::Pin => {
                self.change_addresses(|addresses, url| addresses.toggle_pin(url));
                return true;
            }
        };
        if matches!(action, Action::Connect | Action::ConnectNow) {
            self.menu = UrlMenu::default();
            self.closed = None;
        }
        // The panel of the log draws a message; the counts are drawn less often.
        let is_message = matches!(action, Action::Connection(ConnectionEvent::Received(_)));
        self.dispatch(ctx, number, action);
        if is_message {
            let link = ctx.link();
            self.counts.get_or_insert_with(|| {
                let link = link.clone();
                Timeout::new(COUNT_MS, move || link.send_message(Msg::Count))
            });
            return false;
        }
        self.set_clock(ctx);
        true
    }

    fn view(&self, ctx: &Context<Self>) -> Html {
        let Props { visible, language } = *ctx.props();
        if !visible {
            return Html::default();
        }
        let now = js_sys::Date::now();
        let tab = self.tab();
        let number = tab.number;
        let dispatch = ctx.link().callback(move |action| Msg::Action(number, action));
        let composer = Composer {
            tab: number,
            state: &tab.state,
            saved: &self.saved,
            sheet: &self.sheets[Kind::Snippet as usize],
            onsheet: ctx.link().callback(|movement| Msg::Sheet(Kind::Snippet, movement)),
            dispatch: dispatch.clone(),
            onfile: ctx.link().callback(Msg::File),
        };
        let bar = UrlBar {
            state: &tab.state,
            menu: self.menu,
            choices: self.choices(),
            pinned: self.addresses.is_pinned(tab.state.url.trim()),
            dispatch: dispatch.clone(),
            onmenu: ctx.link().callback(Msg::Menu),
            onchoose: ctx.link().callback(Msg::Choose),
            onremove: ctx.link().callback(Msg::RemoveAddress),
            saved: &self.saved,
            sheet: &self.sheets[Kind::Connection as usize],
            onsheet: ctx.link().callback(|movement| Msg::Sheet(Kind::Connection, movement)),
            onpin: ctx.link().callback(|()| Msg::Pin),
            can_add: self.tabs.len() < MAX_TABS,
            shared: self.shared,
            onshare: ctx.link().callback(|()| Msg::Share),
            onadd: ctx.link().callback(|()| Msg::Tab(TabMove::New)),
            now,
        };
        let strip = (self.tabs.len() > 1 || self.closed.is_some()).then(|| {
            let tabs = self.tabs.iter().enumerate().map(|(index, tab)| StripTab {
                number: tab.number,
                state: &tab.state,
                news: tab.received().saturating_sub(tab.seen),
                shown: index == self.shown,
            });
            tab_strip(
                &websocket_url(&self.server_origin, ""),
                tabs,
                self.closed.is_some(),
                &ctx.link().callback(Msg::Tab),
                language,
            )
        });
        let path = browser::path();
        let no_page = (!is_workbench(&path)).then(|| {
            let sentence = Text::NoPage.with([format::head(&path, MAX_PATH_BYTES).into()]);
            html! {
                <p key="no_page" id="no_page" class="bar-notice" data-kind="wait" role="status">
                    { sentence.in_language(language) }{ " " }
                    <a href="/">{ Text::Workbench.in_language(language) }</a>{ " · " }
                    <a href="/chat/lobby">{ Text::Chat.in_language(language) }</a>
                </p>
            }
        });
        html! {
            <div class="workbench">
                { no_page }
                { strip }
                { bar.draw(language) }
                { connection_notice(&tab.state, &dispatch, now, language) }
                <LogPanel
                    key="log" log={tab.log.clone()} onresend={self.onresend.clone()} onpreset={self.onpreset.clone()}
                    onkeep={self.onkeep.clone()} is_over={tab.state.phase.is_over()} {language}
                />
                { composer.draw(language) }
            </div>
        }
    }
}

impl Tab {
    /// The tab as it was before the page was loaded anew, or a new one.
    fn restored(number: u32, server_origin: &str, memory: &LogMemory) -> Self {
        let mut state = WorkbenchState::new(server_origin.to_owned(), random());
        state.reconnect = browser::remembered(Setting::Reconnect).is_some_and(|value| !value.is_empty());
        let kept = |name: &str| browser::field(&field_name(number, name));
        for field in Field::ALL {
            if let Some(text) = kept(field.name()) {
                state.update(Action::Edit(field, text), js_sys::Date::now());
            }
        }
        for mode in Mode::ALL {
            if let Some(text) = kept(mode.name()) {
                state.set_draft(mode, text);
            }
        }
        state.mode = kept(MODE).map_or(Mode::Text, |name| Mode::from_name(&name));
        if let Some(text) = kept(HISTORY) {
            state.restore_history(&text);
        }
        let log = SharedLog::new(MAX_ROWS, memory);
        let mut view = LogView::default();
        if let Some(text) = kept(FILTER) {
            view.change_filter(&log.read(), |filter| *filter = Filter::from_text(&text));
        }
        view.mode = kept(DETAIL_MODE).map_or_else(DetailMode::default, |id| DetailMode::from_id(&id));
        log.keep_view(view);
        Self {
            number,
            state,
            connection: Connection::default(),
            log,
            repeat: None,
            file: None,
            seen: 0,
        }
    }

    /// The messages that came since the user connected.
    fn received(&self) -> u64 {
        self.state.traffic.received.messages
    }

    fn save(&self, name: &str, text: &str) {
        browser::save_field(&field_name(self.number, name), text);
    }

    /// Whether something would be lost with the tab.
    fn has_content(&self) -> bool {
        !self.state.phase.is_over() || self.log.read().len() > 0
    }

    /// Keeps its fields again.
    fn save_all(&self) {
        for field in Field::ALL {
            if let Some(text) = self.state.field(field) {
                self.save(field.name(), &text);
            }
        }
        for (name, text) in self.state.drafts() {
            self.save(name, text);
        }
        self.save(MODE, self.state.mode.name());
        self.save(HISTORY, &self.state.kept_history());
        let view = self.log.take_view();
        self.save(FILTER, &view.filter().to_text());
        self.save(DETAIL_MODE, view.mode.id());
        self.log.keep_view(view);
    }

    /// Removes what is kept of the tab.
    fn forget(&self) {
        let fields = Field::ALL.iter().map(|field| field.name());
        for name in fields
            .chain(Mode::ALL.iter().map(|mode| mode.name()))
            .chain([MODE, HISTORY, FILTER, DETAIL_MODE])
        {
            browser::forget_field(&field_name(self.number, name));
        }
    }
}

impl WorkbenchView {
    /// The shown tab.
    fn tab(&self) -> &Tab {
        &self.tabs[self.shown]
    }

    fn tab_mut(&mut self) -> &mut Tab {
        &mut self.tabs[self.shown]
    }

    /// Adds, shows, closes or reopens a tab.
    fn move_tabs(&mut self, ctx: &Context<Self>, movement: TabMove) {
        self.menu = UrlMenu::default();
        let position = |tabs: &[Tab], number| tabs.iter().position(|tab| tab.number == number);
        if !matches!(movement, TabMove::Show(_) | TabMove::Reopen) {
            self.closed = None;
        }
        let received = self.tab().received();
        self.tab_mut().seen = received;
        match movement {
            TabMove::New if self.tabs.len() < MAX_TABS => {
                let mut tab = Tab::restored(self.next_number, &self.server_origin, &self.memory);
                self.next_number += 1;
                // The same server is the most likely one.
                let before = &self.tab().state;
                let subprotocols = before.subprotocols.to_text();
                for (field, text) in [(Field::Url, &before.url), (Field::Subprotocols, &subprotocols)] {
                    tab.state.update(Action::Edit(field, text.clone()), js_sys::Date::now());
                    tab.save(field.name(), text);
                }
                self.tabs.push(tab);
                self.shown = self.tabs.len() - 1;
                browser::focus_and_select("url");
            }
            TabMove::New => {}
            TabMove::Show(number) => self.shown = position(&self.tabs, number).unwrap_or(self.shown),
            TabMove::Close(number) => {
                let closed = position(&self.tabs, number).filter(|_| self.tabs.len() > 1);
                if let Some(index) = closed {
                    let has_content = self.tabs[index].has_content();
                    self.dispatch(ctx, number, Action::Repeat(false));
                    self.dispatch(ctx, number, Action::PageLeft);
                    let tab = self.tabs.remove(index);
                    tab.forget();
                    self.closed = has_content.then_some((index, tab));
                    if self.shown > index || self.shown == self.tabs.len() {
                        self.shown -= 1;
                    }
                    // The pressed button goes away.
                    if self.closed.is_some() || self.tabs.len() > 1 {
                        browser::focus(&tab_id(self.tab().number));
                    } else {
                        browser::focus("url");
                    }
                }
            }
            TabMove::Reopen => {
                if let Some((index, tab)) = self.closed.take() {
                    let number = tab.number;
                    tab.save_all();
                    self.shown = index.min(self.tabs.len());
                    self.tabs.insert(self.shown, tab);
                    // As when a page comes back, it connects again.
                    self.dispatch(ctx, number, Action::PageBack);
                    browser::focus("url");
                }
            }
        }
        let received = self.tab().received();
        self.tab_mut().seen = received;
        self.tab_moved = true;
        browser::save_field(TABS, &self.numbers().to_text());
    }

    fn numbers(&self) -> TabNumbers {
        TabNumbers {
            all: self.tabs.iter().map(|tab| tab.number).collect(),
            shown: self.tab().number,
        }
    }

    /// Ticks as often as a tab needs it.
    fn set_clock(&mut self, ctx: &Context<Self>) {
        let interval = |tab: &Tab| match tab.state.phase {
            Phase::Connecting { .. } | Phase::Closing { .. } | Phase::Waiting { .. } => Some(WAIT_TICK_MS),
            Phase::Open { .. } => Some(RATE_STEP_MS),
            Phase::Idle | Phase::Closed(_) => None,
        };
        let interval = self.tabs.iter().filter_map(interval).min();
        if interval != self.clock.as_ref().map(|(interval, _)| *interval) {
            self.clock = interval.map(|interval| {
                let link = ctx.link().clone();
                (interval, Interval::new(interval, move || link.send_message(Msg::Tick)))
            });
        }
    }

    /// What the list of addresses offers.
    fn choices(&self) -> Vec<Choice> {
        self.menu
            .choices(&self.saved, &self.addresses, &self.server_origin, &self.tab().state.url)
    }

    /// Changes what is remembered now: another tab may have changed it. The change gets the address of the field too.
    fn change_addresses(&mut self, change: impl FnOnce(&mut Addresses, &str)) {
        self.addresses = remembered_addresses();
        let url = self.tab().state.url.trim().to_owned();
        change(&mut self.addresses, &url);
        browser::remember(Setting::Addresses, &self.addresses.to_text());
    }

    fn update_sheet(&mut self, ctx: &Context<Self>, kind: Kind, movement: SheetMove) {
        let name_field = [kind.list(), "_name"].concat();
        if matches!(movement, SheetMove::Delete(_) | SheetMove::Undo) {
            // The pressed button goes away.
            browser::focus(&name_field);
        }
        let sheet = &mut self.sheets[kind as usize];
        let mut moved = None;
        let outcome = match movement {
            SheetMove::Toggled(is_open) => return sheet.is_open = is_open,
            SheetMove::Name(name) => return sheet.type_name(name),
            SheetMove::Collection(name) => return sheet.type_collection(name),
            SheetMove::Secrets(with_secrets) => return sheet.with_secrets = with_secrets,
            SheetMove::Rename { items, is_collection } => {
                sheet.rename(items, is_collection);
                return browser::focus_and_select(&name_field);
            }
            SheetMove::Open(item) => {
                sheet.opened(&item);
                self.menu = UrlMenu::default();
                if kind == Kind::Snippet {
                    return self.take(ctx, item.mode(), item.draft(item.mode()).to_owned());
                }
                browser::hide_popover(SAVED_ID);
                browser::hide_popover(OPTIONS_ID);
                if !self.tab().state.phase.is_over() {
                    self.move_tabs(ctx, TabMove::New);
                }
                self.dispatch(ctx, self.tab().number, Action::Load(Box::new(item)));
                return browser::focus("url");
            }
            SheetMove::Take(text) => return self.take(ctx, self.tab().state.mode, text),
            SheetMove::Export => {
                let mut file = FileParts::new("application/json");
                file.push(&self.saved.to_json(sheet.with_secrets));
                return file.download("talkback-saved.json");
            }
            SheetMove::Import(file) => {
                return ctx
                    .link()
                    .send_future(async move { Msg::Sheet(kind, SheetMove::Imported(read_import(&file).await)) });
            }
            SheetMove::Undo => match sheet.take_undo() {
                Some(change) => Ok((None, change)),
                None => return,
            },
            SheetMove::Submit => {
                let state = &self.tabs[self.shown].state;
                let new = match kind {
                    Kind::Connection => state.to_item(),
                    Kind::Snippet => state.to_snippet(),
                };
                let change = new.and_then(|new| sheet.submitted(&self.saved, new));
                change.map(|change| {
                    (
                        change.add.first().map(|item| Text::SavedAs.with([item.name().into()])),
                        change,
                    )
                })
            }
            SheetMove::Delete(items) => {
                let name = items.first().map_or_else(String::new, |item| item.name().to_owned());
                let change = Change {
                    remove: items,
                    ..Change::default()
                };
                Ok((Some(sentences::deleted(change.remove.len(), &name)), change))
            }
            SheetMove::Move {
                items,
                is_collection,
                down,
            } => {
                let Some(change) = self.saved.moving(&items, is_collection, down) else {
                    return;
                };
                let sentence = change.add.first().map(|item| match item.collection() {
                    "" => Text::MovedOut.into(),
                    collection => Text::MovedTo.with([collection.into()]),
                });
                let item = change.add.first().or(items.first()).cloned();
                moved = item.map(|item| (item, is_collection, down));
                self.refocus = true;
                Ok((sentence, change))
            }
            SheetMove::Imported(text) => text
                .and_then(|text| Saved::from_json(&text))
                .map(|file| self.saved.importing(file))
                .map(|change| (Some(sentences::imported(change.add.len())), change))
                .map_err(|problem| sentences::bad_import(&problem)),
        };
        let outcome = outcome.and_then(|(sentence, change)| {
            let mut saved = self.saved.clone();
            let undo = saved.apply(&change).map_err(|Full| Sentence::from(Text::SavedFull))?;
            if !browser::store(Setting::Saved, &saved.to_json(true)) {
                return Err(Text::StorageFull.into());
            }
            self.saved = saved;
            Ok((sentence, undo))
        });
        if outcome.as_ref().is_err_and(|problem| *problem == Text::NoName.into()) {
            browser::focus(&name_field);
        }
        self.sheets[kind as usize].done(outcome);
        self.sheets[kind as usize].moved(moved);
    }

    /// Puts a saved or sent text into the composer.
    fn take(&mut self, ctx: &Context<Self>, mode: Mode, text: String) {
        browser::hide_popover(SNIPPETS_ID);
        self.dispatch(ctx, self.tab().number, Action::Take(mode, text));
        browser::focus("message");
    }

    fn dispatch_to_all(&mut self, ctx: &Context<Self>, action: impl Fn() -> Action) -> bool {
        for number in self.numbers().all {
            self.dispatch(ctx, number, action());
        }
        self.set_clock(ctx);
        true
    }

    /// Applies an action to the tab with this number, if it is not closed by now, and runs the effects.
    fn dispatch(&mut self, ctx: &Context<Self>, number: u32, action: Action) {
        let Some(tab) = self.find(number) else { return };
        let effects = tab.state.update(action, js_sys::Date::now());
        let interval = tab.state.repeat.interval();
        if interval != tab.repeat.as_ref().map(|(interval, _)| *interval) {
            tab.repeat = interval.map(|interval| {
                let link = ctx.link().clone();
                let due = move || link.send_message(Msg::Action(number, Action::RepeatDue));
                (interval, Interval::new(interval, due))
            });
        }
        for effect in effects {
            self.run(ctx, number, effect);
        }
    }

    /// The tab with this number, also the closed one that can be opened again: its connection is still being closed.
    fn find(&mut self, number: u32) -> Option<&mut Tab> {
        let closed = self.closed.as_mut().map(|(_, tab)| tab);
        self.tabs.iter_mut().chain(closed).find(|tab| tab.number == number)
    }

    /// Runs an effect of the tab with this number.
    fn run(&mut self, ctx: &Context<Self>, number: u32, effect: Effect) {
        let Some(tab) = self.find(number) else { return };
        match effect {
            Effect::Open { url, protocols } => {
                let events = ctx
                    .link()
                    .callback(move |event| Msg::Action(number, Action::Connection(event)));
                if let Err(message) = tab.connection.open(&url, protocols, events) {
                    self.dispatch(ctx, number, Action::Refused(message));
                }
            }
            Effect::Send(payload) => {
                let outcome = match &payload {
                    Payload::Text(text) | Payload::Http { text, .. } => tab.connection.send(text.as_str()),
                    Payload::Binary(bytes) => tab.connection.send(bytes.as_slice()),
                };
                let action = outcome.map_or_else(Action::NotSent, |()| Action::Sent(payload));
                self.dispatch(ctx, number, action);
            }
            Effect::SendFile => {
                if let Some(file) = tab.file.clone() {
                    ctx.link()
                        .send_future(async move { Msg::FileRead(number, browser::files::read(&file).await) });
                }
            }
            Effect::Close(frame) => {
                tab.connection
                    .close(frame.as_ref().map(|(code, reason)| (*code, reason.as_str())));
            }
            Effect::Terminate => tab.connection.terminate(),
            Effect::PollBuffer => tab.connection.poll_buffer(),
            Effect::Fetch(url) => {
                ctx.link().send_future(async move {
                    let (answer, text) = echo_over_http::fetch(url).await;
                    Msg::Action(number, Action::HttpAnswer(answer, text))
                });
            }
            Effect::Record(item) => tab.log.push(item),
            Effect::Used(url) => self.change_addresses(|addresses, _| addresses.used(&url)),
            Effect::SaveReconnect(reconnect) => {
                browser::remember(Setting::Reconnect, if reconnect { "on" } else { "" });
            }
            Effect::SaveField(name, text) => tab.save(name, &text),
            Effect::Reveal(field) => browser::reveal(buttons_of(field), field.name()),
        }
    }
}

/// Whether the server has the workbench at a path; at any other one it answers with 404 and the page.
fn is_workbench(path: &str) -> bool {
    ["/", "/index.html", "/echo"].contains(&path)
}

fn remembered_addresses() -> Addresses {
    browser::remembered(Setting::Addresses).map_or_else(Addresses::default, |text| Addresses::from_text(&text))
}

fn remembered_saved() -> Saved {
    let text = browser::remembered(Setting::Saved);
    text.and_then(|text| Saved::from_json(&text).ok()).unwrap_or_default()
}

/// The text of a file.
async fn read_import(file: &File) -> Result<String, ImportProblem> {
    // Escapes and names of fields make it larger than what it has.
    const MAX_FILE_BYTES: u64 = 2 * MAX_BYTES as u64;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a size in bytes, which is far below 2^53"
    )]
    let bytes = file.size() as u64;
    if bytes > MAX_FILE_BYTES {
        return Err(ImportProblem::TooLarge(bytes));
    }
    let bytes = browser::files::read(file).await.ok_or(ImportProblem::Unreadable)?;
    String::from_utf8(bytes).map_err(|_: FromUtf8Error| ImportProblem::Unreadable)
}

/// Where the generator of `{{uuid}}` begins.
fn random() -> u64 {
    // Of the 53 random bits that the browser gives at a time.
    let bits = || (js_sys::Math::random() * f64::from(u32::MAX)).to_bits();
    bits() ^ bits().rotate_left(32)
}

//! The chat as a component: it runs the reducer's effects and draws its state.

use gloo_events::EventListener;
use gloo_timers::callback::Interval;
use talkback_protocol::{NameError, RoomName, close};
use web_sys::Element;
use yew::{Callback, Component, Context, Html, NodeRef, Properties, html};

use super::{
    composer::composer,
    line::Line,
    messages::messages,
    room_card::room_card,
    state::{Action, Effect, State},
    stay_at_end::StayAtEnd,
};
use crate::{
    browser::{self, Setting},
    connection::{Driver, Event, WAIT_TICK_MS},
    i18n::{Language, Text},
    log::{Limits, Log, SharedLog, Subscription},
    shell::Announcer,
};

/// What the chat keeps. Its rows wrap, so all of them are elements; more than this would be slow to draw.
const LIMITS: Limits = Limits {
    rows: 500,
    bytes: 8 << 20,
};

/// The room of the path, and where the user goes from here.
#[derive(PartialEq, Properties)]
pub(crate) struct Props {
    /// Whether the view is drawn; it lives on when it is not.
    pub(crate) visible: bool,
    pub(crate) language: Language,
    pub(crate) room: Result<RoomName, NameError>,
    pub(crate) onroom: Callback<RoomName>,
}

pub(crate) struct ChatView {
    state: State,
    driver: Driver,
    log: SharedLog<Line>,
    announcer: Announcer,
    viewport: NodeRef,
    end: StayAtEnd,
    /// Counts the time while the server is waited for.
    waiting: Option<Interval>,
    _subscription: Subscription,
    _page: [EventListener; 2],
}

pub(crate) enum Msg {
    Act(Action),
    /// Time has passed while waiting.
    Tick,
    LogChanged,
    Announce,
    Scrolled,
}

impl Component for ChatView {
    type Message = Msg;
    type Properties = Props;

    fn create(ctx: &Context<Self>) -> Self {
        let (left, back) = (ctx.link().clone(), ctx.link().clone());
        let name = browser::remembered(Setting::Name).unwrap_or_else(|| guest_name(ctx.props().language));
        let log = SharedLog::new(LIMITS);
        let subscription = log.subscribe(ctx.link().callback(|()| Msg::LogChanged));
        let mut view = Self {
            state: State::new(browser::server_origin(), name),
            driver: Driver::default(),
            log,
            announcer: Announcer::new(0),
            viewport: NodeRef::default(),
            end: StayAtEnd::default(),
            waiting: None,
            _subscription: subscription,
            _page: browser::on_page_left_and_back(
                move || left.send_message(Msg::Act(Action::PageLeft)),
                move || back.send_message(Msg::Act(Action::PageBack)),
            ),
        };
        view.act(ctx, Action::Room(ctx.props().room.clone()));
        view
    }

    fn changed(&mut self, ctx: &Context<Self>, _old: &Props) -> bool {
        self.act(ctx, Action::Room(ctx.props().room.clone()));
        self.count_waiting(ctx);
        true
    }

    fn update(&mut self, ctx: &Context<Self>, msg: Msg) -> bool {
        match msg {
            Msg::Act(action) => {
                // Messages change the log only, which is drawn once per frame.
                let only_logged = matches!(action, Action::Connection(Event::Received(_) | Event::Buffered(_)));
                self.act(ctx, action);
                self.count_waiting(ctx);
                return !only_logged;
            }
            Msg::LogChanged => {
                let wake = ctx.link().callback(|()| Msg::Announce);
                self.announcer.log_changed(self.log.read().last_number(), wake);
            }
            Msg::Announce => self.announcer.read(&self.log.read(), ctx.props().language),
            Msg::Tick => {}
            Msg::Scrolled => {
                if let Some(element) = self.viewport.cast::<Element>() {
                    self.end
                        .scrolled(element.scroll_top(), element.client_height(), element.scroll_height());
                }
                return false;
            }
        }
        true
    }

    fn view(&self, ctx: &Context<Self>) -> Html {
        let Props { visible, language, .. } = *ctx.props();
        if !visible {
            return Html::default();
        }
        let act = ctx.link().callback(Msg::Act);
        html! {
            <div class="chat">
                { room_card(&self.state, &act, js_sys::Date::now(), language) }
                <section class="card conversation" aria-label={Text::ChatMessages.in_language(language)}>
                    <div class="chat-viewport" tabindex="0" ref={self.viewport.clone()} onscroll={ctx.link().callback(|_| Msg::Scrolled)}>
                        { messages(&self.log.read(), self.state.phase.is_open(), language) }
                    </div>
                    { self.announcer.draw() }
                    { composer(&self.state, &act, language) }
                </section>
            </div>
        }
    }

    fn rendered(&mut self, _ctx: &Context<Self>, _first: bool) {
        if let Some(element) = self.viewport.cast::<Element>()
            && self.end.drawn(&self.log.read())
        {
            element.set_scroll_top(element.scroll_height());
        }
    }
}

impl ChatView {
    fn act(&mut self, ctx: &Context<Self>, action: Action) {
        for effect in self.state.update(action, js_sys::Date::now()) {
            match effect {
                Effect::Open(url) => {
                    let events = ctx.link().callback(|event| Msg::Act(Action::Connection(event)));
                    if let Err(message) = self.driver.open(&url, Vec::new(), events) {
                        self.act(ctx, Action::Refused(message));
                    }
                }
                Effect::Send(text) => {
                    let action = match self.driver.send(&text) {
                        Ok(()) => Action::Sent(text),
                        Err(why) => Action::NotSent { text, why },
                    };
                    self.act(ctx, action);
                }
                Effect::Close => self.driver.close(Some((close::NORMAL, ""))),
                Effect::Terminate => self.driver.terminate(),
                Effect::Navigate(room) => ctx.props().onroom.emit(room),
                Effect::RememberName(name) => browser::remember(Setting::Name, &name),
                Effect::Record(line) => self.log.push(line),
                Effect::ClearLog => self.log.change(Log::reset),
            }
        }
    }

    fn count_waiting(&mut self, ctx: &Context<Self>) {
        let waits = self.state.phase.waiting_since().is_some();
        if waits != self.waiting.is_some() {
            let link = ctx.link().clone();
            self.waiting = waits.then(|| Interval::new(WAIT_TICK_MS, move || link.send_message(Msg::Tick)));
        }
    }
}

/// A name to start with that two tabs are unlikely to share.
fn guest_name(language: Language) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the random number is below 1000"
    )]
    let number = (js_sys::Math::random() * 1000.0) as u32;
    format!("{} {number:03}", Text::Guest.in_language(language))
}

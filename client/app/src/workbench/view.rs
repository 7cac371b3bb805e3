//! The workbench as a component: it runs the reducer's effects and draws its state.

use gloo_events::EventListener;
use gloo_timers::callback::Interval;
use yew::{Component, Context, Html, Properties, html};

use super::{
    composer::composer,
    connection_card::connection_card,
    connection_details::connection_details,
    echo_over_http,
    item::Item,
    log_panel::LogPanel,
    state::{Action, Effect, State},
};
use crate::{
    browser,
    connection::{Driver, Event, WAIT_TICK_MS},
    i18n::Language,
    log::{Limits, SharedLog},
};

/// What the workbench keeps: enough for a long session, and far below what makes a tab heavy.
const LIMITS: Limits = Limits {
    rows: 100_000,
    bytes: 64 << 20,
};

/// How the page is shown.
#[derive(PartialEq, Properties)]
pub(crate) struct Props {
    /// Whether the view is drawn; it lives on when it is not.
    pub(crate) visible: bool,
    pub(crate) language: Language,
}

pub(crate) struct WorkbenchView {
    state: State,
    driver: Driver,
    log: SharedLog<Item>,
    /// Counts the time while the server is waited for.
    waiting: Option<Interval>,
    _page: [EventListener; 2],
}

pub(crate) enum Msg {
    Act(Action),
    /// Time has passed while waiting.
    Tick,
}

impl Component for WorkbenchView {
    type Message = Msg;
    type Properties = Props;

    fn create(ctx: &Context<Self>) -> Self {
        let (left, back) = (ctx.link().clone(), ctx.link().clone());
        Self {
            state: State::new(browser::server_origin()),
            driver: Driver::default(),
            log: SharedLog::new(LIMITS),
            waiting: None,
            _page: browser::on_page_left_and_back(
                move || left.send_message(Msg::Act(Action::PageLeft)),
                move || back.send_message(Msg::Act(Action::PageBack)),
            ),
        }
    }

    fn update(&mut self, ctx: &Context<Self>, msg: Msg) -> bool {
        let Msg::Act(action) = msg else { return true };
        // Messages change the log only, which draws itself once per frame.
        let only_logged = matches!(action, Action::Connection(Event::Received(_)));
        self.act(ctx, action);
        if only_logged {
            return false;
        }
        let waits = self.state.phase.waiting_since().is_some();
        if waits != self.waiting.is_some() {
            let link = ctx.link().clone();
            self.waiting = waits.then(|| Interval::new(WAIT_TICK_MS, move || link.send_message(Msg::Tick)));
        }
        true
    }

    fn view(&self, ctx: &Context<Self>) -> Html {
        let Props { visible, language } = *ctx.props();
        if !visible {
            return Html::default();
        }
        let act = ctx.link().callback(Msg::Act);
        html! {
            <div class="workbench">
                <div class="controls">
                    { connection_card(&self.state, &act, js_sys::Date::now(), language) }
                    { composer(&self.state, &act, language) }
                    { connection_details(&self.state, language) }
                </div>
                <LogPanel log={self.log.clone()} {language} />
            </div>
        }
    }
}

impl WorkbenchView {
    fn act(&mut self, ctx: &Context<Self>, action: Action) {
        for effect in self.state.update(action, js_sys::Date::now()) {
            match effect {
                Effect::Open { url, protocols } => {
                    let events = ctx.link().callback(|event| Msg::Act(Action::Connection(event)));
                    if let Err(message) = self.driver.open(&url, protocols, events) {
                        self.act(ctx, Action::Refused(message));
                    }
                }
                Effect::Send(text) => {
                    let outcome = self.driver.send(&text);
                    self.act(ctx, outcome.map_or_else(Action::NotSent, |()| Action::Sent(text)));
                }
                Effect::Close(frame) => {
                    self.driver
                        .close(frame.as_ref().map(|(code, reason)| (*code, reason.as_str())));
                }
                Effect::Terminate => self.driver.terminate(),
                Effect::PollBuffer => self.driver.poll_buffer(),
                Effect::Fetch(url) => {
                    ctx.link()
                        .send_future(async move { Msg::Act(Action::HttpAnswer(echo_over_http::fetch(&url).await)) });
                }
                Effect::Record(item) => self.log.push(item),
            }
        }
    }
}

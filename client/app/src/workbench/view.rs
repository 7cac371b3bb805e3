//! The workbench's component: it runs the reducer's effects and draws its state.

use gloo_events::EventListener;
use gloo_timers::callback::Interval;
use yew::{Component, Context, Html, Properties, html};

use super::{
    composer::composer,
    connection_card::connection_card,
    connection_details::connection_details,
    echo_over_http,
    log_entry::LogEntry,
    log_panel::LogPanel,
    reducer::{Action, Effect, Field, WorkbenchState},
    shared_log::SharedLog,
};
use crate::{
    browser,
    connection::{Connection, ConnectionEvent, WAIT_TICK_MS},
    i18n::Language,
    rows::RowOptions,
};

/// The bounds of the log: enough for a long session, and a small part of a tab's memory.
const LOG_OPTIONS: RowOptions = RowOptions {
    max_rows: 100_000,
    max_bytes: 64 << 20,
};

/// Whether and in which language the view is drawn.
#[derive(PartialEq, Properties)]
pub(crate) struct Props {
    /// Whether the view is drawn; the component keeps its state and connection when it is not.
    pub(crate) visible: bool,
    pub(crate) language: Language,
}

pub(crate) struct WorkbenchView {
    state: WorkbenchState,
    connection: Connection,
    log: SharedLog<LogEntry>,
    /// Draws the elapsed time while the connection opens or closes.
    waiting: Option<Interval>,
    _page: [EventListener; 2],
}

pub(crate) enum Msg {
    Action(Action),
    /// The elapsed time has changed.
    Tick,
}

impl Component for WorkbenchView {
    type Message = Msg;
    type Properties = Props;

    fn create(ctx: &Context<Self>) -> Self {
        let (left, back) = (ctx.link().clone(), ctx.link().clone());
        let mut state = WorkbenchState::new(browser::server_origin());
        for field in Field::ALL {
            if let Some(text) = browser::field(field.name()) {
                state.update(Action::Edit(field, text), js_sys::Date::now());
            }
        }
        Self {
            state,
            connection: Connection::default(),
            log: SharedLog::new(LOG_OPTIONS),
            waiting: None,
            _page: browser::events::on_page_left_and_back(
                move || left.send_message(Msg::Action(Action::PageLeft)),
                move || back.send_message(Msg::Action(Action::PageBack)),
            ),
        }
    }

    fn update(&mut self, ctx: &Context<Self>, msg: Msg) -> bool {
        let Msg::Action(action) = msg else { return true };
        // Messages change only the log, whose panel is drawn once per frame.
        let only_logged = matches!(action, Action::Connection(ConnectionEvent::Received(_)));
        self.dispatch(ctx, action);
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
        let dispatch = ctx.link().callback(Msg::Action);
        html! {
            <div class="workbench">
                <div class="controls">
                    { connection_card(&self.state, &dispatch, js_sys::Date::now(), language) }
                    { composer(&self.state, &dispatch, language) }
                    { connection_details(&self.state, language) }
                </div>
                <LogPanel log={self.log.clone()} {language} />
            </div>
        }
    }
}

impl WorkbenchView {
    fn dispatch(&mut self, ctx: &Context<Self>, action: Action) {
        for effect in self.state.update(action, js_sys::Date::now()) {
            match effect {
                Effect::Open { url, protocols } => {
                    let events = ctx.link().callback(|event| Msg::Action(Action::Connection(event)));
                    if let Err(message) = self.connection.open(&url, protocols, events) {
                        self.dispatch(ctx, Action::Refused(message));
                    }
                }
                Effect::Send(text) => {
                    let outcome = self.connection.send(&text);
                    self.dispatch(ctx, outcome.map_or_else(Action::NotSent, |()| Action::Sent(text)));
                }
                Effect::Close(frame) => {
                    self.connection
                        .close(frame.as_ref().map(|(code, reason)| (*code, reason.as_str())));
                }
                Effect::Terminate => self.connection.terminate(),
                Effect::PollBuffer => self.connection.poll_buffer(),
                Effect::Fetch(url) => {
                    ctx.link()
                        .send_future(async move { Msg::Action(Action::HttpAnswer(echo_over_http::fetch(&url).await)) });
                }
                Effect::Record(item) => self.log.push(item),
                Effect::SaveField(field, text) => browser::save_field(field.name(), &text),
            }
        }
    }
}

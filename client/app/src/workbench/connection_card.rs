//! Where to connect, and the buttons that do it.

use web_sys::SubmitEvent;
use yew::{Callback, Html, html};

use super::state::{Action, Field, State};
use crate::{
    connection::Phase,
    form::{TextField, fault_line},
    i18n::{Language, Message, Text},
    shell::{state_badge, waiting_hint},
};

pub(super) fn connection_card(state: &State, act: &Callback<Action>, now: f64, language: Language) -> Html {
    let text = |text: Text| text.in_language(language);
    let field = |id: &'static str, label: Text, value, field: Field| TextField {
        invalid: state.fault.as_ref().is_some_and(|fault| fault.is_of(&field)),
        code: true,
        ..TextField::new(id, label, value, act.reform(move |text| Action::Edit(field, text)))
    };
    let onsubmit = act.reform(|event: SubmitEvent| {
        event.prevent_default();
        Action::Connect
    });
    let subprotocols = TextField {
        note: text(Text::SubprotocolsHint).into(),
        ..field(
            "subprotocols",
            Text::Subprotocols,
            &state.subprotocols,
            Field::Subprotocols,
        )
    };
    let close_reason = TextField {
        note: Message::ReasonBytes(state.close_reason.len()).in_language(language),
        code: false,
        ..field(
            "close_reason",
            Text::CloseReason,
            &state.close_reason,
            Field::CloseReason,
        )
    };
    // Both are of one size and never useful at once, so they take turns in one place.
    let second_button = if matches!(state.phase, Phase::Connecting { .. }) {
        html! {
            <button key="cancel" id="cancel_connect" type="button" onclick={act.reform(|_| Action::Cancel)}>{ text(Text::Cancel) }</button>
        }
    } else {
        html! {
            <button key="close" id="close_websocket" type="button" disabled={!state.phase.is_open()} onclick={act.reform(|_| Action::Close)}>
                { text(Text::Close) }
            </button>
        }
    };
    let fault = state
        .fault
        .as_ref()
        .filter(|fault| !fault.is_of(&Field::Message))
        .map(|fault| &fault.message);
    html! {
        <form class="card" {onsubmit} aria-labelledby="connection_title">
            <div class="card-head">
                <h2 id="connection_title">{ text(Text::Connection) }</h2>
                { state_badge("ready_state", &state.phase, now, language) }
            </div>
            { field("url", Text::Url, &state.url, Field::Url).draw(language) }
            { subprotocols.draw(language) }
            <div class="close-frame">
                { field("close_code", Text::CloseCode, &state.close_code, Field::CloseCode).draw(language) }
                { close_reason.draw(language) }
            </div>
            <div class="buttons">
                <button key="connect" id="connect_websocket" class="primary" type="submit" disabled={!state.phase.is_over()}>
                    { text(Text::Connect) }
                </button>
                { second_button }
            </div>
            { fault_line(fault, waiting_hint(&state.phase, now), language) }
        </form>
    }
}

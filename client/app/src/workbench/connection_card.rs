//! The form with the address, subprotocols, close code and reason, and the button to connect, cancel and disconnect.

use web_sys::{MouseEvent, SubmitEvent};
use yew::{Callback, Html, html};

use super::{
    reducer::{Action, Field, WorkbenchState},
    state_badge::{state_badge, waiting_hint},
};
use crate::{
    connection::Phase,
    form::{TextField, error_line},
    i18n::{Language, Sentence, Text},
};

pub(super) fn connection_card(
    state: &WorkbenchState,
    dispatch: &Callback<Action>,
    now: f64,
    language: Language,
) -> Html {
    let text = |text: Text| text.in_language(language);
    let field = |id: &'static str, label: Text, value, field: Field| TextField {
        invalid: state.error.as_ref().is_some_and(|error| error.is_of(&field)),
        code: true,
        ..TextField::new(id, label, value, dispatch.reform(move |text| Action::Edit(field, text)))
    };
    let onsubmit = dispatch.reform(|event: SubmitEvent| {
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
        note: Sentence::ReasonBytes(state.close_reason.len()).in_language(language),
        code: false,
        ..field(
            "close_reason",
            Text::CloseReason,
            &state.close_reason,
            Field::CloseReason,
        )
    };
    let error = state
        .error
        .as_ref()
        .filter(|error| !error.is_of(&Field::Message))
        .map(|error| &error.message);
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
            <div class="buttons">{ main_button(&state.phase, dispatch, language) }</div>
            { error_line(error, waiting_hint(&state.phase, now), language) }
        </form>
    }
}

/// Connects, cancels or disconnects: one button, so that it keeps the focus.
fn main_button(phase: &Phase, dispatch: &Callback<Action>, language: Language) -> Html {
    let (id, label, look, action): (_, _, _, fn() -> Action) = match phase {
        Phase::Idle | Phase::Closed(_) => ("connect_websocket", Text::Connect, "primary", || Action::Connect),
        Phase::Connecting { .. } => ("cancel_connect", Text::Cancel, "plain", || Action::Cancel),
        Phase::Open { .. } | Phase::Closing { .. } => ("close_websocket", Text::Disconnect, "plain", || Action::Close),
    };
    let is_closing = matches!(phase, Phase::Closing { .. });
    // Enter in a field presses the form's submit button, which is to connect and not to disconnect.
    let kind = if phase.is_over() { "submit" } else { "button" };
    let onclick = dispatch.reform(move |event: MouseEvent| {
        event.prevent_default();
        action()
    });
    html! {
        <button
            key="connect" {id} type={kind} data-look={look} {onclick}
            aria-disabled={is_closing.then_some("true")}
        >
            { label.in_language(language) }
        </button>
    }
}

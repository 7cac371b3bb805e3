//! The form with the address, subprotocols, close code and reason, and the buttons to connect, cancel and close.

use web_sys::SubmitEvent;
use yew::{Callback, Html, html};

use super::{
    reducer::{Action, Field, WorkbenchState},
    state_badge::{state_badge, waiting_hint},
};
use crate::{
    connection::Phase,
    form::{Button, Look, TextField, error_line},
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
    let button = |id, label, look, disabled| Button {
        id,
        label: text(label),
        look,
        disabled,
    };
    let connect = button(
        "connect_websocket",
        Text::Connect,
        Look::Primary,
        !state.phase.is_over(),
    );
    // Only one of them is useful at a time, so they share one place.
    let cancel_or_close = if matches!(state.phase, Phase::Connecting { .. }) {
        button("cancel_connect", Text::Cancel, Look::Plain, false).on_click(dispatch.reform(|_| Action::Cancel))
    } else {
        let disabled = !state.phase.is_open();
        button("close_websocket", Text::Close, Look::Plain, disabled).on_click(dispatch.reform(|_| Action::Close))
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
            <div class="buttons">{ connect.submit() }{ cancel_or_close }</div>
            { error_line(error, waiting_hint(&state.phase, now), language) }
        </form>
    }
}

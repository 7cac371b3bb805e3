//! The message to send, over the WebSocket or over HTTP.

use web_sys::{InputEvent, KeyboardEvent, SubmitEvent};
use yew::{Callback, Html, html};

use super::state::{Action, Field, State};
use crate::{
    form::{Button, ERROR_ID, Look, fault_line, text_of},
    format,
    i18n::{Language, Text},
    shell::{EnterKey, enter_key},
};

const HINT_ID: &str = "message_hint";

pub(super) fn composer(state: &State, act: &Callback<Action>, language: Language) -> Html {
    let fault = state
        .fault
        .as_ref()
        .filter(|fault| fault.is_of(&Field::Message))
        .map(|fault| &fault.message);
    let invalid = fault.is_some();
    let onkeydown = {
        let act = act.clone();
        move |event: KeyboardEvent| {
            if enter_key(&event) == Some(EnterKey::WithControl) {
                event.prevent_default();
                act.emit(Action::Send);
            }
        }
    };
    let onsubmit = act.reform(|event: SubmitEvent| {
        event.prevent_default();
        Action::Send
    });
    let button = |id, label: Text, look| Button {
        id,
        label: label.in_language(language),
        look,
        disabled: false,
    };
    let send = button("send_message", Text::Send, Look::Primary);
    let send_http = button("send_http", Text::SendHttp, Look::Plain);
    html! {
        <form class="card" {onsubmit}>
            <div class="field">
                <label for="message">{ Text::Message.in_language(language) }</label>
                <span class="note">{ format::size(state.message.len() as u64) }</span>
                <textarea
                    id="message" data-code="" rows="3" spellcheck="false" value={state.message.clone()} {onkeydown}
                    oninput={act.reform(|event: InputEvent| Action::Edit(Field::Message, text_of(&event)))}
                    aria-invalid={invalid.then_some("true")} aria-describedby={if invalid { ERROR_ID } else { HINT_ID }}
                />
            </div>
            <div class="buttons">{ send.submit() }{ send_http.act(act.reform(|_| Action::SendHttp)) }</div>
            { fault_line(fault, Some((HINT_ID, Text::SendHint)), language) }
        </form>
    }
}

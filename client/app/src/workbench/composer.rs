//! The message to send, over the WebSocket or over HTTP.

use web_sys::{InputEvent, KeyboardEvent, SubmitEvent};
use yew::{Callback, Html, html};

use super::state::{Action, Field, State};
use crate::{
    form::{ERROR_ID, fault_line, text_of},
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
    html! {
        <form class="card" {onsubmit}>
            <div class="field">
                <label for="message">{ Text::Message.in_language(language) }</label>
                <span class="note">{ format::size(state.message.len() as u64) }</span>
                <textarea
                    id="message" class="code" rows="3" spellcheck="false" value={state.message.clone()} {onkeydown}
                    oninput={act.reform(|event: InputEvent| Action::Edit(Field::Message, text_of(&event)))}
                    aria-invalid={invalid.then_some("true")} aria-describedby={if invalid { ERROR_ID } else { HINT_ID }}
                />
            </div>
            <div class="buttons">
                <button id="send_message" class="primary" type="submit">{ Text::Send.in_language(language) }</button>
                <button id="send_http" type="button" onclick={act.reform(|_| Action::SendHttp)}>
                    { Text::SendHttp.in_language(language) }
                </button>
            </div>
            { fault_line(fault, Some((HINT_ID, Text::SendHint)), language) }
        </form>
    }
}

//! The form for a message, which is sent over the WebSocket (button or Ctrl+Enter) or over HTTP.

use web_sys::{InputEvent, KeyboardEvent, SubmitEvent};
use yew::{Callback, Html, html};

use super::reducer::{Action, Field, WorkbenchState};
use crate::{
    form::{Button, ERROR_ID, Look, error_line, text_of},
    format,
    i18n::{Language, Text},
    keyboard::{EnterKey, enter_key},
};

const HINT_ID: &str = "message_hint";

pub(super) fn composer(state: &WorkbenchState, dispatch: &Callback<Action>, language: Language) -> Html {
    let error = state
        .error
        .as_ref()
        .filter(|error| error.is_of(&Field::Message))
        .map(|error| &error.message);
    let invalid = error.is_some();
    let onkeydown = {
        let dispatch = dispatch.clone();
        move |event: KeyboardEvent| {
            if enter_key(&event) == Some(EnterKey::WithControl) {
                event.prevent_default();
                dispatch.emit(Action::Send);
            }
        }
    };
    let onsubmit = dispatch.reform(|event: SubmitEvent| {
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
                    oninput={dispatch.reform(|event: InputEvent| Action::Edit(Field::Message, text_of(&event)))}
                    aria-invalid={invalid.then_some("true")} aria-describedby={if invalid { ERROR_ID } else { HINT_ID }}
                />
            </div>
            <div class="buttons">{ send.submit() }{ send_http.on_click(dispatch.reform(|_| Action::SendHttp)) }</div>
            { error_line(error, Some((HINT_ID, Text::SendHint)), language) }
        </form>
    }
}

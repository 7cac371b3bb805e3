//! The message to say: Enter sends, Shift+Enter starts a new line. Above it, who else is writing one.

use web_sys::{InputEvent, KeyboardEvent, SubmitEvent};
use yew::{Callback, Html, html};

use super::state::{Action, Field, State};
use crate::{
    form::{Button, ERROR_ID, Look, fault_line, text_of},
    i18n::{Language, Message, Text},
    shell::{EnterKey, enter_key},
};

/// The field of the message.
pub(super) const FIELD_ID: &str = "chat_message";

const HINT_ID: &str = "chat_hint";

pub(super) fn composer(state: &State, act: &Callback<Action>, language: Language) -> Html {
    let label = Text::Message.in_language(language);
    let fault = state
        .fault
        .as_ref()
        .filter(|fault| fault.is_of(&Field::Message))
        .map(|fault| &fault.message);
    let invalid = fault.is_some();
    let onkeydown = {
        let act = act.clone();
        move |event: KeyboardEvent| {
            if matches!(enter_key(&event), Some(EnterKey::Alone | EnterKey::WithControl)) {
                event.prevent_default();
                act.emit(Action::Send);
            }
        }
    };
    let onsubmit = act.reform(|event: SubmitEvent| {
        event.prevent_default();
        Action::Send
    });
    let send = Button {
        id: "chat_send",
        label: Text::Send.in_language(language),
        look: Look::Primary,
        disabled: false,
    };
    let typing: Vec<_> = state.typing.users().cloned().collect();
    html! {
        <form class="say" {onsubmit}>
            <p id="typing" class="typing">
                if !typing.is_empty() {
                    { Message::Typing(typing).in_language(language) }
                }
            </p>
            <div class="say-row">
                <textarea
                    id={FIELD_ID} rows="1" aria-label={label} placeholder={label} value={state.message.clone()} {onkeydown}
                    oninput={act.reform(|event: InputEvent| Action::Edit(Field::Message, text_of(&event)))}
                    aria-invalid={invalid.then_some("true")} aria-describedby={if invalid { ERROR_ID } else { HINT_ID }}
                />
                { send.submit() }
            </div>
            { fault_line(fault, Some((HINT_ID, Text::ChatHint)), language) }
        </form>
    }
}

//! The form for a message: Enter sends, Shift+Enter starts a new line. Above it, the users who are typing.

use web_sys::{InputEvent, KeyboardEvent, SubmitEvent};
use yew::{Callback, Html, html};

use super::reducer::{Action, ChatState, Field};
use crate::{
    form::{Button, ERROR_ID, Look, error_line, text_of},
    format,
    i18n::{Language, Sentence, Text},
    keyboard::{EnterKey, enter_key},
};

/// The `id` of the message field.
pub(super) const FIELD_ID: &str = "chat_message";

const HINT_ID: &str = "chat_hint";

pub(super) fn composer(state: &ChatState, dispatch: &Callback<Action>, language: Language) -> Html {
    let label = Text::Message.in_language(language);
    let error = state
        .error
        .as_ref()
        .filter(|error| error.is_of(&Field::Message))
        .map(|error| &error.message);
    let invalid = error.is_some();
    let onkeydown = {
        let dispatch = dispatch.clone();
        move |event: KeyboardEvent| {
            if matches!(enter_key(&event), Some(EnterKey::Alone | EnterKey::WithControl)) {
                event.prevent_default();
                dispatch.emit(Action::Send);
            }
        }
    };
    let onsubmit = dispatch.reform(|event: SubmitEvent| {
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
                    { Sentence::Typing(typing).in_language(language) }
                }
            </p>
            <div class="say-row">
                <textarea
                    id={FIELD_ID} rows="1" aria-label={label} placeholder={label} value={state.message.clone()}
                    {onkeydown}
                    oninput={dispatch.reform(|event: InputEvent| Action::Edit(Field::Message, text_of(&event)))}
                    aria-invalid={invalid.then_some("true")} aria-describedby={if invalid { ERROR_ID } else { HINT_ID }}
                />
                if let Some((bytes, max)) = state.size() {
                    <span id="chat_size" class="say-size" data-over={(bytes > max).then_some("")}>
                        { format::size(bytes as u64) }{ " / " }{ format::size(max as u64) }
                    </span>
                }
                { send.submit() }
            </div>
            { error_line(error, Some((HINT_ID, Text::ChatHint)), language) }
        </form>
    }
}

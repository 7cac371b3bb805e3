//! The form for a message: Enter sends, Shift+Enter starts a new line. Below it, the users who are typing. An error stands
//! over the end of the list, so that showing it moves nothing.

use web_sys::{
    EventTarget, HtmlTextAreaElement, InputEvent, KeyboardEvent, MouseEvent, SubmitEvent, wasm_bindgen::JsCast,
};
use yew::{Callback, Html, html};

use super::{
    mentions::Completion,
    person::avatar,
    reducer::{Action, ChatState, Field},
    sentences,
};
use crate::{
    form::{Button, ERROR_ID, Look, text_of},
    format,
    i18n::{Language, Text},
    keyboard::{EnterKey, enter_key, is_of_input_method},
};

/// The `id` of the message field.
pub(super) const FIELD_ID: &str = "chat_message";

const HINT_ID: &str = "chat_hint";

/// The `id` of the list of names.
const NAMES_ID: &str = "chat_names";

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
        let completes = state.completion.is_some();
        move |event: KeyboardEvent| {
            if completes && let Some(action) = completion_key(&event) {
                event.prevent_default();
                event.stop_propagation();
                dispatch.emit(action);
            } else if matches!(enter_key(&event), Some(EnterKey::Alone | EnterKey::WithControl)) {
                event.prevent_default();
                dispatch.emit(Action::Send);
            }
        }
    };
    let onsubmit = dispatch.reform(|event: SubmitEvent| {
        event.prevent_default();
        Action::Send
    });
    let undo = Button {
        id: "chat_undo",
        label: Text::Undo.in_language(language),
        look: Look::Small,
    };
    let send = Button {
        id: "chat_send",
        label: Text::Send.in_language(language),
        look: Look::Primary,
    };
    let typing: Vec<_> = state.typing.users().cloned().collect();
    let oninput = {
        let dispatch = dispatch.clone();
        move |event: InputEvent| {
            dispatch.emit(Action::Edit(Field::Message, text_of(&event)));
            dispatch.emit(Action::CaretAt(caret_of(event.target())));
        }
    };
    let marked = state.completion.as_ref().map(|completion| name_id(completion.marked));
    let room = state.room.as_deref().unwrap_or_default().to_owned();
    html! {
        <form key="composer" class="say" {onsubmit}>
            if let Some(error) = error {
                <p key="error" id={ERROR_ID} class="say-error" role="alert">{ error.in_language(language) }</p>
            }
            if let Some(completion) = &state.completion {
                { names(completion, dispatch, language) }
            }
            <div key="box" class="say-box" data-invalid={invalid.then_some("")}>
                <textarea
                    key={FIELD_ID} id={FIELD_ID} rows="1" dir="auto" aria-label={label}
                    placeholder={Text::MessageTo.with([room.into()]).in_language(language)} value={state.message.clone()}
                    {onkeydown}
                    {oninput} aria-autocomplete="list" aria-controls={marked.as_ref().map(|_| NAMES_ID)}
                    aria-activedescendant={marked} aria-invalid={invalid.then_some("true")}
                    aria-describedby={if invalid { ERROR_ID } else { HINT_ID }}
                />
                if let Some((bytes, max)) = state.size() {
                    <span key="size" id="chat_size" class="say-size" data-over={(bytes > max).then_some("")}>
                        { format::size(bytes as u64) }{ " / " }{ format::size(max as u64) }
                    </span>
                }
                { send.submit() }
            </div>
            <div key="line" class="say-line">
                <p id="typing" class="typing">
                    if state.discarded.is_some() {
                        <span key="discarded" role="status">{ Text::Discarded.in_language(language) }{ " " }</span>
                        { undo.on_click(dispatch.reform(|_| Action::UndoDiscard)) }
                    } else if let Some((text, _)) = state.flash {
                        <span key="flash" id="chat_flash" role="status">{ text.in_language(language) }</span>
                    } else if !typing.is_empty() {
                        { sentences::typing(&typing).in_language(language) }
                    }
                </p>
                { key_hints(language) }
            </div>
        </form>
    }
}

/// The caret of a field, as an index in UTF-16; at the end of its text where the browser does not say.
fn caret_of(field: Option<EventTarget>) -> usize {
    let field = field.and_then(|field| field.dyn_into::<HtmlTextAreaElement>().ok());
    let caret = field.and_then(|field| field.selection_start().ok().flatten());
    caret.map_or(usize::MAX, |caret| caret as usize)
}

/// What a key does while names are offered; an input method's keys are its own.
fn completion_key(event: &KeyboardEvent) -> Option<Action> {
    if enter_key(event) == Some(EnterKey::Alone) {
        return Some(Action::TakeName(None));
    }
    if is_of_input_method(event) || event.ctrl_key() || event.meta_key() || event.alt_key() || event.shift_key() {
        return None;
    }
    match event.key().as_str() {
        "ArrowDown" => Some(Action::MarkName { back: false }),
        "ArrowUp" => Some(Action::MarkName { back: true }),
        "Tab" => Some(Action::TakeName(None)),
        "Escape" => Some(Action::Dismiss),
        _ => None,
    }
}

/// The list of names that complete a mention. The focus stays in the message field.
fn names(completion: &Completion, dispatch: &Callback<Action>, language: Language) -> Html {
    html! {
        <ul key="names" id={NAMES_ID} class="names" role="listbox" aria-label={Text::People.in_language(language)}>
            { for completion.names.iter().enumerate().map(|(index, name)| {
                let is_marked = index == completion.marked;
                // On the press, because the field would lose the focus to it.
                let onmousedown = dispatch.reform(move |event: MouseEvent| {
                    event.prevent_default();
                    Action::TakeName(Some(index))
                });
                html! {
                    <li
                        key={name.to_string()} id={name_id(index)} role="option"
                        aria-selected={if is_marked { "true" } else { "false" }} {onmousedown}
                    >
                        { avatar(name) }
                        <span key="name" class="name" dir="auto">{ name.to_string() }</span>
                    </li>
                }
            }) }
        </ul>
    }
}

fn name_id(index: usize) -> String {
    format!("{NAMES_ID}_{index}")
}

/// The keys as pictures, and as a sentence for screen readers.
fn key_hints(language: Language) -> Html {
    html! {
        <p class="keys">
            <span id={HINT_ID} class="visually-hidden">{ Text::ChatHint.in_language(language) }</span>
            <span aria-hidden="true">
                <kbd>{ "↵" }</kbd>{ " " }{ Text::KeySends.in_language(language) }
                <kbd>{ "⇧ ↵" }</kbd>{ " " }{ Text::KeyNewLine.in_language(language) }
            </span>
        </p>
    }
}

//! Key presses: Enter in a message field, the keys of the workbench and of its log, and the key of the help. The messages' fields are in each view's
//! `composer.rs`.

use web_sys::{Element, KeyboardEvent};
use yew::TargetCast;

use crate::{browser, workbench::SelectionMove};

/// The key code of a key that an input method handles, also where `isComposing` is false already (WebKit).
const IME_KEY_CODE: u32 = 229;

/// An Enter key press outside of the composition of an input method, where Enter only selects the characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EnterKey {
    Alone,
    WithShift,
    /// With Control, or with Command on a Mac.
    WithControl,
}

/// Reads a `keydown` event; none for every other key.
pub(crate) fn enter_key(event: &KeyboardEvent) -> Option<EnterKey> {
    classify(Key {
        name: &event.key(),
        composing: event.is_composing(),
        code: event.key_code(),
        shift: event.shift_key(),
        control: event.ctrl_key() || event.meta_key(),
    })
}

/// Whether a key is an input method's, which uses it to choose characters.
pub(crate) fn is_of_input_method(event: &KeyboardEvent) -> bool {
    event.is_composing() || event.key_code() == IME_KEY_CODE
}

/// What a key does in the workbench's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogKey {
    Move(SelectionMove),
    /// To the text of the selected message.
    FocusDetails,
    CloseDetails,
    Copy,
}

/// Reads a `keydown` event of the log and takes it from the browser; none for every other key and with a modifier.
pub(crate) fn log_key(event: &KeyboardEvent) -> Option<LogKey> {
    if event.ctrl_key() || event.meta_key() || event.alt_key() {
        return None;
    }
    let key = match event.key().as_str() {
        "ArrowUp" => LogKey::Move(SelectionMove::Up),
        "ArrowDown" => LogKey::Move(SelectionMove::Down),
        "PageUp" => LogKey::Move(SelectionMove::PageUp),
        "PageDown" => LogKey::Move(SelectionMove::PageDown),
        "Home" => LogKey::Move(SelectionMove::First),
        "End" => LogKey::Move(SelectionMove::Last),
        "Enter" => LogKey::FocusDetails,
        "Escape" => LogKey::CloseDetails,
        "c" | "C" => LogKey::Copy,
        _ => return None,
    };
    event.prevent_default();
    Some(key)
}

/// What a key does anywhere in the workbench.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WorkbenchKey {
    /// To the address.
    Address,
    /// Connects, cancels or disconnects.
    Connection,
    Send,
}

/// Reads a `keydown` event of the window and takes it from the browser; none for every other key.
pub(crate) fn workbench_key(event: &KeyboardEvent) -> Option<WorkbenchKey> {
    if !(event.ctrl_key() || event.meta_key()) || event.alt_key() || event.default_prevented() {
        return None;
    }
    let in_dialog = event
        .target_dyn_into::<Element>()
        .and_then(|target| target.closest(":popover-open").ok().flatten());
    let key = match (event.key().as_str(), event.shift_key()) {
        // With Caps Lock it is the capital letter.
        ("k" | "K", false) => WorkbenchKey::Address,
        _ if enter_key(event).is_none() => return None,
        (_, true) => WorkbenchKey::Connection,
        (_, false) if in_dialog.is_none() => WorkbenchKey::Send,
        _ => return None,
    };
    event.prevent_default();
    Some(key)
}

/// What a key does anywhere in the chat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChatKey {
    /// Shows the list to switch to another room, or hides it.
    Rooms,
    /// Shows the search, or hides it.
    Search,
    /// Closes what is open over the conversation.
    Dismiss,
}

/// Reads a `keydown` event of the window and takes it from the browser; none for every other key, for a key of an input method, and
/// for the Escape key that closes a popover.
pub(crate) fn chat_key(event: &KeyboardEvent) -> Option<ChatKey> {
    // Some keyboards have the slash on a key with Shift.
    if is_of_input_method(event) || event.alt_key() || event.shift_key() && event.key() != "/" {
        return None;
    }
    match (event.key().as_str(), event.ctrl_key() || event.meta_key()) {
        ("Escape", false) if !browser::has_popover() => Some(ChatKey::Dismiss),
        (key @ ("k" | "K" | "/"), true) => {
            event.prevent_default();
            Some(if key == "/" { ChatKey::Search } else { ChatKey::Rooms })
        }
        _ => None,
    }
}

/// The elements in which a character is typed.
const TEXT_FIELDS: &str = "input:not([type=radio],[type=checkbox],[type=file]),textarea,select";

/// Whether a `keydown` event of the window asks to close the details: the Escape key, unless it closes a popover, clears a search field, or is for
/// something that has taken it.
pub(crate) fn is_details_key(event: &KeyboardEvent) -> bool {
    let in_search = event
        .target_dyn_into::<Element>()
        .is_some_and(|target| matches!(target.matches("[type=search]:not(:placeholder-shown)"), Ok(true)));
    event.key() == "Escape"
        && !event.default_prevented()
        && !is_of_input_method(event)
        && !in_search
        && !browser::has_popover()
}

/// Whether a `keydown` event of the window asks for the help: a question mark that is no part of a text.
pub(crate) fn is_help_key(event: &KeyboardEvent) -> bool {
    let is_typed = event
        .target_dyn_into::<Element>()
        .is_some_and(|target| matches!(target.matches(TEXT_FIELDS), Ok(true)));
    event.key() == "?" && !is_typed && !event.ctrl_key() && !event.meta_key() && !event.alt_key()
}

/// Whether a `keydown` event anywhere in the window is the key of the log's filter, Ctrl+/; it is taken from the browser then.
pub(crate) fn is_filter_key(event: &KeyboardEvent) -> bool {
    let is_filter_key = (event.ctrl_key() || event.meta_key()) && !event.alt_key() && event.key() == "/";
    if is_filter_key {
        event.prevent_default();
    }
    is_filter_key
}

struct Key<'a> {
    name: &'a str,
    composing: bool,
    code: u32,
    shift: bool,
    control: bool,
}

fn classify(key: Key<'_>) -> Option<EnterKey> {
    if key.name != "Enter" || key.composing || key.code == IME_KEY_CODE {
        None
    } else if key.control {
        Some(EnterKey::WithControl)
    } else if key.shift {
        Some(EnterKey::WithShift)
    } else {
        Some(EnterKey::Alone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTER: Key<'_> = Key {
        name: "Enter",
        composing: false,
        code: 13,
        shift: false,
        control: false,
    };

    #[test]
    fn enter_during_the_composition_of_an_input_method_is_ignored() {
        assert_eq!(
            classify(Key {
                composing: true,
                ..ENTER
            }),
            None
        );
        assert_eq!(
            classify(Key {
                composing: true,
                control: true,
                ..ENTER
            }),
            None
        );
        let by_code = Key {
            code: IME_KEY_CODE,
            ..ENTER
        };
        assert_eq!(classify(by_code), None);
        assert_eq!(classify(ENTER), Some(EnterKey::Alone));
    }

    #[test]
    fn modifiers_are_distinguished_and_other_keys_are_ignored() {
        assert_eq!(classify(Key { shift: true, ..ENTER }), Some(EnterKey::WithShift));
        assert_eq!(
            classify(Key {
                control: true,
                shift: true,
                ..ENTER
            }),
            Some(EnterKey::WithControl)
        );
        assert_eq!(
            classify(Key {
                name: "a",
                control: true,
                ..ENTER
            }),
            None
        );
    }
}

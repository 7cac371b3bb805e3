//! Key presses: Enter in a message field, the keys of the workbench and of its log, and the key of the help. The messages' fields are in each view's
//! `composer.rs`.

use web_sys::{Element, KeyboardEvent};
use yew::TargetCast;

use crate::workbench::SelectionMove;

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
}

/// Reads a `keydown` event of the window and takes it from the browser; none for every other key.
pub(crate) fn workbench_key(event: &KeyboardEvent) -> Option<WorkbenchKey> {
    if !(event.ctrl_key() || event.meta_key()) || event.alt_key() {
        return None;
    }
    let key = match (event.key().as_str(), event.shift_key()) {
        ("k", false) => WorkbenchKey::Address,
        ("Enter", true) => WorkbenchKey::Connection,
        _ => return None,
    };
    event.prevent_default();
    Some(key)
}

/// Whether a `keydown` event of the window asks for the help: a question mark that is no part of a text.
pub(crate) fn is_help_key(event: &KeyboardEvent) -> bool {
    let is_typed = event
        .target_dyn_into::<Element>()
        .is_some_and(|target| matches!(target.tag_name().as_str(), "INPUT" | "TEXTAREA" | "SELECT"));
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

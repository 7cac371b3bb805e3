//! What the page remembers in the browser's storage: language, theme, user name. Without storage the page forgets them.

use wasm_bindgen::JsValue;
use web_sys::Storage;

use super::window;

/// A remembered value and its key in `localStorage`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Setting {
    Language,
    Theme,
    Name,
}

impl Setting {
    fn key(self) -> &'static str {
        match self {
            // Read by assets/first-paint.js as well.
            Self::Language => "talkback.language",
            Self::Theme => "talkback.theme",
            Self::Name => "talkback.name",
        }
    }
}

/// The user name of this tab, or else the one that was used last in any tab. Two tabs may be two users.
pub(crate) fn remembered_name() -> Option<String> {
    let of_tab = tab_storage()?.get_item(Setting::Name.key()).ok().flatten();
    of_tab.or_else(|| remembered(Setting::Name))
}

/// Remembers the user name for this tab and for new tabs.
pub(crate) fn remember_name(name: &str) {
    if let Some(storage) = tab_storage() {
        // As in `remember`.
        let _: Result<(), JsValue> = storage.set_item(Setting::Name.key(), name);
    }
    remember(Setting::Name, name);
}

/// The remembered value; none if there is none or the browser forbids storage.
pub(crate) fn remembered(setting: Setting) -> Option<String> {
    storage()?.get_item(setting.key()).ok().flatten()
}

/// Remembers a value if the browser allows it.
pub(crate) fn remember(setting: Setting, value: &str) {
    if let Some(storage) = storage() {
        // A full or forbidden storage only means that the page asks again next time.
        let _: Result<(), JsValue> = storage.set_item(setting.key(), value);
    }
}

fn tab_storage() -> Option<Storage> {
    window().session_storage().ok().flatten()
}

fn storage() -> Option<Storage> {
    window().local_storage().ok().flatten()
}

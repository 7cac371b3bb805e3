//! What the page remembers in the browser's storage: language, theme, user name, drafts. Without storage the page
//! forgets them.

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
            // Read by assets/boot.js as well.
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
fn remembered(setting: Setting) -> Option<String> {
    storage()?.get_item(setting.key()).ok().flatten()
}

/// Remembers a value if the browser allows it.
pub(crate) fn remember(setting: Setting, value: &str) {
    if let Some(storage) = storage() {
        // A full or forbidden storage only means that the page asks again next time.
        let _: Result<(), JsValue> = storage.set_item(setting.key(), value);
    }
}

/// Texts above so many bytes are not kept: the browser's few megabytes for a tab also hold the messages that are not sent
/// yet.
const MAX_KEPT_BYTES: usize = 64 << 10;

/// What the user has put into a field of the workbench in this tab; none if it has its first value.
pub(crate) fn field(name: &str) -> Option<String> {
    tab_storage()?.get_item(&field_key(name)).ok().flatten()
}

/// Keeps the text of a field for as long as the tab is open.
pub(crate) fn save_field(name: &str, text: &str) {
    keep(&field_key(name), Some(text));
}

fn field_key(name: &str) -> String {
    format!("talkback.workbench.{name}")
}

/// What the user has written in a room of this tab and not sent.
pub(crate) fn draft(room: &str) -> String {
    let draft = tab_storage().and_then(|storage| storage.get_item(&draft_key(room)).ok().flatten());
    draft.unwrap_or_default()
}

/// Keeps a draft for as long as the tab is open; an empty one is removed.
pub(crate) fn save_draft(room: &str, text: &str) {
    keep(&draft_key(room), Some(text).filter(|text| !text.is_empty()));
}

/// Keeps a text for as long as the tab is open, or removes the one before.
fn keep(key: &str, text: Option<&str>) {
    let Some(storage) = tab_storage() else { return };
    // As in `remember`.
    let _: Result<(), JsValue> = match text.filter(|text| text.len() <= MAX_KEPT_BYTES) {
        Some(text) => storage.set_item(key, text),
        None => storage.remove_item(key),
    };
}

fn draft_key(room: &str) -> String {
    format!("talkback.draft.{room}")
}

fn tab_storage() -> Option<Storage> {
    window().session_storage().ok().flatten()
}

fn storage() -> Option<Storage> {
    window().local_storage().ok().flatten()
}

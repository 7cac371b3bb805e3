//! What the page remembers in the browser's storage, such as language, theme, addresses, drafts and rooms. Without
//! storage the page forgets it.

use wasm_bindgen::JsValue;
use web_sys::Storage;

use super::window;

/// The name of the database with what was read in the chat. Also in assets/boot.js, which deletes it.
pub(crate) const HISTORY_DATABASE: &str = "talkback.history";

/// A remembered value and its key in `localStorage`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Setting {
    Language,
    Theme,
    Name,
    /// The addresses that the workbench remembers.
    Addresses,
    /// Whether the workbench connects again by itself.
    Reconnect,
    /// The connections and snippets that the user has saved.
    Saved,
    /// Of the pane with the selected message, in CSS pixels.
    DetailWidth,
}

impl Setting {
    fn key(self) -> &'static str {
        match self {
            // Read by assets/boot.js as well.
            Self::Language => "talkback.language",
            Self::Theme => "talkback.theme",
            Self::Name => "talkback.name",
            Self::Addresses => "talkback.addresses",
            Self::Reconnect => "talkback.reconnect",
            Self::Saved => "talkback.saved",
            Self::DetailWidth => "talkback.detail_width",
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
    // A full or forbidden storage only means that the page asks again next time.
    let _: bool = store(setting, value);
}

/// Does the same; returns whether the browser allows it and has space.
pub(crate) fn store(setting: Setting, value: &str) -> bool {
    storage().is_some_and(|storage| storage.set_item(setting.key(), value).is_ok())
}

/// Removes everything that the page remembers here: also drafts, and the messages that are not sent yet.
pub(super) fn forget_all() {
    for storage in [storage(), tab_storage()].into_iter().flatten() {
        // First, because other tabs see that: see `save_read_cursors`.
        let _: Result<(), JsValue> = storage.remove_item(Setting::Name.key());
        let count = storage.length().unwrap_or_default();
        let keys: Vec<_> = (0..count)
            .filter_map(|index| storage.key(index).ok().flatten())
            .collect();
        for key in keys.iter().filter(|key| key.starts_with(PREFIX)) {
            // As in `remember`.
            let _: Result<(), JsValue> = storage.remove_item(key);
        }
    }
}

/// Of all keys of the page and of the client crate.
const PREFIX: &str = "talkback";

/// Texts above so many bytes are not kept: the browser's few megabytes for a tab also hold the messages that are not sent
/// yet.
pub(crate) const MAX_KEPT_BYTES: usize = 64 << 10;

/// What the user has put into a field of the workbench in this tab; none if it has its first value.
pub(crate) fn field(name: &str) -> Option<String> {
    tab_storage()?.get_item(&field_key(name)).ok().flatten()
}

/// Keeps the text of a field for as long as the tab is open. One that is too long, or for which there is no space, is kept as an empty one: an
/// older text would be taken for it.
pub(crate) fn save_field(name: &str, text: &str) {
    let kept = if text.len() <= MAX_KEPT_BYTES { text } else { "" };
    if !keep(&field_key(name), Some(kept)) {
        keep(&field_key(name), Some(""));
    }
}

/// Forgets the text of a field.
pub(crate) fn forget_field(name: &str) {
    keep(&field_key(name), None);
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

/// Keeps a text for as long as the tab is open, or removes the one before; returns whether the browser allows it and has space.
fn keep(key: &str, text: Option<&str>) -> bool {
    let Some(storage) = tab_storage() else { return false };
    let kept = match text.filter(|text| text.len() <= MAX_KEPT_BYTES) {
        Some(text) => storage.set_item(key, text),
        None => storage.remove_item(key),
    };
    kept.is_ok()
}

fn draft_key(room: &str) -> String {
    format!("talkback.draft.{room}")
}

fn failed_key(room: &str, user: &str) -> String {
    format!("talkback.failed.{room}\n{user}")
}

/// The messages of this user in this room of this tab that failed.
pub(crate) fn failed_messages(room: &str, user: &str) -> String {
    let text = tab_storage().and_then(|storage| storage.get_item(&failed_key(room, user)).ok().flatten());
    text.unwrap_or_default()
}

pub(crate) fn save_failed_messages(room: &str, user: &str, text: &str) {
    keep(&failed_key(room, user), Some(text).filter(|text| !text.is_empty()));
}

/// The state of the entry of the history where the page has forgotten everything. Also in assets/boot.js.
const FORGOTTEN: &str = "forgotten";

/// The key of the rooms that the user has opened.
const ROOMS: &str = "talkback.rooms";

/// The rooms that the user has opened; none where the browser forbids storage.
pub(crate) fn remembered_rooms() -> Option<String> {
    Some(storage()?.get_item(ROOMS).ok().flatten().unwrap_or_default())
}

pub(crate) fn remember_rooms(rooms: &str) {
    // After the page has forgotten everything, the room of its path is none that the user has opened.
    let state = window().history().and_then(|history| history.state());
    let is_forgotten = state.is_ok_and(|state| state == JsValue::from_str(FORGOTTEN));
    if let Some(storage) = storage().filter(|_| !is_forgotten) {
        // As in `remember`.
        let _: Result<(), JsValue> = storage.set_item(ROOMS, rooms);
    }
}

fn read_key(user: &str) -> String {
    format!("talkback.read.{user}")
}

/// Up to where this user has read the rooms.
pub(crate) fn read_cursors(user: &str) -> String {
    let text = storage().and_then(|storage| storage.get_item(&read_key(user)).ok().flatten());
    text.unwrap_or_default()
}

/// After a tab has forgotten everything there is no name, and others keep nothing of what was read before.
pub(crate) fn save_read_cursors(user: &str, text: &str) {
    if let Some(storage) = storage().filter(|_| remembered(Setting::Name).is_some()) {
        // As in `remember`.
        let _: Result<(), JsValue> = storage.set_item(&read_key(user), text);
    }
}

/// The key of the rooms that this tab is in besides the one that it shows.
const JOINED: &str = "talkback.joined";

pub(crate) fn joined_rooms() -> String {
    let text = tab_storage().and_then(|storage| storage.get_item(JOINED).ok().flatten());
    text.unwrap_or_default()
}

pub(crate) fn save_joined_rooms(rooms: &str) {
    keep(JOINED, Some(rooms).filter(|rooms| !rooms.is_empty()));
}

/// The keys of whether the user wants notifications and sounds.
const ALERTS: &str = "talkback.alerts";
const SOUNDS: &str = "talkback.sounds";

pub(crate) fn remembered_alerts() -> bool {
    is_wanted(ALERTS)
}

pub(crate) fn remember_alerts(wanted: bool) {
    want(ALERTS, wanted);
}

pub(crate) fn remembered_sounds() -> bool {
    is_wanted(SOUNDS)
}

pub(crate) fn remember_sounds(wanted: bool) {
    want(SOUNDS, wanted);
}

fn is_wanted(key: &str) -> bool {
    storage().is_some_and(|storage| matches!(storage.get_item(key), Ok(Some(_))))
}

fn want(key: &str, wanted: bool) {
    if let Some(storage) = storage() {
        // As in `remember`.
        let _: Result<(), JsValue> = if wanted {
            storage.set_item(key, "")
        } else {
            storage.remove_item(key)
        };
    }
}

fn tab_storage() -> Option<Storage> {
    window().session_storage().ok().flatten()
}

fn storage() -> Option<Storage> {
    window().local_storage().ok().flatten()
}

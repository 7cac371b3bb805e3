//! What the page uses of the browser: address bar, title, clipboard, dates, and in its parts storage and events. No
//! call returns an error.

pub(crate) mod events;
pub(crate) mod files;
mod storage;

pub(crate) use storage::{
    MAX_KEPT_BYTES, Setting, draft, field, forget_field, remember, remember_name, remembered, remembered_name,
    save_draft, save_field, store,
};

pub(crate) use storage::{
    HISTORY_DATABASE, failed_messages, joined_rooms, read_cursors, remember_alerts, remember_rooms, remember_sounds,
    remembered_alerts, remembered_rooms, remembered_sounds, save_failed_messages, save_joined_rooms, save_read_cursors,
};

use wasm_bindgen::{JsCast, JsValue, prelude::Closure};
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::{
    AudioContext, Document, Element, HtmlDocument, HtmlElement, HtmlInputElement, HtmlTextAreaElement, MouseEvent,
    Notification, NotificationOptions, ServiceWorkerContainer, ServiceWorkerRegistration, Window,
};

use crate::{i18n::Language, route::with_trace_of, theme::Theme};

/// The day of the local calendar as a count of days, with the offset from UTC at that time.
pub(crate) fn local_day(at: f64) -> i64 {
    const DAY_MS: f64 = 86_400_000.0;
    let minutes = js_sys::Date::new(&JsValue::from_f64(at)).get_timezone_offset();
    #[expect(clippy::cast_possible_truncation, reason = "days are far below 2^53")]
    let day = ((at - minutes * 60_000.0) / DAY_MS).floor() as i64;
    day
}

/// A date in a language, like "Saturday, 21 November 2026".
pub(crate) fn date_in_words(at: f64, language: Language) -> String {
    let options = js_sys::Object::new();
    for (key, value) in [
        ("weekday", "long"),
        ("year", "numeric"),
        ("month", "long"),
        ("day", "numeric"),
    ] {
        // A new object takes every property.
        let _: Result<bool, JsValue> = js_sys::Reflect::set(&options, &key.into(), &value.into());
    }
    let date = js_sys::Date::new(&JsValue::from_f64(at));
    date.to_locale_date_string(language.tag(), &options).into()
}

/// The text in small letters: by the browser, because the tables of the letters would cost the page some kilobytes.
/// Where tests run there is none.
pub(crate) fn lower_case(text: &str) -> String {
    if cfg!(target_family = "wasm") {
        js_sys::JsString::from(text).to_lower_case().into()
    } else {
        text.to_lowercase()
    }
}

/// The text in capital letters, as [`lower_case`].
pub(crate) fn upper_case(text: &str) -> String {
    if cfg!(target_family = "wasm") {
        js_sys::JsString::from(text).to_upper_case().into()
    } else {
        text.to_uppercase()
    }
}

/// The first character of a text that a server of this project allows in no room name: one that is no letter, digit or mark, or
/// that is not visible. By the browser, as [`lower_case`]; where tests run, without invisible ones and marks.
pub(crate) fn bad_in_room(name: &str) -> Option<char> {
    if cfg!(target_family = "wasm") {
        // As `room` of server/src/names.rs.
        first_match(
            name,
            r"[^\p{Alphabetic}\p{N}\p{M}\-_.~]|\p{Default_Ignorable_Code_Point}|[\u115f\u1160\u2800\u3164\uffa0]",
        )
    } else {
        name.chars().find(|c| !(c.is_alphanumeric() || "-_.~".contains(*c)))
    }
}

/// The first character of a text that such a server allows in no user name: a bracket, or one that is not visible. It refuses some
/// more.
pub(crate) fn bad_in_user(name: &str) -> Option<char> {
    if cfg!(target_family = "wasm") {
        // Joiners and tags are in emoji.
        first_match(
            name,
            r"[\[\]\p{Cc}\p{Co}\p{Zl}\p{Zp}]|(?![\u200c\u200d\u{e0020}-\u{e007f}])\p{Cf}",
        )
    } else {
        name.chars().find(|c| matches!(c, '[' | ']' | '\u{202a}'..='\u{202e}'))
    }
}

fn first_match(text: &str, pattern: &str) -> Option<char> {
    let found = js_sys::RegExp::new(pattern, "u").exec(text)?;
    found.get(0).as_string()?.chars().next()
}

/// Whether an element has the focus: without one it is the body that gets the keys.
pub(crate) fn has_focus() -> bool {
    let document = document();
    let body = document.body().map(Element::from);
    document.active_element().is_some_and(|element| Some(element) != body)
}

/// Whether the page is visible, as in `document.hidden`.
pub(crate) fn is_page_visible() -> bool {
    !document().hidden()
}

/// Whether a popover is open.
pub(crate) fn has_popover() -> bool {
    // Browsers without popovers do not know the selector.
    matches!(document().query_selector(":popover-open"), Ok(Some(_)))
}

/// The page's path, percent-encoded.
pub(crate) fn path() -> String {
    window().location().pathname().unwrap_or_default()
}

/// The fragment of the page's address without its `#`; empty if there is none.
pub(crate) fn fragment() -> String {
    let hash = window().location().hash().unwrap_or_default();
    hash.trim_start_matches('#').to_owned()
}

/// The page's origin, like `http://127.0.0.1:3000`.
pub(crate) fn origin() -> String {
    window().location().origin().unwrap_or_default()
}

/// The query of the page's address, with its question mark; empty if there is none.
pub(crate) fn query() -> String {
    window().location().search().unwrap_or_default()
}

/// Adds a path, which may have a fragment, to the history, shows it in the address bar, and tells both binaries and `assets/boot.js`.
pub(crate) fn push_path(path: &str) {
    let address = with_trace_of(&query(), path);
    if let Ok(history) = window().history() {
        // Refused only for other origins or hundreds of calls a second.
        let _: Result<(), JsValue> = history.push_state_with_url(&JsValue::NULL, "", Some(&address));
    }
    events::tell(events::PATH);
}

/// The origin of the page's server, see [`crate::server_address::server_origin`].
pub(crate) fn server_origin() -> String {
    let location = window().location();
    crate::server_address::server_origin(
        &location.origin().unwrap_or_default(),
        &location.port().unwrap_or_default(),
    )
}

/// Sets the page's title, which tells the view and how many messages of the chat are unread.
pub(crate) fn set_title(view: &str, unread: usize) {
    let title = match unread {
        0 => format!("{view} · Talkback"),
        unread => format!("({unread}) {view} · Talkback"),
    };
    document().set_title(&title);
}

/// The attribute of the document's root element with the number of unread messages of the chat.
const UNREAD: &str = "data-unread";

/// How many messages of the chat are unread.
pub(crate) fn unread() -> usize {
    let root = document().document_element();
    let unread = root.and_then(|root| root.get_attribute(UNREAD));
    unread.and_then(|unread| unread.parse().ok()).unwrap_or_default()
}

/// Sets it, shows it in the page's icon, and tells both binaries.
pub(crate) fn set_unread(unread: usize) {
    let document = document();
    if let Some(root) = document.document_element() {
        // This attribute name is valid, so setting it cannot fail.
        let _: Result<(), JsValue> = root.set_attribute(UNREAD, &unread.to_string());
    }
    for (id, is_shown) in [("icon", unread == 0), ("icon_unread", unread > 0)] {
        if let Some(icon) = document.get_element_by_id(id) {
            let relation = if is_shown { "icon" } else { "alternate" };
            let _: Result<(), JsValue> = icon.set_attribute("rel", relation);
        }
    }
    events::tell(events::UNREAD);
}

/// The attribute of the document's root element with the theme. That with the language is `lang`.
const THEME: &str = "data-theme";

/// The language and the theme of the document. `assets/boot.js` sets them to what the user has chosen earlier, or to what the browser
/// prefers.
pub(crate) fn settings() -> (Language, Theme) {
    let root = document().document_element();
    let attribute = |name| root.as_ref().and_then(|root| root.get_attribute(name));
    let language = attribute("lang").and_then(|tag| Language::from_tag(&tag));
    let theme = attribute(THEME).map(|name| Theme::from_name(&name));
    (language.unwrap_or_default(), theme.unwrap_or_default())
}

/// Sets them, and tells both binaries.
pub(crate) fn set_settings(language: Language, theme: Theme) {
    if let Some(root) = document().document_element() {
        // These attribute names are valid, so setting them cannot fail.
        let _: Result<(), JsValue> = root.set_attribute("lang", language.tag());
        let _: Result<(), JsValue> = root.set_attribute(THEME, theme.name());
    }
    events::tell(events::SETTINGS);
}

/// The element for the header, for the binary that is the first to ask: that one draws it. What it shows until then is removed.
pub(crate) fn claim_header() -> Option<Element> {
    let header = document().get_element_by_id("header")?;
    if header.has_attribute("data-drawn") {
        return None;
    }
    // The attribute name is valid, so setting it cannot fail.
    let _: Result<(), JsValue> = header.set_attribute("data-drawn", "");
    header.set_text_content(None);
    Some(header)
}

/// Puts a text on the clipboard; false where the browser does not allow it.
pub(crate) async fn copy(text: &str) -> bool {
    // `navigator.clipboard` is undefined outside secure contexts, which web-sys does not show in its type.
    let clipboard: JsValue = window().navigator().clipboard().into();
    match clipboard.dyn_into::<web_sys::Clipboard>() {
        Ok(clipboard) => JsFuture::from(clipboard.write_text(text)).await.is_ok(),
        Err(_) => copy_by_command(text).unwrap_or_default(),
    }
}

/// Copies as the user would, out of a field that has the text: on plain http pages of other hosts there is no other way.
fn copy_by_command(text: &str) -> Option<bool> {
    let document = document();
    let focused = document
        .active_element()
        .and_then(|element| element.dyn_into::<HtmlElement>().ok());
    let field: HtmlTextAreaElement = document.create_element("textarea").ok()?.dyn_into().ok()?;
    field.set_class_name("visually-hidden");
    // At the place of the window, so that nothing is scrolled to it.
    field.style().set_property("position", "fixed").ok()?;
    field.set_value(text);
    document.body()?.append_child(&field).ok()?;
    field.select();
    let is_copied = document.dyn_into::<HtmlDocument>().ok()?.exec_command("copy");
    field.remove();
    if let Some(focused) = focused {
        // Focusing an element that is on the page cannot fail.
        let _: Result<(), JsValue> = focused.focus();
    }
    Some(is_copied.unwrap_or_default())
}

/// Opens the popovers of those of these buttons that are in view, and focuses a field in them.
pub(crate) fn reveal(buttons: &[&str], field: &str) {
    for button in buttons.iter().filter_map(|id| html_element(id)) {
        if let Some(popover) = button
            .get_attribute("popovertarget")
            .filter(|_| button.offset_width() > 0)
        {
            show_popover(&popover);
        }
    }
    focus(field);
}

/// Whether a click on a link stays in the page: with a modifier key or another button, the browser opens a tab or window.
pub(crate) fn is_plain_click(event: &MouseEvent) -> bool {
    event.button() == 0 && !(event.ctrl_key() || event.meta_key() || event.shift_key() || event.alt_key())
}

/// Focuses the element with this `id`.
pub(crate) fn focus(id: &str) {
    if let Some(element) = html_element(id) {
        // Focusing an element that is on the page cannot fail.
        let _: Result<(), JsValue> = element.focus();
    }
}

/// Scrolls as far as is needed to see the parent of the element with this `id`.
pub(crate) fn show_parent(id: &str) {
    if let Some(parent) = html_element(id).and_then(|element| element.parent_element()) {
        parent.scroll_into_view_with_bool(false);
    }
}

/// Focuses a text field and selects what is in it.
pub(crate) fn focus_and_select(id: &str) {
    focus(id);
    if let Some(field) = html_element(id).and_then(|element| element.dyn_into::<HtmlInputElement>().ok()) {
        field.select();
    }
}

/// Opens a popover.
pub(crate) fn show_popover(id: &str) {
    if let Some(popover) = html_element(id) {
        // Fails for one that is open already.
        let _: Result<(), JsValue> = popover.show_popover();
    }
}

/// Closes a popover.
pub(crate) fn hide_popover(id: &str) {
    if let Some(popover) = html_element(id) {
        // Fails for one that is closed already.
        let _: Result<(), JsValue> = popover.hide_popover();
    }
}

/// The page's address without query and fragment.
pub(crate) fn page_address() -> String {
    let location = window().location();
    location.origin().unwrap_or_default() + &path()
}

/// Removes the fragment from the address bar, without a new entry in the history.
pub(crate) fn remove_fragment() {
    if let Ok(history) = window().history() {
        let address = path() + &query();
        // Refused only for other origins or hundreds of calls a second.
        let _: Result<(), JsValue> = history.replace_state_with_url(&JsValue::NULL, "", Some(&address));
    }
}

/// Removes everything that the page keeps in this browser, then loads the page anew.
pub(crate) fn forget_all() {
    storage::forget_all();
    // The service worker with its caches, which boot.js has made, and the database of the chat; then it loads the page anew.
    events::tell(events::FORGET);
}

fn html_element(id: &str) -> Option<HtmlElement> {
    document().get_element_by_id(id)?.dyn_into().ok()
}

/// Asks the user to allow notifications, if that was not answered yet; false where they are refused or unknown, as on
/// plain http pages of other hosts.
pub(crate) async fn ask_for_notifications() -> bool {
    if !js_sys::Reflect::has(&window(), &"Notification".into()).unwrap_or_default() {
        return false;
    }
    match Notification::request_permission() {
        Ok(answer) => JsFuture::from(answer)
            .await
            .is_ok_and(|answer| answer.as_string().as_deref() == Some("granted")),
        Err(_) => false,
    }
}

/// Shows a notification, which replaces the one before with this tag. A press on it shows the page at a path.
pub(crate) fn notify(title: &str, text: &str, tag: &str, target: String) {
    let options = NotificationOptions::new();
    options.set_body(text);
    options.set_tag(tag);
    if let Ok(notification) = Notification::new_with_options(title, &options) {
        // It may be pressed again.
        let onclick = Closure::<dyn Fn()>::new(move || {
            // The page may be on its way out.
            let _: Result<(), JsValue> = window().focus();
            if path() != target {
                push_path(&target);
            }
        });
        notification.set_onclick(onclick.into_js_value().dyn_ref());
    } else {
        options.set_data(&target.into());
        let title = title.to_owned();
        spawn_local(async move {
            notify_by_worker(&title, &options).await;
        });
    }
}

/// Shows a notification by the service worker, which answers a press on it, see `assets/sw.js`: in Chrome for Android there is no other
/// way. Without permission there is none.
async fn notify_by_worker(title: &str, options: &NotificationOptions) -> Option<()> {
    // As the clipboard, it is undefined outside secure contexts.
    let workers: JsValue = window().navigator().service_worker().into();
    let workers: ServiceWorkerContainer = workers.dyn_into().ok()?;
    let registration = JsFuture::from(workers.get_registration()).await.ok()?;
    // Undefined where no worker is registered.
    let registration: ServiceWorkerRegistration = registration.dyn_into().ok()?;
    let shown = registration.show_notification_with_options(title, options).ok()?;
    JsFuture::from(shown).await.ok().map(drop)
}

/// Plays a short, soft tone. Browsers play nothing before the user has done something in the page.
pub(crate) fn play_sound(context: &mut Option<AudioContext>) {
    const SECONDS: f64 = 0.2;
    fn play(context: &AudioContext) -> Result<(), JsValue> {
        let (tone, volume) = (context.create_oscillator()?, context.create_gain()?);
        let end = context.current_time() + SECONDS;
        tone.frequency().set_value(880.0);
        volume.gain().set_value_at_time(0.1, context.current_time())?;
        volume.gain().exponential_ramp_to_value_at_time(0.001, end)?;
        tone.connect_with_audio_node(&volume)?;
        volume.connect_with_audio_node(&context.destination())?;
        // It waits until the browser allows it.
        let _: js_sys::Promise<JsValue> = context.resume()?.unchecked_into();
        tone.start()?;
        tone.stop_with_when(end)
    }
    if context.is_none() {
        *context = AudioContext::new().ok();
    }
    if let Some(context) = context {
        // A machine without sound, for instance.
        let _: Result<(), JsValue> = play(context);
    }
}

/// The time, in milliseconds since the Unix epoch.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a time after 1970; `as` saturates"
)]
pub(crate) fn now() -> u64 {
    js_sys::Date::now() as u64
}

/// Selects all text in an element for the browser's own copy command.
pub(crate) fn select_all(element: &Element) {
    if let Ok(Some(selection)) = window().get_selection() {
        // Fails only for a detached element, which has nothing to select.
        let _: Result<(), JsValue> = selection.select_all_children(element);
    }
}

pub(crate) fn window() -> Window {
    web_sys::window().expect("the page runs in a window")
}

pub(crate) fn document() -> Document {
    window().document().expect("a window has a document")
}

//! The events of window and document that the page listens to, and when each occurs. What a view does with one is in
//! its `update`.

use std::rc::Rc;

use gloo_events::{EventListener, EventListenerOptions};
use wasm_bindgen::JsCast;

use super::{document, window};

/// Calls back when the page is left and when it is restored from the browser's back-forward cache.
///
/// A page with an open connection is not cached, and Firefox delays connects after unclean closes, so the workbench
/// closes its connection when the page is left and connects again when it is restored.
pub(crate) fn on_page_left_and_back(left: impl Fn() + 'static, back: impl Fn() + 'static) -> [EventListener; 2] {
    let is_persisted = |event: &web_sys::Event| {
        event
            .dyn_ref::<web_sys::PageTransitionEvent>()
            .is_some_and(web_sys::PageTransitionEvent::persisted)
    };
    [
        EventListener::new(&window(), "pagehide", move |_| left()),
        EventListener::new(&window(), "pageshow", move |event| {
            if is_persisted(event) {
                back();
            }
        }),
    ]
}

/// The event of the window after the page itself changed its path. For the back and forward buttons the browser has `popstate`.
pub(super) const PATH: &str = "talkback:path";
/// The event of the window after the number of unread messages of the chat changed.
pub(super) const UNREAD: &str = "talkback:unread";
/// The event of the window after the language or the theme of the document changed.
pub(super) const SETTINGS: &str = "talkback:settings";

/// The event of the window that asks `assets/boot.js` to remove the service worker and its caches, and to load the page anew.
pub(super) const FORGET: &str = "talkback:forget";

/// Dispatches one of the page's own events.
pub(super) fn tell(name: &str) {
    if let Ok(event) = web_sys::Event::new(name) {
        // Fails only for an event that is being dispatched.
        let _: Result<bool, wasm_bindgen::JsValue> = window().dispatch_event(&event);
    }
}

/// Calls back after the path changed: by the page or by the browser's back or forward button.
pub(crate) fn on_path_change(callback: impl Fn() + 'static) -> [EventListener; 2] {
    let callback = Rc::new(callback);
    [PATH, "popstate"].map(|name| {
        let callback = callback.clone();
        EventListener::new(&window(), name, move |_| callback())
    })
}

/// Calls back after the language, the theme or the number of unread messages changed.
pub(crate) fn on_document_change(callback: impl Fn() + 'static) -> [EventListener; 2] {
    let callback = Rc::new(callback);
    [SETTINGS, UNREAD].map(|name| {
        let callback = callback.clone();
        EventListener::new(&window(), name, move |_| callback())
    })
}

/// Calls back when another fragment is in the address bar, by the user, a link, or the browser's back or forward button.
pub(crate) fn on_fragment_change(callback: impl Fn() + 'static) -> EventListener {
    EventListener::new(&window(), "hashchange", move |_| callback())
}

/// Calls back when the browser says that there is no network.
pub(crate) fn on_offline(callback: impl Fn() + 'static) -> EventListener {
    EventListener::new(&window(), "offline", move |_| callback())
}

/// Calls back when the page becomes visible or hidden.
pub(crate) fn on_visibility_change(callback: impl Fn() + 'static) -> EventListener {
    EventListener::new(&document(), "visibilitychange", move |_| callback())
}

/// Calls back when a pointer is lifted, or the browser takes it for a gesture of its own.
pub(crate) fn on_pointer_lifted(callback: impl Fn() + 'static) -> [EventListener; 2] {
    let callback = Rc::new(callback);
    ["pointerup", "pointercancel"].map(|name| {
        let callback = callback.clone();
        EventListener::new(&window(), name, move |_| callback())
    })
}

/// Calls back when a key is pressed anywhere; the callback may take it from the browser.
pub(crate) fn on_key(callback: impl Fn(&web_sys::KeyboardEvent) + 'static) -> EventListener {
    let options = EventListenerOptions::enable_prevent_default();
    EventListener::new_with_options(&window(), "keydown", options, move |event| {
        if let Some(event) = event.dyn_ref() {
            callback(event);
        }
    })
}

/// Calls back before a popover inside an element is opened, and before it is closed.
pub(crate) fn on_popover(host: &web_sys::Element, callback: impl Fn() + 'static) -> EventListener {
    // The event does not bubble.
    let options = EventListenerOptions::run_in_capture_phase();
    EventListener::new_with_options(host, "beforetoggle", options, move |_| callback())
}

/// Calls back when another tab has changed what the page remembers.
pub(crate) fn on_storage_change(callback: impl Fn() + 'static) -> EventListener {
    EventListener::new(&window(), "storage", move |_| callback())
}

/// Calls back when the window has another size.
pub(crate) fn on_resize(callback: impl Fn() + 'static) -> EventListener {
    EventListener::new(&window(), "resize", move |_| callback())
}

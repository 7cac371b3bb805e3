//! The events of window and document that the page listens to, and when each occurs. What a view does with one is in
//! its `update`.

use gloo_events::EventListener;
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

/// Calls back after the browser's back or forward button changed the path.
pub(crate) fn on_back_and_forward(callback: impl Fn() + 'static) -> EventListener {
    EventListener::new(&window(), "popstate", move |_| callback())
}

/// Calls back when the page becomes visible or hidden.
pub(crate) fn on_visibility_change(callback: impl Fn() + 'static) -> EventListener {
    EventListener::new(&document(), "visibilitychange", move |_| callback())
}

/// Calls back when the window has another size.
pub(crate) fn on_resize(callback: impl Fn() + 'static) -> EventListener {
    EventListener::new(&window(), "resize", move |_| callback())
}

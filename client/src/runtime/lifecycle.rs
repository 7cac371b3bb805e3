use std::rc::Weak;

use gloo_events::EventListener;
use talkback_protocol::{log_line, session::client::Input};
use wasm_bindgen::JsCast;
use web_sys::{Document, EventTarget, VisibilityState};

use crate::driver::Driver;

/// Listens to the events of the page's lifecycle and of the network. An event that does not exist, like most of these
/// in workers, never fires; the session does not need them.
///
/// | event | target | input of the session |
/// |---|---|---|
/// | `online`, `offline` | the window or the worker | [`Input::Online`], [`Input::Offline`] |
/// | `visibilitychange` | the document | [`Input::Visible`], if the page became visible |
/// | `pagehide`, `freeze` | the window, the document | [`Input::Suspend`] |
/// | `pageshow`, `resume` | the window, the document | [`Input::Resume`] |
///
/// A page in the back/forward cache and a frozen page must close their connection.
///
/// `navigator.onLine` is not read at the start: it is `false` on a machine that has only its loopback network, where
/// connecting may still succeed.
pub(super) struct Lifecycle(#[expect(dead_code, reason = "owns the listeners")] Vec<EventListener>);

impl Lifecycle {
    pub(super) fn watch(driver: &Weak<Driver>) -> Self {
        let global: EventTarget = js_sys::global().unchecked_into();
        let mut listeners = vec![
            listen(driver, &global, "online", || Some(Input::Online)),
            listen(driver, &global, "offline", || Some(Input::Offline)),
            listen(driver, &global, "pagehide", || Some(Input::Suspend)),
            listen(driver, &global, "pageshow", || Some(Input::Resume)),
        ];
        if let Some(document) = document() {
            listeners.extend([
                listen(driver, &document, "visibilitychange", || {
                    is_visible().then_some(Input::Visible)
                }),
                listen(driver, &document, "freeze", || Some(Input::Suspend)),
                listen(driver, &document, "resume", || Some(Input::Resume)),
            ]);
        }
        Self(listeners)
    }
}

fn listen(
    driver: &Weak<Driver>,
    target: &EventTarget,
    name: &'static str,
    input: fn() -> Option<Input>,
) -> EventListener {
    let driver = driver.clone();
    EventListener::new(target, name, move |_| {
        if let (Some(driver), Some(input)) = (driver.upgrade(), input()) {
            log_line!(client, debug, "event {name}");
            driver.page(input);
        }
    })
}

fn document() -> Option<Document> {
    web_sys::window()?.document()
}

fn is_visible() -> bool {
    document().is_some_and(|document| document.visibility_state() == VisibilityState::Visible)
}

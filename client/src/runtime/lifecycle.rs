use std::rc::Weak;

use gloo_events::EventListener;
use talkback_protocol::session::client::Input;
use wasm_bindgen::JsCast;
use web_sys::{Document, EventTarget, VisibilityState};

use crate::driver::Driver;

/// Listens to the life of the page and of the network. Where one of these does not exist, as most do not in workers, its event
/// never comes and the session lives without it.
///
/// | event | on | what the session is told |
/// |---|---|---|
/// | `online`, `offline` | the window or the worker | the same |
/// | `visibilitychange` | the document | that the page is visible, when it became so |
/// | `pagehide`, `freeze` | the window, the document | to suspend: a page in the back/forward cache or a frozen one may not keep a connection |
/// | `pageshow`, `resume` | the window, the document | to come back |
///
/// `navigator.onLine` is not asked at the start: it is wrong on a machine whose only network is its own, and the first attempt
/// finds out.
pub(super) struct Lifecycle(#[expect(dead_code, reason = "held only to keep listening")] Vec<EventListener>);

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
    meaning: fn() -> Option<Input>,
) -> EventListener {
    let driver = driver.clone();
    EventListener::new(target, name, move |_| {
        if let (Some(driver), Some(input)) = (driver.upgrade(), meaning()) {
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

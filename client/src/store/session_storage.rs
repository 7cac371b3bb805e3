use std::{cell::RefCell, rc::Rc, time::Duration};

use js_sys::{Date, Function, Object, Promise, Reflect};
use talkback_protocol::message::Millis;
use wasm_bindgen::{JsCast, JsValue, closure::Closure};
use wasm_bindgen_futures::JsFuture;

use super::{Lock, Storage, Texts};
use crate::{runtime::LocalFuture, timer::timeout_millis};

/// A [`Storage`] in the tab's `sessionStorage`, with Web Locks.
pub(crate) struct SessionStorage(web_sys::Storage);

impl SessionStorage {
    /// The storage of this tab.
    ///
    /// # Errors
    /// Why nothing can be stored.
    pub(crate) fn of_this_tab() -> Result<Rc<dyn Storage>, String> {
        let storage = web_sys::window()
            .and_then(|window| window.session_storage().ok().flatten())
            .ok_or("there is no sessionStorage: it needs a page, and permission to store data")?;
        if locks().is_none() {
            return Err("there are no Web Locks: they need https or localhost".to_owned());
        }
        Ok(Rc::new(Self(storage)))
    }
}

impl Texts for SessionStorage {
    fn names(&self) -> Vec<String> {
        let count = self.0.length().unwrap_or(0);
        (0..count)
            .filter_map(|index| self.0.key(index).ok().flatten())
            .collect()
    }

    fn get(&self, name: &str) -> Option<String> {
        self.0.get_item(name).ok().flatten()
    }

    fn set(&self, name: &str, text: &str) -> Result<(), String> {
        self.0.set_item(name, text).map_err(|error| format!("{error:?}"))
    }

    fn remove(&self, name: &str) {
        // Fails only if the page lost access to the storage, and then there is nothing to remove.
        let _: Result<(), _> = self.0.remove_item(name);
    }
}

impl Storage for SessionStorage {
    fn wall_clock(&self) -> Millis {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a time after 1970; `as` saturates"
        )]
        let now = Date::now() as u64;
        now
    }

    fn lock(&self, name: &str, timeout: Option<Duration>) -> Box<dyn Lock> {
        Box::new(WebLock::request(name, timeout))
    }
}

/// A [Web Lock](https://w3c.github.io/web-locks/).
struct WebLock {
    /// Settles with whether the lock was granted.
    granted: Promise,
    /// Resolves the promise that the lock is held for. Set when the lock is granted.
    release: Rc<RefCell<Option<Function>>>,
    _on_granted: Closure<dyn FnMut() -> Promise>,
}

impl WebLock {
    fn request(name: &str, timeout: Option<Duration>) -> Self {
        let release = Rc::new(RefCell::new(None));
        let settle = Rc::new(RefCell::new(None));
        let granted = Promise::new(&mut |resolve, _| {
            settle.replace(Some(resolve));
        });
        let on_granted = Closure::<dyn FnMut() -> Promise>::new({
            let (release, settle) = (release.clone(), settle.clone());
            move || {
                if let Some(resolve) = settle.take() {
                    let _ = resolve.call1(&JsValue::UNDEFINED, &JsValue::TRUE);
                }
                Promise::new(&mut |resolve, _| {
                    release.replace(Some(resolve));
                })
            }
        });
        let options = Object::new();
        if let Some(timeout) = timeout {
            let signal = web_sys::AbortSignal::timeout_with_u32(timeout_millis(timeout));
            let _ = Reflect::set(&options, &"signal".into(), &signal);
        }
        let request = locks().and_then(|locks| {
            let request: Function = Reflect::get(&locks, &"request".into()).ok()?.dyn_into().ok()?;
            let answer = request.call3(&locks, &name.into(), &options, on_granted.as_ref().unchecked_ref());
            answer.ok()?.dyn_into::<Promise>().ok()
        });
        match (request, settle.take()) {
            (Some(request), Some(resolve)) => {
                settle.replace(Some(resolve.clone()));
                // The request settled without a grant: it was aborted by the timeout.
                let refuse = resolve.bind1(&JsValue::UNDEFINED, &JsValue::FALSE);
                let _ = Reflect::get(&request, &"then".into())
                    .and_then(|then| then.unchecked_into::<Function>().call2(&request, &refuse, &refuse));
            }
            (None, Some(resolve)) => {
                let _ = resolve.call1(&JsValue::UNDEFINED, &JsValue::FALSE);
            }
            (_, None) => {}
        }
        Self {
            granted,
            release,
            _on_granted: on_granted,
        }
    }
}

impl Lock for WebLock {
    fn granted(&self) -> LocalFuture<bool> {
        let granted = JsFuture::from(self.granted.clone());
        Box::pin(async { granted.await.is_ok_and(|granted| granted.is_truthy()) })
    }
}

impl Drop for WebLock {
    fn drop(&mut self) {
        if let Some(release) = self.release.take() {
            let _ = release.call0(&JsValue::UNDEFINED);
        }
    }
}

fn locks() -> Option<Object> {
    let navigator = Reflect::get(&js_sys::global(), &"navigator".into()).ok()?;
    Reflect::get(&navigator, &"locks".into()).ok()?.dyn_into().ok()
}

//! The outbox in the tab's `sessionStorage`, so that it survives a reload.
//!
//! A record holds one client key. A browser copies `sessionStorage` into a duplicated tab, and two tabs that used one key would take
//! each other's messages for resent ones; so whoever uses a key holds the [Web Lock](https://w3c.github.io/web-locks/) named like its
//! record, by random digits, for as long as it lives, and a record is read only by the holder. A record whose lock is taken is a copy and is removed;
//! should it be the owner's after all (in a frame of the same page), the owner writes it again when it saves and when the page is left.
//! The lock stops use at the same time, not one after the other; that is noticed by the server, and the client moves to a record of its own.
//!
//! A reloaded page may begin before its predecessor is quite gone, so it waits for the lock for a moment.

use std::{cell::RefCell, rc::Rc, time::Duration};

use js_sys::{Date, Function, Object, Promise, Reflect};
use serde::{Deserialize, Serialize};
use talkback_protocol::session::client::Snapshot;
use wasm_bindgen::{JsCast, JsValue, closure::Closure};
use wasm_bindgen_futures::JsFuture;
use web_sys::Storage;

/// How long a page waits for its predecessor to let go of the key.
const PATIENCE_MS: u32 = 2_000;

/// What to keep, and for how long.
#[derive(Clone, Debug)]
pub(crate) struct Keep {
    /// Tells the clients of one origin apart.
    pub(crate) name: String,
    /// A record that is older is dropped.
    pub(crate) ttl: Duration,
}

/// Where a session's snapshots go while it lives. Dropping it lets go of the key.
pub(crate) struct Store {
    storage: Storage,
    prefix: String,
    owner: RefCell<Option<(String, Lock)>>,
    /// The record that the client moves away from. It stays until what it holds is written anew, lest a page that ends before lose it.
    former: RefCell<Option<(String, Lock)>>,
}

/// What an earlier page left behind.
pub(crate) struct Left {
    pub(crate) snapshot: Snapshot,
    /// The time since.
    pub(crate) elapsed: Duration,
}

/// What is stored.
#[derive(Serialize, Deserialize)]
struct Record {
    /// By the wall clock, in milliseconds since the Unix epoch.
    saved_at: u64,
    snapshot: Snapshot,
}

impl Keep {
    /// Opens the store, with the snapshot that an earlier page of this tab left behind.
    ///
    /// # Errors
    /// Why nothing can be kept here.
    pub(crate) async fn open(self) -> Result<(Store, Option<Left>), String> {
        let storage = web_sys::window()
            .and_then(|window| window.session_storage().ok().flatten())
            .ok_or("there is no sessionStorage here")?;
        if locks().is_none() {
            return Err("there are no Web Locks here (they need https or localhost)".to_owned());
        }
        let prefix = format!("talkback:{}:", self.name);
        let mut store = Store {
            storage,
            prefix,
            owner: RefCell::default(),
            former: RefCell::default(),
        };
        for name in store.names() {
            if let Some(left) = store.adopt(&name, self.ttl).await {
                return Ok((store, Some(left)));
            }
        }
        Ok((store, None))
    }
}

impl Store {
    /// Takes a record for a new key, named by these random bits, unless one was taken over.
    pub(crate) fn own(&self, random: u64) {
        self.owner.borrow_mut().get_or_insert_with(|| {
            let name = format!("{}{random:016x}", self.prefix);
            // A name that was made a moment ago is locked by nobody else.
            let lock = Lock::request(&name, None);
            (name, lock)
        });
    }

    /// Moves to a record for a new key, named by these random bits.
    pub(crate) fn renew(&self, random: u64) {
        let owner = self.owner.take();
        self.own(random);
        let mut former = self.former.borrow_mut();
        if former.is_none() {
            *former = owner;
        }
    }

    /// Writes a snapshot.
    ///
    /// # Errors
    /// Why it cannot be kept, for instance because the storage is full. Then nothing is: an older snapshot would use numbers again.
    pub(crate) fn save(&self, snapshot: Snapshot) -> Result<(), String> {
        let owner = self.owner.borrow();
        let Some((name, _)) = &*owner else { return Ok(()) };
        let record = Record {
            saved_at: wall_clock(),
            snapshot,
        };
        let written = serde_json::to_string(&record)
            .map_err(|error| error.to_string())
            .and_then(|text| {
                self.storage
                    .set_item(name, &text)
                    .or_else(|error| {
                        // There may be no place for two.
                        let former = self.former.take().ok_or(error)?;
                        self.storage.remove_item(&former.0)?;
                        self.storage.set_item(name, &text)
                    })
                    .map_err(|error| format!("{error:?}"))
            });
        if written.is_err() {
            let _ = self.storage.remove_item(name);
        }
        if let Some((former, _)) = self.former.take() {
            let _ = self.storage.remove_item(&former);
        }
        written
    }

    /// Takes over a record, if it is nobody's.
    async fn adopt(&mut self, name: &str, ttl: Duration) -> Option<Left> {
        let lock = Lock::request(name, Some(PATIENCE_MS));
        let granted = lock.granted().await;
        // Read only now: until it let go, the page before may have written.
        let text = self.storage.get_item(name).ok().flatten()?;
        let left = serde_json::from_str::<Record>(&text)
            .ok()
            .filter(|_| granted)
            .map(|record| Left {
                elapsed: Duration::from_millis(wall_clock().saturating_sub(record.saved_at)),
                snapshot: record.snapshot,
            })
            .filter(|left| left.elapsed <= ttl);
        if left.is_some() {
            self.owner.replace(Some((name.to_owned(), lock)));
        } else {
            let _ = self.storage.remove_item(name);
        }
        left
    }

    fn names(&self) -> Vec<String> {
        let count = self.storage.length().unwrap_or(0);
        (0..count)
            .filter_map(|index| self.storage.key(index).ok().flatten())
            .filter(|name| is_record(&self.prefix, name))
            .collect()
    }
}

/// Whether a name is one of a record under this prefix, and not under a longer one: `talkback:ann:` begins those of `ann:x` too.
fn is_record(prefix: &str, name: &str) -> bool {
    name.strip_prefix(prefix)
        .is_some_and(|digits| digits.len() == 16 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
}

fn wall_clock() -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a time after 1970; `as` saturates"
    )]
    let now = Date::now() as u64;
    now
}

/// A Web Lock, asked for or held. Dropping it lets go.
struct Lock {
    /// Settles with whether the lock was granted.
    granted: Promise,
    /// Resolves the promise that holds the lock.
    release: Rc<RefCell<Option<Function>>>,
    _on_granted: Closure<dyn FnMut() -> Promise>,
}

impl Lock {
    /// Asks for a lock, for so many milliseconds at most.
    fn request(name: &str, patience_ms: Option<u32>) -> Self {
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
        if let Some(signal) = patience_ms.map(web_sys::AbortSignal::timeout_with_u32) {
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
                // Refused: the request ends before it was granted.
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

    async fn granted(&self) -> bool {
        JsFuture::from(self.granted.clone())
            .await
            .is_ok_and(|granted| granted.is_truthy())
    }
}

impl Drop for Lock {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_its_own_records_and_not_those_of_a_name_that_it_begins() {
        let ann = "talkback:chat.ann:";
        assert!(is_record(ann, "talkback:chat.ann:00112233445566ff"));
        for other in [
            "talkback:chat.ann:x:00112233445566ff",
            "talkback:chat.ann:00112233445566ff:00112233445566ff",
            "talkback:chat.anna:00112233445566ff",
            "talkback:chat.ann:00112233",
            "talkback:chat.ann:+0112233445566ff",
        ] {
            assert!(!is_record(ann, other), "{other}");
        }
    }
}

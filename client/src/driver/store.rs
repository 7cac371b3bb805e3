//! The outbox in the tab's `sessionStorage`, so that it survives a reload.
//!
//! What is kept of one client key is a set of records ([`Records`]), so that each change writes what changed. A browser copies
//! `sessionStorage` into a duplicated tab, and two tabs that used one key would take each other's messages for resent ones; so whoever
//! uses a key holds the [Web Lock](https://w3c.github.io/web-locks/) named like its head, by random digits, for as long as it lives,
//! and records are read only by the holder. Those whose lock is taken are a copy and are removed; should they be the owner's after all
//! (in a frame of the same page), the owner notices when it saves and when the page is left, and writes them again.
//! The lock stops use at the same time, not one after the other; that is noticed by the server, and the client moves to records of its own.
//!
//! A reloaded page may begin before its predecessor is quite gone, so it waits for the lock for a moment.

mod records;

use std::{cell::RefCell, rc::Rc, time::Duration};

use js_sys::{Date, Function, Object, Promise, Reflect};
use talkback_protocol::{
    message::Millis,
    session::client::{ClientSession, Kept},
};
use wasm_bindgen::{JsCast, JsValue, closure::Closure};
use wasm_bindgen_futures::JsFuture;
use web_sys::Storage;

use records::{Records, Texts};

/// How long a page waits for its predecessor to let go of the key.
const PATIENCE_MS: u32 = 2_000;

/// What to keep, and for how long.
#[derive(Clone, Debug)]
pub(crate) struct Keep {
    /// Tells the clients of one origin apart.
    pub(crate) name: String,
    /// What was written before this time is dropped.
    pub(crate) ttl: Duration,
}

/// Where a session is kept while it lives. Dropping it lets go of the key.
pub(crate) struct Store {
    storage: Storage,
    prefix: String,
    owner: RefCell<Option<(Records, Lock)>>,
    /// The records that the client moves away from. They stay until what they hold is written anew, lest a page that ends before lose it.
    former: RefCell<Option<(Records, Lock)>>,
}

/// What an earlier page left behind.
pub(crate) struct Left {
    pub(crate) kept: Kept,
    /// The time now, by the clock of [`Kept::saved_at`].
    pub(crate) wall: Millis,
}

impl Keep {
    /// Opens the store, with what an earlier page of this tab left behind.
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
        for name in records::heads(&store.storage, &store.prefix) {
            if let Some(left) = store.adopt(name, self.ttl).await {
                return Ok((store, Some(left)));
            }
        }
        Ok((store, None))
    }
}

impl Store {
    /// Takes records for a new key, named by these random bits, unless some were taken over.
    pub(crate) fn own(&self, random: u64) {
        self.owner.borrow_mut().get_or_insert_with(|| {
            let name = format!("{}{random:016x}", self.prefix);
            // A name that was made a moment ago is locked by nobody else.
            let lock = Lock::request(&name, None);
            (Records::new(name), lock)
        });
    }

    /// Moves to records for a new key, named by these random bits.
    pub(crate) fn renew(&self, random: u64) {
        let owner = self.owner.take();
        self.own(random);
        let mut former = self.former.borrow_mut();
        if former.is_none() {
            *former = owner;
        } else if let Some((records, _)) = owner {
            records.remove_all(&self.storage);
        }
    }

    /// Writes what changed.
    ///
    /// # Errors
    /// Why it cannot be kept, for instance because the storage is full. Then nothing is: what is older would use numbers again.
    pub(crate) fn save(&self, session: &mut ClientSession) -> Result<(), String> {
        let owner = self.owner.borrow();
        let Some((records, _)) = &*owner else { return Ok(()) };
        let written = records.save(&self.storage, session, wall_clock(), || self.remove_former());
        self.remove_former();
        written
    }

    fn remove_former(&self) {
        if let Some((former, _)) = self.former.take() {
            former.remove_all(&self.storage);
        }
    }

    /// Takes over records, if they are nobody's.
    async fn adopt(&mut self, name: String, ttl: Duration) -> Option<Left> {
        let lock = Lock::request(&name, Some(PATIENCE_MS));
        let granted = lock.granted().await;
        let (records, wall) = (Records::new(name), wall_clock());
        // Read only now: until it let go, the page before may have written.
        let left = records
            .read(&self.storage)
            .filter(|kept| granted && Duration::from_millis(wall.saturating_sub(kept.saved_at())) <= ttl)
            .map(|kept| Left { kept, wall });
        if left.is_some() {
            self.owner.replace(Some((records, lock)));
        } else {
            records.remove_all(&self.storage);
        }
        left
    }
}

impl Texts for Storage {
    fn names(&self) -> Vec<String> {
        let count = self.length().unwrap_or(0);
        (0..count).filter_map(|index| self.key(index).ok().flatten()).collect()
    }

    fn get(&self, name: &str) -> Option<String> {
        self.get_item(name).ok().flatten()
    }

    fn set(&self, name: &str, text: &str) -> Result<(), String> {
        self.set_item(name, text).map_err(|error| format!("{error:?}"))
    }

    fn remove(&self, name: &str) {
        // Fails where the storage was taken away from the page, with all that is in it.
        let _: Result<(), _> = self.remove_item(name);
    }
}

fn wall_clock() -> Millis {
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

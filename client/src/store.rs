//! The outbox of a client that keeps it, among the texts of its tab, so that it survives a reload.
//!
//! What is kept of one client key is a set of records ([`Records`]), so that each change writes what changed. A browser copies
//! `sessionStorage` into a duplicated tab, and two tabs that used one key would take each other's messages for resent ones; so whoever
//! uses a key holds the lock named like its head, by random digits, for as long as it lives,
//! and records are read only by the holder. Those whose lock is taken are a copy and are removed; should they be the owner's after all
//! (in a frame of the same page), the owner notices when it saves and when the page is left, and writes them again.
//! The lock stops use at the same time, not one after the other; that is noticed by the server, and the client moves to records of its own.
//!
//! A reloaded page may begin before its predecessor is quite gone, so it waits for the lock for a moment.

mod records;
mod session_storage;

use std::{cell::RefCell, rc::Rc, time::Duration};

use talkback_protocol::{
    message::Millis,
    session::client::{ClientSession, Kept},
};

use crate::runtime::LocalFuture;

use records::Records;

pub(crate) use records::Texts;
pub(crate) use session_storage::SessionStorage;

/// How long a page waits for its predecessor to let go of the key.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where the pages that follow each other in a tab keep something.
pub(crate) trait Storage: Texts {
    /// Milliseconds since 1970, by a clock that goes on while there is no page.
    fn wall_clock(&self) -> Millis;

    /// Asks for the lock of this name, which one page has at a time, for so long at most.
    fn lock(&self, name: &str, patience: Option<Duration>) -> Box<dyn Lock>;
}

/// A lock, asked for or held. Dropping it lets go.
pub(crate) trait Lock {
    /// Whether it is held, once that is known.
    fn granted(&self) -> LocalFuture<bool>;
}

/// What to keep, where and for how long.
pub(crate) struct StoreOptions {
    /// Or why nothing can be kept here.
    pub(crate) storage: Result<Rc<dyn Storage>, String>,
    /// Tells the clients of one origin apart.
    pub(crate) name: String,
    /// What was written before this time is dropped.
    pub(crate) ttl: Duration,
}

/// Where a session is kept while it lives. Dropping it lets go of the key.
pub(crate) struct Store {
    storage: Rc<dyn Storage>,
    prefix: String,
    owner: RefCell<Option<Owned>>,
    /// The records that the client moves away from. They stay until what they hold is written anew, lest a page that ends before lose it.
    former: RefCell<Option<Owned>>,
}

/// The records of one key, and the lock on it.
type Owned = (Records, Box<dyn Lock>);

/// What an earlier page left behind.
pub(crate) struct StoredOutbox {
    pub(crate) kept: Kept,
    /// The time now, by the clock of [`Kept::saved_at`].
    pub(crate) wall: Millis,
}

impl StoreOptions {
    /// Opens the store, with what an earlier page of this tab left behind.
    ///
    /// # Errors
    /// Why nothing can be kept here.
    pub(crate) async fn open(self) -> Result<(Store, Option<StoredOutbox>), String> {
        let mut store = Store {
            storage: self.storage?,
            prefix: format!("talkback:{}:", self.name),
            owner: RefCell::default(),
            former: RefCell::default(),
        };
        for name in records::heads(&*store.storage, &store.prefix) {
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
            let lock = self.storage.lock(&name, None);
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
            records.remove_all(&*self.storage);
        }
    }

    /// Writes what changed.
    ///
    /// # Errors
    /// Why it cannot be kept, for instance because the storage is full. Then nothing is: what is older would use numbers again.
    pub(crate) fn save(&self, session: &mut ClientSession) -> Result<(), String> {
        let owner = self.owner.borrow();
        let Some((records, _)) = &*owner else { return Ok(()) };
        let wall = self.storage.wall_clock();
        let written = records.save(&*self.storage, session, wall, || self.remove_former());
        self.remove_former();
        written
    }

    fn remove_former(&self) {
        if let Some((former, _)) = self.former.take() {
            former.remove_all(&*self.storage);
        }
    }

    /// Takes over records, if they are nobody's.
    async fn adopt(&mut self, name: String, ttl: Duration) -> Option<StoredOutbox> {
        let lock = self.storage.lock(&name, Some(PATIENCE));
        let granted = lock.granted().await;
        let (records, wall) = (Records::new(name), self.storage.wall_clock());
        // Read only now: until it let go, the page before may have written.
        let left = records
            .read(&*self.storage)
            .filter(|kept| granted && Duration::from_millis(wall.saturating_sub(kept.saved_at())) <= ttl)
            .map(|kept| StoredOutbox { kept, wall });
        if left.is_some() {
            self.owner.replace(Some((records, lock)));
        } else {
            records.remove_all(&*self.storage);
        }
        left
    }
}

//! The stored outbox of a client, which survives a reload of its tab.
//!
//! The outbox of one client key is a set of records ([`Records`]), so that each save writes only what changed. The
//! records of a key may be used by one page at a time: a browser copies `sessionStorage` into a duplicated tab, and the
//! server would take new messages of one tab for resent ones of the other. So a client holds a lock, named like the
//! head record with its random digits, while it uses the records, and reads them only after it got the lock. Records
//! whose lock is held by another page are a copy and are removed. If they are not a copy (in a frame of the same page),
//! the owner detects this at its next save and when the page is hidden, and writes them again. The lock prevents only
//! concurrent use of copies. The server detects consecutive use, and then the client moves to a new key with new
//! records.
//!
//! A reloaded page may start before the previous page has released its lock, so it waits for the lock for
//! [`LOCK_TIMEOUT`].

mod records;
mod session_storage;

use std::{
    cell::RefCell,
    rc::{Rc, Weak},
    time::Duration,
};

use talkback_protocol::{
    log_line,
    message::Millis,
    session::client::{ClientOptions, ClientSession, Kept},
};

use crate::{
    driver::{ClosedStore, Driver, Early, OpenStore, Waiting},
    runtime::LocalFuture,
};

use records::Records;

pub(crate) use records::Texts;
pub(crate) use session_storage::SessionStorage;

/// How long a page waits for the previous page of the tab to release the lock.
/// [`OutboxStorage::session`](crate::OutboxStorage::session) documents it.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);

/// A storage that consecutive pages of one tab share, with locks that all tabs share.
pub(crate) trait Storage: Texts {
    /// Milliseconds since the Unix epoch, by the system clock, which consecutive pages share.
    fn wall_clock(&self) -> Millis;

    /// Requests the exclusive lock with this name, and gives up after the timeout, if there is one.
    fn lock(&self, name: &str, timeout: Option<Duration>) -> Box<dyn Lock>;
}

/// A requested or held lock. Dropping it releases the lock.
pub(crate) trait Lock {
    /// Waits until the lock is granted (`true`) or the timeout is over (`false`).
    fn granted(&self) -> LocalFuture<bool>;
}

/// Where to store the outbox of a client, and for how long.
pub(crate) struct StoreOptions {
    /// The error says why nothing can be stored.
    pub(crate) storage: Result<Rc<dyn Storage>, String>,
    /// Identifies the client among those of one origin.
    pub(crate) name: String,
    /// Records whose last change is longer ago are removed.
    pub(crate) ttl: Duration,
}

/// The store of one session. Dropping it releases the lock on its records.
struct Store {
    storage: Rc<dyn Storage>,
    prefix: String,
    owned: RefCell<Option<OwnedRecords>>,
    /// The records of the former key. They are removed after the new ones are written, so that a page that ends in
    /// between loses nothing.
    former: RefCell<Option<OwnedRecords>>,
}

/// The records of one key, and the lock on them.
type OwnedRecords = (Records, Box<dyn Lock>);

/// The outbox that an earlier page of the tab stored.
struct StoredOutbox {
    kept: Kept,
    /// The current time, by the clock of [`Kept::saved_at`].
    wall: Millis,
}

impl StoreOptions {
    /// Opens the store, and reads the outbox that an earlier page of this tab stored.
    ///
    /// # Errors
    /// Why nothing can be stored.
    async fn read(self) -> Result<(Store, Option<StoredOutbox>), String> {
        let mut store = Store {
            storage: self.storage?,
            prefix: format!("talkback:{}:", self.name),
            owned: RefCell::default(),
            former: RefCell::default(),
        };
        for name in records::heads(&*store.storage, &store.prefix) {
            if let Some(stored) = store.adopt(name, self.ttl).await {
                return Ok((store, Some(stored)));
            }
        }
        Ok((store, None))
    }
}

impl ClosedStore for StoreOptions {
    fn waiting(&self, options: &ClientOptions) -> Rc<dyn Waiting> {
        Rc::new(Early::new(options))
    }

    fn open(self: Box<Self>, driver: Weak<Driver>, mut options: ClientOptions) -> LocalFuture<()> {
        Box::pin(async move {
            let opened = self.read().await;
            let Some(driver) = driver.upgrade() else { return };
            let (store, left) = match opened {
                Ok(opened) => opened,
                Err(reason) => {
                    // Without the reason, which may quote the names of stored texts.
                    log_line!(client, debug, "the outbox cannot be stored");
                    driver.warn(&format!("talkback: the outbox is not kept: {reason}"));
                    return driver.begin(driver.new_session(options));
                }
            };
            options.keep = true;
            store.own(u64::from_le_bytes(driver.random()));
            let session = match left {
                Some(StoredOutbox { kept, wall }) => {
                    driver.adopt(kept.snapshot());
                    ClientSession::resume(options, kept, wall, driver.now())
                }
                None => driver.new_session(options),
            };
            driver.keep(Box::new(store));
            driver.begin(session);
        })
    }
}

impl Store {
    /// Begins records for a new key, named with these random bits, unless records of an earlier page were adopted.
    fn own(&self, random: u64) {
        self.owned.borrow_mut().get_or_insert_with(|| {
            let name = format!("{}{random:016x}", self.prefix);
            // No other page locks a new random name.
            let lock = self.storage.lock(&name, None);
            (Records::new(name), lock)
        });
    }

    fn remove_former(&self) {
        if let Some((former, _)) = self.former.take() {
            former.remove_all(&*self.storage);
        }
    }

    /// Takes over records of an earlier page, unless another page holds their lock or they are too old; then they are
    /// removed.
    async fn adopt(&mut self, name: String, ttl: Duration) -> Option<StoredOutbox> {
        let lock = self.storage.lock(&name, Some(LOCK_TIMEOUT));
        let granted = lock.granted().await;
        let (records, wall) = (Records::new(name), self.storage.wall_clock());
        // Read only now, because the previous page may have written until it released the lock.
        let stored = records
            .read(&*self.storage)
            .filter(|kept| granted && Duration::from_millis(wall.saturating_sub(kept.saved_at())) <= ttl)
            .map(|kept| StoredOutbox { kept, wall });
        // Without the name, which may have the name of a user.
        log_line!(
            client,
            debug,
            "records of a stored outbox: lock {}, {}",
            if granted { "granted" } else { "not granted" },
            if stored.is_some() { "adopted" } else { "removed" },
        );
        if stored.is_some() {
            self.owned.replace(Some((records, lock)));
        } else {
            records.remove_all(&*self.storage);
        }
        stored
    }
}

impl OpenStore for Store {
    fn renew(&self, random: u64) {
        let owned = self.owned.take();
        self.own(random);
        let mut former = self.former.borrow_mut();
        if former.is_none() {
            *former = owned;
        } else if let Some((records, _)) = owned {
            records.remove_all(&*self.storage);
        }
    }

    /// If it fails, for instance because the storage is full, all records are removed, because a client that restored
    /// old ones would use sequence numbers again.
    fn save(&self, session: &mut ClientSession) -> Result<(), String> {
        let owned = self.owned.borrow();
        let Some((records, _)) = &*owned else { return Ok(()) };
        let wall = self.storage.wall_clock();
        let written = records.save(&*self.storage, session, wall, || self.remove_former());
        self.remove_former();
        written
    }
}

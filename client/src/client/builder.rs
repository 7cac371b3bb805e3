use std::{future::Future, rc::Rc, time::Duration};

use talkback_protocol::{
    UserName,
    session::client::{ClientOptions, OutboxOptions},
};

use super::{Client, Fault};
use crate::{
    ConnectError, Socket,
    driver::{ClosedStore, Driver, OnFault, Parts, TokenProvider},
    runtime::{Browser, Runtime},
    socket::resolve,
    store::{SessionStorage, Storage, StoreOptions},
    transport::{Transport, WebSocketTransport},
};

/// Where the outbox is stored: the messages that the server has not acknowledged yet. By default in memory.
#[derive(Clone, Debug, Default)]
pub struct OutboxStorage(Option<SessionOutbox>);

#[derive(Clone, Debug)]
struct SessionOutbox {
    name: String,
    ttl: Duration,
    /// Named by [`OutboxStorage::session`] alone, so that no other client links a store.
    store: MakeStore,
}

type MakeStore = fn(SessionOutbox, Option<Rc<dyn Storage>>) -> Box<dyn ClosedStore>;

impl OutboxStorage {
    /// In memory: the messages are lost when the page is closed or reloaded.
    #[must_use]
    pub fn memory() -> Self {
        Self(None)
    }

    /// Also in the tab's `sessionStorage`: the messages survive a reload, and each is still delivered once. A closed tab
    /// loses them.
    ///
    /// `name` identifies the client among those of one origin; two clients of one page need different names. `ttl` is
    /// how long after the last change a stored outbox is restored; at most as long as the server remembers clients (an
    /// hour by default).
    ///
    /// It needs a page (no worker) and [Web Locks](https://w3c.github.io/web-locks/), that is https or localhost;
    /// without them it behaves as [`OutboxStorage::memory`] and [`Client::keeps_outbox`] is `false`. A page that finds
    /// a stored outbox waits at most 2 s for the previous page of the tab to release the lock on it.
    ///
    /// A duplicated tab has a copy of the `sessionStorage`; it does not get the lock and begins with an empty outbox.
    /// When copies are used one after the other, the server detects it: the later client continues with a new key, and
    /// messages that it had sent without an answer fail with
    /// [`FailReason::Unconfirmed`](crate::FailReason::Unconfirmed). Browsers do not put a page that holds a lock into
    /// the back/forward cache; navigating back to it reloads it, and the reload restores the outbox.
    ///
    /// It adds about 17 KB of gzip (docs/sizes.md) to the WebAssembly of an application, and none to one that does not call it.
    #[must_use]
    pub fn session(name: impl Into<String>, ttl: Duration) -> Self {
        Self(Some(SessionOutbox {
            name: name.into(),
            ttl,
            store: SessionOutbox::store,
        }))
    }
}

impl SessionOutbox {
    /// Its store, in a storage if one is given.
    fn store(self, storage: Option<Rc<dyn Storage>>) -> Box<dyn ClosedStore> {
        Box::new(StoreOptions {
            storage: storage.map_or_else(SessionStorage::of_this_tab, Ok),
            name: self.name,
            ttl: self.ttl,
        })
    }
}

/// Prepares a [`Client`], see [`Client::builder`].
#[must_use = "nothing happens before `build`"]
pub struct ClientBuilder {
    url: String,
    options: ClientOptions,
    token: Option<TokenProvider>,
    on_fault: Option<OnFault>,
    storage: OutboxStorage,
    platform: Option<Platform>,
}

/// The environment of a client.
pub(crate) struct Platform {
    pub(crate) transport: Rc<dyn Transport>,
    pub(crate) runtime: Rc<dyn Runtime>,
    /// `None` stands for `sessionStorage`.
    pub(crate) storage: Option<Rc<dyn Storage>>,
}

impl ClientBuilder {
    pub(super) fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            options: ClientOptions::default(),
            token: None,
            on_fault: None,
            storage: OutboxStorage::memory(),
            platform: None,
        }
    }

    /// For a client that is not in a browser.
    #[cfg(feature = "test-util")]
    pub(crate) fn on(platform: Platform) -> Self {
        Self {
            platform: Some(platform),
            ..Self::new("")
        }
    }

    /// The name that other members see, unless a token determines it. The server may normalize it, see
    /// [`Status::Open`](crate::Status::Open), or refuse it: then the status is stopped with 4403 and a reason.
    pub fn name(mut self, name: UserName) -> Self {
        self.options.name = Some(name);
        self
    }

    /// How to get a token. The callback runs before the first connection, after the server refused a token (4401), and
    /// before a token expires, which is then renewed without a new connection. `None` means that no token is available
    /// now; the callback runs again later.
    ///
    /// The server of this project does not check tokens yet: they are for a server of your own that does.
    pub fn token<F: Future<Output = Option<String>> + 'static>(mut self, provider: impl Fn() -> F + 'static) -> Self {
        self.options.tokens = true;
        self.token = Some(Box::new(move || Box::pin(provider())));
        self
    }

    /// The bounds of the outbox, over all rooms: 1,000 messages, 1 MiB of JSON and ten minutes by default. The same
    /// bounds apply to messages sent while a stored outbox is being read.
    ///
    /// The browser buffers at most 16 MiB of a connection; the session closes a connection that exceeds this and
    /// connects again. The bounds of the outbox are lower by default, so only signals sent into a half-open connection
    /// reach it.
    pub fn outbox(mut self, options: OutboxOptions) -> Self {
        self.options.outbox = options;
        self
    }

    /// Where the outbox is stored: in memory by default.
    pub fn outbox_storage(mut self, storage: OutboxStorage) -> Self {
        self.storage = storage;
        self
    }

    /// Calls back with errors of the server that belong to no pending request. Without a callback they are written to
    /// the console.
    pub fn on_fault(mut self, callback: impl Fn(Fault) + 'static) -> Self {
        self.on_fault = Some(Box::new(callback));
        self
    }

    /// Changes any option of the session, including those above.
    pub fn options(mut self, change: impl FnOnce(&mut ClientOptions)) -> Self {
        change(&mut self.options);
        self
    }

    /// Builds the client, which begins to connect.
    ///
    /// # Errors
    /// What can be checked before connecting: [`ConnectError::Unsupported`], [`ConnectError::InvalidUrl`],
    /// [`ConnectError::Fragment`] and [`ConnectError::MixedContent`]. [`Client::status`] reports later errors.
    pub fn build(self) -> Result<Client, ConnectError> {
        let platform = match self.platform {
            Some(platform) => platform,
            None if !Socket::is_supported() => return Err(ConnectError::Unsupported),
            None => {
                let url = resolve(&self.url)?;
                Platform {
                    transport: Rc::new(WebSocketTransport { url }),
                    runtime: Rc::new(Browser::new()),
                    storage: None,
                }
            }
        };
        let keep = self.storage.0.map(|outbox| (outbox.store)(outbox, platform.storage));
        Ok(Client::over(Driver::start(Parts {
            config: self.options,
            transport: platform.transport,
            runtime: platform.runtime,
            token: self.token,
            on_fault: self.on_fault,
            keep,
        })))
    }
}

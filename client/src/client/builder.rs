use std::{future::Future, rc::Rc, time::Duration};

use talkback_protocol::{
    UserName,
    session::client::{ClientOptions, OutboxOptions},
};

use super::{Client, Fault};
use crate::{
    ConnectError, Socket,
    driver::{Driver, OnFault, Parts, TokenProvider},
    runtime::{Browser, Runtime},
    socket::resolve,
    store::{SessionStorage, Storage, StoreOptions},
    transport::{Transport, WebSocketTransport},
};

/// Where messages wait that were not acknowledged yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum OutboxStorage {
    /// In memory: they are lost with the page.
    #[default]
    Memory,
    /// In the tab's `sessionStorage` too: they survive a reload, and are sent once all the same.
    ///
    /// It needs a page (no worker) and [Web Locks](https://w3c.github.io/web-locks/), that is https or localhost; without, it is as
    /// [`OutboxStorage::Memory`] and [`Client::keeps_outbox`] says so. A duplicated tab, whose `sessionStorage` is a copy, is told apart
    /// by the lock on the client's key and begins with an empty outbox. Copies that are used one after the other are told apart by the
    /// server: the later one goes on with a key of its own, and what it had sent and not heard of fails with
    /// [`FailReason::Unconfirmed`](crate::FailReason::Unconfirmed). Browsers keep a page that holds a lock out of the back/forward
    /// cache; coming back to it is a reload, which is what the outbox is kept for.
    Session {
        /// Tells the clients of one origin apart; two clients of one page need two names.
        name: String,
        /// For how long after the last change what was stored is of use; no longer than the server remembers clients (an hour unless
        /// it is configured otherwise).
        ttl: Duration,
    },
}

/// Prepares a [`Client`], see [`Client::builder`].
#[must_use = "nothing happens before `build`"]
pub struct Builder {
    url: String,
    config: ClientOptions,
    token: Option<TokenProvider>,
    on_fault: Option<OnFault>,
    storage: OutboxStorage,
    platform: Option<Platform>,
}

/// What a client stands on.
pub(crate) struct Platform {
    pub(crate) transport: Rc<dyn Transport>,
    pub(crate) runtime: Rc<dyn Runtime>,
    /// `sessionStorage` if there is none.
    pub(crate) storage: Option<Rc<dyn Storage>>,
}

impl Builder {
    pub(super) fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            config: ClientOptions::default(),
            token: None,
            on_fault: None,
            storage: OutboxStorage::Memory,
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

    /// The name that others see, where no token tells it. The server may write it otherwise, see [`Status::Open`](crate::Status::Open), or
    /// refuse it: then the status is stopped with 4403 and its reason.
    pub fn name(mut self, name: UserName) -> Self {
        self.config.name = Some(name);
        self
    }

    /// How to get a token: asked before the first connection, after the server refused one (4401), and before one expires, which is
    /// then renewed without a new connection. `None` means that there is none to be had now, and is tried again later.
    pub fn token<F: Future<Output = Option<String>> + 'static>(mut self, provider: impl Fn() -> F + 'static) -> Self {
        self.config.tokens = true;
        self.token = Some(Box::new(move || Box::pin(provider())));
        self
    }

    /// The bounds of the outbox, over all rooms: 1,000 messages, 1 MiB of JSON and ten minutes by default. They bound what is sent while a
    /// kept outbox is still being read as well.
    pub fn outbox(mut self, bounds: OutboxOptions) -> Self {
        self.config.outbox = bounds;
        self
    }

    /// Where the outbox is kept: in memory by default.
    pub fn outbox_storage(mut self, storage: OutboxStorage) -> Self {
        self.storage = storage;
        self
    }

    /// Calls back with errors of the server that belong to nothing the application waits for. Without it they go to the console.
    pub fn on_fault(mut self, callback: impl Fn(Fault) + 'static) -> Self {
        self.on_fault = Some(Box::new(callback));
        self
    }

    /// All other times and bounds of the session, and those above.
    pub fn config(mut self, change: impl FnOnce(&mut ClientOptions)) -> Self {
        change(&mut self.config);
        self
    }

    /// Begins to connect.
    ///
    /// # Errors
    /// What can be known of the address without trying: [`ConnectError::Unsupported`], [`ConnectError::InvalidUrl`],
    /// [`ConnectError::Fragment`] and [`ConnectError::MixedContent`]. Everything later is told by [`Client::status`].
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
        let keep = match self.storage {
            OutboxStorage::Memory => None,
            OutboxStorage::Session { name, ttl } => Some(StoreOptions {
                storage: platform.storage.map_or_else(SessionStorage::of_this_tab, Ok),
                name,
                ttl,
            }),
        };
        Ok(Client::over(Driver::start(Parts {
            config: self.config,
            transport: platform.transport,
            runtime: platform.runtime,
            token: self.token,
            on_fault: self.on_fault,
            keep,
        })))
    }
}

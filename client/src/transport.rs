//! A transport opens connections and carries texts, each with the lines of one WebSocket message. The session decides
//! when to connect and when to disconnect.
//!
//! A second transport (server-sent events, long polling) is a second implementation of these two traits.

mod websocket;

use std::rc::Weak;

use talkback_protocol::session::client::{Generation, Input};

use crate::driver::Driver;

pub(crate) use websocket::WebSocketTransport;

/// Opens connections to one server.
pub(crate) trait Transport {
    /// Begins to connect, and reports through `events` until the connection is dropped, possibly before this returns.
    /// `None` if it failed at once, which is reported through `events` as well.
    fn open(&self, events: Events) -> Option<Box<dyn Connection>>;
}

/// One connection. Dropping it closes it with 1000, and no event follows.
pub(crate) trait Connection {
    /// Sends a text.
    ///
    /// # Errors
    /// Why the connection can no longer be used. A connection that ended already reports that by [`Events::closed`] and
    /// returns `Ok`.
    fn send(&self, text: String) -> Result<(), String>;

    /// Closes it with this code, without waiting for the peer.
    fn close(self: Box<Self>, code: u16, reason: &str);
}

/// Reports the events of one connection to the driver.
#[derive(Clone)]
pub(crate) struct Events {
    driver: Weak<Driver>,
    generation: Generation,
}

impl Events {
    pub(crate) fn new(driver: Weak<Driver>, generation: Generation) -> Self {
        Self { driver, generation }
    }

    /// The connection is open and the subprotocol was negotiated.
    pub(crate) fn opened(&self) {
        self.input(Input::Opened {
            generation: self.generation,
        });
    }

    /// A text arrived.
    pub(crate) fn received(&self, text: String) {
        self.input(Input::Received {
            generation: self.generation,
            text,
        });
    }

    /// The connection ended, or could not be opened.
    pub(crate) fn closed(&self, code: u16, reason: String) {
        if let Some(driver) = self.driver.upgrade() {
            driver.disconnected(self.generation);
            driver.input(Input::Closed {
                generation: self.generation,
                code,
                reason,
            });
        }
    }

    fn input(&self, input: Input) {
        if let Some(driver) = self.driver.upgrade() {
            driver.input(input);
        }
    }
}

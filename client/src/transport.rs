//! How frames travel. A transport opens connections and carries text; when to connect and when to give up is the session's business.
//!
//! A second transport (server-sent events, long polling) is a second implementation of these two traits.

mod websocket;

use std::rc::Weak;

use talkback_protocol::session::client::{Generation, Input};

use crate::driver::Driver;

pub(crate) use websocket::WebSocketTransport;

/// Opens connections to one server.
pub(crate) trait Transport {
    /// Begins to connect. What happens comes through `events`, from now on and at any time, until the connection is dropped.
    /// `None` if it failed at once, which was told through `events` too.
    fn open(&self, events: Events) -> Option<Box<dyn Connection>>;
}

/// One connection. Dropping it ends it with 1000, and no event comes after that.
pub(crate) trait Connection {
    /// Hands a text frame to the network.
    ///
    /// # Errors
    /// Why the connection is of no use any more; a connection that ended says so with an event instead.
    fn send(&self, text: String) -> Result<(), String>;

    /// Ends it with this code, without waiting for the peer.
    fn close(self: Box<Self>, code: u16, reason: &str);
}

/// Where a connection tells what happens to it.
#[derive(Clone)]
pub(crate) struct Events {
    driver: Weak<Driver>,
    generation: Generation,
}

impl Events {
    pub(crate) fn new(driver: Weak<Driver>, generation: Generation) -> Self {
        Self { driver, generation }
    }

    /// It is open, with the subprotocol agreed.
    pub(crate) fn opened(&self) {
        self.tell(Input::Opened {
            generation: self.generation,
        });
    }

    /// A text frame came.
    pub(crate) fn received(&self, text: String) {
        self.tell(Input::Received {
            generation: self.generation,
            text,
        });
    }

    /// It is over, or could not be opened.
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

    fn tell(&self, input: Input) {
        if let Some(driver) = self.driver.upgrade() {
            driver.input(input);
        }
    }
}

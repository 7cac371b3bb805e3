//! The one connection of a driver. Whoever names an earlier one means nothing any more.

use talkback_protocol::{
    close,
    session::client::{Generation, Input},
};

use super::Driver;
use crate::transport::{Connection, Events};

impl Driver {
    pub(super) fn connect(&self, generation: Generation) {
        let connection = self.transport.open(Events::new(self.me.clone(), generation));
        let connection = connection.map(|connection| (generation, connection));
        drop(self.connection.replace(connection));
    }

    pub(super) fn transmit(&self, generation: Generation, text: String) {
        let failed = match &*self.connection.borrow() {
            Some((current, connection)) if *current == generation => connection.send(text).err(),
            _ => None,
        };
        if let Some(reason) = failed {
            self.disconnected(generation);
            self.input(Input::Closed {
                generation,
                code: close::ABNORMAL,
                reason,
            });
        }
    }

    pub(super) fn disconnect(&self, generation: Generation, code: u16, reason: &str) {
        if let Some(connection) = self.take_connection(generation) {
            connection.close(code, reason);
        }
    }

    /// A connection ended by itself.
    pub(crate) fn disconnected(&self, generation: Generation) {
        drop(self.take_connection(generation));
    }

    /// Nothing stays borrowed: a connection that ends runs code of the browser.
    fn take_connection(&self, generation: Generation) -> Option<Box<dyn Connection>> {
        let mut connection = self.connection.borrow_mut();
        connection
            .take_if(|(current, _)| *current == generation)
            .map(|(_, connection)| connection)
    }
}

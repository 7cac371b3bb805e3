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

#[cfg(all(test, feature = "test-util", not(target_family = "wasm")))]
mod tests {
    use std::{cell::RefCell, rc::Rc};

    use crate::{
        Client,
        client::{ClientBuilder, Platform},
        test_util::World,
        transport::{Connection, Events, Transport},
    };

    /// What became of connections.
    type Seen = Rc<RefCell<Vec<String>>>;

    /// A transport that is open at once, and tells so before it returns.
    struct AtOnce(Seen);

    struct Recorded(Seen);

    impl Transport for AtOnce {
        fn open(&self, events: Events) -> Option<Box<dyn Connection>> {
            events.opened();
            Some(Box::new(Recorded(self.0.clone())))
        }
    }

    impl Connection for Recorded {
        fn send(&self, text: String) -> Result<(), String> {
            self.0.borrow_mut().push(text);
            Ok(())
        }

        fn close(self: Box<Self>, code: u16, _: &str) {
            self.0.borrow_mut().push(format!("closed with {code}"));
        }
    }

    impl Drop for Recorded {
        fn drop(&mut self) {
            self.0.borrow_mut().push("dropped".to_owned());
        }
    }

    fn connected() -> (Client, Seen) {
        let seen = Seen::default();
        let platform = Platform {
            transport: Rc::new(AtOnce(seen.clone())),
            ..World::new().platform()
        };
        let client = ClientBuilder::on(platform).build().unwrap();
        (client, seen)
    }

    #[test]
    fn a_connection_that_opens_inside_the_call_gets_the_first_line_after_it_is_there() {
        let (_client, seen) = connected();
        assert!(seen.borrow()[0].contains("hello"), "{seen:?}");
        assert_eq!(seen.borrow().len(), 1);
    }

    #[test]
    fn who_names_an_earlier_connection_means_nothing_any_more() {
        let (client, seen) = connected();
        let driver = client.driver();
        let current = driver.connection.borrow().as_ref().unwrap().0;
        seen.borrow_mut().clear();
        let earlier = current.wrapping_sub(1);
        driver.transmit(earlier, "late".to_owned());
        driver.disconnect(earlier, 1000, "");
        driver.disconnected(earlier);
        assert_eq!(*seen.borrow(), Vec::<String>::new());
        driver.disconnected(current);
        assert_eq!(*seen.borrow(), ["dropped"]);
    }
}

//! The connections between clients and the server, and the packets in flight.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    task::Waker,
    time::Duration,
};

use talkback_protocol::close;

use super::server::Server;
use crate::transport::Events;

/// Every connection, every packet that has not arrived, and every timer of a lock.
#[derive(Default)]
pub(super) struct Network {
    links: RefCell<BTreeMap<u64, Link>>,
    /// Keyed by the time of arrival and a number in the order of sending.
    packets: RefCell<BTreeMap<(Duration, u64), Packet>>,
    sleepers: RefCell<BTreeMap<u64, (Duration, Waker)>>,
    next: Cell<u64>,
    latency: Cell<Duration>,
    refusing: Cell<bool>,
    stalled: Cell<bool>,
    attempts: Cell<u64>,
}

struct Link {
    events: Events,
    /// `false` once the client has closed it.
    open: bool,
    half_open: bool,
}

struct Packet {
    link: u64,
    content: PacketContent,
}

enum PacketContent {
    // From the client.
    Connect,
    ClientText(String),
    ClientClose,
    // From the server.
    Accept,
    Refuse,
    ServerText(String),
    ServerClose(u16, String),
}

impl Network {
    pub(super) fn set_latency(&self, latency: Duration) {
        self.latency.set(latency);
    }

    pub(super) fn set_refusing(&self, refusing: bool) {
        self.refusing.set(refusing);
    }

    pub(super) fn set_stalled(&self, stalled: bool) {
        self.stalled.set(stalled);
    }

    pub(super) fn attempts(&self) -> u64 {
        self.attempts.get()
    }

    pub(super) fn count(&self) -> usize {
        self.links.borrow().values().filter(|link| link.open).count()
    }

    pub(super) fn half_open(&self) {
        for link in self.links.borrow_mut().values_mut() {
            link.half_open = true;
        }
    }

    pub(super) fn open(&self, events: Events, now: Duration) -> u64 {
        self.attempts.set(self.attempts.get() + 1);
        let id = self.number();
        let link = Link {
            events,
            open: true,
            half_open: false,
        };
        self.links.borrow_mut().insert(id, link);
        let content = if self.refusing.get() {
            PacketContent::Refuse
        } else {
            PacketContent::Connect
        };
        self.put(id, content, now);
        id
    }

    pub(super) fn to_server(&self, link: u64, text: String, now: Duration) {
        self.put(link, PacketContent::ClientText(text), now);
    }

    pub(super) fn close_by_client(&self, link: u64, now: Duration) {
        if let Some(link) = self.links.borrow_mut().get_mut(&link) {
            link.open = false;
        }
        self.put(link, PacketContent::ClientClose, now);
    }

    pub(super) fn to_client(&self, link: u64, text: String, now: Duration) {
        self.put(link, PacketContent::ServerText(text), now);
    }

    pub(super) fn close_by_server(&self, link: u64, code: u16, reason: String, now: Duration) {
        self.put(link, PacketContent::ServerClose(code, reason), now);
    }

    /// Removes all connections and all packets. Returns the clients' ends, to report the close to.
    pub(super) fn remove_all(&self) -> Vec<Events> {
        self.packets.borrow_mut().clear();
        let links = self.links.take();
        let open = links.into_values().filter(|link| link.open);
        open.map(|link| link.events).collect()
    }

    pub(super) fn wake_at(&self, id: u64, time: Duration, waker: Waker) {
        self.sleepers.borrow_mut().insert(id, (time, waker));
    }

    pub(super) fn next_time(&self) -> Option<Duration> {
        let packet = self.packets.borrow().keys().next().map(|(time, _)| *time);
        let sleeper = self.sleepers.borrow().values().map(|(time, _)| *time).min();
        [packet.filter(|_| !self.stalled.get()), sleeper]
            .into_iter()
            .flatten()
            .min()
    }

    /// Wakes one sleeper or delivers one packet that is due; `false` if none is.
    pub(super) fn deliver(&self, now: Duration, server: &RefCell<Server>) -> bool {
        if self.wake(now) {
            return true;
        }
        let packet = {
            let mut packets = self.packets.borrow_mut();
            let first = packets.first_entry().filter(|first| first.key().0 <= now);
            first.filter(|_| !self.stalled.get()).map(|first| first.remove())
        };
        let Some(Packet { link: id, content }) = packet else {
            return false;
        };
        let (events, open) = match self.links.borrow().get(&id) {
            Some(link) if !link.half_open => (link.events.clone(), link.open),
            _ => return true,
        };
        match content {
            PacketContent::Connect => {
                server.borrow_mut().open(id, now);
                self.put(id, PacketContent::Accept, now);
            }
            PacketContent::ClientText(text) => server.borrow_mut().received(id, text, self, now),
            PacketContent::ClientClose => {
                self.links.borrow_mut().remove(&id);
                server.borrow_mut().client_closed(id, self, now);
            }
            PacketContent::Accept if open => events.opened(),
            PacketContent::ServerText(text) if open => events.received(text),
            PacketContent::Refuse | PacketContent::ServerClose(..) => {
                self.links.borrow_mut().remove(&id);
                let (code, reason) = match content {
                    PacketContent::ServerClose(code, reason) => (code, reason),
                    _ => (close::ABNORMAL, String::new()),
                };
                if open {
                    events.closed(code, reason);
                }
            }
            PacketContent::Accept | PacketContent::ServerText(_) => {}
        }
        true
    }

    fn wake(&self, now: Duration) -> bool {
        let due = {
            let mut sleepers = self.sleepers.borrow_mut();
            let id = sleepers.iter().find(|(_, (time, _))| *time <= now).map(|(id, _)| *id);
            id.and_then(|id| sleepers.remove(&id))
        };
        match due {
            Some((_, waker)) => {
                waker.wake();
                true
            }
            None => false,
        }
    }

    fn put(&self, link: u64, content: PacketContent, now: Duration) {
        let key = (now + self.latency.get(), self.number());
        self.packets.borrow_mut().insert(key, Packet { link, content });
    }

    fn number(&self) -> u64 {
        self.next.replace(self.next.get() + 1)
    }
}

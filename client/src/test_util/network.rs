//! What is on its way between clients and the server.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    task::Waker,
    time::Duration,
};

use talkback_protocol::close;

use super::server::Server;
use crate::transport::Events;

/// Every connection and every frame that has not arrived.
#[derive(Default)]
pub(super) struct Network {
    links: RefCell<BTreeMap<u64, Link>>,
    /// By the time and the order in which they arrive.
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
    /// The client has not closed it.
    open: bool,
    half_open: bool,
}

struct Packet {
    link: u64,
    what: What,
}

enum What {
    /// To the server.
    Open,
    Text(String),
    Leave,
    /// To the client.
    Opened,
    Refused,
    Line(String),
    Close(u16, String),
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
        let what = if self.refusing.get() { What::Refused } else { What::Open };
        self.put(id, what, now);
        id
    }

    pub(super) fn to_server(&self, link: u64, text: String, now: Duration) {
        self.put(link, What::Text(text), now);
    }

    pub(super) fn leave(&self, link: u64, now: Duration) {
        if let Some(link) = self.links.borrow_mut().get_mut(&link) {
            link.open = false;
        }
        self.put(link, What::Leave, now);
    }

    pub(super) fn to_client(&self, link: u64, text: String, now: Duration) {
        self.put(link, What::Line(text), now);
    }

    pub(super) fn close(&self, link: u64, code: u16, reason: String, now: Duration) {
        self.put(link, What::Close(code, reason), now);
    }

    /// Takes all connections away, with what is on its way; tells whom to tell.
    pub(super) fn close_all(&self) -> Vec<Events> {
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

    /// Lets one thing arrive that is due.
    pub(super) fn deliver(&self, now: Duration, server: &RefCell<Server>) -> bool {
        if self.wake(now) {
            return true;
        }
        let packet = {
            let mut packets = self.packets.borrow_mut();
            let first = packets.first_entry().filter(|first| first.key().0 <= now);
            first.filter(|_| !self.stalled.get()).map(|first| first.remove())
        };
        let Some(Packet { link: id, what }) = packet else {
            return false;
        };
        let (events, open) = match self.links.borrow().get(&id) {
            Some(link) if !link.half_open => (link.events.clone(), link.open),
            _ => return true,
        };
        match what {
            What::Open => {
                server.borrow_mut().open(id, now);
                self.put(id, What::Opened, now);
            }
            What::Text(text) => server.borrow_mut().received(id, text, self, now),
            What::Leave => {
                self.links.borrow_mut().remove(&id);
                server.borrow_mut().ended(id, self, now);
            }
            What::Opened if open => events.opened(),
            What::Line(text) if open => events.received(text),
            What::Refused | What::Close(..) => {
                self.links.borrow_mut().remove(&id);
                let (code, reason) = match what {
                    What::Close(code, reason) => (code, reason),
                    _ => (close::ABNORMAL, String::new()),
                };
                if open {
                    events.closed(code, reason);
                }
            }
            What::Opened | What::Line(_) => {}
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

    fn put(&self, link: u64, what: What, now: Duration) {
        let key = (now + self.latency.get(), self.number());
        self.packets.borrow_mut().insert(key, Packet { link, what });
    }

    fn number(&self) -> u64 {
        self.next.replace(self.next.get() + 1)
    }
}

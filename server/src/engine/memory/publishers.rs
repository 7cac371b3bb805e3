//! What publishers sent last, so that a message that comes again is recognised.

use std::{collections::VecDeque, time::Duration};

use lru::LruCache;
use talkback_protocol::{ClientKey, Epoch, Offset, PublishId, SenderId, Seq, session::server::Refusal};
use tokio::time::Instant;

use super::{
    super::{KEY_REUSED, MessageId, Outcome, Place},
    MemoryOptions,
    log::Log,
};

/// Both tables are in the order of last use, so that what is dropped first was not used for longest.
pub(super) struct Publishers {
    clients: LruCache<(u64, ClientKey), Client>,
    max_clients: usize,
    max_recent: usize,
    client_age: Duration,
    requests: LruCache<(u64, Box<str>), Request>,
    max_requests: usize,
    request_age: Duration,
}

struct Client {
    /// The last number that is done with.
    last: Seq,
    /// What became of the messages up to `last`.
    recent: VecDeque<Settled>,
    used: Instant,
}

struct Request {
    fate: Fate,
    digest: [u8; 32],
    used: Instant,
}

/// A message that is done with.
#[derive(Clone, Debug)]
struct Settled {
    id: PublishId,
    fate: Fate,
}

/// What became of a message that is done with.
#[derive(Clone, Debug)]
pub(super) enum Fate {
    At { offset: Offset, at: u64 },
    // Boxed, because it is rare and would make all others larger.
    Refused(Box<Refusal>),
}

impl Fate {
    fn outcome(&self, epoch: &Epoch) -> Outcome {
        let epoch = epoch.clone();
        match self {
            Self::At { offset, at } => Outcome::Duplicate(Place {
                epoch,
                offset: *offset,
                at: *at,
            }),
            Self::Refused(refusal) => Outcome::Refused {
                epoch: Some(epoch),
                refusal: (**refusal).clone(),
            },
        }
    }
}

/// Whether a message may be added.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It may.
    New,
    /// The client is not known; the log may still have messages of it.
    Unknown,
    /// It may not: this is what became of it.
    Known(Outcome),
    /// It came before, too long ago to know what became of it.
    Forgotten,
}

impl Client {
    /// Of the message with this number.
    fn verdict(&self, log: &Log, seq: Seq, id: PublishId, first: bool) -> Verdict {
        let Some(back) = self.last.get().checked_sub(seq.get()) else {
            return Verdict::after(log, self.last.get(), seq, first);
        };
        match usize::try_from(back)
            .ok()
            .and_then(|back| self.recent.iter().rev().nth(back))
        {
            Some(settled) if settled.id == id => Verdict::Known(settled.fate.outcome(log.epoch())),
            Some(_) => Verdict::conflict(log),
            None => Verdict::Forgotten,
        }
    }
}

impl Verdict {
    /// Of a number greater than the last that is done with.
    fn after(log: &Log, last: u64, seq: Seq, first: bool) -> Self {
        if first || seq.get() == last + 1 {
            Self::New
        } else {
            let epoch = log.epoch().clone();
            Self::Known(Outcome::Gap { epoch })
        }
    }

    fn conflict(log: &Log) -> Self {
        let epoch = log.epoch().clone();
        Self::Known(Outcome::Conflict { epoch })
    }

    /// What the log itself says where the table has forgotten the client or its message, or never knew them.
    pub(super) fn or_from_log(self, log: &Log, sender: &SenderId, message: &MessageId) -> Self {
        let MessageId::Client { seq, id, first, .. } = *message else {
            return self;
        };
        match self {
            Self::Unknown => match log.newest_of(sender).map_or(0, Seq::get) {
                last if seq.get() <= last => Self::Forgotten.or_from_log(log, sender, message),
                last => Self::after(log, last, seq, first),
            },
            Self::Forgotten => match log.find(sender, seq) {
                Some((found, place)) if found == id => Self::Known(Outcome::Duplicate(place)),
                Some(_) => Self::conflict(log),
                None => self,
            },
            Self::New | Self::Known(_) => self,
        }
    }
}

impl Publishers {
    pub(super) fn new(options: &MemoryOptions) -> Self {
        Self {
            clients: LruCache::unbounded(),
            max_clients: options.clients.max(1),
            max_recent: options.client_messages.max(1),
            client_age: options.client_age,
            requests: LruCache::unbounded(),
            max_requests: options.requests.max(1),
            request_age: options.request_age,
        }
    }

    /// How many clients and requests are remembered.
    pub(super) fn len(&self) -> (usize, usize) {
        (self.clients.len(), self.requests.len())
    }

    pub(super) fn check(&mut self, log: &Log, message: &MessageId, now: Instant) -> Verdict {
        match message {
            MessageId::Client { key, seq, id, first } => {
                let client = self.clients.get_mut(&(log.id(), *key));
                match client.filter(|client| client.used + self.client_age > now) {
                    Some(client) => {
                        client.used = now;
                        client.verdict(log, *seq, *id, *first)
                    }
                    None => Verdict::Unknown,
                }
            }
            MessageId::Request { name, digest } => {
                let request = self.requests.peek(&(log.id(), name.clone()));
                match request.filter(|request| request.used + self.request_age > now) {
                    Some(request) if request.digest == *digest => Verdict::Known(request.fate.outcome(log.epoch())),
                    Some(_) => Verdict::Known(Outcome::Refused {
                        epoch: Some(log.epoch().clone()),
                        refusal: key_reused(),
                    }),
                    None => Verdict::New,
                }
            }
            MessageId::None => Verdict::New,
        }
    }

    /// Remembers a message that was added, or whose number is done with.
    pub(super) fn note(&mut self, log: u64, message: MessageId, fate: Fate, now: Instant) {
        match (message, fate) {
            (MessageId::Client { key, seq, id, .. }, fate) => {
                let client = self.clients.get_or_insert_mut((log, key), || Client {
                    last: seq,
                    recent: VecDeque::new(),
                    used: now,
                });
                // One that was forgotten, or gave up some, goes on with a later number.
                if client.last.next() != seq {
                    client.recent.clear();
                }
                client.last = seq;
                client.used = now;
                if client.recent.len() >= self.max_recent {
                    client.recent.pop_front();
                }
                client.recent.push_back(Settled { id, fate });
                if self.clients.len() > self.max_clients {
                    self.clients.pop_lru();
                }
            }
            (MessageId::Request { name, digest }, fate @ Fate::At { .. }) => {
                let request = Request {
                    fate,
                    digest,
                    used: now,
                };
                self.requests.put((log, name), request);
                if self.requests.len() > self.max_requests {
                    self.requests.pop_lru();
                }
            }
            (MessageId::Request { .. } | MessageId::None, _) => {}
        }
    }

    /// Forgets what is too old and returns what is left, like [`len`](Self::len).
    pub(super) fn expire(&mut self, now: Instant) -> (usize, usize) {
        while self
            .clients
            .peek_lru()
            .is_some_and(|(_, client)| client.used + self.client_age <= now)
        {
            self.clients.pop_lru();
        }
        while self
            .requests
            .peek_lru()
            .is_some_and(|(_, request)| request.used + self.request_age <= now)
        {
            self.requests.pop_lru();
        }
        self.len()
    }
}

fn key_reused() -> Refusal {
    Refusal {
        code: KEY_REUSED.into(),
        message: "this name came before with another message: a new message takes a new one".into(),
        retry_after: None,
    }
}

//! The last messages of the publishers of one room, by which resends are recognised.

use std::{collections::VecDeque, mem::size_of, sync::Arc, time::Duration};

use lru::LruCache;
use talkback_protocol::{ClientKey, Epoch, Offset, PublishId, SenderId, Seq, session::server::Refusal};
use tokio::time::Instant;

use super::{
    super::{
        AppendOutcome, KEY_REUSED, MessageId, Origin, Place,
        ledger::{Cost, Holder},
    },
    MemoryOptions,
    log::Log,
};

/// The bytes that an entry takes besides its own fields: its node and slot in the table, its holder's account in the
/// ledger.
const OVERHEAD: usize = 192;
/// The capacity for outcomes that a new client has; it doubles up to [`MemoryOptions::client_messages`].
const FIRST_OUTCOMES: usize = 4;

/// The publishers of one room. Both tables are in the order of last use, so the expired entries are at their ends.
#[derive(Default)]
pub(super) struct Publishers {
    /// `None` while empty: most rooms of a large server have only one of the two.
    clients: Option<Box<LruCache<ClientKey, Client>>>,
    requests: Option<Box<LruCache<Box<str>, Request>>>,
}

/// The part of [`MemoryOptions`] that is about publishers.
#[derive(Clone, Copy, Debug)]
pub(super) struct DedupOptions {
    client_messages: usize,
    client_age: Duration,
    requests: usize,
    request_age: Duration,
    expire_batch: usize,
}

struct Client {
    /// The origin that is charged for the entry.
    origin: Option<Origin>,
    /// The last settled number.
    last: Seq,
    /// The outcomes of the messages up to `last`.
    recent: VecDeque<Settled>,
    used: Instant,
}

struct Request {
    settlement: Settlement,
    digest: [u8; 32],
    used: Instant,
}

#[derive(Clone, Debug)]
struct Settled {
    id: PublishId,
    settlement: Settlement,
}

/// The outcome of a settled message.
#[derive(Clone, Debug)]
pub(super) enum Settlement {
    Added { offset: Offset, at: u64 },
    // Shared by all messages with the same refusal: a client may withdraw many.
    Refused(Arc<Refusal>),
}

impl Settlement {
    fn outcome(&self, epoch: &Epoch) -> AppendOutcome {
        let epoch = epoch.clone();
        match self {
            Self::Added { offset, at } => AppendOutcome::Duplicate(Place {
                epoch,
                offset: *offset,
                at: *at,
            }),
            Self::Refused(refusal) => AppendOutcome::Refused {
                epoch: Some(epoch),
                refusal: (**refusal).clone(),
            },
        }
    }
}

/// Whether a message may be added.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It has the next number, or an unused name.
    New,
    /// The client has no entry; the log may still have messages of it.
    Unknown,
    /// It may not be added; this is its outcome.
    Known(AppendOutcome),
    /// Its number was settled so long ago that its outcome is not kept.
    Forgotten,
}

impl Client {
    /// The verdict on a message with this number.
    fn verdict(&self, epoch: &Epoch, seq: Seq, id: PublishId, first: bool) -> Verdict {
        let Some(back) = self.last.get().checked_sub(seq.get()) else {
            return Verdict::after(epoch, self.last.get(), seq, first);
        };
        match usize::try_from(back)
            .ok()
            .and_then(|back| self.recent.iter().rev().nth(back))
        {
            Some(settled) if settled.id == id => Verdict::Known(settled.settlement.outcome(epoch)),
            Some(_) => Verdict::conflict(epoch),
            None => Verdict::Forgotten,
        }
    }
}

impl Verdict {
    /// The verdict on a number above the last settled one.
    pub(super) fn after(epoch: &Epoch, last: u64, seq: Seq, first: bool) -> Self {
        if first || seq.get() == last + 1 {
            Self::New
        } else {
            let epoch = epoch.clone();
            Self::Known(AppendOutcome::Gap { epoch })
        }
    }

    fn conflict(epoch: &Epoch) -> Self {
        let epoch = epoch.clone();
        Self::Known(AppendOutcome::Conflict { epoch })
    }

    /// Where the tables have no entry for the client or its message: the verdict by the messages in the log.
    pub(super) fn or_from_log(self, log: &Log, sender: &SenderId, message: &MessageId) -> Self {
        let MessageId::Client { seq, id, first, .. } = *message else {
            return self;
        };
        match self {
            Self::Unknown => match log.newest_of(sender).map_or(0, Seq::get) {
                last if seq.get() <= last => Self::Forgotten.or_from_log(log, sender, message),
                last => Self::after(log.epoch(), last, seq, first),
            },
            Self::Forgotten => match log.find(sender, seq) {
                Some((found, place)) if found == id => Self::Known(AppendOutcome::Duplicate(place)),
                Some(_) => Self::conflict(log.epoch()),
                None => self,
            },
            Self::New | Self::Known(_) => self,
        }
    }
}

impl DedupOptions {
    pub(super) fn new(options: &MemoryOptions) -> Self {
        Self {
            client_messages: options.client_messages.max(1),
            client_age: options.client_age,
            requests: options.requests.max(1),
            request_age: options.request_age,
            expire_batch: options.expire_batch.max(1),
        }
    }

    /// The most bytes that the entry of a client takes.
    pub(super) fn largest_entry(&self) -> usize {
        client_bytes(self.client_messages)
    }
}

fn client_bytes(outcomes: usize) -> usize {
    OVERHEAD + size_of::<(ClientKey, Client)>() + outcomes * size_of::<Settled>()
}

fn request_bytes(name: &str) -> usize {
    OVERHEAD + size_of::<(Box<str>, Request)>() + name.len()
}

impl Publishers {
    pub(super) fn verdict(
        &mut self,
        dedup: &DedupOptions,
        epoch: &Epoch,
        message: &MessageId,
        now: Instant,
    ) -> Verdict {
        match message {
            MessageId::Client {
                key, seq, id, first, ..
            } => {
                let Some(clients) = &mut self.clients else {
                    return Verdict::Unknown;
                };
                let is_fresh = |client: &Client| client.used + dedup.client_age > now;
                if !clients.peek(key).is_some_and(is_fresh) {
                    return Verdict::Unknown;
                }
                clients.get_mut(key).map_or(Verdict::Unknown, |client| {
                    client.used = now;
                    client.verdict(epoch, *seq, *id, *first)
                })
            }
            MessageId::Request { name, digest } => {
                let request = self.requests.as_ref().and_then(|requests| requests.peek(name));
                match request.filter(|request| request.used + dedup.request_age > now) {
                    Some(request) if request.digest == *digest => Verdict::Known(request.settlement.outcome(epoch)),
                    Some(_) => Verdict::Known(AppendOutcome::Refused {
                        epoch: Some(epoch.clone()),
                        refusal: key_reused(),
                    }),
                    None => Verdict::New,
                }
            }
            MessageId::None => Verdict::New,
        }
    }

    /// What [`settle`](Self::settle) will take for this message, and the holder to charge. An error if the room has its
    /// maximum of names of requests.
    pub(super) fn cost(
        &self,
        dedup: &DedupOptions,
        log: u64,
        message: &MessageId,
    ) -> Result<Option<(Holder, Cost)>, TooManyRequests> {
        Ok(match message {
            MessageId::Client { key, origin, .. } => {
                let known = self.clients.as_ref().and_then(|clients| clients.peek(key));
                let (entries, before, after, origin) = match known {
                    Some(client) => {
                        let (len, capacity) = (client.recent.len(), client.recent.capacity());
                        let after = client_bytes(next_capacity(len, capacity, dedup));
                        (0, client_bytes(capacity), after, client.origin)
                    }
                    None => (1, 0, client_bytes(next_capacity(0, 0, dedup)), *origin),
                };
                let bytes = after - before;
                Some((Holder::Client { key: *key, origin }, Cost { entries, bytes }))
            }
            MessageId::Request { name, .. } => {
                let requests = self.requests.as_ref();
                if requests.is_some_and(|requests| requests.contains(name)) {
                    return Ok(None);
                }
                if requests.is_some_and(|requests| requests.len() >= dedup.requests) {
                    return Err(TooManyRequests);
                }
                let bytes = request_bytes(name);
                Some((Holder::Requests(log), Cost { entries: 0, bytes }))
            }
            MessageId::None => None,
        })
    }

    /// Keeps the outcome of a message. The [`cost`](Self::cost) must have been reserved.
    pub(super) fn settle(&mut self, dedup: &DedupOptions, message: MessageId, settlement: Settlement, now: Instant) {
        match (message, settlement) {
            (
                MessageId::Client {
                    key, seq, id, origin, ..
                },
                settlement,
            ) => {
                let clients = self.clients.get_or_insert_with(|| Box::new(LruCache::unbounded()));
                let client = clients.get_or_insert_mut(key, || Client {
                    origin,
                    last: seq,
                    recent: VecDeque::new(),
                    used: now,
                });
                let recent = &mut client.recent;
                let wanted = next_capacity(recent.len(), recent.capacity(), dedup);
                recent.reserve_exact(wanted - recent.len());
                // A client whose entry was dropped, or that skipped numbers, goes on with a later one.
                if client.last.next() != seq {
                    recent.clear();
                }
                if recent.len() >= dedup.client_messages {
                    recent.pop_front();
                }
                recent.push_back(Settled { id, settlement });
                client.last = seq;
                client.used = now;
            }
            (MessageId::Request { name, digest }, settlement @ Settlement::Added { .. }) => {
                let requests = self.requests.get_or_insert_with(|| Box::new(LruCache::unbounded()));
                let request = Request {
                    settlement,
                    digest,
                    used: now,
                };
                requests.put(name, request);
            }
            (MessageId::Request { .. } | MessageId::None, _) => {}
        }
    }

    /// Drops a batch of expired entries. Returns what that releases.
    pub(super) fn expire(&mut self, dedup: &DedupOptions, log: u64, now: Instant) -> Vec<(Holder, Cost)> {
        let mut released = Vec::new();
        if let Some(clients) = &mut self.clients {
            while released.len() < dedup.expire_batch
                && let Some((_, client)) = clients.peek_lru()
                && client.used + dedup.client_age <= now
                && let Some((key, client)) = clients.pop_lru()
            {
                released.push(cost_of_client(&key, &client));
            }
            if clients.is_empty() {
                self.clients = None;
            }
        }
        if let Some(requests) = &mut self.requests {
            while released.len() < dedup.expire_batch
                && let Some((_, request)) = requests.peek_lru()
                && request.used + dedup.request_age <= now
                && let Some((name, _)) = requests.pop_lru()
            {
                released.push(cost_of_request(&name, log));
            }
            if requests.is_empty() {
                self.requests = None;
            }
        }
        released
    }

    /// What all entries take.
    pub(super) fn costs(&self, log: u64) -> impl Iterator<Item = (Holder, Cost)> {
        let clients = self.clients.iter().flat_map(|clients| clients.iter());
        let requests = self.requests.iter().flat_map(|requests| requests.iter());
        clients
            .map(|(key, client)| cost_of_client(key, client))
            .chain(requests.map(move |(name, _)| cost_of_request(name, log)))
    }

    /// How many clients and requests have an entry.
    pub(super) fn len(&self) -> (usize, usize) {
        (
            self.clients.as_ref().map_or(0, |clients| clients.len()),
            self.requests.as_ref().map_or(0, |requests| requests.len()),
        )
    }
}

/// The room has its maximum of names of requests.
#[derive(Debug)]
pub(super) struct TooManyRequests;

/// The capacity for outcomes that a client needs for one more.
fn next_capacity(len: usize, capacity: usize, dedup: &DedupOptions) -> usize {
    if len < capacity || len >= dedup.client_messages {
        return capacity;
    }
    (capacity * 2).clamp(FIRST_OUTCOMES, dedup.client_messages.max(FIRST_OUTCOMES))
}

fn cost_of_client(key: &ClientKey, client: &Client) -> (Holder, Cost) {
    let holder = Holder::Client {
        key: *key,
        origin: client.origin,
    };
    let bytes = client_bytes(client.recent.capacity());
    (holder, Cost { entries: 1, bytes })
}

fn cost_of_request(name: &str, log: u64) -> (Holder, Cost) {
    let bytes = request_bytes(name);
    (Holder::Requests(log), Cost { entries: 0, bytes })
}

fn key_reused() -> Refusal {
    Refusal {
        code: KEY_REUSED.into(),
        message: "this name came before with another message: a new message takes a new one".into(),
        retry_after: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPIRE_BATCH: usize = MemoryOptions::DEFAULT.expire_batch;

    fn dedup() -> DedupOptions {
        DedupOptions::new(&MemoryOptions {
            client_messages: 16,
            client_age: Duration::from_secs(60),
            ..MemoryOptions::default()
        })
    }

    fn message(number: u64, first: bool) -> MessageId {
        MessageId::Client {
            key: ClientKey::from_random([1; 16]),
            seq: Seq::new(number).unwrap(),
            id: PublishId::from_random(number),
            first,
            origin: None,
        }
    }

    fn added(number: u64) -> Settlement {
        Settlement::Added {
            offset: Offset::new(number).unwrap(),
            at: 0,
        }
    }

    #[test]
    fn an_expired_client_is_unknown_before_it_is_swept() {
        let (dedup, epoch, start) = (dedup(), Epoch::from_random(1), Instant::now());
        let mut publishers = Publishers::default();
        publishers.settle(&dedup, message(1, false), added(1), start);
        let mut verdict = |number, after| publishers.verdict(&dedup, &epoch, &message(number, false), start + after);
        assert!(matches!(verdict(2, Duration::from_secs(59)), Verdict::New));
        assert!(
            matches!(verdict(2, Duration::from_secs(59 + 59)), Verdict::New),
            "it published meanwhile"
        );
        assert!(matches!(
            verdict(2, Duration::from_secs(59 + 59 + 60)),
            Verdict::Unknown
        ));
    }

    #[test]
    fn an_entry_releases_what_it_reserved() {
        let (dedup, start) = (dedup(), Instant::now());
        let mut publishers = Publishers::default();
        let mut reserved = Cost::default();
        for number in 1..=100 {
            let cost = publishers.cost(&dedup, 7, &message(number, false)).unwrap();
            let (_, cost) = cost.unwrap();
            reserved.entries += cost.entries;
            reserved.bytes += cost.bytes;
            publishers.settle(&dedup, message(number, false), added(number), start);
            let held: Vec<_> = publishers.costs(7).map(|(_, cost)| cost).collect();
            assert_eq!(held, [reserved], "after {number}");
        }
        assert!(reserved.bytes <= dedup.largest_entry());
        let released = publishers.expire(&dedup, 7, start + Duration::from_secs(60));
        assert_eq!(released.len(), 1);
        assert_eq!((released[0].1, publishers.len()), (reserved, (0, 0)));
    }

    #[test]
    fn a_client_that_changes_its_origin_is_charged_to_the_first_one() {
        let (dedup, start) = (dedup(), Instant::now());
        let mut publishers = Publishers::default();
        let mut charged = Vec::new();
        for number in 1..=16 {
            let mut id = message(number, false);
            if let MessageId::Client { origin, .. } = &mut id {
                *origin = Some(Origin(number));
            }
            let (holder, _) = publishers.cost(&dedup, 7, &id).unwrap().unwrap();
            charged.push(holder);
            publishers.settle(&dedup, id, added(number), start);
        }
        charged.extend(publishers.costs(7).map(|(holder, _)| holder));
        charged.dedup();
        let key = ClientKey::from_random([1; 16]);
        let origin = Some(Origin(1));
        assert_eq!(charged, [Holder::Client { key, origin }]);
    }

    #[test]
    fn expired_clients_are_dropped_in_batches() {
        let (dedup, start) = (dedup(), Instant::now());
        let mut publishers = Publishers::default();
        for number in 1..=10_000_u64 {
            let id = MessageId::Client {
                key: ClientKey::from_random(u128::from(number).to_ne_bytes()),
                seq: Seq::FIRST,
                id: PublishId::from_random(number),
                first: true,
                origin: None,
            };
            publishers.settle(&dedup, id, added(number), start);
        }
        let later = start + Duration::from_secs(60);
        assert_eq!(publishers.expire(&dedup, 7, later).len(), EXPIRE_BATCH);
        assert_eq!(publishers.expire(&dedup, 7, later).len(), EXPIRE_BATCH);
        assert_eq!(publishers.expire(&dedup, 7, later).len(), 10_000 - 2 * EXPIRE_BATCH);
        assert_eq!(publishers.len(), (0, 0));
    }

    #[test]
    fn expired_requests_are_dropped_in_the_same_batches_as_clients() {
        let (dedup, start) = (dedup(), Instant::now());
        let mut publishers = Publishers::default();
        publishers.settle(&dedup, message(1, false), added(1), start);
        for number in 0..EXPIRE_BATCH {
            let name = number.to_string().into();
            let digest = [0; 32];
            publishers.settle(&dedup, MessageId::Request { name, digest }, added(1), start);
        }
        let later = start + dedup.request_age.max(dedup.client_age);
        assert_eq!(publishers.expire(&dedup, 7, later).len(), EXPIRE_BATCH);
        assert_eq!(publishers.len(), (0, 1), "the client was one of the batch");
        assert_eq!(publishers.expire(&dedup, 7, later).len(), 1);
    }

    #[test]
    fn the_counted_bytes_are_near_the_real_size() {
        let each = OVERHEAD + size_of::<(ClientKey, Client)>();
        assert_eq!(client_bytes(0), each);
        assert_eq!(client_bytes(10) - client_bytes(0), 10 * size_of::<Settled>());
        assert!(
            (300..=500).contains(&client_bytes(FIRST_OUTCOMES)),
            "{}",
            client_bytes(FIRST_OUTCOMES)
        );
        assert!((4_000..=5_000).contains(&client_bytes(128)), "{}", client_bytes(128));
        assert!((250..=350).contains(&request_bytes("")), "{}", request_bytes(""));
        assert_eq!(request_bytes(&"x".repeat(100)), request_bytes("") + 100);
    }

    #[test]
    fn the_capacity_of_a_client_doubles_up_to_the_bound() {
        let next = |len, capacity| next_capacity(len, capacity, &dedup());
        assert_eq!((next(0, 0), next(3, 4), next(4, 4), next(8, 8)), (4, 4, 8, 16));
        assert_eq!((next(12, 12), next(16, 16)), (16, 16), "sixteen are kept");
    }

    #[test]
    fn the_name_of_an_expired_request_is_free_before_it_is_swept() {
        let (dedup, epoch, start) = (dedup(), Epoch::from_random(1), Instant::now());
        let mut publishers = Publishers::default();
        let named = || MessageId::Request {
            name: "x".into(),
            digest: [0; 32],
        };
        publishers.settle(&dedup, named(), added(1), start);
        let mut verdict = |after| publishers.verdict(&dedup, &epoch, &named(), start + after);
        let almost = dedup.request_age.saturating_sub(Duration::from_millis(1));
        assert!(matches!(verdict(almost), Verdict::Known(_)));
        assert!(matches!(verdict(dedup.request_age), Verdict::New));
    }
}

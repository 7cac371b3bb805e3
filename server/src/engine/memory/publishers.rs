//! What the publishers of one room sent last, so that a message that comes again is recognised.

use std::{collections::VecDeque, mem::size_of, sync::Arc, time::Duration};

use lru::LruCache;
use parking_lot::Mutex;
use talkback_protocol::{ClientKey, Epoch, Offset, PublishId, SenderId, Seq, session::server::Refusal};
use tokio::time::Instant;

use super::{
    super::{KEY_REUSED, MessageId, Origin, Outcome, Place},
    MemoryOptions,
    ledger::{Cost, Holder},
    log::Log,
};

/// What an entry takes besides its own fields: its node and place in the table, its holder's line in the ledger.
const OVERHEAD: usize = 192;
/// Outcomes for which a new client has room; it doubles until there are as many as are remembered.
const FIRST_OUTCOMES: usize = 4;
/// The room waits meanwhile. What is left is forgotten the next time.
const FORGOTTEN_AT_ONCE: usize = 4096;
/// The engine's own refusals are few, and each is kept once. A further one takes the place of the oldest.
const SHARED_REFUSALS: usize = 32;

/// Both tables are in the order of last use, so what has been remembered long enough is at their ends.
#[derive(Default)]
pub(super) struct Publishers {
    /// `None` while it would be empty: most rooms of a large server have only one of the two.
    clients: Option<Box<LruCache<ClientKey, Client>>>,
    requests: Option<Box<LruCache<Box<str>, Request>>>,
}

/// How long and how much is remembered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memories {
    recent: usize,
    client_age: Duration,
    requests: usize,
    request_age: Duration,
}

struct Client {
    /// Who is charged for it.
    origin: Option<Origin>,
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
    // Shared by all messages with the same one: a client may withdraw many.
    Refused(Arc<Refusal>),
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

/// Each refusal once.
#[derive(Default)]
pub(super) struct Refusals(Mutex<VecDeque<Arc<Refusal>>>);

impl Refusals {
    pub(super) fn share(&self, refusal: &Refusal) -> Arc<Refusal> {
        let mut shared = self.0.lock();
        if let Some(known) = shared.iter().find(|known| ***known == *refusal) {
            return Arc::clone(known);
        }
        let new = Arc::new(refusal.clone());
        if shared.len() >= SHARED_REFUSALS {
            shared.pop_front();
        }
        shared.push_back(Arc::clone(&new));
        new
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
    fn verdict(&self, epoch: &Epoch, seq: Seq, id: PublishId, first: bool) -> Verdict {
        let Some(back) = self.last.get().checked_sub(seq.get()) else {
            return Verdict::after(epoch, self.last.get(), seq, first);
        };
        match usize::try_from(back)
            .ok()
            .and_then(|back| self.recent.iter().rev().nth(back))
        {
            Some(settled) if settled.id == id => Verdict::Known(settled.fate.outcome(epoch)),
            Some(_) => Verdict::conflict(epoch),
            None => Verdict::Forgotten,
        }
    }
}

impl Verdict {
    /// Of a number greater than the last that is done with.
    pub(super) fn after(epoch: &Epoch, last: u64, seq: Seq, first: bool) -> Self {
        if first || seq.get() == last + 1 {
            Self::New
        } else {
            let epoch = epoch.clone();
            Self::Known(Outcome::Gap { epoch })
        }
    }

    fn conflict(epoch: &Epoch) -> Self {
        let epoch = epoch.clone();
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
                last => Self::after(log.epoch(), last, seq, first),
            },
            Self::Forgotten => match log.find(sender, seq) {
                Some((found, place)) if found == id => Self::Known(Outcome::Duplicate(place)),
                Some(_) => Self::conflict(log.epoch()),
                None => self,
            },
            Self::New | Self::Known(_) => self,
        }
    }
}

impl Memories {
    pub(super) fn new(options: &MemoryOptions) -> Self {
        Self {
            recent: options.client_messages.max(1),
            client_age: options.client_age,
            requests: options.requests.max(1),
            request_age: options.request_age,
        }
    }

    /// What an entry takes at most.
    pub(super) fn largest_entry(&self) -> usize {
        client_bytes(self.recent)
    }
}

fn client_bytes(outcomes: usize) -> usize {
    OVERHEAD + size_of::<(ClientKey, Client)>() + outcomes * size_of::<Settled>()
}

fn request_bytes(name: &str) -> usize {
    OVERHEAD + size_of::<(Box<str>, Request)>() + name.len()
}

impl Publishers {
    pub(super) fn verdict(&mut self, memories: &Memories, epoch: &Epoch, message: &MessageId, now: Instant) -> Verdict {
        match message {
            MessageId::Client {
                key, seq, id, first, ..
            } => {
                let Some(clients) = &mut self.clients else {
                    return Verdict::Unknown;
                };
                let is_fresh = |client: &Client| client.used + memories.client_age > now;
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
                match request.filter(|request| request.used + memories.request_age > now) {
                    Some(request) if request.digest == *digest => Verdict::Known(request.fate.outcome(epoch)),
                    Some(_) => Verdict::Known(Outcome::Refused {
                        epoch: Some(epoch.clone()),
                        refusal: key_reused(),
                    }),
                    None => Verdict::New,
                }
            }
            MessageId::None => Verdict::New,
        }
    }

    /// What it takes to [`note`](Self::note) this message, and who has to pay it; an error if there are as many names of requests as
    /// may be.
    pub(super) fn cost(
        &self,
        memories: &Memories,
        log: u64,
        message: &MessageId,
    ) -> Result<Option<(Holder, Cost)>, TooManyRequests> {
        Ok(match message {
            MessageId::Client { key, origin, .. } => {
                let known = self.clients.as_ref().and_then(|clients| clients.peek(key));
                let (entries, before, after, origin) = match known {
                    Some(client) => {
                        let (len, capacity) = (client.recent.len(), client.recent.capacity());
                        let after = client_bytes(room_for_one_more(len, capacity, memories));
                        (0, client_bytes(capacity), after, client.origin)
                    }
                    None => (1, 0, client_bytes(room_for_one_more(0, 0, memories)), *origin),
                };
                let bytes = after - before;
                Some((Holder::Client { key: *key, origin }, Cost { entries, bytes }))
            }
            MessageId::Request { name, .. } => {
                let requests = self.requests.as_ref();
                if requests.is_some_and(|requests| requests.contains(name)) {
                    return Ok(None);
                }
                if requests.is_some_and(|requests| requests.len() >= memories.requests) {
                    return Err(TooManyRequests);
                }
                let bytes = request_bytes(name);
                Some((Holder::Requests(log), Cost { entries: 0, bytes }))
            }
            MessageId::None => None,
        })
    }

    /// Remembers a message that was added, or whose number is done with. The [`cost`](Self::cost) must have been paid.
    pub(super) fn note(&mut self, memories: &Memories, message: MessageId, fate: Fate, now: Instant) {
        match (message, fate) {
            (
                MessageId::Client {
                    key, seq, id, origin, ..
                },
                fate,
            ) => {
                let clients = self.clients.get_or_insert_with(|| Box::new(LruCache::unbounded()));
                let client = clients.get_or_insert_mut(key, || Client {
                    origin,
                    last: seq,
                    recent: VecDeque::new(),
                    used: now,
                });
                let recent = &mut client.recent;
                let wanted = room_for_one_more(recent.len(), recent.capacity(), memories);
                recent.reserve_exact(wanted - recent.len());
                // One that was forgotten, or gave up some, goes on with a later number.
                if client.last.next() != seq {
                    recent.clear();
                }
                if recent.len() >= memories.recent {
                    recent.pop_front();
                }
                recent.push_back(Settled { id, fate });
                client.last = seq;
                client.used = now;
            }
            (MessageId::Request { name, digest }, fate @ Fate::At { .. }) => {
                let requests = self.requests.get_or_insert_with(|| Box::new(LruCache::unbounded()));
                let request = Request {
                    fate,
                    digest,
                    used: now,
                };
                requests.put(name, request);
            }
            (MessageId::Request { .. } | MessageId::None, _) => {}
        }
    }

    /// Forgets what is too old, as much as may be at once, and returns what that gives back.
    pub(super) fn expire(&mut self, memories: &Memories, log: u64, now: Instant) -> Vec<(Holder, Cost)> {
        let mut given_back = Vec::new();
        if let Some(clients) = &mut self.clients {
            while given_back.len() < FORGOTTEN_AT_ONCE
                && let Some((_, client)) = clients.peek_lru()
                && client.used + memories.client_age <= now
                && let Some((key, client)) = clients.pop_lru()
            {
                given_back.push(cost_of_client(&key, &client));
            }
            if clients.is_empty() {
                self.clients = None;
            }
        }
        if let Some(requests) = &mut self.requests {
            while given_back.len() < FORGOTTEN_AT_ONCE
                && let Some((_, request)) = requests.peek_lru()
                && request.used + memories.request_age <= now
                && let Some((name, _)) = requests.pop_lru()
            {
                given_back.push(cost_of_request(&name, log));
            }
            if requests.is_empty() {
                self.requests = None;
            }
        }
        given_back
    }

    /// What everything here gives back when it is forgotten.
    pub(super) fn costs(&self, log: u64) -> impl Iterator<Item = (Holder, Cost)> {
        let clients = self.clients.iter().flat_map(|clients| clients.iter());
        let requests = self.requests.iter().flat_map(|requests| requests.iter());
        clients
            .map(|(key, client)| cost_of_client(key, client))
            .chain(requests.map(move |(name, _)| cost_of_request(name, log)))
    }

    /// How many clients and requests are remembered.
    pub(super) fn len(&self) -> (usize, usize) {
        (
            self.clients.as_ref().map_or(0, |clients| clients.len()),
            self.requests.as_ref().map_or(0, |requests| requests.len()),
        )
    }
}

/// A room has as many names of requests as it may have.
#[derive(Debug)]
pub(super) struct TooManyRequests;

/// For how many outcomes there must be room when one more comes.
fn room_for_one_more(len: usize, capacity: usize, memories: &Memories) -> usize {
    if len < capacity || len >= memories.recent {
        return capacity;
    }
    (capacity * 2).clamp(FIRST_OUTCOMES, memories.recent.max(FIRST_OUTCOMES))
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
    use talkback_protocol::message::code;

    use super::*;

    fn memories() -> Memories {
        Memories::new(&MemoryOptions {
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

    fn fate(number: u64) -> Fate {
        Fate::At {
            offset: Offset::new(number).unwrap(),
            at: 0,
        }
    }

    #[test]
    fn a_client_that_is_too_old_is_not_known_although_nobody_swept_it_away() {
        let (memories, epoch, start) = (memories(), Epoch::from_random(1), Instant::now());
        let mut publishers = Publishers::default();
        publishers.note(&memories, message(1, false), fate(1), start);
        let mut verdict = |number, after| publishers.verdict(&memories, &epoch, &message(number, false), start + after);
        assert!(matches!(verdict(2, Duration::from_secs(59)), Verdict::New));
        assert!(
            matches!(verdict(2, Duration::from_secs(59 + 59)), Verdict::New),
            "it was heard meanwhile"
        );
        assert!(matches!(
            verdict(2, Duration::from_secs(59 + 59 + 60)),
            Verdict::Unknown
        ));
    }

    #[test]
    fn what_an_entry_costs_is_what_it_gives_back() {
        let (memories, start) = (memories(), Instant::now());
        let mut publishers = Publishers::default();
        let mut paid = Cost::default();
        for number in 1..=100 {
            let cost = publishers.cost(&memories, 7, &message(number, false)).unwrap();
            let (_, cost) = cost.unwrap();
            paid.entries += cost.entries;
            paid.bytes += cost.bytes;
            publishers.note(&memories, message(number, false), fate(number), start);
            let held: Vec<_> = publishers.costs(7).map(|(_, cost)| cost).collect();
            assert_eq!(held, [paid], "after {number}");
        }
        assert!(paid.bytes <= memories.largest_entry());
        let given_back = publishers.expire(&memories, 7, start + Duration::from_secs(60));
        assert_eq!(given_back.len(), 1);
        assert_eq!((given_back[0].1, publishers.len()), (paid, (0, 0)));
    }

    #[test]
    fn a_client_that_moves_is_charged_where_it_was_first_remembered() {
        let (memories, start) = (memories(), Instant::now());
        let mut publishers = Publishers::default();
        let mut paid_by = Vec::new();
        for number in 1..=16 {
            let mut id = message(number, false);
            if let MessageId::Client { origin, .. } = &mut id {
                *origin = Some(Origin(number));
            }
            let (holder, _) = publishers.cost(&memories, 7, &id).unwrap().unwrap();
            paid_by.push(holder);
            publishers.note(&memories, id, fate(number), start);
        }
        paid_by.extend(publishers.costs(7).map(|(holder, _)| holder));
        paid_by.dedup();
        let key = ClientKey::from_random([1; 16]);
        let origin = Some(Origin(1));
        assert_eq!(paid_by, [Holder::Client { key, origin }]);
    }

    #[test]
    fn few_clients_are_forgotten_at_once_and_all_in_the_end() {
        let (memories, start) = (memories(), Instant::now());
        let mut publishers = Publishers::default();
        for number in 1..=10_000_u64 {
            let id = MessageId::Client {
                key: ClientKey::from_random(u128::from(number).to_ne_bytes()),
                seq: Seq::FIRST,
                id: PublishId::from_random(number),
                first: true,
                origin: None,
            };
            publishers.note(&memories, id, fate(number), start);
        }
        let later = start + Duration::from_secs(60);
        assert_eq!(publishers.expire(&memories, 7, later).len(), FORGOTTEN_AT_ONCE);
        assert_eq!(publishers.expire(&memories, 7, later).len(), FORGOTTEN_AT_ONCE);
        assert_eq!(
            publishers.expire(&memories, 7, later).len(),
            10_000 - 2 * FORGOTTEN_AT_ONCE
        );
        assert_eq!(publishers.len(), (0, 0));
    }

    #[test]
    fn the_same_refusal_is_kept_once_and_few_are_kept() {
        let refusals = Refusals::default();
        let withdrawn = Refusal::for_good(code::WITHDRAWN, "the client withdrew the message");
        let one = refusals.share(&withdrawn);
        assert!(Arc::ptr_eq(&one, &refusals.share(&withdrawn)));
        for number in 0..1000 {
            let message = format!("refusal {number}").into();
            refusals.share(&Refusal {
                message,
                ..withdrawn.clone()
            });
        }
        assert_eq!(refusals.0.lock().len(), SHARED_REFUSALS);
    }

    #[test]
    fn what_is_counted_is_near_what_it_takes() {
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
    fn the_places_of_a_client_double_up_to_what_is_remembered() {
        let places = |len, capacity| room_for_one_more(len, capacity, &memories());
        assert_eq!((places(0, 0), places(3, 4), places(4, 4), places(8, 8)), (4, 4, 8, 16));
        assert_eq!((places(12, 12), places(16, 16)), (16, 16), "sixteen are remembered");
    }

    #[test]
    fn the_name_of_a_request_that_is_too_old_is_free_although_nobody_swept_it_away() {
        let (memories, epoch, start) = (memories(), Epoch::from_random(1), Instant::now());
        let mut publishers = Publishers::default();
        let named = || MessageId::Request {
            name: "x".into(),
            digest: [0; 32],
        };
        publishers.note(&memories, named(), fate(1), start);
        let mut verdict = |after| publishers.verdict(&memories, &epoch, &named(), start + after);
        let almost = memories.request_age.saturating_sub(Duration::from_millis(1));
        assert!(matches!(verdict(almost), Verdict::Known(_)));
        assert!(matches!(verdict(memories.request_age), Verdict::New));
    }
}

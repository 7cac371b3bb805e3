//! How many connections there may be, how fast they may come, and what one address may have of it.
//!
//! One address can be one attacker or a whole company behind one router, so an address is slowed before it is refused, and what a
//! welcomed session sends is never counted here. IPv6 is counted by /64, which is what one customer gets.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use lru::LruCache;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::engine::Origin;

/// This part of the connections that may come at once is kept for addresses that have not come often just now.
const KEPT_FOR_OTHERS: f64 = 0.25;

/// Counts connections; a connection is counted from accept until its TCP stream is closed, also after it became a WebSocket.
pub(crate) struct ConnectionLimit {
    max: usize,
    rate: Option<Mutex<TokenBucket>>,
    open: AtomicUsize,
    none_left: Notify,
    addresses: Arc<AddressLimits>,
}

/// Why a connection has no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The server has as many as it may have, or they come too fast.
    Full,
    /// Its address has as many as it may have, or they come too fast from there.
    Address,
}

/// A new connection of an address that may come.
#[derive(Clone, Copy, Debug, Default)]
struct Attempt {
    /// How long it waits for its turn.
    wait: Duration,
    /// The address used up more than half of what it may open at once.
    often: bool,
}

/// A connection's place, and how long it waits until it is served.
pub(crate) struct Admission {
    pub(crate) permit: ConnectionPermit,
    pub(crate) wait: Duration,
}

impl ConnectionLimit {
    /// At most `max` at a time and `per_second` new ones, of which as many may come at once; 0 means any number a second.
    pub(crate) fn new(max: usize, per_second: u32, addresses: Arc<AddressLimits>) -> Arc<Self> {
        Arc::new(Self {
            max,
            rate: (per_second > 0).then(|| Mutex::new(TokenBucket::new(per_second, per_second, Instant::now()))),
            open: AtomicUsize::new(0),
            none_left: Notify::new(),
            addresses,
        })
    }

    /// A place for one more connection. `address` is `None` for a proxy, whose clients are admitted one by one
    /// ([`admit_client`](Self::admit_client)).
    pub(crate) fn admit(self: &Arc<Self>, address: Option<Address>) -> Result<Admission, Refused> {
        // The address first: one that comes too fast must not use up what the others have together.
        let others = self.open.load(Ordering::Relaxed);
        let admitted = address.map(|address| self.admit_address(address, others)).transpose()?;
        let (place, attempt) = admitted.unzip();
        let attempt = attempt.unwrap_or_default();
        let open = |open| (open < self.max).then_some(open + 1);
        if self
            .open
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, open)
            .is_err()
        {
            return Err(Refused::Full);
        }
        let permit = Permit(Arc::clone(self));
        if let Some(rate) = &self.rate {
            let mut rate = rate.lock();
            // A few addresses that come as fast as each of them may would use up all that there is in a second.
            let kept = if attempt.often {
                rate.burst * KEPT_FOR_OTHERS
            } else {
                0.0
            };
            if !rate.take_leaving(kept, Instant::now()) {
                return Err(Refused::Full);
            }
        }
        Ok(Admission {
            permit: ConnectionPermit {
                _connection: Arc::new(permit),
                _address: place.map(Arc::new),
            },
            wait: attempt.wait,
        })
    }

    /// The same for a client behind a proxy, whose connection has its place already: the client's own place, and how long it waits.
    pub(crate) fn admit_client(&self, address: Address) -> Result<(AddressPlace, Duration), Refused> {
        let (place, attempt) = self.admit_address(address, self.open.load(Ordering::Relaxed).saturating_sub(1))?;
        Ok((place, attempt.wait))
    }

    fn admit_address(&self, address: Address, others: usize) -> Result<(AddressPlace, Attempt), Refused> {
        let crowded = others >= self.max.div_ceil(2);
        let place = self.addresses.enter(address, crowded).ok_or(Refused::Address)?;
        let attempt = self.addresses.attempt(address).ok_or(Refused::Address)?;
        Ok((place, attempt))
    }

    pub(crate) fn addresses(&self) -> &Arc<AddressLimits> {
        &self.addresses
    }

    /// Waits until no connection is open.
    pub(crate) async fn none_left(&self) {
        loop {
            let mut none_left = std::pin::pin!(self.none_left.notified());
            none_left.as_mut().enable();
            if self.open.load(Ordering::Acquire) == 0 {
                return;
            }
            none_left.await;
        }
    }
}

/// A connection's place; the last clone to go frees it.
#[derive(Clone)]
pub(crate) struct ConnectionPermit {
    _connection: Arc<Permit>,
    _address: Option<Arc<AddressPlace>>,
}

impl ConnectionPermit {
    /// The same connection, which a proxy uses for a client with this place.
    pub(crate) fn for_client(&self, place: AddressPlace) -> Self {
        Self {
            _connection: Arc::clone(&self._connection),
            _address: Some(Arc::new(place)),
        }
    }
}

struct Permit(Arc<ConnectionLimit>);

impl Drop for Permit {
    fn drop(&mut self) {
        if self.0.open.fetch_sub(1, Ordering::Release) == 1 {
            self.0.none_left.notify_waiters();
        }
    }
}

/// Whom limits count as one: an IPv4 address, or 64 bits of an IPv6 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Address(IpAddr);

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
            }
            v4 => v4,
        })
    }
}

impl From<Address> for Origin {
    /// IPv4 addresses are where nobody has an IPv6 address: 0000::/32 is reserved.
    fn from(Address(address): Address) -> Self {
        Self(match address {
            IpAddr::V4(address) => address.to_bits().into(),
            IpAddr::V6(address) => {
                u64::try_from(address.to_bits() >> 64).unwrap_or_else(|_| unreachable!("64 bits are left"))
            }
        })
    }
}

/// What one address may have. A rate of 0 means any number.
#[derive(Clone, Debug)]
pub(crate) struct AddressOptions {
    /// Open connections, while the server is over half full.
    pub(crate) connections: usize,
    /// New connections a second, and as many at once.
    pub(crate) connection_rate: u32,
    /// How long a connection that comes too fast may wait for its turn; one that would wait longer is refused.
    pub(crate) delay: Duration,
    /// Requests a second after the first of each connection, and as many at once.
    pub(crate) request_rate: u32,
    /// New rooms a second.
    pub(crate) room_rate: u32,
    /// New rooms at once.
    pub(crate) room_burst: u32,
    /// Addresses that are remembered.
    pub(crate) remembered: NonZeroUsize,
}

/// Counts what each address has.
///
/// The buckets of an address that was not seen for longest give way to those of a new one; it then begins with full buckets. The counts
/// of open connections never give way, and are no more than there are connections.
pub(crate) struct AddressLimits {
    options: AddressOptions,
    // governor has such buckets too, but its table of keys has no bound.
    buckets: Mutex<LruCache<Address, Buckets>>,
    open: Mutex<HashMap<Address, usize>>,
}

struct Buckets {
    connections: TokenBucket,
    requests: TokenBucket,
    rooms: TokenBucket,
}

impl AddressLimits {
    pub(crate) fn new(options: AddressOptions) -> Arc<Self> {
        Arc::new(Self {
            // Bounded in `with`: a bound given here would take the memory of a full table at once.
            buckets: Mutex::new(LruCache::unbounded()),
            options,
            open: Mutex::default(),
        })
    }

    /// A place among the connections of this address, unless it has all of them while the server is crowded.
    fn enter(self: &Arc<Self>, address: Address, crowded: bool) -> Option<AddressPlace> {
        let mut open = self.open.lock();
        let count = open.entry(address).or_default();
        if crowded && *count >= self.options.connections {
            if *count == 0 {
                open.remove(&address);
            }
            return None;
        }
        *count += 1;
        Some(AddressPlace {
            limits: Arc::clone(self),
            address,
        })
    }

    /// `None` refuses a new connection of this address.
    fn attempt(&self, address: Address) -> Option<Attempt> {
        let options = &self.options;
        if options.connection_rate == 0 {
            return Some(Attempt::default());
        }
        self.with(address, |buckets, now| {
            let wait = buckets.connections.take_within(now, options.delay)?;
            let often = buckets.connections.tokens < buckets.connections.burst / 2.0;
            Ok::<_, Duration>(Attempt { wait, often })
        })
        .ok()
    }

    fn with<T>(&self, address: Address, act: impl FnOnce(&mut Buckets, Instant) -> T) -> T {
        let now = Instant::now();
        let options = &self.options;
        let mut table = self.buckets.lock();
        if table.len() >= options.remembered.get() && !table.contains(&address) {
            table.pop_lru();
        }
        let buckets = table.get_or_insert_mut(address, || Buckets {
            connections: TokenBucket::new(options.connection_rate, options.connection_rate, now),
            requests: TokenBucket::new(options.request_rate, options.request_rate, now),
            rooms: TokenBucket::new(options.room_rate, options.room_burst, now),
        });
        act(buckets, now)
    }
}

/// One of the open connections of an address; dropping it frees the place.
pub(crate) struct AddressPlace {
    limits: Arc<AddressLimits>,
    address: Address,
}

impl Drop for AddressPlace {
    fn drop(&mut self) {
        let mut open = self.limits.open.lock();
        let Some(count) = open.get_mut(&self.address) else {
            return;
        };
        *count -= 1;
        if *count == 0 {
            open.remove(&self.address);
            if open.is_empty() {
                open.shrink_to_fit();
            }
        }
    }
}

/// Who sent a request: an extension of requests that came through this crate's accept loop.
#[derive(Clone)]
pub(crate) struct Peer {
    pub(crate) address: Address,
    pub(crate) limits: Arc<AddressLimits>,
    /// The admission of its connection counted this request already.
    pub(crate) counted: bool,
}

impl Peer {
    /// Counts a request that nobody vouches for.
    ///
    /// # Errors
    /// When it may come again: the address sends too many.
    pub(crate) fn request(&self) -> Result<(), Duration> {
        if self.counted || self.limits.options.request_rate == 0 {
            return Ok(());
        }
        self.limits
            .with(self.address, |buckets, now| buckets.requests.take_or_when(now))
    }

    /// The handle for those who begin rooms for this peer, which also tells where it is.
    pub(crate) fn new_rooms(&self) -> NewRooms {
        NewRooms(Some((self.address, Arc::clone(&self.limits))))
    }
}

/// What is left of an address's budget of new rooms. Clones are handles to the same budget.
#[derive(Clone, Default)]
pub(crate) struct NewRooms(Option<(Address, Arc<AddressLimits>)>);

impl NewRooms {
    /// Whose budget it is.
    pub(crate) fn origin(&self) -> Option<Origin> {
        self.0.as_ref().map(|(address, _)| (*address).into())
    }

    /// Gives back what was taken for a room that did not begin.
    pub(crate) fn give_back(&self) {
        if let Some((address, limits)) = &self.0
            && limits.options.room_rate > 0
        {
            limits.with(*address, |buckets, _| buckets.rooms.give_back());
        }
    }

    /// Takes one room off the budget. To be called before a room begins that had neither a log nor members. Connections that did not
    /// come through this crate's accept loop have no address, and no budget.
    ///
    /// # Errors
    /// When it may be tried again: the address has begun too many.
    pub(crate) fn take(&self) -> Result<(), Duration> {
        match &self.0 {
            Some((address, limits)) if limits.options.room_rate > 0 => {
                limits.with(*address, |buckets, now| buckets.rooms.take_or_when(now))
            }
            _ => Ok(()),
        }
    }
}

/// Lets `per_second` pass on average, and `burst` at once after a quiet time.
pub(crate) struct TokenBucket {
    per_second: f64,
    burst: f64,
    /// Below zero: so many wait for their turn.
    tokens: f64,
    filled: Instant,
}

impl TokenBucket {
    pub(crate) fn new(per_second: u32, burst: u32, now: Instant) -> Self {
        let burst = f64::from(burst.max(1));
        Self {
            per_second: f64::from(per_second),
            burst,
            tokens: burst,
            filled: now,
        }
    }

    pub(crate) fn take(&mut self, now: Instant) -> bool {
        self.take_within(now, Duration::ZERO).is_ok()
    }

    /// Takes a token if as many as `kept` are there besides.
    fn take_leaving(&mut self, kept: f64, now: Instant) -> bool {
        self.fill(now);
        self.tokens >= kept + 1.0 && self.take(now)
    }

    fn fill(&mut self, now: Instant) {
        let new = now.saturating_duration_since(self.filled).as_secs_f64() * self.per_second;
        self.tokens = (self.tokens + new).min(self.burst);
        self.filled = now;
    }

    fn take_or_when(&mut self, now: Instant) -> Result<(), Duration> {
        self.take_within(now, Duration::ZERO).map(|_| ())
    }

    /// Puts back a token that was taken and not used.
    fn give_back(&mut self) {
        self.tokens = (self.tokens + 1.0).min(self.burst);
    }

    /// Takes a token that is there within `max`, and tells how long to wait for it; else when one could be taken at once.
    fn take_within(&mut self, now: Instant, max: Duration) -> Result<Duration, Duration> {
        self.fill(now);
        let missing = (1.0 - self.tokens).max(0.0) / self.per_second;
        let wait = Duration::try_from_secs_f64(missing).unwrap_or(Duration::MAX);
        if wait > max {
            return Err(wait);
        }
        self.tokens -= 1.0;
        Ok(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> AddressOptions {
        AddressOptions {
            connections: 2,
            connection_rate: 0,
            delay: Duration::ZERO,
            request_rate: 0,
            room_rate: 0,
            room_burst: 0,
            remembered: NonZeroUsize::new(2).unwrap(),
        }
    }

    fn limit(max: usize, per_second: u32, options: AddressOptions) -> Arc<ConnectionLimit> {
        ConnectionLimit::new(max, per_second, AddressLimits::new(options))
    }

    fn address(text: &str) -> Address {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn a_bucket_lets_a_burst_pass_and_then_the_rate() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(10, 10, start);
        assert_eq!((0..20).filter(|_| bucket.take(start)).count(), 10);
        let later = start + Duration::from_millis(301);
        assert_eq!((0..20).filter(|_| bucket.take(later)).count(), 3);
        let much_later = start + Duration::from_secs(3600);
        assert_eq!((0..20).filter(|_| bucket.take(much_later)).count(), 10);
        assert!(!bucket.take(start), "a clock that steps back gives nothing");
        bucket.give_back();
        assert!(bucket.take(start) && !bucket.take(start));
        (0..20).for_each(|_| bucket.give_back());
        assert_eq!(
            (0..20).filter(|_| bucket.take(start)).count(),
            10,
            "no more than the burst"
        );
    }

    #[test]
    fn a_bucket_makes_a_bounded_number_wait_each_for_its_turn() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(10, 2, start);
        let waits: Vec<_> = (0..10)
            .map(|_| bucket.take_within(start, Duration::from_millis(350)))
            .collect();
        let waiting = |wait: &Result<Duration, Duration>| wait.map(|wait| wait.as_millis());
        let admitted: Vec<_> = waits.iter().map_while(|wait| waiting(wait).ok()).collect();
        assert_eq!(admitted, [0, 0, 100, 200, 300]);
        assert!(
            waits[5..]
                .iter()
                .all(|wait| *wait == waits[5] && waiting(wait) == Err(Duration::from_millis(400))),
            "{waits:?}"
        );
    }

    #[test]
    fn places_are_free_again_when_the_last_clone_is_gone() {
        let limit = limit(1, 0, options());
        let first = limit.admit(None).unwrap_or_else(|_| panic!()).permit;
        let clone = first.clone();
        drop(first);
        assert_eq!(limit.admit(None).err(), Some(Refused::Full));
        drop(clone);
        assert!(limit.admit(None).is_ok());
    }

    #[test]
    fn a_connection_that_comes_too_fast_takes_no_place() {
        let limit = limit(10, 1, options());
        let first = limit.admit(Some(address("192.0.2.1")));
        assert!(first.is_ok() && limit.admit(Some(address("192.0.2.2"))).is_err());
        assert_eq!(limit.open.load(Ordering::Relaxed), 1);
        assert_eq!(limit.addresses.open.lock().len(), 1);
    }

    #[test]
    fn an_address_is_held_to_its_share_only_while_the_server_is_over_half_full() {
        let limit = limit(8, 0, options());
        let greedy = Some(address("192.0.2.1"));
        let held: Vec<_> = (0..8).map_while(|_| limit.admit(greedy).ok()).collect();
        assert_eq!(held.len(), 4, "half of the server");
        let others: Vec<_> = (2..5)
            .filter_map(|last| limit.admit(Some(address(&format!("192.0.2.{last}")))).ok())
            .collect();
        assert_eq!(others.len(), 3, "the others have the other half");
        assert_eq!(limit.admit(greedy).err(), Some(Refused::Address));
        drop((held, others));
        assert!(limit.addresses.open.lock().is_empty());
        assert!(limit.admit(greedy).is_ok());
    }

    #[test]
    fn an_address_that_comes_too_fast_waits_and_is_refused_without_cost_for_the_others() {
        let options = AddressOptions {
            connection_rate: 10,
            delay: Duration::from_millis(450),
            ..options()
        };
        let limit = limit(1000, 20, options);
        let held: Vec<_> = (0..100)
            .filter_map(|_| limit.admit(Some(address("192.0.2.1"))).ok())
            .collect();
        assert_eq!(held.len(), 14, "10 at once and 4 that wait");
        assert!(held[13].wait > Duration::from_millis(300));
        assert!(limit.admit(Some(address("192.0.2.2"))).is_ok());
    }

    #[test]
    fn addresses_that_come_as_fast_as_each_may_leave_a_part_of_the_rate_to_others() {
        let options = AddressOptions {
            connection_rate: 100,
            ..options()
        };
        let limit = limit(10_000, 400, options);
        let mut held = Vec::new();
        for greedy in 1..=4 {
            let address = Some(address(&format!("192.0.2.{greedy}")));
            held.extend((0..100).map_while(|_| limit.admit(address).ok()));
        }
        assert!((300..=370).contains(&held.len()), "{}", held.len());
        let others = (1..=60).filter_map(|last| limit.admit(Some(address(&format!("198.51.100.{last}")))).ok());
        let others = others.count();
        assert!(others >= 40, "{others}");
    }

    #[test]
    fn ipv6_counts_by_64_bits_and_mapped_ipv4_as_ipv4() {
        assert_eq!(address("2001:db8:1:2::1"), address("2001:db8:1:2:ffff::9"));
        assert_ne!(address("2001:db8:1:2::1"), address("2001:db8:1:3::1"));
        assert_eq!(address("::ffff:192.0.2.1"), address("192.0.2.1"));
        assert_ne!(address("192.0.2.1"), address("192.0.2.2"));
        let origin = |text: &str| Origin::from(address(text));
        assert_eq!(origin("2001:db8:1:2::1"), origin("2001:db8:1:2:ffff::9"));
        assert_ne!(origin("2001:db8:1:2::1"), origin("2001:db8:1:3::1"));
        assert_ne!(origin("192.0.2.1"), origin("192.0.2.2"));
        assert_ne!(origin("0.0.0.1"), origin("::1"));
    }

    #[test]
    fn the_table_of_addresses_is_bounded_and_forgets_the_one_not_seen_for_longest() {
        let limits = AddressLimits::new(AddressOptions {
            room_rate: 1,
            room_burst: 1,
            ..options()
        });
        let rooms = |text: &str| NewRooms(Some((address(text), Arc::clone(&limits))));
        assert!(rooms("192.0.2.1").take().is_ok());
        let again = rooms("192.0.2.1").take().unwrap_err();
        assert!(
            again <= Duration::from_secs(1) && again > Duration::from_millis(500),
            "{again:?}"
        );
        assert!(rooms("192.0.2.2").take().is_ok());
        assert!(rooms("192.0.2.1").take().is_err(), "two are remembered");
        for last in 3..10 {
            let name = format!("192.0.2.{last}");
            assert!(rooms(&name).take().is_ok());
        }
        assert_eq!(limits.buckets.lock().len(), 2);
        assert!(NewRooms::default().take().is_ok());
    }
}

//! The bounds for each address: open connections, and rates of connections, requests and new rooms.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    num::{NonZeroU32, NonZeroUsize},
    sync::Arc,
    time::Duration,
};

use lru::LruCache;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{
    engine::Origin,
    rate::{Bucket, Rate},
};

/// What limits count as one address: an IPv4 address, or the first 64 bits of an IPv6 address, which is what one
/// customer gets.
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
    /// IPv4 addresses take numbers that no IPv6 address has: 0000::/32 is reserved.
    fn from(Address(address): Address) -> Self {
        Self(match address {
            IpAddr::V4(address) => address.to_bits().into(),
            IpAddr::V6(address) => {
                u64::try_from(address.to_bits() >> 64).unwrap_or_else(|_| unreachable!("64 bits are left"))
            }
        })
    }
}

/// What one address may have. A rate of 0 has no bound.
#[derive(Clone, Debug)]
pub(crate) struct AddressOptions {
    /// Open connections, while the server is over half full.
    pub(crate) connections: usize,
    /// New connections a second, and as many at once.
    pub(crate) connection_rate: u32,
    /// How long a connection that comes too fast may be delayed; one that would be delayed for longer is refused.
    pub(crate) delay: Duration,
    /// This part of the new connections that all addresses together may open at once is reserved for addresses that
    /// have used at most half of their own: 4 is a quarter.
    pub(crate) reserved_part: NonZeroU32,
    /// Requests a second after the first of each connection, and as many at once.
    pub(crate) request_rate: u32,
    /// New rooms a second.
    pub(crate) room_rate: u32,
    /// New rooms at once.
    pub(crate) room_burst: u32,
    /// Addresses whose buckets are kept. Beyond it, the address that was not seen for longest has full buckets again.
    pub(crate) remembered: NonZeroUsize,
}

impl AddressOptions {
    /// The default of [`reserved_part`](Self::reserved_part).
    pub(crate) const RESERVED_PART: NonZeroU32 = NonZeroU32::new(4).unwrap();
}

/// Counts what each address has.
///
/// The table of buckets is bounded: a new address evicts the one that was not seen for longest. The counts of open
/// connections are never evicted; there are no more of them than connections.
pub(crate) struct AddressLimits {
    options: AddressOptions,
    rates: Rates,
    // governor has such buckets too, but it cannot give a token back, and its table of keys has no bound.
    buckets: Mutex<LruCache<Address, Buckets>>,
    open: Mutex<HashMap<Address, usize>>,
}

struct Rates {
    connections: Rate,
    requests: Rate,
    rooms: Rate,
}

struct Buckets {
    connections: Bucket,
    requests: Bucket,
    rooms: Bucket,
}

/// A new connection of an address that may connect.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Attempt {
    /// How long it is delayed.
    pub(super) wait: Duration,
    /// The address used more than half of the connections that it may open at once.
    pub(super) is_frequent: bool,
}

impl AddressLimits {
    pub(crate) fn new(options: AddressOptions) -> Arc<Self> {
        let rate = |rate: u32, burst: u32| Rate::new(rate.into(), burst.max(1).into());
        Arc::new(Self {
            rates: Rates {
                connections: rate(options.connection_rate, options.connection_rate),
                requests: rate(options.request_rate, options.request_rate),
                rooms: rate(options.room_rate, options.room_burst),
            },
            // Bounded in `with`: a bound given here would take the memory of a full table at once.
            buckets: Mutex::new(LruCache::unbounded()),
            options,
            open: Mutex::default(),
        })
    }

    pub(super) fn options(&self) -> &AddressOptions {
        &self.options
    }

    /// A place among the connections of this address. `None` if it has its maximum while the server is crowded.
    pub(super) fn enter(self: &Arc<Self>, address: Address, crowded: bool) -> Option<AddressPlace> {
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

    /// Counts a new connection of this address. `None` refuses it.
    pub(super) fn attempt(&self, address: Address) -> Option<Attempt> {
        let rate = &self.rates.connections;
        if rate.is_unlimited() {
            return Some(Attempt::default());
        }
        self.with(address, |buckets, now| {
            let wait = buckets.connections.try_take(rate, self.options.delay, now).ok()?;
            let is_frequent = buckets.connections.used(now) > rate.burst() / 2;
            Some(Attempt { wait, is_frequent })
        })
    }

    fn with<T>(&self, address: Address, act: impl FnOnce(&mut Buckets, Instant) -> T) -> T {
        let now = Instant::now();
        let mut table = self.buckets.lock();
        if table.len() >= self.options.remembered.get() && !table.contains(&address) {
            table.pop_lru();
        }
        let full = Bucket::new(now);
        let buckets = table.get_or_insert_mut(address, || Buckets {
            connections: full,
            requests: full,
            rooms: full,
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

/// The address that sent a request: an extension of requests that came through this crate's accept loop.
#[derive(Clone)]
pub(crate) struct Peer {
    pub(crate) address: Address,
    pub(crate) limits: Arc<AddressLimits>,
    /// The admission of its connection counted this request already.
    pub(crate) counted: bool,
}

impl Peer {
    /// Counts a request without authorization.
    ///
    /// # Errors
    /// How long the address must wait before its next request, because it sends too many.
    pub(crate) fn request(&self) -> Result<(), Duration> {
        let rate = &self.limits.rates.requests;
        if self.counted || rate.is_unlimited() {
            return Ok(());
        }
        self.limits.with(self.address, |buckets, now| {
            buckets.requests.try_take(rate, Duration::ZERO, now).map(drop)
        })
    }

    /// The budget of new rooms of this address.
    pub(crate) fn new_rooms(&self) -> NewRooms {
        NewRooms(Some((self.address, Arc::clone(&self.limits))))
    }
}

/// An address's budget of new rooms. Clones are handles to the same budget. The default has no address and no bound:
/// connections that did not come through this crate's accept loop have it.
#[derive(Clone, Default)]
pub(crate) struct NewRooms(Option<(Address, Arc<AddressLimits>)>);

impl NewRooms {
    /// The address as the engine counts it.
    pub(crate) fn origin(&self) -> Option<Origin> {
        self.0.as_ref().map(|(address, _)| (*address).into())
    }

    /// Takes one room off the budget. To be called before the first use of a room that has neither a log nor members.
    ///
    /// # Errors
    /// How long the address must wait before its next new room, because it made too many.
    pub(crate) fn take(&self) -> Result<(), Duration> {
        match &self.0 {
            Some((address, limits)) if !limits.rates.rooms.is_unlimited() => limits.with(*address, |buckets, now| {
                let taken = buckets.rooms.try_take(&limits.rates.rooms, Duration::ZERO, now);
                taken.map(drop)
            }),
            _ => Ok(()),
        }
    }

    /// Gives back what was taken for a room that was not made.
    pub(crate) fn give_back(&self) {
        if let Some((address, limits)) = &self.0
            && !limits.rates.rooms.is_unlimited()
        {
            limits.with(*address, |buckets, _| buckets.rooms.give_back(&limits.rates.rooms));
        }
    }
}

#[cfg(test)]
impl AddressOptions {
    /// Two connections, no rates, two remembered addresses.
    pub(crate) fn small() -> Self {
        Self {
            connections: 2,
            connection_rate: 0,
            delay: Duration::ZERO,
            reserved_part: Self::RESERVED_PART,
            request_rate: 0,
            room_rate: 0,
            room_burst: 0,
            remembered: NonZeroUsize::new(2).unwrap_or(NonZeroUsize::MIN),
        }
    }
}

#[cfg(test)]
impl AddressLimits {
    /// How many addresses have open connections.
    pub(super) fn connected(&self) -> usize {
        self.open.lock().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        text.parse::<IpAddr>().unwrap().into()
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
    fn the_table_of_addresses_is_bounded_and_evicts_the_address_not_seen_for_longest() {
        let limits = AddressLimits::new(AddressOptions {
            room_rate: 1,
            room_burst: 1,
            ..AddressOptions::small()
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

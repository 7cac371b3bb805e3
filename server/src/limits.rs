//! The bounds on the number and the rate of connections, in all and for each address.
//!
//! One address can be one attacker or a whole company behind one router, so an address is slowed before it is refused,
//! and the lines of a welcomed session are not counted here.

mod address;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

use crate::{
    metrics::Metrics,
    notify::wait_until,
    rate::{Bucket, Rate},
};
pub(crate) use address::{Address, AddressLimits, AddressOptions, AddressPlace, NewRooms, Peer};

/// Counts connections; a connection is counted from accept until its TCP stream is closed, also after it became a
/// WebSocket.
pub(crate) struct ConnectionLimit {
    max: usize,
    rate: Rate,
    /// The same with a smaller burst, for addresses that connect often: see [`AddressOptions::reserved_part`].
    rate_of_frequent: Rate,
    bucket: Mutex<Bucket>,
    open: AtomicUsize,
    none_left: Notify,
    addresses: Arc<AddressLimits>,
    /// Counts the open connections too.
    metrics: Arc<Metrics>,
}

/// Why a connection is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The server has its maximum of connections, or they come too fast.
    Full,
    /// The address has its maximum of connections, or they come too fast from there.
    Address,
}

/// A connection's place, and how long it waits until it is served.
pub(crate) struct Admission {
    pub(crate) permit: ConnectionPermit,
    pub(crate) wait: Duration,
}

impl ConnectionLimit {
    /// At most `max` at a time and `per_second` new ones, of which as many may come at once; 0 means any number a
    /// second.
    pub(crate) fn new(max: usize, per_second: u32, addresses: Arc<AddressLimits>, metrics: Arc<Metrics>) -> Arc<Self> {
        let reserved = per_second.div_ceil(addresses.options().reserved_part.get());
        Arc::new(Self {
            max,
            rate: Rate::new(per_second.into(), per_second.into()),
            rate_of_frequent: Rate::new(per_second.into(), (per_second - reserved).into()),
            bucket: Mutex::new(Bucket::new(Instant::now())),
            open: AtomicUsize::new(0),
            none_left: Notify::new(),
            addresses,
            metrics,
        })
    }

    /// A place for one more connection. `address` is `None` for a proxy, whose clients are admitted one by one
    /// ([`admit_client`](Self::admit_client)).
    pub(crate) fn admit(self: &Arc<Self>, address: Option<Address>) -> Result<Admission, Refused> {
        // The address first: one that connects too fast must not use up the rate of all.
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
        self.metrics.connections.add(1);
        let permit = Permit(Arc::clone(self));
        // A few addresses, each at its full rate, would use up the rate of all.
        let rate = if attempt.is_frequent {
            &self.rate_of_frequent
        } else {
            &self.rate
        };
        let taken = self.bucket.lock().try_take(rate, Duration::ZERO, Instant::now());
        taken.map_err(|_| Refused::Full)?;
        Ok(Admission {
            permit: ConnectionPermit {
                _connection: Arc::new(permit),
                _address: place.map(Arc::new),
            },
            wait: attempt.wait,
        })
    }

    /// Admits a client behind a proxy, whose connection is counted already. Returns the client's own place and how long
    /// it waits.
    pub(crate) fn admit_client(&self, address: Address) -> Result<(AddressPlace, Duration), Refused> {
        let (place, attempt) = self.admit_address(address, self.open.load(Ordering::Relaxed).saturating_sub(1))?;
        Ok((place, attempt.wait))
    }

    fn admit_address(&self, address: Address, others: usize) -> Result<(AddressPlace, address::Attempt), Refused> {
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
        wait_until(&self.none_left, || {
            (self.open.load(Ordering::Acquire) == 0).then_some(())
        })
        .await;
    }
}

/// A connection's place; dropping the last clone frees it.
#[derive(Clone)]
pub(crate) struct ConnectionPermit {
    _connection: Arc<Permit>,
    _address: Option<Arc<AddressPlace>>,
}

impl ConnectionPermit {
    /// The same connection of a proxy, in use by a client with this place.
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
        self.0.metrics.connections.add(-1);
        if self.0.open.fetch_sub(1, Ordering::Release) == 1 {
            self.0.none_left.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn limit(max: usize, per_second: u32, options: AddressOptions) -> Arc<ConnectionLimit> {
        ConnectionLimit::new(max, per_second, AddressLimits::new(options), Arc::default())
    }

    fn address(text: &str) -> Address {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn a_place_is_free_when_its_last_clone_is_dropped() {
        let limit = limit(1, 0, AddressOptions::small());
        let first = limit.admit(None).unwrap_or_else(|_| panic!()).permit;
        let clone = first.clone();
        drop(first);
        assert_eq!(limit.admit(None).err(), Some(Refused::Full));
        drop(clone);
        assert!(limit.admit(None).is_ok());
    }

    #[test]
    fn a_connection_that_is_refused_by_the_rate_takes_no_place() {
        let limit = limit(10, 1, AddressOptions::small());
        let first = limit.admit(Some(address("192.0.2.1")));
        assert!(first.is_ok() && limit.admit(Some(address("192.0.2.2"))).is_err());
        assert_eq!(limit.open.load(Ordering::Relaxed), 1);
        assert_eq!(limit.addresses.connected(), 1);
    }

    #[test]
    fn an_address_is_held_to_its_share_only_while_the_server_is_over_half_full() {
        let limit = limit(8, 0, AddressOptions::small());
        let greedy = Some(address("192.0.2.1"));
        let held: Vec<_> = (0..8).map_while(|_| limit.admit(greedy).ok()).collect();
        assert_eq!(held.len(), 4, "half of the server");
        let others: Vec<_> = (2..5)
            .filter_map(|last| limit.admit(Some(address(&format!("192.0.2.{last}")))).ok())
            .collect();
        assert_eq!(others.len(), 3, "the others have the other half");
        assert_eq!(limit.admit(greedy).err(), Some(Refused::Address));
        drop((held, others));
        assert_eq!(limit.addresses.connected(), 0);
        assert!(limit.admit(greedy).is_ok());
    }

    #[test]
    fn an_address_that_connects_too_fast_is_delayed_then_refused_and_takes_nothing_of_the_rate_of_others() {
        let options = AddressOptions {
            connection_rate: 10,
            delay: Duration::from_millis(450),
            ..AddressOptions::small()
        };
        let limit = limit(1000, 20, options);
        let held: Vec<_> = (0..100)
            .filter_map(|_| limit.admit(Some(address("192.0.2.1"))).ok())
            .collect();
        assert_eq!(held.len(), 14, "10 at once and 4 that are delayed");
        assert!(held[13].wait > Duration::from_millis(300));
        assert!(limit.admit(Some(address("192.0.2.2"))).is_ok());
    }

    #[test]
    fn addresses_at_their_full_rate_leave_a_part_of_the_rate_of_all_to_others() {
        let options = AddressOptions {
            connection_rate: 100,
            ..AddressOptions::small()
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
}

//! How many rooms each client may make by publishing.

use std::time::Duration;

use lru::LruCache;
use talkback_protocol::ClientKey;
use tokio::time::Instant;

use crate::rate::{Bucket, Rate};

/// How many rooms one client may make by publishing.
#[derive(Clone, Copy, Debug)]
pub struct NewRoomOptions {
    /// Rooms at once, after a time in which it made none. At least as many as a session may have joined: after a
    /// restart they are all new.
    pub burst: u32,
    /// Rooms a minute on average; 0 is any number.
    pub per_minute: u32,
    /// Clients whose bucket is kept. Beyond it, the client that made no room for longest has a full one again.
    pub clients: usize,
    /// Full buckets that are dropped in one go, while no client can make a room. The next sweep drops more.
    pub expire_batch: usize,
}

/// A bucket for each client that made a room lately, in the order of their last use.
pub(super) struct NewRoomLimit {
    options: NewRoomOptions,
    rate: Rate,
    buckets: LruCache<ClientKey, Bucket>,
}

impl NewRoomLimit {
    pub(super) fn new(options: NewRoomOptions) -> Self {
        let rate = Rate::per(
            Duration::from_secs(60),
            options.per_minute.into(),
            options.burst.max(1).into(),
        );
        Self {
            options,
            rate,
            buckets: LruCache::unbounded(),
        }
    }

    /// Takes one room from the client's bucket.
    ///
    /// # Errors
    /// How long it takes until there is one.
    pub(super) fn take(&mut self, client: &ClientKey, now: Instant) -> Result<(), Duration> {
        if self.rate.is_unlimited() {
            return Ok(());
        }
        let mut bucket = self.buckets.get(client).copied().unwrap_or_else(|| Bucket::new(now));
        bucket.try_take(&self.rate, Duration::ZERO, now)?;
        self.buckets.put(*client, bucket);
        if self.buckets.len() > self.options.clients.max(1) {
            self.buckets.pop_lru();
        }
        Ok(())
    }

    /// Gives back the room that was just taken, because it was not made.
    pub(super) fn give_back(&mut self, client: &ClientKey) {
        if let Some(bucket) = self.buckets.peek_mut(client) {
            bucket.give_back(&self.rate);
        }
    }

    /// Drops a batch of full buckets, which are the same as none.
    pub(super) fn expire(&mut self, now: Instant) {
        for _ in 0..self.options.expire_batch.max(1) {
            if self.buckets.peek_lru().is_none_or(|(_, bucket)| !bucket.is_full(now)) {
                break;
            }
            self.buckets.pop_lru();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BATCH: usize = 1024;

    fn client(number: u32) -> ClientKey {
        ClientKey::from_random(u128::from(number).to_ne_bytes())
    }

    /// Three rooms at once and one each ten seconds, for so many clients.
    fn limit(clients: usize) -> NewRoomLimit {
        NewRoomLimit::new(NewRoomOptions {
            burst: 3,
            per_minute: 6,
            clients,
            expire_batch: BATCH,
        })
    }

    #[test]
    fn a_client_makes_a_burst_of_rooms_and_then_some_a_minute_and_others_are_not_slowed() {
        let (mut limit, start) = (limit(10), Instant::now());
        assert!((0..3).all(|_| limit.take(&client(1), start).is_ok()));
        assert_eq!(limit.take(&client(1), start), Err(Duration::from_secs(10)));
        assert_eq!(limit.take(&client(2), start), Ok(()));
        let later = start + Duration::from_secs(10);
        assert_eq!(limit.take(&client(1), later), Ok(()));
        assert_eq!(limit.take(&client(1), later), Err(Duration::from_secs(10)));
    }

    #[test]
    fn a_room_that_is_given_back_can_be_taken_again() {
        let (mut limit, now) = (limit(10), Instant::now());
        for _ in 0..100 {
            assert_eq!(limit.take(&client(1), now), Ok(()));
            limit.give_back(&client(1));
        }
        limit.give_back(&client(2));
        assert!((0..3).all(|_| limit.take(&client(1), now).is_ok()));
        assert_eq!(limit.take(&client(1), now), Err(Duration::from_secs(10)));
    }

    #[test]
    fn full_buckets_are_dropped_in_batches() {
        let (mut limit, start) = (limit(10_000), Instant::now());
        assert!((0..5000).all(|number| limit.take(&client(number), start).is_ok()));
        let later = start + Duration::from_secs(10);
        limit.expire(later);
        assert_eq!(limit.buckets.len(), 5000 - BATCH);
        (0..4).for_each(|_| limit.expire(later));
        assert_eq!(limit.buckets.len(), 0);
    }

    #[test]
    fn buckets_are_bounded_and_those_in_use_are_not_dropped() {
        let (mut limit, start) = (limit(2), Instant::now());
        for number in 0..10 {
            assert!(limit.take(&client(number), start).is_ok());
            assert!(limit.buckets.len() <= 2);
        }
        limit.expire(start + Duration::from_secs(9));
        assert_eq!(limit.buckets.len(), 2);
        limit.expire(start + Duration::from_secs(10));
        assert_eq!(limit.buckets.len(), 0);
    }

    #[test]
    fn a_rate_of_0_is_no_bound_and_keeps_nothing() {
        let mut limit = NewRoomLimit::new(NewRoomOptions {
            per_minute: 0,
            ..limit(1).options
        });
        let now = Instant::now();
        assert!((0..1000).all(|_| limit.take(&client(1), now).is_ok()));
        assert_eq!(limit.buckets.len(), 0);
    }
}

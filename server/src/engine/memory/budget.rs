//! How many rooms each client may make: a token bucket for each, in a table that is bounded.

use std::time::Duration;

use lru::LruCache;
use talkback_protocol::ClientKey;
use tokio::time::Instant;

/// Others wait meanwhile. What is left is dropped the next time.
const DROPPED_AT_ONCE: usize = 1024;

/// What one client may make.
#[derive(Clone, Copy, Debug)]
pub struct NewRooms {
    /// Rooms at once, after a time in which it made none. At least as many as a session may have joined: after a restart they are all
    /// new.
    pub burst: u32,
    /// Rooms a minute on average; 0 is any number.
    pub per_minute: u32,
    /// Clients whose bucket is kept. Beyond it the client that made no room for longest has a full one again.
    pub clients: usize,
}

/// Buckets in the order of their last use. Each is the time at which it is full again, which says all that there is to know.
pub(super) struct Budget {
    limits: NewRooms,
    full_at: LruCache<ClientKey, Instant>,
}

impl Budget {
    pub(super) fn new(limits: NewRooms) -> Self {
        Self {
            limits,
            full_at: LruCache::unbounded(),
        }
    }

    /// Takes one room from the client's bucket, or tells how long it takes until there is one.
    pub(super) fn take(&mut self, client: &ClientKey, now: Instant) -> Result<(), Duration> {
        let NewRooms {
            burst,
            per_minute,
            clients,
        } = self.limits;
        if per_minute == 0 {
            return Ok(());
        }
        let each = Duration::from_secs(60) / per_minute;
        let full_at = self.full_at.get(client).copied().unwrap_or(now).max(now) + each;
        let wait = (full_at - now).saturating_sub(each * burst.max(1));
        if !wait.is_zero() {
            return Err(wait);
        }
        self.full_at.put(*client, full_at);
        if self.full_at.len() > clients.max(1) {
            self.full_at.pop_lru();
        }
        Ok(())
    }

    /// The room that was just taken was not made.
    pub(super) fn give_back(&mut self, client: &ClientKey) {
        if let Some(each) = Duration::from_secs(60).checked_div(self.limits.per_minute)
            && let Some(full_at) = self.full_at.peek_mut(client)
            && let Some(earlier) = full_at.checked_sub(each)
        {
            *full_at = earlier;
        }
    }

    /// Drops buckets that are full, which are the same as none; as many as may be dropped at once.
    pub(super) fn expire(&mut self, now: Instant) {
        for _ in 0..DROPPED_AT_ONCE {
            if self.full_at.peek_lru().is_none_or(|(_, full_at)| *full_at > now) {
                break;
            }
            self.full_at.pop_lru();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(number: u8) -> ClientKey {
        ClientKey::from_random([number; 16])
    }

    #[test]
    fn a_client_makes_a_burst_of_rooms_and_then_some_a_minute_and_others_are_not_slowed() {
        let mut budget = Budget::new(NewRooms {
            burst: 3,
            per_minute: 6,
            clients: 10,
        });
        let start = Instant::now();
        assert!((0..3).all(|_| budget.take(&client(1), start).is_ok()));
        assert_eq!(budget.take(&client(1), start), Err(Duration::from_secs(10)));
        assert_eq!(budget.take(&client(2), start), Ok(()));
        let later = start + Duration::from_secs(10);
        assert_eq!(budget.take(&client(1), later), Ok(()));
        assert_eq!(budget.take(&client(1), later), Err(Duration::from_secs(10)));
        let rested = start + Duration::from_secs(1000);
        assert!(
            (0..3).all(|_| budget.take(&client(1), rested).is_ok()),
            "no more than a burst is saved up"
        );
        assert!(budget.take(&client(1), rested).is_err());
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let mut budget = Budget::new(NewRooms {
            burst: 3,
            per_minute: 6,
            clients: 10,
        });
        let now = Instant::now();
        for _ in 0..100 {
            assert_eq!(budget.take(&client(1), now), Ok(()));
            budget.give_back(&client(1));
        }
        budget.give_back(&client(2));
        assert!((0..3).all(|_| budget.take(&client(1), now).is_ok()));
        assert_eq!(budget.take(&client(1), now), Err(Duration::from_secs(10)));
    }

    #[test]
    fn few_buckets_are_dropped_at_once_and_all_in_the_end() {
        let mut budget = Budget::new(NewRooms {
            burst: 3,
            per_minute: 6,
            clients: 10_000,
        });
        let start = Instant::now();
        for number in 0..5000_u128 {
            assert!(
                budget
                    .take(&ClientKey::from_random(number.to_ne_bytes()), start)
                    .is_ok()
            );
        }
        let later = start + Duration::from_secs(10);
        budget.expire(later);
        assert_eq!(budget.full_at.len(), 5000 - DROPPED_AT_ONCE);
        (0..4).for_each(|_| budget.expire(later));
        assert_eq!(budget.full_at.len(), 0);
    }

    #[test]
    fn buckets_are_bounded_and_full_ones_are_dropped() {
        let mut budget = Budget::new(NewRooms {
            burst: 3,
            per_minute: 6,
            clients: 2,
        });
        let start = Instant::now();
        for number in 0..10 {
            assert!(budget.take(&client(number), start).is_ok());
            assert!(budget.full_at.len() <= 2);
        }
        budget.expire(start + Duration::from_secs(9));
        assert_eq!(budget.full_at.len(), 2);
        budget.expire(start + Duration::from_secs(10));
        assert_eq!(budget.full_at.len(), 0);
    }

    #[test]
    fn a_budget_of_0_is_no_bound() {
        let mut budget = Budget::new(NewRooms {
            burst: 1,
            per_minute: 0,
            clients: 1,
        });
        let now = Instant::now();
        assert!((0..1000).all(|_| budget.take(&client(1), now).is_ok()));
        assert_eq!(budget.full_at.len(), 0);
    }
}

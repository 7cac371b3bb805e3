//! The rests of clients' rates after their connections ended.

use std::{hash::Hash, num::NonZeroUsize};

use lru::LruCache;
use parking_lot::Mutex;
use tokio::time::Instant;

/// A bounded table of allowances: a new one evicts that of the client whose connection ended first.
pub(crate) struct Allowances<K: Hash + Eq, A> {
    /// `None` if the bound is 0. With the time from which the allowance is the same as that of a new client.
    ended: Option<Mutex<LruCache<K, (A, Instant)>>>,
    /// Of the allowances of two overlapping connections, the one that counts.
    less: fn(&A, &A) -> A,
}

impl<K: Hash + Eq, A> Allowances<K, A> {
    pub(crate) fn new(clients: usize, less: fn(&A, &A) -> A) -> Self {
        let ended = NonZeroUsize::new(clients).map(|clients| {
            let mut ended = LruCache::unbounded();
            // Resized after it is made: a cache that is made with its bound allocates the memory at once.
            ended.resize(clients);
            Mutex::new(ended)
        });
        Self { ended, less }
    }

    /// Keeps the allowance of a client whose connection ended, until it `expires`.
    pub(crate) fn keep(&self, client: K, allowance: A, expires: Instant, now: Instant) {
        let Some(ended) = &self.ended else { return };
        let mut ended = ended.lock();
        let is_expired = |(_, expires): &(A, Instant)| *expires <= now;
        let new = match ended.pop(&client).filter(|kept| !is_expired(kept)) {
            Some((kept, kept_expires)) => ((self.less)(&kept, &allowance), kept_expires.max(expires)),
            None => (allowance, expires),
        };
        if !is_expired(&new) {
            ended.put(client, new);
        }
        // Two expired entries are removed for each one that is added, so that expired ones do not accumulate.
        for _ in 0..2 {
            if ended.peek_lru().is_none_or(|(_, oldest)| !is_expired(oldest)) {
                break;
            }
            ended.pop_lru();
        }
    }

    /// Takes the allowance that this client had when its last connection ended, and when it expires.
    pub(crate) fn take(&self, client: &K, now: Instant) -> Option<(A, Instant)> {
        let kept = self.ended.as_ref()?.lock().pop(client);
        kept.filter(|(_, expires)| *expires > now)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const AGE: Duration = Duration::from_secs(60);

    fn allowances(clients: usize) -> Allowances<u32, u32> {
        Allowances::new(clients, |one, other| *one.min(other))
    }

    #[test]
    fn allowances_expire_and_their_number_is_bounded() {
        let start = Instant::now();
        let (end, kept) = (start + AGE, allowances(10));
        (0..1000).for_each(|client| kept.keep(client, 5, end, start));
        let len = || kept.ended.as_ref().unwrap().lock().len();
        assert_eq!(len(), 10);
        assert_eq!(kept.take(&989, start), None);
        let later = start + Duration::from_secs(7);
        assert_eq!(kept.take(&990, later), Some((5, end)));
        assert_eq!(kept.take(&990, later), None, "an allowance is taken once");
        assert_eq!(kept.take(&991, end), None);
        (2000..2008).for_each(|client| kept.keep(client, 5, end + AGE, end));
        assert_eq!(len(), 8, "expired ones are removed");
        kept.keep(3000, 5, end, end);
        assert_eq!(len(), 8, "one that has expired already is not kept");
        let none = allowances(0);
        none.keep(1, 5, end, start);
        assert_eq!(none.take(&1, start), None);
    }

    #[test]
    fn of_overlapping_connections_the_smaller_allowance_counts() {
        let start = Instant::now();
        let (end, kept) = (start + AGE, allowances(10));
        let second = Duration::from_secs(1);
        for (first, then) in [(2, 5), (5, 2)] {
            kept.keep(1, first, end, start);
            kept.keep(1, then, end + second, start + second);
            assert_eq!(kept.take(&1, start + second), Some((2, end + second)));
        }
        kept.keep(1, 2, end, start);
        kept.keep(1, 5, end + AGE, end);
        assert_eq!(kept.take(&1, end), Some((5, end + AGE)), "the first one has expired");
    }
}

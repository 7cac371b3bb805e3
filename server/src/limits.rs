//! How many connections there may be, and how fast they may come.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Counts connections; a connection is counted from accept until its TCP stream is closed, also after it became a WebSocket.
pub(crate) struct ConnectionLimit {
    max: usize,
    rate: Option<Mutex<TokenBucket>>,
    open: AtomicUsize,
    none_left: Notify,
}

impl ConnectionLimit {
    /// At most `max` at a time and `per_second` new ones, of which as many may come at once; 0 means any number a second.
    pub(crate) fn new(max: usize, per_second: u32) -> Arc<Self> {
        Arc::new(Self {
            max,
            rate: (per_second > 0).then(|| Mutex::new(TokenBucket::new(per_second, Instant::now()))),
            open: AtomicUsize::new(0),
            none_left: Notify::new(),
        })
    }

    /// A place for one more connection, or `None` when there is none.
    pub(crate) fn admit(self: &Arc<Self>) -> Option<ConnectionPermit> {
        let open = |open| (open < self.max).then_some(open + 1);
        if self
            .open
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, open)
            .is_err()
        {
            return None;
        }
        let permit = Permit(Arc::clone(self));
        if let Some(rate) = &self.rate
            && !rate.lock().take(Instant::now())
        {
            return None;
        }
        Some(ConnectionPermit(Arc::new(permit)))
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
pub(crate) struct ConnectionPermit(#[expect(dead_code, reason = "held for its drop")] Arc<Permit>);

struct Permit(Arc<ConnectionLimit>);

impl Drop for Permit {
    fn drop(&mut self) {
        if self.0.open.fetch_sub(1, Ordering::Release) == 1 {
            self.0.none_left.notify_waiters();
        }
    }
}

/// Lets `per_second` pass on average, and as many at once after a quiet second.
struct TokenBucket {
    per_second: f64,
    tokens: f64,
    filled: Instant,
}

impl TokenBucket {
    fn new(per_second: u32, now: Instant) -> Self {
        let per_second = f64::from(per_second);
        Self {
            per_second,
            tokens: per_second,
            filled: now,
        }
    }

    fn take(&mut self, now: Instant) -> bool {
        let new = now.saturating_duration_since(self.filled).as_secs_f64() * self.per_second;
        self.tokens = (self.tokens + new).min(self.per_second);
        self.filled = now;
        let passes = self.tokens >= 1.0;
        if passes {
            self.tokens -= 1.0;
        }
        passes
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_bucket_lets_a_burst_pass_and_then_the_rate() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(10, start);
        assert_eq!((0..20).filter(|_| bucket.take(start)).count(), 10);
        let later = start + Duration::from_millis(301);
        assert_eq!((0..20).filter(|_| bucket.take(later)).count(), 3);
        let much_later = start + Duration::from_secs(3600);
        assert_eq!((0..20).filter(|_| bucket.take(much_later)).count(), 10);
        assert!(!bucket.take(start), "a clock that steps back gives nothing");
    }

    #[test]
    fn places_are_free_again_when_the_last_clone_is_gone() {
        let limit = ConnectionLimit::new(1, 0);
        let first = limit.admit().unwrap();
        let clone = first.clone();
        drop(first);
        assert!(limit.admit().is_none());
        drop(clone);
        assert!(limit.admit().is_some());
    }

    #[test]
    fn a_connection_that_comes_too_fast_takes_no_place() {
        let limit = ConnectionLimit::new(10, 1);
        let first = limit.admit();
        assert!(first.is_some() && limit.admit().is_none());
        assert_eq!(limit.open.load(Ordering::Relaxed), 1);
    }
}

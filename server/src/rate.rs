//! Token buckets: how much may pass in a time on average, and how much at once after a quiet time.
//!
//! A bucket stores one moment instead of a number of tokens: when everything that was taken is paid for (the generic
//! cell rate algorithm). So it has 16 bytes, nothing has to refill it, and one [`Rate`] serves any number of buckets.

use std::time::Duration;

use tokio::time::Instant;

/// No single amount is paid for longer than this, however small the rate.
const LONGEST: Duration = Duration::from_secs(3600);

/// How much may pass in a time on average, and how much at once. A rate of 0 has no bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    amount: u64,
    period: Duration,
    /// The time that the rate needs for the burst.
    burst: Duration,
}

impl Rate {
    /// `amount` in a second, and `burst` at once.
    pub(crate) fn new(amount: u64, burst: u64) -> Self {
        Self::per(Duration::from_secs(1), amount, burst)
    }

    /// `amount` in each `period`, and `burst` at once.
    pub(crate) fn per(period: Duration, amount: u64, burst: u64) -> Self {
        let mut rate = Self {
            amount,
            period,
            burst: Duration::ZERO,
        };
        rate.burst = rate.exact_time_of(burst);
        rate
    }

    pub(crate) fn is_unlimited(&self) -> bool {
        self.amount == 0
    }

    /// The time that the rate needs for this amount: an hour at most, zero if it has no bound.
    pub(crate) fn time_of(&self, amount: u64) -> Duration {
        self.exact_time_of(amount).min(LONGEST)
    }

    /// The time that the rate needs for the burst.
    pub(crate) fn burst(&self) -> Duration {
        self.burst
    }

    fn exact_time_of(&self, amount: u64) -> Duration {
        if self.amount == 0 {
            return Duration::ZERO;
        }
        let period = u64::try_from(self.period.as_nanos()).unwrap_or(u64::MAX);
        let nanos = match amount.checked_mul(period) {
            Some(nanos) => nanos / self.amount,
            None => {
                let nanos = u128::from(amount) * u128::from(period) / u128::from(self.amount);
                u64::try_from(nanos).unwrap_or(u64::MAX)
            }
        };
        Duration::from_nanos(nanos)
    }
}

/// What one holder took of a [`Rate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Bucket {
    /// When everything that was taken is paid for.
    paid_at: Instant,
}

impl Bucket {
    /// A full bucket.
    pub(crate) fn new(now: Instant) -> Self {
        Self { paid_at: now }
    }

    /// Takes `amount`, also if the bucket does not have it. Then it returns when the bucket is out of debt: nothing
    /// more should be taken before.
    pub(crate) fn take(&mut self, rate: &Rate, amount: u64, now: Instant) -> Option<Instant> {
        if rate.is_unlimited() {
            return None;
        }
        self.paid_at = self.paid_at.max(now) + rate.time_of(amount);
        self.paid_at.checked_sub(rate.burst).filter(|until| *until > now)
    }

    /// Takes `amount`, with a debt of at most what the rate needs for `most`. Returns how long the rate needs for the
    /// debt.
    pub(crate) fn take_up_to(&mut self, rate: &Rate, amount: u64, most: u64, now: Instant) -> Duration {
        self.paid_at = (self.paid_at.max(now) + rate.time_of(amount)).min(now + rate.time_of(most));
        self.used(now)
    }

    /// Takes one token if the bucket has it within `max_wait`, and returns how long its taker has to wait for it.
    ///
    /// # Errors
    /// How long it takes until there is a token without a wait. Nothing was taken.
    pub(crate) fn try_take(&mut self, rate: &Rate, max_wait: Duration, now: Instant) -> Result<Duration, Duration> {
        if rate.is_unlimited() {
            return Ok(Duration::ZERO);
        }
        let paid_at = self.paid_at.max(now) + rate.time_of(1);
        let wait = (paid_at - now).saturating_sub(rate.burst);
        if wait > max_wait {
            return Err(wait);
        }
        self.paid_at = paid_at;
        Ok(wait)
    }

    /// Puts back one token that was taken and not used.
    pub(crate) fn give_back(&mut self, rate: &Rate) {
        self.paid_at = self.paid_at.checked_sub(rate.time_of(1)).unwrap_or(self.paid_at);
    }

    /// How long the rate needs for what was taken: zero if the bucket is full.
    pub(crate) fn used(&self, now: Instant) -> Duration {
        self.paid_at.saturating_duration_since(now)
    }

    /// Whether the bucket is full, which is the same as a new one.
    pub(crate) fn is_full(&self, now: Instant) -> bool {
        self.paid_at <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many tokens the bucket has now.
    fn take_all(bucket: &mut Bucket, rate: &Rate, now: Instant) -> usize {
        (0..1000)
            .take_while(|_| bucket.try_take(rate, Duration::ZERO, now).is_ok())
            .count()
    }

    #[test]
    fn a_burst_passes_and_then_the_rate_is_kept_by_pausing() {
        let start = Instant::now();
        let rate = Rate::new(100, 50);
        let mut bucket = Bucket::new(start);
        assert!((0..50).all(|_| bucket.take(&rate, 1, start).is_none()));
        let mut now = start;
        for number in 1..=200_u32 {
            if let Some(until) = bucket.take(&rate, 1, now) {
                now = until;
            }
            assert_eq!(now - start, Duration::from_millis(10) * number);
        }
        let later = now + Duration::from_secs(60);
        assert!((0..50).all(|_| bucket.take(&rate, 1, later).is_none()));
        assert!(
            bucket.take(&rate, 1, later).is_some(),
            "a bucket has no more than a burst"
        );
        assert_eq!(Bucket::new(start).take(&Rate::new(0, 0), u64::MAX, start), None);
        assert_eq!(
            Bucket::new(start).take(&Rate::new(1, 0), u64::MAX, start),
            Some(start + LONGEST)
        );
    }

    #[test]
    fn tokens_come_at_the_rate_and_no_more_than_the_burst_is_saved() {
        let start = Instant::now();
        let rate = Rate::new(10, 10);
        let mut bucket = Bucket::new(start);
        assert_eq!(take_all(&mut bucket, &rate, start), 10);
        let later = start + Duration::from_millis(301);
        assert_eq!(take_all(&mut bucket, &rate, later), 3);
        assert_eq!(
            take_all(&mut bucket, &rate, start),
            0,
            "a clock that steps back adds no tokens"
        );
        let much_later = start + Duration::from_secs(3600);
        assert!(bucket.is_full(much_later));
        assert_eq!(take_all(&mut bucket, &rate, much_later), 10);
        assert_eq!(bucket.used(much_later), rate.burst());
        bucket.give_back(&rate);
        assert_eq!(take_all(&mut bucket, &rate, much_later), 1);
        (0..20).for_each(|_| bucket.give_back(&rate));
        assert_eq!(
            take_all(&mut bucket, &rate, much_later),
            10,
            "what is given back adds no tokens above the burst"
        );
    }

    #[test]
    fn a_bounded_number_of_takers_wait_each_for_a_token_of_its_own() {
        let start = Instant::now();
        let rate = Rate::new(10, 2);
        let mut bucket = Bucket::new(start);
        let millis = Duration::from_millis;
        let waits: Vec<_> = (0..10).map(|_| bucket.try_take(&rate, millis(350), start)).collect();
        assert_eq!(waits[..5], [0, 0, 100, 200, 300].map(|wait| Ok(millis(wait))));
        assert!(waits[5..].iter().all(|wait| *wait == Err(millis(400))), "{waits:?}");
    }

    #[test]
    fn a_rate_has_any_period_and_its_burst_is_whole_however_long_it_takes_to_refill() {
        let now = Instant::now();
        let rate = Rate::per(Duration::from_secs(60), 1, 128);
        let mut bucket = Bucket::new(now);
        assert_eq!(take_all(&mut bucket, &rate, now), 128);
        assert_eq!(
            bucket.try_take(&rate, Duration::ZERO, now),
            Err(Duration::from_secs(60))
        );
        let unlimited = Rate::per(Duration::from_secs(60), 0, 1);
        assert_eq!(take_all(&mut Bucket::new(now), &unlimited, now), 1000);
    }

    #[test]
    fn a_bounded_debt_is_paid_in_a_bounded_time() {
        let now = Instant::now();
        let (rate, mut bucket) = (Rate::new(1000, 0), Bucket::new(now));
        assert_eq!(bucket.take_up_to(&rate, 500, 2000, now), Duration::from_millis(500));
        assert_eq!(bucket.take_up_to(&rate, 5000, 2000, now), Duration::from_secs(2));
    }
}

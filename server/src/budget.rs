//! How much may pass in a second. Nothing is refused: whoever takes more than there is learns until when to pause, and nothing is
//! taken from its connection meanwhile.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::time::Instant;

/// How much may pass in a second on average, and how much at once after a quiet time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    per_second: u64,
    burst: Duration,
}

/// No single amount is paid for longer than this, however small the rate.
const LONGEST: Duration = Duration::from_secs(3600);

impl Rate {
    /// 0 per second means any number.
    pub(crate) fn new(per_second: u64, burst: u64) -> Self {
        let mut rate = Self {
            per_second,
            burst: Duration::ZERO,
        };
        rate.burst = rate.time_of(burst);
        rate
    }

    /// How long the rate needs for so much.
    fn time_of(&self, amount: u64) -> Duration {
        if self.per_second == 0 {
            return Duration::ZERO;
        }
        let nanos = match amount.checked_mul(1_000_000_000) {
            Some(nanos) => nanos / self.per_second,
            None => {
                let nanos = u128::from(amount) * 1_000_000_000 / u128::from(self.per_second);
                u64::try_from(nanos).unwrap_or(u64::MAX)
            }
        };
        Duration::from_nanos(nanos).min(LONGEST)
    }
}

/// What one connection took of a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Bucket {
    /// When all that was taken is paid for.
    paid_at: Instant,
}

impl Bucket {
    /// Full.
    pub(crate) fn new(now: Instant) -> Self {
        Self { paid_at: now }
    }

    /// Takes so much. If it was not all there: when it is paid for. Nothing more should be taken before that.
    pub(crate) fn take(&mut self, rate: &Rate, amount: u64, now: Instant) -> Option<Instant> {
        if rate.per_second == 0 {
            return None;
        }
        self.paid_at = self.paid_at.max(now) + rate.time_of(amount);
        self.paid_at.checked_sub(rate.burst).filter(|until| *until > now)
    }

    /// Whether anything that was taken is not paid for.
    pub(crate) fn owes(&self, now: Instant) -> bool {
        self.paid_at > now
    }

    /// Takes so much, and owes at most what the rate needs for `most`. Returns how long it takes to pay all of it.
    pub(crate) fn take_up_to(&mut self, rate: &Rate, amount: u64, most: u64, now: Instant) -> Duration {
        self.paid_at = (self.paid_at.max(now) + rate.time_of(amount)).min(now + rate.time_of(most));
        self.paid_at.saturating_duration_since(now)
    }
}

/// What several senders may cause together, such as the bytes that are delivered in a room.
///
/// While they cause more, each pauses in proportion to what it causes itself: the price rises with the debt until what they cause meets
/// the rate, or what can really be done where that is less: work that is late counts as debt. So senders that take all they can share
/// the rate equally, and one that causes little hardly waits.
#[derive(Debug)]
pub(crate) struct Budget {
    rate: Rate,
    started: Instant,
    /// When all that was charged is paid for, in nanoseconds since `started`.
    paid_at: AtomicU64,
}

/// No more than this is owed beyond the burst: so a room is free again soon after those who send too much are gone.
const MOST_DEBT: Duration = Duration::from_secs(2);
/// No sender pauses for longer than this at a time, which is shorter than silence may last.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// So much debt beyond the burst makes a sender pause for as long as the rate needs for what it caused; twice as much, four times as
/// long: with a hundred senders that take all they can, the debt settles at ten times this.
const DEBT_UNIT: Duration = Duration::from_millis(100);
/// Work that is later than this is a debt.
const LATE: Duration = Duration::from_millis(50);

impl Budget {
    /// As much as the rate allows in a second may be caused at once.
    pub(crate) fn new(per_second: u64, now: Instant) -> Self {
        Self {
            rate: Rate::new(per_second, per_second),
            started: now,
            paid_at: AtomicU64::new(0),
        }
    }

    /// Charges a sender, while what was caused before is done so late. If all together caused too much: until when this one should pause.
    pub(crate) fn charge(&self, amount: u64, late: Duration, now: Instant) -> Option<Instant> {
        if self.rate.per_second == 0 {
            return None;
        }
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let now_at = nanos(now.saturating_duration_since(self.started));
        let own = self.rate.time_of(amount);
        let most = now_at.saturating_add(nanos(self.rate.burst + MOST_DEBT));
        let add = |paid_at: u64| paid_at.max(now_at).saturating_add(nanos(own)).min(most);
        let before = self
            .paid_at
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |paid_at| Some(add(paid_at)))
            .unwrap_or_else(|same| same);
        let ahead = Duration::from_nanos(add(before).saturating_sub(now_at));
        let debt = ahead.saturating_sub(self.rate.burst).max(late.saturating_sub(LATE));
        if debt.is_zero() {
            return None;
        }
        let price = (debt.as_secs_f64() / DEBT_UNIT.as_secs_f64()).powi(2);
        let pause = Duration::try_from_secs_f64(own.as_secs_f64() * price).unwrap_or(LONGEST_PAUSE);
        Some(now + pause.min(LONGEST_PAUSE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert!(bucket.take(&rate, 1, later).is_some(), "quiet time fills it once");
        assert_eq!(Bucket::new(start).take(&Rate::new(0, 0), u64::MAX, start), None);
        assert_eq!(
            Bucket::new(start).take(&Rate::new(1, 0), u64::MAX, start),
            Some(start + LONGEST)
        );
    }

    /// Senders on a virtual clock, each with its amount and the least time between two of its sends. Returns what each caused in
    /// `seconds` after a minute, and its longest pause.
    fn simulate(per_second: u64, senders: &[(u64, Duration)], seconds: u64) -> Vec<(u64, Duration)> {
        let start = Instant::now();
        let budget = Budget::new(per_second, start);
        let (from, to) = (
            start + Duration::from_secs(60),
            start + Duration::from_secs(60 + seconds),
        );
        let mut next = vec![start; senders.len()];
        let mut caused = vec![(0, Duration::ZERO); senders.len()];
        while let Some((sender, now)) = next.iter().copied().enumerate().min_by_key(|(_, at)| *at)
            && now < to
        {
            let (amount, interval) = senders[sender];
            let until = budget.charge(amount, Duration::ZERO, now).unwrap_or(now);
            if now >= from {
                caused[sender].0 += amount;
                caused[sender].1 = caused[sender].1.max(until - now);
            }
            next[sender] = until.max(now + interval);
        }
        caused
    }

    #[test]
    fn senders_that_take_all_they_can_share_the_rate_and_one_that_takes_little_hardly_waits() {
        for greedy in [1, 3, 50] {
            let mut senders = vec![(1_000_000, Duration::from_micros(10)); greedy];
            // A hundredth of a share, in small messages.
            let share = 64_000_000 / (greedy as u64 + 1);
            senders.push((share / 1000, Duration::from_millis(100)));
            let caused = simulate(64_000_000, &senders, 30);
            let total: u64 = caused.iter().map(|(amount, _)| amount).sum();
            let of_rate = total as f64 / 30.0 / 64e6;
            assert!(
                (0.9..1.1).contains(&of_rate),
                "{greedy} senders caused {of_rate} of the rate"
            );
            let (modest, pause) = caused[greedy];
            assert_eq!(modest, share / 1000 * 300, "{greedy} senders slowed a modest one");
            assert!(pause < Duration::from_millis(10), "{greedy} senders: {pause:?}");
            let most = caused[..greedy].iter().map(|(amount, _)| amount).max().unwrap();
            let least = caused[..greedy].iter().map(|(amount, _)| amount).min().unwrap();
            assert!(most - least <= most / 4, "{least} to {most}");
        }
    }

    #[test]
    fn what_is_owed_and_how_long_it_lasts_are_bounded_however_much_is_caused() {
        let start = Instant::now();
        let budget = Budget::new(1_000, start);
        for _ in 0..1_000 {
            let until = budget.charge(1_000_000, Duration::ZERO, start).unwrap();
            assert!(until <= start + LONGEST_PAUSE);
        }
        // The burst is a second's worth.
        let later = start + MOST_DEBT + Duration::from_secs(1);
        assert_eq!(budget.charge(1, Duration::ZERO, later), None, "the room is free again");
    }

    #[test]
    fn while_work_is_late_its_senders_pause_in_proportion_however_much_the_rate_allows() {
        let start = Instant::now();
        let budget = Budget::new(1 << 30, start);
        assert_eq!(budget.charge(1 << 20, LATE, start), None);
        let pause = |amount, late| budget.charge(amount, late, start).unwrap() - start;
        let late = LATE + 2 * DEBT_UNIT;
        let small = pause(1 << 10, late);
        assert!(pause(1 << 20, late) >= small * 1000);
        assert!(pause(1 << 20, late + 2 * DEBT_UNIT) >= pause(1 << 20, late) * 3);
        assert_eq!(pause(1 << 30, Duration::from_secs(3600)), LONGEST_PAUSE);
    }

    #[test]
    fn within_the_budget_nobody_pauses() {
        let senders = [(1000, Duration::from_millis(20)); 10];
        assert!(simulate(600_000, &senders, 10).iter().all(|(_, pause)| pause.is_zero()));
        let start = Instant::now();
        assert_eq!(Budget::new(0, start).charge(u64::MAX, Duration::ZERO, start), None);
    }
}

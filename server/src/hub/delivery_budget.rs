//! The budget of deliveries in a room: senders above it are read later, and no message is refused.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::time::Instant;

use super::HubOptions;
use crate::rate::Rate;

/// The bytes that the senders of one room may cause to be delivered, all together.
///
/// While they cause more, each pauses in proportion to what it causes itself: the price rises with the debt until what
/// they cause meets the rate, or what can really be delivered where that is less, because late deliveries count as
/// debt. So senders that take all they can share the rate equally, and one that causes little hardly waits.
#[derive(Debug)]
pub(super) struct DeliveryBudget {
    rate: Rate,
    started: Instant,
    /// When all that was charged is paid for, in nanoseconds since `started`.
    paid_at: AtomicU64,
}

impl DeliveryBudget {
    /// A full budget: as much as the rate allows in a second may be caused at once.
    pub(super) fn new(options: &HubOptions, now: Instant) -> Self {
        let per_second = u64::try_from(options.delivery_rate).unwrap_or(u64::MAX);
        Self {
            rate: Rate::new(per_second, per_second),
            started: now,
            paid_at: AtomicU64::new(0),
        }
    }

    /// Charges a sender for an amount, while deliveries are late by `late`. Returns until when the sender should pause,
    /// if it should.
    pub(super) fn charge(&self, options: &HubOptions, amount: u64, late: Duration, now: Instant) -> Option<Instant> {
        if self.rate.is_unlimited() {
            return None;
        }
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let now_at = nanos(now.saturating_duration_since(self.started));
        let own = self.rate.time_of(amount);
        let most = now_at.saturating_add(nanos(self.rate.burst() + options.delivery_max_debt));
        let add = |paid_at: u64| paid_at.max(now_at).saturating_add(nanos(own)).min(most);
        let before = self
            .paid_at
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |paid_at| Some(add(paid_at)))
            .unwrap_or_else(|same| same);
        let ahead = Duration::from_nanos(add(before).saturating_sub(now_at));
        let late = late.saturating_sub(options.delivery_max_delay);
        let debt = ahead.saturating_sub(self.rate.burst()).max(late);
        if debt.is_zero() {
            return None;
        }
        let price = (debt.as_secs_f64() / options.delivery_debt_unit.as_secs_f64()).powi(2);
        let longest = options.delivery_max_pause;
        let pause = Duration::try_from_secs_f64(own.as_secs_f64() * price).unwrap_or(longest);
        Some(now + pause.min(longest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: HubOptions = HubOptions::DEFAULT;

    fn budget(per_second: usize, now: Instant) -> DeliveryBudget {
        let options = HubOptions {
            delivery_rate: per_second,
            ..OPTIONS
        };
        DeliveryBudget::new(&options, now)
    }

    /// Senders on a virtual clock, each with its amount and its shortest interval between two sends. Returns what each
    /// caused in the `seconds` that follow the first minute, and its longest pause.
    fn simulate(per_second: usize, senders: &[(u64, Duration)], seconds: u64) -> Vec<(u64, Duration)> {
        let start = Instant::now();
        let budget = budget(per_second, start);
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
            let until = budget.charge(&OPTIONS, amount, Duration::ZERO, now).unwrap_or(now);
            if now >= from {
                caused[sender].0 += amount;
                caused[sender].1 = caused[sender].1.max(until - now);
            }
            next[sender] = until.max(now + interval);
        }
        caused
    }

    #[test]
    fn greedy_senders_share_the_rate_equally_and_a_modest_one_hardly_waits() {
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
    fn the_debt_and_the_time_until_it_is_paid_are_bounded() {
        let start = Instant::now();
        let budget = budget(1_000, start);
        for _ in 0..1_000 {
            let until = budget.charge(&OPTIONS, 1_000_000, Duration::ZERO, start).unwrap();
            assert!(until <= start + OPTIONS.delivery_max_pause);
        }
        // The burst is a second's worth.
        let later = start + OPTIONS.delivery_max_debt + Duration::from_secs(1);
        assert_eq!(
            budget.charge(&OPTIONS, 1, Duration::ZERO, later),
            None,
            "the room is free again"
        );
    }

    #[test]
    fn while_deliveries_are_late_senders_pause_in_proportion_although_the_rate_is_not_used_up() {
        let start = Instant::now();
        let budget = budget(1 << 30, start);
        assert_eq!(
            budget.charge(&OPTIONS, 1 << 20, OPTIONS.delivery_max_delay, start),
            None
        );
        let pause = |amount, late| budget.charge(&OPTIONS, amount, late, start).unwrap() - start;
        let late = OPTIONS.delivery_max_delay + 2 * OPTIONS.delivery_debt_unit;
        let small = pause(1 << 10, late);
        assert!(pause(1 << 20, late) >= small * 1000);
        assert!(pause(1 << 20, late + 2 * OPTIONS.delivery_debt_unit) >= pause(1 << 20, late) * 3);
        assert_eq!(pause(1 << 30, Duration::from_secs(3600)), OPTIONS.delivery_max_pause);
    }

    #[test]
    fn senders_within_the_budget_do_not_pause() {
        let senders = [(1000, Duration::from_millis(20)); 10];
        assert!(simulate(600_000, &senders, 10).iter().all(|(_, pause)| pause.is_zero()));
        let start = Instant::now();
        assert_eq!(budget(0, start).charge(&OPTIONS, u64::MAX, Duration::ZERO, start), None);
    }
}

//! How long a message waits for a Redis: messages come at random times, and each needs the same time of the one core
//! that runs commands.

use std::time::Duration;

/// The messages of a simulation, of which the first tenth is not counted: the queue begins empty.
const MESSAGES: usize = 400_000;

/// The median and the 99th percentile of the time from the arrival of a message until Redis has run it, when the core
/// is used by this part of the time.
#[must_use]
pub fn waits(service: Duration, used: f64, seed: u64) -> (Duration, Duration) {
    let mut random = fastrand::Rng::with_seed(seed);
    let service = service.as_secs_f64();
    let (mut now, mut free_at) = (0.0_f64, 0.0_f64);
    let mut waits = Vec::with_capacity(MESSAGES);
    for index in 0..MESSAGES {
        // The pauses of a Poisson process.
        now += -(1.0 - random.f64()).ln() * service / used;
        free_at = free_at.max(now) + service;
        if index >= MESSAGES / 10 {
            waits.push(free_at - now);
        }
    }
    waits.sort_by(f64::total_cmp);
    let at = |part: usize| Duration::from_secs_f64(waits[waits.len() * part / 100]);
    (at(50), at(99))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_redis_answers_in_its_own_time_and_a_busy_one_much_later() {
        let service = Duration::from_micros(20);
        let (median, _) = waits(service, 0.01, 1);
        assert!((20..22).contains(&median.as_micros()), "{median:?}");
        let [half, most] = [0.5, 0.95].map(|used| waits(service, used, 1).1);
        assert!(most > 5 * half, "{half:?} {most:?}");
    }

    #[test]
    fn a_queue_that_is_half_used_has_the_known_waits() {
        // Of a queue with random arrivals and a fixed service time: about 1.3 and 4.3 service times.
        let (median, p99) = waits(Duration::from_millis(1), 0.5, 7);
        assert!((1.0..1.6).contains(&(median.as_secs_f64() * 1e3)), "{median:?}");
        assert!((3.0..5.5).contains(&(p99.as_secs_f64() * 1e3)), "{p99:?}");
    }
}

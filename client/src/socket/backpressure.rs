use super::OutboundOptions;

/// The longest delay between two reads of `bufferedAmount`, in milliseconds: about one animation frame.
/// [`Socket`](crate::Socket) documents it.
const MAX_POLL_DELAY: u32 = 16;

/// Decides by `bufferedAmount` whether a sink is ready. Between the low and the high mark the answer stays the same, so
/// that a full buffer drains for a while before it fills again.
pub(super) struct Backpressure {
    options: OutboundOptions,
    is_full: bool,
    poll_delay: u32,
}

impl Backpressure {
    pub(super) fn new(options: OutboundOptions) -> Self {
        Self {
            options,
            is_full: false,
            poll_delay: 0,
        }
    }

    pub(super) fn max(&self) -> u32 {
        self.options.max
    }

    pub(super) fn is_ready(&mut self, buffered: u32) -> bool {
        let mark = if self.is_full {
            self.options.low
        } else {
            self.options.high
        };
        self.is_full = buffered > mark;
        if !self.is_full {
            self.poll_delay = 0;
        }
        !self.is_full
    }

    /// After how many milliseconds to read `bufferedAmount` again, because there is no event for it. The first delay is
    /// short, as most buffers are empty in the next turn of the event loop; each further one is longer.
    pub(super) fn next_poll_delay(&mut self) -> u32 {
        let delay = self.poll_delay;
        self.poll_delay = (delay * 2).clamp(1, MAX_POLL_DELAY);
        delay
    }

    /// The buffer is empty, so the next wait starts with the shortest delay.
    pub(super) fn drained(&mut self) {
        self.poll_delay = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backpressure() -> Backpressure {
        Backpressure::new(OutboundOptions {
            low: 10,
            high: 20,
            max: 30,
        })
    }

    #[test]
    fn a_sink_is_full_above_the_high_mark_and_ready_at_the_low_mark() {
        let mut backpressure = backpressure();
        let seen: Vec<bool> = [0, 20, 21, 20, 11, 10, 11, 20, 21]
            .into_iter()
            .map(|n| backpressure.is_ready(n))
            .collect();
        assert_eq!(seen, [true, true, false, false, false, true, true, true, false]);
    }

    #[test]
    fn poll_delays_grow_to_the_longest_and_start_again_when_ready() {
        let mut backpressure = backpressure();
        assert!(!backpressure.is_ready(21));
        let delays: Vec<u32> = (0..7).map(|_| backpressure.next_poll_delay()).collect();
        assert_eq!(delays, [0, 1, 2, 4, 8, 16, 16]);
        assert!(backpressure.is_ready(0));
        assert_eq!(backpressure.next_poll_delay(), 0);
    }
}

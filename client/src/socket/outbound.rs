use super::options::Outbound;

/// Decides by `bufferedAmount` whether a sink is ready. Between the two marks it stays as it was, so that a full buffer drains
/// for a while before it fills again.
pub(super) struct Gate {
    bounds: Outbound,
    shut: bool,
    delay: u32,
}

impl Gate {
    pub(super) fn new(bounds: Outbound) -> Self {
        Self {
            bounds,
            shut: false,
            delay: 0,
        }
    }

    pub(super) fn max(&self) -> u32 {
        self.bounds.max
    }

    pub(super) fn admits(&mut self, buffered: u32) -> bool {
        let mark = if self.shut { self.bounds.low } else { self.bounds.high };
        self.shut = buffered > mark;
        if !self.shut {
            self.delay = 0;
        }
        !self.shut
    }

    /// When to look at `bufferedAmount` again, in milliseconds: there is no event for it. Soon at first, as most buffers are empty
    /// within a turn of the event loop, then ever later, up to once a frame.
    pub(super) fn next_look(&mut self) -> u32 {
        const A_FRAME: u32 = 16;
        let delay = self.delay;
        self.delay = (delay * 2).clamp(1, A_FRAME);
        delay
    }

    /// Everything is handed to the network, so the next wait starts with short delays again.
    pub(super) fn drained(&mut self) {
        self.delay = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate() -> Gate {
        Gate::new(Outbound {
            low: 10,
            high: 20,
            max: 30,
        })
    }

    #[test]
    fn a_gate_shuts_above_the_high_mark_and_opens_at_the_low_one() {
        let mut gate = gate();
        let seen: Vec<bool> = [0, 20, 21, 20, 11, 10, 11, 20, 21]
            .into_iter()
            .map(|n| gate.admits(n))
            .collect();
        assert_eq!(seen, [true, true, false, false, false, true, true, true, false]);
    }

    #[test]
    fn delays_grow_to_a_frame_and_start_over_when_ready() {
        let mut gate = gate();
        assert!(!gate.admits(21));
        let delays: Vec<u32> = (0..7).map(|_| gate.next_look()).collect();
        assert_eq!(delays, [0, 1, 2, 4, 8, 16, 16]);
        assert!(gate.admits(0));
        assert_eq!(gate.next_look(), 0);
    }
}

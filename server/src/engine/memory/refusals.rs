//! Refusals, of which equal ones share one copy: a client may withdraw many messages with the same refusal.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::Mutex;
use talkback_protocol::session::server::Refusal;

/// A bounded table of distinct refusals: a further one replaces the oldest.
pub(super) struct Refusals {
    max: usize,
    shared: Mutex<VecDeque<Arc<Refusal>>>,
}

impl Refusals {
    /// See [`shared_refusals`](super::MemoryOptions::shared_refusals).
    pub(super) fn new(max: usize) -> Self {
        Self {
            max: max.max(1),
            shared: Mutex::default(),
        }
    }

    /// The shared copy of this refusal.
    pub(super) fn share(&self, refusal: &Refusal) -> Arc<Refusal> {
        let mut shared = self.shared.lock();
        if let Some(known) = shared.iter().find(|known| ***known == *refusal) {
            return Arc::clone(known);
        }
        let new = Arc::new(refusal.clone());
        if shared.len() >= self.max {
            shared.pop_front();
        }
        shared.push_back(Arc::clone(&new));
        new
    }
}

#[cfg(test)]
mod tests {
    use talkback_protocol::message::code;

    use super::*;

    #[test]
    fn equal_refusals_share_one_copy_and_the_copies_are_bounded() {
        let refusals = Refusals::new(32);
        let withdrawn = Refusal::for_good(code::WITHDRAWN, "the client withdrew the message");
        let one = refusals.share(&withdrawn);
        assert!(Arc::ptr_eq(&one, &refusals.share(&withdrawn)));
        for number in 0..1000 {
            let message = format!("refusal {number}").into();
            refusals.share(&Refusal {
                message,
                ..withdrawn.clone()
            });
        }
        assert_eq!(refusals.shared.lock().len(), 32);
    }
}

//! One's own messages that have not come back from the room: on the way, acknowledged, or failed.

use talkback_client::{Epoch, FailReason};

/// The page's own number of a message it sends; never used twice.
pub(crate) type Key = u64;

/// The state of an own message on its way to the room's log and back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SendState {
    /// It waits for the connection.
    Queued,
    /// It was given to the connection and is not acknowledged.
    Written,
    /// The room delivered it before its acknowledgement arrived. It is a row of the timeline already.
    Delivered,
    /// It is in the room's log of this epoch at this offset, and the room has not delivered it yet.
    Acked { epoch: Epoch, offset: u64 },
    /// It is not sent again unless the user asks for it.
    Failed(FailReason),
    /// It was in the room's log, and the server has lost it.
    Lost,
}

impl SendState {
    /// Only the user can send it again or discard it.
    fn is_failed(&self) -> bool {
        matches!(self, Self::Failed(_) | Self::Lost)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Outgoing {
    pub(crate) key: Key,
    pub(crate) text: String,
    /// When it was sent, then when it was appended, in milliseconds since the Unix epoch.
    pub(crate) at: f64,
    pub(crate) state: SendState,
}

/// What was sent, in order. As many wait as the session's outbox takes; failed ones stay until the user retries or discards them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Outbox {
    messages: Vec<Outgoing>,
    last_key: Key,
}

/// Failed messages that are kept; over it the oldest is dropped, so that a page that is left alone does not grow.
const KEPT_FAILED: usize = 200;

impl Outbox {
    /// The messages to show below those of the room.
    pub(crate) fn shown(&self) -> impl Iterator<Item = &Outgoing> {
        let is_shown = |message: &&Outgoing| message.state != SendState::Delivered;
        self.messages.iter().filter(is_shown)
    }

    pub(super) fn push(&mut self, text: String, at: f64) -> Key {
        self.last_key += 1;
        self.messages.push(Outgoing {
            key: self.last_key,
            text,
            at,
            state: SendState::Queued,
        });
        self.last_key
    }

    pub(super) fn written(&mut self, key: Key) {
        if let Some(message) = self.find(key)
            && message.state == SendState::Queued
        {
            message.state = SendState::Written;
        }
    }

    /// One's own message came back from the room and stands among its messages.
    pub(super) fn delivered(&mut self, offset: u64, text: &str) {
        let is_it =
            |message: &Outgoing| matches!(message.state, SendState::Acked { offset: acked, .. } if acked == offset);
        if let Some(place) = self.messages.iter().position(is_it) {
            self.messages.remove(place);
        } else {
            self.mark_delivered(text);
        }
    }

    pub(super) fn acked(&mut self, key: Key, epoch: Epoch, offset: u64, at: f64) {
        match self.find(key) {
            Some(message) if message.state == SendState::Delivered => drop(self.take(key)),
            Some(message) => {
                message.state = SendState::Acked { epoch, offset };
                message.at = at;
            }
            None => {}
        }
    }

    /// Messages at these places of this life of the log were acknowledged, and are lost.
    pub(super) fn lost(&mut self, life: &Epoch, offsets: &[u64]) {
        for message in &mut self.messages {
            if let SendState::Acked { epoch, offset } = &message.state
                && epoch == life
                && offsets.contains(offset)
            {
                message.state = SendState::Lost;
            }
        }
    }

    /// The room goes on in this life of the log with the messages after an offset: takes those that are in the log and will not come.
    /// An acknowledgement may be there before the room's answer, so those of the new life are on their way back.
    pub(super) fn take_undelivered(&mut self, life: &Epoch, after: u64) -> Vec<Outgoing> {
        let is_gone = |message: &mut Outgoing| match &message.state {
            SendState::Acked { epoch, offset } => epoch != life || *offset <= after,
            _ => false,
        };
        self.messages.extract_if(.., is_gone).collect()
    }

    /// The log goes on in another life with all that is in it: what was acknowledged before comes back with the same offset, unless it
    /// was told to be lost.
    pub(super) fn log_recovered(&mut self, life: &Epoch) {
        for message in &mut self.messages {
            if let SendState::Acked { epoch, .. } = &mut message.state {
                *epoch = life.clone();
            }
        }
    }

    pub(super) fn clear(&mut self) {
        self.messages.clear();
    }

    /// The room keeps one's order, so what came back is the oldest on its way with this text.
    fn mark_delivered(&mut self, text: &str) {
        let mut messages = self.messages.iter_mut();
        if let Some(message) = messages
            .find(|message| matches!(message.state, SendState::Queued | SendState::Written) && message.text == text)
        {
            message.state = SendState::Delivered;
        }
    }

    pub(super) fn failed(&mut self, key: Key, reason: FailReason) {
        let Some(message) = self.find(key) else { return };
        let before = std::mem::replace(&mut message.state, SendState::Failed(reason));
        if before == SendState::Delivered {
            // The room delivered a later message with the same text.
            let text = message.text.clone();
            self.mark_delivered(&text);
        }
        let is_failed = |message: &Outgoing| message.state.is_failed();
        if self.messages.iter().filter(|message| is_failed(message)).count() > KEPT_FAILED
            && let Some(oldest) = self.messages.iter().position(is_failed)
        {
            self.messages.remove(oldest);
        }
    }

    /// Takes a failed message away, to be sent anew or forgotten.
    pub(super) fn take_failed(&mut self, key: Key) -> Option<Outgoing> {
        let failed = self.find(key)?.state.is_failed();
        failed.then(|| self.take(key)).flatten()
    }

    fn find(&mut self, key: Key) -> Option<&mut Outgoing> {
        self.messages.iter_mut().find(|message| message.key == key)
    }

    fn take(&mut self, key: Key) -> Option<Outgoing> {
        let place = self.messages.iter().position(|message| message.key == key)?;
        Some(self.messages.remove(place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life(bits: u64) -> Epoch {
        Epoch::from_random(bits)
    }

    fn shown(outbox: &Outbox) -> Vec<Key> {
        outbox.shown().map(|message| message.key).collect()
    }

    #[test]
    fn a_message_is_shown_until_it_came_back_whether_that_or_its_ack_is_first() {
        let mut outbox = Outbox::default();
        let [a, b] = ["a", "b"].map(|text| outbox.push(text.into(), 0.0));
        outbox.delivered(1, "a");
        assert_eq!(shown(&outbox), [b]);
        outbox.acked(a, life(1), 1, 5.0);
        outbox.acked(b, life(1), 2, 5.0);
        assert_eq!(shown(&outbox), [b], "it is in the log, but its row has not come");
        outbox.delivered(2, "b");
        assert_eq!(outbox.messages, []);
    }

    #[test]
    fn of_two_equal_messages_the_refused_one_is_shown_as_failed_whichever_came_back() {
        let mut outbox = Outbox::default();
        let [first, second] = [0.0, 1.0].map(|at| outbox.push("same".into(), at));
        outbox.delivered(1, "same");
        assert_eq!(shown(&outbox), [second]);
        outbox.failed(first, FailReason::Stopped);
        assert_eq!(shown(&outbox), [first]);
        outbox.acked(second, life(1), 1, 0.0);
        assert_eq!(shown(&outbox), [first]);
    }

    #[test]
    fn only_a_failed_message_can_be_taken_to_retry() {
        let mut outbox = Outbox::default();
        let key = outbox.push("a".into(), 0.0);
        outbox.written(key);
        assert_eq!(outbox.take_failed(key), None);
        outbox.failed(key, FailReason::Expired);
        assert_eq!(outbox.take_failed(key).unwrap().text, "a");
        assert!(shown(&outbox).is_empty());
    }

    #[test]
    fn a_message_that_the_server_lost_is_shown_as_failed_and_can_be_sent_again() {
        let mut outbox = Outbox::default();
        let [lost, kept] = ["a", "b"].map(|text| outbox.push(text.into(), 0.0));
        let new = outbox.push("c".into(), 0.0);
        outbox.acked(lost, life(1), 8, 0.0);
        outbox.acked(kept, life(1), 7, 0.0);
        outbox.acked(new, life(2), 9, 0.0);
        outbox.lost(&life(1), &[8, 9]);
        assert_eq!(outbox.take_failed(kept), None);
        assert_eq!(
            outbox.take_failed(new),
            None,
            "it has the number of a lost one in another life"
        );
        outbox.delivered(8, "another message of the log that goes on");
        assert_eq!(shown(&outbox), [lost, kept, new]);
        assert_eq!(outbox.take_failed(lost).unwrap().text, "a");
    }

    #[test]
    fn failed_messages_are_bounded() {
        let mut outbox = Outbox::default();
        for _ in 0..KEPT_FAILED + 3 {
            let key = outbox.push("a".into(), 0.0);
            outbox.failed(key, FailReason::OutboxFull);
        }
        assert_eq!(outbox.shown().count(), KEPT_FAILED);
    }
}

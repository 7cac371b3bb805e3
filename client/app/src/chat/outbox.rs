//! The own messages that the room has not delivered: pending, acknowledged or failed.

use std::{cell::Cell, rc::Rc, str::FromStr};

use talkback_client::{Body, Epoch, FailReason};

/// The page's number of an own message; never used twice.
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
    /// Only the user can send it again, edit or discard it.
    pub(crate) fn is_failed(&self) -> bool {
        matches!(self, Self::Failed(_) | Self::Lost)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Outgoing {
    pub(crate) key: Key,
    pub(crate) text: String,
    /// When it was sent, then when it was appended, in milliseconds since the Unix epoch.
    pub(crate) at: f64,
    /// When it was given to the connection for the first time.
    written_at: f64,
    pub(crate) state: SendState,
}

/// The own messages in the order in which they were sent. The session's outbox bounds the pending ones, [`MAX_FAILED`]
/// the failed ones, which stay until the user retries or discards them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Outbox {
    messages: Vec<Outgoing>,
    /// The failed ones are others than at the last [`Outbox::take_failed_text`].
    failed_changed: bool,
    /// One for all rooms: the session may still report a key after its room was forgotten and opened again.
    last_key: Rc<Cell<Key>>,
}

/// At most this many failed messages are kept; beyond it the oldest is dropped.
const MAX_FAILED: usize = 200;

/// At most this many bytes of failed messages are kept over a reload, the newest: the browser's few megabytes for a tab
/// also hold the messages that are not sent yet.
const MAX_KEPT_BYTES: usize = 64 << 10;

impl Outbox {
    pub(super) fn new(last_key: Rc<Cell<Key>>) -> Self {
        Self {
            messages: Vec::new(),
            failed_changed: false,
            last_key,
        }
    }

    /// The failed messages as a text for the browser to keep, a line for each; none if they are those of the last call.
    pub(super) fn take_failed_text(&mut self) -> Option<String> {
        if !std::mem::take(&mut self.failed_changed) {
            return None;
        }
        let (mut lines, mut bytes) = (Vec::new(), 0);
        for message in self.messages.iter().rev() {
            let (name, detail) = match &message.state {
                SendState::Failed(reason) => reason_text(reason),
                SendState::Lost => (LOST, String::new()),
                _ => continue,
            };
            // JSON, because it has neither a tab nor the end of a line.
            let (detail, sent) = (Body::text(&detail), Body::text(&message.text));
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a time after 1970; `as` saturates"
            )]
            let at = (message.at as u64).to_string();
            let line = [name, &at, detail.json(), sent.json()].join("\t") + "\n";
            bytes += line.len();
            if bytes > MAX_KEPT_BYTES {
                break;
            }
            lines.push(line);
        }
        lines.reverse();
        Some(lines.concat())
    }

    /// Replaces the failed messages by those that [`Outbox::take_failed_text`] wrote, before the pending ones.
    pub(super) fn set_failed(&mut self, text: &str) {
        self.messages.retain(|message| !message.state.is_failed());
        let failed: Vec<_> = text.lines().filter_map(|line| self.read_failed(line)).collect();
        self.messages.splice(..0, failed);
        self.failed_changed = false;
    }

    fn read_failed(&self, line: &str) -> Option<Outgoing> {
        let mut words = line.split('\t');
        let (name, at) = (words.next()?, words.next()?.parse::<u64>().ok()?);
        #[expect(clippy::cast_precision_loss, reason = "times are below 2^53")]
        let at = at as f64;
        let mut read = || Body::from_json(words.next()?).ok()?.read::<String>().ok();
        let (detail, text) = (read()?, read()?);
        let state = match name {
            LOST => SendState::Lost,
            name => SendState::Failed(reason(name, detail)?),
        };
        let key = self.next_key();
        Some(Outgoing {
            key,
            text,
            at,
            written_at: at,
            state,
        })
    }

    fn next_key(&self) -> Key {
        let key = self.last_key.get() + 1;
        self.last_key.set(key);
        key
    }

    /// The messages that are drawn below those of the timeline.
    pub(crate) fn shown(&self) -> impl Iterator<Item = &Outgoing> {
        let is_shown = |message: &&Outgoing| message.state != SendState::Delivered;
        self.messages.iter().filter(is_shown)
    }

    pub(super) fn push(&mut self, text: String, at: f64) -> Key {
        let key = self.next_key();
        self.messages.push(Outgoing {
            key,
            text,
            at,
            written_at: at,
            state: SendState::Queued,
        });
        key
    }

    pub(super) fn written(&mut self, key: Key, now: f64) {
        if let Some(message) = self.find(key)
            && message.state == SendState::Queued
        {
            message.state = SendState::Written;
            message.written_at = now;
        }
    }

    /// Since when a message waits for its acknowledgement.
    pub(super) fn waits_since(&self) -> Option<f64> {
        let mut waiting = self.messages.iter();
        let first = waiting.find(|message| message.state == SendState::Written)?;
        Some(first.written_at)
    }

    /// The room delivered an own message, which is a row of the timeline now.
    pub(super) fn delivered(&mut self, offset: u64, text: &str) {
        let is_delivered =
            |message: &Outgoing| matches!(message.state, SendState::Acked { offset: acked, .. } if acked == offset);
        if let Some(index) = self.messages.iter().position(is_delivered) {
            self.messages.remove(index);
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

    /// It is in the room's log, and a row of the timeline.
    pub(super) fn settled(&mut self, key: Key) {
        self.take(key);
    }

    /// The server lost the messages at these offsets of this epoch of the log, after it had acknowledged them.
    pub(super) fn lost(&mut self, current: &Epoch, offsets: &[u64]) {
        for message in &mut self.messages {
            if let SendState::Acked { epoch, offset } = &message.state
                && epoch == current
                && offsets.contains(offset)
            {
                message.state = SendState::Lost;
                self.failed_changed = true;
            }
        }
    }

    /// The room delivers only messages of this epoch after an offset: removes and returns the acknowledged ones that it
    /// will not deliver. An acknowledgement may arrive before the answer to the join, so those of the new epoch are
    /// kept: they will be delivered.
    pub(super) fn take_undelivered(&mut self, current: &Epoch, after: u64) -> Vec<Outgoing> {
        let is_undelivered = |message: &mut Outgoing| match &message.state {
            SendState::Acked { epoch, offset } => epoch != current || *offset <= after,
            _ => false,
        };
        self.messages.extract_if(.., is_undelivered).collect()
    }

    /// The log continues with another epoch and the same messages: acknowledged ones will be delivered with the same
    /// offsets, unless they were reported as lost.
    pub(super) fn log_recovered(&mut self, current: &Epoch) {
        for message in &mut self.messages {
            if let SendState::Acked { epoch, .. } = &mut message.state {
                *epoch = current.clone();
            }
        }
    }

    /// The room keeps the order of a sender, so the delivered message is the oldest pending one with this text.
    fn mark_delivered(&mut self, text: &str) {
        let mut messages = self.messages.iter_mut();
        if let Some(message) = messages
            .find(|message| matches!(message.state, SendState::Queued | SendState::Written) && message.text == text)
        {
            message.state = SendState::Delivered;
        }
    }

    pub(super) fn failed(&mut self, key: Key, reason: FailReason) {
        let Some(message) = self.messages.iter_mut().find(|message| message.key == key) else {
            return;
        };
        self.failed_changed = true;
        let before = std::mem::replace(&mut message.state, SendState::Failed(reason));
        if before == SendState::Delivered {
            // The room delivered a later message with the same text.
            let text = message.text.clone();
            self.mark_delivered(&text);
        }
        let is_failed = |message: &Outgoing| message.state.is_failed();
        if self.messages.iter().filter(|message| is_failed(message)).count() > MAX_FAILED
            && let Some(oldest) = self.messages.iter().position(is_failed)
        {
            self.messages.remove(oldest);
        }
    }

    /// Removes and returns a failed message, to send it again or to discard it.
    pub(super) fn take_failed(&mut self, key: Key) -> Option<Outgoing> {
        let failed = self.find(key)?.state.is_failed();
        self.failed_changed |= failed;
        failed.then(|| self.take(key)).flatten()
    }

    /// A failed message that was taken is there again, below the others.
    pub(super) fn put_back(&mut self, failed: Outgoing) {
        self.failed_changed = true;
        self.messages.push(failed);
    }

    fn find(&mut self, key: Key) -> Option<&mut Outgoing> {
        self.messages.iter_mut().find(|message| message.key == key)
    }

    fn take(&mut self, key: Key) -> Option<Outgoing> {
        let index = self.messages.iter().position(|message| message.key == key)?;
        Some(self.messages.remove(index))
    }
}

const LOST: &str = "lost";

/// What is kept of a reason: its name, and the numbers or the server's words in it.
fn reason_text(reason: &FailReason) -> (&'static str, String) {
    match reason {
        FailReason::OutboxFull => ("full", String::new()),
        FailReason::TooManyRooms => ("rooms", String::new()),
        FailReason::TooLarge { bytes, max } => ("large", format!("{bytes} {max}")),
        FailReason::TooDeep { depth, max } => ("deep", format!("{depth} {max}")),
        FailReason::Expired => ("expired", String::new()),
        FailReason::Unconfirmed => ("unconfirmed", String::new()),
        FailReason::Refused { message, .. } => ("refused", message.clone()),
        FailReason::Stopped => ("stopped", String::new()),
    }
}

fn reason(name: &str, detail: String) -> Option<FailReason> {
    fn two<N: FromStr>(detail: &str) -> Option<(N, N)> {
        let (first, second) = detail.split_once(' ')?;
        Some((first.parse().ok()?, second.parse().ok()?))
    }
    Some(match name {
        "full" => FailReason::OutboxFull,
        "rooms" => FailReason::TooManyRooms,
        "large" => two(&detail).map(|(bytes, max)| FailReason::TooLarge { bytes, max })?,
        "deep" => two(&detail).map(|(depth, max)| FailReason::TooDeep { depth, max })?,
        "expired" => FailReason::Expired,
        "unconfirmed" => FailReason::Unconfirmed,
        "refused" => FailReason::Refused {
            epoch: None,
            code: String::new(),
            message: detail,
        },
        "stopped" => FailReason::Stopped,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(bits: u64) -> Epoch {
        Epoch::from_random(bits)
    }

    fn shown(outbox: &Outbox) -> Vec<Key> {
        outbox.shown().map(|message| message.key).collect()
    }

    #[test]
    fn a_message_is_shown_until_it_is_delivered_before_or_after_its_ack() {
        let mut outbox = Outbox::default();
        let [a, b] = ["a", "b"].map(|text| outbox.push(text.into(), 0.0));
        outbox.delivered(1, "a");
        assert_eq!(shown(&outbox), [b]);
        outbox.written(a, 0.0);
        assert_eq!(shown(&outbox), [b], "a resend of a delivered message is not shown");
        outbox.acked(a, epoch(1), 1, 5.0);
        outbox.acked(b, epoch(1), 2, 5.0);
        assert_eq!(shown(&outbox), [b], "it is in the log, but it is not delivered");
        outbox.delivered(2, "b");
        assert_eq!(outbox.messages, []);
    }

    #[test]
    fn of_two_equal_messages_the_refused_one_is_shown_as_failed() {
        let mut outbox = Outbox::default();
        let [first, second] = [0.0, 1.0].map(|at| outbox.push("same".into(), at));
        outbox.delivered(1, "same");
        assert_eq!(shown(&outbox), [second]);
        outbox.failed(first, FailReason::Stopped);
        assert_eq!(shown(&outbox), [first]);
        outbox.acked(second, epoch(1), 1, 0.0);
        assert_eq!(shown(&outbox), [first]);
    }

    #[test]
    fn only_a_failed_message_can_be_taken_to_retry() {
        let mut outbox = Outbox::default();
        let key = outbox.push("a".into(), 0.0);
        outbox.written(key, 0.0);
        assert_eq!(outbox.take_failed(key), None);
        outbox.failed(key, FailReason::Expired);
        assert_eq!(outbox.take_failed(key).unwrap().text, "a");
        assert!(shown(&outbox).is_empty());
    }

    #[test]
    fn a_lost_message_is_shown_as_failed_and_can_be_retried() {
        let mut outbox = Outbox::default();
        let [lost, kept] = ["a", "b"].map(|text| outbox.push(text.into(), 0.0));
        let new = outbox.push("c".into(), 0.0);
        outbox.acked(lost, epoch(1), 8, 0.0);
        outbox.acked(kept, epoch(1), 7, 0.0);
        outbox.acked(new, epoch(2), 9, 0.0);
        outbox.lost(&epoch(1), &[8, 9]);
        assert_eq!(outbox.take_failed(kept), None);
        assert_eq!(
            outbox.take_failed(new),
            None,
            "it has the offset of a lost one in another epoch"
        );
        outbox.delivered(8, "another message of the new epoch");
        assert_eq!(shown(&outbox), [lost, kept, new]);
        assert_eq!(outbox.take_failed(lost).unwrap().text, "a");
    }

    #[test]
    fn failed_messages_are_kept_as_a_text_with_their_reasons_and_come_before_the_pending_ones() {
        let reasons = [
            FailReason::OutboxFull,
            FailReason::TooManyRooms,
            FailReason::TooLarge { bytes: 9, max: 8 },
            FailReason::TooDeep { depth: 7, max: 6 },
            FailReason::Expired,
            FailReason::Unconfirmed,
            FailReason::Refused {
                epoch: None,
                code: String::new(),
                message: "not\there\n".into(),
            },
            FailReason::Stopped,
        ];
        let mut outbox = Outbox::default();
        assert_eq!(outbox.take_failed_text(), None);
        for (index, reason) in reasons.into_iter().enumerate() {
            let key = outbox.push(format!("{index}\t\r\n\u{2028}"), 1.0);
            outbox.failed(key, reason);
        }
        let lost = outbox.push("lost".into(), 2.0);
        outbox.acked(lost, epoch(1), 3, 2.0);
        outbox.lost(&epoch(1), &[3]);
        outbox.push("pending".into(), 3.0);
        let text = outbox.take_failed_text().unwrap();
        assert_eq!(outbox.take_failed_text(), None, "nothing changed");

        let mut restored = Outbox::default();
        let pending = restored.push("pending".into(), 3.0);
        restored.set_failed(&(text.clone() + "no line of this\nexpired\t0\t\"\"\n"));
        assert_eq!(restored.take_failed_text(), None, "it is what is kept");
        let all = |outbox: &Outbox| -> Vec<_> {
            let what = |message: &Outgoing| (message.text.clone(), message.at, message.state.clone());
            outbox.shown().map(what).collect()
        };
        assert_eq!(all(&restored), all(&outbox));
        assert_eq!(restored.shown().last().map(|message| message.key), Some(pending));
        let first = shown(&restored)[0];
        assert!(restored.take_failed(first).is_some() && restored.take_failed_text().is_some());
    }

    #[test]
    fn failed_messages_are_bounded() {
        let mut outbox = Outbox::default();
        for _ in 0..MAX_FAILED + 3 {
            let key = outbox.push("a".into(), 0.0);
            outbox.failed(key, FailReason::OutboxFull);
        }
        assert_eq!(outbox.shown().count(), MAX_FAILED);
        let key = outbox.push("x".repeat(MAX_KEPT_BYTES / 2), 0.0);
        outbox.failed(key, FailReason::OutboxFull);
        let key = outbox.push("y".repeat(MAX_KEPT_BYTES / 2), 0.0);
        outbox.failed(key, FailReason::OutboxFull);
        let text = outbox.take_failed_text().unwrap();
        assert!(text.len() <= MAX_KEPT_BYTES && text.contains('y') && !text.contains('x'));
    }
}

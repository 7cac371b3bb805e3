//! What the file keeps of a client in a room: the outcomes of its last numbers.

use std::collections::VecDeque;

use talkback_protocol::{Epoch, Offset, PublishId, Seq, message::Millis, session::server::Refusal};

use super::super::{AppendOutcome, Place};

/// A client in one room.
#[derive(Clone, Debug)]
pub(super) struct Client {
    /// The row, if it is in the file already.
    pub(super) row: Option<i64>,
    /// The last settled number.
    pub(super) last: Seq,
    /// The offset of its newest message.
    pub(super) newest: Offset,
    /// The outcomes of the numbers up to `last`.
    pub(super) outcomes: VecDeque<Settled>,
    pub(super) used: Millis,
    pub(super) is_dirty: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Settled {
    pub(super) id: PublishId,
    pub(super) outcome: Outcome,
}

#[derive(Clone, Debug)]
pub(super) enum Outcome {
    Added { offset: Offset, at: Millis },
    Refused(Refusal),
}

impl Outcome {
    fn told(&self, epoch: &Epoch) -> AppendOutcome {
        let epoch = epoch.clone();
        match self {
            Self::Added { offset, at } => AppendOutcome::Duplicate(Place {
                epoch,
                offset: *offset,
                at: *at,
            }),
            Self::Refused(refusal) => AppendOutcome::Refused {
                epoch: Some(epoch),
                refusal: refusal.clone(),
            },
        }
    }
}

/// The outcome of a number that may not be added; `None` if it may.
pub(super) fn known(
    client: Option<&Client>,
    epoch: &Epoch,
    seq: Seq,
    id: PublishId,
    first: bool,
) -> Option<AppendOutcome> {
    let last = client.map_or(0, |client| client.last.get());
    let epoch = epoch.clone();
    let Some(back) = last.checked_sub(seq.get()) else {
        let is_next = first || seq.get() == last + 1;
        return (!is_next).then_some(AppendOutcome::Gap { epoch });
    };
    let settled = usize::try_from(back)
        .ok()
        .and_then(|back| client?.outcomes.iter().rev().nth(back));
    Some(match settled {
        Some(settled) if settled.id == id => settled.outcome.told(&epoch),
        Some(_) => AppendOutcome::Conflict { epoch },
        None => AppendOutcome::Forgotten { epoch },
    })
}

impl Client {
    pub(super) fn new(seq: Seq, now: Millis) -> Self {
        Self {
            row: None,
            last: seq,
            newest: Offset::ZERO,
            outcomes: VecDeque::new(),
            used: now,
            is_dirty: true,
        }
    }

    /// Keeps the outcome of a number.
    pub(super) fn settle(&mut self, seq: Seq, settled: Settled, most: usize, now: Millis) {
        // A client that skipped numbers goes on with a later one.
        if self.last.next() != seq {
            self.outcomes.clear();
        }
        while self.outcomes.len() >= most {
            self.outcomes.pop_front();
        }
        if let Outcome::Added { offset, .. } = &settled.outcome {
            self.newest = *offset;
        }
        self.outcomes.push_back(settled);
        self.last = seq;
        self.used = now;
        self.is_dirty = true;
    }

    /// The outcomes as the file has them: for each the id (8 bytes), then 0, the offset and the time (8 bytes each), or
    /// 1 and the refusal's code and message, each after its length (2 bytes). Numbers are big-endian.
    pub(super) fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.clear();
        for Settled { id, outcome } in &self.outcomes {
            bytes.extend_from_slice(&id.bits().to_be_bytes());
            match outcome {
                Outcome::Added { offset, at } => {
                    bytes.push(0);
                    bytes.extend_from_slice(&offset.get().to_be_bytes());
                    bytes.extend_from_slice(&at.to_be_bytes());
                }
                Outcome::Refused(refusal) => {
                    bytes.push(1);
                    for text in [&*refusal.code, &*refusal.message] {
                        let text = &text.as_bytes()[..text.floor_char_boundary(usize::from(u16::MAX))];
                        let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
                        bytes.extend_from_slice(&length.to_be_bytes());
                        bytes.extend_from_slice(text);
                    }
                }
            }
        }
    }

    /// Reads what [`encode`](Self::encode) wrote. `None` if it is not that.
    pub(super) fn decode(mut bytes: &[u8]) -> Option<VecDeque<Settled>> {
        let mut outcomes = VecDeque::new();
        while !bytes.is_empty() {
            let id = PublishId::from_random(take_number(&mut bytes)?);
            let (kind, rest) = bytes.split_first()?;
            bytes = rest;
            let outcome = match kind {
                0 => Outcome::Added {
                    offset: Offset::new(take_number(&mut bytes)?).ok()?,
                    at: take_number(&mut bytes)?,
                },
                1 => Outcome::Refused(Refusal {
                    code: take_text(&mut bytes)?.into(),
                    message: take_text(&mut bytes)?.into(),
                    retry_after: None,
                }),
                _ => return None,
            };
            outcomes.push_back(Settled { id, outcome });
        }
        Some(outcomes)
    }
}

fn take_number(bytes: &mut &[u8]) -> Option<u64> {
    let (number, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u64::from_be_bytes(*number))
}

fn take_text(bytes: &mut &[u8]) -> Option<String> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (text, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    *bytes = rest;
    String::from_utf8(text.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_read_as_they_were_written_and_damaged_ones_are_refused() {
        let mut client = Client::new(Seq::new(1).unwrap(), 5);
        let refusal = Refusal::for_good("withdrawn", "the client withdrew the message");
        for (seq, outcome) in [
            (
                7,
                Outcome::Added {
                    offset: Offset::new(3).unwrap(),
                    at: 1_700_000_000_000,
                },
            ),
            (8, Outcome::Refused(refusal)),
            (
                9,
                Outcome::Added {
                    offset: Offset::new(4).unwrap(),
                    at: 1_700_000_000_001,
                },
            ),
        ] {
            let id = PublishId::from_random(seq << 40);
            client.settle(Seq::new(seq).unwrap(), Settled { id, outcome }, 128, 6);
        }
        let mut bytes = Vec::new();
        client.encode(&mut bytes);
        let read = Client::decode(&bytes).unwrap();
        assert_eq!(format!("{read:?}"), format!("{:?}", client.outcomes));
        for cut in 1..bytes.len() {
            assert!(Client::decode(&bytes[..cut]).is_none_or(|outcomes| outcomes.len() < 3));
        }
        assert!(Client::decode(&[9; 9]).is_none());
    }
}

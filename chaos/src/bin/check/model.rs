//! What the records say about messages, logs and members.

use std::collections::{BTreeMap, HashMap};

use talkback_chaos::{Kind, Position};

/// The number of a line, from 1.
pub(crate) type Line = u64;
/// The index of a message among those that were sent.
pub(crate) type Message = usize;

/// A message that a client published.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) client: u32,
    pub(crate) number: u64,
    pub(crate) room: String,
    pub(crate) line: Line,
    /// The last acknowledgement.
    pub(crate) acked: Option<(Position, Line)>,
    /// The last failure, and whether the message is certainly not in the log.
    pub(crate) failed: Option<(bool, Line)>,
    /// The outcomes; after a reload there may be another one.
    pub(crate) outcomes: u32,
}

impl Sent {
    /// The line of the last outcome.
    pub(crate) fn settled(&self) -> Option<Line> {
        let acked = self.acked.as_ref().map(|(_, line)| *line);
        acked.max(self.failed.map(|(_, line)| line))
    }

    pub(crate) fn name(&self) -> String {
        format!("message {} of client {}", self.number, self.client)
    }
}

/// An offset of a log, as the first record of it says.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) message: Message,
    pub(crate) line: Line,
    pub(crate) acked: bool,
}

/// What is known of the log of a room in one epoch.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// The line that was the first to show the epoch.
    pub(crate) first: Line,
    pub(crate) slots: BTreeMap<u64, Slot>,
    /// The offset of each message.
    pub(crate) offsets: HashMap<Message, u64>,
    /// The line that was the first to show a message.
    pub(crate) newest: Line,
    /// The lowest end of the log that a member was told.
    pub(crate) lowest: Option<u64>,
    /// The line after which the epoch must not be used, because its newest messages were lost.
    pub(crate) dead: Option<Line>,
}

impl Log {
    /// Whether this log, which continues an earlier one, certainly does not have this message of it at this offset.
    pub(crate) fn lacks(&self, message: Message, offset: u64) -> bool {
        let other = self.slots.get(&offset).is_some_and(|slot| slot.message != message);
        other || self.lowest.is_some_and(|lowest| lowest < offset)
    }
}

/// The offsets after `from` up to `to` of an epoch.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) epoch: String,
    pub(crate) from: u64,
    pub(crate) to: u64,
}

/// What a member was shown since it joined without a cursor or was told that messages are missing.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) client: u32,
    pub(crate) room: String,
    /// One for each epoch, the last one is not complete.
    pub(crate) segments: Vec<Segment>,
    /// The messages with their offsets.
    pub(crate) delivered: HashMap<Message, u64>,
}

impl View {
    pub(crate) fn new(client: u32, room: &str, start: Position) -> Self {
        Self {
            client,
            room: room.to_owned(),
            segments: vec![Segment {
                epoch: start.epoch,
                from: start.offset,
                to: start.offset,
            }],
            delivered: HashMap::new(),
        }
    }

    /// The segment that grows.
    pub(crate) fn last(&mut self) -> Option<&mut Segment> {
        self.segments.last_mut()
    }

    /// The last message that it has.
    pub(crate) fn end(&self) -> Option<Position> {
        self.segments.last().map(|segment| Position {
            epoch: segment.epoch.clone(),
            offset: segment.to,
        })
    }

    /// The offset before its first message.
    pub(crate) fn start(&self) -> u64 {
        self.segments.first().map_or(0, |segment| segment.from)
    }
}

/// A client in a room.
#[derive(Debug, Default)]
pub(crate) struct Member {
    /// The application has joined and not left.
    pub(crate) joined: bool,
    /// `joined` came since.
    pub(crate) inside: bool,
    /// What it has without a view: the cursor of its join.
    pub(crate) since: Option<Position>,
    pub(crate) view: Option<View>,
    /// The line in which it learned the last message that it has.
    pub(crate) line: Line,
    /// The offset in the log, by the first record of it, of the last message that it got in this epoch.
    pub(crate) rank: u64,
}

impl Member {
    /// The last message that it has.
    pub(crate) fn cursor(&self) -> Option<Position> {
        match &self.view {
            Some(view) => view.end(),
            None => self.since.clone(),
        }
    }
}

/// Lines between which what was acknowledged may be lost, by a fault of this kind.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    pub(crate) kind: Kind,
    /// The rooms that may lose it; empty for all.
    pub(crate) rooms: Vec<String>,
    pub(crate) from: Line,
    pub(crate) to: Line,
    /// The servers went on: what they say of an epoch that was seen before `to` may come later.
    pub(crate) is_late: bool,
}

impl Window {
    /// Whether it concerns a room.
    pub(crate) fn covers(&self, room: &str) -> bool {
        covers(&self.rooms, room)
    }

    /// Whether what was said of a room in `line` may be lost. `first` is the line that was the first to show its epoch.
    pub(crate) fn has(&self, room: &str, line: Line, first: Line) -> bool {
        self.covers(room) && self.from < line && (line < self.to || self.is_late && first < self.to)
    }
}

/// Whether a room is one of these, or they stand for all.
pub(crate) fn covers(rooms: &[String], room: &str) -> bool {
    rooms.is_empty() || rooms.iter().any(|covered| covered == room)
}

//! A delivery pass: one block of each kind on its way to all members of a room.

use bytes::Bytes;
use slab::Slab;
use talkback_protocol::{Offset, UserName};

use super::{
    HubOptions,
    block::{Block, PlainBlock},
};
use crate::socket::{Delivered, Sender};

pub(super) struct Pass {
    frames: Option<PlainBlock>,
    lines: Option<(Bytes, Block<Option<Offset>>)>,
    /// The messages among the lines.
    messages: u64,
    signals: Option<(Bytes, Block<usize>)>,
    /// The keys of the plain member and of the session member that are next.
    next_plain: usize,
    next_session: usize,
}

/// What is left of the slice of a pass that is delivered now.
pub(super) struct Slice {
    members: usize,
    bytes: usize,
    delivered: u64,
}

/// What a member got.
#[derive(Clone, Copy, Default)]
struct Share {
    bytes: usize,
    messages: u64,
}

/// A member that gets messages as `[name] text`.
pub(super) struct PlainRecipient {
    pub(super) user: UserName,
    pub(super) socket: Sender,
    /// It gets the messages after this one, by its number among those that came since the room has members.
    pub(super) after: u64,
}

/// A member that gets lines of the protocol.
pub(super) struct SessionRecipient {
    pub(super) user: UserName,
    pub(super) socket: Sender,
    pub(super) progress: Progress,
    /// The version of the presence snapshot that it had when it joined.
    pub(super) presence_version: u64,
}

/// Which messages a session member gets from passes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// None: it reads the log itself.
    CatchingUp,
    /// Messages from this offset on; it has the earlier ones from the log.
    From(Offset),
    /// All.
    Live,
    /// None: it is to be closed, because the log began anew.
    Restarted,
}

/// The part of a block that is for one member.
enum Part {
    All,
    Some(Block<()>),
    Nothing,
}

impl Pass {
    /// `None` if there is nothing to deliver.
    pub(super) fn new(
        frames: Option<PlainBlock>,
        lines: Option<Block<Option<Offset>>>,
        signals: Option<Block<usize>>,
    ) -> Option<Self> {
        if frames.is_none() && lines.is_none() && signals.is_none() {
            return None;
        }
        Some(Self {
            frames,
            messages: lines.as_ref().map_or(0, |block| block.tags().flatten().count() as u64),
            lines: lines.map(|block| (block.frame(), block)),
            signals: signals.map(|block| (block.frame(), block)),
            next_plain: 0,
            next_session: 0,
        })
    }

    /// Leaves out the lines that are not delivered yet: the log began anew.
    pub(super) fn drop_lines(&mut self) {
        self.lines = None;
    }

    /// The newest message among the lines.
    pub(super) fn newest(&self) -> Option<Offset> {
        let (_, block) = self.lines.as_ref()?;
        block.tags().flatten().max().copied()
    }

    /// Delivers one slice to the next members. Returns whether the pass has reached the last member.
    pub(super) fn deliver(
        &mut self,
        plain: &Slab<PlainRecipient>,
        sessions: &mut Slab<SessionRecipient>,
        slice: &mut Slice,
    ) -> bool {
        // The slab's capacity is its maximum of members at once so far, which also bounds the search for the next
        // member.
        if let Some(block) = &self.frames {
            for key in self.next_plain..plain.capacity() {
                self.next_plain = key;
                if slice.is_over() {
                    return false;
                }
                if let Some(member) = plain.get(key) {
                    slice.take(member.deliver(block));
                }
            }
            self.next_plain = plain.capacity();
        }
        if self.lines.is_none() && self.signals.is_none() {
            return true;
        }
        for key in self.next_session..sessions.capacity() {
            self.next_session = key;
            if slice.is_over() {
                return false;
            }
            if let Some(member) = sessions.get_mut(key) {
                let lines = self.lines.as_ref();
                let mut share = lines.map_or(Share::default(), |(frame, block)| {
                    member.deliver(block, frame, self.messages)
                });
                let signals = self.signals.as_ref();
                share.bytes += signals.map_or(0, |(frame, block)| member.signal(key, block, frame));
                slice.take(share);
            }
        }
        self.next_session = sessions.capacity();
        true
    }
}

impl Slice {
    pub(super) fn new(options: &HubOptions) -> Self {
        Self {
            members: options.slice_members.max(1),
            bytes: options.slice_bytes.max(1),
            delivered: 0,
        }
    }

    fn is_over(&self) -> bool {
        self.members == 0 || self.bytes == 0
    }

    /// Counts one member.
    fn take(&mut self, share: Share) {
        self.members -= 1;
        self.bytes = self.bytes.saturating_sub(share.bytes);
        self.delivered += share.messages;
    }

    /// The messages that the members of this slice got, together.
    pub(super) fn delivered(&self) -> u64 {
        self.delivered
    }
}

impl PlainRecipient {
    fn deliver(&self, block: &PlainBlock) -> Share {
        block.after(self.after).map_or(Share::default(), |(frames, messages)| {
            deliver(&self.socket, &frames, messages, messages as u64)
        })
    }
}

impl SessionRecipient {
    /// Delivers messages and presence lines. `messages` is the number of messages in the block.
    fn deliver(&mut self, block: &Block<Option<Offset>>, frame: &Bytes, messages: u64) -> Share {
        let before = self.progress;
        match self.progress.take(block) {
            Part::All => deliver(&self.socket, frame, block.len(), messages),
            Part::Some(part) => {
                let from = |offset: &&Offset| !matches!(before, Progress::From(first) if **offset < first);
                let messages = block.tags().flatten().filter(from).count();
                deliver(&self.socket, &part.frame(), part.len(), messages as u64)
            }
            Part::Nothing => Share::default(),
        }
    }

    /// Delivers the signals of other members than the one with this key. Returns the number of delivered bytes.
    fn signal(&self, key: usize, block: &Block<usize>, frame: &Bytes) -> usize {
        if matches!(self.progress, Progress::CatchingUp | Progress::Restarted) {
            return 0;
        }
        let of_others = match block.tags().any(|sender| *sender == key) {
            false => Some(frame.clone()),
            true => block.only(|sender| *sender != key).map(|block| block.frame()),
        };
        of_others.map_or(0, |frame| {
            self.socket.shared().deliver_if_idle(&frame);
            frame.len()
        })
    }
}

impl Progress {
    /// The part of a block that the member does not have. An engine may call watchers after it lets messages be read,
    /// so a block may begin with messages that the member has from the log.
    fn take(&mut self, block: &Block<Option<Offset>>) -> Part {
        let first = match *self {
            Self::Live => return Part::All,
            Self::CatchingUp | Self::Restarted => return Part::Nothing,
            Self::From(first) => first,
        };
        if block.tags().flatten().any(|offset| *offset >= first) {
            *self = Self::Live;
        }
        let part = block.only(|offset| offset.is_none_or(|offset| offset >= first));
        part.map_or(Part::Nothing, Part::Some)
    }
}

/// Delivers frames with so many texts or lines, of which some are messages.
fn deliver(socket: &Sender, frames: &Bytes, queued: usize, messages: u64) -> Share {
    let socket = socket.shared();
    let delivered = socket.deliver(frames, queued);
    if delivered == Delivered::TooSlow {
        socket.sockets().metrics().closed_too_slow.add_one();
    }
    Share {
        bytes: frames.len(),
        messages: if delivered == Delivered::Queued { messages } else { 0 },
    }
}

#[cfg(test)]
mod tests {
    use talkback_protocol::message::ServerLine;

    use super::*;
    use crate::hub::block::{Builder, Lines};

    /// A block of messages with these offsets; 0 stands for a line that is no message.
    fn block(offsets: &[u64]) -> Block<Option<Offset>> {
        let mut lines = Lines::default();
        for offset in offsets {
            let tag = Some(Offset::new(*offset).unwrap()).filter(|offset| *offset > Offset::ZERO);
            lines.push_line(tag, &ServerLine::Ping {});
        }
        lines.take().unwrap()
    }

    fn lines(part: Part, block: &Block<Option<Offset>>) -> usize {
        match part {
            Part::All => block.len(),
            Part::Some(block) => block.len(),
            Part::Nothing => 0,
        }
    }

    #[test]
    fn a_member_gets_the_messages_of_a_block_that_it_does_not_have_and_later_all() {
        let from = |offset| Progress::From(Offset::new(offset).unwrap());
        for (mut progress, offsets, expected, then) in [
            (Progress::CatchingUp, &[1, 2][..], 0, Progress::CatchingUp),
            (from(3), &[1, 2], 0, from(3)),
            (from(3), &[0, 2], 1, from(3)),
            (from(3), &[0], 1, from(3)),
            (from(3), &[1, 0, 2, 3, 0, 4], 4, Progress::Live),
            (from(3), &[3, 4], 2, Progress::Live),
            (Progress::Live, &[1, 0, 2], 3, Progress::Live),
        ] {
            let block = block(offsets);
            assert_eq!(lines(progress.take(&block), &block), expected, "{offsets:?}");
            assert!(progress == then, "{offsets:?}");
        }
    }
}

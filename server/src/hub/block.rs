//! Pending messages, encoded once for all members of a kind.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use talkback_protocol::{
    codec,
    message::{Message, ServerLine},
};
use tokio::time::Instant;

use crate::socket::{FrameKind, put_header};

/// The longest header of a frame from a server, which has no mask (RFC 6455, section 5.2).
const HEADER: usize = 10;

/// A block to which messages or lines are added.
pub(super) trait Builder: Default {
    type Block;

    /// The bytes of the block so far.
    fn len(&self) -> usize;

    /// Moves the last message or line into a builder of its own, unless it is the only one.
    fn split_last(&mut self) -> Option<Self>;

    /// Finishes the block and empties the builder. `None` if it is empty.
    fn take(&mut self) -> Option<Self::Block>;
}

/// A queue of pending blocks, of which the newest still grows.
///
/// No block has more than `max_bytes`, unless it is one larger message: so that each can be one text, and fits into the
/// queue of a member that reads in time.
pub(super) struct Blocks<B> {
    max_bytes: usize,
    /// With the time when the first message or line was added.
    queue: VecDeque<(B, Instant)>,
    bytes: usize,
}

impl<B: Builder> Blocks<B> {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self {
            max_bytes,
            queue: VecDeque::new(),
            bytes: 0,
        }
    }

    /// Adds one message or line with `add`.
    pub(super) fn push(&mut self, now: Instant, add: impl FnOnce(&mut B)) {
        if self.queue.is_empty() {
            self.queue.push_back((B::default(), now));
        }
        let Some((newest, _)) = self.queue.back_mut() else {
            unreachable!("one was added above")
        };
        let before = newest.len();
        add(newest);
        let last = (newest.len() > self.max_bytes).then(|| newest.split_last()).flatten();
        self.bytes += newest.len() - before;
        if let Some(last) = last {
            self.bytes += last.len();
            self.queue.push_back((last, now));
        }
    }

    /// The bytes of all blocks.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// When the oldest block was begun.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.queue.front().map(|(_, since)| *since)
    }

    /// Takes the oldest block.
    pub(super) fn take(&mut self) -> Option<B::Block> {
        let (mut oldest, _) = self.queue.pop_front()?;
        self.bytes -= oldest.len();
        if self.queue.is_empty() {
            // Otherwise the queue would keep the capacity of its largest burst.
            self.queue = VecDeque::new();
        }
        oldest.take()
    }
}

/// Builds a [`PlainBlock`].
#[derive(Default)]
pub(super) struct Frames {
    bytes: Vec<u8>,
    /// The number of each message among those that came since the room has members, and where its frame begins.
    starts: Vec<(u64, usize)>,
}

impl Frames {
    pub(super) fn push(&mut self, number: u64, message: &Message) {
        self.starts.push((number, self.bytes.len()));
        let text = message.body.read::<String>();
        let text = text.as_deref().unwrap_or_else(|_| message.body.json());
        let parts = ["[", &message.from.user, "] ", text];
        put_header(
            &mut self.bytes,
            FrameKind::Text,
            parts.iter().map(|part| part.len()).sum(),
        );
        for part in parts {
            self.bytes.extend_from_slice(part.as_bytes());
        }
    }
}

impl Builder for Frames {
    type Block = PlainBlock;

    fn len(&self) -> usize {
        self.bytes.len()
    }

    fn split_last(&mut self) -> Option<Self> {
        let (number, start) = self.starts.pop_if(|(_, start)| *start > 0)?;
        Some(Self {
            bytes: self.bytes.split_off(start),
            starts: vec![(number, 0)],
        })
    }

    fn take(&mut self) -> Option<PlainBlock> {
        let Self { bytes, starts } = std::mem::take(self);
        (!starts.is_empty()).then(|| PlainBlock {
            bytes: bytes.into(),
            starts,
        })
    }
}

/// Messages for plain members: a frame `[name] text` for each.
pub(super) struct PlainBlock {
    bytes: Bytes,
    starts: Vec<(u64, usize)>,
}

impl PlainBlock {
    /// The frames of the messages after this one, shared, and how many they are.
    pub(super) fn after(&self, number: u64) -> Option<(Bytes, usize)> {
        let skipped = self.starts.partition_point(|(of, _)| *of <= number);
        let (_, start) = self.starts.get(skipped)?;
        Some((self.bytes.slice(start..), self.starts.len() - skipped))
    }
}

/// Builds a [`Block`] of lines, each with a tag.
pub(super) struct Lines<T> {
    /// Bytes for the header, then the lines with line breaks between them.
    bytes: Vec<u8>,
    /// The tag of each line, and where it begins.
    starts: Vec<(T, usize)>,
}

impl<T> Default for Lines<T> {
    fn default() -> Self {
        Self {
            bytes: Vec::new(),
            starts: Vec::new(),
        }
    }
}

impl<T> Lines<T> {
    pub(super) fn push_message(&mut self, tag: T, message: &Message) {
        self.begin_line(tag);
        codec::write_message(&mut self.bytes, message);
    }

    pub(super) fn push_line(&mut self, tag: T, line: &ServerLine) {
        self.push(tag, codec::encode(line).as_bytes());
    }

    pub(super) fn push(&mut self, tag: T, line: &[u8]) {
        self.begin_line(tag);
        self.bytes.extend_from_slice(line);
    }

    fn begin_line(&mut self, tag: T) {
        if self.starts.is_empty() {
            self.bytes.resize(HEADER, 0);
        } else {
            self.bytes.push(b'\n');
        }
        self.starts.push((tag, self.bytes.len()));
    }
}

impl<T> Builder for Lines<T> {
    type Block = Block<T>;

    fn len(&self) -> usize {
        self.bytes.len()
    }

    fn split_last(&mut self) -> Option<Self> {
        let (tag, start) = self.starts.pop_if(|(_, start)| *start > HEADER)?;
        let mut last = Self::default();
        last.push(tag, &self.bytes[start..]);
        // With the line break before it.
        self.bytes.truncate(start - 1);
        Some(last)
    }

    fn take(&mut self) -> Option<Block<T>> {
        let Self { mut bytes, starts } = std::mem::take(self);
        if starts.is_empty() {
            return None;
        }
        // The header ends where the first line begins; a short one leaves the first bytes unused.
        let mut header = Vec::with_capacity(HEADER);
        put_header(&mut header, FrameKind::Text, bytes.len() - HEADER);
        let begin = HEADER - header.len();
        bytes[begin..HEADER].copy_from_slice(&header);
        Some(Block {
            bytes: Bytes::from(bytes),
            begin,
            starts,
        })
    }
}

/// Lines as one text frame for session members. The tag of a line decides which members get it.
pub(super) struct Block<T> {
    bytes: Bytes,
    begin: usize,
    starts: Vec<(T, usize)>,
}

impl<T> Block<T> {
    /// The frame of all lines, shared.
    pub(super) fn frame(&self) -> Bytes {
        self.bytes.slice(self.begin..)
    }

    /// The number of lines.
    pub(super) fn len(&self) -> usize {
        self.starts.len()
    }

    pub(super) fn tags(&self) -> impl Iterator<Item = &T> {
        self.starts.iter().map(|(tag, _)| tag)
    }

    /// A block of only the lines whose tag is `wanted`, for the few members that do not get all of them.
    pub(super) fn only(&self, wanted: impl Fn(&T) -> bool) -> Option<Block<()>> {
        let mut lines = Lines::default();
        for (index, (tag, start)) in self.starts.iter().enumerate() {
            if wanted(tag) {
                let end = self
                    .starts
                    .get(index + 1)
                    .map_or(self.bytes.len(), |(_, next)| next - 1);
                lines.push((), &self.bytes[*start..end]);
            }
        }
        lines.take()
    }
}

/// One text frame of these messages.
pub(super) fn frame_of_messages(messages: &[Arc<Message>]) -> Option<Bytes> {
    let mut lines = Lines::default();
    messages.iter().for_each(|message| lines.push_message((), message));
    lines.take().map(|block: Block<()>| block.frame())
}

/// One text frame of this line.
pub(super) fn frame_of_line(text: &[u8]) -> Option<Bytes> {
    let mut lines = Lines::default();
    lines.push((), text);
    lines.take().map(|block: Block<()>| block.frame())
}

#[cfg(test)]
mod tests {
    use super::*;
    use talkback_protocol::{Body, Offset, RoomName, SenderId, UserName, message::Author};

    fn text_of(frame: &[u8]) -> &str {
        let header = match frame[1] {
            126 => 4,
            127 => 10,
            _ => 2,
        };
        let mut expected = Vec::new();
        put_header(&mut expected, FrameKind::Text, frame.len() - header);
        assert_eq!(frame[..header], expected);
        str::from_utf8(&frame[header..]).unwrap()
    }

    fn message(offset: u64) -> Message {
        Message {
            room: RoomName::parse("lobby").unwrap(),
            offset: Offset::new(offset).unwrap(),
            from: Author {
                sender: SenderId::parse("s1").unwrap(),
                user: UserName::parse("ann").unwrap(),
            },
            seq: None,
            id: None,
            at: 0,
            deleted: false,
            body: Body::text(&offset.to_string()),
        }
    }

    #[test]
    fn lines_share_a_frame_and_a_frame_of_some_of_them_can_be_made() {
        for length in [1, 60, 5000, 40_000] {
            let texts = ["a", "b", "c"].map(|letter| letter.repeat(length));
            let mut lines = Lines::default();
            for (tag, text) in texts.iter().enumerate() {
                lines.push(tag, text.as_bytes());
            }
            assert!(
                lines.len() >= texts.join("\n").len(),
                "the bound of pending bytes counts this"
            );
            let block = lines.take().unwrap();
            assert_eq!(lines.len(), 0);
            assert_eq!(text_of(&block.frame()), texts.join("\n"));
            for (wanted, expected) in [
                (vec![0, 2], [&*texts[0], &texts[2]].join("\n")),
                (vec![1], texts[1].clone()),
            ] {
                let part = block.only(|tag| wanted.contains(tag)).unwrap();
                assert_eq!(text_of(&part.frame()), expected);
            }
            assert!(block.only(|_| false).is_none());
        }
        assert!(Lines::<()>::default().take().is_none());
    }

    #[test]
    fn lines_are_divided_into_blocks_of_bounded_size_and_none_is_lost() {
        let now = Instant::now();
        let mut random = fastrand::Rng::with_seed(3);
        for max_bytes in [1, 100, 1000] {
            let mut blocks = Blocks::<Lines<usize>>::new(max_bytes);
            let texts: Vec<_> = (0..500)
                .map(|number| format!("{number}:{}", "x".repeat(random.usize(0..400))))
                .collect();
            for (tag, text) in texts.iter().enumerate() {
                blocks.push(now, |lines| lines.push(tag, text.as_bytes()));
            }
            let mut taken = Vec::new();
            while let Some(block) = blocks.take() {
                let frame = block.frame();
                assert!(block.len() == 1 || frame.len() <= max_bytes, "{} bytes", frame.len());
                assert!(block.tags().copied().eq(taken.len()..taken.len() + block.len()));
                taken.extend(text_of(&frame).split('\n').map(str::to_owned));
                assert!(blocks.oldest().is_some() == (blocks.bytes() > 0));
            }
            assert_eq!(taken, texts);
            assert_eq!((blocks.bytes(), blocks.oldest()), (0, None));
        }
    }

    #[test]
    fn plain_frames_after_any_message_are_shared() {
        let frame = |text: &str| [&[0x81, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
        let mut frames = Frames::default();
        for offset in [4, 5, 7] {
            frames.push(offset, &message(offset));
        }
        assert_eq!(
            frames.len(),
            3 * "..[ann] 4".len(),
            "the bound of pending bytes counts this"
        );
        let block = frames.take().unwrap();
        assert_eq!(frames.len(), 0);
        let mut blocks = Blocks::<Frames>::new(1);
        blocks.push(Instant::now(), |frames| frames.push(4, &message(4)));
        blocks.push(Instant::now(), |frames| frames.push(5, &message(5)));
        for offset in [4, 5] {
            let block = blocks.take().unwrap();
            assert_eq!(block.starts, [(offset, 0)]);
            assert_eq!(block.bytes, frame(&format!("[ann] {offset}")));
        }
        let frames = [frame("[ann] 4"), frame("[ann] 5"), frame("[ann] 7")];
        for (after, skipped) in [(0, 0), (3, 0), (4, 1), (5, 2), (6, 2)] {
            let (bytes, count) = block.after(after).unwrap();
            assert_eq!((&bytes[..], count), (&frames[skipped..].concat()[..], 3 - skipped));
        }
        assert!(block.after(7).is_none());
    }

    #[test]
    fn a_block_has_its_bound_and_not_a_byte_more() {
        let now = Instant::now();
        let mut both = Lines::default();
        (0..2).for_each(|_| both.push((), b"0123456789"));
        let blocks = |max_bytes| {
            let mut blocks = Blocks::<Lines<()>>::new(max_bytes);
            for _ in 0..2 {
                blocks.push(now, |lines| lines.push((), b"0123456789"));
            }
            std::iter::from_fn(|| blocks.take()).count()
        };
        assert_eq!(blocks(both.len()), 1);
        assert_eq!(blocks(both.len() - 1), 2);
    }

    #[test]
    fn frames_are_divided_into_blocks_and_none_is_lost() {
        let now = Instant::now();
        let mut one = Frames::default();
        one.push(1, &message(1));
        let mut blocks = Blocks::<Frames>::new(one.len());
        for number in 1..=3 {
            blocks.push(now, |frames| frames.push(number, &message(number)));
        }
        let counts: Vec<_> = std::iter::from_fn(|| blocks.take())
            .map(|block| block.after(0).map(|(_, messages)| messages))
            .collect();
        assert_eq!(counts, [Some(1); 3]);
    }
}

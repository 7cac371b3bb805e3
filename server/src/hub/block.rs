//! Messages that are about to be delivered, encoded once for all members of a kind.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use talkback_protocol::{
    Offset, codec,
    message::{Message, ServerLine},
};
use tokio::time::Instant;

use crate::socket::{FrameKind, put_header};

/// The longest header of a server's frame.
const HEADER: usize = 10;

/// A block that is being made.
pub(super) trait Unfinished: Default {
    type Block;

    /// Its bytes.
    fn len(&self) -> usize;

    /// Takes what was put in last out again, into a block of its own, unless it is alone.
    fn split_last(&mut self) -> Option<Self>;

    /// `None` if there is nothing in it.
    fn take(&mut self) -> Option<Self::Block>;
}

/// Blocks that wait for their delivery, the newest still growing.
///
/// None has more bytes than was asked for, except that one message may be larger: so that each can be one text, and has its place in the
/// queue of a member that takes what it gets.
pub(super) struct Blocks<B> {
    largest: usize,
    waiting: VecDeque<(B, Instant)>,
    bytes: usize,
}

impl<B: Unfinished> Blocks<B> {
    pub(super) fn new(largest: usize) -> Self {
        Self {
            largest,
            waiting: VecDeque::new(),
            bytes: 0,
        }
    }

    /// Puts one message or line in, with `put`.
    pub(super) fn push(&mut self, now: Instant, put: impl FnOnce(&mut B)) {
        if self.waiting.is_empty() {
            self.waiting.push_back((B::default(), now));
        }
        let Some((newest, _)) = self.waiting.back_mut() else {
            unreachable!("one was put in above")
        };
        let before = newest.len();
        put(newest);
        let last = (newest.len() > self.largest).then(|| newest.split_last()).flatten();
        self.bytes += newest.len() - before;
        if let Some(last) = last {
            self.bytes += last.len();
            self.waiting.push_back((last, now));
        }
    }

    /// The bytes of all of them.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Since when the oldest one waits.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.waiting.front().map(|(_, since)| *since)
    }

    pub(super) fn take(&mut self) -> Option<B::Block> {
        let (mut oldest, _) = self.waiting.pop_front()?;
        self.bytes -= oldest.len();
        if self.waiting.is_empty() {
            // A crowd of messages that came once is not kept in memory for ever.
            self.waiting = VecDeque::new();
        }
        oldest.take()
    }
}

/// `[name] text`, one frame after the other.
#[derive(Default)]
pub(super) struct Frames {
    bytes: Vec<u8>,
    /// The offset of each message, and where its frame begins.
    starts: Vec<(Offset, usize)>,
}

impl Frames {
    pub(super) fn push(&mut self, message: &Message) {
        self.starts.push((message.offset, self.bytes.len()));
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

impl Unfinished for Frames {
    type Block = PlainBlock;

    fn len(&self) -> usize {
        self.bytes.len()
    }

    fn split_last(&mut self) -> Option<Self> {
        let (offset, start) = self.starts.pop_if(|(_, start)| *start > 0)?;
        Some(Self {
            bytes: self.bytes.split_off(start),
            starts: vec![(offset, 0)],
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

/// Frames for plain members.
pub(super) struct PlainBlock {
    bytes: Bytes,
    starts: Vec<(Offset, usize)>,
}

impl PlainBlock {
    /// The frames of messages after this one, shared, and how many there are.
    pub(super) fn after(&self, offset: Offset) -> Option<(Bytes, usize)> {
        let skipped = self.starts.partition_point(|(of, _)| *of <= offset);
        let (_, start) = self.starts.get(skipped)?;
        Some((self.bytes.slice(start..), self.starts.len() - skipped))
    }
}

/// One text frame of several lines, each with a tag that says for whom it is.
pub(super) struct Lines<T> {
    /// Room for the header, then the lines with line breaks between them.
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

    pub(super) fn push_frame(&mut self, tag: T, frame: &ServerLine) {
        self.push(tag, codec::encode(frame).as_bytes());
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

impl<T> Unfinished for Lines<T> {
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
        // The header goes right before the first line, where its longest form would end.
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

/// Lines as a text frame that is ready for all members.
pub(super) struct Block<T> {
    bytes: Bytes,
    begin: usize,
    starts: Vec<(T, usize)>,
}

impl<T> Block<T> {
    /// All of it, shared.
    pub(super) fn frame(&self) -> Bytes {
        self.bytes.slice(self.begin..)
    }

    /// How many lines it has.
    pub(super) fn len(&self) -> usize {
        self.starts.len()
    }

    pub(super) fn tags(&self) -> impl Iterator<Item = &T> {
        self.starts.iter().map(|(tag, _)| tag)
    }

    /// A frame of only the lines with such tags. For the few members that cannot have the shared one.
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

/// One frame of these messages.
pub(super) fn frame_of(messages: &[Arc<Message>]) -> Option<Bytes> {
    let mut lines = Lines::default();
    messages.iter().for_each(|message| lines.push_message((), message));
    lines.take().map(|block: Block<()>| block.frame())
}

/// One frame of this line.
pub(super) fn frame_of_line(text: &[u8]) -> Option<Bytes> {
    let mut lines = Lines::default();
    lines.push((), text);
    lines.take().map(|block: Block<()>| block.frame())
}

#[cfg(test)]
mod tests {
    use super::*;
    use talkback_protocol::{Body, RoomName, SenderId, UserName, message::Author};

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

    #[test]
    fn lines_share_a_frame_and_some_of_them_can_be_taken_out() {
        for length in [1, 60, 5000, 40_000] {
            let texts = ["a", "b", "c"].map(|letter| letter.repeat(length));
            let mut lines = Lines::default();
            for (tag, text) in texts.iter().enumerate() {
                lines.push(tag, text.as_bytes());
            }
            assert!(
                lines.len() >= texts.join("\n").len(),
                "what is pending is bounded by it"
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
    fn what_waits_is_cut_into_blocks_of_bounded_size_and_nothing_is_lost() {
        let now = Instant::now();
        let mut random = fastrand::Rng::with_seed(3);
        for largest in [1, 100, 1000] {
            let mut blocks = Blocks::<Lines<usize>>::new(largest);
            let texts: Vec<_> = (0..500)
                .map(|number| format!("{number}:{}", "x".repeat(random.usize(0..400))))
                .collect();
            for (tag, text) in texts.iter().enumerate() {
                blocks.push(now, |lines| lines.push(tag, text.as_bytes()));
            }
            let mut taken = Vec::new();
            while let Some(block) = blocks.take() {
                let frame = block.frame();
                assert!(block.len() == 1 || frame.len() <= largest, "{} bytes", frame.len());
                assert!(block.tags().copied().eq(taken.len()..taken.len() + block.len()));
                taken.extend(text_of(&frame).split('\n').map(str::to_owned));
                assert!(blocks.oldest().is_some() == (blocks.bytes() > 0));
            }
            assert_eq!(taken, texts);
            assert_eq!((blocks.bytes(), blocks.oldest()), (0, None));
        }
    }

    #[test]
    fn plain_frames_are_shared_and_begin_after_any_offset() {
        let frame = |text: &str| [&[0x81, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
        let message = |offset: u64| Message {
            room: RoomName::parse("lobby").unwrap(),
            offset: Offset::new(offset).unwrap(),
            from: Author {
                sender: SenderId::parse("s1").unwrap(),
                user: UserName::parse("ann").unwrap(),
            },
            seq: None,
            id: None,
            at: 0,
            body: Body::text(&offset.to_string()),
        };
        let mut frames = Frames::default();
        for offset in [4, 5, 7] {
            frames.push(&message(offset));
        }
        assert_eq!(frames.len(), 3 * "..[ann] 4".len(), "what is pending is bounded by it");
        let block = frames.take().unwrap();
        assert_eq!(frames.len(), 0);
        let mut blocks = Blocks::<Frames>::new(1);
        blocks.push(Instant::now(), |frames| frames.push(&message(4)));
        blocks.push(Instant::now(), |frames| frames.push(&message(5)));
        for offset in [4, 5] {
            let block = blocks.take().unwrap();
            assert_eq!(block.starts, [(Offset::new(offset).unwrap(), 0)]);
            assert_eq!(block.bytes, frame(&format!("[ann] {offset}")));
        }
        let frames = [frame("[ann] 4"), frame("[ann] 5"), frame("[ann] 7")];
        for (after, skipped) in [(0, 0), (3, 0), (4, 1), (5, 2), (6, 2)] {
            let (bytes, count) = block.after(Offset::new(after).unwrap()).unwrap();
            assert_eq!((&bytes[..], count), (&frames[skipped..].concat()[..], 3 - skipped));
        }
        assert!(block.after(Offset::new(7).unwrap()).is_none());
    }
}

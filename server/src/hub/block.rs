//! Messages that are about to be delivered, encoded once for all members of a kind.

use std::sync::Arc;

use bytes::Bytes;
use talkback_protocol::{
    Offset, codec,
    message::{Message, ServerFrame},
};

use crate::socket::{FrameKind, put_header};

/// The longest header of a server's frame.
const HEADER: usize = 10;

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

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn take(&mut self) -> Option<PlainBlock> {
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

    pub(super) fn push_frame(&mut self, tag: T, frame: &ServerFrame) {
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

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn take(&mut self) -> Option<Block<T>> {
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

/// One frame of these lines.
pub(super) fn frame_of_lines(texts: &[Bytes]) -> Option<Bytes> {
    let mut lines = Lines::default();
    texts.iter().for_each(|text| lines.push((), text));
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
    fn plain_frames_are_shared_and_begin_after_any_offset() {
        let mut frames = Frames::default();
        for offset in [4, 5, 7] {
            frames.push(&Message {
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
            });
        }
        assert_eq!(frames.len(), 3 * "..[ann] 4".len(), "what is pending is bounded by it");
        let block = frames.take().unwrap();
        assert_eq!(frames.len(), 0);
        let frame = |text: &str| [&[0x81, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
        let frames = [frame("[ann] 4"), frame("[ann] 5"), frame("[ann] 7")];
        for (after, skipped) in [(0, 0), (3, 0), (4, 1), (5, 2), (6, 2)] {
            let (bytes, count) = block.after(Offset::new(after).unwrap()).unwrap();
            assert_eq!((&bytes[..], count), (&frames[skipped..].concat()[..], 3 - skipped));
        }
        assert!(block.after(Offset::new(7).unwrap()).is_none());
    }

    #[test]
    fn lines_that_a_member_missed_are_one_frame() {
        let lines = [Bytes::from_static(b"a"), Bytes::from_static(b"b")];
        assert_eq!(text_of(&frame_of_lines(&lines).unwrap()), "a\nb");
        assert!(frame_of_lines(&[]).is_none());
    }
}

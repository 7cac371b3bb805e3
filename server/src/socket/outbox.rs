//! The queue to one client: whole frames that wait to be written, counted in bytes and messages.

use std::{cell::Cell, collections::VecDeque, io::IoSlice};

use bytes::{Buf, Bytes};

use super::SocketOptions;

/// Frames up to this size are copied behind each other, so that a burst leaves as one contiguous write; larger payloads
/// are shared.
const COPY_UP_TO: usize = 4096;
/// The list of segments grows by this many. Doubling it would leave half of the memory of thousands of slow clients
/// unused, and as much again in freed fragments.
const GROWS_BY: usize = 16;
/// A thread keeps its spare buffer only up to this size. No option, because the sockets of all applications of a thread
/// share it.
const KEEP_SPARE_UP_TO: usize = 256 * 1024;

/// A segment that was a tail has at most this many times its length.
const MAX_SEALED: usize = 4;

/// The first byte of a whole, unfragmented frame.
#[derive(Clone, Copy)]
pub(crate) enum FrameKind {
    Text = 0x81,
    Binary = 0x82,
    Ping = 0x89,
}

impl FrameKind {
    pub(crate) fn of(message: &super::Message) -> Self {
        if message.is_text() { Self::Text } else { Self::Binary }
    }
}

/// Appends a server's frame header, which has no mask ([RFC 6455, section
/// 5.2](https://www.rfc-editor.org/rfc/rfc6455#section-5.2)).
pub(crate) fn put_header(out: &mut Vec<u8>, kind: FrameKind, length: usize) {
    out.push(kind as u8);
    if let Ok(length @ 0..126) = u8::try_from(length) {
        out.push(length);
    } else if let Ok(length) = u16::try_from(length) {
        out.push(126);
        out.extend_from_slice(&length.to_be_bytes());
    } else {
        out.push(127);
        out.extend_from_slice(&(length as u64).to_be_bytes());
    }
}

struct Segment {
    bytes: Bytes,
    messages: usize,
    /// The last frame of this segment continues in the next one.
    continues: bool,
}

/// The bytes that wait to be written to one client: first the segments, then the tail.
///
/// A *place* is a position among all bytes that were ever queued for the client. A message keeps the place at which it
/// began to wait: what is delivered in the meantime is written before it, but once all that was queued before its place
/// is written, the message is queued however much else waits.
#[derive(Default)]
pub(crate) struct Outbox {
    segments: VecDeque<Segment>,
    tail: Vec<u8>,
    tail_written: usize,
    tail_messages: usize,
    bytes: usize,
    messages: usize,
    /// The next byte to write is not the first of a frame.
    mid_frame: bool,
    /// All bytes that were ever written to the client, also those that never waited here.
    written: u64,
    /// Made when a message first waits at a place: few sockets have one.
    places: Option<Box<Places>>,
}

#[derive(Default)]
struct Places {
    /// A sender waits until all that was queued before this place is written.
    awaited: Option<u64>,
    /// Where the last message that was queued at its place ends, and how many bytes it has.
    last_end: u64,
    last_bytes: usize,
}

/// When a message may be queued.
#[derive(Clone, Copy)]
pub(super) enum Admission {
    /// While the queue is below its bounds.
    Bounded,
    /// While little waits: [`SocketOptions::send_waits_at`].
    Paced,
    /// The same, or once all that was queued before this place is written.
    AtPlace(u64),
}

impl Admission {
    /// How many bytes may wait, the message included.
    pub(super) fn max_bytes(self, options: &SocketOptions) -> usize {
        match self {
            Self::Bounded => options.queue_bytes,
            Self::Paced | Self::AtPlace(_) => options.send_waits_at.min(options.queue_bytes),
        }
    }
}

impl Outbox {
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    #[cfg(test)]
    fn messages(&self) -> usize {
        self.messages
    }

    /// Whether this many more messages and bytes would exceed a bound. A message that is larger than the whole queue
    /// may wait alone.
    pub(crate) fn is_full_for(&self, messages: usize, bytes: usize, max_messages: usize, max_bytes: usize) -> bool {
        !self.is_empty() && (self.messages + messages > max_messages || self.bytes + bytes > max_bytes)
    }

    /// Counts bytes that were written, whether they waited here or not.
    pub(crate) fn count_written(&mut self, bytes: usize) {
        self.written += bytes as u64;
    }

    /// The place of what is queued next.
    pub(crate) fn next_place(&self) -> u64 {
        self.written + self.bytes as u64
    }

    /// Whether all that was queued before this place is written. If not, [`take_reached`](Self::take_reached) tells
    /// when it is.
    pub(crate) fn reaches(&mut self, place: u64) -> bool {
        let is_reached = place <= self.written;
        if !is_reached {
            self.places.get_or_insert_default().awaited = Some(place);
        } else if let Some(places) = &mut self.places {
            places.awaited = None;
        }
        is_reached
    }

    /// Whether all that was queued before the awaited place is written now. True once for each time that a place is
    /// awaited.
    pub(crate) fn take_reached(&mut self) -> bool {
        let Some(places) = &mut self.places else { return false };
        places.awaited.take_if(|place| *place <= self.written).is_some()
    }

    /// Notes that the message that was queued last was queued at its place. The bytes of it that wait do not count
    /// against what is delivered.
    pub(crate) fn note_placed(&mut self, bytes: usize) {
        let end = self.next_place();
        let places = self.places.get_or_insert_default();
        places.last_end = end;
        places.last_bytes = bytes;
    }

    /// How many bytes of the last message that was queued at its place wait.
    pub(crate) fn placed_bytes(&self) -> usize {
        let Some(places) = &self.places else { return 0 };
        let left = places.last_end.saturating_sub(self.written);
        usize::try_from(left).unwrap_or(usize::MAX).min(places.last_bytes)
    }

    /// Queues one message as one frame.
    pub(crate) fn push_message(&mut self, kind: FrameKind, payload: &Bytes) {
        self.reserve_tail();
        let before = self.tail.len();
        put_header(&mut self.tail, kind, payload.len());
        self.bytes += self.tail.len() - before;
        if payload.len() <= COPY_UP_TO {
            self.tail.extend_from_slice(payload);
            self.tail_messages += 1;
            self.bytes += payload.len();
            self.messages += 1;
        } else {
            self.seal_tail(true);
            self.push_segment(payload.clone(), 1);
        }
    }

    /// Queues bytes that hold `messages` whole frames and may be shared with other clients.
    pub(crate) fn push_frames(&mut self, frames: Bytes, messages: usize) {
        if frames.len() <= 256 {
            self.push_copy(&frames);
            self.tail_messages += messages;
            self.messages += messages;
        } else {
            self.seal_tail(false);
            self.push_segment(frames, messages);
        }
    }

    /// Queues whole control frames.
    pub(crate) fn push_copy(&mut self, frames: &[u8]) {
        self.reserve_tail();
        self.tail.extend_from_slice(frames);
        self.bytes += frames.len();
    }

    /// Drops everything except the rest of a frame that is partly written.
    pub(crate) fn discard_unstarted(&mut self) {
        if !self.mid_frame {
            self.discard();
            return;
        }
        self.seal_tail(false);
        let keep = self.segments.iter().position(|segment| !segment.continues);
        self.segments.truncate(keep.map_or(0, |last| last + 1));
        self.segments.shrink_to_fit();
        self.bytes = self.segments.iter().map(|segment| segment.bytes.len()).sum();
        self.messages = self.segments.iter().map(|segment| segment.messages).sum();
    }

    /// Drops everything. Places do not change: they count what was written.
    pub(crate) fn discard(&mut self) {
        *self = Self {
            written: self.written,
            places: self.places.take(),
            ..Self::default()
        };
    }

    /// Fills `slices` with what to write next and returns how many are used.
    pub(crate) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let tail = &self.tail[self.tail_written..];
        let parts = self.segments.iter().map(|segment| &segment.bytes[..]).chain(Some(tail));
        let mut used = 0;
        for (slot, part) in slices.iter_mut().zip(parts.filter(|part| !part.is_empty())) {
            *slot = IoSlice::new(part);
            used += 1;
        }
        used
    }

    /// Removes the first `written` bytes.
    pub(crate) fn advance(&mut self, mut written: usize) {
        self.bytes -= written;
        while let Some(front) = self.segments.front_mut() {
            if written < front.bytes.len() {
                front.bytes.advance(written);
                self.mid_frame |= written > 0;
                return;
            }
            written -= front.bytes.len();
            self.messages -= front.messages;
            self.mid_frame = front.continues;
            self.segments.pop_front();
        }
        self.tail_written += written;
        if self.tail_written < self.tail.len() {
            self.mid_frame |= written > 0;
            return;
        }
        self.messages -= self.tail_messages;
        self.tail_messages = 0;
        self.tail_written = 0;
        self.mid_frame = false;
        give_spare(std::mem::take(&mut self.tail));
        // The outbox of an idle client owns no memory.
        if self.segments.capacity() > 0 {
            self.segments = VecDeque::new();
        }
        self.places.take_if(|places| places.awaited.is_none());
    }

    fn reserve_tail(&mut self) {
        if self.tail.capacity() == 0 {
            self.tail = SPARE.take();
        }
    }

    fn seal_tail(&mut self, continues: bool) {
        if self.tail.is_empty() {
            return;
        }
        let tail = std::mem::take(&mut self.tail);
        let written = std::mem::take(&mut self.tail_written);
        let bytes = if tail.capacity() > MAX_SEALED * tail.len() {
            // A segment waits for as long as the client reads slowly, and may not take the spare buffer along.
            let bytes = Bytes::copy_from_slice(&tail[written..]);
            give_spare(tail);
            bytes
        } else {
            let mut bytes = Bytes::from(tail);
            bytes.advance(written);
            bytes
        };
        let messages = std::mem::take(&mut self.tail_messages);
        self.push(Segment {
            bytes,
            messages,
            continues,
        });
    }

    fn push_segment(&mut self, bytes: Bytes, messages: usize) {
        self.bytes += bytes.len();
        self.messages += messages;
        self.push(Segment {
            bytes,
            messages,
            continues: false,
        });
    }

    fn push(&mut self, segment: Segment) {
        if self.segments.len() == self.segments.capacity() {
            self.segments.reserve_exact(GROWS_BY);
        }
        self.segments.push_back(segment);
    }
}

thread_local! {
    /// The buffer of the last emptied outbox of this thread: thousands of idle clients share one instead of keeping one
    /// each.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

fn give_spare(mut buffer: Vec<u8>) {
    if buffer.capacity() <= KEEP_SPARE_UP_TO {
        buffer.clear();
        SPARE.set(buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(outbox: &Outbox) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); 64];
        let used = outbox.slices(&mut slices);
        slices[..used].iter().flat_map(|slice| slice.to_vec()).collect()
    }

    fn frame(payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        put_header(&mut frame, FrameKind::Binary, payload.len());
        frame.extend_from_slice(payload);
        frame
    }

    #[test]
    fn headers_have_the_three_lengths_of_the_standard() {
        let header = |length| {
            let mut header = Vec::new();
            put_header(&mut header, FrameKind::Text, length);
            header
        };
        assert_eq!(header(125), [0x81, 125]);
        assert_eq!(header(126), [0x81, 126, 0, 126]);
        assert_eq!(header(65_535), [0x81, 126, 0xff, 0xff]);
        assert_eq!(header(65_536), [0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn bytes_are_written_in_the_order_of_the_queue_however_they_are_cut() {
        let (small, large) = (vec![1; 10], vec![2; COPY_UP_TO + 1]);
        let shared = Bytes::from(frame(&[3; 600]));
        for cut in [1, 7, 13, 500, 5000] {
            let mut outbox = Outbox::default();
            outbox.push_message(FrameKind::Binary, &small.clone().into());
            outbox.push_message(FrameKind::Binary, &large.clone().into());
            outbox.push_frames(shared.clone(), 1);
            outbox.push_message(FrameKind::Binary, &small.clone().into());
            let expected = [&frame(&small)[..], &frame(&large), &shared, &frame(&small)].concat();
            assert_eq!((outbox.bytes(), outbox.messages()), (expected.len(), 4));
            let mut written = Vec::new();
            while !outbox.is_empty() {
                let next = all(&outbox);
                let cut = cut.min(next.len());
                written.extend_from_slice(&next[..cut]);
                outbox.advance(cut);
            }
            assert!(written == expected, "cut at {cut}");
            assert_eq!(outbox.messages(), 0);
        }
    }

    #[test]
    fn the_list_of_segments_has_little_unused_capacity_and_none_when_it_is_discarded() {
        let mut outbox = Outbox::default();
        for _ in 0..1000 {
            outbox.push_frames(frame(&[3; 600]).into(), 1);
            assert!(outbox.segments.capacity() <= outbox.segments.len() + GROWS_BY);
        }
        outbox.advance(1);
        outbox.discard_unstarted();
        assert!(outbox.segments.capacity() <= GROWS_BY);
    }

    #[test]
    fn a_large_spare_buffer_does_not_wait_with_the_few_bytes_that_were_queued_in_it() {
        SPARE.set(Vec::with_capacity(KEEP_SPARE_UP_TO));
        let (small, large) = (Bytes::from_static(b"small"), Bytes::from(vec![2; COPY_UP_TO + 1]));
        let mut outbox = Outbox::default();
        outbox.push_message(FrameKind::Binary, &small);
        outbox.push_message(FrameKind::Binary, &large);
        assert_eq!(SPARE.take().capacity(), KEEP_SPARE_UP_TO);
        assert!(all(&outbox) == [frame(&small), frame(&large)].concat());
    }

    #[test]
    fn discarding_keeps_the_rest_of_a_half_written_frame_and_nothing_else() {
        let large = Bytes::from(vec![2; COPY_UP_TO + 1]);
        let whole = frame(&large);
        for written in [0, 1, 4, 100] {
            let mut outbox = Outbox::default();
            outbox.push_message(FrameKind::Binary, &large);
            outbox.push_frames(frame(&[3; 600]).into(), 1);
            outbox.push_message(FrameKind::Binary, &Bytes::from_static(b"tail"));
            outbox.advance(written);
            outbox.discard_unstarted();
            let rest = if written == 0 { &[][..] } else { &whole[written..] };
            assert!(all(&outbox) == rest, "after {written} bytes");
            assert_eq!(outbox.bytes(), rest.len());
            outbox.advance(rest.len());
            assert_eq!(outbox.messages(), 0);
        }
    }

    #[test]
    fn a_place_is_reached_when_all_before_it_is_written_whatever_comes_behind_it() {
        let mut outbox = Outbox::default();
        let write = |outbox: &mut Outbox, bytes| {
            outbox.count_written(bytes);
            outbox.advance(bytes);
        };
        outbox.push_frames(vec![1; 1000].into(), 1);
        let place = outbox.next_place();
        assert!(!outbox.reaches(place));
        outbox.push_frames(vec![2; 1000].into(), 1);
        write(&mut outbox, 999);
        assert!(!outbox.take_reached());
        write(&mut outbox, 1);
        assert!(outbox.take_reached());
        assert!(!outbox.take_reached(), "true once for each wait");
        assert!(outbox.reaches(place));

        outbox.push_frames(vec![3; 500].into(), 1);
        outbox.note_placed(500);
        assert_eq!(outbox.placed_bytes(), 500);
        write(&mut outbox, 1200);
        assert_eq!(outbox.placed_bytes(), 300);
        write(&mut outbox, 300);
        assert_eq!(outbox.placed_bytes(), 0);
        assert!(outbox.places.is_none(), "an idle client has none");

        outbox.push_frames(vec![4; 500].into(), 1);
        let behind = outbox.next_place();
        outbox.discard();
        assert!(
            !outbox.reaches(behind) && outbox.reaches(place),
            "what was written counts"
        );
    }
}

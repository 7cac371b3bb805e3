//! Makes messages from bytes.
//!
//! A whole, unfragmented data frame in the read buffer, as nearly all frames are, is unmasked in place. Everything else
//! is given to tungstenite, one frame at a time: fragments, control frames, incomplete frames, and all that breaks a
//! rule. tungstenite also makes the pongs and close frames.

use std::io::{self, Read, Write};

use bytes::{Buf, BytesMut};
use talkback_protocol::close;
use tungstenite::{
    Error,
    error::ProtocolError,
    protocol::{CloseFrame, Message as Assembled, Role, WebSocketConfig, WebSocketContext},
};

use super::{CloseInfo, ClosedBy, Message, Utf8Bytes, io::SocketIo};

/// The result of one step of reading.
pub(crate) enum ReadStep {
    Message(Message),
    /// A ping or pong, already answered.
    Control,
    /// No whole message or control frame is available.
    Nothing,
    /// The client ended its side: with its close frame, or because it broke a rule; then this is how to close.
    End(CloseInfo),
    /// The stream ended or broke.
    Lost,
}

#[derive(Default)]
pub(crate) struct FrameReader {
    /// tungstenite's frame code, "the assembler" here. Made when needed and dropped when it is empty: an idle
    /// connection has none.
    assembler: Option<Box<WebSocketContext>>,
    /// How many bytes of the current frame the assembler has not been given yet.
    rest: usize,
    /// The assembler has an incomplete message: further fragments must come.
    in_message: bool,
}

impl FrameReader {
    /// Takes the next message or control frame.
    pub(crate) fn read(&mut self, io: &mut SocketIo) -> ReadStep {
        loop {
            if self.rest == 0 {
                if !io.may_take_frame() {
                    return ReadStep::Nothing;
                }
                match Header::parse(&io.input) {
                    Some(header)
                        if header.is_data()
                            && !self.in_message
                            && header.payload() <= io.options().max_message_size =>
                    {
                        if header.frame <= io.input.len() {
                            io.took_frame(header.payload() > 0);
                            return take(&header, &mut io.input);
                        }
                        if header.frame <= io.options().read_bytes / 2 {
                            match read_more(io) {
                                None => continue,
                                Some(step) => return step,
                            }
                        }
                        io.took_frame(true);
                        self.rest = header.frame;
                    }
                    Some(header) => {
                        io.took_frame(false);
                        self.in_message = header.leaves_message_open(self.in_message);
                        self.rest = header.frame;
                    }
                    None => match read_more(io) {
                        None => continue,
                        Some(step) => return step,
                    },
                }
            }
            match self.assemble(io) {
                // The frame was a fragment, and the next frame may be here already.
                ReadStep::Nothing if self.rest == 0 => {}
                step => return step,
            }
        }
    }

    /// Queues a close frame.
    pub(crate) fn close(&mut self, io: &mut SocketIo, code: u16, reason: &str) {
        let frame = CloseFrame {
            code: code.into(),
            reason: reason.into(),
        };
        let (assembler, mut feed) = self.parts(io);
        feed.holds_pongs_back = false;
        // Writing to the outbox cannot fail then, and this does not read.
        let _ = assembler.close(&mut feed, Some(frame));
    }

    /// Queues the answer to the client's close frame.
    pub(crate) fn answer_close(&mut self, io: &mut SocketIo) {
        let (assembler, mut feed) = self.parts(io);
        feed.holds_pongs_back = false;
        // Its error only says that the handshake is complete.
        let _ = assembler.flush(&mut feed);
    }

    fn parts<'a>(&'a mut self, io: &'a mut SocketIo) -> (&'a mut WebSocketContext, Feed<'a>) {
        let options = io.options();
        let assembler = self.assembler.get_or_insert_with(|| {
            let config = WebSocketConfig::default()
                .read_buffer_size(options.assembly_buffer)
                // Pongs and close frames go to the outbox at once, so tungstenite's own write buffer stays empty.
                .write_buffer_size(0)
                .max_write_buffer_size(4096)
                .max_message_size(Some(options.max_message_size))
                .max_frame_size(Some(options.max_message_size));
            Box::new(WebSocketContext::new(Role::Server, Some(config)))
        });
        let feed = Feed {
            io,
            rest: &mut self.rest,
            // A close frame does not wait for a client that does not read.
            holds_pongs_back: assembler.can_write(),
        };
        (assembler, feed)
    }

    fn assemble(&mut self, io: &mut SocketIo) -> ReadStep {
        let max = io.options().max_message_size;
        let (assembler, mut feed) = self.parts(io);
        let step = match assembler.read(&mut feed) {
            Ok(Assembled::Text(text)) => ReadStep::Message(Message::Text(text)),
            Ok(Assembled::Binary(bytes)) => ReadStep::Message(Message::Binary(bytes)),
            Ok(Assembled::Close(frame)) => return ReadStep::End(closed(frame)),
            Ok(Assembled::Ping(_) | Assembled::Pong(_) | Assembled::Frame(_)) => ReadStep::Control,
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return ReadStep::Nothing,
            Err(error) => return failed(&error, max),
        };
        // Queues a pong. The assembler keeps it while the client does not read what was sent before.
        let flushed = assembler.flush(&mut feed).is_ok();
        // It remembers a close frame that was sent or received, and cannot write then.
        if flushed && assembler.can_write() && !self.in_message {
            self.assembler = None;
        }
        step
    }
}

/// `None` if more was read.
fn read_more(io: &mut SocketIo) -> Option<ReadStep> {
    match io.fill() {
        Ok(1..) => None,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Some(ReadStep::Nothing),
        Ok(0) | Err(_) => Some(ReadStep::Lost),
    }
}

fn closed(frame: Option<CloseFrame>) -> CloseInfo {
    match frame {
        // tungstenite replaces a code that may not be sent with this, and answers with it.
        Some(frame)
            if frame.code == tungstenite::protocol::frame::coding::CloseCode::Protocol
                && frame.reason == "Protocol violation" =>
        {
            CloseInfo::by_server(close::PROTOCOL_ERROR, "the close code may not be sent")
        }
        Some(frame) => CloseInfo {
            code: frame.code.into(),
            reason: frame.reason,
            by: ClosedBy::Client,
        },
        None => CloseInfo {
            code: close::NO_STATUS,
            reason: Utf8Bytes::default(),
            by: ClosedBy::Client,
        },
    }
}

fn failed(error: &Error, max: usize) -> ReadStep {
    ReadStep::End(match error {
        Error::ConnectionClosed
        | Error::AlreadyClosed
        | Error::Io(_)
        | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => return ReadStep::Lost,
        Error::Capacity(_) => {
            let reason = format!("a message may have at most {max} bytes");
            CloseInfo::by_server(close::MESSAGE_TOO_BIG, &reason)
        }
        Error::Utf8(_) => CloseInfo::by_server(close::INVALID_PAYLOAD, NOT_UTF8),
        error => CloseInfo::by_server(close::PROTOCOL_ERROR, &error.to_string()),
    })
}

const NOT_UTF8: &str = "a text message must be valid UTF-8";

/// Takes a whole data frame off the front of `input`.
fn take(header: &Header, input: &mut BytesMut) -> ReadStep {
    let mut payload = input.split_to(header.frame);
    payload.advance(header.length);
    unmask(&mut payload, header.mask);
    let payload = payload.freeze();
    if header.first == BINARY {
        return ReadStep::Message(Message::Binary(payload));
    }
    match Utf8Bytes::try_from(payload) {
        Ok(text) => ReadStep::Message(Message::Text(text)),
        Err(_) => ReadStep::End(CloseInfo::by_server(close::INVALID_PAYLOAD, NOT_UTF8)),
    }
}

/// A final frame of a text or binary message without reserved bits.
const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;

/// A client's frame header ([RFC 6455, section 5.2](https://www.rfc-editor.org/rfc/rfc6455#section-5.2)).
struct Header {
    first: u8,
    masked: bool,
    mask: [u8; 4],
    /// Bytes of the header.
    length: usize,
    /// Bytes of the whole frame; `usize::MAX` if they are more.
    frame: usize,
}

impl Header {
    /// `None` if more bytes are needed.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let (&[first, second], rest) = bytes.split_first_chunk::<2>()?;
        let (payload, rest) = match second & 0x7f {
            126 => rest
                .split_first_chunk()
                .map(|(&length, rest)| (u64::from(u16::from_be_bytes(length)), rest))?,
            127 => rest
                .split_first_chunk()
                .map(|(&length, rest)| (u64::from_be_bytes(length), rest))?,
            length => (u64::from(length), rest),
        };
        let masked = second & 0x80 != 0;
        let (mask, rest) = if masked {
            rest.split_first_chunk().map(|(&mask, rest)| (mask, rest))?
        } else {
            ([0; 4], rest)
        };
        let length = bytes.len() - rest.len();
        let frame = usize::try_from(payload).unwrap_or(usize::MAX).saturating_add(length);
        Some(Self {
            first,
            masked,
            mask,
            length,
            frame,
        })
    }

    fn payload(&self) -> usize {
        self.frame - self.length
    }

    fn is_data(&self) -> bool {
        self.masked && (self.first == TEXT || self.first == BINARY)
    }

    /// Whether a message is incomplete after this frame. The assembler finds the frames that break a rule.
    fn leaves_message_open(&self, in_message: bool) -> bool {
        let (is_final, opcode) = (self.first & 0x80 != 0, self.first & 0x0f);
        if opcode <= 2 { !is_final } else { in_message }
    }
}

fn unmask(bytes: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (chunks, rest) = bytes.as_chunks_mut();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

/// Gives the assembler the bytes of one frame and queues its control frames.
struct Feed<'a> {
    io: &'a mut SocketIo,
    rest: &'a mut usize,
    holds_pongs_back: bool,
}

impl Read for Feed<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if *self.rest == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if self.io.input.is_empty() && self.io.fill()? == 0 {
            return Ok(0);
        }
        let taken = into.len().min(self.io.input.len()).min(*self.rest);
        self.io.input.copy_to_slice(&mut into[..taken]);
        *self.rest -= taken;
        Ok(taken)
    }
}

impl Write for Feed<'_> {
    fn write(&mut self, frames: &[u8]) -> io::Result<usize> {
        if self.io.outbox.bytes() > self.io.options().pongs_wait_at && self.holds_pongs_back {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.io.outbox.push_copy(frames);
        Ok(frames.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use bytes::Bytes;

    use super::*;
    use crate::socket::{SocketOptions, Sockets, io::Transport};

    #[test]
    fn headers_are_read_only_when_they_are_whole() {
        for (bytes, length, frame) in [
            (&[0x81, 0x80, 1, 2, 3, 4][..], 6, 6),
            (&[0x81, 0x85, 1, 2, 3, 4], 6, 11),
            (&[0x82, 0xfe, 0x01, 0x00, 1, 2, 3, 4], 8, 264),
            (&[0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3, 4], 14, 65_550),
            (&[0x81, 0x05], 2, 7),
        ] {
            let header = Header::parse(bytes).unwrap();
            assert_eq!((header.length, header.frame), (length, frame));
            for cut in 0..bytes.len() {
                assert!(Header::parse(&bytes[..cut]).is_none(), "{cut} bytes of {bytes:?}");
            }
        }
        let endless = Header::parse(&[0x82, 0xff, 255, 255, 255, 255, 255, 255, 255, 255, 1, 2, 3, 4]).unwrap();
        assert_eq!(endless.frame, usize::MAX);
    }

    #[test]
    fn a_message_in_fragments_is_put_together_in_a_buffer_of_the_size_that_the_options_say() {
        for assembly_buffer in [100, 10_000] {
            let sockets = Sockets::new(SocketOptions {
                assembly_buffer,
                ..SocketOptions::default()
            });
            let fragment = Bytes::from_static(&[0x01, 0x81, 0, 0, 0, 0, b'x']);
            let mut io = SocketIo::new(Transport::Gone, fragment, sockets);
            io.begin_turn(Waker::noop(), 1);
            let mut reader = FrameReader::default();
            assert!(matches!(reader.read(&mut io), ReadStep::Nothing));
            let assembler = reader.assembler.unwrap();
            assert_eq!(assembler.get_config().read_buffer_size, assembly_buffer);
        }
    }

    #[test]
    fn unmasking_is_the_same_at_every_length() {
        let mask = [1, 2, 3, 4];
        for length in 0..40 {
            let plain: Vec<u8> = (0..length).collect();
            let mut masked: Vec<u8> = plain
                .iter()
                .zip(mask.iter().cycle())
                .map(|(byte, mask)| byte ^ mask)
                .collect();
            unmask(&mut masked, mask);
            assert_eq!(masked, plain);
        }
    }
}

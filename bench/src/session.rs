//! What a client of `talkback.v1` sends, and a reader that checks that every member gets every message once and in order.

use anyhow::{Context, Result, bail, ensure};

use crate::frame;

/// The address of sessions.
pub const PATH: &str = "/ws";
/// The subprotocol that they speak.
pub const SUBPROTOCOL: &str = "talkback.v1";

const FINAL_TEXT: u8 = 0x81;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

/// The frames with which client `number` becomes a member of `room`.
#[must_use]
pub fn greeting(number: usize, room: &str) -> Vec<u8> {
    frame::masked_text(&format!(
        "{{\"hello\":{{\"client\":\"{number:032x}\",\"name\":\"bench\"}}}}\n{{\"join\":{{\"room\":\"{room}\"}}}}"
    ))
}

/// The frame with which a client says `text` as its message `seq`.
#[must_use]
pub fn publish(room: &str, seq: u64, text: &str) -> Vec<u8> {
    frame::masked_text(&format!(
        "{{\"publish\":{{\"room\":\"{room}\",\"seq\":{seq},\"id\":\"{seq:016x}\",\"body\":\"{text}\"}}}}"
    ))
}

/// What one member receives.
#[derive(Debug, Default)]
pub struct Incoming {
    /// The beginning of a frame whose end has not come.
    rest: Vec<u8>,
    /// The offset of the last message, once one came.
    last: Option<u64>,
    joined: bool,
}

impl Incoming {
    /// Whether the room was joined.
    #[must_use]
    pub fn is_joined(&self) -> bool {
        self.joined
    }

    /// Takes `bytes` from the connection and returns how many messages with the body `text` they completed. What must be answered is
    /// appended to `reply`.
    ///
    /// # Errors
    /// When a message is missing, doubled or another one, or the server refuses something or closes.
    pub fn accept(&mut self, bytes: &[u8], text: &str, reply: &mut Vec<u8>) -> Result<u64> {
        let before = std::mem::take(&mut self.rest);
        let joined = (!before.is_empty()).then(|| [&before, bytes].concat());
        let mut bytes = joined.as_deref().unwrap_or(bytes);
        let mut messages = 0;
        while let Some((first, payload, rest)) = split_frame(bytes) {
            match first {
                FINAL_TEXT => messages += self.lines(payload, text, reply)?,
                PING => reply.extend(frame::masked(PONG, payload)),
                _ => bail!(
                    "the server closed the connection: {:?}",
                    String::from_utf8_lossy(payload)
                ),
            }
            bytes = rest;
        }
        self.rest = bytes.to_vec();
        Ok(messages)
    }

    fn lines(&mut self, payload: &[u8], text: &str, reply: &mut Vec<u8>) -> Result<u64> {
        let mut messages = 0;
        for line in str::from_utf8(payload)?.split('\n') {
            if line.starts_with("{\"message\":") {
                self.message(line, text)?;
                messages += 1;
            } else if line.starts_with("{\"ping\":") {
                reply.extend(frame::masked_text("{\"pong\":{}}"));
            } else if line.starts_with("{\"joined\":") {
                self.joined = true;
            } else {
                let expected = ["{\"welcome\":", "{\"ack\":", "{\"presence\":"];
                ensure!(
                    expected.iter().any(|kind| line.starts_with(kind)),
                    "the server sent {line}"
                );
            }
        }
        Ok(messages)
    }

    fn message(&mut self, line: &str, text: &str) -> Result<()> {
        let (_, after) = line.split_once("\"offset\":").context("a message without an offset")?;
        let digits = after.split(',').next().unwrap_or_default();
        let offset = digits.parse().with_context(|| format!("no offset in {line}"))?;
        ensure!(
            self.last.is_none_or(|last| offset == last + 1),
            "after message {:?} came {offset}",
            self.last
        );
        self.last = Some(offset);
        let body = line.strip_suffix("\"}}").and_then(|line| line.strip_suffix(text));
        ensure!(
            body.is_some_and(|line| line.ends_with("\"body\":\"")),
            "another message than the one that was sent: {line}"
        );
        Ok(())
    }
}

/// The first byte and the payload of a server's frame, and what follows it. `None` if it is not whole.
pub(crate) fn split_frame(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[first, length], rest) = bytes.split_first_chunk::<2>()?;
    let (length, rest) = match length {
        126 => rest
            .split_first_chunk()
            .map(|(length, rest)| (u64::from(u16::from_be_bytes(*length)), rest))?,
        127 => rest
            .split_first_chunk()
            .map(|(length, rest)| (u64::from_be_bytes(*length), rest))?,
        length => (u64::from(length), rest),
    };
    let (payload, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    Some((first, payload, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(offset: u64, text: &str) -> String {
        format!("{{\"message\":{{\"room\":\"bench\",\"offset\":{offset},\"at\":1,\"body\":\"{text}\"}}}}")
    }

    #[test]
    fn messages_are_counted_however_they_are_gathered_and_cut() {
        let stream = [
            frame::server_text("{\"welcome\":{}}\n{\"joined\":{}}"),
            frame::server_text(&[message(5, "hi"), "{\"ping\":{}}".to_owned(), message(6, "hi")].join("\n")),
            frame::server_text(&message(7, "hi")),
        ]
        .concat();
        for cut in 0..=stream.len() {
            let (mut incoming, mut reply) = (Incoming::default(), Vec::new());
            let first = incoming.accept(&stream[..cut], "hi", &mut reply).unwrap();
            let second = incoming.accept(&stream[cut..], "hi", &mut reply).unwrap();
            assert_eq!((first + second, incoming.is_joined()), (3, true), "cut at {cut}");
            assert_eq!(reply, frame::masked_text("{\"pong\":{}}"));
        }
    }

    #[test]
    fn a_missing_a_doubled_and_a_changed_message_are_errors() {
        for second in [
            message(5, "hi"),
            message(7, "hi"),
            message(6, "ho"),
            "{\"nack\":{}}".to_owned(),
        ] {
            let text = [message(5, "hi"), second].join("\n");
            let result = Incoming::default().accept(&frame::server_text(&text), "hi", &mut Vec::new());
            assert!(result.is_err(), "{text}");
        }
    }
}

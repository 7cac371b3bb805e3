//! The frames that a client of `talkback.v1` sends, and a receiver that checks that every member receives every message
//! once and in order.

use std::{collections::HashMap, fmt::Write};

use anyhow::{Context, Result, bail, ensure};

use crate::frame;

/// The path of sessions.
pub const PATH: &str = "/ws";
/// The subprotocol of sessions.
pub const SUBPROTOCOL: &str = "talkback.v1";

const FINAL_TEXT: u8 = 0x81;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

/// The frame with `hello` and `join` of client `number`.
#[must_use]
pub fn greeting(number: usize, user: &str, room: &str) -> Vec<u8> {
    let hello = hello_line(number, user);
    frame::masked_text(&format!("{hello}\n{{\"join\":{{\"room\":\"{room}\"}}}}"))
}

/// The frame with `hello` of client `number`, without a `join`.
#[must_use]
pub fn hello(number: usize) -> Vec<u8> {
    frame::masked_text(&hello_line(number, "bench"))
}

fn hello_line(number: usize, user: &str) -> String {
    format!("{{\"hello\":{{\"client\":\"{number:032x}\",\"name\":\"{user}\"}}}}")
}

/// A frame with a `publish` of `text` with the number `seq`.
#[must_use]
pub fn publish(room: &str, seq: u64, text: &str) -> Vec<u8> {
    publish_all([(room, seq)], text)
}

/// One frame with a `publish` of `text` for each of these rooms and numbers.
#[must_use]
pub fn publish_all(messages: impl IntoIterator<Item = (impl AsRef<str>, u64)>, text: &str) -> Vec<u8> {
    let mut lines = String::new();
    for (room, seq) in messages {
        if !lines.is_empty() {
            lines.push('\n');
        }
        // Writing to a string cannot fail.
        let _ = write!(
            lines,
            "{{\"publish\":{{\"room\":\"{}\",\"seq\":{seq},\"id\":\"{seq:016x}\",\"body\":\"{text}\"}}}}",
            room.as_ref()
        );
    }
    frame::masked_text(&lines)
}

/// The receiver of one session.
#[derive(Debug, Default)]
pub struct Incoming {
    /// The bytes of an incomplete frame.
    rest: Vec<u8>,
    /// The offset of the last message, if one has arrived.
    last: Option<u64>,
    /// The number of acknowledged messages.
    acked: u64,
    /// The last acknowledged number in each room: acknowledgements are in order for each room only.
    acked_in: HashMap<Box<str>, u64>,
    welcome: bool,
    joined: bool,
    /// The last number of users in the room that the server sent; earlier versions of the server send none.
    users: Option<u64>,
}

impl Incoming {
    /// Whether `welcome` has arrived.
    #[must_use]
    pub fn is_welcome(&self) -> bool {
        self.welcome
    }

    /// The last number of users in the room that the server sent.
    #[must_use]
    pub fn users(&self) -> Option<u64> {
        self.users
    }

    /// Whether `joined` has arrived.
    #[must_use]
    pub fn is_joined(&self) -> bool {
        self.joined
    }

    /// Checks `bytes` from the connection and returns how many messages with the body `text` they completed, or without
    /// a text how many acknowledgements. Pongs are appended to `reply`.
    ///
    /// # Errors
    /// When a message or an acknowledgement is missing, duplicate or wrong, or the server refuses something or closes.
    pub fn accept(&mut self, bytes: &[u8], text: Option<&str>, reply: &mut Vec<u8>) -> Result<u64> {
        let acked = self.acked;
        let messages = self.frames(bytes, text, reply)?;
        Ok(if text.is_some() { messages } else { self.acked - acked })
    }

    /// Returns the number of messages.
    fn frames(&mut self, bytes: &[u8], text: Option<&str>, reply: &mut Vec<u8>) -> Result<u64> {
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

    fn lines(&mut self, payload: &[u8], text: Option<&str>, reply: &mut Vec<u8>) -> Result<u64> {
        let mut messages = 0;
        for line in str::from_utf8(payload)?.split('\n') {
            if line.starts_with("{\"message\":") {
                self.message(line, text.context("a message came for a session that joined nothing")?)?;
                messages += 1;
            } else if line.starts_with("{\"ack\":") {
                self.acknowledged(line)?;
            } else if line.starts_with("{\"ping\":") {
                reply.extend(frame::masked_text("{\"pong\":{}}"));
            } else if line.starts_with("{\"joined\":") {
                self.joined = true;
                self.users = number(line, "\"users\":").ok();
            } else if line.starts_with("{\"presence\":") {
                self.users = number(line, "\"users\":").ok();
            } else if line.starts_with("{\"welcome\":") {
                self.welcome = true;
            } else {
                bail!("the server sent {line}");
            }
        }
        Ok(messages)
    }

    fn acknowledged(&mut self, line: &str) -> Result<()> {
        let seq = number(line, "\"seq\":")?;
        let room = line.split_once("\"room\":\"").map(|(_, after)| after);
        let room = room.and_then(|after| after.split('"').next());
        let room = room.with_context(|| format!("no room in {line}"))?;
        let last = match self.acked_in.get_mut(room) {
            Some(last) => last,
            None => self.acked_in.entry(room.into()).or_default(),
        };
        ensure!(
            seq == *last + 1,
            "after the acknowledgement of message {last} came that of {seq}"
        );
        *last = seq;
        self.acked += 1;
        Ok(())
    }

    fn message(&mut self, line: &str, text: &str) -> Result<()> {
        let offset = number(line, "\"offset\":")?;
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

/// The number after `key` in a line.
fn number(line: &str, key: &str) -> Result<u64> {
    let (_, after) = line.split_once(key).with_context(|| format!("no {key} in {line}"))?;
    let digits = after.split([',', '}']).next().unwrap_or_default();
    digits
        .parse()
        .with_context(|| format!("no number behind {key} in {line}"))
}

/// The first byte and the payload of a server's frame, and the bytes after it. `None` if the frame is incomplete.
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
            frame::server_text("{\"welcome\":{}}\n{\"joined\":{\"room\":\"bench\",\"users\":1}}"),
            frame::server_text("{\"presence\":{\"room\":\"bench\",\"users\":12,\"joined\":[]}}"),
            frame::server_text(&[message(5, "hi"), "{\"ping\":{}}".to_owned(), message(6, "hi")].join("\n")),
            frame::server_text(&message(7, "hi")),
        ]
        .concat();
        for cut in 0..=stream.len() {
            let (mut incoming, mut reply) = (Incoming::default(), Vec::new());
            let first = incoming.accept(&stream[..cut], Some("hi"), &mut reply).unwrap();
            let second = incoming.accept(&stream[cut..], Some("hi"), &mut reply).unwrap();
            assert_eq!((first + second, incoming.is_joined()), (3, true), "cut at {cut}");
            assert_eq!(
                (incoming.is_welcome(), incoming.users()),
                (true, Some(12)),
                "cut at {cut}"
            );
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
            let result = Incoming::default().accept(&frame::server_text(&text), Some("hi"), &mut Vec::new());
            assert!(result.is_err(), "{text}");
        }
    }

    #[test]
    fn acknowledgements_count_one_after_the_other_where_nothing_was_joined() {
        let ack = |seq: u64| {
            format!("{{\"ack\":{{\"room\":\"bench\",\"seq\":{seq},\"epoch\":\"5f\",\"offset\":9,\"at\":1}}}}")
        };
        let accept = |lines: &[String]| {
            Incoming::default().accept(&frame::server_text(&lines.join("\n")), None, &mut Vec::new())
        };
        assert_eq!(accept(&[ack(1), ack(2), ack(3)]).unwrap(), 3);
        assert!(accept(&[ack(1), ack(3)]).is_err(), "one is missing");
        assert!(accept(&[ack(1), ack(1)]).is_err(), "one is doubled");
        assert!(accept(&[message(1, "hi")]).is_err(), "nothing was joined");
        let other = ack(1).replace("bench", "other");
        assert_eq!(accept(&[ack(1), other.clone(), ack(2)]).unwrap(), 3, "two rooms");
        assert!(accept(&[ack(1), other.clone(), other]).is_err(), "one is doubled");
    }
}

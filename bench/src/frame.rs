//! Frames as a client writes and reads them ([RFC 6455, section
//! 5.2](https://www.rfc-editor.org/rfc/rfc6455#section-5.2)), with little work per message: frames to send are built
//! once, and received bytes are compared with the expected ones.

use anyhow::{Result, bail, ensure};

const FINAL_TEXT: u8 = 0x81;
const CONTROL_BIT: u8 = 0x08;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A text of `size` bytes, the same on every call.
#[must_use]
pub fn text(size: usize) -> String {
    ('a'..='z').cycle().take(size).collect()
}

/// `text` as a client sends it: one masked text frame.
#[must_use]
pub fn masked_text(text: &str) -> Vec<u8> {
    masked(FINAL_TEXT, text.as_bytes())
}

/// `text` as a server sends it: one unmasked text frame.
#[must_use]
pub fn server_text(text: &str) -> Vec<u8> {
    let mut frame = header(FINAL_TEXT, 0, text.len());
    frame.extend_from_slice(text.as_bytes());
    frame
}

pub(crate) fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = header(first, 0x80, payload.len());
    frame.extend_from_slice(&MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

fn header(first: u8, mask_bit: u8, length: usize) -> Vec<u8> {
    let mut header = vec![first];
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short), _) if short < 126 => header.push(mask_bit | short),
        (_, Ok(medium)) => {
            header.push(mask_bit | 126);
            header.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            header.push(mask_bit | 127);
            header.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    header
}

/// The receiver of one connection. It accepts copies of one expected message, with control frames between them.
#[derive(Debug, Default)]
pub struct Incoming {
    /// How many bytes of the expected frame have arrived.
    at: usize,
    /// The incomplete control frame.
    control: Vec<u8>,
}

impl Incoming {
    /// Checks `bytes` from the connection and returns how many copies of `expected` they completed. Pongs are appended
    /// to `reply`.
    ///
    /// # Errors
    /// When a byte differs from the expected one, or the server closes.
    pub fn accept(&mut self, mut bytes: &[u8], expected: &[u8], reply: &mut Vec<u8>) -> Result<u64> {
        let mut messages = 0;
        while let Some(&first) = bytes.first() {
            let control_starts = self.at == 0 && first & CONTROL_BIT != 0;
            if control_starts || !self.control.is_empty() {
                self.control.push(first);
                bytes = &bytes[1..];
                self.finish_control(reply)?;
                continue;
            }
            let length = bytes.len().min(expected.len() - self.at);
            let (arrived, rest) = bytes.split_at(length);
            ensure!(
                arrived == &expected[self.at..self.at + length],
                "the answer differs from the expected message: {:?} at byte {} of a frame",
                String::from_utf8_lossy(&arrived[..length.min(80)]),
                self.at,
            );
            bytes = rest;
            self.at += length;
            if self.at == expected.len() {
                self.at = 0;
                messages += 1;
            }
        }
        Ok(messages)
    }

    fn finish_control(&mut self, reply: &mut Vec<u8>) -> Result<()> {
        let [kind, length, payload @ ..] = self.control.as_slice() else {
            return Ok(());
        };
        if payload.len() < usize::from(*length) {
            return Ok(());
        }
        match *kind {
            PING => reply.extend(masked(PONG, payload)),
            CLOSE => bail!(
                "the server closed the connection: {:?}",
                String::from_utf8_lossy(payload)
            ),
            _ => {}
        }
        self.control.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_however_the_bytes_are_cut() {
        let expected = server_text(&text(300));
        let stream = [
            expected.clone(),
            vec![PING, 2, b'h', b'i'],
            expected.clone(),
            expected.clone(),
        ]
        .concat();
        for cut in 1..stream.len() {
            let (mut incoming, mut reply) = (Incoming::default(), Vec::new());
            let first = incoming.accept(&stream[..cut], &expected, &mut reply).unwrap();
            let second = incoming.accept(&stream[cut..], &expected, &mut reply).unwrap();
            assert_eq!(first + second, 3, "cut at {cut}");
            assert_eq!(reply, masked(PONG, b"hi"), "cut at {cut}");
        }
    }

    #[test]
    fn a_wrong_byte_a_wrong_length_and_a_close_are_errors() {
        let expected = server_text("hello");
        for wrong in [
            server_text("hellO"),
            server_text("hell"),
            server_text("hello!"),
            vec![CLOSE, 2, 0x03, 0xe8],
        ] {
            let stream = [wrong.clone(), expected.clone()].concat();
            let result = Incoming::default().accept(&stream, &expected, &mut Vec::new());
            assert!(result.is_err(), "{wrong:?} passed");
        }
    }

    #[test]
    fn lengths_take_the_shortest_of_the_three_forms() {
        let lengths = [0, 125, 126, 65_535, 65_536].map(|size| server_text(&text(size)).len() - size);
        assert_eq!(lengths, [2, 2, 4, 4, 10]);
        assert_eq!(masked_text("hello").len(), 2 + 4 + 5);
    }
}

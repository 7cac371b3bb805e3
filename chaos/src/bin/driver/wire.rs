//! What the lines on a connection show that the session hides from its application: refusals that it handles itself,
//! and offsets that do not follow each other.

use std::{borrow::Cow, collections::HashMap};

use serde::Deserialize;
use talkback_chaos::Event;

/// The offset that must come next in each room that is joined on a connection.
#[derive(Default)]
pub(crate) struct Wire(HashMap<String, u64>);

/// The fields of a server's line that are looked at; a line has one of them or another one.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    message: Option<Message<'a>>,
    #[serde(borrow)]
    joined: Option<Joined<'a>>,
    #[serde(borrow)]
    left: Option<Left<'a>>,
    #[serde(borrow)]
    nack: Option<Nack<'a>>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    room: Cow<'a, str>,
    offset: u64,
}

#[derive(Deserialize)]
struct Joined<'a> {
    #[serde(borrow)]
    room: Cow<'a, str>,
    after: u64,
}

#[derive(Deserialize)]
struct Left<'a> {
    #[serde(borrow)]
    room: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Nack<'a> {
    #[serde(borrow)]
    room: Cow<'a, str>,
    seq: u64,
    #[serde(borrow)]
    code: Cow<'a, str>,
    retry_after_ms: Option<u64>,
}

impl Wire {
    /// The records of a text that arrived. A line that cannot be read is the session's to refuse.
    pub(crate) fn read(&mut self, text: &str) -> Vec<Event> {
        let lines = text
            .split('\n')
            .filter_map(|line| serde_json::from_str::<Line<'_>>(line).ok());
        lines.filter_map(|line| self.line(line)).collect()
    }

    fn line(&mut self, line: Line<'_>) -> Option<Event> {
        if let Some(Message { room, offset }) = line.message {
            let expected = self.0.get(room.as_ref()).copied();
            if let Some(next) = self.0.get_mut(room.as_ref()) {
                *next = offset + 1;
            }
            return (expected != Some(offset)).then(|| Event::Gap {
                room: room.into_owned(),
                expected,
                offset,
            });
        }
        if let Some(Joined { room, after }) = line.joined {
            self.0.insert(room.into_owned(), after + 1);
        }
        if let Some(Left { room }) = line.left {
            self.0.remove(room.as_ref());
        }
        line.nack.map(|nack| Event::Nack {
            room: nack.room.into_owned(),
            seq: nack.seq,
            code: nack.code.into_owned(),
            retry_after_ms: nack.retry_after_ms,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(offset: u64) -> String {
        format!(r#"{{"message":{{"room":"a","offset":{offset},"from":{{"sender":"s","user":"u"}},"at":1,"body":1}}}}"#)
    }

    const JOINED: &str = r#"{"joined":{"room":"a","epoch":"e","head":9,"after":4,"recovered":true,"users":1}}"#;

    #[test]
    fn a_message_that_does_not_follow_the_one_before_is_a_gap() {
        let gap = |expected, offset| Event::Gap {
            room: "a".to_owned(),
            expected,
            offset,
        };
        let mut wire = Wire::default();
        assert_eq!(wire.read(&message(5)), [gap(None, 5)], "the room is not joined");
        let text = [JOINED.to_owned(), message(5), message(6)].join("\n");
        assert_eq!(wire.read(&text), []);
        assert_eq!(wire.read(&message(8)), [gap(Some(7), 8)]);
        assert_eq!(wire.read(&message(8)), [gap(Some(9), 8)]);
        assert_eq!(wire.read(r#"{"left":{"room":"a"}}"#), []);
        assert_eq!(wire.read(&message(9)), [gap(None, 9)]);
    }

    #[test]
    fn a_refusal_is_recorded_with_its_pause() {
        let line = r#"{"nack":{"room":"a","seq":3,"epoch":"e","code":"gap","message":"m","retry_after_ms":0}}"#;
        let nack = Event::Nack {
            room: "a".to_owned(),
            seq: 3,
            code: "gap".to_owned(),
            retry_after_ms: Some(0),
        };
        assert_eq!(Wire::default().read(line), [nack]);
    }
}

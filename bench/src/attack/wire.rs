//! The lines of `talkback.v1` that attackers and innocents send, and what they look for in those that come.

use std::str::FromStr;

use anyhow::bail;

/// Which shape of the lines a server takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// Before each message had an id of its own.
    Before,
    /// As docs/protocol.md says.
    Now,
}

impl FromStr for Wire {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> anyhow::Result<Self> {
        match name {
            "before" => Ok(Self::Before),
            "now" => Ok(Self::Now),
            _ => bail!("the wire is `before` or `now`"),
        }
    }
}

impl Wire {
    /// The name that `--wire` takes.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::Now => "now",
        }
    }

    pub(super) fn hello(self, client: u64, name: &str) -> String {
        format!(r#"{{"hello":{{"client":"{client:032x}","name":"{name}"}}}}"#)
    }

    pub(super) fn join(self, room: &str) -> String {
        format!(r#"{{"join":{{"room":"{room}"}}}}"#)
    }

    /// Joins and asks for everything after a place in the log.
    pub(super) fn join_since(self, room: &str, epoch: &str, offset: u64) -> String {
        format!(r#"{{"join":{{"room":"{room}","since":{{"epoch":"{epoch}","offset":{offset}}}}}}}"#)
    }

    pub(super) fn leave(self, room: &str) -> String {
        format!(r#"{{"leave":{{"room":"{room}"}}}}"#)
    }

    /// `id` belongs to the message: the same number with another one is another message.
    pub(super) fn publish(self, room: &str, seq: u64, first: bool, id: u64, body: &str) -> String {
        let first = if first { r#","first":true"# } else { "" };
        let id = match self {
            Self::Before => String::new(),
            Self::Now => format!(r#","id":"{id:016x}""#),
        };
        format!(r#"{{"publish":{{"room":"{room}","seq":{seq}{id}{first},"body":"{body}"}}}}"#)
    }

    pub(super) fn history(self, id: u64, room: &str, before: u64, limit: u32) -> String {
        let id = match self {
            Self::Before => String::new(),
            Self::Now => format!(r#""id":{id},"#),
        };
        format!(r#"{{"history":{{{id}"room":"{room}","before":{before},"limit":{limit}}}}}"#)
    }
}

/// A line of a kind that no version knows.
pub(super) const UNKNOWN: &str = r#"{"unheard_of":{}}"#;
pub(super) const PONG: &str = r#"{"pong":{}}"#;

/// Whether this line is of a kind.
pub(super) fn is(line: &str, kind: &str) -> bool {
    line.strip_prefix("{\"")
        .and_then(|line| line.strip_prefix(kind))
        .is_some_and(|line| line.starts_with("\":"))
}

/// The first number with this name in a line.
pub(super) fn number(line: &str, name: &str) -> Option<u64> {
    let value = after(line, name)?;
    let digits = value.find(|character: char| !character.is_ascii_digit());
    value[..digits.unwrap_or(value.len())].parse().ok()
}

/// The first string with this name in a line; none of those that are asked for has an escape.
pub(super) fn string<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    after(line, name)?.strip_prefix('"')?.split('"').next()
}

fn after<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let key = format!("\"{name}\":");
    let at = line.find(&key)?;
    Some(&line[at + key.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_in_lines() {
        let line = r#"{"ack":{"room":"r","seq":17,"epoch":"5f","offset":4}}"#;
        assert!(is(line, "ack") && !is(line, "nack") && !is(line, "ac"));
        assert_eq!((number(line, "seq"), number(line, "offset")), (Some(17), Some(4)));
        assert_eq!((string(line, "epoch"), number(line, "at")), (Some("5f"), None));
    }

    #[test]
    fn every_line_is_one_json_object_with_one_field() {
        for wire in [Wire::Before, Wire::Now] {
            for line in [
                wire.hello(1, "ann"),
                wire.join("r"),
                wire.join_since("r", "5f", 1),
                wire.leave("r"),
                wire.publish("r", 1, true, 7, "hi"),
                wire.publish("r", 2, false, 8, "hi"),
                wire.history(1, "r", 9, 100),
                UNKNOWN.to_owned(),
                PONG.to_owned(),
            ] {
                let value: serde_json::Value = serde_json::from_str(&line).unwrap();
                assert_eq!(value.as_object().unwrap().len(), 1, "{line}");
            }
        }
    }
}

//! The lines of `talkback.v1` that attackers and legitimate clients send, and reading fields of received lines. They
//! are strings and not the types of `talkback-protocol`, so that an attacker can send invalid lines, and an older
//! server can be attacked too.

pub(super) fn hello(client: u64, name: &str) -> String {
    format!(r#"{{"hello":{{"client":"{client:032x}","name":"{name}"}}}}"#)
}

pub(super) fn join(room: &str) -> String {
    format!(r#"{{"join":{{"room":"{room}"}}}}"#)
}

/// A join with a cursor.
pub(super) fn join_since(room: &str, epoch: &str, offset: u64) -> String {
    format!(r#"{{"join":{{"room":"{room}","since":{{"epoch":"{epoch}","offset":{offset}}}}}}}"#)
}

pub(super) fn leave(room: &str) -> String {
    format!(r#"{{"leave":{{"room":"{room}"}}}}"#)
}

/// A message is identified by its number `seq` and its `id`: the same number with another id is another message.
pub(super) fn publish(room: &str, seq: u64, first: bool, id: u64, body: &str) -> String {
    let first = if first { r#","first":true"# } else { "" };
    format!(r#"{{"publish":{{"room":"{room}","seq":{seq},"id":"{id:016x}"{first},"body":"{body}"}}}}"#)
}

pub(super) fn history(id: u64, room: &str, before: u64, limit: u32) -> String {
    format!(r#"{{"history":{{"id":{id},"room":"{room}","before":{before},"limit":{limit}}}}}"#)
}

/// A line of an unknown kind.
pub(super) const UNKNOWN: &str = r#"{"unheard_of":{}}"#;
pub(super) const PONG: &str = r#"{"pong":{}}"#;

/// Whether the line is of this kind.
pub(super) fn is(line: &str, kind: &str) -> bool {
    line.strip_prefix("{\"")
        .and_then(|line| line.strip_prefix(kind))
        .is_some_and(|line| line.starts_with("\":"))
}

/// The value of the first field with this name, if it is a number.
pub(super) fn number(line: &str, name: &str) -> Option<u64> {
    let value = after(line, name)?;
    let digits = value.find(|character: char| !character.is_ascii_digit());
    value[..digits.unwrap_or(value.len())].parse().ok()
}

/// The value of the first field with this name, if it is a string without escapes.
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
        for line in [
            hello(1, "ann"),
            join("r"),
            join_since("r", "5f", 1),
            leave("r"),
            publish("r", 1, true, 7, "hi"),
            publish("r", 2, false, 8, "hi"),
            history(1, "r", 9, 100),
            UNKNOWN.to_owned(),
            PONG.to_owned(),
        ] {
            let value: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert_eq!(value.as_object().unwrap().len(), 1, "{line}");
        }
    }
}

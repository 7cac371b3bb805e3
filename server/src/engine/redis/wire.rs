//! What the scripts are given and what they answer: keys, arguments, and messages as text.

use std::{fmt::Write, sync::Arc};

use redis::{Cmd, Value};
use sha2::{Digest, Sha256};
use talkback_protocol::{
    Body, ClientKey, Cursor, Epoch, Offset, PublishId, RoomName, SenderId, Seq, UserName,
    message::{Author, Message, Millis, Signal},
    session::server::Refusal,
};

use super::{
    super::{
        Append, AppendOutcome, DeletedRoom, KEY_REUSED, Limit, MessageId, Page, Place, Range, deleted_refusal, hash,
    },
    OVERHEAD, RedisOptions,
};

/// How many parts the rooms are divided into, by a hash of their name. The keys of one part have one hash tag, so that a
/// Redis Cluster keeps them in one slot. Changing it loses all logs.
pub(super) const PARTS: usize = 1024;
/// Earlier epochs of a log of which it is kept where they forked: as many lives of the data as a client may have missed
/// all messages of.
const FORKS: usize = 16;
/// Keys that Redis looks at in one call while all rooms are visited.
const SCANNED_AT_ONCE: usize = 1000;

/// The part of a room.
pub(super) fn part(room: &RoomName) -> usize {
    let part = hash(room) % PARTS as u64;
    usize::try_from(part).unwrap_or_default()
}

/// The names of keys and channels.
pub(super) struct Keys {
    prefix: String,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
        }
    }

    /// With what the keys of a part begin, among which their slot is.
    pub(super) fn tag(&self, part: usize) -> String {
        format!("{}:{{{part}}}", self.prefix)
    }

    fn key(&self, kind: &str, room: &RoomName) -> String {
        format!("{}:{kind}:{room}", self.tag(part(room)))
    }

    fn generation(&self, room: &RoomName) -> String {
        format!("{}:generation", self.tag(part(room)))
    }

    /// The channel on which the messages of a room are published.
    pub(super) fn channel(&self, room: &RoomName) -> String {
        self.key("live", room)
    }

    /// The room of a channel.
    pub(super) fn room_of(&self, channel: &[u8]) -> Option<RoomName> {
        self.room_of_key("live", channel)
    }

    /// The room of the key of a state.
    pub(super) fn room_of_state(&self, key: &[u8]) -> Option<RoomName> {
        self.room_of_key("state", key)
    }

    fn room_of_key(&self, kind: &str, key: &[u8]) -> Option<RoomName> {
        let rest = key.strip_prefix(self.prefix.as_bytes())?.strip_prefix(b":{")?;
        let (part, rest) = std::str::from_utf8(rest).ok()?.split_once("}:")?;
        part.parse::<u64>().ok()?;
        RoomName::parse(rest.strip_prefix(kind)?.strip_prefix(':')?).ok()
    }

    /// A pattern for the keys of all states, of which [`room_of_state`](Self::room_of_state) knows the right ones.
    fn states(&self) -> String {
        let mut pattern = String::new();
        for character in self.prefix.chars() {
            if "*?[]\\^".contains(character) {
                pattern.push('\\');
            }
            pattern.push(character);
        }
        pattern + ":{*}:state:*"
    }

    /// The channel on which servers hear each other, and each itself; in a cluster each master has one, in this part.
    pub(super) fn servers(&self, part: Option<usize>) -> String {
        format!("{}:servers", self.own(part))
    }

    /// With what the keys begin that are of no room.
    fn own(&self, part: Option<usize>) -> String {
        part.map_or_else(|| self.prefix.clone(), |part| self.tag(part))
    }

    /// The users that each server has in a room.
    pub(super) fn present(&self, room: &RoomName) -> String {
        self.key("present", room)
    }

    /// What a check of readiness writes.
    pub(super) fn checked(&self, part: Option<usize>) -> String {
        format!("{}:checked", self.own(part))
    }

    /// What is kept of a publisher: a client's key and the name of a request are kept as a hash.
    fn publisher(&self, room: &RoomName, id: &MessageId) -> String {
        match id {
            MessageId::Client { key, .. } => self.key(&format!("client:{}", hashed_key(key)), room),
            MessageId::Request { name, .. } => self.key(&format!("request:{}", hex(&Sha256::digest(&**name))), room),
            MessageId::None => self.key("none", room),
        }
    }
}

fn hashed_key(key: &ClientKey) -> String {
    let digest = Sha256::new()
        .chain_update("talkback client ")
        .chain_update(key.reveal())
        .finalize();
    hex(&digest[..16])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The texts of the scripts, with the bounds of the options.
pub(super) struct Scripts {
    pub(super) append: String,
    pub(super) read: String,
    pub(super) delete_room: String,
    pub(super) delete_messages: String,
}

impl Scripts {
    pub(super) fn new(options: &RedisOptions, is_sharded: bool) -> Self {
        let log = &options.log;
        let bounds = format!(
            "local IDLE, AGE, MESSAGES, BYTES, OUTCOMES, OVERHEAD, REQUEST_AGE = {}, {}, {}, {}, {}, {OVERHEAD}, {}\n\
             local FORKS = {FORKS}\n\
             local PUBLISH = '{}'\n",
            options.idle().as_millis().max(1000),
            log.age.as_millis(),
            log.messages.max(1),
            log.bytes.min(log.total_bytes),
            log.client_messages.max(1),
            log.request_age.as_millis().max(1),
            if is_sharded { "SPUBLISH" } else { "PUBLISH" },
        );
        let script = |text: &str| [&bounds, include_str!("log.lua"), text].join("\n");
        Self {
            append: script(include_str!("append.lua")),
            read: script(include_str!("read.lua")),
            delete_room: script(include_str!("delete_room.lua")),
            delete_messages: script(include_str!("delete_messages.lua")),
        }
    }
}

/// A connection's part of each call.
pub(super) struct History {
    /// `master_replid` of the process.
    pub(super) id: String,
    pub(super) append: String,
    pub(super) read: String,
    pub(super) delete_room: String,
    pub(super) delete_messages: String,
}

impl History {
    /// A call of one of the scripts, with the keys and arguments that all of them have.
    fn call(&self, script: &str, keys: &Keys, room: &RoomName) -> Cmd {
        let mut command = redis::cmd("EVALSHA");
        command
            .arg(script)
            .arg(3)
            .arg(keys.key("state", room))
            .arg(keys.key("log", room))
            .arg(keys.generation(room))
            .arg(&self.id)
            .arg(random());
        command
    }
}

/// An append as arguments.
pub(super) struct AppendCall {
    pub(super) append: Append,
    pub(super) may_make: bool,
    pub(super) is_full: bool,
}

impl AppendCall {
    pub(super) fn command(&self, keys: &Keys, history: &History) -> Cmd {
        let Append {
            room,
            id,
            from,
            content,
        } = &self.append;
        let mut command = redis::cmd("EVALSHA");
        command
            .arg(&history.append)
            .arg(4)
            .arg(keys.key("state", room))
            .arg(keys.key("log", room))
            .arg(keys.generation(room))
            .arg(keys.publisher(room, id))
            .arg(&history.id)
            .arg(random());
        let flag = |flag: bool| if flag { "1" } else { "0" };
        let (kind, seq, message_id, first) = match id {
            MessageId::Client { seq, id, first, .. } => ("c", seq.get(), format!("{:016x}", id.bits()), *first),
            MessageId::Request { digest, .. } => ("r", 0, hex(digest), false),
            MessageId::None => ("n", 0, String::new(), false),
        };
        let refusal = match content {
            Ok(_) => String::new(),
            Err(refusal) if refusal.retry_after.is_some() => "retry".to_owned(),
            Err(refusal) => format!("final{}\n{}", refusal.code, refusal.message),
        };
        command
            .arg(kind)
            .arg(flag(self.may_make))
            .arg(seq)
            .arg(message_id)
            .arg(flag(first))
            .arg(refusal)
            .arg(flag(self.is_full))
            .arg(
                content
                    .as_ref()
                    .map_or_else(|_| String::new(), |body| encode(from, id, body)),
            )
            .arg(keys.channel(room));
        command
    }
}

/// The answer to an append.
pub(super) struct Appended {
    /// Whether there is such a room now.
    pub(super) exists: bool,
    /// Whether this append made it.
    pub(super) is_made: bool,
    pub(super) result: AppendResult,
}

/// What an append came to.
pub(super) enum AppendResult {
    Outcome(AppendOutcome),
    /// A watcher has no capacity.
    Full(Epoch),
    /// The room would have been made.
    NotMade(Epoch),
}

/// Reads the answer to an append; `None` if it is none.
pub(super) fn appended(value: &Value, append: &Append) -> Option<Appended> {
    let Value::BulkString(bytes) = value else { return None };
    let text = std::str::from_utf8(bytes).ok()?;
    let (existence, text) = text.split_at_checked(1)?;
    let (letter, text) = text.split_at_checked(1)?;
    let (epoch, rest) = text.split_once(' ')?;
    let epoch = Epoch::parse(epoch).ok()?;
    let place = |epoch: &Epoch| {
        let (offset, at) = rest.split_once(' ')?;
        Some(Place {
            epoch: epoch.clone(),
            offset: offset_of(offset)?,
            at: at.parse().ok()?,
        })
    };
    let refused = |epoch, refusal| AppendOutcome::Refused {
        epoch: Some(epoch),
        refusal,
    };
    let appended = |result| Appended {
        exists: existence != "0",
        is_made: existence == "2",
        result,
    };
    let outcome = match letter {
        "A" => AppendOutcome::Added(place(&epoch)?),
        "D" => AppendOutcome::Duplicate(place(&epoch)?),
        "G" => AppendOutcome::Gap { epoch },
        "C" => AppendOutcome::Conflict { epoch },
        "F" => AppendOutcome::Forgotten { epoch },
        "K" => refused(
            epoch,
            Refusal::for_good(KEY_REUSED, "another request had this Idempotency-Key"),
        ),
        "R" => {
            let (code, message) = rest.split_once('\n')?;
            let refusal = Refusal {
                code: code.to_owned().into(),
                message: message.to_owned().into(),
                retry_after: None,
            };
            refused(epoch, refusal)
        }
        "X" => refused(epoch, deleted_refusal()),
        "T" => refused(epoch, append.content.as_ref().err()?.clone()),
        "B" => return Some(appended(AppendResult::Full(epoch))),
        "N" => return Some(appended(AppendResult::NotMade(epoch))),
        _ => return None,
    };
    Some(appended(AppendResult::Outcome(outcome)))
}

/// A read as a command. A watched room keeps its epoch and does not expire.
pub(super) fn read_command(
    keys: &Keys,
    history: &History,
    room: &RoomName,
    range: Range,
    limit: Limit,
    is_watched: bool,
) -> Cmd {
    let (which, offset) = match range {
        Range::After(offset) => ("a", offset),
        Range::Before(offset) => ("b", offset),
        Range::Newest => ("n", Offset::ZERO),
    };
    let mut command = history.call(&history.read, keys, room);
    command
        .arg(which)
        .arg(offset.get())
        .arg(limit.messages)
        .arg(limit.bytes.min(1 << 40))
        .arg(if is_watched { "1" } else { "0" });
    command
}

/// What a read came to.
pub(super) struct Read {
    pub(super) page: Page,
    /// Whether anything was added to the room.
    pub(super) exists: bool,
}

/// Reads the answer to a read; `None` if it is none.
pub(super) fn read(value: Value, room: &RoomName, range: Range) -> Option<Read> {
    let Value::Array(values) = value else { return None };
    let mut values = values.into_iter().map(|value| match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).ok(),
        _ => None,
    });
    let mut next = || values.next().flatten();
    let epoch = Epoch::parse(&next()?).ok()?;
    let forks = next()?;
    let forks = forks.split_whitespace().map(|fork| {
        let (epoch, offset) = fork.split_once(':')?;
        Some(Cursor {
            epoch: Epoch::parse(epoch).ok()?,
            offset: offset_of(offset)?,
        })
    });
    let forks = forks.collect::<Option<Vec<_>>>()?;
    let (head, floor) = (offset_of(&next()?)?, offset_of(&next()?)?);
    let exists = next()? == "1";
    let mut messages = Vec::new();
    while let Some(offset) = next() {
        let (at, text) = (next()?, next()?);
        messages.push(Arc::new(decode(room, offset_of(&offset)?, at.parse().ok()?, &text)?));
    }
    if !matches!(range, Range::After(_)) {
        messages.reverse();
    }
    Some(Read {
        page: Page {
            epoch,
            forks,
            head,
            floor,
            messages,
        },
        exists,
    })
}

/// The deletion of a room's messages as a command.
pub(super) fn delete_room_command(keys: &Keys, history: &History, room: &RoomName) -> Cmd {
    let mut command = history.call(&history.delete_room, keys, room);
    command.arg(keys.channel(room));
    command
}

/// Reads the answer to a deletion of a room; `None` if it is none.
pub(super) fn deleted_room(value: &Value) -> Option<DeletedRoom> {
    let Value::Array(values) = value else { return None };
    let [Value::BulkString(epoch), Value::BulkString(messages)] = &values[..] else {
        return None;
    };
    Some(DeletedRoom {
        epoch: Epoch::parse(std::str::from_utf8(epoch).ok()?).ok()?,
        messages: std::str::from_utf8(messages).ok()?.parse().ok()?,
    })
}

/// The deletion of a user's bodies in a room as a command.
pub(super) fn delete_messages_command(keys: &Keys, history: &History, room: &RoomName, user: &UserName) -> Cmd {
    let mut command = history.call(&history.delete_messages, keys, room);
    command.arg(&**user);
    command
}

/// The next keys after a cursor of Redis, those of states among them.
pub(super) fn scan_command(keys: &Keys, cursor: u64) -> Cmd {
    let mut command = redis::cmd("SCAN");
    command
        .arg(cursor)
        .arg("MATCH")
        .arg(keys.states())
        .arg("COUNT")
        .arg(SCANNED_AT_ONCE);
    command
}

/// With what the payload of a new epoch without a fork begins.
const RESTARTED: &str = "restarted ";

/// The epoch in which a room continues whose messages were deleted, and the newest of them; `None` if it is something
/// else.
pub(super) fn restarted(payload: &[u8]) -> Option<(Epoch, Offset)> {
    let text = std::str::from_utf8(payload.strip_prefix(RESTARTED.as_bytes())?).ok()?;
    let (epoch, head) = text.split_once(' ')?;
    Some((Epoch::parse(epoch).ok()?, offset_of(head)?))
}

/// With what the payload of a signal begins; that of a message begins with an epoch.
const SIGNAL: &str = "signal ";

/// A signal as it is published: the server that has its sender, then sender, user and body in a line each.
pub(super) fn encode_signal(server: u64, signal: &Signal) -> String {
    let Signal { from, body, .. } = signal;
    format!("{SIGNAL}{server:016x}\n{}\n{}\n{}", from.sender, from.user, body.json())
}

/// A signal and the server that has its sender; `None` if it is none.
pub(super) fn signal(room: &RoomName, payload: &[u8]) -> Option<(u64, Signal)> {
    let text = std::str::from_utf8(payload.strip_prefix(SIGNAL.as_bytes())?).ok()?;
    let mut lines = text.splitn(4, '\n');
    let server = u64::from_str_radix(lines.next()?, 16).ok()?;
    let from = Author {
        sender: SenderId::parse(lines.next()?).ok()?,
        user: UserName::parse(lines.next()?).ok()?,
    };
    Some((
        server,
        Signal {
            room: room.clone(),
            from,
            body: Body::from_json(lines.next()?).ok()?,
        },
    ))
}

/// With what the payload of the users of a server begins.
const PRESENT: &str = "present ";

/// A server as it is named in Redis.
pub(super) fn server_name(server: u64) -> String {
    format!("{server:016x}")
}

/// A server by its name.
pub(super) fn server_of(name: &str) -> Option<u64> {
    u64::from_str_radix(name, 16).ok()
}

/// Users in a line each.
pub(super) fn encode_users(users: &[UserName]) -> String {
    users.iter().map(|user| &**user).collect::<Vec<_>>().join("\n")
}

/// The users of [`encode_users`].
pub(super) fn decode_users(text: &str) -> Vec<UserName> {
    text.lines().filter_map(|user| UserName::parse(user).ok()).collect()
}

/// The users of a server as they are published.
pub(super) fn encode_present(server: u64, users: &str) -> String {
    format!("{PRESENT}{}\n{users}", server_name(server))
}

/// The users of a server; `None` if it is something else.
pub(super) fn present(payload: &[u8]) -> Option<(u64, Vec<UserName>)> {
    let text = std::str::from_utf8(payload.strip_prefix(PRESENT.as_bytes())?).ok()?;
    let (server, users) = text.split_once('\n')?;
    Some((server_of(server)?, decode_users(users)))
}

/// A message as it is published: its epoch, offset and time, then as it is stored.
pub(super) fn published(room: &RoomName, payload: &[u8]) -> Option<(Epoch, Message)> {
    let (head, text) = std::str::from_utf8(payload).ok()?.split_once('\n')?;
    let mut words = head.split(' ');
    let epoch = Epoch::parse(words.next()?).ok()?;
    let (offset, at) = (offset_of(words.next()?)?, words.next()?.parse().ok()?);
    Some((epoch, decode(room, offset, at, text)?))
}

/// A message as it is stored: sender, user, number and id, which may be empty, and body, in a line each. The body is last,
/// because it alone may have line ends; it is empty if it was deleted.
fn encode(from: &Author, id: &MessageId, body: &Body) -> String {
    let mut text = format!("{}\n{}\n", from.sender, from.user);
    if let Some((seq, id)) = id.number() {
        let _ = write!(text, "{}\n{:016x}", seq.get(), id.bits());
    } else {
        text.push('\n');
    }
    text.push('\n');
    text.push_str(body.json());
    text
}

/// The bytes that a message counts.
pub(super) fn weight(append: &Append) -> usize {
    let body = append.content.as_ref().map_or(0, |body| body.json().len());
    body + append.from.user.len() + append.from.sender.as_str().len() + 36 + OVERHEAD
}

fn decode(room: &RoomName, offset: Offset, at: Millis, text: &str) -> Option<Message> {
    let mut lines = text.splitn(5, '\n');
    let sender = SenderId::parse(lines.next()?).ok()?;
    let user = UserName::parse(lines.next()?).ok()?;
    let (seq, id, body) = (lines.next()?, lines.next()?, lines.next()?);
    let deleted = body.is_empty();
    Some(Message {
        room: room.clone(),
        offset,
        from: Author { sender, user },
        seq: (!seq.is_empty()).then(|| Seq::new(seq.parse().ok()?).ok()).flatten(),
        id: u64::from_str_radix(id, 16).ok().map(PublishId::from_random),
        at,
        deleted,
        body: if deleted {
            Body::null()
        } else {
            Body::from_json(body).ok()?
        },
    })
}

fn offset_of(text: &str) -> Option<Offset> {
    Offset::new(text.parse().ok()?).ok()
}

fn random() -> String {
    format!("{:016x}", fastrand::u64(..))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::conformance::{message, numbered, room};

    #[test]
    fn a_message_is_decoded_as_it_was_encoded_also_with_line_ends_in_its_body() {
        for append in [
            numbered("a", 1, 7),
            message("a", MessageId::None, "{\"a\":\n[1,\n2]}\n"),
        ] {
            let Ok(body) = &append.content else { unreachable!() };
            let text = encode(&append.from, &append.id, body);
            assert!(text.len() + OVERHEAD <= weight(&append));
            let payload = format!("00ff 12 34\n{text}");
            let (epoch, message) = published(&append.room, payload.as_bytes()).unwrap();
            assert_eq!(epoch.as_str(), "00ff");
            assert_eq!((message.offset.get(), message.at), (12, 34));
            assert_eq!((&message.from, &message.body), (&append.from, body));
            assert_eq!(message.seq.zip(message.id), append.id.number());
        }
    }

    #[test]
    fn a_channel_names_its_room_and_names_of_requests_are_hashed() {
        let keys = Keys::new("talkback");
        for name in ["lobby", "a}:live:b", "{x}", "好 :state:", "~u.1"] {
            let room = room(name);
            assert_eq!(keys.room_of(keys.channel(&room).as_bytes()), Some(room.clone()));
            assert_eq!(
                keys.room_of_state(keys.key("state", &room).as_bytes()),
                Some(room.clone())
            );
            assert_eq!(keys.room_of_state(keys.key("log", &room).as_bytes()), None);
        }
        assert_eq!(keys.room_of(keys.servers(None).as_bytes()), None);
        assert_eq!(keys.room_of(keys.servers(Some(5)).as_bytes()), None);
        assert_eq!(Keys::new("a*[b]").states(), "a\\*\\[b\\]:{*}:state:*");
        assert_eq!(keys.room_of(b"other:{1}:live:a"), None);
        // Names of requests may have any characters; the name of a room is last, and what is before it has a fixed form.
        let id = crate::engine::conformance::request("state:b", [0; 32]);
        assert!(keys.publisher(&room("b"), &id).len() > 80, "the name is hashed");
    }
}

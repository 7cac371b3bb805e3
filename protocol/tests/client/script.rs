//! A script of events and commands, and the transcript of what a client's session does with each.

use std::time::Duration;

use talkback_protocol::{
    Body, ClientKey, Cursor, Epoch, Moment, Offset, RoomName, UserName,
    session::client::{
        ClientOptions, ClientSession, DeliveryState, Input, Output, PageError, RoomEvent, Snapshot, Status, Tag,
    },
};

use crate::recording::{Direction, Recording};

pub const WELCOME: &str = r#"{"welcome":{"user":"ann","sender":"s1","heartbeat_ms":25000,"limits":{"text_bytes":1000,"text_lines":10,"body_bytes":100,"body_depth":8,"rooms":4,"in_flight":3,"page":10,"history":2,"lines_per_second":0,"lines_burst":0,"bytes_per_second":0,"bytes_burst":0,"sent_text_bytes":65536}}}"#;

pub struct Script {
    recording: Recording,
    pub session: ClientSession,
    pub now: Duration,
    /// The random bits of each input; the middle of the range by default.
    pub random: u64,
    /// What commands returned since the last drain.
    results: Vec<String>,
}

impl Script {
    pub fn new() -> Self {
        Self::with(ClientOptions::default())
    }

    pub fn with(config: ClientOptions) -> Self {
        Self::of(ClientSession::new(config, key()), Duration::ZERO)
    }

    pub fn restored(config: ClientOptions, snapshot: Snapshot, elapsed: Duration) -> Self {
        let now = Duration::from_secs(5);
        Self::of(ClientSession::restore(config, snapshot, elapsed, now), now)
    }

    pub fn of(session: ClientSession, now: Duration) -> Self {
        let random = u64::MAX / 2;
        Self {
            recording: Recording::default(),
            session,
            now,
            random,
            results: Vec::new(),
        }
    }

    /// A session that is open on connection 1.
    pub fn open() -> Self {
        Self::open_with(ClientOptions::default())
    }

    pub fn open_with(config: ClientOptions) -> Self {
        let mut script = Self::with(config);
        script.connect();
        script.input(Input::Opened { generation: 1 });
        script.received(1, WELCOME);
        script
    }

    /// A session that is open and a member of `lobby` from offset 5 on.
    pub fn joined() -> Self {
        let mut script = Self::open();
        script.join("lobby", None);
        script.received(1, &joined_line("e1", 5, true));
        script
    }

    pub fn put(&mut self, input: Input) {
        if let Input::Received { generation, text } = &input {
            self.recording.text(self.now, *generation, Direction::ToClient, text);
        }
        self.session.handle(self.moment(), input);
    }

    fn moment(&self) -> Moment {
        let (now, random) = (self.now, self.random);
        Moment { now, random }
    }

    /// The results of the commands since the last drain, and the outputs.
    pub fn drain(&mut self) -> Vec<String> {
        let mut lines = std::mem::take(&mut self.results);
        while let Some(output) = self.session.poll_output() {
            if let Output::Transmit { generation, text } = &output {
                self.recording.text(self.now, *generation, Direction::ToServer, text);
            }
            lines.push(line(&output));
        }
        lines
    }

    pub fn input(&mut self, input: Input) -> Vec<String> {
        self.put(input);
        self.drain()
    }

    pub fn received(&mut self, generation: u64, text: &str) -> Vec<String> {
        let text = text.to_owned();
        self.input(Input::Received { generation, text })
    }

    pub fn closed(&mut self, generation: u64, code: u16, reason: &str) -> Vec<String> {
        let reason = reason.to_owned();
        self.input(Input::Closed {
            generation,
            code,
            reason,
        })
    }

    pub fn join(&mut self, room: &str, since: Option<(&str, u64)>) -> Vec<String> {
        let since = since.map(|(epoch, offset)| Cursor {
            epoch: Epoch::parse(epoch).unwrap(),
            offset: Offset::new(offset).unwrap(),
        });
        self.session.join(self.moment(), name(room), since, None);
        self.drain()
    }

    pub fn address(&mut self, since: &[(&str, &str, u64)]) -> Vec<String> {
        let since = since.iter().map(|(room, epoch, offset)| {
            let (epoch, offset) = (Epoch::parse(epoch).unwrap(), Offset::new(*offset).unwrap());
            (name(room), Cursor { epoch, offset })
        });
        self.session.address(self.moment(), since.collect(), Some(9));
        self.drain()
    }

    pub fn leave_addressed(&mut self) -> Vec<String> {
        self.session.leave_addressed(self.moment());
        self.drain()
    }

    pub fn leave(&mut self, room: &str) -> Vec<String> {
        self.session.leave(self.moment(), &name(room));
        self.drain()
    }

    pub fn put_connect(&mut self) {
        self.session.connect(self.moment());
    }

    pub fn connect(&mut self) -> Vec<String> {
        self.put_connect();
        self.drain()
    }

    pub fn check(&mut self) -> Vec<String> {
        self.session.check(self.moment());
        self.drain()
    }

    pub fn stop(&mut self) -> Vec<String> {
        self.session.stop(self.moment());
        self.drain()
    }

    pub fn publish(&mut self, room: &str, tag: Tag) -> Vec<String> {
        self.put_publish(room, tag);
        self.drain()
    }

    pub fn publish_body(&mut self, room: &str, body: Body, tag: Tag) -> Vec<String> {
        self.put_body(room, body, tag);
        self.drain()
    }

    pub fn put_publish(&mut self, room: &str, tag: Tag) {
        self.put_body(room, Body::of(&tag).unwrap(), tag);
    }

    /// The tag of a message is its id too.
    pub fn put_body(&mut self, room: &str, body: Body, tag: Tag) {
        let moment = Moment {
            random: tag,
            ..self.moment()
        };
        let state = match self.session.publish(moment, name(room), body, tag) {
            Ok(()) => DeliveryState::Queued,
            Err(reason) => DeliveryState::Failed(reason),
        };
        self.results.push(delivery(tag, &state));
    }

    pub fn signal(&mut self, room: &str, body: Body) -> Vec<String> {
        self.session.signal(self.moment(), name(room), body);
        self.drain()
    }

    /// Asks for five messages of `lobby`.
    pub fn history(&mut self, before: u64, tag: Tag) -> Vec<String> {
        let before = Offset::new(before).unwrap();
        let asked = self.session.history(self.moment(), name("lobby"), before, 5, tag);
        self.results.extend(asked.err().map(|error| no_page(tag, &error)));
        self.drain()
    }

    /// Asks for the users of `lobby` with this part of a name.
    pub fn find(&mut self, part: &str, tag: Tag) -> Vec<String> {
        let part = UserName::parse(part).ok();
        let asked = self.session.find(self.moment(), name("lobby"), part, tag);
        self.results
            .extend(asked.err().map(|error| format!("found {tag}: {error}")));
        self.drain()
    }

    /// Advances the clock without an input.
    pub fn pass(&mut self, milliseconds: u64) {
        self.now += Duration::from_millis(milliseconds);
    }

    /// Advances the clock and fires timers that are due.
    pub fn wait(&mut self, milliseconds: u64) -> Vec<String> {
        let end = self.now + Duration::from_millis(milliseconds);
        let mut lines = Vec::new();
        while let Some(at) = self.session.next_timeout().filter(|at| *at <= end) {
            assert!(at >= self.now, "a timer in the past");
            self.now = at;
            lines.extend(self.input(Input::Tick));
        }
        self.now = end;
        lines
    }

    /// From the close of a connection to the next attempt, in milliseconds.
    pub fn wait_for_attempt(&mut self) -> u128 {
        let start = self.now;
        while !self.wait(1).iter().any(|line| line.starts_with("connect")) {
            assert!(
                self.now < start + Duration::from_secs(3600),
                "no attempt within an hour"
            );
        }
        (self.now - start).as_millis()
    }
}

pub fn key() -> ClientKey {
    "00112233445566778899aabbccddeeff".parse().unwrap()
}

pub fn name(room: &str) -> RoomName {
    RoomName::parse(room).unwrap()
}

/// A message of `lobby` that was published with this tag, and a body that is the tag.
pub fn publish_line(seq: u64, first: bool, tag: u64) -> String {
    let first = if first { r#","first":true"# } else { "" };
    format!(r#"{{"publish":{{"room":"lobby","seq":{seq},"id":"{tag:016x}"{first},"body":{tag}}}}}"#)
}

/// The withdrawal of the same message.
pub fn withdraw_line(seq: u64, first: bool, tag: u64) -> String {
    let first = if first { r#","first":true"# } else { "" };
    format!(r#"{{"withdraw":{{"room":"lobby","seq":{seq},"id":"{tag:016x}"{first}}}}}"#)
}

pub fn ack(seq: u64, offset: u64) -> String {
    ack_in("lobby", seq, offset)
}

pub fn ack_in(room: &str, seq: u64, offset: u64) -> String {
    format!(r#"{{"ack":{{"room":"{room}","seq":{seq},"epoch":"e1","offset":{offset},"at":1}}}}"#)
}

pub fn nack(seq: u64, code: &str, retry_after_ms: Option<u64>) -> String {
    let retry = retry_after_ms.map_or(String::new(), |pause| format!(r#","retry_after_ms":{pause}"#));
    format!(r#"{{"nack":{{"room":"lobby","seq":{seq},"code":"{code}","message":"no {code}"{retry}}}}}"#)
}

pub fn joined_line(epoch: &str, after: u64, recovered: bool) -> String {
    format!(
        r#"{{"joined":{{"room":"lobby","epoch":"{epoch}","head":{after},"after":{after},"recovered":{recovered},"users":1,"members":[{{"user":"ann"}}]}}}}"#
    )
}

pub fn message_line(offset: u64) -> String {
    format!(
        r#"{{"message":{{"room":"lobby","offset":{offset},"from":{{"sender":"s2","user":"bob"}},"at":1,"body":{offset}}}}}"#
    )
}

/// An output on one line, short enough to read in a test.
fn line(output: &Output) -> String {
    match output {
        Output::Connect { generation } => format!("connect {generation}"),
        Output::Transmit { generation, text } => format!("{generation} -> {}", text.replace('\n', " + ")),
        Output::Disconnect {
            generation,
            code,
            reason,
        } => format!("disconnect {generation} {code} {reason}"),
        Output::TokenWanted => "token wanted".to_owned(),
        Output::KeyWanted => "key wanted".to_owned(),
        Output::Save => "save".to_owned(),
        Output::OutboxHasCapacity => "outbox has capacity".to_owned(),
        Output::Status(Status::Open { user, sender }) => format!("open as {user} {sender}"),
        Output::Status(Status::Waiting { attempt, until, cause }) => {
            format!("waiting {attempt} until {} because {}", until.as_millis(), cause.code)
        }
        Output::Status(status) => format!("{status:?}"),
        Output::Room { room, event } => match event {
            RoomEvent::Joined(joined) => format!("{room}: joined after {}", joined.after),
            RoomEvent::Recovered(joined) => format!("{room}: recovered after {}", joined.after),
            RoomEvent::Reset(joined) => format!("{room}: reset after {}", joined.after),
            RoomEvent::Message { message, own } => {
                let whose = if *own { "own " } else { "" };
                format!("{room}: {whose}{} {}", message.offset, message.body.json())
            }
            RoomEvent::Lost { epoch, offsets } => {
                let offsets: Vec<_> = offsets.iter().map(|offset| offset.get()).collect();
                format!("{room}: lost {offsets:?} of {epoch}")
            }
            RoomEvent::Refused { code, .. } => format!("{room}: refused {code}"),
            event => format!("{room}: {event:?}"),
        },
        Output::NotAddressed { code, .. } => format!("not addressed: {code}"),
        Output::Delivery { tag, state } => delivery(*tag, state),
        Output::Page { tag, result } => match result {
            Ok(page) => format!("page {tag}: {} messages, more: {}", page.messages.len(), page.more),
            Err(error) => no_page(*tag, error),
        },
        Output::Found { tag, result } => match result {
            Ok(found) => {
                let names: Vec<_> = found.members.iter().map(|member| &*member.user).collect();
                format!("found {tag}: {names:?}, more: {}", found.more)
            }
            Err(error) => format!("found {tag}: {error}"),
        },
        Output::Fault { code, .. } => format!("fault {code}"),
    }
}

fn delivery(tag: Tag, state: &DeliveryState) -> String {
    match state {
        DeliveryState::Acked { offset, .. } => format!("{tag} acked {offset}"),
        DeliveryState::Failed(reason) => format!("{tag} failed: {reason}"),
        state => format!("{tag} {state:?}"),
    }
}

fn no_page(tag: Tag, error: &PageError) -> String {
    format!("page {tag}: {error}")
}

//! A script of inputs to a server's session, and the transcript of its outputs.

use std::{sync::Arc, time::Duration};

use talkback_protocol::{
    Epoch, Moment, Offset, RequestId, RoomName, Seq, UserName,
    codec::{MemberList, MessageLine},
    message::{Member, Message},
    session::server::{
        Allowance, AppendOutcome, Denied, FoundMembers, Identity, Input, Output, PageLines, Place, Refusal,
        ServerOptions, ServerSession, Subscription,
    },
};

use crate::recording::{Direction, Recording};

pub const HELLO: &str = r#"{"hello":{"client":"00112233445566778899aabbccddeeff","name":"ann"}}"#;

pub struct Script {
    recording: Recording,
    pub session: ServerSession,
    pub now: Duration,
}

impl Script {
    pub fn new() -> Self {
        Self::with(config())
    }

    pub fn with(config: ServerOptions) -> Self {
        Self {
            recording: Recording::default(),
            session: ServerSession::new(Arc::new(config), Duration::ZERO),
            now: Duration::ZERO,
        }
    }

    /// A session after `welcome`.
    pub fn open() -> Self {
        Self::open_with(config())
    }

    /// A session after `welcome`, with the allowance of a connection that ended before this time.
    pub fn open_again(config: ServerOptions, allowance: Allowance, ago: Duration) -> (Self, Vec<String>) {
        let mut script = Self::with(config);
        script.received(HELLO);
        let outputs = script.input(Input::Identified(Ok(Identity {
            user: UserName::parse("ann").unwrap(),
            expires: None,
            allowance: Some((allowance, ago)),
        })));
        (script, outputs)
    }

    pub fn open_with(config: ServerOptions) -> Self {
        let mut script = Self::with(config);
        script.received(HELLO);
        script.identified("ann", None);
        script
    }

    pub fn put(&mut self, input: Input) {
        let (now, random) = (self.now, 0);
        if let Input::Received { text } = &input {
            self.recording.text(now, 1, Direction::ToServer, text);
        }
        self.session.handle(Moment { now, random }, input);
    }

    pub fn drain(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(output) = self.session.poll_output() {
            if let Output::Transmit(text) = &output {
                self.recording.text(self.now, 1, Direction::ToClient, text);
            }
            lines.push(line(&output));
        }
        lines
    }

    pub fn input(&mut self, input: Input) -> Vec<String> {
        self.put(input);
        self.drain()
    }

    pub fn received(&mut self, text: &str) -> Vec<String> {
        let text = text.to_owned();
        self.input(Input::Received { text })
    }

    pub fn identified(&mut self, user: &str, expires: Option<Duration>) -> Vec<String> {
        let user = UserName::parse(user).unwrap();
        self.input(Input::Identified(Ok(Identity {
            user,
            expires,
            allowance: None,
        })))
    }

    pub fn denied(&mut self, code: u16, reason: &str) -> Vec<String> {
        let reason = reason.to_owned();
        self.input(Input::Identified(Err(Denied { code, reason })))
    }

    /// Answers a subscription with head 9 and the messages 6 to 5 + `messages`.
    pub fn subscribed(&mut self, id: u64, messages: u64) -> Vec<String> {
        self.subscribed_with(id, messages, |_| ())
    }

    pub fn subscribed_with(&mut self, id: u64, messages: u64, change: impl FnOnce(&mut Subscription)) -> Vec<String> {
        let mut subscription = Subscription {
            epoch: epoch(),
            head: offset(9),
            after: offset(5),
            recovered: true,
            fork: None,
            users: 0,
            members: Some(MemberList::encode(&[])),
            messages: (6..6 + messages).map(message).collect(),
        };
        change(&mut subscription);
        let result = Ok(subscription);
        self.input(Input::Subscribed { id, result })
    }

    pub fn put_appended(&mut self, seq: u64, outcome: AppendOutcome) {
        self.put_appended_in("lobby", seq, outcome);
    }

    pub fn put_appended_in(&mut self, room: &str, seq: u64, outcome: AppendOutcome) {
        let (room, seq) = (name(room), Seq::new(seq).unwrap());
        self.put(Input::Appended { room, seq, outcome });
    }

    pub fn appended(&mut self, seq: u64, outcome: AppendOutcome) -> Vec<String> {
        self.put_appended(seq, outcome);
        self.drain()
    }

    pub fn page(&mut self, id: u64, messages: u64) -> Vec<String> {
        self.page_of(id, messages, true)
    }

    pub fn page_of(&mut self, id: u64, messages: u64, more: bool) -> Vec<String> {
        let result = Ok(PageLines {
            epoch: epoch(),
            messages: (1..=messages).map(message).collect(),
            more,
        });
        let (id, room) = (request(id), name("lobby"));
        self.input(Input::PageRead { id, room, result })
    }

    pub fn found(&mut self, id: u64, names: &[&str], more: bool) -> Vec<String> {
        let member = |name: &&str| Member {
            user: UserName::parse(name).unwrap(),
        };
        let members = names.iter().map(member).collect();
        let (id, room) = (request(id), name("lobby"));
        let result = Ok(FoundMembers { members, more });
        self.input(Input::Found { id, room, result })
    }

    /// Advances the clock by this time and fires each timer that is due.
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
}

/// Small limits, and no rate limit.
pub fn config() -> ServerOptions {
    let mut config = ServerOptions {
        transmit_bytes: 1000,
        ..ServerOptions::default()
    };
    config.limits.lines_per_second = 0;
    config.limits.bytes_per_second = 0;
    config.limits.body_depth = 3;
    config.limits.history = 1;
    config.limits.body_bytes = 20;
    config.limits.text_bytes = 500;
    config.limits.text_lines = 8;
    config.limits.rooms = 2;
    config.limits.in_flight = 2;
    config.limits.page = 3;
    config
}

pub fn name(room: &str) -> RoomName {
    RoomName::parse(room).unwrap()
}

pub fn epoch() -> Epoch {
    Epoch::parse("e1").unwrap()
}

pub fn request(number: u64) -> RequestId {
    RequestId::new(number).unwrap()
}

pub fn offset(number: u64) -> Offset {
    Offset::new(number).unwrap()
}

pub fn done(number: u64) -> AppendOutcome {
    AppendOutcome::Added(Place {
        epoch: epoch(),
        offset: offset(number),
        at: 1,
    })
}

pub fn later() -> Refusal {
    Refusal::later("unavailable", "later", Duration::from_millis(70))
}

pub fn message_line(offset: u64) -> String {
    format!(
        r#"{{"message":{{"room":"lobby","offset":{offset},"from":{{"sender":"s2","user":"bob"}},"at":1,"body":{offset}}}}}"#
    )
}

fn message(offset: u64) -> MessageLine {
    let line = message_line(offset);
    let object = &line[r#"{"message":"#.len()..line.len() - 1];
    let message: Message = serde_json::from_str(object).unwrap();
    MessageLine::encode(&message)
}

/// An output as one short line.
fn line(output: &Output) -> String {
    match output {
        Output::Transmit(text) => format!("-> {}", text.replace('\n', " + ")),
        Output::Identify { token, name, .. } => format!("identify {token:?} {:?}", name.as_deref()),
        Output::Append {
            room,
            seq,
            id,
            first,
            from,
            content,
            ..
        } => match content {
            Ok(body) => {
                let first = if *first { " first" } else { "" };
                format!("append {room} {seq} {id}{first} from {} {}", from.user, body.json())
            }
            Err(refusal) => format!("settle {room} {seq} {id} {}", refusal.code),
        },
        Output::Subscribe {
            id,
            room,
            since,
            history,
        } => {
            let since = since.as_ref().map(|since| since.offset.get());
            format!("subscribe {id} {room} since {since:?} history {history}")
        }
        Output::Address => "address".to_owned(),
        Output::Live { id, room, after } => format!("live {id} {room} after {after}"),
        Output::Unsubscribe { id, room } => format!("unsubscribe {id} {room}"),
        Output::ReadPage {
            id,
            room,
            before,
            limit,
        } => format!("read {id} {room} before {before} limit {limit}"),
        Output::Find { id, room, name } => format!("find {id} {room} {}", name.as_deref().unwrap_or("any name")),
        Output::Signal { room, from, body } => format!("signal {room} from {} {}", from.user, body.json()),
        Output::Pause { until } => format!("pause until {}", until.as_millis()),
        Output::Close { code, reason } => format!("close {code} {reason}"),
    }
}

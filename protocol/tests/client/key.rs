//! Two sessions with one key: copies of a stored outbox, and what a session does when it detects the other one.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use talkback_protocol::{
    Body, ClientKey, ClientLine, Epoch, Moment, Offset, PublishId, RoomName, SenderId, Seq, ServerLine, UserName,
    codec,
    codec::TextLimits,
    message::{Ack, Forgotten, Limits, Nack, Welcome, code},
    session::client::{ClientOptions, ClientSession, DeliveryState, FailReason, Input, Output, Snapshot},
};

use super::script::{Script, WELCOME, ack, joined_line, key, message_line, nack, name, publish_line};
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

fn kept() -> ClientOptions {
    ClientOptions {
        keep: true,
        ..ClientOptions::default()
    }
}

fn other_key() -> ClientKey {
    ClientKey::from_random([9; 16])
}

#[test]
fn a_conflict_fails_unconfirmed_messages_and_sends_the_others_with_a_new_key_after_it_is_stored() {
    let mut script = Script::open_with(kept());
    for tag in 1..=5 {
        script.publish("lobby", tag);
    }
    script.join("lobby", None);
    script.received(1, &joined_line("e1", 5, true));
    script.received(1, &message_line(6));
    let lines = script.received(1, &format!("{}\n{}", nack(1, "conflict", None), ack(2, 7)));
    assert_eq!(
        lines[..],
        [
            "disconnect 1 1000 another client uses the key of this one: a new one is taken",
            "1 failed: the message was sent, but the server did not confirm it in time; it may have arrived",
            "2 failed: the message was sent, but the server did not confirm it in time; it may have arrived",
            "3 failed: the message was sent, but the server did not confirm it in time; it may have arrived",
            "key wanted",
            "waiting 1 until 249 because 1000",
        ]
    );
    assert_eq!(script.wait(300), ["Connecting", "save"], "no connection without a key");
    assert_eq!(script.connect(), [""; 0]);
    assert_eq!(script.input(Input::Key(other_key())), ["save", "connect 2"]);
    let hello = script.input(Input::Opened { generation: 2 });
    assert!(hello[0].contains(&other_key().reveal()), "{hello:?}");
    let lines = script.received(2, &WELCOME.replace("s1", "s9"));
    assert_eq!(
        lines[2],
        format!(
            "2 -> {} + {} + {}",
            r#"{"join":{"room":"lobby","since":{"epoch":"e1","offset":6}}}"#,
            publish_line(1, true, 4),
            publish_line(2, false, 5)
        )
    );
    assert_eq!(script.session.snapshot().key, other_key());
    assert_eq!(script.input(Input::Key(key())), [""; 0], "nobody asked");
    assert_eq!(script.session.snapshot().key, other_key());
    // Only messages with the current key are own messages.
    script.received(2, &joined_line("e1", 6, true));
    let old = message_line(7).replace(r#""sender":"s2""#, r#""sender":"s1""#);
    assert_eq!(script.received(2, &old), ["lobby: 7 7"]);
    let new = message_line(8).replace(r#""sender":"s2""#, r#""sender":"s9""#);
    assert_eq!(script.received(2, &new), ["lobby: own 8 8"]);
}

#[test]
fn a_key_that_comes_during_the_pause_does_not_shorten_it() {
    let mut script = Script::open_with(kept());
    script.publish("lobby", 1);
    script.received(1, &nack(1, "conflict", None));
    assert_eq!(script.input(Input::Key(other_key())), ["save"]);
    assert_eq!(script.wait(249), [""; 0]);
    assert_eq!(script.wait(1), ["Connecting", "connect 2"]);
}

#[test]
fn a_key_whose_numbers_the_log_has_passed_is_replaced_once_all_messages_are_answered() {
    let mut script = Script::open();
    for tag in 1..=4 {
        script.publish("lobby", tag);
    }
    let forgotten = |seq| format!(r#"{{"forgotten":{{"room":"lobby","seq":{seq},"epoch":"e1"}}}}"#);
    let lines = script.received(1, &forgotten(1));
    assert_eq!(lines.len(), 1, "nothing gets a number any more: {lines:?}");
    assert!(lines[0].contains("it may have arrived"));
    script.received(1, &ack(2, 7));
    let lines = script.received(1, &ack(3, 8));
    assert_eq!(lines[0], "3 acked 8");
    assert_eq!(lines[2], "key wanted");
    script.input(Input::Key(other_key()));
    script.wait_for_attempt();
    script.input(Input::Opened { generation: 2 });
    assert!(script.received(2, WELCOME)[1].contains(&publish_line(1, true, 4)));
}

/// A log that keeps the outcomes of the last eight numbers of each key, as engines must.
#[derive(Default)]
struct Log {
    bodies: Vec<Body>,
    keys: BTreeMap<ClientKey, Vec<(PublishId, Offset)>>,
}

impl Log {
    const MEMORY: usize = 8;

    fn take(&mut self, key: ClientKey, seq: Seq, id: PublishId, first: bool, body: Option<Body>) -> ServerLine {
        let (room, epoch, at) = (name("lobby"), Epoch::from_random(1), 1);
        let index = usize::try_from(seq.get()).unwrap() - 1;
        let known = self.keys.entry(key).or_default();
        let nack = |code: &str, retry_after_ms| {
            let (room, code, message) = (name("lobby"), code.to_owned(), String::new());
            let epoch = Some(Epoch::from_random(1));
            ServerLine::Nack(Nack {
                room,
                seq,
                epoch,
                code,
                message,
                retry_after_ms,
            })
        };
        if index + Self::MEMORY < known.len() {
            return ServerLine::Forgotten(Forgotten { room, seq, epoch });
        }
        match known.get(index) {
            Some((other, _)) if *other != id => nack(code::CONFLICT, None),
            Some((_, offset)) if *offset == Offset::ZERO => nack(code::WITHDRAWN, None),
            Some((_, offset)) => ServerLine::Ack(Ack {
                room,
                seq,
                epoch,
                offset: *offset,
                at,
            }),
            None if index > known.len() && !first => nack(code::GAP, Some(0)),
            None => {
                let offset = body
                    .as_ref()
                    .map_or(Offset::ZERO, |_| Offset::new(self.bodies.len() as u64 + 1).unwrap());
                // The numbers that a jump leaves out belong to no message.
                known.resize(index, (PublishId::from_random(u64::MAX), Offset::ZERO));
                known.push((id, offset));
                let Some(body) = body else {
                    return nack(code::WITHDRAWN, None);
                };
                self.bodies.push(body);
                ServerLine::Ack(Ack {
                    room,
                    seq,
                    epoch,
                    offset,
                    at,
                })
            }
        }
    }
}

/// A tab with a stored session, on a network without faults.
struct Tab {
    session: ClientSession,
    now: Duration,
    random: u64,
    generation: Option<u64>,
    greeted: Option<ClientKey>,
    stored: Snapshot,
    states: BTreeMap<u64, (Body, Vec<DeliveryState>)>,
}

impl Tab {
    fn new(config: ClientOptions) -> Self {
        Self::of(ClientSession::new(config, key()), 1)
    }

    /// A page that was loaded with this record. The tags of its messages are the numbers in their bodies.
    fn with(snapshot: &Snapshot, random: u64) -> Self {
        let text = serde_json::to_string(snapshot).unwrap();
        let snapshot: Snapshot = serde_json::from_str(&text).unwrap();
        let session = ClientSession::restore(kept(), snapshot.clone(), Duration::ZERO, Duration::ZERO);
        let mut tab = Self::of(session, random);
        for message in snapshot.rooms.into_iter().flat_map(|room| room.pending) {
            if let (Some(tag), Some(body)) = (message.tag, message.body) {
                tab.states.insert(tag, (body, Vec::new()));
            }
        }
        tab
    }

    fn of(session: ClientSession, random: u64) -> Self {
        let stored = session.snapshot();
        let (now, generation, greeted) = (Duration::ZERO, None, None);
        Self {
            session,
            now,
            random,
            generation,
            greeted,
            stored,
            states: BTreeMap::new(),
        }
    }

    fn input(&mut self, input: Input) {
        let moment = self.moment();
        self.session.handle(moment, input);
    }

    fn connect(&mut self) {
        let moment = self.moment();
        self.session.connect(moment);
    }

    fn moment(&mut self) -> Moment {
        self.random += 1 << 32;
        Moment {
            now: self.now,
            random: self.random,
        }
    }

    fn publish(&mut self, tag: u64) {
        // Tabs that share a key send different messages.
        let body = Body::of(&(self.random & u64::from(u32::MAX), tag)).unwrap();
        self.states.insert(tag, (body.clone(), Vec::new()));
        let moment = self.moment();
        self.session.publish(moment, name("lobby"), body, tag).unwrap();
    }

    /// Runs until there are no outputs; pauses end at once.
    fn settle(&mut self, log: &mut Log) {
        for _ in 0..1_000 {
            let Some(output) = self.session.poll_output() else {
                let waits = |states: &[DeliveryState]| !states.last().is_some_and(DeliveryState::is_final);
                if !self.states.values().any(|(_, states)| waits(states)) {
                    return;
                }
                self.now = self.now.max(self.session.next_timeout().unwrap());
                self.input(Input::Tick);
                continue;
            };
            match output {
                Output::Connect { generation } => {
                    self.generation = Some(generation);
                    self.input(Input::Opened { generation });
                }
                Output::Disconnect { .. } => (self.generation, self.greeted) = (None, None),
                Output::Transmit { generation, text } if self.generation == Some(generation) => {
                    let text = self.answers(log, &text);
                    self.input(Input::Received { generation, text });
                }
                Output::KeyWanted => {
                    let mut bytes = [3; 16];
                    bytes[..8].copy_from_slice(&self.random.to_be_bytes());
                    self.input(Input::Key(ClientKey::from_random(bytes)));
                }
                Output::Save => self.stored = self.session.snapshot(),
                Output::Delivery { tag, state } => self.states.get_mut(&tag).unwrap().1.push(state),
                _ => {}
            }
        }
        panic!("no end of outputs: {:?}", self.states);
    }

    fn answers(&mut self, log: &mut Log, text: &str) -> String {
        let limits = TextLimits {
            bytes: 10_000,
            lines: 100,
        };
        let mut answers = String::new();
        for frame in codec::decode::<ClientLine>(text, limits).unwrap() {
            let answer = match frame {
                ClientLine::Hello(hello) => {
                    self.greeted = Some(hello.client);
                    ServerLine::Welcome(welcome(hello.client.sender()))
                }
                ClientLine::Publish(line) => {
                    assert_eq!(self.stored.key, self.greeted.unwrap(), "stored before it is used");
                    log.take(self.greeted.unwrap(), line.seq, line.id, line.first, Some(line.body))
                }
                ClientLine::Withdraw(line) => log.take(self.greeted.unwrap(), line.seq, line.id, line.first, None),
                _ => continue,
            };
            codec::write_line(&mut answers, &answer);
        }
        answers
    }

    /// Checks the last states of its messages. Returns how many are certainly in the log.
    fn check(&self, log: &Log) -> usize {
        let mut acked = 0;
        for (tag, (body, states)) in &self.states {
            let ends = states.iter().filter(|state| state.is_final()).count();
            assert_eq!(ends, 1, "message {tag} was told {states:?}");
            match states.last() {
                Some(DeliveryState::Acked { offset, .. }) => {
                    acked += 1;
                    let index = usize::try_from(offset.get()).unwrap() - 1;
                    assert_eq!(log.bodies[index], *body, "message {tag} was acked where another one is");
                }
                Some(DeliveryState::Failed(FailReason::Unconfirmed)) => {}
                state => panic!("message {tag} ended with {state:?}"),
            }
        }
        acked
    }
}

fn welcome(sender: SenderId) -> Welcome {
    let json = WELCOME.split_once(r#""limits":"#).unwrap().1;
    let mut limits: Limits = serde_json::from_str(json.strip_suffix("}}").unwrap()).unwrap();
    limits.in_flight = 8;
    Welcome {
        user: UserName::parse("ann").unwrap(),
        sender,
        heartbeat_ms: 25_000,
        expires_ms: None,
        direct: false,
        find: false,
        limits,
    }
}

fn assert_each_is_in_the_log_once(log: &Log) {
    for (index, body) in log.bodies.iter().enumerate() {
        assert!(!log.bodies[..index].contains(body), "{body:?} is in the log twice");
    }
}

/// A tab with `settled` messages and then `pending` stored messages without an answer.
fn record(log: &mut Log, settled: u64, pending: u64) -> (Tab, Snapshot) {
    let mut tab = Tab::new(kept());
    tab.connect();
    (1..=settled).for_each(|tag| tab.publish(tag));
    tab.settle(log);
    ((settled + 1)..=(settled + pending)).for_each(|tag| tab.publish(tag));
    let copy = tab.session.snapshot();
    (tab, copy)
}

#[test]
fn a_copied_tab_gets_no_false_answer_and_duplicates_nothing() {
    for other_lives in [true, false] {
        for (settled, pending) in [(0, 0), (5, 0), (5, 3), (0, 12), (20, 30)] {
            let mut log = Log::default();
            let (mut tab, copy) = record(&mut log, settled, pending);
            let mut copied = Tab::with(&copy, 2);
            copied.connect();
            if other_lives {
                // The tabs connect in turn.
                for tag in 100..110 {
                    tab.publish(tag);
                    tab.settle(&mut log);
                    copied.publish(tag);
                    copied.settle(&mut log);
                }
            } else {
                (100..110).for_each(|tag| tab.publish(tag));
                tab.settle(&mut log);
                (100..110).for_each(|tag| copied.publish(tag));
                copied.settle(&mut log);
            }
            for tag in 110..115 {
                copied.publish(tag);
                copied.settle(&mut log);
            }
            let case = format!("other lives: {other_lives}, {settled} settled, {pending} pending");
            tab.check(&log);
            assert!(copied.check(&log) >= 5, "{case}: {:?}", copied.states);
            assert_each_is_in_the_log_once(&log);
            let acked = |tag: u64| matches!(copied.states[&tag].1.last(), Some(DeliveryState::Acked { .. }));
            assert!((110..115).all(acked), "{case}: it goes on with a key of its own");
        }
    }
}

#[test]
fn copies_used_one_after_the_other_and_older_ones_restored_get_no_false_answer() {
    let cases = [1, 5, 8, 9, 50].map(|behind| [(behind, true), (behind, false)]);
    for (behind, other_lives) in cases.into_iter().flatten() {
        let mut log = Log::default();
        let (mut tab, old) = record(&mut log, 3, 2);
        (200..200 + behind).for_each(|tag| tab.publish(tag));
        tab.settle(&mut log);
        let new = tab.stored.clone();
        // The older record, then the newer one, then the older one again.
        for (random, snapshot) in [(2, &old), (3, &new), (4, &old)] {
            let mut page = Tab::with(snapshot, random);
            page.connect();
            for tag in 300..320 {
                page.publish(tag);
            }
            page.settle(&mut log);
            if other_lives {
                tab.publish(1000 + random);
                tab.settle(&mut log);
            }
            page.publish(320);
            page.settle(&mut log);
            page.check(&log);
            let case = format!("other lives: {other_lives}, {behind} behind, page {random}");
            let last = page.states[&320].1.last();
            assert!(matches!(last, Some(DeliveryState::Acked { .. })), "{case}: {last:?}");
        }
        tab.check(&log);
        assert_each_is_in_the_log_once(&log);
    }
}

/// A record of the version before message ids, which checked room names less strictly.
#[test]
fn two_copies_of_an_outbox_without_ids_do_not_take_each_others_answers() {
    let old = |body: &str| {
        let json = format!(
            r#"{{"key":"{}","next":5,"rooms":[{{"room":"lobby","first":5,"sent":1,"pending":[{{"tag":1,"body":"{body}","ttl_ms":9000}},{{"tag":2,"body":2,"ttl_ms":9000}},{{"ttl_ms":9000}}]}},{{"room":"\u0041\u030a b","first":3,"sent":1,"pending":[{{"tag":3,"body":3,"ttl_ms":9000}}]}}]}}"#,
            key().reveal()
        );
        serde_json::from_str::<Snapshot>(&json).unwrap()
    };
    let sent = |snapshot: Snapshot| {
        let mut script = Script::restored(kept(), snapshot, Duration::ZERO);
        script.connect();
        script.input(Input::Opened { generation: 1 });
        let lines = script.received(1, &WELCOME.replace(r#""in_flight":3"#, r#""in_flight":9"#));
        (lines[2].clone(), script)
    };
    let ids = |line: &str| -> Vec<String> {
        let after = line.split(r#""id":""#).skip(1);
        after.map(|rest| rest[..16].to_owned()).collect()
    };
    let (line, mut script) = sent(old("a"));
    let of_a = ids(&line);
    assert_eq!(of_a.iter().collect::<BTreeSet<_>>().len(), 4, "{line}");
    assert_eq!(of_a, ids(&sent(old("a")).0), "the same each time");
    assert_ne!(of_a, ids(&sent(old("b")).0), "another message is another one");
    assert_eq!(
        (
            line.matches(r#""publish""#).count(),
            line.matches(r#""withdraw""#).count()
        ),
        (3, 1),
        "{line}"
    );
    let room = RoomName::parse("A\u{30a} b").unwrap();
    let refused = nack(3, "bad_room", None).replace("lobby", &room);
    assert_eq!(script.received(1, &refused), ["3 failed: no bad_room"]);
    assert_eq!(script.received(1, &ack(5, 1)), ["1 acked 1"]);
    assert_eq!(script.received(1, &ack(6, 2)), ["2 acked 2"]);
}

#[test]
fn a_message_that_is_to_be_sent_again_is_unconfirmed_and_keeps_its_key() {
    let mut script = Script::open();
    script.publish("lobby", 1);
    script.publish("lobby", 2);
    script.received(1, r#"{"forgotten":{"room":"lobby","seq":1,"epoch":"e1"}}"#);
    assert_eq!(script.received(1, &nack(2, "unavailable", Some(500))), [""; 0]);
    assert!(script.wait(500)[0].contains(&publish_line(2, true, 2)));
    let lines = script.received(1, &ack(2, 7));
    assert_eq!(lines[0], "2 acked 7");
    assert_eq!(lines[2], "key wanted");
}

#[test]
fn the_capacity_of_messages_that_a_conflict_failed_is_free_again() {
    let mut config = kept();
    config.outbox.messages = 2;
    config.outbox.bytes = 44;
    let mut script = Script::open_with(config);
    let publish = |script: &mut Script, tag| {
        let body = Body::text(&"x".repeat(20));
        script.publish_body("lobby", body, tag)[0].clone()
    };
    publish(&mut script, 1);
    publish(&mut script, 2);
    script.received(1, &nack(1, "conflict", None));
    assert_eq!(publish(&mut script, 3), "3 Queued");
    assert_eq!(publish(&mut script, 4), "4 Queued");
    assert!(publish(&mut script, 5).starts_with("5 failed: too many messages"));
}

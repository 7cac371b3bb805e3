//! A session in a store of numbered texts, also when a page ends between two writes.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde_json::Value;
use talkback_protocol::{
    Body, ClientKey, Moment,
    session::client::{
        ClientOptions, ClientSession, DeliveryState, FailReason, Input, Kept, OutboxOptions, Output, Snapshot, Tag,
        Write,
    },
};

use super::script::{Script, WELCOME, ack, joined_line, key, nack, name, publish_line, withdraw_line};
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

type Store = BTreeMap<u64, String>;

fn carry_out(store: &mut Store, write: &Write) {
    match write {
        Write::Put { record, text } => drop(store.insert(*record, text.clone())),
        Write::Remove { record } => drop(store.remove(record)),
        Write::RemoveBelow { record } => store.retain(|number, _| *number == 0 || number >= record),
    }
}

fn read(store: &Store) -> Option<Snapshot> {
    Kept::read(store.iter().map(|(number, text)| (*number, text))).map(|kept| kept.snapshot().clone())
}

fn kept() -> ClientOptions {
    let mut config = ClientOptions {
        keep: true,
        ..ClientOptions::default()
    };
    config.outbox.messages = 1_000;
    config
}

/// Writes the changes, and returns how many bytes they have.
fn save(session: &mut ClientSession, store: &mut Store, wall: u64) -> usize {
    let writes = session.writes(wall);
    writes.iter().for_each(|write| carry_out(store, write));
    let bytes = writes.iter().map(|write| match write {
        Write::Put { text, .. } => text.len(),
        Write::Remove { .. } | Write::RemoveBelow { .. } => 0,
    });
    bytes.sum()
}

fn resumed(config: ClientOptions, store: &Store, wall: u64) -> Script {
    let kept = Kept::read(store.iter().map(|(number, text)| (*number, text))).unwrap();
    let now = Duration::from_secs(5);
    Script::of(ClientSession::resume(config, kept, wall, now), now)
}

fn greeted(script: &mut Script, generation: u64) -> String {
    script.connect();
    script.input(Input::Opened { generation });
    script.received(generation, WELCOME).join("\n")
}

/// A lobby with the messages 2, 3 and 4, of which 2 is given up, and a room with 5.
fn some() -> (Script, Store) {
    let mut config = kept();
    config.outbox.ttl = Duration::from_secs(60);
    let mut script = Script::open_with(config);
    let mut store = Store::new();
    for tag in 1..=2 {
        script.publish("lobby", tag);
        save(&mut script.session, &mut store, 0);
    }
    script.received(1, &ack(1, 1));
    script.put(Input::Offline);
    script.closed(1, 1006, "");
    script.wait(30_000);
    for (room, tag) in [("lobby", 3), ("lobby", 4), ("other", 5)] {
        script.publish(room, tag);
        save(&mut script.session, &mut store, 30_000);
    }
    script.wait(30_000);
    save(&mut script.session, &mut store, 60_000);
    (script, store)
}

#[test]
fn a_resumed_session_has_what_was_written_with_the_time_that_is_left() {
    let (script, store) = some();
    let snapshot = script.session.snapshot();
    assert_eq!(read(&store), Some(snapshot));
    let mut again = resumed(kept(), &store, 61_000);
    let sent = greeted(&mut again, 1);
    assert_eq!(again.session.snapshot().key, key());
    for line in [withdraw_line(2, true, 2), publish_line(3, false, 3)] {
        assert!(sent.contains(&line), "{sent}");
    }
    // They had 30 s left of their 60 s when they were written.
    let mut config = kept();
    config.outbox.ttl = Duration::from_secs(60);
    let mut late = resumed(config, &store, 60_000 + 29_000);
    let told = late.wait(500);
    assert!(told.iter().all(|line| !line.contains("failed")), "{told:?}");
    assert!(late.wait(501).is_empty());
    let sent = greeted(&mut late, 1);
    assert!(sent.contains(&withdraw_line(3, false, 3)), "{sent}");
}

/// The former format: one text with all.
#[test]
fn a_store_of_one_text_with_all_is_read_and_replaced() {
    let (script, _) = some();
    let snapshot = script.session.snapshot();
    let text = serde_json::json!({ "saved_at": 60_000, "snapshot": snapshot }).to_string();
    let mut store = Store::from([(0, text)]);
    assert_eq!(read(&store), Some(snapshot.clone()));
    let mut script = resumed(kept(), &store, 60_000);
    for write in script.session.writes(60_000) {
        carry_out(&mut store, &write);
        let mut found = read(&store).unwrap();
        for (found, of) in found.rooms.iter_mut().zip(&snapshot.rooms) {
            for (found, of) in found.pending.iter_mut().zip(&of.pending) {
                // The new session has another ttl.
                found.ttl_ms = of.ttl_ms;
            }
        }
        assert_eq!(found, snapshot, "after each write");
    }
    assert!(!store[&0].contains("snapshot"));
    assert_eq!(store.len(), 1 + 2 + 4);
}

#[test]
fn an_unreadable_record_loses_no_other_message_and_gives_no_number_away_unnoticed() {
    let (script, store) = some();
    let whole = script.session.snapshot();
    let ids = |snapshot: &Snapshot| -> BTreeSet<_> {
        let pending = snapshot.rooms.iter().flat_map(|room| &room.pending);
        pending.filter_map(|message| message.id).collect()
    };
    for number in store.keys().copied() {
        for corrupt in ["", "{", "{}", "null", "\u{fffd}", r#"{"life":1}"#] {
            let mut store = store.clone();
            let text = store.insert(number, corrupt.to_owned()).unwrap();
            let Some(found) = read(&store) else {
                assert_eq!(number, 0, "only without its head there is nothing");
                continue;
            };
            assert_eq!(found.key, whole.key);
            let missing: BTreeSet<_> = ids(&whole).difference(&ids(&found)).copied().collect();
            assert!(ids(&found).is_subset(&ids(&whole)));
            if text.contains(r#""id""#) {
                assert_eq!(missing.len(), 1, "{text}");
            } else {
                assert!(text.contains(r#""room""#), "a room with its messages");
            }
        }
    }
    assert_eq!(read(&Store::new()), None);
    assert_eq!(read(&Store::from([(7, store[&0].clone())])), None);
}

#[test]
fn records_of_another_life_and_of_unknown_rooms_are_ignored() {
    let (mut script, mut store) = some();
    let before = read(&store).unwrap();
    script.session.write_all();
    let writes = script.session.writes(60_000);
    for write in &writes {
        carry_out(&mut store, write);
        assert_eq!(read(&store).unwrap(), before);
    }
    let last = *store.last_key_value().unwrap().0;
    let message = store[&last].replace(r#""lane":"#, r#""lane":99"#);
    store.insert(last + 1, message);
    assert_eq!(read(&store).unwrap(), before);
    let mut again = resumed(kept(), &store, 60_000);
    save(&mut again.session, &mut store, 60_000);
    assert!(store.keys().all(|&number| number == 0 || number > last + 1));
}

#[test]
fn a_settled_message_costs_its_own_size_and_not_that_of_all_pending_ones() {
    let mut script = Script::with(kept());
    let mut store = Store::new();
    for tag in 1..=500 {
        script.put_publish("lobby", tag);
        script.drain();
    }
    save(&mut script.session, &mut store, 0);
    assert_eq!(store.len(), 502);
    script.connect();
    script.input(Input::Opened { generation: 1 });
    script.received(1, WELCOME);
    assert!(
        save(&mut script.session, &mut store, 0) < 200,
        "numbers are not written"
    );
    script.received(1, &ack(1, 1));
    let bytes = save(&mut script.session, &mut store, 0);
    assert!(bytes < 300, "{bytes}");
    assert_eq!(store.len(), 501);
    // A settled message after one that is not settled keeps its number.
    script.received(1, &ack(3, 3));
    assert!(save(&mut script.session, &mut store, 0) < 400);
    assert_eq!(store.len(), 501);
    assert_eq!(read(&store), Some(script.session.snapshot()));
    script.received(1, &ack(2, 2));
    save(&mut script.session, &mut store, 0);
    assert_eq!(store.len(), 499);
    assert_eq!(read(&store), Some(script.session.snapshot()));
}

/// Before records, each save stored everything that was pending.
#[test]
fn to_keep_8000_messages_costs_a_bounded_number_of_bytes_for_each() {
    let mut config = kept();
    config.outbox = OutboxOptions {
        messages: 8_000,
        bytes: 1 << 20,
        ttl: Duration::from_secs(600),
    };
    let mut script = Script::with(config);
    let (mut store, mut bytes, mut saves, mut largest, mut whole) = (Store::new(), 0, 0, 0, 0);
    let mut saved = |script: &mut Script, store: &mut Store| {
        let written = save(&mut script.session, store, 0);
        saves += 1;
        bytes += written;
        largest = largest.max(written);
        if saves % 2_000 == 0 {
            assert_eq!(read(store), Some(script.session.snapshot()));
            // The cost of storing all messages each time, as a sample.
            whole += 2_000 * serde_json::to_string(&script.session.snapshot()).unwrap().len();
        }
    };
    for tag in 1..=8_000 {
        script.put_publish("lobby", tag);
        script.drain();
        saved(&mut script, &mut store);
    }
    script.connect();
    script.input(Input::Opened { generation: 1 });
    script.received(1, &WELCOME.replace(r#""in_flight":3"#, r#""in_flight":128"#));
    for seq in 1..=8_000 {
        script.received(1, &ack(seq, seq));
        saved(&mut script, &mut store);
    }
    assert!(script.session.snapshot().rooms.is_empty());
    println!(
        "{saves} saves: {bytes} bytes in records, about {whole} bytes if all is stored each time, largest {largest}"
    );
    assert!(bytes < 8_000 * 600, "{bytes} bytes");
    assert!(largest < 600, "{largest} bytes at once");
    assert_eq!(store.len(), 1, "nothing is left but the head");
}

#[test]
fn too_many_unwritten_changes_are_forgotten_and_then_everything_is_written() {
    let mut config = kept();
    config.outbox.messages = 10;
    let mut script = Script::open_with(config);
    let mut store = Store::new();
    script.publish("lobby", 1);
    save(&mut script.session, &mut store, 0);
    for tag in 2..=2_000 {
        script.publish("lobby", tag);
        script.received(1, &ack(tag, tag));
    }
    // The bound is the outbox and not the number of changes.
    assert!(script.session.writes(0).len() <= 14);
    assert!(format!("{:?}", script.session).len() < 20_000);
    script.session.write_all();
    save(&mut script.session, &mut store, 0);
    assert_eq!(read(&store), Some(script.session.snapshot()));
}

#[test]
fn a_room_that_is_forgotten_in_the_store_takes_no_number_again() {
    let mut script = Script::open_with(kept());
    let mut store = Store::new();
    script.publish("lobby", 1);
    save(&mut script.session, &mut store, 0);
    script.received(1, &ack(1, 1));
    for write in script.session.writes(0) {
        carry_out(&mut store, &write);
        let mut script = resumed(kept(), &store, 0);
        script.put_publish("lobby", 7);
        let sent = greeted(&mut script, 1);
        let again = publish_line(1, true, 1);
        assert!(
            sent.contains(&again) || sent.contains(&publish_line(2, true, 7)),
            "{sent}"
        );
        assert!(!sent.contains(&publish_line(1, true, 7)), "{sent}");
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// The log of one client key in one room.
#[derive(Default)]
struct Settled {
    last: u64,
    outcomes: BTreeMap<u64, (String, bool)>,
}

/// A page after page over one store, and a log.
struct Pages {
    random: Random,
    session: ClientSession,
    store: Store,
    /// The content of the store after the last write.
    stored: Option<Snapshot>,
    now: Duration,
    generation: u64,
    is_open: bool,
    keys: u8,
    next_tag: Tag,
    settled: BTreeMap<(String, String), Settled>,
    /// In the order in which they were appended.
    log: Vec<String>,
    /// The id that each number of a key had on the wire.
    sent: BTreeMap<(String, String, u64), String>,
    answers: Vec<String>,
    /// Ids of messages whose failure was reported to a page.
    failed: BTreeSet<String>,
    /// Ids that were stored.
    kept: BTreeSet<String>,
    /// Unconfirmed messages, which another key may have sent again, are not counted.
    crashes: usize,
}

fn config() -> ClientOptions {
    let mut config = kept();
    config.outbox.messages = 12;
    config.outbox.ttl = Duration::from_secs(20);
    config.rooms = 4;
    config
}

fn id(tag: Tag) -> String {
    format!("{tag:016x}")
}

impl Pages {
    fn new(seed: u64) -> Self {
        Self {
            random: Random(seed),
            session: ClientSession::new(config(), ClientKey::from_random([0; 16])),
            store: Store::new(),
            stored: None,
            now: Duration::ZERO,
            generation: 0,
            is_open: false,
            keys: 0,
            next_tag: 1,
            settled: BTreeMap::new(),
            log: Vec::new(),
            sent: BTreeMap::new(),
            answers: Vec::new(),
            failed: BTreeSet::new(),
            kept: BTreeSet::new(),
            crashes: 0,
        }
    }

    fn wall(&self) -> u64 {
        u64::try_from(self.now.as_millis()).unwrap()
    }

    fn input(&mut self, input: Input) {
        self.session.handle(self.moment(0), input);
        self.drain();
    }

    fn connect(&mut self) {
        self.session.connect(self.moment(0));
        self.drain();
    }

    fn moment(&self, random: u64) -> Moment {
        Moment { now: self.now, random }
    }

    fn drain(&mut self) {
        while let Some(output) = self.session.poll_output() {
            if !self.carry_out(output) {
                return;
            }
        }
    }

    /// Whether the page continues.
    fn carry_out(&mut self, output: Output) -> bool {
        match output {
            Output::Save => return self.save(),
            Output::Connect { generation } => self.generation = generation,
            Output::Disconnect { .. } => self.disconnected(),
            Output::KeyWanted => {
                self.keys += 1;
                let key = ClientKey::from_random([self.keys; 16]);
                // The answer is given at once.
                self.session.handle(self.moment(0), Input::Key(key));
            }
            Output::Transmit { text, .. } => text.lines().for_each(|line| self.arrived(line)),
            Output::Delivery {
                tag,
                state: DeliveryState::Failed(_),
            } => drop(self.failed.insert(id(tag))),
            _ => {}
        }
        true
    }

    fn disconnected(&mut self) {
        self.is_open = false;
        self.answers.clear();
    }

    fn arrived(&mut self, line: &str) {
        let line: Value = serde_json::from_str(line).unwrap();
        let (kind, fields) = line.as_object().unwrap().iter().next().unwrap();
        if kind == "hello" {
            self.answers
                .push(WELCOME.replace(r#""in_flight":3"#, r#""in_flight":5"#));
            return;
        }
        let (Some(room), Some(seq), Some(id)) =
            (fields["room"].as_str(), fields["seq"].as_u64(), fields["id"].as_str())
        else {
            return;
        };
        let key = self.session.snapshot().key.reveal();
        let sent = self.sent.insert((key.clone(), room.to_owned(), seq), id.to_owned());
        assert!(
            sent.as_ref().is_none_or(|of| of == id),
            "{seq} of {room} was {sent:?} and is {id}"
        );
        assert!(self.kept.contains(id), "{id} was sent and not stored");
        let settled = self.settled.entry((key, room.to_owned())).or_default();
        let answer = match settled.outcomes.get(&seq) {
            Some((of, appended)) => {
                assert_eq!(of, id);
                *appended
            }
            None if seq <= settled.last => panic!("{seq} of {room} was never used"),
            None if seq > settled.last + 1 && fields["first"] != Value::Bool(true) => {
                self.answers.push(nack(seq, "gap", Some(0)).replace("lobby", room));
                return;
            }
            None => {
                let appended = kind == "publish" && self.random.below(8) > 0;
                if appended {
                    self.log.push(id.to_owned());
                }
                settled.last = seq;
                settled.outcomes.insert(seq, (id.to_owned(), appended));
                appended
            }
        };
        let answer = if answer {
            ack(seq, seq)
        } else {
            nack(seq, "withdrawn", None)
        };
        self.answers.push(answer.replace("lobby", room));
    }

    /// Writes the changes; sometimes the page ends in between. After each write the store must be consistent.
    fn save(&mut self) -> bool {
        let after = self.session.snapshot();
        let writes = self.session.writes(self.wall());
        let end = match self.random.below(12) {
            0 => usize::try_from(self.random.below(writes.len() as u64 + 1)).unwrap(),
            _ => usize::MAX,
        };
        for (done, write) in writes.iter().enumerate() {
            if done == end {
                // The next record is not stored either.
                while let Some(output) = self.session.poll_output() {
                    if let Output::Delivery { .. } = output {
                        self.carry_out(output);
                    }
                }
                self.reload(true);
                return false;
            }
            carry_out(&mut self.store, write);
            self.check(&after);
        }
        let found = read(&self.store).unwrap();
        assert_eq!(without_times(&found), without_times(&without_cursors(&after)));
        self.kept.extend(ids(&after));
        self.stored = Some(after);
        true
    }

    fn check(&self, after: &Snapshot) {
        let Some(found) = read(&self.store) else {
            assert!(self.stored.is_none(), "what was stored is gone");
            return;
        };
        let before = self.stored.as_ref().map(ids).unwrap_or_default();
        let (found_ids, after_ids) = (ids(&found), ids(after));
        let all = found.rooms.iter().map(|room| room.pending.len()).sum::<usize>();
        assert_eq!(found_ids.len(), all, "nothing is there twice");
        assert!(found_ids.iter().all(|id| before.contains(id) || after_ids.contains(id)));
        for id in before.intersection(&after_ids) {
            assert!(found_ids.contains(id), "{id} is lost in {:?}", self.store);
        }
        let key = found.key.reveal();
        for ((_, room, seq), id) in self.sent.iter().filter(|((of, ..), _)| *of == key) {
            let kept = found.rooms.iter().find(|kept| &*kept.room == room);
            let kept = kept.filter(|kept| !kept.pending.is_empty());
            let first = kept.map_or(found.next, |kept| kept.first).get();
            let len = kept.map_or(0, |kept| kept.pending.len() as u64);
            assert!(
                *seq < first + len,
                "{seq} of {room} would be used again: {:?}",
                self.store
            );
            if let Some(kept) = kept
                && *seq >= first
            {
                let pending = &kept.pending[usize::try_from(seq - first).unwrap()];
                assert_eq!(pending.id.unwrap().to_string(), *id, "{seq} of {room}");
            }
        }
    }

    /// The page is loaded again.
    fn reload(&mut self, crash: bool) {
        self.disconnected();
        self.crashes += usize::from(crash);
        let wall = self.wall();
        let kept = Kept::read(self.store.iter().map(|(number, text)| (*number, text)));
        self.session = match kept {
            Some(kept) => {
                self.kept.extend(ids(kept.snapshot()));
                self.stored = Some(kept.snapshot().clone());
                ClientSession::resume(config(), kept, wall, self.now)
            }
            None => ClientSession::new(config(), ClientKey::from_random([0; 16])),
        };
        self.connect();
    }

    fn step(&mut self) {
        match self.random.below(20) {
            0..=6 => {
                let room = ["lobby", "a", "b"][usize::try_from(self.random.below(3)).unwrap()];
                let tag = self.next_tag;
                self.next_tag += 1;
                // Some messages are larger than the server accepts.
                let length = if self.random.below(10) == 0 { 200 } else { 5 };
                let body = Body::text(&"x".repeat(length));
                if self.session.publish(self.moment(tag), name(room), body, tag).is_err() {
                    self.failed.insert(id(tag));
                }
                self.drain();
            }
            7..=13 => self.answer(),
            14 if self.is_open => {
                self.disconnected();
                let (generation, code, reason) = (self.generation, 1006, String::new());
                self.input(Input::Closed {
                    generation,
                    code,
                    reason,
                });
            }
            15 if self.is_open && self.random.below(6) == 0 => {
                self.answers.clear();
                self.answers.push(nack(1, "conflict", None));
                self.answer();
            }
            16 if self.random.below(3) == 0 => self.reload(true),
            17 => self.input(Input::Suspend),
            18 => self.input(Input::Resume),
            _ => {
                self.now += Duration::from_millis(self.random.below(6_000));
                self.input(Input::Tick);
            }
        }
    }

    /// The server sends its pending answers, or the first of them.
    fn answer(&mut self) {
        if !self.is_open {
            self.is_open = true;
            let generation = self.generation;
            self.input(Input::Opened { generation });
        }
        let count = self.random.below(self.answers.len() as u64 + 1);
        let text: Vec<_> = self.answers.drain(..usize::try_from(count).unwrap()).collect();
        let (generation, text) = (self.generation, text.join("\n"));
        self.input(Input::Received { generation, text });
    }
}

fn ids(snapshot: &Snapshot) -> BTreeSet<String> {
    let pending = snapshot.rooms.iter().flat_map(|room| &room.pending);
    pending
        .filter_map(|message| message.id)
        .map(|id| id.to_string())
        .collect()
}

fn without_cursors(snapshot: &Snapshot) -> Snapshot {
    let mut snapshot = snapshot.clone();
    snapshot.rooms.retain(|room| !room.pending.is_empty());
    snapshot.rooms.iter_mut().for_each(|room| room.cursor = None);
    snapshot
}

fn without_times(snapshot: &Snapshot) -> Snapshot {
    let mut snapshot = snapshot.clone();
    for message in snapshot.rooms.iter_mut().flat_map(|room| &mut room.pending) {
        message.ttl_ms = 0;
    }
    snapshot
}

#[test]
fn a_page_may_end_after_any_write_and_nothing_that_was_stored_is_lost_doubled_or_renumbered() {
    let (mut crashes, mut appended, mut keys) = (0, 0, 0);
    for seed in 0..60 {
        let mut pages = Pages::new(seed);
        pages.connect();
        for _ in 0..400 {
            pages.step();
        }
        // The faults end.
        for _ in 0..400 {
            pages.now += Duration::from_millis(500);
            pages.input(Input::Resume);
            pages.input(Input::Tick);
            pages.answer();
        }
        let open = ids(&pages.session.snapshot());
        assert!(open.is_empty(), "seed {seed}: {open:?}");
        let distinct: BTreeSet<_> = pages.log.iter().cloned().collect();
        assert_eq!(
            distinct.len(),
            pages.log.len(),
            "seed {seed}: a message is in the log twice"
        );
        let refused: BTreeSet<_> = pages
            .settled
            .values()
            .flat_map(|settled| settled.outcomes.values())
            .filter(|(_, appended)| !appended)
            .map(|(id, _)| id.clone())
            .collect();
        for id in &pages.kept {
            let known = distinct.contains(id) || refused.contains(id) || pages.failed.contains(id);
            assert!(known, "seed {seed}: {id} was stored and is lost");
        }
        crashes += pages.crashes;
        appended += pages.log.len();
        keys += usize::from(pages.keys);
    }
    assert!(
        crashes > 100 && appended > 1_000 && keys > 20,
        "{crashes} {appended} {keys}"
    );
}

#[test]
fn a_new_key_writes_everything_anew_under_it() {
    let mut script = Script::open_with(kept());
    let mut store = Store::new();
    script.join("lobby", None);
    script.received(1, &joined_line("e1", 5, true));
    script.publish("lobby", 1);
    save(&mut script.session, &mut store, 0);
    assert_eq!(
        read(&store).unwrap().rooms[0].cursor,
        None,
        "cursors are the application's"
    );
    let told = script.received(1, &nack(1, "conflict", None));
    assert!(
        told.iter()
            .any(|line| line.contains(&FailReason::Unconfirmed.to_string())),
        "{told:?}"
    );
    script.put_publish("lobby", 2);
    script.input(Input::Key(ClientKey::from_random([9; 16])));
    let writes = script.session.writes(0);
    assert!(matches!(writes.last(), Some(Write::RemoveBelow { .. })), "{writes:?}");
    writes.iter().for_each(|write| carry_out(&mut store, write));
    let found = read(&store).unwrap();
    assert_eq!(found.key, ClientKey::from_random([9; 16]));
    assert_eq!((found.rooms[0].first.get(), found.rooms[0].pending.len()), (1, 1));
}

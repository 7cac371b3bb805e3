//! A correct recording, and the same with one thing wrong in it: the rule that it breaks must notice it.

use std::collections::BTreeMap;

use talkback_chaos::{Event, FORMAT, Fault, How, Kind, Loss, Position, Record, Run};

use crate::{
    rules::Checker,
    verdict::{Rule, Verdict},
};

const READER: u32 = 9;
const ROOM: &str = "a";

/// Records of a run that are put together by hand.
#[derive(Clone, Default)]
struct Recording(Vec<(Option<u32>, Event)>);

fn at(epoch: &str, offset: u64) -> Position {
    Position {
        epoch: epoch.to_owned(),
        offset,
    }
}

fn body(message: u64) -> String {
    format!("\"body {message}\"")
}

fn send(message: u64) -> Event {
    Event::Send {
        message,
        room: ROOM.to_owned(),
        body: body(message),
    }
}

fn acked(message: u64, epoch: &str, offset: u64) -> Event {
    Event::Acked {
        message,
        epoch: epoch.to_owned(),
        offset,
    }
}

fn failed(message: u64, certain: bool) -> Event {
    Event::Failed {
        message,
        certain,
        reason: "a test".to_owned(),
    }
}

fn message(epoch: &str, offset: u64, message: u64) -> Event {
    Event::Message {
        room: ROOM.to_owned(),
        epoch: epoch.to_owned(),
        offset,
        body: body(message),
    }
}

fn join(since: Option<Position>) -> Event {
    Event::Join {
        room: ROOM.to_owned(),
        since,
    }
}

fn joined(how: How, epoch: &str, after: u64, head: u64) -> Event {
    Event::Joined {
        room: ROOM.to_owned(),
        how,
        epoch: epoch.to_owned(),
        head,
        after,
    }
}

fn disconnected() -> Event {
    Event::Disconnected {
        code: 1006,
        reason: String::new(),
        by_client: false,
    }
}

fn fault(kind: Kind, loses: Option<Loss>) -> Event {
    Event::Fault(Fault {
        loses,
        ..Fault::of(kind)
    })
}

impl Recording {
    /// Of one server.
    fn begin(plan: &[Kind]) -> Self {
        Self::begin_with(1, plan)
    }

    fn begin_with(servers: u32, plan: &[Kind]) -> Self {
        let mut recording = Self::default();
        recording.run(Event::Run(Run {
            format: FORMAT,
            seed: 5,
            topology: "sqlite".to_owned(),
            servers,
            clients: 2,
            reader: READER,
            plan: plan.iter().map(|kind| (*kind, 1)).collect(),
        }));
        recording
    }

    fn run(&mut self, event: Event) {
        self.0.push((None, event));
    }

    fn of(&mut self, client: u32, events: impl IntoIterator<Item = Event>) {
        self.0.extend(events.into_iter().map(|event| (Some(client), event)));
    }

    /// The reader joins, sees the head, and reads these messages from the beginning.
    fn end(mut self, epoch: &str, log: &[u64]) -> Self {
        let head = log.len() as u64;
        self.run(Event::Quiet {});
        self.of(
            READER,
            [
                Event::Connected { connection: 1 },
                join(None),
                joined(How::Joined, epoch, head, head),
                Event::Leave { room: ROOM.to_owned() },
                join(Some(at(epoch, 0))),
                joined(How::Recovered, epoch, 0, head),
            ],
        );
        let log = (1..).zip(log);
        self.of(READER, log.map(|(offset, &number)| message(epoch, offset, number)));
        self.run(Event::Log {
            room: ROOM.to_owned(),
            epoch: epoch.to_owned(),
            head,
        });
        self
    }

    fn index(&self, client: u32, event: &Event) -> usize {
        let found = self
            .0
            .iter()
            .position(|record| *record == (Some(client), event.clone()));
        found.unwrap_or_else(|| panic!("there is no {event:?} of client {client}"))
    }

    /// The same without this record.
    fn without(&self, client: u32, event: &Event) -> Self {
        let mut changed = self.clone();
        changed.0.remove(self.index(client, event));
        changed
    }

    /// The same with another record instead of this one.
    fn with(&self, client: u32, event: &Event, other: Event) -> Self {
        let mut changed = self.clone();
        changed.0[self.index(client, event)].1 = other;
        changed
    }

    /// The same with another record after this one.
    fn then(&self, client: u32, event: &Event, other: Event) -> Self {
        let mut changed = self.clone();
        changed.0.insert(self.index(client, event) + 1, (Some(client), other));
        changed
    }

    fn verdict(&self) -> Verdict {
        let mut checker = Checker::default();
        let end = Event::End {
            records: self.0.len() as u64,
        };
        for (us, (client, event)) in (0..).zip(self.0.iter().cloned().chain([(None, end)])) {
            checker.take(&Record { us, client, event });
        }
        checker.finish()
    }

    #[track_caller]
    fn assert_kept(&self) {
        let verdict = self.verdict();
        assert!(verdict.is_kept(), "{verdict}");
    }

    #[track_caller]
    fn assert_breaks(&self, rule: Rule) {
        let verdict = self.verdict();
        assert!(verdict.rules.contains_key(&rule), "{rule:?} is kept:\n{verdict}");
    }
}

/// Client 0 sends messages 1 to 4, client 1 is a member all the time. Between 2 and 3 the server is killed.
fn killed() -> Recording {
    let mut recording = Recording::begin(&[Kind::Kill]);
    recording.of(
        1,
        [
            Event::Connected { connection: 1 },
            join(None),
            joined(How::Joined, "e", 0, 0),
        ],
    );
    recording.of(
        0,
        [Event::Connected { connection: 1 }, send(1), send(2), acked(1, "e", 1)],
    );
    recording.of(1, [message("e", 1, 1)]);
    recording.of(0, [send(3), send(4)]);
    recording.run(fault(Kind::Kill, None));
    recording.of(0, [disconnected(), Event::Connected { connection: 2 }]);
    recording.of(1, [disconnected(), Event::Connected { connection: 2 }]);
    recording.of(
        1,
        [
            joined(How::Recovered, "e", 1, 2),
            message("e", 2, 2),
            message("e", 3, 3),
        ],
    );
    recording.of(0, [acked(2, "e", 2), acked(3, "e", 3), failed(4, true)]);
    recording.end("e", &[1, 2, 3])
}

/// The data is restored: message 1 is in the copy, 2 and 3 are not, and 4 is sent later.
fn restored() -> Recording {
    let mut recording = Recording::begin(&[Kind::Restore]);
    recording.of(0, [send(1), acked(1, "e", 1)]);
    recording.run(Event::Copied { copy: 0 });
    recording.of(
        1,
        [
            Event::Connected { connection: 1 },
            join(None),
            joined(How::Joined, "e", 1, 1),
        ],
    );
    recording.of(0, [send(2), acked(2, "e", 2), send(3), acked(3, "e", 3)]);
    recording.of(1, [message("e", 2, 2), message("e", 3, 3), disconnected()]);
    recording.run(fault(Kind::Restore, Some(Loss::Since(0))));
    recording.of(
        1,
        [
            Event::Connected { connection: 2 },
            joined(How::Reset, "f", 0, 1),
            message("f", 1, 1),
        ],
    );
    recording.of(0, [send(4), acked(4, "f", 2)]);
    recording.of(1, [message("f", 2, 4)]);
    recording.end("f", &[1, 4])
}

/// Three servers: message 1 is in the data when its end begins that is cut off, 2 and 3 are in that end. A server says
/// so later of 3, and message 4 is sent later. Client 1 has 1 only, client 2 has 2 too.
fn tail_cut() -> Recording {
    let mut recording = Recording::begin_with(3, &[Kind::AofCut]);
    for client in [1, 2] {
        recording.of(
            client,
            [
                Event::Connected { connection: 1 },
                join(None),
                joined(How::Joined, "e", 0, 0),
                message("e", 1, 1),
            ],
        );
    }
    recording.of(0, [Event::Connected { connection: 1 }, send(1), acked(1, "e", 1)]);
    // The body must have been sent before it is delivered.
    let sent = recording.0.split_off(recording.0.len() - 3);
    recording.0.splice(1..1, sent);
    recording.run(Event::Copied { copy: 0 });
    recording.of(0, [send(2), acked(2, "e", 2), send(3)]);
    recording.of(2, [message("e", 2, 2)]);
    recording.run(fault(Kind::AofCut, Some(Loss::Since(0))));
    recording.run(Event::Life { rooms: Vec::new() });
    recording.of(0, [acked(3, "e", 3)]);
    recording.of(
        1,
        [
            disconnected(),
            Event::Connected { connection: 2 },
            joined(How::Recovered, "f", 1, 1),
        ],
    );
    recording.of(
        2,
        [
            disconnected(),
            Event::Connected { connection: 2 },
            joined(How::Reset, "f", 0, 1),
            message("f", 1, 1),
        ],
    );
    recording.of(0, [send(4), acked(4, "f", 2)]);
    recording.of(1, [message("f", 2, 4)]);
    recording.of(2, [message("f", 2, 4)]);
    recording.end("f", &[1, 4])
}

#[test]
fn correct_recordings_break_no_rule() {
    killed().assert_kept();
    restored().assert_kept();
    tail_cut().assert_kept();
    let counts = tail_cut().verdict().counts;
    assert_eq!(
        (counts["acknowledged messages in lost tails"], counts["lost tails"]),
        (2, 1)
    );
    let verdict = restored().verdict();
    let expected = BTreeMap::from([
        ("acknowledged messages in lost tails", 2),
        ("lost tails", 1),
        ("resets", 1),
    ]);
    for (name, count) in expected {
        assert_eq!(verdict.counts[name], count, "{name}");
    }
}

#[test]
fn a_server_in_memory_loses_everything_with_each_end_and_says_so() {
    let mut recording = Recording::begin(&[Kind::Kill]);
    recording.of(1, [join(None), joined(How::Joined, "e", 0, 0)]);
    recording.of(0, [send(1), acked(1, "e", 1), send(2)]);
    recording.of(1, [message("e", 1, 1)]);
    let before = recording.clone();
    recording.run(fault(Kind::Kill, Some(Loss::Everything)));
    recording.of(1, [joined(How::Reset, "f", 0, 0)]);
    recording.of(0, [acked(2, "f", 1)]);
    recording.of(1, [message("f", 1, 2)]);
    recording.end("f", &[2]).assert_kept();

    // The same epoch again, although the logs are gone.
    let mut again = before;
    again.run(fault(Kind::Kill, Some(Loss::Everything)));
    again.of(1, [joined(How::Reset, "e", 0, 0)]);
    again.of(0, [acked(2, "e", 1)]);
    again.of(1, [message("e", 1, 2)]);
    let again = again.end("e", &[2]);
    again.assert_breaks(Rule::Epoch);
    again.assert_breaks(Rule::Offsets);
}

#[test]
fn a_cursor_at_the_fork_of_a_restored_log_goes_on_without_a_reset() {
    let mut recording = Recording::begin(&[Kind::Restore]);
    recording.of(0, [send(1), acked(1, "e", 1)]);
    recording.of(1, [join(None), joined(How::Joined, "e", 0, 1), message("e", 1, 1)]);
    recording.run(Event::Copied { copy: 0 });
    recording.of(0, [send(2), acked(2, "e", 2)]);
    recording.run(fault(Kind::Restore, Some(Loss::Since(0))));
    recording.of(1, [joined(How::Recovered, "f", 1, 1)]);
    recording.of(0, [send(3), acked(3, "f", 2)]);
    recording.of(1, [message("f", 2, 3)]);
    recording.end("f", &[1, 3]).assert_kept();
}

#[test]
fn a_member_without_an_acknowledged_message_breaks_missing() {
    // It goes on with the next offset, as if the message were not there.
    let recording = killed().without(1, &message("e", 2, 2));
    recording.assert_breaks(Rule::Missing);
    // It stays, and the newest message never comes.
    let recording = killed().without(1, &message("e", 3, 3));
    recording.assert_breaks(Rule::Missing);
    // It is not a member any more after the server's end.
    let recording = restored().without(1, &joined(How::Reset, "f", 0, 1));
    recording.assert_breaks(Rule::Missing);
    // It left before the end: what came while it was a member still counts.
    let left = Event::Leave { room: ROOM.to_owned() };
    let recording = killed().then(1, &message("e", 3, 3), left);
    recording.without(1, &message("e", 2, 2)).assert_breaks(Rule::Missing);
}

#[test]
fn a_message_that_comes_twice_breaks_twice() {
    let again = killed().then(1, &message("e", 3, 3), message("e", 4, 3));
    again.assert_breaks(Rule::Twice);
    let again = killed().then(1, &message("e", 3, 3), message("e", 3, 3));
    again.assert_breaks(Rule::Twice);
    // Two places of one message in the log.
    let again = killed().with(0, &acked(2, "e", 2), acked(2, "e", 3));
    again.assert_breaks(Rule::Offsets);
    let on_the_wire = Event::Gap {
        room: ROOM.to_owned(),
        expected: Some(3),
        offset: 2,
    };
    killed()
        .then(1, &message("e", 2, 2), on_the_wire)
        .assert_breaks(Rule::Twice);
}

#[test]
fn members_that_see_different_orders_break_order() {
    // Client 1 has 1 and 2 in this order, client 0 in the other one.
    let before = joined(How::Joined, "e", 0, 0);
    let mut recording = killed();
    let end = recording.0.len() - 1;
    let other = [join(None), before, message("e", 1, 2), message("e", 2, 1)];
    recording.0.splice(end..end, other.map(|event| (Some(0), event)));
    recording.assert_breaks(Rule::Order);
}

#[test]
fn a_log_that_changes_the_order_of_a_sender_breaks_order() {
    let mut recording = Recording::begin(&[]);
    recording.of(1, [join(None), joined(How::Joined, "e", 0, 0)]);
    recording.of(0, [send(1), send(2), acked(1, "e", 2), acked(2, "e", 1)]);
    recording.of(1, [message("e", 1, 2), message("e", 2, 1)]);
    recording.end("e", &[2, 1]).assert_breaks(Rule::Order);
}

#[test]
fn a_body_with_other_bytes_or_from_another_room_breaks_bytes() {
    let changed = Event::Message {
        room: ROOM.to_owned(),
        epoch: "e".to_owned(),
        offset: 2,
        body: "\"body  2\"".to_owned(),
    };
    killed()
        .with(1, &message("e", 2, 2), changed)
        .assert_breaks(Rule::Bytes);
    let elsewhere = Event::Send {
        message: 2,
        room: "b".to_owned(),
        body: body(2),
    };
    killed().with(0, &send(2), elsewhere).assert_breaks(Rule::Bytes);
}

#[test]
fn a_gap_that_is_not_announced_breaks_gap() {
    killed().without(1, &message("e", 2, 2)).assert_breaks(Rule::Gap);
    let recovered = joined(How::Recovered, "e", 1, 2);
    killed()
        .with(1, &recovered, joined(How::Recovered, "e", 2, 2))
        .assert_breaks(Rule::Gap);
    killed()
        .with(1, &recovered, joined(How::Recovered, "e", 0, 2))
        .assert_breaks(Rule::Gap);
    killed()
        .with(1, &recovered, joined(How::Recovered, "e", 1, 0))
        .assert_breaks(Rule::Gap);
    killed()
        .with(1, &recovered, joined(How::Joined, "e", 1, 2))
        .assert_breaks(Rule::Gap);
    killed()
        .without(1, &joined(How::Joined, "e", 0, 0))
        .assert_breaks(Rule::Gap);
    let on_the_wire = Event::Gap {
        room: ROOM.to_owned(),
        expected: Some(3),
        offset: 4,
    };
    killed()
        .then(1, &message("e", 2, 2), on_the_wire)
        .assert_breaks(Rule::Gap);
}

#[test]
fn a_message_without_or_with_two_outcomes_breaks_settled() {
    killed().without(0, &acked(3, "e", 3)).assert_breaks(Rule::Settled);
    let twice = killed().then(0, &acked(2, "e", 2), acked(2, "e", 2));
    twice.assert_breaks(Rule::Settled);
    // A page that was loaded again asks again.
    killed().then(0, &acked(2, "e", 2), Event::Reloaded {}).assert_kept();
    let reloaded = twice.then(0, &acked(2, "e", 2), Event::Reloaded {});
    reloaded.assert_kept();
    let stopped = Event::Stopped {
        reason: "refused".to_owned(),
    };
    killed()
        .then(0, &acked(2, "e", 2), stopped)
        .assert_breaks(Rule::Settled);
}

#[test]
fn an_offset_with_two_messages_breaks_offsets() {
    // Acknowledged, and another message is delivered there.
    killed()
        .with(0, &acked(3, "e", 3), acked(4, "e", 3))
        .assert_breaks(Rule::Offsets);
    // Two members see different messages there.
    killed()
        .with(READER, &message("e", 2, 2), message("e", 2, 4))
        .assert_breaks(Rule::Offsets);
    // A page of history shows another one.
    let page = Event::Read {
        room: ROOM.to_owned(),
        epoch: "e".to_owned(),
        offset: 1,
        body: body(2),
    };
    killed().then(1, &message("e", 1, 1), page).assert_breaks(Rule::Offsets);
}

#[test]
fn an_acknowledged_message_that_the_log_does_not_have_breaks_log() {
    let without = |log: &[u64]| {
        let mut recording = killed();
        let end = recording
            .0
            .iter()
            .position(|(_, event)| *event == Event::Quiet {})
            .unwrap();
        recording.0.truncate(end);
        recording.end("e", log)
    };
    without(&[1, 2, 3]).assert_kept();
    without(&[1, 2]).assert_breaks(Rule::Log);
    without(&[1, 3]).assert_breaks(Rule::Log);
    without(&[]).assert_breaks(Rule::Log);
    // A failure that was certain.
    without(&[1, 2, 3, 4]).assert_breaks(Rule::Log);
    // What the copy has must be there after it was restored.
    let mut recording = restored();
    let end = recording
        .0
        .iter()
        .position(|(_, event)| *event == Event::Quiet {})
        .unwrap();
    recording.0.truncate(end);
    recording.end("f", &[4]).assert_breaks(Rule::Log);
    // Nobody read the log.
    let mut recording = killed();
    recording.0.pop();
    recording.assert_breaks(Rule::Log);
}

#[test]
fn a_reset_without_a_fault_that_may_lose_messages_breaks_reset() {
    let recovered = joined(How::Recovered, "e", 1, 2);
    killed()
        .with(1, &recovered, joined(How::Reset, "e", 1, 2))
        .assert_breaks(Rule::Reset);
    // After the loss it was told already.
    let again = joined(How::Reset, "f", 1, 2);
    restored()
        .then(1, &message("f", 1, 1), again)
        .assert_breaks(Rule::Reset);
}

#[test]
fn an_epoch_that_is_used_after_a_lost_tail_breaks_epoch() {
    let mut recording = restored();
    for (_, event) in &mut recording.0 {
        let text = serde_json::to_string(event).unwrap().replace("\"f\"", "\"e\"");
        *event = serde_json::from_str(&text).unwrap();
    }
    recording.assert_breaks(Rule::Epoch);
    recording.assert_breaks(Rule::Offsets);
}

#[test]
fn several_servers_keep_what_was_acknowledged_before_the_end_that_is_cut_off() {
    let mut recording = tail_cut();
    let copied = |event: &Event| *event == Event::Copied { copy: 0 };
    let at = recording.0.iter().position(|(_, event)| copied(event)).unwrap();
    let copied = recording.0.remove(at);
    let after = recording.index(0, &acked(2, "e", 2)) + 1;
    recording.0.insert(after, copied);
    recording.assert_breaks(Rule::Log);
}

#[test]
fn a_message_that_is_sent_after_a_lost_tail_and_added_in_the_epoch_before_breaks_epoch() {
    let kept = tail_cut().with(0, &acked(4, "f", 2), acked(4, "e", 4));
    kept.assert_breaks(Rule::Epoch);
    // What joins on a connection that was opened later.
    let reset = joined(How::Reset, "f", 0, 1);
    tail_cut()
        .with(2, &reset, joined(How::Recovered, "e", 2, 3))
        .assert_breaks(Rule::Epoch);
}

#[test]
fn a_reset_of_a_member_that_lost_nothing_breaks_reset() {
    let recovered = joined(How::Recovered, "f", 1, 1);
    tail_cut()
        .with(1, &recovered, joined(How::Reset, "f", 1, 1))
        .assert_breaks(Rule::Reset);
    // A cursor from too many lives ago is not known any more.
    let mut recording = tail_cut().with(1, &recovered, joined(How::Reset, "f", 1, 1));
    let life = recording
        .0
        .iter()
        .position(|(_, event)| *event == Event::Life { rooms: Vec::new() })
        .unwrap();
    let lives = (0..15).map(|_| (None, Event::Life { rooms: Vec::new() }));
    recording.0.splice(life..life, lives);
    recording.assert_kept();
}

#[test]
fn a_loss_in_other_rooms_excuses_nothing_in_this_one() {
    let in_room = |room: &str| {
        let mut recording = tail_cut();
        for (_, event) in &mut recording.0 {
            match event {
                Event::Fault(fault) => fault.rooms = vec![room.to_owned()],
                Event::Life { rooms } => *rooms = vec![room.to_owned()],
                _ => {}
            }
        }
        recording
    };
    in_room(ROOM).assert_kept();
    in_room("b").assert_breaks(Rule::Log);
    in_room("b").assert_breaks(Rule::Reset);
    // Nor does the end of an epoch there end one here.
    let late = |room: &str| in_room(room).with(0, &acked(4, "f", 2), acked(4, "e", 4));
    late(ROOM).assert_breaks(Rule::Epoch);
    assert!(!late("b").verdict().rules.contains_key(&Rule::Epoch));
}

#[test]
fn a_member_that_is_not_told_of_lost_messages_breaks_missing_or_gap() {
    // It goes on behind the fork, and does not have what is there now.
    let reset = joined(How::Reset, "f", 0, 1);
    let recording = tail_cut().with(2, &reset, joined(How::Recovered, "f", 2, 2));
    let recording = recording
        .without(2, &message("f", 1, 1))
        .without(2, &message("f", 2, 4));
    recording.assert_breaks(Rule::Missing);
    recording.assert_breaks(Rule::Gap);
    // It left in time, and what others were told shows that it missed something.
    let left = Event::Leave { room: ROOM.to_owned() };
    let at = recording.index(2, &joined(How::Recovered, "f", 2, 2));
    let mut recording = recording;
    recording.0.insert(at + 1, (Some(2), left));
    recording.assert_breaks(Rule::Missing);
}

#[test]
fn faults_that_did_not_happen_break_faults() {
    let kill = fault(Kind::Kill, None);
    let mut recording = killed();
    recording.0.retain(|(_, event)| *event != kill);
    recording.assert_breaks(Rule::Faults);
    // The copy was restored, and nothing was acknowledged in between.
    let mut recording = restored();
    let copied = recording
        .0
        .iter()
        .position(|(_, event)| *event == Event::Copied { copy: 0 })
        .unwrap();
    let copied = recording.0.remove(copied);
    let restored = recording
        .0
        .iter()
        .position(|(_, event)| matches!(event, Event::Fault(_)))
        .unwrap();
    recording.0.insert(restored, copied);
    recording.assert_breaks(Rule::Faults);
    // The end that was cut off had nothing that was acknowledged.
    let lost = [acked(2, "e", 2), acked(3, "e", 3)].map(|event| tail_cut().index(0, &event));
    let mut recording = tail_cut();
    for (at, message) in lost.into_iter().zip([2, 3]) {
        recording.0[at].1 = failed(message, false);
    }
    recording.assert_breaks(Rule::Faults);
    // Nobody published.
    Recording::begin(&[]).end("e", &[]).assert_breaks(Rule::Faults);
}

#[test]
fn a_recording_that_is_not_complete_breaks_recording() {
    let mut checker = Checker::default();
    for (us, (client, event)) in (0..).zip(killed().0) {
        checker.take(&Record { us, client, event });
    }
    assert!(checker.finish().rules.contains_key(&Rule::Recording));
    let mut checker = Checker::default();
    checker.unreadable("a test");
    assert!(checker.finish().rules.contains_key(&Rule::Recording));
    // Records of a connection could be on either side of the loss.
    restored().without(1, &disconnected()).assert_breaks(Rule::Recording);
}

/// The format of docs/chaos.md.
#[test]
fn a_record_is_one_line_of_json() {
    let record = Record {
        us: 17,
        client: Some(3),
        event: message("e", 2, 1),
    };
    let text = r#"{"us":17,"client":3,"event":{"message":{"room":"a","epoch":"e","offset":2,"body":"\"body 1\""}}}"#;
    assert_eq!(serde_json::to_string(&record).unwrap(), text);
    assert_eq!(serde_json::from_str::<Record>(text).unwrap(), record);
}

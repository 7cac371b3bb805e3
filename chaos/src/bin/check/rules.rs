//! The rules: takes one record after the other, and judges at the end what needs all of them.

use std::collections::{BTreeMap, HashMap};

use talkback_chaos::{Event, FORMAT, Fault, How, Kind, Loss, Position, Record, Run};

use crate::{
    model::{Line, Log, Member, Message, Segment, Sent, Slot, View, Window, covers},
    verdict::{Rule, Verdict},
};

/// What was read so far.
#[derive(Default)]
pub(crate) struct Checker {
    verdict: Verdict,
    line: Line,
    us: u64,
    run: Option<Run>,
    is_quiet: bool,
    /// The records before the line `end`.
    ended: Option<u64>,
    sent: Vec<Sent>,
    by_number: HashMap<(u32, u64), Message>,
    by_body: HashMap<String, Message>,
    unsettled: u64,
    logs: HashMap<(String, String), Log>,
    members: BTreeMap<(u32, String), Member>,
    /// Views that ended.
    views: Vec<View>,
    /// The last reload of each client.
    reloads: HashMap<u32, Line>,
    /// Clients with an open connection, and the line in which it was opened.
    connected: HashMap<u32, Line>,
    /// The lines of copies.
    copies: HashMap<u64, Line>,
    windows: Vec<Window>,
    /// The lines in which the data of several servers got another life, and the rooms in it.
    lives: Vec<(Line, Vec<String>)>,
    /// The log of each room at the end: its epoch and its head.
    last: BTreeMap<String, Position>,
}

/// A cursor is valid for so many lives of the data of several servers: docs/redis.md.
const FORKS: usize = 16;

impl Checker {
    /// A line that is no record.
    pub(crate) fn unreadable(&mut self, reason: &str) {
        self.line += 1;
        self.broken(Rule::Recording, format!("cannot be read: {reason}"));
    }

    /// Takes the next record.
    pub(crate) fn take(&mut self, record: &Record) {
        self.line += 1;
        if record.us < self.us {
            self.broken(Rule::Recording, "it is earlier than the line before".to_owned());
        }
        self.us = record.us;
        if self.ended.is_some() {
            self.broken(Rule::Recording, "it follows the end".to_owned());
        }
        match record.client {
            Some(client) => self.client(client, &record.event),
            None => self.event(&record.event),
        }
    }

    fn broken(&mut self, rule: Rule, text: String) {
        self.verdict.break_rule(rule, format!("line {}: {text}", self.line));
    }

    fn event(&mut self, event: &Event) {
        match event {
            Event::Run(run) => {
                if self.line != 1 || run.format != FORMAT {
                    self.broken(Rule::Recording, format!("it is not the beginning of format {FORMAT}"));
                }
                self.run = Some(run.clone());
            }
            Event::Copied { copy } => {
                self.copies.insert(*copy, self.line);
                self.all_disconnected();
            }
            Event::Fault(fault) => self.fault(fault),
            Event::Life { rooms } => {
                self.verdict.count("lives of the data", 1);
                self.lives.push((self.line, rooms.clone()));
            }
            Event::Started {} => self.verdict.count("starts", 1),
            Event::Quiet {} => self.is_quiet = true,
            Event::Log { room, epoch, head } => {
                let end = Position {
                    epoch: epoch.clone(),
                    offset: *head,
                };
                self.last.insert(room.clone(), end);
            }
            Event::End { records } => self.ended = Some(*records),
            other => self.broken(Rule::Recording, format!("no client is named for {other:?}")),
        }
    }

    fn client(&mut self, client: u32, event: &Event) {
        match event {
            Event::Connected { .. } => {
                self.verdict.count("connections", 1);
                self.connected.insert(client, self.line);
            }
            Event::Disconnected { code, by_client, .. } => {
                if self.connected.remove(&client).is_none() {
                    self.verdict.count("attempts to connect that failed", 1);
                } else if !by_client {
                    self.verdict.count(&format!("closed with {code}"), 1);
                }
            }
            Event::Stopped { reason } => {
                self.broken(Rule::Settled, format!("client {client} stopped for good: {reason}"));
            }
            Event::NewKey {} => self.verdict.count("new keys", 1),
            Event::Reloaded {} => {
                self.verdict.count("reloads", 1);
                self.reloads.insert(client, self.line);
                for ((_, _), member) in self
                    .members
                    .range_mut((client, String::new())..(client + 1, String::new()))
                {
                    (member.joined, member.inside) = (false, false);
                }
            }
            Event::Send { message, room, body } => self.send(client, *message, room, body),
            Event::Acked { message, epoch, offset } => self.acked(client, *message, epoch, *offset),
            Event::Failed { message, certain, .. } => self.failed(client, *message, *certain),
            Event::Nack { code, .. } => self.verdict.count(&format!("nack {code}"), 1),
            Event::Join { room, since } => self.join(client, room, since.as_ref()),
            Event::Joined {
                room,
                how,
                epoch,
                head,
                after,
            } => {
                let start = Position {
                    epoch: epoch.clone(),
                    offset: *after,
                };
                self.joined(client, room, *how, start, *head);
            }
            Event::Leave { room } | Event::Left { room, .. } => {
                let member = self.members.entry((client, room.clone())).or_default();
                (member.joined, member.inside) = (false, false);
            }
            Event::Message {
                room,
                epoch,
                offset,
                body,
            } => self.message(client, room, epoch, *offset, body),
            Event::Read {
                room,
                epoch,
                offset,
                body,
            } => {
                self.verdict.count("messages in pages", 1);
                self.alive(room, epoch, self.opened(client));
                if let Some(message) = self.body(room, body) {
                    self.slot(room, epoch, *offset, message);
                }
            }
            Event::Lost { offsets, .. } => self.verdict.count("losses told to senders", offsets.len() as u64),
            Event::Gap { room, expected, offset } => {
                let rule = if expected.is_some_and(|expected| *offset < expected) {
                    Rule::Twice
                } else {
                    Rule::Gap
                };
                let text = format!("client {client} got offset {offset} of {room} on its connection, not {expected:?}");
                self.broken(rule, text);
            }
            other => self.broken(Rule::Recording, format!("client {client} is named for {other:?}")),
        }
    }

    /// Whether servers go on while their data is broken.
    fn go_on(&self) -> bool {
        self.run.as_ref().is_some_and(|run| run.servers > 1)
    }

    /// The line in which the connection of a client was opened.
    fn opened(&self, client: u32) -> Line {
        self.connected.get(&client).copied().unwrap_or(self.line)
    }

    /// The driver waits until all connections to a single server have ended, so that each record belongs to one side of
    /// a loss.
    fn all_disconnected(&mut self) {
        if !self.go_on() && !self.connected.is_empty() {
            self.broken(
                Rule::Recording,
                "clients are connected while the data is replaced".to_owned(),
            );
        }
    }

    fn fault(&mut self, fault: &Fault) {
        *self.verdict.faults.entry(fault.kind.name().to_owned()).or_default() += 1;
        let ends = matches!(
            fault.kind,
            Kind::Kill | Kind::PowerCut | Kind::Terminate | Kind::Restore
        );
        if ends && self.unsettled > 0 {
            self.verdict.count("ends of the server with unsettled messages", 1);
        }
        if let Some(writes) = fault.writes {
            self.verdict.count("writes that power cuts took back", writes);
        }
        let from = match fault.loses {
            None => return,
            Some(Loss::Everything) => 0,
            Some(Loss::Since(copy)) => match self.copies.get(&copy) {
                Some(line) => *line,
                None => return self.broken(Rule::Recording, format!("copy {copy} was not made")),
            },
        };
        self.all_disconnected();
        let (to, is_late) = (self.line, self.go_on());
        self.windows.push(Window {
            kind: fault.kind,
            rooms: fault.rooms.clone(),
            from,
            to,
            is_late,
        });
        for ((room, _), log) in &mut self.logs {
            if covers(&fault.rooms, room) && (is_late || log.newest > from) {
                log.dead.get_or_insert(to);
            }
        }
    }

    /// The fault that may have lost what was said in this line of an epoch.
    fn lost_by(&self, line: Line, room: &str, epoch: &str) -> Option<usize> {
        let log = self.logs.get(&(room.to_owned(), epoch.to_owned()));
        let first = log.map_or(line, |log| log.first);
        self.windows.iter().position(|window| window.has(room, line, first))
    }

    /// The fault after which an epoch began that certainly does not have this message any more, although later faults
    /// would have lost it too.
    fn shown_lost(&self, message: Message, place: &Position, line: Line, logs: Option<&Vec<&Log>>) -> Option<usize> {
        let logs = logs?;
        let room = &self.sent[message].room;
        let first = self.logs.get(&(room.clone(), place.epoch.clone()))?.first;
        self.windows.iter().enumerate().position(|(number, window)| {
            let mut later = self.windows[number + 1..].iter().filter(|later| later.covers(room));
            let next = later.next().map_or(Line::MAX, |next| next.to);
            window.has(room, line, first)
                && logs
                    .iter()
                    .filter(|log| window.to < log.first && log.first < next)
                    .any(|log| log.lacks(message, place.offset))
        })
    }

    /// Whether the log may have lost that a message of this client failed for certain. A client asks again only after a
    /// reload.
    fn is_failure_lost(&self, line: Line, sent: &Sent) -> bool {
        let is_reloaded = self.reloads.get(&sent.client).is_some_and(|reload| line < *reload);
        let first = if is_reloaded { 0 } else { line };
        self.windows.iter().any(|window| window.has(&sent.room, line, first))
    }

    fn send(&mut self, client: u32, number: u64, room: &str, body: &str) {
        self.verdict.count("sent", 1);
        let message = self.sent.len();
        let numbered = self.by_number.insert((client, number), message);
        let former = self.by_body.insert(body.to_owned(), message);
        if numbered.is_some() || former.is_some() {
            self.broken(
                Rule::Recording,
                format!("message {number} of client {client} was sent before"),
            );
        }
        self.unsettled += 1;
        self.sent.push(Sent {
            client,
            number,
            room: room.to_owned(),
            line: self.line,
            acked: None,
            failed: None,
            outcomes: 0,
        });
    }

    /// The message, which gets an outcome.
    fn settle(&mut self, client: u32, number: u64) -> Option<Message> {
        let Some(&message) = self.by_number.get(&(client, number)) else {
            self.broken(
                Rule::Settled,
                format!("message {number} of client {client} was never sent"),
            );
            return None;
        };
        let sent = &mut self.sent[message];
        sent.outcomes += 1;
        let settled = sent.settled();
        match settled {
            None => self.unsettled -= 1,
            // A page that was loaded again may not have stored the outcome.
            Some(line) if self.reloads.get(&client).is_some_and(|reload| line < *reload) => {}
            Some(line) => {
                let text = format!("message {number} of client {client} has an outcome since line {line}");
                self.broken(Rule::Settled, text);
            }
        }
        Some(message)
    }

    fn acked(&mut self, client: u32, number: u64, epoch: &str, offset: u64) {
        self.verdict.count("acknowledged", 1);
        let Some(message) = self.settle(client, number) else {
            return;
        };
        let place = Position {
            epoch: epoch.to_owned(),
            offset,
        };
        let sent = &mut self.sent[message];
        sent.acked = Some((place, self.line));
        let (room, since) = (sent.room.clone(), sent.line);
        self.alive(&room, epoch, since);
        self.slot(&room, epoch, offset, message);
        if let Some(slot) = self.log(&room, epoch).slots.get_mut(&offset) {
            slot.acked |= slot.message == message;
        }
    }

    fn failed(&mut self, client: u32, number: u64, certain: bool) {
        self.verdict.count(if certain { "failed" } else { "unconfirmed" }, 1);
        if let Some(message) = self.settle(client, number) {
            self.sent[message].failed = Some((certain, self.line));
        }
    }

    fn log(&mut self, room: &str, epoch: &str) -> &mut Log {
        let first = self.line;
        let log = self.logs.entry((room.to_owned(), epoch.to_owned()));
        log.or_insert_with(|| Log {
            first,
            ..Log::default()
        })
    }

    /// A server used this epoch for what began in the line `since`. Of several servers one may learn later than others
    /// that messages were lost.
    fn alive(&mut self, room: &str, epoch: &str, since: Line) {
        let goes_on = self.go_on();
        if let Some(lost) = self.log(room, epoch).dead
            && (!goes_on || lost < since)
        {
            let text = format!("epoch {epoch} of {room} is used, and its newest messages were lost in line {lost}");
            self.broken(Rule::Epoch, text);
        }
    }

    /// The message with this body.
    fn body(&mut self, room: &str, body: &str) -> Option<Message> {
        let message = self.by_body.get(body).copied();
        match message {
            None => {
                let start: String = body.chars().take(60).collect();
                self.broken(Rule::Bytes, format!("a body in {room} that was never sent: {start}"));
            }
            Some(message) if self.sent[message].room != room => {
                let (name, to) = (self.sent[message].name(), self.sent[message].room.clone());
                self.broken(Rule::Bytes, format!("{name} was sent to {to} and came in {room}"));
                return None;
            }
            Some(_) => {}
        }
        message
    }

    /// An offset has a message.
    fn slot(&mut self, room: &str, epoch: &str, offset: u64, message: Message) {
        let line = self.line;
        let log = self.log(room, epoch);
        let slot = log.slots.entry(offset).or_insert_with(|| {
            log.newest = line;
            Slot {
                message,
                line,
                acked: false,
            }
        });
        let (other, since) = (slot.message, slot.line);
        let twice = *log.offsets.entry(message).or_insert(offset);
        if other != message {
            let (name, other) = (self.sent[message].name(), self.sent[other].name());
            let text =
                format!("offset {offset} of {room} in {epoch} has {name}, and since line {since} it has {other}");
            self.broken(Rule::Offsets, text);
        } else if twice != offset {
            let name = self.sent[message].name();
            self.broken(
                Rule::Twice,
                format!("{name} has the offsets {twice} and {offset} of {room} in {epoch}"),
            );
        }
    }

    fn join(&mut self, client: u32, room: &str, since: Option<&Position>) {
        let line = self.line;
        let member = self.members.entry((client, room.to_owned())).or_default();
        (member.joined, member.inside) = (true, false);
        if since.is_none() || member.cursor().as_ref() != since {
            self.views.extend(member.view.take());
            member.since = since.cloned();
            member.line = line;
        }
    }

    fn joined(&mut self, client: u32, room: &str, how: How, start: Position, head: u64) {
        self.verdict.count(
            match how {
                How::Joined => "joins",
                How::Recovered => "recoveries",
                How::Reset => "resets",
            },
            1,
        );
        self.alive(room, &start.epoch, self.opened(client));
        let log = self.log(room, &start.epoch);
        log.lowest = Some(log.lowest.map_or(head, |lowest| lowest.min(head)));
        let member = self.members.entry((client, room.to_owned())).or_default();
        let (cursor, known) = (member.cursor(), member.line);
        let mut wrong = None;
        if !member.joined {
            wrong = Some("it had not joined".to_owned());
        } else if start.offset > head {
            wrong = Some(format!("it begins at {}, after the head {head}", start.offset));
        }
        member.inside = true;
        member.line = self.line;
        let go_on = how == How::Recovered && cursor.as_ref().is_some_and(|cursor| cursor.offset == start.offset);
        if go_on && let Some(view) = &mut member.view {
            if view.segments.last().is_some_and(|segment| segment.epoch != start.epoch) {
                member.rank = 0;
                view.segments.push(Segment {
                    epoch: start.epoch,
                    from: start.offset,
                    to: start.offset,
                });
            }
        } else {
            match (how, &cursor) {
                (How::Recovered, _) if go_on => {}
                (How::Recovered, Some(cursor)) => {
                    wrong = Some(format!("it recovered at {} and not at {}", start.offset, cursor.offset));
                }
                (How::Recovered, None) => wrong = Some("it recovered without a cursor".to_owned()),
                (How::Joined, Some(_)) => wrong = Some("its cursor was ignored".to_owned()),
                _ => {}
            }
            self.views.extend(member.view.take());
            member.rank = 0;
            member.view = Some(View::new(client, room, start));
        }
        if let Some(wrong) = wrong {
            self.broken(Rule::Gap, format!("client {client} in {room}: {wrong}"));
        }
        if how == How::Reset && !self.may_reset(room, cursor.as_ref(), known) {
            let text = format!("client {client} in {room} was at {cursor:?}, and nothing was lost since line {known}");
            self.broken(Rule::Reset, text);
        }
    }

    /// Whether a member may be told that messages are missing, that learned the last message that it has in the line
    /// `known`. Several servers tell only those that have what may be lost, or a cursor from long ago.
    fn may_reset(&self, room: &str, cursor: Option<&Position>, known: Line) -> bool {
        if !self.go_on() {
            return self.windows.iter().any(|window| known < window.to);
        }
        let lives = self.lives.iter().rev().take_while(|(life, _)| *life >= known);
        let lives = lives.filter(|(_, rooms)| covers(rooms, room)).count();
        let is_lost = cursor.is_some_and(|cursor| self.lost_by(known, room, &cursor.epoch).is_some());
        is_lost || lives >= FORKS
    }

    fn message(&mut self, client: u32, room: &str, epoch: &str, offset: u64, body: &str) {
        self.verdict.count("delivered", 1);
        let message = self.body(room, body);
        let since = message.map_or(self.line, |message| self.sent[message].line);
        self.alive(room, epoch, since);
        if let Some(message) = message {
            self.slot(room, epoch, offset, message);
        }
        let rank = message.and_then(|message| self.log(room, epoch).offsets.get(&message).copied());
        let line = self.line;
        let member = self.members.entry((client, room.to_owned())).or_default();
        let inside = member.inside;
        let Some(view) = member.view.as_mut().filter(|_| inside) else {
            return self.broken(
                Rule::Gap,
                format!("client {client} got offset {offset} of {room} before it joined"),
            );
        };
        member.line = line;
        let known = message.and_then(|message| view.delivered.insert(message, offset));
        let mut gap = None;
        if let Some(last) = view.last() {
            if last.epoch != epoch || last.to + 1 != offset {
                gap = Some(format!("offset {} of epoch {}", last.to + 1, last.epoch));
            }
            last.to = offset;
        }
        let before = member.rank;
        member.rank = rank.unwrap_or(before);
        if let Some(gap) = gap {
            let text = format!("client {client} in {room} got offset {offset} of epoch {epoch} and not {gap}");
            self.broken(Rule::Gap, text);
        }
        if let (Some(former), Some(message)) = (known, message) {
            let name = self.sent[message].name();
            self.broken(
                Rule::Twice,
                format!("client {client} has {name} at {former} and at {offset} of {room}"),
            );
        } else if rank.is_some_and(|rank| rank <= before) {
            let text = format!("client {client} got offset {offset} of {room} after messages that others got later");
            self.broken(Rule::Order, text);
        }
    }

    /// Judges what needs all records.
    pub(crate) fn finish(mut self) -> Verdict {
        if self.ended != Some(self.line.saturating_sub(1)) {
            let text = format!(
                "the end counts {:?} records before it: the recording is cut off",
                self.ended
            );
            self.broken(Rule::Recording, text);
        }
        let Some(run) = self.run.take() else {
            self.broken(Rule::Recording, "it does not say what run it is".to_owned());
            return self.verdict;
        };
        (self.verdict.seed, self.verdict.topology) = (run.seed, run.topology.clone());
        self.outcomes();
        let logs = self.read_logs(run.reader);
        let lost = self.kept(&logs);
        self.plan(&run, &lost);
        self.complete(&run, &logs);
        self.sender_order();
        self.verdict.kept = self.verdict.is_kept();
        self.verdict
    }

    /// `lost`: how many acknowledged messages each window has lost.
    fn plan(&mut self, run: &Run, lost: &[u64]) {
        let lossy: Vec<_> = self.windows.iter().zip(lost).filter(|(_, lost)| **lost > 0).collect();
        self.verdict.count("lost tails", lossy.len() as u64);
        self.verdict
            .count("acknowledged messages in lost tails", lost.iter().sum());
        for (&kind, &least) in &run.plan {
            let name = kind.name();
            let mut happened = self.verdict.faults.get(name).copied().unwrap_or_default();
            if kind.makes_lost_tail() {
                happened = lossy.iter().filter(|(window, _)| window.kind == kind).count() as u64;
            }
            if happened < least {
                let text = format!("{name} happened {happened} times with an effect, and at least {least} are planned");
                self.verdict.break_rule(Rule::Faults, text);
            }
        }
        let count = |name: &str| self.verdict.counts.get(name).copied().unwrap_or_default();
        if count("acknowledged") == 0 || count("delivered") == 0 || !self.is_quiet {
            let text = "no messages were acknowledged and delivered, or the faults did not end".to_owned();
            self.verdict.break_rule(Rule::Faults, text);
        }
    }

    fn outcomes(&mut self) {
        for sent in self.sent.iter().filter(|sent| sent.outcomes == 0) {
            let text = format!("line {}: {} has no outcome", sent.line, sent.name());
            self.verdict.break_rule(Rule::Settled, text);
        }
    }

    /// The log of each room: what the reader was shown.
    fn read_logs(&mut self, reader: u32) -> BTreeMap<String, HashMap<Message, u64>> {
        let mut logs = BTreeMap::new();
        for (room, end) in &self.last {
            let member = self.members.get(&(reader, room.clone()));
            let view = member.and_then(|member| member.view.as_ref());
            match view.filter(|view| view.start() == 0 && view.end().as_ref() == Some(end)) {
                Some(view) => drop(logs.insert(room.clone(), view.delivered.clone())),
                None => {
                    let has = view.map(|view| (view.start(), view.end()));
                    let text = format!("the reader did not get {room} from its beginning to {end:?}, but {has:?}");
                    self.verdict.break_rule(Rule::Log, text);
                }
            }
        }
        logs
    }

    /// Each acknowledged message is in the log, and none that failed. Returns how many acknowledged messages each window
    /// has certainly lost.
    fn kept(&mut self, logs: &BTreeMap<String, HashMap<Message, u64>>) -> Vec<u64> {
        let (mut lost, mut broken) = (vec![0; self.windows.len()], Vec::new());
        let mut rooms: HashMap<&str, Vec<&Log>> = HashMap::new();
        for ((room, _), log) in &self.logs {
            rooms.entry(room).or_default().push(log);
        }
        for (message, sent) in self.sent.iter().enumerate() {
            let log = logs.get(&sent.room);
            let offset = log.and_then(|log| log.get(&message)).copied();
            let text = match (&sent.acked, sent.failed) {
                (Some((place, line)), _) if offset != Some(place.offset) => {
                    if self.lost_by(*line, &sent.room, &place.epoch).is_some() {
                        if let Some(window) = self.shown_lost(message, place, *line, rooms.get(sent.room.as_str())) {
                            lost[window] += 1;
                        }
                        continue;
                    }
                    format!(
                        "line {line}: {} was acknowledged at offset {} of {} in {}, and the log has it at {offset:?}",
                        sent.name(),
                        place.offset,
                        sent.room,
                        place.epoch,
                    )
                }
                (None, Some((true, line))) if !self.is_failure_lost(line, sent) && offset.is_some() => format!(
                    "line {line}: {} failed for certain, and the log of {} has it at {offset:?}",
                    sent.name(),
                    sent.room,
                ),
                _ => continue,
            };
            broken.push(text);
        }
        for text in broken {
            self.verdict.break_rule(Rule::Log, text);
        }
        lost
    }

    /// Each member has what was acknowledged while it was a member, and those that are members at the end have all of
    /// the log.
    fn complete(&mut self, run: &Run, logs: &BTreeMap<String, HashMap<Message, u64>>) {
        let members = self.members.values();
        let (mut broken, mut gone, mut ended) = (Vec::new(), Vec::new(), 0);
        for view in self
            .views
            .iter()
            .chain(members.clone().filter_map(|member| member.view.as_ref()))
        {
            for segment in &view.segments {
                let Some(log) = self.logs.get(&(view.room.clone(), segment.epoch.clone())) else {
                    continue;
                };
                // The first messages of a segment came in the epochs before.
                for (offset, slot) in log
                    .slots
                    .range(view.start() + 1..)
                    .take_while(|(offset, _)| **offset <= segment.to)
                {
                    let counts = slot.acked || *offset <= segment.from;
                    if counts && !view.delivered.contains_key(&slot.message) {
                        broken.push(format!(
                            "client {} has offsets {} to {} of {} in {}, and not {} at {offset}",
                            view.client,
                            view.start() + 1,
                            segment.to,
                            view.room,
                            segment.epoch,
                            self.sent[slot.message].name(),
                        ));
                    }
                }
            }
        }
        for ((client, room), member) in &self.members {
            if *client == run.reader || !member.joined {
                continue;
            }
            let (Some(end), Some(log)) = (self.last.get(room), logs.get(room)) else {
                // The log of the room is judged by the rule about logs.
                continue;
            };
            ended += 1;
            let has = member.cursor();
            if has.as_ref() != Some(end) || !member.inside {
                broken.push(format!(
                    "client {client} is in {room} at the end with {has:?}, and the log ends at {end:?}"
                ));
            }
            let Some(view) = &member.view else { continue };
            let missing = log
                .iter()
                .filter(|(message, offset)| **offset > view.start() && !view.delivered.contains_key(*message));
            for (message, offset) in missing {
                let name = self.sent[*message].name();
                broken.push(format!(
                    "client {client} is in {room} at the end without {name} at {offset}"
                ));
            }
            for (message, offset) in view.delivered.iter().filter(|(message, _)| !log.contains_key(*message)) {
                let name = self.sent[*message].name();
                gone.push(format!(
                    "client {client} is in {room} at the end with {name} at {offset}, which the log lost, and was not told"
                ));
            }
        }
        for text in broken {
            self.verdict.break_rule(Rule::Missing, text);
        }
        for text in gone {
            self.verdict.break_rule(Rule::Gap, text);
        }
        self.verdict.count("memberships at the end", ended);
        if ended == 0 {
            let text = "no client is in a room at the end".to_owned();
            self.verdict.break_rule(Rule::Faults, text);
        }
    }

    /// The messages of a sender in a room are in the log in the order in which it sent them. A message with several
    /// outcomes was sent again after a reload.
    fn sender_order(&mut self) {
        for ((room, epoch), log) in &self.logs {
            let mut newest = HashMap::new();
            for (offset, slot) in log.slots.iter().filter(|(_, slot)| slot.acked) {
                let sent = &self.sent[slot.message];
                if sent.outcomes != 1 {
                    continue;
                }
                let last = newest.entry(sent.client).or_insert(0);
                if sent.number < *last {
                    let text = format!(
                        "{} is at offset {offset} of {room} in {epoch}, after message {last} of the same client",
                        sent.name()
                    );
                    self.verdict.break_rule(Rule::Order, text);
                }
                *last = sent.number.max(*last);
            }
        }
    }
}

//! The log of each room as the contract of an engine has it, without any cleverness, and a memory of all that was ever in it.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use talkback_protocol::{
    Body, ClientKey, Cursor, Epoch, Offset, PublishId, RoomName, Seq,
    codec::{MemberList, MessageLine},
    message::{Author, Message},
    session::server::{AppendOutcome, PageLines, Refusal, Subscription},
};

/// How many outcomes are remembered for each client and room: as many as a client may have on the way.
pub const REMEMBERED: usize = 8;

pub struct ModelLog {
    rooms: BTreeMap<RoomName, Room>,
    epochs: u64,
    /// Every message that ever was in a log, by room and epoch.
    pub truth: BTreeMap<(RoomName, Epoch), Vec<Message>>,
}

/// Which message of its client an append is about.
pub struct Number {
    pub seq: Seq,
    pub id: PublishId,
    pub first: bool,
}

struct Room {
    epoch: Epoch,
    /// Offsets up to this one are not kept any more.
    trimmed: u64,
    head: u64,
    settled: BTreeMap<ClientKey, Settled>,
}

struct Settled {
    last: Seq,
    outcomes: VecDeque<(Seq, PublishId, AppendOutcome)>,
    touched: Duration,
}

impl ModelLog {
    pub fn new() -> Self {
        Self {
            rooms: BTreeMap::new(),
            epochs: 0,
            truth: BTreeMap::new(),
        }
    }

    fn room(&mut self, name: &RoomName) -> &mut Room {
        let epochs = &mut self.epochs;
        self.rooms.entry(name.clone()).or_insert_with(|| {
            *epochs += 1;
            Room {
                epoch: Epoch::from_random(*epochs),
                trimmed: 0,
                head: 0,
                settled: BTreeMap::new(),
            }
        })
    }

    /// Everything is gone: each room begins a new epoch.
    pub fn lose(&mut self) {
        self.rooms.clear();
    }

    /// All but the newest messages of each room are gone.
    pub fn trim(&mut self, keep: u64) {
        for room in self.rooms.values_mut() {
            room.trimmed = room.trimmed.max(room.head.saturating_sub(keep));
        }
    }

    /// Clients that said nothing since then are forgotten.
    pub fn forget(&mut self, before: Duration) {
        for room in self.rooms.values_mut() {
            room.settled.retain(|_, settled| settled.touched >= before);
        }
    }

    pub fn epoch(&mut self, name: &RoomName) -> Epoch {
        self.room(name).epoch.clone()
    }

    pub fn head(&mut self, name: &RoomName) -> Offset {
        Offset::new(self.room(name).head).unwrap()
    }

    pub fn find(&self, name: &RoomName, epoch: &Epoch, offset: Offset) -> Option<&Message> {
        let index = usize::try_from(offset.get()).ok()?.checked_sub(1)?;
        self.truth.get(&(name.clone(), epoch.clone()))?.get(index)
    }

    /// Appends a message, or settles a number without one. Gives the new message, if there is one.
    pub fn append(
        &mut self,
        name: &RoomName,
        client: ClientKey,
        Number { seq, id, first }: Number,
        entry: Result<(Author, Body), Refusal>,
        now: Duration,
    ) -> (AppendOutcome, Option<Message>) {
        let room = self.room(name);
        let epoch = room.epoch.clone();
        let last = room.settled.get(&client).map_or(0, |settled| settled.last.get());
        if let Some(settled) = room.settled.get_mut(&client) {
            settled.touched = now;
            if seq <= settled.last {
                let found = settled.outcomes.iter().find(|(known, ..)| *known == seq);
                let outcome = match found {
                    None => AppendOutcome::Forgotten { epoch },
                    Some((_, known, _)) if *known != id => AppendOutcome::Conflict { epoch },
                    Some((.., outcome)) => outcome.clone(),
                };
                return (outcome, None);
            }
        }
        if seq.get() != last + 1 && !first {
            return (AppendOutcome::Gap { epoch }, None);
        }
        let (outcome, message) = match entry {
            Ok((from, body)) => {
                room.head += 1;
                let message = Message {
                    room: name.clone(),
                    offset: Offset::new(room.head).unwrap(),
                    from,
                    seq: Some(seq),
                    id: Some(id),
                    at: u64::try_from(now.as_millis()).unwrap(),
                    body,
                };
                let outcome = AppendOutcome::Appended {
                    epoch,
                    offset: message.offset,
                    at: message.at,
                };
                (outcome, Some(message))
            }
            Err(refusal) => {
                let epoch = Some(epoch);
                (AppendOutcome::Refused { epoch, refusal }, None)
            }
        };
        let settled = room.settled.entry(client).or_insert(Settled {
            last: seq,
            outcomes: VecDeque::new(),
            touched: now,
        });
        settled.last = seq;
        settled.outcomes.push_back((seq, id, outcome.clone()));
        if settled.outcomes.len() > REMEMBERED {
            settled.outcomes.pop_front();
        }
        let key = (name.clone(), room.epoch.clone());
        if let Some(message) = &message {
            self.truth.entry(key).or_default().push(message.clone());
        }
        (outcome, message)
    }

    pub fn subscribe(
        &mut self,
        name: &RoomName,
        since: Option<&Cursor>,
        history: u32,
        first_page: usize,
    ) -> Subscription {
        let room = self.room(name);
        let (epoch, head, trimmed) = (room.epoch.clone(), room.head, room.trimmed);
        let known = since.filter(|since| since.epoch == epoch && (trimmed..=head).contains(&since.offset.get()));
        let after = known.map_or(head.saturating_sub(history.into()).max(trimmed), |since| {
            since.offset.get()
        });
        let after = Offset::new(after).unwrap();
        let messages = self.after(name, after).into_iter().take(first_page).collect();
        Subscription {
            epoch,
            head: Offset::new(head).unwrap(),
            after,
            recovered: since.is_none() || known.is_some(),
            fork: None,
            users: 0,
            members: Some(MemberList::encode(&[])),
            messages,
        }
    }

    /// What follows an offset, to the head.
    pub fn after(&mut self, name: &RoomName, after: Offset) -> Vec<MessageLine> {
        let key = (name.clone(), self.epoch(name));
        let messages = self.truth.get(&key).map_or(&[][..], Vec::as_slice);
        let skip = usize::try_from(after.get()).unwrap();
        messages.iter().skip(skip).map(MessageLine::encode).collect()
    }

    pub fn page(&mut self, name: &RoomName, before: Offset, limit: u32) -> PageLines {
        let room = self.room(name);
        let (epoch, trimmed) = (room.epoch.clone(), room.trimmed);
        let end = before.get().saturating_sub(1).min(room.head);
        let start = end.saturating_sub(limit.into()).max(trimmed).min(end);
        let lines = self.after(name, Offset::new(start).unwrap());
        PageLines {
            epoch,
            messages: lines.into_iter().take(usize::try_from(end - start).unwrap()).collect(),
            more: start > trimmed,
        }
    }
}

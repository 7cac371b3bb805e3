//! The log of each room as the contract of an engine has it, without any cleverness, and a memory of all that was ever
//! in it.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use talkback_protocol::{
    Body, ClientKey, Cursor, Epoch, Offset, PublishId, RoomName, Seq,
    codec::MessageLine,
    message::{Author, Message},
    session::server::{AppendOutcome, PageLines, Place, Refusal, Subscription},
};

/// How many outcomes are remembered for each client and room: as many as a client may have on the way.
pub const REMEMBERED: usize = 8;
/// After so many messages what the log has is stored.
const STORED_EVERY: usize = 2;

pub struct ModelLog {
    rooms: BTreeMap<RoomName, Room>,
    /// What an engine that loses its newest messages still has: as of every [`STORED_EVERY`] messages.
    stored: BTreeMap<RoomName, Room>,
    appended: usize,
    epochs: u64,
    /// Where each life of a log that went on from an earlier one parted from it.
    pub forks: BTreeMap<(RoomName, Epoch), Cursor>,
    /// Every message that ever was in a log, by room and epoch.
    pub truth: BTreeMap<(RoomName, Epoch), Vec<Message>>,
}

#[derive(Clone)]
struct Room {
    epoch: Epoch,
    /// Where this log parted from the life before.
    fork: Option<Cursor>,
    /// Offsets up to this one are not kept any more.
    trimmed: u64,
    head: u64,
    settled: BTreeMap<ClientKey, Settled>,
}

#[derive(Clone)]
struct Settled {
    last: Seq,
    outcomes: VecDeque<(Seq, PublishId, AppendOutcome)>,
    touched: Duration,
}

/// What a client asks the log to append.
#[derive(Clone)]
pub struct Entry {
    pub room: RoomName,
    pub client: ClientKey,
    pub seq: Seq,
    pub id: PublishId,
    pub first: bool,
    /// The message, or a refusal that settles the number.
    pub content: Result<(Author, Body), Refusal>,
}

/// What the log did.
pub struct Appended {
    pub outcome: AppendOutcome,
    /// The message, if it was added.
    pub message: Option<Message>,
    /// It was a late copy of a message whose number had been withdrawn.
    pub late_copy: bool,
}

impl ModelLog {
    pub fn new() -> Self {
        Self {
            rooms: BTreeMap::new(),
            stored: BTreeMap::new(),
            appended: 0,
            epochs: 0,
            forks: BTreeMap::new(),
            truth: BTreeMap::new(),
        }
    }

    fn room(&mut self, name: &RoomName) -> &mut Room {
        let epochs = &mut self.epochs;
        self.rooms.entry(name.clone()).or_insert_with(|| {
            *epochs += 1;
            Room {
                epoch: Epoch::from_random(*epochs),
                fork: None,
                trimmed: 0,
                head: 0,
                settled: BTreeMap::new(),
            }
        })
    }

    /// Everything is gone: each room begins a new epoch.
    pub fn lose(&mut self) {
        self.rooms.clear();
        self.stored.clear();
    }

    /// The newest messages are gone: each room goes on in a new epoch from where it was stored. Gives how many lost
    /// messages.
    pub fn lose_newest(&mut self) -> usize {
        let mut forks = 0;
        let rooms: Vec<_> = self.rooms.keys().cloned().collect();
        for name in rooms {
            let now = self.rooms[&name].clone();
            let stored = self.stored.get(&name).filter(|stored| stored.epoch == now.epoch);
            let Some(mut room) = stored.cloned() else {
                self.rooms.remove(&name);
                continue;
            };
            if room.head == now.head {
                continue;
            }
            forks += 1;
            self.epochs += 1;
            let before = std::mem::replace(&mut room.epoch, Epoch::from_random(self.epochs));
            let fork = Cursor {
                epoch: before.clone(),
                offset: Offset::new(room.head).unwrap(),
            };
            self.forks.insert((name.clone(), room.epoch.clone()), fork.clone());
            room.fork = Some(fork);
            room.trimmed = room.trimmed.max(now.trimmed.min(room.head));
            let kept = usize::try_from(room.head).unwrap();
            let shared = self
                .truth
                .get(&(name.clone(), before))
                .map_or(Vec::new(), |log| log[..kept].to_vec());
            self.truth.insert((name.clone(), room.epoch.clone()), shared);
            // What was answered in the life before is answered with its place in this one.
            for settled in room.settled.values_mut() {
                for (_, _, outcome) in &mut settled.outcomes {
                    move_to(outcome, &room.epoch);
                }
            }
            self.rooms.insert(name, room);
        }
        self.stored.clear();
        forks
    }

    /// All but the newest messages of each room are gone.
    pub fn trim(&mut self, keep: u64) {
        for room in self.rooms.values_mut() {
            room.trimmed = room.trimmed.max(room.head.saturating_sub(keep));
        }
    }

    /// Clients that said nothing since then are forgotten. Gives how many.
    pub fn forget(&mut self, before: Duration) -> usize {
        let mut forgotten = 0;
        for room in self.rooms.values_mut() {
            let known = room.settled.len();
            room.settled.retain(|_, settled| settled.touched >= before);
            forgotten += known - room.settled.len();
        }
        forgotten
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

    /// Appends a message, or settles a number without one.
    pub fn append(&mut self, entry: Entry, now: Duration) -> Appended {
        let Entry {
            room: name,
            client,
            seq,
            id,
            first,
            content,
        } = entry;
        let room = self.room(&name);
        let epoch = room.epoch.clone();
        let unchanged = |outcome| Appended {
            outcome,
            message: None,
            late_copy: false,
        };
        let last = room.settled.get(&client).map_or(0, |settled| settled.last.get());
        if let Some(settled) = room.settled.get_mut(&client) {
            settled.touched = now;
            if seq <= settled.last {
                let found = settled.outcomes.iter().find(|(known, ..)| *known == seq);
                return match found {
                    None => unchanged(AppendOutcome::Forgotten { epoch }),
                    Some((_, known, _)) if *known != id => unchanged(AppendOutcome::Conflict { epoch }),
                    Some((_, _, outcome)) => Appended {
                        outcome: again(outcome),
                        message: None,
                        late_copy: content.is_ok() && matches!(outcome, AppendOutcome::Refused { .. }),
                    },
                };
            }
        }
        if seq.get() != last + 1 && !first {
            return unchanged(AppendOutcome::Gap { epoch });
        }
        let (outcome, message) = match content {
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
                let outcome = AppendOutcome::Added(Place {
                    epoch: epoch.clone(),
                    offset: message.offset,
                    at: message.at,
                });
                (outcome, Some(message))
            }
            Err(refusal) => {
                let epoch = Some(epoch.clone());
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
        if let Some(message) = &message {
            self.truth.entry((name, epoch)).or_default().push(message.clone());
            self.appended += 1;
            if self.appended.is_multiple_of(STORED_EVERY) {
                self.stored = self.rooms.clone();
            }
        }
        Appended {
            outcome,
            message,
            late_copy: false,
        }
    }

    /// Where a member begins. What follows is read with [`after`](Self::after).
    pub fn subscribe(
        &mut self,
        name: &RoomName,
        since: Option<&Cursor>,
        history: u32,
        first_page: usize,
    ) -> Subscription {
        let room = self.room(name);
        let (epoch, head, trimmed, fork) = (room.epoch.clone(), room.head, room.trimmed, room.fork.clone());
        let kept = Offset::new(trimmed).unwrap()..=Offset::new(head).unwrap();
        let is_known = |since: &&Cursor| since.is_recovered_by(&epoch, fork.as_ref(), kept.clone());
        let known = since.filter(is_known);
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
            fork,
            users: 0,
            members: None,
            messages,
        }
    }

    /// Whether every message after this offset is kept.
    pub fn has_all_after(&mut self, name: &RoomName, after: Offset) -> bool {
        self.room(name).trimmed <= after.get()
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

/// What a copy of a message is answered, whose number has this outcome.
fn again(outcome: &AppendOutcome) -> AppendOutcome {
    match outcome.clone() {
        AppendOutcome::Added(place) => AppendOutcome::Duplicate(place),
        other => other,
    }
}

/// The same outcome in another life of the log.
fn move_to(outcome: &mut AppendOutcome, to: &Epoch) {
    match outcome {
        AppendOutcome::Added(Place { epoch, .. })
        | AppendOutcome::Duplicate(Place { epoch, .. })
        | AppendOutcome::Gap { epoch }
        | AppendOutcome::Conflict { epoch }
        | AppendOutcome::Forgotten { epoch } => *epoch = to.clone(),
        AppendOutcome::Refused { epoch, .. } => *epoch = Some(to.clone()),
    }
}

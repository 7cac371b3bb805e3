//! The log of each room, as the contract of an engine has it, and every message that was ever in one.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use crate::{
    Body, ClientKey, Cursor, Epoch, Offset, PublishId, RoomName, Seq,
    codec::MessageLine,
    message::{Author, Message},
    session::server::{AppendOutcome, PageLines, Place, Refusal, Subscription},
};

/// The logs of all rooms. A room begins with its first use.
#[derive(Debug)]
pub struct Logs {
    /// How many outcomes are remembered for each client and room.
    remembered: usize,
    /// After this many messages the logs are stored, see [`lose_unstored`](Self::lose_unstored).
    stored_every: usize,
    rooms: BTreeMap<RoomName, Room>,
    stored: BTreeMap<RoomName, Room>,
    appended: usize,
    /// How many epochs were begun.
    epochs: u64,
    forks: BTreeMap<(RoomName, Epoch), Cursor>,
    messages: BTreeMap<(RoomName, Epoch), Vec<Message>>,
}

#[derive(Clone, Debug)]
struct Room {
    epoch: Epoch,
    /// Where this epoch parted from the one before.
    fork: Option<Cursor>,
    /// Messages up to this one are no longer kept.
    trimmed: Offset,
    head: Offset,
    settled: BTreeMap<ClientKey, Settled>,
}

/// What became of the messages of one client.
#[derive(Clone, Debug)]
struct Settled {
    last: Seq,
    outcomes: VecDeque<(Seq, PublishId, AppendOutcome)>,
    touched: Duration,
}

/// What a client requests to append.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The room whose log takes it.
    pub room: RoomName,
    /// With `seq` and `room`, the key of de-duplication.
    pub client: ClientKey,
    /// The number of the message among those of the client in the room.
    pub seq: Seq,
    /// The id of the message.
    pub id: PublishId,
    /// Whether all earlier numbers are settled.
    pub first: bool,
    /// The message, or a refusal that settles the number.
    pub content: Result<(Author, Body), Refusal>,
}

/// What the log did with an [`Entry`].
#[derive(Clone, Debug)]
pub struct Appended {
    /// The answer to the client.
    pub outcome: AppendOutcome,
    /// The message, if it was added.
    pub message: Option<Message>,
    /// It was a late copy of a message whose number had been refused or withdrawn.
    pub late_copy: bool,
}

impl Logs {
    /// No rooms. See [`Faults`](super::Faults) for both numbers.
    #[must_use]
    pub fn new(remembered: usize, stored_every: usize) -> Self {
        Self {
            remembered,
            stored_every,
            rooms: BTreeMap::new(),
            stored: BTreeMap::new(),
            appended: 0,
            epochs: 0,
            forks: BTreeMap::new(),
            messages: BTreeMap::new(),
        }
    }

    fn room(&mut self, name: &RoomName) -> &mut Room {
        let epochs = &mut self.epochs;
        self.rooms.entry(name.clone()).or_insert_with(|| {
            *epochs += 1;
            Room {
                epoch: Epoch::from_random(*epochs),
                fork: None,
                trimmed: Offset::ZERO,
                head: Offset::ZERO,
                settled: BTreeMap::new(),
            }
        })
    }

    /// Loses everything: each room begins a new epoch.
    pub fn lose(&mut self) {
        self.rooms.clear();
        self.stored.clear();
    }

    /// Loses what was appended after the logs were stored: such a room goes on in a new epoch from there. Returns how
    /// many rooms lost messages and went on.
    pub fn lose_unstored(&mut self) -> usize {
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
            room.trimmed = room.trimmed.max(now.trimmed.min(room.head));
            self.fork(name, room);
        }
        self.stored.clear();
        forks
    }

    /// Loses this many of the newest messages of a room, with what their clients were answered. The room goes on in a
    /// new epoch.
    pub fn lose_newest(&mut self, name: &RoomName, messages: usize) {
        let Some(mut room) = self.rooms.remove(name) else {
            return;
        };
        let head = earlier(room.head, messages).max(room.trimmed);
        room.head = head;
        room.settled.retain(|_, settled| {
            let is_lost =
                |outcome: &AppendOutcome| matches!(outcome, AppendOutcome::Added(place) if place.offset > head);
            let kept = settled.outcomes.iter().take_while(|(.., outcome)| !is_lost(outcome));
            settled.outcomes.truncate(kept.count());
            let newest = settled.outcomes.back().map(|(seq, ..)| *seq);
            settled.last = newest.unwrap_or(settled.last);
            newest.is_some()
        });
        self.stored.remove(name);
        self.fork(name.clone(), room);
    }

    /// Begins a new epoch of a room that goes on from this state.
    fn fork(&mut self, name: RoomName, mut room: Room) {
        self.epochs += 1;
        let before = std::mem::replace(&mut room.epoch, Epoch::from_random(self.epochs));
        let fork = Cursor {
            epoch: before.clone(),
            offset: room.head,
        };
        self.forks.insert((name.clone(), room.epoch.clone()), fork.clone());
        room.fork = Some(fork);
        let shared = self
            .messages
            .get(&(name.clone(), before))
            .map_or(&[][..], Vec::as_slice);
        let shared = shared[..count(room.head)].to_vec();
        self.messages.insert((name.clone(), room.epoch.clone()), shared);
        // Answers of the former epoch are given again with their places in this one.
        for settled in room.settled.values_mut() {
            for (.., outcome) in &mut settled.outcomes {
                move_to(outcome, &room.epoch);
            }
        }
        self.rooms.insert(name, room);
    }

    /// Drops all but this many of the newest messages of each room.
    pub fn trim(&mut self, keep: usize) {
        for room in self.rooms.values_mut() {
            room.trimmed = room.trimmed.max(earlier(room.head, keep));
        }
    }

    /// Drops all but this many of the newest messages of one room.
    pub fn trim_room(&mut self, name: &RoomName, keep: usize) {
        if let Some(room) = self.rooms.get_mut(name) {
            room.trimmed = room.trimmed.max(earlier(room.head, keep));
        }
    }

    /// Forgets clients that appended nothing since then. Returns how many.
    pub fn forget(&mut self, before: Duration) -> usize {
        let mut forgotten = 0;
        for room in self.rooms.values_mut() {
            let known = room.settled.len();
            room.settled.retain(|_, settled| settled.touched >= before);
            forgotten += known - room.settled.len();
        }
        forgotten
    }

    /// The epoch of a room. Epochs ascend in the order of time.
    pub fn epoch(&mut self, name: &RoomName) -> Epoch {
        self.room(name).epoch.clone()
    }

    /// The offset of the newest message of a room.
    pub fn head(&mut self, name: &RoomName) -> Offset {
        self.room(name).head
    }

    /// Where this epoch of a room parted from the one before, if it went on from one.
    #[must_use]
    pub fn fork_of(&self, name: &RoomName, epoch: &Epoch) -> Option<&Cursor> {
        self.forks.get(&(name.clone(), epoch.clone()))
    }

    /// Every message that was ever in a log, by room and epoch, from offset 1 on: also those that are no longer kept.
    #[must_use]
    pub fn history(&self) -> &BTreeMap<(RoomName, Epoch), Vec<Message>> {
        &self.messages
    }

    /// The message that has or had this place.
    #[must_use]
    pub fn find(&self, name: &RoomName, epoch: &Epoch, offset: Offset) -> Option<&Message> {
        let index = count(offset).checked_sub(1)?;
        self.messages.get(&(name.clone(), epoch.clone()))?.get(index)
    }

    /// The messages that a room keeps, oldest first.
    #[must_use]
    pub fn kept(&self, name: &RoomName) -> &[Message] {
        let kept = self.rooms.get(name).and_then(|room| {
            let messages = self.messages.get(&(name.clone(), room.epoch.clone()))?;
            messages.get(count(room.trimmed)..)
        });
        kept.unwrap_or_default()
    }

    /// Appends a message of a client, or settles a number without one.
    pub fn append(&mut self, entry: Entry, now: Duration) -> Appended {
        let Entry {
            room: name,
            client,
            seq,
            id,
            first,
            content,
        } = entry;
        let remembered = self.remembered;
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
                    Some((.., outcome)) => Appended {
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
                let message = room.message(name.clone(), from, Some((seq, id)), body, now);
                let place = Place {
                    epoch: epoch.clone(),
                    offset: message.offset,
                    at: message.at,
                };
                (AppendOutcome::Added(place), Some(message))
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
        if settled.outcomes.len() > remembered {
            settled.outcomes.pop_front();
        }
        if let Some(message) = &message {
            self.keep(name, epoch, message);
        }
        Appended {
            outcome,
            message,
            late_copy: false,
        }
    }

    /// Appends a message without a number, as one that does not come through a session.
    pub fn append_unnumbered(&mut self, name: RoomName, from: Author, body: Body, now: Duration) -> Message {
        let room = self.room(&name);
        let epoch = room.epoch.clone();
        let message = room.message(name.clone(), from, None, body, now);
        self.keep(name, epoch, &message);
        message
    }

    fn keep(&mut self, name: RoomName, epoch: Epoch, message: &Message) {
        self.messages.entry((name, epoch)).or_default().push(message.clone());
        self.appended += 1;
        if self.appended.is_multiple_of(self.stored_every) {
            self.stored = self.rooms.clone();
        }
    }

    /// Where a member begins, with at most `first_page` of the messages that follow. The others are read with
    /// [`after`](Self::after). The users of the room are left out.
    pub fn subscribe(
        &mut self,
        name: &RoomName,
        since: Option<&Cursor>,
        history: u32,
        first_page: usize,
    ) -> Subscription {
        let room = self.room(name);
        let (epoch, head, trimmed, fork) = (room.epoch.clone(), room.head, room.trimmed, room.fork.clone());
        let is_known = |since: &&Cursor| since.is_recovered_by(&epoch, fork.as_ref(), trimmed..=head);
        let known = since.filter(is_known);
        let newest = usize::try_from(history).unwrap_or(usize::MAX);
        let after = known.map_or(earlier(head, newest).max(trimmed), |since| since.offset);
        let messages = self.lines(name, after, first_page);
        Subscription {
            epoch,
            head,
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
        self.room(name).trimmed <= after
    }

    /// The messages after an offset, to the head, encoded.
    pub fn after(&mut self, name: &RoomName, after: Offset) -> Vec<MessageLine> {
        self.lines(name, after, usize::MAX)
    }

    fn lines(&mut self, name: &RoomName, after: Offset, limit: usize) -> Vec<MessageLine> {
        let key = (name.clone(), self.epoch(name));
        let messages = self.messages.get(&key).map_or(&[][..], Vec::as_slice);
        let following = messages.iter().skip(count(after)).take(limit);
        following.map(MessageLine::encode).collect()
    }

    /// A page of history: the newest messages before an offset.
    pub fn page(&mut self, name: &RoomName, before: Offset, limit: u32) -> PageLines {
        let room = self.room(name);
        let (epoch, trimmed) = (room.epoch.clone(), room.trimmed);
        let end = before.before().min(room.head);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let start = earlier(end, limit).max(trimmed).min(end);
        PageLines {
            epoch,
            messages: self.lines(name, start, count(end) - count(start)),
            more: start > trimmed,
        }
    }
}

impl Room {
    fn message(
        &mut self,
        room: RoomName,
        from: Author,
        sent_as: Option<(Seq, PublishId)>,
        body: Body,
        now: Duration,
    ) -> Message {
        self.head = self.head.next();
        Message {
            room,
            offset: self.head,
            from,
            seq: sent_as.map(|(seq, _)| seq),
            id: sent_as.map(|(_, id)| id),
            at: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
            deleted: false,
            body,
        }
    }
}

/// How many messages there are up to an offset.
fn count(offset: Offset) -> usize {
    usize::try_from(offset.get()).unwrap_or(usize::MAX)
}

/// The offset so many messages before this one, at least 0.
fn earlier(offset: Offset, messages: usize) -> Offset {
    let messages = u64::try_from(messages).unwrap_or(u64::MAX);
    Offset::new(offset.get().saturating_sub(messages)).unwrap_or_default()
}

/// The answer to a copy of a message whose number has this outcome.
fn again(outcome: &AppendOutcome) -> AppendOutcome {
    match outcome.clone() {
        AppendOutcome::Added(place) => AppendOutcome::Duplicate(place),
        other => other,
    }
}

/// Gives an outcome another epoch.
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

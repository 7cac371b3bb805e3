//! Engines with a known fault, for tests of the [conformance suite](super::conformance): it must fail for each of them.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use talkback_protocol::{
    ClientKey, Cursor, Epoch, Offset, PublishId, RoomName, Seq, UserName,
    message::{Message, code},
    session::server::Refusal,
};

use super::{
    Answer, Append, AppendOutcome, DeletedRoom, Engine, Limit, Memory, MemoryOptions, MessageId, Origin, Page, Place,
    Range, Usage, Watch, Watcher, conformance,
};

/// What an engine does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// A number with another id is taken for a resend.
    IgnoresIds,
    /// A withdrawal with another id withdraws the message.
    IgnoresIdsOfWithdrawals,
    /// A number that a refusal settled has no id.
    ForgetsIdsOfRefusals,
    /// A conflict settles the next number.
    SettlesConflicts,
    /// A refusal with a retry settles the number.
    SettlesRetryableRefusals,
    /// A message is added after its withdrawal.
    ForgetsWithdrawals,
    /// Any later number is added.
    TakesGaps,
    /// The flag `first` has no effect.
    IgnoresFirst,
    /// A resend is added again.
    AddsDuplicates,
    /// A resend is answered with the place of the newest message.
    AnswersWithTheHead,
    /// Messages are read without their ids.
    ReadsWithoutIds,
    /// The name of a request alone makes it the same.
    IgnoresDigests,
    /// The epoch changes with the first message.
    BeginsWithAnotherEpoch,
    /// A read after an offset begins with the message at it.
    ReadsOneTooMany,
    /// Watchers get two messages in the wrong order.
    SwapsPairsForWatchers,
    /// All rooms are one.
    MixesRooms,
    /// A client with another origin is another client.
    SeparatesOrigins,
    /// A deleted room has its messages.
    DeletesNoRoom,
    /// A deleted room goes on in its epoch.
    KeepsTheEpochOfDeletedRooms,
    /// The epoch of a deleted room forks from the one before.
    ForksDeletedRooms,
    /// Another room is deleted too.
    DeletesAnotherRoom,
    /// Watchers are not told that their room was deleted.
    HidesDeletionsFromWatchers,
    /// A resend of a message that was deleted with its room is added.
    AddsDeletedMessagesAgain,
    /// A resend of a message that was deleted with its room is acknowledged.
    AcknowledgesDeletedMessages,
    /// The bodies of a user are kept.
    DeletesNoBody,
    /// The bodies of another user are deleted too.
    DeletesBodiesOfAnotherUser,
    /// The bodies of a user are deleted in all rooms where one was named.
    DeletesBodiesInAllRooms,
    /// A message whose body was deleted has lost its id.
    ForgetsIdsOfDeletedBodies,
    /// A message whose body was deleted is missing in the log.
    LeavesOutDeletedBodies,
    /// A resend of a message whose body was deleted is added.
    AddsDeletedBodiesAgain,
}

impl Fault {
    /// All faults.
    pub const ALL: [Self; 30] = [
        Self::IgnoresIds,
        Self::IgnoresIdsOfWithdrawals,
        Self::ForgetsIdsOfRefusals,
        Self::SettlesConflicts,
        Self::SettlesRetryableRefusals,
        Self::ForgetsWithdrawals,
        Self::TakesGaps,
        Self::IgnoresFirst,
        Self::AddsDuplicates,
        Self::AnswersWithTheHead,
        Self::ReadsWithoutIds,
        Self::IgnoresDigests,
        Self::BeginsWithAnotherEpoch,
        Self::ReadsOneTooMany,
        Self::SwapsPairsForWatchers,
        Self::MixesRooms,
        Self::SeparatesOrigins,
        Self::DeletesNoRoom,
        Self::KeepsTheEpochOfDeletedRooms,
        Self::ForksDeletedRooms,
        Self::DeletesAnotherRoom,
        Self::HidesDeletionsFromWatchers,
        Self::AddsDeletedMessagesAgain,
        Self::AcknowledgesDeletedMessages,
        Self::DeletesNoBody,
        Self::DeletesBodiesOfAnotherUser,
        Self::DeletesBodiesInAllRooms,
        Self::ForgetsIdsOfDeletedBodies,
        Self::LeavesOutDeletedBodies,
        Self::AddsDeletedBodiesAgain,
    ];
}

/// An engine with one fault, in front of a correct one in memory.
pub struct Faulty {
    engine: Memory,
    fault: Fault,
    /// The id that each number had first.
    ids: Mutex<HashMap<(RoomName, ClientKey, Seq), PublishId>>,
    /// Where each deleted room ended before.
    ends: Mutex<HashMap<RoomName, Cursor>>,
}

impl Faulty {
    /// An engine without rooms.
    #[must_use]
    pub fn new(fault: Fault) -> Self {
        Self {
            engine: Memory::new(MemoryOptions::default()),
            fault,
            ids: Mutex::default(),
            ends: Mutex::default(),
        }
    }

    fn forward(&self, append: Append) -> AppendOutcome {
        let Ok(outcome) = self.engine.append(append).at_once() else {
            unreachable!("memory answers at once");
        };
        outcome
    }

    fn append_now(&self, mut append: Append) -> AppendOutcome {
        let mut retry_after = None;
        if let MessageId::Client {
            key,
            seq,
            id,
            first,
            origin,
        } = &mut append.id
        {
            let number = (append.room.clone(), *key, *seq);
            let first_id = *self.ids.lock().entry(number).or_insert(*id);
            let is_refusal = append.content.is_err();
            match self.fault {
                Fault::IgnoresIds => *id = first_id,
                Fault::IgnoresIdsOfWithdrawals if is_refusal => *id = first_id,
                Fault::TakesGaps => *first = true,
                Fault::IgnoresFirst => *first = false,
                Fault::SeparatesOrigins => {
                    if let Some(Origin(origin)) = *origin {
                        *key = ClientKey::from_random(u128::from(origin).to_ne_bytes());
                    }
                }
                _ => {}
            }
        }
        if let (Fault::IgnoresDigests, MessageId::Request { digest, .. }) = (self.fault, &mut append.id) {
            *digest = [0; 32];
        }
        if let (Fault::SettlesRetryableRefusals, Err(refusal)) = (self.fault, &mut append.content) {
            retry_after = refusal.retry_after.take();
        }
        let outcome = self.forward(append.clone());
        match (self.fault, outcome) {
            (Fault::SettlesRetryableRefusals, AppendOutcome::Refused { epoch, refusal }) if retry_after.is_some() => {
                let refusal = Refusal { retry_after, ..refusal };
                AppendOutcome::Refused { epoch, refusal }
            }
            (Fault::ForgetsIdsOfRefusals, conflict @ AppendOutcome::Conflict { .. }) => {
                self.with_first_id(append, conflict, |outcome| {
                    matches!(outcome, AppendOutcome::Refused { .. })
                })
            }
            (Fault::SettlesConflicts, AppendOutcome::Conflict { epoch }) => {
                let refusal = Refusal::for_good("conflict", "settled");
                self.settle_next(append, &refusal);
                AppendOutcome::Conflict { epoch }
            }
            (Fault::ForgetsWithdrawals, AppendOutcome::Refused { .. }) if append.content.is_ok() => {
                let id = MessageId::None;
                self.forward(Append { id, ..append })
            }
            (Fault::AddsDuplicates, AppendOutcome::Duplicate(_)) => {
                let id = MessageId::None;
                self.forward(Append { id, ..append })
            }
            (Fault::AnswersWithTheHead, AppendOutcome::Duplicate(mut place)) => {
                let page = self.page(&append.room, Range::Newest);
                place.offset = page.head;
                AppendOutcome::Duplicate(place)
            }
            (Fault::AddsDeletedMessagesAgain, AppendOutcome::Refused { refusal, .. })
                if refusal.code == code::DELETED && append.content.is_ok() =>
            {
                let id = MessageId::None;
                self.forward(Append { id, ..append })
            }
            (
                Fault::AcknowledgesDeletedMessages,
                AppendOutcome::Refused {
                    epoch: Some(epoch),
                    refusal,
                },
            ) if refusal.code == code::DELETED => {
                let offset = self.page(&append.room, Range::Newest).head;
                AppendOutcome::Duplicate(Place { epoch, offset, at: 0 })
            }
            (Fault::AddsDeletedBodiesAgain, AppendOutcome::Duplicate(place))
                if self
                    .page(&append.room, Range::Newest)
                    .messages
                    .iter()
                    .any(|message| message.deleted && message.offset == place.offset) =>
            {
                let id = MessageId::None;
                self.forward(Append { id, ..append })
            }
            (_, outcome) => outcome,
        }
    }

    /// The outcome of the first message with this number, if it is as `wanted`.
    fn with_first_id(
        &self,
        mut append: Append,
        otherwise: AppendOutcome,
        wanted: impl Fn(&AppendOutcome) -> bool,
    ) -> AppendOutcome {
        if let MessageId::Client { key, seq, id, .. } = &mut append.id
            && let Some(first) = self.ids.lock().get(&(append.room.clone(), *key, *seq))
        {
            *id = *first;
        }
        Some(self.forward(append)).filter(wanted).unwrap_or(otherwise)
    }

    /// Settles the number after this one.
    fn settle_next(&self, mut append: Append, refusal: &Refusal) {
        if let MessageId::Client { seq, first, .. } = &mut append.id {
            *seq = seq.next();
            *first = true;
        }
        append.content = Err(refusal.clone());
        self.forward(append);
    }

    fn page(&self, room: &RoomName, range: Range) -> Page {
        let Ok(Ok(page)) = self.engine.read(room, range, conformance::ALL).at_once() else {
            unreachable!("memory answers at once");
        };
        page
    }

    fn room<'a>(&self, room: &'a RoomName, other: &'a RoomName) -> &'a RoomName {
        if self.fault == Fault::MixesRooms { other } else { room }
    }
}

impl Engine for Faulty {
    fn append(&self, mut append: Append) -> Answer<AppendOutcome> {
        let other = conformance::room("a");
        append.room = self.room(&append.room, &other).clone();
        Answer::now(self.append_now(append))
    }

    fn read(&self, room: &RoomName, mut range: Range, limit: Limit) -> Answer<Result<Page, Refusal>> {
        if let (Fault::ReadsOneTooMany, Range::After(offset)) = (self.fault, &mut range) {
            *offset = offset.before();
        }
        let other = conformance::room("a");
        let Ok(Ok(mut page)) = self.engine.read(self.room(room, &other), range, limit).at_once() else {
            unreachable!("memory answers at once");
        };
        match self.fault {
            Fault::BeginsWithAnotherEpoch if page.head == Offset::ZERO => page.epoch = Epoch::from_random(0),
            Fault::ReadsWithoutIds => {
                for message in &mut page.messages {
                    Arc::make_mut(message).id = None;
                }
            }
            Fault::ForgetsIdsOfDeletedBodies => {
                for message in page.messages.iter_mut().filter(|message| message.deleted) {
                    Arc::make_mut(message).id = None;
                }
            }
            Fault::LeavesOutDeletedBodies => page.messages.retain(|message| !message.deleted),
            Fault::KeepsTheEpochOfDeletedRooms | Fault::ForksDeletedRooms => {
                if let Some(end) = self.ends.lock().get(room).cloned() {
                    match self.fault {
                        Fault::ForksDeletedRooms => page.forks = vec![end],
                        _ => page.epoch = end.epoch,
                    }
                }
            }
            _ => {}
        }
        Answer::now(Ok(page))
    }

    fn watch(&self, room: &RoomName, watcher: Arc<dyn Watcher>) -> Answer<Result<Watch, Refusal>> {
        let other = conformance::room("a");
        let room = self.room(room, &other);
        if self.fault == Fault::SwapsPairsForWatchers {
            let watcher = Pairs {
                watcher,
                held: Mutex::default(),
            };
            return self.engine.watch(room, Arc::new(watcher));
        }
        if self.fault == Fault::HidesDeletionsFromWatchers {
            return self.engine.watch(room, Arc::new(MessagesOnly(watcher)));
        }
        self.engine.watch(room, watcher)
    }

    fn delete_room(&self, room: &RoomName) -> Answer<Result<DeletedRoom, Refusal>> {
        let Page { epoch, head, .. } = self.page(room, Range::Newest);
        if self.engine.has(room) {
            let end = Cursor { epoch, offset: head };
            self.ends.lock().insert(room.clone(), end);
        }
        match self.fault {
            Fault::DeletesNoRoom => {
                let epoch = Epoch::from_random(1);
                return Answer::now(Ok(DeletedRoom { epoch, messages: 3 }));
            }
            Fault::DeletesAnotherRoom => drop(self.engine.delete_room(&conformance::room("b"))),
            _ => {}
        }
        self.engine.delete_room(room)
    }

    fn delete_messages_of(&self, user: &UserName, room: Option<&RoomName>) -> Answer<Result<u64, Refusal>> {
        let bob = conformance::user("bob");
        match self.fault {
            Fault::DeletesNoBody => return Answer::now(Ok(3)),
            Fault::DeletesBodiesOfAnotherUser => drop(self.engine.delete_messages_of(&bob, room)),
            Fault::DeletesBodiesInAllRooms => return self.engine.delete_messages_of(user, None),
            _ => {}
        }
        self.engine.delete_messages_of(user, room)
    }

    fn has(&self, room: &RoomName) -> bool {
        self.engine.has(room)
    }

    fn usage(&self) -> Usage {
        self.engine.usage()
    }
}

/// Passes on two messages at a time, the later one first.
struct Pairs {
    watcher: Arc<dyn Watcher>,
    held: Mutex<Option<Arc<Message>>>,
}

impl Watcher for Pairs {
    fn appended(&self, message: &Arc<Message>) {
        let held = self.held.lock().take();
        match held {
            Some(held) => {
                self.watcher.appended(message);
                self.watcher.appended(&held);
            }
            None => *self.held.lock() = Some(Arc::clone(message)),
        }
    }

    fn restarted(&self, epoch: &Epoch) {
        self.watcher.restarted(epoch);
    }
}

/// Passes on messages alone.
struct MessagesOnly(Arc<dyn Watcher>);

impl Watcher for MessagesOnly {
    fn appended(&self, message: &Arc<Message>) {
        self.0.appended(message);
    }

    fn restarted(&self, _epoch: &Epoch) {}
}

/// Logs that an engine is to keep when it is closed, and keeps not whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DurableFault {
    /// Nothing: it is never closed.
    None,
    /// All is lost.
    LosesAll,
    /// The newest message of each room is lost.
    LosesTheNewest,
    /// The messages are kept, and their publishers and epochs are not.
    LosesPublishers,
}

impl DurableFault {
    /// All faults.
    pub const ALL: [Self; 3] = [Self::LosesAll, Self::LosesTheNewest, Self::LosesPublishers];

    /// Opens an engine of this kind, for the suite.
    #[must_use]
    pub fn open(self) -> conformance::Open {
        let mut engine = Memory::new(MemoryOptions::default());
        let mut is_open = false;
        Box::new(move || {
            if std::mem::replace(&mut is_open, true) && self != Self::None {
                let before = std::mem::replace(&mut engine, Memory::new(MemoryOptions::default()));
                self.copy(&before, &engine);
            }
            Arc::new(engine.clone())
        })
    }

    fn copy(self, before: &Memory, after: &Memory) {
        if self == Self::LosesAll {
            return;
        }
        for room in ["a", "b"].map(conformance::room) {
            let Ok(Ok(page)) = before
                .read(&room, Range::After(Offset::ZERO), conformance::ALL)
                .at_once()
            else {
                unreachable!("memory answers at once");
            };
            let lost = usize::from(self == Self::LosesTheNewest);
            for message in page.messages.iter().take(page.messages.len().saturating_sub(lost)) {
                let append = Append {
                    room: room.clone(),
                    id: MessageId::None,
                    from: message.from.clone(),
                    content: Ok(message.body.clone()),
                };
                drop(after.append(append));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The behaviours whose test fails for an engine with this fault.
    async fn missed(fault: Fault) -> Vec<&'static str> {
        let mut missed = Vec::new();
        for behaviour in conformance::behaviours() {
            let (name, engine) = (behaviour.name, Arc::new(Faulty::new(fault)));
            if tokio::spawn(async move { behaviour.check(engine).await })
                .await
                .is_err()
            {
                missed.push(name);
            }
        }
        missed
    }

    // The time is not real: what never comes is not waited for.
    #[tokio::test(start_paused = true)]
    async fn the_suite_finds_every_planted_fault() {
        assert_eq!(missed(Fault::None).await, [""; 0], "the wrapper alone has no fault");
        for fault in Fault::ALL {
            let missed = missed(fault).await;
            println!("{fault:?}: {missed:?}");
            assert!(!missed.is_empty(), "{fault:?} was not noticed");
        }
    }

    #[tokio::test]
    async fn the_suite_of_durable_engines_finds_what_is_lost() {
        for fault in [DurableFault::None].into_iter().chain(DurableFault::ALL) {
            let mut missed = Vec::new();
            for behaviour in conformance::durable_behaviours() {
                let name = behaviour.name;
                if tokio::spawn(async move { behaviour.check(fault.open()).await })
                    .await
                    .is_err()
                {
                    missed.push(name);
                }
            }
            println!("{fault:?}: {missed:?}");
            assert_eq!(missed.is_empty(), fault == DurableFault::None, "{fault:?}: {missed:?}");
        }
    }
}

//! Tests of the conformance suite: it must fail for each of several engines with a known fault.

use std::{collections::HashMap, sync::Arc};

use futures_util::future::{BoxFuture, FutureExt};
use parking_lot::Mutex;
use talkback_protocol::{
    ClientKey, Epoch, Offset, PublishId, RoomName, Seq, message::Message, session::server::Refusal,
};

use super::{
    Answer, Append, AppendOutcome, Engine, Limit, Memory, MemoryOptions, MessageId, Origin, Page, Range, Usage, Watch,
    Watcher, conformance,
};

/// What this engine does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    IgnoresIds,
    IgnoresIdsOfWithdrawals,
    ForgetsIdsOfRefusals,
    SettlesConflicts,
    SettlesRetryableRefusals,
    ForgetsWithdrawals,
    TakesGaps,
    IgnoresFirst,
    AddsDuplicates,
    AnswersWithTheHead,
    ReadsWithoutIds,
    IgnoresDigests,
    BeginsWithAnotherEpoch,
    ReadsOneTooMany,
    SwapsPairsForWatchers,
    MixesRooms,
    SeparatesOrigins,
}

const FAULTS: [Fault; 17] = [
    Fault::IgnoresIds,
    Fault::IgnoresIdsOfWithdrawals,
    Fault::ForgetsIdsOfRefusals,
    Fault::SettlesConflicts,
    Fault::SettlesRetryableRefusals,
    Fault::ForgetsWithdrawals,
    Fault::TakesGaps,
    Fault::IgnoresFirst,
    Fault::AddsDuplicates,
    Fault::AnswersWithTheHead,
    Fault::ReadsWithoutIds,
    Fault::IgnoresDigests,
    Fault::BeginsWithAnotherEpoch,
    Fault::ReadsOneTooMany,
    Fault::SwapsPairsForWatchers,
    Fault::MixesRooms,
    Fault::SeparatesOrigins,
];

/// An engine with one fault, in front of a correct one.
struct Faulty {
    engine: Memory,
    fault: Fault,
    /// The id that each number had first.
    ids: Mutex<HashMap<(RoomName, ClientKey, Seq), PublishId>>,
}

impl Faulty {
    fn with(fault: Fault) -> Arc<dyn Engine> {
        Arc::new(Self {
            engine: Memory::new(MemoryOptions::default()),
            fault,
            ids: Mutex::default(),
        })
    }

    fn forward(&self, append: Append) -> AppendOutcome {
        match self.engine.append(append) {
            Answer::Now(outcome) => outcome,
            Answer::Later(_) | Answer::Taken => unreachable!("memory answers at once"),
        }
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
        match self.engine.read(room, range, conformance::ALL) {
            Answer::Now(Ok(page)) => page,
            _ => unreachable!("memory answers at once"),
        }
    }

    fn room<'a>(&self, room: &'a RoomName, other: &'a RoomName) -> &'a RoomName {
        if self.fault == Fault::MixesRooms { other } else { room }
    }
}

impl Engine for Faulty {
    fn append(&self, mut append: Append) -> Answer<AppendOutcome> {
        let other = conformance::room("a");
        append.room = self.room(&append.room, &other).clone();
        Answer::Now(self.append_now(append))
    }

    fn read(&self, room: &RoomName, mut range: Range, limit: Limit) -> Answer<Result<Page, Refusal>> {
        if let (Fault::ReadsOneTooMany, Range::After(offset)) = (self.fault, &mut range) {
            *offset = offset.before();
        }
        let other = conformance::room("a");
        let Answer::Now(Ok(mut page)) = self.engine.read(self.room(room, &other), range, limit) else {
            unreachable!("memory answers at once");
        };
        match self.fault {
            Fault::BeginsWithAnotherEpoch if page.head == Offset::ZERO => page.epoch = Epoch::from_random(0),
            Fault::ReadsWithoutIds => {
                for message in &mut page.messages {
                    Arc::make_mut(message).id = None;
                }
            }
            _ => {}
        }
        Answer::Now(Ok(page))
    }

    fn watch(&self, room: &RoomName, watcher: Arc<dyn Watcher>) -> Result<Watch, Refusal> {
        let other = conformance::room("a");
        let room = self.room(room, &other);
        if self.fault == Fault::SwapsPairsForWatchers {
            let watcher = Pairs {
                watcher,
                held: Mutex::default(),
            };
            return self.engine.watch(room, Arc::new(watcher));
        }
        self.engine.watch(room, watcher)
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
}

type Behaviour = fn(Arc<dyn Engine>) -> BoxFuture<'static, ()>;

macro_rules! list {
    ($($behaviour:ident)*) => {
        vec![$((stringify!($behaviour), |engine| async move { conformance::$behaviour(&engine).await }.boxed())),*]
    };
}

/// The behaviours whose test fails for an engine with this fault.
async fn missed(fault: Fault) -> Vec<&'static str> {
    let behaviours: Vec<(&'static str, Behaviour)> = conformance::each_behaviour!(list {});
    let mut missed = Vec::new();
    for (name, behaviour) in behaviours {
        if tokio::spawn(behaviour(Faulty::with(fault))).await.is_err() {
            missed.push(name);
        }
    }
    missed
}

#[tokio::test]
async fn the_suite_finds_every_planted_fault() {
    assert_eq!(missed(Fault::None).await, [""; 0], "the wrapper alone has no fault");
    for fault in FAULTS {
        let missed = missed(fault).await;
        println!("{fault:?}: {missed:?}");
        assert!(!missed.is_empty(), "{fault:?} was not noticed");
    }
}

//! Drives one [`ServerSession`] over one socket: what comes in goes to the session, what it asks for is done.
//!
//! Messages of rooms do not pass through here: the hub writes them straight into the socket. What has come already goes to the session
//! before anything is done for it, so that a burst of messages is acknowledged with one text frame.
//!
//! Nothing is waited for while something else could go on: answers of the log, rooms that catch up, texts that the client does not take
//! yet, and pauses are all beside each other in [`run`]. Only reading stops, when the session or a room pauses, and while texts wait.

use std::{collections::VecDeque, pin::Pin, sync::Arc, time::Duration};

use futures_util::{
    Stream, StreamExt,
    future::{BoxFuture, FutureExt},
    stream::{FuturesOrdered, FuturesUnordered},
};
use talkback_protocol::{
    ClientKey, Cursor, Epoch, Moment, Offset, RequestId, RoomName, Seq, UserName, close,
    codec::MessageLine,
    message::code,
    session::server::{
        Denied, Identity, Input, Output, PageLines, Refusal, ServerOptions, ServerSession, Subscription, SubscriptionId,
    },
};
use tokio::time::{Instant, Sleep};

use crate::{
    engine::{Answer, Append, Limit, MessageId, Outcome, Page, Range},
    hub::{CatchUp, CatchUpError, Hub, JoinError, NewRoomCharge, SessionMember, Start},
    limits::NewRooms,
    names,
    socket::{Message, SendError, Sender, Socket},
};

/// So many text frames go to the session at once.
const MAX_BURST: usize = 64;
/// The messages of a page of history have at most this many bytes; the client can ask for more. Over a link of 2 KB a second it comes
/// before a client gives up waiting for it, which is half a minute.
const PAGE_BYTES: usize = 48 * 1024;
/// So many joins are carried out at once: `joined` may be long, and the client has to take it before there are more.
const JOINS_AT_ONCE: usize = 8;
/// Texts up to this size do not wait behind live messages: what was read bounds how many there are.
const SMALL_TEXT: usize = 4 * 1024;

/// Runs a session to its end.
pub(crate) async fn run(mut socket: Socket, hub: Hub, config: Arc<ServerOptions>, new_rooms: NewRooms) {
    let mut connection = Connection::new(socket.sender(), hub, config, new_rooms);
    let mut alarm = Alarm::new();
    loop {
        alarm.set(connection.next_alarm());
        let reads = connection.reads();
        let Connection {
            appends,
            answers,
            waiting,
            place,
            pages,
            joins,
            rooms,
            behind,
            socket: sender,
            ..
        } = &mut connection;
        let event = tokio::select! {
            biased;
            Some(input) = next_of(appends), if appends.is_some() => Event::Appended(input),
            Some(answer) = next_of(answers), if answers.is_some() => Event::Answer(answer),
            sent = send_first(waiting, place, sender), if !waiting.is_empty() => Event::Sent(sent),
            // One at a time, and only when the client took the one before: a page is far larger than what asks for it.
            () = std::future::ready(()), if waiting.is_empty() && !pages.is_empty() => Event::PageWanted,
            () = std::future::ready(()), if waiting.is_empty() && !joins.is_empty() => Event::JoinsWanted,
            message = socket.recv(), if reads => match message {
                Some(message) => Event::Message(message),
                None => return,
            },
            // Behind the answers: a client that reads slowly gets those first. Boxed when it begins, because few sessions catch up.
            end = async { Box::pin(catch_up_next(rooms, behind, sender)).await },
                if waiting.is_empty() && !behind.is_empty() => Event::CaughtUp(end),
            () = alarm.ring() => Event::Alarm,
        };
        let going_on = match event {
            Event::Appended(input) => connection.handle(input),
            Event::Answer(answer) => connection.answered(answer),
            Event::Sent(sent) => sent,
            Event::PageWanted => connection.read_page(),
            Event::JoinsWanted => connection.join_next(),
            Event::Message(first) => connection.receive(first, &mut socket),
            Event::CaughtUp(end) => connection.caught_up(end),
            Event::Alarm => connection.wake(&mut socket),
        };
        if going_on.is_err() {
            return;
        }
    }
}

enum Event {
    Appended(Input),
    Answer(Later),
    Sent(Result<(), Over>),
    PageWanted,
    JoinsWanted,
    Message(Message),
    CaughtUp(Result<(), CatchUpError>),
    Alarm,
}

/// What was asked of the engine and answered later.
enum Later {
    Page(Input),
    Start(SubscriptionId, Result<Start, Refusal>),
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some((client, allowance)) = self.session.allowance() {
            self.hub.allowances().keep(client, allowance);
        }
        self.socket.shared().sockets().metrics().sessions_ended.add_one();
    }
}

/// The session is over; the socket is closing.
struct Over;

struct Connection {
    session: ServerSession,
    started: Instant,
    socket: Sender,
    hub: Hub,
    /// What its address may still begin.
    new_rooms: NewRooms,
    user: Option<UserName>,
    rooms: Vec<Joined>,
    /// Rooms that do not get yet what is delivered, in the order of their turns.
    behind: VecDeque<SubscriptionId>,
    /// Messages that the engine has not answered, in their order. The session bounds how many there are. Made when there is one: an
    /// empty set of futures takes memory too.
    appends: Option<Box<FuturesOrdered<BoxFuture<'static, Input>>>>,
    /// What else it has not answered; it may come in any order. The session bounds it too.
    answers: Option<Box<FuturesUnordered<BoxFuture<'static, Later>>>>,
    /// Rooms that are still to be joined. The session bounds how many there are.
    joins: VecDeque<JoinRequest>,
    /// How many more may be joined before the client is looked at again.
    joins_left: usize,
    /// Pages of history that are still to be read. The session bounds how many there are.
    pages: VecDeque<PageRequest>,
    /// Texts that the client does not take yet. Nothing is read meanwhile, so only what was asked for before adds to them.
    waiting: VecDeque<Message>,
    /// The place in the socket's queue that the first of them had when it began to wait. What is delivered goes before it until all that
    /// was before this place is with the client, and no longer.
    place: u64,
    /// A room is over its budget of deliveries: when to read again.
    paused: Option<Instant>,
}

/// See [`Output::Subscribe`].
struct JoinRequest {
    id: SubscriptionId,
    room: RoomName,
    since: Option<Cursor>,
    history: u32,
}

/// See [`Output::ReadPage`].
struct PageRequest {
    id: RequestId,
    room: RoomName,
    before: Offset,
    limit: u32,
}

struct Joined {
    id: SubscriptionId,
    room: RoomName,
    member: SessionMember,
    /// The life of its log, once it is known.
    epoch: Option<Epoch>,
    /// Boxed, because few members are about to catch up.
    catch_up: Option<Box<CatchUp>>,
}

/// The next of these futures that is ready; they are gone when there are none. Cancel safe.
async fn next_of<S: Stream + Unpin>(futures: &mut Option<Box<S>>) -> Option<S::Item> {
    let next = futures.as_mut()?.next().await;
    if next.is_none() {
        *futures = None;
    }
    next
}

/// Sends the first of the texts that wait. Cancel safe.
async fn send_first(waiting: &mut VecDeque<Message>, place: &mut u64, socket: &Sender) -> Result<(), Over> {
    if let Some(first) = waiting.front() {
        socket.shared().send_at(*place, first).await.map_err(|()| Over)?;
        waiting.pop_front();
        // The next one waits until the client has taken this one.
        *place = socket.shared().place();
        if waiting.is_empty() {
            waiting.shrink_to(0);
        }
    }
    Ok(())
}

/// Sends a page to the room whose turn it is. Cancel safe.
async fn catch_up_next(
    rooms: &mut [Joined],
    behind: &mut VecDeque<SubscriptionId>,
    socket: &Sender,
) -> Result<(), CatchUpError> {
    let Some(id) = behind.front().copied() else {
        return Ok(());
    };
    let joined = rooms.iter_mut().find(|joined| joined.id == id);
    let is_live = match joined.and_then(|joined| joined.catch_up.as_mut().map(|catch_up| (catch_up, &joined.member))) {
        Some((catch_up, member)) => catch_up.step(member, socket).await?,
        None => true,
    };
    behind.pop_front();
    if !is_live {
        behind.push_back(id);
    } else if let Some(joined) = rooms.iter_mut().find(|joined| joined.id == id) {
        joined.catch_up = None;
    }
    if behind.is_empty() {
        behind.shrink_to(0);
    }
    Ok(())
}

impl Connection {
    fn new(socket: Sender, hub: Hub, config: Arc<ServerOptions>, new_rooms: NewRooms) -> Self {
        socket.shared().sockets().metrics().sessions_opened.add_one();
        let started = Instant::now();
        Self {
            session: ServerSession::new(config, Duration::ZERO),
            started,
            socket,
            hub,
            new_rooms,
            user: None,
            rooms: Vec::new(),
            behind: VecDeque::new(),
            appends: None,
            answers: None,
            joins: VecDeque::new(),
            joins_left: JOINS_AT_ONCE,
            pages: VecDeque::new(),
            waiting: VecDeque::new(),
            place: 0,
            paused: None,
        }
    }

    /// Whether anything may be taken from the socket.
    fn reads(&self) -> bool {
        self.waiting.is_empty() && self.paused.is_none() && self.session.reads()
    }

    fn next_alarm(&self) -> Option<Instant> {
        let session = self.session.next_timeout().map(|after| self.started + after);
        [session, self.paused].into_iter().flatten().min()
    }

    /// A timer of the session, or the end of a pause.
    fn wake(&mut self, socket: &mut Socket) -> Result<(), Over> {
        self.paused.take_if(|until| *until <= Instant::now());
        // A client that takes its texts slowly is not silent: what it says is only not read. The first of it is a sign of life.
        if !self.waiting.is_empty()
            && self.session.reads()
            && let Some(message) = socket.try_recv()
        {
            return self.receive_burst(message, None);
        }
        self.handle(Input::Tick)
    }

    /// Gives the session this message and those behind it.
    fn receive(&mut self, first: Message, socket: &mut Socket) -> Result<(), Over> {
        self.receive_burst(first, Some(socket))
    }

    fn receive_burst(&mut self, first: Message, mut socket: Option<&mut Socket>) -> Result<(), Over> {
        let frames = self.socket.take_received_frames();
        self.joins_left = JOINS_AT_ONCE;
        self.input(Input::Counted { frames });
        let mut message = first;
        // A message that was taken off the socket is the session's: the bound is looked at before the next one is taken.
        for left in (0..MAX_BURST).rev() {
            match message {
                Message::Text(text) => {
                    let text = text.as_str().to_owned();
                    self.input(Input::Received { text });
                }
                Message::Binary(_) => {
                    self.drain()?;
                    return self.close(close::UNSUPPORTED_DATA, "this protocol has messages of text only");
                }
            }
            let more = left > 0 && self.session.reads();
            match socket.as_mut().filter(|_| more).and_then(|socket| socket.try_recv()) {
                Some(next) => message = next,
                None => break,
            }
        }
        self.drain()
    }

    /// Gives the session an input and does what it asks for.
    fn handle(&mut self, input: Input) -> Result<(), Over> {
        self.input(input);
        self.drain()
    }

    fn drain(&mut self) -> Result<(), Over> {
        while let Some(output) = self.session.poll_output() {
            if let Some(answer) = self.carry_out(output)? {
                self.input(answer);
            }
        }
        Ok(())
    }

    fn input(&mut self, input: Input) {
        let now = self.started.elapsed();
        let moment = || Moment {
            now,
            random: fastrand::u64(..),
        };
        if self.session.next_timeout().is_some_and(|at| at <= now) {
            let by = self.socket.shared().backlog_time();
            self.session.handle(moment(), Input::Slow { by });
        }
        self.session.handle(moment(), input);
    }

    fn carry_out(&mut self, output: Output) -> Result<Option<Input>, Over> {
        Ok(match output {
            Output::Transmit(text) => {
                self.transmit(text.into())?;
                None
            }
            // The session does not read meanwhile, and its timer says when to go on.
            Output::Pause { .. } => None,
            Output::Identify { client, name, .. } => Some(Input::Identified(self.identify(&client, name))),
            Output::Append {
                room,
                client,
                seq,
                id,
                first,
                from,
                content,
            } => {
                let id = MessageId::Client {
                    key: client,
                    seq,
                    id,
                    first,
                    origin: self.new_rooms.origin(),
                };
                self.append(
                    seq,
                    Append {
                        room,
                        id,
                        from,
                        content,
                    },
                )
            }
            Output::Subscribe {
                id,
                room,
                since,
                history,
            } => {
                let join = JoinRequest {
                    id,
                    room,
                    since,
                    history,
                };
                // The first ones at once: what was published behind them is answered after them.
                if self.waiting.is_empty() && self.joins.is_empty() && self.joins_left > 0 {
                    self.joins_left -= 1;
                    return Ok(self.subscribe(join));
                }
                self.joins.push_back(join);
                None
            }
            Output::Live { id, after, .. } => {
                let joined = self.rooms.iter_mut().find(|joined| joined.id == id);
                if let Some((joined, epoch)) =
                    joined.and_then(|joined| joined.epoch.take().map(|epoch| (joined, epoch)))
                {
                    joined.catch_up = Some(Box::new(CatchUp::new(&joined.member, epoch, after)));
                    self.behind.push_back(id);
                }
                None
            }
            Output::Unsubscribe { id, .. } => {
                self.leave(id);
                None
            }
            Output::ReadPage {
                id,
                room,
                before,
                limit,
            } => {
                self.pages.push_back(PageRequest {
                    id,
                    room,
                    before,
                    limit,
                });
                None
            }
            Output::Signal { room, from, body } => {
                if let Some(joined) = self.rooms.iter().find(|joined| joined.room == room) {
                    let bytes = body.json().len();
                    joined.member.signal(from, body);
                    self.charge(&room, bytes);
                }
                None
            }
            Output::Close { code, reason } => return self.close(code, &reason).map(|()| None),
        })
    }

    /// Sends a text, or keeps it until the client takes it.
    fn transmit(&mut self, message: Message) -> Result<(), Over> {
        let mut message = message;
        if self.waiting.is_empty() {
            if message.len() <= SMALL_TEXT {
                match self.socket.try_send(message) {
                    Ok(()) => return Ok(()),
                    Err(SendError::Closed(_)) => return Err(Over),
                    Err(SendError::Full(full)) => message = full,
                }
            }
            match self.socket.send(message.clone()).now_or_never() {
                Some(Ok(())) => return Ok(()),
                Some(Err(_)) => return Err(Over),
                None => {}
            }
            self.place = self.socket.shared().place();
        }
        self.waiting.push_back(message);
        Ok(())
    }

    fn close(&mut self, code: u16, reason: &str) -> Result<(), Over> {
        if code == close::HEARTBEAT_LOST {
            self.socket.shared().sockets().metrics().closed_heartbeat_lost.add_one();
        }
        // What the client has asked for before goes before, as far as there is room for it.
        for message in self.waiting.drain(..) {
            if self.socket.try_send(message).is_err() {
                break;
            }
        }
        self.socket.close_by_server(code, reason);
        Err(Over)
    }

    fn identify(&mut self, client: &ClientKey, name: Option<UserName>) -> Result<Identity, Denied> {
        let user = match (name, &self.user) {
            (Some(name), _) => names::user(&name).map_err(|problem| Denied {
                code: close::FORBIDDEN,
                reason: problem.to_string(),
            })?,
            // A newer token of somebody who has a name.
            (None, Some(user)) => user.clone(),
            (None, None) => default_user(),
        };
        // A newer token of an open session is no new connection.
        let greets = self.user.replace(user.clone()).is_none();
        let allowance = greets.then(|| self.hub.allowances().take(client)).flatten();
        Ok(Identity {
            user,
            expires: None,
            allowance,
        })
    }

    fn charge_new_room(&self, room: &RoomName) -> Result<NewRoomCharge, Refusal> {
        if self.rooms.iter().any(|joined| joined.room == *room) {
            return Ok(NewRoomCharge::default());
        }
        self.hub
            .charge_new_room(room, &self.new_rooms)
            .map_err(|after| Refusal {
                code: code::BUSY.into(),
                message: "your address has begun too many rooms: try again later".into(),
                retry_after: Some(after),
            })
    }

    fn append(&mut self, seq: Seq, append: Append) -> Option<Input> {
        let room = append.room.clone();
        let charge = match self.charge_new_room(&room) {
            Ok(charge) => charge,
            Err(refusal) => {
                let outcome = Outcome::Refused { epoch: None, refusal };
                return Some(appended(room, seq, outcome));
            }
        };
        let bytes = append.content.as_ref().map_or(0, |body| body.json().len());
        match self.hub.engine().append(append) {
            Answer::Now(outcome) => {
                charge.settle();
                // What came again or was refused is delivered to nobody.
                if let Outcome::Added(_) = outcome {
                    self.charge(&room, bytes);
                }
                Some(appended(room, seq, outcome))
            }
            later => {
                self.charge(&room, bytes);
                let answer = later.map(move |outcome| {
                    charge.settle();
                    appended(room, seq, outcome)
                });
                self.appends.get_or_insert_default().push_back(answer.boxed());
                None
            }
        }
    }

    /// Charges this connection for the delivery of a message, and reads nothing more from it while its room is over its budget.
    fn charge(&mut self, room: &RoomName, bytes: usize) {
        let now = Instant::now();
        let until = match self.rooms.iter().find(|joined| joined.room == *room) {
            Some(joined) => joined.member.charge(bytes, now),
            None => self.hub.charge(room, bytes, now),
        };
        self.paused = self.paused.max(until);
    }

    fn read_page(&mut self) -> Result<(), Over> {
        let Some(request) = self.pages.pop_front() else {
            return Ok(());
        };
        if self.pages.is_empty() {
            self.pages.shrink_to(0);
        }
        let PageRequest {
            id,
            room,
            before,
            limit,
        } = request;
        let limit = Limit {
            messages: usize::try_from(limit).unwrap_or(usize::MAX),
            bytes: PAGE_BYTES,
        };
        let answer = self.hub.engine().read(&room, Range::Before(before), limit);
        let page_read = move |result: Result<Page, Refusal>| Input::PageRead {
            id,
            room,
            result: result.map(page_lines),
        };
        match answer {
            Answer::Now(result) => self.handle(page_read(result)),
            later => {
                let answer = later.map(|result| Later::Page(page_read(result)));
                self.answers.get_or_insert_default().push(answer.boxed());
                Ok(())
            }
        }
    }

    fn join_next(&mut self) -> Result<(), Over> {
        for _ in 0..JOINS_AT_ONCE {
            let Some(join) = self.joins.pop_front() else { break };
            if let Some(answer) = self.subscribe(join) {
                self.input(answer);
            }
        }
        if self.joins.is_empty() {
            self.joins.shrink_to(0);
        }
        self.drain()
    }

    fn subscribe(&mut self, join: JoinRequest) -> Option<Input> {
        let JoinRequest {
            id,
            room,
            since,
            history,
        } = join;
        let user = self.user.clone().unwrap_or_else(default_user);
        let joined = self.charge_new_room(&room).and_then(|charge| {
            let joined = self.hub.join_session(&room, &user, self.socket.clone());
            charge.settle();
            joined.map_err(JoinError::refusal)
        });
        let member = match joined {
            Ok(member) => member,
            Err(refusal) => {
                let result = Err(refusal);
                return Some(Input::Subscribed { id, result });
            }
        };
        let start = member.start(since, history);
        if self.rooms.is_empty() {
            // Most sessions are in one room, and a vector that grows by itself begins with four places.
            self.rooms.reserve_exact(1);
        }
        self.rooms.push(Joined {
            id,
            room,
            member,
            epoch: None,
            catch_up: None,
        });
        match start {
            Answer::Now(start) => Some(self.subscribed(id, start)),
            later => {
                self.answers
                    .get_or_insert_default()
                    .push(later.map(move |start| Later::Start(id, start)).boxed());
                None
            }
        }
    }

    fn answered(&mut self, answer: Later) -> Result<(), Over> {
        let input = match answer {
            Later::Page(input) => input,
            Later::Start(id, start) => self.subscribed(id, start),
        };
        self.handle(input)
    }

    fn subscribed(&mut self, id: SubscriptionId, start: Result<Start, Refusal>) -> Input {
        let joined = self.rooms.iter_mut().find(|joined| joined.id == id);
        let result = match (start, joined) {
            (Ok(start), Some(joined)) => {
                joined.epoch = Some(start.epoch.clone());
                let presence = joined.member.presence();
                Ok(Subscription {
                    epoch: start.epoch,
                    head: start.head,
                    after: start.after,
                    recovered: start.recovered,
                    fork: start.fork,
                    users: presence.users,
                    members: presence.members,
                    // They go to the socket page by page when the subscription goes live, so that a thousand members that come back at
                    // once do not need the memory for all their pages at once.
                    messages: Vec::new(),
                })
            }
            (Err(refusal), _) => Err(refusal),
            // It was left meanwhile, and the session does not wait for this any more.
            (Ok(_), None) => Err(Refusal::for_good(code::NOT_JOINED, "the room was left")),
        };
        if result.is_err() {
            self.leave(id);
        }
        Input::Subscribed { id, result }
    }

    fn leave(&mut self, id: SubscriptionId) {
        self.rooms.retain(|joined| joined.id != id);
        self.behind.retain(|behind| *behind != id);
        self.joins.retain(|join| join.id != id);
    }

    /// A member that cannot go on has its socket closed: it comes back, and joins again with its cursor.
    fn caught_up(&mut self, end: Result<(), CatchUpError>) -> Result<(), Over> {
        match end {
            Ok(()) => Ok(()),
            Err(CatchUpError::Closed) => Err(Over),
            Err(CatchUpError::Overtaken) => self.close(close::TOO_SLOW, "messages were dropped before they were read"),
            Err(CatchUpError::Refused(refusal)) => {
                let retry_after = refusal.retry_after.unwrap_or(Duration::from_secs(1));
                self.close(close::TRY_AGAIN_LATER, &close::retry_after_reason(retry_after))
            }
        }
    }
}

fn default_user() -> UserName {
    UserName::parse("user").unwrap_or_else(|_| unreachable!("it follows the rules"))
}

/// Whether a client may name this room, and how a line that does is refused.
pub(crate) fn check_room(room: &RoomName) -> Result<(), Refusal> {
    names::room(room).map_err(|problem| {
        let code = match problem {
            names::RoomProblem::Reserved => code::FORBIDDEN,
            _ => code::BAD_ROOM,
        };
        Refusal {
            code: code.into(),
            message: problem.to_string().into(),
            retry_after: None,
        }
    })
}

fn appended(room: RoomName, seq: Seq, outcome: Outcome) -> Input {
    let outcome = outcome.into();
    Input::Appended { room, seq, outcome }
}

fn page_lines(page: Page) -> PageLines {
    PageLines {
        more: page
            .messages
            .first()
            .is_some_and(|first| first.offset > page.floor.next()),
        epoch: page.epoch,
        messages: page
            .messages
            .iter()
            .map(|message| MessageLine::encode(message))
            .collect(),
    }
}

/// The session's timer. It is set anew only when it must ring earlier: a session's timeout moves with every frame.
struct Alarm {
    sleep: Pin<Box<Sleep>>,
    armed: bool,
}

impl Alarm {
    fn new() -> Self {
        Self {
            sleep: Box::pin(tokio::time::sleep(Duration::ZERO)),
            armed: false,
        }
    }

    fn set(&mut self, at: Option<Instant>) {
        match at {
            Some(at) if !self.armed || at < self.sleep.deadline() => {
                self.sleep.as_mut().reset(at);
                self.armed = true;
            }
            Some(_) => {}
            None => self.armed = false,
        }
    }

    /// May ring early, which a session does not mind.
    async fn ring(&mut self) {
        if !self.armed {
            return std::future::pending().await;
        }
        self.sleep.as_mut().await;
        self.armed = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a session costs besides is measured by `cargo xtask bench`.
    #[test]
    fn what_a_session_holds_while_it_waits_is_small() {
        fn bytes<F>(_: impl FnOnce(Socket, Hub, Arc<ServerOptions>, NewRooms) -> F) -> usize {
            size_of::<F>()
        }
        let (session, member) = (bytes(run), size_of::<Joined>());
        assert!(session <= 1300, "{session} bytes of a session");
        assert!(member <= 100, "{member} bytes of a place in a room");
    }
}

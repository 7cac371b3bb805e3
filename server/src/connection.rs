//! Runs one [`ServerSession`] over one socket: gives the session what the socket received, and carries out its outputs.
//!
//! | what | where |
//! |---|---|
//! | the loop, and how each output of the session is carried out | `connection.rs` |
//! | later answers of the log | `answers.rs` |
//! | the joined rooms, and their catching up | `rooms.rs` |
//! | texts that the client does not take yet | `waiting.rs` |
//! | the timer | `alarm.rs` |
//!
//! Messages of rooms do not pass through here: the hub writes them into the socket. The session gets all texts that
//! were received already before its outputs are carried out, so that a burst of messages is acknowledged with one text.
//!
//! [`run`] waits for all of these at the same time: answers of the log, rooms that catch up, texts that the client does
//! not take yet, and pauses. Only reading stops: while the session or a room pauses, and while texts wait.

mod alarm;
mod answers;
mod rooms;
mod waiting;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use futures_util::future::FutureExt;
use talkback_protocol::{
    ClientKey, Cursor, Moment, Offset, RequestId, RoomName, Seq, UserName, close,
    codec::MessageLine,
    message::code,
    session::server::{
        Denied, FoundMembers, Identity, Input, Output, PageLines, Refusal, ServerOptions, ServerSession, Subscription,
        SubscriptionId,
    },
};
use tokio::time::Instant;

use crate::{
    addressing::Addressing,
    engine::{Append, AppendOutcome, Limit, MessageId, Page, Range},
    hub::{CatchUpError, Hub, JoinError, NewRoomCharge, Start},
    limits::NewRooms,
    names,
    socket::{Message, Sender, Socket},
};
use alarm::Alarm;
use answers::{Answers, Later};
use rooms::Rooms;
use waiting::WaitingTexts;

/// The most texts that the session gets before its outputs are carried out.
const MAX_BURST: usize = 64;
/// The most bytes of the messages of one page of history; the client can ask for the next page. Over a link of 2 KB a
/// second it arrives within half a minute, which is the client's timeout.
const PAGE_BYTES: usize = 48 * 1024;
/// The most joins that are carried out before the client has taken their answers, because `joined` may be long.
const JOINS_AT_ONCE: usize = 8;
/// The `retry_after` of a search in a room whose join is not carried out yet.
const JOINING_PAUSE: Duration = Duration::from_millis(200);

/// Runs a session to its end.
pub(crate) async fn run(
    mut socket: Socket,
    hub: Hub,
    options: Arc<ServerOptions>,
    new_rooms: NewRooms,
    addressing: Addressing,
) {
    let mut connection = Connection::new(socket.sender(), hub, options, new_rooms, addressing);
    let mut alarm = Alarm::new();
    loop {
        alarm.set(connection.next_alarm());
        let reads = connection.reads();
        let Connection {
            answers,
            waiting,
            requests,
            joins,
            rooms,
            socket: sender,
            ..
        } = &mut connection;
        let takes = waiting.is_empty();
        let event = tokio::select! {
            biased;
            answer = answers.next(), if !answers.is_empty() => Event::Answer(answer),
            sent = waiting.send_first(sender), if !takes => Event::Sent(sent),
            // One answer at a time, when the client has taken the one before: it is far larger than its request.
            () = std::future::ready(()), if takes && !requests.is_empty() => Event::AnswerWanted,
            () = std::future::ready(()), if takes && !joins.is_empty() => Event::JoinsWanted,
            message = socket.recv(), if reads => match message {
                Some(message) => Event::Message(message),
                None => return,
            },
            // After the answers, which a client that reads slowly gets first. Boxed when it begins, because few
            // sessions catch up.
            end = async { Box::pin(rooms.catch_up_next(sender)).await }, if takes && rooms.is_behind() => Event::CaughtUp(end),
            () = alarm.ring() => Event::Alarm,
        };
        let going_on = match event {
            Event::Answer(answer) => connection.answered(answer),
            Event::Sent(sent) => sent,
            Event::AnswerWanted => connection.answer_request(),
            Event::JoinsWanted => connection.join_next(),
            Event::Message(first) => connection.receive(first, Some(&mut socket)),
            Event::CaughtUp(end) => connection.caught_up(end),
            Event::Alarm => connection.wake(&mut socket),
        };
        if going_on.is_err() {
            return;
        }
    }
}

enum Event {
    /// A later answer of the log.
    Answer(Later),
    /// The client took the first of the waiting texts.
    Sent(Result<(), Over>),
    /// The client takes texts, and a page of history or a search is requested.
    AnswerWanted,
    /// The client takes texts, and joins are requested.
    JoinsWanted,
    /// A WebSocket message was received.
    Message(Message),
    /// A room that catches up sent its next messages.
    CaughtUp(Result<(), CatchUpError>),
    /// A timer of the session, or the end of a pause.
    Alarm,
}

/// The session is over; the socket is closing.
struct Over;

struct Connection {
    session: ServerSession,
    started: Instant,
    socket: Sender,
    hub: Hub,
    /// The budget of new rooms of the client's address.
    new_rooms: NewRooms,
    addressing: Addressing,
    /// The user's name; `None` before the answer to `hello`.
    user: Option<UserName>,
    rooms: Rooms,
    answers: Answers,
    /// Joins that are not carried out yet. The session bounds their number.
    joins: VecDeque<JoinRequest>,
    /// How many more joins may be carried out before the next message is received.
    joins_left: usize,
    /// Requested pages of history and searches that have not begun yet. The session bounds their number.
    requests: VecDeque<Request>,
    waiting: WaitingTexts,
    /// When to read from the socket again, after a room was over its budget of deliveries.
    paused: Option<Instant>,
}

/// See [`Output::Subscribe`].
struct JoinRequest {
    id: SubscriptionId,
    room: RoomName,
    since: Option<Cursor>,
    history: u32,
}

/// A request with an answer that may be large.
struct Request {
    id: RequestId,
    room: RoomName,
    wanted: Wanted,
}

enum Wanted {
    /// See [`Output::ReadPage`].
    Page { before: Offset, limit: u32 },
    /// See [`Output::Find`].
    Users { name: Option<UserName> },
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some((client, allowance)) = self.session.allowance() {
            self.hub.keep_allowance(client, allowance, Instant::now());
        }
        self.socket.shared().sockets().metrics().sessions_ended.add_one();
    }
}

impl Connection {
    fn new(socket: Sender, hub: Hub, options: Arc<ServerOptions>, new_rooms: NewRooms, addressing: Addressing) -> Self {
        socket.shared().sockets().metrics().sessions_opened.add_one();
        let started = Instant::now();
        Self {
            session: ServerSession::new(options, Duration::ZERO),
            started,
            socket,
            hub,
            new_rooms,
            addressing,
            user: None,
            rooms: Rooms::default(),
            answers: Answers::default(),
            joins: VecDeque::new(),
            joins_left: JOINS_AT_ONCE,
            requests: VecDeque::new(),
            waiting: WaitingTexts::default(),
            paused: None,
        }
    }

    /// Whether messages may be taken from the socket.
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
        // While texts wait, nothing is read. So that a client that takes them slowly does not count as silent, one
        // message is read here.
        if !self.waiting.is_empty()
            && self.session.reads()
            && let Some(message) = socket.try_recv()
        {
            return self.receive(message, None);
        }
        self.handle(Input::Tick)
    }

    /// Gives the session this message, and those received after it if there is a socket to take them from.
    fn receive(&mut self, first: Message, mut socket: Option<&mut Socket>) -> Result<(), Over> {
        let frames = self.socket.take_received_frames();
        self.input(Input::Counted { frames });
        self.joins_left = JOINS_AT_ONCE;
        let mut message = first;
        // A message that was taken from the socket goes to the session, so the bound is checked before the next one is
        // taken.
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

    /// Gives the session an input and carries out its outputs.
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
                self.waiting.send(text.into(), &self.socket)?;
                None
            }
            // `ServerSession::reads` is false meanwhile, and the session's timer ends the pause.
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
                // The first ones now, so that they are answered before the messages that were published after them.
                if self.waiting.is_empty() && self.joins.is_empty() && self.joins_left > 0 {
                    self.joins_left -= 1;
                    return Ok(self.subscribe(join));
                }
                self.joins.push_back(join);
                None
            }
            Output::Address => {
                let user = self.user.clone().unwrap_or_else(default_user);
                match self.addressing.rooms_of(&user).at_once() {
                    Ok(rooms) => Some(Input::Addressed(rooms)),
                    Err(later) => {
                        let answer = later.map(|rooms| Later::Input(Input::Addressed(rooms)));
                        self.answers.push(answer.boxed());
                        None
                    }
                }
            }
            Output::Live { id, after, .. } => {
                self.rooms.catch_up(id, after);
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
                let wanted = Wanted::Page { before, limit };
                self.requests.push_back(Request { id, room, wanted });
                None
            }
            Output::Find { id, room, name } => {
                let wanted = Wanted::Users { name };
                self.requests.push_back(Request { id, room, wanted });
                None
            }
            Output::Signal { room, from, body } => {
                if let Some(joined) = self.rooms.find(&room) {
                    let bytes = body.json().len();
                    joined.member().signal(from, body);
                    self.charge(&room, bytes);
                }
                None
            }
            Output::Close { code, reason } => return self.close(code, &reason).map(|()| None),
        })
    }

    fn close(&mut self, code: u16, reason: &str) -> Result<(), Over> {
        if code == close::HEARTBEAT_LOST {
            self.socket.shared().sockets().metrics().closed_heartbeat_lost.add_one();
        }
        // Answers to earlier lines are sent before the close frame, as many as the queue has capacity for.
        self.waiting.send_what_fits(&self.socket);
        self.socket.close_by_server(code, reason);
        Err(Over)
    }

    fn identify(&mut self, client: &ClientKey, name: Option<UserName>) -> Result<Identity, Denied> {
        let user = match (name, &self.user) {
            (Some(name), _) => names::user(&name).map_err(|problem| Denied {
                code: close::FORBIDDEN,
                reason: problem.to_string(),
            })?,
            // A newer token of an open session, whose user has a name.
            (None, Some(user)) => user.clone(),
            (None, None) => default_user(),
        };
        // Only for the first token of a connection.
        let is_new = self.user.replace(user.clone()).is_none();
        let allowance = is_new
            .then(|| self.hub.take_allowance(client, Instant::now()))
            .flatten();
        Ok(Identity {
            user,
            expires: None,
            allowance,
        })
    }

    fn charge_new_room(&self, room: &RoomName) -> Result<NewRoomCharge, Refusal> {
        // The server chooses the addressed rooms, and the first message to one is not its client's.
        if room.is_reserved() || self.rooms.find(room).is_some() {
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
                self.hub.metrics().refused(&refusal.code);
                let outcome = AppendOutcome::Refused { epoch: None, refusal };
                return Some(appended(room, seq, outcome));
            }
        };
        let bytes = append.content.as_ref().map_or(0, |body| body.json().len());
        match self.hub.append(append).at_once() {
            Ok(outcome) => {
                charge.settle();
                // A duplicate or a refused message is not delivered.
                if let AppendOutcome::Added(_) = outcome {
                    self.charge(&room, bytes);
                }
                Some(appended(room, seq, outcome))
            }
            Err(later) => {
                self.charge(&room, bytes);
                let answer = later.map({
                    let room = room.clone();
                    move |outcome| {
                        charge.settle();
                        appended(room, seq, outcome)
                    }
                });
                self.answers.push_append(room, answer.boxed());
                None
            }
        }
    }

    /// Charges this connection for the delivery of a message, and reads nothing more from it while its room is over its
    /// budget.
    fn charge(&mut self, room: &RoomName, bytes: usize) {
        let now = Instant::now();
        let until = match self.rooms.find(room) {
            Some(joined) => joined.member().charge(bytes, now),
            None => self.hub.charge(room, bytes, now),
        };
        self.paused = self.paused.max(until);
    }

    fn answer_request(&mut self) -> Result<(), Over> {
        let Some(request) = self.requests.pop_front() else {
            return Ok(());
        };
        if self.requests.is_empty() {
            self.requests.shrink_to(0);
        }
        let Request { id, room, wanted } = request;
        match wanted {
            Wanted::Page { before, limit } => self.read_page(id, room, before, limit),
            Wanted::Users { name } => {
                let result = self.find(&room, name.as_deref().unwrap_or_default());
                self.handle(Input::Found { id, room, result })
            }
        }
    }

    fn find(&self, room: &RoomName, part: &str) -> Result<FoundMembers, Refusal> {
        match self.rooms.find(room) {
            Some(joined) => Ok(joined.member().find(&names::folded(part))),
            // The join before it waits until the client takes texts.
            None if self.joins.iter().any(|join| join.room == *room) => {
                Err(Refusal::later(code::BUSY, "the room is not joined yet", JOINING_PAUSE))
            }
            None => Err(Refusal::for_good(code::NOT_JOINED, "the room was left")),
        }
    }

    fn read_page(&mut self, id: RequestId, room: RoomName, before: Offset, limit: u32) -> Result<(), Over> {
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
        match answer.at_once() {
            Ok(result) => self.handle(page_read(result)),
            Err(later) => {
                let answer = later.map(|result| Later::Input(page_read(result)));
                self.answers.push(answer.boxed());
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
        self.rooms.add(id, room, member);
        match start.at_once() {
            Ok(start) => Some(self.subscribed(id, start)),
            Err(later) => {
                let answer = later.map(move |start| Later::Start(id, start));
                self.answers.push(answer.boxed());
                None
            }
        }
    }

    /// Gives the session this answer, and those that are there already, so that they are told with one text.
    fn answered(&mut self, first: Later) -> Result<(), Over> {
        let mut answer = first;
        for left in (0..MAX_BURST).rev() {
            let input = match answer {
                Later::Input(input) => input,
                Later::Start(id, start) => self.subscribed(id, start),
            };
            self.input(input);
            let is_more = left > 0 && !self.answers.is_empty();
            match is_more.then(|| self.answers.next().now_or_never()).flatten() {
                Some(next) => answer = next,
                None => break,
            }
        }
        self.drain()
    }

    fn subscribed(&mut self, id: SubscriptionId, start: Result<Start, Refusal>) -> Input {
        let result = start.and_then(|start| {
            let joined = self.rooms.started(id, start.epoch.clone());
            // The client left the room meanwhile, and the session ignores this answer.
            let joined = joined.ok_or_else(|| Refusal::for_good(code::NOT_JOINED, "the room was left"))?;
            let told = joined.member().presence();
            Ok(Subscription {
                epoch: start.epoch,
                head: start.head,
                after: start.after,
                recovered: start.recovered,
                fork: start.fork,
                users: told.users,
                members: told.members,
                // Sent to the socket a page at a time before the subscription goes live, so that a thousand members
                // that reconnect do not need the memory for all their pages at once.
                messages: Vec::new(),
            })
        });
        if result.is_err() {
            self.leave(id);
        }
        Input::Subscribed { id, result }
    }

    fn leave(&mut self, id: SubscriptionId) {
        self.rooms.leave(id);
        self.joins.retain(|join| join.id != id);
    }

    /// Closes the socket of a member that cannot catch up: the client reconnects and joins again with its cursor.
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

fn appended(room: RoomName, seq: Seq, outcome: AppendOutcome) -> Input {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// `cargo xtask bench` measures the rest of a session's memory.
    #[test]
    fn an_idle_session_takes_few_bytes() {
        fn bytes<F>(_: impl FnOnce(Socket, Hub, Arc<ServerOptions>, NewRooms, Addressing) -> F) -> usize {
            size_of::<F>()
        }
        let (session, member) = (bytes(run), size_of::<rooms::Joined>());
        assert!(session <= 1300, "{session} bytes of a session");
        assert!(member <= 100, "{member} bytes of a membership");
    }
}

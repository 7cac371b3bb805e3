//! Drives one [`ServerSession`] over one socket: what comes in goes to the session, what it asks for is done.
//!
//! Messages of rooms do not pass through here: the hub writes them straight into the socket. What has come already goes to the session
//! before anything is done for it, so that a burst of messages is acknowledged with one text frame.

use std::{pin::Pin, sync::Arc, time::Duration};

use futures_util::{
    StreamExt,
    future::{BoxFuture, FutureExt},
    stream::FuturesOrdered,
};
use talkback_protocol::{
    Cursor, Epoch, Moment, RoomName, Seq, UserName, close,
    codec::MessageLine,
    message::{Member, code},
    session::server::{
        Identity, Input, Output, PageLines, Refusal, ServerConfig, ServerSession, Subscription, SubscriptionId,
    },
};
use tokio::time::{Instant, Sleep};

use crate::{
    engine::{Answer, Append, Limit, MessageId, Outcome, Page, Range},
    hub::{CatchUpError, Hub, JoinError, SessionMember},
    limits::NewRooms,
    socket::{Message, Sender, Socket},
};

/// So many text frames go to the session at once.
const MAX_BURST: usize = 64;
/// The messages of a page of history have at most this many bytes; the client can ask for more.
const PAGE_BYTES: usize = 256 * 1024;

/// Runs a session to its end.
pub(crate) async fn run(mut socket: Socket, hub: Hub, config: Arc<ServerConfig>, new_rooms: NewRooms) {
    let mut connection = Connection::new(socket.sender(), hub, config, new_rooms);
    let mut alarm = Alarm::new();
    loop {
        alarm.set(connection.next_timeout());
        let event = tokio::select! {
            biased;
            message = socket.recv() => match message {
                Some(message) => Event::Message(message),
                None => return,
            },
            Some(input) = connection.answers.next(), if !connection.answers.is_empty() => Event::Answer(input),
            () = alarm.ring() => Event::Tick,
        };
        let going_on = match event {
            Event::Message(first) => connection.receive(first, &mut socket).await,
            Event::Answer(input) => connection.handle(input).await,
            Event::Tick => connection.handle(Input::Tick).await,
        };
        if going_on.is_err() {
            return;
        }
    }
}

enum Event {
    Message(Message),
    Answer(Input),
    Tick,
}

impl Drop for Connection {
    fn drop(&mut self) {
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
    /// What the engine has not answered yet. The session bounds how many there are.
    answers: FuturesOrdered<BoxFuture<'static, Input>>,
}

struct Joined {
    id: SubscriptionId,
    room: RoomName,
    epoch: Epoch,
    member: SessionMember,
}

impl Connection {
    fn new(socket: Sender, hub: Hub, config: Arc<ServerConfig>, new_rooms: NewRooms) -> Self {
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
            answers: FuturesOrdered::new(),
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.session.next_timeout().map(|after| self.started + after)
    }

    /// Gives the session this message and those behind it.
    async fn receive(&mut self, first: Message, socket: &mut Socket) -> Result<(), Over> {
        let mut message = first;
        // A message that was taken off the socket is the session's: the bound is looked at before the next one is taken.
        for left in (0..MAX_BURST).rev() {
            match message {
                Message::Text(text) => {
                    let text = text.as_str().to_owned();
                    self.input(Input::Received { text });
                }
                Message::Binary(_) => {
                    self.drain().await?;
                    return self.close(close::UNSUPPORTED_DATA, "this protocol has text frames only");
                }
            }
            match (left > 0).then(|| socket.try_recv()).flatten() {
                Some(next) => message = next,
                None => break,
            }
        }
        self.drain().await
    }

    /// Gives the session an input and does what it asks for.
    async fn handle(&mut self, input: Input) -> Result<(), Over> {
        self.input(input);
        self.drain().await
    }

    async fn drain(&mut self) -> Result<(), Over> {
        while let Some(output) = self.session.poll_output() {
            if let Some(answer) = self.carry_out(output).await? {
                self.input(answer);
            }
        }
        Ok(())
    }

    fn input(&mut self, input: Input) {
        let moment = Moment {
            now: self.started.elapsed(),
            random: fastrand::u64(..),
        };
        self.session.handle(moment, input);
    }

    async fn carry_out(&mut self, output: Output) -> Result<Option<Input>, Over> {
        Ok(match output {
            Output::Transmit(text) => {
                self.socket.send(text).await.map_err(|_| Over)?;
                None
            }
            Output::Identify { name, .. } => {
                let user = name.unwrap_or_else(default_user);
                self.user = Some(user.clone());
                Some(Input::Identified(Ok(Identity { user, expires: None })))
            }
            Output::Append {
                room,
                client,
                seq,
                first,
                from,
                content,
            } => {
                let id = MessageId::Client {
                    key: client,
                    seq,
                    first,
                };
                self.append(Append {
                    room,
                    id,
                    from,
                    content,
                })
            }
            Output::Subscribe {
                id,
                room,
                since,
                history,
            } => {
                let result = self.subscribe(id, room, since, history).await;
                Some(Input::Subscribed { id, result })
            }
            Output::Live { id, after, .. } => {
                if let Some(joined) = self.rooms.iter().find(|joined| joined.id == id) {
                    let caught_up = joined.member.catch_up(after, &joined.epoch, &self.socket).await;
                    self.live(caught_up)?;
                }
                None
            }
            Output::Unsubscribe { id, .. } => {
                self.rooms.retain(|joined| joined.id != id);
                None
            }
            Output::ReadPage { room, before, limit } => {
                let limit = Limit {
                    messages: usize::try_from(limit).unwrap_or(usize::MAX),
                    bytes: PAGE_BYTES,
                };
                let result = self.hub.engine().read(&room, Range::Before(before), limit).await;
                let result = result.map(page_lines);
                Some(Input::PageRead { room, result })
            }
            Output::Signal { room, from, body } => {
                if let Some(joined) = self.rooms.iter().find(|joined| joined.room == room) {
                    joined.member.signal(from, body);
                }
                None
            }
            Output::Close { code, reason } => return self.close(code, &reason).map(|()| None),
        })
    }

    fn close(&self, code: u16, reason: &str) -> Result<(), Over> {
        if code == close::HEARTBEAT_LOST {
            self.socket.shared().sockets().metrics().closed_heartbeat_lost.add_one();
        }
        self.socket.close_by_server(code, reason);
        Err(Over)
    }

    fn may_begin(&self, room: &RoomName) -> Result<(), Refusal> {
        if self.rooms.iter().any(|joined| joined.room == *room) {
            return Ok(());
        }
        self.hub.may_begin(room, &self.new_rooms).map_err(|after| Refusal {
            code: code::BUSY.into(),
            message: "your address has begun too many rooms: try again later".into(),
            retry_after: Some(after),
        })
    }

    fn append(&mut self, append: Append) -> Option<Input> {
        let room = append.room.clone();
        let seq = append.id.seq()?;
        if let Err(refusal) = self.may_begin(&room) {
            return Some(appended(room, seq, Outcome::Refused(refusal)));
        }
        match self.hub.engine().append(append) {
            Answer::Later(outcome) => {
                self.answers
                    .push_back(outcome.map(move |outcome| appended(room, seq, outcome)).boxed());
                None
            }
            Answer::Now(outcome) => Some(appended(room, seq, outcome)),
            Answer::Taken => None,
        }
    }

    async fn subscribe(
        &mut self,
        id: SubscriptionId,
        room: RoomName,
        since: Option<Cursor>,
        history: u32,
    ) -> Result<Subscription, Refusal> {
        self.may_begin(&room)?;
        let user = self.user.clone().unwrap_or_else(default_user);
        let member = self
            .hub
            .join_session(&room, &user, self.socket.clone())
            .map_err(JoinError::refusal)?;
        let start = member.start(since.as_ref(), history.into()).await?;
        self.rooms.push(Joined {
            id,
            room,
            epoch: start.epoch.clone(),
            member,
        });
        let users = u32::try_from(start.users.len()).unwrap_or(u32::MAX);
        let listed = self.hub.options().listed_users;
        let members = start.users.into_iter().take(listed).map(|user| Member { user });
        Ok(Subscription {
            epoch: start.epoch,
            head: start.head,
            after: start.after,
            recovered: start.recovered,
            users,
            members: members.collect(),
            // They go to the socket page by page when the subscription goes live, so that a thousand members that come back at once
            // do not need the memory for all their pages at once.
            messages: Vec::new(),
        })
    }

    /// A member that cannot go on has its socket closed: it comes back, and joins again with its cursor.
    fn live(&mut self, caught_up: Result<(), CatchUpError>) -> Result<(), Over> {
        match caught_up {
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

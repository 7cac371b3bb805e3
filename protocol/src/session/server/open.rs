//! The lines of a welcomed client: joining rooms, publishing, signals, history, and finding users.

use std::{fmt, time::Duration};

use super::{
    AppendOutcome, FoundMembers, Output, PageLines, Place, Refusal, ServerOptions, Subscription, SubscriptionId,
    outgoing::{Outgoing, millis},
    trace::trace,
};
use crate::{
    Body, BodyLimit, ClientKey, ClientLine, Cursor, Epoch, PublishId, RequestId, RoomName, Seq, ServerLine, UserName,
    codec,
    message::{
        Ack, Author, Direct, ErrorLine, Find, Forgotten, Found, History, Join, Joined, Left, Nack, Publish, Withdraw,
        code,
    },
};

/// The `retry_after` of a line that is refused because too many of its kind are open.
const BUSY_PAUSE: Duration = Duration::from_millis(200);

/// A session from its first `welcome` to its close.
#[derive(Debug)]
pub(super) struct Open {
    client: ClientKey,
    /// The name that the client requested in `hello`.
    name: Option<UserName>,
    author: Author,
    /// The driver checks a newer token.
    renewing: bool,
    /// There is mostly one, and at most a few dozen; a map would need several times the memory.
    rooms: Vec<Membership>,
    last_subscription: SubscriptionId,
    /// The number of messages that the engine has not answered.
    appends: u32,
    /// The number of requests (`history`, `find`) that the driver has not answered.
    reads: u32,
    /// The open requests with the limit 0, which only ask whether there is a message.
    probes: Vec<RequestId>,
    /// The `direct` whose rooms the driver looks for.
    addressing: Option<Box<Direct>>,
}

/// A room from `join` until `leave`, a refusal or the server's decision.
#[derive(Debug)]
struct Membership {
    room: RoomName,
    id: SubscriptionId,
    /// Whether `joined` was sent.
    live: bool,
}

/// The fields that `publish` and `withdraw` have in common.
struct Numbered {
    room: RoomName,
    seq: Seq,
    id: PublishId,
    first: bool,
}

impl Open {
    pub(super) fn new(client: ClientKey, name: Option<UserName>, user: UserName) -> Self {
        let sender = client.sender();
        Self {
            client,
            name,
            author: Author { sender, user },
            renewing: false,
            rooms: Vec::new(),
            last_subscription: 0,
            appends: 0,
            reads: 0,
            probes: Vec::new(),
            addressing: None,
        }
    }

    pub(super) fn client(&self) -> ClientKey {
        self.client
    }

    pub(super) fn author(&self) -> &Author {
        &self.author
    }

    pub(super) fn is_renewing(&self) -> bool {
        self.renewing
    }

    /// The newer token was accepted.
    pub(super) fn renewed(&mut self) {
        self.renewing = false;
    }

    pub(super) fn serve(&mut self, line: ClientLine, options: &ServerOptions, out: &mut Outgoing) {
        match line {
            ClientLine::Join(join) => self.join(join, options, out),
            ClientLine::Leave { room } => self.leave(room, out),
            ClientLine::Publish(Publish {
                room,
                seq,
                id,
                first,
                body,
            }) => {
                let content = check_body(&body, options).map(|()| body);
                self.append(Numbered { room, seq, id, first }, content, options, out);
            }
            ClientLine::Withdraw(Withdraw { room, seq, id, first }) => {
                trace!("withdraw: {}, seq {seq}", self.number(&room));
                let refusal = Refusal::for_good(code::WITHDRAWN, "the client withdrew the message");
                self.append(Numbered { room, seq, id, first }, Err(refusal), options, out);
            }
            ClientLine::Signal { room, body } => self.signal(room, body, options, out),
            ClientLine::History(history) => self.history(history, options, out),
            ClientLine::Find(find) => self.find(find, options, out),
            ClientLine::Direct(direct) => self.direct(direct, options, out),
            ClientLine::Auth { token } => {
                trace!("auth: lines wait until the newer token is checked");
                self.renewing = true;
                out.push(Output::Identify {
                    client: self.client,
                    token: Some(token),
                    name: self.name.clone(),
                });
            }
            ClientLine::Ping {} => out.send(&ServerLine::Pong {}),
            // The session handles `hello`.
            ClientLine::Pong {} | ClientLine::Hello(_) => {}
        }
    }

    fn join(&mut self, join: Join, options: &ServerOptions, out: &mut Outgoing) {
        let room = join.room;
        if let Err(refusal) = check_room(&room, options) {
            return self.refuse("join", Some(room), refusal, out);
        }
        if self.membership(&room).is_some() {
            let refusal = Refusal::for_good(code::ALREADY_JOINED, "the room is joined already: leave it first");
            return self.refuse("join", Some(room), refusal, out);
        }
        self.subscribe(room, join.since, join.history, options, out);
    }

    /// Follows a room that is not joined, unless there are too many: addressed rooms and others are counted apart.
    fn subscribe(
        &mut self,
        room: RoomName,
        since: Option<Cursor>,
        history: Option<u32>,
        options: &ServerOptions,
        out: &mut Outgoing,
    ) {
        let same_kind = |membership: &&Membership| membership.room.is_reserved() == room.is_reserved();
        if self.rooms.iter().filter(same_kind).count() >= options.limits.rooms as usize {
            let message = if room.is_reserved() {
                "the user is in more groups than a session can follow"
            } else {
                "leave another room first"
            };
            let refusal = Refusal::for_good(code::TOO_MANY_ROOMS, message);
            return self.refuse(asked_by(&room), Some(room), refusal, out);
        }
        self.last_subscription += 1;
        let id = self.last_subscription;
        if self.rooms.is_empty() {
            // A vector would allocate four elements at first.
            self.rooms.reserve_exact(1);
        }
        self.rooms.push(Membership {
            room: room.clone(),
            id,
            live: false,
        });
        let history = history.unwrap_or(0).min(options.limits.page);
        trace!(
            "{}: room {id}, since {:?}, history {history}",
            asked_by(&room),
            since.as_ref().map(|since| since.offset.get())
        );
        out.push(Output::Subscribe {
            id,
            room,
            since,
            history,
        });
    }

    fn direct(&mut self, direct: Direct, options: &ServerOptions, out: &mut Outgoing) {
        if !options.direct {
            let refusal = Refusal::for_good(code::FORBIDDEN, "this server does not address users");
            return self.refuse("direct", None, refusal, out);
        }
        if self.addressing.is_some() {
            let refusal = Refusal::later(code::BUSY, "the line before it is not answered yet", BUSY_PAUSE);
            return self.refuse("direct", None, refusal, out);
        }
        self.addressing = Some(Box::new(direct));
        out.push(Output::Address);
    }

    /// The addressed rooms of the user. Those that the session follows already stay as they are.
    pub(super) fn addressed(
        &mut self,
        result: Result<Vec<RoomName>, Refusal>,
        options: &ServerOptions,
        out: &mut Outgoing,
    ) {
        let Some(direct) = self.addressing.take() else {
            return;
        };
        let rooms = match result {
            Ok(rooms) => rooms,
            Err(refusal) => return self.refuse("direct", None, refusal, out),
        };
        let mut positions = direct.since.unwrap_or_default();
        for room in rooms {
            if self.membership(&room).is_some() {
                continue;
            }
            let position = positions.iter().position(|position| position.room == room);
            let since = position.map(|index| positions.swap_remove(index));
            let since = since.map(|position| Cursor {
                epoch: position.epoch,
                offset: position.offset,
            });
            self.subscribe(room, since, direct.history, options, out);
        }
    }

    /// The log's answer to a join.
    pub(super) fn subscribed(
        &mut self,
        id: SubscriptionId,
        result: Result<Subscription, Refusal>,
        options: &ServerOptions,
        out: &mut Outgoing,
    ) {
        // If it is missing, the room was left meanwhile.
        let Some(index) = self.rooms.iter().position(|membership| membership.id == id) else {
            return;
        };
        let subscription = match result {
            Ok(subscription) => subscription,
            Err(refusal) => {
                let Membership { room, .. } = self.rooms.swap_remove(index);
                self.refuse(asked_by(&room), Some(room), refusal, out);
                return;
            }
        };
        let membership = &mut self.rooms[index];
        membership.live = true;
        let room = membership.room.clone();
        let after = subscription.after.plus(subscription.messages.len() as u64);
        trace!(
            "joined: room {id}, head {}, live after {after}, recovered {}",
            subscription.head, subscription.recovered
        );
        let joined = Joined {
            room: room.clone(),
            epoch: subscription.epoch,
            head: subscription.head,
            after: subscription.after,
            recovered: subscription.recovered,
            fork: subscription.fork,
            users: subscription.users,
            members: None,
        };
        let largest = options.limits.sent_text_bytes as usize;
        let line = codec::encode_joined(joined, subscription.members.as_ref(), largest);
        out.send_line(&line);
        for message in &subscription.messages {
            out.send_line(message.line());
        }
        out.flush();
        out.push(Output::Live { id, room, after });
    }

    fn leave(&mut self, room: RoomName, out: &mut Outgoing) {
        trace!("leave: {}", self.number(&room));
        if let Some(index) = self.membership(&room) {
            let Membership { id, .. } = self.rooms.swap_remove(index);
            out.push(Output::Unsubscribe { id, room: room.clone() });
        }
        out.send(&ServerLine::Left(Left {
            room,
            code: None,
            message: None,
        }));
    }

    /// The server ended a membership.
    pub(super) fn expelled(&mut self, id: SubscriptionId, reason: Refusal, out: &mut Outgoing) {
        let found = self.rooms.iter().position(|membership| membership.id == id);
        if let Some(index) = found {
            let Membership { room, .. } = self.rooms.swap_remove(index);
            trace!("expelled: room {id}, {}", reason.code);
            out.send(&ServerLine::Left(Left {
                room,
                code: Some(reason.code.into_owned()),
                message: Some(reason.message.into_owned()),
            }));
        }
    }

    fn append(
        &mut self,
        Numbered { room, seq, id, first }: Numbered,
        content: Result<Body, Refusal>,
        options: &ServerOptions,
        out: &mut Outgoing,
    ) {
        if let Err(refusal) = check_room(&room, options) {
            return self.nack(room, seq, None, refusal, out);
        }
        if self.appends >= options.limits.in_flight {
            let refusal = Refusal::later(code::BUSY, "too many messages are on the way", BUSY_PAUSE);
            return self.nack(room, seq, None, refusal, out);
        }
        self.appends += 1;
        out.push(Output::Append {
            room,
            client: self.client,
            seq,
            id,
            first,
            from: self.author.clone(),
            content,
        });
    }

    /// The log's answer to a `publish` or `withdraw`.
    pub(super) fn appended(&mut self, room: RoomName, seq: Seq, outcome: AppendOutcome, out: &mut Outgoing) {
        self.appends = self.appends.saturating_sub(1);
        match outcome {
            AppendOutcome::Added(place) | AppendOutcome::Duplicate(place) => {
                let Place { epoch, offset, at } = place;
                out.send(&ServerLine::Ack(Ack {
                    room,
                    seq,
                    epoch,
                    offset,
                    at,
                }));
            }
            AppendOutcome::Forgotten { epoch } => {
                trace!("forgotten: {}, seq {seq}", self.number(&room));
                out.send(&ServerLine::Forgotten(Forgotten { room, seq, epoch }));
            }
            AppendOutcome::Refused { epoch, refusal } => self.nack(room, seq, epoch, refusal, out),
            AppendOutcome::Conflict { epoch } => self.nack(
                room,
                seq,
                Some(epoch),
                Refusal::for_good(code::CONFLICT, "the number belongs to another message of this key"),
                out,
            ),
            AppendOutcome::Gap { epoch } => self.nack(
                room,
                seq,
                Some(epoch),
                // The message before it was refused for now, and its `retry_after` is the time to wait.
                Refusal::later(code::GAP, "an earlier message is missing", Duration::ZERO),
                out,
            ),
        }
    }

    fn signal(&mut self, room: RoomName, body: Body, options: &ServerOptions, out: &mut Outgoing) {
        if let Err(refusal) = check_room(&room, options) {
            return self.refuse("signal", Some(room), refusal, out);
        }
        if !self.membership(&room).is_some_and(|index| self.rooms[index].live) {
            let refusal = Refusal::for_good(code::NOT_JOINED, "join the room to signal in it");
            return self.refuse("signal", Some(room), refusal, out);
        }
        if let Err(refusal) = check_body(&body, options) {
            return self.refuse("signal", Some(room), refusal, out);
        }
        let from = self.author.clone();
        out.push(Output::Signal { room, from, body });
    }

    fn history(&mut self, history: History, options: &ServerOptions, out: &mut Outgoing) {
        let History {
            id,
            room,
            before,
            limit,
        } = history;
        // Of the reserved rooms, those that are addressed to the user may be read.
        if let Err(refusal) = check_room(&room, options)
            && !(room.is_reserved() && self.membership(&room).is_some())
        {
            return self.refuse_request("history", id, room, refusal, out);
        }
        if self.reads >= options.limits.history {
            return self.refuse_request("history", id, room, too_many_requests(), out);
        }
        self.reads += 1;
        if limit == 0 {
            self.probes.push(id);
        }
        out.push(Output::ReadPage {
            id,
            room,
            before,
            limit: limit.clamp(1, options.limits.page.max(1)),
        });
    }

    /// The log's answer to a `history`.
    pub(super) fn page_read(
        &mut self,
        id: RequestId,
        room: RoomName,
        result: Result<PageLines, Refusal>,
        options: &ServerOptions,
        out: &mut Outgoing,
    ) {
        self.reads = self.reads.saturating_sub(1);
        let probe = self.probes.iter().position(|probe| *probe == id);
        let probe = probe.map(|index| self.probes.swap_remove(index));
        match result {
            Ok(mut page) => {
                if probe.is_some() {
                    page.more |= !page.messages.is_empty();
                    page.messages.clear();
                }
                let largest = options.limits.sent_text_bytes as usize;
                out.send_line(&codec::encode_page(id, &room, &page, largest));
            }
            Err(refusal) => self.refuse_request("history", id, room, refusal, out),
        }
    }

    fn find(&mut self, find: Find, options: &ServerOptions, out: &mut Outgoing) {
        let Find { id, room, name } = find;
        let refusal = if let Err(refusal) = check_room(&room, options) {
            refusal
        } else if self.membership(&room).is_none() {
            Refusal::for_good(code::NOT_JOINED, "join the room to find its users")
        } else if self.reads >= options.limits.history {
            too_many_requests()
        } else {
            self.reads += 1;
            return out.push(Output::Find { id, room, name });
        };
        self.refuse_request("find", id, room, refusal, out);
    }

    /// The driver's answer to a `find`.
    pub(super) fn found(
        &mut self,
        id: RequestId,
        room: RoomName,
        result: Result<FoundMembers, Refusal>,
        out: &mut Outgoing,
    ) {
        self.reads = self.reads.saturating_sub(1);
        match result {
            Ok(FoundMembers { members, more }) => out.send(&ServerLine::Found(Found {
                id,
                room,
                members,
                more,
            })),
            Err(refusal) => self.refuse_request("find", id, room, refusal, out),
        }
    }

    fn nack(&self, room: RoomName, seq: Seq, epoch: Option<Epoch>, refusal: Refusal, out: &mut Outgoing) {
        trace!(
            "nack: {}, seq {seq}, {}, retry after {:?}",
            self.number(&room),
            refusal.code,
            refusal.retry_after
        );
        out.send(&ServerLine::Nack(Nack {
            room,
            seq,
            epoch,
            code: refusal.code.into_owned(),
            message: refusal.message.into_owned(),
            retry_after_ms: refusal.retry_after.map(millis),
        }));
    }

    /// Sends the `error` for a line of this kind.
    pub(super) fn refuse(&self, kind: &str, room: Option<RoomName>, refusal: Refusal, out: &mut Outgoing) {
        self.error(kind, room, None, refusal, out);
    }

    /// Sends the `error` for a request, of this kind and with this id.
    pub(super) fn refuse_request(
        &self,
        kind: &str,
        id: RequestId,
        room: RoomName,
        refusal: Refusal,
        out: &mut Outgoing,
    ) {
        self.error(kind, Some(room), Some(id), refusal, out);
    }

    fn error(&self, kind: &str, room: Option<RoomName>, id: Option<RequestId>, refusal: Refusal, out: &mut Outgoing) {
        trace!(
            "error: {kind}, {}, {}, retry after {:?}",
            RoomNumber(room.as_ref().and_then(|room| self.number(room).0)),
            refusal.code,
            refusal.retry_after
        );
        out.send(&ServerLine::Error(ErrorLine {
            code: refusal.code.into_owned(),
            message: refusal.message.into_owned(),
            room,
            kind: Some(kind.to_owned()),
            id,
            retry_after_ms: refusal.retry_after.map(millis),
        }));
    }

    /// The name of a room in trace events: the number of its subscription.
    fn number(&self, room: &RoomName) -> RoomNumber {
        RoomNumber(self.membership(room).map(|index| self.rooms[index].id))
    }

    fn membership(&self, room: &RoomName) -> Option<usize> {
        self.rooms.iter().position(|membership| membership.room == *room)
    }
}

struct RoomNumber(Option<SubscriptionId>);

impl fmt::Display for RoomNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(id) => write!(f, "room {id}"),
            None => f.write_str("a room that is not joined"),
        }
    }
}

/// The kind of the line by which a client asks for a room.
fn asked_by(room: &RoomName) -> &'static str {
    if room.is_reserved() { "direct" } else { "join" }
}

fn too_many_requests() -> Refusal {
    Refusal::later(code::BUSY, "too many requests are open", BUSY_PAUSE)
}

/// Names that begin with `~` are reserved for the server.
fn check_room(room: &RoomName, options: &ServerOptions) -> Result<(), Refusal> {
    if room.is_reserved() {
        let message = "rooms whose names begin with ~ are the server's own: what is addressed to a user comes by itself \
                       after the line `direct`, and only a back end publishes there";
        return Err(Refusal::for_good(code::FORBIDDEN, message));
    }
    (options.check_room)(room)
}

fn check_body(body: &Body, options: &ServerOptions) -> Result<(), Refusal> {
    let limits = &options.limits;
    if body.json().len() > limits.body_bytes as usize {
        let message = "the body is larger than this server takes";
        return Err(Refusal::for_good(code::TOO_LARGE, message));
    }
    body.check(limits.body_depth as usize).map_err(|limit| match limit {
        BodyLimit::TooDeep { .. } => {
            let message = "lists and objects of the body are nested deeper than this server takes";
            Refusal::for_good(code::TOO_DEEP, message)
        }
        BodyLimit::LongNumber { .. } => {
            let message = "a number in the body has more than 128 characters: write it as a string";
            Refusal::for_good(code::TOO_LARGE, message)
        }
    })
}

//! What each line of the client does.

use std::time::Duration;

use super::{Membership, Output, Refusal, ServerSession, State, TOO_MUCH, Who, timer::Timer};
use crate::{
    Body, BodyLimit, ClientLine, PublishId, RoomName, Seq, ServerLine, close,
    codec::{self, TextLimits},
    message::{Hello, History, Join, Left, Publish, Withdraw, code},
};

/// How soon something that found the engine busy may come again.
const BUSY_PAUSE: Duration = Duration::from_millis(200);

impl ServerSession {
    pub(super) fn received(&mut self, text: &str) {
        self.timers.clear(Timer::Silence);
        self.rate.fill(self.now);
        self.rate.take_bytes(text.len());
        if !self.rate.receive(text.split('\n').count()) {
            return self.close(close::TOO_MANY, TOO_MUCH);
        }
        let limits = TextLimits {
            bytes: self.config.limits.text_bytes as usize,
            lines: self.config.limits.text_lines as usize,
        };
        let frames = match codec::decode::<ClientLine>(text, limits) {
            Ok(frames) => frames,
            Err(error) => return self.close(error.close_code(), &error.to_string()),
        };
        // Only a driver that does not wait for `Identified` can make these grow.
        self.held_bytes += text.len();
        if self.held.len() + frames.len() > limits.lines || self.held_bytes > limits.bytes {
            return self.close(close::TOO_MANY, "too much came before the welcome");
        }
        self.held.extend(frames);
        self.take_held();
    }

    /// Takes lines until there are no more, or one of them waits for the driver.
    pub(super) fn take_held(&mut self) {
        while !self.state.is_identifying() {
            let Some(frame) = self.held.pop_front() else {
                self.held.shrink_to(0);
                self.held_bytes = 0;
                return;
            };
            self.frame(frame);
        }
    }

    fn frame(&mut self, frame: ClientLine) {
        let late = self.rate.refused_for();
        let late = late.map(|pause| Refusal::later(code::RATE, "too much was sent before it", pause));
        match (frame, late) {
            // Not charged: a refusal is no work, and what is sent again is charged then.
            (ClientLine::Signal { room, .. }, Some(refusal)) if self.state == State::Open => {
                self.refuse("signal", room, refusal);
            }
            (ClientLine::History(history), Some(refusal)) if self.state == State::Open => {
                self.refuse_history(history.id, history.room, refusal);
            }
            (frame, _) => {
                self.rate.take_line();
                self.serve(frame);
            }
        }
    }

    fn serve(&mut self, frame: ClientLine) {
        match (self.state, frame) {
            (State::Silent, ClientLine::Hello(hello)) => self.hello(hello),
            (State::Silent, _) => self.close(close::BAD_FRAME, "the first line must be hello"),
            (_, ClientLine::Hello(_)) => self.close(close::BAD_FRAME, "hello came twice"),
            (_, ClientLine::Join(join)) => self.join(join),
            (_, ClientLine::Leave { room }) => self.leave(room),
            (_, ClientLine::Publish(publish)) => {
                let Publish {
                    room,
                    seq,
                    id,
                    first,
                    body,
                } = publish;
                let content = self.check_body(&body).map(|()| body);
                self.append(room, seq, id, first, content);
            }
            (_, ClientLine::Withdraw(Withdraw { room, seq, id, first })) => {
                let refusal = Refusal::for_good(code::WITHDRAWN, "the client withdrew the message");
                self.append(room, seq, id, first, Err(refusal));
            }
            (_, ClientLine::Signal { room, body }) => self.signal(room, body),
            (_, ClientLine::History(history)) => self.history(history),
            (_, ClientLine::Auth { token }) => self.auth(token),
            (_, ClientLine::Ping {}) => self.send(&ServerLine::Pong {}),
            (_, ClientLine::Pong {}) => {}
        }
    }

    fn hello(&mut self, hello: Hello) {
        self.timers.clear(Timer::Hello);
        self.state = State::Greeting;
        self.who = Some(Who {
            client: hello.client,
            name: hello.name,
            author: None,
        });
        self.identify(hello.token);
    }

    fn auth(&mut self, token: String) {
        if self.state == State::Open {
            self.state = State::Renewing;
            self.identify(Some(token));
        }
    }

    fn identify(&mut self, token: Option<String>) {
        if let Some(Who { client, name, .. }) = &self.who {
            self.outputs.push_back(Output::Identify {
                client: *client,
                token,
                name: name.clone(),
            });
        }
    }

    fn membership(&self, room: &RoomName) -> Option<usize> {
        self.rooms.iter().position(|membership| membership.room == *room)
    }

    fn join(&mut self, join: Join) {
        self.rate.take_join();
        let room = join.room;
        if let Err(refusal) = self.check_room(&room) {
            return self.refuse("join", room, refusal);
        }
        if self.membership(&room).is_some() {
            let refusal = Refusal::for_good(code::ALREADY_JOINED, "the room is joined already: leave it first");
            return self.refuse("join", room, refusal);
        }
        if self.rooms.len() >= self.config.limits.rooms as usize {
            let refusal = Refusal::for_good(code::TOO_MANY_ROOMS, "leave another room first");
            return self.refuse("join", room, refusal);
        }
        self.last_subscription += 1;
        let id = self.last_subscription;
        if self.rooms.is_empty() {
            // A vector that grows by itself begins with four places.
            self.rooms.reserve_exact(1);
        }
        self.rooms.push(Membership {
            room: room.clone(),
            id,
            live: false,
        });
        self.outputs.push_back(Output::Subscribe {
            id,
            room,
            since: join.since,
            history: join.history.unwrap_or(0).min(self.config.limits.page),
        });
    }

    fn leave(&mut self, room: RoomName) {
        if let Some(index) = self.membership(&room) {
            let Membership { id, .. } = self.rooms.swap_remove(index);
            self.outputs.push_back(Output::Unsubscribe { id, room: room.clone() });
        }
        self.send(&ServerLine::Left(Left {
            room,
            code: None,
            message: None,
        }));
    }

    fn append(&mut self, room: RoomName, seq: Seq, id: PublishId, first: bool, content: Result<Body, Refusal>) {
        let Some(Who {
            client,
            author: Some(from),
            ..
        }) = &self.who
        else {
            return;
        };
        let (client, from) = (*client, from.clone());
        if let Err(refusal) = self.check_room(&room) {
            return self.nack(room, seq, None, refusal);
        }
        if self.appends >= self.config.limits.in_flight {
            let refusal = Refusal::later(code::BUSY, "too many messages are on the way", BUSY_PAUSE);
            return self.nack(room, seq, None, refusal);
        }
        self.appends += 1;
        self.outputs.push_back(Output::Append {
            room,
            client,
            seq,
            id,
            first,
            from,
            content,
        });
    }

    fn signal(&mut self, room: RoomName, body: Body) {
        if let Err(refusal) = self.check_room(&room) {
            return self.refuse("signal", room, refusal);
        }
        if !self.membership(&room).is_some_and(|index| self.rooms[index].live) {
            let refusal = Refusal::for_good(code::NOT_JOINED, "join the room to signal in it");
            return self.refuse("signal", room, refusal);
        }
        if let Err(refusal) = self.check_body(&body) {
            return self.refuse("signal", room, refusal);
        }
        if let Some(from) = self.author().cloned() {
            self.outputs.push_back(Output::Signal { room, from, body });
        }
    }

    fn history(&mut self, history: History) {
        let History {
            id,
            room,
            before,
            limit,
        } = history;
        if let Err(refusal) = self.check_room(&room) {
            return self.refuse_history(id, room, refusal);
        }
        if self.reads >= self.config.limits.history {
            let refusal = Refusal::later(code::BUSY, "too many requests for history are open", BUSY_PAUSE);
            return self.refuse_history(id, room, refusal);
        }
        self.reads += 1;
        if limit == 0 {
            self.probes.push(id);
        }
        let limit = limit.clamp(1, self.config.limits.page.max(1));
        self.outputs.push_back(Output::ReadPage {
            id,
            room,
            before,
            limit,
        });
    }

    /// Names that begin with `~` are the server's own.
    fn check_room(&self, room: &RoomName) -> Result<(), Refusal> {
        if room.is_reserved() {
            let message = "rooms whose names begin with ~ are the server's own";
            return Err(Refusal::for_good(code::FORBIDDEN, message));
        }
        (self.config.check_room)(room)
    }

    fn check_body(&self, body: &Body) -> Result<(), Refusal> {
        let limits = &self.config.limits;
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
}

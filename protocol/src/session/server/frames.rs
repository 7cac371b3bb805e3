//! What each frame of the client does.

use std::time::Duration;

use super::{Membership, Output, Refusal, ServerSession, State, rate::Verdict, timer::Timer};
use crate::{
    Body, ClientFrame, PublishId, RoomName, Seq, ServerFrame, close,
    codec::{self, TextLimits},
    message::{Hello, History, Join, Left, Publish, Withdraw, code},
};

/// How soon something that found the engine busy may come again.
const BUSY_PAUSE: Duration = Duration::from_millis(200);

impl ServerSession {
    pub(super) fn received(&mut self, text: &str) {
        if self.timers.is_set(Timer::Silence) {
            self.listen();
        }
        let limits = TextLimits {
            bytes: self.config.limits.text_bytes as usize,
            lines: self.config.limits.text_lines as usize,
        };
        let frames = match codec::decode::<ClientFrame>(text, limits) {
            Ok(frames) => frames,
            Err(error) => return self.close(error.close_code(), &error.to_string()),
        };
        // Only a driver that does not wait for `Identified` can make this grow.
        if self.held.len() + frames.len() > limits.lines {
            return self.close(close::TOO_MANY, "too many frames before the welcome");
        }
        self.held.extend(frames);
        self.take_held();
    }

    /// Takes frames until there are no more, or one of them waits for the driver.
    pub(super) fn take_held(&mut self) {
        while !self.state.is_identifying() {
            let Some(frame) = self.held.pop_front() else {
                self.held.shrink_to(0);
                return;
            };
            match self.rate.take(self.now) {
                Verdict::Pass => self.frame(frame),
                Verdict::Wait(pause) => self.frame_over_rate(frame, pause),
                Verdict::TooMany => self.close(close::TOO_MANY, "too many frames; wait as long as the answers say"),
            }
        }
    }

    fn frame(&mut self, frame: ClientFrame) {
        match (&self.state, frame) {
            (State::Silent, ClientFrame::Hello(hello)) => self.hello(hello),
            (State::Silent, _) => self.close(close::BAD_FRAME, "the first frame must be hello"),
            (_, ClientFrame::Hello(_)) => self.close(close::BAD_FRAME, "hello came twice"),
            (_, ClientFrame::Join(join)) => self.join(join),
            (_, ClientFrame::Leave { room }) => self.leave(room),
            (_, ClientFrame::Publish(publish)) => {
                let Publish {
                    room,
                    seq,
                    id,
                    first,
                    body,
                } = publish;
                let content = if self.fits(&body) {
                    Ok(body)
                } else {
                    let message = "the message is larger than this server takes";
                    Err(Refusal::for_good(code::TOO_LARGE, message))
                };
                self.append(room, seq, id, first, content);
            }
            (_, ClientFrame::Withdraw(Withdraw { room, seq, id, first })) => {
                let refusal = Refusal::for_good(code::WITHDRAWN, "the client withdrew the message");
                self.append(room, seq, id, first, Err(refusal));
            }
            (_, ClientFrame::Signal { room, body }) => self.signal(room, body),
            (_, ClientFrame::History(history)) => self.history(history),
            (_, ClientFrame::Auth { token }) => self.auth(token),
            (_, ClientFrame::Ping {}) => self.send(&ServerFrame::Pong {}),
            (_, ClientFrame::Pong {}) => {}
        }
    }

    /// What asks for work is refused; what ends or answers something passes, and still counts.
    fn frame_over_rate(&mut self, frame: ClientFrame, pause: Duration) {
        let refusal = Refusal::later(code::RATE, "too many frames a second", pause);
        match (&self.state, frame) {
            (State::Silent, frame) => self.frame(frame),
            (_, ClientFrame::Join(join)) => self.refuse("join", Some(join.room), refusal),
            (_, ClientFrame::Publish(publish)) => self.nack(publish.room, publish.seq, None, refusal),
            (_, ClientFrame::Withdraw(withdraw)) => self.nack(withdraw.room, withdraw.seq, None, refusal),
            (_, ClientFrame::Signal { room, .. }) => self.refuse("signal", Some(room), refusal),
            (_, ClientFrame::History(history)) => self.refuse("history", Some(history.room), refusal),
            (_, frame) => self.frame(frame),
        }
    }

    fn hello(&mut self, hello: Hello) {
        self.timers.clear(Timer::Hello);
        self.state = State::Greeting { client: hello.client };
        self.outputs.push_back(Output::Identify {
            client: hello.client,
            token: hello.token,
            name: hello.name,
        });
    }

    fn auth(&mut self, token: String) {
        if let State::Open { client, author } = self.state.clone() {
            self.state = State::Renewing { client, author };
            self.outputs.push_back(Output::Identify {
                client,
                token: Some(token),
                name: None,
            });
        }
    }

    fn join(&mut self, join: Join) {
        let room = join.room;
        if self.rooms.contains_key(&room) {
            let refusal = Refusal::for_good(code::ALREADY_JOINED, "the room is joined already: leave it first");
            return self.refuse("join", Some(room), refusal);
        }
        if self.rooms.len() >= self.config.limits.rooms as usize {
            let refusal = Refusal::for_good(code::TOO_MANY_ROOMS, "leave another room first");
            return self.refuse("join", Some(room), refusal);
        }
        self.last_subscription += 1;
        let id = self.last_subscription;
        self.rooms.insert(room.clone(), Membership { id, live: false });
        self.outputs.push_back(Output::Subscribe {
            id,
            room,
            since: join.since,
            history: join.history.unwrap_or(0).min(self.config.limits.page),
        });
    }

    fn leave(&mut self, room: RoomName) {
        if let Some(Membership { id, .. }) = self.rooms.remove(&room) {
            self.outputs.push_back(Output::Unsubscribe { id, room: room.clone() });
        }
        self.send(&ServerFrame::Left(Left {
            room,
            code: None,
            message: None,
        }));
    }

    fn append(&mut self, room: RoomName, seq: Seq, id: PublishId, first: bool, content: Result<Body, Refusal>) {
        let State::Open { client, author } = &self.state else {
            return;
        };
        let (client, from) = (*client, author.clone());
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
        if !self.rooms.get(&room).is_some_and(|membership| membership.live) {
            let refusal = Refusal::for_good(code::NOT_JOINED, "join the room to signal in it");
            return self.refuse("signal", Some(room), refusal);
        }
        if !self.fits(&body) {
            let refusal = Refusal::for_good(code::TOO_LARGE, "the signal is larger than this server takes");
            return self.refuse("signal", Some(room), refusal);
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
        if self.reads >= self.config.reads {
            let refusal = Refusal::later(code::BUSY, "too many pages are being read", BUSY_PAUSE);
            return self.refuse("history", Some(room), refusal);
        }
        self.reads += 1;
        let limit = limit.min(self.config.limits.page);
        self.outputs.push_back(Output::ReadPage {
            id,
            room,
            before,
            limit,
        });
    }

    fn fits(&self, body: &Body) -> bool {
        body.json().len() <= self.config.limits.body_bytes as usize
    }
}

//! What each line of the server does.

use std::time::Duration;

use super::{
    ClientSession, DeliveryState, FailReason, FoundMembers, Generation, HistoryPage, LeftReason, Output, PageError,
    PresenceChange, RoomEvent,
    history::Question,
    rooms::Effect,
    timer::{Timer, millis},
    trace::{self, debug},
};
use crate::{
    ClientLine, Cursor, Epoch, Offset, PublishId, RoomName, Seq, ServerLine, codec,
    message::{ErrorLine, Forgotten, Found, Left, Message, Millis, Nack, Page, Presence, Signal, code},
};

impl ClientSession {
    pub(super) fn received(&mut self, generation: Generation, text: &str) {
        if !self.link.is_live(generation) || self.link.connection().is_none() {
            return;
        }
        self.heard();
        let lines = match codec::decode(text, self.options.text) {
            Ok(lines) => lines,
            Err(error) => {
                let (bytes, code) = (text.len(), error.close_code());
                debug!("a text of {bytes} bytes cannot be read, which closes with {code}");
                return self.violated(&error.to_string());
            }
        };
        for line in lines {
            // A line can end the connection. Later lines belong to a closed connection then.
            if self.link.is_live(generation) {
                self.line(line);
            }
        }
        if self.outbox.needs_key() {
            self.renew_key();
        }
    }

    fn line(&mut self, line: ServerLine) {
        if self.link.is_greeting() && !matches!(line, ServerLine::Welcome(_) | ServerLine::Ping {}) {
            return;
        }
        match line {
            ServerLine::Welcome(welcome) => self.welcomed(welcome),
            ServerLine::Joined(joined) => {
                self.answered();
                let (room, epoch, fork) = (joined.room.clone(), joined.epoch.clone(), joined.fork.clone());
                let effect = self.rooms.joined(joined, self.options.rooms);
                if let Effect::Emit(_) = effect {
                    debug!("room {}: joined", self.numbers.of(&room));
                    self.entered(&room, &epoch, fork);
                }
                self.apply(&room, effect);
            }
            ServerLine::Message(message) => {
                let Some(sender) = self.link.sender() else { return };
                let room = message.room.clone();
                let effect = self.rooms.message(message, sender);
                if let Effect::Emit(RoomEvent::Message { message, own: true }) = &effect
                    && let (Some(seq), Some(id), Some(cursor)) = (message.seq, message.id, self.rooms.cursor(&room))
                {
                    let (epoch, Message { offset, at, .. }) = (cursor.epoch.clone(), message);
                    self.settle_own(&room, seq, Some(id), epoch, *offset, *at);
                }
                self.apply(&room, effect);
            }
            ServerLine::Ack(ack) => {
                self.answered();
                self.outbox.answered(&ack.room);
                self.settle_own(&ack.room, ack.seq, None, ack.epoch, ack.offset, ack.at);
            }
            ServerLine::Nack(nack) => self.nack(nack),
            ServerLine::Forgotten(Forgotten { room, seq, .. }) => {
                debug!(
                    "room {}: the log has forgotten number {seq}: a new key is needed",
                    self.numbers.of(&room)
                );
                self.answered();
                self.outbox.answered(&room);
                self.settle(&room, seq, None, DeliveryState::Failed(FailReason::Unconfirmed));
                // The log is further than this session can be without an answer: another client uses its key.
                self.outbox.outdated();
            }
            ServerLine::Presence(presence) => self.presence(presence),
            ServerLine::Signal(Signal { room, from, body }) => {
                if self.rooms.is_in(&room) {
                    self.emit(&room, RoomEvent::Signal { from, body });
                }
            }
            ServerLine::Page(page) => self.page(page),
            ServerLine::Found(found) => {
                if cfg!(feature = "find") {
                    self.found(found);
                }
            }
            ServerLine::Left(Left { room, code, message }) => {
                let code_to_log = code.as_deref().map_or("asked", trace::code);
                debug!("room {}: left ({code_to_log})", self.numbers.of(&room));
                self.answered();
                let reason = code.map(|code| LeftReason {
                    code,
                    message: message.unwrap_or_default(),
                });
                let effect = self.rooms.left(&room, reason);
                self.apply(&room, effect);
            }
            ServerLine::Error(error) => self.error(error),
            ServerLine::Ping {} => self.lines.push(ClientLine::Pong {}),
            ServerLine::Pong {} => {}
        }
    }

    /// The server answered a request: the timeout for the others begins anew.
    fn answered(&mut self) {
        self.timers.clear(Timer::Answer);
    }

    /// A message of this client is in the log. The copy of it for the members may come before the `ack` and is taken
    /// for one: so `Acked` always precedes the message, and a page can replace its pending row by the offset.
    fn settle_own(
        &mut self,
        room: &RoomName,
        seq: Seq,
        id: Option<PublishId>,
        epoch: Epoch,
        offset: Offset,
        at: Millis,
    ) {
        self.settle(room, seq, id, DeliveryState::Acked { epoch, offset, at });
    }

    fn settle(&mut self, room: &RoomName, seq: Seq, id: Option<PublishId>, fate: DeliveryState) {
        let progress = self.outbox.settle(room, seq, id, self.now, fate);
        if let Some((_, DeliveryState::Acked { epoch, offset, .. })) = &progress {
            self.acknowledged.add(room, epoch, *offset);
        }
        self.change();
        self.report(progress);
    }

    /// Reports the own messages that the log has lost, if there are any.
    fn entered(&mut self, room: &RoomName, epoch: &Epoch, fork: Option<Cursor>) {
        let offsets = self.acknowledged.entered(room, epoch, fork.as_ref());
        if let (Some(Cursor { epoch, .. }), false) = (fork, offsets.is_empty()) {
            self.emit(room, RoomEvent::Lost { epoch, offsets });
        }
    }

    fn presence(&mut self, presence: Presence) {
        let Presence {
            room,
            users,
            joined,
            left,
            members,
        } = presence;
        if !self.rooms.is_in(&room) {
            return;
        }
        let change = match (members, joined, left) {
            (Some(members), ..) => PresenceChange::List(members),
            (None, None, None) => PresenceChange::Untold,
            (None, joined, left) => PresenceChange::Changed {
                joined: joined.unwrap_or_default(),
                left: left.unwrap_or_default(),
            },
        };
        self.emit(&room, RoomEvent::Presence { users, change });
    }

    fn nack(&mut self, nack: Nack) {
        self.answered();
        if nack.code == code::CONFLICT {
            return self.renew_key();
        }
        self.outbox.answered(&nack.room);
        if let Some(pause) = nack.retry_after_ms {
            let until = self.until(pause);
            let all = nack.code == code::RATE;
            debug!(
                "room {}: number {} is refused until {} ms ({}): {} messages to be sent again{}",
                self.numbers.of(&nack.room),
                nack.seq,
                millis(until),
                trace::code(&nack.code),
                self.outbox.lanes.get(&nack.room).map_or(0, |lane| lane.numbered),
                if all { ", all rooms pause" } else { "" }
            );
            return self.outbox.send_again(&nack.room, nack.seq, until, all);
        }
        debug!(
            "room {}: number {} is refused for good ({})",
            self.numbers.of(&nack.room),
            nack.seq,
            trace::code(&nack.code)
        );
        let reason = FailReason::Refused {
            epoch: nack.epoch,
            code: nack.code,
            message: nack.message,
        };
        self.settle(&nack.room, nack.seq, None, DeliveryState::Failed(reason));
    }

    fn page(&mut self, page: Page) {
        self.answered();
        if let Some(Question { tag, .. }) = self.history.answered(page.id, false) {
            let result = Ok(HistoryPage {
                epoch: page.epoch,
                messages: page.messages,
                more: page.more,
            });
            self.outputs.push_back(Output::Page { tag, result });
        }
    }

    fn found(&mut self, found: Found) {
        self.answered();
        if let Some(Question { tag, .. }) = self.history.answered(found.id, true) {
            let result = Ok(FoundMembers {
                members: found.members,
                more: found.more,
            });
            self.outputs.push_back(Output::Found { tag, result });
        }
    }

    /// Ends a request without an answer.
    pub(super) fn unanswered(&mut self, question: &Question, error: PageError) {
        let tag = question.tag;
        self.outputs
            .push_back(if cfg!(feature = "find") && question.is_for_users() {
                Output::Found {
                    tag,
                    result: Err(error),
                }
            } else {
                Output::Page {
                    tag,
                    result: Err(error),
                }
            });
    }

    fn error(&mut self, error: ErrorLine) {
        let until = error.retry_after_ms.map(|pause| self.until(pause));
        match (error.kind.as_deref(), error.room, error.id) {
            (Some("join"), Some(room), _) => {
                let code = trace::code(&error.code);
                match until {
                    Some(until) => debug!(
                        "room {}: join is refused until {} ms ({code})",
                        self.numbers.of(&room),
                        millis(until)
                    ),
                    None => debug!("room {}: join is refused for good ({code})", self.numbers.of(&room)),
                }
                self.answered();
                let effect = self.rooms.refused(&room, error.code, error.message, until);
                self.apply(&room, effect);
            }
            (Some(kind @ ("history" | "find")), _, Some(id)) => {
                let code = trace::code(&error.code);
                match until {
                    Some(until) => debug!("{kind} {id} is refused until {} ms ({code})", millis(until)),
                    None => debug!("{kind} {id} is refused for good ({code})"),
                }
                self.answered();
                if let Some(until) = until {
                    self.history.pause(id, until, error.code == code::RATE);
                } else if let Some(question) = self.history.answered(id, kind == "find") {
                    let refused = PageError::Refused {
                        code: error.code,
                        message: error.message,
                    };
                    self.unanswered(&question, refused);
                }
            }
            (Some("direct"), room, _) if cfg!(feature = "direct") => {
                debug!("what is addressed is refused ({})", trace::code(&error.code));
                match (until, room) {
                    (Some(until), _) => self.rooms.ask_again(until),
                    (None, Some(room)) => {
                        let effect = self.rooms.refused_addressed(&room, error.code, error.message);
                        self.apply(&room, effect);
                    }
                    (None, None) => self.not_addressed(error.code, error.message),
                }
            }
            (_, room, _) => {
                debug!("the server reports an error ({})", trace::code(&error.code));
                self.outputs.push_back(Output::Fault {
                    code: error.code,
                    message: error.message,
                    room,
                });
            }
        }
    }

    /// The server gives the client nothing that is addressed to its user.
    pub(super) fn not_addressed(&mut self, code: String, message: String) {
        if self.rooms.wants_addressed() {
            self.lines.extend(self.rooms.leave_addressed());
            self.outputs.push_back(Output::NotAddressed { code, message });
        }
    }

    fn until(&self, pause_ms: u64) -> Duration {
        let pause = Duration::from_millis(pause_ms).min(self.options.max_retry_after);
        self.now.saturating_add(pause.max(self.options.min_retry_after))
    }
}

//! What each frame of the server does.

use std::time::Duration;

use super::{
    ClientSession, DeliveryState, FailReason, Generation, HistoryPage, Output, PageError, RoomEvent, rooms::Effect,
    timer::Timer,
};
use crate::{
    ClientFrame, Offset, RoomName, Seq, ServerFrame, codec,
    message::{ErrorFrame, Millis, Nack, Page, Presence, Signal, code},
};

impl ClientSession {
    pub(super) fn received(&mut self, generation: Generation, text: &str) {
        if !self.link.is_live(generation) || self.link.connection().is_none() {
            return;
        }
        self.heard();
        let frames = match codec::decode(text, self.config.text) {
            Ok(frames) => frames,
            Err(error) => return self.violated(&error.to_string()),
        };
        for frame in frames {
            // A frame can end the connection; those behind it are of a past then.
            if self.link.is_live(generation) {
                self.frame(frame);
            }
        }
    }

    fn frame(&mut self, frame: ServerFrame) {
        if self.link.is_greeting() && !matches!(frame, ServerFrame::Welcome(_) | ServerFrame::Ping {}) {
            return;
        }
        match frame {
            ServerFrame::Welcome(welcome) => self.welcomed(welcome),
            ServerFrame::Joined(joined) => {
                self.answered();
                let room = joined.room.clone();
                let effect = self.rooms.joined(joined);
                self.apply(&room, effect);
            }
            ServerFrame::Message(message) => {
                let Some(sender) = self.link.sender() else { return };
                let room = message.room.clone();
                let effect = self.rooms.message(message, &sender);
                if let Effect::Tell(RoomEvent::Message { message, own: true }) = &effect {
                    self.settle_own(message.seq, &message.room, message.offset, message.at);
                }
                self.apply(&room, effect);
            }
            ServerFrame::Ack(ack) => {
                self.answered();
                self.outbox.answered(&ack.room);
                self.settle_own(Some(ack.seq), &ack.room, ack.offset, ack.at);
            }
            ServerFrame::Nack(nack) => self.nack(nack),
            ServerFrame::Presence(Presence { room, joined, left }) => {
                if self.rooms.is_in(&room) {
                    self.tell(&room, RoomEvent::Presence { joined, left });
                }
            }
            ServerFrame::Signal(Signal { room, from, body }) => {
                if self.rooms.is_in(&room) {
                    self.tell(&room, RoomEvent::Signal { from, body });
                }
            }
            ServerFrame::Page(page) => self.page(page),
            ServerFrame::Left { room } => {
                self.answered();
                let effect = self.rooms.left(&room);
                self.apply(&room, effect);
            }
            ServerFrame::Error(error) => self.error(error),
            ServerFrame::Ping {} => self.lines.push(ClientFrame::Pong {}),
            ServerFrame::Pong {} => {}
        }
    }

    /// The server answered something: it has as long again for the rest.
    fn answered(&mut self) {
        self.timers.clear(Timer::Answer);
    }

    /// A message of this client is in the log. Its own copy may come before the `ack` and says the same: so a page hears `Acked` before
    /// it shows the message, and can replace its pending row by the offset.
    fn settle_own(&mut self, seq: Option<Seq>, room: &RoomName, offset: Offset, at: Millis) {
        if let Some(seq) = seq {
            let fate = DeliveryState::Acked { offset, at };
            let progress = self.outbox.settle(room, seq, fate);
            self.change();
            self.report(progress);
        }
    }

    fn nack(&mut self, nack: Nack) {
        self.answered();
        self.outbox.answered(&nack.room);
        if let Some(pause) = nack.retry_after_ms {
            let until = self.until(pause);
            return self.outbox.send_again(&nack.room, nack.seq, until);
        }
        let reason = if nack.code == code::FORGOTTEN {
            FailReason::Unconfirmed
        } else {
            FailReason::Refused {
                code: nack.code,
                message: nack.message,
            }
        };
        let progress = self.outbox.settle(&nack.room, nack.seq, DeliveryState::Failed(reason));
        self.change();
        self.report(progress);
    }

    fn page(&mut self, page: Page) {
        self.answered();
        if let Some(tag) = self.history.answered(&page.room) {
            let result = Ok(HistoryPage {
                epoch: page.epoch,
                messages: page.messages,
                more: page.more,
            });
            self.outputs.push_back(Output::Page { tag, result });
        }
    }

    fn error(&mut self, error: ErrorFrame) {
        let until = error.retry_after_ms.map(|pause| self.until(pause));
        match (error.frame.as_deref(), error.room) {
            (Some("join"), Some(room)) => {
                self.answered();
                let effect = self.rooms.refused(&room, error.code, error.message, until);
                self.apply(&room, effect);
            }
            (Some("history"), Some(room)) => {
                self.answered();
                if let Some(until) = until {
                    self.history.pause(&room, until);
                } else if let Some(tag) = self.history.answered(&room) {
                    let result = Err(PageError::Refused {
                        code: error.code,
                        message: error.message,
                    });
                    self.outputs.push_back(Output::Page { tag, result });
                }
            }
            (_, room) => self.outputs.push_back(Output::Fault {
                code: error.code,
                message: error.message,
                room,
            }),
        }
    }

    fn until(&self, pause_ms: u64) -> Duration {
        self.now + Duration::from_millis(pause_ms).min(self.config.max_retry_after)
    }
}

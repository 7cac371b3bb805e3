//! Texts for a client that does not take them yet.

use std::collections::VecDeque;

use futures_util::future::FutureExt;

use super::Over;
use crate::socket::{Message, SendError, Sender};

/// Texts up to this size do not wait for live messages in the queue: the lines that were read bound their number.
const SMALL_TEXT: usize = 4 * 1024;

/// The session's texts that the socket's queue has no capacity for, in order. Nothing is read meanwhile, so only
/// answers to earlier lines are added.
#[derive(Default)]
pub(super) struct WaitingTexts {
    texts: VecDeque<Message>,
    /// The place in the socket's queue at which the first of them began to wait. Live messages are sent before it only
    /// until all that was queued before this place is written.
    place: u64,
}

impl WaitingTexts {
    pub(super) fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// Sends a text, or keeps it until the client takes it.
    pub(super) fn send(&mut self, text: Message, socket: &Sender) -> Result<(), Over> {
        let mut text = text;
        if self.texts.is_empty() {
            if text.len() <= SMALL_TEXT {
                match socket.try_send(text) {
                    Ok(()) => return Ok(()),
                    Err(SendError::Closed(_)) => return Err(Over),
                    Err(SendError::Full(full)) => text = full,
                }
            }
            match socket.send(text.clone()).now_or_never() {
                Some(Ok(())) => return Ok(()),
                Some(Err(_)) => return Err(Over),
                None => {}
            }
            self.place = socket.shared().place();
        }
        self.texts.push_back(text);
        Ok(())
    }

    /// Sends the first of the texts, once the client takes it. Cancel safe.
    pub(super) async fn send_first(&mut self, socket: &Sender) -> Result<(), Over> {
        if let Some(first) = self.texts.front() {
            socket.shared().send_at(self.place, first).await.map_err(|()| Over)?;
            self.texts.pop_front();
            // The next one waits until the client has taken this one.
            self.place = socket.shared().place();
            if self.texts.is_empty() {
                self.texts.shrink_to(0);
            }
        }
        Ok(())
    }

    /// Sends as many as the socket's queue has capacity for, before a close.
    pub(super) fn send_what_fits(&mut self, socket: &Sender) {
        for text in self.texts.drain(..) {
            if socket.try_send(text).is_err() {
                break;
            }
        }
    }
}

//! Texts for a client that does not take them yet.

use std::collections::VecDeque;

use futures_util::future::FutureExt;

use super::Over;
use crate::socket::{Message, SendError, Sender};

/// Texts up to this size do not wait behind live messages: what was read bounds how many there are.
const SMALL_TEXT: usize = 4 * 1024;

/// The session's texts that the socket's queue does not take, in order. Nothing is read while there are any, so only
/// the answers to what was read before add to them.
#[derive(Default)]
pub(super) struct WaitingTexts {
    texts: VecDeque<Message>,
    /// The place in the socket's queue that the first of them had when it began to wait. Live messages go before it
    /// until all that was before this place is with the client, and no longer.
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

    /// Sends as many as the socket's queue takes at once, before a close.
    pub(super) fn send_what_fits(&mut self, socket: &Sender) {
        for text in self.texts.drain(..) {
            if socket.try_send(text).is_err() {
                break;
            }
        }
    }
}

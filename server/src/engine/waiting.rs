use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use talkback_protocol::{RoomName, message::code, session::server::Refusal};

use super::Append;

/// The bytes that a message counts besides its body: the names, the ids, its place in the queue.
const OVERHEAD: usize = 512;

/// How many bytes of messages may wait for an engine that answers later.
#[derive(Clone, Copy, Debug)]
pub struct WaitingOptions {
    /// Bytes of the messages of all rooms.
    pub bytes: usize,
    /// Bytes of the messages of one room, so that a room whose log is slow leaves capacity for the others.
    pub room_bytes: usize,
    /// When to retry a message that was refused because of these bounds.
    pub retry_after: Duration,
}

impl WaitingOptions {
    pub(crate) const DEFAULT: Self = Self {
        bytes: 64 << 20,
        room_bytes: 8 << 20,
        retry_after: Duration::from_millis(500),
    };
}

impl Default for WaitingOptions {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Counts the messages that wait for an engine. An engine that answers later keeps the [`Permit`] of each message until
/// it is in the log or refused.
pub struct WaitingMessages {
    options: WaitingOptions,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    bytes: usize,
    rooms: HashMap<RoomName, usize>,
}

/// A message that waits. Dropping it releases its bytes.
#[must_use = "dropping it releases the bytes at once"]
pub struct Permit {
    messages: Arc<WaitingMessages>,
    room: RoomName,
    bytes: usize,
}

impl WaitingMessages {
    /// No message waits yet.
    #[must_use]
    pub fn new(options: WaitingOptions) -> Arc<Self> {
        Arc::new(Self {
            options,
            waiting: Mutex::default(),
        })
    }

    /// Counts a message. The last one within a bound may be larger than what is left.
    ///
    /// # Errors
    /// `busy` with the time to retry, if too many bytes wait in all or in this room.
    pub fn admit(self: &Arc<Self>, append: &Append) -> Result<Permit, Refusal> {
        let body = append.content.as_ref().map_or(0, |body| body.json().len());
        let bytes = body.saturating_add(OVERHEAD);
        let mut waiting = self.waiting.lock();
        let of_room = waiting.rooms.get(&append.room).copied().unwrap_or(0);
        if waiting.bytes >= self.options.bytes || of_room >= self.options.room_bytes {
            let message = "too many messages wait to be stored: try again in a moment";
            return Err(Refusal::later(code::BUSY, message, self.options.retry_after));
        }
        waiting.bytes += bytes;
        waiting.rooms.insert(append.room.clone(), of_room + bytes);
        drop(waiting);
        Ok(Permit {
            messages: Arc::clone(self),
            room: append.room.clone(),
            bytes,
        })
    }

    /// The bytes of all messages that wait.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.waiting.lock().bytes
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut waiting = self.messages.waiting.lock();
        waiting.bytes -= self.bytes;
        if let Some(of_room) = waiting.rooms.get_mut(&self.room) {
            *of_room -= self.bytes;
            if *of_room == 0 {
                waiting.rooms.remove(&self.room);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::MessageId, *};
    use crate::engine::conformance::message;

    #[test]
    fn what_waits_is_bounded_for_each_room_and_in_all_and_is_released() {
        let waiting = WaitingMessages::new(WaitingOptions {
            bytes: 3 * (OVERHEAD + 3),
            room_bytes: 2 * (OVERHEAD + 3),
            ..WaitingOptions::DEFAULT
        });
        let admit = |room| waiting.admit(&message(room, MessageId::None, "\"x\""));
        let mut permits = vec![admit("a").ok().unwrap(), admit("a").ok().unwrap()];
        let refusal = admit("a").err().unwrap();
        assert_eq!((&*refusal.code, refusal.retry_after.is_some()), (code::BUSY, true));
        permits.push(admit("b").ok().unwrap());
        assert!(admit("c").is_err(), "no capacity in all");
        drop(permits.remove(0));
        permits.push(admit("c").ok().unwrap());
        assert!(admit("a").is_err());
        drop(permits);
        assert_eq!(waiting.bytes(), 0);
        assert!(waiting.waiting.lock().rooms.is_empty());
        assert!(admit("a").is_ok());
    }
}

//! Received messages that wait for the handler.

use std::{cell::Cell, collections::VecDeque, task::Waker};

use super::{Message, SocketOptions};

#[derive(Default)]
pub(super) struct Inbound {
    messages: VecDeque<Message>,
    bytes: usize,
    /// The handler waits for a message, with a waker that is not the task's own.
    pub(super) receiver: Option<Waker>,
    /// The handler has called a receive method at least once. The client's end does not wait for a handler that never
    /// does.
    pub(super) is_asked_for: bool,
    /// Reading is paused because of a bound. Taking the messages must then wake the task.
    pub(super) is_paused: bool,
    /// Reading was paused at some time since the last check of the heartbeat.
    pub(super) was_paused: bool,
}

impl Inbound {
    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(super) fn is_full(&self, options: &SocketOptions) -> bool {
        self.messages.len() >= options.inbound_messages || self.bytes >= options.inbound_bytes
    }

    pub(super) fn push(&mut self, message: Message) {
        self.bytes += message.len();
        if self.messages.capacity() == 0 {
            self.messages = SPARE.take();
        }
        self.messages.push_back(message);
    }

    /// Swaps the messages for an empty queue.
    pub(super) fn take(&mut self, batch: &mut VecDeque<Message>) {
        std::mem::swap(&mut self.messages, batch);
        self.bytes = 0;
    }

    /// Drops the messages of a handler that has ended.
    pub(super) fn clear(&mut self) {
        self.messages = VecDeque::new();
        self.bytes = 0;
    }
}

thread_local! {
    /// The queue that was emptied last on this thread: thousands of idle sockets share it instead of having one each.
    static SPARE: Cell<VecDeque<Message>> = const { Cell::new(VecDeque::new()) };
}

/// Keeps the memory of an empty queue for the next socket that receives something.
pub(super) fn give_spare(queue: &mut VecDeque<Message>) {
    SPARE.set(std::mem::take(queue));
}

//! The outputs of a session, and the lines that are not in a text yet.

use std::{collections::VecDeque, time::Duration};

use super::{Output, ServerOptions};
use crate::{ServerLine, codec};

/// The outputs of a session in order. Lines that are ready at the same time share an [`Output::Transmit`], which
/// follows the outputs that were ready with it.
#[derive(Debug)]
pub(super) struct Outgoing {
    outputs: VecDeque<Output>,
    /// Lines that are not an output yet.
    text: String,
    /// The maximum of bytes of a text with several lines.
    max_text: usize,
}

impl Outgoing {
    pub(super) fn new(options: &ServerOptions) -> Self {
        Self {
            outputs: VecDeque::new(),
            text: String::new(),
            max_text: options.transmit_bytes.min(options.limits.sent_text_bytes as usize),
        }
    }

    pub(super) fn push(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    pub(super) fn pop(&mut self) -> Option<Output> {
        if self.outputs.is_empty() {
            self.flush();
            if self.outputs.is_empty() {
                // The memory is freed, because most connections are idle most of the time.
                self.outputs.shrink_to(0);
            }
        }
        self.outputs.pop_front()
    }

    pub(super) fn send(&mut self, line: &ServerLine) {
        self.send_line(&codec::encode(line));
    }

    /// Sends an encoded line.
    pub(super) fn send_line(&mut self, line: &str) {
        if !self.text.is_empty() && self.text.len() + 1 + line.len() > self.max_text {
            self.flush();
        }
        codec::append_line(&mut self.text, line);
    }

    /// Makes a text of the waiting lines, so that it precedes the next output.
    pub(super) fn flush(&mut self) {
        if !self.text.is_empty() {
            let text = std::mem::take(&mut self.text);
            self.push(Output::Transmit(text));
        }
    }
}

/// Milliseconds as the wire carries them.
pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis())
        .unwrap_or(crate::id::MAX_NUMBER)
        .min(crate::id::MAX_NUMBER)
}

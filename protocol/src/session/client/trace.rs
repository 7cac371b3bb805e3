//! What a client's session logs, with the target `talkback::client`. Rooms are numbers ([`RoomNumbers`]), and of the
//! server's texts only the codes that the protocol defines appear ([`code`]). Times are on the clock of
//! [`Moment::now`](crate::Moment::now).

use crate::{RoomName, message};

/// A change of the session's state and its cause.
macro_rules! debug {
    ($($message:tt)+) => {
        crate::log_line!(client, debug, $($message)+)
    };
}

/// A detail that occurs with every line: timers.
macro_rules! trace {
    ($($message:tt)+) => {
        crate::log_line!(client, trace, $($message)+)
    };
}

pub(super) use {debug, trace};

/// A code of the server, if the protocol defines it. Another text is not logged.
pub(super) fn code(code: &str) -> &'static str {
    let known = message::code::ALL.into_iter().find(|known| *known == code);
    known.unwrap_or("unknown code")
}

/// Numbers that stand for the names of rooms in the log, from 1 in the order in which the rooms were first logged.
#[derive(Debug)]
pub(super) struct RoomNumbers {
    #[cfg(feature = "trace")]
    numbers: litemap::LiteMap<RoomName, u64>,
    #[cfg(feature = "trace")]
    last: u64,
    #[cfg(feature = "trace")]
    max: usize,
}

#[cfg(feature = "trace")]
impl RoomNumbers {
    pub(super) fn new(max: usize) -> Self {
        Self {
            numbers: litemap::LiteMap::new(),
            last: 0,
            max,
        }
    }

    /// The number of a room. A room that was not logged for a long time may get another one: above `max` rooms, the
    /// lowest number is forgotten.
    pub(super) fn of(&mut self, room: &RoomName) -> u64 {
        if let Some(number) = self.numbers.get(room) {
            return *number;
        }
        if self.numbers.len() >= self.max {
            let lowest = self.numbers.values().copied().min();
            self.numbers.retain(|_, number| Some(*number) != lowest);
        }
        self.last += 1;
        self.numbers.insert(room.clone(), self.last);
        self.last
    }
}

#[cfg(not(feature = "trace"))]
impl RoomNumbers {
    pub(super) fn new(_: usize) -> Self {
        Self {}
    }

    pub(super) fn of(&mut self, _: &RoomName) -> u64 {
        0
    }
}

//! One WebSocket connection of a view: [`Phase`] says where it is and how it ended, [`Driver`] owns the socket.
//!
//! The driver turns the browser's callbacks into [`Event`]s and decides nothing; a view's reducer takes the events and answers
//! with what to do next.

mod driver;
mod phase;

pub(crate) use driver::{Driver, Event, bad_url, explain};
pub(crate) use phase::{CLOSE_HINT_MS, CLOSE_LIMIT_MS, CONNECT_HINT_MS, Closed, End, Phase, Side, WAIT_TICK_MS};

//! Where a network or a server may vary, and what a perfect one does there.

use std::time::Duration;

use super::ConnectionId;
use crate::{
    RoomName,
    session::server::{Denied, PageLines, Refusal},
};

/// The decisions of a [`TestServer`](super::TestServer) and its network. The defaults are those of a perfect one:
/// everything happens at once and nothing is refused. Each method is called once for each decision, in the order of
/// events, so that decisions by [`Random`](super::Random) bits are the same in each run.
pub trait Faults {
    /// How many outcomes the log remembers for each client in a room, at least 1.
    const REMEMBERED: usize = usize::MAX;
    /// After each this many messages the logs are stored, see [`Logs::lose_unstored`](super::Logs::lose_unstored).
    const STORED_EVERY: usize = usize::MAX;
    /// How many messages of a member's backlog are sent together.
    const CATCH_UP_PAGE: usize = usize::MAX;
    /// How long after a change of the users of a room its members are told.
    const PRESENCE_INTERVAL: Duration = Duration::ZERO;
    /// With more users than this in a room, members are told only how many there are ...
    const MAX_LISTED: usize = usize::MAX;
    /// ... until there are at most this many.
    const LISTED_AGAIN: usize = usize::MAX;

    /// Random bits for an input of a session.
    fn random(&mut self) -> u64 {
        0
    }

    /// How long a packet is in flight. Packets of one connection and direction stay in order.
    fn latency(&mut self) -> Duration {
        Duration::ZERO
    }

    /// How long the log takes for a message or for a new member. Those of one connection stay in order.
    fn append_time(&mut self) -> Duration {
        Duration::ZERO
    }

    /// How long the log takes for a page of history. Pages may overtake each other.
    fn page_time(&mut self) -> Duration {
        Duration::ZERO
    }

    /// How many of the messages that a new member missed its session sends; the server sends the others in pages.
    fn first_page(&mut self) -> usize {
        usize::MAX
    }

    /// The pause between two pages of a member's backlog.
    fn catch_up_pause(&mut self) -> Duration {
        Duration::ZERO
    }

    /// How many users are missing in the list for a new member, because the list is old.
    fn unlisted_users(&mut self) -> usize {
        0
    }

    /// How often a member gets a new message: 0 loses it, 2 doubles it.
    fn copies(&mut self) -> usize {
        1
    }

    /// Whether a client with this token is accepted.
    ///
    /// # Errors
    /// Why it is not.
    fn identify(&mut self, _token: Option<&str>) -> Result<(), Denied> {
        Ok(())
    }

    /// Whether the server refuses a request, and why. A refusal for good of [`Request::Append`] settles the number of
    /// the message.
    fn refuse(&mut self, _request: Request, _room: &RoomName, _now: Duration) -> Option<Refusal> {
        None
    }

    /// A page of history is sent; it may be changed before.
    fn page(&mut self, _page: &mut PageLines) {}

    /// A text is sent.
    fn sent(&mut self, _now: Duration, _connection: ConnectionId, _direction: Direction, _text: &str) {}

    /// Something happened that a test with random faults must have met, by its description.
    fn happened(&mut self, _what: &'static str) {}
}

/// What a client requests of the log of a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// To become a member.
    Join,
    /// To append a message, or to withdraw one.
    Append,
    /// A page of history.
    History,
    /// Users by name.
    Find,
}

/// The direction of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From a client.
    ToServer,
    /// From the server.
    ToClient,
}

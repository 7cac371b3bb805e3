//! What the application of a client does, by random choices.

use std::time::Duration;

use talkback_protocol::{Offset, RoomName};

use crate::client::MESSAGE_NUMBER;

/// The messages that a client publishes at once are at most so many.
const BURST: u64 = 8;
/// The rooms that a client joins at first are at most so many.
const FIRST_ROOMS: usize = 4;

/// The plan of one client.
pub(crate) struct Load {
    rooms: Vec<RoomName>,
    /// The mean time between two actions.
    pause: Duration,
    next: Duration,
}

/// What an application does.
pub(crate) enum Action {
    Publish {
        room: RoomName,
        bodies: Vec<String>,
    },
    Join {
        room: RoomName,
        from_cursor: bool,
        history: u32,
    },
    Leave {
        room: RoomName,
    },
    History {
        room: RoomName,
        before: Offset,
        limit: u32,
    },
    Signal {
        room: RoomName,
    },
    Reload,
}

impl Load {
    /// `rate`: messages per second of this client on average.
    pub(crate) fn new(rooms: Vec<RoomName>, rate: f64) -> Self {
        Self {
            rooms,
            pause: Duration::from_secs_f64((1.0 + BURST as f64) / 2.0 / rate),
            next: Duration::ZERO,
        }
    }

    /// When the next action is due, by the clock of the run.
    pub(crate) fn next(&self) -> Duration {
        self.next
    }

    pub(crate) fn first_rooms(&self, rng: &mut fastrand::Rng) -> Vec<RoomName> {
        let count = rng.usize(1..=FIRST_ROOMS.min(self.rooms.len()));
        rng.choose_multiple(&self.rooms, count).into_iter().cloned().collect()
    }

    /// The next action. `joined` are the rooms that the client has joined, `stores` says whether it stores its outbox.
    pub(crate) fn act(&mut self, now: Duration, rng: &mut fastrand::Rng, joined: &[RoomName], stores: bool) -> Action {
        // Exponential pauses: the actions of all clients together come at random times.
        self.next = now + self.pause.mul_f64(-(1.0 - rng.f64()).ln());
        let room = rng.choice(&self.rooms).cloned();
        let member = rng.choice(joined).cloned();
        match (rng.u32(0..100), room, member) {
            (0..=3, Some(room), _) if !joined.contains(&room) => Action::Join {
                room,
                from_cursor: rng.u32(0..10) > 0,
                history: rng.u32(0..40),
            },
            (4..=6, _, Some(room)) if joined.len() > 1 => Action::Leave { room },
            (7..=8, Some(room), _) => Action::History {
                room,
                before: Offset::new(rng.u64(1..4_000)).unwrap_or(Offset::ZERO),
                limit: rng.u32(1..60),
            },
            (9..=10, _, Some(room)) => Action::Signal { room },
            (11, _, _) if stores => Action::Reload,
            (_, Some(room), _) => Action::Publish {
                room,
                bodies: (0..rng.u64(1..=BURST)).map(|_| body(rng)).collect(),
            },
            (_, None, _) => Action::Reload,
        }
    }
}

/// A body whose text a server that reads and writes JSON anew would change: spaces, escapes, digits, order of fields.
fn body(rng: &mut fastrand::Rng) -> String {
    let length = match rng.u32(0..100) {
        0..80 => rng.usize(0..200),
        80..98 => rng.usize(200..2_000),
        98 => rng.usize(2_000..20_000),
        _ => 0,
    };
    let filler = |rng: &mut fastrand::Rng| (0..length).map(|_| rng.alphanumeric()).collect::<String>();
    match rng.u32(0..6) {
        0 => format!("\"{MESSAGE_NUMBER} {}\"", filler(rng)),
        1 => format!(
            "{{ \"z\":\"{MESSAGE_NUMBER}\" , \"a\":1.50e+3,\"a2\" : -0.0, \"fill\":\"{}\"}}",
            filler(rng)
        ),
        2 => format!("[\"{MESSAGE_NUMBER}\",\"\\u00e9\\/\\ud83d\\ude00\",{}]", rng.u64(..)),
        3 => format!("[\"{MESSAGE_NUMBER}\",\"李雷 é 🙂\",\"{}\"]", filler(rng)),
        4 => format!("{{\"n\":\"{MESSAGE_NUMBER}\",\"big\":123456789012345678901234567890.10,\"x\":[[[]],{{}}]}}"),
        _ => format!(
            "{{\"n\":\"{MESSAGE_NUMBER}\",\"n\":\"twice\",\"t\":\"{}\"}}",
            filler(rng)
        ),
    }
}

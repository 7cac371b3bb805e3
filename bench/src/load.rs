//! The loads: what the clients do while a server is measured.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};

use crate::{
    clients::{Clients, Expected, Rooms, Target},
    frame, session,
};

/// When no message arrives for this long while some are in flight, a message is lost.
const RECEIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// When no delivery arrives for this long before a message has reached all members, the message is sent again.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// A load of a server. After each run no message is in flight.
pub trait Load {
    /// Keeps the server busy for `duration`, waits until everything that was sent has arrived, and returns how many
    /// messages arrived.
    ///
    /// # Errors
    /// When a message is lost, doubled or changed, or the server closes.
    fn run(&mut self, duration: Duration) -> Result<u64>;

    /// The 99th percentile of the time from sending to receiving a message in the last run, if it was measured.
    fn p99(&self) -> Option<Duration> {
        None
    }
}

/// Every connection keeps some messages in flight and sends a new one for each that comes back or is acknowledged, with
/// one write for those of one read.
pub struct Echo {
    clients: Clients,
    in_flight: u64,
    sender: Sender,
}

impl Echo {
    /// Connects `connections` clients, each of which keeps `in_flight` messages of `size` bytes in flight.
    ///
    /// # Errors
    /// When a connection fails.
    pub fn connect(target: &Target, connections: usize, in_flight: u64, size: usize) -> Result<Self> {
        let text = frame::text(size);
        let burst = Burst::new(&text, in_flight)?;
        // Plain TCP has no frames: the same bytes come back.
        let expected = if target.path.is_some() {
            frame::server_text(&text)
        } else {
            frame::masked_text(&text)
        };
        let clients = Clients::connect(target, connections, Ipv4Addr::LOCALHOST, Expected::Copies(expected))?;
        Ok(Self {
            clients,
            in_flight,
            sender: Sender::Copies(burst),
        })
    }

    /// Connects `sessions` clients, each of which keeps `in_flight` messages of `size` bytes in flight. They share
    /// `rooms` rooms; if there are more rooms than sessions, each session has a part of them and publishes to one
    /// after the other.
    ///
    /// # Errors
    /// When a connection fails.
    pub fn appending(target: &Target, sessions: usize, rooms: usize, in_flight: u64, size: usize) -> Result<Self> {
        let clients = Clients::connect(target, sessions, Ipv4Addr::LOCALHOST, Expected::Acks)?;
        Ok(Self {
            clients,
            in_flight,
            sender: Sender::Appends {
                text: frame::text(size - QUOTES),
                rooms,
                sent: vec![0; sessions],
            },
        })
    }
}

impl Load for Echo {
    fn run(&mut self, duration: Duration) -> Result<u64> {
        let deadline = Instant::now() + duration;
        let mut outstanding = vec![self.in_flight; self.clients.count()];
        let mut total_outstanding = self.in_flight * self.clients.count() as u64;
        let mut received = 0;
        for client in 0..self.clients.count() {
            self.sender.send(&mut self.clients, client, self.in_flight)?;
        }
        while total_outstanding > 0 {
            let arrived = self.clients.receive(RECEIVE_TIMEOUT)?.to_vec();
            if arrived.is_empty() {
                bail!("{total_outstanding} messages did not come back within {RECEIVE_TIMEOUT:?}");
            }
            let go_on = Instant::now() < deadline;
            for arrival in arrived {
                ensure!(
                    arrival.messages <= outstanding[arrival.client],
                    "more messages came back than were sent"
                );
                received += arrival.messages;
                if go_on {
                    self.sender.send(&mut self.clients, arrival.client, arrival.messages)?;
                } else {
                    outstanding[arrival.client] -= arrival.messages;
                    total_outstanding -= arrival.messages;
                }
            }
        }
        Ok(received)
    }
}

/// One member of a room sends a burst, all members receive it, then the next burst follows.
pub struct FanOut {
    clients: Clients,
    in_flight: u64,
    sender: Sender,
    /// The interval between bursts; with zero the next burst follows when all have received the last one.
    pause: Duration,
    /// Durations, and how many deliveries took each.
    delays: Vec<(Duration, u64)>,
}

/// The bytes of the quotation marks of a JSON string.
const QUOTES: usize = 2;

/// The messages that a client sends.
enum Sender {
    /// The same bytes each time.
    Copies(Burst),
    /// Numbered messages to the room of all members, each in a frame of its own.
    Session { text: String, next: u64 },
    /// Numbered messages of each client to its rooms, as the lines of one frame.
    Appends { text: String, rooms: usize, sent: Vec<u64> },
}

impl Sender {
    fn send(&mut self, clients: &mut Clients, client: usize, count: u64) -> Result<()> {
        match self {
            Self::Copies(burst) => clients.send(client, burst.frames(count)?),
            Self::Session { text, next } => {
                let seqs = *next..*next + count;
                *next += count;
                let room = Rooms::OnePerThousand.room(client);
                let frames: Vec<_> = seqs.map(|seq| session::publish(&room, seq, text)).collect();
                clients.send(client, &frames.concat())
            }
            Self::Appends { text, rooms, sent } => {
                let (sessions, sent) = (sent.len(), &mut sent[client]);
                let messages = (*sent..*sent + count).map(|message| appended(client, message, sessions, *rooms));
                let frame = session::publish_all(messages, text);
                *sent += count;
                clients.send(client, &frame)
            }
        }
    }
}

/// The room of a message of a client, counted from 0, and its number there.
fn appended(client: usize, message: u64, sessions: usize, rooms: usize) -> (String, u64) {
    let own = (rooms / sessions).max(1) as u64;
    let room = (client as u64 + sessions as u64 * (message % own)) % rooms as u64;
    (format!("bench{room}"), message / own + 1)
}

impl FanOut {
    /// Connects `members` clients to one room, the first of which sends bursts of `in_flight` messages. The room puts
    /// `prefix` before each message; with it a delivered message has `size` bytes.
    ///
    /// # Errors
    /// When a connection fails or the room does not reach all its members.
    pub fn connect(target: &Target, members: usize, in_flight: u64, size: usize, prefix: &str) -> Result<Self> {
        let (sender, expected) = if target.is_session() {
            let text = frame::text(size - QUOTES);
            (
                Sender::Session {
                    text: text.clone(),
                    next: 1,
                },
                Expected::Messages {
                    text,
                    rooms: Rooms::OnePerThousand,
                },
            )
        } else {
            let text = frame::text(size - prefix.len());
            let expected = match target.path {
                Some(_) => frame::server_text(&format!("{prefix}{text}")),
                None => frame::masked_text(&text),
            };
            (
                Sender::Copies(Burst::new(&text, in_flight)?),
                Expected::Copies(expected),
            )
        };
        Self::start(target, members, in_flight, sender, expected)
    }

    /// Connects `members` clients to one room that sends each text of a member to all of them as it is. The first
    /// member sends bursts of `in_flight` copies of `text`.
    ///
    /// # Errors
    /// Like [`FanOut::connect`].
    pub fn of_text(target: &Target, members: usize, in_flight: u64, text: &str) -> Result<Self> {
        let sender = Sender::Copies(Burst::new(text, in_flight)?);
        let expected = Expected::Copies(frame::server_text(text));
        Self::start(target, members, in_flight, sender, expected)
    }

    fn start(target: &Target, members: usize, in_flight: u64, sender: Sender, expected: Expected) -> Result<Self> {
        let clients = Clients::connect(target, members, Ipv4Addr::LOCALHOST, expected)?;
        let mut fan_out = Self {
            clients,
            in_flight,
            sender,
            pause: Duration::ZERO,
            delays: Vec::new(),
        };
        fan_out.await_all_members()?;
        fan_out.clients.acknowledge_at_once()?;
        Ok(fan_out)
    }

    /// Sets the number of bursts per second.
    #[must_use]
    pub fn paced(mut self, per_second: u32) -> Self {
        self.pause = Duration::from_secs(1) / per_second.max(1);
        self
    }

    /// Waits until a message reaches all members, because a handshake may end before the room has the member.
    fn await_all_members(&mut self) -> Result<()> {
        let deadline = Instant::now() + RECEIVE_TIMEOUT;
        loop {
            self.sender.send(&mut self.clients, 0, 1)?;
            let mut reached = 0;
            loop {
                let arrived = self.clients.receive(RETRY_AFTER)?;
                if arrived.is_empty() {
                    break;
                }
                reached += arrived.len();
            }
            if reached == self.clients.count() {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "a message reached {reached} of {} members",
                self.clients.count()
            );
        }
    }
}

impl Load for FanOut {
    fn run(&mut self, duration: Duration) -> Result<u64> {
        let deadline = Instant::now() + duration;
        let mut received = 0;
        let mut per_member = vec![0; self.clients.count()];
        self.delays.clear();
        while Instant::now() < deadline {
            self.sender.send(&mut self.clients, 0, self.in_flight)?;
            let sent = Instant::now();
            let mut missing = self.in_flight * self.clients.count() as u64;
            received += missing;
            per_member.fill(self.in_flight);
            while missing > 0 {
                let arrived = self.clients.receive(RECEIVE_TIMEOUT)?;
                if arrived.is_empty() {
                    bail!("{missing} deliveries did not arrive within {RECEIVE_TIMEOUT:?}");
                }
                for arrival in arrived {
                    ensure!(
                        arrival.messages <= per_member[arrival.client],
                        "a member got a message twice"
                    );
                    per_member[arrival.client] -= arrival.messages;
                    missing -= arrival.messages;
                    self.delays.push((arrival.at - sent, arrival.messages));
                }
            }
            if let Some(rest) = self.pause.checked_sub(sent.elapsed()).filter(|rest| !rest.is_zero()) {
                let early = self.clients.receive(rest)?;
                ensure!(early.is_empty(), "an unexpected message arrived");
            }
        }
        Ok(received)
    }

    fn p99(&self) -> Option<Duration> {
        let mut delays = self.delays.clone();
        delays.sort_unstable();
        let mut rest = delays.iter().map(|(_, count)| count).sum::<u64>() / 100;
        delays
            .iter()
            .rev()
            .find(|(_, count)| {
                let within = rest < *count;
                rest = rest.saturating_sub(*count);
                within
            })
            .map(|(delay, _)| *delay)
    }
}

/// Concatenated copies of one frame, so that any number of them is one write.
struct Burst {
    bytes: Vec<u8>,
    frame_length: usize,
}

impl Burst {
    /// These bytes fit into the socket buffers of both directions, so that blocking writes never wait for reads.
    const MAX_BYTES: usize = 64 * 1024;

    fn new(text: &str, in_flight: u64) -> Result<Self> {
        let frame = frame::masked_text(text);
        let bytes = frame.repeat(usize::try_from(in_flight)?);
        ensure!(
            bytes.len() <= Self::MAX_BYTES,
            "at most {} bytes can be in flight",
            Self::MAX_BYTES
        );
        Ok(Self {
            bytes,
            frame_length: frame.len(),
        })
    }

    fn frames(&self, count: u64) -> Result<&[u8]> {
        Ok(&self.bytes[..usize::try_from(count)? * self.frame_length])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_share_few_rooms_and_have_parts_of_many() {
        assert_eq!(appended(5, 7, 64, 1), ("bench0".to_owned(), 8));
        assert_eq!(appended(65, 7, 128, 64), ("bench1".to_owned(), 8));
        let rooms: Vec<_> = (0..4).map(|message| appended(1, message, 2, 6)).collect();
        let room = |number| format!("bench{number}");
        assert_eq!(rooms, [(room(1), 1), (room(3), 1), (room(5), 1), (room(1), 2)]);
    }
}

//! What the clients do while a server is measured.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};

use crate::{
    clients::{Clients, Expected, Rooms, Target},
    frame, session,
};

/// When no message arrives for this long while some are in flight, one is lost.
const PATIENCE: Duration = Duration::from_secs(10);
/// A room is complete when one message reached all its members; until then this long without any delivery means a retry.
const QUIET: Duration = Duration::from_millis(100);

/// A load of a server; after each run nothing is in flight.
pub trait Load {
    /// Keeps the server busy for `duration`, waits until everything that was sent has arrived, and returns how many
    /// messages arrived.
    ///
    /// # Errors
    /// When a message is lost, doubled or changed, or the server closes.
    fn run(&mut self, duration: Duration) -> Result<u64>;

    /// The time that 99 of 100 messages of the last run took at most from being sent to being received, if that was measured.
    fn slowest_percent(&self) -> Option<Duration> {
        None
    }
}

/// Every connection keeps some messages in flight and sends a new one for each that comes back, or is acknowledged. What comes back in
/// one read is answered in one write.
pub struct Echo {
    clients: Clients,
    in_flight: u64,
    sender: Sender,
}

impl Echo {
    /// Connects `connections` clients that each keep `in_flight` messages of `size` bytes in flight.
    ///
    /// # Errors
    /// When a connection fails.
    pub fn connect(target: &Target, connections: usize, in_flight: u64, size: usize) -> Result<Self> {
        let text = frame::text(size);
        let burst = Burst::new(&text, in_flight)?;
        // Without a handshake the server has no frames: the same bytes come back.
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

    /// Connects `sessions` clients that each keep `in_flight` messages of `size` bytes in flight to the log of a room
    /// of its own.
    ///
    /// # Errors
    /// When a connection fails.
    pub fn appending(target: &Target, sessions: usize, in_flight: u64, size: usize) -> Result<Self> {
        let clients = Clients::connect(target, sessions, Ipv4Addr::LOCALHOST, Expected::Acks)?;
        Ok(Self {
            clients,
            in_flight,
            sender: Sender::Appends {
                text: frame::text(size - QUOTES),
                next: vec![1; sessions],
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
            let arrived = self.clients.receive(PATIENCE)?.to_vec();
            if arrived.is_empty() {
                bail!("{total_outstanding} messages did not come back within {PATIENCE:?}");
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

/// One member of a room sends a burst, all members receive it, then comes the next burst.
pub struct FanOut {
    clients: Clients,
    in_flight: u64,
    sender: Sender,
    /// The time from one burst to the next; zero: as soon as it has arrived.
    pause: Duration,
    /// How many deliveries took how long.
    delays: Vec<(Duration, u64)>,
}

/// The quotation marks of a text as JSON.
const QUOTES: usize = 2;

/// Builds the bytes that a client sends.
enum Sender {
    /// The same bytes each time.
    Copies(Burst),
    /// Numbered messages to the room that all are in, each in a frame of its own.
    Session { text: String, next: u64 },
    /// Numbered messages of each client to a room of its own, as the lines of one frame.
    Appends { text: String, next: Vec<u64> },
}

impl Sender {
    fn send(&mut self, clients: &mut Clients, client: usize, count: u64) -> Result<()> {
        match self {
            Self::Copies(burst) => clients.send(client, burst.frames(count)?),
            Self::Session { text, next } => {
                let seqs = *next..*next + count;
                *next += count;
                let room = Rooms::OfThousand.room(client);
                let frames: Vec<_> = seqs.map(|seq| session::publish(&room, seq, text)).collect();
                clients.send(client, &frames.concat())
            }
            Self::Appends { text, next } => {
                let next = &mut next[client];
                let seqs = *next..*next + count;
                *next += count;
                clients.send(client, &session::publish_all(&format!("bench{client}"), seqs, text))
            }
        }
    }
}

impl FanOut {
    /// Connects `members` clients to one room, the first of which sends bursts of `in_flight` messages. The room puts
    /// `prefix` in front of each text; with it a delivered text has `size` bytes.
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
                    rooms: Rooms::OfThousand,
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

    /// Sets how often bursts begin from now on.
    #[must_use]
    pub fn paced(mut self, per_second: u32) -> Self {
        self.pause = Duration::from_secs(1) / per_second.max(1);
        self
    }

    /// A handshake may end before the room counts the member.
    fn await_all_members(&mut self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.sender.send(&mut self.clients, 0, 1)?;
            let mut reached = 0;
            loop {
                let arrived = self.clients.receive(QUIET)?;
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
                let arrived = self.clients.receive(PATIENCE)?;
                if arrived.is_empty() {
                    bail!("{missing} deliveries did not arrive within {PATIENCE:?}");
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
                ensure!(early.is_empty(), "a message came that nobody sent");
            }
        }
        Ok(received)
    }

    fn slowest_percent(&self) -> Option<Duration> {
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

/// Copies of one frame in a row, so that any number of them is one write.
struct Burst {
    bytes: Vec<u8>,
    frame_length: usize,
}

impl Burst {
    /// What fits into the system's socket buffers in both directions, so that blocking writes never wait for reads.
    const MOST_BYTES: usize = 64 * 1024;

    fn new(text: &str, in_flight: u64) -> Result<Self> {
        let frame = frame::masked_text(text);
        let bytes = frame.repeat(usize::try_from(in_flight)?);
        ensure!(
            bytes.len() <= Self::MOST_BYTES,
            "at most {} bytes can be in flight",
            Self::MOST_BYTES
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

//! What the clients do while delays and losses are measured.

use std::{
    collections::VecDeque,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};

use super::{BODY, BURST_EACH, BURST_SENDERS, channels_text, figures::name, stack::Stack};
use crate::{
    clients::{Clients, Expected, Rooms, Target},
    frame, session,
};

/// When nothing arrives for this long while something is missing, it is lost.
const RECEIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// The same for a burst, of which a part may be lost.
const BURST_TIMEOUT: Duration = Duration::from_secs(3);
/// The source addresses of the clients of a second server, and of a large room.
const SECOND_SOURCE: Ipv4Addr = Ipv4Addr::new(127, 0, 2, 1);
const CROWD_SOURCE: Ipv4Addr = Ipv4Addr::new(127, 0, 3, 1);
/// The bytes of the quotation marks of a JSON string.
const QUOTES: usize = 2;

/// How long each delivery or acknowledgement took.
#[derive(Default)]
pub(super) struct Delays(Vec<Duration>);

impl Delays {
    fn add(&mut self, delay: Duration, count: u64) {
        self.0.extend((0..count).map(|_| delay));
    }

    /// The median and the 99th percentile, in milliseconds; 0 if there is none.
    pub(super) fn percentiles(mut self) -> [(&'static str, f64); 2] {
        self.0.sort_unstable();
        let at = |part: usize| self.0.get(self.0.len() * part / 100).copied().unwrap_or_default();
        [(name::P50, at(50)), (name::P99, at(99))].map(|(name, delay)| (name, delay.as_secs_f64() * 1e3))
    }
}

/// What the clients of a room send and receive: sessions of Talkback, or members of the chat with Channels.
struct Room {
    is_channels: bool,
    text: String,
}

impl Room {
    fn of(stack: &Stack) -> Self {
        let is_channels = stack.is_channels();
        let text = if is_channels {
            channels_text()
        } else {
            frame::text(BODY - QUOTES)
        };
        Self { is_channels, text }
    }

    fn expected(&self) -> Expected {
        if self.is_channels {
            return Expected::Copies(frame::server_text(&self.text));
        }
        Expected::Messages {
            text: self.text.clone(),
            rooms: Rooms::One,
        }
    }

    /// Frames with these messages of one member.
    fn messages(&self, seqs: std::ops::Range<u64>) -> Vec<u8> {
        let room = Rooms::One.room(0);
        let message = |seq| {
            if self.is_channels {
                frame::masked_text(&self.text)
            } else {
                session::publish(&room, seq, &self.text)
            }
        };
        seqs.flat_map(message).collect()
    }
}

/// One member at the first server publishes, the others are at the last one.
pub(super) struct Deliveries {
    room: Room,
    sender: Clients,
    members: Clients,
    sent: u64,
}

impl Deliveries {
    /// Connects so many members besides the one that publishes.
    ///
    /// # Errors
    /// When a connection fails, or a message does not reach all.
    pub(super) fn connect(stack: &Stack, members: usize) -> Result<Self> {
        let room = Room::of(stack);
        let connect = |target: &Target, count, source| {
            // Each session needs a key of its own, also at another server: those of members are counted from 1.
            Clients::connect_from(target, usize::from(count > 1), count, source, room.expected())
        };
        let sender = connect(&stack.target(0), 1, Ipv4Addr::LOCALHOST)?;
        let members = connect(&stack.last(), members, SECOND_SOURCE)?;
        let mut deliveries = Self {
            room,
            sender,
            members,
            sent: 0,
        };
        deliveries.await_all_members()?;
        Ok(deliveries)
    }

    /// A socket may be open before the room has its member, so messages are sent until one reaches all.
    fn await_all_members(&mut self) -> Result<()> {
        let deadline = Instant::now() + RECEIVE_TIMEOUT;
        loop {
            self.send()?;
            let reached = self.collect(Duration::from_millis(300))?;
            if reached == self.members.count() as u64 + 1 {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "a message reached {reached} members only");
        }
    }

    fn send(&mut self) -> Result<()> {
        self.sent += 1;
        let frame = self.room.messages(self.sent..self.sent + 1);
        self.sender.send(0, &frame)
    }

    /// Counts what arrives, until nothing has for this long.
    fn collect(&mut self, quiet: Duration) -> Result<u64> {
        let (mut count, mut last) = (0, Instant::now());
        while last.elapsed() < quiet {
            for clients in [&mut self.sender, &mut self.members] {
                let arrived: u64 = clients
                    .receive(Duration::ZERO)?
                    .iter()
                    .map(|arrival| arrival.messages)
                    .sum();
                count += arrived;
                if arrived > 0 {
                    last = Instant::now();
                }
            }
        }
        Ok(count)
    }

    /// Sends so many messages a second, and returns the delays of their deliveries to the members, from the time when
    /// each was to be sent.
    ///
    /// # Errors
    /// When one does not arrive.
    pub(super) fn run(&mut self, per_second: u32, duration: Duration) -> Result<Delays> {
        let mut delays = Delays::default();
        let (start, pause) = (Instant::now(), Duration::from_secs(1) / per_second);
        let each = self.members.count();
        // The time of each message that some members do not have yet, and how many each member has of them.
        let mut times = Vec::new();
        let mut received = vec![0_usize; each];
        let mut own = 0;
        let mut last = start;
        loop {
            let due = start + pause * u32::try_from(times.len())?;
            let is_over = due >= start + duration;
            if !is_over && Instant::now() >= due {
                self.send()?;
                times.push(due);
            }
            own += self
                .sender
                .receive(Duration::ZERO)?
                .iter()
                .map(|arrival| arrival.messages)
                .sum::<u64>();
            for arrival in self.members.receive(Duration::ZERO)? {
                last = arrival.at;
                for _ in 0..arrival.messages {
                    let next = &mut received[arrival.client];
                    delays.add(arrival.at.saturating_duration_since(times[*next]), 1);
                    *next += 1;
                }
            }
            if is_over && own == times.len() as u64 && received.iter().all(|count| *count == times.len()) {
                return Ok(delays);
            }
            ensure!(last.elapsed() < RECEIVE_TIMEOUT, "deliveries are missing");
        }
    }
}

/// What came of a burst.
pub(super) struct Outcome {
    pub(super) expected: u64,
    pub(super) arrived: u64,
}

/// Lets several members of a room publish at once.
///
/// # Errors
/// When a connection fails, or Talkback loses a message, doubles it or changes its order.
pub(super) fn burst(stack: &Stack, members: usize) -> Result<Outcome> {
    let mut deliveries = Deliveries::connect(stack, members)?;
    let senders = BURST_SENDERS.min(members);
    for sender in 0..senders {
        let frames = deliveries.room.messages(1..BURST_EACH + 1);
        deliveries.members.send(sender, &frames)?;
    }
    let expected = senders as u64 * BURST_EACH * (members as u64 + 1);
    let (mut arrived, mut last) = (0, Instant::now());
    while arrived < expected && last.elapsed() < BURST_TIMEOUT {
        let now = deliveries.collect(Duration::from_millis(1))?;
        arrived += now;
        if now > 0 {
            last = Instant::now();
        }
    }
    if !stack.is_channels() {
        ensure!(arrived == expected, "{arrived} of {expected} deliveries arrived");
    }
    Ok(Outcome { expected, arrived })
}

/// Sessions that publish at a fixed rate, each to a room of its own, beside a large room.
pub(super) struct AckDelays {
    sessions: Clients,
    sent: Vec<u64>,
    crowd: Option<Clients>,
    to_crowd: u64,
    text: String,
}

impl AckDelays {
    /// Connects the sessions, and so many members of the large room.
    ///
    /// # Errors
    /// When a connection fails.
    pub(super) fn connect(target: &Target, sessions: usize, crowd: usize) -> Result<Self> {
        let text = frame::text(BODY - QUOTES);
        let expected = Expected::Messages {
            text: text.clone(),
            rooms: Rooms::One,
        };
        let crowd = (crowd > 0)
            .then(|| Clients::connect_from(target, sessions, crowd, CROWD_SOURCE, expected))
            .transpose()?;
        Ok(Self {
            sessions: Clients::connect(target, sessions, Ipv4Addr::LOCALHOST, Expected::Acks)?,
            sent: vec![0; sessions],
            crowd,
            to_crowd: 0,
            text,
        })
    }

    /// Sends so many messages a second, one session after the other, and so many to the large room. Returns the delays
    /// of the acknowledgements of the former, from the time when each message was to be sent. Then it waits until the
    /// large room has what was sent to it: while delays are measured nobody reads there, because that would delay the
    /// clients.
    ///
    /// # Errors
    /// When an acknowledgement or a delivery does not arrive.
    pub(super) fn run(&mut self, per_second: u32, crowd_per_second: u32, duration: Duration) -> Result<Delays> {
        let mut delays = Delays::default();
        let (start, pause) = (Instant::now(), Duration::from_secs(1) / per_second);
        let mut waiting = vec![VecDeque::new(); self.sent.len()];
        let (mut count, mut missing, mut last) = (0_u32, 0, start);
        let (mut crowd_sent, crowd_pause) = (0_u32, Duration::from_secs(1) / crowd_per_second.max(1));
        loop {
            let due = start + pause * count;
            let is_over = due >= start + duration;
            let now = Instant::now();
            if !is_over && now >= due {
                let session = usize::try_from(count)? % self.sent.len();
                self.sent[session] += 1;
                let frame = session::publish(&format!("own{session}"), self.sent[session], &self.text);
                self.sessions.send(session, &frame)?;
                waiting[session].push_back(due);
                count += 1;
                missing += 1;
            }
            let crowd_due = start + crowd_pause * crowd_sent + crowd_pause / 2;
            if let Some(crowd) = &mut self.crowd
                && crowd_per_second > 0
                && !is_over
                && now >= crowd_due
            {
                crowd_sent += 1;
                self.to_crowd += 1;
                crowd.send(0, &session::publish(&Rooms::One.room(0), self.to_crowd, &self.text))?;
            }
            for arrival in self.sessions.receive(Duration::ZERO)? {
                last = arrival.at;
                for _ in 0..arrival.messages {
                    let due = waiting[arrival.client].pop_front();
                    let due = due.ok_or_else(|| anyhow::anyhow!("an acknowledgement came twice"))?;
                    delays.add(arrival.at.saturating_duration_since(due), 1);
                    missing -= 1;
                }
            }
            if is_over && missing == 0 {
                break;
            }
            ensure!(
                last.elapsed() < RECEIVE_TIMEOUT,
                "{missing} acknowledgements are missing"
            );
        }
        let Some(crowd) = &mut self.crowd else {
            return Ok(delays);
        };
        let mut missing = crowd.count() as u64 * u64::from(crowd_sent);
        while missing > 0 {
            let arrived = crowd.receive(RECEIVE_TIMEOUT)?;
            ensure!(
                !arrived.is_empty(),
                "{missing} deliveries to the large room are missing"
            );
            missing -= arrived.iter().map(|arrival| arrival.messages).sum::<u64>();
        }
        Ok(delays)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_all_deliveries() {
        let mut delays = Delays::default();
        delays.add(Duration::from_millis(1), 98);
        delays.add(Duration::from_millis(7), 2);
        assert_eq!(delays.percentiles(), [(name::P50, 1.0), (name::P99, 7.0)]);
        assert_eq!(Delays::default().percentiles().map(|(_, delay)| delay), [0.0, 0.0]);
    }
}

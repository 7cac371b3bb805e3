//! The faults of the network and the server, by the random bits of a seed.

use std::{collections::BTreeMap, time::Duration};

use talkback_protocol::{
    RoomName, close,
    message::code,
    session::server::{Denied, Refusal},
    test_util::{ConnectionId, Direction, Faults, Random, Request},
};

use super::{ms, recording::Recording};

/// How many outcomes the log remembers: as many messages as a client may have in flight.
pub const REMEMBERED: usize = 8;

pub struct RandomFaults {
    pub random: Random,
    pub link: Link,
    /// The log refuses everything for now until then.
    pub busy_until: Duration,
    /// The hub sends some lines twice and loses others, which no hub should and every client must notice.
    pub sloppy: bool,
    /// Joins, messages and requests are refused for good.
    pub deny: bool,
    /// They were, at some time.
    pub denied: bool,
    /// The only token that is accepted.
    pub token_version: u64,
    /// How often each kind of thing happened.
    pub counts: BTreeMap<&'static str, u64>,
    recording: Recording,
}

/// What the link does to new connections and texts.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// The longest time that a text is in flight.
    pub delay: Duration,
    /// Connections fail to open.
    pub refuse: bool,
    /// Connections are accepted and closed at once with this code.
    pub close_at_once: Option<u16>,
    /// Connections neither open nor fail.
    pub black_hole: bool,
}

impl Link {
    pub const GOOD: Self = Self {
        delay: ms(40),
        refuse: false,
        close_at_once: None,
        black_hole: false,
    };
}

impl RandomFaults {
    pub fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            link: Link::GOOD,
            busy_until: Duration::ZERO,
            sloppy: false,
            deny: false,
            denied: false,
            token_version: 0,
            counts: BTreeMap::new(),
            recording: Recording::default(),
        }
    }
}

impl Faults for RandomFaults {
    const REMEMBERED: usize = REMEMBERED;
    const STORED_EVERY: usize = 2;
    const CATCH_UP_PAGE: usize = 2;
    const PRESENCE_INTERVAL: Duration = ms(250);
    const MAX_LISTED: usize = 3;
    const LISTED_AGAIN: usize = 2;

    fn random(&mut self) -> u64 {
        self.random.bits()
    }

    fn latency(&mut self) -> Duration {
        let longest = u64::try_from(self.link.delay.as_micros()).unwrap();
        Duration::from_micros(self.random.below(longest + 1))
    }

    fn append_time(&mut self) -> Duration {
        ms(self.random.below(20))
    }

    fn page_time(&mut self) -> Duration {
        ms(self.random.below(40))
    }

    fn first_page(&mut self) -> usize {
        usize::try_from(self.random.below(6)).unwrap()
    }

    fn catch_up_pause(&mut self) -> Duration {
        ms(self.random.below(2_000))
    }

    fn unlisted_users(&mut self) -> usize {
        usize::from(self.random.one_in(2))
    }

    fn copies(&mut self) -> usize {
        match self.random.below(16) {
            0 if self.sloppy => 2,
            1 if self.sloppy => 0,
            _ => 1,
        }
    }

    fn identify(&mut self, token: Option<&str>) -> Result<(), Denied> {
        let good = self.token_version.to_string();
        if token.is_some_and(|token| token != good) {
            self.happened("a token was refused");
            return Err(Denied {
                code: close::UNAUTHORIZED,
                reason: "expired".to_owned(),
            });
        }
        Ok(())
    }

    fn refuse(&mut self, request: Request, _: &RoomName, now: Duration) -> Option<Refusal> {
        let is_busy = self.busy_until > now;
        let for_good = self.deny.then(|| Refusal::for_good(code::FORBIDDEN, "not here"));
        match request {
            Request::Append if is_busy => {
                self.happened("the engine refused a message for now");
                let code = if self.random.one_in(2) {
                    code::UNAVAILABLE
                } else {
                    code::BUSY
                };
                // Some ask to come again at once, which must not become a storm.
                let pause = ms([0, 300, 900][usize::try_from(self.random.below(3)).unwrap()]);
                Some(Refusal::later(code, "not now", pause))
            }
            Request::Append => for_good,
            Request::Join if is_busy => {
                self.happened("a join was refused for now");
                Some(Refusal::later(code::UNAVAILABLE, "busy", ms(300)))
            }
            Request::Join => {
                if self.deny {
                    self.happened("a join was refused for good");
                }
                for_good
            }
            Request::History | Request::Find if self.deny => {
                self.happened("a request was refused for good");
                for_good
            }
            Request::History if is_busy => {
                self.happened("a page was refused for now");
                Some(Refusal::later(code::BUSY, "not now", ms(200)))
            }
            // Also at other times: while the log is busy, few rooms are joined to search in.
            Request::Find if is_busy || self.random.one_in(8) => {
                self.happened("a search was refused for now");
                Some(Refusal::later(code::BUSY, "not now", ms(200)))
            }
            Request::History | Request::Find => None,
        }
    }

    fn sent(&mut self, now: Duration, connection: ConnectionId, direction: Direction, text: &str) {
        self.recording.text(now, connection, direction, text);
    }

    fn happened(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }
}

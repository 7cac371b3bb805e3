//! The faults of the world's server and network, as a test sets them.

use std::time::Duration;

use talkback_protocol::{
    Epoch, RoomName, close,
    message::code,
    session::server::{Denied, PageLines, Refusal},
    test_util::{Faults, Request},
};

type AcceptToken = Box<dyn Fn(Option<&str>) -> bool>;

#[derive(Default)]
pub(super) struct SetFaults {
    pub(super) latency: Duration,
    pub(super) is_refusing: bool,
    pub(super) accept_token: Option<AcceptToken>,
    pub(super) forbidden: Vec<RoomName>,
    pub(super) refuses_history: bool,
    /// How many pages were requested.
    pub(super) pages: u64,
    /// Whether pages have another epoch than their log.
    pub(super) has_foreign_pages: bool,
}

impl Faults for SetFaults {
    fn latency(&mut self) -> Duration {
        self.latency
    }

    fn identify(&mut self, token: Option<&str>) -> Result<(), Denied> {
        if self.accept_token.as_ref().is_some_and(|accept| !accept(token)) {
            return Err(Denied {
                code: close::UNAUTHORIZED,
                reason: "the token is not accepted".to_owned(),
            });
        }
        Ok(())
    }

    fn refuse(&mut self, request: Request, room: &RoomName, _: Duration) -> Option<Refusal> {
        if request == Request::History && self.refuses_history {
            self.pages += 1;
            return Some(Refusal::for_good(code::FORBIDDEN, "you may not read the history"));
        }
        let is_forbidden = request == Request::Join && self.forbidden.contains(room);
        is_forbidden.then(|| Refusal::for_good(code::FORBIDDEN, "you may not join this room"))
    }

    fn page(&mut self, page: &mut PageLines) {
        self.pages += 1;
        if self.has_foreign_pages {
            page.epoch = Epoch::from_random(u64::MAX);
        }
    }
}

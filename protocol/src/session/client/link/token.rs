//! Asking the application for tokens: before the first connection, when one was refused, and before one expires.

use super::{
    super::{Cause, ClientSession, Output, timer::Timer},
    State,
};
use crate::{ClientLine, close};

impl ClientSession {
    pub(in super::super) fn want_token(&mut self) {
        if !std::mem::replace(&mut self.link.token_asked, true) {
            self.outputs.push_back(Output::TokenWanted);
        }
    }

    pub(in super::super) fn token(&mut self, token: Option<String>) {
        self.link.token_asked = false;
        self.timers.clear(Timer::Token);
        let asking = matches!(self.link.state, State::AskingToken);
        match token {
            Some(token) => {
                if matches!(self.link.state, State::Open { .. }) {
                    self.lines.push(ClientLine::Auth { token: token.clone() });
                }
                self.link.token = Some(token);
                if asking {
                    self.begin();
                }
            }
            None if asking => self.no_token("the application has no token"),
            // The one in use is good until the server says otherwise.
            None => {}
        }
    }

    pub(in super::super) fn no_token(&mut self, reason: &str) {
        self.link.token_asked = false;
        self.wait(Cause {
            code: close::UNAUTHORIZED,
            reason: reason.to_owned(),
        });
    }
}

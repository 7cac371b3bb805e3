//! The users who are typing, and when to signal that this user is.

use talkback_client::UserName;

/// This user's typing is signalled at most this often, in milliseconds.
const SIGNAL_INTERVAL_MS: f64 = 3_000.0;

/// A user without a signal for this time is not typing any more, in milliseconds: longer than [`SIGNAL_INTERVAL_MS`],
/// so that the loss of one signal does not show.
const SIGNAL_TTL_MS: f64 = 5_000.0;

/// At most this many users are listed as typing; signals of others are ignored.
const MAX_LISTED: usize = 20;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Typing {
    /// Each user with the time at which the signal expires, in milliseconds since the Unix epoch.
    users: Vec<(UserName, f64)>,
    /// When this user's typing was last signalled.
    signalled_at: f64,
}

impl Default for Typing {
    fn default() -> Self {
        Self {
            users: Vec::new(),
            signalled_at: f64::NEG_INFINITY,
        }
    }
}

impl Typing {
    pub(crate) fn users(&self) -> impl ExactSizeIterator<Item = &UserName> {
        self.users.iter().map(|(user, _)| user)
    }

    /// This user typed: returns whether a signal is due, and counts it as sent.
    pub(super) fn should_signal(&mut self, now: f64) -> bool {
        // A clock that was set back must not suppress signals until it has caught up.
        let due = now >= self.signalled_at + SIGNAL_INTERVAL_MS || now < self.signalled_at;
        if due {
            self.signalled_at = now;
        }
        due
    }

    /// This user sent the message; the next key press starts another one and is signalled at once.
    pub(super) fn message_sent(&mut self) {
        self.signalled_at = f64::NEG_INFINITY;
    }

    pub(super) fn signal_received(&mut self, user: UserName, now: f64) {
        self.remove(&user);
        if self.users.len() < MAX_LISTED {
            self.users.push((user, now + SIGNAL_TTL_MS));
        }
    }

    /// The user's message arrived, or the user left.
    pub(super) fn remove(&mut self, user: &str) {
        self.users.retain(|(other, _)| &**other != user);
    }

    pub(super) fn expire(&mut self, now: f64) {
        self.users
            .retain(|(_, until)| *until > now && *until <= now + SIGNAL_TTL_MS);
    }

    pub(super) fn clear(&mut self) {
        self.users.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> UserName {
        UserName::parse(name).unwrap()
    }

    fn names(typing: &Typing) -> Vec<&str> {
        typing.users().map(|user| &**user).collect()
    }

    #[test]
    fn a_signal_is_due_at_once_then_every_three_seconds_and_at_once_after_sending() {
        let mut typing = Typing::default();
        let due: Vec<_> = [0.0, 100.0, 2_999.0, 3_000.0, 5_999.0, 6_000.0, 10.0]
            .map(|now| typing.should_signal(now))
            .into();
        assert_eq!(due, [true, false, false, true, false, true, true]);
        typing.message_sent();
        assert!(typing.should_signal(11.0));
    }

    #[test]
    fn a_user_is_removed_five_seconds_after_the_last_signal() {
        let mut typing = Typing::default();
        typing.signal_received(user("Ann"), 0.0);
        typing.signal_received(user("Bob"), 1_000.0);
        typing.signal_received(user("Ann"), 3_000.0);
        typing.expire(6_000.0);
        assert_eq!(names(&typing), ["Ann"]);
        typing.expire(7_999.0);
        assert_eq!(names(&typing), ["Ann"]);
        typing.expire(8_000.0);
        assert_eq!(names(&typing), Vec::<&str>::new());
    }

    #[test]
    fn a_removed_user_is_not_typing_and_the_list_is_bounded() {
        let mut typing = Typing::default();
        typing.signal_received(user("Ann"), 0.0);
        typing.remove("Ann");
        assert_eq!(typing.users().len(), 0);
        for number in 0..100 {
            typing.signal_received(user(&number.to_string()), 0.0);
        }
        assert_eq!(typing.users().len(), MAX_LISTED);
    }
}

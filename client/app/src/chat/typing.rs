//! Who is writing, and how often to say that oneself is.

use talkback_client::UserName;

/// One says so at most this often, in milliseconds.
const SAID_EVERY_MS: f64 = 3_000.0;

/// Who was not heard of for so long has stopped, in milliseconds: longer than [`SAID_EVERY_MS`], so that one lost signal is not seen.
const HEARD_FOR_MS: f64 = 5_000.0;

/// More users than this are not told apart.
const KEPT: usize = 20;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Typing {
    /// Who, and until when.
    users: Vec<(UserName, f64)>,
    said: f64,
}

impl Default for Typing {
    fn default() -> Self {
        Self {
            users: Vec::new(),
            said: f64::NEG_INFINITY,
        }
    }
}

impl Typing {
    pub(crate) fn users(&self) -> impl ExactSizeIterator<Item = &UserName> {
        self.users.iter().map(|(user, _)| user)
    }

    /// Something was typed: whether it is time to say so.
    pub(super) fn say(&mut self, now: f64) -> bool {
        // A clock that was set back must not silence this for hours.
        let due = now >= self.said + SAID_EVERY_MS || now < self.said;
        if due {
            self.said = now;
        }
        due
    }

    /// The message was sent; the next key is the start of another one.
    pub(super) fn sent(&mut self) {
        self.said = f64::NEG_INFINITY;
    }

    pub(super) fn heard(&mut self, user: UserName, now: f64) {
        self.stopped(&user);
        if self.users.len() < KEPT {
            self.users.push((user, now + HEARD_FOR_MS));
        }
    }

    /// The user said what was being typed, or left.
    pub(super) fn stopped(&mut self, user: &str) {
        self.users.retain(|(other, _)| &**other != user);
    }

    pub(super) fn expire(&mut self, now: f64) {
        self.users
            .retain(|(_, until)| *until > now && *until <= now + HEARD_FOR_MS);
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
    fn one_says_it_at_once_then_every_three_seconds_and_at_once_after_sending() {
        let mut typing = Typing::default();
        let said: Vec<_> = [0.0, 100.0, 2_999.0, 3_000.0, 5_999.0, 6_000.0, 10.0]
            .map(|now| typing.say(now))
            .into();
        assert_eq!(said, [true, false, false, true, false, true, true]);
        typing.sent();
        assert!(typing.say(11.0));
    }

    #[test]
    fn who_is_not_heard_of_for_five_seconds_has_stopped() {
        let mut typing = Typing::default();
        typing.heard(user("Ann"), 0.0);
        typing.heard(user("Bob"), 1_000.0);
        typing.heard(user("Ann"), 3_000.0);
        typing.expire(6_000.0);
        assert_eq!(names(&typing), ["Ann"]);
        typing.expire(7_999.0);
        assert_eq!(names(&typing), ["Ann"]);
        typing.expire(8_000.0);
        assert_eq!(names(&typing), Vec::<&str>::new());
    }

    #[test]
    fn who_said_it_is_not_typing_and_a_crowd_is_bounded() {
        let mut typing = Typing::default();
        typing.heard(user("Ann"), 0.0);
        typing.stopped("Ann");
        assert_eq!(typing.users().len(), 0);
        for number in 0..100 {
            typing.heard(user(&number.to_string()), 0.0);
        }
        assert_eq!(typing.users().len(), KEPT);
    }
}

//! Which users are in a room, however many sockets each has.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use talkback_protocol::UserName;
use tokio::time::Instant;

/// The users of one room. A user whose last socket left stays for a grace period, in which a reconnect goes unnoticed.
#[derive(Default)]
pub(super) struct Presence {
    users: HashMap<UserName, Sockets>,
    /// Users whose last socket left, in the order in which their grace ends. Some may be back.
    leaving: VecDeque<(Instant, UserName)>,
    /// Grows with each change of who is present.
    version: u64,
}

struct Sockets {
    open: usize,
    /// When the last one left.
    gone: Option<Instant>,
}

impl Presence {
    /// How many users are present.
    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.users.len()).unwrap_or(u32::MAX)
    }

    /// Counts a socket of a user. True if the user was not present.
    pub(super) fn enter(&mut self, user: &UserName) -> bool {
        if let Some(sockets) = self.users.get_mut(user) {
            sockets.open += 1;
            sockets.gone = None;
            return false;
        }
        self.users.insert(user.clone(), Sockets { open: 1, gone: None });
        self.version += 1;
        true
    }

    /// A socket of a user left. True if somebody must call [`expire`](Self::expire) when the grace is over, and nobody was to yet.
    pub(super) fn leave(&mut self, user: &UserName, now: Instant, grace: Duration) -> bool {
        let Some(sockets) = self.users.get_mut(user) else {
            return false;
        };
        sockets.open -= 1;
        if sockets.open > 0 {
            return false;
        }
        sockets.gone = Some(now);
        self.leaving.push_back((now + grace, user.clone()));
        self.leaving.len() == 1
    }

    /// When the next grace ends.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.leaving.front().map(|(end, _)| *end)
    }

    /// Lets users go whose grace is over and returns them.
    pub(super) fn expire(&mut self, now: Instant, grace: Duration) -> Vec<UserName> {
        let mut left = Vec::new();
        while let Some((_, user)) = self.leaving.pop_front_if(|(end, _)| *end <= now) {
            let gone = self.users.get(&user).and_then(|sockets| sockets.gone);
            // A user may have come back and left again since.
            if gone.is_some_and(|gone| gone + grace <= now) {
                self.users.remove(&user);
                self.version += 1;
                left.push(user);
            }
        }
        left
    }

    /// The users who are present, by name.
    pub(super) fn users(&self) -> Vec<UserName> {
        let mut users: Vec<_> = self.users.keys().cloned().collect();
        users.sort_unstable();
        users
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// Who came and who left since these users (in order) were present.
    pub(super) fn since(&self, before: &[UserName]) -> (Vec<UserName>, Vec<UserName>) {
        let now = self.users();
        let new = now.iter().filter(|user| before.binary_search(user).is_err());
        let gone = before.iter().filter(|user| !self.users.contains_key(user));
        (new.cloned().collect(), gone.cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(5);

    fn user(name: &str) -> UserName {
        UserName::parse(name).unwrap()
    }

    #[test]
    fn a_user_comes_with_the_first_tab_and_goes_a_grace_after_the_last() {
        let (mut presence, ann, now) = (Presence::default(), user("ann"), Instant::now());
        assert!(presence.enter(&ann));
        assert!(!presence.enter(&ann), "a second tab is no news");
        assert!(!presence.leave(&ann, now, GRACE));
        assert!(presence.leave(&ann, now, GRACE));
        assert_eq!(presence.next_end(), Some(now + GRACE));
        assert_eq!(presence.expire(now + GRACE / 2, GRACE), []);
        assert_eq!(presence.users(), std::slice::from_ref(&ann));
        assert_eq!(presence.expire(now + GRACE, GRACE), [ann]);
        assert_eq!(presence.users(), []);
        assert_eq!(presence.next_end(), None);
    }

    #[test]
    fn a_reconnect_within_the_grace_is_no_news_and_each_leave_has_a_grace_of_its_own() {
        let (mut presence, ann, start) = (Presence::default(), user("ann"), Instant::now());
        presence.enter(&ann);
        let version = presence.version();
        assert!(presence.leave(&ann, start, GRACE));
        assert!(!presence.enter(&ann));
        assert!(
            !presence.leave(&ann, start + GRACE / 2, GRACE),
            "the timer of the first leave still runs"
        );
        assert_eq!(
            presence.expire(start + GRACE, GRACE),
            [],
            "of the second leave only half is over"
        );
        assert_eq!(presence.version(), version);
        assert_eq!(presence.expire(start + GRACE / 2 + GRACE, GRACE), [ann]);
    }

    #[test]
    fn the_difference_to_an_earlier_list_is_told_both_ways() {
        let (mut presence, now) = (Presence::default(), Instant::now());
        let [ann, bob, eve] = ["ann", "bob", "eve"].map(user);
        presence.enter(&ann);
        presence.enter(&bob);
        let before = presence.users();
        presence.leave(&ann, now, Duration::ZERO);
        assert_eq!(presence.expire(now, Duration::ZERO), std::slice::from_ref(&ann));
        presence.enter(&eve);
        assert_eq!(presence.since(&before), (vec![eve], vec![ann]));
    }
}

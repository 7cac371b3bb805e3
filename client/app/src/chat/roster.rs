//! Who is in the room. The server tells of users, not of tabs: several tabs of one user are one entry.

use talkback_protocol::UserName;

/// Names that are listed; of more, only their number is known.
const LISTED: usize = 500;

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Roster {
    /// Sorted, each once. Not a tree: its code would be larger than the list ever is.
    names: Vec<UserName>,
    users: usize,
}

impl Roster {
    /// How many users there are, listed or not.
    pub(crate) fn users(&self) -> usize {
        self.users
    }

    /// The listed names, sorted.
    pub(crate) fn names(&self) -> impl Iterator<Item = &UserName> {
        self.names.iter()
    }

    pub(super) fn replace(&mut self, users: usize, names: impl IntoIterator<Item = UserName>) {
        self.names = names.into_iter().take(LISTED).collect();
        self.names.sort_unstable();
        self.names.dedup();
        self.users = users.max(self.names.len());
    }

    /// Users came; gives those who were not there.
    pub(super) fn came(&mut self, names: Vec<UserName>) -> Vec<UserName> {
        names
            .into_iter()
            .filter(|name| {
                let Err(place) = self.names.binary_search(name) else {
                    return false;
                };
                self.users += 1;
                if self.names.len() < LISTED {
                    self.names.insert(place, name.clone());
                }
                true
            })
            .collect()
    }

    /// Users went; gives those who were there, as far as the list can tell.
    pub(super) fn went(&mut self, names: Vec<UserName>) -> Vec<UserName> {
        names
            .into_iter()
            .filter(|name| {
                let unlisted = self.users > self.names.len();
                let listed = self.names.binary_search(name).map(|place| self.names.remove(place));
                let was_here = listed.is_ok() || unlisted;
                if was_here {
                    self.users -= 1;
                }
                was_here
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<UserName> {
        names.iter().map(|name| UserName::parse(name).unwrap()).collect()
    }

    #[test]
    fn who_is_there_already_does_not_come_and_who_is_not_there_does_not_leave() {
        let mut roster = Roster::default();
        roster.replace(2, names(&["Ann", "Bob"]));
        assert_eq!(roster.came(names(&["Ann", "Eve"])), names(&["Eve"]));
        assert_eq!(roster.went(names(&["Zoe", "Bob"])), names(&["Bob"]));
        assert_eq!(roster.users(), 2);
        assert!(roster.names().eq(&names(&["Ann", "Eve"])));
    }

    #[test]
    fn of_a_crowd_the_number_is_known_and_the_list_is_bounded() {
        let mut roster = Roster::default();
        roster.replace(10_000, names(&["Ann"]));
        assert_eq!(roster.went(names(&["not listed"])).len(), 1);
        assert_eq!(roster.users(), 9_999);
        for number in 0..1_000 {
            roster.came(names(&[&number.to_string()]));
        }
        assert_eq!((roster.users(), roster.names().count()), (10_999, LISTED));
    }
}

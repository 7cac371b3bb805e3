//! Who is in the room. The server tells of users, not of tabs: several tabs of one user are one entry.

use talkback_client::UserName;

/// Names that are listed; of more, only their number is known.
const LISTED: usize = 500;

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Roster {
    /// Sorted, each once. Not a tree: its code would be larger than the list ever is.
    names: Vec<UserName>,
    users: usize,
    /// The server does not tell who is there, because there are too many.
    is_untold: bool,
}

impl Roster {
    /// How many users there are, listed or not.
    pub(crate) fn users(&self) -> usize {
        self.users
    }

    /// Whether only the number is known.
    pub(crate) fn is_untold(&self) -> bool {
        self.is_untold
    }

    /// The listed names, sorted.
    pub(crate) fn names(&self) -> impl Iterator<Item = &UserName> {
        self.names.iter()
    }

    /// Who is there now; only how many, if the server does not tell.
    pub(super) fn replace(&mut self, users: usize, names: Option<Vec<UserName>>) {
        self.is_untold = names.is_none();
        self.names = names.unwrap_or_default();
        self.names.truncate(LISTED);
        self.names.sort_unstable();
        self.names.dedup();
        self.users = users.max(self.names.len());
    }

    /// The server's count, after the names that came with it.
    pub(super) fn count(&mut self, users: usize) {
        self.users = users.max(self.names.len());
    }

    /// Users came; gives those who were not there.
    pub(super) fn came(&mut self, names: Vec<UserName>) -> Vec<UserName> {
        if self.is_untold {
            return Vec::new();
        }
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
        if self.is_untold {
            return Vec::new();
        }
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
        roster.replace(2, Some(names(&["Ann", "Bob"])));
        assert_eq!(roster.came(names(&["Ann", "Eve"])), names(&["Eve"]));
        assert_eq!(roster.went(names(&["Zoe", "Bob"])), names(&["Bob"]));
        assert_eq!(roster.users(), 2);
        assert!(roster.names().eq(&names(&["Ann", "Eve"])));
    }

    #[test]
    fn of_a_crowd_the_number_is_known_and_the_list_is_bounded() {
        let mut roster = Roster::default();
        roster.replace(10_000, Some(names(&["Ann"])));
        assert_eq!(roster.went(names(&["not listed"])).len(), 1);
        assert_eq!(roster.users(), 9_999);
        for number in 0..1_000 {
            roster.came(names(&[&number.to_string()]));
        }
        assert_eq!((roster.users(), roster.names().count()), (10_999, LISTED));
    }
}

//! The users in the room. The server reports users, not tabs: several tabs of one user are one entry.

use talkback_client::UserName;

/// At most this many names are known: as many as a server lists by default. Of the others only the number is shown.
const MAX_LISTED: usize = 1_000;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Roster {
    /// Sorted, without duplicates; none if the server reports only the number of users, because there are too many.
    /// Not a tree: its code would be larger than the list ever is.
    names: Option<Vec<UserName>>,
    users: usize,
}

impl Default for Roster {
    /// An empty room.
    fn default() -> Self {
        Self {
            names: Some(Vec::new()),
            users: 0,
        }
    }
}

impl Roster {
    /// The number of users, listed or not.
    pub(crate) fn users(&self) -> usize {
        self.users
    }

    /// The listed names, sorted; none if the server reports only the number of users.
    pub(crate) fn names(&self) -> Option<&[UserName]> {
        self.names.as_deref()
    }

    /// The listed names that contain a text in any case; all if it is empty. `lower` makes the letters of a text small.
    pub(crate) fn find(&self, text: &str, lower: fn(&str) -> String) -> Vec<&UserName> {
        let text = lower(text.trim());
        let names = self.names().unwrap_or_default().iter();
        names
            .filter(|name| text.is_empty() || lower(name).contains(&text))
            .collect()
    }

    /// Replaces all entries; `names` is none if the server reports only the number of users.
    pub(super) fn replace(&mut self, users: usize, names: Option<Vec<UserName>>) {
        // One after the other: the sort of the standard library would cost the page a kilobyte.
        self.names = names.map(|names| {
            let mut sorted = Vec::with_capacity(names.len().min(MAX_LISTED));
            for name in names.into_iter().take(MAX_LISTED) {
                if let Err(index) = sorted.binary_search(&name) {
                    sorted.insert(index, name);
                }
            }
            sorted
        });
        self.set_users(users);
    }

    /// Sets the number of users that the server reports.
    pub(super) fn set_users(&mut self, users: usize) {
        self.users = users.max(self.names.as_ref().map_or(0, Vec::len));
    }

    /// Adds users; returns those that were not in the room.
    pub(super) fn joined(&mut self, joined: Vec<UserName>) -> Vec<UserName> {
        let Some(names) = &mut self.names else {
            return Vec::new();
        };
        let mut new = joined;
        new.retain(|name| {
            let Err(index) = names.binary_search(name) else {
                return false;
            };
            self.users += 1;
            if names.len() < MAX_LISTED {
                names.insert(index, name.clone());
            }
            true
        });
        new
    }

    /// Removes users; returns those that were in the room. A name that is not listed may be one of the users beyond the
    /// list.
    pub(super) fn left(&mut self, left: Vec<UserName>) -> Vec<UserName> {
        let Some(names) = &mut self.names else {
            return Vec::new();
        };
        let mut gone = left;
        gone.retain(|name| {
            let has_unlisted = self.users > names.len();
            let listed = names.binary_search(name).map(|index| names.remove(index));
            let was_in = listed.is_ok() || has_unlisted;
            if was_in {
                self.users -= 1;
            }
            was_in
        });
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<UserName> {
        names.iter().map(|name| UserName::parse(name).unwrap()).collect()
    }

    #[test]
    fn only_changes_of_membership_are_returned() {
        let mut roster = Roster::default();
        roster.replace(2, Some(names(&["Ann", "Bob"])));
        assert_eq!(roster.joined(names(&["Ann", "Eve"])), names(&["Eve"]));
        assert_eq!(roster.left(names(&["Zoe", "Bob"])), names(&["Bob"]));
        assert_eq!(roster.users(), 2);
        assert_eq!(roster.names(), Some(&names(&["Ann", "Eve"])[..]));
    }

    #[test]
    fn a_user_is_found_by_a_part_of_the_name_in_any_case() {
        let mut roster = Roster::default();
        roster.replace(3, Some(names(&["Ann", "Anna", "Bob"])));
        let found = |text| roster.find(text, |text| text.to_lowercase()).len();
        assert_eq!(["", " ", "AN", "nna", "x"].map(found), [3, 3, 2, 1, 0]);
    }

    #[test]
    fn as_many_users_are_found_as_a_server_names() {
        let mut roster = Roster::default();
        let all: Vec<_> = (1..=1_000).map(|number| format!("User {number:04}")).collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        roster.replace(1_000, Some(names(&all)));
        let found = |text| roster.find(text, |text| text.to_lowercase()).len();
        assert_eq!(["user 0999", "user 1000", "user"].map(found), [1, 1, 1_000]);
    }

    #[test]
    fn users_beyond_the_bounded_list_are_counted() {
        let mut roster = Roster::default();
        roster.replace(10_000, Some(names(&["Ann"])));
        assert_eq!(roster.left(names(&["not listed"])).len(), 1);
        assert_eq!(roster.users(), 9_999);
        for number in 0..1_000 {
            roster.joined(names(&[&number.to_string()]));
        }
        assert_eq!(
            (roster.users(), roster.names().map(<[_]>::len)),
            (10_999, Some(MAX_LISTED))
        );
    }
}

//! The users of a room at one moment, to find some of them by a part of their name.

use talkback_protocol::{UserName, message::Member, session::server::FoundMembers};

use crate::names;

/// At most so many users are named in one answer.
const MAX_FOUND: usize = 50;

/// The users in the order of their names in small letters.
pub(super) struct Directory {
    users: Vec<UserName>,
    /// Their names in small letters, one after the other in one text, which is searched faster than each name alone. A line
    /// break, which no name has, follows each.
    names: String,
    /// Where each name begins in it.
    starts: Vec<usize>,
}

impl Directory {
    pub(super) fn of(users: Vec<UserName>) -> Self {
        let small = |user: UserName| (names::small(&user), user);
        let mut users: Vec<_> = users.into_iter().map(small).collect();
        users.sort_unstable();
        let mut directory = Self {
            users: Vec::with_capacity(users.len()),
            names: String::new(),
            starts: Vec::with_capacity(users.len()),
        };
        for (name, user) in users {
            directory.starts.push(directory.names.len());
            directory.names.push_str(&name);
            directory.names.push('\n');
            directory.users.push(user);
        }
        directory
    }

    /// The first users whose names have this part, which is in small letters: those whose names begin with it, then the
    /// others. Looks no further than the answer needs.
    pub(super) fn find(&self, part: &str) -> FoundMembers {
        let first = self.starts.partition_point(|&start| self.name_at(start) < part);
        let begins = |&index: &usize| self.name_at(self.starts[index]).starts_with(part);
        let begin = (first..self.users.len()).take_while(begins);
        let matches = self.names.match_indices(part);
        let mut last = None;
        let others = matches
            .filter_map(|(at, _)| self.starts.partition_point(|&start| start <= at).checked_sub(1))
            .filter(|index| last.replace(*index) != Some(*index) && !begins(index));
        let mut found = begin.chain(others).map(|index| Member {
            user: self.users[index].clone(),
        });
        FoundMembers {
            members: found.by_ref().take(MAX_FOUND).collect(),
            more: found.next().is_some(),
        }
    }

    /// The name that begins here.
    fn name_at(&self, start: usize) -> &str {
        let rest = &self.names[start..];
        rest.split_once('\n').map_or(rest, |(name, _)| name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(names: impl IntoIterator<Item = impl AsRef<str>>) -> Directory {
        let names = names.into_iter();
        Directory::of(names.map(|name| UserName::parse(name.as_ref()).unwrap()).collect())
    }

    fn found(directory: &Directory, part: &str) -> (Vec<String>, bool) {
        let FoundMembers { members, more } = directory.find(&names::folded(part));
        (members.iter().map(|member| member.user.to_string()).collect(), more)
    }

    #[test]
    fn names_that_begin_with_a_part_come_before_those_that_have_it_elsewhere() {
        let directory = directory(["bob", "Ann", "anna", "Hanna", "Élan", "李安", "Ivan"]);
        let names = |part| found(&directory, part).0;
        assert_eq!(names("an"), ["Ann", "anna", "Hanna", "Ivan", "Élan"]);
        assert_eq!(names("é"), ["Élan"]);
        assert_eq!(names("安"), ["李安"]);
        assert_eq!(names("n"), ["Ann", "anna", "Hanna", "Ivan", "Élan"], "each once");
        assert_eq!(names("x"), [""; 0]);
        assert_eq!(names(""), ["Ann", "anna", "bob", "Hanna", "Ivan", "Élan", "李安"]);
    }

    #[test]
    fn letters_that_are_written_differently_at_the_end_of_a_word_are_the_same() {
        let directory = directory(["Ασημίνα", "Νίκος", "ΜΆΡΙΟΣ"]);
        for (part, expected) in [
            ("ΑΣ", "Ασημίνα"),
            ("ας", "Ασημίνα"),
            ("νίκοσ", "Νίκος"),
            ("ΊΚΟΣ", "Νίκος"),
            ("μάριος", "ΜΆΡΙΟΣ"),
        ] {
            assert_eq!(found(&directory, part).0, [expected], "{part}");
        }
    }

    #[test]
    fn without_users_nobody_is_found() {
        let directory = directory([""; 0]);
        assert_eq!(found(&directory, ""), (Vec::new(), false));
        assert_eq!(found(&directory, "a"), (Vec::new(), false));
    }

    #[test]
    fn an_answer_has_at_most_fifty_users_and_says_whether_there_are_more() {
        let directory = directory((0..100).map(|number| format!("user {number:02}")));
        let count = |part| {
            let (names, more) = found(&directory, part);
            (names.len(), more)
        };
        assert_eq!(count(""), (50, true));
        assert_eq!(count("user 1"), (10, false));
        assert_eq!(count("5"), (19, false), "50 to 59, and 05, 15, ... without 55");
        assert_eq!(directory.find("").members[49].user.as_ref(), "user 49");
    }
}

//! Users of a room with too many to list, as the server finds them by a part of their names: one request at a time, the
//! next one for the newest text.

use talkback_client::UserName;

#[derive(Debug, Default)]
pub(crate) struct PeopleSearch {
    /// The text of the request on the way.
    asked: Option<String>,
    answer: Option<Answer>,
    /// The server does not search: only the number of users is shown.
    pub(crate) is_refused: bool,
}

#[derive(Debug)]
struct Answer {
    text: String,
    names: Vec<UserName>,
    more: bool,
    /// Users joined or left since.
    is_old: bool,
}

impl PeopleSearch {
    /// The text to ask the server for, unless a request is on the way or the last answer has the users with this text too.
    pub(super) fn ask(&mut self, text: &str) -> Option<String> {
        let is_answered =
            |answer: &Answer| text == answer.text || !answer.more && !answer.is_old && text.starts_with(&answer.text);
        if self.is_refused || self.asked.is_some() || self.answer.as_ref().is_some_and(is_answered) {
            return None;
        }
        self.asked = Some(text.to_owned());
        self.asked.clone()
    }

    /// The answer for a text came: some users and whether there are more, or none if the server does not search.
    pub(super) fn answered(&mut self, text: &str, found: Option<(Vec<UserName>, bool)>) {
        let Some(text) = self.asked.take_if(|asked| asked == text) else {
            return;
        };
        self.is_refused = found.is_none();
        self.answer = found.map(|(names, more)| Answer {
            text,
            names,
            more,
            is_old: false,
        });
    }

    /// Users joined or left: the next text is asked for in any case.
    pub(super) fn is_outdated(&mut self) {
        if let Some(answer) = &mut self.answer {
            answer.is_old = true;
        }
    }

    /// The users of the last answer with a text in their names in any case. `lower` makes the letters of a text small.
    pub(crate) fn find(&self, text: &str, lower: fn(&str) -> String) -> Vec<&UserName> {
        let part = lower(text);
        // The server compares more than the case of letters.
        let is_answer = self.answer.as_ref().is_some_and(|answer| answer.text == text);
        let has_part = |name: &&UserName| is_answer || lower(name).contains(&part);
        self.names().iter().filter(has_part).collect()
    }

    /// Whether the server may have more users; none if there is no answer.
    pub(crate) fn has_more(&self) -> Option<bool> {
        let answer = self.answer.as_ref()?;
        Some(answer.more || self.asked.is_some())
    }

    /// The users of the last answer.
    pub(super) fn names(&self) -> &[UserName] {
        self.answer.as_ref().map_or(&[], |answer| &answer.names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<UserName> {
        names.iter().map(|name| UserName::parse(name).unwrap()).collect()
    }

    fn shown(search: &PeopleSearch, text: &str) -> Option<(Vec<String>, bool)> {
        let names = search.find(text, |text| text.to_lowercase());
        Some((names.iter().map(ToString::to_string).collect(), search.has_more()?))
    }

    #[test]
    fn one_request_is_on_the_way_and_the_next_is_for_the_newest_text() {
        let mut search = PeopleSearch::default();
        assert_eq!(shown(&search, ""), None);
        assert_eq!(search.ask(""), Some(String::new()));
        assert_eq!((search.ask("a"), search.ask("an")), (None, None));
        search.answered("x", Some((names(&["Max"]), true)));
        assert_eq!(
            shown(&search, ""),
            None,
            "an answer to an earlier request, before the room was joined again"
        );
        search.answered("", Some((names(&["Ann", "bob"]), true)));
        assert_eq!(shown(&search, "AN"), Some((vec!["Ann".into()], true)));
        assert_eq!(search.ask("an").as_deref(), Some("an"));
        assert_eq!(
            shown(&search, "an"),
            Some((vec!["Ann".into()], true)),
            "until the answer"
        );
        search.answered("an", Some((names(&["Ann", "Anton"]), false)));
        assert_eq!(shown(&search, "an"), Some((vec!["Ann".into(), "Anton".into()], false)));
        assert_eq!(search.ask("an"), None);
    }

    #[test]
    fn an_answer_with_all_users_is_searched_here_until_users_join_or_leave() {
        let mut search = PeopleSearch::default();
        search.ask("an");
        search.answered("an", Some((names(&["Ann", "Anton"]), false)));
        assert_eq!(search.ask("ant"), None);
        assert_eq!(shown(&search, "ANT"), Some((vec!["Anton".into()], false)));
        search.is_outdated();
        assert_eq!(search.ask("an"), None, "what is shown is not asked for again by itself");
        assert_eq!(search.ask("ant").as_deref(), Some("ant"));
    }

    #[test]
    fn a_server_that_does_not_search_is_asked_once() {
        let mut search = PeopleSearch::default();
        search.ask("");
        search.answered("", None);
        assert_eq!((search.ask("a"), search.is_refused), (None, true));
        assert_eq!(shown(&search, ""), None);
    }
}

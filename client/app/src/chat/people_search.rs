//! Users of a room with too many to list, as the server finds them by a part of their names: one request at a time, the
//! next one for the newest text.

use talkback_client::{PageError, UserName, code};

#[derive(Debug, Default)]
pub(crate) struct PeopleSearch {
    /// The text of the request on the way.
    asked: Option<String>,
    /// The text of the last request, if that failed: the next one is for another text, or when the user looks again.
    failed: Option<String>,
    answer: Option<Answer>,
    /// The text of the answer is asked for once more.
    looks_again: bool,
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
    /// `lower` makes the letters of a text small.
    pub(super) fn ask(&mut self, text: &str, lower: fn(&str) -> String) -> Option<String> {
        let is_failed = self.failed.as_deref() == Some(text);
        let is_answered = !self.looks_again && self.covers(text, lower);
        if self.is_refused || self.asked.is_some() || is_failed || is_answered {
            return None;
        }
        self.asked = Some(text.to_owned());
        self.asked.clone()
    }

    /// Whether the last answer has all users with this text that the server would name.
    fn covers(&self, text: &str, lower: fn(&str) -> String) -> bool {
        let Some(answer) = &self.answer else {
            return false;
        };
        let is_whole = !answer.more && !answer.is_old && text.starts_with(&answer.text);
        // The server compares more than the case of letters, so it may find users where nobody is found here.
        text == answer.text || is_whole && (answer.names.is_empty() || !self.find(text, lower).is_empty())
    }

    /// The answer for a text came: some users and whether there are more.
    pub(super) fn answered(&mut self, text: &str, found: Result<(Vec<UserName>, bool), PageError>) {
        let Some(text) = self.asked.take_if(|asked| asked == text) else {
            return;
        };
        match found {
            Ok((names, more)) => {
                self.answer = Some(Answer {
                    text,
                    names,
                    more,
                    is_old: false,
                });
                self.looks_again = false;
            }
            Err(PageError::Refused { code, .. }) if code == code::FORBIDDEN => self.is_refused = true,
            Err(_) => self.failed = Some(text),
        }
    }

    /// The user may look at an answer that is long out of date, or at none: what is shown is asked for again, until the
    /// answer comes the old one stays.
    pub(super) fn look_again(&mut self) {
        self.failed = None;
        self.looks_again = self.answer.as_ref().is_some_and(|answer| answer.is_old);
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

    /// Whether the server may have more users with a text; none if there is no answer.
    pub(crate) fn has_more(&self, text: &str, lower: fn(&str) -> String) -> Option<bool> {
        let answer = self.answer.as_ref()?;
        Some(answer.more || self.asked.is_some() || !self.covers(text, lower))
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

    fn lower(text: &str) -> String {
        text.to_lowercase()
    }

    fn ask(search: &mut PeopleSearch, text: &str) -> Option<String> {
        search.ask(text, lower)
    }

    fn answer(search: &mut PeopleSearch, text: &str, found: &[&str], more: bool) {
        search.answered(text, Ok((names(found), more)));
    }

    fn shown(search: &PeopleSearch, text: &str) -> Option<(Vec<String>, bool)> {
        let names = search.find(text, lower);
        Some((
            names.iter().map(ToString::to_string).collect(),
            search.has_more(text, lower)?,
        ))
    }

    #[test]
    fn one_request_is_on_the_way_and_the_next_is_for_the_newest_text() {
        let mut search = PeopleSearch::default();
        assert_eq!(shown(&search, ""), None);
        assert_eq!(ask(&mut search, ""), Some(String::new()));
        assert_eq!((ask(&mut search, "a"), ask(&mut search, "an")), (None, None));
        answer(&mut search, "x", &["Max"], true);
        assert_eq!(
            shown(&search, ""),
            None,
            "an answer to an earlier request, before the room was joined again"
        );
        answer(&mut search, "", &["Ann", "bob"], true);
        assert_eq!(shown(&search, "AN"), Some((vec!["Ann".into()], true)));
        assert_eq!(ask(&mut search, "an").as_deref(), Some("an"));
        assert_eq!(
            shown(&search, "an"),
            Some((vec!["Ann".into()], true)),
            "until the answer"
        );
        answer(&mut search, "an", &["Ann", "Anton"], false);
        assert_eq!(shown(&search, "an"), Some((vec!["Ann".into(), "Anton".into()], false)));
        assert_eq!(ask(&mut search, "an"), None);
    }

    #[test]
    fn an_answer_with_all_users_is_searched_here_until_users_join_or_leave() {
        let mut search = PeopleSearch::default();
        ask(&mut search, "an");
        answer(&mut search, "an", &["Ann", "Anton"], false);
        assert_eq!(ask(&mut search, "ant"), None);
        assert_eq!(shown(&search, "anT"), Some((vec!["Anton".into()], false)));
        search.is_outdated();
        assert_eq!(
            ask(&mut search, "an"),
            None,
            "what is shown is not asked for again by itself"
        );
        assert_eq!(ask(&mut search, "ant").as_deref(), Some("ant"));
    }

    #[test]
    fn only_the_server_says_that_nobody_has_a_name() {
        let mut search = PeopleSearch::default();
        ask(&mut search, "ａ");
        answer(&mut search, "ａ", &["Ann", "Bea"], false);
        assert_eq!(
            shown(&search, "ａｎ"),
            Some((Vec::new(), true)),
            "it compares wide letters too"
        );
        assert_eq!(shown(&search, "bo"), Some((Vec::new(), true)), "it was not asked");
        assert_eq!(ask(&mut search, "ａｎ").as_deref(), Some("ａｎ"));
        answer(&mut search, "ａｎ", &[], false);
        assert_eq!(ask(&mut search, "ａｎｎ"), None);
        assert_eq!(shown(&search, "ａｎｎ"), Some((Vec::new(), false)));
    }

    #[test]
    fn an_old_answer_is_asked_for_again_when_the_user_looks_again() {
        let mut search = PeopleSearch::default();
        ask(&mut search, "");
        answer(&mut search, "", &["Ann"], false);
        search.look_again();
        assert_eq!(ask(&mut search, ""), None, "nobody joined or left");
        search.is_outdated();
        search.look_again();
        assert_eq!(
            shown(&search, ""),
            Some((vec!["Ann".into()], false)),
            "until the answer"
        );
        assert_eq!(ask(&mut search, "").as_deref(), Some(""));
        answer(&mut search, "", &["Bob"], false);
        assert_eq!(ask(&mut search, ""), None);
        assert_eq!(shown(&search, ""), Some((vec!["Bob".into()], false)));
    }

    #[test]
    fn a_server_that_does_not_search_is_asked_once() {
        let mut search = PeopleSearch::default();
        ask(&mut search, "");
        search.answered("", Err(refused(code::FORBIDDEN)));
        assert_eq!((ask(&mut search, "a"), search.is_refused), (None, true));
        assert_eq!(shown(&search, ""), None);
    }

    fn refused(code: &str) -> PageError {
        PageError::Refused {
            code: code.into(),
            message: String::new(),
        }
    }

    #[test]
    fn a_request_that_failed_is_asked_for_again_only_when_the_user_does_something() {
        for error in [refused(code::NOT_JOINED), PageError::TooMany, PageError::Stopped] {
            let mut search = PeopleSearch::default();
            ask(&mut search, "");
            answer(&mut search, "", &["Ann"], true);
            ask(&mut search, "a");
            search.answered("a", Err(error));
            assert_eq!((ask(&mut search, "a"), search.is_refused), (None, false));
            assert_eq!(shown(&search, "a"), Some((vec!["Ann".into()], true)));
            assert_eq!(ask(&mut search, "an").as_deref(), Some("an"));
            search.answered("an", Err(PageError::TooMany));
            search.look_again();
            assert_eq!(ask(&mut search, "an").as_deref(), Some("an"));
        }
    }
}

//! One line of the chat, and how to tell one's own among what the room sends back.

use std::collections::VecDeque;

use crate::{
    i18n::{Language, Message},
    log::Weigh,
    shell::Announce,
};

/// What the chat shows in a row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Line {
    Said {
        from: Option<String>,
        text: String,
        own: bool,
    },
    /// Something about the connection, written out in the page's language when it is drawn.
    Notice(Message),
}

impl Line {
    /// Reads `[name] text`. A server that writes otherwise is shown as it is, from nobody.
    pub(crate) fn parse(received: &str) -> (Option<&str>, &str) {
        // A name has no bracket, so the first one ends it.
        match received.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((from, rest)) if rest.starts_with(' ') => (Some(from), &rest[1..]),
            _ => (None, received),
        }
    }
}

/// One's own messages are not read back.
impl Announce for Line {
    fn announcement(&self, language: Language) -> Option<String> {
        match self {
            Self::Notice(message) => Some(message.in_language(language)),
            Self::Said { own: true, .. } => None,
            Self::Said { from: None, text, .. } => Some(text.clone()),
            Self::Said {
                from: Some(from), text, ..
            } => Some(format!("{from}: {text}")),
        }
    }
}

impl Weigh for Line {
    fn payload_bytes(&self) -> usize {
        match self {
            Self::Said { from, text, .. } => from.as_ref().map_or(0, String::len) + text.len(),
            Self::Notice(_) => 0,
        }
    }
}

/// The texts that were sent and have not come back from the room.
///
/// Plain group chat has no message ids, and a name may be used by two tabs at once. A line is taken for one's own when it has one's
/// name and the text of the oldest message that is still out: the room keeps each sender's order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Unconfirmed(VecDeque<String>);

impl Unconfirmed {
    pub(crate) fn sent(&mut self, text: String) {
        self.0.push_back(text);
    }

    /// Whether a line is the echo of the oldest message that is out; that message is then confirmed.
    pub(crate) fn confirm(&mut self, own_name: &str, from: Option<&str>, text: &str) -> bool {
        let own = from == Some(own_name) && self.0.front().is_some_and(|front| front == text);
        if own {
            self.0.pop_front();
        }
        own
    }

    /// Forgets all; gives how many were still out.
    pub(crate) fn give_up(&mut self) -> usize {
        std::mem::take(&mut self.0).len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_split_at_the_first_bracket_so_that_a_text_cannot_forge_a_sender() {
        assert_eq!(Line::parse("[Ann] hi"), (Some("Ann"), "hi"));
        assert_eq!(Line::parse("[Ann] [Bob] hi"), (Some("Ann"), "[Bob] hi"));
        assert_eq!(Line::parse("[Ann] "), (Some("Ann"), ""));
        assert_eq!(Line::parse("[李 雷] 你好\n[x] y"), (Some("李 雷"), "你好\n[x] y"));
        for other in ["", "hi", "[Ann]hi", "Ann] hi"] {
            assert_eq!(Line::parse(other), (None, other));
        }
    }

    #[test]
    fn a_line_is_ones_own_only_while_its_text_is_out_under_ones_name() {
        let mut out = Unconfirmed::default();
        assert!(
            !out.confirm("Ann", Some("Ann"), "hi"),
            "another tab of the same name said it"
        );
        out.sent("hi".into());
        out.sent("ho".into());
        assert!(!out.confirm("Ann", Some("Bob"), "hi"));
        assert!(out.confirm("Ann", Some("Ann"), "hi"));
        assert!(!out.confirm("Ann", Some("Ann"), "hi"));
        assert_eq!(out.give_up(), 1);
        assert!(!out.confirm("Ann", Some("Ann"), "ho"));
    }
}

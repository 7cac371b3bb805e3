//! Every text of the page, in every language.
//!
//! [`Text`] holds the fixed texts, [`Sentence`] the sentences with values in them (`sentence/english.rs`,
//! `sentence/chinese.rs`), [`close_meaning`] the meaning of each close code. All match on [`Language`] without a
//! wildcard, so a text that lacks one language does not compile.

mod close_code;
mod language;
mod sentence;
mod text;

pub(crate) use close_code::close_meaning;
pub(crate) use language::Language;
pub(crate) use sentence::{HttpProblem, Sentence, UrlProblem};
pub(crate) use text::Text;

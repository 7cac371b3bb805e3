//! Every text of the page, in every language.
//!
//! [`Text`] is a text in every language, a constant for each; [`Sentence`] is a text with values in it. Each language of
//! a text stands beside the others in one table: `text.rs` has the fixed texts, `sentence.rs` the sentences,
//! `close_code.rs` the meaning of each close code. A text that lacks one language does not compile.

mod close_code;
mod language;
mod sentence;
mod text;

pub(crate) use close_code::close_meaning;
pub(crate) use language::Language;
pub(crate) use sentence::Sentence;
pub(crate) use text::Text;

//! What both forms are made of: labelled fields, and one line for a hint or the error of a field.

mod button;
mod error_line;
mod text_field;

pub(crate) use button::{Button, Look};
pub(crate) use error_line::error_line;
pub(crate) use text_field::{TextField, text_of};

use crate::i18n::Sentence;

/// The `id` of the one element that shows an error; the field at error points to it.
pub(crate) const ERROR_ID: &str = "error";

/// An error and the field it is tied to; none if it is about the connection itself.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FormError<Field> {
    pub(crate) field: Option<Field>,
    pub(crate) message: Sentence,
}

impl<Field: PartialEq> FormError<Field> {
    pub(crate) fn of(field: Field, message: Sentence) -> Self {
        Self {
            field: Some(field),
            message,
        }
    }

    pub(crate) fn of_connection(message: Sentence) -> Self {
        Self { field: None, message }
    }

    /// Whether this field is at error.
    pub(crate) fn is_of(&self, field: &Field) -> bool {
        self.field.as_ref() == Some(field)
    }
}

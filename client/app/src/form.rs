//! The parts of the forms: labelled text fields, buttons, and one line for a hint or the error of a field.

mod button;
mod error_line;
mod one_field;
mod text_field;

pub(crate) use button::{Button, Look};
pub(crate) use error_line::error_line;
pub(crate) use one_field::OneFieldForm;
pub(crate) use text_field::{TextField, text_of};

use crate::i18n::Sentence;

/// The `id` of the element that shows an error; the invalid field refers to it.
pub(crate) const ERROR_ID: &str = "error";

/// An error and its field; none if it is about the connection itself.
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

    /// Whether this field has the error.
    pub(crate) fn is_of(&self, field: &Field) -> bool {
        self.field.as_ref() == Some(field)
    }
}

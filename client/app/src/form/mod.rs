//! What both forms are made of: labelled fields, and one line for a hint or the error of a field.

mod button;
mod fault_line;
mod text_field;

pub(crate) use button::{Button, Look};
pub(crate) use fault_line::fault_line;
pub(crate) use text_field::{TextField, text_of};

use crate::i18n::Message;

/// The `id` of the one element that shows an error; the field at fault points to it.
pub(crate) const ERROR_ID: &str = "error";

/// An error and the field it is tied to; none if it is about the connection itself.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fault<Field> {
    pub(crate) field: Option<Field>,
    pub(crate) message: Message,
}

impl<Field: PartialEq> Fault<Field> {
    pub(crate) fn of(field: Field, message: Message) -> Self {
        Self {
            field: Some(field),
            message,
        }
    }

    pub(crate) fn of_connection(message: Message) -> Self {
        Self { field: None, message }
    }

    /// Whether this field is at fault.
    pub(crate) fn is_of(&self, field: &Field) -> bool {
        self.field.as_ref() == Some(field)
    }
}

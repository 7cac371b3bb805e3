//! The line below a form with an error or else a hint. Its height is reserved, so that showing it moves nothing.

use yew::{Html, html};

use super::ERROR_ID;
use crate::i18n::{Language, Sentence, Text};

/// The line; a hint has the `id` by which a field refers to it.
pub(crate) fn error_line(error: Option<&Sentence>, hint: Option<(&'static str, Text)>, language: Language) -> Html {
    let content = match (error, hint) {
        (Some(error), _) => html! { <p id={ERROR_ID} class="fault" role="alert">{ error.in_language(language) }</p> },
        (None, Some((id, hint))) => html! { <p {id} class="hint">{ hint.in_language(language) }</p> },
        (None, None) => Html::default(),
    };
    html! { <div class="fault-line">{ content }</div> }
}

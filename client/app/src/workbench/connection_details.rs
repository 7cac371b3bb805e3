//! The card with the negotiated subprotocol and extensions, the buffered bytes, and the last close.

use yew::{Html, html};

use super::reducer::WorkbenchState;
use crate::{
    connection::{End, Phase},
    format,
    i18n::{Language, Sentence, Text, close_meaning},
};

pub(super) fn connection_details(state: &WorkbenchState, language: Language) -> Html {
    let (protocol, extensions) = match &state.phase {
        Phase::Open {
            protocol, extensions, ..
        } => (Some(protocol), Some(extensions)),
        _ => (None, None),
    };
    html! {
        <dl class="card details">
            { detail("negotiated_protocol", Text::Protocol, negotiated(protocol, language), language) }
            { detail("negotiated_extensions", Text::Extensions, negotiated(extensions, language), language) }
            { detail("buffered_amount", Text::Buffered, format::size(state.buffered.into()).into(), language) }
            { detail("close_info", Text::LastClose, close_info(&state.phase, language), language) }
        </dl>
    }
}

fn detail(id: &'static str, label: Text, value: Html, language: Language) -> Html {
    html! { <div><dt>{ label.in_language(language) }</dt><dd {id}><span role="status">{ value }</span></dd></div> }
}

/// A negotiated value; a dash while no connection is open.
fn negotiated(value: Option<&String>, language: Language) -> Html {
    match value {
        None => quiet("–"),
        Some(value) if value.is_empty() => quiet(Text::NoneChosen.in_language(language)),
        Some(value) => html! { <code>{ value.clone() }</code> },
    }
}

/// Code, reason and meaning of the last close; a dash while there was none.
fn close_info(phase: &Phase, language: Language) -> Html {
    let Phase::Closed(end) = phase else { return quiet("–") };
    match end {
        // The error line has the whole sentence.
        End::NeverOpened(closed) => format!("{} {}", closed.code, close_meaning(closed.code, language)).into(),
        end => Sentence::Closed(end.clone()).in_language(language).into(),
    }
}

fn quiet(text: &'static str) -> Html {
    html! { <span class="quiet">{ text }</span> }
}

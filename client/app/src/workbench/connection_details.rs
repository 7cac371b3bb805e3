//! What was negotiated, what waits to be sent, and how the connection ended.

use yew::{Html, html};

use super::state::State;
use crate::{
    connection::{End, Phase},
    format,
    i18n::{Language, Message, Text, close_meaning},
};

pub(super) fn connection_details(state: &State, language: Language) -> Html {
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
    html! { <div><dt>{ label.in_language(language) }</dt><dd {id} role="status">{ value }</dd></div> }
}

/// What an open connection negotiated; a dash while none is open.
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
    let (closed, explanation) = match end {
        // The error line explains at length.
        End::NeverOpened(closed) => (Some(closed), close_meaning(closed.code, language).to_owned()),
        End::Lost { closed, .. } | End::Finished { closed, .. } => {
            (Some(closed), Message::Ended(end.clone()).in_language(language))
        }
        End::Cancelled | End::Forced { .. } => (None, Message::Ended(end.clone()).in_language(language)),
    };
    html! {
        <>
            if let Some(closed) = closed {
                <code>{ closed.code }</code>
                if !closed.reason.is_empty() {
                    { " " }<q>{ closed.reason.clone() }</q>
                }
                { " " }
            }
            { explanation }
        </>
    }
}

fn quiet(text: &'static str) -> Html {
    html! { <span class="quiet">{ text }</span> }
}

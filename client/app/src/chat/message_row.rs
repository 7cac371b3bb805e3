//! One row of the message list. Texts are text nodes: received data is never parsed as HTML.

use std::rc::Rc;

use yew::{Callback, Html, Properties, component, html};

use super::{
    outbox::{Outgoing, SendState},
    reducer::Action,
    timeline::{Body, Entry, RoomMessage},
};
use crate::{
    i18n::{Language, Sentence, Text},
    row_time::row_time,
    rows::Row,
};

#[derive(PartialEq, Properties)]
pub(super) struct Props {
    pub(super) row: Rc<Row<Entry>>,
    /// Grouped with the message above, of the same sender: the name is only for screen readers.
    pub(super) grouped: bool,
    pub(super) language: Language,
}

/// A row of the timeline. A component, so that it is drawn once and not with each new message.
#[component]
pub(super) fn RowView(props: &Props) -> Html {
    let Props { row, grouped, language } = props;
    match &row.content.body {
        Body::Notice(message) => html! {
            <li class="notice" data-direction="info" data-kind={kind(message)}>
                { row_time(row.at) }<span class="text">{ message.in_language(*language) }</span>
            </li>
        },
        Body::Message(RoomMessage {
            offset,
            from,
            text,
            own,
            ..
        }) => html! {
            <li
                class="said"
                data-direction={if *own { "out" } else { "in" }}
                data-offset={offset.to_string()}
                data-delivery={own.then_some("acked")}
                data-goes-on={grouped.then_some("")}
            >
                <div class="by">
                    <span class="from">{ from.clone() }</span>
                    if *own {
                        <span class="you">{ Text::You.in_language(*language) }</span>
                    }
                    { row_time(row.at) }
                    if *own {
                        { mark("✓", Text::DeliveryAcked, *language) }
                    }
                </div>
                <div class="text">{ text.clone() }</div>
            </li>
        },
    }
}

/// An own message that the room has not delivered yet.
pub(super) fn outgoing_row(sent: &Outgoing, from: &str, dispatch: &Callback<Action>, language: Language) -> Html {
    let text = |text: Text| text.in_language(language);
    let in_words = |words: Text| html! { <span class="delivery">{ text(words) }</span> };
    let acked = || mark("✓", Text::DeliveryAcked, language);
    let (delivery, marked, offset, error) = match &sent.state {
        SendState::Queued => ("pending", in_words(Text::DeliveryQueued), None, None),
        SendState::Written => ("sent", in_words(Text::DeliveryWritten), None, None),
        // The outbox does not show it; its row is in the timeline.
        SendState::Delivered => ("acked", acked(), None, None),
        SendState::Acked { offset, .. } => ("acked", acked(), Some(offset.to_string()), None),
        SendState::Failed(reason) => ("failed", Html::default(), None, Some(Sentence::Failed(reason.clone()))),
        SendState::Lost => ("failed", Html::default(), None, Some(Sentence::OwnLost(1))),
    };
    let key = sent.key;
    html! {
        <li key={format!("k{key}")} class="said" data-direction="out" data-offset={offset} data-delivery={delivery}>
            <div class="by">
                <span class="from">{ from.to_owned() }</span>
                <span class="you">{ text(Text::You) }</span>
                { row_time(sent.at) }
                { marked }
            </div>
            <div class="text">{ sent.text.clone() }</div>
            if let Some(error) = error {
                <p class="fault" role="alert">{ error.in_language(language) }</p>
                <div class="row-buttons">
                    <button
                        type="button" class="retry" data-look="small"
                        onclick={dispatch.reform(move |_| Action::Retry(key))}
                    >
                        { text(Text::Retry) }
                    </button>
                    <button
                        type="button" class="discard" data-look="small"
                        onclick={dispatch.reform(move |_| Action::Discard(key))}
                    >
                        { text(Text::Discard) }
                    </button>
                </div>
            }
        </li>
    }
}

/// A sign, with words for screen readers.
fn mark(sign: &'static str, words: Text, language: Language) -> Html {
    html! {
        <span class="delivery">
            <span aria-hidden="true">{ sign }</span>
            <span class="visually-hidden">{ words.in_language(language) }</span>
        </span>
    }
}

/// The `data-kind` of a notice: losses of messages have styles of their own, lost own messages that of a failure.
fn kind(message: &Sentence) -> Option<&'static str> {
    match message {
        Sentence::HistoryLost | Sentence::AwayTooLong => Some("loss"),
        Sentence::OwnLost(_) => Some("failure"),
        _ => None,
    }
}

//! One row of the message list. Texts are text nodes: received data is never parsed as HTML.
//!
//! Messages of others have no bubble: a picture and a name above the first of a run. Own messages are bubbles at the
//! right, with their time and state below the last of a run.

use std::rc::Rc;

use js_sys::Date;
use wasm_bindgen::JsValue;
use yew::{Callback, Html, Properties, component, html};

use super::{
    message_text::message_text,
    outbox::{Outgoing, SendState},
    person::avatar,
    reducer::Action,
    sentences,
    timeline::{Body, Entry, NoticeKind, RoomMessage},
};
use crate::{
    i18n::{Language, Sentence, Text},
    rows::Row,
};

/// Where a row is in its run: the messages of one user that are drawn together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) is_first: bool,
    pub(super) is_last: bool,
}

#[derive(PartialEq, Properties)]
pub(super) struct Props {
    pub(super) row: Rc<Row<Entry>>,
    pub(super) place: Place,
    pub(super) language: Language,
}

/// A row of the timeline. A component, so that it is drawn once and not with each new message.
#[component]
pub(super) fn RowView(props: &Props) -> Html {
    let Props { row, place, language } = props;
    match &row.content.body {
        Body::Notice(kind, message) => notice(row.at, *kind, message, *language),
        Body::Presence { joined, left } => {
            notice(row.at, NoticeKind::Event, &sentences::presence(joined, left), *language)
        }
        Body::Message(message) if message.own => {
            let RoomMessage { offset, from, at, .. } = message;
            let foot = html! { <>{ time(*at) }{ mark("✓", Text::DeliveryAcked, *language) }</> };
            html! {
                <li
                    class="said" role="listitem" data-direction="out" data-offset={offset.to_string()} data-delivery="acked"
                    data-row={row.number.to_string()} tabindex="-1"
                    data-goes-on={(!place.is_first).then_some("")}
                >
                    { own_name(from, *language) }
                    { content(message, *language) }
                    if place.is_last {
                        <p key="foot" class="foot">{ foot }</p>
                    }
                </li>
            }
        }
        Body::Message(message) => html! {
            <li
                class="said" role="listitem" data-direction="in" data-offset={message.offset.to_string()}
                data-row={row.number.to_string()} tabindex="-1"
                data-goes-on={(!place.is_first).then_some("")} data-mentions-me={message.mentions_me.then_some("")}
            >
                if place.is_first {
                    { avatar(&message.from) }
                }
                <div key="by" class="by">
                    <bdi class="from">{ message.from.clone() }</bdi>
                    { time(message.at) }
                </div>
                { content(message, *language) }
            </li>
        },
    }
}

/// The text of a message, or in its place that it was deleted.
fn content(message: &RoomMessage, language: Language) -> Html {
    if message.deleted {
        let words = Text::MessageDeleted.in_language(language);
        return html! { <div key="text" class="text" data-deleted="">{ words }</div> };
    }
    message_text(&message.text, &message.mentions, language)
}

/// An own message that the room has not delivered yet; `is_out` while the user is not in the room.
pub(super) fn outgoing_row(
    sent: &Outgoing,
    from: &str,
    place: Place,
    is_out: bool,
    dispatch: &Callback<Action>,
    language: Language,
) -> Html {
    let in_words = |words: Text| html! { <span class="delivery">{ words.in_language(language) }</span> };
    let acked = || mark("✓", Text::DeliveryAcked, language);
    let (delivery, marked, offset, error) = match &sent.state {
        SendState::Queued => ("pending", in_words(Text::DeliveryQueued), None, None),
        SendState::Written => ("sent", in_words(Text::DeliveryWritten), None, None),
        // The outbox does not show it; its row is in the timeline.
        SendState::Delivered => ("acked", acked(), None, None),
        SendState::Acked { offset, .. } => ("acked", acked(), Some(*offset), None),
        SendState::Failed(reason) => ("failed", Html::default(), None, Some(sentences::failed(reason))),
        SendState::Lost => ("failed", Html::default(), None, Some(sentences::own_lost(1))),
    };
    html! {
        <li
            key={format!("k{}", sent.key)} class="said" role="listitem" data-direction="out"
            data-offset={offset.map(|offset| offset.to_string())} data-delivery={delivery}
            data-goes-on={(!place.is_first).then_some("")}
        >
            { own_name(from, language) }
            { message_text(&sent.text, &[], language) }
            if let Some(error) = error {
                <p key="fault" class="fault" role="alert">{ error.in_language(language) }</p>
                { failed_buttons(sent, is_out, dispatch, language) }
            } else if place.is_last {
                <p key="foot" class="foot">{ time(sent.at) }{ marked }</p>
            }
        </li>
    }
}

fn failed_buttons(sent: &Outgoing, is_out: bool, dispatch: &Callback<Action>, language: Language) -> Html {
    let key = sent.key;
    let button = |name: &'static str, label: Text, action: fn(u64) -> Action| {
        html! {
            <button key={name} type="button" data-action={name} onclick={dispatch.reform(move |_| action(key))}>
                { label.in_language(language) }
            </button>
        }
    };
    html! {
        <div key="buttons" class="row-buttons">
            if is_out {
                <span key="out" class="quiet">{ Text::FailedOut.in_language(language) }</span>
            } else {
                { button("retry", Text::Retry, Action::Retry) }
                { button("edit", Text::Edit, Action::EditFailed) }
            }
            { button("discard", Text::Discard, Action::Discard) }
        </div>
    }
}

/// For screen readers and for copying; the place at the right shows whose message it is.
fn own_name(from: &str, language: Language) -> Html {
    html! {
        <div key="by" class="by visually-hidden">
            <bdi class="from">{ from.to_owned() }</bdi>{ " " }
            <span class="you">{ Text::You.in_language(language) }</span>
        </div>
    }
}

/// The time of day on the local clock; the seconds show on hover.
fn time(at: f64) -> Html {
    let clock = Clock::at(at);
    html! { <time key="time" class="time" title={clock.with_seconds}>{ clock.short }</time> }
}

struct Clock {
    /// `15:36`
    short: String,
    /// `15:36:07`
    with_seconds: String,
}

impl Clock {
    fn at(at: f64) -> Self {
        // `toTimeString` begins with HH:MM:SS in every browser and language:
        // https://tc39.es/ecma262/#sec-timestring
        let text: String = Date::new(&JsValue::from_f64(at)).to_time_string().into();
        let head = |length| text.get(..length).unwrap_or_default().to_owned();
        Self {
            short: head(5),
            with_seconds: head(8),
        }
    }
}

/// A sign and words.
fn mark(sign: &'static str, words: Text, language: Language) -> Html {
    html! {
        <span key="delivery" class="delivery">
            <span aria-hidden="true">{ sign }{ " " }</span>{ words.in_language(language) }
        </span>
    }
}

fn notice(at: f64, kind: NoticeKind, message: &Sentence, language: Language) -> Html {
    let kind = match kind {
        NoticeKind::Event => None,
        NoticeKind::Loss => Some("loss"),
        NoticeKind::Failure => Some("failure"),
    };
    html! {
        <li class="notice" role="listitem" data-direction="info" data-kind={kind}>
            <span class="text" dir="auto" title={Clock::at(at).with_seconds}>{ message.in_language(language) }</span>
        </li>
    }
}

//! The strip with what was negotiated, how the connection ended, what was received and sent, the rate, what is buffered, and the round trip.

use yew::{Html, html};

use super::{
    reducer::WorkbenchState,
    traffic::{CURVE, Count},
};
use crate::{
    connection::{End, Phase},
    format,
    i18n::{Language, Sentence, Text, close_meaning},
};

pub(super) fn status_strip(state: &WorkbenchState, language: Language) -> Html {
    let text = |text: Text| text.in_language(language);
    let (protocol, extensions) = match &state.phase {
        Phase::Open {
            protocol, extensions, ..
        } => (Some(protocol), Some(extensions)),
        _ => (None, None),
    };
    let traffic = &state.traffic;
    let curve = traffic.curve();
    let round_trips = state.round_trips.percentiles();
    html! {
        <dl key="status" id="status_strip" class="strip">
            { entry("negotiated_protocol", text(Text::Protocol), negotiated(protocol, language)) }
            { entry("negotiated_extensions", text(Text::Extensions), negotiated(extensions, language)) }
            if let Phase::Closed(end) | Phase::Waiting { end, .. } = &state.phase {
                <div key="close_info" class="strip-close">
                    <dt>{ text(Text::LastClose) }</dt>
                    <dd id="close_info" title={close_info(end, language)}>{ close_info(end, language) }</dd>
                </div>
            }
            <div key="received" class="strip-counts">
                <dt title={text(Text::Received)}>{ sign(Text::Received, "↓", language) }</dt>
                <dd id="received_count">{ count(traffic.received) }</dd>
            </div>
            <div key="sent">
                <dt title={text(Text::Sent)}>{ sign(Text::Sent, "↑", language) }</dt>
                <dd id="sent_count">{ count(traffic.sent) }</dd>
            </div>
            <div key="rate">
                <dt>
                    <svg width={CURVE.0.to_string()} height={CURVE.1.to_string()} aria-hidden="true">
                        <polyline points={curve} fill="none" stroke="currentColor" stroke-width="1.5" />
                    </svg>
                    <span class="visually-hidden">{ text(Text::Rate) }</span>
                </dt>
                <dd id="message_rate"><b>{ format::thousands(traffic.rate()) }</b>{ " " }{ text(Text::PerSecond) }</dd>
            </div>
            { entry("buffered_amount", text(Text::Buffered), format::size(state.buffered.into()).into()) }
            <div key="round_trip" title={text(Text::RoundTripHint)}>
                <dt>{ "RTT" }</dt>
                <dd id="round_trip">
                    if let Some(trips) = round_trips {
                        { "p50 " }<b>{ format::thousands(trips.p50.into()) }</b>{ " p95 " }<b>{ format::thousands(trips.p95.into()) }</b>{ " ms" }
                    } else {
                        { "–" }
                    }
                </dd>
            </div>
        </dl>
    }
}

fn entry(id: &'static str, label: &'static str, value: Html) -> Html {
    html! { <div key={id}><dt>{ label }</dt><dd {id}><b>{ value }</b></dd></div> }
}

/// An arrow, and what it means for a screen reader.
fn sign(label: Text, sign: &'static str, language: Language) -> Html {
    html! {
        <>
            <span key="sign" aria-hidden="true">{ sign }</span>
            <span key="label" class="visually-hidden">{ label.in_language(language) }</span>
        </>
    }
}

fn count(count: Count) -> Html {
    html! { <><b key="messages">{ format::thousands(count.messages) }</b>{ " · " }{ format::size(count.bytes) }</> }
}

/// A negotiated value; a dash while no connection is open.
fn negotiated(value: Option<&String>, language: Language) -> Html {
    match value {
        None => "–".into(),
        Some(value) if value.is_empty() => Text::NoneChosen.in_language(language).into(),
        Some(value) => value.clone().into(),
    }
}

/// Code, reason and meaning of the last close.
fn close_info(end: &End, language: Language) -> String {
    match end {
        // The error has the whole sentence.
        End::NeverOpened(closed) => format!("{} {}", closed.code, close_meaning(closed.code, language)),
        end => Sentence::Closed(end.clone()).in_language(language),
    }
}

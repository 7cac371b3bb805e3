//! The strip with the state where the bar does not show it in words, what was negotiated, how the connection ended, what was received and sent, the rate, what is buffered, and the round trip.

use yew::{Html, html};

use super::{
    reducer::WorkbenchState,
    sentences,
    traffic::{CURVE, Count},
    url_bar::{elapsed, state_label},
};
use crate::{
    connection::{End, Phase},
    format,
    i18n::{Language, Text, close_meaning},
};

pub(super) fn status_strip(state: &WorkbenchState, now: f64, language: Language) -> Html {
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
    let plain = |id, label: Text, value: Html| entry(id, "", String::new(), text(label).into(), bold(value));
    // It is cut where there is no space, and the title has all of it.
    let named = |id, label: Text, value| {
        let value = negotiated(value, language);
        entry(id, "name", value.clone(), text(label).into(), bold(value.into()))
    };
    let counted = |id, part, label: Text, arrow, value| {
        entry(
            id,
            part,
            text(label).to_owned(),
            sign(label, arrow, language),
            count(value),
        )
    };
    let close = match &state.phase {
        Phase::Closed(end) | Phase::Waiting { end, .. } => {
            let close = close_info(end, language);
            entry(
                "close_info",
                "close",
                close.clone(),
                text(Text::LastClose).into(),
                close.into(),
            )
        }
        _ => Html::default(),
    };
    // Where the bar has no place for it.
    let state_in_words =
        html! { <>{ bold(text(state_label(&state.phase).1).into()) }{ " " }{ elapsed(&state.phase, now) }</> };
    let rate_label = html! {
        <>
            <svg
                key="curve" width={CURVE.0.to_string()} height={CURVE.1.to_string()} aria-hidden="true"
                viewBox={["0 0 ", &CURVE.0.to_string(), " ", &CURVE.1.to_string()].concat()} preserveAspectRatio="none"
            >
                <polyline points={curve} fill="none" stroke="currentColor" stroke-width="1.5" />
            </svg>
            <span key="label" class="visually-hidden">{ text(Text::Rate) }</span>
        </>
    };
    let rate = bold(format::thousands(traffic.rate()).into());
    let rate = html! { <>{ rate }{ " " }{ text(Text::PerSecond) }</> };
    let trips = round_trips.map_or_else(
        || "–".into(),
        |trips| {
            let [p50, p95] = [trips.p50, trips.p95].map(|ms| bold(format::thousands(ms.into()).into()));
            html! { <>{ "p50 " }{ p50 }{ " p95 " }{ p95 }{ " ms" }</> }
        },
    );
    html! {
        <dl key="status" id="status_strip" class="strip">
            { entry("state_in_words", "state", String::new(), text(Text::Connection).into(), state_in_words) }
            { named("negotiated_protocol", Text::Protocol, protocol) }
            { named("negotiated_extensions", Text::Extensions, extensions) }
            { close }
            { counted("received_count", "counts", Text::Received, "↓", traffic.received) }
            { counted("sent_count", "", Text::Sent, "↑", traffic.sent) }
            { entry("message_rate", "", String::new(), rate_label, rate) }
            { plain("buffered_amount", Text::Buffered, format::size(state.buffered.into()).into()) }
            { entry("round_trip", "", text(Text::RoundTripHint).to_owned(), "RTT".into(), trips) }
        </dl>
    }
}

/// A label and its value; `part` is for the style sheet.
fn entry(id: &'static str, part: &'static str, title: String, label: Html, value: Html) -> Html {
    html! { <div key={id} data-part={part} {title}><dt>{ label }</dt><dd {id}>{ value }</dd></div> }
}

fn bold(value: Html) -> Html {
    html! { <b>{ value }</b> }
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
    let messages = bold(format::thousands(count.messages).into());
    html! { <>{ messages }{ " · " }{ format::size(count.bytes) }</> }
}

/// A negotiated value; a dash while no connection is open.
fn negotiated(value: Option<&String>, language: Language) -> String {
    match value {
        None => "–".into(),
        Some(value) if value.is_empty() => Text::NoneChosen.in_language(language).into(),
        Some(value) => value.clone(),
    }
}

/// Code, reason and meaning of the last close.
fn close_info(end: &End, language: Language) -> String {
    match end {
        // The error has the whole sentence.
        End::NeverOpened(closed) => format!("{} {}", closed.code, close_meaning(closed.code).in_language(language)),
        end => sentences::closed(end, &[]).in_language(language),
    }
}

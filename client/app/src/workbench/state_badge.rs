//! The badge with the state of the workbench's connection and the time it takes to open or close.

use yew::{Html, html};

use crate::{
    connection::{CLOSE_HINT_MS, CONNECT_HINT_MS, Phase},
    format,
    i18n::{Language, Text},
};

/// Only the state is in a status region: a screen reader would read every change of the elapsed time.
pub(crate) fn state_badge(id: &'static str, phase: &Phase, now: f64, language: Language) -> Html {
    let label = if *phase == Phase::Idle {
        Text::StateIdle
    } else {
        Text::of_state(phase.ready_state())
    };
    let waited = phase
        .waiting_since()
        .map(|since| format::duration(now - since, language));
    html! {
        <span class="state">
            <span class="elapsed">{ waited }</span>
            <span {id} class="badge" role="status" data-state={phase.ready_state().to_string()}>
                { label.in_language(language) }
            </span>
        </span>
    }
}

/// The hint when opening or closing takes long, with its element's `id`.
pub(crate) fn waiting_hint(phase: &Phase, now: f64) -> Option<(&'static str, Text)> {
    let (limit, text) = match phase {
        Phase::Connecting { .. } => (CONNECT_HINT_MS, Text::StillConnecting),
        _ => (CLOSE_HINT_MS, Text::StillClosing),
    };
    (now - phase.waiting_since()? >= limit).then_some(("waiting_hint", text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hint_of_a_slow_connect_is_shown_after_five_seconds() {
        let phase = Phase::Connecting { since: 1_000.0 };
        assert_eq!(waiting_hint(&phase, 5_999.0), None);
        assert_eq!(waiting_hint(&phase, 6_000.0).unwrap().1, Text::StillConnecting);
        assert_eq!(waiting_hint(&Phase::Idle, 9e9), None);
    }

    #[test]
    fn the_hint_of_a_slow_close_is_shown_after_one_second() {
        let phase = Phase::Closing {
            opened: 0.0,
            since: 1_000.0,
            sent: None,
        };
        assert_eq!(waiting_hint(&phase, 1_500.0), None);
        assert_eq!(waiting_hint(&phase, 2_000.0).unwrap().1, Text::StillClosing);
    }
}

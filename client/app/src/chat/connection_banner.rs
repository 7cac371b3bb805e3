//! What is said above the conversation while there is no connection.

use yew::{Callback, Html, html};

use super::reducer::{Action, ChatState, Link, Membership};
use crate::{
    form::{Button, Look},
    i18n::{Language, Sentence, Text},
};

/// It is no live region: the state beside the room's name is one, and a screen reader would read every second of the countdown.
pub(super) fn connection_banner(state: &ChatState, dispatch: &Callback<Action>, now: f64, language: Language) -> Html {
    let Some((message, can_hurry)) = trouble(state, now) else {
        return Html::default();
    };
    let button = Button {
        id: "reconnect_now",
        label: Text::ReconnectNow.in_language(language),
        look: Look::Small,
        disabled: false,
    };
    html! {
        <div key="offline_banner" id="offline_banner" class="banner">
            <p>{ message.in_language(language) }</p>
            if can_hurry {
                { button.on_click(dispatch.reform(|_| Action::ConnectNow)) }
            }
        </div>
    }
}

/// What is wrong with the connection, and whether trying at once may help.
fn trouble(state: &ChatState, now: f64) -> Option<(Sentence, bool)> {
    match (state.membership, &state.link) {
        (Membership::Out, _) | (_, Link::Open | Link::Asleep | Link::Stopped(_)) => None,
        // The first connect is no trouble yet.
        (Membership::Entering, Link::Connecting) => None,
        (Membership::In, Link::Connecting) => Some((Sentence::Reconnecting, false)),
        (_, Link::Waiting { until }) => Some((Sentence::RetryIn(seconds(until - now)), true)),
        (_, Link::Offline) => Some((Sentence::Offline, true)),
    }
}

/// Rounded up, so that 0 is not shown for a whole second.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "negative becomes 0, and attempts come within minutes"
)]
fn seconds(ms: f64) -> u64 {
    (ms / 1_000.0).ceil() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(membership: Membership, link: Link) -> ChatState {
        let mut state = ChatState::new("Ann".into(), |_| 0);
        (state.membership, state.link) = (membership, link);
        state
    }

    #[test]
    fn the_countdown_is_rounded_up_and_ends_at_zero() {
        for (now, shown) in [(0.0, 3), (1.0, 3), (501.0, 2), (2_500.0, 0), (9_999.0, 0)] {
            let state = state(Membership::In, Link::Waiting { until: 2_500.0 });
            assert_eq!(trouble(&state, now), Some((Sentence::RetryIn(shown), true)), "{now}");
        }
    }

    #[test]
    fn nothing_is_said_before_joining_while_connected_or_at_the_first_connect() {
        for (membership, link) in [
            (Membership::Out, Link::Offline),
            (Membership::In, Link::Open),
            (Membership::Entering, Link::Connecting),
        ] {
            assert_eq!(trouble(&state(membership, link), 0.0), None);
        }
        let again = state(Membership::In, Link::Connecting);
        assert_eq!(trouble(&again, 0.0), Some((Sentence::Reconnecting, false)));
        let never = state(Membership::Entering, Link::Offline);
        assert_eq!(trouble(&never, 0.0), Some((Sentence::Offline, true)));
    }
}

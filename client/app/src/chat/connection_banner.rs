//! The banner above the message list while there is no connection: the countdown to the next attempt, and the button to
//! try now.

use yew::{Callback, Html, html};

use super::reducer::{Action, ChatState, ConnectionStatus, Membership};
use crate::{
    form::{Button, Look},
    i18n::{Language, Sentence, Text},
};

/// Not a live region, because a screen reader would read every second of the countdown; the badge beside the room's
/// name is one.
pub(super) fn connection_banner(state: &ChatState, dispatch: &Callback<Action>, now: f64, language: Language) -> Html {
    let Some((message, can_connect_now)) = outage(state, now) else {
        return if state.is_slow(now) {
            slow(dispatch, language)
        } else {
            Html::default()
        };
    };
    let button = Button {
        id: "reconnect_now",
        label: Text::ReconnectNow.in_language(language),
        look: Look::Small,
    };
    html! {
        <div key="offline_banner" id="offline_banner" class="banner">
            <p>{ message.in_language(language) }</p>
            if can_connect_now {
                { button.on_click(dispatch.reform(|_| Action::ConnectNow)) }
            }
        </div>
    }
}

/// There is a connection that may be slow or dead. It does not count down, so it is a live region.
fn slow(dispatch: &Callback<Action>, language: Language) -> Html {
    let check = Button {
        id: "check_now",
        label: Text::CheckNow.in_language(language),
        look: Look::Small,
    };
    html! {
        <div key="slow_banner" id="slow_banner" class="banner" role="status">
            <p>{ Text::SlowConnection.in_language(language) }</p>
            { check.on_click(dispatch.reform(|_| Action::CheckNow)) }
        </div>
    }
}

/// The sentence about the connection, and whether connecting at once may help.
fn outage(state: &ChatState, now: f64) -> Option<(Sentence, bool)> {
    let is_joined = matches!(state.membership, Membership::In { .. });
    match state.membership.connection()? {
        ConnectionStatus::Open | ConnectionStatus::Asleep | ConnectionStatus::Stopped => None,
        // The first attempt to connect.
        ConnectionStatus::Connecting => is_joined.then_some((Text::Reconnecting.into(), false)),
        ConnectionStatus::Waiting { until, attempt } => {
            let message = Text::RetryIn.with([attempt.into(), seconds(until - now).into()]);
            Some((message, true))
        }
        ConnectionStatus::Offline => Some((Text::Offline.into(), true)),
    }
}

/// Rounded up, so that 0 does not show for a whole second.
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

    fn state(membership: Membership) -> ChatState {
        let mut state = ChatState::new("Ann".into(), |_| 0, |text| text.to_lowercase());
        state.membership = membership;
        state
    }

    fn joined(connection: ConnectionStatus) -> Membership {
        Membership::In {
            connection,
            joined_notice_after: None,
        }
    }

    #[test]
    fn the_countdown_is_rounded_up_and_ends_at_zero() {
        for (now, shown) in [(0.0, 3), (1.0, 3), (501.0, 2), (2_500.0, 0), (9_999.0, 0)] {
            let state = state(joined(ConnectionStatus::Waiting {
                until: 2_500.0,
                attempt: 4,
            }));
            assert_eq!(
                outage(&state, now),
                Some((Text::RetryIn.with([4_u32.into(), u64::into(shown)]), true)),
                "{now}"
            );
        }
    }

    #[test]
    fn there_is_no_banner_before_joining_while_connected_or_at_the_first_attempt() {
        for membership in [
            Membership::Out,
            joined(ConnectionStatus::Open),
            Membership::Joining(ConnectionStatus::Connecting),
        ] {
            assert_eq!(outage(&state(membership), 0.0), None);
        }
        let again = state(joined(ConnectionStatus::Connecting));
        assert_eq!(outage(&again, 0.0), Some((Text::Reconnecting.into(), false)));
        let never = state(Membership::Joining(ConnectionStatus::Offline));
        assert_eq!(outage(&never, 0.0), Some((Text::Offline.into(), true)));
    }
}

//! The card with the room, the user name, and the buttons to join, leave and go to another room.

use web_sys::SubmitEvent;
use yew::{Callback, Html, html};

use super::reducer::{Action, ChatState, ConnectionStatus, Field, Membership};
use crate::{
    form::{Button, Look, TextField, error_line},
    i18n::{Language, Text},
};

pub(super) fn room_card(state: &ChatState, dispatch: &Callback<Action>, language: Language) -> Html {
    let text = |text: Text| text.in_language(language);
    let field = |id: &'static str, label: Text, value, field: Field| TextField {
        invalid: state.error.as_ref().is_some_and(|error| error.is_of(&field)),
        ..TextField::new(id, label, value, dispatch.reform(move |text| Action::Edit(field, text)))
    };
    let submit = |action: fn() -> Action| {
        dispatch.reform(move |event: SubmitEvent| {
            event.prevent_default();
            action()
        })
    };
    let name = TextField {
        disabled: !state.is_out(),
        ..field("chat_name", Text::Name, &state.name, Field::Name)
    };
    let other_room = TextField {
        code: true,
        ..field("chat_other_room", Text::OtherRoom, &state.other_room, Field::Room)
    };
    let error = state
        .error
        .as_ref()
        .filter(|error| !error.is_of(&Field::Message))
        .map(|error| &error.message);
    let button = |id, label, look, disabled| Button {
        id,
        label: text(label),
        look,
        disabled,
    };
    // Only one of them is useful at a time, so they share one place.
    let join_or_leave = if state.is_out() {
        button("chat_join", Text::Join, Look::Primary, state.room.is_none()).submit()
    } else {
        button("chat_leave", Text::Leave, Look::Plain, false).on_click(dispatch.reform(|_| Action::Leave))
    };
    html! {
        <div class="card room" data-joined={(!state.is_out()).then_some("")}>
            <div class="card-head">
                <h2>
                    <span class="quiet">{ text(Text::Room) }{ " " }</span>
                    <span id="chat_room">{ state.room_text() }</span>
                </h2>
                { badge(state, language) }
            </div>
            <div class="room-forms">
                <form class="inline" onsubmit={submit(|| Action::Join)}>
                    { name.draw(language) }
                    { join_or_leave }
                </form>
                <form class="inline elsewhere" onsubmit={submit(|| Action::GoToRoom)}>
                    { other_room.draw(language) }
                    { button("chat_go", Text::Go, Look::Plain, false).submit() }
                </form>
            </div>
            { error_line(error, None, language) }
        </div>
    }
}

/// The state of membership and connection in a word.
fn badge(state: &ChatState, language: Language) -> Html {
    let is_joined = matches!(state.membership, Membership::In { .. });
    let (name, label) = match (state.membership.connection(), is_joined) {
        (None, _) => ("CLOSED", Text::StateOut),
        (Some(ConnectionStatus::Open), true) => ("OPEN", Text::StateIn),
        (Some(ConnectionStatus::Waiting { .. }), _) => ("WAITING", Text::StateWaiting),
        (Some(ConnectionStatus::Offline | ConnectionStatus::Asleep), _) => ("SUSPENDED", Text::StateOffline),
        (Some(ConnectionStatus::Connecting | ConnectionStatus::Stopped), true) => ("CONNECTING", Text::StateWaiting),
        (Some(_), false) => ("CONNECTING", Text::StateConnecting),
    };
    html! {
        <span class="state">
            <span id="chat_state" class="badge" role="status" data-state={name}>{ label.in_language(language) }</span>
        </span>
    }
}

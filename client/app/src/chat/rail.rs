//! The column at the left: the rooms that the user has opened, the form for another one, and the user with the state of
//! the connection. On a narrow page it is a sheet.

use talkback_client::RoomName;
use web_sys::{Event, MouseEvent};
use yew::{Callback, Html, html};

use super::{
    icon,
    person::avatar,
    recent_rooms::RecentRoom,
    reducer::{Action, ChatState, ConnectionStatus, Field, Membership, Sheet},
};
use crate::{
    browser,
    form::{Button, Look, OneFieldForm, TextField},
    format,
    i18n::{Language, Text},
    route::chat_path,
};

/// The `id` of the field for the name of another room.
pub(super) const OTHER_ROOM_ID: &str = "chat_other_room";

/// The `id` of the button that shows the form for another room, or hides it.
pub(super) const ADD_ROOM_ID: &str = "chat_add_room";

pub(super) fn rail(state: &ChatState, dispatch: &Callback<Action>, language: Language) -> Html {
    let text = |text: Text| text.in_language(language);
    let is_open = state.sheet == Some(Sheet::Rooms);
    let add = text(Text::AddRoom);
    html! {
        <div key="rail" class="rail" data-open={is_open.then_some("")}>
            <div key="head" class="pane-head">
                <h2 id="rooms">{ text(Text::Rooms) }</h2>
                <button
                    id={ADD_ROOM_ID} type="button" class="icon-button" aria-label={add} title={add}
                    aria-expanded={if state.adds_room { "true" } else { "false" }}
                    onclick={dispatch.reform(|_| Action::ToggleRoomForm)}
                >
                    { icon::plus() }
                </button>
            </div>
            if state.adds_room {
                { room_form(state, dispatch, language) }
            }
            <nav key="rooms" class="rooms" aria-labelledby="rooms">
                <ul id="room_list">
                    { for state.recent.iter().map(|room| room_item(state, room, dispatch, language)) }
                </ul>
            </nav>
            { switch("chat_alerts", text(Text::Alerts), state.alerts, dispatch.reform(|_| Action::ToggleAlerts)) }
            { switch("chat_sounds", text(Text::Sounds), state.sounds, dispatch.reform(|_| Action::ToggleSounds)) }
            { me(state, dispatch, language) }
        </div>
    }
}

fn switch(id: &'static str, label: &'static str, checked: bool, onchange: Callback<Event>) -> Html {
    html! {
        <label key={id} class="switch alerts"><input {id} type="checkbox" {checked} {onchange} />{ label }</label>
    }
}

fn room_item(state: &ChatState, room: &RecentRoom, dispatch: &Callback<Action>, language: Language) -> Html {
    let RecentRoom { name, is_muted } = room;
    let is_current = state.room.as_ref() == Some(name);
    let (count, mentions) = state.unread_of(name);
    let in_digits = |count: usize| format::thousands(count as u64);
    let label = |text: Text| format!("{}: {name}", text.in_language(language));
    let (mute, icon) = if *is_muted {
        (Text::Unmute, icon::bell())
    } else {
        (Text::Mute, icon::bell_off())
    };
    let action = |action: fn(RoomName) -> Action| {
        let name = name.clone();
        dispatch.reform(move |_| action(name.clone()))
    };
    html! {
        <li key={name.to_string()} data-muted={is_muted.then_some("")} data-unread={(count > 0).then_some("")}>
            <a href={chat_path(name)} aria-current={is_current.then_some("page")} onclick={open(dispatch, name)}>
                <span key="sign" aria-hidden="true">{ "#" }</span>
                <span key="name" class="name" dir="auto">{ name.to_string() }</span>
                if mentions > 0 {
                    <span key="mentions" class="unread-count mentions" title={Text::Mentions.in_language(language)}>
                        { "@" }{ in_digits(mentions) }
                    </span>
                }
                if count > 0 {
                    <span key="unread" class="unread-count">
                        { in_digits(count) }<span class="visually-hidden">{ Text::UnreadMessages.in_language(language) }</span>
                    </span>
                }
            </a>
            <span key="actions" class="room-actions">
            <button
                key="mute" type="button" class="icon-button mute" title={mute.in_language(language)}
                aria-label={label(mute)} onclick={action(Action::ToggleMute)}
            >
                { icon }
            </button>
            if !is_current {
                <button
                    key="forget" type="button" class="icon-button forget" title={Text::ForgetRoom.in_language(language)}
                    aria-label={label(Text::ForgetRoom)} onclick={action(Action::ForgetRoom)}
                >
                    { icon::cross() }
                </button>
            }
            </span>
            if *is_muted {
                <span key="muted" class="muted">{ icon::bell_off() }</span>
            }
        </li>
    }
}

fn room_form(state: &ChatState, dispatch: &Callback<Action>, language: Language) -> Html {
    let is_of_form = |field: Option<&Field>| field == Some(&Field::OtherRoom);
    let error = state.error.as_ref().filter(|error| is_of_form(error.field.as_ref()));
    let field = TextField {
        code: true,
        invalid: error.is_some(),
        ..TextField::new(
            OTHER_ROOM_ID,
            Text::OtherRoom,
            &state.other_room,
            dispatch.reform(|text| Action::Edit(Field::OtherRoom, text)),
        )
    };
    OneFieldForm {
        class: "room-form",
        above: Html::default(),
        field,
        button: ("chat_go", Text::Go),
        error: error.map(|error| &error.message),
        onsubmit: dispatch.reform(|()| Action::GoToRoom),
    }
    .draw(language)
}

/// The user, the state of the connection in a word, and the way out.
fn me(state: &ChatState, dispatch: &Callback<Action>, language: Language) -> Html {
    let leave = Button {
        id: "chat_leave",
        label: Text::Leave.in_language(language),
        look: Look::Plain,
    };
    let (name, label) = connection(state);
    html! {
        <div key="me" class="me">
            { avatar(state.own_name()) }
            <div key="who" class="who">
                <p id="chat_me" class="name" dir="auto">{ state.own_name().to_owned() }</p>
                <p id="chat_state" class="presence" role="status" data-state={name}>{ label.in_language(language) }</p>
            </div>
            if !state.is_out() {
                { leave.on_click(dispatch.reform(|_| Action::Leave)) }
            }
        </div>
    }
}

/// The state of membership and connection: its name for style sheets, and in a word.
pub(super) fn connection(state: &ChatState) -> (&'static str, Text) {
    let is_joined = matches!(state.membership, Membership::In { .. });
    match (state.membership.connection(), is_joined) {
        (None, _) => ("CLOSED", Text::StateOut),
        (Some(ConnectionStatus::Open), true) => ("OPEN", Text::StateIn),
        (Some(ConnectionStatus::Waiting { .. }), _) => ("WAITING", Text::StateWaiting),
        (Some(ConnectionStatus::Offline | ConnectionStatus::Asleep), _) => ("SUSPENDED", Text::StateOffline),
        (Some(ConnectionStatus::Connecting | ConnectionStatus::Stopped), true) => ("CONNECTING", Text::StateWaiting),
        (Some(_), false) => ("CONNECTING", Text::StateConnecting),
    }
}

/// A plain click stays in the page; with a modifier key the browser opens a tab or window as for any link.
fn open(dispatch: &Callback<Action>, room: &RoomName) -> Callback<MouseEvent> {
    let (dispatch, room) = (dispatch.clone(), room.clone());
    Callback::from(move |event: MouseEvent| {
        if browser::is_plain_click(&event) {
            event.prevent_default();
            dispatch.emit(Action::OpenRoom(room.clone()));
        }
    })
}

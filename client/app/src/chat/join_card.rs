//! The card in the conversation of a room that the user is not in, and what stands there when the path names no room.

use web_sys::MouseEvent;
use yew::{Callback, Html, html};

use super::reducer::{Action, ChatState, Field};
use crate::{
    form::{Button, Look, OneFieldForm, TextField, error_line},
    i18n::{Language, Sentence, Text},
    route::{Route, chat_path},
};

/// The `id` of the field for the user's name.
pub(super) const NAME_ID: &str = "chat_name";

pub(super) fn join_card(state: &ChatState, dispatch: &Callback<Action>, language: Language) -> Html {
    let is_own = |field: Option<&Field>| !matches!(field, Some(Field::Message | Field::OtherRoom));
    let error = state.error.as_ref().filter(|error| is_own(error.field.as_ref()));
    let Some(room) = &state.room else {
        return no_room(error.map(|error| &error.message), dispatch, language);
    };
    let name = TextField {
        invalid: error.is_some_and(|error| error.is_of(&Field::Name)),
        ..TextField::new(
            NAME_ID,
            Text::Name,
            &state.name,
            dispatch.reform(|text| Action::Edit(Field::Name, text)),
        )
    };
    OneFieldForm {
        class: "join-card",
        above: html! {
            <>
                <h3 dir="auto">{ Text::JoinRoom.with([room.to_string().into()]).in_language(language) }</h3>
                <p class="quiet">{ Text::ChatNotJoined.in_language(language) }</p>
            </>
        },
        field: name,
        button: ("chat_join", Text::Join),
        error: error.map(|error| &error.message),
        onsubmit: dispatch.reform(|()| Action::Join),
    }
    .draw(language)
}

/// The path has a name that no room can have.
fn no_room(error: Option<&Sentence>, dispatch: &Callback<Action>, language: Language) -> Html {
    let lobby = Route::lobby();
    let open = dispatch.clone();
    let href = chat_path(&lobby);
    let onclick = move |event: MouseEvent| {
        event.prevent_default();
        open.emit(Action::OpenRoom(lobby.clone()));
    };
    let other = Button {
        id: "chat_choose_room",
        label: Text::AddRoom.in_language(language),
        look: Look::Plain,
    };
    html! {
        <div key="no_room" class="join-card">
            <h3>{ Text::NoSuchRoom.in_language(language) }</h3>
            { error_line(error, None, language) }
            <div class="row-buttons">
                <a id="chat_lobby" class="button" {href} {onclick}>{ Text::GoToLobby.in_language(language) }</a>
                { other.on_click(dispatch.reform(|_| Action::ToggleRoomForm)) }
            </div>
        </div>
    }
}

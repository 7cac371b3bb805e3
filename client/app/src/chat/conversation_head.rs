//! The line above the conversation: the room, how many are in it, and on narrow pages the buttons of the sheets.

use yew::{Callback, Html, html};

use super::{
    icon,
    rail::connection,
    reducer::{Action, ChatState, Sheet},
};
use crate::{
    format,
    i18n::{Language, Sentence, Text},
};

/// The `id`s of the buttons that open the sheets and the search.
pub(super) const ROOMS_ID: &str = "chat_rooms";
pub(super) const OPENER_ID: &str = "chat_search_button";
pub(super) const PEOPLE_ID: &str = "chat_people";

pub(super) fn conversation_head(state: &ChatState, dispatch: &Callback<Action>, language: Language) -> Html {
    let text = |text: Text| text.in_language(language);
    let expanded = |sheet| if state.sheet == Some(sheet) { "true" } else { "false" };
    let toggle = |sheet| dispatch.reform(move |_| Action::ToggleSheet(sheet));
    let here = if state.is_out() {
        String::new()
    } else {
        Text::Here
            .with([Sentence::thousands(state.roster.users() as u64)])
            .in_language(language)
    };
    html! {
        <div key="head" class="conversation-head">
            <button
                key={ROOMS_ID} id={ROOMS_ID} type="button" class="icon-button" aria-label={text(Text::Rooms)}
                data-state={connection(state).0} aria-expanded={expanded(Sheet::Rooms)} onclick={toggle(Sheet::Rooms)}
            >
                { icon::menu() }
            </button>
            <h2 key="room">
                if let Some(room) = &state.room {
                    <span class="quiet" aria-hidden="true">{ "# " }</span>
                    <span id="chat_room" dir="auto">{ room.to_string() }</span>
                } else {
                    { text(Text::Room) }
                }
            </h2>
            <p key="here" class="here">{ here }</p>
            <span key="spring" class="spring" />
            <button
                key={OPENER_ID} id={OPENER_ID} type="button" aria-label={text(Text::Search)}
                aria-expanded={if state.search.is_some() { "true" } else { "false" }}
                onclick={dispatch.reform(|_| Action::ToggleSearch)}
            >
                { icon::search() }<span class="wide">{ text(Text::Search) }</span>
            </button>
            <button
                key={PEOPLE_ID} id={PEOPLE_ID} type="button" aria-expanded={expanded(Sheet::People)}
                onclick={toggle(Sheet::People)}
            >
                { icon::people() }<span class="visually-hidden">{ text(Text::People) }{ " " }</span>
                if !state.is_out() {
                    { format::thousands(state.roster.users() as u64) }
                }
            </button>
        </div>
    }
}

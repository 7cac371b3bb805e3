//! The column at the right: the users in the room, and a field to find one. On narrower pages it is a sheet.

use web_sys::InputEvent;
use yew::{Callback, Html, html};

use super::{
    person::avatar,
    reducer::{Action, ChatState, Field, Sheet},
};
use crate::{
    browser,
    form::text_of,
    format,
    i18n::{Language, Sentence, Text},
};

/// The `id` of the field to find a user.
pub(super) const FIND_ID: &str = "chat_find_person";

/// At most so many users are drawn; a search finds the others whom the server has named.
const MAX_DRAWN: usize = 500;

pub(super) fn people(state: &ChatState, dispatch: &Callback<Action>, language: Language) -> Html {
    let roster = &state.roster;
    let names = roster.names().unwrap_or_default();
    let found = match roster.names() {
        Some(_) => roster.find(&state.person, browser::lower_case),
        None => state.found.find(state.person.trim(), browser::lower_case),
    };
    let (me, mut others): (Vec<_>, Vec<_>) = found.into_iter().partition(|name| ***name == *state.joined_as);
    let unknown = roster.users() - names.len();
    let undrawn = unknown + others.len().saturating_sub(MAX_DRAWN);
    others.truncate(MAX_DRAWN);
    let rest = if !names.is_empty() && unknown == 0 && me.is_empty() && others.is_empty() {
        Some(Text::NobodyFound.in_language(language).to_owned())
    } else {
        let undrawn = match (roster.names(), undrawn) {
            (None, _) => not_found(state, me.len() + others.len()),
            (Some(_), 0) => None,
            (Some(_), more) => Some(Text::MoreUsers.with([Sentence::thousands(more as u64)])),
        };
        undrawn.map(|sentence| sentence.in_language(language))
    };
    let find = Text::FindPerson.in_language(language);
    let is_open = state.sheet == Some(Sheet::People);
    html! {
        <section
            key="people" class="people" data-stale={(!state.is_live()).then_some("")}
            data-open={is_open.then_some("")} aria-labelledby="people"
        >
            <div key="head" class="pane-head">
                <h2 id="people">{ Text::People.in_language(language) }</h2>
                if !state.is_out() {
                    <span class="count">{ format::thousands(roster.users() as u64) }</span>
                }
            </div>
            <input
                key={FIND_ID} id={FIND_ID} type="search" dir="auto" aria-label={find} placeholder={find}
                autocomplete="off" spellcheck="false"
                disabled={roster.names().is_none() && state.found.is_refused} value={state.person.clone()}
                oninput={dispatch.reform(|event: InputEvent| Action::Edit(Field::Person, text_of(&event)))}
            />
            <ul key="roster" id="roster">
                { for me.iter().chain(&others).map(|name| html! {
                    <li key={name.to_string()}>
                        { avatar(name) }
                        <span key="name" class="name" dir="auto">{ name.to_string() }</span>
                        if ***name == *state.joined_as {
                            <span key="you" class="you">{ Text::You.in_language(language) }</span>
                        }
                    </li>
                }) }
            </ul>
            if let Some(rest) = rest {
                <p key="rest" class="quiet">{ rest }</p>
            }
        </section>
    }
}

/// What is said below the users that the server has found, where there are too many to list.
fn not_found(state: &ChatState, shown: usize) -> Option<Sentence> {
    let users = state.roster.users();
    let is_any = state.person.trim().is_empty();
    match state.found.has_more(state.person.trim(), browser::lower_case) {
        None => Some(Sentence::counted(users, Text::OneUser, Text::Users)),
        Some(_) if is_any => {
            (users > shown).then(|| Text::MoreUsers.with([Sentence::thousands((users - shown) as u64)]))
        }
        Some(true) => Some(Text::MoreFound.into()),
        Some(false) if shown == 0 => Some(Text::NobodyFound.into()),
        Some(false) => None,
    }
}

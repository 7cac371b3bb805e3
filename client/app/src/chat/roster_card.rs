//! The card with the users in the room.

use yew::{Html, html};

use super::reducer::ChatState;
use crate::i18n::{Language, Sentence, Text};

pub(super) fn roster_card(state: &ChatState, language: Language) -> Html {
    let roster = &state.roster;
    let names = roster.names().unwrap_or_default();
    let (me, others): (Vec<_>, Vec<_>) = names.iter().partition(|name| ***name == *state.joined_as);
    let not_listed = match (roster.names(), roster.users() - names.len()) {
        (None, users) => Some(Sentence::Users(users)),
        (Some(_), 0) => None,
        (Some(_), more) => Some(Sentence::MoreUsers(more)),
    };
    html! {
        <section class="card people" data-stale={(!state.is_live()).then_some("")} aria-labelledby="people">
            <h2 id="people">
                { Text::People.in_language(language) }{ " " }<span class="quiet">{ roster.users() }</span>
            </h2>
            <ul id="roster">
                { for me.iter().map(|name| html! {
                    <li key={name.to_string()}>
                        <span class="name">{ name.to_string() }</span>{ " " }
                        <span class="you">{ Text::You.in_language(language) }</span>
                    </li>
                }) }
                { for others.iter().map(|name| html! {
                    <li key={name.to_string()}><span class="name">{ name.to_string() }</span></li>
                }) }
            </ul>
            if let Some(sentence) = not_listed {
                <p class="quiet">{ sentence.in_language(language) }</p>
            }
        </section>
    }
}

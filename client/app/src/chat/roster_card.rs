//! Who is in the room.

use yew::{Html, html};

use super::{reducer::ChatState, roster::Roster};
use crate::i18n::{Language, Sentence, Text};

pub(super) fn roster_card(state: &ChatState, language: Language) -> Html {
    let roster = &state.roster;
    let (me, others): (Vec<_>, Vec<_>) = roster.names().partition(|name| ***name == *state.joined_as);
    let more = unlisted(roster);
    html! {
        <section class="card people" data-stale={(!state.is_live()).then_some("")} aria-labelledby="people">
            <h2 id="people">{ Text::People.in_language(language) }{ " " }<span class="quiet">{ roster.users() }</span></h2>
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
            if roster.is_untold() {
                <p class="quiet">{ Sentence::Users(roster.users()).in_language(language) }</p>
            } else if more > 0 {
                <p class="quiet">{ Sentence::MoreUsers(more).in_language(language) }</p>
            }
        </section>
    }
}

fn unlisted(roster: &Roster) -> usize {
    roster.users() - roster.names().count()
}

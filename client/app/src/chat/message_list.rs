//! The message list, oldest first, with a line for each day and a divider before the unread messages.

use std::rc::Rc;

use yew::{Callback, Html, html};

use super::{
    message_row::{RowView, outgoing_row},
    reducer::{Action, ChatState},
    timeline::{Body, Entry, Older},
};
use crate::{
    browser,
    i18n::{Language, Text},
    rows::Row,
};

pub(super) fn message_list(state: &ChatState, dispatch: &Callback<Action>, now: f64, language: Language) -> Html {
    let mut lines = Lines {
        drawn: Vec::new(),
        divider: state.unread.divider,
        last_day: None,
        last_message: None,
        now,
        language,
    };
    state.timeline.previous().for_each(|row| lines.row(row));
    lines.drawn.push(older(state.timeline.older(), dispatch, language));
    state.timeline.current().for_each(|row| lines.row(row));
    for sent in state.outbox.shown() {
        lines
            .drawn
            .push(outgoing_row(sent, &state.joined_as, dispatch, language));
    }
    let empty = if state.is_out() {
        Some(Text::ChatNotJoined)
    } else {
        state.is_live().then_some(Text::ChatEmpty)
    };
    html! {
        <>
            if let Some(empty) = empty.filter(|_| state.timeline.is_empty()) {
                <p class="empty">{ empty.in_language(language) }</p>
            }
            <ol id="chat_messages">{ for lines.drawn }</ol>
        </>
    }
}

/// The drawn rows, with the lines between them.
struct Lines {
    drawn: Vec<Html>,
    /// The number of the first unread row.
    divider: Option<u64>,
    last_day: Option<i64>,
    /// The row above, if it is a message.
    last_message: Option<Rc<Row<Entry>>>,
    now: f64,
    language: Language,
}

impl Lines {
    fn row(&mut self, row: &Rc<Row<Entry>>) {
        let language = self.language;
        if self.last_day.replace(row.content.day) != Some(row.content.day) {
            let label = match browser::local_day(self.now) - row.content.day {
                0 => Text::Today.in_language(language).to_owned(),
                1 => Text::Yesterday.in_language(language).to_owned(),
                _ => browser::date_in_words(row.at, language),
            };
            self.last_message = None;
            self.drawn.push(html! {
                <li key={format!("d{}", row.number)} class="line day"><span>{ label }</span></li>
            });
        }
        if self.divider == Some(row.number) {
            self.last_message = None;
            let label = Text::UnreadBelow.in_language(language);
            self.drawn
                .push(html! { <li key="unread" id="unread" class="line unread"><span>{ label }</span></li> });
        }
        let grouped = self
            .last_message
            .as_ref()
            .is_some_and(|above| row.is_grouped_with(above));
        self.drawn
            .push(html! { <RowView key={row.number} row={row.clone()} {grouped} {language} /> });
        self.last_message = matches!(row.content.body, Body::Message(_)).then(|| row.clone());
    }
}

/// What precedes the oldest message. Scrolling near it requests older messages; the button is for the keyboard and for
/// retries.
fn older(older: Older, dispatch: &Callback<Action>, language: Language) -> Html {
    let words = |text: Text| html! { <span class="quiet">{ text.in_language(language) }</span> };
    let button = |text: Text| {
        html! {
            <button id="load_older" type="button" data-look="small" onclick={dispatch.reform(|_| Action::LoadOlder)}>
                { text.in_language(language) }
            </button>
        }
    };
    let (name, content) = match older {
        Older::Unknown => ("unknown", Html::default()),
        Older::More => ("more", button(Text::LoadOlder)),
        Older::Loading => ("loading", words(Text::LoadingOlder)),
        Older::Failed => ("failed", button(Text::OlderFailed)),
        Older::Beginning => ("beginning", words(Text::Beginning)),
        Older::NotKept => ("not-kept", words(Text::NotKept)),
        Older::Full => ("full", words(Text::PageFull)),
    };
    html! { <li key="older" id="older" class="older" data-state={name}>{ content }</li> }
}

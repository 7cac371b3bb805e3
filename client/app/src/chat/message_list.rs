//! The message list, oldest first, with a line for each day and a divider before the unread messages.

use std::rc::Rc;

use yew::{Callback, Html, html};

use super::{
    message_row::{Place, RowView, outgoing_row},
    reducer::{Action, ChatState},
    sentences,
    timeline::{Body, Entry, Older},
};
use crate::{
    browser,
    i18n::{Language, Text},
    rows::Row,
};

pub(super) fn message_list(state: &ChatState, dispatch: &Callback<Action>, now: f64, language: Language) -> Html {
    let outgoing: Vec<_> = state.outbox.shown().collect();
    let is_bubble = |index: usize| outgoing.get(index).is_some_and(|sent| !sent.state.is_failed());
    let mut lines = Lines {
        drawn: Vec::new(),
        divider: state.unread.divider,
        unread: state.unread.count,
        last_day: None,
        last_message: None,
        now,
        language,
    };
    lines.rows(state.timeline.previous(), false);
    lines.drawn.push(older(state.timeline.older(), dispatch, language));
    lines.rows(state.timeline.current(), is_bubble(0));
    let follows_own = lines.last_message.as_ref().is_some_and(|row| row.content.is_own());
    for (index, sent) in outgoing.iter().enumerate() {
        let place = Place {
            is_first: !is_bubble(index) || !(if index == 0 { follows_own } else { is_bubble(index - 1) }),
            is_last: !is_bubble(index + 1),
        };
        let row = outgoing_row(sent, &state.joined_as, place, dispatch, language);
        lines.drawn.push(row);
    }
    let is_empty = state.timeline.is_empty() && outgoing.is_empty() && state.is_live();
    html! {
        <>
            if is_empty {
                <p key="empty" class="empty">{ Text::ChatEmpty.in_language(language) }</p>
            }
            // The rows of another room have the same numbers.
            <ol key={format!("#{}", state.room.as_deref().unwrap_or_default())} id="chat_messages">{ for lines.drawn }</ol>
        </>
    }
}

/// The drawn rows, with the lines between them.
struct Lines {
    drawn: Vec<Html>,
    /// The number of the first unread row.
    divider: Option<u64>,
    /// How many messages are unread.
    unread: usize,
    last_day: Option<i64>,
    /// The row above, if it is a message.
    last_message: Option<Rc<Row<Entry>>>,
    now: f64,
    language: Language,
}

impl Lines {
    /// Draws rows. With `goes_on`, an own message that is not delivered yet follows them, which shows the state of the
    /// run of own messages.
    fn rows<'a>(&mut self, rows: impl Iterator<Item = &'a Rc<Row<Entry>>>, goes_on: bool) {
        let mut rows = rows.peekable();
        while let Some(row) = rows.next() {
            let is_last = match rows.peek() {
                Some(next) => !self.continues(row, next),
                None => !(goes_on && row.content.is_own()),
            };
            self.row(row, is_last);
        }
    }

    /// Whether a row is drawn in the run of the one above.
    fn continues(&self, above: &Row<Entry>, row: &Row<Entry>) -> bool {
        row.content.day == above.content.day && self.divider != Some(row.number) && row.is_grouped_with(above)
    }

    fn row(&mut self, row: &Rc<Row<Entry>>, is_last: bool) {
        let language = self.language;
        if self.last_day.replace(row.content.day) != Some(row.content.day) {
            let label = match browser::local_day(self.now) - row.content.day {
                0 => Text::Today.in_language(language).to_owned(),
                1 => Text::Yesterday.in_language(language).to_owned(),
                _ => browser::date_in_words(row.at, language),
            };
            self.drawn.push(html! {
                <li key={format!("d{}", row.number)} class="line day"><span>{ label }</span></li>
            });
        }
        if self.divider == Some(row.number) {
            let label = match self.unread {
                0 => Text::UnreadBelow.in_language(language).to_owned(),
                count => sentences::unread(count).in_language(language),
            };
            self.drawn
                .push(html! { <li key="unread" id="unread" class="line unread"><span>{ label }</span></li> });
        }
        let above = self.last_message.take();
        let place = Place {
            is_first: !above.is_some_and(|above| self.continues(&above, row)),
            is_last,
        };
        self.drawn
            .push(html! { <RowView key={row.number} row={row.clone()} {place} {language} /> });
        self.last_message = matches!(row.content.body, Body::Message(_)).then(|| row.clone());
    }
}

/// What precedes the oldest message. Scrolling near it requests older messages; the button is for the keyboard and for
/// retries.
fn older(older: Older, dispatch: &Callback<Action>, language: Language) -> Html {
    let words = |text: Text| html! { <span class="quiet">{ text.in_language(language) }</span> };
    let button = |text: Text| {
        html! {
            <button id="load_older" type="button" onclick={dispatch.reform(|_| Action::LoadOlder)}>
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

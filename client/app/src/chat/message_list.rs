//! The message list, oldest first, with a line for each day and a divider before the unread messages. It is drawn in blocks of
//! rows, a component each: rows that come are drawn without comparing and laying out all others.

use std::rc::Rc;

use yew::{Callback, Html, Properties, component, html};

use super::{
    drawn_blocks::DrawnBlocks,
    message_row::{Place, RowView, outgoing_row},
    reducer::{Action, ChatState},
    sentences,
    timeline::{Body, Entry, Newer, Older},
};
use crate::{
    browser,
    i18n::{Language, Text},
    rows::Row,
};

pub(super) fn message_list(
    state: &ChatState,
    drawn: &mut DrawnBlocks,
    dispatch: &Callback<Action>,
    now: f64,
    language: Language,
) -> Html {
    // They follow the newest messages.
    let outgoing: Vec<_> = state.outbox.shown().filter(|_| !state.timeline.is_away()).collect();
    let is_bubble = |index: usize| outgoing.get(index).is_some_and(|sent| !sent.state.is_failed());
    let rows: Vec<_> = state.timeline.previous().chain(state.timeline.current()).collect();
    let blocks: Vec<_> = rows
        .chunk_by(|row, next| row.content.block == next.content.block)
        .collect();
    let numbers: Vec<_> = blocks.iter().map(|block| block[0].content.block).collect();
    let range = drawn.advance(&numbers, state.unread.at_end);
    let previous = state.timeline.previous().count();
    let (today, divider) = (browser::local_day(now), state.unread.divider);
    let mut index: usize = blocks[..range.start].iter().map(|block| block.len()).sum();
    let mut drawn = Vec::with_capacity(range.len() + 2);
    // What precedes the rows that are drawn are others, which come with the next frames.
    let older_rows = match state.timeline.older() {
        _ if index > previous => Older::Loading { before: 0 },
        // They can be requested in the room only.
        Older::More | Older::Loading { .. } | Older::Failed if state.is_out() => Older::Unknown,
        older => older,
    };
    let mut older = Some(older(older_rows, previous > 0, dispatch, language));
    for block in &blocks[range] {
        if index >= previous {
            drawn.extend(older.take());
        }
        let above = index.checked_sub(1).map(|above| rows[above].clone());
        index += block.len();
        let (last, next) = (rows[index - 1], rows.get(index));
        let goes_on = last.content.is_own()
            && match next {
                Some(next) => index != previous && continues(last, next, divider),
                None => is_bubble(0),
            };
        let divider = divider.filter(|divider| block.iter().any(|row| row.number == *divider));
        let rows: Vec<_> = block.iter().copied().cloned().collect();
        drawn.push(html! {
            <Block
                key={block[0].content.block} {rows} {above} {goes_on} {today} {language}
                divider={divider.map(|divider| (divider, state.unread.count))}
            />
        });
    }
    drawn.extend(older);
    // All children have keys: without one, each would take the place of the one before it.
    drawn.extend(newer(state.timeline.newer(), dispatch, language).filter(|_| !state.is_out()));
    let follows_own = rows.last().is_some_and(|row| row.content.is_own());
    let sent = outgoing.iter().enumerate().map(|(index, sent)| {
        let place = Place {
            is_first: !is_bubble(index) || !(if index == 0 { follows_own } else { is_bubble(index - 1) }),
            is_last: !is_bubble(index + 1),
        };
        outgoing_row(sent, &state.joined_as, place, state.is_out(), dispatch, language)
    });
    let is_message = |row: &&Rc<Row<Entry>>| matches!(row.content.body, Body::Message(_));
    let is_empty = state.has_caught_up()
        && state.timeline.older() == Older::Beginning
        && outgoing.is_empty()
        && !rows.iter().any(is_message);
    html! {
        <>
            if is_empty {
                { empty_room(dispatch, language) }
            }
            // The rows of another room have the same numbers.
            <div key={format!("#{}", state.room.as_deref().unwrap_or_default())} id="chat_messages" role="list">
                { for drawn }
                <ol key="sent" class="rows" role="presentation">{ for sent }</ol>
            </div>
        </>
    }
}

/// What a room without messages says, and what can be done in it.
fn empty_room(dispatch: &Callback<Action>, language: Language) -> Html {
    let button = |id: &'static str, label: Text, action: fn() -> Action| {
        html! {
            <button {id} type="button" onclick={dispatch.reform(move |_| action())}>{ label.in_language(language) }</button>
        }
    };
    html! {
        <div key="empty" class="empty">
            <p>{ Text::ChatEmpty.in_language(language) }</p>
            { button("say_hello", Text::SayHello, || Action::SayHello) }
            { button("copy_room_link", Text::CopyRoomLink, || Action::CopyRoomLink) }
        </div>
    }
}

/// Whether a row is drawn in the run of the one above.
fn continues(above: &Row<Entry>, row: &Row<Entry>, divider: Option<u64>) -> bool {
    row.content.day == above.content.day && divider != Some(row.number) && row.is_grouped_with(above)
}

#[derive(PartialEq, Properties)]
struct BlockProps {
    rows: Vec<Rc<Row<Entry>>>,
    /// The row before them.
    above: Option<Rc<Row<Entry>>>,
    /// An own message follows, which shows the state of the run of own messages.
    goes_on: bool,
    /// The number of the first unread row, if it is one of them, and how many messages are unread.
    divider: Option<(u64, usize)>,
    /// On the local calendar, as a count of days.
    today: i64,
    language: Language,
}

/// Rows that are drawn together, with the lines between them.
#[component]
fn Block(props: &BlockProps) -> Html {
    let language = props.language;
    let divider = props.divider.map(|(row, _)| row);
    let mut drawn = Vec::with_capacity(props.rows.len());
    let mut above = props.above.as_ref();
    for (index, row) in props.rows.iter().enumerate() {
        let line = |key: String, id: Option<&'static str>, kind: &'static str, label: String| {
            html! { <li {key} {id} class={kind} role="listitem"><span>{ label }</span></li> }
        };
        if above.is_none_or(|above| above.content.day != row.content.day) {
            let label = match props.today - row.content.day {
                0 => Text::Today.in_language(language).to_owned(),
                1 => Text::Yesterday.in_language(language).to_owned(),
                _ => browser::date_in_words(row.at, language),
            };
            drawn.push(line(format!("d{}", row.number), None, "line day", label));
        }
        if let Some((_, count)) = props.divider.filter(|(divider, _)| *divider == row.number) {
            let label = match count {
                0 => Text::UnreadBelow.in_language(language).to_owned(),
                count => sentences::unread(count).in_language(language),
            };
            drawn.push(line("unread".into(), Some("unread"), "line unread", label));
        }
        let place = Place {
            is_first: !above.is_some_and(|above| continues(above, row, divider)),
            is_last: !match props.rows.get(index + 1) {
                Some(next) => continues(row, next, divider),
                None => props.goes_on,
            },
        };
        drawn.push(html! { <RowView key={row.number} row={row.clone()} {place} {language} /> });
        above = Some(row);
    }
    html! { <ol class="rows" role="presentation">{ for drawn }</ol> }
}

/// What precedes the oldest message of the current log. Scrolling near it requests older messages; the button is for the keyboard and
/// for retries. Below rows of a previous log, a notice says already that nothing comes between.
fn older(older: Older, has_previous: bool, dispatch: &Callback<Action>, language: Language) -> Html {
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
        Older::Loading { .. } => ("loading", words(Text::LoadingOlder)),
        Older::Failed => ("failed", button(Text::OlderFailed)),
        Older::Beginning if has_previous => ("beginning", Html::default()),
        Older::NotKept if has_previous => ("not-kept", Html::default()),
        Older::Beginning => ("beginning", words(Text::Beginning)),
        Older::NotKept => ("not-kept", words(Text::NotKept)),
    };
    html! { <div key="older" id="older" class="older" role="listitem" data-state={name}>{ content }</div> }
}

/// What follows the newest of the rows, if they do not end with the log.
fn newer(newer: Newer, dispatch: &Callback<Action>, language: Language) -> Option<Html> {
    let label = match newer {
        Newer::Nothing => return None,
        Newer::More => Text::LoadNewer,
        Newer::Loading { .. } => Text::LoadingNewer,
        Newer::Failed => Text::NewerFailed,
    };
    let label = label.in_language(language);
    let content = if matches!(newer, Newer::Loading { .. }) {
        html! { <span class="quiet">{ label }</span> }
    } else {
        let onclick = dispatch.reform(|_| Action::LoadNewer);
        html! { <button id="load_newer" type="button" {onclick}>{ label }</button> }
    };
    Some(html! { <div key="newer" id="newer" class="older" role="listitem">{ content }</div> })
}

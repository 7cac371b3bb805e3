//! The conversation, oldest first. Texts are text nodes: nothing that arrives is ever read as HTML.

use yew::{Html, html};

use super::line::Line;
use crate::{
    i18n::{Language, Message, Text},
    log::{Log, Row},
    shell::time,
};

pub(super) fn messages(log: &Log<Line>, joined: bool, language: Language) -> Html {
    let empty = if joined { Text::ChatEmpty } else { Text::ChatNotJoined };
    html! {
        <>
            if log.dropped() > 0 {
                <p class="quiet dropped">{ Message::RowsDropped(log.dropped()).in_language(language) }</p>
            }
            if log.len() == 0 {
                <p class="empty">{ empty.in_language(language) }</p>
            }
            <ol id="chat_messages">{ for log.range(0..log.len()).map(|row| message(row, language)) }</ol>
        </>
    }
}

fn message(row: &Row<Line>, language: Language) -> Html {
    match &row.content {
        Line::Notice(message) => html! {
            <li key={row.number} class="notice" data-direction="info">
                { time(row.at) }<span class="text">{ message.in_language(language) }</span>
            </li>
        },
        Line::Said { from, text, own } => html! {
            <li key={row.number} class="said" data-direction={if *own { "out" } else { "in" }}>
                <div class="by">
                    <span class="from">{ from.clone() }</span>
                    if *own {
                        <span class="you">{ Text::You.in_language(language) }</span>
                    }
                    { time(row.at) }
                </div>
                <div class="text">{ text.clone() }</div>
            </li>
        },
    }
}

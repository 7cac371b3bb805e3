//! One row of the log. Payloads are text nodes: received data is never parsed as HTML.

use web_sys::{MouseEvent, PointerEvent};
use yew::{Callback, Html, html};

use super::{
    log_entry::{Content, LogEntry, Payload},
    marked_text::marked,
};
use crate::{
    format,
    i18n::{Language, Text},
    row_time::row_time,
    rows::Row,
};

/// A row and its position.
pub(super) struct LogRow<'a> {
    pub(super) row: &'a Row<LogEntry>,
    /// The time of the row that is shown above it.
    pub(super) before: Option<f64>,
    pub(super) selected: bool,
    /// Its position among all shown rows, from 1, and their number, because assistive technology cannot count rows that
    /// are not drawn.
    pub(super) place: usize,
    pub(super) total: usize,
}

impl LogRow<'_> {
    pub(super) fn draw(self, onselect: &Callback<u64>, language: Language) -> Html {
        let Row {
            number,
            at,
            content: item,
        } = self.row;
        let direction = item.direction();
        let (label, sign) = direction.label();
        let content = item.payload();
        let number = *number;
        // A mouse selects when it is pressed: while messages stream, the row under it may be another one when it is
        // released. A finger may be about to scroll, and then `pointerup` does not come.
        let select = onselect.clone();
        let onpointerdown = move |event: PointerEvent| {
            if event.pointer_type() == "mouse" && event.button() == 0 {
                select.emit(number);
            }
        };
        let select = onselect.clone();
        let onpointerup = move |event: PointerEvent| {
            if event.pointer_type() != "mouse" {
                select.emit(number);
            }
        };
        // A click without a pointer is of a screen reader.
        let select = onselect.clone();
        let onclick = move |event: MouseEvent| {
            if event.detail() == 0 {
                select.emit(number);
            }
        };
        html! {
            <li
                key={number} id={row_id(number)} class="log-row" role="option" data-direction={direction.name()}
                aria-selected={self.selected.to_string()}
                aria-posinset={self.place.to_string()} aria-setsize={self.total.to_string()}
                {onpointerdown} {onpointerup} {onclick}
            >
                <span class="number">{ format::thousands(number) }</span>
                { row_time(*at) }
                <span class="delta">{ self.before.map(|before| format::delta(at - before, language)) }</span>
                <span class="sign" role="img" aria-label={label.in_language(language)} title={label.in_language(language)}>{ sign }</span>
                <span class="cell">
                    if let Some(content) = content {
                        <span class="tag">{ content.tag(language) }</span>
                    }
                    <span class="text">{ marked(&item.preview(language)) }</span>
                    if content.is_some_and(|content| content.bytes() == 0) {
                        <span class="quiet">{ Text::EmptyMessage.in_language(language) }</span>
                    }
                </span>
                <span class="size">{ content.map(Payload::bytes).map(|bytes| format::size(bytes as u64)) }</span>
            </li>
        }
    }
}

/// The element's `id` of a row.
pub(super) fn row_id(number: u64) -> String {
    format!("row_{number}")
}

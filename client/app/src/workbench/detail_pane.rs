//! The pane with the payload of the selected message.

use yew::{Callback, Html, NodeRef, html};

use super::log_entry::{LogEntry, Payload};
use crate::{
    form::{Button, Look},
    format,
    i18n::{Language, Sentence, Text},
    row_time::row_time,
    rows::Row,
};

/// The bytes of text that are shown, at most, because a larger text node slows the browser down. Copy takes the whole
/// payload.
const TEXT_BYTES: usize = 256 << 10;

/// The binary bytes that are shown, at most; a line of the hex dump has 16.
const BINARY_BYTES: usize = 16 << 10;

/// Whether the payload is on the clipboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CopyState {
    /// The user has not copied it.
    Ready,
    Copied,
    /// The browser does not allow it; the payload is selected for the browser's own copy.
    Failed,
}

/// The selected message.
pub(super) struct DetailPane<'a> {
    pub(super) row: &'a Row<LogEntry>,
    pub(super) copy: CopyState,
    /// The element with the payload, to be selected where the clipboard is forbidden.
    pub(super) body: NodeRef,
    pub(super) oncopy: Callback<()>,
    pub(super) onclose: Callback<()>,
}

impl DetailPane<'_> {
    pub(super) fn draw(self, language: Language) -> Html {
        let text = |text: Text| text.in_language(language);
        let item = &self.row.content;
        let (shown, total) = shown(item, language);
        let copy = match self.copy {
            CopyState::Ready => Text::Copy,
            CopyState::Copied => Text::Copied,
            CopyState::Failed => Text::CopyFailed,
        };
        let small = |id, label| Button {
            id,
            label,
            look: Look::Small,
            disabled: false,
        };
        html! {
            <section key="detail" class="detail" aria-label={text(Text::Details)}>
                <div key="head" class="detail-head">
                    { row_time(self.row.at) }
                    <span>{ text(item.direction_label().0) }</span>
                    <span class="quiet">{ item.payload().map(|content| format::size(content.bytes() as u64)) }</span>
                    <span class="spring" />
                     { small("detail_copy", text(copy)).on_click(self.oncopy.reform(|_| ())) }
                    { small("detail_close", text(Text::CloseDetails)).on_click(self.onclose.reform(|_| ())) }
                </div>
                if let Some(total) = total {
                    <p key="cut" class="hint">
                        { Sentence::DetailCut { shown: shown_bytes(item), total }.in_language(language) }
                    </p>
                }
                // Of its own for each row, so that it begins at its top.
                <pre key={self.row.number} id="detail_text" tabindex="0" ref={self.body}>{ shown }</pre>
            </section>
        }
    }
}

/// The text to show, and the whole size in bytes if it was cut.
fn shown(item: &LogEntry, language: Language) -> (String, Option<usize>) {
    let Some(content) = item.payload() else {
        return (item.preview(language), None);
    };
    let cut = content.bytes() > shown_bytes(item);
    let shown = match content {
        Payload::Text(text) | Payload::Http { text, .. } => format::head(text, TEXT_BYTES).to_owned(),
        Payload::Binary(bytes) => format::hex_dump(&bytes[..bytes.len().min(BINARY_BYTES)]),
    };
    (shown, cut.then_some(content.bytes()))
}

/// How many payload bytes are shown at most.
fn shown_bytes(item: &LogEntry) -> usize {
    match item.payload() {
        Some(Payload::Binary(_)) => BINARY_BYTES,
        _ => TEXT_BYTES,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_beyond_the_bound_is_cut() {
        let shown = |content| shown(&LogEntry::Received(content), Language::English);
        assert_eq!(shown(Payload::Text("a\nb".into())), ("a\nb".into(), None));
        let (text, total) = shown(Payload::Text("好".repeat(100_000)));
        assert_eq!((text.len() / 3 * 3, total), (text.len(), Some(300_000)));
        assert!(text.len() <= TEXT_BYTES);
        let (dump, total) = shown(Payload::Binary(vec![0; BINARY_BYTES + 1]));
        assert_eq!(
            (dump.lines().count(), total),
            (BINARY_BYTES / 16, Some(BINARY_BYTES + 1))
        );
    }
}

//! The pane with the payload of the selected message: laid out, as received, or as bytes. A payload becomes text nodes, or an image that
//! the browser decodes; it is never executed.

use std::rc::Rc;

use web_sys::{KeyboardEvent, MouseEvent};
use yew::{Callback, Component, Context, Html, NodeRef, Properties, html};

use super::{
    image_kind::image_kind,
    json::{self, Line, LineContent, Scalar, ScalarKind},
    log_entry::{Content, LogEntry, Payload},
    marked_text::marked,
    segments::{Segment, segments},
};
use crate::{
    browser::files::ObjectUrl,
    form::{Button, Look},
    format,
    i18n::{Language, Sentence, Text},
    row_time::row_time,
    rows::Row,
};

/// The bytes of text that are shown, at most, because a larger text node slows the browser down. Copy takes the whole
/// payload.
const TEXT_BYTES: usize = 256 << 10;

/// The bytes that a hex dump shows, at most; a line of it has 16.
const DUMPED_BYTES: usize = 16 << 10;

/// The lines of JSON that are drawn at first, and further ones each time the user asks for more: each has several elements.
const JSON_LINES: usize = 1_000;

/// How the payload is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum DetailMode {
    /// JSON in lines, an image as such, other bytes as a dump.
    #[default]
    Pretty,
    /// As text.
    Raw,
    Hex,
}

impl DetailMode {
    /// All, in the order of the choice.
    pub(crate) const ALL: [Self; 3] = [Self::Pretty, Self::Raw, Self::Hex];

    /// The name in storage.
    pub(crate) fn id(self) -> &'static str {
        match self {
            Self::Pretty => "pretty",
            Self::Raw => "raw",
            Self::Hex => "hex",
        }
    }

    /// The one with this name; the first for an unknown one.
    pub(crate) fn from_id(id: &str) -> Self {
        Self::ALL.into_iter().find(|mode| mode.id() == id).unwrap_or_default()
    }
}

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
#[derive(PartialEq, Properties)]
pub(super) struct Props {
    pub(super) row: Rc<Row<LogEntry>>,
    /// The time of the row that is shown above it.
    pub(super) before: Option<f64>,
    pub(super) mode: DetailMode,
    pub(super) copy: CopyState,
    /// The element with the payload, to be selected where the clipboard is forbidden.
    pub(super) body: NodeRef,
    pub(super) onmode: Callback<DetailMode>,
    pub(super) oncopy: Callback<MouseEvent>,
    pub(super) onclose: Callback<()>,
    /// Sends the payload again: at once, or after the user has edited it.
    pub(super) onresend: Callback<bool>,
    pub(super) language: Language,
}

pub(super) struct DetailPane {
    shown: Shown,
    /// Whether only a part of the payload is shown: its bytes.
    cut: Option<usize>,
    /// It would be laid out if it were smaller.
    beyond_bounds: bool,
    /// Of an image that is shown.
    image: Option<ObjectUrl>,
    /// The indices of the folded lines, in ascending order.
    folded: Vec<usize>,
    lines: usize,
}

/// What the pane shows.
#[derive(Debug, PartialEq)]
enum Shown {
    Json(Vec<Line>),
    Text(String),
    /// With its media type.
    Image(&'static str),
}

pub(super) enum Msg {
    /// Folds or unfolds the object or array that this line opens.
    Fold(usize),
    MoreLines,
}

impl Component for DetailPane {
    type Message = Msg;
    type Properties = Props;

    fn create(ctx: &Context<Self>) -> Self {
        let Props {
            row, mode, language, ..
        } = ctx.props();
        let (shown, cut) = shown(&row.content, *mode, *language);
        let image = match (&shown, row.content.payload()) {
            (Shown::Image(kind), Some(Payload::Binary(bytes))) => ObjectUrl::of_bytes(bytes, kind),
            _ => None,
        };
        let text = row.content.payload().and_then(text_of);
        let beyond_bounds =
            *mode == DetailMode::Pretty && matches!(shown, Shown::Text(_)) && text.is_some_and(json::is_beyond_bounds);
        Self {
            shown,
            cut,
            beyond_bounds,
            image,
            folded: Vec::new(),
            lines: JSON_LINES,
        }
    }

    fn changed(&mut self, ctx: &Context<Self>, before: &Props) -> bool {
        let props = ctx.props();
        if props.row != before.row || props.mode != before.mode || props.language != before.language {
            *self = Self::create(ctx);
        }
        true
    }

    fn update(&mut self, _ctx: &Context<Self>, msg: Msg) -> bool {
        match msg {
            Msg::Fold(line) => match self.folded.binary_search(&line) {
                Ok(at) => {
                    self.folded.remove(at);
                }
                Err(at) => self.folded.insert(at, line),
            },
            Msg::MoreLines => self.lines += JSON_LINES,
        }
        true
    }

    fn view(&self, ctx: &Context<Self>) -> Html {
        let Props {
            row,
            body,
            onclose,
            language,
            ..
        } = ctx.props();
        let text = |text: Text| text.in_language(*language);
        let onclose = onclose.clone();
        let onkeydown = move |event: KeyboardEvent| {
            if event.key() == "Escape" {
                event.prevent_default();
                onclose.emit(());
            }
        };
        // Of its own for each row, so that it begins at its top.
        let key = row.number;
        let body = match (&self.shown, &self.image) {
            (Shown::Json(lines), _) => html! {
                <pre {key} id="detail_text" class="json" tabindex="0" ref={body}>
                    { self.json(ctx, lines) }
                </pre>
            },
            (Shown::Image(_), Some(url)) => html! {
                <div {key} id="detail_text" class="image" tabindex="0" ref={body}>
                    <img id="detail_image" src={url.as_str().to_owned()} alt={text(Text::ImageInMessage)} />
                </div>
            },
            (Shown::Text(shown), _) => {
                html! { <pre {key} id="detail_text" tabindex="0" ref={body}>{ marked(shown) }</pre> }
            }
            (Shown::Image(_), None) => html! { <pre {key} id="detail_text" tabindex="0" ref={body} /> },
        };
        html! {
            <section id="detail" class="detail" aria-label={text(Text::Details)} {onkeydown}>
                { self.head(ctx) }
                { body }
                { self.foot(ctx) }
            </section>
        }
    }
}

impl DetailPane {
    fn head(&self, ctx: &Context<Self>) -> Html {
        let Props {
            row,
            mode,
            copy,
            onmode,
            oncopy,
            onclose,
            language,
            ..
        } = ctx.props();
        let text = |text: Text| text.in_language(*language);
        let (direction, sign) = row.content.direction().label();
        let payload = row.content.payload();
        let size = payload.map(|payload| format::size(payload.bytes() as u64));
        let segment = |id, label: Text, of| Segment {
            id,
            label: html! { text(label) },
            title: None,
            selected: *mode == of,
            onselect: onmode.reform(move |()| of),
        };
        let modes = [
            segment("detail_pretty", Text::Pretty, DetailMode::Pretty),
            segment("detail_raw", Text::Raw, DetailMode::Raw),
            segment("detail_hex", Text::Hex, DetailMode::Hex),
        ];
        let copy = Button {
            id: "detail_copy",
            label: text(if *copy == CopyState::Copied {
                Text::Copied
            } else {
                Text::Copy
            }),
            look: Look::Small,
        };
        html! {
            <div key="head" class="detail-head">
                <b key="number">{ "#" }{ format::thousands(row.number) }</b>
                <span key="summary" class="summary" data-direction={row.content.direction().name()} title={text(direction)}>
                    <span class="sign" aria-hidden="true">{ sign }</span>
                    <span class="visually-hidden">{ text(direction) }</span>
                    { size.unwrap_or_default() }
                </span>
                { payload.map(|_| segments("detail_mode", text(Text::Presentation), modes)) }
                { copy.on_click(oncopy.clone()) }
                <button
                    key="close" id="detail_close" type="button" class="icon-button" aria-label={text(Text::CloseDetails)}
                    title={text(Text::CloseDetails)} onclick={onclose.reform(|_| ())}
                >{ "✕" }</button>
            </div>
        }
    }

    /// What there is to say about the payload and to do with it; at the bottom, so that it moves nothing.
    fn foot(&self, ctx: &Context<Self>) -> Option<Html> {
        let Props {
            row,
            before,
            mode,
            copy,
            onresend,
            language,
            ..
        } = ctx.props();
        let payload = row.content.payload()?;
        let text = |text: Text| text.in_language(*language);
        let cut = self.cut.map(|total| {
            let shown = shown_bytes(&self.shown, &row.content, *mode);
            Text::DetailCut
                .with([shown, total].map(|bytes| Sentence::size(bytes as u64)))
                .in_language(*language)
        });
        let failed = (*copy == CopyState::Failed).then(|| text(Text::CopyFailed).to_owned());
        let empty = (payload.bytes() == 0).then(|| text(Text::EmptyMessage).to_owned());
        let plain = self.beyond_bounds.then(|| text(Text::NotLaidOut).to_owned());
        let hints: Vec<_> = [failed, empty, plain, cut].into_iter().flatten().collect();
        let button = |id, label: Text, at_once: bool| {
            let button = Button {
                id,
                label: text(label),
                look: Look::Small,
            };
            button.on_click(onresend.reform(move |_| at_once))
        };
        let again = (!matches!(payload, Payload::Http { .. })).then(|| button("send_again", Text::SendAgain, true));
        Some(html! {
            <div key="foot" class="detail-foot">
                <span key="time" class="quiet">
                    { row_time(row.at) }
                    if let Some(before) = before {
                        { " " }{ format::delta(row.at - before, *language) }{ " ms" }
                    }
                </span>
                <p key="hint" class="hint" role="status">{ hints.join(" · ") }</p>
                { button("edit_again", Text::EditAgain, false) }
                { again }
            </div>
        })
    }

    /// The lines that are not folded, up to the bound.
    fn json(&self, ctx: &Context<Self>, lines: &[Line]) -> Html {
        let Props { row, language, .. } = ctx.props();
        let Some(text) = row.content.payload().and_then(text_of) else {
            return Html::default();
        };
        let mut drawn = Vec::new();
        let mut index = 0;
        while let Some(line) = lines.get(index) {
            if drawn.len() == self.lines {
                drawn.push(html! {
                    <button
                        key="more" id="more_lines" type="button" onclick={ctx.link().callback(|_| Msg::MoreLines)}
                    >{ Text::MoreLines.in_language(*language) }</button>
                });
                break;
            }
            let line = JsonLine {
                text,
                index,
                line,
                folded: match line.content {
                    LineContent::Open { close, .. } if self.folded.binary_search(&index).is_ok() => lines.get(close),
                    _ => None,
                },
                language: *language,
            };
            drawn.push(line.draw(ctx));
            index = match line.line.content {
                LineContent::Open { close, .. } if line.folded.is_some() => close + 1,
                _ => index + 1,
            };
        }
        drawn.into_iter().collect()
    }
}

/// A line of JSON with the text that its ranges are of.
struct JsonLine<'a> {
    text: &'a str,
    index: usize,
    line: &'a Line,
    /// The line that closes it, if it is folded.
    folded: Option<&'a Line>,
    language: Language,
}

impl JsonLine<'_> {
    fn draw(&self, ctx: &Context<DetailPane>) -> Html {
        let Self { index, line, .. } = *self;
        let fold = matches!(line.content, LineContent::Open { .. }).then(|| {
            html! {
                <button
                    id={format!("fold_{index}")} class="fold" type="button"
                    aria-expanded={self.folded.is_none().to_string()} aria-label={Text::Fold.in_language(self.language)}
                    onclick={ctx.link().callback(move |_| Msg::Fold(index))}
                />
            }
        });
        let key = line.key.as_ref().map(|key| {
            html! { <><span class="json-key">{ self.part(key.clone()) }</span>{ ": " }</> }
        });
        let indent = "  ".repeat(line.depth);
        let has_comma = self.folded.unwrap_or(line).comma;
        html! {
            <div key={index} class="json-line">
                { for fold }
                { indent }
                { for key }
                { self.content() }
                { if has_comma { "," } else { "" } }
            </div>
        }
    }

    fn content(&self) -> Html {
        match &self.line.content {
            LineContent::Scalar(scalar) => self.scalar(scalar),
            LineContent::Inline(container, scalars) => {
                let (open, close) = container.brackets();
                let scalars = scalars.iter().enumerate().map(|(index, scalar)| {
                    html! { <>{ if index > 0 { ", " } else { "" } }{ self.scalar(scalar) }</> }
                });
                html! { <>{ open }{ for scalars }{ close }</> }
            }
            LineContent::Open { container, items, .. } => {
                let (open, close) = container.brackets();
                if self.folded.is_some() {
                    let items = Sentence::counted(*items, Text::OneItem, Text::Items).in_language(self.language);
                    html! { <>{ open }<span class="json-items">{ items }</span>{ close }</> }
                } else {
                    html! { open }
                }
            }
            LineContent::Close(container) => html! { container.brackets().1 },
        }
    }

    fn scalar(&self, scalar: &Scalar) -> Html {
        let kind = match scalar.kind {
            ScalarKind::String => "string",
            ScalarKind::Number | ScalarKind::Word => "number",
        };
        html! { <span data-scalar={kind}>{ self.part(scalar.range.clone()) }</span> }
    }

    fn part(&self, range: std::ops::Range<usize>) -> Html {
        marked(self.text.get(range).unwrap_or_default())
    }
}

/// The payload as text, if it is one.
fn text_of(payload: &Payload) -> Option<&str> {
    match payload {
        Payload::Text(text) | Payload::Http { text, .. } => Some(text),
        Payload::Binary(bytes) => {
            let text = std::str::from_utf8(bytes).ok()?;
            let is_text = !text.contains(|c: char| c.is_control() && !matches!(c, '\t' | '\n' | '\r'));
            (is_text && !text.is_empty()).then_some(text)
        }
    }
}

/// What to show, and the whole size in bytes if it is a part.
fn shown(entry: &LogEntry, mode: DetailMode, language: Language) -> (Shown, Option<usize>) {
    let Some(payload) = entry.payload() else {
        return (Shown::Text(entry.preview(language)), None);
    };
    let bytes = match payload {
        Payload::Text(text) | Payload::Http { text, .. } => text.as_bytes(),
        Payload::Binary(bytes) => bytes,
    };
    let text = text_of(payload);
    let shown = match (mode, payload, text) {
        (DetailMode::Pretty, Payload::Binary(bytes), _) if image_kind(bytes).is_some() => {
            Shown::Image(image_kind(bytes).unwrap_or_default())
        }
        (DetailMode::Pretty, _, Some(text)) => {
            let lines = (text.len() <= TEXT_BYTES).then(|| json::lines(text)).flatten();
            lines.map_or_else(|| Shown::Text(format::head(text, TEXT_BYTES).to_owned()), Shown::Json)
        }
        (DetailMode::Raw, _, Some(text)) => Shown::Text(format::head(text, TEXT_BYTES).to_owned()),
        (DetailMode::Raw, _, None) => {
            Shown::Text(String::from_utf8_lossy(&bytes[..bytes.len().min(TEXT_BYTES)]).into_owned())
        }
        (DetailMode::Hex, ..) | (DetailMode::Pretty, _, None) => {
            Shown::Text(format::hex_dump(&bytes[..bytes.len().min(DUMPED_BYTES)]))
        }
    };
    let cut = bytes.len() > shown_bytes(&shown, entry, mode);
    (shown, cut.then_some(bytes.len()))
}

/// How many payload bytes are shown at most.
fn shown_bytes(shown: &Shown, entry: &LogEntry, mode: DetailMode) -> usize {
    let is_dump = mode == DetailMode::Hex
        || mode == DetailMode::Pretty && entry.payload().is_some_and(|payload| text_of(payload).is_none());
    match shown {
        Shown::Image(_) => usize::MAX,
        _ if is_dump => DUMPED_BYTES,
        _ => TEXT_BYTES,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(payload: Payload, mode: DetailMode) -> (Shown, Option<usize>) {
        shown(&LogEntry::Received(payload), mode, Language::English)
    }

    fn text(text: &str) -> Shown {
        Shown::Text(text.to_owned())
    }

    #[test]
    fn a_payload_beyond_the_bound_is_cut() {
        assert_eq!(
            of(Payload::Text("a\nb".into()), DetailMode::Pretty),
            (text("a\nb"), None)
        );
        let (Shown::Text(shown), total) = of(Payload::Text("好".repeat(100_000)), DetailMode::Raw) else {
            panic!("not text");
        };
        assert_eq!((shown.len() / 3 * 3, total), (shown.len(), Some(300_000)));
        assert!(shown.len() <= TEXT_BYTES);
        let (Shown::Text(dump), total) = of(Payload::Binary(vec![0; DUMPED_BYTES + 1]), DetailMode::Pretty) else {
            panic!("not text");
        };
        assert_eq!(
            (dump.lines().count(), total),
            (DUMPED_BYTES / 16, Some(DUMPED_BYTES + 1))
        );
    }

    #[test]
    fn json_is_laid_out_only_when_it_is_asked_for() {
        let json = || Payload::Text("{\"a\":1}".into());
        assert!(matches!(of(json(), DetailMode::Pretty), (Shown::Json(lines), None) if lines.len() == 3));
        assert_eq!(of(json(), DetailMode::Raw).0, text("{\"a\":1}"));
        assert_eq!(
            of(json(), DetailMode::Hex).0,
            text("00000000  7b 22 61 22 3a 31 7d                             {\"a\":1}\n")
        );
        let large = Payload::Text(format!("[\"{}\"]", "x".repeat(TEXT_BYTES)));
        assert!(matches!(of(large, DetailMode::Pretty), (Shown::Text(_), Some(_))));
    }

    #[test]
    fn binary_is_an_image_a_text_or_a_dump() {
        let of = |bytes: &[u8], mode| of(Payload::Binary(bytes.to_vec()), mode).0;
        assert_eq!(of(b"GIF89a", DetailMode::Pretty), Shown::Image("image/gif"));
        assert!(matches!(of(b"[{}]", DetailMode::Pretty), Shown::Json(_)));
        assert_eq!(of("你好".as_bytes(), DetailMode::Pretty), text("你好"));
        assert!(matches!(of(b"\0\x01", DetailMode::Pretty), Shown::Text(dump) if dump.starts_with("00000000  00 01")));
        assert_eq!(of(b"a\xff", DetailMode::Raw), text("a\u{fffd}"));
    }
}

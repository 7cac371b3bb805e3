//! The bar above the log: filter, counts, pause, follow, export and clear.

use web_sys::{FocusEvent, HtmlElement, InputEvent, KeyboardEvent, Node};
use yew::{Callback, Html, NodeRef, TargetCast, html};

use super::{
    log::Log,
    log_entry::{Direction, LogEntry},
    log_export::ExportFormat,
    log_filter::Kind,
    log_panel::Msg,
    log_view::LogView,
    segments::{Segment, segments},
    sentences,
};
use crate::{
    form::text_of,
    format,
    i18n::{Language, Sentence, Text},
};

/// What the bar shows; it sends what the user does to the panel.
pub(super) struct LogToolbar<'a> {
    pub(super) log: &'a Log<LogEntry>,
    pub(super) view: &'a LogView,
    /// What is wrong with the filter's pattern.
    pub(super) problem: Option<&'a Sentence>,
    /// How much of an export is done, in percent.
    pub(super) exporting: Option<u64>,
    /// The choices of the export are shown.
    pub(super) is_menu_open: bool,
    /// What became of copying the shown rows.
    pub(super) shown_copied: Option<Text>,
    pub(super) filter: NodeRef,
    pub(super) send: Callback<Msg>,
    pub(super) language: Language,
}

const ERROR_ID: &str = "log_filter_error";

/// The buttons that clear the log and undo it.
pub(super) const CLEAR_ID: &str = "clear_log";
pub(super) const UNDO_ID: &str = "undo_clear";

/// Lines of icons, on 16 by 16.
const PAUSE: &str = "M5 3v10M11 3v10";
const RESUME: &str = "M5 3l8 5-8 5z";
const FOLLOW: &str = "M8 2v8M4.5 7L8 10.5 11.5 7M3 14h10";
const EXPORT: &str = "M8 10V2M4.5 5.5L8 2l3.5 3.5M3 9v5h10V9";
const CLEAR: &str = "M3 4h10M6 4V2h4v2M4.5 4l.5 10h6l.5-10";
const UNDO: &str = "M3 7h7a3 3 0 010 6H6M3 7l3-3M3 7l3 3";

impl LogToolbar<'_> {
    pub(super) fn draw(&self) -> Html {
        html! {
            <div key="bar" class="log-bar">
                <div class="log-tools">
                    { self.filter_field() }
                    <div key="choices" class="log-choices">
                        { self.directions() }
                        { self.kinds() }
                        { self.counts() }
                    </div>
                    <div key="actions" class="log-actions">{ self.actions() }</div>
                </div>
            </div>
        }
    }

    fn text(&self, text: Text) -> &'static str {
        text.in_language(self.language)
    }

    fn on<E: 'static>(&self, msg: impl Fn() -> Msg + 'static) -> Callback<E> {
        self.send.reform(move |_| msg())
    }

    fn filter_field(&self) -> Html {
        let oninput = self.send.reform(|event: InputEvent| Msg::FilterText(text_of(&event)));
        let label = self.text(Text::FilterLog);
        html! {
            <div key="filter" class="log-filter">
                <input
                    id="log_filter" type="search" ref={self.filter.clone()} value={self.view.filter().text().to_owned()} {oninput}
                    placeholder={label} aria-label={label} aria-keyshortcuts="Control+/" autocomplete="off" spellcheck="false"
                    aria-invalid={self.problem.map(|_| "true")} aria-describedby={self.problem.map(|_| ERROR_ID)}
                />
                <kbd aria-hidden="true">{ "Ctrl /" }</kbd>
                if let Some(problem) = self.problem {
                    <p id={ERROR_ID} class="fault" role="alert">{ problem.in_language(self.language) }</p>
                }
            </div>
        }
    }

    fn directions(&self) -> Html {
        let counts = self.log.counts();
        let chosen = self.view.filter().direction;
        let segment = |id, label: Html, title, direction| Segment {
            id,
            label,
            title,
            selected: chosen == direction,
            onselect: self.on(move || Msg::FilterDirection(direction)),
        };
        let counted = |direction: Direction, count: usize| {
            let sign = direction.label().1;
            html! { <>{ sign }{ " " }{ format::thousands(count as u64) }</> }
        };
        segments(
            "log_direction",
            self.text(Text::Direction),
            [
                segment(
                    "show_all",
                    html! { <>{ self.text(Text::AllDirections) }{ " " }{ format::thousands(counts.messages() as u64) }</> },
                    None,
                    None,
                ),
                segment(
                    "show_sent",
                    counted(Direction::Sent, counts.sent),
                    Some(self.text(Text::Sent)),
                    Some(Direction::Sent),
                ),
                segment(
                    "show_received",
                    counted(Direction::Received, counts.received),
                    Some(self.text(Text::Received)),
                    Some(Direction::Received),
                ),
            ],
        )
    }

    fn kinds(&self) -> Html {
        let chosen = self.view.filter().kind;
        let segment = |id, label: &'static str, kind| Segment {
            id,
            label: html! { label },
            title: None,
            selected: chosen == kind,
            onselect: self.on(move || Msg::FilterKind(kind)),
        };
        segments(
            "log_type",
            self.text(Text::MessageType),
            [
                segment("show_any", self.text(Text::AnyType), None),
                segment("show_json", "JSON", Some(Kind::Json)),
                segment("show_text", self.text(Text::Textual), Some(Kind::Text)),
                segment("show_binary", self.text(Text::TypeBinary), Some(Kind::Binary)),
            ],
        )
    }

    fn counts(&self) -> Html {
        let total = self.log.counts().messages();
        let shown = self.view.matching_messages();
        let sentence = |sentence: Sentence| sentence.in_language(self.language);
        let dropped = (self.log.dropped() > 0).then(|| {
            let dropped = sentence(sentences::rows_dropped(self.log.dropped()));
            html! { <span key="dropped" id="rows_dropped" title={dropped.clone()}>{ dropped }</span> }
        });
        let waiting = self.view.is_paused().then(|| {
            let waiting = sentence(Text::RowsWaiting.with([Sentence::thousands(self.view.waiting(self.log))]));
            html! { <span key="waiting" id="rows_waiting">{ waiting }</span> }
        });
        let exporting = self.exporting.map(|percent| {
            html! { <span key="exporting" id="export_progress">{ sentence(Text::Exporting.with([percent.into()])) }</span> }
        });
        html! {
            <div key="counts" class="log-counts">
                { exporting }
                { dropped }
                { waiting }
                <span key="count" id="log_count">{ sentence(sentences::message_count(shown, total)) }</span>
            </div>
        }
    }

    fn actions(&self) -> Html {
        let is_paused = self.view.is_paused();
        let is_following = self.view.list.follow;
        let (pause, pause_icon) = if is_paused {
            (Text::Resume, RESUME)
        } else {
            (Text::Pause, PAUSE)
        };
        // In front of the others, which do not move: those at the left give it space. It stays while rows come.
        let undo = self
            .log
            .can_undo_clear()
            .then(|| self.tool("undo", UNDO_ID, Text::UndoClear, UNDO, None, || Msg::UndoClear));
        html! {
            <>
                { undo }
                { self.tool("pause", "pause_log", pause, pause_icon, None, || Msg::Pause) }
                { self.tool("follow", "follow", Text::Follow, FOLLOW, Some(is_following), || Msg::Follow) }
                { self.export() }
                { self.tool("clear", CLEAR_ID, Text::Clear, CLEAR, None, || Msg::Clear) }
            </>
        }
    }

    /// A button, which stays the same element while its key does; that to clear is of use only while there are rows.
    fn tool(
        &self,
        key: &'static str,
        id: &'static str,
        label: Text,
        path: &'static str,
        pressed: Option<bool>,
        msg: fn() -> Msg,
    ) -> Html {
        let label = self.text(label);
        let disabled = key == "clear" && self.log.len() == 0;
        html! {
            <button
                {key} {id} type="button" title={label} {disabled} onclick={self.on(msg)}
                aria-pressed={pressed.map(|pressed| pressed.to_string())}
            >{ icon(path) }<span>{ label }</span></button>
        }
    }

    /// The button and its choices. While an export runs, the same button ends it.
    fn export(&self) -> Html {
        let (id, label) = if self.exporting.is_some() {
            ("cancel_export", Text::CancelExport)
        } else {
            ("export_log", Text::Export)
        };
        let is_open = self.is_menu_open;
        let is_exporting = self.exporting.is_some();
        let onclick = self.on(move || {
            if is_exporting {
                Msg::CancelExport
            } else {
                Msg::Menu(!is_open)
            }
        });
        let onfocusout = {
            let send = self.send.clone();
            move |event: FocusEvent| {
                let goes_to = event
                    .related_target()
                    .and_then(|target| wasm_bindgen::JsCast::dyn_into::<Node>(target).ok());
                let group: Option<Node> = event
                    .current_target()
                    .and_then(|group| wasm_bindgen::JsCast::dyn_into(group).ok());
                if group.is_some_and(|group| !group.contains(goes_to.as_ref())) {
                    send.emit(Msg::Menu(false));
                }
            }
        };
        let onkeydown = {
            let send = self.send.clone();
            move |event: KeyboardEvent| {
                if is_open && event.key() == "Escape" {
                    event.prevent_default();
                    send.emit(Msg::Menu(false));
                    let group = event
                        .target_dyn_into::<HtmlElement>()
                        .and_then(|item| item.closest(".menu-group").ok().flatten());
                    let button = group.and_then(|group| group.query_selector("button").ok().flatten());
                    if let Some(button) =
                        button.and_then(|button| wasm_bindgen::JsCast::dyn_into::<HtmlElement>(button).ok())
                    {
                        // Focusing an element that is on the page cannot fail.
                        let _: Result<(), wasm_bindgen::JsValue> = button.focus();
                    }
                }
            }
        };
        html! {
            <div key="export" class="menu-group" {onfocusout} {onkeydown}>
                <button
                    key="button" {id} type="button" title={self.text(label)} disabled={self.log.len() == 0 && !is_exporting}
                    aria-expanded={(!is_exporting).then(|| is_open.to_string())} {onclick}
                >{ icon(EXPORT) }<span>{ self.text(label) }</span></button>
                { is_open.then(|| self.export_menu()) }
            </div>
        }
    }

    fn export_menu(&self) -> Html {
        let item = |id: &'static str, scope: Text, format: ExportFormat, only_shown: bool| {
            let name = match format {
                ExportFormat::JsonLines => "JSONL",
                ExportFormat::Har => "HAR",
            };
            html! {
                <button key={id} {id} type="button" onclick={self.on(move || Msg::Export { format, only_shown })}>
                    { self.text(scope) }<span class="quiet">{ name }</span>
                </button>
            }
        };
        let is_filtered = self.view.filter().is_active();
        let shown = if is_filtered {
            Text::ExportFiltered
        } else {
            Text::ExportAll
        };
        let filtered = is_filtered.then(|| {
            [
                item(
                    "export_filtered_jsonl",
                    Text::ExportFiltered,
                    ExportFormat::JsonLines,
                    true,
                ),
                item("export_filtered_har", Text::ExportFiltered, ExportFormat::Har, true),
            ]
        });
        html! {
            <div key="menu" class="menu">
                { item("export_jsonl", Text::ExportAll, ExportFormat::JsonLines, false) }
                { item("export_har", Text::ExportMessages, ExportFormat::Har, false) }
                { for filtered.into_iter().flatten() }
                <button key="copy" id="copy_shown" type="button" onclick={self.on(|| Msg::CopyShown)}>
                    { self.text(shown) }<span class="quiet">{ self.text(self.shown_copied.unwrap_or(Text::Copy)) }</span>
                </button>
                <span key="copied" class="visually-hidden" role="status">{ self.shown_copied.map(|outcome| self.text(outcome)) }</span>
            </div>
        }
    }
}

fn icon(path: &'static str) -> Html {
    html! { <svg class="icon" viewBox="0 0 16 16" aria-hidden="true"><path d={path} /></svg> }
}

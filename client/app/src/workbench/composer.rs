//! The form for a message: how it is written, the field or the file, and the buttons to send it over the WebSocket (also Ctrl+Enter), over HTTP,
//! or again and again.

use web_sys::{
    DragEvent, Event, File, HtmlInputElement, HtmlTextAreaElement, InputEvent, KeyboardEvent, MouseEvent, SubmitEvent,
};
use yew::{Callback, Html, TargetCast, html};

use super::{
    json,
    message_mode::Mode,
    reducer::{Action, Field, Recall, WorkbenchState},
    saved::{Kind, Saved},
    saved_sheet::{SavedSheet, SheetMove, on_toggle, sent_list},
    segments::{Segment, segments},
    sentences,
};
use crate::{
    browser,
    form::{ERROR_ID, TextField, text_of},
    format,
    i18n::{Language, Sentence, Text},
    keyboard::is_of_input_method,
};

const HINT_ID: &str = "message_hint";

/// The `id` of the popover with the snippets and what was sent.
pub(super) const SNIPPETS_ID: &str = "saved_snippets";

/// The `id` of the popover with the repetition.
const REPEAT_ID: &str = "repeat_options";

/// The composer's values and callbacks.
pub(super) struct Composer<'a> {
    /// The number of its tab: each has an input for files of its own.
    pub(super) tab: u32,
    pub(super) state: &'a WorkbenchState,
    pub(super) saved: &'a Saved,
    pub(super) sheet: &'a SavedSheet,
    pub(super) onsheet: Callback<SheetMove>,
    pub(super) dispatch: Callback<Action>,
    /// The user has chosen a file, or none.
    pub(super) onfile: Callback<Option<File>>,
}

impl Composer<'_> {
    pub(super) fn draw(&self, language: Language) -> Html {
        let Self { state, dispatch, .. } = self;
        let error = state.error.as_ref().filter(|error| error.is_of(&Field::Message));
        let onsubmit = dispatch.reform(|event: SubmitEvent| {
            event.prevent_default();
            Action::Send
        });
        let choices = Mode::ALL.map(|mode| Segment {
            id: mode.id(),
            label: html! { mode.label(language) },
            title: None,
            selected: state.mode == mode,
            onselect: dispatch.reform(move |()| Action::Mode(mode)),
        });
        html! {
            <key="composer">
            { self.snippets(language) }
            <form key="form" class="composer" {onsubmit}>
                if let Some(error) = error {
                    <p key="error" id={ERROR_ID} class="bar-notice" role="alert">{ error.message.in_language(language) }</p>
                }
                <div key="body" class="composer-body">
                    <div key="modes" class="composer-modes">
                        { segments("message_mode", Text::Mode.in_language(language), choices) }
                        <button
                            key="snippets" id="snippets_button" type="button" popovertarget={SNIPPETS_ID}
                            title={Text::Snippets.in_language(language)}
                        >
                            <svg class="icon" viewBox="0 0 16 16" aria-hidden="true"><path d="M4 2h8v12l-4-3-4 3z" /></svg>
                            <span>{ Text::Snippets.in_language(language) }</span>
                        </button>
                    </div>
                    if state.mode == Mode::File {
                        { self.file(language) }
                    } else {
                        { self.field(error.is_some(), language) }
                    }
                    <div key="actions" class="composer-actions">{ self.actions(language) }</div>
                    <p key="hint" id={HINT_ID} class="visually-hidden">{ Text::SendHint.in_language(language) }</p>
                </div>
            </form>
            </>
        }
    }

    /// The popover with the snippets and what was sent. It has a form of its own, so it is not in that of the message.
    fn snippets(&self, language: Language) -> Html {
        html! {
            <div
                key="snippets" id={SNIPPETS_ID} class="sheet saved snippets" popover="auto" role="dialog" aria-label={Text::Snippets.in_language(language)}
                ontoggle={on_toggle(SNIPPETS_ID, &self.onsheet)}
            >
                { self.sheet.draw(Kind::Snippet, self.saved, &self.onsheet, language) }
                if self.sheet.is_open {
                    <h3 key="sent_title">{ Text::SentLately.in_language(language) }</h3>
                    { sent_list(self.state.sent_texts(), &self.onsheet) }
                }
            </div>
        }
    }

    fn field(&self, invalid: bool, language: Language) -> Html {
        let Self { state, dispatch, .. } = self;
        let onkeydown = {
            let dispatch = dispatch.clone();
            let shows_history = state.shows_history();
            let can_recall = [Recall::Older, Recall::Newer].map(|step| state.can_recall(step));
            move |event: KeyboardEvent| {
                let step = recall(&event, shows_history);
                if let Some(step) = step.filter(|step| can_recall[*step as usize]) {
                    event.prevent_default();
                    dispatch.emit(Action::Recall(step));
                }
            }
        };
        html! {
            // One element for all modes: it keeps its height and the focus.
            <textarea
                key="message" id="message" data-code="" rows="3" spellcheck="false" value={state.message().to_owned()} {onkeydown}
                oninput={dispatch.reform(|event: InputEvent| Action::Edit(Field::Message, text_of(&event)))}
                placeholder={state.mode.placeholder(language)} aria-label={Text::Message.in_language(language)}
                aria-invalid={invalid.then_some("true")} aria-describedby={if invalid { ERROR_ID } else { HINT_ID }}
            />
        }
    }

    /// The file to send, which can be dropped here too.
    fn file(&self, language: Language) -> Html {
        let onchange = self.onfile.reform(|event: Event| {
            let files = event
                .target_dyn_into::<HtmlInputElement>()
                .and_then(|input| input.files());
            files.and_then(|files| files.get(0))
        });
        // Without a value, the choice of the same file is a change too.
        let onclick = |event: MouseEvent| {
            if let Some(input) = event.target_dyn_into::<HtmlInputElement>() {
                input.set_value("");
            }
        };
        let ondrop = self.onfile.reform(|event: DragEvent| {
            event.prevent_default();
            let files = event.data_transfer().and_then(|dropped| dropped.files());
            files.and_then(|files| files.get(0))
        });
        let ondragover = |event: DragEvent| event.prevent_default();
        html! {
            <div key="file" class="composer-file" {ondrop} {ondragover}>
                <input
                    key={format!("input_{}", self.tab)} id="message_file" type="file" {onclick} {onchange} aria-label={Text::ChooseFile.in_language(language)} />
                <p key="name" id="file_name">
                    if let Some(file) = &self.state.file {
                        <bdi>{ file.name.clone() }</bdi>{ " · " }{ format::size(file.bytes) }
                    } else {
                        { Text::DropFile.in_language(language) }
                    }
                </p>
            </div>
        }
    }

    fn actions(&self, language: Language) -> Html {
        let Self { state, dispatch, .. } = self;
        let text = |text: Text| text.in_language(language);
        let size = match state.mode {
            Mode::File => None,
            mode => Some(mode.size(state.message())),
        };
        // What is wrong is said once.
        let is_told = |problem: &Sentence| state.error.as_ref().is_some_and(|error| error.message == *problem);
        let (size, problem) = match size {
            Some(Ok(bytes)) if state.message().len() > browser::MAX_KEPT_BYTES => {
                let size = Sentence::size(bytes as u64);
                (Text::DraftNotKept.with([size]).in_language(language), false)
            }
            Some(Ok(bytes)) => (format::size(bytes as u64), false),
            // An empty field is no mistake yet.
            Some(Err(_)) if state.message().is_empty() => (String::new(), false),
            Some(Err(problem)) if is_told(&problem) => (String::new(), true),
            Some(Err(problem)) => (problem.in_language(language), true),
            None => (String::new(), false),
        };
        let has_loose_templates = state.mode == Mode::Json && !problem && json::check(state.message()).is_err();
        html! {
            <>
                if let Some((sent, total)) = state.upload() {
                    <progress
                        key="upload" id="upload" value={sent.to_string()} max={total.to_string()}
                        aria-label={text(Text::Upload)}
                    />
                }
                <span key="size" id="message_size" class="composer-size" data-problem={problem.then_some("")} title={problem.then(|| size.clone())}>
                    { &size }
                </span>
                if state.mode == Mode::Json {
                    <button
                        key="format" id="format_json" type="button" disabled={problem || has_loose_templates}
                        title={has_loose_templates.then(|| text(Text::TemplatesNotLaidOut))}
                        onclick={dispatch.reform(|_: MouseEvent| Action::Format)}
                    >
                        { text(Text::FormatJson) }
                    </button>
                }
                { self.repeat(language) }
                if state.mode == Mode::Text {
                    <button
                        key="http" id="send_http" type="button" title={text(Text::SendHttpHint)}
                        onclick={dispatch.reform(|_: MouseEvent| Action::SendHttp)}
                    >
                        { text(Text::SendHttp) }
                    </button>
                }
                <button key="send" id="send_message" type="submit" data-look="primary">
                    { text(Text::Send) }
                    <kbd aria-hidden="true">{ "Ctrl ↵" }</kbd>
                </button>
            </>
        }
    }

    /// The button that opens the popover of the repetition; while it runs, the button that stops it.
    fn repeat(&self, language: Language) -> Html {
        let Self { state, dispatch, .. } = self;
        let text = |text: Text| text.in_language(language);
        let repeat = &state.repeat;
        let is_of = |field: Field| state.error.as_ref().is_some_and(|error| error.is_of(&field));
        // One button, so that it keeps the focus.
        let button = if repeat.is_running() {
            html! {
                <button
                    key="button" id="stop_repeat" type="button" data-look="danger"
                    onclick={dispatch.reform(|_: MouseEvent| Action::Repeat(false))}
                >
                    { sentences::stop_repeat(repeat.left()).in_language(language) }
                </button>
            }
        } else {
            html! {
                <button key="button" id="repeat" type="button" popovertarget={REPEAT_ID}>
                    { text(Text::Repeat) }
                    <span class="quiet" aria-hidden="true">{ " ▾" }</span>
                </button>
            }
        };
        let onstart = dispatch.reform(|_: MouseEvent| {
            // The popover goes away; it opens again for an error.
            browser::hide_popover(REPEAT_ID);
            browser::focus("repeat");
            Action::Repeat(true)
        });
        let field = |id: &'static str, label, value, field: Field| TextField {
            invalid: is_of(field),
            ..TextField::new(id, label, value, dispatch.reform(move |text| Action::Edit(field, text)))
        };
        let count = TextField {
            note: text(Text::RepeatCountHint).into(),
            ..field("repeat_count", Text::RepeatCount, &repeat.count, Field::RepeatCount)
        };
        let interval = field(
            "repeat_interval",
            Text::RepeatInterval,
            &repeat.interval,
            Field::RepeatInterval,
        );
        let error = state
            .error
            .as_ref()
            .filter(|_| is_of(Field::RepeatCount) || is_of(Field::RepeatInterval));
        html! {
            <span key="repeat">
                { button }
                <div key="options" id={REPEAT_ID} class="sheet repeat" popover="auto">
                    { count.draw(language) }
                    { interval.draw(language) }
                    <p key="templates" class="quiet">{ text(Text::RepeatHint) }{ " " }{ text(Text::LiteralHint) }</p>
                    if let Some(error) = error {
                        <p key="error" id={ERROR_ID} class="fault" role="alert">{ error.message.in_language(language) }</p>
                    }
                    <button key="start" id="start_repeat" type="button" data-look="primary" onclick={onstart}>
                        { text(Text::RepeatStart) }
                    </button>
                </div>
            </span>
        }
    }
}

/// The arrow keys take back what was sent, at the start and the end of the text, or while the field shows a text of the history: elsewhere they
/// move in it.
fn recall(event: &KeyboardEvent, shows_history: bool) -> Option<Recall> {
    if event.shift_key() || event.ctrl_key() || event.meta_key() || event.alt_key() || is_of_input_method(event) {
        return None;
    }
    let field = event.target_dyn_into::<HtmlTextAreaElement>()?;
    let caret = |place: Result<Option<u32>, _>| place.ok().flatten().unwrap_or_default() as usize;
    let (start, end) = (caret(field.selection_start()), caret(field.selection_end()));
    if start != end {
        return None;
    }
    // Places are in UTF-16.
    let length = field.value().encode_utf16().count();
    match event.key().as_str() {
        "ArrowUp" if shows_history || start == 0 => Some(Recall::Older),
        "ArrowDown" if shows_history || start == length => Some(Recall::Newer),
        _ => None,
    }
}

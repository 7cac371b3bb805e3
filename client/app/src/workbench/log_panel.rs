//! The panel of the log: its bar, the virtual list, the details of the selected message. Its keys are read by `keyboard.rs`.

use std::rc::Rc;

use gloo_events::EventListener;
use web_sys::{Element, HtmlElement, KeyboardEvent, MouseEvent, PointerEvent};
use yew::{Callback, Component, Context, Html, NodeRef, Properties, TargetCast, html};

use super::{
    detail_pane::{CopyState, DetailMode, DetailPane},
    log::{Bound, Log},
    log_entry::{Direction, LogEntry, Payload},
    log_export::{Export, ExportFormat},
    log_filter::Kind,
    log_row::{LogRow, row_id},
    log_toolbar::{CLEAR_ID, LogToolbar, UNDO_ID},
    log_view::{Batch, LogView},
    pattern_worker::{Answer, DEADLINE_MS, PatternWorker},
    sentences,
    shared_log::{SharedLog, Subscription},
    url_menu::PRESETS,
    virtual_list::ROW_PIXELS,
};
use crate::{
    animation_frame::FrameRequest,
    announcer::Announcer,
    browser::{self, Setting},
    i18n::{Language, Sentence, Text},
    keyboard::{LogKey, is_details_key, is_filter_key, log_key},
    rows::Row,
};

/// The names in storage of the filter and of how the payload is shown.
pub(super) const FILTER: &str = "filter";
pub(super) const DETAIL_MODE: &str = "detail";

/// How long the filter or an export works at a time, in milliseconds: with the drawing far less than the 50 of a long task.
pub(super) const TURN_MS: f64 = 20.0;

/// The bytes of rows that the filter looks at between two looks at the clock.
const SCAN_BYTES: usize = 256 << 10;

/// The shown rows are copied as a text up to about so many bytes; more are a file.
const COPY_BYTES: usize = 4 << 20;

/// The width of the details, in CSS pixels: at first, at least, at most, and the step of a key.
const DETAIL_WIDTH: i32 = 460;
const MIN_DETAIL_WIDTH: i32 = 320;
const MAX_DETAIL_WIDTH: i32 = 1_600;
const WIDTH_STEP: i32 = 20;

/// The log to show.
#[derive(PartialEq, Properties)]
pub(crate) struct Props {
    pub(crate) log: SharedLog,
    pub(crate) onresend: Callback<Resend>,
    /// Connects to the preset with this path.
    pub(crate) onpreset: Callback<&'static str>,
    /// There is no connection, and none is being opened: a preset can be chosen.
    pub(crate) is_over: bool,
    /// Keeps a text with a name over a reload.
    pub(crate) onkeep: Callback<(&'static str, String)>,
    pub(crate) language: Language,
}

/// A logged message is to be sent again.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Resend {
    pub(crate) payload: Payload,
    /// Otherwise the user edits it first.
    pub(crate) at_once: bool,
}

pub(crate) struct LogPanel {
    view: LogView,
    announcer: Announcer,
    /// Of the selected message.
    copy: CopyState,
    /// What is wrong with the filter's pattern.
    problem: Option<Sentence>,
    worker: Option<Worker>,
    is_menu_open: bool,
    /// What became of copying the shown rows, while the menu is open.
    shown_copied: Option<Text>,
    detail_width: i32,
    /// Goes on with the filter.
    scan_frame: FrameRequest,
    filter: NodeRef,
    viewport: NodeRef,
    space: NodeRef,
    rows: NodeRef,
    body: NodeRef,
    detail: NodeRef,
    on: DetailCallbacks,
    /// The button to focus when it is drawn, because the pressed one goes away or can be pressed no more.
    focus_next: Option<&'static str>,
    _subscription: Subscription,
    _resize: EventListener,
    _keys: EventListener,
    /// The pointer may be lifted outside of the list.
    _lifted: [EventListener; 2],
}

/// Tests the filter's pattern.
struct Worker {
    worker: PatternWorker,
    is_ready: bool,
    /// The texts that it has.
    batch: Option<Batch>,
}

/// The same for each drawing, so that the details are drawn only when they change.
struct DetailCallbacks {
    mode: Callback<DetailMode>,
    copy: Callback<MouseEvent>,
    close: Callback<()>,
    resend: Callback<bool>,
}

/// What happened to the list.
pub(crate) enum Msg {
    LogChanged,
    Announce,
    /// The element was scrolled or resized.
    Measured,
    Key(LogKey),
    Select(u64),
    /// The pointer went down on the list, or was lifted anywhere.
    Pressed(bool),
    Mode(DetailMode),
    CloseDetails,
    /// Close the details from elsewhere, where the focus stays.
    Dismiss,
    /// The details are to have this width; `done` when the pointer is lifted.
    Resize {
        width: i32,
        done: bool,
    },
    Follow,
    Pause,
    Clear,
    UndoClear,
    Copy,
    Copied(bool),
    /// The selected message, at once or after it was edited.
    Resend {
        at_once: bool,
    },
    FocusFilter,
    FilterText(String),
    FilterDirection(Option<Direction>),
    FilterKind(Option<Kind>),
    ClearFilter,
    /// The filter goes on.
    Scan,
    Pattern(Answer),
    /// Shows or hides the choices of the export.
    Menu(bool),
    Export {
        format: ExportFormat,
        only_shown: bool,
    },
    CancelExport,
    /// Copies the rows that the filter admits.
    CopyShown,
    ShownCopied(Text),
    /// The user has read why rows were dropped.
    DismissNotice,
}

impl Component for LogPanel {
    type Message = Msg;
    type Properties = Props;

    fn create(ctx: &Context<Self>) -> Self {
        let props = ctx.props();
        let log = props.log.read();
        let mut view = props.log.take_view();
        view.list.pressed = false;
        view.sync(&log);
        let (resized, lifted, filter) = (ctx.link().clone(), ctx.link().clone(), ctx.link().clone());
        let detail_width = browser::remembered(Setting::DetailWidth).and_then(|width| width.parse().ok());
        let mut panel = Self {
            view,
            announcer: Announcer::new(log.last_number()),
            copy: CopyState::Ready,
            problem: None,
            worker: None,
            is_menu_open: false,
            shown_copied: None,
            detail_width: detail_width
                .unwrap_or(DETAIL_WIDTH)
                .clamp(MIN_DETAIL_WIDTH, MAX_DETAIL_WIDTH),
            scan_frame: FrameRequest::default(),
            filter: NodeRef::default(),
            viewport: NodeRef::default(),
            space: NodeRef::default(),
            rows: NodeRef::default(),
            body: NodeRef::default(),
            detail: NodeRef::default(),
            on: DetailCallbacks {
                mode: ctx.link().callback(Msg::Mode),
                copy: ctx.link().callback(|_| Msg::Copy),
                close: ctx.link().callback(|()| Msg::CloseDetails),
                resend: ctx.link().callback(|at_once| Msg::Resend { at_once }),
            },
            focus_next: None,
            _subscription: props.log.subscribe(ctx.link().callback(|()| Msg::LogChanged)),
            _resize: browser::events::on_resize(move || resized.send_message(Msg::Measured)),
            _keys: browser::events::on_key(move |event| {
                if is_filter_key(event) {
                    filter.send_message(Msg::FocusFilter);
                } else if is_details_key(event) {
                    filter.send_message(Msg::Dismiss);
                }
            }),
            _lifted: browser::events::on_pointer_lifted(move || lifted.send_message(Msg::Pressed(false))),
        };
        panel.scan(ctx, &log);
        panel
    }

    fn changed(&mut self, ctx: &Context<Self>, before: &Props) -> bool {
        if ctx.props().log != before.log {
            before.log.keep_view(std::mem::take(&mut self.view));
            *self = Self::create(ctx);
        }
        true
    }

    fn destroy(&mut self, ctx: &Context<Self>) {
        ctx.props().log.keep_view(std::mem::take(&mut self.view));
    }

    fn update(&mut self, ctx: &Context<Self>, msg: Msg) -> bool {
        let Props { log, language, .. } = ctx.props();
        match msg {
            Msg::LogChanged => {
                let log = log.read();
                self.view.sync(&log);
                self.scan(ctx, &log);
                self.announcer
                    .log_changed(log.last_number(), ctx.link().callback(|()| Msg::Announce));
            }
            Msg::Announce => {
                let log = log.read();
                let new = log.after(self.announcer.last_number()).rev();
                let texts = new.map(|row| row.content.announcement(*language));
                self.announcer.announce(log.last_number(), texts, *language);
            }
            Msg::Measured => return self.measure(self.view.len(&log.read())),
            Msg::Key(LogKey::Move(movement)) => {
                self.view.move_selection(&log.read(), movement);
                self.copy = CopyState::Ready;
            }
            Msg::Select(number) => {
                self.hold_position(&log.read());
                self.view.select(&log.read(), number);
                self.copy = CopyState::Ready;
            }
            Msg::Pressed(pressed) => {
                if pressed {
                    self.hold_position(&log.read());
                } else if self.view.list.pressed && !browser::has_focus() {
                    // The rows were drawn again between the `pointerdown` and the `mousedown` that moves the focus.
                    focus(&self.viewport);
                }
                self.view.list.pressed = pressed;
            }
            Msg::Mode(mode) => {
                self.view.mode = mode;
                ctx.props().onkeep.emit((DETAIL_MODE, mode.id().to_owned()));
            }
            Msg::Key(LogKey::FocusDetails) => {
                focus(&self.detail);
                return false;
            }
            Msg::CloseDetails | Msg::Key(LogKey::CloseDetails) => {
                self.view.list.selected = None;
                focus(&self.viewport);
            }
            Msg::Dismiss => return self.view.list.selected.take().is_some(),
            Msg::Resize { width, done } => {
                self.detail_width = width.clamp(MIN_DETAIL_WIDTH, MAX_DETAIL_WIDTH);
                if done {
                    browser::remember(Setting::DetailWidth, &self.detail_width.to_string());
                }
            }
            Msg::Follow => {
                self.hold_position(&log.read());
                self.view.list.follow = !self.view.list.follow;
            }
            Msg::Pause => {
                let log = log.read();
                self.view.toggle_pause(&log);
                self.scan(ctx, &log);
            }
            Msg::Clear => {
                self.view.cleared();
                log.change(Log::clear);
                self.focus_next = Some(UNDO_ID);
            }
            Msg::UndoClear => {
                log.change(Log::undo_clear);
                self.focus_next = Some(CLEAR_ID);
            }
            Msg::Copy | Msg::Key(LogKey::Copy) => {
                if let Some(row) = self.view.selected(&log.read()) {
                    let text = row.content.full_text(*language);
                    ctx.link()
                        .send_future(async move { Msg::Copied(browser::copy(&text).await) });
                }
                return false;
            }
            Msg::Copied(done) => {
                self.copy = if done { CopyState::Copied } else { CopyState::Failed };
                if !done && let Some(element) = self.detail.cast::<Element>() {
                    browser::select_all(&element);
                }
            }
            Msg::Resend { at_once } => {
                let row = self.view.selected(&log.read());
                if let Some(payload) = row.and_then(|row| row.content.payload().cloned()) {
                    ctx.props().onresend.emit(Resend { payload, at_once });
                    if !at_once {
                        browser::focus("message");
                    }
                }
                return false;
            }
            Msg::FocusFilter => {
                focus(&self.filter);
                return false;
            }
            Msg::FilterText(text) => {
                self.problem = None;
                self.change_filter(ctx, |filter| filter.set_text(text));
            }
            Msg::FilterDirection(direction) => self.change_filter(ctx, |filter| filter.direction = direction),
            Msg::FilterKind(kind) => self.change_filter(ctx, |filter| filter.kind = kind),
            Msg::ClearFilter => {
                self.problem = None;
                self.change_filter(ctx, |filter| *filter = super::log_filter::Filter::default());
                focus(&self.filter);
            }
            Msg::Scan => {
                self.scan_frame.complete();
                self.scan(ctx, &log.read());
            }
            Msg::Pattern(answer) => self.pattern_answered(ctx, answer),
            Msg::Menu(is_open) => {
                self.is_menu_open = is_open;
                self.shown_copied = None;
            }
            Msg::Export { format, only_shown } => {
                self.is_menu_open = false;
                let only = only_shown.then(|| self.view.numbers());
                let export = Export::new(format, &log.read(), only, *language);
                log.export(export);
            }
            Msg::CancelExport => log.cancel_export(),
            Msg::CopyShown => {
                let only = self.view.filter().is_active().then(|| self.view.numbers());
                let log = log.read();
                let (rows, is_whole) =
                    Export::new(ExportFormat::JsonLines, &log, only, *language).step(&log, COPY_BYTES);
                ctx.link().send_future(async move {
                    Msg::ShownCopied(match is_whole {
                        false => Text::TooLongToCopy,
                        true if browser::copy(&rows).await => Text::Copied,
                        true => Text::LinkNotCopied,
                    })
                });
                return false;
            }
            Msg::ShownCopied(outcome) => self.shown_copied = Some(outcome),
            Msg::DismissNotice => {
                log.change(Log::dismiss_notice);
                // The pressed button goes away.
                focus(&self.viewport);
            }
        }
        true
    }

    fn view(&self, ctx: &Context<Self>) -> Html {
        let language = ctx.props().language;
        let text = |text: Text| text.in_language(language);
        let log = ctx.props().log.read();
        let total = self.view.len(&log);
        let selected = self.view.selected(&log);
        // Only a drawn row has an element.
        let active = selected.as_ref().map(|row| row.number).filter(|number| {
            let place = self.view.index_of(&log, *number);
            place.is_some_and(|place| self.view.list.drawn(total).contains(&place))
        });
        let bar = LogToolbar {
            log: &log,
            view: &self.view,
            problem: self.problem.as_ref(),
            exporting: ctx.props().log.exporting(),
            is_menu_open: self.is_menu_open,
            shown_copied: self.shown_copied,
            filter: self.filter.clone(),
            send: ctx.link().callback(|msg| msg),
            language,
        };
        html! {
            <section class="log" aria-labelledby="log_title">
                <h2 key="title" id="log_title" class="visually-hidden">{ text(Text::Messages) }</h2>
                { bar.draw() }
                <div key="body" class="log-body" ref={self.body.clone()}>
                    <div key="table" class="log-table">
                        <div key="head" class="log-head" aria-hidden="true">
                            <span class="number">{ "#" }</span>
                            <span class="time">{ text(Text::ColumnTime) }</span>
                            <span class="delta">{ "Δ ms" }</span>
                            <span class="sign"></span>
                            <span class="cell">{ text(Text::Message) }</span>
                            <span class="size">{ text(Text::ColumnSize) }</span>
                        </div>
                        { log.notice().map(|bound| notice(ctx, bound)) }
                        <div
                            key="viewport" class="log-viewport" tabindex="0"
                            // A list box must have options.
                            role={if total > 0 { "listbox" } else { "group" }} ref={self.viewport.clone()}
                            aria-labelledby="log_title" aria-describedby="log_keys"
                            aria-activedescendant={active.map(row_id)}
                            onscroll={ctx.link().callback(|_| Msg::Measured)}
                            onpointerdown={ctx.link().callback(|_| Msg::Pressed(true))}
                            onkeydown={ctx.link().batch_callback(|event: KeyboardEvent| log_key(&event).map(Msg::Key))}
                        >
                            { (total == 0).then(|| self.empty(ctx, &log)) }
                            <div key="space" class="log-space" ref={self.space.clone()}>
                                <ul id="messagecontainer" class="log-rows" role="presentation" ref={self.rows.clone()}>
                                    { self.drawn_rows(ctx, &log) }
                                </ul>
                            </div>
                        </div>
                    </div>
                    { selected.is_some().then(|| self.separator(ctx)) }
                    { selected.map(|row| self.details(ctx, row)) }
                </div>
                <p key="keys" id="log_keys" class="visually-hidden">{ text(Text::ListKeys) }</p>
                { self.announcer.draw() }
            </section>
        }
    }

    fn rendered(&mut self, ctx: &Context<Self>, _first: bool) {
        let total = self.view.len(&ctx.props().log.read());
        let places = self.view.list.drawn(total);
        // Through the CSSOM: a `style` attribute would need `unsafe-inline` in the content security policy.
        set_style(&self.space, "height", total * ROW_PIXELS as usize);
        set_style(&self.rows, "top", places.start * ROW_PIXELS as usize);
        set_style(&self.body, "--detail-width", self.detail_width.unsigned_abs() as usize);
        self.scroll_to_state(total);
        if let Some(id) = self.focus_next.take() {
            browser::focus(id);
        }
        // The first drawing assumes a height, and the window may have another one.
        if self.measure(total) {
            ctx.link().send_message(Msg::LogChanged);
        }
    }
}

impl LogPanel {
    /// The elements of the visible rows and of some around them; other rows have none.
    fn drawn_rows(&self, ctx: &Context<Self>, log: &Log<LogEntry>) -> Html {
        let language = ctx.props().language;
        let onselect = ctx.link().callback(Msg::Select);
        let total = self.view.len(log);
        let places = self.view.list.drawn(total);
        let above = places.start.checked_sub(1).and_then(|index| self.view.get(log, index));
        let mut before = above.map(|row| row.at);
        places
            .filter_map(|index| Some((index, self.view.get(log, index)?)))
            .map(|(index, row)| {
                let row = LogRow {
                    row,
                    before: before.replace(row.at),
                    selected: self.view.list.selected == Some(row.number),
                    place: index + 1,
                    total,
                };
                row.draw(&onselect, language)
            })
            .collect()
    }

    /// What the list says when it shows no rows.
    fn empty(&self, ctx: &Context<Self>, log: &Log<LogEntry>) -> Html {
        let text = |text: Text| text.in_language(ctx.props().language);
        if log.len() == 0 {
            return self.start(ctx);
        }
        if !self.view.filter().is_active() {
            // Paused, and what was shown is gone.
            let waiting = Text::RowsWaiting.with([Sentence::thousands(self.view.waiting(log))]);
            return html! {
                <div key="empty" class="empty">
                    <p>{ waiting.in_language(ctx.props().language) }</p>
                    <button id="resume_log" type="button" onclick={ctx.link().callback(|_| Msg::Pause)}>
                        { text(Text::Resume) }
                    </button>
                </div>
            };
        }
        html! {
            <div key="empty" class="empty">
                <p>{ text(Text::NothingMatches) }</p>
                <button id="clear_filter" type="button" onclick={ctx.link().callback(|_| Msg::ClearFilter)}>
                    { text(Text::ClearFilter) }
                </button>
            </div>
        }
    }

    /// What to begin with.
    fn start(&self, ctx: &Context<Self>) -> Html {
        let Props {
            onpreset,
            is_over,
            language,
            ..
        } = ctx.props();
        let text = |text: Text| text.in_language(*language);
        let presets = PRESETS.map(|(name, path)| {
            let onclick = onpreset.reform(move |_: MouseEvent| path);
            html! { <button key={path} type="button" data-preset={path} {onclick}>{ text(name) }</button> }
        });
        let keys = [
            ("Ctrl K", Text::KeyAddress),
            ("Ctrl Shift Enter", Text::KeyConnect),
            ("Ctrl Enter", Text::KeySend),
            ("Ctrl /", Text::KeyFilter),
            ("?", Text::Help),
        ];
        let keys = keys.into_iter().map(|(keys, meaning)| {
            let keys = keys.split(' ').map(|key| html! { <kbd>{ key }</kbd> });
            html! { <div><dt>{ for keys }</dt><dd>{ text(meaning) }</dd></div> }
        });
        html! {
            <div key="empty" class="empty">
                if *is_over {
                    <p key="text">{ text(Text::LogEmpty) }</p>
                    <div key="presets" class="presets">{ for presets }</div>
                } else {
                    <p key="text">{ text(Text::LogCleared) }</p>
                }
                <dl class="empty-keys">{ for keys }</dl>
            </div>
        }
    }

    fn details(&self, ctx: &Context<Self>, row: Rc<Row<LogEntry>>) -> Html {
        let log = ctx.props().log.read();
        let above = self
            .view
            .index_of(&log, row.number)
            .and_then(|index| index.checked_sub(1));
        let before = above.and_then(|index| self.view.get(&log, index)).map(|row| row.at);
        html! {
            <DetailPane
                key="detail" {row} {before} mode={self.view.mode} copy={self.copy} body={self.detail.clone()}
                onmode={self.on.mode.clone()} oncopy={self.on.copy.clone()} onclose={self.on.close.clone()}
                onresend={self.on.resend.clone()}
                language={ctx.props().language}
            />
        }
    }

    /// Changes the width of the details, by a pointer or the arrow keys.
    fn separator(&self, ctx: &Context<Self>) -> Html {
        let body = self.body.clone();
        // The details are at the right edge.
        let width_at = move |event: &PointerEvent| {
            let right = body.cast::<Element>()?.get_bounding_client_rect().right();
            #[expect(clippy::cast_possible_truncation, reason = "pixels of a window")]
            let right = right as i32;
            Some(right - event.client_x())
        };
        let onpointerdown = |event: PointerEvent| {
            // Otherwise the drag would select text.
            event.prevent_default();
            if let Some(separator) = event.target_dyn_into::<HtmlElement>() {
                // Fails only for a pointer that is gone.
                let _: Result<(), wasm_bindgen::JsValue> = separator.set_pointer_capture(event.pointer_id());
                let _: Result<(), wasm_bindgen::JsValue> = separator.focus();
            }
        };
        let dragged = move |done: bool| {
            let width_at = width_at.clone();
            ctx.link().batch_callback(move |event: PointerEvent| {
                let is_dragged = event
                    .target_dyn_into::<Element>()
                    .is_some_and(|separator| separator.has_pointer_capture(event.pointer_id()));
                let width = width_at(&event).filter(|_| is_dragged)?;
                Some(Msg::Resize { width, done })
            })
        };
        let width = self.detail_width;
        let onkeydown = ctx.link().batch_callback(move |event: KeyboardEvent| {
            let width = match event.key().as_str() {
                "ArrowLeft" => width + WIDTH_STEP,
                "ArrowRight" => width - WIDTH_STEP,
                "Home" => MIN_DETAIL_WIDTH,
                "Enter" => DETAIL_WIDTH,
                _ => return None,
            };
            event.prevent_default();
            Some(Msg::Resize { width, done: true })
        });
        html! {
            <div
                key="separator" id="detail_separator" class="separator" role="separator" tabindex="0" aria-orientation="vertical"
                aria-label={Text::DetailWidth.in_language(ctx.props().language)} aria-controls="detail"
                aria-valuenow={width.to_string()} aria-valuemin={MIN_DETAIL_WIDTH.to_string()}
                aria-valuemax={MAX_DETAIL_WIDTH.to_string()}
                {onpointerdown} onpointermove={dragged(false)} onpointerup={dragged(true)} {onkeydown}
            />
        }
    }

    fn change_filter(&mut self, ctx: &Context<Self>, change: impl FnOnce(&mut super::log_filter::Filter)) {
        let log = ctx.props().log.read();
        self.view.change_filter(&log, change);
        ctx.props().onkeep.emit((FILTER, self.view.filter().to_text()));
        // A busy worker has texts for the pattern before.
        if self.worker.as_ref().is_some_and(|worker| worker.batch.is_some()) {
            self.worker = None;
        }
        self.scan(ctx, &log);
    }

    /// Lets the filter look at rows for a turn, and go on with the next frame.
    fn scan(&mut self, ctx: &Context<Self>, log: &Log<LogEntry>) {
        let end = js_sys::Date::now() + TURN_MS;
        while self.view.scan(log, SCAN_BYTES) {
            if js_sys::Date::now() >= end {
                self.scan_frame.request(ctx.link().callback(|()| Msg::Scan));
                return;
            }
        }
        self.test_pattern(ctx, log, end);
    }

    /// Gives the worker the next texts, unless it has some.
    fn test_pattern(&mut self, ctx: &Context<Self>, log: &Log<LogEntry>, end: f64) {
        let Some(pattern) = self.view.filter().pattern().cloned() else {
            self.worker = None;
            return;
        };
        if self.worker.is_none() {
            let Some(worker) = PatternWorker::start(ctx.link().callback(Msg::Pattern)) else {
                self.problem = Some(Text::NoPatternWorker.into());
                self.view.ignore_pattern(log);
                self.scan_frame.request(ctx.link().callback(|()| Msg::Scan));
                return;
            };
            self.worker = Some(Worker {
                worker,
                is_ready: false,
                batch: None,
            });
        }
        let Some(worker) = self
            .worker
            .as_mut()
            .filter(|worker| worker.is_ready && worker.batch.is_none())
        else {
            return;
        };
        while let Some(batch) = self.view.batch(log) {
            if !batch.texts.is_empty() {
                worker.worker.test(&pattern, &batch.texts);
                worker.batch = Some(batch);
                return;
            }
            self.view.accept(log, &batch, &[]);
            if js_sys::Date::now() >= end {
                self.scan_frame.request(ctx.link().callback(|()| Msg::Scan));
                return;
            }
        }
    }

    fn pattern_answered(&mut self, ctx: &Context<Self>, answer: Answer) {
        let log = ctx.props().log.read();
        let Some(worker) = &mut self.worker else { return };
        worker.worker.answered();
        let batch = worker.batch.take();
        let problem = match answer {
            Answer::Ready => {
                worker.is_ready = true;
                None
            }
            Answer::Matching(indices) => {
                if let Some(batch) = batch {
                    self.view.accept(&log, &batch, &indices);
                }
                None
            }
            // Chromium and WebKit repeat the pattern before the reason.
            Answer::Invalid(why) => {
                let reason = why.as_bytes().windows(2).rposition(|window| window == b": ");
                let why = reason.map_or(&*why, |at| &why[at + 2..]);
                Some(Text::BadPattern.with([why.trim_end_matches('.').into()]))
            }
            Answer::TooSlow => Some(Text::SlowPattern.with([DEADLINE_MS.into()])),
            Answer::Failed => Some(Text::NoPatternWorker.into()),
        };
        if problem.is_some() {
            self.worker = None;
            self.problem = problem;
            self.view.ignore_pattern(&log);
        }
        self.scan(ctx, &log);
    }

    /// Starts a rest of the following where the element stands: otherwise the row under the pointer would go away, and the focus with it.
    fn hold_position(&mut self, log: &Log<LogEntry>) {
        if let Some(element) = self.viewport.cast::<Element>() {
            self.view.hold(log, f64::from(element.scroll_top()));
        }
    }

    /// Reads the scroll position and the height of the element; returns whether the drawn rows change.
    fn measure(&mut self, total: usize) -> bool {
        let Some(element) = self.viewport.cast::<Element>() else {
            return false;
        };
        let list = &mut self.view.list;
        let before = (list.drawn(total), list.follow);
        if total == 0 {
            // What is shown in place of rows begins at its start.
            list.height = f64::from(element.client_height());
            return before != (list.drawn(total), list.follow);
        }
        list.scrolled(
            f64::from(element.scroll_top()),
            f64::from(element.client_height()),
            f64::from(element.scroll_height()),
        );
        before != (list.drawn(total), list.follow)
    }

    /// Scrolls the element to the position of the state.
    fn scroll_to_state(&mut self, total: usize) {
        self.view.list.moved = false;
        let Some(element) = self.viewport.cast::<Element>().filter(|_| total > 0) else {
            return;
        };
        let list = &self.view.list;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the browser clamps it to the list's height"
        )]
        let wanted = if list.is_following() {
            element.scroll_height()
        } else {
            list.scroll_top as i32
        };
        if element.scroll_top() != wanted {
            element.set_scroll_top(wanted);
        }
    }
}

/// Why rows were dropped, over the oldest visible rows: nothing moves.
fn notice(ctx: &Context<LogPanel>, bound: Bound) -> Html {
    let language = ctx.props().language;
    html! {
        <div key="notice" id="log_notice" class="log-notice" role="status">
            <p>{ sentences::log_full(bound).in_language(language) }</p>
            <button
                id="dismiss_notice" type="button" data-look="small"
                onclick={ctx.link().callback(|_: MouseEvent| Msg::DismissNotice)}
            >
                { Text::CloseDetails.in_language(language) }
            </button>
        </div>
    }
}

fn focus(element: &NodeRef) {
    if let Some(element) = element.cast::<HtmlElement>() {
        // Focusing an element that is on the page cannot fail.
        let _: Result<(), wasm_bindgen::JsValue> = element.focus();
    }
}

fn set_style(element: &NodeRef, property: &str, pixels: usize) {
    if let Some(element) = element.cast::<HtmlElement>() {
        // The property names are valid, so setting them cannot fail.
        let _: Result<(), wasm_bindgen::JsValue> = element.style().set_property(property, &format!("{pixels}px"));
    }
}

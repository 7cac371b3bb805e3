//! The panel of the log: its heading and switches, the virtual list, the details of the selected message. Its keys are
//! read by `keyboard.rs`.

use std::rc::Rc;

use gloo_events::EventListener;
use web_sys::{Element, HtmlElement, KeyboardEvent};
use yew::{Component, Context, Html, NodeRef, Properties, html};

use super::{
    detail_pane::{CopyState, DetailPane},
    log::Log,
    log_entry::LogEntry,
    log_row::{LogRow, row_id},
    shared_log::{SharedLog, Subscription},
    virtual_list::{ROW_PIXELS, VirtualList},
};
use crate::{
    announcer::Announcer,
    browser,
    form::{Button, Look},
    i18n::{Language, Sentence, Text},
    keyboard::{LogKey, log_key},
    rows::Row,
};

/// The log to show.
#[derive(PartialEq, Properties)]
pub(crate) struct Props {
    pub(crate) log: SharedLog<LogEntry>,
    pub(crate) language: Language,
}

pub(crate) struct LogPanel {
    list: VirtualList,
    /// The number of the oldest row when the log was drawn last; the difference to now is what was dropped.
    first: u64,
    announcer: Announcer,
    /// Of the selected message.
    copy: CopyState,
    viewport: NodeRef,
    space: NodeRef,
    rows: NodeRef,
    detail: NodeRef,
    _subscription: Subscription,
    _resize: EventListener,
    /// The pointer may be lifted outside of the list.
    _lifted: [EventListener; 2],
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
    CloseDetails,
    Follow,
    Clear,
    UndoClear,
    Copy,
    Copied(bool),
}

impl Component for LogPanel {
    type Message = Msg;
    type Properties = Props;

    fn create(ctx: &Context<Self>) -> Self {
        let log = ctx.props().log.read();
        let (resized, lifted) = (ctx.link().clone(), ctx.link().clone());
        Self {
            list: VirtualList::default(),
            first: log.first_number(),
            announcer: Announcer::new(log.last_number()),
            copy: CopyState::Ready,
            viewport: NodeRef::default(),
            space: NodeRef::default(),
            rows: NodeRef::default(),
            detail: NodeRef::default(),
            _subscription: ctx.props().log.subscribe(ctx.link().callback(|()| Msg::LogChanged)),
            _resize: browser::events::on_resize(move || resized.send_message(Msg::Measured)),
            _lifted: browser::events::on_pointer_lifted(move || lifted.send_message(Msg::Pressed(false))),
        }
    }

    fn update(&mut self, ctx: &Context<Self>, msg: Msg) -> bool {
        let Props { log, language } = ctx.props();
        match msg {
            Msg::LogChanged => {
                let log = log.read();
                self.compensate_dropped(&log);
                self.announcer
                    .log_changed(log.last_number(), ctx.link().callback(|()| Msg::Announce));
            }
            Msg::Announce => {
                let log = log.read();
                let new = log.after(self.announcer.last_number()).rev();
                let texts = new.map(|row| row.content.announcement(*language));
                self.announcer.announce(log.last_number(), texts, *language);
            }
            Msg::Measured => return self.measure(log.read().len()),
            Msg::Key(LogKey::Move(movement)) => {
                let log = log.read();
                self.list.move_selection(movement, log.first_number(), log.len());
                self.copy = CopyState::Ready;
            }
            Msg::Select(number) => {
                self.hold_position(&log.read());
                self.list.selected = Some(number);
                self.copy = CopyState::Ready;
            }
            Msg::Pressed(pressed) => {
                if pressed {
                    self.hold_position(&log.read());
                } else if self.list.pressed && !browser::has_focus() {
                    // The rows were drawn again between the `pointerdown` and the `mousedown` that moves the focus.
                    self.focus_list();
                }
                self.list.pressed = pressed;
            }
            Msg::CloseDetails | Msg::Key(LogKey::CloseDetails) => {
                self.list.selected = None;
                self.focus_list();
            }
            Msg::Follow => self.list.follow = !self.list.follow,
            Msg::Clear => {
                self.list = VirtualList {
                    height: self.list.height,
                    ..VirtualList::default()
                };
                log.change(Log::clear);
            }
            Msg::UndoClear => log.change(Log::undo_clear),
            Msg::Copy | Msg::Key(LogKey::Copy) => {
                if let Some(row) = self.selected(&log.read()) {
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
        }
        true
    }

    fn view(&self, ctx: &Context<Self>) -> Html {
        let language = ctx.props().language;
        let text = |text: Text| text.in_language(language);
        let log = ctx.props().log.read();
        let selected = self.selected(&log);
        html! {
            <section class="card log" aria-labelledby="log_title">
                { self.head(ctx, &log) }
                <div
                    key="viewport" class="log-viewport" tabindex="0"
                    // A list box must have options.
                    role={if log.len() > 0 { "listbox" } else { "region" }} ref={self.viewport.clone()}
                    aria-labelledby="log_title" aria-describedby="log_keys"
                    aria-activedescendant={selected.as_ref().map(|row| row_id(row.number))}
                    onscroll={ctx.link().callback(|_| Msg::Measured)}
                    onpointerdown={ctx.link().callback(|_| Msg::Pressed(true))}
                    onkeydown={ctx.link().batch_callback(|event: KeyboardEvent| log_key(&event).map(Msg::Key))}
                >
                    if log.len() == 0 {
                        <p class="empty">{ text(Text::LogEmpty) }</p>
                    }
                    <div class="log-space" ref={self.space.clone()}>
                        <ul id="messagecontainer" class="log-rows" role="presentation" ref={self.rows.clone()}>
                            { self.drawn_rows(ctx, &log) }
                        </ul>
                    </div>
                </div>
                <p key="keys" id="log_keys" class="visually-hidden">{ text(Text::ListKeys) }</p>
                { self.announcer.draw() }
                { selected.map(|row| self.details(ctx, &row)) }
            </section>
        }
    }

    fn rendered(&mut self, ctx: &Context<Self>, _first: bool) {
        let log = ctx.props().log.read();
        let places = self.list.drawn(log.len());
        // Through the CSSOM: a `style` attribute would need `unsafe-inline` in the content security policy.
        set_style(&self.space, "height", log.len());
        set_style(&self.rows, "top", places.start);
        self.scroll_to_state();
        // The first drawing assumes a height, and the detail pane changes it.
        if self.measure(log.len()) {
            ctx.link().send_message(Msg::LogChanged);
        }
    }
}

impl LogPanel {
    /// The heading, the number of rows, and the switches.
    fn head(&self, ctx: &Context<Self>, log: &Log<LogEntry>) -> Html {
        let language = ctx.props().language;
        let text = |text: Text| text.in_language(language);
        let (id, label, msg): (_, _, fn() -> Msg) = if log.len() == 0 && log.can_undo_clear() {
            ("undo_clear", Text::UndoClear, || Msg::UndoClear)
        } else {
            ("clear_log", Text::Clear, || Msg::Clear)
        };
        let disabled = log.len() == 0 && !log.can_undo_clear();
        let button = Button {
            id,
            label: text(label),
            look: Look::Small,
            disabled,
        };
        html! {
            <div key="head" class="card-head">
                <h2 id="log_title">{ text(Text::Messages) }</h2>
                <span id="log_count" class="count quiet">{ log.len() }</span>
                if log.dropped() > 0 {
                    <span id="rows_dropped" class="quiet">
                        { Sentence::RowsDropped(log.dropped()).in_language(language) }
                    </span>
                }
                <span class="spring" />
                <label class="switch">
                    <input
                        id="follow" type="checkbox" checked={self.list.follow}
                        onchange={ctx.link().callback(|_| Msg::Follow)}
                    />
                    { text(Text::Follow) }
                </label>
                { button.on_click(ctx.link().callback(move |_| msg())) }
            </div>
        }
    }

    /// The elements of the visible rows and [`VirtualList::drawn`]'s margin; other rows have none.
    fn drawn_rows(&self, ctx: &Context<Self>, log: &Log<LogEntry>) -> Html {
        let language = ctx.props().language;
        let onselect = ctx.link().callback(Msg::Select);
        let places = self.list.drawn(log.len());
        log.range(places.clone())
            .zip(places)
            .map(|(row, place)| {
                let selected = self.list.selected == Some(row.number);
                LogRow {
                    row,
                    selected,
                    place: place + 1,
                    total: log.len(),
                }
                .draw(&onselect, language)
            })
            .collect()
    }

    fn details(&self, ctx: &Context<Self>, row: &Row<LogEntry>) -> Html {
        let pane = DetailPane {
            row,
            copy: self.copy,
            body: self.detail.clone(),
            oncopy: ctx.link().callback(|()| Msg::Copy),
            onclose: ctx.link().callback(|()| Msg::CloseDetails),
        };
        pane.draw(ctx.props().language)
    }

    fn selected(&self, log: &Log<LogEntry>) -> Option<Rc<Row<LogEntry>>> {
        log.get(self.list.selected?).cloned()
    }

    /// Keeps the visible rows in place after old rows were dropped.
    fn compensate_dropped(&mut self, log: &Log<LogEntry>) {
        let first = log.first_number();
        if first > self.first && !self.list.is_following() {
            self.list.front_dropped(first - self.first);
        }
        self.first = first;
    }

    /// Starts a rest of the following where the element stands. The position in the state is older by the rows that came since
    /// the last scroll event: with that one the row under the pointer would go away, and the focus with it.
    fn hold_position(&mut self, log: &Log<LogEntry>) {
        if self.list.is_following()
            && let Some(element) = self.viewport.cast::<Element>()
        {
            self.list.scroll_top = f64::from(element.scroll_top());
            let first = log.first_number();
            self.list.front_dropped(first - self.first);
            self.first = first;
        }
    }

    /// Reads the scroll position and the height of the element; returns whether the drawn rows change.
    fn measure(&mut self, total: usize) -> bool {
        let Some(element) = self.viewport.cast::<Element>() else {
            return false;
        };
        let before = (self.list.drawn(total), self.list.follow);
        self.list.scrolled(
            f64::from(element.scroll_top()),
            f64::from(element.client_height()),
            f64::from(element.scroll_height()),
        );
        before != (self.list.drawn(total), self.list.follow)
    }

    /// Scrolls the element to the position of the state.
    fn scroll_to_state(&self) {
        let Some(element) = self.viewport.cast::<Element>() else {
            return;
        };
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the browser clamps it to the list's height"
        )]
        let wanted = if self.list.is_following() {
            element.scroll_height()
        } else {
            self.list.scroll_top as i32
        };
        if element.scroll_top() != wanted {
            element.set_scroll_top(wanted);
        }
    }

    fn focus_list(&self) {
        if let Some(element) = self.viewport.cast::<HtmlElement>() {
            // Focusing an element that is on the page cannot fail.
            let _: Result<(), wasm_bindgen::JsValue> = element.focus();
        }
    }
}

fn set_style(element: &NodeRef, property: &str, rows: usize) {
    if let Some(element) = element.cast::<HtmlElement>() {
        let pixels = format!("{}px", rows * ROW_PIXELS as usize);
        // The property names are valid, so setting them cannot fail.
        let _: Result<(), wasm_bindgen::JsValue> = element.style().set_property(property, &pixels);
    }
}

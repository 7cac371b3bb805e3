//! The bar with the state of the connection, its address, its options, and the button to connect, cancel and disconnect; below it the error,
//! when there is one.
//!
//! The options (subprotocols, close code and reason, status) are popovers of the bar's buttons. On a narrow page all are in one sheet, see
//! `workbench.css`.

use talkback_client::close::MAX_REASON_BYTES;
use web_sys::{Event, FocusEvent, HtmlInputElement, InputEvent, KeyboardEvent, MouseEvent, SubmitEvent};
use yew::{Callback, Html, TargetCast, html};

use super::{
    icon_button::IconButton,
    reducer::{Action, Field, WorkbenchState},
    saved::{Kind, Saved},
    saved_sheet::{SavedSheet, SheetMove, on_toggle},
    sentences,
    status_strip::status_strip,
    subprotocols::{ChipMove, MAX_BYTES},
    url_menu::{Choice, LIST_ID, MenuMove, UrlMenu},
};
use crate::{
    browser,
    connection::{CLOSE_HINT_MS, CONNECT_HINT_MS, End, Phase},
    form::{ERROR_ID, TextField, text_of},
    format,
    i18n::{Language, Sentence, Text},
    keyboard::is_of_input_method,
};

/// The `id` of the form whose submit button connects.
const FORM_ID: &str = "connection";

/// The `id`s of the popovers.
pub(super) const OPTIONS_ID: &str = "connection_options";
pub(super) const SAVED_ID: &str = "saved_connections";
const SUBPROTOCOLS_ID: &str = "subprotocol_options";
const CLOSE_ID: &str = "close_options";

/// The buttons that open them: of the sheet of a narrow page, and of the two popovers of a wide one.
const OPTIONS_BUTTON: &str = "more_options";
const SUBPROTOCOLS_BUTTON: &str = "subprotocols_button";
const CLOSE_BUTTON: &str = "close_with";

/// What is wrong with the close code or the reason, beside them.
const CLOSE_PROBLEM_ID: &str = "close_problem";

/// The buttons whose popovers have this field; those in view are opened when the field has an error.
pub(super) fn buttons_of(field: Field) -> &'static [&'static str] {
    match field {
        Field::Subprotocols => &[OPTIONS_BUTTON, SUBPROTOCOLS_BUTTON],
        Field::CloseCode | Field::CloseReason => &[OPTIONS_BUTTON, CLOSE_BUTTON],
        Field::RepeatCount | Field::RepeatInterval => &["repeat"],
        Field::Url | Field::Message => &[],
    }
}

/// The bar's values and callbacks.
pub(super) struct UrlBar<'a> {
    pub(super) state: &'a WorkbenchState,
    pub(super) menu: UrlMenu,
    /// What the list of the address offers.
    pub(super) choices: Vec<Choice>,
    /// The address is a pinned one.
    pub(super) pinned: bool,
    pub(super) dispatch: Callback<Action>,
    pub(super) onmenu: Callback<MenuMove>,
    pub(super) onchoose: Callback<Choice>,
    /// Forget a recent address.
    pub(super) onremove: Callback<String>,
    pub(super) saved: &'a Saved,
    pub(super) sheet: &'a SavedSheet,
    pub(super) onsheet: Callback<SheetMove>,
    pub(super) onpin: Callback<()>,
    /// Whether the link that the user asked for last is on the clipboard.
    pub(super) shared: Option<bool>,
    pub(super) onshare: Callback<()>,
    /// There may be another tab.
    pub(super) can_add: bool,
    pub(super) onadd: Callback<()>,
    pub(super) now: f64,
}

impl UrlBar<'_> {
    pub(super) fn draw(&self, language: Language) -> Html {
        let Self { state, dispatch, .. } = self;
        let is_invalid = |field: &Field| state.error.as_ref().is_some_and(|error| error.is_of(field));
        let add = IconButton {
            disabled: !self.can_add,
            ..IconButton::new(
                "new_tab",
                (if self.can_add { Text::NewTab } else { Text::TabsFull }).in_language(language),
                "M8 3v10M3 8h10",
                self.onadd.reform(|_: MouseEvent| ()),
            )
        };
        html! {
            <div key="bar" class="url-bar">
                { add.draw() }
                { self.address(is_invalid(&Field::Url), language) }
                <button
                    key="more" id={OPTIONS_BUTTON} type="button" class="narrow-only" popovertarget={OPTIONS_ID}
                    aria-label={Text::ConnectionOptions.in_language(language)}
                >
                    { "⋯" }
                </button>
                <div
                    key="options" id={OPTIONS_ID} class="sheet bar-options" popover="auto"
                    ontoggle={on_toggle(OPTIONS_ID, &self.onsheet)}
                >
                    <div key="address" class="narrow-only address-actions">
                        <button
                            key="pin" id="pin_in_sheet" type="button" aria-pressed={self.pinned.to_string()}
                            onclick={self.onpin.reform(|_: MouseEvent| ())}
                        >
                            { Text::PinAddress.in_language(language) }
                        </button>
                        <button key="share" id="share_in_sheet" type="button" onclick={self.onshare.reform(|_: MouseEvent| ())}>
                            { self.share_label().in_language(language) }
                        </button>
                    </div>
                    { subprotocols(state, dispatch, is_invalid(&Field::Subprotocols), language) }
                    { close_options(state, dispatch, is_invalid, language) }
                    { status_strip(state, self.now, language) }
                    <div
                        key="saved" id={SAVED_ID} class="sheet saved" popover="auto" role="dialog" aria-label={Text::SavedConnections.in_language(language)}
                        ontoggle={on_toggle(SAVED_ID, &self.onsheet)}
                    >
                        <h2 key="title" class="narrow-only">{ Text::SavedConnections.in_language(language) }</h2>
                        { self.sheet.draw(Kind::Connection, self.saved, &self.onsheet, language) }
                        { self.sheet.draw_files(&self.onsheet, language) }
                    </div>
                </div>
                { main_button(&state.phase, dispatch, language) }
            </div>
        }
    }

    /// What the button that shares the address does, or has done.
    fn share_label(&self) -> Text {
        match self.shared {
            None => Text::ShareAddress,
            Some(true) => Text::LinkCopied,
            Some(false) => Text::LinkNotCopied,
        }
    }

    /// The state, the field of the address with its list, and the buttons to pin it and to open the list.
    fn address(&self, invalid: bool, language: Language) -> Html {
        let Self { state, dispatch, .. } = self;
        let text = |text: Text| text.in_language(language);
        let share_label = text(self.share_label());
        let pin = IconButton {
            pressed: Some(self.pinned),
            ..IconButton::new(
                "pin_url",
                text(Text::PinAddress),
                "m8 2 1.8 3.8 4.2.5-3.1 2.9.8 4.1L8 11.3l-3.7 2 .8-4.1L2 6.3l4.2-.5z",
                self.onpin.reform(|_: MouseEvent| ()),
            )
        };
        let share = IconButton {
            pressed: (self.shared == Some(true)).then_some(true),
            ..IconButton::new(
                "share_url",
                share_label,
                "M6.5 9.5 9.5 6.5M7 4.5 8.7 2.8a3.2 3.2 0 0 1 4.5 4.5L11.5 9M9 11.5 7.3 13.2a3.2 3.2 0 0 1-4.5-4.5L4.5 7",
                self.onshare.reform(|_: MouseEvent| ()),
            )
        };
        let saved = IconButton {
            opens: Some(SAVED_ID),
            ..IconButton::new(
                "saved_button",
                text(Text::SavedConnections),
                "M4 2h8v12l-4-3-4 3z",
                Callback::noop(),
            )
        };
        let is_open = self.menu.open && !self.choices.is_empty();
        let onsubmit = dispatch.reform(|event: SubmitEvent| {
            event.prevent_default();
            Action::Connect
        });
        let oninput = {
            let (dispatch, onmenu) = (dispatch.clone(), self.onmenu.clone());
            move |event: InputEvent| {
                dispatch.emit(Action::Edit(Field::Url, text_of(&event)));
                onmenu.emit(MenuMove::Typed);
            }
        };
        let onkeydown = {
            let (onmenu, onchoose, onremove) = (self.onmenu.clone(), self.onchoose.clone(), self.onremove.clone());
            let active = self.menu.active(&self.choices).filter(|_| is_open).cloned();
            move |event: KeyboardEvent| {
                if is_of_input_method(&event) {
                    return;
                }
                match (event.key().as_str(), &active) {
                    ("ArrowDown", _) => onmenu.emit(MenuMove::Down),
                    ("ArrowUp", _) => onmenu.emit(MenuMove::Up),
                    ("Escape", _) if is_open => onmenu.emit(MenuMove::Close),
                    ("Enter", Some(choice)) => onchoose.emit(choice.clone()),
                    ("Delete", Some(Choice::Recent(url) | Choice::Kept(url))) => onremove.emit(url.clone()),
                    _ => return,
                }
                event.prevent_default();
            }
        };
        // The focus stays in the field, which closes the list when it loses it.
        let onmousedown = |event: MouseEvent| event.prevent_default();
        html! {
            <div key="address" class="url-box">
                <form
                    key="form" id={FORM_ID} class="url-field" aria-label={text(Text::Connection)} {onsubmit}
                    data-invalid={invalid.then_some("")}
                >
                    { connection_state(&state.phase, self.now, language) }
                    <input
                        key="url" id="url" type="text" inputmode="url" data-code="" value={state.url.clone()}
                        {oninput} {onkeydown} onblur={self.onmenu.reform(|_: FocusEvent| MenuMove::Close)}
                        autocomplete="off" autocapitalize="off" spellcheck="false"
                        role="combobox" aria-label={text(Text::Url)} aria-autocomplete="list"
                        aria-expanded={is_open.to_string()} aria-controls={LIST_ID}
                        aria-activedescendant={self.menu.active_id()}
                        aria-invalid={invalid.then_some("true")} aria-describedby={invalid.then_some(ERROR_ID)}
                    />
                    { pin.draw() }
                    { share.draw() }
                    <span key="shared" class="visually-hidden" role="status">{ self.shared.map(|_| share_label) }</span>
                    { saved.draw() }
                    <button
                        key="list" id="url_list_button" type="button" class="icon" tabindex="-1" title={text(Text::ShowAddresses)}
                        aria-label={text(Text::ShowAddresses)} aria-expanded={is_open.to_string()} aria-controls={LIST_ID}
                        {onmousedown} onclick={self.onmenu.reform(|_: MouseEvent| MenuMove::Toggle)}
                    >
                        <svg viewBox="0 0 16 16" aria-hidden="true"><path d="m4 6 4 4 4-4" /></svg>
                    </button>
                </form>
                { is_open.then(|| self.menu.draw(&self.choices, &self.onchoose, &self.onremove, language)) }
            </div>
        }
    }
}

/// The state with the time since the connection opened, or since it is waited for.
///
/// Only the state is in a status region: a screen reader would read every change of the time.
fn connection_state(phase: &Phase, now: f64, language: Language) -> Html {
    let (name, label) = state_label(phase);
    let has_failed = has_failed(phase);
    html! {
        <span
            key="state" class="url-state" data-state={name.clone()}
            data-failed={has_failed.then_some("")} title={label.in_language(language)}
        >
            <span key="state" id="ready_state" role="status" data-state={name}>
                { label.in_language(language) }
            </span>
            <span key="elapsed" id="uptime" class="url-elapsed">{ elapsed(phase, now) }</span>
        </span>
    }
}

/// The time since the connection opened, or since it is waited for; empty for none.
pub(super) fn elapsed(phase: &Phase, now: f64) -> String {
    let since = match phase {
        Phase::Open { since, .. } => Some(*since),
        phase => phase.waiting_since(),
    };
    since.map_or_else(String::new, |since| format::clock(now - since))
}

/// The connection could not be opened, or was lost.
pub(super) fn has_failed(phase: &Phase) -> bool {
    matches!(phase, Phase::Closed(End::NeverOpened(_) | End::Lost { .. }))
}

/// The state's name, which is its `data-state`, and its label.
pub(super) fn state_label(phase: &Phase) -> (String, Text) {
    let label = match phase {
        Phase::Idle => Text::StateIdle,
        Phase::Closed(End::NeverOpened(_)) => Text::StateFailed,
        Phase::Closed(End::Lost { .. }) => Text::StateLost,
        Phase::Waiting { .. } => Text::StateWaiting,
        phase => Text::of_state(phase.ready_state()),
    };
    let name = match phase {
        Phase::Waiting { .. } => "WAITING".to_owned(),
        phase => phase.ready_state().to_string(),
    };
    (name, label)
}

/// The button with the number of subprotocols, and its popover with a chip for each.
fn subprotocols(state: &WorkbenchState, dispatch: &Callback<Action>, invalid: bool, language: Language) -> Html {
    let text = |text: Text| text.in_language(language);
    let negotiated = match &state.phase {
        Phase::Open { protocol, .. } => Some(protocol),
        _ => None,
    };
    let chips = state.subprotocols.chosen().iter().enumerate().map(|(index, name)| {
        let remove = [text(Text::Remove), " ", name].concat();
        let onclick = dispatch.reform(move |_: MouseEvent| {
            // The button goes away.
            browser::focus(Field::Subprotocols.name());
            Action::Chip(ChipMove::Remove(index))
        });
        let is_negotiated = negotiated == Some(name);
        html! {
            <li key={name.clone()} class="chip" data-negotiated={is_negotiated.then_some("")}>
                if is_negotiated {
                    <span key="mark" title={text(Text::Negotiated)}>
                        { "✓" }<span class="visually-hidden">{ text(Text::Negotiated) }</span>
                    </span>
                }
                <span key="name">{ name.clone() }</span>
                <button key="remove" type="button" title={remove.clone()} aria-label={remove} {onclick}>{ "×" }</button>
            </li>
        }
    });
    let is_empty = state.subprotocols.typed().is_empty();
    let onkeydown = {
        let dispatch = dispatch.clone();
        move |event: KeyboardEvent| {
            let chip = match event.key().as_str() {
                _ if is_of_input_method(&event) => return,
                // Without a name, Enter connects.
                "Enter" if !is_empty => ChipMove::Add,
                "Backspace" if is_empty => ChipMove::RemoveLast,
                _ => return,
            };
            event.prevent_default();
            set_field(&event, "");
            dispatch.emit(Action::Chip(chip));
        }
    };
    let oninput = dispatch.reform(|event: InputEvent| {
        let text = text_of(&event);
        if let Some((_, rest)) = text.rsplit_once(',') {
            set_field(&event, rest.trim_start());
        }
        Action::Edit(Field::Subprotocols, text)
    });
    let count = state.subprotocols.names().count();
    html! {
        <>
            <button
                key="subprotocols" id={SUBPROTOCOLS_BUTTON} type="button" class="wide-only"
                popovertarget={SUBPROTOCOLS_ID} data-invalid={invalid.then_some("")}
            >
                { text(Text::Subprotocols) }
                if count > 0 {
                    <span class="unread-count">{ count }</span>
                }
            </button>
            <div key="subprotocol_options" id={SUBPROTOCOLS_ID} class="sheet" popover="auto">
                <div class="field">
                    <label key="label" for="subprotocols">{ text(Text::Subprotocols) }</label>
                    <span key="note" id="subprotocols_note" class="note">{ text(Text::SubprotocolsHint) }</span>
                    <div key="chips" class="chips">
                        <ul key="chosen" id="subprotocol_chips" aria-label={text(Text::Subprotocols)} aria-live="polite">{ for chips }</ul>
                        <input
                            key="input" id="subprotocols" type="text" data-code="" value={state.subprotocols.typed().to_owned()}
                            form={FORM_ID} maxlength={MAX_BYTES.to_string()} {onkeydown} {oninput}
                            autocomplete="off" autocapitalize="off" spellcheck="false" aria-invalid={invalid.then_some("true")}
                            aria-describedby={if invalid { ERROR_ID } else { "subprotocols_note" }}
                        />
                    </div>
                </div>
            </div>
        </>
    }
}

/// Changes the text of an event's field at once: the next key may come before the field is drawn.
fn set_field(event: &impl TargetCast, text: &str) {
    if let Some(field) = event.target_dyn_into::<HtmlInputElement>() {
        field.set_value(text);
    }
}

/// The button with the close code, and its popover with the code and the reason. Enter in one of them disconnects.
fn close_options(
    state: &WorkbenchState,
    dispatch: &Callback<Action>,
    is_invalid: impl Fn(&Field) -> bool,
    language: Language,
) -> Html {
    let text = |text: Text| text.in_language(language);
    let onsubmit = dispatch.reform(|event: SubmitEvent| {
        event.prevent_default();
        Action::Close
    });
    // What is wrong is said while it is typed.
    let problem = state.close_frame().err();
    let is_wrong = |field| is_invalid(&field) || problem.as_ref().is_some_and(|(of, _)| *of == field);
    let code = TextField {
        invalid: is_wrong(Field::CloseCode),
        error_id: CLOSE_PROBLEM_ID,
        code: true,
        ..TextField::new(
            "close_code",
            Text::CloseCode,
            &state.close_code,
            dispatch.reform(|text| Action::Edit(Field::CloseCode, text)),
        )
    };
    let reason = TextField {
        invalid: is_wrong(Field::CloseReason),
        error_id: CLOSE_PROBLEM_ID,
        note: Text::ReasonBytes
            .with([state.close_reason.len().into(), MAX_REASON_BYTES.into()])
            .in_language(language),
        ..TextField::new(
            "close_reason",
            Text::CloseReason,
            &state.close_reason,
            dispatch.reform(|text| Action::Edit(Field::CloseReason, text)),
        )
    };
    let invalid = code.invalid || reason.invalid;
    let label = match problem {
        None => sentences::close_with(state.close_code.trim()),
        Some(_) => Text::CloseCode.into(),
    };
    let problem = problem.map(|(_, message)| message.in_language(language));
    let onreconnect = dispatch.reform(|event: Event| {
        let is_checked = event
            .target_dyn_into::<HtmlInputElement>()
            .is_some_and(|input| input.checked());
        Action::Reconnect(is_checked)
    });
    html! {
        <>
            <button
                key="close_with" id={CLOSE_BUTTON} type="button" class="wide-only" popovertarget={CLOSE_ID}
                title={text(Text::ClosingOptions)}
                data-invalid={invalid.then_some("")}
            >
                { label.in_language(language) }
                <span class="reconnects" data-off={(!state.reconnect).then_some("")} aria-hidden="true">{ "↻" }</span>
                <span class="quiet" aria-hidden="true">{ " ▾" }</span>
            </button>
            <div key="close_options" id={CLOSE_ID} class="sheet" popover="auto">
                <form class="close-frame" {onsubmit}>
                    { code.draw(language) }
                    { reason.draw(language) }
                    // Its line is reserved.
                    <p id={CLOSE_PROBLEM_ID} class="fault-line fault" role="status">{ problem.unwrap_or_default() }</p>
                    <label class="switch">
                        <input id="reconnect" type="checkbox" checked={state.reconnect} onchange={onreconnect} />
                        { text(Text::Reconnect) }
                    </label>
                    <button id="close_now" type="submit" disabled={!state.phase.is_open()}>{ text(Text::Disconnect) }</button>
                </form>
            </div>
        </>
    }
}

/// Connects, cancels or disconnects: one button, so that it keeps the focus.
fn main_button(phase: &Phase, dispatch: &Callback<Action>, language: Language) -> Html {
    let (id, label, look, action): (_, _, _, fn() -> Action) = match phase {
        Phase::Idle | Phase::Closed(_) => ("connect_websocket", Text::Connect, "primary", || Action::Connect),
        Phase::Connecting { .. } | Phase::Waiting { .. } => {
            ("cancel_connect", Text::Cancel, "plain", || Action::Cancel)
        }
        Phase::Open { .. } | Phase::Closing { .. } => ("close_websocket", Text::Disconnect, "danger", || Action::Close),
    };
    let is_closing = matches!(phase, Phase::Closing { .. });
    // Enter in a field presses the form's submit button, which is to connect and not to disconnect.
    let kind = if matches!(phase, Phase::Idle | Phase::Closed(_)) {
        "submit"
    } else {
        "button"
    };
    let onclick = dispatch.reform(move |event: MouseEvent| {
        event.prevent_default();
        action()
    });
    html! {
        <button
            key="connect" {id} type={kind} form={FORM_ID} class="connect" data-look={look} {onclick}
            aria-disabled={is_closing.then_some("true")}
        >
            { label.in_language(language) }
        </button>
    }
}

/// The error of the connection or of one of its fields, or else when the page connects again, or else the hint that opening or closing takes
/// long; nothing when there is none.
pub(super) fn connection_notice(
    state: &WorkbenchState,
    dispatch: &Callback<Action>,
    now: f64,
    language: Language,
) -> Option<Html> {
    let error = state.error.as_ref().filter(|error| {
        let of_composer = [Field::Message, Field::RepeatCount, Field::RepeatInterval];
        !of_composer.iter().any(|field| error.is_of(field))
    });
    if let Some(error) = error {
        return Some(html! {
            <p key="notice" id={ERROR_ID} class="bar-notice" role="alert">{ error.message.in_language(language) }</p>
        });
    }
    if let Some((notice, can_connect_now)) = next_attempt(state, now) {
        // No status region: a screen reader would read every second. That the connection is waited for is in the one of the state.
        return Some(html! {
            <div key="notice" id="reconnect_notice" class="bar-notice" data-kind="wait">
                <span key="text">{ notice.in_language(language) }</span>
                if can_connect_now {
                    <button
                        key="now" id="connect_now" type="button" data-look="small"
                        onclick={dispatch.reform(|_: MouseEvent| Action::ConnectNow)}
                    >
                        { Text::ReconnectNow.in_language(language) }
                    </button>
                }
            </div>
        });
    }
    let hint = waiting_hint(&state.phase, now)?;
    Some(html! {
        <p key="notice" id="waiting_hint" class="bar-notice" data-kind="wait" role="status">{ hint.in_language(language) }</p>
    })
}

/// When the page connects again, or that it does, and whether connecting at once is possible.
fn next_attempt(state: &WorkbenchState, now: f64) -> Option<(Sentence, bool)> {
    match &state.phase {
        Phase::Waiting { until, end } => {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "negative becomes 0, and attempts come within minutes"
            )]
            // Rounded up, so that 0 does not show for a whole second.
            let seconds = ((until - now) / 1_000.0).ceil() as u64;
            let next = Text::NextAttempt.with([sentences::closed(end, state.offered()), seconds.into()]);
            Some((Text::NumberedAttempt.with([next, (state.attempts + 1).into()]), true))
        }
        Phase::Connecting { .. } if state.attempts > 0 => Some((Text::Attempt.with([state.attempts.into()]), false)),
        _ => None,
    }
}

/// The hint when opening or closing takes long.
fn waiting_hint(phase: &Phase, now: f64) -> Option<Text> {
    let (limit, text) = match phase {
        Phase::Connecting { .. } => (CONNECT_HINT_MS, Text::StillConnecting),
        _ => (CLOSE_HINT_MS, Text::StillClosing),
    };
    (now - phase.waiting_since()? >= limit).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hint_of_a_slow_connect_is_shown_after_five_seconds() {
        let phase = Phase::Connecting { since: 1_000.0 };
        assert_eq!(waiting_hint(&phase, 5_999.0), None);
        assert_eq!(waiting_hint(&phase, 6_000.0), Some(Text::StillConnecting));
        assert_eq!(waiting_hint(&Phase::Idle, 9e9), None);
    }

    #[test]
    fn the_hint_of_a_slow_close_is_shown_after_one_second() {
        let phase = Phase::Closing {
            opened: 0.0,
            since: 1_000.0,
            sent: None,
        };
        assert_eq!(waiting_hint(&phase, 1_500.0), None);
        assert_eq!(waiting_hint(&phase, 2_000.0), Some(Text::StillClosing));
    }
}

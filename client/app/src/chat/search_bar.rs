//! The bar to search the messages that are loaded, and to go to a day.

use js_sys::Date;
use wasm_bindgen::JsValue;
use web_sys::{Event, HtmlInputElement, InputEvent, KeyboardEvent};
use yew::{Callback, Html, TargetCast, html};

use super::{
    icon,
    reducer::{Action, Field, Search},
    timeline::Seek,
};
use crate::{
    form::text_of,
    format,
    i18n::{Language, Text},
    keyboard::{EnterKey, enter_key},
};

/// The `id` of the field for the text to find.
pub(super) const SEARCH_ID: &str = "chat_search";

pub(super) fn search_bar(search: &Search, has_older: bool, dispatch: &Callback<Action>, language: Language) -> Html {
    let text = |text: Text| text.in_language(language);
    let step = |id: &'static str, label: Text, older: bool, icon: Html| {
        html! {
            <button
                key={id} {id} type="button" class="icon-button" aria-label={text(label)} title={text(label)}
                disabled={search.found.is_empty()} onclick={dispatch.reform(move |_| Action::SearchOn { older })}
            >
                { icon }
            </button>
        }
    };
    let onkeydown = {
        let dispatch = dispatch.clone();
        move |event: KeyboardEvent| {
            let older = match enter_key(&event) {
                Some(EnterKey::Alone) => true,
                Some(EnterKey::WithShift) => false,
                _ => return,
            };
            event.prevent_default();
            dispatch.emit(Action::SearchOn { older });
        }
    };
    let onday = {
        let dispatch = dispatch.clone();
        move |event: Event| {
            let day = event.target_dyn_into::<HtmlInputElement>().map(|field| field.value());
            // Without a zone, the local midnight: https://tc39.es/ecma262/#sec-date-time-string-format
            let start = day.map(|day| Date::new(&JsValue::from_str(&format!("{day}T00:00"))).get_time());
            if let Some(start) = start.filter(|start| !start.is_nan()) {
                dispatch.emit(Action::GoTo(Seek::Time(start)));
            }
        }
    };
    let count = match search.found.len() {
        _ if search.pages_left > 0 => text(Text::SearchingOlder).to_owned(),
        0 if search.text.trim().is_empty() => String::new(),
        0 => text(Text::NothingFound).to_owned(),
        count => [search.at + 1, count]
            .map(|number| format::thousands(number as u64))
            .join(" / "),
    };
    html! {
        <div key="search" class="search-bar" role="search">
            <input
                key={SEARCH_ID} id={SEARCH_ID} type="search" dir="auto" autocomplete="off" spellcheck="false"
                aria-label={text(Text::SearchLoaded)} placeholder={text(Text::SearchLoaded)}
                value={search.text.clone()} {onkeydown}
                oninput={dispatch.reform(|event: InputEvent| Action::Edit(Field::Search, text_of(&event)))}
            />
            <span key="count" id="chat_found" class="count" role="status">{ count }</span>
            { step("chat_search_older", Text::SearchOlder, true, icon::up()) }
            { step("chat_search_newer", Text::SearchNewer, false, icon::down()) }
            if has_older {
                <button
                    key="beyond" id="chat_search_beyond" type="button" data-look="small"
                    onclick={dispatch.reform(|_| Action::SearchBeyond)}
                >
                    { text(Text::SearchBeyond) }
                </button>
            }
            <input
                key="day" id="chat_day" type="date" aria-label={text(Text::GoToDay)} title={text(Text::GoToDay)}
                onchange={onday}
            />
            <button
                key="close" type="button" class="icon-button" aria-label={text(Text::CloseDetails)}
                onclick={dispatch.reform(|_| Action::ToggleSearch)}
            >
                { icon::cross() }
            </button>
        </div>
    }
}

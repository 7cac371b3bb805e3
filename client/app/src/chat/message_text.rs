//! The text of a message: links, code and mentions, all of them as text nodes; a long one is folded. What can be pressed or scrolled in it
//! is reached by the Tab key from its own message only, see [`super::message_actions::let_tab_into`].

use std::ops::Range;

use talkback_client::RoomName;
use web_sys::{Element, MouseEvent};
use yew::{Html, TargetCast, html};

use super::{
    rich_text::{Part, is_long, parse, shortened},
    timeline::Target,
};
use crate::{
    browser,
    i18n::{Language, Text},
    route::message_of_link,
};

/// The element `.text` of a row: without it, all that others wrote is what the element contains.
pub(super) fn message_text(text: &str, mentions: &[Range<usize>], language: Language) -> Html {
    let parts = parse(text, mentions).into_iter().map(part);
    if !is_long(text) {
        return html! { <div key="text" class="text" dir="auto">{ for parts }</div> };
    }
    html! {
        <>
            <div key="text" class="text" dir="auto" data-folded="">{ for parts }</div>
            <button key="unfold" type="button" class="unfold" tabindex="-1" aria-expanded="false" onclick={toggle}>
                <span class="more">{ Text::ShowAll.in_language(language) }</span>
                <span class="less">{ Text::ShowLess.in_language(language) }</span>
            </button>
        </>
    }
}

fn part(part: Part<'_>) -> Html {
    match part {
        Part::Text(text) => html! { { text.to_owned() } },
        Part::Mention(name) => html! { <span class="mention">{ name.to_owned() }</span> },
        Part::Code(code) => html! { <code>{ code.to_owned() }</code> },
        Part::Block(code) => html! { <code class="block" dir="ltr" tabindex="-1">{ code.to_owned() }</code> },
        Part::Link(link) => {
            let [scheme, head, cut, tail] = shortened(link).map(str::to_owned);
            html! {
                <a class="link" dir="ltr" tabindex="-1" href={link.to_owned()} target="_blank" rel="noopener noreferrer" title={link.to_owned()}>
                    // All of it is there for copying, finding and screen readers.
                    <span class="cut">{ scheme }</span>
                    { head }
                    if !tail.is_empty() {
                        <span class="cut">{ cut }</span>
                        <span class="tail">{ tail }</span>
                    }
                </a>
            }
        }
    }
}

/// The room and the message that a plain click follows a link to, in this page. With a modifier key the browser opens a tab or
/// window as for any link.
pub(super) fn followed(event: &MouseEvent) -> Option<(RoomName, Option<Target>)> {
    let element = event
        .target_dyn_into::<Element>()
        .filter(|_| browser::is_plain_click(event))?;
    let link = element.closest("a.link").ok()??;
    message_of_link(&link.get_attribute("href")?, &browser::origin())
}

/// Shows or hides the lines of a folded text. The elements alone have this state: with a hook for it, the page would
/// be some kilobytes larger.
fn toggle(event: MouseEvent) {
    let Some(button) = event
        .target_dyn_into::<Element>()
        .and_then(|at| at.closest("button").ok().flatten())
    else {
        return;
    };
    let Some(text) = button.previous_element_sibling() else {
        return;
    };
    // The attribute names are valid.
    let is_folded = text.toggle_attribute("data-folded").unwrap_or_default();
    let _: Result<(), _> = button.set_attribute("aria-expanded", if is_folded { "false" } else { "true" });
}

//! The strip with a tab for each connection, while there are several.

use web_sys::MouseEvent;
use yew::{Callback, Html, html};

use super::{
    addresses::masked,
    icon_button::IconButton,
    reducer::WorkbenchState,
    url_bar::{has_failed, state_label},
};
use crate::{
    format,
    i18n::{Language, Text},
};

/// The connections at a time, at most: each has a log and buffers of its own.
pub(super) const MAX_TABS: usize = 8;

/// The names of the tabs, in storage: their numbers with commas between them, that of the shown one first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TabNumbers {
    pub(super) all: Vec<u32>,
    pub(super) shown: u32,
}

impl TabNumbers {
    /// Reads [`TabNumbers::to_text`]; one tab for any other text.
    pub(super) fn from_text(text: &str) -> Self {
        let mut numbers = text.split(',').map_while(|number| number.parse().ok());
        let shown = numbers.next();
        let mut all = Vec::new();
        for number in numbers.take(MAX_TABS) {
            if !all.contains(&number) {
                all.push(number);
            }
        }
        match shown.filter(|shown| all.contains(shown)) {
            Some(shown) => Self { all, shown },
            None => Self {
                all: vec![FIRST],
                shown: FIRST,
            },
        }
    }

    pub(super) fn to_text(&self) -> String {
        let all = self.all.iter().map(|number| format!(",{number}"));
        self.shown.to_string() + &all.collect::<String>()
    }

    /// The number of a new tab, which no other one has.
    pub(super) fn next(&self) -> u32 {
        1 + self.all.iter().copied().max().unwrap_or_default()
    }
}

/// The number of the tab that is there at first.
const FIRST: u32 = 1;

/// The name of a field in storage. Those of the first tab have the names that they had before there were tabs.
pub(super) fn field_name(tab: u32, field: &str) -> String {
    if tab == FIRST {
        field.to_owned()
    } else {
        format!("{tab}.{field}")
    }
}

/// What the user does with the tabs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TabMove {
    New,
    Show(u32),
    Close(u32),
    /// Open the tab again that was closed last.
    Reopen,
}

/// The `id` of the button that shows a tab.
pub(super) fn tab_id(number: u32) -> String {
    format!("tab_{number}")
}

/// One tab of the strip.
pub(super) struct StripTab<'a> {
    pub(super) number: u32,
    pub(super) state: &'a WorkbenchState,
    /// The messages that came since it was shown last.
    pub(super) news: u64,
    pub(super) shown: bool,
}

/// Draws the strip. Of addresses of the page's own server, which begin with `server`, only the path is shown.
pub(super) fn tab_strip<'a>(
    server: &str,
    tabs: impl Iterator<Item = StripTab<'a>>,
    can_reopen: bool,
    onmove: &Callback<TabMove>,
    language: Language,
) -> Html {
    let text = |text: Text| text.in_language(language);
    let tabs = tabs.map(|tab| {
        let StripTab {
            number,
            state,
            news,
            shown,
        } = tab;
        let (name, label) = state_label(&state.phase);
        let address = masked(state.url.trim());
        let title = format!("{address} · {}", text(label));
        let (host, path) = host_and_path(&address, server);
        let close = IconButton::new(
            format!("close_tab_{number}"),
            text(Text::CloseTab),
            "m4.5 4.5 7 7m0-7-7 7",
            onmove.reform(move |_: MouseEvent| TabMove::Close(number)),
        );
        html! {
            <li key={number} class="tab" data-shown={shown.then_some("")}>
                <button
                    key="show" id={tab_id(number)} type="button" {title} aria-current={shown.then_some("true")}
                    onclick={onmove.reform(move |_: MouseEvent| TabMove::Show(number))}
                >
                    <span class="tab-state" data-state={name} data-failed={has_failed(&state.phase).then_some("")}>
                        <span class="visually-hidden">{ text(label) }{ " " }</span>
                    </span>
                    <span class="tab-host">{ host.to_owned() }</span>
                    <span class="tab-path">{ path.to_owned() }</span>
                    if news > 0 && !shown {
                        <span class="unread-count">{ format::thousands(news) }</span>
                    }
                </button>
                { close.draw() }
            </li>
        }
    });
    let reopen = can_reopen.then(|| {
        html! {
            <li key="reopen" class="tab-reopen">
                <button id="reopen_tab" type="button" onclick={onmove.reform(|_: MouseEvent| TabMove::Reopen)}>
                    { text(Text::ReopenTab) }
                </button>
            </li>
        }
    });
    // One list: an element without a key beside the tabs would make them anew, and the focus would be lost.
    html! { <ul key="tabs" id="tabs" class="tabs" aria-label={text(Text::Connections)}>{ for tabs.chain(reopen) }</ul> }
}

/// The host of an address without its scheme, and the rest. Tabs on one server differ in the rest, so where there is no space the host is cut.
fn host_and_path<'a>(address: &'a str, server: &str) -> (&'a str, &'a str) {
    if let Some(path) = address.strip_prefix(server).filter(|path| path.len() > 1) {
        return ("", path);
    }
    let rest = format::find(address, "://").and_then(|at| address.get(at + 3..));
    let rest = rest.unwrap_or(address);
    rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tabs_are_read_as_they_were_stored_and_a_damaged_text_is_one_tab() {
        let tabs = TabNumbers {
            all: vec![1, 4, 2],
            shown: 4,
        };
        assert_eq!(TabNumbers::from_text(&tabs.to_text()), tabs);
        assert_eq!(tabs.next(), 5);
        let one = TabNumbers {
            all: vec![FIRST],
            shown: FIRST,
        };
        for text in ["", "x", "3,1,2", "1", ",,"] {
            assert_eq!(TabNumbers::from_text(text), one, "{text}");
        }
        let many = (1..100).map(|number| format!(",{number}")).collect::<String>();
        assert_eq!(TabNumbers::from_text(&format!("1{many},1,1")).all.len(), MAX_TABS);
    }

    #[test]
    fn a_tab_has_the_host_apart_from_the_path() {
        for (address, parts) in [
            ("ws://h:1/echo", ("", "/echo")),
            ("ws://other:1/a/b?c", ("other:1", "/a/b?c")),
            ("wss://other?x", ("other", "?x")),
            ("ws://h:1/", ("h:1", "/")),
            ("typing", ("typing", "")),
        ] {
            assert_eq!(host_and_path(address, "ws://h:1"), parts, "{address}");
        }
    }

    #[test]
    fn each_tab_has_fields_of_its_own() {
        assert_eq!([field_name(1, "url"), field_name(2, "url")], ["url", "2.url"]);
    }
}

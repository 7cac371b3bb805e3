//! The list below the field of the address: presets, pinned and recent addresses. A combobox as in the [ARIA Authoring Practices
//! Guide](https://www.w3.org/WAI/ARIA/apg/patterns/combobox/): the focus stays in the field.

use web_sys::MouseEvent;
use yew::{Callback, Html, html};

use super::{
    addresses::{Addresses, masked},
    saved::{Item, Kind, Saved},
};
use crate::{
    format,
    i18n::{Language, Text},
    server_address::websocket_url,
};

/// The `id` of the list.
pub(super) const LIST_ID: &str = "url_list";

/// What the list offers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Choice {
    Preset(Text, String),
    Saved(Item),
    Kept(String),
    Recent(String),
}

impl Choice {
    pub(super) fn url(&self) -> &str {
        match self {
            Self::Preset(_, url) | Self::Kept(url) | Self::Recent(url) => url,
            Self::Saved(item) => item.url(),
        }
    }

    /// The address; that of a preset has no secrets.
    fn shown(&self) -> String {
        match self {
            Self::Preset(_, url) => url.clone(),
            choice => masked(choice.url()),
        }
    }

    fn name(&self, language: Language) -> &str {
        match self {
            Self::Preset(name, _) => name.in_language(language),
            Self::Saved(item) => item.name(),
            Self::Kept(_) => Text::KeptAddress.in_language(language),
            Self::Recent(_) => Text::RecentAddress.in_language(language),
        }
    }

    fn contains(&self, typed: &str) -> bool {
        let is_named = matches!(self, Self::Saved(item) if format::find(item.name(), typed).is_some());
        is_named || (format::find(self.url(), typed).is_some() && self.url() != typed)
    }
}

/// The list's state: whether it is open, and which choice is the active one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct UrlMenu {
    pub(super) open: bool,
    /// The choices are only those that contain what was typed.
    filtered: bool,
    active: Option<usize>,
}

/// What a key or the pointer does to the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MenuMove {
    Down,
    Up,
    Toggle,
    Close,
    /// The text of the field has changed.
    Typed,
}

impl UrlMenu {
    /// Moves among `count` choices.
    pub(super) fn update(&mut self, movement: MenuMove, count: usize) {
        *self = match movement {
            MenuMove::Close => Self::default(),
            MenuMove::Toggle => Self {
                // Without a choice it is open and not shown.
                open: !self.open || count == 0,
                ..Self::default()
            },
            MenuMove::Typed => Self {
                open: true,
                filtered: true,
                active: None,
            },
            MenuMove::Down | MenuMove::Up if !self.open || count == 0 => Self {
                open: true,
                ..Self::default()
            },
            MenuMove::Down => Self {
                // After the last one, the field itself is active again.
                active: self
                    .active
                    .map_or(Some(0), |active| Some(active + 1))
                    .filter(|&next| next < count),
                ..*self
            },
            MenuMove::Up => Self {
                active: self.active.unwrap_or(count).checked_sub(1),
                ..*self
            },
        };
    }

    /// What the list offers for the text of the field; nothing while it is closed.
    pub(super) fn choices(self, saved: &Saved, addresses: &Addresses, origin: &str, typed: &str) -> Vec<Choice> {
        if !self.open {
            return Vec::new();
        }
        let presets = presets(origin);
        let remembered = addresses
            .all()
            .filter(|url| presets.iter().all(|preset| preset.url() != *url))
            .map(|url| {
                if addresses.is_pinned(url) {
                    Choice::Kept(url.to_owned())
                } else {
                    Choice::Recent(url.to_owned())
                }
            });
        let remembered: Vec<_> = remembered.collect();
        let saved = saved.of(Kind::Connection).cloned().map(Choice::Saved);
        let typed = typed.trim();
        let all = presets.into_iter().chain(saved).chain(remembered);
        all.filter(|choice| !self.filtered || choice.contains(typed)).collect()
    }

    /// The active choice.
    pub(super) fn active<'a>(&self, choices: &'a [Choice]) -> Option<&'a Choice> {
        choices.get(self.active?)
    }

    /// The `id` of the active choice's element.
    pub(super) fn active_id(&self) -> Option<String> {
        self.active.filter(|_| self.open).map(choice_id)
    }

    pub(super) fn draw(
        self,
        choices: &[Choice],
        onchoose: &Callback<Choice>,
        onremove: &Callback<String>,
        language: Language,
    ) -> Html {
        let rows = choices.iter().enumerate().map(|(index, choice)| {
            let (onchoose, chosen) = (onchoose.clone(), choice.clone());
            let remove = match choice {
                Choice::Recent(url) | Choice::Kept(url) => Some(url.clone()),
                _ => None,
            };
            // The key Delete does the same: an option has no buttons in it.
            let remove = remove.map(|url| {
                let onclick = onremove.reform(move |event: MouseEvent| {
                    event.stop_propagation();
                    url.clone()
                });
                let label = Text::RemoveAddress.in_language(language);
                html! { <span class="choice-remove" title={label} aria-hidden="true" {onclick}>{ "×" }</span> }
            });
            html! {
                <li
                    key={index} id={choice_id(index)} role="option"
                    aria-selected={(self.active == Some(index)).to_string()}
                    onclick={move |_| onchoose.emit(chosen.clone())}
                >
                    <span class="choice-name">{ choice.name(language).to_owned() }</span>
                    <span class="choice-url">{ choice.shown() }</span>
                    { for remove }
                </li>
            }
        });
        // The focus stays in the field.
        let onmousedown = |event: MouseEvent| event.prevent_default();
        html! {
            <ul
                key="list" id={LIST_ID} class="url-list" role="listbox" aria-label={Text::Addresses.in_language(language)}
                {onmousedown}
            >
                { for rows }
            </ul>
        }
    }
}

/// The endpoints of the page's server: names and paths.
pub(super) const PRESETS: [(Text, &str); 4] = [
    (Text::PresetEcho, "/echo"),
    (Text::PresetChat, "/chat/lobby"),
    (Text::PresetFlood, "/flood?n=60000&rate=1000&size=100"),
    (Text::PresetOnce, "/once"),
];

fn presets(origin: &str) -> [Choice; 4] {
    PRESETS.map(|(name, path)| Choice::Preset(name, websocket_url(origin, path)))
}

fn choice_id(index: usize) -> String {
    format!("url_{index}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_move_from_the_field_through_the_choices_and_back() {
        let mut menu = UrlMenu::default();
        menu.update(MenuMove::Down, 3);
        assert_eq!((menu.open, menu.active), (true, None), "the first key opens it");
        let mut seen = Vec::new();
        for _ in 0..5 {
            menu.update(MenuMove::Down, 3);
            seen.push(menu.active);
        }
        assert_eq!(seen, [Some(0), Some(1), Some(2), None, Some(0)]);
        menu.update(MenuMove::Up, 3);
        assert_eq!(menu.active, None);
        menu.update(MenuMove::Up, 3);
        assert_eq!(menu.active, Some(2));
        menu.update(MenuMove::Close, 3);
        assert_eq!(menu, UrlMenu::default());
        menu.update(MenuMove::Typed, 0);
        menu.update(MenuMove::Up, 0);
        let all = UrlMenu {
            open: true,
            ..UrlMenu::default()
        };
        assert_eq!(menu, all, "without a choice that fits, all are shown");
        menu.update(MenuMove::Typed, 0);
        menu.update(MenuMove::Toggle, 0);
        assert_eq!(menu, all);
    }

    #[test]
    fn typing_leaves_the_choices_that_contain_it_and_opening_shows_all() {
        let mut addresses = Addresses::default();
        addresses.used("ws://other/x");
        addresses.used("ws://h/echo");
        let mut saved = Saved::default();
        let item = Item::new(Kind::Connection)
            .named("Staging", "Orders")
            .with_address("ws://saved", "");
        saved.apply(&saved.saving(vec![item])).unwrap();
        let choices = |menu: UrlMenu, typed| {
            let choices = menu.choices(&saved, &addresses, "http://h", typed);
            choices.iter().map(|choice| choice.url().to_owned()).collect::<Vec<_>>()
        };
        let mut menu = UrlMenu::default();
        menu.update(MenuMove::Toggle, 0);
        let all = choices(menu, "ws://h/echo");
        assert_eq!(all.len(), 6, "a preset is listed once: {all:?}");
        menu.update(MenuMove::Typed, 0);
        assert_eq!(choices(menu, " other"), ["ws://other/x"]);
        assert_eq!(choices(menu, "Ord"), ["ws://saved"], "by its name");
        assert_eq!(
            choices(menu, "ws://other/x"),
            [""; 0],
            "what is typed already is no choice"
        );
    }
}

//! The page's header: the links to the views, the language switch, the theme switch.

use talkback_client::RoomName;
use web_sys::{Event, HtmlSelectElement, MouseEvent};
use yew::{Callback, Html, TargetCast, html};

use crate::{
    browser, format, help,
    i18n::{Language, Text},
    route,
    theme::Theme,
};

/// The values of the header and its callbacks.
pub(crate) struct Header<'a> {
    pub(crate) in_chat: bool,
    /// The target of the chat link.
    pub(crate) room: &'a RoomName,
    /// How many messages of the chat are unread.
    pub(crate) unread: usize,
    pub(crate) language: Language,
    pub(crate) theme: Theme,
    /// The help was opened.
    pub(crate) has_help: bool,
    pub(crate) onnavigate: Callback<String>,
    pub(crate) onlanguage: Callback<Language>,
    pub(crate) ontheme: Callback<Theme>,
}

impl Header<'_> {
    pub(crate) fn draw(&self) -> Html {
        let language = self.language;
        let text = |text: Text| text.in_language(language);
        let onlanguage = self
            .onlanguage
            .reform(|event: Event| Language::from_tag(&chosen(&event)).unwrap_or_default());
        let ontheme = self.ontheme.reform(|event: Event| Theme::from_name(&chosen(&event)));
        html! {
            <>
                <a class="skip" href="#main">{ text(Text::SkipToContent) }</a>
                <span class="brand">{ "Talkback" }</span>
                <nav aria-label={text(Text::Views)}>
                    { self.link("nav_workbench", "/".into(), text(Text::Workbench), 0, !self.in_chat) }
                    { self.link("nav_chat", route::chat_path(self.room), text(Text::Chat), self.unread, self.in_chat) }
                </nav>
                <div class="settings">
                    <select id="language" aria-label={text(Text::Language)} onchange={onlanguage}>
                        { for Language::ALL.map(|choice| option(choice.name(), choice.own_name(), choice == language)) }
                    </select>
                    <select id="theme" aria-label={text(Text::Theme)} onchange={ontheme}>
                        { for Theme::ALL.map(|theme| option(theme.name(), text(theme.label()), theme == self.theme)) }
                    </select>
                    <button id="help_button" type="button" class="help-button" popovertarget={help::ID} aria-label={text(Text::Help)}>
                        { "?" }
                    </button>
                </div>
                { help::draw(language, self.has_help) }
            </>
        }
    }

    /// A link to a view. A plain click stays in the page; with a modifier key the browser opens a tab or window as for
    /// any link.
    fn link(&self, id: &'static str, path: String, label: &'static str, unread: usize, current: bool) -> Html {
        let go = self.onnavigate.clone();
        let href = path.clone();
        let onclick = move |event: MouseEvent| {
            if browser::is_plain_click(&event) {
                event.prevent_default();
                go.emit(path.clone());
            }
        };
        html! {
            <a {id} {href} aria-current={current.then_some("page")} {onclick}>
                { label }
                if unread > 0 {
                    <span class="unread-count">{ format::thousands(unread as u64) }</span>
                    <span class="visually-hidden">{ Text::UnreadMessages.in_language(self.language) }</span>
                }
            </a>
        }
    }
}

fn option(value: &'static str, label: &'static str, selected: bool) -> Html {
    html! { <option key={value} {value} {selected}>{ label }</option> }
}

fn chosen(event: &Event) -> String {
    event
        .target_dyn_into::<HtmlSelectElement>()
        .map(|select| select.value())
        .unwrap_or_default()
}

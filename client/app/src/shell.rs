//! The root component of each binary: one view, in the chosen language and theme, shown while the path names it.
//!
//! The page has two binaries, one for each view. `assets/boot.js` loads that of the path, and the other one when it is first shown; from
//! then on both run, each with its connections. The one that was loaded first draws the header. They share nothing but the document: the
//! path, the language, the theme and the number of unread messages in attributes of its root element, and an event for a change
//! of each.

use std::marker::PhantomData;

use gloo_events::EventListener;
use talkback_client::RoomName;
use web_sys::Element;
use yew::{Callback, Component, Context, Html, create_portal, html};

use crate::{
    browser::{self, Setting, events},
    chat::ChatView,
    header::Header,
    help,
    i18n::{Language, Text},
    keyboard::is_help_key,
    route::{Route, chat_path},
    theme::Theme,
    workbench::WorkbenchView,
};

/// A view of the page, which is a binary of its own.
pub(crate) trait View: 'static {
    /// The element of index.html that holds it.
    const ROOT: &'static str;
    const TITLE: Text;

    /// Whether a path names this view.
    fn is_named_by(route: &Route) -> bool;

    /// Draws the view, or nothing while another one is shown: its connections and logs are kept.
    fn draw(shell: &Shell<Self>, visible: bool, onroom: Callback<RoomName>) -> Html
    where
        Self: Sized;
}

pub(crate) struct Workbench;

impl View for Workbench {
    const ROOT: &'static str = "workbench";
    const TITLE: Text = Text::Workbench;

    fn is_named_by(route: &Route) -> bool {
        *route == Route::Workbench
    }

    fn draw(shell: &Shell<Self>, visible: bool, _: Callback<RoomName>) -> Html {
        html! { <WorkbenchView {visible} language={shell.language} /> }
    }
}

pub(crate) struct Chat;

impl View for Chat {
    const ROOT: &'static str = "chat";
    const TITLE: Text = Text::Chat;

    fn is_named_by(route: &Route) -> bool {
        !Workbench::is_named_by(route)
    }

    fn draw(shell: &Shell<Self>, visible: bool, onroom: Callback<RoomName>) -> Html {
        let room = match &shell.route {
            Route::Chat(room) => room.clone(),
            Route::Workbench => Ok(shell.room.clone()),
        };
        html! { <ChatView {visible} language={shell.language} {room} {onroom} /> }
    }
}

pub(crate) struct Shell<V> {
    route: Route,
    /// The last valid room of the path: the target of the chat link.
    room: RoomName,
    language: Language,
    theme: Theme,
    /// Where the header is drawn, unless the other binary draws it.
    header: Option<Element>,
    /// The help was opened: then it has its content.
    has_help: bool,
    /// How many messages of the chat are unread.
    unread: usize,
    _path: [EventListener; 2],
    _keys: EventListener,
    _help: Option<EventListener>,
    _document: [EventListener; 2],
    view: PhantomData<V>,
}

pub(crate) enum Msg {
    /// A link of the page: adds an entry to the history.
    Navigate(String),
    /// The path has changed: by a link, or by the browser's back and forward buttons.
    PathChanged,
    /// The user has chosen a language.
    Language(Language),
    /// The user has chosen a theme.
    Theme(Theme),
    /// The language, the theme or the number of unread messages has changed.
    DocumentChanged,
    HelpOpened,
}

impl<V: View> Component for Shell<V> {
    type Message = Msg;
    type Properties = ();

    fn create(ctx: &Context<Self>) -> Self {
        let (path, document, help) = (ctx.link().clone(), ctx.link().clone(), ctx.link().clone());
        let header = browser::claim_header();
        let mut shell = Self {
            route: Route::Workbench,
            room: Route::lobby(),
            language: Language::default(),
            theme: Theme::default(),
            has_help: false,
            _help: header
                .as_ref()
                .map(|host| events::on_popover(host, move || help.send_message(Msg::HelpOpened))),
            header,
            _keys: events::on_key(|event| {
                if is_help_key(event) {
                    browser::show_popover(help::ID);
                }
            }),
            _path: events::on_path_change(move || path.send_message(Msg::PathChanged)),
            unread: 0,
            _document: events::on_document_change(move || document.send_message(Msg::DocumentChanged)),
            view: PhantomData,
        };
        shell.read_document();
        shell.read_path();
        shell
    }

    fn update(&mut self, _ctx: &Context<Self>, msg: Msg) -> bool {
        match msg {
            Msg::Navigate(path) => {
                if path != browser::path() {
                    browser::push_path(&path);
                }
                return false;
            }
            Msg::PathChanged => self.read_path(),
            Msg::Language(language) => {
                browser::remember(Setting::Language, language.name());
                browser::set_settings(language, self.theme);
                return false;
            }
            Msg::Theme(theme) => {
                browser::remember(Setting::Theme, theme.name());
                browser::set_settings(self.language, theme);
                return false;
            }
            Msg::DocumentChanged => self.read_document(),
            Msg::HelpOpened => self.has_help = true,
        }
        true
    }

    fn view(&self, ctx: &Context<Self>) -> Html {
        let onroom = ctx.link().callback(|room: RoomName| Msg::Navigate(chat_path(&room)));
        let header = self.header.clone().map(|host| {
            let header = Header {
                in_chat: Chat::is_named_by(&self.route),
                room: &self.room,
                unread: self.unread,
                language: self.language,
                theme: self.theme,
                has_help: self.has_help,
                onnavigate: ctx.link().callback(Msg::Navigate),
                onlanguage: ctx.link().callback(Msg::Language),
                ontheme: ctx.link().callback(Msg::Theme),
            };
            create_portal(header.draw(), host)
        });
        let is_visible = V::is_named_by(&self.route);
        html! {
            <>
                { for header }
                if is_visible {
                    <h1 class="visually-hidden">{ V::TITLE.in_language(self.language) }</h1>
                }
                { V::draw(self, is_visible, onroom) }
            </>
        }
    }

    fn rendered(&mut self, _ctx: &Context<Self>, _first: bool) {
        if V::is_named_by(&self.route) {
            browser::set_title(V::TITLE.in_language(self.language), self.unread);
        }
    }
}

impl<V> Shell<V> {
    fn read_path(&mut self) {
        self.route = Route::from_path(&browser::path());
        if let Route::Chat(Ok(room)) = &self.route {
            self.room = room.clone();
        }
    }

    fn read_document(&mut self) {
        (self.language, self.theme) = browser::settings();
        self.unread = browser::unread();
    }
}

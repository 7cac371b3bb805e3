//! The root component: the view that the path names, in the chosen language and theme.

use gloo_events::EventListener;
use talkback_client::RoomName;
use yew::{Component, Context, Html, html};

use crate::{
    browser::{self, Setting},
    chat::ChatView,
    header::Header,
    i18n::{Language, Text},
    route::{Route, chat_path},
    theme::Theme,
    workbench::WorkbenchView,
};

/// Both views keep their connections and logs while the other is shown.
pub(crate) struct App {
    route: Route,
    /// The last valid room of the path: the target of the chat link.
    room: RoomName,
    language: Language,
    theme: Theme,
    _back_and_forward: EventListener,
}

/// A choice of the user.
pub(crate) enum Msg {
    /// A link of the page: adds an entry to the history.
    Navigate(String),
    /// The browser went back or forward, and the path has changed already.
    PathChanged,
    Language(Language),
    Theme(Theme),
}

impl Component for App {
    type Message = Msg;
    type Properties = ();

    fn create(ctx: &Context<Self>) -> Self {
        let link = ctx.link().clone();
        let mut app = Self {
            route: Route::Workbench,
            room: Route::lobby(),
            language: Language::choose(
                browser::remembered(Setting::Language).as_deref(),
                browser::preferred_language().as_deref(),
            ),
            theme: Theme::from_name(&browser::remembered(Setting::Theme).unwrap_or_default()),
            _back_and_forward: browser::events::on_back_and_forward(move || link.send_message(Msg::PathChanged)),
        };
        app.read_path();
        app
    }

    fn update(&mut self, _ctx: &Context<Self>, msg: Msg) -> bool {
        match msg {
            Msg::Navigate(path) => {
                if path != browser::path() {
                    browser::push_path(&path);
                }
                self.read_path();
            }
            Msg::PathChanged => self.read_path(),
            Msg::Language(language) => {
                self.language = language;
                browser::remember(Setting::Language, language.name());
            }
            Msg::Theme(theme) => {
                self.theme = theme;
                browser::remember(Setting::Theme, theme.name());
            }
        }
        true
    }

    fn view(&self, ctx: &Context<Self>) -> Html {
        let in_chat = matches!(self.route, Route::Chat(_));
        let room = match &self.route {
            Route::Chat(room) => room.clone(),
            Route::Workbench => Ok(self.room.clone()),
        };
        let onroom = ctx.link().callback(|room: RoomName| Msg::Navigate(chat_path(&room)));
        let header = Header {
            in_chat,
            room: &self.room,
            language: self.language,
            theme: self.theme,
            onnavigate: ctx.link().callback(Msg::Navigate),
            onlanguage: ctx.link().callback(Msg::Language),
            ontheme: ctx.link().callback(Msg::Theme),
        };
        html! {
            <>
                { header.draw() }
                <main id="main" tabindex="-1">
                    <WorkbenchView key="workbench" visible={!in_chat} language={self.language} />
                    <ChatView key="chat" visible={in_chat} language={self.language} {room} {onroom} />
                </main>
            </>
        }
    }

    fn rendered(&mut self, _ctx: &Context<Self>, _first: bool) {
        let view = match self.route {
            Route::Workbench => Text::Workbench,
            Route::Chat(_) => Text::Chat,
        };
        browser::set_page_attributes(self.language, self.theme, view);
    }
}

impl App {
    fn read_path(&mut self) {
        self.route = Route::from_path(&browser::path());
        if let Route::Chat(Ok(room)) = &self.route {
            self.room = room.clone();
        }
    }
}

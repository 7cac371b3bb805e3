//! The chat view: one room, the path `/chat/{room}`. It shows each message once and the delivery state of each own
//! message.
//!
//! `reducer` is the pure state: it takes [`reducer::Action`]s and returns [`reducer::Effect`]s; its parts are
//! `timeline`, `outbox`, `unread`, `roster`, `recent_rooms` and `typing`. `view` is the component that runs the effects and draws;
//! `session` runs those of the connection and turns the client's streams into actions. `message_list` draws the rows of
//! `message_row` in blocks, of which `drawn_blocks` are on the page, and `message_list_scroll` keeps its scroll position. `history` writes
//! rows as texts and reads them again, `history_store` has these texts in IndexedDB; `preview` reads a room that is not joined. Every
//! other file is one component.

mod composer;
mod connection_banner;
mod conversation_head;
mod drawn_blocks;
mod found_words;
mod history;
mod history_store;
mod icon;
mod join_card;
mod mentions;
mod message_actions;
mod message_list;
mod message_list_scroll;
mod message_row;
mod message_text;
mod other_rooms;
mod outbox;
mod people;
mod people_search;
mod person;
mod preview;
mod rail;
mod read_cursors;
mod recent_rooms;
mod reducer;
mod rich_text;
mod roster;
mod search_bar;
mod sentences;
mod session;
mod switcher;
mod timeline;
mod typing;
mod unread;
mod view;

pub(crate) use timeline::Target;
pub(crate) use view::ChatView;

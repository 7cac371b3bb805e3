//! The chat view: one room, the path `/chat/{room}`. It shows each message once and the delivery state of each own
//! message.
//!
//! `reducer` is the pure state: it takes [`reducer::Action`]s and returns [`reducer::Effect`]s; its parts are
//! `timeline`, `outbox`, `unread`, `roster` and `typing`. `view` is the component that runs the effects and draws;
//! `session` runs those of the connection and turns the client's streams into actions. `message_list` draws the rows of
//! `message_row`, and `message_list_scroll` keeps its scroll position. Every other file is one component.

mod composer;
mod connection_banner;
mod message_list;
mod message_list_scroll;
mod message_row;
mod outbox;
mod reducer;
mod room_card;
mod roster;
mod roster_card;
mod session;
mod timeline;
mod typing;
mod unread;
mod view;

pub(crate) use view::ChatView;

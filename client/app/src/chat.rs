//! The chat: one room of `/chat/{room}`, on the session. Nothing that is said is lost or shown twice, and the page says what it
//! knows of each message.
//!
//! [`state`] is the pure reducer, made of [`timeline`], [`outgoing`], [`reading`], [`roster`] and [`typing`]; [`session`] turns the
//! client's streams into its actions; [`view`] runs the effects and draws; every other file is one component.

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

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

/// A message of the room as the page shows it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RoomMessage {
    /// Its place in the room's log.
    pub(crate) offset: u64,
    /// The user who said it.
    pub(crate) from: String,
    /// When it was appended, in milliseconds since the Unix epoch.
    pub(crate) at: f64,
    /// What it says; the JSON of a body that is not a text.
    pub(crate) text: String,
    /// This tab sent it.
    pub(crate) own: bool,
}

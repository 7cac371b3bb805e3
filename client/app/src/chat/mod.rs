//! The chat: one room of `/chat/{room}`, plain text, everything in order.
//!
//! [`state`] is the pure reducer and [`line`] reads what the server sends; [`view`] runs the effects and draws; every other file
//! is one component.

mod composer;
mod line;
mod messages;
mod room_card;
mod state;
mod stay_at_end;
mod view;

pub(crate) use view::ChatView;

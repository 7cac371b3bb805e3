//! The frame of the page: which view is shown, its language and theme, and what several views draw alike.

mod announcer;
mod app;
mod enter_key;
mod header;
mod state_badge;
mod time;

pub(crate) use announcer::{Announce, Announcer};
pub(crate) use app::App;
pub(crate) use enter_key::{EnterKey, enter_key};
pub(crate) use state_badge::{state_badge, waiting_hint};
pub(crate) use time::time;

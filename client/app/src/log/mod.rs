//! A view's log: bounded, kept outside Yew's state, drawn at most once per animation frame.
//!
//! [`Log`] holds the rows and drops the oldest over its limits; [`SharedLog`] is the handle that views and components share;
//! [`ListView`] is the pure state of a virtual list over it: which rows are drawn, what is selected, whether it follows.

mod list_view;
mod shared;
mod store;

pub(crate) use list_view::{ListView, Movement, ROW_PIXELS};
pub(crate) use shared::{SharedLog, Subscription};
pub(crate) use store::{Limits, Log, Row, Weigh};

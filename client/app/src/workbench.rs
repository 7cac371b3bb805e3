//! The workbench: any WebSocket address, one connection, everything it does in a log.
//!
//! [`state`] is the pure reducer; [`view`] runs its effects and draws; every other file is one component.

mod composer;
mod connection_card;
mod connection_details;
mod detail_pane;
mod echo_over_http;
mod log;
mod log_entry;
mod log_panel;
mod log_row;
mod reducer;
mod shared_log;
mod state_badge;
mod view;
mod virtual_list;

pub(crate) use view::WorkbenchView;
pub(crate) use virtual_list::SelectionMove;

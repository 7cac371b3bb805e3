//! The workbench view: one connection to any WebSocket address, and a log of what it does.
//!
//! `reducer` is the pure state: it takes [`reducer::Action`]s and returns [`reducer::Effect`]s, which the component
//! `view` runs. `log` has the rows, `shared_log` the handle to them, `log_entry` the content of a row; `log_panel`
//! draws them with `virtual_list`, `log_row` and `detail_pane`. Every other file is one component.

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

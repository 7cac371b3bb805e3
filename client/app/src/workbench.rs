//! The workbench view: connections to any WebSocket addresses, each with a log of what it does in a tab of its own.
//!
//! `reducer` is the pure state: it takes [`reducer::Action`]s and returns [`reducer::Effect`]s, which the component
//! `view` runs. Parts of the state are `traffic` and `round_trip`; what is remembered of addresses is `addresses`.
//! The message is written in a `message_mode` (with `binary_text` and `templates`), taken back from `sent_history`, and sent again by `repeat`.
//! What the user has saved is `saved`, drawn by `saved_sheet`.
//!
//! `log` has the rows, `shared_log` the handle to them, `log_entry` the content of a row. `log_panel` draws them with `log_toolbar`,
//! `log_row` and `detail_pane`; what it shows of them is `log_view`, with `log_filter` and `virtual_list`, all pure, as are `json` and
//! `log_export`. Every other file is one component.

mod addresses;
mod binary_text;
mod composer;
mod detail_pane;
mod echo_over_http;
mod icon_button;
mod image_kind;
mod json;
mod log;
mod log_entry;
mod log_export;
mod log_filter;
mod log_panel;
mod log_row;
mod log_toolbar;
mod log_view;
mod marked_text;
mod message_mode;
mod pattern_worker;
mod reducer;
mod repeat;
mod round_trip;
mod saved;
mod saved_sheet;
mod segments;
mod sent_history;
mod sentences;
mod share_link;
mod shared_log;
mod status_strip;
mod subprotocols;
mod tab_strip;
mod templates;
mod traffic;
mod url_bar;
mod url_menu;
mod view;
mod virtual_list;

pub(crate) use view::WorkbenchView;
pub(crate) use virtual_list::SelectionMove;

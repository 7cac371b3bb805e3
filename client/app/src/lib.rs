//! The Yew page of Talkback.
//!
//! Reading order:
//! - `shell`: the root component of each of the two binaries, which shows its view while `route` reads it from the path; `header`: links,
//!   language and theme; `help`: the keys, and forgetting what is remembered;
//! - `workbench` and `chat`: the two views. In each, `reducer` is the pure state, `view` the component that runs the
//!   reducer's effects, and most other files are one component each;
//! - `connection`: the workbench's WebSocket connection and its state machine;
//! - `i18n`: every text in every language;
//! - `keyboard`: what keys do; `browser::events`: the events of window and document; `browser::storage`: what the page
//!   remembers;
//! - `rows`: the bounded rows of the workbench's log and the chat's timeline;
//! - `form`, `announcer`, `row_time`: what both views draw; `animation_frame`: one drawing for many changes;
//! - `server_address`, `format`, `theme`.
//!
//! State changes only in pure code (`reducer.rs` of each view, `connection/phase.rs`, `workbench/virtual_list.rs`),
//! which uses neither Yew nor a browser and is tested natively. Components send actions; they never read a captured
//! state.

mod animation_frame;
mod announcer;
mod browser;
mod chat;
mod connection;
mod form;
mod format;
mod header;
mod help;
mod i18n;
mod keyboard;
mod route;
mod row_time;
mod rows;
mod server_address;
mod shell;
mod theme;
mod workbench;

use shell::{Chat, Shell, View, Workbench};

/// Replaces the workbench's skeleton in `index.html`, in the element `#workbench`, by the running view, and draws the header unless the
/// other view has done that. With the parameter `trace` in the page's address, the client writes its trace to the console.
///
/// # Panics
/// When the document has no `#workbench`.
pub fn run_workbench() {
    run::<Workbench>();
}

/// Does the same for the chat, in the element `#chat`.
///
/// # Panics
/// When the document has no `#chat`.
pub fn run_chat() {
    run::<Chat>();
}

fn run<V: View>() {
    #[cfg(feature = "trace")]
    log_trace();
    let root = browser::document()
        .get_element_by_id(V::ROOT)
        .expect("index.html has an element for each view");
    yew::Renderer::<Shell<V>>::with_root(root).render();
}

/// Shows the client's trace on the console if the page's address asks for it.
#[cfg(feature = "trace")]
fn log_trace() {
    use talkback_client::trace::{LevelFilter, SetLoggerError, log_to_console};

    if route::wants_trace(&browser::query()) {
        // Fails only with a second logger, and the page has no other.
        let _: Result<(), SetLoggerError> = log_to_console(LevelFilter::Trace);
    }
}

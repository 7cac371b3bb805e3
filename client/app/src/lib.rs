//! The Yew page of Talkback.
//!
//! Reading order:
//! - `app`: the root component, which shows the view that `route` reads from the path; `header`: links, language and
//!   theme;
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
mod app;
mod browser;
mod chat;
mod connection;
mod form;
mod format;
mod header;
mod i18n;
mod keyboard;
mod route;
mod row_time;
mod rows;
mod server_address;
mod theme;
mod workbench;

/// Replaces the static shell of `index.html`, in the element `#app`, by the running page. With the parameter `trace` in
/// the page's address, the client writes its trace to the console.
///
/// # Panics
/// When the document has no `#app`.
pub fn run() {
    #[cfg(feature = "trace")]
    log_trace();
    let root = browser::document()
        .get_element_by_id("app")
        .expect("index.html has an element #app");
    yew::Renderer::<app::App>::with_root(root).render();
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

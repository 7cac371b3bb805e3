//! The Yew page of Talkback.
//!
//! Reading order:
//! - `shell`: the frame: header, view, language and theme;
//! - `workbench` and `chat`: the two views, each a pure reducer, a component that runs its effects, and small components;
//! - `connection`: the workbench's WebSocket connection as a state machine, and the driver that owns the socket;
//! - `log`: a bounded log outside Yew's state, and the state of a virtual list over it;
//! - `next_frame`: drawing once for many changes;
//! - `i18n`: every text in every language;
//! - `address`, `format`, `form`, `theme`, `browser`: what they stand on.
//!
//! State changes only in reducers (`state.rs`, `phase.rs`, `list_view.rs`), which know neither Yew nor a browser and are tested
//! natively. Components send actions; they never read a captured state.

mod address;
mod browser;
mod chat;
mod connection;
mod form;
mod format;
mod i18n;
mod log;
mod next_frame;
mod shell;
mod theme;
mod workbench;

/// Replaces the static shell of `index.html`, in the element `#app`, by the running page.
///
/// # Panics
/// When the document has no `#app`.
pub fn run() {
    let root = browser::document()
        .get_element_by_id("app")
        .expect("index.html has an element #app");
    yew::Renderer::<shell::App>::with_root(root).render();
}

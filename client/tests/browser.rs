//! The socket in a real browser, against the real server and the fault service: `cargo test -p talkback-client --target
//! wasm32-unknown-unknown`.
//!
//! Tests that guard against a known failure name its public issue.

#![cfg(target_family = "wasm")]

mod support;

#[path = "browser/closing.rs"]
mod closing;
#[path = "browser/connecting.rs"]
mod connecting;
#[path = "browser/lifetime.rs"]
mod lifetime;
#[path = "browser/messages.rs"]
mod messages;
#[path = "browser/receiving.rs"]
mod receiving;
#[path = "browser/sending.rs"]
mod sending;

wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_browser);

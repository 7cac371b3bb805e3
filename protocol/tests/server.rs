//! Transcripts of a server's session: scripts of inputs and their outputs.

#![allow(unreachable_pub, reason = "the modules of a test are all its own")]

#[path = "server/addressed.rs"]
mod addressed;
#[path = "server/greeting.rs"]
mod greeting;
#[path = "support/recording.rs"]
mod recording;
#[path = "server/rooms.rs"]
mod rooms;
#[path = "server/script.rs"]
mod script;

#[cfg(target_family = "wasm")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_browser);

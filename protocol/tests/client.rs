//! Transcripts of a client's session: scripts of inputs and their outputs.

#![allow(unreachable_pub, reason = "the modules of a test are all its own")]

#[path = "client/addressed.rs"]
mod addressed;
#[path = "client/commands.rs"]
mod commands;
#[path = "client/connecting.rs"]
mod connecting;
#[path = "client/key.rs"]
mod key;
#[path = "client/numbers.rs"]
mod numbers;
#[path = "client/outbox.rs"]
mod outbox;
#[path = "support/recording.rs"]
mod recording;
#[path = "client/records.rs"]
mod records;
#[path = "client/refused.rs"]
mod refused;
#[path = "client/rooms.rs"]
mod rooms;
#[path = "client/script.rs"]
mod script;
#[path = "client/times.rs"]
mod times;

#[cfg(target_family = "wasm")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_browser);

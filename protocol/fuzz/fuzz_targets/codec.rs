//! Any bytes as a text frame, for the codec and for both sessions.

#![no_main]

#[path = "../../tests/support/mod.rs"]
mod support;

libfuzzer_sys::fuzz_target!(|data: &[u8]| support::fuzz::codec(data));

//! The binary of the chat view; everything is in the library, so that its tests run natively.

fn main() {
    talkback_app::run_chat();
}

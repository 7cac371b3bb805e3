//! The page's entry point; everything is in the library, so that its tests run natively.

fn main() {
    talkback_app::run();
}

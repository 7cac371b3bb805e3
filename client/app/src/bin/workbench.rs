//! The binary of the workbench view; everything is in the library, so that its tests run natively.

fn main() {
    talkback_app::run_workbench();
}

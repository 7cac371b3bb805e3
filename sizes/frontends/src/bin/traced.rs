//! A chat that writes the client's trace to the browser's console.

use talkback_client::trace::{LevelFilter, log_to_console};
use talkback_frontends::show_error;

fn main() {
    if let Err(error) = log_to_console(LevelFilter::Debug) {
        show_error(&error);
    }
    talkback_frontends::chat(|builder| builder);
}

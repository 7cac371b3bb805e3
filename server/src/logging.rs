//! Logs on stderr, for people or for machines.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::{Config, LogFormat};

/// Sends the logs of the whole process to stderr, as the configuration says. Call it once, at the start.
pub fn init(config: &Config) {
    let filter = EnvFilter::builder().parse_lossy(&config.log);
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match config.log_format {
        LogFormat::Human => logs.init(),
        // One flat object a line, so that `code` of a close is not hidden in a nested one.
        LogFormat::Json => logs.json().flatten_event(true).init(),
    }
}

//! The signals that stop the server: SIGTERM or Ctrl-C; a second one stops it at once.

use std::io;

/// Waits for the first signal. From then on a second one ends the process at once with status 130.
///
/// # Errors
/// If the system does not allow signal handlers.
pub async fn signal() -> io::Result<()> {
    let mut signals = Signals::new()?;
    signals.recv().await;
    tokio::spawn(async move {
        signals.recv().await;
        tracing::warn!("stopped by a second signal");
        std::process::exit(130);
    });
    Ok(())
}

#[cfg(unix)]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn recv(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(windows)]
struct Signals(tokio::signal::windows::CtrlC);

#[cfg(windows)]
impl Signals {
    fn new() -> io::Result<Self> {
        tokio::signal::windows::ctrl_c().map(Self)
    }

    async fn recv(&mut self) {
        self.0.recv().await;
    }
}

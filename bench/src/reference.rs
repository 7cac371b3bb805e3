//! The command line and the runtime of the reference servers.

use std::net::{SocketAddr, TcpListener};

use anyhow::Result;
use clap::Parser;

/// The command line of a reference server.
#[derive(Debug, Parser)]
pub struct ReferenceArgs {
    /// The address to listen on; port 0 chooses a free port.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// The mode of a server that has several; see its source.
    #[arg(long)]
    pub mode: Option<String>,
}

impl ReferenceArgs {
    /// Listens and prints `listening on http://ADDRESS`, as talkback-server does.
    ///
    /// # Errors
    /// When it cannot listen on the address.
    pub fn bind(&self) -> Result<TcpListener> {
        let listener = TcpListener::bind(self.listen)?;
        listener.set_nonblocking(true)?;
        println!("listening on http://{}", listener.local_addr()?);
        Ok(listener)
    }
}

/// A runtime on the calling thread, without timers.
///
/// # Errors
/// When the system refuses.
pub fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_io().build()?)
}

//! What the reference servers share: one flag, one first line.

use std::net::{SocketAddr, TcpListener};

use anyhow::Result;
use clap::Parser;

/// The command line of a reference server.
#[derive(Debug, Parser)]
pub struct ReferenceArgs {
    /// Where to listen; port 0 picks one.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// What the server does besides its one way; see the server.
    #[arg(long)]
    pub mode: Option<String>,
}

impl ReferenceArgs {
    /// Listens and prints `listening on http://ADDRESS`, as talkback-server does.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub fn bind(&self) -> Result<TcpListener> {
        let listener = TcpListener::bind(self.listen)?;
        listener.set_nonblocking(true)?;
        println!("listening on http://{}", listener.local_addr()?);
        Ok(listener)
    }
}

/// A runtime on the calling thread, as the leanest servers use.
///
/// # Errors
/// When the system refuses.
pub fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_io().build()?)
}

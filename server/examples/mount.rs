//! Talkback inside somebody else's axum application, on that application's own accept loop.
//!
//! `cargo run -p talkback-server --example mount`; echo is then at `/talk/echo` and chat at `/talk/chat/lobby`.

use axum::{Router, routing::get};
use talkback_server::{AppOptions, AppState};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let talkback = AppState::open(&AppOptions::default())?;
    let router = Router::new()
        .route("/", get(|| async { "an application of its own" }))
        .nest("/talk", talkback_server::router(talkback.clone()));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, router)
        .with_graceful_shutdown(async move {
            if tokio::signal::ctrl_c().await.is_ok() {
                // axum does not know of sockets, so they are closed here.
                talkback.sockets().drain(std::time::Duration::from_secs(5)).await;
            }
        })
        .await?;
    Ok(())
}

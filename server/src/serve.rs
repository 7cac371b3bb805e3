//! The accept loop: TCP in, HTTP on top, limits around it, and an orderly end.

use std::{convert::Infallible, future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body, extract::ConnectInfo, response::Response};
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::timeout,
};
use tower::ServiceExt;

use crate::{
    answers::{self, Account, AnswerStream, Answers},
    app::{AppState, router},
    config::Config,
    limits::{ConnectionLimit, ConnectionPermit},
    socket::Sockets,
};

/// A refused connection may read its answer for so long.
const REFUSAL_TIME: Duration = Duration::from_secs(1);
/// So many refused connections get an answer at a time; under a flood the others are just closed.
const REFUSALS_AT_ONCE: usize = 64;
/// When the system has no more file handles or memory, accepting rests for this long.
const ACCEPT_REST: Duration = Duration::from_millis(50);
/// The largest request head, in bytes.
const MAX_HEAD: usize = 16 * 1024;

/// Serves Talkback on `listener` until `shutdown` is ready, then closes everything in order.
///
/// The order of the end: no connection is accepted any more; plain HTTP requests under way are answered; sockets are closed with 1001
/// in batches ([`Sockets::drain`]); whatever is left after [`Config::drain`] is cut.
///
/// # Errors
/// Only if the listener's own address cannot be read. A failed accept is logged and tried again.
pub async fn serve(listener: TcpListener, config: &Config, shutdown: impl Future<Output = ()>) -> io::Result<()> {
    let app = AppState::new(config);
    let sockets = app.sockets().clone();
    serve_router(listener, config, &sockets, router(app), shutdown).await
}

/// Like [`serve`], for an axum application of your own: the same limits around it and the same orderly end for its `sockets`.
///
/// # Errors
/// Like [`serve`].
pub async fn serve_router(
    listener: TcpListener,
    config: &Config,
    sockets: &Sockets,
    router: Router,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    bound_system_buffers(&listener, config);
    let limit = ConnectionLimit::new(config.max_connections, config.max_connection_rate);
    let refusals = Arc::new(Semaphore::new(REFUSALS_AT_ONCE));
    let (stop, stopping) = watch::channel(());
    let http = Http {
        router,
        header_timeout: config.header_timeout,
        lifetime: config.http_lifetime,
        write_timeout: config.write_timeout,
        answers: Answers::new(config.answer_bytes),
        sockets: sockets.clone(),
        stopping,
    };
    tracing::info!(%address, "listening");

    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut shutdown => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                let Some(permit) = limit.admit() else {
                    sockets.metrics().connections_refused.add_one();
                    refuse(stream, &refusals);
                    continue;
                };
                tokio::spawn(http.clone().connection(stream, peer, permit));
            }
            Err(error) if is_of_one_connection(&error) => {
                tracing::debug!(%error, "a connection was gone before it was accepted")
            }
            Err(error) => {
                tracing::error!(%error, "accepting failed; trying again");
                tokio::time::sleep(ACCEPT_REST).await;
            }
        }
    }

    drop(listener);
    let drain = config.drain;
    tracing::info!(sockets = sockets.count(), ?drain, "stopping");
    drop(stop);
    let everything = async {
        sockets.drain(drain).await;
        limit.none_left().await;
    };
    if timeout(drain, everything).await.is_err() {
        tracing::warn!(
            sockets = sockets.count(),
            "the time to drain is over: cutting what is left"
        );
    }
    Ok(())
}

/// Bounds what the system holds for each connection; those that are accepted inherit it.
fn bound_system_buffers(listener: &TcpListener, config: &Config) {
    let socket = SockRef::from(listener);
    if config.receive_buffer > 0
        && let Err(error) = socket.set_recv_buffer_size(config.receive_buffer)
    {
        tracing::warn!(%error, "--receive-buffer does not hold");
    }
    // Elsewhere the system's send buffer is small, or bounds itself.
    #[cfg(target_os = "linux")]
    if let Some(unsent @ 1..) = u32::try_from(config.unsent_bytes).ok()
        && let Err(error) = socket.set_tcp_notsent_lowat(unsent)
    {
        tracing::warn!(%error, "--unsent-bytes does not hold");
    }
}

/// What every HTTP connection of a server needs.
#[derive(Clone)]
struct Http {
    router: Router,
    header_timeout: Duration,
    lifetime: Duration,
    write_timeout: Duration,
    answers: Arc<Answers>,
    sockets: Sockets,
    /// Its sender is dropped when the server stops.
    stopping: watch::Receiver<()>,
}

impl Http {
    async fn connection(mut self, stream: TcpStream, peer: SocketAddr, permit: ConnectionPermit) {
        // A message is worth more than a full packet. Fails only on a connection that is gone, which the first read will tell.
        let _ = stream.set_nodelay(true);
        let router = self.router;
        let account = Account::new(&self.answers);
        let stream = AnswerStream::new(stream, self.write_timeout, Arc::clone(&account));
        let sockets = self.sockets;
        let service = service_fn(|mut request: Request<Incoming>| {
            request.extensions_mut().insert(permit.clone());
            request.extensions_mut().insert(ConnectInfo(peer));
            let (router, account, sockets) = (router.clone(), Arc::clone(&account), sockets.clone());
            async move {
                let response = router
                    .oneshot(request.map(Body::new))
                    .await
                    .unwrap_or_else(|never| match never {});
                Ok::<Response, Infallible>(account.admit(response).unwrap_or_else(|| {
                    sockets.metrics().answers_refused.add_one();
                    answers::too_many()
                }))
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            // Also bounds how long a kept-alive connection may rest between two requests.
            .header_read_timeout(self.header_timeout)
            .max_buf_size(MAX_HEAD)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut connection = std::pin::pin!(connection);
        let ended = timeout(self.lifetime, async {
            tokio::select! {
                result = &mut connection => return result,
                // Only ever fails, when the sender is dropped.
                _ = self.stopping.changed() => connection.as_mut().graceful_shutdown(),
            }
            connection.await
        });
        match ended.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%peer, %error, "http connection failed"),
            Err(_) => tracing::debug!(%peer, "http connection was open for too long"),
        }
    }
}

/// Answers with 503 without reading the request, if that many are not being answered already.
fn refuse(mut stream: TcpStream, refusals: &Arc<Semaphore>) {
    const ANSWER: &[u8] =
        b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Type: text/plain\r\nContent-Length: 46\r\n\
        Connection: close\r\n\r\nthe server is full: try again in a few seconds";
    let Ok(place) = Arc::clone(refusals).try_acquire_owned() else {
        return;
    };
    tokio::spawn(async move {
        let answer = async {
            stream.write_all(ANSWER).await?;
            stream.shutdown().await?;
            // Closing with the request unread would reset the connection, and the client might never see the answer.
            let mut request = [0; 512];
            while stream.read(&mut request).await? > 0 {}
            io::Result::Ok(())
        };
        // Whether a refused client took its answer is its own affair.
        let _ = timeout(REFUSAL_TIME, answer).await;
        drop(place);
    });
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn connections_inherit_the_bounds_of_the_systems_buffers() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let config = Config {
            receive_buffer: 50_000,
            unsent_bytes: 20_000,
            ..Config::default()
        };
        bound_system_buffers(&listener, &config);
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        let socket = SockRef::from(&accepted);
        // Linux takes twice as much, for what it needs itself.
        let receives = socket.recv_buffer_size().unwrap();
        assert!((50_000..=100_000).contains(&receives), "{receives}");
        #[cfg(target_os = "linux")]
        assert_eq!(socket.tcp_notsent_lowat().unwrap(), 20_000);
    }
}

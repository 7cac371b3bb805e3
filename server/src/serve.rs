//! The accept loop: TCP connections, HTTP on each of them, their limits, and the shutdown.

use std::{
    convert::Infallible,
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::ConnectInfo,
    http::{HeaderMap, HeaderName, StatusCode, header},
    response::{IntoResponse, Response},
};
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use ipnet::IpNet;
use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_util::sync::{CancellationToken, DropGuard};
use tower::ServiceExt;
use tracing::Instrument;

use crate::{
    answers::{self, Account, AnswerOptions, AnswerStream, Answers},
    app::{AppState, operations, router},
    limits::{Address, AddressLimits, Admission, ConnectionLimit, ConnectionPermit, Peer, Refused},
    logging::{Throttle, connection_span},
    metrics::Metrics,
    options::AppOptions,
    origin::{HostPolicy, X_FORWARDED_PROTO},
    socket::Sockets,
};

/// The timeout for a refused connection to read its answer.
const REFUSAL_TIME: Duration = Duration::from_secs(1);
/// The number of refused connections that get an answer at a time; under a flood the others are closed without one.
const REFUSALS_AT_ONCE: usize = 64;
/// The pause of the accept loop when the system has no more file handles or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Log lines about failed accepts, which would come as fast as connections do.
const ACCEPT_LINES_PER_SECOND: u32 = 1;
/// The maximum number of connections to the address for operators.
const OPERATIONS_CONNECTIONS: usize = 64;
/// The headers in which proxies send the address of a client.
const PROXY_HEADERS: [&str; 3] = ["x-forwarded-for", "x-real-ip", "forwarded"];
/// The largest request head, in bytes.
const MAX_HEAD: usize = 16 * 1024;

/// Serves this application on `listener` until `shutdown` is ready, then shuts down. On `operations_listener`, if there is one,
/// it serves operators until the shutdown has ended.
///
/// The shutdown: `/readyz` is not ready at once; after [`AppOptions::drain_delay`] no new connection is accepted; plain
/// HTTP requests in flight are answered; the closes of sockets are spread over [`AppOptions::drain_time`]
/// ([`Sockets::drain`]); connections that are open [`AppOptions::close_timeout`] after that are cut.
///
/// # Errors
/// If the options are invalid ([`AppOptions::validate`]) or a listener's own address cannot be read. A failed accept is
/// logged and tried again.
pub async fn serve(
    listener: TcpListener,
    operations_listener: Option<TcpListener>,
    options: &AppOptions,
    app: AppState,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    options
        .validate()
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let sockets = app.sockets().clone();
    tracing::warn!(
        "there is no access control yet: every client that can connect can read the history of every room and use any name"
    );
    let main = serve_router(listener, options, &sockets, router(app.clone()), shutdown);
    let Some(listener) = operations_listener else {
        return main.await;
    };
    // No limit by address: one monitor may open all connections.
    let addresses = AddressLimits::new(crate::limits::AddressOptions {
        connections: OPERATIONS_CONNECTIONS,
        ..options.address_options()
    });
    let limit = ConnectionLimit::new(OPERATIONS_CONNECTIONS, 0, addresses, Arc::default());
    let server = Server::new(&listener, options, operations(app), sockets.clone(), limit)?;
    tracing::info!(address = %server.address, "listening for operations");
    tokio::select! {
        result = main => result,
        never = server.accept(&listener, std::future::pending()) => Ok(never),
    }
}

/// Like [`serve`], for an axum application of your own: with the same limits, and the same shutdown of its `sockets`.
///
/// The limits of connections and addresses and the host names ([`AppOptions::allow_host`]) are checked here, so a
/// router under another accept loop has none of them.
///
/// # Errors
/// If the listener's own address cannot be read. A failed accept is logged and tried again.
pub async fn serve_router(
    listener: TcpListener,
    options: &AppOptions,
    sockets: &Sockets,
    router: Router,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let addresses = AddressLimits::new(options.address_options());
    let limit = ConnectionLimit::new(
        options.max_connections,
        options.max_connection_rate,
        addresses,
        Arc::clone(sockets.metrics()),
    );
    let server = Server::new(&listener, options, router, sockets.clone(), Arc::clone(&limit))?;
    tracing::info!(address = %server.address, "listening");
    server.accept(&listener, shutdown).await;

    sockets.announce_drain();
    if !options.drain_delay.is_zero() {
        tracing::info!(delay = ?options.drain_delay, "draining: connections are accepted for this time");
        server.accept(&listener, tokio::time::sleep(options.drain_delay)).await;
    }
    drop(listener);
    let within = options.drain_time;
    tracing::info!(sockets = sockets.count(), ?within, "stopping");
    drop(server);
    let all_closed = async {
        sockets.drain(within).await;
        limit.none_left().await;
    };
    if timeout(within.saturating_add(options.close_timeout), all_closed)
        .await
        .is_err()
    {
        tracing::warn!(
            sockets = sockets.count(),
            "--drain-time and --close-timeout are over: cutting the connections that are still open"
        );
    }
    Ok(())
}

/// Limits the system's buffers of each connection: accepted connections inherit the options of the listener.
fn bound_system_buffers(listener: &TcpListener, options: &AppOptions) {
    let socket = SockRef::from(listener);
    if options.receive_buffer > 0
        && let Err(error) = socket.set_recv_buffer_size(options.receive_buffer)
    {
        tracing::warn!(%error, "the system refuses --receive-buffer: its own default is used");
    }
    // On other systems the send buffer is small, or bounded by the system.
    #[cfg(target_os = "linux")]
    if let Some(unsent @ 1..) = u32::try_from(options.unsent_bytes).ok()
        && let Err(error) = socket.set_tcp_notsent_lowat(unsent)
    {
        tracing::warn!(%error, "the system refuses --unsent-bytes: its own default is used");
    }
}

/// One listening address. Dropping it ends its HTTP connections after the request that is in flight.
struct Server {
    address: SocketAddr,
    limit: Arc<ConnectionLimit>,
    refusals: Arc<Semaphore>,
    http: Http,
    _stop: DropGuard,
}

impl Server {
    fn new(
        listener: &TcpListener,
        options: &AppOptions,
        router: Router,
        sockets: Sockets,
        limit: Arc<ConnectionLimit>,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        bound_system_buffers(listener, options);
        let stop = CancellationToken::new();
        let front = Front {
            hosts: HostPolicy::new(options.allow_host.clone(), address.ip().to_canonical().is_loopback()),
            proxies: options.trust_proxy.clone(),
            header: options.proxy_header.parse().map_err(io::Error::other)?,
            warned: AtomicBool::new(false),
            sockets,
            limit: Arc::clone(&limit),
            write_timeout: options.write_timeout,
            min_taken: options.min_taken,
            answers: Answers::new(AnswerOptions {
                bytes: options.answer_bytes,
                ..AnswerOptions::default()
            }),
        };
        let http = Http {
            router,
            front: Arc::new(front),
            header_timeout: options.header_timeout,
            lifetime: options.http_lifetime,
            stop: stop.clone(),
        };
        Ok(Self {
            address,
            limit,
            refusals: Arc::new(Semaphore::new(REFUSALS_AT_ONCE)),
            http,
            _stop: stop.drop_guard(),
        })
    }

    async fn accept(&self, listener: &TcpListener, shutdown: impl Future<Output = ()>) {
        let failures = Throttle::new(ACCEPT_LINES_PER_SECOND);
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            let accepted = tokio::select! {
                // Polled first, so that signals are handled before the first connection is accepted.
                biased;
                () = &mut shutdown => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => self.take(stream, peer),
                Err(error) if is_of_one_connection(&error) => {
                    tracing::debug!(%error, "a connection was closed before it was accepted")
                }
                Err(error) => {
                    if let Some(more) = failures.admit() {
                        tracing::error!(%error, more, "accepting failed; trying again");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn take(&self, stream: TcpStream, peer: SocketAddr) {
        let front = &self.http.front;
        let address = (!front.trusts(peer.ip())).then(|| peer.ip().into());
        match self.limit.admit(address) {
            Ok(admission) => {
                let connection = self.http.clone().connection(stream, peer, admission);
                tokio::spawn(connection.instrument(connection_span()));
            }
            Err(reason) => {
                count(front.metrics(), reason);
                refuse(stream, reason, &self.refusals);
            }
        }
    }
}

fn count(metrics: &Metrics, reason: Refused) {
    match reason {
        Refused::Full => metrics.connections_refused.add_one(),
        Refused::Address => metrics.addresses_refused.add_one(),
    }
}

/// Checks every request before the router gets it.
struct Front {
    hosts: HostPolicy,
    proxies: Vec<IpNet>,
    /// The header in which a trusted proxy sends the client's address.
    header: HeaderName,
    /// Whether a proxy that is not trusted was logged.
    warned: AtomicBool,
    sockets: Sockets,
    limit: Arc<ConnectionLimit>,
    write_timeout: Duration,
    min_taken: usize,
    answers: Arc<Answers>,
}

impl Front {
    fn metrics(&self) -> &Metrics {
        self.sockets.metrics()
    }

    fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.proxies.iter().any(|network| network.contains(&address))
    }

    /// Prepares a request for the router, or answers it.
    async fn admit(
        &self,
        request: &mut Request<Incoming>,
        peer: SocketAddr,
        permit: &ConnectionPermit,
        first: bool,
    ) -> Result<(), Response> {
        if let Err(error) = self.hosts.check(request) {
            if error.status() == StatusCode::MISDIRECTED_REQUEST {
                self.metrics().hosts_refused.add_one();
            }
            return Err((error.status(), format!("{error}\n")).into_response());
        }
        let from_proxy = self.trusts(peer.ip());
        let mut permit = permit.clone();
        let address = if from_proxy {
            let address = self.client(request.headers()).unwrap_or(peer.ip()).into();
            // Behind a proxy each WebSocket counts as a connection of its client.
            if request.headers().contains_key(header::UPGRADE) {
                permit = permit.for_client(self.admit_client(address).await?);
            }
            address
        } else {
            if PROXY_HEADERS.iter().any(|name| request.headers().contains_key(*name)) {
                self.warn_of_proxy(peer.ip());
            }
            // Only a trusted proxy may set the scheme of its client.
            request.headers_mut().remove(X_FORWARDED_PROTO);
            Address::from(peer.ip())
        };
        let extensions = request.extensions_mut();
        extensions.insert(permit);
        extensions.insert(ConnectInfo(peer));
        extensions.insert(Peer {
            address,
            limits: Arc::clone(self.limit.addresses()),
            counted: first && !from_proxy,
        });
        Ok(())
    }

    async fn admit_client(&self, address: Address) -> Result<crate::limits::AddressPlace, Response> {
        match self.limit.admit_client(address) {
            Ok((place, wait)) => {
                if !wait.is_zero() {
                    tokio::time::sleep(wait).await;
                }
                Ok(place)
            }
            Err(reason) => {
                count(self.metrics(), reason);
                let answer = (
                    StatusCode::TOO_MANY_REQUESTS,
                    [(header::RETRY_AFTER, "5")],
                    ADDRESS_REFUSED,
                );
                Err(answer.into_response())
            }
        }
    }

    /// The last address in the header that is not a trusted proxy: a client can forge the entries before it.
    fn client(&self, headers: &HeaderMap) -> Option<IpAddr> {
        let lines: Vec<_> = headers.get_all(&self.header).iter().collect();
        let entries = lines
            .iter()
            .rev()
            .flat_map(|line| line.to_str().unwrap_or_default().rsplit(','));
        let mut last = None;
        for entry in entries {
            let Some(address) = parse_address(entry.trim()) else {
                break;
            };
            last = Some(address);
            if !self.trusts(address) {
                break;
            }
        }
        last
    }

    fn warn_of_proxy(&self, proxy: IpAddr) {
        if !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                %proxy,
                "a request has the header of a proxy that is not trusted: all clients behind it share the limits of one address. \
                 If it is your proxy, start the server with --trust-proxy and its network"
            );
        }
    }
}

/// Parses an address with or without a port, as proxies write it.
fn parse_address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let address = bare.unwrap_or(text).parse().ok();
    address.or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()))
}

/// The state of each HTTP connection of a server.
#[derive(Clone)]
struct Http {
    router: Router,
    front: Arc<Front>,
    header_timeout: Duration,
    lifetime: Duration,
    /// Cancelled when the server stops.
    stop: CancellationToken,
}

impl Http {
    async fn connection(self, stream: TcpStream, peer: SocketAddr, admission: Admission) {
        let Admission { permit, wait } = admission;
        tracing::trace!(delay = ?wait, "connection accepted");
        if !wait.is_zero() {
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.stop.cancelled() => return,
            }
        }
        // Messages are sent at once, in packets that are not full. This fails only on a closed connection, as will the
        // first read.
        let _ = stream.set_nodelay(true);
        let (router, front) = (self.router, self.front);
        let account = Account::new(&front.answers, (!front.trusts(peer.ip())).then(|| peer.ip().into()));
        let stream = AnswerStream::new(stream, front.write_timeout, front.min_taken, Arc::clone(&account));
        let first = AtomicBool::new(true);
        let service = service_fn(|mut request: Request<Incoming>| {
            let (router, front, permit) = (router.clone(), Arc::clone(&front), permit.clone());
            let account = Arc::clone(&account);
            let first = first.swap(false, Ordering::Relaxed);
            async move {
                if let Err(answer) = front.admit(&mut request, peer, &permit, first).await {
                    return Ok(answer);
                }
                let response = router
                    .oneshot(request.map(Body::new))
                    .await
                    .unwrap_or_else(|never| match never {});
                let response = account.admit(response).unwrap_or_else(|| {
                    front.metrics().answers_refused.add_one();
                    answers::too_many()
                });
                tracing::trace!(status = response.status().as_u16(), "request answered");
                Ok::<Response, Infallible>(response)
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            // Also the timeout for the next request on a connection that is kept alive.
            .header_read_timeout(self.header_timeout)
            .max_buf_size(MAX_HEAD)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut connection = std::pin::pin!(connection);
        let ended = timeout(self.lifetime, async {
            tokio::select! {
                result = &mut connection => return result,
                () = self.stop.cancelled() => connection.as_mut().graceful_shutdown(),
            }
            connection.await
        });
        match ended.await {
            // After an upgrade the WebSocket has a task of its own.
            Ok(Ok(())) => tracing::trace!("http ended"),
            Ok(Err(error)) => tracing::debug!(%peer, %error, "http connection failed"),
            Err(_) => tracing::debug!(%peer, "http connection was open longer than --http-lifetime"),
        }
    }
}

const FULL: &str = "the server is full: try again in a few seconds\n";
const ADDRESS_REFUSED: &str = "too many connections come from your address: try again in a few seconds\n";

/// Answers without reading the request, unless [`REFUSALS_AT_ONCE`] others are being answered.
fn refuse(mut stream: TcpStream, reason: Refused, refusals: &Arc<Semaphore>) {
    let (status, retry_after, text) = match reason {
        Refused::Full => ("503 Service Unavailable", 1, FULL),
        Refused::Address => ("429 Too Many Requests", 5, ADDRESS_REFUSED),
    };
    let Ok(place) = Arc::clone(refusals).try_acquire_owned() else {
        return;
    };
    tokio::spawn(async move {
        let length = text.len();
        let answer = format!(
            "HTTP/1.1 {status}\r\nRetry-After: {retry_after}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\
             Connection: close\r\n\r\n{text}"
        );
        let answer = async {
            stream.write_all(answer.as_bytes()).await?;
            stream.shutdown().await?;
            // Closing a connection with unread bytes resets it, and the client might not receive the answer.
            let mut request = [0; 512];
            while stream.read(&mut request).await? > 0 {}
            io::Result::Ok(())
        };
        // If the refused client does not read its answer, nothing else is to be done.
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
        let options = AppOptions {
            receive_buffer: 50_000,
            unsent_bytes: 20_000,
            ..AppOptions::default()
        };
        bound_system_buffers(&listener, &options);
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        let socket = SockRef::from(&accepted);
        // Linux doubles the size for its own bookkeeping.
        let receives = socket.recv_buffer_size().unwrap();
        assert!((50_000..=100_000).contains(&receives), "{receives}");
        #[cfg(target_os = "linux")]
        assert_eq!(socket.tcp_notsent_lowat().unwrap(), 20_000);
    }
}

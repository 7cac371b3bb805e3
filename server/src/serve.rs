//! The accept loop: TCP in, HTTP on top, limits around it, and an orderly end.

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
    sync::{Semaphore, watch},
    time::timeout,
};
use tower::ServiceExt;

use crate::{
    answers::{self, Account, AnswerOptions, AnswerStream, Answers},
    app::{AppState, operations, router},
    config::Config,
    limits::{Address, AddressLimits, Admission, ConnectionLimit, ConnectionPermit, Peer, Refused},
    logging::Throttle,
    metrics::Metrics,
    origin::{HostPolicy, X_FORWARDED_PROTO},
    socket::Sockets,
};

/// A refused connection may read its answer for so long.
const REFUSAL_TIME: Duration = Duration::from_secs(1);
/// So many refused connections get an answer at a time; under a flood the others are just closed.
const REFUSALS_AT_ONCE: usize = 64;
/// When the system has no more file handles or memory, accepting rests for this long.
const ACCEPT_REST: Duration = Duration::from_millis(50);
/// Lines about failed accepts: they would come as fast as connections do.
const ACCEPT_LINES_PER_SECOND: u32 = 1;
/// Connections to the address for operations.
const OPERATIONS_CONNECTIONS: usize = 64;
/// In these, proxies write whom a request comes from.
const PROXY_HEADERS: [&str; 3] = ["x-forwarded-for", "x-real-ip", "forwarded"];
/// The largest request head, in bytes.
const MAX_HEAD: usize = 16 * 1024;

/// Serves Talkback on `listener` until `shutdown` is ready, then closes everything in order. On `operations`, if there is one, it
/// answers those who run it, to the end.
///
/// The order of the end: no connection is accepted any more; plain HTTP requests under way are answered; sockets are closed with 1001
/// in batches ([`Sockets::drain`]); whatever is left after [`Config::drain`] is cut.
///
/// # Errors
/// If the configuration cannot be meant ([`Config::validate`]) or a listener's own address cannot be read. A failed accept is logged and
/// tried again.
pub async fn serve(
    listener: TcpListener,
    operations_listener: Option<TcpListener>,
    config: &Config,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    config
        .validate()
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let app = AppState::new(config);
    let sockets = app.sockets().clone();
    tracing::warn!(
        "there is no access control yet: whoever can connect may read the history of every room and take any name"
    );
    let main = serve_router(listener, config, &sockets, router(app.clone()), shutdown);
    let Some(listener) = operations_listener else {
        return main.await;
    };
    // No address has a share here: one monitor may open all connections that there are.
    let addresses = AddressLimits::new(crate::limits::AddressOptions {
        connections: OPERATIONS_CONNECTIONS,
        ..config.address_options()
    });
    let limit = ConnectionLimit::new(OPERATIONS_CONNECTIONS, 0, addresses);
    let server = Server::new(&listener, config, operations(app), sockets.clone(), limit)?;
    tracing::info!(address = %server.address, "listening for operations");
    tokio::select! {
        result = main => result,
        never = server.accept(&listener, std::future::pending()) => Ok(never),
    }
}

/// Like [`serve`], for an axum application of your own: the same limits around it and the same orderly end for its `sockets`.
///
/// The limits of one address and the names of the server ([`Config::allow_host`]) are looked at here, so a router that another accept
/// loop serves has neither.
///
/// # Errors
/// If the listener's own address cannot be read. A failed accept is logged and tried again.
pub async fn serve_router(
    listener: TcpListener,
    config: &Config,
    sockets: &Sockets,
    router: Router,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let addresses = AddressLimits::new(config.address_options());
    let limit = ConnectionLimit::new(config.max_connections, config.max_connection_rate, addresses);
    let server = Server::new(&listener, config, router, sockets.clone(), Arc::clone(&limit))?;
    tracing::info!(address = %server.address, "listening");
    server.accept(&listener, shutdown).await;

    drop(listener);
    let drain = config.drain;
    tracing::info!(sockets = sockets.count(), ?drain, "stopping");
    drop(server);
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

/// One address on which connections are accepted. When it is dropped, its connections end after the request that they answer.
struct Server {
    address: SocketAddr,
    limit: Arc<ConnectionLimit>,
    refusals: Arc<Semaphore>,
    http: Http,
    _stop: watch::Sender<()>,
}

impl Server {
    fn new(
        listener: &TcpListener,
        config: &Config,
        router: Router,
        sockets: Sockets,
        limit: Arc<ConnectionLimit>,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        bound_system_buffers(listener, config);
        let (stop, stopping) = watch::channel(());
        let front = Front {
            hosts: HostPolicy::new(config.allow_host.clone(), address.ip().to_canonical().is_loopback()),
            proxies: config.trust_proxy.clone(),
            header: config.proxy_header.parse().map_err(io::Error::other)?,
            warned: AtomicBool::new(false),
            sockets,
            limit: Arc::clone(&limit),
            write_timeout: config.write_timeout,
            min_taken: config.min_taken,
            answers: Answers::new(AnswerOptions {
                bytes: config.answer_bytes,
                ..AnswerOptions::default()
            }),
        };
        let http = Http {
            router,
            front: Arc::new(front),
            header_timeout: config.header_timeout,
            lifetime: config.http_lifetime,
            stopping,
        };
        Ok(Self {
            address,
            limit,
            refusals: Arc::new(Semaphore::new(REFUSALS_AT_ONCE)),
            http,
            _stop: stop,
        })
    }

    async fn accept(&self, listener: &TcpListener, shutdown: impl Future<Output = ()>) {
        let failures = Throttle::new(ACCEPT_LINES_PER_SECOND);
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            let accepted = tokio::select! {
                // First, so that it listens for the signal before anybody is let in who could rely on it.
                biased;
                () = &mut shutdown => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => self.take(stream, peer),
                Err(error) if is_of_one_connection(&error) => {
                    tracing::debug!(%error, "a connection was gone before it was accepted")
                }
                Err(error) => {
                    if let Some(more) = failures.admit() {
                        tracing::error!(%error, more, "accepting failed; trying again");
                    }
                    tokio::time::sleep(ACCEPT_REST).await;
                }
            }
        }
    }

    fn take(&self, stream: TcpStream, peer: SocketAddr) {
        let front = &self.http.front;
        let address = (!front.trusts(peer.ip())).then(|| peer.ip().into());
        match self.limit.admit(address) {
            Ok(admission) => {
                tokio::spawn(self.http.clone().connection(stream, peer, admission));
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

/// What stands before the router and looks at every request.
struct Front {
    hosts: HostPolicy,
    proxies: Vec<IpNet>,
    /// In which a trusted proxy writes the client's address.
    header: HeaderName,
    /// A proxy that is not trusted was reported.
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
            // Each socket is a connection of its own behind a proxy too.
            if request.headers().contains_key(header::UPGRADE) {
                permit = permit.for_client(self.admit_client(address).await?);
            }
            address
        } else {
            if PROXY_HEADERS.iter().any(|name| request.headers().contains_key(*name)) {
                self.warn_of_proxy(peer.ip());
            }
            // Only a proxy knows how its client came.
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

    /// The last address in the header that is not a proxy's own: what stands before it may be anybody's invention.
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
                "a request has the header of a proxy that is not trusted: all who come through it share the limits of one address. \
                 If it is your proxy, start the server with --trust-proxy and its network"
            );
        }
    }
}

/// An address, perhaps with a port, as proxies write it.
fn parse_address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let address = bare.unwrap_or(text).parse().ok();
    address.or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()))
}

/// What every HTTP connection of a server needs.
#[derive(Clone)]
struct Http {
    router: Router,
    front: Arc<Front>,
    header_timeout: Duration,
    lifetime: Duration,
    /// Its sender is dropped when the server stops.
    stopping: watch::Receiver<()>,
}

impl Http {
    async fn connection(mut self, stream: TcpStream, peer: SocketAddr, admission: Admission) {
        let Admission { permit, wait } = admission;
        if !wait.is_zero() {
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                // Only ever fails, when the sender is dropped.
                _ = self.stopping.changed() => return,
            }
        }
        // A message is worth more than a full packet. Fails only on a connection that is gone, which the first read will tell.
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
                Ok::<Response, Infallible>(account.admit(response).unwrap_or_else(|| {
                    front.metrics().answers_refused.add_one();
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

const FULL: &str = "the server is full: try again in a few seconds\n";
const ADDRESS_REFUSED: &str = "too many connections come from your address: try again in a few seconds\n";

/// Answers without reading the request, if that many are not being answered already.
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

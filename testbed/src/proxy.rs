//! A TCP proxy in front of a real server, with the faults of a real network.

use socket2::SockRef;
use std::{
    io, mem,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpSocket, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::{Notify, watch},
    task::JoinHandle,
    time::{Instant, sleep, sleep_until},
};

/// The maximum of bytes per read.
const READ_BYTES: usize = 16 * 1024;
/// The beginning of the opening handshake of a session.
const SESSION_REQUEST: &[u8] = b"GET /ws ";
/// The maximum of bytes per read, and the receive buffer of the socket to the server, if the rate is bounded.
const SLOW_READ_BYTES: usize = 4 * 1024;
const SLOW_RECEIVE_BUFFER: u32 = 16 * 1024;

/// A proxy on a port of its own. It ends, with all its connections, when dropped.
pub struct Proxy {
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
    address: SocketAddr,
}

struct Shared {
    faults: watch::Sender<Faults>,
    /// Returns the budget of each new connection.
    budget: Mutex<Box<dyn FnMut() -> Budget + Send>>,
    /// The direction and the remaining bytes of the next cut.
    cut_after: Mutex<Option<(Direction, u64)>>,
    open: AtomicUsize,
    accepted: AtomicU64,
    sessions: AtomicU64,
    up: AtomicU64,
    down: AtomicU64,
}

/// The current faults of the network.
#[derive(Clone, Debug)]
struct Faults {
    /// The target of new connections.
    target: SocketAddr,
    stalled: bool,
    refusing: bool,
    refuses_sessions: bool,
    delay: Duration,
    /// The rate to the client of each new connection, in bytes per second.
    down_rate: Option<u32>,
    /// The number of cuts so far. A connection ends when it changes.
    cuts: u64,
}

/// The number of bytes that one connection may forward. When one direction has used it up, the connection stalls for
/// `stall` and then ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Bytes from the client to the server.
    pub up: u64,
    /// Bytes from the server to the client.
    pub down: u64,
    /// How long the connection stays open after that.
    pub stall: Duration,
}

impl Budget {
    const UNLIMITED: Self = Self {
        up: u64::MAX,
        down: u64::MAX,
        stall: Duration::ZERO,
    };
}

/// The direction of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    Up,
    /// From the server to the client.
    Down,
}

/// The counters of a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    /// Connections that are open now.
    pub open: usize,
    /// Connections so far, including those that were refused.
    pub accepted: u64,
    /// Connections so far whose first request was for `/ws`: an HTTP connection of the page is none of them. One that [`Proxy::refuse`]
    /// has reset is not looked at.
    pub sessions: u64,
    /// Bytes from clients to the server.
    pub up: u64,
    /// Bytes from the server to clients.
    pub down: u64,
}

impl Proxy {
    /// Starts a proxy on a free loopback port for this address. The server may start later.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            faults: watch::Sender::new(Faults {
                target,
                stalled: false,
                refusing: false,
                refuses_sessions: false,
                delay: Duration::ZERO,
                down_rate: None,
                cuts: 0,
            }),
            budget: Mutex::new(Box::new(|| Budget::UNLIMITED)),
            cut_after: Mutex::default(),
            open: AtomicUsize::new(0),
            accepted: AtomicU64::new(0),
            sessions: AtomicU64::new(0),
            up: AtomicU64::new(0),
            down: AtomicU64::new(0),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self {
            shared,
            accepting,
            address,
        })
    }

    /// The address on which it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://ADDRESS` of the proxy.
    #[must_use]
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Sets the target of new connections, as after a restart of the server at another address.
    pub fn set_target(&self, target: SocketAddr) {
        self.shared.faults.send_modify(|faults| faults.target = target);
    }

    /// Forwards nothing, in either direction, until `stalled` is false again; connections stay open meanwhile.
    pub fn stall(&self, stalled: bool) {
        self.shared.faults.send_modify(|faults| faults.stalled = stalled);
    }

    /// Resets new connections at once.
    pub fn refuse(&self, refusing: bool) {
        self.shared.faults.send_modify(|faults| faults.refusing = refusing);
    }

    /// Resets new connections whose first request is for `/ws`: the page is loaded, and its session has no server.
    pub fn refuse_sessions(&self, refusing: bool) {
        self.shared
            .faults
            .send_modify(|faults| faults.refuses_sessions = refusing);
    }

    /// Delays all bytes by this time.
    pub fn delay(&self, delay: Duration) {
        self.shared.faults.send_modify(|faults| faults.delay = delay);
    }

    /// Resets all connections now.
    pub fn cut(&self) {
        self.shared.faults.send_modify(|faults| faults.cuts += 1);
    }

    /// Resets all connections after this number of further bytes in this direction, also within a frame.
    pub fn cut_after(&self, way: Direction, bytes: u64) {
        let mut cut_after = self.shared.cut_after.lock().unwrap_or_else(PoisonError::into_inner);
        *cut_after = Some((way, bytes));
    }

    /// Sets the function that returns the budget of each connection that is accepted from now on.
    pub fn budget(&self, budget: impl FnMut() -> Budget + Send + 'static) {
        *self.shared.budget.lock().unwrap_or_else(PoisonError::into_inner) = Box::new(budget);
    }

    /// Sets the rate to the client of connections that are accepted from now on, in bytes per second. The proxy buffers
    /// few bytes, so that the rest waits in the server.
    pub fn down_rate(&self, bytes_per_second: u32) {
        self.shared
            .faults
            .send_modify(|faults| faults.down_rate = Some(bytes_per_second));
    }

    /// The counters so far.
    #[must_use]
    pub fn passed(&self) -> Passed {
        Passed {
            open: self.shared.open.load(Ordering::Relaxed),
            accepted: self.shared.accepted.load(Ordering::Relaxed),
            sessions: self.shared.sessions.load(Ordering::Relaxed),
            up: self.shared.up.load(Ordering::Relaxed),
            down: self.shared.down.load(Ordering::Relaxed),
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
        self.accepting.abort();
    }
}

impl Shared {
    /// How many of these bytes may pass, and whether the cut follows them.
    fn admit(&self, way: Direction, bytes: usize) -> (usize, bool) {
        let mut cut_after = self.cut_after.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *cut_after {
            Some((cut_way, left)) if *cut_way == way => {
                if let Some(rest) = left.checked_sub(bytes as u64).filter(|rest| *rest > 0) {
                    *left = rest;
                    return (bytes, false);
                }
                let last = usize::try_from(*left).unwrap_or(bytes);
                *cut_after = None;
                (last, true)
            }
            _ => (bytes, false),
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        shared.accepted.fetch_add(1, Ordering::Relaxed);
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            if shared.faults.borrow().refusing {
                reset(&client);
                return;
            }
            shared.open.fetch_add(1, Ordering::Relaxed);
            if let Err(error) = forward(client, &shared).await {
                eprintln!("proxy: {error}");
            }
            shared.open.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

/// Forwards one connection until both sides end it, it is cut or its budget is used up.
async fn forward(mut client: TcpStream, shared: &Shared) -> io::Result<()> {
    let mut faults = shared.faults.subscribe();
    let Faults {
        cuts,
        target,
        down_rate,
        refuses_sessions,
        ..
    } = *faults.borrow();
    if refuses_sessions {
        let mut head = [0; SESSION_REQUEST.len()];
        let read = client.peek(&mut head).await?;
        if head[..read] == *SESSION_REQUEST {
            shared.sessions.fetch_add(1, Ordering::Relaxed);
            reset(&client);
            return Ok(());
        }
    }
    let budget = shared.budget.lock().unwrap_or_else(PoisonError::into_inner)();
    let Ok(mut server) = connect(target, down_rate).await else {
        reset(&client);
        return Ok(());
    };
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let spent = Notify::new();
    let pass = |way, bytes, rate| Pass {
        way,
        bytes,
        rate,
        spent: &spent,
        shared,
    };
    // The halves are borrowed, because owned halves would close the stream normally when they are dropped, and a cut
    // resets it.
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let both = async {
        tokio::join!(
            pass(Direction::Up, budget.up, None).run(from_client, to_server),
            pass(Direction::Down, budget.down, down_rate).run(from_server, to_client),
        )
    };
    let until_spent = async {
        tokio::select! {
            _ = both => {}
            () = spent.notified() => sleep(budget.stall).await,
        }
    };
    let cut = tokio::select! {
        () = until_spent => false,
        _ = faults.wait_for(|faults| faults.cuts != cuts) => true,
    };
    if cut {
        reset(&client);
        reset(&server);
    }
    Ok(())
}

async fn connect(target: SocketAddr, down_rate: Option<u32>) -> io::Result<TcpStream> {
    if down_rate.is_none() {
        return TcpStream::connect(target).await;
    }
    let socket = if target.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_recv_buffer_size(SLOW_RECEIVE_BUFFER)?;
    socket.connect(target).await
}

/// One direction of one connection.
struct Pass<'a> {
    way: Direction,
    /// The bytes that may still pass.
    bytes: u64,
    /// Bytes per second.
    rate: Option<u32>,
    /// Notified when the budget is used up.
    spent: &'a Notify,
    shared: &'a Shared,
}

impl Pass<'_> {
    async fn run(mut self, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) -> io::Result<()> {
        let Self { way, shared, .. } = self;
        let count = match way {
            Direction::Up => &shared.up,
            Direction::Down => &shared.down,
        };
        let mut faults = shared.faults.subscribe();
        let mut buffer = [0; READ_BYTES];
        let part = self.rate.map_or(READ_BYTES, |_| SLOW_READ_BYTES);
        let mut next = Instant::now();
        let mut is_first = way == Direction::Up;
        loop {
            let most = usize::try_from(self.bytes).unwrap_or(part).min(part);
            if most == 0 {
                self.spent.notify_one();
                std::future::pending::<()>().await;
            }
            let read = from.read(&mut buffer[..most]).await.unwrap_or(0);
            if mem::take(&mut is_first) && buffer[..read].starts_with(SESSION_REQUEST) {
                shared.sessions.fetch_add(1, Ordering::Relaxed);
            }
            let delay = faults.borrow().delay;
            sleep(delay).await;
            if let Some(rate) = self.rate {
                next = next.max(Instant::now()) + Duration::from_secs_f64(read as f64 / f64::from(rate));
                sleep_until(next).await;
            }
            let _ = faults.wait_for(|faults| !faults.stalled).await;
            if read == 0 {
                // Only this direction ends; the other one may still forward bytes.
                return to.shutdown().await;
            }
            let (admitted, cut) = shared.admit(way, read);
            to.write_all(&buffer[..admitted]).await?;
            count.fetch_add(admitted as u64, Ordering::Relaxed);
            self.bytes -= admitted as u64;
            if cut {
                shared.faults.send_modify(|faults| faults.cuts += 1);
                std::future::pending::<()>().await;
            }
        }
    }
}

/// Makes the close of this stream a reset, which drops unsent bytes, as the loss of a network does.
fn reset(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::{Instant, timeout};

    const DEADLINE: Duration = Duration::from_secs(10);

    /// A proxy in front of an echo server, and a client connected through it.
    async fn echo() -> (Proxy, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Proxy::start(listener.local_addr().unwrap()).await.unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut reads, mut writes) = stream.split();
                    let _ = tokio::io::copy(&mut reads, &mut writes).await;
                });
            }
        });
        let client = TcpStream::connect(proxy.address()).await.unwrap();
        (proxy, client)
    }

    async fn round_trip(client: &mut TcpStream, bytes: &[u8]) {
        client.write_all(bytes).await.unwrap();
        let mut back = vec![0; bytes.len()];
        timeout(DEADLINE, client.read_exact(&mut back))
            .await
            .expect("the echo comes")
            .unwrap();
        assert_eq!(back, bytes);
    }

    #[tokio::test]
    async fn bytes_and_the_end_of_a_stream_are_forwarded() {
        let (proxy, mut client) = echo().await;
        round_trip(&mut client, &[7; 100_000]).await;
        let passed = Passed {
            open: 1,
            accepted: 1,
            sessions: 0,
            up: 100_000,
            down: 100_000,
        };
        assert_eq!(proxy.passed(), passed);
        client.shutdown().await.unwrap();
        assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_cut_resets_open_connections_and_no_later_ones() {
        let (proxy, mut client) = echo().await;
        round_trip(&mut client, b"before").await;
        proxy.cut();
        let error = client.read(&mut [0; 1]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        let mut next = TcpStream::connect(proxy.address()).await.unwrap();
        round_trip(&mut next, b"after").await;
    }

    #[tokio::test]
    async fn a_cut_after_so_many_bytes_is_exact() {
        let (proxy, mut client) = echo().await;
        proxy.cut_after(Direction::Down, 3);
        client.write_all(&[1; 10]).await.unwrap();
        let mut back = Vec::new();
        let end = timeout(DEADLINE, client.read_to_end(&mut back))
            .await
            .expect("the connection is cut");
        // A reset may discard bytes that had arrived.
        assert!(end.is_err() && back.len() <= 3, "{end:?} after {back:?}");
        assert_eq!((proxy.passed().up, proxy.passed().down), (10, 3));
        let mut next = TcpStream::connect(proxy.address()).await.unwrap();
        round_trip(&mut next, &[2; 20]).await;
    }

    #[tokio::test]
    async fn sessions_are_counted_and_of_refused_ones_only_the_request_is_reset() {
        let (proxy, _) = echo().await;
        let mut open = TcpStream::connect(proxy.address()).await.unwrap();
        round_trip(&mut open, b"GET /ws HTTP/1.1").await;
        round_trip(&mut open, b"GET /ws HTTP/1.1").await;
        assert_eq!(proxy.passed().sessions, 1, "only the first request is one");
        proxy.refuse_sessions(true);
        let mut page = TcpStream::connect(proxy.address()).await.unwrap();
        round_trip(&mut page, b"GET / HTTP/1.1").await;
        let mut session = TcpStream::connect(proxy.address()).await.unwrap();
        session.write_all(b"GET /ws HTTP/1.1").await.unwrap();
        assert!(timeout(DEADLINE, session.read(&mut [0; 1])).await.unwrap().is_err());
        assert_eq!(proxy.passed().sessions, 2);
    }

    #[tokio::test]
    async fn a_stall_delays_all_bytes_and_loses_none() {
        let (proxy, mut client) = echo().await;
        proxy.stall(true);
        client.write_all(b"held").await.unwrap();
        let mut back = [0; 4];
        let silent = timeout(Duration::from_millis(200), client.read_exact(&mut back)).await;
        assert!(silent.is_err(), "something passed a stalled proxy");
        proxy.stall(false);
        timeout(DEADLINE, client.read_exact(&mut back))
            .await
            .expect("what was held comes")
            .unwrap();
        assert_eq!(&back, b"held");
    }

    #[tokio::test]
    async fn a_delay_holds_for_each_direction() {
        let (proxy, mut client) = echo().await;
        let delay = Duration::from_millis(50);
        proxy.delay(delay);
        let start = Instant::now();
        round_trip(&mut client, b"slow").await;
        assert!(start.elapsed() >= 2 * delay);
    }

    #[tokio::test]
    async fn each_connection_carries_exactly_its_budget_and_then_ends() {
        let (proxy, _unlimited) = echo().await;
        proxy.budget(|| Budget {
            up: u64::MAX,
            down: 3,
            stall: Duration::from_millis(50),
        });
        for _ in 0..2 {
            let mut client = TcpStream::connect(proxy.address()).await.unwrap();
            client.write_all(&[1; 10]).await.unwrap();
            let start = Instant::now();
            let mut back = Vec::new();
            let end = timeout(DEADLINE, client.read_to_end(&mut back));
            // The end is a reset if the proxy had not read everything.
            let _ = end.await.expect("the connection ends");
            assert_eq!(back, [1; 3]);
            assert!(
                start.elapsed() >= Duration::from_millis(50),
                "it stayed open for a while"
            );
        }
    }

    #[tokio::test]
    async fn a_rate_bounds_the_bytes_to_the_client() {
        let (proxy, _unlimited) = echo().await;
        proxy.down_rate(100_000);
        let mut client = TcpStream::connect(proxy.address()).await.unwrap();
        let start = Instant::now();
        round_trip(&mut client, &[1; 20_000]).await;
        assert!(start.elapsed() >= Duration::from_millis(200), "{:?}", start.elapsed());
    }

    #[tokio::test]
    async fn a_refusing_proxy_resets_new_connections_and_not_open_ones() {
        let (proxy, mut client) = echo().await;
        round_trip(&mut client, b"open").await;
        proxy.refuse(true);
        let refused = async {
            let mut stream = TcpStream::connect(proxy.address()).await?;
            stream.write_all(b"x").await?;
            stream.read_u8().await
        };
        assert!(timeout(DEADLINE, refused).await.expect("a refusal is quick").is_err());
        round_trip(&mut client, b"still").await;
        assert_eq!(proxy.passed().open, 1);
    }
}

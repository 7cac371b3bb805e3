//! A TCP proxy in front of a real server, with the faults of a real network.

use socket2::SockRef;
use std::{
    io,
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

/// How much is read at once.
const PART: usize = 16 * 1024;
/// How much is read at once, and what the socket to the server holds, when there is a bound on the rate.
const SLOW_PART: usize = 4 * 1024;
const SLOW_RECEIVE_BUFFER: u32 = 16 * 1024;

/// A proxy on a port of its own. It ends, with all its connections, when dropped.
pub struct Proxy {
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
    address: SocketAddr,
}

struct Shared {
    faults: watch::Sender<Faults>,
    /// What each new connection may pass.
    budget: Mutex<Box<dyn FnMut() -> Budget + Send>>,
    /// The next cut after so many bytes in one direction.
    cut_after: Mutex<Option<(Way, u64)>>,
    open: AtomicUsize,
    accepted: AtomicU64,
    up: AtomicU64,
    down: AtomicU64,
}

/// The faults of the network now.
#[derive(Clone, Debug)]
struct Faults {
    /// Where new connections lead.
    target: SocketAddr,
    stalled: bool,
    refusing: bool,
    delay: Duration,
    /// Bytes per second to the client of each new connection.
    down_rate: Option<u32>,
    /// Connections that were accepted before this many cuts end.
    cuts: u64,
}

/// What one connection may pass. When one direction has used it up nothing passes any more for `stall`, and then the
/// connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Bytes from the client to the server.
    pub up: u64,
    /// Bytes from the server to the client.
    pub down: u64,
    /// How long the connection stays open when one of them is used up.
    pub stall: Duration,
}

impl Budget {
    const UNLIMITED: Self = Self {
        up: u64::MAX,
        down: u64::MAX,
        stall: Duration::ZERO,
    };
}

/// A direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the client to the server.
    Up,
    /// From the server to the client.
    Down,
}

/// What passed so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    /// Connections that are open now.
    pub open: usize,
    /// Connections that came, those that were refused too.
    pub accepted: u64,
    /// Bytes from clients to the server.
    pub up: u64,
    /// Bytes from the server to clients.
    pub down: u64,
}

impl Proxy {
    /// Starts a proxy on a free loopback port to this address. The server may start later.
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
                delay: Duration::ZERO,
                down_rate: None,
                cuts: 0,
            }),
            budget: Mutex::new(Box::new(|| Budget::UNLIMITED)),
            cut_after: Mutex::default(),
            open: AtomicUsize::new(0),
            accepted: AtomicU64::new(0),
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

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://ADDRESS` of the proxy.
    #[must_use]
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Connects new connections to another server, as after a restart at another address.
    pub fn lead_to(&self, target: SocketAddr) {
        self.shared.faults.send_modify(|faults| faults.target = target);
    }

    /// Lets nothing pass, in either direction, until `stalled` is false again; connections stay open meanwhile.
    pub fn stall(&self, stalled: bool) {
        self.shared.faults.send_modify(|faults| faults.stalled = stalled);
    }

    /// Resets new connections at once.
    pub fn refuse(&self, refusing: bool) {
        self.shared.faults.send_modify(|faults| faults.refusing = refusing);
    }

    /// Lets everything pass this much later.
    pub fn delay(&self, delay: Duration) {
        self.shared.faults.send_modify(|faults| faults.delay = delay);
    }

    /// Resets all connections now.
    pub fn cut(&self) {
        self.shared.faults.send_modify(|faults| faults.cuts += 1);
    }

    /// Resets all connections when so many more bytes have passed in this direction, be it in the middle of a frame.
    pub fn cut_after(&self, way: Way, bytes: u64) {
        let mut cut_after = self.shared.cut_after.lock().unwrap_or_else(PoisonError::into_inner);
        *cut_after = Some((way, bytes));
    }

    /// Asks for the budget of each connection that is accepted from now on.
    pub fn budget(&self, budget: impl FnMut() -> Budget + Send + 'static) {
        *self.shared.budget.lock().unwrap_or_else(PoisonError::into_inner) = Box::new(budget);
    }

    /// Bounds what passes to the client on connections that are accepted from now on, in bytes per second. The proxy
    /// buffers little of it, so that the rest waits at the server.
    pub fn down_rate(&self, bytes_per_second: u32) {
        self.shared
            .faults
            .send_modify(|faults| faults.down_rate = Some(bytes_per_second));
    }

    /// What passed until now.
    #[must_use]
    pub fn passed(&self) -> Passed {
        Passed {
            open: self.shared.open.load(Ordering::Relaxed),
            accepted: self.shared.accepted.load(Ordering::Relaxed),
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
    /// How much of these bytes may pass; `true` if the cut comes after them.
    fn admit(&self, way: Way, bytes: usize) -> (usize, bool) {
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
            if let Err(error) = carry(client, &shared).await {
                eprintln!("proxy: {error}");
            }
            shared.open.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

/// One connection, until both sides end it, it is cut or its budget is used up.
async fn carry(mut client: TcpStream, shared: &Shared) -> io::Result<()> {
    let mut faults = shared.faults.subscribe();
    let Faults {
        cuts,
        target,
        down_rate,
        ..
    } = *faults.borrow();
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
    // Borrowed halves: owned ones end the stream in good order when they are dropped, which is not what a cut does.
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let both = async {
        tokio::join!(
            pass(Way::Up, budget.up, None).run(from_client, to_server),
            pass(Way::Down, budget.down, down_rate).run(from_server, to_client),
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
    way: Way,
    /// What may still pass.
    bytes: u64,
    /// Bytes per second.
    rate: Option<u32>,
    /// Notified when no more may pass.
    spent: &'a Notify,
    shared: &'a Shared,
}

impl Pass<'_> {
    async fn run(mut self, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) -> io::Result<()> {
        let Self { way, shared, .. } = self;
        let count = match way {
            Way::Up => &shared.up,
            Way::Down => &shared.down,
        };
        let mut faults = shared.faults.subscribe();
        let mut buffer = [0; PART];
        let part = self.rate.map_or(PART, |_| SLOW_PART);
        let mut next = Instant::now();
        loop {
            let most = usize::try_from(self.bytes).unwrap_or(part).min(part);
            if most == 0 {
                self.spent.notify_one();
                std::future::pending::<()>().await;
            }
            let read = from.read(&mut buffer[..most]).await.unwrap_or(0);
            let delay = faults.borrow().delay;
            sleep(delay).await;
            if let Some(rate) = self.rate {
                next = next.max(Instant::now()) + Duration::from_secs_f64(read as f64 / f64::from(rate));
                sleep_until(next).await;
            }
            let _ = faults.wait_for(|faults| !faults.stalled).await;
            if read == 0 {
                // The other direction may still be in use.
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

/// Makes the close of this stream a reset, which drops what was not sent, as the loss of a network does.
fn reset(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::{Instant, timeout};

    const PATIENCE: Duration = Duration::from_secs(10);

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
        timeout(PATIENCE, client.read_exact(&mut back))
            .await
            .expect("the echo comes")
            .unwrap();
        assert_eq!(back, bytes);
    }

    #[tokio::test]
    async fn it_passes_bytes_and_the_end_of_a_stream() {
        let (proxy, mut client) = echo().await;
        round_trip(&mut client, &[7; 100_000]).await;
        let passed = Passed {
            open: 1,
            accepted: 1,
            up: 100_000,
            down: 100_000,
        };
        assert_eq!(proxy.passed(), passed);
        client.shutdown().await.unwrap();
        assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_cut_resets_what_is_open_and_nothing_that_comes_later() {
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
        proxy.cut_after(Way::Down, 3);
        client.write_all(&[1; 10]).await.unwrap();
        let mut back = Vec::new();
        let end = timeout(PATIENCE, client.read_to_end(&mut back))
            .await
            .expect("the connection is cut");
        // A reset may throw away what had arrived.
        assert!(end.is_err() && back.len() <= 3, "{end:?} after {back:?}");
        assert_eq!((proxy.passed().up, proxy.passed().down), (10, 3));
        let mut next = TcpStream::connect(proxy.address()).await.unwrap();
        round_trip(&mut next, &[2; 20]).await;
    }

    #[tokio::test]
    async fn a_stall_holds_everything_back_and_loses_nothing() {
        let (proxy, mut client) = echo().await;
        proxy.stall(true);
        client.write_all(b"held").await.unwrap();
        let mut back = [0; 4];
        let silent = timeout(Duration::from_millis(200), client.read_exact(&mut back)).await;
        assert!(silent.is_err(), "something passed a stalled proxy");
        proxy.stall(false);
        timeout(PATIENCE, client.read_exact(&mut back))
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
    async fn each_connection_passes_its_budget_exactly_and_then_ends() {
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
            let end = timeout(PATIENCE, client.read_to_end(&mut back));
            // The end is a reset where the proxy had not read everything.
            let _ = end.await.expect("the connection ends");
            assert_eq!(back, [1; 3]);
            assert!(
                start.elapsed() >= Duration::from_millis(50),
                "it stayed open for a while"
            );
        }
    }

    #[tokio::test]
    async fn a_rate_bounds_what_passes_to_the_client() {
        let (proxy, _unlimited) = echo().await;
        proxy.down_rate(100_000);
        let mut client = TcpStream::connect(proxy.address()).await.unwrap();
        let start = Instant::now();
        round_trip(&mut client, &[1; 20_000]).await;
        assert!(start.elapsed() >= Duration::from_millis(200), "{:?}", start.elapsed());
    }

    #[tokio::test]
    async fn a_refusing_proxy_resets_new_connections_and_keeps_open_ones() {
        let (proxy, mut client) = echo().await;
        round_trip(&mut client, b"open").await;
        proxy.refuse(true);
        let refused = async {
            let mut stream = TcpStream::connect(proxy.address()).await?;
            stream.write_all(b"x").await?;
            stream.read_u8().await
        };
        assert!(timeout(PATIENCE, refused).await.expect("a refusal is quick").is_err());
        round_trip(&mut client, b"still").await;
        assert_eq!(proxy.passed().open, 1);
    }
}

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
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::watch,
    task::JoinHandle,
    time::sleep,
};

/// A proxy on a port of its own. It ends, with all its connections, when dropped.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
    address: SocketAddr,
}

#[derive(Debug)]
struct Shared {
    weather: watch::Sender<Weather>,
    /// The next cut after so many bytes in one direction.
    cut_after: Mutex<Option<(Way, u64)>>,
    open: AtomicUsize,
    accepted: AtomicU64,
    up: AtomicU64,
    down: AtomicU64,
}

/// What a network does to those that use it.
#[derive(Clone, Debug)]
struct Weather {
    /// Where new connections lead.
    target: SocketAddr,
    stalled: bool,
    refusing: bool,
    delay: Duration,
    /// Connections that were accepted before this many cuts end.
    cuts: u64,
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
    /// Starts a proxy on a free loopback port to this address, where nobody need listen yet.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            weather: watch::Sender::new(Weather {
                target,
                stalled: false,
                refusing: false,
                delay: Duration::ZERO,
                cuts: 0,
            }),
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

    /// Leads new connections to another server, as when one was started anew elsewhere.
    pub fn lead_to(&self, target: SocketAddr) {
        self.shared.weather.send_modify(|weather| weather.target = target);
    }

    /// Nothing passes any more, in either direction, until it is released; nobody is told.
    pub fn stall(&self, stalled: bool) {
        self.shared.weather.send_modify(|weather| weather.stalled = stalled);
    }

    /// New connections are reset at once.
    pub fn refuse(&self, refusing: bool) {
        self.shared.weather.send_modify(|weather| weather.refusing = refusing);
    }

    /// How much later everything passes.
    pub fn delay(&self, delay: Duration) {
        self.shared.weather.send_modify(|weather| weather.delay = delay);
    }

    /// Resets all connections now.
    pub fn cut(&self) {
        self.shared.weather.send_modify(|weather| weather.cuts += 1);
    }

    /// Resets all connections when so many more bytes have passed in this direction, be it in the middle of a frame.
    pub fn cut_after(&self, way: Way, bytes: u64) {
        let mut cut_after = self.shared.cut_after.lock().unwrap_or_else(PoisonError::into_inner);
        *cut_after = Some((way, bytes));
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
            if shared.weather.borrow().refusing {
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

/// One connection, until both sides end it or it is cut.
async fn carry(mut client: TcpStream, shared: &Shared) -> io::Result<()> {
    let mut weather = shared.weather.subscribe();
    let Weather { cuts, target, .. } = *weather.borrow();
    let Ok(mut server) = TcpStream::connect(target).await else {
        reset(&client);
        return Ok(());
    };
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    // Borrowed halves: owned ones end the stream in good order when they are dropped, which is not what a cut does.
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let both = async {
        tokio::join!(
            pass(from_client, to_server, Way::Up, shared),
            pass(from_server, to_client, Way::Down, shared),
        )
    };
    let cut = tokio::select! {
        _ = both => false,
        _ = weather.wait_for(|weather| weather.cuts != cuts) => true,
    };
    if cut {
        reset(&client);
        reset(&server);
    }
    Ok(())
}

async fn pass(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, way: Way, shared: &Shared) -> io::Result<()> {
    let count = match way {
        Way::Up => &shared.up,
        Way::Down => &shared.down,
    };
    let mut weather = shared.weather.subscribe();
    let mut bytes = [0; 16 * 1024];
    loop {
        let read = from.read(&mut bytes).await.unwrap_or(0);
        let delay = weather.borrow().delay;
        sleep(delay).await;
        let _ = weather.wait_for(|weather| !weather.stalled).await;
        if read == 0 {
            // Half of it may go on.
            return to.shutdown().await;
        }
        let (admitted, cut) = shared.admit(way, read);
        to.write_all(&bytes[..admitted]).await?;
        count.fetch_add(admitted as u64, Ordering::Relaxed);
        if cut {
            shared.weather.send_modify(|weather| weather.cuts += 1);
            std::future::pending::<()>().await;
        }
    }
}

/// A connection that was reset loses what is on its way, as one does whose network is gone.
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
            .expect("the line is cut");
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
        assert!(silent.is_err(), "something came through a stalled line");
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
    async fn a_refusing_line_resets_new_connections_and_keeps_open_ones() {
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

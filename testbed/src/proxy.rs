//! A TCP proxy in front of a server, whose line can be cut, stalled, delayed or refused while connections run over it.

use socket2::SockRef;
use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
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
};

/// What the line does to all connections, those that are open and those that come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// New connections are reset at once.
    pub refuse: bool,
    /// Nothing reaches the server, but no connection ends: half-open, as the server sees a machine that fell asleep.
    pub stall_to_server: bool,
    /// Nothing reaches the client: half-open, as the client sees it. What the server has already got is not taken back.
    pub stall_to_client: bool,
    /// How much later each piece of a stream arrives.
    pub delay: Duration,
}

#[derive(Clone, Copy)]
enum Direction {
    ToServer,
    ToClient,
}

impl Conditions {
    fn stalls(&self, direction: Direction) -> bool {
        match direction {
            Direction::ToServer => self.stall_to_server,
            Direction::ToClient => self.stall_to_client,
        }
    }
}

/// A listener on a free loopback port that passes everything on to another address. Dropping it cuts all its connections.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    line: Arc<Line>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Starts a proxy in front of this address. The target need not listen yet.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let line = Arc::new(Line::default());
        let accepting = tokio::spawn(accept(listener, target, Arc::clone(&line)));
        Ok(Self {
            address,
            line,
            accepting,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes what the line does from now on.
    pub fn set(&self, conditions: Conditions) {
        self.line.conditions.send_replace(conditions);
    }

    /// Resets all connections that are open now. New ones are taken as before.
    pub fn cut(&self) {
        self.line.cut();
    }

    /// Lets so many more bytes pass, of both directions of all connections together, then cuts. So a message can be cut in the middle.
    pub fn cut_after(&self, bytes: u64) {
        self.line.left.store(bytes, Ordering::Relaxed);
    }

    /// How many connections are open now.
    #[must_use]
    pub fn open(&self) -> usize {
        self.line.open.load(Ordering::Relaxed)
    }

    /// How many connections were made so far, those that were refused not counted.
    #[must_use]
    pub fn made(&self) -> usize {
        self.line.made.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.line.cut();
    }
}

/// No cut is due.
const NO_CUT: u64 = u64::MAX;

#[derive(Debug)]
struct Line {
    conditions: watch::Sender<Conditions>,
    /// Counts the cuts; each change ends the connections that see it.
    cuts: watch::Sender<u64>,
    /// Bytes until the next cut.
    left: AtomicU64,
    open: AtomicUsize,
    made: AtomicUsize,
}

impl Default for Line {
    fn default() -> Self {
        Self {
            conditions: watch::Sender::default(),
            cuts: watch::Sender::default(),
            left: AtomicU64::new(NO_CUT),
            open: AtomicUsize::new(0),
            made: AtomicUsize::new(0),
        }
    }
}

impl Line {
    fn cut(&self) {
        self.left.store(NO_CUT, Ordering::Relaxed);
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// How many of so many bytes may pass.
    fn take(&self, bytes: usize) -> usize {
        let left = self.left.load(Ordering::Relaxed);
        if left == NO_CUT {
            return bytes;
        }
        let taken = bytes.min(usize::try_from(left).unwrap_or(usize::MAX));
        self.left.fetch_sub(taken as u64, Ordering::Relaxed);
        taken
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, line: Arc<Line>) {
    while let Ok((client, _)) = listener.accept().await {
        if line.conditions.borrow().refuse {
            reset(&client);
            continue;
        }
        line.made.fetch_add(1, Ordering::Relaxed);
        line.open.fetch_add(1, Ordering::Relaxed);
        // Seen from here on, so that a cut right after the connection was taken is not missed.
        let cuts = line.cuts.subscribe();
        let line = Arc::clone(&line);
        tokio::spawn(async move {
            connection(client, target, &line, cuts).await;
            line.open.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

async fn connection(mut client: TcpStream, target: SocketAddr, line: &Line, mut cuts: watch::Receiver<u64>) {
    let connected = tokio::select! {
        server = TcpStream::connect(target) => server.ok(),
        _ = cuts.changed() => None,
    };
    let Some(mut server) = connected else {
        return reset(&client);
    };
    let (client_reads, client_writes) = client.split();
    let (server_reads, server_writes) = server.split();
    let both = async {
        tokio::try_join!(
            pass(client_reads, server_writes, Direction::ToServer, line),
            pass(server_reads, client_writes, Direction::ToClient, line),
        )
    };
    let ended_well = tokio::select! {
        result = both => result.is_ok(),
        _ = cuts.changed() => false,
    };
    if !ended_well {
        reset(&client);
        reset(&server);
    }
}

/// Passes one direction on until it ends, which it tells the other side.
async fn pass(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, direction: Direction, line: &Line) -> io::Result<()> {
    let mut conditions = line.conditions.subscribe();
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = from.read(&mut buffer).await?;
        let delay = conditions.borrow().delay;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        // The sender half of the channel lives in the line, so this ends only when the stall does.
        let _ = conditions.wait_for(|conditions| !conditions.stalls(direction)).await;
        if read == 0 {
            return to.shutdown().await;
        }
        let passed = line.take(read);
        to.write_all(&buffer[..passed]).await?;
        if passed < read || line.left.load(Ordering::Relaxed) == 0 {
            line.cut();
        }
    }
}

/// Makes the drop of this stream a reset, which throws away what is on the way.
fn reset(stream: &TcpStream) {
    // A socket that is already gone needs no reset.
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
        assert_eq!((proxy.open(), proxy.made()), (1, 1));
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
        // Ten go to the server, and three come back.
        proxy.cut_after(13);
        client.write_all(&[1; 10]).await.unwrap();
        let mut back = Vec::new();
        let end = timeout(PATIENCE, client.read_to_end(&mut back))
            .await
            .expect("the line is cut");
        assert!(end.is_err() && back.len() <= 3, "{end:?} after {} bytes", back.len());
        let mut next = TcpStream::connect(proxy.address()).await.unwrap();
        round_trip(&mut next, &[2; 20]).await;
    }

    #[tokio::test]
    async fn a_stall_holds_one_direction_back_and_loses_nothing() {
        let (proxy, mut client) = echo().await;
        let stalled = Conditions {
            stall_to_client: true,
            ..Conditions::default()
        };
        proxy.set(stalled);
        client.write_all(b"held").await.unwrap();
        let mut back = [0; 4];
        let silent = timeout(Duration::from_millis(200), client.read_exact(&mut back)).await;
        assert!(silent.is_err(), "something came through a stalled line");
        proxy.set(Conditions::default());
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
        proxy.set(Conditions {
            delay,
            ..Conditions::default()
        });
        let start = Instant::now();
        round_trip(&mut client, b"slow").await;
        assert!(start.elapsed() >= 2 * delay);
    }

    #[tokio::test]
    async fn a_refusing_line_resets_new_connections_and_keeps_open_ones() {
        let (proxy, mut client) = echo().await;
        round_trip(&mut client, b"open").await;
        proxy.set(Conditions {
            refuse: true,
            ..Conditions::default()
        });
        let refused = async {
            let mut stream = TcpStream::connect(proxy.address()).await?;
            stream.write_all(b"x").await?;
            stream.read_u8().await
        };
        assert!(timeout(PATIENCE, refused).await.expect("a refusal is quick").is_err());
        round_trip(&mut client, b"still").await;
        assert_eq!(proxy.made(), 1);
    }
}

//! A small load balancer in front of several servers, as operators put before them: it asks each for `/readyz`, sends new
//! connections to those that are ready, and holds a connection for a while when none is.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
    time::{Instant, sleep, timeout},
};

/// The time between two checks of a server.
const CHECK_INTERVAL: Duration = Duration::from_millis(20);
/// The timeout of a check.
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a connection is held while no server is ready; then it is closed.
const HOLD: Duration = Duration::from_secs(5);

/// A load balancer on a port of its own. It ends, with all its connections, when dropped.
#[derive(Debug)]
pub struct Balancer {
    address: SocketAddr,
    servers: Arc<[Backend]>,
    tasks: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Backend {
    address: SocketAddr,
    ready: AtomicBool,
    connections: AtomicU64,
}

impl Balancer {
    /// Starts a balancer on a free loopback port for these servers, which may start later.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start(servers: &[SocketAddr]) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let servers: Arc<[_]> = servers
            .iter()
            .map(|&address| Backend {
                address,
                ready: AtomicBool::new(false),
                connections: AtomicU64::new(0),
            })
            .collect();
        let mut tasks = vec![tokio::spawn(accept(listener, Arc::clone(&servers)))];
        for number in 0..servers.len() {
            tasks.push(tokio::spawn(check(Arc::clone(&servers), number)));
        }
        Ok(Self {
            address,
            servers,
            tasks,
        })
    }

    /// The address on which it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether the last check of this server said that it is ready.
    #[must_use]
    pub fn is_ready(&self, server: usize) -> bool {
        self.servers[server].ready.load(Ordering::SeqCst)
    }

    /// The connections that were sent to this server so far.
    #[must_use]
    pub fn connections(&self, server: usize) -> u64 {
        self.servers[server].connections.load(Ordering::SeqCst)
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

async fn check(servers: Arc<[Backend]>, number: usize) {
    let server = &servers[number];
    loop {
        let ready = timeout(CHECK_TIMEOUT, readiness(server.address)).await;
        server.ready.store(matches!(ready, Ok(Ok(true))), Ordering::SeqCst);
        sleep(CHECK_INTERVAL).await;
    }
}

async fn readiness(server: SocketAddr) -> io::Result<bool> {
    let mut stream = TcpStream::connect(server).await?;
    let request = format!("GET /readyz HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(answer.starts_with(b"HTTP/1.1 200 "))
}

async fn accept(listener: TcpListener, servers: Arc<[Backend]>) {
    let next = Arc::new(AtomicUsize::new(0));
    // Dropping it ends the connections.
    let mut connections = JoinSet::new();
    loop {
        let Ok((client, _)) = listener.accept().await else {
            continue;
        };
        while connections.try_join_next().is_some() {}
        let (servers, next) = (Arc::clone(&servers), Arc::clone(&next));
        connections.spawn(async move {
            // Either end may reset the connection.
            let _ = forward(client, &servers, &next).await;
        });
    }
}

async fn forward(mut client: TcpStream, servers: &[Backend], next: &AtomicUsize) -> io::Result<()> {
    let since = Instant::now();
    let mut server = loop {
        if let Some(server) = connect(servers, next).await {
            break server;
        }
        if since.elapsed() >= HOLD {
            return Err(io::ErrorKind::TimedOut.into());
        }
        sleep(CHECK_INTERVAL).await;
    };
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

/// Connects to the next server in turn that is ready.
async fn connect(servers: &[Backend], next: &AtomicUsize) -> Option<TcpStream> {
    for _ in 0..servers.len() {
        let server = &servers[next.fetch_add(1, Ordering::SeqCst) % servers.len()];
        if server.ready.load(Ordering::SeqCst)
            && let Ok(stream) = TcpStream::connect(server.address).await
        {
            server.connections.fetch_add(1, Ordering::SeqCst);
            return Some(stream);
        }
    }
    None
}

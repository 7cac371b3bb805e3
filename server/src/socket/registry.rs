//! All live sockets of one application: their options, their number, and how they are closed together.

use std::{
    collections::HashMap,
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

use super::{CloseInfo, ClosedBy, shared::SharedSocket};
use crate::{
    limits::ConnectionPermit, logging::Throttle, metrics::Metrics, notify::wait_until, origin::OriginPolicy, rate::Rate,
};

/// The options of all sockets of an application.
#[derive(Clone, Debug)]
pub struct SocketOptions {
    /// Which origins may connect; others are refused with 403.
    pub origins: OriginPolicy,
    /// The largest message a client may send, in bytes; a larger one closes the socket with 1009.
    pub max_message_size: usize,
    /// How many messages may wait for one client that reads slowly.
    pub queue_messages: usize,
    /// How many bytes may wait for one client that reads slowly, besides one answer to the client itself.
    pub queue_bytes: usize,
    /// How many WebSocket frames are taken in one turn of a socket's task, and how many messages its handler may queue
    /// in it, before other tasks run. At least 1.
    pub turn_messages: u32,
    /// How many bytes a handler may queue in one turn.
    pub turn_bytes: usize,
    /// How many times the network is read in one turn. At least 1.
    pub turn_reads: u8,
    /// How many bytes one read takes, about. A frame of up to half of that is awaited whole in a
    /// buffer that all sockets of a thread share; a larger one is put together in a buffer of its own.
    pub read_bytes: usize,
    /// How many received messages may wait for the handler, beside those that it took with its last batch; at this
    /// bound or the next nothing more is read, and TCP slows the client down. At least 1.
    pub inbound_messages: usize,
    /// How many bytes of received messages may wait for the handler; the message that exceeds it is the last.
    pub inbound_bytes: usize,
    /// How many bytes may wait for a client before [`Socket::send`](super::Socket::send) waits; not more than
    /// `queue_bytes`.
    pub send_waits_at: usize,
    /// How many bytes a handler queues before they are written, also in the middle of its turn.
    pub write_at: usize,
    /// How many bytes may wait for a client before its pings are not answered; when it has taken what waits, the newest
    /// of them is ([RFC 6455, section 5.5.3](https://www.rfc-editor.org/rfc/rfc6455#section-5.5.3)).
    pub pongs_wait_at: usize,
    /// The size of the buffer of a client whose message comes in fragments, or in a frame of more than half of
    /// `read_bytes`, in bytes. The socket has it for as long as such a message is incomplete.
    pub assembly_buffer: usize,
    /// How many control frames, fragments and empty messages a client may send in a second, twice as many at once;
    /// beyond it the socket is closed with 4429. 0 is any number, and so is
    /// [`Socket::take_any_rate`](super::Socket::take_any_rate).
    pub max_overhead_rate: u32,
    /// How long bytes may wait for a client that takes fewer than `min_taken` of them, before its socket is closed with
    /// 4413 and they are dropped. Zero is no timeout.
    ///
    /// Not less than a slow link needs for what the system takes at once (`--unsent-bytes` and 64 KiB), plus a pause of
    /// the link: at 2 KB a second and 20 seconds, that is 54 seconds.
    pub write_timeout: Duration,
    /// How many of the bytes that wait for it a client must take in `write_timeout`; 0 is any.
    pub min_taken: usize,
    /// The slowest link of a client, in bytes a second: `ping_timeout` is extended by the time that such a link needs
    /// for what was sent before the ping. 0 extends nothing.
    pub link_rate: usize,
    /// How many bytes of what was sent to a client the system holds at most, about: what it has not sent
    /// (`--unsent-bytes`, and as much again in one write), and what is in flight. `link_rate` turns it into
    /// the longest time that a ping needs to arrive.
    pub system_bytes: usize,
    /// The time between two pings; zero sends none.
    pub ping_interval: Duration,
    /// How long a client may send and take nothing after a ping has reached it; then it is closed with 4408.
    pub ping_timeout: Duration,
    /// How long the closing handshake may take; then the connection is cut.
    pub close_timeout: Duration,
    /// How long a client may take to close the stream after the closing handshake; not longer than `close_timeout`. The
    /// server should close it first, but input that breaks the rules would turn that into a reset, which can destroy
    /// the close frame.
    pub linger: Duration,
    /// When the log of a room begins anew, its session members are asked to reconnect after a random delay of at most
    /// this.
    pub reconnect_spread: Duration,
    /// How many closes with an application's code (3000 to 4999) are logged in a second; the others are counted.
    pub log_rate: u32,
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self {
            origins: OriginPolicy::default(),
            max_message_size: 64 * 1024,
            queue_messages: 1024,
            queue_bytes: 1024 * 1024,
            turn_messages: 256,
            turn_bytes: 128 * 1024,
            turn_reads: 2,
            read_bytes: 32 * 1024,
            inbound_messages: 128,
            inbound_bytes: 64 * 1024,
            send_waits_at: 64 * 1024,
            write_at: 32 * 1024,
            pongs_wait_at: 64 * 1024,
            assembly_buffer: 4096,
            max_overhead_rate: 5000,
            write_timeout: Duration::from_secs(60),
            min_taken: 4 * 1024,
            link_rate: 1024,
            system_bytes: 128 * 1024,
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(10),
            close_timeout: Duration::from_secs(5),
            linger: Duration::from_millis(250),
            reconnect_spread: Duration::from_secs(5),
            log_rate: 20,
        }
    }
}

/// All live sockets of one application. Clones are handles to the same set.
///
/// Put it into your axum state (`FromRef`) to use [`Upgrade`](super::Upgrade) in your own handlers.
#[derive(Clone)]
pub struct Sockets(Arc<Inner>);

struct Inner {
    options: SocketOptions,
    /// Of [`SocketOptions::max_overhead_rate`].
    overhead_rate: Rate,
    /// Of [`SocketOptions::link_rate`].
    link_rate: Rate,
    metrics: Arc<Metrics>,
    closes: Throttle,
    live: Mutex<HashMap<u64, Arc<SharedSocket>>>,
    next: AtomicU64,
    /// A [`DrainState`], which only increases.
    drain_state: AtomicU8,
    /// Notified when draining begins.
    drain: Notify,
    /// Notified when the last socket was removed.
    empty: Notify,
}

/// How far a server that stops is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum DrainState {
    /// It serves.
    Serving,
    /// It serves, and asks load balancers to choose another server.
    Announced,
    /// It refuses new sockets and closes those that are open.
    Closing,
}

/// How many sockets [`Sockets::waiting`] looks at before other tasks run.
const SOCKETS_AT_ONCE: usize = 256;
/// The longest time between two closes during [`Sockets::drain`]: few sockets are closed in less than the whole time.
const LONGEST_CLOSE_INTERVAL: Duration = Duration::from_millis(50);

impl Sockets {
    /// An empty set with these options.
    #[must_use]
    pub fn new(options: SocketOptions) -> Self {
        let overhead = u64::from(options.max_overhead_rate);
        Self(Arc::new(Inner {
            overhead_rate: Rate::new(overhead, 2 * overhead),
            link_rate: Rate::new(u64::try_from(options.link_rate).unwrap_or(u64::MAX), 0),
            closes: Throttle::new(options.log_rate),
            options,
            metrics: Arc::default(),
            live: Mutex::default(),
            next: AtomicU64::new(0),
            drain_state: AtomicU8::new(DrainState::Serving as u8),
            drain: Notify::new(),
            empty: Notify::new(),
        }))
    }

    /// The options of these sockets.
    #[must_use]
    pub fn options(&self) -> &SocketOptions {
        &self.0.options
    }

    /// Counters of what happened since the start.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.0.metrics
    }

    /// How many sockets are live, those in their closing handshake included.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.live.lock().len()
    }

    /// How many turns the tasks of all live sockets have begun. A socket that sends and receives nothing has none,
    /// whatever waits in its queues: if this grows without traffic, some task is woken for nothing.
    #[must_use]
    pub fn turns(&self) -> u64 {
        self.0.live.lock().values().map(|socket| socket.turns()).sum()
    }

    /// How many sockets have bytes that their clients have not taken, and how many bytes. It looks at all sockets, with
    /// pauses in between.
    pub(crate) async fn waiting(&self) -> (usize, usize) {
        let sockets: Vec<_> = self.0.live.lock().values().cloned().collect();
        let (mut slow, mut bytes) = (0, 0);
        for batch in sockets.chunks(SOCKETS_AT_ONCE) {
            for socket in batch {
                let waits = socket.waiting();
                slow += usize::from(waits > 0);
                bytes += waits;
            }
            tokio::task::yield_now().await;
        }
        (slow, bytes)
    }

    pub(crate) fn overhead_rate(&self) -> Rate {
        self.0.overhead_rate
    }

    pub(crate) fn link_rate(&self) -> Rate {
        self.0.link_rate
    }

    /// How far the server is with stopping.
    #[must_use]
    pub fn drain_state(&self) -> DrainState {
        match self.0.drain_state.load(Ordering::SeqCst) {
            0 => DrainState::Serving,
            1 => DrainState::Announced,
            _ => DrainState::Closing,
        }
    }

    /// Whether [`drain`](Self::drain) was called; new sockets are refused from then on.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.drain_state() == DrainState::Closing
    }

    /// Makes `/readyz` and `/healthz` answer 503 with `draining`, so that load balancers choose another server, while
    /// everything is served as before.
    pub fn announce_drain(&self) {
        self.0
            .drain_state
            .fetch_max(DrainState::Announced as u8, Ordering::SeqCst);
    }

    /// Waits until [`drain`](Self::drain) is called.
    pub(crate) async fn until_draining(&self) {
        wait_until(&self.0.drain, || self.is_draining().then_some(())).await;
    }

    /// Refuses new sockets, closes all live ones with 1001 (sessions with 1012) and returns when the last one was
    /// removed. What waits for a client is written before its close frame.
    ///
    /// They are closed in random order, one after the other at equal intervals, all within `within`, so that clients
    /// that reconnect at once do not all reach the next server at the same moment. Between two closes are at most
    /// 50 ms: few sockets are closed in less time. `within` does not bound the wait for the last one: put a timeout
    /// around this call.
    ///
    /// Cancel safety: sockets that were closed stay closed, and new ones stay refused.
    pub async fn drain(&self, within: Duration) {
        self.0
            .drain_state
            .fetch_max(DrainState::Closing as u8, Ordering::SeqCst);
        self.0.drain.notify_waiters();
        let mut sockets: Vec<_> = self.0.live.lock().values().cloned().collect();
        fastrand::shuffle(&mut sockets);
        let count = u32::try_from(sockets.len()).unwrap_or(u32::MAX).max(1);
        let interval = LONGEST_CLOSE_INTERVAL.min(within / count);
        let begun = Instant::now();
        for (number, socket) in (0..).zip(sockets) {
            tokio::time::sleep_until(begun + interval.saturating_mul(number)).await;
            socket.close_to_restart();
        }
        wait_until(&self.0.empty, || {
            // An opening handshake that was in progress when draining began may have ended since.
            let late: Vec<_> = self.0.live.lock().values().cloned().collect();
            for socket in &late {
                socket.close_to_restart();
            }
            late.is_empty().then_some(())
        })
        .await;
    }

    pub(crate) fn register(&self, socket: Arc<SharedSocket>, permit: Option<ConnectionPermit>) -> Registered {
        let id = self.0.next.fetch_add(1, Ordering::Relaxed);
        self.0.live.lock().insert(id, Arc::clone(&socket));
        if self.is_draining() {
            socket.close_to_restart();
        }
        Registered {
            id,
            socket,
            _permit: permit,
        }
    }
}

/// A live socket. Dropping it closes the connection and removes it from the set.
pub(crate) struct Registered {
    id: u64,
    socket: Arc<SharedSocket>,
    /// Given back when the connection is closed.
    _permit: Option<ConnectionPermit>,
}

impl Deref for Registered {
    type Target = Arc<SharedSocket>;
    fn deref(&self) -> &Arc<SharedSocket> {
        &self.socket
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.socket.release();
        let sockets = self.socket.sockets();
        let mut live = sockets.0.live.lock();
        live.remove(&self.id);
        if live.is_empty() {
            live.shrink_to_fit();
            sockets.0.empty.notify_waiters();
        }
    }
}

/// Counts and logs how a socket ended: at `info` with a code of an application (3000 to 4999), else at `debug`. A client chooses
/// codes and reasons freely, so its reasons are not logged, and the lines at `info` have a rate.
pub(crate) fn log_close(sockets: &Sockets, path: &str, info: &CloseInfo) {
    let CloseInfo { code, reason, by } = info;
    sockets.metrics().closed(*code);
    let reason = match by {
        ClosedBy::Server => Some(reason.as_str()),
        _ => None,
    };
    if !(3000..5000).contains(code) {
        tracing::debug!(path, code, reason, %by, "websocket closed");
    } else if let Some(more) = sockets.0.closes.admit() {
        tracing::info!(path, code, reason, %by, more, "websocket closed");
    }
}

//! All live sockets of one application: what they share, how many there are, and how they are closed together.

use std::{
    collections::HashMap,
    num::NonZeroUsize,
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{CloseInfo, ClosedBy, connection::Shared};
use crate::{logging::Throttle, metrics::Metrics, notify::wait_until, origin::OriginPolicy, rate::Rate};

/// The rules every socket of an application lives by.
#[derive(Clone, Debug)]
pub struct SocketOptions {
    /// Which pages may connect.
    pub origins: OriginPolicy,
    /// The largest message a client may send, in bytes; a larger one closes the socket with 1009.
    pub max_message_size: usize,
    /// How many messages may wait for one client that reads slowly.
    pub queue_messages: usize,
    /// How many bytes may wait for one client that reads slowly, besides one answer to the client itself.
    pub queue_bytes: usize,
    /// How many WebSocket frames are taken in one turn of a socket's task, and how many messages its handler may queue in it, before
    /// other sockets have their turn. At least 1.
    pub turn_messages: u32,
    /// How many bytes a handler may queue in one turn. A turn reads at most 64 KiB, or 32 KiB and the rest of a message.
    pub turn_bytes: usize,
    /// How many control frames, fragments and empty messages a client may send in a second, twice as many at once; beyond it the
    /// socket is closed with 4429. 0 is any number. A handler can go without ([`Socket::take_any_rate`](super::Socket::take_any_rate)).
    pub max_overhead_rate: u32,
    /// How long bytes may wait for a client that takes fewer than `min_taken` of them, before its socket is closed with 4413 and they are
    /// dropped. Zero waits for ever.
    ///
    /// Not less than a slow link needs for what the system takes at once (`--unsent-bytes` and 64 KiB) and a time without any: at 2 KB a
    /// second and 20 seconds, that is 54 seconds.
    pub write_timeout: Duration,
    /// How many of the bytes that wait for it a client must take in `write_timeout`; 0 is any.
    pub min_taken: usize,
    /// How slow a client's link may be, in bytes a second: the answer to a ping is waited for as much longer as such a link needs for what
    /// was sent before the ping. 0 waits for `ping_timeout` in any case.
    pub link_rate: usize,
    /// The time between two pings; zero sends none.
    pub ping_interval: Duration,
    /// How long a client may be silent after a ping has reached it before it is closed with 4408.
    pub ping_timeout: Duration,
    /// How long the close handshake may take before the connection is cut.
    pub close_timeout: Duration,
    /// When the server stops, over what time sessions are asked to come back, each at a random moment.
    pub reconnect_spread: Duration,
    /// How many closes with an application's code are logged in a second; the others are counted.
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
            max_overhead_rate: 5000,
            write_timeout: Duration::from_secs(60),
            min_taken: 4 * 1024,
            link_rate: 1024,
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(10),
            close_timeout: Duration::from_secs(5),
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
    metrics: Metrics,
    closes: Throttle,
    live: Mutex<HashMap<u64, Arc<Shared>>>,
    next: AtomicU64,
    draining: AtomicBool,
    /// Notified when draining begins.
    drain: Notify,
    /// Notified when the last socket is gone.
    empty: Notify,
}

/// Sockets that are closed together during [`Sockets::drain`].
const DRAIN_BATCH: NonZeroUsize = NonZeroUsize::new(128).unwrap();
/// The usual pause between two batches.
const DRAIN_PAUSE: Duration = Duration::from_millis(50);

impl Sockets {
    /// An empty set with these rules.
    #[must_use]
    pub fn new(options: SocketOptions) -> Self {
        let overhead = u64::from(options.max_overhead_rate);
        Self(Arc::new(Inner {
            overhead_rate: Rate::new(overhead, 2 * overhead),
            link_rate: Rate::new(u64::try_from(options.link_rate).unwrap_or(u64::MAX), 0),
            closes: Throttle::new(options.log_rate),
            options,
            metrics: Metrics::default(),
            live: Mutex::default(),
            next: AtomicU64::new(0),
            draining: AtomicBool::new(false),
            drain: Notify::new(),
            empty: Notify::new(),
        }))
    }

    /// The rules of these sockets.
    #[must_use]
    pub fn options(&self) -> &SocketOptions {
        &self.0.options
    }

    /// What happened so far.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// How many sockets are live, those in their close handshake included.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.live.lock().len()
    }

    /// How many turns the tasks of the live sockets had so far, all together. A socket on which nothing moves has none, whatever waits
    /// in it: if this grows while nothing is sent and received, something turns in vain.
    #[must_use]
    pub fn turns(&self) -> u64 {
        self.0.live.lock().values().map(|socket| socket.turns()).sum()
    }

    pub(crate) fn overhead_rate(&self) -> Rate {
        self.0.overhead_rate
    }

    pub(crate) fn link_rate(&self) -> Rate {
        self.0.link_rate
    }

    /// Whether [`drain`](Self::drain) was called; new sockets are refused from then on.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.0.draining.load(Ordering::SeqCst)
    }

    /// Waits until [`drain`](Self::drain) is called.
    pub(crate) async fn until_draining(&self) {
        wait_until(&self.0.drain, || self.is_draining().then_some(())).await;
    }

    /// Refuses new sockets, closes all live ones with 1001 (sessions with 1012, and when to come back) and returns when the last one is gone.
    ///
    /// They are closed in random order and in batches with random pauses, spread over at most half of `within`, so that clients
    /// that reconnect at once do not all reach the next server in the same moment. `within` does not cut the wait: put a timeout
    /// around this call.
    ///
    /// Cancel safety: sockets that were closed stay closed, and new ones stay refused.
    pub async fn drain(&self, within: Duration) {
        self.0.draining.store(true, Ordering::SeqCst);
        self.0.drain.notify_waiters();
        let mut sockets: Vec<_> = self.0.live.lock().values().cloned().collect();
        fastrand::shuffle(&mut sockets);
        let batches = u32::try_from(sockets.len().div_ceil(DRAIN_BATCH.get())).unwrap_or(u32::MAX);
        let pause = DRAIN_PAUSE.min(within / 2 / batches.max(1));
        for (number, batch) in sockets.chunks(DRAIN_BATCH.get()).enumerate() {
            if number > 0 {
                tokio::time::sleep(pause.mul_f32(0.5 + fastrand::f32())).await;
            }
            for socket in batch {
                socket.close_to_drain();
            }
        }
        drop(sockets);
        wait_until(&self.0.empty, || {
            // A socket whose handshake was under way when draining began may have come since.
            let late: Vec<_> = self.0.live.lock().values().cloned().collect();
            for socket in &late {
                socket.close_to_drain();
            }
            late.is_empty().then_some(())
        })
        .await;
    }

    pub(crate) fn register(&self, socket: Arc<Shared>) -> Registered {
        let id = self.0.next.fetch_add(1, Ordering::Relaxed);
        self.0.live.lock().insert(id, Arc::clone(&socket));
        if self.is_draining() {
            socket.close_to_drain();
        }
        Registered { id, socket }
    }
}

/// A live socket; dropping it takes it off the list.
pub(crate) struct Registered {
    id: u64,
    socket: Arc<Shared>,
}

impl Deref for Registered {
    type Target = Arc<Shared>;
    fn deref(&self) -> &Arc<Shared> {
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

/// Logs how a socket ended: at `info` with a code of an application (3000 to 4999), because it means something to its author, else at
/// `debug`. A client chooses code and reason as it likes and as often as it likes, so its reason is not quoted and the lines at `info`
/// are bounded.
pub(crate) fn log_close(sockets: &Sockets, path: &str, info: &CloseInfo) {
    let CloseInfo { code, reason, by } = info;
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

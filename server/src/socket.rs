//! A WebSocket for axum handlers.
//!
//! - [`Upgrade`] turns a request into a socket, or an answer into HTTP: the extractor;
//! - [`Socket`] is what the handler gets: messages in, messages out, and how it ended;
//! - [`Sender`] is a cheap handle to the same socket for other tasks;
//! - [`Sockets`] holds the options of all sockets of an application and closes them together.
//!
//! Pings are answered, fragments joined, text checked, close frames exchanged and unresponsive clients detected without
//! the handler, also while it computes. The private modules: `task` runs a connection; `shared` is what its handles,
//! the hub and its task share; `core` is what the lock of that guards; `state` is the state of the socket;
//! `frame_reader` makes messages from bytes; `inbound` and `outbox` are the queues; `io` reads and writes; `registry`
//! has the options and the set of all sockets.

mod core;
mod frame_reader;
mod inbound;
mod io;
mod message;
mod outbox;
mod registry;
mod shared;
mod state;
mod task;
mod upgrade;

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_core::Stream;
use talkback_protocol::close::{check_code, check_reason};

pub use message::{CloseError, CloseInfo, ClosedBy, Message, SendError, Utf8Bytes};
pub use registry::{DrainState, SocketOptions, Sockets};
pub use upgrade::{Upgrade, UpgradeError};

pub(crate) use io::send_now;
pub(crate) use outbox::{FrameKind, put_header};
pub(crate) use shared::{Delivered, SharedSocket};

/// The handler's end of a WebSocket.
///
/// Sending needs only `&self`, and [`sender`](Self::sender) gives a handle for other tasks, so that sending and
/// receiving can go on at the same time. Dropping it changes nothing: the socket closes when the handler ends.
#[derive(Debug)]
pub struct Socket {
    sender: Sender,
    /// Messages that were taken from the queue together and not yet returned.
    batch: VecDeque<Message>,
    subprotocol: Option<Box<str>>,
}

impl Socket {
    pub(crate) fn new(shared: Arc<SharedSocket>, subprotocol: Option<Box<str>>) -> Self {
        Self {
            sender: Sender { shared },
            batch: VecDeque::new(),
            subprotocol,
        }
    }

    /// Waits for the next message. Returns `None` once the socket is closed and every message that came before was
    /// returned.
    ///
    /// Cancel safety: a message that was not returned is returned by the next call.
    pub async fn recv(&mut self) -> Option<Message> {
        std::future::poll_fn(|cx| self.sender.shared.poll_recv(&mut self.batch, Some(cx.waker()))).await
    }

    /// The next message, if one has arrived; `None` does not tell whether the socket is closed
    /// ([`is_closed`](Self::is_closed) does).
    #[must_use]
    pub fn try_recv(&mut self) -> Option<Message> {
        match self.sender.shared.poll_recv(&mut self.batch, None) {
            Poll::Ready(message) => message,
            Poll::Pending => None,
        }
    }

    /// How many whole messages have arrived and wait to be received: those that the handler took as one batch and works
    /// through, and those that came since. Each of both is bounded ([`SocketOptions::inbound_messages`],
    /// [`SocketOptions::inbound_bytes`]); at the bound nothing more is read, and the client has to wait.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.batch.len() + self.sender.shared.pending()
    }

    /// Whether [`try_recv`](Self::try_recv) would return a message.
    #[must_use]
    pub fn has_pending(&self) -> bool {
        self.pending() > 0
    }

    /// Queues a message, waiting while the client reads too slowly. What a handler queues before it waits for something
    /// else leaves as one write.
    ///
    /// # Errors
    /// [`SendError::Closed`] with the message, at once, when the socket is closing or closed.
    ///
    /// Cancel safety: a message is either queued or not; a dropped call has not queued it.
    pub async fn send(&self, message: impl Into<Message> + Send) -> Result<(), SendError> {
        self.sender.shared.send(message.into()).await
    }

    /// Queues a close frame behind everything that is queued. The handler may end right away; the socket's task
    /// completes the closing handshake.
    ///
    /// # Errors
    /// [`CloseError`] if the code is not 1000 or 3000 to 4999, or the reason is longer than 123 bytes. Closing a closed
    /// socket is not an error: the first close counts.
    pub fn close(&self, code: u16, reason: &str) -> Result<(), CloseError> {
        self.sender.close(code, reason)
    }

    /// Whether the socket is closing or closed: nothing can be sent, and no further message is received.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// How the socket ended; `None` while it is open.
    #[must_use]
    pub fn close_info(&self) -> Option<CloseInfo> {
        self.sender.close_info()
    }

    /// Waits until either side closes the socket or the connection breaks. A handler can `select!` on it beside its
    /// work.
    ///
    /// Cancel safe.
    pub async fn closed(&self) -> CloseInfo {
        self.sender.closed().await
    }

    /// Lets the client send any number of control frames, fragments and empty messages, whatever
    /// [`SocketOptions::max_overhead_rate`] is. The work of each turn stays bounded. Whole messages have no rate either
    /// way: a handler slows a client down by not receiving.
    pub fn take_any_rate(&self) {
        self.sender.shared.take_any_rate();
    }

    /// The subprotocol of the handshake's response; `None` if there is none.
    #[must_use]
    pub fn subprotocol(&self) -> Option<&str> {
        self.subprotocol.as_deref()
    }

    /// A handle to this socket for other tasks.
    #[must_use]
    pub fn sender(&self) -> Sender {
        self.sender.clone()
    }
}

/// The messages, like [`recv`](Socket::recv).
impl Stream for Socket {
    type Item = Message;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        let Self { sender, batch, .. } = self.get_mut();
        sender.shared.poll_recv(batch, Some(cx.waker()))
    }
}

/// A handle to send on a [`Socket`] and to close it, from any task or thread. Clones are cheap and refer to the same
/// socket.
#[derive(Clone)]
pub struct Sender {
    shared: Arc<SharedSocket>,
}

impl Sender {
    /// Like [`Socket::send`]. From another task the message is written at once if the client can take it.
    ///
    /// # Errors
    /// [`SendError::Closed`] with the message when the socket is closing or closed.
    ///
    /// Cancel safety: a message is either queued or not; a dropped call has not queued it.
    pub async fn send(&self, message: impl Into<Message> + Send) -> Result<(), SendError> {
        self.shared.send(message.into()).await
    }

    /// Queues a message without waiting.
    ///
    /// # Errors
    /// [`SendError::Full`] with the message when the client's queue is at one of its bounds
    /// ([`SocketOptions::queue_bytes`], [`SocketOptions::queue_messages`]), [`SendError::Closed`] when the socket is
    /// closing or closed.
    pub fn try_send(&self, message: impl Into<Message>) -> Result<(), SendError> {
        self.shared.try_send(message.into())
    }

    /// Like [`Socket::close`].
    ///
    /// # Errors
    /// [`CloseError`] if the code or reason may not be sent.
    pub fn close(&self, code: u16, reason: &str) -> Result<(), CloseError> {
        check_code(code)?;
        check_reason(reason)?;
        self.shared.close_observed(code, reason);
        Ok(())
    }

    /// Closes with a code that only a server may send, like 1003.
    pub(crate) fn close_by_server(&self, code: u16, reason: &str) {
        self.shared.close_observed(code, reason);
    }

    /// Like [`Socket::is_closed`].
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.close_info().is_some()
    }

    /// Like [`Socket::close_info`].
    #[must_use]
    pub fn close_info(&self) -> Option<CloseInfo> {
        self.shared.close_info()
    }

    /// Like [`Socket::closed`].
    pub async fn closed(&self) -> CloseInfo {
        self.shared.closed().await
    }

    /// How many WebSocket frames came since the last call: whole messages, and each fragment, ping and pong.
    pub(crate) fn take_received_frames(&self) -> u32 {
        self.shared.take_received()
    }

    pub(crate) fn shared(&self) -> &Arc<SharedSocket> {
        &self.shared
    }

    /// A socket without a task, so what is sent to it waits.
    #[cfg(test)]
    pub(crate) fn without_task(sockets: &Sockets) -> Self {
        Self {
            shared: SharedSocket::new(io::Transport::Gone, bytes::Bytes::new(), sockets.clone()),
        }
    }
}

impl std::fmt::Debug for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sender")
            .field("close_info", &self.shared.peek_close_info())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::{Router, routing::get};
    use futures_util::FutureExt;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
        sync::mpsc,
    };

    use super::*;

    /// A client's empty frame: its first byte, and a mask of zeros.
    fn frame(first: u8) -> [u8; 6] {
        [first, 0x80, 0, 0, 0, 0]
    }

    /// Waits for `future`, or fails naming what did not come.
    async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
        match tokio::time::timeout(Duration::from_secs(10), future).await {
            Ok(value) => value,
            Err(_) => panic!("waited 10 s for {what}"),
        }
    }

    /// A client of a server that has these options and runs this handler.
    async fn connect<H, F>(options: SocketOptions, handler: H) -> TcpStream
    where
        H: FnOnce(Socket) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        connect_to(serve(Sockets::new(options), handler).await).await
    }

    /// The address of a server that runs this handler.
    async fn serve<H, F>(sockets: Sockets, handler: H) -> std::net::SocketAddr
    where
        H: FnOnce(Socket) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let handler = get(move |upgrade: Upgrade| async move { upgrade.on_upgrade(handler) });
        let router = Router::new().route("/", handler).with_state(sockets);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }

    async fn connect_to(address: std::net::SocketAddr) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let handshake = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
            Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        stream.write_all(handshake.as_bytes()).await.unwrap();
        stream
    }

    #[tokio::test]
    async fn every_frame_is_counted_once() {
        let (count, mut counts) = mpsc::unbounded_channel();
        let mut stream = connect(SocketOptions::default(), |mut socket| async move {
            while socket.recv().await.is_some() {
                count.send(socket.sender().take_received_frames()).unwrap();
            }
        })
        .await;
        let (ping, pong, text, start, middle, end) = (0x89, 0x8a, 0x81, 0x01, 0x00, 0x80);
        for (frames, expected) in [
            (&[text][..], 1),
            (&[ping, ping, pong, text], 4),
            (&[start, middle, ping, middle, end], 5),
        ] {
            let bytes: Vec<u8> = frames.iter().flat_map(|first| frame(*first)).collect();
            stream.write_all(&bytes).await.unwrap();
            assert_eq!(within("a count", counts.recv()).await, Some(expected), "{frames:?}");
        }
    }

    #[tokio::test]
    async fn what_waits_for_the_handler_is_bounded_by_the_options() {
        let default = SocketOptions::default();
        for (inbound_messages, inbound_bytes, bound) in [(5, default.inbound_bytes, 5), (100, 10, 2)] {
            let options = SocketOptions {
                inbound_messages,
                inbound_bytes,
                ..default.clone()
            };
            let (count, mut counts) = mpsc::unbounded_channel();
            let mut stream = connect(options, move |socket| async move {
                let (mut last, mut quiet) = (0, 0);
                while quiet < 50 {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                    let pending = socket.pending();
                    quiet = if pending > 0 && pending == last { quiet + 1 } else { 0 };
                    last = pending;
                }
                count.send(last).unwrap();
            })
            .await;
            // Eight bytes each.
            let message = [&[0x82, 0x88, 0, 0, 0, 0][..], &[0; 8]].concat();
            stream.write_all(&message.repeat(50)).await.unwrap();
            assert_eq!(within("the count to stop", counts.recv()).await, Some(bound));
        }
    }

    #[tokio::test]
    async fn a_send_waits_while_as_much_waits_for_the_client_as_the_options_say() {
        const SIZE: usize = 1000;
        for send_waits_at in [10_000, 100_000] {
            let options = SocketOptions {
                send_waits_at,
                ..SocketOptions::default()
            };
            let (result, mut results) = mpsc::unbounded_channel();
            let _stream = connect(options, move |socket| async move {
                let mut quiet = 0;
                while quiet < 50 {
                    match socket.send(vec![0; SIZE]).now_or_never() {
                        Some(sent) => {
                            sent.unwrap();
                            quiet = 0;
                        }
                        None => {
                            quiet += 1;
                            tokio::time::sleep(Duration::from_millis(2)).await;
                        }
                    }
                }
                let waiting = socket.sender().shared().waiting_bytes().len();
                result.send(waiting).unwrap();
            })
            .await;
            let waiting = within("the sends to wait", results.recv()).await.unwrap();
            assert!(
                (send_waits_at - 2 * SIZE..=send_waits_at).contains(&waiting),
                "{waiting} of {send_waits_at} bytes wait"
            );
        }
    }

    #[tokio::test]
    async fn one_turn_reads_as_often_and_as_much_at_once_as_the_options_say() {
        const MESSAGE: usize = 100;
        let default = SocketOptions::default();
        let mut most = Vec::new();
        for (turn_reads, read_bytes) in [(1, 1024), (6, 1024), (1, 6 * 1024)] {
            let options = SocketOptions {
                turn_reads,
                read_bytes,
                turn_messages: 1000,
                inbound_messages: 1000,
                ..default.clone()
            };
            let (count, mut counts) = mpsc::unbounded_channel();
            let mut stream = connect(options, move |mut socket| async move {
                let (mut turn, mut in_turn, mut most) = (0, 0, 0);
                for _ in 0..400 {
                    socket.recv().await.unwrap();
                    let now = socket.sender().shared().turns();
                    in_turn = if now == turn { in_turn + 1 } else { 1 };
                    turn = now;
                    most = most.max(in_turn);
                }
                count.send(most).unwrap();
            })
            .await;
            let message = [&[0x82, 0x80 + 94, 0, 0, 0, 0][..], &[0; MESSAGE - 6]].concat();
            stream.write_all(&message.repeat(400)).await.unwrap();
            most.push(MESSAGE * within("the messages", counts.recv()).await.unwrap());
        }
        // A turn also takes what the one before has read, and a buffer is about as large as it should be.
        assert!((512..=3 * 1024).contains(&most[0]), "{most:?} bytes");
        assert!(
            most[1..].iter().all(|bytes| (4 * 1024..=16 * 1024).contains(bytes)),
            "{most:?} bytes"
        );
    }

    #[tokio::test]
    async fn what_a_handler_queues_is_written_amid_its_turn_when_it_is_as_much_as_the_options_say() {
        const SIZE: usize = 1000;
        for write_at in [5000, 50_000] {
            let options = SocketOptions {
                write_at,
                ..SocketOptions::default()
            };
            let (result, mut results) = mpsc::unbounded_channel();
            let _stream = connect(options, move |socket| async move {
                let mut most = 0;
                // Less than the system takes for a client that does not read.
                for _ in 0..100 {
                    socket.sender().try_send(vec![0; SIZE]).unwrap();
                    most = most.max(socket.sender().shared().waiting_bytes().len());
                }
                result.send(most).unwrap();
            })
            .await;
            let most = within("the messages to be queued", results.recv()).await.unwrap();
            assert!(
                (write_at..=write_at + 2 * SIZE).contains(&most),
                "{most} of {write_at} bytes"
            );
        }
    }

    #[tokio::test]
    async fn what_comes_after_the_servers_close_is_not_received_and_does_not_change_how_the_socket_ended() {
        let (go, goes) = tokio::sync::oneshot::channel();
        let goes = Arc::new(parking_lot::Mutex::new(Some(goes)));
        let (result, mut results) = mpsc::unbounded_channel();
        let mut stream = connect(SocketOptions::default(), move |mut socket| async move {
            socket.recv().await.unwrap();
            socket.close(4000, "first").unwrap();
            let goes = goes.lock().take().unwrap();
            goes.await.unwrap();
            result.send((socket.try_recv(), socket.close_info())).unwrap();
        })
        .await;
        stream.write_all(&frame(0x81)).await.unwrap();
        let mut answer = Vec::new();
        within("the close frame", async {
            while !answer.ends_with(b"first") {
                answer.push(stream.read_u8().await.unwrap());
            }
        })
        .await;
        let close = [0x88, 0x82, 0, 0, 0, 0, 0x0f, 0xa1];
        stream.write_all(&[&frame(0x81)[..], &close].concat()).await.unwrap();
        within("the end of the stream", stream.read_to_end(&mut answer))
            .await
            .unwrap();
        go.send(()).unwrap();
        let info = CloseInfo {
            code: 4000,
            reason: "first".into(),
            by: ClosedBy::Server,
        };
        let (message, ended) = within("the result", results.recv()).await.unwrap();
        assert_eq!((message, ended), (None, Some(info)));
    }

    #[tokio::test]
    async fn the_close_of_a_client_is_answered_after_the_close_timeout_although_the_handler_takes_no_further_message() {
        let options = SocketOptions {
            close_timeout: Duration::from_millis(50),
            ..SocketOptions::default()
        };
        let mut stream = connect(options, |mut socket| async move {
            socket.recv().await.unwrap();
            std::future::pending::<()>().await;
        })
        .await;
        stream
            .write_all(&[frame(0x81), frame(0x81), frame(0x88)].concat())
            .await
            .unwrap();
        let mut answer = Vec::new();
        within("the close frame", stream.read_to_end(&mut answer))
            .await
            .unwrap();
        assert!(answer.ends_with(&[0x88, 0]), "{answer:?}");
    }

    /// A server of sockets with these times whose handler receives all messages.
    async fn receiving(linger: Duration, close_timeout: Duration) -> (Sockets, std::net::SocketAddr) {
        let sockets = Sockets::new(SocketOptions {
            linger,
            close_timeout,
            ..SocketOptions::default()
        });
        let receive = |mut socket: Socket| async move { while socket.recv().await.is_some() {} };
        let address = serve(sockets.clone(), receive).await;
        (sockets, address)
    }

    /// Sends this frame on a new connection, reads to the end of the stream, and does not hang up.
    async fn close_without_hanging_up(address: std::net::SocketAddr, frame: &[u8], answer: &[u8]) -> TcpStream {
        let mut stream = connect_to(address).await;
        stream.write_all(frame).await.unwrap();
        let mut read = Vec::new();
        within("the end of the stream", stream.read_to_end(&mut read))
            .await
            .unwrap();
        assert!(read.windows(answer.len()).any(|part| part == answer), "{read:?}");
        stream
    }

    async fn cut(sockets: &Sockets) {
        within("the sockets to be cut", async {
            while sockets.count() > 0 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
    }

    const SHORT: Duration = Duration::from_millis(1);
    const LONG: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn a_client_that_does_not_hang_up_after_the_closing_handshake_is_cut_after_the_shorter_of_two_times() {
        for (linger, close_timeout) in [(SHORT, LONG), (LONG, SHORT)] {
            let (sockets, address) = receiving(linger, close_timeout).await;
            let _stream = close_without_hanging_up(address, &frame(0x88), &[0x88, 0]).await;
            cut(&sockets).await;
        }
        let (sockets, address) = receiving(LONG, LONG).await;
        let stream = close_without_hanging_up(address, &frame(0x88), &[0x88, 0]).await;
        assert_eq!(sockets.count(), 1);
        drop(stream);
        cut(&sockets).await;
    }

    #[tokio::test]
    async fn a_client_that_broke_a_rule_has_the_whole_close_timeout_to_hang_up() {
        let (sockets, address) = receiving(SHORT, LONG).await;
        // A frame without a mask, which is closed with 1002.
        let broke = close_without_hanging_up(address, &[0x81, 0], &1002_u16.to_be_bytes()).await;
        // The socket of this one is cut later than that one would be.
        let mut closed = close_without_hanging_up(address, &frame(0x88), &[0x88, 0]).await;
        within("the cut", async {
            while closed.write_all(&frame(0x89)).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
        assert_eq!(sockets.count(), 1);
        drop(broke);
        cut(&sockets).await;
    }
}

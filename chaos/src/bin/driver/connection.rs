//! A WebSocket of `talkback.v1` as a task, which a session's driver gives texts to and takes events from.

use std::{net::SocketAddr, time::Duration};

use futures_util::{SinkExt, StreamExt};
use talkback_protocol::{close, message::SUBPROTOCOL};
use tokio::{net::TcpStream, sync::mpsc, time::timeout};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{
        Error, Message,
        client::IntoClientRequest,
        http::HeaderValue,
        protocol::{CloseFrame, frame::coding::CloseCode},
    },
};

/// Received texts that wait for the session. While they do, the connection is not read.
const RECEIVED: usize = 64;
/// Texts of the session that wait to be written. Its lines in flight are bounded, so that more wait only on a stalled
/// connection.
const WAITING: usize = 1024;
/// How long the closing handshake may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// What happened to a connection.
pub(crate) enum Happened {
    /// It is open, and the subprotocol was agreed.
    Opened,
    /// A text arrived.
    Text(String),
    /// It ended or could not be opened. The last event.
    Closed { code: u16, reason: String },
}

enum Send {
    Text(String),
    Close { code: u16, reason: String },
}

/// A connection. Dropping it ends it without a close frame, as the end of a process does.
pub(crate) struct Connection {
    pub(crate) generation: u64,
    /// Whether [`Happened::Opened`] was taken.
    pub(crate) is_open: bool,
    send: mpsc::Sender<Send>,
    events: mpsc::Receiver<Happened>,
}

impl Connection {
    /// Begins to connect.
    pub(crate) fn open(generation: u64, server: SocketAddr) -> Self {
        let (send, sends) = mpsc::channel(WAITING);
        let (event, events) = mpsc::channel(RECEIVED);
        tokio::spawn(run(server, sends, event));
        Self {
            generation,
            is_open: false,
            send,
            events,
        }
    }

    /// The next event. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Happened {
        self.events.recv().await.unwrap_or_else(|| Happened::Closed {
            code: close::ABNORMAL,
            reason: "the connection's task ended".to_owned(),
        })
    }

    /// Sends a text. `false` if too many wait already.
    pub(crate) fn send(&self, text: String) -> bool {
        !matches!(
            self.send.try_send(Send::Text(text)),
            Err(mpsc::error::TrySendError::Full(_))
        )
    }

    /// Sends a close frame behind the texts that wait, and forgets the connection.
    pub(crate) fn close(self, code: u16, reason: String) {
        let _ = self.send.try_send(Send::Close { code, reason });
    }
}

async fn run(server: SocketAddr, mut sends: mpsc::Receiver<Send>, event: mpsc::Sender<Happened>) {
    let closed = match connect(server).await {
        Ok(socket) => {
            if event.send(Happened::Opened).await.is_err() {
                return;
            }
            pump(socket, &mut sends, &event).await
        }
        Err(error) => Some((close::ABNORMAL, error.to_string())),
    };
    if let Some((code, reason)) = closed {
        let _ = event.send(Happened::Closed { code, reason }).await;
    }
}

async fn connect(server: SocketAddr) -> Result<WebSocketStream<TcpStream>, Error> {
    let stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    let mut request = format!("ws://{server}/ws").into_client_request()?;
    let subprotocol = HeaderValue::from_static(SUBPROTOCOL);
    request.headers_mut().insert("sec-websocket-protocol", subprotocol);
    // It fails when the response has not agreed to the subprotocol.
    let (socket, _) = client_async(request, stream).await?;
    Ok(socket)
}

/// Carries texts in both directions. `None`: the session has forgotten the connection.
async fn pump(
    mut socket: WebSocketStream<TcpStream>,
    sends: &mut mpsc::Receiver<Send>,
    event: &mpsc::Sender<Happened>,
) -> Option<(u16, String)> {
    let mut code = None;
    loop {
        tokio::select! {
            send = sends.recv() => match send {
                Some(Send::Text(text)) => {
                    if let Err(error) = socket.send(Message::text(text)).await {
                        return Some((close::ABNORMAL, error.to_string()));
                    }
                }
                Some(Send::Close { code, reason }) => {
                    let frame = CloseFrame { code: CloseCode::from(code), reason: reason.into() };
                    let _ = timeout(CLOSE_TIMEOUT, async {
                        let _ = socket.close(Some(frame)).await;
                        while let Some(Ok(_)) = socket.next().await {}
                    }).await;
                    return None;
                }
                None => return None,
            },
            message = socket.next() => match message {
                Some(Ok(Message::Text(text))) => {
                    if event.send(Happened::Text(text.to_string())).await.is_err() {
                        return None;
                    }
                }
                Some(Ok(Message::Close(frame))) => {
                    // The loop goes on until the closing handshake is over.
                    code = frame.map(|frame| (frame.code.into(), frame.reason.to_string()));
                }
                Some(Ok(Message::Binary(_))) => {
                    return Some((close::UNSUPPORTED_DATA, "a binary message came".to_owned()));
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Some(code.unwrap_or((close::ABNORMAL, error.to_string()))),
                None => return Some(code.unwrap_or((close::ABNORMAL, String::new()))),
            },
        }
    }
}

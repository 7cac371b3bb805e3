//! Publishers of a room on a real server, for measurements: each is the least client that the protocol allows.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::{
    hash::{BuildHasher, RandomState},
    io,
    net::Ipv4Addr,
    sync::Arc,
    time::Duration,
};
use tokio::{net::TcpStream, sync::watch};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{self, Message, client::IntoClientRequest, http::HeaderValue},
};

/// The messages that a publisher has in flight. With 80 publishers of messages of 100 bytes all together stay below what
/// a room may have pending for its members; above it the server asks publishers to send again a second later.
const IN_FLIGHT: usize = 42;

/// What each publisher does.
pub(super) struct Load {
    pub(super) port: u16,
    pub(super) room: String,
    pub(super) messages: usize,
    pub(super) body: String,
}

/// A welcomed publisher, which sends when it is released.
pub(super) struct Publisher {
    socket: WebSocketStream<TcpStream>,
    load: Arc<Load>,
}

impl Publisher {
    pub(super) async fn connect(load: Arc<Load>) -> Result<Self, tungstenite::Error> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, load.port)).await?;
        stream.set_nodelay(true)?;
        let mut request = format!("ws://127.0.0.1:{}/ws", load.port).into_client_request()?;
        let subprotocol = HeaderValue::from_static("talkback.v1");
        request.headers_mut().insert("sec-websocket-protocol", subprotocol);
        let (mut socket, _) = tokio_tungstenite::client_async(request, stream).await?;
        let key = [(); 2]
            .map(|()| format!("{:016x}", RandomState::new().hash_one(0)))
            .concat();
        socket
            .send(json!({ "hello": { "client": key } }).to_string().into())
            .await?;
        // Its welcome.
        socket.next().await.transpose()?;
        Ok(Self { socket, load })
    }

    /// Sends the messages in order, each window when all of the one before are answered, and those again that the
    /// server had no capacity for.
    pub(super) async fn publish(mut self, mut released: watch::Receiver<bool>) -> Result<(), tungstenite::Error> {
        if released.wait_for(|&released| released).await.is_err() {
            return Ok(());
        }
        let mut settled = 0;
        while settled < self.load.messages {
            let sent = IN_FLIGHT.min(self.load.messages - settled);
            let lines: Vec<_> = (0..sent).map(|index| self.line(settled + index, index == 0)).collect();
            self.socket.send(lines.join("\n").into()).await?;
            let (mut answered, mut pause) = (0, 0);
            while answered < sent {
                let Some(message) = self.socket.next().await.transpose()? else {
                    return Ok(());
                };
                let Message::Text(text) = message else { continue };
                for line in text.lines() {
                    let line: Value = serde_json::from_str(line).map_err(io::Error::other)?;
                    if line.get("ack").is_some() {
                        settled += 1;
                        answered += 1;
                    } else if let Some(nack) = line.get("nack") {
                        answered += 1;
                        let wait = nack["retry_after_ms"].as_u64();
                        pause = wait.ok_or_else(|| io::Error::other(format!("refused: {nack}")))?;
                    }
                }
            }
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        self.socket.close(None).await
    }

    fn line(&self, index: usize, first: bool) -> String {
        let Load { room, body, .. } = &*self.load;
        json!({ "publish": {
            "room": room, "seq": index + 1, "id": format!("{index:016x}"), "first": first, "body": body,
        } })
        .to_string()
    }
}

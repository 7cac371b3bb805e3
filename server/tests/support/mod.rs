//! A real server on a free port, real clients, and waiting without sleeping.
#![expect(unreachable_pub, reason = "`pub` means: for all files of this program")]

pub mod engine;
pub mod session;

use std::{fmt::Debug, future::Future, net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use futures_util::{SinkExt, StreamExt};
use talkback_server::{AppOptions, AppState, engine::Engine, router, serve_router};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
    time::timeout,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{self, Message, client::IntoClientRequest, http::Response, protocol::WebSocketConfig},
};

pub type Client = WebSocketStream<TcpStream>;
pub type AnyClient = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// The timeout of each wait.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// Waits for `future`; after [`DEADLINE`] it panics with `what`.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {DEADLINE:?} for {what}"),
    }
}

/// Checks `condition` until it is true; after [`DEADLINE`] it panics with `what`.
pub async fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    within(what, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

pub struct Server {
    pub address: SocketAddr,
    pub app: AppState,
    stop: Option<oneshot::Sender<()>>,
    ended: JoinHandle<std::io::Result<()>>,
}

impl Server {
    pub async fn start() -> Self {
        Self::with(AppOptions::default()).await
    }

    pub async fn with(config: AppOptions) -> Self {
        Self::with_routes(config, Router::new()).await
    }

    /// Starts a server with further routes.
    pub async fn with_routes(config: AppOptions, routes: Router<AppState>) -> Self {
        let app = AppState::open(&config).unwrap();
        Self::with_app(config, app, routes).await
    }

    /// Starts a server whose logs are kept by this engine.
    pub async fn with_engine(config: AppOptions, engine: Arc<dyn Engine>) -> Self {
        let app = AppState::new(&config, engine);
        Self::with_app(config, app, Router::new()).await
    }

    /// Starts a server with this state and further routes.
    pub async fn with_app(config: AppOptions, app: AppState, routes: Router<AppState>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = router(app.clone()).merge(routes.with_state(app.clone()));
        let (stop, stopped) = oneshot::channel();
        let ended = tokio::spawn({
            let sockets = app.sockets().clone();
            async move {
                let stopped = async { drop(stopped.await) };
                serve_router(listener, &config, &sockets, router, stopped).await
            }
        });
        Self {
            address,
            app,
            stop: Some(stop),
            ended,
        }
    }

    /// Opens a WebSocket.
    pub async fn connect(&self, path: &str) -> Client {
        self.try_connect(path, &[]).await.expect("the handshake").0
    }

    /// Opens a WebSocket with extra headers and returns the response too.
    pub async fn try_connect(
        &self,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<(Client, Response<Option<Vec<u8>>>), tungstenite::Error> {
        try_connect_at(self.address, path, headers).await
    }

    /// Opens a WebSocket and returns its TCP connection after the opening handshake.
    pub async fn raw_socket(&self, path: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(handshake(path).as_bytes()).await.unwrap();
        let head = read_head(&mut stream).await;
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        stream
    }

    /// Sends these bytes on a new connection and reads the answer to its end.
    pub async fn raw(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        within("the end of the answer", stream.read_to_end(&mut answer))
            .await
            .unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Sends a `GET` with these extra header lines.
    pub async fn get(&self, path: &str, headers: &str) -> String {
        self.raw(&format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{headers}\r\n",
            self.address
        ))
        .await
    }

    /// The health report with the counters, as operators get it.
    pub async fn health(&self) -> serde_json::Value {
        let request = axum::http::Request::get("/healthz")
            .body(axum::body::Body::empty())
            .unwrap();
        let operations = talkback_server::operations(self.app.clone());
        let answer = tower::ServiceExt::oneshot(operations, request).await.unwrap();
        let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
        serde_json::from_slice(&body).unwrap()
    }

    /// Asks the server to stop, as a signal would.
    pub fn stop(&mut self) {
        self.stop.take();
    }

    /// Waits until the server has ended without an error.
    pub async fn ended(self) {
        within("the server to end", self.ended).await.unwrap().unwrap();
    }
}

/// Opens a WebSocket at this address.
pub async fn try_connect_at(
    address: SocketAddr,
    path: &str,
    headers: &[(&'static str, &str)],
) -> Result<(Client, Response<Option<Vec<u8>>>), tungstenite::Error> {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut request = format!("ws://{address}{path}").into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    let config = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
    let handshake = tokio_tungstenite::client_async_with_config(request, stream, Some(config));
    within("the handshake", handshake).await
}

/// The whole answer to a `GET`.
pub async fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    within("the answer", stream.read_to_string(&mut answer)).await.unwrap();
    answer
}

pub fn handshake(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

/// Reads byte by byte up to the empty line, so that later bytes stay in the stream.
pub async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    within("a response head", async {
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
    })
    .await;
    String::from_utf8(head).unwrap()
}

/// A client's frame: `first` is the first byte (fin and opcode), the mask is fixed.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..126 => frame.push(0x80 | u8::try_from(length).unwrap()),
        length => {
            frame.push(0xfe);
            frame.extend_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
        }
    }
    frame.extend_from_slice(&mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// Reads a server's short frame: its first byte and its payload.
pub async fn read_frame(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    within("a frame", async {
        let first = stream.read_u8().await.unwrap();
        let length = match stream.read_u8().await.unwrap() {
            126 => usize::from(stream.read_u16().await.unwrap()),
            127 => usize::try_from(stream.read_u64().await.unwrap()).unwrap(),
            length => usize::from(length),
        };
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload).await.unwrap();
        (first, payload)
    })
    .await
}

/// Reads to the server's close frame, skipping other frames, and then to the end of the stream.
pub async fn read_close(stream: &mut TcpStream) -> (u16, String) {
    let payload = loop {
        match read_frame(stream).await {
            (0x88, payload) => break payload,
            _ => continue,
        }
    };
    let mut rest = Vec::new();
    within("the end of the stream", stream.read_to_end(&mut rest))
        .await
        .unwrap();
    assert!(rest.is_empty(), "bytes after the close frame: {rest:?}");
    let code = u16::from_be_bytes([payload[0], payload[1]]);
    (code, String::from_utf8(payload[2..].to_vec()).unwrap())
}

pub async fn send(client: &mut Client, message: impl Into<Message>) {
    within("sending", client.send(message.into())).await.unwrap();
}

/// The next message, which must be a text.
pub async fn text(client: &mut Client) -> String {
    match next(client).await {
        Message::Text(text) => text.to_string(),
        other => panic!("expected a text, got {other:?}"),
    }
}

/// The next message that is not a ping or pong.
pub async fn next(client: &mut Client) -> Message {
    within("a message", async {
        loop {
            match client.next().await.expect("the stream goes on").expect("a frame") {
                Message::Ping(_) | Message::Pong(_) => {}
                message => return message,
            }
        }
    })
    .await
}

/// Members of a room, each of which has received the messages of all later ones.
pub async fn members(server: &Server, room: &str, names: &[&str]) -> Vec<Client> {
    let mut members = Vec::new();
    for name in names {
        let mut member = server.connect(&format!("/chat/{room}?name={name}")).await;
        // A member's own message comes back once it has joined.
        send(&mut member, "joined").await;
        assert_eq!(text(&mut member).await, format!("[{name}] joined"));
        for earlier in &mut members {
            assert_eq!(text(earlier).await, format!("[{name}] joined"));
        }
        members.push(member);
    }
    members
}

/// Reads to the close frame and on to the end of the stream; messages before it are dropped.
pub async fn close_frame(client: &mut Client) -> (u16, String) {
    let mut close = None;
    within("the close frame and the end of the stream", async {
        while let Some(Ok(message)) = client.next().await {
            if let Message::Close(frame) = message {
                close = Some(frame.map_or((1005, String::new()), |frame| {
                    (frame.code.into(), frame.reason.to_string())
                }));
            }
        }
    })
    .await;
    close.expect("a close frame before the end of the stream")
}

#[track_caller]
pub fn assert_contains(text: &str, part: impl AsRef<str> + Debug) {
    assert!(
        text.to_lowercase().contains(&part.as_ref().to_lowercase()),
        "{part:?} is not in {text}"
    );
}

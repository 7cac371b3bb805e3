//! The head of a request, and a plain HTTP response.

use std::{collections::HashMap, io};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use url::Url;

/// More than any browser sends to this service.
const MAX_HEAD: usize = 16 * 1024;

/// A request's head. Bodies are not read: no route here has one.
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    query: HashMap<String, String>,
    headers: HashMap<String, String>,
}

impl Request {
    /// Reads one head; `None` if the peer closed before it was complete.
    pub(super) async fn read(stream: &mut TcpStream) -> io::Result<Option<Self>> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            // Byte by byte, so that no byte after the head is read, which belongs to the WebSocket.
            match stream.read_u8().await {
                Ok(byte) if head.len() < MAX_HEAD => head.push(byte),
                Ok(_) => return Err(io::Error::other("the request's head is too long")),
                Err(_) => return Ok(None),
            }
        }
        Self::parse(&head).map(Some)
    }

    fn parse(head: &[u8]) -> io::Result<Self> {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut parsed = httparse::Request::new(&mut headers);
        parsed.parse(head).map_err(io::Error::other)?;
        let target = parsed.path.unwrap_or("/");
        let url = Url::parse("http://localhost")
            .and_then(|base| base.join(target))
            .map_err(io::Error::other)?;
        Ok(Self {
            method: parsed.method.unwrap_or_default().to_owned(),
            path: url.path().to_owned(),
            query: url.query_pairs().into_owned().collect(),
            headers: parsed
                .headers
                .iter()
                .map(|header| {
                    (
                        header.name.to_ascii_lowercase(),
                        String::from_utf8_lossy(header.value).into_owned(),
                    )
                })
                .collect(),
        })
    }

    /// A parameter of the query; empty if it is absent.
    pub(super) fn query(&self, name: &str) -> &str {
        self.query.get(name).map_or("", String::as_str)
    }

    /// All parameters of the query.
    pub(super) fn queries(&self) -> impl Iterator<Item = (&str, &str)> {
        self.query.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    pub(super) fn is_websocket(&self) -> bool {
        self.headers
            .get("upgrade")
            .is_some_and(|value| value.eq_ignore_ascii_case("websocket"))
    }

    /// The head that accepts the upgrade, with this subprotocol if there is one.
    pub(super) fn switching_protocols(&self, subprotocol: Option<&str>) -> String {
        let key = self.headers.get("sec-websocket-key").map_or("", String::as_str);
        let accept = derive_accept_key(key.as_bytes());
        let subprotocol = subprotocol
            .map(|name| format!("Sec-WebSocket-Protocol: {name}\r\n"))
            .unwrap_or_default();
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n{subprotocol}\r\n"
        )
    }
}

/// A response that pages of every origin may read.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn json(value: &serde_json::Value) -> Self {
        Self {
            status: 200,
            body: value.to_string(),
        }
    }

    pub(super) async fn write(&self, stream: &mut TcpStream) -> io::Result<()> {
        let Self { status, body } = self;
        let head = format!(
            "HTTP/1.1 {status} Answer\r\nAccess-Control-Allow-Origin: *\r\nAccess-Control-Allow-Methods: *\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body.as_bytes()).await?;
        stream.shutdown().await
    }
}

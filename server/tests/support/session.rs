//! A client of `talkback.v1` that does and sees exactly what a test says.

use std::collections::VecDeque;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::{Client, Server, close_frame, within};

/// The subprotocol in the handshake.
pub const SUBPROTOCOL: (&str, &str) = ("sec-websocket-protocol", "talkback.v1");

/// 32 digits that are this client's secret.
pub fn key(number: u32) -> String {
    format!("{number:032x}")
}

pub struct Session {
    pub socket: Client,
    lines: VecDeque<Value>,
    /// How many text frames came.
    pub frames: usize,
    pub welcome: Value,
}

impl Session {
    /// An open socket without hello.
    pub async fn silent(server: &Server) -> Self {
        let (socket, response) = server.try_connect("/ws", &[SUBPROTOCOL]).await.expect("the handshake");
        assert_eq!(response.headers()["sec-websocket-protocol"], "talkback.v1");
        Self {
            socket,
            lines: VecDeque::new(),
            frames: 0,
            welcome: Value::Null,
        }
    }

    /// A welcomed session.
    pub async fn open(server: &Server, number: u32, name: &str) -> Self {
        let mut session = Self::silent(server).await;
        session
            .send(&[json!({"hello": {"client": key(number), "name": name}})])
            .await;
        session.welcome = session.expect("welcome").await;
        session
    }

    /// A welcomed session that joined a room without a cursor.
    pub async fn member(server: &Server, number: u32, name: &str, room: &str) -> Self {
        let mut session = Self::open(server, number, name).await;
        session.join(json!({"room": room})).await;
        session
    }

    /// Sends frames as one text frame.
    pub async fn send(&mut self, frames: &[Value]) {
        let lines: Vec<_> = frames.iter().map(Value::to_string).collect();
        self.send_text(&lines.join("\n")).await;
    }

    pub async fn send_text(&mut self, text: &str) {
        within("sending", self.socket.send(Message::text(text))).await.unwrap();
    }

    /// Joins and returns `joined`.
    pub async fn join(&mut self, join: Value) -> Value {
        self.send(&[json!({ "join": join })]).await;
        self.expect("joined").await
    }

    pub async fn publish(&mut self, room: &str, seq: u64, body: Value) {
        self.send(&[publish(room, seq, body)]).await;
    }

    /// Publishes and waits for the ack.
    pub async fn say(&mut self, room: &str, seq: u64, body: Value) -> Value {
        self.publish(room, seq, body).await;
        self.find("ack").await
    }

    /// The next frame, of any kind but ping.
    pub async fn next(&mut self) -> Value {
        loop {
            if let Some(line) = self.lines.pop_front() {
                if line.get("ping").is_none() {
                    return line;
                }
                continue;
            }
            match within("a text frame", self.socket.next())
                .await
                .expect("the stream goes on")
                .expect("a frame")
            {
                Message::Text(text) => {
                    self.frames += 1;
                    let lines = text
                        .split('\n')
                        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
                    self.lines.extend(lines);
                }
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("expected a text, got {other:?}"),
            }
        }
    }

    /// The next frame, which must be of this kind.
    #[track_caller]
    pub fn expect(&mut self, kind: &str) -> impl Future<Output = Value> {
        let place = std::panic::Location::caller();
        async move {
            let mut line = self.next().await;
            match line.get_mut(kind) {
                Some(frame) => frame.take(),
                None => panic!("{place}: expected {kind}, got {line}"),
            }
        }
    }

    /// The next frame of this kind; others before it are dropped.
    pub async fn find(&mut self, kind: &str) -> Value {
        loop {
            if let Some(frame) = self.next().await.get_mut(kind) {
                return frame.take();
            }
        }
    }

    /// The bodies of the next messages; presence between them is dropped.
    pub async fn bodies(&mut self, count: usize) -> Vec<Value> {
        let mut bodies = Vec::new();
        while bodies.len() < count {
            bodies.push(self.find("message").await["body"].take());
        }
        bodies
    }

    /// Reads to the close frame.
    pub async fn closed(&mut self) -> (u16, String) {
        close_frame(&mut self.socket).await
    }

    /// Cuts the connection without a word.
    pub fn cut(self) {
        drop(self);
    }
}

pub fn publish(room: &str, seq: u64, body: Value) -> Value {
    json!({"publish": {"room": room, "seq": seq, "body": body}})
}

/// The place after these messages.
pub fn cursor(joined: &Value, offset: u64) -> Value {
    json!({"epoch": joined["epoch"], "offset": offset})
}

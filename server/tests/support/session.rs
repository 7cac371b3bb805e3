//! A client of `talkback.v1` that sends exactly the lines of a test, and reads lines one by one.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::SocketAddr,
};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::{Client, Server, close_frame, try_connect_at, within};

/// The subprotocol in the handshake.
pub const SUBPROTOCOL: (&str, &str) = ("sec-websocket-protocol", "talkback.v1");

/// The client key with this number.
pub fn key(number: u32) -> String {
    format!("{number:032x}")
}

pub struct Session {
    pub socket: Client,
    lines: VecDeque<Value>,
    /// The number of received WebSocket messages.
    pub frames: usize,
    pub welcome: Value,
    /// The users of each room as the server reported them; no entry if it reported no list.
    pub here: BTreeMap<String, BTreeSet<String>>,
    /// Whether it answers pings of the session, as every client must.
    pub answers_pings: bool,
    pub pings: usize,
    /// The number of received `presence` lines.
    pub presence_lines: usize,
}

impl Session {
    /// Opens a socket without sending `hello`.
    pub async fn silent(server: &Server) -> Self {
        Self::silent_at(server.address).await
    }

    /// The same at another address, such as that of a proxy.
    pub async fn silent_at(address: SocketAddr) -> Self {
        Self::silent_with(address, &[]).await
    }

    /// Like [`Self::silent_at`], with more headers.
    pub async fn silent_with(address: SocketAddr, headers: &[(&'static str, &str)]) -> Self {
        let headers: Vec<_> = headers.iter().copied().chain([SUBPROTOCOL]).collect();
        let (socket, response) = try_connect_at(address, "/ws", &headers).await.expect("the handshake");
        assert_eq!(response.headers()["sec-websocket-protocol"], "talkback.v1");
        Self {
            socket,
            lines: VecDeque::new(),
            frames: 0,
            welcome: Value::Null,
            here: BTreeMap::new(),
            answers_pings: false,
            pings: 0,
            presence_lines: 0,
        }
    }

    /// Opens a session.
    pub async fn open(server: &Server, number: u32, name: &str) -> Self {
        Self::open_at(server.address, number, name).await
    }

    /// The same at another address, such as that of a proxy.
    pub async fn open_at(address: SocketAddr, number: u32, name: &str) -> Self {
        Self::silent_at(address).await.welcomed(number, name).await
    }

    /// Sends `hello` and waits for `welcome`.
    pub async fn welcomed(mut self, number: u32, name: &str) -> Self {
        self.send(&[json!({"hello": {"client": key(number), "name": name}})])
            .await;
        self.welcome = self.expect("welcome").await;
        self
    }

    /// Opens a session and joins a room without a cursor.
    pub async fn member(server: &Server, number: u32, name: &str, room: &str) -> Self {
        let mut session = Self::open(server, number, name).await;
        session.join(json!({"room": room})).await;
        session
    }

    /// Sends lines as one WebSocket message.
    pub async fn send(&mut self, lines: &[Value]) {
        let lines: Vec<_> = lines.iter().map(Value::to_string).collect();
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

    /// The next line, except `ping` and `presence`, which the server sends at any time.
    pub async fn next(&mut self) -> Value {
        loop {
            let line = self.next_of_all().await;
            if line.get("presence").is_none() {
                return line;
            }
        }
    }

    /// The next line, except `ping`.
    pub async fn next_of_all(&mut self) -> Value {
        loop {
            if let Some(line) = self.lines.pop_front() {
                self.note_users(&line);
                if line.get("ping").is_none() {
                    return line;
                }
                self.pings += 1;
                if self.answers_pings {
                    self.send(&[json!({"pong": {}})]).await;
                }
                continue;
            }
            self.read().await;
        }
    }

    /// Waits for the next text.
    async fn read(&mut self) {
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

    /// Asks for the users with this part of a name until the answer has these names, and returns whether there are more.
    pub async fn finds(&mut self, room: &str, part: &str, expected: &[&str]) -> bool {
        let search = async {
            loop {
                self.send(&[json!({"find": {"id": 1, "room": room, "name": part}})])
                    .await;
                let found = self.find("found").await;
                let members = found["members"].as_array().expect("a list").iter();
                let names: Vec<_> = members.filter_map(|member| member["user"].as_str()).collect();
                if names == expected {
                    return found["more"] == true;
                }
            }
        };
        within(&format!("{expected:?} to be found by {part:?}"), search).await
    }

    /// The next `presence`; other lines before it are dropped.
    pub async fn find_presence(&mut self) -> Value {
        loop {
            if let Some(presence) = self.next_of_all().await.get_mut("presence") {
                return presence.take();
            }
        }
    }

    /// The next `presence` with this number of users.
    pub async fn find_presence_of(&mut self, users: usize) -> Value {
        loop {
            let presence = self.find_presence().await;
            if presence["users"] == users {
                return presence;
            }
        }
    }

    /// Waits until the server has reported exactly these users in a room. Other lines are kept for later.
    pub async fn users(&mut self, room: &str, names: &[&str]) {
        let expected: BTreeSet<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut others = VecDeque::new();
        while self.here.get(room) != Some(&expected) {
            let line = within(&format!("{names:?} in {room}"), self.next_of_all()).await;
            if line.get("presence").is_none() {
                others.push_back(line);
            }
        }
        others.append(&mut self.lines);
        self.lines = others;
    }

    fn note_users(&mut self, line: &Value) {
        let names = |list: &Value| -> Option<BTreeSet<String>> {
            let names = list
                .as_array()?
                .iter()
                .map(|member| member["user"].as_str().unwrap().to_owned());
            Some(names.collect())
        };
        let (joined, presence) = (&line["joined"], &line["presence"]);
        if let Some(room) = joined["room"].as_str() {
            self.here.remove(room);
            let list = names(&joined["members"]);
            self.here.extend(list.map(|list| (room.to_owned(), list)));
        }
        if let Some(room) = presence["room"].as_str() {
            self.presence_lines += 1;
            if let Some(list) = names(&presence["members"]) {
                self.here.insert(room.to_owned(), list);
            } else if let (Some(joined), Some(left)) = (names(&presence["joined"]), names(&presence["left"])) {
                let here = self.here.get_mut(room).expect("a difference to a list");
                here.extend(joined);
                here.retain(|name| !left.contains(name));
            } else {
                self.here.remove(room);
            }
        }
    }

    /// The next line, which must be of this kind.
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

    /// The next line of this kind; others before it are dropped.
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

    /// Cuts the connection without a close frame.
    pub fn cut(self) {
        drop(self);
    }
}

/// The id of the message with this number.
pub fn id(seq: u64) -> String {
    format!("{seq:016x}")
}

pub fn publish(room: &str, seq: u64, body: Value) -> Value {
    json!({"publish": {"room": room, "seq": seq, "id": id(seq), "body": body}})
}

/// The cursor after this many messages.
pub fn cursor(joined: &Value, offset: u64) -> Value {
    json!({"epoch": joined["epoch"], "offset": offset})
}

//! The HTTP routes of the fault service.

use super::{
    PUBLISH_KEY, cpu,
    publishers::{Load, Publisher},
    request::{Answer, Request},
};
use crate::{Direction, Proxy, Server};
use serde_json::json;
use std::{
    collections::HashMap,
    io,
    net::Ipv4Addr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::timeout,
};

/// The timeout of `GET /record`.
const RECORD_WAIT: Duration = Duration::from_secs(10);

/// The code and the reason of a client's close.
pub(super) type Close = (u16, String);

/// The state of the control routes.
#[derive(Default)]
pub(super) struct Control {
    closes: Mutex<HashMap<String, watch::Sender<Option<Close>>>>,
    releases: Mutex<HashMap<String, watch::Sender<bool>>>,
    servers: tokio::sync::Mutex<HashMap<u16, Server>>,
    live: Mutex<HashMap<String, Arc<()>>>,
    proxies: Mutex<HashMap<u16, Proxy>>,
}

/// Counts as one open WebSocket until dropped.
pub(super) type Live = Arc<()>;

impl Control {
    pub(super) fn count(&self, path: &str) -> Live {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(live.entry(path.to_owned()).or_default())
    }

    /// The number of open WebSockets on this path, or on all paths if it is empty.
    fn live(&self, path: &str) -> usize {
        let live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        live.iter()
            .filter(|(counted, _)| path.is_empty() || *counted == path)
            .map(|(_, count)| Arc::strong_count(count) - 1)
            .sum()
    }

    pub(super) fn record(&self, id: &str, close: Close) {
        slot(&self.closes, id).send_replace(Some(close));
    }

    /// Waits until `POST /stall` or `POST /silent` releases this id.
    pub(super) async fn released(&self, id: &str) {
        let _ = slot(&self.releases, id)
            .subscribe()
            .wait_for(|&released| released)
            .await;
    }

    pub(super) async fn answer(&self, request: &Request) -> Answer {
        let id = request.query("id");
        let answer = match (request.method.as_str(), request.path.as_str()) {
            ("OPTIONS", _) => Ok(json!({})),
            ("GET", "/record") => self.recorded(id).await,
            ("POST", "/publishers") if id.is_empty() => self.connect_publishers(request).await,
            ("POST", "/stall" | "/silent" | "/publishers") => {
                slot(&self.releases, id).send_replace(true);
                Ok(json!({}))
            }
            ("GET", "/live") => Ok(json!({ "open": self.live(request.query("path")) })),
            ("POST", "/server") => match request.query("port") {
                "" => self.start_server().await,
                port => self.restart_server(port).await,
            },
            ("DELETE", "/server") => self.kill_server(request.query("port")).await,
            ("POST", "/address") => address_user(request).await,
            ("GET", "/cpu") => cpu::of_pages().map(|time| json!({ "us": time.as_secs_f64() * 1e6 })),
            ("GET", "/closed-port") => closed_port().await,
            ("POST", "/proxy") if !request.query("to").is_empty() => self.start_proxy(request.query("to")).await,
            ("POST" | "GET", "/proxy") => self.proxy(request),
            (method, path) => {
                return Answer {
                    status: 404,
                    body: format!("no route {method} {path}"),
                };
            }
        };
        match answer {
            Ok(value) => Answer::json(&value),
            Err(error) => Answer {
                status: 500,
                body: error.to_string(),
            },
        }
    }

    /// Answers when all are welcomed.
    async fn connect_publishers(&self, request: &Request) -> io::Result<serde_json::Value> {
        let number = |name| request.query(name).parse::<usize>().map_err(io::Error::other);
        let room = request.query("room");
        let load = Arc::new(Load {
            port: request.query("port").parse().map_err(io::Error::other)?,
            room: room.to_owned(),
            messages: number("messages")?,
            body: "x".repeat(number("bytes")?),
        });
        for _ in 0..number("count")? {
            let publisher = Publisher::connect(Arc::clone(&load)).await.map_err(io::Error::other)?;
            let released = slot(&self.releases, room).subscribe();
            tokio::spawn(async move {
                if let Err(error) = publisher.publish(released).await {
                    eprintln!("fault service: a publisher: {error}");
                }
            });
        }
        Ok(json!({}))
    }

    async fn recorded(&self, id: &str) -> io::Result<serde_json::Value> {
        let mut closes = slot(&self.closes, id).subscribe();
        let seen = timeout(RECORD_WAIT, closes.wait_for(Option::is_some)).await;
        match seen {
            Ok(Ok(close)) => {
                let (code, reason) = close.clone().unwrap_or_default();
                Ok(json!({ "code": code, "reason": reason }))
            }
            _ => Err(io::Error::other(format!(
                "no client closed {id} within {RECORD_WAIT:?}"
            ))),
        }
    }

    async fn start_proxy(&self, target: &str) -> io::Result<serde_json::Value> {
        let target: u16 = target.parse().map_err(io::Error::other)?;
        let proxy = Proxy::start((Ipv4Addr::LOCALHOST, target).into()).await?;
        let port = proxy.address().port();
        let mut proxies = self.proxies.lock().unwrap_or_else(PoisonError::into_inner);
        proxies.insert(port, proxy);
        Ok(json!({ "port": port }))
    }

    /// Sets the faults of the query, and returns the counters of the proxy.
    fn proxy(&self, request: &Request) -> io::Result<serde_json::Value> {
        let proxies = self.proxies.lock().unwrap_or_else(PoisonError::into_inner);
        let port = request.query("port").parse().map_err(io::Error::other)?;
        let proxy = proxies
            .get(&port)
            .ok_or_else(|| io::Error::other(format!("no proxy was started on port {port}")))?;
        for (name, value) in request.queries() {
            let number = value.parse::<u64>().map_err(io::Error::other);
            match name {
                "port" => {}
                "stall" => proxy.stall(number? != 0),
                "refuse" => proxy.refuse(number? != 0),
                "delay_ms" => proxy.delay(Duration::from_millis(number?)),
                "cut" => proxy.cut(),
                "cut_after_up" => proxy.cut_after(Direction::Up, number?),
                "cut_after_down" => proxy.cut_after(Direction::Down, number?),
                other => return Err(io::Error::other(format!("a proxy has no fault {other:?}"))),
            }
        }
        let passed = proxy.passed();
        Ok(json!({ "open": passed.open, "accepted": passed.accepted, "up": passed.up, "down": passed.down }))
    }

    async fn start_server(&self) -> io::Result<serde_json::Value> {
        let server = Server::start(&[]).await?;
        let port = server.address().port();
        self.servers.lock().await.insert(port, server);
        Ok(json!({ "port": port }))
    }

    async fn restart_server(&self, port: &str) -> io::Result<serde_json::Value> {
        let port = port.parse().map_err(io::Error::other)?;
        let mut servers = self.servers.lock().await;
        let server = servers
            .get_mut(&port)
            .ok_or_else(|| io::Error::other(format!("no server was started on port {port}")))?;
        server.kill().await?;
        server.start_again().await?;
        Ok(json!({ "port": port }))
    }

    async fn kill_server(&self, port: &str) -> io::Result<serde_json::Value> {
        let server = port
            .parse()
            .ok()
            .map(|port: u16| async move { self.servers.lock().await.remove(&port) });
        match server {
            Some(server) => match server.await {
                Some(mut server) => server.kill().await.map(|()| json!({})),
                None => Err(io::Error::other(format!("no server was started on port {port}"))),
            },
            None => Err(io::Error::other(format!("{port:?} is not a port"))),
        }
    }
}

/// The slot of an id, created on first use: a page may ask before its connection exists.
/// Publishes to a user as a back end does.
async fn address_user(request: &Request) -> io::Result<serde_json::Value> {
    let port: u16 = request.query("port").parse().map_err(io::Error::other)?;
    let (user, body) = (request.query("user"), request.query("body"));
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    let publish = format!(
        "POST /users/{user}/messages HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\
         Authorization: Bearer {PUBLISH_KEY}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(publish.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    if answer.starts_with("HTTP/1.1 201") {
        Ok(json!({}))
    } else {
        Err(io::Error::other(answer))
    }
}

fn slot<T: Default>(slots: &Mutex<HashMap<String, watch::Sender<T>>>, id: &str) -> watch::Sender<T> {
    let mut slots = slots.lock().unwrap_or_else(PoisonError::into_inner);
    slots.entry(id.to_owned()).or_default().clone()
}

async fn closed_port() -> io::Result<serde_json::Value> {
    let port = TcpListener::bind("127.0.0.1:0").await?.local_addr()?.port();
    Ok(json!({ "port": port }))
}

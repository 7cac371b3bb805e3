//! What a page may ask of the fault service over HTTP.

use super::request::{Answer, Request};
use crate::{Conditions, Proxy, Server};
use serde_json::json;
use std::{
    collections::HashMap,
    io,
    net::Ipv4Addr,
    str::FromStr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{net::TcpListener, sync::watch, time::timeout};

/// How long `GET /record` waits for a close that may still come.
const RECORD_WAIT: Duration = Duration::from_secs(10);

/// How a client closed: the code and the reason.
pub(super) type Close = (u16, String);

/// The state behind the control routes.
#[derive(Default)]
pub(super) struct Control {
    closes: Mutex<HashMap<String, watch::Sender<Option<Close>>>>,
    releases: Mutex<HashMap<String, watch::Sender<bool>>>,
    servers: tokio::sync::Mutex<HashMap<u16, Server>>,
    proxies: Mutex<HashMap<u16, Proxy>>,
    live: Mutex<HashMap<String, Arc<()>>>,
}

/// Counts as one open WebSocket until dropped.
pub(super) type Live = Arc<()>;

impl Control {
    pub(super) fn count(&self, path: &str) -> Live {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(live.entry(path.to_owned()).or_default())
    }

    /// How many are open on this path, or on all of them if it is empty.
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

    /// Ends when `POST /stall` or `POST /silent` releases this id.
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
            ("POST", "/stall" | "/silent") => {
                slot(&self.releases, id).send_replace(true);
                Ok(json!({}))
            }
            ("GET", "/live") => Ok(json!({ "open": self.live(request.query("path")) })),
            ("POST", "/server") => self.start_server().await,
            ("DELETE", "/server") => self.kill_server(request.query("port")).await,
            ("POST", "/proxy") => self.start_proxy(request.query("target")).await,
            ("PUT", "/proxy") => self.with_proxy(request, |proxy| set_conditions(proxy, request)),
            ("POST", "/proxy/cut") => self.with_proxy(request, |proxy| cut(proxy, request)),
            ("GET", "/proxy") => self.with_proxy(request, |proxy| {
                Ok(json!({ "open": proxy.open(), "made": proxy.made() }))
            }),
            ("DELETE", "/proxy") => self.end_proxy(request.query("port")),
            ("GET", "/closed-port") => closed_port().await,
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

    async fn start_server(&self) -> io::Result<serde_json::Value> {
        let server = Server::start(&[]).await?;
        let port = server.address().port();
        self.servers.lock().await.insert(port, server);
        Ok(json!({ "port": port }))
    }

    async fn kill_server(&self, port: &str) -> io::Result<serde_json::Value> {
        let server = self.servers.lock().await.remove(&number(port)?);
        let mut server = server.ok_or_else(|| io::Error::other(format!("no server was started on port {port}")))?;
        server.kill().await.map(|()| json!({}))
    }

    async fn start_proxy(&self, target: &str) -> io::Result<serde_json::Value> {
        let proxy = Proxy::start((Ipv4Addr::LOCALHOST, number(target)?).into()).await?;
        let port = proxy.address().port();
        self.proxies().insert(port, proxy);
        Ok(json!({ "port": port }))
    }

    fn end_proxy(&self, port: &str) -> io::Result<serde_json::Value> {
        let proxy = self.proxies().remove(&number(port)?);
        proxy.map(|_| json!({})).ok_or_else(|| no_proxy(port))
    }

    fn with_proxy(
        &self,
        request: &Request,
        act: impl FnOnce(&Proxy) -> io::Result<serde_json::Value>,
    ) -> io::Result<serde_json::Value> {
        let port = request.query("port");
        let proxies = self.proxies();
        act(proxies.get(&number(port)?).ok_or_else(|| no_proxy(port))?)
    }

    fn proxies(&self) -> MutexGuard<'_, HashMap<u16, Proxy>> {
        self.proxies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn set_conditions(proxy: &Proxy, request: &Request) -> io::Result<serde_json::Value> {
    let is_set = |name| !request.query(name).is_empty();
    let delay = match request.query("delay_ms") {
        "" => 0,
        delay => number(delay)?,
    };
    proxy.set(Conditions {
        refuse: is_set("refuse"),
        stall_to_server: is_set("stall_to_server"),
        stall_to_client: is_set("stall_to_client"),
        delay: Duration::from_millis(delay),
    });
    Ok(json!({}))
}

fn cut(proxy: &Proxy, request: &Request) -> io::Result<serde_json::Value> {
    match request.query("after") {
        "" => proxy.cut(),
        after => proxy.cut_after(number(after)?),
    }
    Ok(json!({}))
}

fn number<T: FromStr>(text: &str) -> io::Result<T> {
    text.parse()
        .map_err(|_| io::Error::other(format!("{text:?} is not a number that fits here")))
}

fn no_proxy(port: &str) -> io::Error {
    io::Error::other(format!("no proxy was started on port {port}"))
}

/// The slot of an id, made by whoever asks first: the page may ask before the connection is there.
fn slot<T: Default>(slots: &Mutex<HashMap<String, watch::Sender<T>>>, id: &str) -> watch::Sender<T> {
    let mut slots = slots.lock().unwrap_or_else(PoisonError::into_inner);
    slots.entry(id.to_owned()).or_default().clone()
}

async fn closed_port() -> io::Result<serde_json::Value> {
    let port = TcpListener::bind("127.0.0.1:0").await?.local_addr()?.port();
    Ok(json!({ "port": port }))
}

//! The Redis processes that have the logs: the only one, or the masters of a cluster; and which of them has which rooms.

use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use redis::Client;
use talkback_protocol::{RoomName, message::Signal};
use tokio::{
    sync::{Notify, mpsc, watch},
    task::AbortHandle,
};

use super::{
    super::NotReady,
    Shared,
    link::{self, Call, Link, Subscription},
    wire::{PARTS, part},
};

/// A Redis process that has logs: connections to it, and what waits for them.
pub(super) struct Node {
    /// What it is called in what is logged and told: the URL, or the address in the cluster.
    pub(super) name: String,
    pub(super) client: Client,
    pub(super) is_in_cluster: bool,
    pub(super) state: watch::Sender<State>,
    calls: mpsc::UnboundedSender<Call>,
    subscriptions: mpsc::UnboundedSender<Subscription>,
    signals: mpsc::Sender<Signal>,
    /// Why the newest command failed.
    problem: Mutex<Option<NotReady>>,
}

pub(super) enum State {
    /// Before the first connection: calls wait.
    Starting,
    Up(Arc<Link>),
    Down(NotReady),
}

/// What waits for a node.
pub(super) struct Queues {
    pub(super) calls: mpsc::UnboundedReceiver<Call>,
    pub(super) subscriptions: mpsc::UnboundedReceiver<Subscription>,
    pub(super) signals: mpsc::Receiver<Signal>,
}

impl Node {
    /// A node, with at most so many signals that wait for it.
    pub(super) fn new(name: String, client: Client, is_in_cluster: bool, signals: usize) -> (Arc<Self>, Queues) {
        let (calls, waiting_calls) = mpsc::unbounded_channel();
        let (subscriptions, waiting_subscriptions) = mpsc::unbounded_channel();
        let (signals, waiting_signals) = mpsc::channel(signals.max(1));
        let node = Self {
            name,
            client,
            is_in_cluster,
            state: watch::Sender::new(State::Starting),
            calls,
            subscriptions,
            signals,
            problem: Mutex::default(),
        };
        let queues = Queues {
            calls: waiting_calls,
            subscriptions: waiting_subscriptions,
            signals: waiting_signals,
        };
        (Arc::new(node), queues)
    }

    /// The connections, if there are any.
    pub(super) fn link(&self) -> Option<Arc<Link>> {
        match &*self.state.borrow() {
            State::Up(link) => Some(Arc::clone(link)),
            State::Starting | State::Down(_) => None,
        }
    }

    /// The connections; at the start it waits for them.
    pub(super) async fn connected(&self) -> Result<Arc<Link>, NotReady> {
        let mut state = self.state.subscribe();
        // The sender lives as long as this.
        let _ = state.wait_for(|state| !matches!(state, State::Starting)).await;
        match &*self.state.borrow() {
            State::Up(link) => Ok(Arc::clone(link)),
            State::Down(why) => Err(why.clone()),
            State::Starting => Err(NotReady("the log is not connected yet".to_owned())),
        }
    }

    /// Adds a message; `false` if it cannot be done now. What was taken is served, or refused later by dropping it.
    pub(super) fn call(&self, call: Call) -> bool {
        self.if_not_down(|| drop(self.calls.send(call)))
    }

    /// Makes or ends a subscription; `false` if there is no connection.
    pub(super) fn subscribe(&self, subscription: Subscription) -> bool {
        self.if_not_down(|| drop(self.subscriptions.send(subscription)))
    }

    /// Sends a signal to other servers. What there is no capacity for is dropped, as everywhere.
    pub(super) fn signal(&self, signal: Signal) {
        drop(self.signals.try_send(signal));
    }

    fn if_not_down(&self, push: impl FnOnce()) -> bool {
        // While this is borrowed the state is not replaced.
        let state = self.state.borrow();
        let is_down = matches!(*state, State::Down(_));
        if !is_down {
            push();
        }
        !is_down
    }

    pub(super) fn problem(&self, why: &NotReady) {
        let mut problem = self.problem.lock();
        if problem.as_ref() != Some(why) {
            tracing::error!("the log cannot be used: {why}");
            *problem = Some(why.clone());
        }
    }

    pub(super) fn is_well(&self) {
        if self.problem.lock().take().is_some() {
            tracing::info!("the log can be used again");
        }
    }
}

/// All nodes, and the one of each part of the rooms.
pub(super) struct Nodes {
    routes: RwLock<Routes>,
    /// A node has said that the map is not right any more, or does not answer.
    pub(super) outdated: Notify,
}

struct Routes {
    by_part: Vec<Option<Arc<Node>>>,
    tasks: Vec<(Arc<Node>, AbortHandle)>,
    /// Why there are parts without a node.
    problem: NotReady,
    /// The engine is gone: no task is started any more.
    is_closed: bool,
}

impl Nodes {
    /// Without a node, for this reason.
    pub(super) fn new(problem: NotReady) -> Self {
        Self {
            routes: RwLock::new(Routes {
                by_part: vec![None; PARTS],
                tasks: Vec::new(),
                problem,
                is_closed: false,
            }),
            outdated: Notify::new(),
        }
    }

    /// The node that has a room.
    pub(super) fn of(&self, room: &RoomName) -> Option<Arc<Node>> {
        self.routes.read().by_part[part(room)].clone()
    }

    pub(super) fn all(&self) -> Vec<Arc<Node>> {
        let routes = self.routes.read();
        routes.tasks.iter().map(|(node, _)| Arc::clone(node)).collect()
    }

    /// Why there are parts without a node; `None` if there are none.
    pub(super) fn gap(&self) -> Option<NotReady> {
        let routes = self.routes.read();
        let is_complete = routes.by_part.iter().all(Option::is_some);
        (!is_complete).then(|| routes.problem.clone())
    }

    /// Notes why there are parts without a node.
    pub(super) fn set_problem(&self, problem: NotReady) {
        self.routes.write().problem = problem;
    }

    /// Whether this node has a part.
    pub(super) fn is_at(&self, part: usize, node: &Arc<Node>) -> bool {
        is_same(self.routes.read().by_part[part].as_ref(), Some(node))
    }

    /// The first part that a node has, which is the same at all servers that know the same map.
    pub(super) fn first_part(&self, node: &Arc<Node>) -> Option<usize> {
        let routes = self.routes.read();
        let mut nodes = routes.by_part.iter();
        nodes.position(|other| is_same(other.as_ref(), Some(node)))
    }

    /// Ends the tasks of all nodes.
    pub(super) fn close(&self) {
        let mut routes = self.routes.write();
        routes.is_closed = true;
        for (_, task) in routes.tasks.drain(..) {
            task.abort();
        }
    }
}

fn is_same(one: Option<&Arc<Node>>, other: Option<&Arc<Node>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (None, None) => true,
        _ => false,
    }
}

/// The task that serves a node. When it ends nothing serves the node any more, and its connections are dropped.
struct Served<'a>(&'a Arc<Node>);

impl Drop for Served<'_> {
    fn drop(&mut self) {
        let why = NotReady(format!("the Redis at {} is not used any more", self.0.name));
        self.0.state.send_replace(State::Down(why));
    }
}

impl Shared {
    /// Gives each part to the node that `name_of` names, which `make` makes if there is none of this name yet. Nodes without
    /// parts end. Rooms whose node changes are subscribed to at the new one.
    pub(super) fn route(
        self: &Arc<Self>,
        name_of: impl Fn(usize) -> Option<String>,
        mut make: impl FnMut(&str) -> Option<(Arc<Node>, Queues)>,
    ) {
        // Subscriptions are made and ended in the order of the changes.
        self.rooms.with_all(|rooms| {
            let mut guard = self.nodes.routes.write();
            let routes = &mut *guard;
            if routes.is_closed {
                return;
            }
            let mut by_part = Vec::with_capacity(PARTS);
            for part in 0..PARTS {
                let Some(name) = name_of(part) else {
                    by_part.push(None);
                    continue;
                };
                let known = routes.tasks.iter().find(|(node, _)| node.name == name);
                let node = match known {
                    Some((node, _)) => Some(Arc::clone(node)),
                    None => make(&name).map(|(node, queues)| {
                        let (shared, served) = (Arc::clone(self), Arc::clone(&node));
                        let task = self.runtime.spawn(async move { shared.serve(&served, queues).await });
                        routes.tasks.push((Arc::clone(&node), task.abort_handle()));
                        node
                    }),
                };
                by_part.push(node);
            }
            let mut pairs = routes.by_part.iter().zip(&by_part);
            if pairs.all(|(old, new)| is_same(old.as_ref(), new.as_ref())) {
                return;
            }
            let before = std::mem::replace(&mut routes.by_part, by_part);
            let by_part = &routes.by_part;
            let mut ended = Vec::new();
            routes.tasks.retain(|(node, task)| {
                let is_used = by_part.iter().any(|other| is_same(other.as_ref(), Some(node)));
                if !is_used {
                    ended.push((Arc::clone(node), task.clone()));
                }
                is_used
            });
            drop(guard);
            for (node, task) in ended {
                // Nothing more is pushed to it before its task has ended.
                let why = NotReady(format!("the Redis at {} has no rooms any more", node.name));
                node.state.send_replace(State::Down(why));
                task.abort();
            }
            for room in rooms {
                let old = before[part(&room.name)].as_ref();
                let new = self.nodes.of(&room.name);
                if is_same(old, new.as_ref()) {
                    continue;
                }
                if let Some(old) = old {
                    old.subscribe(Subscription::Close(room.name.clone()));
                }
                let is_asked = new.is_some_and(|new| new.subscribe(Subscription::Open(Arc::clone(room))));
                if !is_asked {
                    room.refused(&self.away());
                }
            }
        });
        self.present.routes_changed();
    }

    /// Connects to a node again and again.
    async fn serve(self: &Arc<Self>, node: &Arc<Node>, mut queues: Queues) {
        let _served = Served(node);
        let mut attempts = 0;
        loop {
            let why = match Link::connect(self, node).await {
                Ok(link) => {
                    attempts = 0;
                    let link = Arc::new(link);
                    node.is_well();
                    let is_first = self.nodes.all().iter().all(|node| node.link().is_none());
                    if let State::Down(_) = node.state.send_replace(State::Up(Arc::clone(&link))) {
                        tracing::info!(redis = %node.name, "Redis is back");
                    }
                    if is_first {
                        self.present.is_connected();
                    }
                    self.present.publish_all(|part| self.nodes.is_at(part, node));
                    // Their subscriptions ended with the connection before.
                    self.rooms.with_all(|rooms| {
                        for room in rooms.filter(|room| self.nodes.is_at(part(&room.name), node)) {
                            node.subscribe(Subscription::Open(Arc::clone(room)));
                        }
                    });
                    link.run(self, &mut queues).await
                }
                Err(error) => error.not_ready(),
            };
            let before = node.state.send_replace(State::Down(why.clone()));
            if !matches!(before, State::Down(before) if before == why) {
                tracing::error!("the log cannot be used: {why}");
            }
            self.nodes.outdated.notify_one();
            // Nothing is pushed after the state was replaced. Dropping a call refuses it.
            while queues.calls.try_recv().is_ok() {}
            while queues.signals.try_recv().is_ok() {}
            while let Ok(subscription) = queues.subscriptions.try_recv() {
                if let Subscription::Open(room) = subscription {
                    room.refused(&self.away());
                }
            }
            for room in self.rooms.all() {
                if self.nodes.is_at(part(&room.name), node) {
                    room.refused(&self.away());
                }
            }
            tokio::time::sleep(link::pause(&self.options, attempts)).await;
            attempts += 1;
        }
    }
}

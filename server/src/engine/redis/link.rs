//! The connections to one Redis process, the only one or a master of a cluster: one for commands, one for subscriptions.
//! They are replaced together, because an answer of a process that was replaced must not be mixed with messages of the
//! next one.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{
    StreamExt,
    future::{BoxFuture, FutureExt},
    stream::{FuturesOrdered, FuturesUnordered},
};
use parking_lot::Mutex;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionInfo, ErrorKind, ProtocolVersion, PushInfo, PushKind, RedisError,
    Value,
    aio::{ConnectionLike, MultiplexedConnection},
};
use talkback_protocol::{RoomName, message::Signal};
use tokio::sync::{Notify, mpsc, oneshot};

use super::{
    super::{AppendOutcome, Limit, NotReady, Permit, Range},
    RedisOptions, RoomCharge, SHOWN, Shared, cluster,
    nodes::{Node, Queues},
    rooms::{READ_PAUSE, Room},
    wire::{self, AppendCall, AppendResult, History, Scripts, part},
};

/// Rooms that are subscribed to, or looked at, at the same time.
const ROOMS_AT_ONCE: usize = 64;
const NOTHING: Limit = Limit { messages: 0, bytes: 0 };

/// The connections.
pub(super) struct Link {
    node: Arc<Node>,
    /// The part whose keys this server's own ones are in, in a cluster.
    pub(super) own_part: Option<usize>,
    commands: MultiplexedConnection,
    subscriptions: MultiplexedConnection,
    pub(super) history: History,
    is_sharded: bool,
    probes: Arc<Probes>,
    closing: Arc<Closing>,
    failure: Failure,
}

/// The channels whose subscriptions are being ended, and how often: what ends otherwise was ended by Redis.
#[derive(Default)]
struct Closing(Mutex<HashMap<String, usize>>);

impl Closing {
    fn begin(&self, channel: &str) {
        *self.0.lock().entry(channel.to_owned()).or_default() += 1;
    }

    /// One has ended; `false` if none was being ended.
    fn end(&self, channel: &str) -> bool {
        let mut closing = self.0.lock();
        let Some(count) = closing.get_mut(channel) else {
            return false;
        };
        *count -= 1;
        if *count == 0 {
            closing.remove(channel);
        }
        true
    }
}

/// The newest probe that came back.
#[derive(Default)]
struct Probes {
    seen: AtomicU64,
    arrived: Notify,
}

/// Why the connections have to be replaced.
#[derive(Clone, Default)]
struct Failure(Arc<FailureState>);

#[derive(Default)]
struct FailureState {
    why: Mutex<Option<NotReady>>,
    happened: Notify,
}

impl Failure {
    fn set(&self, why: NotReady) {
        self.0.why.lock().get_or_insert(why);
        self.0.happened.notify_one();
    }

    async fn wait(&self) -> NotReady {
        loop {
            let happened = self.0.happened.notified();
            if let Some(why) = self.0.why.lock().clone() {
                return why;
            }
            happened.await;
        }
    }
}

/// A message that waits for Redis.
pub(super) struct Call {
    pub(super) append: AppendCall,
    pub(super) charge: RoomCharge,
    pub(super) permit: Permit,
    pub(super) answer: oneshot::Sender<AppendOutcome>,
}

/// What is to be done on the connection for subscriptions, in order.
pub(super) enum Subscription {
    Open(Arc<Room>),
    Close(RoomName),
}

/// Why a connection could not be made.
pub(super) enum ConnectError {
    /// A setting is wrong.
    Refused(NotReady),
    /// Redis may be there later.
    Away(NotReady),
}

impl ConnectError {
    pub(super) fn not_ready(self) -> NotReady {
        let (Self::Refused(why) | Self::Away(why)) = self;
        why
    }

    /// What this error of the Redis of this name means.
    pub(super) fn from_redis(name: &str, error: &RedisError) -> Self {
        let why = explain(name, error);
        let is_wrong = matches!(
            error.kind(),
            ErrorKind::AuthenticationFailed | ErrorKind::InvalidClientConfig | ErrorKind::RESP3NotSupported
        ) || matches!(error.code(), Some("NOAUTH" | "WRONGPASS" | "NOPERM"));
        if is_wrong { Self::Refused(why) } else { Self::Away(why) }
    }
}

/// Chooses the cryptography, because other crates of an application may bring another one.
#[cfg(feature = "redis-tls")]
fn choose_cryptography() {
    // An error says that the application has chosen already.
    drop(rustls::crypto::ring::default_provider().install_default());
}

/// How to connect to what the URL names.
pub(super) fn infos(options: &RedisOptions) -> Result<Vec<ConnectionInfo>, NotReady> {
    #[cfg(feature = "redis-tls")]
    choose_cryptography();
    let infos = options.url.infos().map_err(|error| wrong(options, &error))?;
    let settings = infos.into_iter().map(|info| {
        // Messages of subscriptions come between answers only in this version.
        let redis = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        info.set_redis_settings(redis)
    });
    Ok(settings.collect())
}

/// A client for the URL of a single Redis.
pub(super) fn client(options: &RedisOptions) -> Result<Client, NotReady> {
    let info = infos(options)?.into_iter().next();
    let info = info.ok_or_else(|| NotReady(format!("--engine {}: it names no Redis", options.url)))?;
    Client::open(info).map_err(|error| wrong(options, &error))
}

fn wrong(options: &RedisOptions, error: &RedisError) -> NotReady {
    NotReady(format!("--engine {}: {}", options.url, error.category()))
}

/// What a process says of itself.
struct Info {
    history: String,
    run_id: String,
    is_sharded: bool,
}

/// Asks a process about itself and checks that logs can be kept in it.
async fn ask(url: &str, connection: &mut MultiplexedConnection, is_in_cluster: bool) -> Result<Info, ConnectError> {
    let asked = connection.req_packed_command(&redis::cmd("INFO")).await;
    let answer = asked
        .and_then(Value::extract_error)
        .map_err(|error| ConnectError::from_redis(url, &error))?;
    let text = text(answer).unwrap_or_default();
    let field = |name: &str| field(&text, name);
    let refused = |why: String| Err(ConnectError::Refused(NotReady(why)));
    if field("loading") == "1" {
        return Err(ConnectError::Away(NotReady(format!(
            "the Redis at {url} is reading its data: wait"
        ))));
    }
    match (is_in_cluster, field("cluster_enabled") == "1") {
        (false, true) => {
            return refused(format!(
                "the Redis at {url} is a node of a cluster: write redis+cluster://HOST:PORT,HOST:PORT with some of its nodes"
            ));
        }
        (true, false) => return Err(ConnectError::Refused(cluster::no_node_of_a_cluster(url))),
        _ => {}
    }
    if field("master_replid").is_empty() || field("run_id").is_empty() {
        return refused(format!(
            "what answers at {url} does not say which Redis it is (INFO): name the Redis itself, without a proxy"
        ));
    }
    let policy = field("maxmemory_policy");
    if policy != "noeviction" {
        return refused(format!(
            "the Redis at {url} may delete messages that were acknowledged: set its maxmemory-policy to noeviction (it is \
             {policy})"
        ));
    }
    // The number of the version that it is compatible with, also of Valkey.
    let mut version = field("redis_version")
        .split('.')
        .map(|part| part.parse().unwrap_or(0_u32));
    let version = (version.next().unwrap_or(0), version.next().unwrap_or(0));
    // Messages of a cluster are published in the slot of their room.
    if is_in_cluster && version < (7, 0) {
        return refused(format!(
            "the Redis at {url} is too old: 7.0 is the oldest that can be used in a cluster"
        ));
    }
    if version < (6, 2) {
        return refused(format!(
            "the Redis at {url} is too old: 6.2 is the oldest that can be used"
        ));
    }
    if field("role") != "master" {
        return Err(ConnectError::Away(replica(url)));
    }
    Ok(Info {
        history: field("master_replid").to_owned(),
        run_id: field("run_id").to_owned(),
        is_sharded: version >= (7, 0),
    })
}

/// The text of an answer to `INFO` or `CLUSTER NODES`; `None` if it is none.
pub(super) fn text(answer: Value) -> Option<String> {
    match answer {
        Value::BulkString(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        Value::VerbatimString { text, .. } => Some(text),
        _ => None,
    }
}

/// A field of an answer to `INFO`; empty if it is not there.
pub(super) fn field<'a>(info: &'a str, name: &str) -> &'a str {
    let mut lines = info.lines().filter_map(|line| line.split_once(':'));
    lines
        .find(|(key, _)| *key == name)
        .map_or("", |(_, value)| value.trim())
}

fn replica(name: &str) -> NotReady {
    NotReady(format!("the Redis at {name} is a replica: name the master"))
}

fn stale(name: &str) -> NotReady {
    NotReady(format!(
        "the Redis at {name} began a new life of its data: it is connected anew"
    ))
}

/// Makes one connection to a single Redis and checks it.
pub(super) async fn check(options: &RedisOptions) -> Result<(), ConnectError> {
    let client = client(options).map_err(ConnectError::Refused)?;
    check_one(options, &options.url.to_string(), &client, false).await
}

/// Makes one connection and checks it.
pub(super) async fn check_one(
    options: &RedisOptions,
    name: &str,
    client: &Client,
    is_in_cluster: bool,
) -> Result<(), ConnectError> {
    let connected = async {
        let mut connection = connect_one(name, client, AsyncConnectionConfig::new()).await?;
        ask(name, &mut connection, is_in_cluster).await.map(drop)
    };
    in_time(options, name, connected).await
}

async fn in_time<T>(
    options: &RedisOptions,
    name: &str,
    connected: impl Future<Output = Result<T, ConnectError>>,
) -> Result<T, ConnectError> {
    let timeout = options.connect_timeout;
    tokio::time::timeout(timeout, connected).await.unwrap_or_else(|_| {
        let why = format!("the Redis at {name} has not answered within {timeout:?}");
        Err(ConnectError::Away(NotReady(why)))
    })
}

/// Makes one connection to the Redis of this name.
pub(super) async fn connect_one(
    name: &str,
    client: &Client,
    config: AsyncConnectionConfig,
) -> Result<MultiplexedConnection, ConnectError> {
    // The probe finds a connection on which nothing is answered.
    let config = config.set_response_timeout(None).set_connection_timeout(None);
    client
        .get_multiplexed_async_connection_with_config(&config)
        .await
        .map_err(|error| ConnectError::from_redis(name, &error))
}

impl Link {
    /// Connects.
    pub(super) async fn connect(shared: &Arc<Shared>, node: &Arc<Node>) -> Result<Self, ConnectError> {
        in_time(&shared.options, &node.name, Self::connect_now(shared, node)).await
    }

    async fn connect_now(shared: &Arc<Shared>, node: &Arc<Node>) -> Result<Self, ConnectError> {
        let name = &*node.name;
        let failed = |error: RedisError| ConnectError::from_redis(name, &error);
        let mut commands = connect_one(name, &node.client, AsyncConnectionConfig::new()).await?;
        let info = ask(name, &mut commands, node.is_in_cluster).await?;
        let own_part = match shared.nodes.first_part(node) {
            first if node.is_in_cluster => {
                let why = || ConnectError::Away(NotReady(format!("the Redis at {name} has no rooms any more")));
                Some(first.ok_or_else(why)?)
            }
            _ => None,
        };
        let scripts = Scripts::new(&shared.options, info.is_sharded);
        let mut load = async |script: &str| {
            let command = redis::cmd("SCRIPT").arg("LOAD").arg(script).to_owned();
            let loaded = commands.req_packed_command(&command).await;
            let digest = loaded.and_then(Value::extract_error).map_err(failed)?;
            redis::from_redis_value::<String>(digest).map_err(|error| failed(error.into()))
        };
        let history = History {
            id: info.history,
            append: load(&scripts.append).await?,
            read: load(&scripts.read).await?,
            delete_room: load(&scripts.delete_room).await?,
            delete_messages: load(&scripts.delete_messages).await?,
        };
        let channel = shared.keys.servers(own_part);
        let arrivals = Arrivals {
            node: Arc::clone(node),
            servers: channel.clone(),
            probes: Arc::default(),
            closing: Arc::default(),
            failure: Failure::default(),
        };
        let (probes, closing) = (Arc::clone(&arrivals.probes), Arc::clone(&arrivals.closing));
        let failure = arrivals.failure.clone();
        let pushed = {
            let shared = Arc::downgrade(shared);
            move |push: PushInfo| {
                if let Some(shared) = shared.upgrade() {
                    arrivals.received(&shared, push);
                }
                Ok::<(), std::convert::Infallible>(())
            }
        };
        let config = AsyncConnectionConfig::new().set_push_sender(pushed);
        let mut subscriptions = connect_one(name, &node.client, config).await?;
        let other = ask(name, &mut subscriptions, node.is_in_cluster).await?;
        if other.run_id != info.run_id {
            let why = "two connections lead to two different Redis processes: if that persists, name one of them";
            return Err(ConnectError::Away(NotReady(why.to_owned())));
        }
        let link = Self {
            node: Arc::clone(node),
            own_part,
            commands,
            subscriptions,
            history,
            is_sharded: info.is_sharded,
            probes,
            closing,
            failure,
        };
        let probe = link.pubsub("SSUBSCRIBE", "SUBSCRIBE", &channel);
        let subscribed = link.subscriptions.clone().req_packed_command(&probe).await;
        subscribed.and_then(Value::extract_error).map_err(failed)?;
        Ok(link)
    }

    fn pubsub(&self, sharded: &str, plain: &str, channel: &str) -> Cmd {
        redis::cmd(if self.is_sharded { sharded } else { plain })
            .arg(channel)
            .to_owned()
    }

    /// Serves what waits, until the connections have to be replaced. Returns why.
    pub(super) async fn run(&self, shared: &Arc<Shared>, queues: &mut Queues) -> NotReady {
        let Queues {
            calls,
            subscriptions,
            signals,
        } = queues;
        tokio::select! {
            why = self.failure.wait() => why,
            why = self.probe(shared) => why,
            () = self.append(shared, calls) => unreachable!("the node holds a sender"),
            () = self.subscribe(shared, subscriptions) => unreachable!("the node holds a sender"),
            () = self.relay(shared, signals) => unreachable!("the node holds a sender"),
            () = self.tell_users(shared) => unreachable!("it does not end"),
            () = self.check_rooms(shared) => unreachable!("it does not end"),
        }
    }

    /// Sends one command and waits for its answer.
    pub(super) async fn command(&self, shared: &Shared, command: &Cmd) -> Result<Value, NotReady> {
        let answer = self.commands.clone().req_packed_command(command).await;
        answer
            .and_then(Value::extract_error)
            .map_err(|error| self.failed(shared, &error))
    }

    /// Notes what is wrong with an answer, and whether the connections have to be replaced.
    fn failed(&self, shared: &Shared, error: &RedisError) -> NotReady {
        let why = explain(&self.node.name, error);
        let code = error.code();
        let needs_another = error.is_unrecoverable_error()
            || matches!(
                code,
                Some("STALE" | "READONLY" | "NOSCRIPT" | "NOAUTH" | "WRONGPASS" | "LOADING")
            );
        if needs_another {
            self.failure.set(why.clone());
        }
        if matches!(code, Some("MOVED" | "ASK" | "CLUSTERDOWN")) {
            shared.nodes.outdated.notify_one();
        }
        self.node.problem(&why);
        why
    }

    /// Sends what waits in groups, each as one write. Several groups may be without an answer.
    async fn append(&self, shared: &Arc<Shared>, calls: &mut mpsc::UnboundedReceiver<Call>) {
        type Answers = (Vec<Call>, redis::RedisResult<Vec<Value>>);
        let most = shared.options.group_messages.max(1);
        let mut groups: FuturesOrdered<BoxFuture<'static, Answers>> = FuturesOrdered::new();
        let mut group = Vec::new();
        loop {
            tokio::select! {
                biased;
                Some((calls, answers)) = groups.next(), if !groups.is_empty() => self.answer(shared, calls, answers),
                count = calls.recv_many(&mut group, most), if groups.len() < shared.options.groups.max(1) => {
                    if count == 0 {
                        return;
                    }
                    let mut pipeline = redis::Pipeline::with_capacity(count);
                    for call in &group {
                        pipeline.add_command(call.append.command(&shared.keys, &self.history));
                    }
                    let (mut commands, group) = (self.commands.clone(), std::mem::take(&mut group));
                    let mut sent = async move {
                        let answers = commands.req_packed_commands(&pipeline, 0, count).await;
                        (group, answers)
                    }
                    .boxed();
                    // The first poll puts it into the queue of the connection, which keeps the order.
                    match (&mut sent).now_or_never() {
                        Some((calls, answers)) => self.answer(shared, calls, answers),
                        None => groups.push_back(sent),
                    }
                }
            }
        }
    }

    fn answer(&self, shared: &Arc<Shared>, calls: Vec<Call>, answers: redis::RedisResult<Vec<Value>>) {
        let answers = match answers {
            Ok(answers) => answers,
            // It is not known which of them were added. The callers learn that from dropping them.
            Err(error) => return drop(self.failed(shared, &error)),
        };
        let mut is_well = true;
        for (call, answer) in calls.into_iter().zip(answers) {
            if let Value::ServerError(error) = answer {
                if std::mem::take(&mut is_well) {
                    self.failed(shared, &error.into());
                }
                continue;
            }
            let Some(appended) = wire::appended(&answer, &call.append.append) else {
                let shown: String = format!("{answer:?}").chars().take(SHOWN).collect();
                let why = format!("the Redis at {} answers an append with {shown}", self.node.name);
                self.failure.set(NotReady(why));
                continue;
            };
            shared.has_seen(&call.append.append.room, appended.exists);
            if appended.is_made {
                call.charge.keep();
            }
            let outcome = match appended.result {
                AppendResult::Outcome(outcome) => outcome,
                AppendResult::Full(epoch) => shared.full(epoch),
                AppendResult::NotMade(epoch) => shared.too_many_rooms(epoch),
            };
            shared.outcomes.count(&outcome);
            drop(call.permit);
            // A caller that does not wait any more has dropped the other end.
            let _ = call.answer.send(outcome);
        }
        if is_well {
            self.node.is_well();
        }
    }

    /// Publishes signals to other servers, one group after the other. It need not be known whether they arrive.
    async fn relay(&self, shared: &Arc<Shared>, signals: &mut mpsc::Receiver<Signal>) {
        let mut group = Vec::new();
        while signals.recv_many(&mut group, shared.options.signals.max(1)).await > 0 {
            let mut pipeline = redis::Pipeline::with_capacity(group.len());
            for signal in group.drain(..) {
                let channel = shared.keys.channel(&signal.room);
                let mut publish = self.pubsub("SPUBLISH", "PUBLISH", &channel);
                publish.arg(wire::encode_signal(shared.server, &signal));
                pipeline.add_command(publish);
            }
            self.send(shared, &pipeline).await;
        }
    }

    /// Makes and ends subscriptions in order.
    async fn subscribe(&self, shared: &Arc<Shared>, subscriptions: &mut mpsc::UnboundedReceiver<Subscription>) {
        let mut under_way: FuturesUnordered<BoxFuture<'_, ()>> = FuturesUnordered::new();
        loop {
            tokio::select! {
                // A first poll that came when tokio's budget of the task was used up has queued nothing. It is polled again
                // before the next command.
                biased;
                Some(()) = under_way.next(), if !under_way.is_empty() => {}
                next = subscriptions.recv(), if under_way.len() < ROOMS_AT_ONCE => {
                    let mut future = match next {
                        None => return,
                        Some(Subscription::Open(room)) => self.open(shared, room).boxed(),
                        Some(Subscription::Close(room)) => self.close(shared, room).boxed(),
                    };
                    // The first poll puts the command into the queue of the connection, which keeps the order.
                    if (&mut future).now_or_never().is_none() {
                        under_way.push(future);
                    }
                }
            }
        }
    }

    async fn open(&self, shared: &Arc<Shared>, room: Arc<Room>) {
        let subscribe = self.pubsub("SSUBSCRIBE", "SUBSCRIBE", &shared.keys.channel(&room.name));
        let answer = self.subscriptions.clone().req_packed_command(&subscribe).await;
        if let Err(error) = answer.and_then(Value::extract_error) {
            self.failed(shared, &error);
            room.refused(&shared.away());
            return self.open_later(shared, room);
        }
        if !self.look_at(shared, &room, true).await {
            return self.open_later(shared, room);
        }
        self.read_users(shared, &room).await;
    }

    /// A cluster that is changing refuses a room for a while, on connections that stay.
    fn open_later(&self, shared: &Arc<Shared>, room: Arc<Room>) {
        if !self.node.is_in_cluster {
            return;
        }
        let (opening, node) = (Arc::downgrade(shared), Arc::clone(&self.node));
        shared.runtime.spawn(async move {
            tokio::time::sleep(READ_PAUSE).await;
            let Some(shared) = opening.upgrade() else { return };
            shared.rooms.if_watched(&room, || {
                if shared.nodes.is_at(part(&room.name), &node) {
                    // A node that is away opens all its rooms when it is back.
                    node.subscribe(Subscription::Open(Arc::clone(&room)));
                }
            });
        });
    }

    /// Compares the end of a log with what arrived, and returns whether it could be read. A room is opened after its
    /// subscription was confirmed only: what is published before would not arrive.
    async fn look_at(&self, shared: &Arc<Shared>, room: &Arc<Room>, is_subscribed: bool) -> bool {
        let range = Range::Newest;
        let read = wire::read_command(&shared.keys, &self.history, &room.name, range, NOTHING, true);
        let answer = self.command(shared, &read).await.ok();
        let Some(read) = answer.and_then(|answer| wire::read(answer, &room.name, range)) else {
            // The next look may succeed.
            if is_subscribed {
                room.refused(&shared.away());
            }
            return false;
        };
        shared.has_seen(&room.name, read.exists);
        room.synchronised(shared, &read.page, is_subscribed);
        true
    }

    async fn close(&self, shared: &Arc<Shared>, room: RoomName) {
        let channel = shared.keys.channel(&room);
        let unsubscribe = self.pubsub("SUNSUBSCRIBE", "UNSUBSCRIBE", &channel);
        self.closing.begin(&channel);
        let answer = self.subscriptions.clone().req_packed_command(&unsubscribe).await;
        if let Err(error) = answer.and_then(Value::extract_error) {
            self.closing.end(&channel);
            // What was moved to another node has no subscriptions here.
            if error.code() != Some("MOVED") {
                self.failed(shared, &error);
            }
        }
    }

    /// Tells other servers the users of this one.
    async fn tell_users(&self, shared: &Arc<Shared>) {
        let server = wire::server_name(shared.server);
        loop {
            let telling = shared
                .present
                .next(ROOMS_AT_ONCE, |part| shared.nodes.is_at(part, &self.node))
                .await;
            let mut pipeline = redis::Pipeline::with_capacity(3 * telling.rooms().len());
            for (room, users) in telling.rooms() {
                let users = &users[..users.len().min(shared.options.present_users)];
                let (key, text) = (shared.keys.present(room), wire::encode_users(users));
                if users.is_empty() {
                    pipeline.cmd("HDEL").arg(&key).arg(&server);
                } else {
                    pipeline.cmd("HSET").arg(&key).arg(&server).arg(&text);
                    // Each server tells its users again before that.
                    let expire = 3 * shared.options.check_interval.max(Duration::from_secs(1));
                    pipeline.cmd("PEXPIRE").arg(&key).arg(expire.as_millis());
                }
                let mut publish = self.pubsub("SPUBLISH", "PUBLISH", &shared.keys.channel(room));
                publish.arg(wire::encode_present(shared.server, &text));
                pipeline.add_command(publish);
            }
            if self.send(shared, &pipeline).await {
                telling.finish();
            } else {
                drop(telling);
                tokio::time::sleep(shared.options.probe_interval).await;
            }
        }
    }

    /// Sends commands whose answers do not matter, except that they fail. Returns whether all succeeded.
    async fn send(&self, shared: &Arc<Shared>, pipeline: &redis::Pipeline) -> bool {
        let count = pipeline.len();
        if count == 0 {
            return true;
        }
        let answers = self.commands.clone().req_packed_commands(pipeline, 0, count).await;
        let answers = answers.and_then(|answers| {
            answers
                .into_iter()
                .try_for_each(|answer| answer.extract_error().map(drop))
        });
        if let Err(error) = &answers {
            self.failed(shared, error);
        }
        answers.is_ok()
    }

    /// Reads the users that other servers have in a room.
    async fn read_users(&self, shared: &Arc<Shared>, room: &Arc<Room>) {
        let mut command = redis::cmd("HGETALL");
        command.arg(shared.keys.present(&room.name));
        let read = room.begin_user_read();
        let Ok(answer) = self.command(shared, &command).await else {
            return;
        };
        let Ok(users) = redis::from_redis_value::<Vec<(String, String)>>(answer) else {
            return;
        };
        let users = users.iter().filter_map(|(server, users)| {
            let server = wire::server_of(server).filter(|server| *server != shared.server)?;
            Some((server, wire::decode_users(users)))
        });
        room.end_user_read(shared, &read, users.collect());
    }

    /// Removes the users of servers that are not heard any more, at all nodes.
    fn remove_dead(shared: &Arc<Shared>) {
        let mut removals: Vec<(Arc<Node>, redis::Pipeline)> = Vec::new();
        for (server, rooms) in shared.present.take_dead(shared.options.server_timeout) {
            for name in rooms {
                if let Some(room) = shared.rooms.get(&name) {
                    room.present(shared, server, Vec::new());
                }
                let Some(node) = shared.nodes.of(&name) else { continue };
                let known = removals.iter().position(|(other, _)| Arc::ptr_eq(other, &node));
                let index = known.unwrap_or_else(|| {
                    removals.push((node, redis::Pipeline::new()));
                    removals.len() - 1
                });
                let (_, pipeline) = &mut removals[index];
                let server = wire::server_name(server);
                pipeline.cmd("HDEL").arg(shared.keys.present(&name)).arg(server);
            }
        }
        for (node, pipeline) in removals {
            let Some(link) = node.link() else { continue };
            let removing = Arc::clone(shared);
            // One that hangs delays no other one.
            shared
                .runtime
                .spawn(async move { link.send(&removing, &pipeline).await });
        }
    }

    /// Looks at all watched rooms again and again: a log that was deleted publishes nothing.
    async fn check_rooms(&self, shared: &Arc<Shared>) {
        loop {
            tokio::time::sleep(shared.options.check_interval).await;
            let is_here = |part| shared.nodes.is_at(part, &self.node);
            shared.present.publish_all(is_here);
            let mut rooms = shared.rooms.all();
            rooms.retain(|room| is_here(part(&room.name)));
            for rooms in rooms.chunks(ROOMS_AT_ONCE) {
                let looks = rooms.iter().map(|room| self.look_at(shared, room, false));
                futures_util::future::join_all(looks).await;
            }
        }
    }

    /// Sends messages to itself. Returns when one does not arrive, or the process is not the one that it was.
    async fn probe(&self, shared: &Arc<Shared>) -> NotReady {
        let channel = shared.keys.servers(self.own_part);
        let (server, name) = (wire::server_name(shared.server), &*self.node.name);
        let RedisOptions {
            probe_interval,
            probe_timeout,
            ..
        } = &shared.options;
        let late = |what: &str| NotReady(format!("the Redis at {name} {what} within {probe_timeout:?}"));
        for number in 1_u64.. {
            let mut pipeline = redis::Pipeline::with_capacity(2);
            pipeline.cmd("INFO").arg("replication");
            pipeline.add_command(
                self.pubsub("SPUBLISH", "PUBLISH", &channel)
                    .arg(format!("{server} {number}"))
                    .to_owned(),
            );
            let mut commands = self.commands.clone();
            let answers = commands.req_packed_commands(&pipeline, 0, 2);
            let answers = match tokio::time::timeout(*probe_timeout, answers).await {
                Ok(Ok(answers)) => answers,
                Ok(Err(error)) => return explain(name, &error),
                Err(_) => return late("has not answered"),
            };
            for answer in answers {
                if let Value::ServerError(error) = answer {
                    return explain(name, &error.into());
                }
                let Some(info) = text(answer) else { continue };
                if field(&info, "role") != "master" {
                    return replica(name);
                }
                if field(&info, "master_replid") != self.history.id {
                    return stale(name);
                }
            }
            let arrived = async {
                while self.probes.seen.load(Ordering::Acquire) < number {
                    let arrived = self.probes.arrived.notified();
                    if self.probes.seen.load(Ordering::Acquire) >= number {
                        break;
                    }
                    arrived.await;
                }
            };
            if tokio::time::timeout(*probe_timeout, arrived).await.is_err() {
                return late("has not delivered a message of a subscription");
            }
            Self::remove_dead(shared);
            tokio::time::sleep(*probe_interval).await;
        }
        unreachable!("the numbers do not end")
    }
}

/// What comes on the connection for subscriptions.
struct Arrivals {
    node: Arc<Node>,
    /// The channel on which servers hear each other.
    servers: String,
    probes: Arc<Probes>,
    closing: Arc<Closing>,
    failure: Failure,
}

impl Arrivals {
    /// It is called by the task that reads the connection, so that what is not read yet stays in the connection's
    /// buffers, which are bounded.
    fn received(&self, shared: &Arc<Shared>, push: PushInfo) {
        let name = &self.node.name;
        match (push.kind, &push.data[..]) {
            (PushKind::Message | PushKind::SMessage, [Value::BulkString(channel), Value::BulkString(payload)]) => {
                self.published(shared, channel, payload);
            }
            // The slot was given to another node. On a connection on which something else than a command has ended a
            // subscription, it is not known any more which answer belongs to which command.
            (PushKind::SUnsubscribe, [Value::BulkString(channel), ..]) if !self.was_asked_to_end(channel) => {
                let why = format!("the Redis at {name} has given a slot away: it is connected anew");
                self.failure.set(NotReady(why));
            }
            (PushKind::Disconnection, _) => {
                let why = format!("the Redis at {name} has closed the connection for subscriptions");
                self.failure.set(NotReady(why));
            }
            _ => {}
        }
    }

    /// Whether the end of a subscription is what a command has asked for.
    fn was_asked_to_end(&self, channel: &[u8]) -> bool {
        std::str::from_utf8(channel).is_ok_and(|channel| self.closing.end(channel))
    }

    fn published(&self, shared: &Arc<Shared>, channel: &[u8], payload: &[u8]) {
        if channel == self.servers.as_bytes() {
            let text = std::str::from_utf8(payload).unwrap_or_default();
            let Some((Some(server), number)) = text
                .split_once(' ')
                .map(|(name, number)| (wire::server_of(name), number))
            else {
                return;
            };
            if server != shared.server {
                return shared.present.heard(server);
            }
            self.probes
                .seen
                .fetch_max(number.parse().unwrap_or(0), Ordering::AcqRel);
            return self.probes.arrived.notify_waiters();
        }
        let Some(name) = shared.keys.room_of(channel) else {
            return;
        };
        let Some(room) = shared.rooms.get(&name) else { return };
        if let Some((server, signal)) = wire::signal(&name, payload) {
            // The members here have those of this server already.
            if server != shared.server {
                room.signalled(&signal);
            }
            return;
        }
        if let Some((server, users)) = wire::present(payload) {
            if server != shared.server {
                room.present(shared, server, users);
            }
            return;
        }
        if let Some((epoch, head)) = wire::restarted(payload) {
            return room.restarted(shared, epoch, head);
        }
        match wire::published(&name, payload) {
            Some((epoch, message)) => room.received(shared, epoch, message),
            None => tracing::warn!(room = %name, "what was published is no message"),
        }
    }
}

/// What an error means, and what to do.
fn explain(name: &str, error: &RedisError) -> NotReady {
    let at = |what: &str| NotReady(format!("the Redis at {name} {what}"));
    match (error.code(), error.kind()) {
        (Some("NOAUTH"), _) => at("wants a password: write it in the URL, as in redis://:PASSWORD@HOST"),
        (Some("WRONGPASS"), _) | (_, ErrorKind::AuthenticationFailed) => {
            at("refuses this user or password: correct the URL")
        }
        (Some("NOPERM"), _) => at(&format!(
            "does not permit this user a command that is needed: {}",
            error.detail().unwrap_or_default()
        )),
        (Some("READONLY"), _) => replica(name),
        (Some("STALE"), _) => stale(name),
        (Some("LOADING"), _) => at("is reading its data: wait"),
        (Some("OOM"), _) => {
            at("has no memory left: raise its maxmemory, or keep less with --log-messages and --log-age")
        }
        (Some("MISCONF"), _) => at("cannot write to its disk: see its log"),
        (Some("NOSCRIPT"), _) => at("has forgotten the scripts (SCRIPT FLUSH): they are loaded again"),
        (Some("MOVED"), _) => at("has given a slot to another node: the map of the cluster is read again"),
        (Some("ASK" | "TRYAGAIN"), _) => {
            at("is giving a slot to another node: messages of its rooms are refused until it has done so")
        }
        (Some("CLUSTERDOWN"), _) => at(
            "does not serve its slots now, because its cluster has no majority of masters, or a slot without one: see CLUSTER INFO",
        ),
        (Some("CROSSSLOT"), _) => {
            at("has keys of one room in different slots: what is between it and this server must not change keys")
        }
        (Some("BUSY"), _) => at("runs a script of another program that does not end: see SCRIPT KILL"),
        (_, ErrorKind::RESP3NotSupported) => at("is too old: 6.2 is the oldest that can be used"),
        _ => at(&format!("cannot be used: {error}")),
    }
}

/// How long to wait before the next attempt to connect.
pub(super) fn pause(options: &RedisOptions, attempt: u32) -> Duration {
    let most = options.reconnect_pause.max(Duration::from_millis(50));
    let pause = Duration::from_millis(50).saturating_mul(1 << attempt.min(10)).min(most);
    pause.mul_f64(fastrand::f64() / 2.0 + 0.5)
}

//! The connections to one Redis process: one for commands, one for subscriptions. They are replaced together, because an
//! answer of a process that was replaced must not be mixed with messages of the next one.

use std::{
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
    AsyncConnectionConfig, Client, Cmd, ErrorKind, IntoConnectionInfo, ProtocolVersion, PushInfo, PushKind, RedisError,
    Value,
    aio::{ConnectionLike, MultiplexedConnection},
};
use talkback_protocol::{RoomName, message::Signal};
use tokio::sync::{Notify, mpsc, oneshot};

use super::{
    super::{AppendOutcome, Limit, NotReady, Permit, Range},
    RedisOptions, RoomCharge, SHOWN, Shared,
    rooms::Room,
    wire::{self, AppendCall, AppendResult, History, Scripts},
};

/// Rooms that are subscribed to, or looked at, at the same time.
const ROOMS_AT_ONCE: usize = 64;
const NOTHING: Limit = Limit { messages: 0, bytes: 0 };

/// The connections.
pub(super) struct Link {
    commands: MultiplexedConnection,
    subscriptions: MultiplexedConnection,
    pub(super) history: History,
    is_sharded: bool,
    probes: Arc<Probes>,
    failure: Failure,
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

    fn from_redis(options: &RedisOptions, error: &RedisError) -> Self {
        let why = explain(options, error);
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

/// A client for this URL.
pub(super) fn client(options: &RedisOptions) -> Result<Client, NotReady> {
    #[cfg(feature = "redis-tls")]
    choose_cryptography();
    let wrong = |error: RedisError| NotReady(format!("--engine {}: {}", options.url, error.category()));
    let info = options.url.reveal().into_connection_info().map_err(wrong)?;
    // Messages of subscriptions come between answers only in this version.
    let redis = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    Client::open(info.set_redis_settings(redis)).map_err(wrong)
}

/// What a process says of itself.
struct Info {
    history: String,
    run_id: String,
    is_sharded: bool,
}

/// Asks a process about itself and checks that logs can be kept in it.
async fn ask(options: &RedisOptions, connection: &mut MultiplexedConnection) -> Result<Info, ConnectError> {
    let asked = connection.req_packed_command(&redis::cmd("INFO")).await;
    let answer = asked
        .and_then(Value::extract_error)
        .map_err(|error| ConnectError::from_redis(options, &error))?;
    let text = info_text(answer).unwrap_or_default();
    let field = |name: &str| field(&text, name);
    let refused = |why: String| Err(ConnectError::Refused(NotReady(why)));
    let url = &options.url;
    if field("loading") == "1" {
        return Err(ConnectError::Away(NotReady(format!(
            "the Redis at {url} is reading its data: wait"
        ))));
    }
    if field("cluster_enabled") == "1" {
        return refused(format!(
            "the Redis at {url} is a node of a cluster, which is not supported: name one that is not"
        ));
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
    if version < (6, 2) {
        return refused(format!(
            "the Redis at {url} is too old: 6.2 is the oldest that can be used"
        ));
    }
    if field("role") != "master" {
        return Err(ConnectError::Away(replica(options)));
    }
    Ok(Info {
        history: field("master_replid").to_owned(),
        run_id: field("run_id").to_owned(),
        is_sharded: version >= (7, 0),
    })
}

/// The text of an answer to `INFO`; `None` if it is none.
fn info_text(answer: Value) -> Option<String> {
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

fn replica(options: &RedisOptions) -> NotReady {
    NotReady(format!("the Redis at {} is a replica: name the master", options.url))
}

fn stale(options: &RedisOptions) -> NotReady {
    NotReady(format!(
        "the Redis at {} began a new life of its data: it is connected anew",
        options.url
    ))
}

/// Makes one connection and checks it.
pub(super) async fn check(options: &RedisOptions) -> Result<(), ConnectError> {
    let client = client(options).map_err(ConnectError::Refused)?;
    let connected = async {
        let mut connection = connect_one(options, &client, AsyncConnectionConfig::new()).await?;
        ask(options, &mut connection).await.map(drop)
    };
    in_time(options, connected).await
}

async fn in_time<T>(
    options: &RedisOptions,
    connected: impl Future<Output = Result<T, ConnectError>>,
) -> Result<T, ConnectError> {
    let timeout = options.connect_timeout;
    tokio::time::timeout(timeout, connected).await.unwrap_or_else(|_| {
        let why = format!("the Redis at {} has not answered within {timeout:?}", options.url);
        Err(ConnectError::Away(NotReady(why)))
    })
}

async fn connect_one(
    options: &RedisOptions,
    client: &Client,
    config: AsyncConnectionConfig,
) -> Result<MultiplexedConnection, ConnectError> {
    // The probe finds a connection on which nothing is answered.
    let config = config.set_response_timeout(None).set_connection_timeout(None);
    client
        .get_multiplexed_async_connection_with_config(&config)
        .await
        .map_err(|error| ConnectError::from_redis(options, &error))
}

impl Link {
    /// Connects.
    pub(super) async fn connect(shared: &Arc<Shared>) -> Result<Self, ConnectError> {
        in_time(&shared.options, Self::connect_now(shared)).await
    }

    async fn connect_now(shared: &Arc<Shared>) -> Result<Self, ConnectError> {
        let options = &shared.options;
        let failed = |error: RedisError| ConnectError::from_redis(options, &error);
        let mut commands = connect_one(options, &shared.client, AsyncConnectionConfig::new()).await?;
        let info = ask(options, &mut commands).await?;
        let scripts = Scripts::new(options, info.is_sharded);
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
        let (probes, failure) = (Arc::new(Probes::default()), Failure::default());
        let pushed = {
            let (probes, failure) = (Arc::clone(&probes), failure.clone());
            let (shared, servers) = (Arc::downgrade(shared), shared.keys.servers());
            move |push: PushInfo| {
                if let Some(shared) = shared.upgrade() {
                    received(&shared, &servers, &probes, &failure, push);
                }
                Ok::<(), std::convert::Infallible>(())
            }
        };
        let config = AsyncConnectionConfig::new().set_push_sender(pushed);
        let mut subscriptions = connect_one(options, &shared.client, config).await?;
        let other = ask(options, &mut subscriptions).await?;
        if other.run_id != info.run_id {
            let why = "two connections lead to two different Redis processes: if that persists, name one of them";
            return Err(ConnectError::Away(NotReady(why.to_owned())));
        }
        let link = Self {
            commands,
            subscriptions,
            history,
            is_sharded: info.is_sharded,
            probes,
            failure,
        };
        let probe = link.pubsub("SSUBSCRIBE", "SUBSCRIBE", &shared.keys.servers());
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
    pub(super) async fn run(
        &self,
        shared: &Arc<Shared>,
        calls: &mut mpsc::UnboundedReceiver<Call>,
        subscriptions: &mut mpsc::UnboundedReceiver<Subscription>,
        signals: &mut mpsc::Receiver<Signal>,
    ) -> NotReady {
        tokio::select! {
            why = self.failure.wait() => why,
            why = self.probe(shared) => why,
            () = self.append(shared, calls) => unreachable!("the engine holds a sender"),
            () = self.subscribe(shared, subscriptions) => unreachable!("the engine holds a sender"),
            () = self.relay(shared, signals) => unreachable!("the engine holds a sender"),
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
        let why = explain(&shared.options, error);
        let needs_another = error.is_unrecoverable_error()
            || matches!(
                error.code(),
                Some(
                    "STALE"
                        | "READONLY"
                        | "NOSCRIPT"
                        | "NOAUTH"
                        | "WRONGPASS"
                        | "MOVED"
                        | "ASK"
                        | "CLUSTERDOWN"
                        | "LOADING"
                )
            );
        if needs_another {
            self.failure.set(why.clone());
        }
        shared.problem(&why);
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
                let why = format!("the Redis at {} answers an append with {shown}", shared.options.url);
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
            shared.is_well();
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
            return room.refused(&shared.away());
        }
        self.look_at(shared, &room, true).await;
        self.read_users(shared, &room).await;
    }

    /// Compares the end of a log with what arrived. A room is opened after its subscription was confirmed only: what is
    /// published before would not arrive.
    async fn look_at(&self, shared: &Arc<Shared>, room: &Arc<Room>, is_subscribed: bool) {
        let range = Range::Newest;
        let read = wire::read_command(&shared.keys, &self.history, &room.name, range, NOTHING, true);
        match self.command(shared, &read).await {
            Ok(answer) => match wire::read(answer, &room.name, range) {
                Some(read) => {
                    shared.has_seen(&room.name, read.exists);
                    room.synchronised(shared, &read.page, is_subscribed);
                }
                None if is_subscribed => room.refused(&shared.away()),
                None => {}
            },
            Err(_) if is_subscribed => room.refused(&shared.away()),
            // The next look may succeed.
            Err(_) => {}
        }
    }

    async fn close(&self, shared: &Arc<Shared>, room: RoomName) {
        let unsubscribe = self.pubsub("SUNSUBSCRIBE", "UNSUBSCRIBE", &shared.keys.channel(&room));
        let answer = self.subscriptions.clone().req_packed_command(&unsubscribe).await;
        if let Err(error) = answer.and_then(Value::extract_error) {
            self.failed(shared, &error);
        }
    }

    /// Tells other servers the users of this one.
    async fn tell_users(&self, shared: &Arc<Shared>) {
        let server = wire::server_name(shared.server);
        loop {
            let telling = shared.present.next(ROOMS_AT_ONCE).await;
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

    /// Removes the users of servers that are not heard any more.
    async fn remove_dead(&self, shared: &Arc<Shared>) {
        let mut pipeline = redis::Pipeline::new();
        for (server, rooms) in shared.present.take_dead(shared.options.server_timeout) {
            for name in rooms {
                let server_name = wire::server_name(server);
                pipeline.cmd("HDEL").arg(shared.keys.present(&name)).arg(server_name);
                if let Some(room) = shared.rooms.get(&name) {
                    room.present(shared, server, Vec::new());
                }
            }
        }
        self.send(shared, &pipeline).await;
    }

    /// Looks at all watched rooms again and again: a log that was deleted publishes nothing.
    async fn check_rooms(&self, shared: &Arc<Shared>) {
        loop {
            tokio::time::sleep(shared.options.check_interval).await;
            shared.present.publish_all();
            for rooms in shared.rooms.all().chunks(ROOMS_AT_ONCE) {
                let looks = rooms.iter().map(|room| self.look_at(shared, room, false));
                futures_util::future::join_all(looks).await;
            }
        }
    }

    /// Sends messages to itself. Returns when one does not arrive, or the process is not the one that it was.
    async fn probe(&self, shared: &Arc<Shared>) -> NotReady {
        let channel = shared.keys.servers();
        let name = wire::server_name(shared.server);
        let RedisOptions {
            probe_interval,
            probe_timeout,
            url,
            ..
        } = &shared.options;
        let late = |what: &str| NotReady(format!("the Redis at {url} {what} within {probe_timeout:?}"));
        for number in 1_u64.. {
            let mut pipeline = redis::Pipeline::with_capacity(2);
            pipeline.cmd("INFO").arg("replication");
            pipeline.add_command(
                self.pubsub("SPUBLISH", "PUBLISH", &channel)
                    .arg(format!("{name} {number}"))
                    .to_owned(),
            );
            let mut commands = self.commands.clone();
            let answers = commands.req_packed_commands(&pipeline, 0, 2);
            let answers = match tokio::time::timeout(*probe_timeout, answers).await {
                Ok(Ok(answers)) => answers,
                Ok(Err(error)) => return explain(&shared.options, &error),
                Err(_) => return late("has not answered"),
            };
            for answer in answers {
                if let Value::ServerError(error) = answer {
                    return explain(&shared.options, &error.into());
                }
                let Some(info) = info_text(answer) else { continue };
                if field(&info, "role") != "master" {
                    return replica(&shared.options);
                }
                if field(&info, "master_replid") != self.history.id {
                    return stale(&shared.options);
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
            self.remove_dead(shared).await;
            tokio::time::sleep(*probe_interval).await;
        }
        unreachable!("the numbers do not end")
    }
}

/// Something came on the connection for subscriptions. It is called by the task that reads the connection, so that
/// what is not read yet stays in the connection's buffers, which are bounded.
fn received(shared: &Arc<Shared>, servers: &str, probes: &Probes, failure: &Failure, push: PushInfo) {
    match push.kind {
        PushKind::Message | PushKind::SMessage => {}
        PushKind::Disconnection => {
            let why = format!(
                "the Redis at {} has closed the connection for subscriptions",
                shared.options.url
            );
            return failure.set(NotReady(why));
        }
        _ => return,
    }
    let [Value::BulkString(channel), Value::BulkString(payload)] = &push.data[..] else {
        return;
    };
    if channel == servers.as_bytes() {
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
        probes.seen.fetch_max(number.parse().unwrap_or(0), Ordering::AcqRel);
        return probes.arrived.notify_waiters();
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

/// What an error means, and what to do.
fn explain(options: &RedisOptions, error: &RedisError) -> NotReady {
    let url = &options.url;
    let at = |what: &str| NotReady(format!("the Redis at {url} {what}"));
    match (error.code(), error.kind()) {
        (Some("NOAUTH"), _) => at("wants a password: write it in the URL, as in redis://:PASSWORD@HOST"),
        (Some("WRONGPASS"), _) | (_, ErrorKind::AuthenticationFailed) => {
            at("refuses this user or password: correct the URL")
        }
        (Some("NOPERM"), _) => at(&format!(
            "does not permit this user a command that is needed: {}",
            error.detail().unwrap_or_default()
        )),
        (Some("READONLY"), _) => replica(options),
        (Some("STALE"), _) => stale(options),
        (Some("LOADING"), _) => at("is reading its data: wait"),
        (Some("OOM"), _) => {
            at("has no memory left: raise its maxmemory, or keep less with --log-messages and --log-age")
        }
        (Some("MISCONF"), _) => at("cannot write to its disk: see its log"),
        (Some("NOSCRIPT"), _) => at("has forgotten the scripts (SCRIPT FLUSH): they are loaded again"),
        (Some("MOVED" | "ASK" | "CROSSSLOT" | "CLUSTERDOWN"), _) => {
            at("is a node of a cluster, which is not supported: name one that is not")
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

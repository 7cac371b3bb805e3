mod cluster;

use std::{fs, path::PathBuf};

use talkback_protocol::{
    Cursor, Offset,
    message::{Message, code},
};
use talkback_testbed::{Budget, Proxy, Redis as Server};

use super::{
    super::{MemoryOptions, Place},
    *,
};
use crate::engine::conformance::*;

/// How long a test waits for something that happens within a second.
const DEADLINE: Duration = Duration::from_secs(30);
/// An interval that is longer than any test.
const NEVER: Duration = Duration::from_secs(3600);

/// Notices early what is wrong.
fn quick(url: &str) -> RedisOptions {
    RedisOptions {
        reconnect_pause: Duration::from_millis(100),
        probe_interval: Duration::from_millis(50),
        check_interval: Duration::from_millis(100),
        ..RedisOptions::new(url.parse().unwrap())
    }
}

async fn start() -> Server {
    Server::start(&[]).await.unwrap()
}

fn open(server: &Server) -> Arc<dyn Engine> {
    Arc::new(Redis::open(quick(&server.url())).unwrap())
}

/// Looks at rooms only when something happens.
fn unchecked(server: &Server) -> RedisOptions {
    RedisOptions {
        check_interval: NEVER,
        ..quick(&server.url())
    }
}

/// An engine with what it uses, which ends with it: a Redis of its own, or a cluster.
struct Temporary<T> {
    engine: Redis,
    _uses: T,
}

impl Temporary<Server> {
    async fn new() -> Arc<Self> {
        let server = start().await;
        Arc::new(Self {
            engine: Redis::open(quick(&server.unix_url())).unwrap(),
            _uses: server,
        })
    }
}

impl<T: Send + Sync + 'static> Engine for Temporary<T> {
    fn append(&self, append: Append) -> Answer<AppendOutcome> {
        self.engine.append(append)
    }

    fn read(&self, room: &RoomName, range: Range, limit: Limit) -> Answer<Result<Page, Refusal>> {
        self.engine.read(room, range, limit)
    }

    fn watch(&self, room: &RoomName, watcher: Arc<dyn Watcher>) -> Answer<Result<Watch, Refusal>> {
        self.engine.watch(room, watcher)
    }

    fn delete_room(&self, room: &RoomName) -> Answer<Result<DeletedRoom, Refusal>> {
        self.engine.delete_room(room)
    }

    fn delete_messages_of(&self, user: &UserName, room: Option<&RoomName>) -> Answer<Result<u64, Refusal>> {
        self.engine.delete_messages_of(user, room)
    }

    fn has(&self, room: &RoomName) -> bool {
        self.engine.has(room)
    }

    fn usage(&self) -> Usage {
        self.engine.usage()
    }
}

crate::conformance_suite!(Temporary::new().await);

crate::durable_conformance_suite!({
    let server = start().await;
    move || open(&server)
});

/// What a watcher gets.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Event {
    Message(u64, String),
    Restarted(Epoch),
    Signal(Signal),
}

#[derive(Default)]
struct Events(Mutex<Vec<Event>>);

impl Watcher for Events {
    fn appended(&self, message: &Arc<Message>) {
        let event = Event::Message(message.offset.get(), message.body.json().to_owned());
        self.0.lock().push(event);
    }

    fn restarted(&self, epoch: &Epoch) {
        self.0.lock().push(Event::Restarted(epoch.clone()));
    }

    fn signalled(&self, signal: &Signal) {
        self.0.lock().push(Event::Signal(signal.clone()));
    }
}

impl Events {
    /// Waits for so many events.
    async fn wait_for(&self, count: usize) -> Vec<Event> {
        until(&format!("{count} events"), || self.0.lock().len() >= count).await;
        self.0.lock().clone()
    }
}

/// A watcher that has capacity when the test says so.
#[derive(Default)]
struct Narrow {
    events: Events,
    is_open: std::sync::atomic::AtomicBool,
}

impl Watcher for Narrow {
    fn has_capacity(&self) -> bool {
        self.is_open.load(Ordering::Relaxed)
    }

    fn appended(&self, message: &Arc<Message>) {
        assert!(self.has_capacity(), "it has no capacity");
        self.events.appended(message);
    }

    fn restarted(&self, epoch: &Epoch) {
        self.events.restarted(epoch);
    }
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < until, "not within {DEADLINE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Adds a message, as its client does: again until it is in the log.
async fn add_at_last(engine: &Arc<dyn Engine>, append: Append) -> Place {
    let until = Instant::now() + DEADLINE;
    loop {
        match engine.append(append.clone()).await {
            AppendOutcome::Added(place) | AppendOutcome::Duplicate(place) => return place,
            AppendOutcome::Refused { refusal, .. } if refusal.retry_after.is_some() && Instant::now() < until => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            other => panic!("not added: {other:?}"),
        }
    }
}

/// Watches a room: again while Redis is away, or slower than a probe may be.
async fn watch_at_last(engine: &Arc<dyn Engine>, name: &str, watcher: &Arc<Events>) -> Watch {
    let until = Instant::now() + DEADLINE;
    loop {
        match engine.watch(&room(name), Arc::clone(watcher) as _).await {
            Ok(watch) => return watch,
            Err(refusal) => assert!(
                refusal.retry_after.is_some() && Instant::now() < until,
                "not watched: {refusal:?}"
            ),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn ready_at_last(engine: &Arc<dyn Engine>) {
    let until = Instant::now() + DEADLINE;
    while let Err(NotReady(why)) = engine.ready().await {
        assert!(Instant::now() < until, "not ready: {why}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn said(number: u64, body: &str) -> Event {
    Event::Message(number, format!("\"{body}\""))
}

fn cursor(epoch: &Epoch, number: u64) -> Cursor {
    Cursor {
        epoch: epoch.clone(),
        offset: offset(number),
    }
}

#[tokio::test]
async fn what_is_too_old_or_too_much_is_dropped_and_the_newest_stay() {
    let server = start().await;
    let bounded = |log| {
        let options = RedisOptions {
            log,
            ..quick(&server.url())
        };
        Arc::new(Redis::open(options).unwrap()) as Arc<dyn Engine>
    };
    let few = bounded(MemoryOptions {
        messages: 128,
        ..MemoryOptions::DEFAULT
    });
    for number in 1..=300 {
        add(&few, numbered("count", 1, number)).await;
        let page = read(&few, "count", Range::Newest).await;
        let kept = page.head.get() - page.floor.get();
        assert_eq!(kept, page.messages.len() as u64);
        assert!(kept <= 128 && kept >= number.min(125), "{kept} of {number}");
    }
    let all = read(&few, "count", Range::After(Offset::ZERO)).await;
    assert!(
        all.messages
            .iter()
            .map(|message| message.offset.get())
            .eq(all.floor.get() + 1..=300)
    );

    let small = bounded(MemoryOptions {
        bytes: 20 * (OVERHEAD + 200),
        ..MemoryOptions::DEFAULT
    });
    for number in 1..=100 {
        add(&small, numbered("bytes", 1, number)).await;
    }
    let kept = read(&small, "bytes", Range::Newest).await.messages.len();
    assert!((20..40).contains(&kept), "{kept}");
    let large = format!("\"{}\"", "x".repeat(20_000));
    let refused = small.append(message("bytes", MessageId::None, &large)).await;
    assert_eq!(code_of(&refused), Some(code::TOO_LARGE));

    let young = bounded(MemoryOptions {
        age: Duration::from_millis(300),
        ..MemoryOptions::DEFAULT
    });
    add(&young, numbered("age", 1, 1)).await;
    add(&young, numbered("age", 1, 2)).await;
    let until = Instant::now() + DEADLINE;
    loop {
        let page = read(&young, "age", Range::Newest).await;
        assert_eq!(page.head, offset(2));
        if page.messages.is_empty() {
            assert_eq!(page.floor, offset(2));
            break;
        }
        assert!(Instant::now() < until);
    }
    assert_eq!(add(&young, numbered("age", 1, 3)).await.offset, offset(3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn servers_with_one_redis_have_the_same_rooms_and_each_watcher_gets_all_in_one_order() {
    const EACH: u64 = 300;
    let server = start().await;
    let engines = [open(&server), open(&server), open(&server)];
    let mut watchers = Vec::new();
    for engine in &engines {
        let events = Arc::new(Events::default());
        let watch = engine.watch(&room("a"), events.clone()).await.unwrap();
        watchers.push((events, watch));
    }
    let publishers = (1_u8..).zip(&engines).map(|(key, engine)| {
        let engine = Arc::clone(engine);
        tokio::spawn(async move {
            for number in 1..=EACH {
                add(&engine, numbered("a", key, number)).await;
            }
        })
    });
    for publisher in publishers.collect::<Vec<_>>() {
        publisher.await.unwrap();
    }
    let count = usize::try_from(3 * EACH).unwrap();
    let first = watchers[0].0.wait_for(count).await;
    let offsets = first.iter().map(|event| match event {
        Event::Message(offset, _) => *offset,
        Event::Restarted(_) | Event::Signal(_) => 0,
    });
    assert!(offsets.eq(1..=3 * EACH));
    for (events, _) in &watchers {
        assert_eq!(events.wait_for(count).await, first);
    }
    // A client whose connection moved to another server is the same there.
    let again = engines[1].append(numbered("a", 1, EACH)).await;
    assert!(matches!(again, AppendOutcome::Duplicate(_)), "{again:?}");
}

#[tokio::test]
async fn a_message_that_did_not_arrive_is_read_before_the_next_one_is_delivered() {
    let server = start().await;
    // Only the next message can show that one is missing.
    let engine: Arc<dyn Engine> = Arc::new(Redis::open(unchecked(&server)).unwrap());
    let events = Arc::new(Events::default());
    let _watch = engine.watch(&room("a"), events.clone()).await.unwrap();
    let at = add(&engine, numbered("a", 1, 1)).await.at.to_string();
    events.wait_for(1).await;
    // It is added without being published.
    let key = async |kind: &str| server.command(&["KEYS", &format!("*:{kind}:a")]).await.unwrap();
    let text = "0123456789abcdef\nann\n\n\n\"missed\"";
    server
        .command(&["XADD", &key("log").await, "2-0", "at", &at, "message", text])
        .await
        .unwrap();
    server
        .command(&["HSET", &key("state").await, "head", "2"])
        .await
        .unwrap();
    assert_eq!(add(&engine, numbered("a", 1, 2)).await.offset, offset(3));
    assert_eq!(
        events.wait_for(3).await,
        [said(1, "1 1"), said(2, "missed"), said(3, "1 2")]
    );
}

#[tokio::test]
async fn rooms_that_are_left_and_watched_again_at_once_get_their_messages() {
    const ROOMS: usize = 500;
    let server = start().await;
    let here = Redis::open(unchecked(&server)).unwrap();
    let there = open(&server);
    let names: Vec<_> = (0..ROOMS).map(|number| format!("r{number}")).collect();
    let watched: Vec<_> = names
        .iter()
        .map(|name| {
            for _ in 0..3 {
                drop(here.watch(&room(name), Arc::new(Events::default())));
            }
            let events = Arc::new(Events::default());
            (events.clone(), here.watch(&room(name), events))
        })
        .collect();
    let mut watches = Vec::new();
    for (events, watch) in watched {
        watches.push((events, watch.await.unwrap()));
    }
    // What was asked for later comes later.
    let _last = here.watch(&room("last"), Arc::new(Events::default())).await.unwrap();
    for (name, (events, _watch)) in names.iter().zip(&watches) {
        add(&there, message(name, MessageId::None, "\"hello\"")).await;
        assert_eq!(events.wait_for(1).await, [said(1, "hello")]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn rooms_that_are_left_while_the_connections_are_replaced_are_not_subscribed_to() {
    const ROOMS: usize = 500;
    let server = start().await;
    let engine = Redis::open(unchecked(&server)).unwrap();
    let watches = (0..ROOMS).map(|number| engine.watch(&room(&format!("r{number}")), Arc::new(Events::default())));
    let watches = futures_util::future::join_all(watches).await;
    let mut state = engine.0.shared.nodes.all()[0].state.subscribe();
    let left = tokio::spawn(async move {
        let is_down = |state: &nodes::State| matches!(state, nodes::State::Down(_));
        state.wait_for(is_down).await.unwrap();
        let leave = move || {
            // It is too late when this thread must be woken first.
            while is_down(&state.borrow()) {
                std::hint::spin_loop();
            }
            drop(watches);
        };
        tokio::task::spawn_blocking(leave).await.unwrap();
    });
    server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).await.unwrap();
    left.await.unwrap();
    // What was asked for later comes later.
    let last = engine.watch(&room("last"), Arc::new(Events::default())).await.unwrap();
    drop(last);
    let servers = engine.0.shared.keys.servers(None);
    let until = Instant::now() + DEADLINE;
    loop {
        let mut channels = server.command(&["PUBSUB", "SHARDCHANNELS"]).await.unwrap();
        if channels == servers {
            return;
        }
        channels.truncate(200);
        assert!(Instant::now() < until, "{channels}");
    }
}

#[tokio::test]
async fn an_engine_that_is_dropped_closes_its_connections() {
    let server = start().await;
    let connections = async || {
        let clients = server.command(&["CLIENT", "LIST"]).await.unwrap();
        // One of them asks.
        clients.lines().count() - 1
    };
    let engine = open(&server);
    let watch = engine.watch(&room("a"), Arc::new(Events::default())).await.unwrap();
    assert_eq!(connections().await, 2);
    drop((watch, engine));
    let until = Instant::now() + DEADLINE;
    while connections().await > 0 {
        assert!(Instant::now() < until, "they are open");
    }
}

#[tokio::test]
async fn a_deletion_is_told_at_once_to_the_watchers_of_other_servers() {
    let server = start().await;
    // Only what is published can tell.
    let open = || {
        let options = RedisOptions {
            check_interval: Duration::from_secs(3600),
            ..quick(&server.url())
        };
        Arc::new(Redis::open(options).unwrap()) as Arc<dyn Engine>
    };
    let (here, there) = (open(), open());
    let (at_here, at_there) = (Arc::new(Events::default()), Arc::new(Events::default()));
    let _here = here.watch(&room("a"), at_here.clone()).await.unwrap();
    let _there = there.watch(&room("a"), at_there.clone()).await.unwrap();
    add(&here, numbered("a", 1, 1)).await;
    at_there.wait_for(1).await;
    at_here.wait_for(1).await;
    let deleted = here.delete_room(&room("a")).await.unwrap();
    assert_eq!(deleted.messages, 1);
    let told = [said(1, "1 1"), Event::Restarted(deleted.epoch.clone())];
    assert_eq!(at_there.wait_for(2).await, told);
    assert_eq!(at_here.wait_for(2).await, told);
    assert_eq!(code_of(&there.append(numbered("a", 1, 1)).await), Some(code::DELETED));
    add(&there, numbered("a", 1, 2)).await;
    assert_eq!(at_here.wait_for(3).await[2], said(2, "1 2"));
    assert_eq!(at_there.wait_for(3).await[2], said(2, "1 2"));
}

#[tokio::test]
async fn a_log_that_was_written_anew_without_bodies_goes_on_and_expires_as_before() {
    let server = start().await;
    let engine = open(&server);
    for number in 1..=600 {
        add(&engine, numbered("a", 1, number)).await;
    }
    let key = async |kind: &str| server.command(&["KEYS", &format!("*:{kind}:a")]).await.unwrap();
    let (log, state) = (key("log").await, key("state").await);
    let expiry = async || server.command(&["PTTL", &log]).await.unwrap().parse::<u64>().unwrap();
    let bytes = async || {
        server
            .command(&["HGET", &state, "bytes"])
            .await
            .unwrap()
            .parse::<u64>()
            .unwrap()
    };
    let (expired_before, bytes_before) = (expiry().await, bytes().await);
    let before = read(&engine, "a", Range::After(Offset::ZERO)).await;
    let ann = UserName::parse("ann").unwrap();
    assert_eq!(engine.delete_messages_of(&ann, None).await, Ok(600));
    assert!(expiry().await <= expired_before && expiry().await > expired_before / 2);
    let of_bodies: usize = before.messages.iter().map(|message| message.body.json().len()).sum();
    assert_eq!(bytes_before - bytes().await, of_bodies as u64);
    assert!(
        !server
            .command(&["XRANGE", &log, "-", "+"])
            .await
            .unwrap()
            .contains("1 7")
    );
    let place = add(&engine, numbered("a", 1, 601)).await;
    assert_eq!((&place.epoch, place.offset), (&before.epoch, offset(601)));
    let after = read(&engine, "a", Range::After(Offset::ZERO)).await;
    assert!(after.messages[..600].iter().all(|message| message.deleted));
    let places = |page: &Page| {
        page.messages
            .iter()
            .take(600)
            .map(|message| (message.offset, message.at))
            .collect::<Vec<_>>()
    };
    assert_eq!(places(&after), places(&before));

    assert_eq!(engine.delete_room(&room("a")).await.unwrap().messages, 601);
    assert_eq!(
        (bytes().await, server.command(&["EXISTS", &log]).await.unwrap()),
        (0, "0".to_owned())
    );
    add(&engine, numbered("a", 1, 602)).await;
    assert!(expiry().await > 0, "the new log does not expire");
}

#[tokio::test]
async fn a_redis_without_memory_deletes_rooms() {
    let server = start().await;
    let engine = open(&server);
    add(&engine, numbered("a", 1, 1)).await;
    add(&engine, numbered("b", 1, 1)).await;
    server.command(&["CONFIG", "SET", "maxmemory", "1"]).await.unwrap();
    let refused = engine.append(numbered("a", 1, 2)).await;
    assert_eq!(code_of(&refused), Some(code::BUSY));
    assert_eq!(engine.delete_room(&room("a")).await.unwrap().messages, 1);
    let ann = UserName::parse("ann").unwrap();
    assert_eq!(engine.delete_messages_of(&ann, None).await, Ok(1));
    server.command(&["CONFIG", "SET", "maxmemory", "0"]).await.unwrap();
    assert_eq!(add_at_last(&engine, numbered("a", 1, 2)).await.offset, offset(2));
    assert!(read(&engine, "b", Range::Newest).await.messages[0].deleted);
}

#[tokio::test]
async fn messages_that_something_else_deleted_count_as_trimmed_and_the_room_goes_on() {
    let server = start().await;
    let here = Redis::open(unchecked(&server)).unwrap();
    let there = open(&server);
    let narrow = Arc::new(Narrow::default());
    let _watch = here.watch(&room("a"), narrow.clone()).await.unwrap();
    for number in 1..=4 {
        add(&there, numbered("a", 1, number)).await;
    }
    let log = server.command(&["KEYS", "*:log:a"]).await.unwrap();
    server.command(&["XDEL", &log, "1-0", "2-0"]).await.unwrap();
    narrow.is_open.store(true, Ordering::Relaxed);
    let epoch = read(&there, "a", Range::Newest).await.epoch;
    let events = narrow.events.wait_for(3).await;
    assert_eq!(events, [Event::Restarted(epoch), said(3, "1 3"), said(4, "1 4")]);

    server.command(&["DEL", &log]).await.unwrap();
    let page = read(&there, "a", Range::After(offset(2))).await;
    assert_eq!((page.head, page.floor, page.messages.len()), (offset(4), offset(4), 0));
    assert!(!page.has_all_after(offset(3)));
    let page = read(&there, "a", Range::Newest).await;
    assert_eq!((page.head, page.floor), (offset(4), offset(4)));
    assert_eq!(add(&there, numbered("a", 1, 5)).await.offset, offset(5));
    assert_eq!(narrow.events.wait_for(4).await[3], said(5, "1 5"));
}

#[tokio::test]
async fn a_client_is_charged_for_the_rooms_that_it_made_and_for_no_others() {
    let mut server = start().await;
    let options = RedisOptions {
        log: MemoryOptions {
            new_rooms: crate::engine::NewRoomOptions {
                burst: 2,
                per_minute: 1,
                ..MemoryOptions::DEFAULT.new_rooms
            },
            ..MemoryOptions::DEFAULT
        },
        ..unchecked(&server)
    };
    let redis = Redis::open(options).unwrap();
    let engine: Arc<dyn Engine> = Arc::new(redis.clone());
    // None of these makes a room.
    let narrow = redis.watch(&room("full"), Arc::new(Narrow::default())).await.unwrap();
    for _ in 0..5 {
        let gap = engine.append(numbered("gap", 1, 7)).await;
        assert!(matches!(gap, AppendOutcome::Gap { .. }), "{gap:?}");
        let full = engine.append(numbered("full", 1, 1)).await;
        assert_eq!(code_of(&full), Some(code::BUSY));
        assert!(!engine.has(&room("gap")) && !engine.has(&room("full")));
    }
    drop(narrow);
    server.kill().unwrap();
    let until = Instant::now() + DEADLINE;
    while engine.ready().await.is_ok() {
        assert!(Instant::now() < until, "it is not noticed");
    }
    for _ in 0..5 {
        let away = engine.append(numbered("away", 1, 1)).await;
        assert_eq!(code_of(&away), Some(code::BUSY));
    }
    server.start_again().await.unwrap();
    ready_at_last(&engine).await;

    for name in ["gap", "full"] {
        add(&engine, numbered(name, 1, 1)).await;
        let withdrawn = engine.append(withdrawal(numbered(name, 1, 2))).await;
        assert_eq!(code_of(&withdrawn), Some(code::WITHDRAWN));
        assert!(engine.has(&room(name)), "a withdrawal leaves it known");
    }
    let AppendOutcome::Refused { refusal, .. } = engine.append(numbered("third", 1, 1)).await else {
        panic!("it makes a third room")
    };
    assert!(refusal.message.contains("too many rooms"), "{refusal:?}");
    assert!(!engine.has(&room("third")));
}

/// The users that other servers have in a room.
#[derive(Default)]
struct Elsewhere(Mutex<std::collections::BTreeMap<u64, Vec<String>>>);

impl Watcher for Elsewhere {
    fn appended(&self, _message: &Arc<Message>) {}

    fn restarted(&self, _epoch: &Epoch) {}

    fn present(&self, server: u64, users: &[UserName]) {
        let users: Vec<_> = users.iter().map(ToString::to_string).collect();
        let mut elsewhere = self.0.lock();
        elsewhere.insert(server, users);
        elsewhere.retain(|_, users| !users.is_empty());
    }
}

impl Elsewhere {
    async fn wait_for(&self, expected: &[&[&str]]) {
        let are_there = || {
            let elsewhere = self.0.lock();
            let mut users: Vec<_> = elsewhere.values().collect();
            users.sort_unstable();
            users == expected
        };
        until(&format!("{expected:?}"), are_there).await;
    }
}

#[tokio::test]
async fn servers_tell_each_other_their_users_until_they_have_none_or_are_dead() {
    let mut server = start().await;
    let open = || {
        let options = RedisOptions {
            server_timeout: Duration::from_millis(500),
            ..quick(&server.url())
        };
        Redis::open(options).unwrap()
    };
    let (first, second, third) = (open(), open(), open());
    let set = |engine: &Redis, users: &[&str]| engine.set_users(&room("a"), names(users));
    let watch = async |engine: &Redis| {
        let elsewhere = Arc::new(Elsewhere::default());
        let watch = engine.watch(&room("a"), elsewhere.clone()).await.unwrap();
        (elsewhere, watch)
    };
    let (at_first, _first) = watch(&first).await;
    set(&first, &["ann"]);
    set(&second, &["bob", "cid"]);
    at_first.wait_for(&[&["bob", "cid"]]).await;
    // One that comes later is told too.
    let (at_third, _third) = watch(&third).await;
    at_third.wait_for(&[&["ann"], &["bob", "cid"]]).await;
    set(&second, &["bob"]);
    at_first.wait_for(&[&["bob"]]).await;
    at_third.wait_for(&[&["ann"], &["bob"]]).await;
    set(&first, &[]);
    at_third.wait_for(&[&["bob"]]).await;

    // A connection that is made anew, with a Redis that lost all, changes nothing.
    server.kill().unwrap();
    server.start_again().await.unwrap();
    let until = Instant::now() + DEADLINE;
    while third.watch(&room("b"), Arc::new(Elsewhere::default())).await.is_err() {
        assert!(Instant::now() < until, "Redis does not come back");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    set(&second, &["cid"]);
    at_first.wait_for(&[&["cid"]]).await;
    at_third.wait_for(&[&["cid"]]).await;
    set(&third, &["dan"]);
    at_first.wait_for(&[&["cid"], &["dan"]]).await;
    drop(second);
    at_first.wait_for(&[&["dan"]]).await;
    at_third.wait_for(&[]).await;
    let (late, _late) = watch(&first).await;
    late.wait_for(&[&["dan"]]).await;
}

fn names(users: &[&str]) -> Arc<[UserName]> {
    users.iter().map(|user| UserName::parse(user).unwrap()).collect()
}

#[tokio::test]
async fn a_watcher_that_comes_after_another_one_is_told_the_users_of_other_servers() {
    let server = start().await;
    let (here, there) = (
        Redis::open(unchecked(&server)).unwrap(),
        Redis::open(unchecked(&server)).unwrap(),
    );
    let before = Arc::new(Elsewhere::default());
    let _before = here.watch(&room("a"), before.clone()).await.unwrap();
    there.set_users(&room("a"), names(&["bob"]));
    before.wait_for(&[&["bob"]]).await;
    let after = Arc::new(Elsewhere::default());
    let _after = here.watch(&room("a"), after.clone()).await.unwrap();
    after.wait_for(&[&["bob"]]).await;
}

#[tokio::test]
async fn users_that_left_while_the_subscription_was_away_are_gone_when_it_is_back() {
    let server = start().await;
    let there = Redis::open(unchecked(&server)).unwrap();
    ready_at_last(&(Arc::new(there.clone()) as _)).await;
    let here = Redis::open(unchecked(&server)).unwrap();
    let elsewhere = Arc::new(Elsewhere::default());
    let _watch = here.watch(&room("a"), elsewhere.clone()).await.unwrap();
    there.set_users(&room("a"), names(&["bob"]));
    elsewhere.wait_for(&[&["bob"]]).await;
    // As if what was published did not arrive.
    let users = server.command(&["KEYS", "*:present:a"]).await.unwrap();
    server.command(&["DEL", &users]).await.unwrap();
    let subscribed = server.command(&["CLIENT", "LIST", "TYPE", "pubsub"]).await.unwrap();
    let ids = subscribed
        .lines()
        .filter_map(|line| line.split([' ', '=']).nth(1)?.parse::<u64>().ok());
    let newest = ids.max().unwrap().to_string();
    server.command(&["CLIENT", "KILL", "ID", &newest]).await.unwrap();
    elsewhere.wait_for(&[]).await;
}

#[tokio::test]
async fn users_that_could_not_be_told_are_told_later() {
    let server = start().await;
    let (there, here) = (
        Redis::open(unchecked(&server)).unwrap(),
        Redis::open(unchecked(&server)).unwrap(),
    );
    ready_at_last(&(Arc::new(there.clone()) as _)).await;
    server.command(&["ACL", "SETUSER", "default", "-hset"]).await.unwrap();
    there.set_users(&room("a"), names(&["bob"]));
    let until = Instant::now() + DEADLINE;
    while !server
        .command(&["INFO", "commandstats"])
        .await
        .unwrap()
        .lines()
        .any(|line| line.starts_with("cmdstat_hset:") && !line.contains("rejected_calls=0"))
    {
        assert!(Instant::now() < until, "it is not refused");
    }
    server.command(&["ACL", "SETUSER", "default", "+hset"]).await.unwrap();
    let until = Instant::now() + DEADLINE;
    while server.command(&["KEYS", "*:present:a"]).await.unwrap().is_empty() {
        assert!(Instant::now() < until, "it is not told again");
    }
    let elsewhere = Arc::new(Elsewhere::default());
    let _watch = here.watch(&room("a"), elsewhere.clone()).await.unwrap();
    elsewhere.wait_for(&[&["bob"]]).await;
}

#[tokio::test]
async fn a_signal_reaches_the_watchers_of_its_room_at_other_servers_only() {
    let server = start().await;
    let (here, there) = (open(&server), open(&server));
    let watch = async |engine: &Arc<dyn Engine>, name: &str| {
        let events = Arc::new(Events::default());
        let watch = engine.watch(&room(name), events.clone()).await.unwrap();
        (events, watch)
    };
    let (own, _own) = watch(&here, "a").await;
    let (other, _other) = watch(&there, "a").await;
    let (elsewhere, _elsewhere) = watch(&there, "b").await;
    let said = numbered("a", 1, 1);
    let signal = Signal {
        room: said.room.clone(),
        from: said.from.clone(),
        body: talkback_protocol::Body::from_json("{\"typing\":\n1}").unwrap(),
    };
    here.signal(&signal);
    assert_eq!(other.wait_for(1).await, [Event::Signal(signal)]);
    add(&here, said).await;
    own.wait_for(1).await;
    assert!(
        matches!(own.0.lock()[..], [Event::Message(1, _)]),
        "it is not repeated to its sender"
    );
    assert_eq!(*elsewhere.0.lock(), []);
}

#[tokio::test]
async fn a_watcher_without_capacity_gets_the_messages_of_other_servers_when_it_has_some() {
    let server = start().await;
    let (here, there) = (open(&server), open(&server));
    let narrow = Arc::new(Narrow::default());
    let _watch = here.watch(&room("a"), narrow.clone()).await.unwrap();
    for number in 1..=500 {
        add(&there, numbered("a", 1, number)).await;
    }
    assert_eq!(*narrow.events.0.lock(), []);
    narrow.is_open.store(true, Ordering::Relaxed);
    let events = narrow.events.wait_for(500).await;
    assert!(
        (1..=500)
            .zip(events)
            .all(|(number, event)| event == said(number, &format!("1 {number}")))
    );
}

/// The files of the append-only log that a Redis adds to.
fn append_only_file(server: &Server) -> PathBuf {
    let files = fs::read_dir(server.directory().join("appendonlydir")).unwrap();
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "aof"));
    files.sort();
    files
        .into_iter()
        .find(|file| file.to_string_lossy().contains(".incr."))
        .unwrap()
}

/// The tests of a log that goes back: the messages before it, of which two are not lost; those after it.
async fn goes_back(server: &mut Server, mark: impl AsyncFn(&Server), lose: impl AsyncFn(&mut Server)) {
    let engine = open(server);
    let other = open(server);
    let (events, elsewhere) = (Arc::new(Events::default()), Arc::new(Events::default()));
    let _watch = engine.watch(&room("a"), events.clone()).await.unwrap();
    let _other = other.watch(&room("a"), elsewhere.clone()).await.unwrap();
    let before = add(&engine, numbered("a", 1, 1)).await.epoch;
    add(&engine, numbered("a", 1, 2)).await;
    mark(server).await;
    for number in 3..=5 {
        add(&engine, numbered("a", 1, number)).await;
    }
    events.wait_for(5).await;
    elsewhere.wait_for(5).await;
    lose(server).await;

    // Its client was told that five are in the log, so it goes on with the sixth.
    let place = add_at_last(&engine, first("a", 1, 6)).await;
    assert_eq!(place.offset, offset(3), "the numbers of what was lost are given again");
    assert_ne!(place.epoch, before);
    // The other server may not have connected again yet.
    ready_at_last(&other).await;
    let page = read(&other, "a", Range::After(Offset::ZERO)).await;
    assert_eq!(bodies(&page), ["\"1 1\"", "\"1 2\"", "\"1 6\""]);
    assert_eq!((&page.epoch, &page.forks), (&place.epoch, &vec![cursor(&before, 2)]));
    for (number, recovered) in [(1, true), (2, true), (3, false), (5, false)] {
        assert_eq!(page.has_all_since(&cursor(&before, number)), recovered, "{number}");
    }
    for events in [events, elsewhere] {
        let events = events.wait_for(7).await;
        assert_eq!(events[5..], [Event::Restarted(place.epoch.clone()), said(3, "1 6")]);
    }
}

#[tokio::test]
async fn a_redis_whose_append_only_file_lost_its_tail_continues_in_a_new_epoch() {
    // With `everysec` the file may be written later, and the test could not tell what is in it.
    let mut server = Server::start(&["--appendonly", "yes", "--appendfsync", "no"])
        .await
        .unwrap();
    let kept = Mutex::new(0);
    let mark = async |server: &Server| {
        *kept.lock() = fs::metadata(append_only_file(server)).unwrap().len();
    };
    let lose = async |server: &mut Server| {
        server.kill().unwrap();
        let file = fs::OpenOptions::new()
            .write(true)
            .open(append_only_file(server))
            .unwrap();
        assert!(file.metadata().unwrap().len() > *kept.lock(), "there is a tail");
        file.set_len(*kept.lock()).unwrap();
        server.start_again().await.unwrap();
    };
    goes_back(&mut server, mark, lose).await;
}

#[tokio::test]
async fn a_cursor_of_an_epoch_before_several_others_is_valid_up_to_the_lowest_fork_since() {
    let mut server = start().await;
    let engine = open(&server);
    let mut epochs = vec![add(&engine, numbered("a", 1, 1)).await.epoch];
    add(&engine, numbered("a", 1, 2)).await;
    server.command(&["SAVE"]).await.unwrap();
    // The third life of the data has none of the messages of the second one.
    for life in 2..=4 {
        server.kill().unwrap();
        server.start_again().await.unwrap();
        epochs.push(add_at_last(&engine, first("a", 1, 2 + life)).await.epoch);
        if life == 3 {
            server.command(&["SAVE"]).await.unwrap();
        }
    }
    let page = read(&engine, "a", Range::After(Offset::ZERO)).await;
    assert_eq!(bodies(&page), ["\"1 1\"", "\"1 2\"", "\"1 5\"", "\"1 6\""]);
    assert_eq!(page.epoch, epochs[3]);
    for (epoch, number, recovered) in [(0, 2, true), (0, 3, false), (1, 2, false), (2, 3, true), (2, 4, false)] {
        let since = cursor(&epochs[epoch], number);
        assert_eq!(page.has_all_since(&since), recovered, "{epoch} {number}");
    }
    assert_eq!(page.fork_of(&epochs[0]).unwrap().epoch, epochs[0]);
    // The snapshot does not have the second epoch, of which nothing is left.
    assert_eq!(page.fork_of(&epochs[1]).unwrap().epoch, epochs[2]);
}

#[tokio::test]
async fn a_redis_that_starts_from_an_older_snapshot_continues_in_a_new_epoch() {
    let mut server = start().await;
    let mark = async |server: &Server| {
        server.command(&["SAVE"]).await.unwrap();
    };
    let lose = async |server: &mut Server| {
        server.kill().unwrap();
        server.start_again().await.unwrap();
    };
    goes_back(&mut server, mark, lose).await;
}

// The engine blocks its thread when it starts, and the proxy needs one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promoted_replica_without_the_newest_messages_continues_in_a_new_epoch() {
    let (mut master, replica) = (start().await, start().await);
    follow(&replica, &master).await;
    let proxy = Proxy::start(master.address()).await.unwrap();
    let engine = open_at(&proxy);
    let events = Arc::new(Events::default());
    let _watch = engine.watch(&room("a"), events.clone()).await.unwrap();
    let before = add(&engine, numbered("a", 1, 1)).await.epoch;
    add(&engine, numbered("a", 1, 2)).await;
    let written = replication(&master, "master_repl_offset").await;
    let until = Instant::now() + DEADLINE;
    while replication(&replica, "slave_repl_offset").await < written {
        assert!(Instant::now() < until, "the replica does not follow");
    }
    // The replica gets nothing more, as one that is cut off.
    replica.pause();
    for number in 3..=5 {
        add(&engine, numbered("a", 1, number)).await;
    }
    events.wait_for(5).await;
    master.kill().unwrap();
    replica.resume();
    replica.command(&["REPLICAOF", "NO", "ONE"]).await.unwrap();
    proxy.set_target(replica.address());
    let place = add_at_last(&engine, first("a", 1, 6)).await;
    let page = read(&engine, "a", Range::After(Offset::ZERO)).await;
    let [fork] = &page.forks[..] else {
        panic!("{:?}", page.forks)
    };
    assert_eq!(fork.epoch, before);
    assert_ne!(place.epoch, before);
    let fork = fork.offset.get();
    assert_eq!(place.offset.get(), fork + 1);
    // The kernel may have had some of the messages for the replica already.
    assert!((2..=5).contains(&fork), "{fork}");
    assert!(page.has_all_since(&cursor(&before, fork)) && !page.has_all_since(&cursor(&before, fork + 1)));
    let events = events.wait_for(7).await;
    assert_eq!(
        events[5..],
        [Event::Restarted(place.epoch.clone()), said(fork + 1, "1 6")]
    );
}

/// A number of what a Redis says of its replication.
async fn replication(server: &Server, field: &str) -> u64 {
    let info = server.command(&["INFO", "replication"]).await.unwrap();
    let mut fields = info.lines().filter_map(|line| line.trim_end().split_once(':'));
    let found = fields.find(|(name, _)| *name == field);
    found.unwrap_or_else(|| panic!("{field} in {info}")).1.parse().unwrap()
}

/// Makes one the replica of another, and waits until it has all data.
async fn follow(replica: &Server, master: &Server) {
    let port = master.address().port().to_string();
    replica.command(&["REPLICAOF", "127.0.0.1", &port]).await.unwrap();
    let until = Instant::now() + DEADLINE;
    while !replica
        .command(&["INFO", "replication"])
        .await
        .unwrap()
        .contains("master_link_status:up")
    {
        assert!(Instant::now() < until, "it does not follow");
    }
}

fn open_at(proxy: &Proxy) -> Arc<dyn Engine> {
    Arc::new(Redis::open(quick(&format!("redis://{}", proxy.address()))).unwrap())
}

#[tokio::test]
async fn a_new_life_that_servers_notice_at_different_times_begins_one_epoch() {
    let (server, replica) = (start().await, start().await);
    let open = || -> Arc<dyn Engine> {
        let options = RedisOptions {
            probe_interval: NEVER,
            ..unchecked(&server)
        };
        Arc::new(Redis::open(options).unwrap())
    };
    let early = open();
    let events = Arc::new(Events::default());
    let _watch = early.watch(&room("a"), events.clone()).await.unwrap();
    let before = add(&early, numbered("a", 1, 1)).await.epoch;
    let life = async || {
        let info = server.command(&["INFO", "replication"]).await.unwrap();
        link::field(&info, "master_replid").to_owned()
    };
    let of_early = life().await;
    // A Redis that goes on has another history with its first replica.
    follow(&replica, &server).await;
    assert_ne!(life().await, of_early);
    let late = open();
    let mut epoch = None;
    for number in 2..=40 {
        let engine = if number % 2 == 0 { &late } else { &early };
        let place = add_at_last(engine, numbered("a", 1, number)).await;
        assert_eq!(
            *epoch.get_or_insert_with(|| place.epoch.clone()),
            place.epoch,
            "{number}"
        );
    }
    let page = read(&late, "a", Range::Newest).await;
    assert_eq!(page.forks, [cursor(&before, 1)]);
    let events = events.wait_for(41).await;
    assert_eq!(events[..2], [said(1, "1 1"), Event::Restarted(page.epoch)]);
    assert!(
        (2..=40)
            .zip(&events[2..])
            .all(|(number, event)| *event == said(number, &format!("1 {number}")))
    );
}

#[tokio::test]
async fn a_redis_that_was_a_replica_for_a_moment_is_noticed_without_a_message() {
    let server = start().await;
    let engine: Arc<dyn Engine> = Arc::new(Redis::open(unchecked(&server)).unwrap());
    let events = Arc::new(Events::default());
    let _watch = engine.watch(&room("a"), events.clone()).await.unwrap();
    add(&engine, numbered("a", 1, 1)).await;
    events.wait_for(1).await;
    let mut connection = redis::Client::open(server.url())
        .unwrap()
        .get_multiplexed_async_connection()
        .await
        .unwrap();
    // In one step: no probe comes between.
    let mut commands = redis::pipe();
    commands.atomic();
    commands.cmd("REPLICAOF").arg("127.0.0.1").arg(1);
    commands.cmd("REPLICAOF").arg("NO").arg("ONE");
    commands.exec_async(&mut connection).await.unwrap();
    let seen = events.wait_for(2).await;
    assert!(matches!(seen[1], Event::Restarted(_)), "{seen:?}");
}

#[tokio::test]
async fn a_watcher_of_an_epoch_whose_fork_is_not_kept_gets_every_message_after_those_that_it_has() {
    let server = start().await;
    let here = Redis::open(unchecked(&server)).unwrap();
    let there = open(&server);
    let narrow = Arc::new(Narrow::default());
    let _watch = here.watch(&room("a"), narrow.clone()).await.unwrap();
    for number in 1..=3 {
        add(&there, numbered("a", 1, number)).await;
    }
    // As after more lives of the data than forks are kept.
    let state = server.command(&["KEYS", "*:state:a"]).await.unwrap();
    server
        .command(&["HSET", &state, "epoch", "newest", "forks", "before:3"])
        .await
        .unwrap();
    narrow.is_open.store(true, Ordering::Relaxed);
    let newest = Epoch::parse("newest").unwrap();
    assert_eq!(
        narrow.events.wait_for(4).await,
        [Event::Restarted(newest), said(1, "1 1"), said(2, "1 2"), said(3, "1 3")]
    );
}

#[tokio::test]
async fn a_log_that_was_deleted_begins_a_new_epoch_also_without_another_message() {
    let server = start().await;
    let engine = open(&server);
    let events = Arc::new(Events::default());
    let _watch = engine.watch(&room("a"), events.clone()).await.unwrap();
    let before = add(&engine, numbered("a", 1, 1)).await.epoch;
    events.wait_for(1).await;
    server.command(&["FLUSHALL"]).await.unwrap();
    let seen = events.wait_for(2).await;
    let Event::Restarted(epoch) = &seen[1] else {
        panic!("{seen:?}")
    };
    assert_ne!(*epoch, before);
    let page = read(&engine, "a", Range::Newest).await;
    assert_eq!((&page.epoch, page.head), (epoch, Offset::ZERO));
    assert!(!page.has_all_since(&cursor(&before, 1)) && !page.has_all_since(&cursor(&before, 0)));
    let place = add(&engine, numbered("a", 1, 1)).await;
    assert_eq!((&place.epoch, place.offset), (epoch, offset(1)));
    assert_eq!(events.wait_for(3).await[2], said(1, "1 1"));
}

#[tokio::test]
async fn a_room_that_expired_comes_back_in_another_epoch() {
    let server = start().await;
    let options = RedisOptions {
        log: MemoryOptions {
            age: Duration::from_secs(3),
            client_age: Duration::from_secs(3),
            request_age: Duration::from_secs(3),
            ..MemoryOptions::DEFAULT
        },
        ..quick(&server.url())
    };
    let engine: Arc<dyn Engine> = Arc::new(Redis::open(options).unwrap());
    let before = add(&engine, numbered("a", 1, 1)).await;
    let watched = add(&engine, numbered("watched", 1, 1)).await;
    let _watch = engine
        .watch(&room("watched"), Arc::new(Events::default()))
        .await
        .unwrap();
    let until = Instant::now() + DEADLINE;
    while server.command(&["KEYS", "*:state:a"]).await.unwrap() != "" {
        assert!(Instant::now() < until, "it does not expire");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let after = add(&engine, numbered("a", 1, 1)).await;
    assert_eq!(after.offset, offset(1));
    assert_ne!(after.epoch, before.epoch);
    let page = read(&engine, "watched", Range::Newest).await;
    assert_eq!((page.epoch, page.head), (watched.epoch, offset(1)), "it has a member");
}

#[tokio::test]
async fn while_redis_is_away_messages_are_refused_with_a_retry_and_then_all_goes_on() {
    let mut server = Server::start(&["--appendonly", "yes", "--appendfsync", "always"])
        .await
        .unwrap();
    // The subscription is made again; it does not need a look at the log.
    let engine: Arc<dyn Engine> = Arc::new(Redis::open(unchecked(&server)).unwrap());
    let events = Arc::new(Events::default());
    let _watch = engine.watch(&room("a"), events.clone()).await.unwrap();
    let before = add(&engine, numbered("a", 1, 1)).await.epoch;
    ready_at_last(&engine).await;
    server.kill().unwrap();
    let until = Instant::now() + DEADLINE;
    loop {
        let AppendOutcome::Refused { refusal, epoch } = engine.append(numbered("a", 1, 2)).await else {
            panic!("it was not refused")
        };
        assert_eq!(
            (&*refusal.code, refusal.retry_after.is_some(), epoch),
            (code::BUSY, true, None)
        );
        let refused = engine.read(&room("a"), Range::Newest, ALL).await.unwrap_err();
        assert!(refused.retry_after.is_some());
        if let Err(NotReady(why)) = engine.ready().await
            && why.contains("refused")
        {
            break;
        }
        assert!(Instant::now() < until);
    }
    let refused = engine
        .watch(&room("b"), Arc::new(Events::default()))
        .await
        .err()
        .unwrap();
    assert!(refused.retry_after.is_some());
    assert!(
        engine.watch(&room("a"), Arc::new(Events::default())).await.is_ok(),
        "it is watched"
    );
    server.start_again().await.unwrap();
    let place = add_at_last(&engine, numbered("a", 1, 2)).await;
    assert_eq!(place.offset, offset(2));
    ready_at_last(&engine).await;
    let events = events.wait_for(3).await;
    assert_eq!(
        events,
        [said(1, "1 1"), Event::Restarted(place.epoch.clone()), said(2, "1 2")]
    );
    let page = read(&engine, "a", Range::Newest).await;
    assert!(page.has_all_since(&cursor(&before, 1)), "nothing was lost");
    assert!(engine.watch(&room("b"), Arc::new(Events::default())).await.is_ok());
}

#[tokio::test]
async fn a_redis_that_hangs_is_noticed_and_what_was_sent_before_is_added_once() {
    let server = start().await;
    let options = RedisOptions {
        probe_timeout: Duration::from_millis(300),
        ..quick(&server.url())
    };
    let engine: Arc<dyn Engine> = Arc::new(Redis::open(options).unwrap());
    let events = Arc::new(Events::default());
    let _watch = watch_at_last(&engine, "a", &events).await;
    add_at_last(&engine, numbered("a", 1, 1)).await;
    ready_at_last(&engine).await;
    server.pause();
    // It is refused when the connection is replaced; the Redis adds it when it goes on.
    let outcome = engine.append(numbered("a", 1, 2)).await;
    assert!(matches!(outcome, AppendOutcome::Refused { .. }), "{outcome:?}");
    let not_ready = engine.ready().await.unwrap_err();
    assert!(not_ready.0.contains("within 300ms"), "{not_ready}");
    server.resume();
    for number in 2..=4 {
        assert_eq!(
            add_at_last(&engine, numbered("a", 1, number)).await.offset,
            offset(number)
        );
    }
    let events = events.wait_for(4).await;
    assert!(
        (1..=4)
            .zip(events)
            .all(|(number, event)| event == said(number, &format!("1 {number}")))
    );
}

// The engine blocks its thread when it starts, and the proxy needs one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_on_which_nothing_arrives_is_replaced_and_what_was_missed_is_read() {
    let server = start().await;
    let proxy = Proxy::start(server.address()).await.unwrap();
    // The connections of an engine: the check at the start, commands, subscriptions. The last one stalls, and stays open.
    let connections = AtomicUsize::new(0);
    proxy.budget(move || Budget {
        up: u64::MAX,
        down: match connections.fetch_add(1, Ordering::Relaxed) {
            2 => 20_000,
            _ => u64::MAX,
        },
        stall: NEVER,
    });
    let options = RedisOptions {
        probe_timeout: Duration::from_millis(500),
        // Only the probe can find it.
        check_interval: NEVER,
        ..quick(&format!("redis://{}", proxy.address()))
    };
    let engine: Arc<dyn Engine> = Arc::new(Redis::open(options).unwrap());
    let events = Arc::new(Events::default());
    let _watch = watch_at_last(&engine, "a", &events).await;
    let long = "x".repeat(1000);
    for number in 1..=50 {
        let append = numbered("a", 1, number);
        let body = talkback_protocol::Body::from_json(&format!("\"{number} {long}\"")).unwrap();
        let content = Ok(body);
        add_at_last(&engine, Append { content, ..append }).await;
    }
    let events = events.wait_for(50).await;
    assert!(
        (1..=50)
            .zip(events)
            .all(|(number, event)| event == said(number, &format!("{number} {long}")))
    );
    assert!(proxy.passed().accepted >= 5, "the connections were replaced");
}

#[tokio::test]
async fn a_wrong_setting_is_an_error_at_the_start_that_says_what_to_do() {
    let error = |url: &str| {
        Redis::open(quick(url))
            .err()
            .map(|NotReady(why)| why)
            .unwrap_or_default()
    };
    let server = start().await;
    server
        .command(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"])
        .await
        .unwrap();
    assert!(
        error(&server.url()).contains("maxmemory-policy to noeviction"),
        "{}",
        error(&server.url())
    );
    server
        .command(&["CONFIG", "SET", "maxmemory-policy", "noeviction"])
        .await
        .unwrap();
    assert_eq!(error(&server.url()), "");

    server
        .command(&["CONFIG", "SET", "requirepass", "hunter2"])
        .await
        .unwrap();
    let address = server.address();
    assert!(
        error(&server.url()).contains("wants a password"),
        "{}",
        error(&server.url())
    );
    let wrong = error(&format!("redis://:wrong@{address}"));
    assert!(
        wrong.contains("refuses this user or password") && !wrong.contains("wrong"),
        "{wrong}"
    );
    assert_eq!(error(&format!("redis://:hunter2@{address}")), "");

    let cluster = Server::start(&["--cluster-enabled", "yes"]).await.unwrap();
    assert!(error(&cluster.url()).contains("cluster"), "{}", error(&cluster.url()));
}

#[tokio::test]
async fn a_replica_and_one_that_is_full_or_forgot_the_scripts_are_named_and_nothing_is_lost() {
    let (master, server) = (start().await, start().await);
    let engine = open(&server);
    let not_ready = async |what: &str| {
        let until = Instant::now() + DEADLINE;
        loop {
            let why = engine.ready().await.err().map(|NotReady(why)| why).unwrap_or_default();
            if why.contains(what) {
                return;
            }
            assert!(Instant::now() < until, "{what}: {why}");
        }
    };
    add(&engine, numbered("a", 1, 1)).await;
    server.command(&["CONFIG", "SET", "maxmemory", "1"]).await.unwrap();
    let full = engine.append(numbered("a", 1, 2)).await;
    assert_eq!(code_of(&full), Some(code::BUSY));
    not_ready("no memory left").await;
    server.command(&["CONFIG", "SET", "maxmemory", "0"]).await.unwrap();
    add(&engine, numbered("a", 1, 2)).await;
    assert_eq!(engine.ready().await, Ok(()));

    server.command(&["SCRIPT", "FLUSH"]).await.unwrap();
    assert_eq!(add_at_last(&engine, numbered("a", 1, 3)).await.offset, offset(3));

    // A replica has the data of its master: here none.
    follow(&server, &master).await;
    not_ready("is a replica").await;
    server.command(&["REPLICAOF", "NO", "ONE"]).await.unwrap();
    assert_eq!(add_at_last(&engine, first("a", 1, 4)).await.offset, offset(1));
}

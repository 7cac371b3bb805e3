//! The engine on a real Redis Cluster.

use std::sync::Weak;

use talkback_testbed::RedisCluster;
use tokio::sync::Mutex as AsyncMutex;

use super::*;

const MASTERS: usize = 3;

/// A cluster without replicas that tests of the same time share: each has a prefix of its own.
async fn shared() -> Arc<RedisCluster> {
    static CLUSTER: AsyncMutex<Weak<RedisCluster>> = AsyncMutex::const_new(Weak::new());
    let mut running = CLUSTER.lock().await;
    if let Some(cluster) = running.upgrade() {
        return cluster;
    }
    let cluster = Arc::new(RedisCluster::start(MASTERS, 0, &[]).await.unwrap());
    *running = Arc::downgrade(&cluster);
    cluster
}

/// Options for a cluster, with other keys than those of other tests.
fn options(cluster: &RedisCluster) -> RedisOptions {
    RedisOptions {
        prefix: format!("test{:016x}", fastrand::u64(..)),
        ..quick(&cluster.url())
    }
}

/// Looks at rooms only when something happens.
fn unchecked(options: &RedisOptions) -> RedisOptions {
    RedisOptions {
        check_interval: NEVER,
        ..options.clone()
    }
}

fn open(options: &RedisOptions) -> Arc<dyn Engine> {
    Arc::new(Redis::open(options.clone()).unwrap())
}

async fn temporary() -> Arc<Temporary<Arc<RedisCluster>>> {
    let cluster = shared().await;
    Arc::new(Temporary {
        engine: Redis::open(options(&cluster)).unwrap(),
        _uses: cluster,
    })
}

crate::conformance_suite!(temporary().await);

crate::durable_conformance_suite!({
    let cluster = shared().await;
    let options = options(&cluster);
    move || {
        // The closure keeps the cluster.
        let _ = &cluster;
        open(&options)
    }
});

/// A room for each master, which has it at the start.
fn a_room_at_each_master(options: &RedisOptions) -> [RoomName; MASTERS] {
    let keys = Keys::new(&options.prefix);
    std::array::from_fn(|master| {
        let is_there = |name: &RoomName| super::super::cluster::slot(&keys.present(name)) * MASTERS / 16_384 == master;
        let mut names = (0..).map(|number| room(&format!("room{number}")));
        names.find(is_there).expect("there is one")
    })
}

/// The slot of a room.
fn slot_of(options: &RedisOptions, name: &RoomName) -> String {
    super::super::cluster::slot(&Keys::new(&options.prefix).present(name)).to_string()
}

/// A client that publishes numbered messages one after the other, each again until it is in the log, until it is told to
/// stop. Returns how many there were.
fn talk(engine: &Arc<dyn Engine>, name: &RoomName, key: u8) -> impl AsyncFnOnce() -> u64 + use<> {
    let (engine, name) = (Arc::clone(engine), name.clone());
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let task = tokio::spawn(async move {
        let mut number = 0;
        while !stopped.load(Ordering::Relaxed) {
            number += 1;
            add_at_last(&engine, numbered(&name, key, number)).await;
        }
        number
    });
    async move || {
        stop.store(true, Ordering::Relaxed);
        task.await.unwrap()
    }
}

/// Checks that a log has the messages of these clients, each once and in its order.
async fn has_all(engine: &Arc<dyn Engine>, name: &RoomName, clients: &[(u8, u64)]) {
    let mut bodies = Vec::new();
    let mut after = Offset::ZERO;
    loop {
        let page = engine.read(name, Range::After(after), ALL).await.unwrap();
        let Some(last) = page.messages.last() else { break };
        after = last.offset;
        bodies.extend(page.messages.iter().map(|message| message.body.json().to_owned()));
    }
    for (key, count) in clients {
        let of_client = bodies.iter().filter(|body| body.starts_with(&format!("\"{key} ")));
        let expected = (1..=*count).map(|number| format!("\"{key} {number}\""));
        assert!(of_client.cloned().eq(expected), "client {key} of {name}: {bodies:?}");
    }
    let count: u64 = clients.iter().map(|(_, count)| count).sum();
    assert_eq!(bodies.len() as u64, count, "{name}");
}

/// Waits until watchers have been told this message, and checks that they got each message once.
async fn gets(events: &Events, body: &str) {
    let is_there = |event: &Event| matches!(event, Event::Message(_, json) if json == body);
    until(body, || events.0.lock().iter().any(is_there)).await;
    let mut messages: Vec<_> = events.0.lock().clone();
    messages.retain(|event| matches!(event, Event::Message(..)));
    let count = messages.len();
    let mut bodies: Vec<_> = messages
        .into_iter()
        .map(|event| match event {
            Event::Message(_, body) => body,
            Event::Restarted(_) | Event::Signal(_) => String::new(),
        })
        .collect();
    bodies.sort_unstable();
    bodies.dedup();
    assert_eq!(bodies.len(), count, "a message came twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn servers_share_rooms_users_and_signals_at_all_masters_of_a_cluster() {
    let cluster = shared().await;
    let options = options(&cluster);
    let (here, there) = (
        Redis::open(options.clone()).unwrap(),
        Redis::open(options.clone()).unwrap(),
    );
    let (here_any, there_any): (Arc<dyn Engine>, Arc<dyn Engine>) = (Arc::new(here), Arc::new(there.clone()));
    ready_at_last(&here_any).await;
    ready_at_last(&there_any).await;
    for (name, key) in a_room_at_each_master(&options).iter().zip(1_u8..) {
        let (events, elsewhere) = (Arc::new(Events::default()), Arc::new(Elsewhere::default()));
        let _events = here_any.watch(name, events.clone()).await.unwrap();
        let _elsewhere = here_any.watch(name, elsewhere.clone()).await.unwrap();
        let _there = there_any.watch(name, Arc::new(Events::default())).await.unwrap();
        there.set_users(name, names(&["bob"]));
        elsewhere.wait_for(&[&["bob"]]).await;
        let message = numbered(name, key, 1);
        let signal = Signal {
            room: name.clone(),
            from: message.from.clone(),
            body: talkback_protocol::Body::null(),
        };
        there_any.signal(&signal);
        assert_eq!(events.wait_for(1).await, [Event::Signal(signal)]);
        add(&there_any, message).await;
        assert_eq!(events.wait_for(2).await[1], said(1, &format!("{key} 1")));
        there.set_users(name, names(&[]));
        elsewhere.wait_for(&[]).await;
    }
    let ann = UserName::parse("ann").unwrap();
    assert_eq!(
        here_any.delete_messages_of(&ann, None).await,
        Ok(3),
        "one at each master"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_users_of_a_dead_server_leave_rooms_at_all_masters() {
    let cluster = shared().await;
    let options = RedisOptions {
        server_timeout: Duration::from_millis(500),
        ..options(&cluster)
    };
    let (here, there) = (
        Redis::open(options.clone()).unwrap(),
        Redis::open(options.clone()).unwrap(),
    );
    let mut watched = Vec::new();
    for name in &a_room_at_each_master(&options) {
        let elsewhere = Arc::new(Elsewhere::default());
        let watch = here.watch(name, elsewhere.clone()).await.unwrap();
        there.set_users(name, names(&["bob"]));
        elsewhere.wait_for(&[&["bob"]]).await;
        watched.push((elsewhere, watch));
    }
    drop(there);
    for (elsewhere, _) in &watched {
        elsewhere.wait_for(&[]).await;
    }
    let again = Arc::new(Elsewhere::default());
    let _again = here
        .watch(&a_room_at_each_master(&options)[1], again.clone())
        .await
        .unwrap();
    again.wait_for(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_slot_that_is_moved_while_members_talk_loses_nothing() {
    let cluster = RedisCluster::start(MASTERS, 0, &[]).await.unwrap();
    let options = unchecked(&options(&cluster));
    let (here, there) = (open(&options), open(&options));
    let [name, ..] = a_room_at_each_master(&options);
    let slot = slot_of(&options, &name);
    let (at_here, at_there) = (Arc::new(Events::default()), Arc::new(Events::default()));
    let _here = here.watch(&name, at_here.clone()).await.unwrap();
    let _there = there.watch(&name, at_there.clone()).await.unwrap();
    let first = add(&here, numbered(&name, 9, 1)).await;
    let talks = [talk(&here, &name, 1), talk(&there, &name, 2)];
    let mut from = 0;
    // There and back: a life of the data that the room has left is not taken for the same one.
    for (moves, to) in [1, 2, 0].into_iter().enumerate() {
        at_here.wait_for(20 * (moves + 1)).await;
        cluster.begin_move(&slot, from, to).await.unwrap();
        while cluster.move_keys(&slot, from, to, 1).await.unwrap() > 0 {
            // What has missing keys is refused, not half done.
            let refused = here.append(numbered(&name, 8, 1)).await;
            assert!(
                matches!(&refused, AppendOutcome::Refused { refusal, .. } if refusal.retry_after.is_some()),
                "{refused:?}"
            );
        }
        cluster.end_move(&slot, from, to).await.unwrap();
        from = to;
        let before = at_here.0.lock().len();
        at_here.wait_for(before + 20).await;
    }
    let mut clients = vec![(9, 1)];
    for (key, talk) in (1_u8..).zip(talks) {
        clients.push((key, talk().await));
    }
    has_all(&there, &name, &clients).await;
    let last = add_at_last(&here, numbered(&name, 7, 1)).await;
    for events in [&at_here, &at_there] {
        gets(events, "\"7 1\"").await;
        let count = events
            .0
            .lock()
            .iter()
            .filter(|event| matches!(event, Event::Message(..)))
            .count();
        assert_eq!(count as u64, last.offset.get(), "all came");
    }
    let page = here.read(&name, Range::Newest, ALL).await.unwrap();
    assert!(page.has_all_since(&cursor(&first.epoch, 1)), "nothing was lost");
    ready_at_last(&here).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_deletion_in_a_slot_that_is_being_moved_is_refused_whole() {
    let cluster = RedisCluster::start(MASTERS, 0, &[]).await.unwrap();
    let options = unchecked(&options(&cluster));
    let engine = open(&options);
    let [name, ..] = a_room_at_each_master(&options);
    let slot = slot_of(&options, &name);
    for number in 1..=3 {
        add(&engine, numbered(&name, 1, number)).await;
    }
    let ann = UserName::parse("ann").unwrap();
    cluster.begin_move(&slot, 0, 1).await.unwrap();
    let refused = engine.delete_messages_of(&ann, Some(&name)).await.unwrap_err();
    assert!(refused.retry_after.is_some(), "{refused:?}");
    // A number that forgets those before, with all keys there.
    let place = add_at_last(&engine, first(&name, 1, 9)).await;
    assert_eq!(place.offset, offset(4));
    let again = engine.append(first(&name, 1, 9)).await;
    assert!(matches!(again, AppendOutcome::Duplicate(_)), "{again:?}");
    while cluster.move_keys(&slot, 0, 1, 10).await.unwrap() > 0 {}
    cluster.end_move(&slot, 0, 1).await.unwrap();
    assert_eq!(add_at_last(&engine, numbered(&name, 1, 10)).await.offset, offset(5));
    let page = engine.read(&name, Range::Newest, ALL).await.unwrap();
    assert_eq!(page.messages.len(), 5);
    assert!(page.messages.iter().all(|message| !message.deleted));
    assert_eq!(engine.delete_messages_of(&ann, Some(&name)).await, Ok(5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_master_that_gives_its_place_to_its_replica_while_members_talk_loses_nothing() {
    let cluster = RedisCluster::start(MASTERS, 1, &[]).await.unwrap();
    let options = unchecked(&options(&cluster));
    let (here, there) = (open(&options), open(&options));
    let rooms = a_room_at_each_master(&options);
    let events = Arc::new(Events::default());
    let _watch = here.watch(&rooms[1], events.clone()).await.unwrap();
    let before = add(&here, numbered(&rooms[1], 9, 1)).await.epoch;
    let talking = talk(&there, &rooms[1], 1);
    events.wait_for(20).await;
    // Back to the first one: its life before is another one.
    for replica in [MASTERS + 1, 1] {
        cluster.fail_over(replica).await.unwrap();
        let slot = slot_of(&options, &rooms[1]);
        assert_eq!(cluster.owner(&slot, replica).await.unwrap(), replica);
        let count = events.0.lock().len();
        events.wait_for(count + 20).await;
    }
    let count = talking().await;
    has_all(&here, &rooms[1], &[(9, 1), (1, count)]).await;
    add_at_last(&there, numbered(&rooms[1], 8, 1)).await;
    gets(&events, "\"8 1\"").await;
    let page = here.read(&rooms[1], Range::Newest, ALL).await.unwrap();
    assert!(page.has_all_since(&cursor(&before, 1)), "nothing was lost");
    assert!(page.forks.len() >= 2, "{:?}", page.forks);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_killed_master_is_named_and_members_are_told_of_the_tail_that_its_replica_has_not() {
    let mut cluster = RedisCluster::start(MASTERS, 1, &[]).await.unwrap();
    let options = unchecked(&options(&cluster));
    let engine = open(&options);
    let [other, name, _] = a_room_at_each_master(&options);
    let events = Arc::new(Events::default());
    let _watch = engine.watch(&name, events.clone()).await.unwrap();
    let before = add(&engine, numbered(&name, 1, 1)).await.epoch;
    add(&engine, numbered(&name, 1, 2)).await;
    let written = replication(cluster.node(1), "master_repl_offset").await;
    let replica = cluster.node(MASTERS + 1);
    let until = Instant::now() + DEADLINE;
    while replication(replica, "slave_repl_offset").await < written {
        assert!(Instant::now() < until, "the replica does not follow");
    }
    // The master refuses a password that it has none of: the replica gets nothing more.
    replica
        .command(&["CONFIG", "SET", "masterauth", "wrong"])
        .await
        .unwrap();
    cluster
        .node(1)
        .command(&["CLIENT", "KILL", "TYPE", "replica"])
        .await
        .unwrap();
    for number in 3..=5 {
        add(&engine, numbered(&name, 1, number)).await;
    }
    events.wait_for(5).await;
    let killed = cluster.node(1).address().to_string();
    cluster.node_mut(1).kill().unwrap();
    cluster.may_fail_over(MASTERS + 1, true).await.unwrap();
    let until = Instant::now() + DEADLINE;
    loop {
        let why = engine.ready().await.err().map(|NotReady(why)| why).unwrap_or_default();
        if why.contains(&killed) {
            break;
        }
        assert!(Instant::now() < until, "{why}");
    }
    // The other masters go on, unless the cluster is down as a whole, which is over when the replica is promoted.
    add_at_last(&engine, numbered(&other, 1, 1)).await;
    let place = add_at_last(&engine, first(&name, 1, 6)).await;
    assert_ne!(place.epoch, before);
    assert_eq!(place.offset, offset(3), "the tail of three messages is lost");
    let page = engine.read(&name, Range::After(Offset::ZERO), ALL).await.unwrap();
    assert!(page.has_all_since(&cursor(&before, 2)) && !page.has_all_since(&cursor(&before, 3)));
    let events = events.wait_for(7).await;
    assert_eq!(events[5..], [Event::Restarted(place.epoch.clone()), said(3, "1 6")]);
    ready_at_last(&engine).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_no_cluster_and_a_setting_that_deletes_are_refused_at_the_start() {
    let error = |options: &RedisOptions| match Redis::open(options.clone()) {
        Err(NotReady(why)) => why,
        Ok(_) => String::new(),
    };
    let single = start().await;
    let why = error(&quick(&format!("redis+cluster://{}", single.address())));
    assert!(why.contains("write redis:// instead"), "{why}");
    let cluster = RedisCluster::start(MASTERS, 0, &[]).await.unwrap();
    let why = error(&quick(&cluster.node(0).url()));
    assert!(why.contains("write redis+cluster://"), "{why}");
    let braces = RedisOptions {
        prefix: "a{b}".to_owned(),
        ..quick(&cluster.url())
    };
    assert!(error(&braces).contains("prefix"), "{}", error(&braces));
    let policy = ["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"];
    cluster.node(2).command(&policy).await.unwrap();
    let why = error(&options(&cluster));
    let address = cluster.node(2).address().to_string();
    assert!(why.contains("maxmemory-policy") && why.contains(&address), "{why}");
    // One node that is named is enough to find the others.
    let policy = ["CONFIG", "SET", "maxmemory-policy", "noeviction"];
    cluster.node(2).command(&policy).await.unwrap();
    let one = RedisOptions {
        url: format!("redis+cluster://{}", cluster.node(1).address())
            .parse()
            .unwrap(),
        ..options(&cluster)
    };
    ready_at_last(&open(&one)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_slot_without_a_master_is_named_and_the_cluster_that_is_down_refuses_with_a_retry() {
    let cluster = RedisCluster::start(MASTERS, 0, &[]).await.unwrap();
    let options = options(&cluster);
    let engine = open(&options);
    let [name, ..] = a_room_at_each_master(&options);
    let events = Arc::new(Events::default());
    let _watch = engine.watch(&name, events.clone()).await.unwrap();
    add(&engine, numbered(&name, 1, 1)).await;
    let slot = slot_of(&options, &name);
    for number in 0..MASTERS {
        cluster
            .node(number)
            .command(&["CLUSTER", "DELSLOTS", &slot])
            .await
            .unwrap();
    }
    let until = Instant::now() + DEADLINE;
    loop {
        let refused = engine.append(numbered(&name, 1, 2)).await;
        assert!(
            matches!(&refused, AppendOutcome::Refused { refusal, .. } if refusal.retry_after.is_some()),
            "{refused:?}"
        );
        let why = engine.ready().await.err().map(|NotReady(why)| why).unwrap_or_default();
        if why.contains(&format!("slot {slot}")) {
            break;
        }
        assert!(Instant::now() < until, "{why}");
    }
    cluster.node(0).command(&["CLUSTER", "ADDSLOTS", &slot]).await.unwrap();
    add_at_last(&engine, numbered(&name, 1, 2)).await;
    gets(&events, "\"1 2\"").await;
    ready_at_last(&engine).await;
}

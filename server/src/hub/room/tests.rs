//! Members that join, catch up and leave while passes are delivered, and the bounds of what is pending.

use bytes::Bytes;
use futures_util::FutureExt;
use talkback_protocol::{Body, SenderId, message::Author};

use super::*;
use crate::{
    engine::{AppendOutcome, Memory, MemoryOptions},
    hub::{Hub, SessionMember},
    socket::{SocketOptions, Sockets},
};

const MANY: usize = 40;

fn user(name: &str) -> UserName {
    UserName::parse(name).unwrap()
}

fn lobby() -> RoomName {
    RoomName::parse("lobby").unwrap()
}

fn hub(options: HubOptions) -> Hub {
    Hub::new(options, Arc::new(Memory::new(MemoryOptions::default())))
}

fn small_slices() -> HubOptions {
    HubOptions {
        slice_members: 4,
        ..HubOptions::default()
    }
}

fn say(hub: &Hub, text: &str) -> AppendOutcome {
    let answer = hub.publish(&lobby(), &user("ann"), Body::text(text));
    answer
        .at_once()
        .unwrap_or_else(|_| panic!("this engine answers at once"))
}

/// Runs the other tasks until nothing is left to deliver.
async fn deliver_all(room: &Room) {
    while room.pending.lock().scheduled {
        tokio::task::yield_now().await;
    }
}

/// Lets a member go live that has read the log of this epoch.
fn go_live(hub: &Hub, member: &SessionMember, cursor: Offset, place: u64) -> GoLive {
    let room = hub.find(&lobby()).unwrap();
    let epoch = room.pending.lock().epoch.clone().unwrap();
    member.go_live(&epoch, cursor, place)
}

fn session(hub: &Hub, sockets: &Sockets) -> (SessionMember, Sender) {
    let socket = Sender::without_task(sockets);
    let member = hub.join_session(&lobby(), &user("ann"), socket.clone()).unwrap();
    (member, socket)
}

#[tokio::test]
async fn a_pass_serves_one_slice_of_the_members_and_then_other_tasks_run() {
    let bytes_of_four = 4 * "x".repeat(1000).len();
    for options in [
        small_slices(),
        HubOptions {
            slice_bytes: bytes_of_four,
            ..HubOptions::default()
        },
    ] {
        for plain in [true, false] {
            let (hub, all) = (hub(options), Sockets::new(SocketOptions::default()));
            let (mut members, mut sockets) = ((Vec::new(), Vec::new()), Vec::new());
            for _ in 0..MANY {
                if plain {
                    sockets.push(Sender::without_task(&all));
                    let membership = hub.join(&lobby(), &user("ann"), sockets[sockets.len() - 1].clone());
                    members.0.push(membership.unwrap());
                } else {
                    let (member, socket) = session(&hub, &all);
                    assert_eq!(go_live(&hub, &member, Offset::ZERO, 0), GoLive::Live);
                    members.1.push(member);
                    sockets.push(socket);
                }
            }
            let room = hub.find(&lobby()).unwrap();
            say(&hub, &"x".repeat(1000));
            let has_it = |socket: &&Sender| !socket.shared().waiting_bytes().is_empty();
            let served = || sockets.iter().filter(has_it).count();
            let (mut before, mut turns) = (0, 0);
            while before < MANY {
                tokio::task::yield_now().await;
                assert!(served() <= before + 4, "{} at once", served() - before);
                (before, turns) = (served(), turns + 1);
                assert!(turns < 10 * MANY, "only {before} were served");
            }
            assert!(turns >= MANY / 4);
            assert!(!room.members.is_locked());
        }
    }
}

/// The texts of a socket's frames, which are numbers.
fn numbers(socket: &Sender) -> Vec<u64> {
    let bytes = socket.shared().waiting_bytes();
    let text = String::from_utf8_lossy(&bytes);
    let plain = text.split("[ann] ").skip(1);
    let lines = text.split(r#""body":""#).skip(1);
    let digits = |part: &str| part.chars().take_while(char::is_ascii_digit).collect::<String>();
    plain.chain(lines).map(|part| digits(part).parse().unwrap()).collect()
}

#[tokio::test]
async fn members_that_join_leave_or_go_live_between_two_slices_get_everything_once_and_in_order() {
    let sockets = Sockets::new(SocketOptions {
        queue_messages: usize::MAX,
        queue_bytes: usize::MAX,
        ..SocketOptions::default()
    });
    let mut amid_a_pass = [0; 4];
    for seed in 0..60 {
        let mut random = fastrand::Rng::with_seed(seed);
        let hub = hub(HubOptions {
            slice_members: random.usize(1..4),
            block_bytes: random.usize(1..600),
            ..HubOptions::default()
        });
        // Never empty, so that it stays the same room.
        let first = hub
            .join(&lobby(), &user("ann"), Sender::without_task(&sockets))
            .unwrap();
        let room = hub.find(&lobby()).unwrap();
        let mut said = 0_u64;
        let mut plain = Vec::new();
        // With the last message that they had from the log.
        let mut sessions: Vec<(SessionMember, Sender, Option<u64>)> = Vec::new();
        for _ in 0..400 {
            let is_amid = room.members.lock().pass.is_some();
            let what = match random.u8(0..20) {
                0..6 => {
                    said += 1;
                    assert!(matches!(say(&hub, &said.to_string()), AppendOutcome::Added(_)));
                    continue;
                }
                6 => {
                    let socket = Sender::without_task(&sockets);
                    plain.push((hub.join(&lobby(), &user("ann"), socket.clone()).unwrap(), socket, said));
                    0
                }
                7 if sessions.len() < 30 => {
                    let (member, socket) = session(&hub, &sockets);
                    sessions.push((member, socket, None));
                    1
                }
                8 if !sessions.is_empty() => {
                    let index = random.usize(0..sessions.len());
                    let (member, _, had) = &mut sessions[index];
                    // The log is read now, or was read a moment ago.
                    let cursor = said.saturating_sub(random.u64(0..3));
                    if had.is_none() && go_live(&hub, member, Offset::new(cursor).unwrap(), 0) == GoLive::Live {
                        *had = Some(cursor);
                    }
                    2
                }
                9 if !sessions.is_empty() && random.bool() => {
                    sessions.swap_remove(random.usize(0..sessions.len()));
                    3
                }
                _ => {
                    tokio::task::yield_now().await;
                    continue;
                }
            };
            amid_a_pass[what] += usize::from(is_amid);
        }
        deliver_all(&room).await;
        for (_, socket, after) in &plain {
            assert!(numbers(socket).into_iter().eq(after + 1..=said), "seed {seed}");
        }
        for (_, socket, had) in &sessions {
            let expected: Vec<_> = had.map_or_else(Vec::new, |had| (had + 1..=said).collect());
            assert_eq!(numbers(socket), expected, "seed {seed}");
        }
        drop((first, plain, sessions));
        assert_eq!(hub.rooms(), 0);
    }
    assert!(amid_a_pass.iter().all(|count| *count > 50), "{amid_a_pass:?}");
}

#[tokio::test]
async fn pending_bytes_are_bounded_and_further_messages_are_refused_with_a_retry() {
    let options = HubOptions {
        pending_bytes: 10_000,
        ..small_slices()
    };
    let hub = hub(options);
    let sockets = Sockets::new(SocketOptions::default());
    let (member, socket) = session(&hub, &sockets);
    assert_eq!(go_live(&hub, &member, Offset::ZERO, 0), GoLive::Live);
    let room = hub.find(&lobby()).unwrap();
    let text = "x".repeat(1000);
    let mut added = 0;
    let refusal = loop {
        match say(&hub, &text) {
            AppendOutcome::Added(_) => added += 1,
            AppendOutcome::Refused { refusal, .. } => break refusal,
            other => panic!("{other:?}"),
        }
        assert!(added < 20);
    };
    assert!(refusal.retry_after.is_some());
    assert!(room.pending.lock().bytes() < options.pending_bytes + 2000);
    // Presence is announced later then.
    assert!(!room.announce_presence());
    deliver_all(&room).await;
    assert!(room.announce_presence());
    assert!(matches!(say(&hub, &text), AppendOutcome::Added(_)));
    deliver_all(&room).await;
    let lines = socket.shared().waiting_bytes();
    assert_eq!(String::from_utf8_lossy(&lines).matches(&text).count(), added + 1);
}

/// Sends ten equal signals in a room with these options. Returns how many are delivered, and the bytes that two of them
/// take while they are pending.
async fn signals_delivered(options: HubOptions) -> (usize, usize) {
    let hub = hub(options);
    let sockets = Sockets::new(SocketOptions::default());
    let ((one, _), (other, socket)) = (session(&hub, &sockets), session(&hub, &sockets));
    assert_eq!(go_live(&hub, &other, Offset::ZERO, 0), GoLive::Live);
    let room = hub.find(&lobby()).unwrap();
    deliver_all(&room).await;
    let mut bytes_of_two = 0;
    for number in 1..=10 {
        let from = Author {
            sender: SenderId::parse("s1").unwrap(),
            user: user("ann"),
        };
        one.signal(from, Body::text(&"x".repeat(300)));
        if number == 2 {
            bytes_of_two = room.pending.lock().signals.len();
        }
    }
    deliver_all(&room).await;
    let bytes = socket.shared().waiting_bytes();
    assert!(bytes.len() <= options.sent_text_bytes, "{} bytes", bytes.len());
    (String::from_utf8_lossy(&bytes).matches("signal").count(), bytes_of_two)
}

#[tokio::test]
async fn pending_signals_are_one_text_of_bounded_size() {
    let all = HubOptions::default();
    let (count, bytes) = signals_delivered(all).await;
    assert_eq!(count, 10);
    for (sent_text_bytes, expected) in [(bytes, 2), (bytes - 1, 1)] {
        let delivered = signals_delivered(HubOptions { sent_text_bytes, ..all }).await;
        assert_eq!(delivered.0, expected);
    }
}

/// Lets these of three members send a signal with their number before the next pass. Returns the signals that each
/// member gets.
async fn signals_received(senders: &[usize]) -> Vec<Vec<u64>> {
    let hub = hub(HubOptions::default());
    let sockets = Sockets::new(SocketOptions::default());
    let members: Vec<_> = (0..3).map(|_| session(&hub, &sockets)).collect();
    for (member, _) in &members {
        assert_eq!(go_live(&hub, member, Offset::ZERO, 0), GoLive::Live);
    }
    for sender in senders {
        let from = Author {
            sender: SenderId::parse("s1").unwrap(),
            user: user("ann"),
        };
        members[*sender].0.signal(from, Body::text(&sender.to_string()));
    }
    deliver_all(&hub.find(&lobby()).unwrap()).await;
    members.iter().map(|(_, socket)| numbers(socket)).collect()
}

#[tokio::test]
async fn each_member_gets_the_signals_of_the_others_and_not_its_own() {
    assert_eq!(signals_received(&[0, 1]).await, [vec![1], vec![0], vec![0, 1]]);
    assert_eq!(signals_received(&[0]).await, [vec![], vec![0], vec![0]]);
}

#[tokio::test]
async fn signals_are_dropped_while_as_many_bytes_of_them_are_pending_as_the_options_say() {
    let all = HubOptions::default();
    let (_, bytes) = signals_delivered(all).await;
    for (signal_bytes, expected) in [(bytes, 2), (bytes + 1, 3)] {
        let delivered = signals_delivered(HubOptions { signal_bytes, ..all }).await;
        assert_eq!(delivered.0, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn presence_that_cannot_be_announced_while_too_much_is_pending_is_announced_later() {
    let options = HubOptions {
        pending_bytes: 1000,
        ..HubOptions::default()
    };
    let hub = hub(options);
    let sockets = Sockets::new(SocketOptions::default());
    let (member, socket) = session(&hub, &sockets);
    let room = hub.find(&lobby()).unwrap();
    assert_eq!(go_live(&hub, &member, Offset::ZERO, 0), GoLive::Live);
    tokio::time::sleep(2 * options.presence_interval).await;
    deliver_all(&room).await;
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = (tasks(), socket.shared().waiting_bytes().len());
    let _bob = hub
        .join(&lobby(), &user("bob"), Sender::without_task(&sockets))
        .unwrap();
    // It stays pending, because no pass is scheduled.
    let now = Instant::now();
    room.pending
        .lock()
        .lines
        .push(now, |lines| lines.push(None, &[b'x'; 1000]));
    tokio::time::sleep(3 * options.presence_interval).await;
    assert_eq!(socket.shared().waiting_bytes().len(), before.1);
    assert!(room.pending.lock().lines.take().is_some());
    tokio::time::sleep(2 * options.presence_interval).await;
    let bytes = socket.shared().waiting_bytes();
    let lines = String::from_utf8_lossy(&bytes[before.1..]);
    assert!(lines.contains("presence") && lines.contains("bob"), "{lines}");
    assert_eq!(tasks(), before.0, "the task that announces has ended");
}

#[tokio::test]
async fn a_member_that_goes_live_with_a_full_queue_waits_for_its_client_and_is_not_closed() {
    let hub = hub(HubOptions {
        presence_grace: Duration::ZERO,
        ..HubOptions::default()
    });
    let sockets = Sockets::new(SocketOptions::default());
    let (member, socket) = session(&hub, &sockets);
    assert_eq!(member.presence().users, 1);
    let room = hub.find(&lobby()).unwrap();
    let _bob = hub
        .join(&lobby(), &user("bob"), Sender::without_task(&sockets))
        .unwrap();
    assert!(room.announce_presence());
    let shared = socket.shared();
    shared.send_frames_at(0, &Bytes::from(vec![0; 100_000])).await.unwrap();
    let place = shared.place();
    assert_eq!(go_live(&hub, &member, Offset::ZERO, place), GoLive::QueueFull);
    assert!(socket.close_info().is_none());
    assert!(shared.ready_at(place).now_or_never().is_none());
}

#[tokio::test]
async fn users_who_leave_share_one_task() {
    let hub = hub(HubOptions {
        presence_grace: Duration::from_secs(60),
        ..HubOptions::default()
    });
    let sockets = Sockets::new(SocketOptions::default());
    let join = |name: &str| hub.join(&lobby(), &user(name), Sender::without_task(&sockets)).unwrap();
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let _ann = join("ann");
    drop(join("bob"));
    let before = tasks();
    for number in 0..100 {
        drop(join(&format!("user-{number}")));
        drop(join("bob"));
    }
    assert!(tasks() <= before, "{} tasks, {before} before", tasks());
}

/// Runs this on a thread of its own and waits for it with a deadline.
fn elsewhere<T: Send + 'static>(what: &str, run: impl FnOnce() -> T + Send + 'static) -> T {
    let runtime = tokio::runtime::Handle::current();
    let (done, finished) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let _guard = runtime.enter();
        done.send(run())
    });
    let waited = finished.recv_timeout(Duration::from_secs(20));
    waited.unwrap_or_else(|_| panic!("{what} waits for another room"))
}

#[tokio::test]
async fn joining_a_room_does_not_wait_for_joins_and_leaves_of_another_room() {
    let hub = hub(HubOptions::default());
    let sockets = Sockets::new(SocketOptions::default());
    let socket = Sender::without_task(&sockets);
    let member = hub.join(&lobby(), &user("ann"), socket.clone()).unwrap();
    let room = hub.find(&lobby()).unwrap();
    let delivering = room.members.lock();
    let runtime = tokio::runtime::Handle::current();
    let (joins, began) = std::sync::mpsc::channel();
    let others = [
        (joins.clone(), Some(member), hub.clone(), socket.clone()),
        (joins, None, hub.clone(), socket.clone()),
    ]
    .map(|(began, leaves, hub, socket)| {
        let runtime = runtime.clone();
        std::thread::spawn(move || {
            let _guard = runtime.enter();
            began.send(()).unwrap();
            match leaves {
                Some(member) => drop(member),
                None => drop(hub.join(&lobby(), &user("bob"), socket)),
            }
        })
    });
    (0..2).for_each(|_| began.recv().unwrap());
    // They wait for this room by now, or soon.
    for number in 0..200 {
        let (hub, socket) = (hub.clone(), socket.clone());
        elsewhere("a member that joins another room", move || {
            let name = RoomName::parse(&format!("room{number}")).unwrap();
            drop(hub.join(&name, &user("eve"), socket));
            hub.rooms()
        });
    }
    drop(delivering);
    others.into_iter().for_each(|other| other.join().unwrap());
    assert_eq!(hub.rooms(), 0);
}

#[tokio::test]
async fn a_join_does_not_enter_a_room_that_is_being_removed() {
    let hub = hub(HubOptions::default());
    let sockets = Sockets::new(SocketOptions::default());
    // The last member has left, and the map still has the room.
    let room = hub.find_or_create(&lobby()).unwrap();
    assert!(room.close_if_empty());
    let socket = Sender::without_task(&sockets);
    let member = hub.join(&lobby(), &user("ann"), socket.clone()).unwrap();
    let new = hub.find(&lobby()).unwrap();
    assert!(!Arc::ptr_eq(&room, &new));
    // The late removal of the old room does not remove the new one.
    hub.remove(&room);
    assert_eq!(hub.rooms(), 1);
    say(&hub, "7");
    deliver_all(&new).await;
    assert_eq!(numbers(&socket), [7]);
    drop(member);
    assert_eq!(hub.rooms(), 0);
}

#[tokio::test]
async fn a_room_whose_first_member_is_refused_is_removed() {
    let hub = hub(HubOptions {
        members_per_room: 0,
        ..HubOptions::default()
    });
    let sockets = Sockets::new(SocketOptions::default());
    let joined = hub.join(&lobby(), &user("ann"), Sender::without_task(&sockets));
    assert_eq!(joined.err(), Some(JoinError::RoomFull));
    assert_eq!(hub.rooms(), 0);
}

#[test]
fn members_that_join_and_leave_on_many_threads_get_their_own_messages_and_leave_no_room_behind() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let hub = hub(HubOptions {
        presence_grace: Duration::ZERO,
        ..HubOptions::default()
    });
    let sockets = Sockets::new(SocketOptions::default());
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (hub, sockets, runtime) = (hub.clone(), sockets.clone(), runtime.handle().clone());
            std::thread::spawn(move || {
                let _guard = runtime.enter();
                for _ in 0..300 {
                    let socket = Sender::without_task(&sockets);
                    let member = hub.join(&lobby(), &user("ann"), socket.clone()).unwrap();
                    // Another thread may open the room at this moment.
                    runtime.block_on(member.opened()).unwrap();
                    let added = member.publish_text("1");
                    assert!(matches!(added.at_once(), Ok(AppendOutcome::Added(_))));
                    let room = hub.find(&lobby()).unwrap();
                    assert!(room.pending.lock().count > 0, "the room does not watch the log");
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(hub.rooms(), 0);
}

#[tokio::test]
async fn a_member_that_goes_live_gets_the_changes_of_presence_since_it_joined() {
    let hub = hub(HubOptions::default());
    let sockets = Sockets::new(SocketOptions::default());
    let (member, socket) = session(&hub, &sockets);
    assert_eq!(member.presence().users, 1);
    let room = hub.find(&lobby()).unwrap();
    let _bob = hub
        .join(&lobby(), &user("bob"), Sender::without_task(&sockets))
        .unwrap();
    assert!(room.announce_presence());
    assert_eq!(go_live(&hub, &member, Offset::ZERO, 0), GoLive::Live);
    let lines = socket.shared().waiting_bytes();
    let lines = String::from_utf8_lossy(&lines).into_owned();
    assert!(lines.contains("presence") && lines.contains("bob"), "{lines}");
}

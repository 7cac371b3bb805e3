//! The guarantees of the session, between its client half and the real server, over connections that stall and are cut
//! at any byte: every message is acknowledged and reaches every member once, and all members receive one order.

use std::{collections::HashSet, net::SocketAddr, time::Duration};

use crate::support::{Client, Server, session::SUBPROTOCOL};
use futures_util::{SinkExt, StreamExt};
use talkback_protocol::{
    Body, ClientKey, Moment, RoomName, UserName,
    session::client::{BackoffOptions, ClientOptions, ClientSession, DeliveryState, Input, Output, RoomEvent},
};
use talkback_server::AppOptions;
use talkback_testbed::{Budget, Proxy};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout},
};
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest, protocol::CloseFrame};

const CLIENTS: u8 = 4;
const EACH: u64 = 150;
/// The timeout of a test, much longer than it takes.
const DEADLINE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn over_connections_that_are_cut_at_any_byte_every_message_arrives_once_and_in_one_order() {
    let server = Server::with(config()).await;
    let link = bad_link(server.address, || (fastrand::u64(0..8_000), fastrand::u64(0..30_000))).await;
    let expects = u64::from(CLIENTS) * EACH;
    let members = (1..=CLIENTS).map(|number| tokio::spawn(member(link.address(), number, EACH, expects)));
    let members = futures_util::future::join_all(members);
    let members = timeout(DEADLINE, members)
        .await
        .expect("all members to have everything");
    let members: Vec<_> = members.into_iter().map(Result::unwrap).collect();

    let usage = server.app.hub().engine().usage();
    assert_eq!(
        usage.added,
        u64::from(CLIENTS) * EACH,
        "each message is in the log once"
    );
    assert!(usage.duplicates > 0, "no ack was lost: the proxy has too few faults");
    for member in &members {
        assert!(member.connections > 3, "the connection was not cut");
        assert!(member.received == members[0].received, "the orders differ");
        let texts: HashSet<_> = member.received.iter().map(|(_, body)| body).collect();
        assert_eq!(texts.len(), member.received.len(), "a message was delivered twice");
    }
    for number in 1..=CLIENTS {
        let prefix = format!("{number} ");
        let theirs = members[0]
            .received
            .iter()
            .filter_map(|(_, body)| body.strip_prefix(&prefix));
        assert!(
            theirs.eq((1..=EACH).map(|message| message.to_string())),
            "of {number} out of order"
        );
    }
    for (member, number) in members.iter().zip(1_u8..) {
        for (tag, offset) in &member.acked {
            let message = &member.received[usize::try_from(*offset).unwrap() - 1];
            assert_eq!(
                *message,
                (*offset, format!("{number} {tag}")),
                "the ack has the offset of another message"
            );
        }
    }
}

/// The messages that the member missed, and those that it sends, have many times the bytes that one of its connections
/// carries, so both must be sent in small batches.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_member_far_behind_catches_up_over_short_connections() {
    const MISSED: u64 = 600;
    const SENDS: u64 = 120;
    let server = Server::with(config()).await;
    timeout(DEADLINE, member(server.address, 1, MISSED, MISSED))
        .await
        .expect("all messages to be in the log");
    let link = bad_link(server.address, || (3_000, 12_000)).await;
    let late = timeout(DEADLINE, member(link.address(), 2, SENDS, MISSED + SENDS))
        .await
        .expect("the late member to have everything");
    assert!(late.connections > 3, "the connection was not cut");
}

fn config() -> AppOptions {
    AppOptions {
        ping_interval: Duration::from_millis(300),
        ping_timeout: Duration::from_millis(200),
        presence_grace: Duration::from_millis(50),
        max_connection_rate: 0,
        address_connection_rate: 0,
        max_page: 1000,
        ..AppOptions::default()
    }
}

pub(crate) struct Member {
    /// Offset and text of each message.
    pub(crate) received: Vec<(u64, String)>,
    /// Tag and offset of each of its own messages.
    pub(crate) acked: Vec<(u64, u64)>,
    pub(crate) connections: usize,
}

/// A member that sends `sends` messages, a few at a time, and ends when all are acknowledged and it has received
/// `expects` messages.
pub(crate) async fn member(link: SocketAddr, number: u8, sends: u64, expects: u64) -> Member {
    let config = ClientOptions {
        name: Some(UserName::parse(&format!("user{number}")).unwrap()),
        backoff: BackoffOptions {
            base: Duration::from_millis(5),
            cap: Duration::from_millis(50),
            reset_after: Duration::from_millis(200),
        },
        connect_timeout: Duration::from_millis(500),
        hello_timeout: Duration::from_millis(500),
        heartbeat_grace: Duration::from_millis(200),
        ..ClientOptions::default()
    };
    let room = RoomName::parse("lobby").unwrap();
    let start = Instant::now();
    let moment = || Moment {
        now: start.elapsed(),
        random: fastrand::u64(..),
    };
    let mut session = ClientSession::new(config, ClientKey::from_random([number; 16]));
    let mut member = Member {
        received: Vec::new(),
        acked: Vec::new(),
        connections: 0,
    };
    let (mut socket, mut current, mut sent) = (None, 0, 0);
    session.join(moment(), room.clone(), None, Some(1000));
    session.connect(moment());
    let mut next_send = Instant::now();
    while (member.received.len() as u64) < expects || (member.acked.len() as u64) < sends {
        // The member joins before it sends, so that it receives all messages from its own first one on.
        if sent < sends && next_send <= Instant::now() && session.cursor(&room).is_some() {
            sent += 1;
            next_send = Instant::now() + Duration::from_millis(fastrand::u64(0..10));
            let body = Body::text(&format!("{number} {sent}"));
            session.publish(moment(), room.clone(), body, sent).unwrap();
        }
        while let Some(output) = session.poll_output() {
            match output {
                Output::Connect { generation } => {
                    current = generation;
                    socket = connect(link).await;
                    member.connections += 1;
                    let event = match socket {
                        Some(_) => Input::Opened { generation },
                        None => closed(generation, None),
                    };
                    session.handle(moment(), event);
                }
                Output::Transmit { generation, text } if generation == current => {
                    if let Some(open) = &mut socket
                        && open.send(Message::text(text)).await.is_err()
                    {
                        socket = None;
                        session.handle(moment(), closed(generation, None));
                    }
                }
                Output::Disconnect { .. } => socket = None,
                Output::Delivery { tag, state } => match state {
                    DeliveryState::Acked { offset, .. } => member.acked.push((tag, offset.get())),
                    DeliveryState::Failed(reason) => panic!("message {tag} failed: {reason}"),
                    DeliveryState::Queued | DeliveryState::Written => {}
                },
                Output::Room { event, .. } => match event {
                    RoomEvent::Message { message, .. } => {
                        let offset = message.offset.get();
                        assert_eq!(offset, member.received.len() as u64 + 1, "a gap or a duplicate");
                        member.received.push((offset, message.body.read().unwrap()));
                    }
                    RoomEvent::Reset(_) => panic!("a reset although the log lost nothing"),
                    _ => {}
                },
                _ => {}
            }
        }
        let timer = session
            .next_timeout()
            .map_or(DEADLINE, |at| at.saturating_sub(start.elapsed()));
        let pause = if sent < sends {
            timer.min(Duration::from_millis(5))
        } else {
            timer
        };
        let event = tokio::select! {
            message = next(&mut socket) => match message {
                Some(Ok(Message::Text(text))) => Input::Received { generation: current, text: text.to_string() },
                Some(Ok(Message::Close(frame))) => { socket = None; closed(current, frame) }
                Some(Ok(_)) => continue,
                Some(Err(_)) | None => { socket = None; closed(current, None) }
            },
            () = tokio::time::sleep(pause) => Input::Tick,
        };
        session.handle(moment(), event);
    }
    member
}

fn closed(generation: u64, frame: Option<CloseFrame>) -> Input {
    let (code, reason) = frame.map_or((1006, String::new()), |frame| {
        (frame.code.into(), frame.reason.to_string())
    });
    Input::Closed {
        generation,
        code,
        reason,
    }
}

async fn next(socket: &mut Option<Client>) -> Option<Result<Message, tokio_tungstenite::tungstenite::Error>> {
    match socket {
        Some(socket) => socket.next().await,
        None => std::future::pending().await,
    }
}

async fn connect(link: SocketAddr) -> Option<Client> {
    let mut request = format!("ws://{link}/ws").into_client_request().unwrap();
    request
        .headers_mut()
        .insert(SUBPROTOCOL.0, SUBPROTOCOL.1.parse().unwrap());
    let handshake = async {
        let stream = TcpStream::connect(link).await.ok()?;
        tokio_tungstenite::client_async(request, stream).await.ok()
    };
    let opened = timeout(Duration::from_millis(500), handshake).await.ok()??;
    Some(opened.0)
}

/// Checks that each of these members, numbered from 1, sent `each` messages, and that all received each of them once and in one
/// order, with the acknowledged ones where they were acknowledged.
pub(crate) fn assert_once_and_in_one_order(members: &[Member], each: u64) {
    let mut all = HashSet::new();
    for (offset, body) in &members[0].received {
        assert!(
            all.insert(body.clone()),
            "{body} is in the log twice, the second time at {offset}"
        );
    }
    assert_eq!(all.len() as u64, each * members.len() as u64);
    for (number, member) in (1_u8..).zip(members) {
        assert!(member.received == members[0].received, "the orders differ");
        assert_eq!(member.acked.len() as u64, each);
        for (tag, offset) in &member.acked {
            let message = &member.received[usize::try_from(*offset).unwrap() - 1];
            assert_eq!(*message, (*offset, format!("{number} {tag}")));
        }
    }
}

/// A proxy with the budget `bytes()` for each connection, up and down; an eighth of the connections stall for a second
/// after that.
async fn bad_link(server: SocketAddr, mut bytes: impl FnMut() -> (u64, u64) + Send + 'static) -> Proxy {
    let proxy = Proxy::start(server).await.unwrap();
    proxy.budget(move || {
        let (up, down) = bytes();
        let stall = Duration::from_secs(u64::from(fastrand::u8(..) < 30));
        Budget { up, down, stall }
    });
    proxy
}

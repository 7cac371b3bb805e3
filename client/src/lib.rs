//! WebSockets for Rust in the browser: rooms with exactly-once delivery, and the browser's own WebSocket with its whole
//! API.
//!
//! # Rooms
//!
//! A [`Client`] holds one session with a Talkback server and reconnects by itself. Every message of a room arrives
//! once, in the order of the room's log, which is the same for all members. Every message that is sent is appended to
//! that log or fails with a reason.
//!
//! ```no_run
//! use futures_util::StreamExt;
//! use talkback_client::{Client, Event, JoinOptions, UserName};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::builder("/ws").name(UserName::parse("ann")?).build()?;
//! let mut room = client.join::<String>("lobby", &JoinOptions::default())?;
//!
//! let delivery = room.send(&"Hello, everybody".to_owned()).await?; // queued; waits only while the outbox is full
//! let acked = delivery.await?; // in the room's log; otherwise the error says why not
//! println!("message {}", acked.offset);
//!
//! while let Some(event) = room.next().await {
//!     match event {
//!         Event::Message(message) => println!("{}: {:?}", message.from.user, message.body.known()),
//!         Event::Reset(_) => println!("some messages are missing"),
//!         _ => {}
//!     }
//! }
//! # Ok(()) }
//! ```
//!
//! - [`Client`], built by a [`ClientBuilder`]: the connection's status, tokens, and an outbox that can survive a reload
//!   ([`OutboxStorage`]);
//! - [`Room`], a `Stream` of [`Event`]s, and [`RoomSender`]: messages of any serde type, signals, history, members, and
//!   with the feature `find` users found by name;
//! - [`Delivery`]: the state of a sent message, as a `Future` and a `Stream`;
//! - `Direct` (feature `direct`), a `Stream` of what a back end addresses to this user or to its groups;
//! - `yew` (feature `yew`): a provider and hooks; `test_util` (feature `test-util`): a network, a server and a clock in
//!   memory;
//! - `trace` (feature `trace`): what the session decides, as lines of the `log` crate, and a logger for the browser's
//!   console.
//!
//! All of these need the feature `session`, which is on by default.
//!
//! # The socket
//!
//! Every property, event and method of the [standard](https://websockets.spec.whatwg.org/), and an asynchronous
//! `Stream` and `Sink`, for any server.
//!
//! ```no_run
//! use futures_util::{SinkExt, StreamExt};
//! use talkback_client::{Message, Socket, SocketOptions};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let socket = Socket::connect("/echo", &SocketOptions::default()).await?;
//! socket.send("Hello, World!")?; // at once; the error returns the message
//!
//! let (mut sink, mut stream) = socket.split();
//! sink.feed(Message::from(vec![1, 2, 3])).await?; // waits while the browser's buffer is full
//!
//! while let Some(message) = stream.next().await {
//!     match message? {
//!         Message::Text(text) => println!("{text}"),
//!         Message::Binary(bytes) => println!("{} bytes", bytes.len()),
//!         Message::Blob(blob) => println!("{} bytes, not read yet", blob.size()),
//!     }
//!     stream.close();
//! }
//! let event = stream.socket().closed().await;
//! println!("closed with {} {:?}", event.code, event.reason);
//! # Ok(()) }
//! ```
//!
//! - [`Socket`]: connecting, the properties, sending, closing; a handle that is cheap to clone;
//! - [`SocketOptions`]: subprotocols, binary type, handshake timeout and abort signal, and the bounds of both
//!   directions;
//! - [`Message`], with [`Text`] and [`Binary`]: one type for both directions, converted between JavaScript and Rust on
//!   demand;
//! - [`SocketStream`] and [`SocketSink`]: the halves of a socket;
//! - [`EventGuard`]: owns a callback, for code without `async`;
//! - [`CloseEvent`], [`ConnectError`], [`SendError`], [`InboundOverflow`]: how a connection ends or fails.
//!
//! The crate runs in pages and in workers. It also compiles for other targets, where [`Socket::is_supported`] is
//! `false`, so that code that uses it can be checked and its pure parts tested there.
//!
//! It uses `web-sys` and not `gloo-net`, whose socket accepts messages for a closed connection and loses them, reports
//! a normal close that never happened, has no bound on received messages, and offers neither `bufferedAmount` nor a way
//! to close after `split`.

#[cfg(feature = "session")]
mod client;
#[cfg(feature = "session")]
mod driver;
#[cfg(feature = "session")]
mod runtime;
#[cfg(feature = "session")]
mod send_queue;
mod socket;
#[cfg(feature = "session")]
mod store;
#[cfg(feature = "test-util")]
pub mod test_util;
mod timer;
#[cfg(feature = "trace")]
pub mod trace;
#[cfg(feature = "session")]
mod transport;
mod waiters;
#[cfg(feature = "yew")]
pub mod yew;

/// The protocol's types that appear in the API of rooms.
#[cfg(feature = "session")]
pub use talkback_protocol::{
    Body, BodyError, Cursor, Epoch, NameError, Offset, RoomName, SenderId, UserName,
    message::{Author, Member, code},
    session::client::{
        BackoffOptions, Cause, ClientOptions, DeliveryState, FailReason, JoinedRoom, LeftReason, OutboxOptions,
        PageError, PresenceChange, Status, StopReason, SuspendReason,
    },
};

#[cfg(feature = "session")]
pub use client::{
    Acked, Changes, Client, ClientBuilder, Delivery, Event, Fault, History, InboxOptions, Incoming, JoinOptions,
    OutboxStorage, Received, Restored, Room, RoomNameError, RoomSender, room_name,
};

#[cfg(feature = "find")]
pub use talkback_protocol::session::client::FoundMembers;

#[cfg(feature = "direct")]
pub use client::{Addressee, Direct, DirectOptions, Directed};

pub use talkback_protocol::close;

pub use socket::{
    Binary, BinaryType, CloseEvent, ConnectError, EventGuard, InboundOptions, InboundOverflow, Message,
    OutboundOptions, Overflow, ReadyState, SendError, SendErrorKind, Socket, SocketOptions, SocketSink, SocketStream,
    Text,
};

/// The examples of the README, so that they are compiled.
#[cfg(all(doctest, feature = "session"))]
#[doc = include_str!("../../README.md")]
struct Readme;

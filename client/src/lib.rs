//! WebSockets for Rust in the browser: rooms that lose nothing, and the browser's own WebSocket, whole.
//!
//! # Rooms
//!
//! A [`Client`] holds one session with a Talkback server. It connects and comes back by itself; every message arrives once, in the
//! one order that all members share, and every message that is sent ends in the room's log or with a reason.
//!
//! ```no_run
//! use futures_util::StreamExt;
//! use talkback_client::{Client, Event, JoinOptions, UserName};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::builder("/ws").name(UserName::parse("ann")?).build()?;
//! let mut room = client.join::<String>("lobby", &JoinOptions::default())?;
//!
//! let sent = room.send(&"Hello, everybody".to_owned()).await?; // queued; waits only while the outbox is full
//! let place = sent.await?; // in the room's log, or the reason why not: never in doubt
//! println!("message {}", place.offset);
//!
//! while let Some(event) = room.next().await {
//!     match event {
//!         Event::Message(message) => println!("{}: {:?}", message.from.user, message.body.known()),
//!         Event::Reset(_) => println!("some messages are missing"), // never in silence
//!         _ => {}
//!     }
//! }
//! # Ok(()) }
//! ```
//!
//! - [`Client`], made by a [`Builder`]: the connection's state, tokens, and an outbox that may outlive a reload ([`OutboxStorage`]);
//! - [`Room`], a `Stream` of [`Event`]s, and [`RoomSender`]: messages of any serde type, signals, history, members;
//! - [`Delivery`]: how far a message is, to be awaited or watched;
//! - `yew` (feature `yew`): a provider and hooks; `test_util` (feature `test-util`): a network, a server and a clock in memory.
//!
//! All this is the feature `session`, which is on unless you turn it off.
//!
//! # The socket
//!
//! Every property, event and method of the [standard](https://websockets.spec.whatwg.org/), as an asynchronous `Stream` and `Sink`, for
//! any server.
//!
//! ```no_run
//! use futures_util::{SinkExt, StreamExt};
//! use talkback_client::{Message, Options, Socket};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let socket = Socket::connect("/echo", &Options::default()).await?;
//! socket.send("Hello, World!")?; // at once, or an error that gives the message back
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
//! let end = stream.socket().closed().await;
//! println!("closed with {} {:?}", end.code, end.reason);
//! # Ok(()) }
//! ```
//!
//! - [`Socket`]: connecting, the properties, sending, closing; a cheap handle that may be cloned;
//! - [`Options`]: subprotocols, binary type, handshake timeout and abort signal, and the bounds of both directions;
//! - [`Message`], with [`Text`] and [`Binary`]: one type for both directions, converted between JavaScript and Rust on demand;
//! - [`SocketStream`] and [`SocketSink`]: the halves of a socket;
//! - [`EventGuard`]: the callback face, for code without `async`;
//! - [`CloseEvent`], [`ConnectError`], [`SendError`], [`InboundOverflow`]: every way it ends or fails, each with a name.
//!
//! The crate runs in pages and in workers. It also compiles for other targets, where [`Socket::is_supported`] is `false`, so that
//! code that uses it can be checked and its pure parts tested there.
//!
//! It stands on `web-sys` and not on `gloo-net`, whose socket accepts messages for a closed connection and loses them, reports a
//! normal close that never happened, has no bound on what it receives, and offers neither `bufferedAmount` nor a way to close
//! after `split`.

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
#[cfg(feature = "session")]
mod transport;
mod waiters;
#[cfg(feature = "yew")]
pub mod yew;

/// Names, numbers and states that the session's types are made of.
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
    Acked, Builder, Changes, Client, Delivery, Event, Fault, History, InboxOptions, Incoming, JoinOptions,
    OutboxStorage, Received, Restored, Room, RoomNameError, RoomSender, room_name,
};

pub use talkback_protocol::close;

pub use socket::{
    Binary, BinaryType, CloseEvent, ConnectError, EventGuard, Inbound, InboundOverflow, Message, Options, Outbound,
    Overflow, ReadyState, SendError, SendErrorKind, Socket, SocketSink, SocketStream, Text,
};

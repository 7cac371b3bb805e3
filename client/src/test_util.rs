//! A server, a network and a clock in memory, to test an application without real ones (feature `test-util`).
//!
//! A [`World`] holds all three. Its clients are real [`Client`](crate::Client)s: the same session, the same rooms, the
//! same outbox. Only the network is simulated, and the test controls the clock. The server is the real server's session
//! over a small log in memory ([`TestServer`](talkback_protocol::test_util::TestServer)). Tests are deterministic.
//!
//! ```
//! use futures_util::StreamExt;
//! use talkback_client::{Event, JoinOptions, test_util::World};
//!
//! let world = World::new();
//! let client = world.client("ann");
//! world.run(async {
//!     let mut room = client.join::<String>("lobby", &JoinOptions::default())?;
//!     assert!(matches!(room.next().await, Some(Event::Joined(_))));
//!
//!     world.cut();
//!     let delivery = room.send(&"sent while disconnected".to_owned()).await?;
//!     let acked = delivery.await?;
//!     assert_eq!(acked.offset.get(), 1);
//!
//!     assert!(matches!(room.next().await, Some(Event::Recovered(_))));
//!     let Some(Event::Message(message)) = room.next().await else { panic!("the sender gets it too") };
//!     assert_eq!(message.offset, acked.offset);
//!     Ok::<_, Box<dyn std::error::Error>>(())
//! })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod world;

pub use talkback_protocol::{message::Message as LogMessage, session::server::ServerOptions};
#[cfg(test)]
pub(crate) use world::MemoryTexts;
pub use world::{PageEvent, World};

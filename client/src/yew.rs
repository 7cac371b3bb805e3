//! Hooks for [Yew](https://yew.rs) (feature `yew`). They use the public API only.
//!
//! ```
//! use talkback_client::{Client, Received, yew::{ClientProvider, use_client, use_room}};
//! use yew::prelude::*;
//!
//! #[component]
//! fn App() -> Html {
//!     // One client for the whole page, while this component is mounted.
//!     let client = use_memo((), |()| Client::builder("/ws").build().expect("a valid address"));
//!     html! {
//!         <ClientProvider client={(*client).clone()}>
//!             <Chat room="lobby" />
//!         </ClientProvider>
//!     }
//! }
//!
//! #[derive(PartialEq, Properties)]
//! struct ChatProps {
//!     room: AttrValue,
//! }
//!
//! #[component]
//! fn Chat(props: &ChatProps) -> Html {
//!     let room = use_room::<String>(&props.room);
//!     let send = {
//!         let sender = room.sender().cloned();
//!         move |_: MouseEvent| {
//!             // The delivery gives the state of the message; the room yields the message itself.
//!             let _ = sender.as_ref().map(|sender| sender.try_send(&"Hello".to_owned()));
//!         }
//!     };
//!     let line = |message: &std::rc::Rc<Received<String>>| {
//!         let text = message.body.known().map_or("(unknown message)", String::as_str);
//!         html! { <li key={message.offset.get()}>{ format!("{}: {text}", message.from.user) }</li> }
//!     };
//!     html! {
//!         <>
//!             <ul>{ for room.messages.iter().map(line) }</ul>
//!             <button onclick={send}>{ "Say hello" }</button>
//!         </>
//!     }
//! }
//! ```

mod cancellation;
mod provider;
mod room;
mod state;

pub use provider::{ClientProvider, ClientProviderProps, use_client, use_status};
pub use room::{UseRoomHandle, use_room, use_room_with};
pub use state::{RoomReducer, RoomState};

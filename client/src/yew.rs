//! Hooks for [Yew](https://yew.rs) (feature `yew`), on the public API alone.
//!
//! ```
//! use talkback_client::{Client, Received, yew::{ClientProvider, use_client, use_room}};
//! use yew::prelude::*;
//!
//! #[component]
//! fn App() -> Html {
//!     // One client for the whole page, for as long as this component lives.
//!     let client = use_memo((), |()| Client::builder("/ws").build().expect("an address of a server"));
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
//!     let say = {
//!         let sender = room.sender().cloned();
//!         move |_: MouseEvent| {
//!             // The delivery tells how far the message is; the message itself comes back through the room.
//!             let _ = sender.as_ref().map(|sender| sender.try_send(&"Hello".to_owned()));
//!         }
//!     };
//!     let line = |message: &std::rc::Rc<Received<String>>| {
//!         let text = message.body.known().map_or("(a message of a newer version)", String::as_str);
//!         html! { <li key={message.offset.get()}>{ format!("{}: {text}", message.from.user) }</li> }
//!     };
//!     html! {
//!         <>
//!             <ul>{ for room.messages.iter().map(line) }</ul>
//!             <button onclick={say}>{ "Say hello" }</button>
//!         </>
//!     }
//! }
//! ```

mod provider;
mod room;
mod state;

pub use provider::{ClientProvider, ClientProviderProps, use_client, use_status};
pub use room::{UseRoomHandle, use_room, use_room_with};
pub use state::{RoomReducer, RoomState};

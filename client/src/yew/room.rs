use std::{cell::RefCell, fmt, future::poll_fn, ops::Deref, pin::Pin, rc::Rc, task::Poll};

use futures_core::Stream;
use serde::de::DeserializeOwned;
use wasm_bindgen_futures::spawn_local;
use yew::prelude::*;

use super::{RoomReducer, RoomState, cancellation::CancellationToken, use_client};
use crate::{JoinOptions, Member, Room, RoomNameError, RoomSender};

/// The most events that are reduced between two renders, so that the page renders during a long burst.
/// [`use_room_with`] documents it.
const MAX_BATCH: usize = 2_000;

/// A room in a component: its state, to which this dereferences, and a [`RoomSender`].
pub struct UseRoomHandle<T, R = RoomState<T>> {
    state: Rc<R>,
    sender: Result<RoomSender<T>, RoomNameError>,
}

impl<T, R> UseRoomHandle<T, R> {
    /// A handle to send to the room and to read its history; cheap to clone into callbacks. `None` if the room name is
    /// invalid, see [`UseRoomHandle::name_error`].
    #[must_use]
    pub fn sender(&self) -> Option<&RoomSender<T>> {
        self.sender.as_ref().ok()
    }

    /// The users in the room, see [`RoomSender::members`]. The component renders again when they change.
    #[must_use]
    pub fn members(&self) -> Option<Vec<Member>> {
        self.sender()?.members()
    }

    /// How many users are in the room, see [`RoomSender::users`].
    #[must_use]
    pub fn users(&self) -> Option<u32> {
        self.sender()?.users()
    }

    /// Why the room name is invalid; `None` if it is valid.
    #[must_use]
    pub fn name_error(&self) -> Option<&RoomNameError> {
        self.sender.as_ref().err()
    }
}

impl<T, R> Deref for UseRoomHandle<T, R> {
    type Target = R;

    fn deref(&self) -> &R {
        &self.state
    }
}

impl<T, R> Clone for UseRoomHandle<T, R> {
    fn clone(&self) -> Self {
        Self {
            state: self.state.clone(),
            sender: self.sender.clone(),
        }
    }
}

impl<T, R: fmt::Debug> fmt::Debug for UseRoomHandle<T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UseRoomHandle")
            .field("state", &self.state)
            .field("sender", &self.sender)
            .finish()
    }
}

/// Joins a room while the component is mounted. The component renders again after each change. With another name it
/// leaves the room and joins the other one. Components with the same room share one membership.
///
/// # Panics
/// Outside of a [`ClientProvider`](super::ClientProvider).
#[hook]
pub fn use_room<T: DeserializeOwned + 'static>(name: &str) -> UseRoomHandle<T> {
    use_room_with::<T, RoomState<T>>(name, &JoinOptions::default())
}

/// As [`use_room`], with another reducer and options. At most 2,000 events are reduced between two renders.
///
/// The options are read when the room is joined. To apply other options to the same room, change the component's `key`.
///
/// # Panics
/// Outside of a [`ClientProvider`](super::ClientProvider).
#[hook]
pub fn use_room_with<T: DeserializeOwned + 'static, R: RoomReducer<T>>(
    name: &str,
    options: &JoinOptions,
) -> UseRoomHandle<T, R> {
    let client = use_client();
    let update = use_force_update();
    // The state belongs to one membership: the first render with another name or client has a new state.
    let membership = use_memo((client.clone(), name.to_owned()), |_| {
        RefCell::new(Rc::new(R::default()))
    });
    let sender = use_memo((client.clone(), name.to_owned()), |(client, name)| {
        client.room_sender::<T>(name)
    });
    let options = options.clone();
    use_effect_with((client, name.to_owned()), {
        let membership = membership.clone();
        move |(client, name)| {
            let token = CancellationToken::default();
            // The handle reports an invalid name.
            if let Ok(room) = client.join::<T>(name, &options) {
                spawn_local(
                    token
                        .clone()
                        .run_until_cancelled(reduce_events(room, membership, move || update.force_update())),
                );
            }
            move || token.cancel()
        }
    });
    UseRoomHandle {
        state: membership.borrow().clone(),
        sender: (*sender).clone(),
    }
}

/// Passes every event to the reducer, those that are available together before one render.
async fn reduce_events<T: DeserializeOwned, R: RoomReducer<T>>(
    mut room: Room<T>,
    state: Rc<RefCell<Rc<R>>>,
    changed: impl Fn(),
) {
    loop {
        let is_over = poll_fn(|context| {
            let mut count = 0;
            loop {
                match Pin::new(&mut room).poll_next(context) {
                    Poll::Ready(Some(event)) => {
                        let mut state = state.borrow_mut();
                        // Clones the state at most once per render, because the last render holds the former one.
                        Rc::make_mut(&mut *state).take(event);
                        count += 1;
                        if count == MAX_BATCH {
                            return Poll::Ready(false);
                        }
                    }
                    Poll::Ready(None) => return Poll::Ready(true),
                    Poll::Pending if count > 0 => return Poll::Ready(false),
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await;
        changed();
        if is_over {
            return;
        }
        // Yew renders in another task, which runs during this await.
        wasm_bindgen_futures::JsFuture::from(js_sys::Promise::resolve(&wasm_bindgen::JsValue::UNDEFINED))
            .await
            .ok();
    }
}

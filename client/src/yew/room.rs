use std::{
    cell::{Cell, RefCell},
    fmt,
    future::{Future, poll_fn},
    ops::Deref,
    pin::Pin,
    rc::Rc,
    task::Poll,
};

use futures_core::Stream;
use serde::de::DeserializeOwned;
use wasm_bindgen_futures::spawn_local;
use yew::prelude::*;

use super::{RoomReducer, RoomState, use_client};
use crate::{
    JoinOptions, Room, RoomNameError, RoomSender,
    waiters::{Waiter, Waiters},
};

/// The most events that are reduced between two renders, so that a long burst does not keep the page from drawing.
const BATCH: usize = 2_000;

/// A room in a component: its state, which this derefs to, and the way to send.
pub struct UseRoomHandle<T, R = RoomState<T>> {
    state: Rc<R>,
    sender: Result<RoomSender<T>, RoomNameError>,
}

impl<T, R> UseRoomHandle<T, R> {
    /// To send to the room, ask for its history, and the like; a cheap handle to be cloned into callbacks. `None` if the name is not
    /// one of a room, see [`UseRoomHandle::name_error`].
    #[must_use]
    pub fn sender(&self) -> Option<&RoomSender<T>> {
        self.sender.as_ref().ok()
    }

    /// What is wrong with the name.
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

/// Joins a room for as long as the component lives, and renders again with each change. Another name moves the membership; several
/// components in one room share one.
///
/// # Panics
/// Outside of a [`ClientProvider`](super::ClientProvider).
#[hook]
pub fn use_room<T: DeserializeOwned + 'static>(name: &str) -> UseRoomHandle<T> {
    use_room_with::<T, RoomState<T>>(name, &JoinOptions::default())
}

/// As [`use_room`], with the component's own reducer and options. The options count when the room is joined; to change them in one
/// room, give the component another key.
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
    // The state belongs to one membership: with another name or client it begins anew in the very first render.
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
            let ended = Ended::default();
            // A name that is not one of a room is told by the handle.
            if let Ok(room) = client.join::<T>(name, &options) {
                spawn_local(
                    ended
                        .clone()
                        .or(follow(room, membership, move || update.force_update())),
                );
            }
            move || ended.end()
        }
    });
    UseRoomHandle {
        state: membership.borrow().clone(),
        sender: (*sender).clone(),
    }
}

/// Gives every event to the reducer, once; those that are there together before one render.
async fn follow<T: DeserializeOwned, R: RoomReducer<T>>(
    mut room: Room<T>,
    state: Rc<RefCell<Rc<R>>>,
    changed: impl Fn(),
) {
    loop {
        let over = poll_fn(|context| {
            let mut count = 0;
            loop {
                match Pin::new(&mut room).poll_next(context) {
                    Poll::Ready(Some(event)) => {
                        let mut state = state.borrow_mut();
                        // Copied at most once for each render that still shows the former state.
                        Rc::make_mut(&mut *state).take(event);
                        count += 1;
                        if count == BATCH {
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
        if over {
            return;
        }
        // Yew renders in a task of its own; a burst must let it.
        wasm_bindgen_futures::JsFuture::from(js_sys::Promise::resolve(&wasm_bindgen::JsValue::UNDEFINED))
            .await
            .ok();
    }
}

/// Ends a task from outside, which drops all that the task holds at once.
#[derive(Clone, Default)]
pub(super) struct Ended(Rc<(Cell<bool>, Waiters)>);

impl Ended {
    pub(super) fn end(&self) {
        self.0.0.set(true);
        self.0.1.wake();
    }

    /// The task, until it is ended.
    pub(super) async fn or(self, task: impl Future<Output = ()>) {
        let waiter = Waiter::default();
        let mut task = Box::pin(task);
        poll_fn(move |context| {
            if self.0.0.get() {
                return Poll::Ready(());
            }
            self.0.1.wait(&waiter, context);
            task.as_mut().poll(context)
        })
        .await;
    }
}

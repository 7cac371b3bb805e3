use std::{collections::VecDeque, fmt, rc::Rc};

use crate::{Event, JoinedRoom, Offset, Received};

/// Computes a component's state from a room's events, see [`use_room_with`](super::use_room_with). It is a pure
/// function of the events, so it can be tested without a browser.
pub trait RoomReducer<T>: Clone + Default + 'static {
    /// Applies the next event. Every event is applied once, in order. Several events may be applied between two
    /// renders.
    fn take(&mut self, event: Event<T>);
}

/// The default state of a room, which [`use_room`](super::use_room) computes from its events. The users in the room are
/// those of the client: [`UseRoomHandle::members`](super::UseRoomHandle::members).
pub struct RoomState<T> {
    /// Consecutive messages up to the newest one, oldest first; at most [`RoomState::MESSAGES`].
    pub messages: VecDeque<Rc<Received<T>>>,
    /// The room when it was joined last; `None` while it is not joined.
    pub joined: Option<JoinedRoom>,
    /// How many times messages were missing ([`Event::Reset`]); each time `messages` was cleared.
    pub resets: u32,
    /// How many acknowledged messages of this client the server has lost, see [`Event::Lost`].
    pub lost: u64,
    /// Why the server refused the join or ended the membership, for people.
    pub refused: Option<String>,
}

impl<T> RoomState<T> {
    /// The most messages in `messages`; [`RoomSender::history`](crate::RoomSender::history) gets older ones.
    pub const MESSAGES: usize = 10_000;

    /// The offset of the newest message.
    #[must_use]
    pub fn newest(&self) -> Option<Offset> {
        self.messages.back().map(|message| message.offset)
    }

    fn set_room(&mut self, room: &JoinedRoom) {
        self.joined = Some(room.clone());
        self.refused = None;
    }
}

impl<T: 'static> RoomReducer<T> for RoomState<T> {
    fn take(&mut self, event: Event<T>) {
        match event {
            Event::Joined(room) => {
                self.messages.clear();
                self.set_room(&room);
            }
            Event::Recovered(room) => self.set_room(&room),
            Event::Reset(room) => {
                self.messages.clear();
                self.resets += 1;
                self.set_room(&room);
            }
            Event::Message(message) => {
                if self.messages.len() >= Self::MESSAGES {
                    self.messages.pop_front();
                }
                self.messages.push_back(Rc::new(message));
            }
            Event::Lost { offsets, .. } => self.lost += offsets.len() as u64,
            Event::Presence { .. } | Event::Signal { .. } => {}
            Event::Left(reason) => {
                self.joined = None;
                self.refused = reason.map(|reason| reason.message);
            }
            Event::Refused { message, .. } => {
                self.joined = None;
                self.refused = Some(message);
            }
        }
    }
}

// Derived implementations would require the same traits of `T`.
impl<T> Clone for RoomState<T> {
    fn clone(&self) -> Self {
        Self {
            messages: self.messages.clone(),
            joined: self.joined.clone(),
            resets: self.resets,
            lost: self.lost,
            refused: self.refused.clone(),
        }
    }
}

impl<T> Default for RoomState<T> {
    fn default() -> Self {
        Self {
            messages: VecDeque::new(),
            joined: None,
            resets: 0,
            lost: 0,
            refused: None,
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for RoomState<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoomState")
            .field("messages", &self.messages)
            .field("joined", &self.joined)
            .field("resets", &self.resets)
            .field("lost", &self.lost)
            .field("refused", &self.refused)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Author, Epoch, Incoming, LeftReason, Member, SenderId, UserName};

    fn room(after: u64) -> JoinedRoom {
        JoinedRoom {
            epoch: Epoch::parse("a").unwrap(),
            head: Offset::new(after).unwrap(),
            after: Offset::new(after).unwrap(),
            users: 1,
            members: Some(vec![member("ann")]),
        }
    }

    fn member(user: &str) -> Member {
        Member {
            user: UserName::parse(user).unwrap(),
        }
    }

    fn message(offset: u64) -> Event<u64> {
        Event::Message(Received {
            offset: Offset::new(offset).unwrap(),
            from: Author {
                sender: SenderId::parse("s").unwrap(),
                user: UserName::parse("ann").unwrap(),
            },
            own: false,
            at: 0,
            body: Incoming::Known(offset),
        })
    }

    fn offsets(state: &RoomState<u64>) -> Vec<u64> {
        state.messages.iter().map(|message| message.offset.get()).collect()
    }

    #[test]
    fn a_reset_clears_the_messages_and_a_recovery_does_not() {
        let mut state = RoomState::default();
        state.take(Event::Joined(room(0)));
        [1, 2].map(message).into_iter().for_each(|event| state.take(event));
        state.take(Event::Recovered(room(2)));
        state.take(message(3));
        assert_eq!(offsets(&state), [1, 2, 3]);
        state.take(Event::Reset(room(10)));
        state.take(message(11));
        assert_eq!((offsets(&state), state.resets), (vec![11], 1));
        assert_eq!(state.newest().map(Offset::get), Some(11));
    }

    #[test]
    fn messages_stay_within_their_bound() {
        let mut state = RoomState::default();
        let last = RoomState::<u64>::MESSAGES as u64 + 5;
        (1..=last).for_each(|offset| state.take(message(offset)));
        assert_eq!(state.messages.len(), RoomState::<u64>::MESSAGES);
        assert_eq!(offsets(&state)[0], 6);
    }

    #[test]
    fn a_room_that_is_left_or_refused_has_the_reason_until_it_is_joined() {
        let mut state = RoomState::<u64>::default();
        state.take(Event::Joined(room(0)));
        state.take(Event::Left(Some(LeftReason {
            code: "no_such_room".into(),
            message: "the room is over".into(),
        })));
        assert_eq!(
            (&state.joined, state.refused.as_deref()),
            (&None, Some("the room is over"))
        );
        state.take(Event::Joined(room(0)));
        state.take(Event::Refused {
            code: "forbidden".into(),
            message: "you may not".into(),
        });
        assert_eq!((state.joined, state.refused.as_deref()), (None, Some("you may not")));
    }
}

use std::{
    collections::{BTreeSet, VecDeque},
    fmt,
    rc::Rc,
};

use crate::{Event, JoinedRoom, Member, Offset, Received};

/// What a component makes of a room's events, see [`use_room_with`](super::use_room_with). A pure function of the events, so that
/// it can be tested without a browser.
pub trait RoomReducer<T>: Clone + Default + 'static {
    /// Takes the next event. Every event comes once, in order; those that arrive together are taken one by one before the component
    /// renders again.
    fn take(&mut self, event: Event<T>);
}

/// A room as most pages show it: what [`use_room`](super::use_room) makes of its events.
pub struct RoomState<T> {
    /// The messages that the page shows, oldest first, without a gap: at most [`RoomState::MESSAGES`].
    pub messages: VecDeque<Rc<Received<T>>>,
    /// The users in the room.
    pub members: BTreeSet<Member>,
    /// The room when it was joined last; `None` before.
    pub joined: Option<JoinedRoom>,
    /// How many times messages were lost because the log had them no longer; what was shown before is gone from `messages`.
    pub resets: u32,
    /// Why the server does not let this user be a member.
    pub refused: Option<String>,
}

impl<T> RoomState<T> {
    /// The most messages that are kept; [`RoomSender::history`](crate::RoomSender::history) has those before.
    pub const MESSAGES: usize = 10_000;

    /// The newest message that is shown.
    #[must_use]
    pub fn newest(&self) -> Option<Offset> {
        self.messages.back().map(|message| message.offset)
    }

    fn members(&mut self, room: &JoinedRoom) {
        self.members = room.members.iter().cloned().collect();
        self.joined = Some(room.clone());
        self.refused = None;
    }
}

impl<T: 'static> RoomReducer<T> for RoomState<T> {
    fn take(&mut self, event: Event<T>) {
        match event {
            Event::Joined(room) => {
                self.messages.clear();
                self.members(&room);
            }
            Event::Recovered(room) => self.members(&room),
            Event::Reset(room) => {
                self.messages.clear();
                self.resets += 1;
                self.members(&room);
            }
            Event::Message(message) => {
                if self.messages.len() >= Self::MESSAGES {
                    self.messages.pop_front();
                }
                self.messages.push_back(Rc::new(message));
            }
            Event::Presence { joined, left } => {
                self.members.extend(joined);
                for member in left {
                    self.members.remove(&member);
                }
            }
            Event::Signal { .. } => {}
            Event::Left => self.joined = None,
            Event::Refused { message, .. } => {
                self.joined = None;
                self.refused = Some(message);
            }
        }
    }
}

// Derived, these would ask the same of `T`.
impl<T> Clone for RoomState<T> {
    fn clone(&self) -> Self {
        Self {
            messages: self.messages.clone(),
            members: self.members.clone(),
            joined: self.joined.clone(),
            resets: self.resets,
            refused: self.refused.clone(),
        }
    }
}

impl<T> Default for RoomState<T> {
    fn default() -> Self {
        Self {
            messages: VecDeque::new(),
            members: BTreeSet::new(),
            joined: None,
            resets: 0,
            refused: None,
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for RoomState<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoomState")
            .field("messages", &self.messages)
            .field("members", &self.members)
            .field("joined", &self.joined)
            .field("resets", &self.resets)
            .field("refused", &self.refused)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Author, Epoch, Incoming, SenderId, UserName};

    fn room(after: u64) -> JoinedRoom {
        JoinedRoom {
            epoch: Epoch::parse("a").unwrap(),
            head: Offset::new(after).unwrap(),
            after: Offset::new(after).unwrap(),
            users: 1,
            members: vec![member("ann")],
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
    fn a_reset_replaces_what_is_shown_and_a_recovery_does_not() {
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
    fn the_messages_of_a_long_life_stay_within_their_bound() {
        let mut state = RoomState::default();
        let last = RoomState::<u64>::MESSAGES as u64 + 5;
        (1..=last).for_each(|offset| state.take(message(offset)));
        assert_eq!(state.messages.len(), RoomState::<u64>::MESSAGES);
        assert_eq!(offsets(&state)[0], 6);
    }

    #[test]
    fn members_come_and_go() {
        let mut state = RoomState::<u64>::default();
        state.take(Event::Joined(room(0)));
        state.take(Event::Presence {
            joined: vec![member("bob")],
            left: vec![member("ann")],
        });
        assert_eq!(state.members.iter().collect::<Vec<_>>(), [&member("bob")]);
        state.take(Event::Refused {
            code: "forbidden".into(),
            message: "you may not".into(),
        });
        assert_eq!((state.joined, state.refused.as_deref()), (None, Some("you may not")));
    }
}

//! The client of the chat: turns its streams into [`SessionEvent`]s and the reducer's effects into calls. It decides
//! nothing.

use std::{cell::RefCell, collections::VecDeque, rc::Rc, time::Duration};

use futures_util::{
    StreamExt,
    future::{AbortHandle, abortable},
};
use talkback_client as client;
use talkback_client::{
    Client, Cursor, Delivery, DeliveryState, JoinOptions, Offset, OutboxStorage, Restored, RoomName, RoomSender,
    Status, StopReason, SuspendReason, UserName,
};
use wasm_bindgen_futures::spawn_local;
use yew::Callback;

use super::{
    outbox::Key,
    reducer::{ConnectionStatus, Continuity, SessionEvent, users},
    timeline::{PAGE, RoomMessage},
};

/// The body of the signal while the user types.
const TYPING: &str = "typing";

/// How long unsent messages are kept over a reload; less than servers remember senders, so that a resend is not
/// appended twice.
const OUTBOX_TTL: Duration = Duration::from_secs(30 * 60);

/// At most one connection, and the rooms of it.
pub(super) struct Session {
    url: String,
    events: Callback<SessionEvent>,
    room_events: Callback<(RoomName, SessionEvent)>,
    connected: Option<Connected>,
    rooms: Vec<(RoomName, Joined)>,
    /// What was sent before a reload, in rooms that are not joined yet.
    restored: Rc<RefCell<Vec<Restored>>>,
    /// Deliveries of [`SessionEvent::Restored`] that are not tracked yet.
    untracked: Rc<RefCell<VecDeque<(RoomName, Delivery)>>>,
}

struct Connected {
    name: UserName,
    client: Client,
    _status: Task,
}

struct Joined {
    sender: RoomSender<String>,
    _events: Task,
    _restored: Task,
}

/// Ends its future when dropped.
struct Task(AbortHandle);

impl Session {
    pub(super) fn new(
        url: String,
        events: Callback<SessionEvent>,
        room_events: Callback<(RoomName, SessionEvent)>,
    ) -> Self {
        Self {
            url,
            events,
            room_events,
            connected: None,
            rooms: Vec::new(),
            restored: Rc::default(),
            untracked: Rc::default(),
        }
    }

    /// Joins this room too.
    ///
    /// # Errors
    /// When the browser refuses the address before it connects.
    pub(super) fn join(
        &mut self,
        room: &RoomName,
        name: UserName,
        since: Option<Cursor>,
    ) -> Result<(), client::ConnectError> {
        self.leave_room(room);
        let client = self.client(name)?;
        let options = JoinOptions {
            since,
            history: PAGE,
            ..JoinOptions::default()
        };
        let Ok(mut joined) = client.join::<String>(room, &options) else {
            unreachable!("the room name is parsed already");
        };
        let (sender, events, name) = (joined.sender().clone(), self.room_events.clone(), room.clone());
        let joined = Joined {
            sender,
            _restored: self.emit_restored(client, room.clone()),
            _events: Task::start(async move {
                while let Some(event) = joined.next().await {
                    if let Some(event) = session_event(event) {
                        events.emit((name.clone(), event));
                    }
                }
            }),
        };
        self.rooms.push((room.clone(), joined));
        Ok(())
    }

    /// Leaves this room alone.
    pub(super) fn leave_room(&mut self, room: &RoomName) {
        self.rooms.retain(|(name, _)| name != room);
    }

    /// Leaves all rooms and closes the connection.
    pub(super) fn leave(&mut self) {
        self.rooms.clear();
        if let Some(connected) = &self.connected {
            connected.client.stop();
        }
    }

    pub(super) fn connect_now(&self) {
        if let Some(connected) = &self.connected {
            connected.client.connect();
        }
    }

    /// Asks the server for a sign of life.
    pub(super) fn check(&self) {
        if let Some(connected) = &self.connected {
            connected.client.check();
        }
    }

    pub(super) fn send(&self, room: &RoomName, key: Key, text: &String) {
        // Every text has a JSON form.
        if let Some(Ok(delivery)) = self.sender(room).map(|sender| sender.try_send(text)) {
            self.track(room.clone(), key, delivery);
        }
    }

    /// Reports the next delivery of [`SessionEvent::Restored`] of this room under this key.
    pub(super) fn track_restored(&self, room: &RoomName, key: Key) {
        let next = {
            let mut untracked = self.untracked.borrow_mut();
            let index = untracked.iter().position(|(name, _)| name == room);
            index.and_then(|index| untracked.remove(index))
        };
        if let Some((room, delivery)) = next {
            self.track(room, key, delivery);
        }
    }

    pub(super) fn signal_typing(&self, room: &RoomName) {
        if let Some(sender) = self.sender(room) {
            // Every text has a JSON form.
            let _: Result<(), talkback_client::BodyError> = sender.signal(TYPING);
        }
    }

    pub(super) fn request_page(&self, room: &RoomName, before: u64, limit: u32) {
        let (Some(sender), Ok(offset)) = (self.sender(room), Offset::new(before)) else {
            return;
        };
        let (sender, events, name) = (sender.clone(), self.room_events.clone(), room.clone());
        spawn_local(async move {
            let event = match sender.history(offset, limit).await {
                Ok(page) => SessionEvent::Page {
                    before,
                    epoch: page.epoch,
                    messages: page.messages.into_iter().map(room_message).collect(),
                    more: page.more,
                },
                Err(_) => SessionEvent::PageFailed { before },
            };
            events.emit((name, event));
        });
    }

    pub(super) fn find_people(&self, room: &RoomName, part: String, for_mention: bool) {
        let Some(sender) = self.sender(room) else {
            return;
        };
        let (sender, events, name) = (sender.clone(), self.room_events.clone(), room.clone());
        spawn_local(async move {
            let found = sender.find(&part).await;
            let event = SessionEvent::Found {
                part,
                for_mention,
                found: found.map(|found| (users(found.members), found.more)),
            };
            events.emit((name, event));
        });
    }

    fn sender(&self, room: &RoomName) -> Option<&RoomSender<String>> {
        let (_, joined) = self.rooms.iter().find(|(name, _)| name == room)?;
        Some(&joined.sender)
    }

    /// The client with this name. Another name is another user, so the own messages of one are not those of the other.
    fn client(&mut self, name: UserName) -> Result<Client, client::ConnectError> {
        if let Some(connected) = self.connected.as_ref().filter(|connected| connected.name == name) {
            connected.client.connect();
            return Ok(connected.client.clone());
        }
        self.rooms.clear();
        self.connected = None;
        self.restored.borrow_mut().clear();
        self.untracked.borrow_mut().clear();
        let storage = OutboxStorage::session(format!("chat.{name}"), OUTBOX_TTL);
        let client = Client::builder(&self.url)
            .name(name.clone())
            .outbox_storage(storage)
            .build()?;
        let (mut changes, watched, events) = (client.status_changes(), client.clone(), self.events.clone());
        let _status = Task::start(async move {
            while let Some(status) = changes.next().await {
                if let Status::Open { user, .. } = &status {
                    events.emit(SessionEvent::Welcome {
                        user: user.clone(),
                        max_bytes: watched.max_body_bytes(),
                    });
                }
                events.emit(match status {
                    Status::Stopped(StopReason::Refused(cause)) => SessionEvent::Stopped(cause),
                    status => SessionEvent::Connection(connection_status(&status, watched.retry_in())),
                });
            }
        });
        self.connected = Some(Connected {
            name,
            client: client.clone(),
            _status,
        });
        Ok(client)
    }

    /// Reports what was sent in this room before a reload. Those of other rooms wait until these are joined.
    fn emit_restored(&self, client: Client, room: RoomName) -> Task {
        let (restored, untracked) = (self.restored.clone(), self.untracked.clone());
        let events = self.room_events.clone();
        Task::start(async move {
            let more = client.restored().await;
            restored.borrow_mut().extend(more);
            let of_room: Vec<_> = restored
                .borrow_mut()
                .extract_if(.., |message| message.room == room)
                .collect();
            let mut texts = Vec::new();
            for message in of_room {
                texts.push(message.body.read().unwrap_or_else(|_| message.body.json().to_owned()));
                untracked.borrow_mut().push_back((room.clone(), message.delivery));
            }
            if !texts.is_empty() {
                events.emit((room, SessionEvent::Restored(texts)));
            }
        })
    }

    fn track(&self, room: RoomName, key: Key, mut delivery: Delivery) {
        let events = self.room_events.clone();
        spawn_local(async move {
            while let Some(state) = delivery.next().await {
                let event = match state {
                    DeliveryState::Queued => continue,
                    DeliveryState::Written => SessionEvent::Written(key),
                    DeliveryState::Acked { epoch, offset, at } => SessionEvent::Acked {
                        key,
                        epoch,
                        offset: offset.get(),
                        at: millis(at),
                    },
                    DeliveryState::Failed(reason) => SessionEvent::Failed { key, reason },
                };
                events.emit((room.clone(), event));
            }
        });
    }
}

impl Task {
    fn start(future: impl Future<Output = ()> + 'static) -> Self {
        let (future, handle) = abortable(future);
        spawn_local(async move {
            // An aborted task needs no handling.
            let _: Result<(), _> = future.await;
        });
        Self(handle)
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn session_event(event: client::Event<String>) -> Option<SessionEvent> {
    Some(match event {
        client::Event::Joined(room) => SessionEvent::Joined(room, Continuity::Fresh),
        client::Event::Recovered(room) => SessionEvent::Joined(room, Continuity::Recovered),
        client::Event::Reset(room) => SessionEvent::Joined(room, Continuity::Reset),
        client::Event::Message(message) => SessionEvent::Message(room_message(message)),
        client::Event::Presence { users, change } => SessionEvent::Presence { users, change },
        client::Event::Lost { epoch, offsets } => SessionEvent::Lost {
            epoch,
            offsets: offsets.into_iter().map(Offset::get).collect(),
        },
        client::Event::Signal { from, body } => {
            let is_typing = body.read::<String>().is_ok_and(|signal| signal == TYPING);
            return is_typing.then_some(SessionEvent::Typing(from.user));
        }
        client::Event::Left(reason) => {
            let (code, message) = reason.map(|reason| (reason.code, reason.message)).unzip();
            SessionEvent::Refused {
                code: code.unwrap_or_default(),
                message: message.unwrap_or_default(),
            }
        }
        client::Event::Refused { code, message } => SessionEvent::Refused { code, message },
    })
}

fn room_message(message: client::Received<String>) -> RoomMessage {
    let deleted = matches!(message.body, client::Incoming::Deleted);
    RoomMessage {
        offset: message.offset.get(),
        from: message.from.user.to_string(),
        at: millis(message.at),
        text: match message.body {
            client::Incoming::Known(text) => text,
            client::Incoming::Unknown(body) => body.json().to_owned(),
            client::Incoming::Deleted => String::new(),
        },
        deleted,
        own: message.own,
        mentions: Vec::new(),
        mentions_me: false,
    }
}

fn connection_status(status: &Status, retry_in: Option<Duration>) -> ConnectionStatus {
    match status {
        Status::Connecting => ConnectionStatus::Connecting,
        Status::Open { .. } => ConnectionStatus::Open,
        Status::Waiting { attempt, .. } => ConnectionStatus::Waiting {
            attempt: *attempt,
            until: js_sys::Date::now() + retry_in.unwrap_or_default().as_secs_f64() * 1_000.0,
        },
        Status::Suspended(SuspendReason::Offline) => ConnectionStatus::Offline,
        Status::Suspended(SuspendReason::Asleep) => ConnectionStatus::Asleep,
        Status::Stopped(_) => ConnectionStatus::Stopped,
    }
}

#[expect(clippy::cast_precision_loss, reason = "numbers on the wire are below 2^53")]
fn millis(at: u64) -> f64 {
    at as f64
}

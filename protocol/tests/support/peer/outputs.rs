//! What a client is told, checked.

use talkback_protocol::{
    Epoch, RoomName,
    session::client::{DeliveryState, FailReason, Input, JoinedRoom, Output, RoomEvent, Tag},
};

use super::{Sent, World};

impl World {
    pub(super) fn peer_output(&mut self, peer: usize, output: Output) {
        match output {
            Output::Connect { generation } => {
                if self.peers[peer].conn.is_some() {
                    self.violation(format!("peer {peer} opens a second connection"));
                }
                let conn = self.connect(peer, generation);
                let now = self.now;
                let state = &mut self.peers[peer];
                state.conn = Some((generation, conn));
                state.attempts += 1;
                let (attempts, time) = (state.attempts, now - state.attempts_since);
                if attempts > 15 + time.as_secs() {
                    self.violation(format!("peer {peer} made {attempts} attempts in {time:?}"));
                }
            }
            Output::Transmit { generation, text } => match self.peers[peer].conn {
                Some((live, conn)) if live == generation => self.send_up(conn, text),
                _ => self.violation(format!("peer {peer} transmits on a dead connection")),
            },
            Output::Disconnect { generation, code, .. } => {
                if code != 1000 && !(4000..5000).contains(&code) {
                    self.violation(format!("peer {peer} closes with {code}, which browsers forbid"));
                }
                match self.peers[peer].conn.take() {
                    Some((live, conn)) if live == generation => self.close_by_client(conn),
                    _ => self.violation(format!("peer {peer} disconnects a dead connection")),
                }
            }
            Output::TokenWanted => {
                let token = self.token_version.to_string();
                self.peer_input(peer, Input::Token(Some(token)));
            }
            Output::KeyWanted => {
                let key = super::new_key(&mut self.random);
                let state = &mut self.peers[peer];
                state.key = key;
                state.sender = key.sender();
                self.peer_input(peer, Input::Key(key));
            }
            Output::Save => {
                let now = self.now;
                let state = &mut self.peers[peer];
                state.stored = Some((state.session.snapshot(), now));
            }
            Output::Room { room, event } => self.told(peer, &room, event),
            Output::Delivery { tag, state } => self.delivered(peer, tag, state),
            Output::Page { tag, result } => {
                let answers = self.peers[peer].pages.get_mut(&tag).map(|answers| {
                    *answers += 1;
                    *answers
                });
                if answers != Some(1) {
                    self.violation(format!("peer {peer} got {answers:?} answers for page {tag}"));
                }
                if let Ok(page) = result {
                    for message in &page.messages {
                        if self.log.find(&message.room, &page.epoch, message.offset) != Some(message) {
                            self.violation(format!("peer {peer} got a page with a wrong {message:?}"));
                        }
                    }
                }
            }
            Output::OutboxHasRoom => {
                if !self.peers[peer].session.has_room(10) {
                    self.violation(format!("peer {peer} was told of room that is not there"));
                }
            }
            Output::Status(_) | Output::Fault { .. } => {}
        }
    }

    fn told(&mut self, peer: usize, room: &RoomName, event: RoomEvent) {
        let before = self.peers[peer].view(room).clone();
        match event {
            RoomEvent::Joined(joined) => {
                if before.epoch.is_some() {
                    self.violation(format!("peer {peer} joined {room} as if it had no cursor"));
                }
                self.enter(peer, room, joined);
            }
            RoomEvent::Recovered(joined) => {
                if before.epoch.as_ref() != Some(&joined.epoch) || before.last != joined.after {
                    self.violation(format!(
                        "peer {peer} recovered {room} at {joined:?}, but had {before:?}"
                    ));
                }
                self.enter(peer, room, joined);
            }
            RoomEvent::Reset(joined) => {
                if before.epoch.as_ref() == Some(&joined.epoch) && joined.after <= before.last {
                    self.violation(format!("peer {peer} was reset in {room} without need"));
                }
                self.peers[peer].view(room).resets += 1;
                self.enter(peer, room, joined);
            }
            RoomEvent::Message { message, own } => {
                if !before.joined || message.offset != before.last.next() {
                    self.violation(format!("peer {peer} got {message:?} after {before:?}"));
                }
                let epoch = before.epoch.unwrap_or_else(|| Epoch::from_random(0));
                if self.log.find(room, &epoch, message.offset) != Some(&message) {
                    self.violation(format!("peer {peer} got {message:?}, which is not in the log"));
                }
                let state = &mut self.peers[peer];
                let view = state.view(room);
                view.last = message.offset;
                view.got.push(message.body.read().unwrap());
                if own != (message.from.sender == state.sender) {
                    self.violation(format!("peer {peer} mistakes whose {message:?} is"));
                }
                let open = |sent: &Sent| {
                    sent.body == message.body && !sent.crashed && sent.last.as_ref().is_none_or(|last| !last.is_final())
                };
                if own && self.peers[peer].sent.values().any(open) {
                    self.violation(format!("peer {peer} saw its {:?} before it was acked", message.body));
                }
            }
            RoomEvent::Signal { .. } => self.peers[peer].signals += 1,
            RoomEvent::Presence { .. } | RoomEvent::Lost { .. } => {}
            RoomEvent::Left(_) | RoomEvent::Refused { .. } => {
                let view = self.peers[peer].view(room);
                view.wanted = false;
                view.joined = false;
            }
        }
    }

    fn enter(&mut self, peer: usize, room: &RoomName, joined: JoinedRoom) {
        let view = self.peers[peer].view(room);
        view.joined = true;
        view.epoch = Some(joined.epoch);
        view.last = joined.after;
    }

    fn delivered(&mut self, peer: usize, tag: Tag, state: DeliveryState) {
        let Some(sent) = self.peers[peer].sent.get_mut(&tag) else {
            return self.violation(format!("peer {peer} hears of {tag}, which it never sent"));
        };
        let ended = sent.last.as_ref().is_some_and(DeliveryState::is_final);
        sent.last = Some(state.clone());
        let (room, body) = (sent.room.clone(), sent.body.clone());
        if ended {
            self.violation(format!("peer {peer} hears of {tag} after its end: {state:?}"));
        }
        match state {
            DeliveryState::Queued | DeliveryState::Written => {}
            DeliveryState::Acked { offset, .. } => {
                let mut logs = self.log.truth.iter().filter(|((name, _), _)| *name == room);
                let there = logs.any(|(_, log)| {
                    let index = usize::try_from(offset.get()).unwrap() - 1;
                    log.get(index).is_some_and(|message| message.body == body)
                });
                if !there {
                    self.violation(format!("peer {peer}: {tag} was acked at {offset}, where it is not"));
                }
            }
            DeliveryState::Failed(reason) => {
                self.check_failure(peer, tag, &reason);
                if reason == FailReason::Unconfirmed {
                    return;
                }
                let epoch = self.log.epoch(&room);
                let log = self
                    .log
                    .truth
                    .get(&(room, epoch.clone()))
                    .map_or(&[][..], Vec::as_slice);
                if log.iter().any(|message| message.body == body) {
                    self.violation(format!("peer {peer}: {tag} failed with {reason:?}, but is in the log"));
                }
                if let Some(sent) = self.peers[peer].sent.get_mut(&tag) {
                    sent.never_since = Some(epoch);
                }
            }
        }
    }
}

//! Carries out the outputs of a client, and checks them.

use talkback_protocol::{
    Epoch, RoomName,
    session::client::{
        DeliveryState, FailReason, FoundMembers, HistoryPage, Input, JoinedRoom, Output, PageError, PresenceChange,
        RoomEvent, Snapshot, Tag,
    },
};

use super::{HELD_BACK, LeftReason, RECORDS, Sent, World, new_key};

/// What a store has of a session, all but the times.
fn lasting(snapshot: &Snapshot) -> impl PartialEq {
    let rooms = snapshot.rooms.iter().filter(|room| !room.pending.is_empty());
    let rooms = rooms.map(|room| {
        let pending = room.pending.iter();
        let pending = pending.map(|message| (message.tag, message.id, message.body.clone()));
        (room.room.clone(), room.first, pending.collect::<Vec<_>>())
    });
    (snapshot.key, snapshot.next, rooms.collect::<Vec<_>>())
}

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
                Some((live, conn)) if live == generation => self.server.send(conn, text, self.now),
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
                let token = self.faults().token_version.to_string();
                self.peer_input(peer, Input::Token(Some(token)));
            }
            Output::KeyWanted => {
                self.count("a client took a new key");
                let key = new_key(self.random());
                let state = &mut self.peers[peer];
                (state.key, state.sender, state.in_conflict) = (key, key.sender(), true);
                self.peer_input(peer, Input::Key(key));
            }
            Output::Save => {
                let now = self.now;
                let state = &mut self.peers[peer];
                let whole = state.session.snapshot();
                let stored = state.store();
                if stored.as_ref().is_none_or(|stored| lasting(stored) != lasting(&whole)) {
                    self.violation(format!("peer {peer} stored {stored:?} and not {whole:?}"));
                }
                let state = &mut self.peers[peer];
                state.records.extend(stored.map(|stored| (stored, now)));
                if state.records.len() > RECORDS {
                    state.records.pop_front();
                }
            }
            Output::Room { room, event } => self.room_event(peer, &room, event),
            Output::Delivery { tag, state } => self.delivered(peer, tag, state),
            Output::Page { tag, result } => self.page_came(peer, tag, result),
            Output::Found { tag, result } => self.found(peer, tag, result),
            Output::OutboxHasCapacity => {
                self.count("a client was told of capacity in the outbox");
                self.publish_held_back(peer);
            }
            Output::Status(_) | Output::NotAddressed { .. } | Output::Fault { .. } => {}
        }
    }

    pub(super) fn page_came(&mut self, peer: usize, tag: Tag, result: Result<HistoryPage, PageError>) {
        self.answered(peer, tag);
        match result {
            Ok(page) => {
                self.count("a page of history came");
                for message in &page.messages {
                    if self.logs().find(&message.room, &page.epoch, message.offset) != Some(message) {
                        self.violation(format!("peer {peer} got a page with a wrong {message:?}"));
                    }
                }
            }
            Err(PageError::Refused { .. }) => self.count("a client heard that a request was refused"),
            Err(_) => {}
        }
    }

    pub(super) fn found(&mut self, peer: usize, tag: Tag, result: Result<FoundMembers, PageError>) {
        self.answered(peer, tag);
        match result {
            Ok(found) => {
                self.count("a search for users was answered");
                let name = &self.peers[peer].config.name;
                let is_own = found.members.iter().all(|member| Some(&member.user) == name.as_ref());
                if !is_own || found.members.len() > 1 {
                    self.violation(format!("peer {peer} got {:?} for its own name", found.members));
                }
            }
            Err(PageError::Refused { .. }) => self.count("a client heard that a request was refused"),
            Err(_) => {}
        }
    }

    fn answered(&mut self, peer: usize, tag: Tag) {
        let answers = self.peers[peer].pages.get_mut(&tag).map(|answers| {
            *answers += 1;
            *answers
        });
        if answers != Some(1) {
            self.violation(format!("peer {peer} got {answers:?} answers for request {tag}"));
        }
    }

    fn room_event(&mut self, peer: usize, room: &RoomName, event: RoomEvent) {
        let before = self.peers[peer].view(room).clone();
        match event {
            RoomEvent::Joined(joined) => {
                if before.epoch.is_some() {
                    self.violation(format!("peer {peer} joined {room} as if it had no cursor"));
                }
                self.enter(peer, room, joined);
            }
            RoomEvent::Recovered(joined) => {
                let same = before.epoch.as_ref() == Some(&joined.epoch);
                let fork = self.logs().fork_of(room, &joined.epoch);
                let shared =
                    fork.is_some_and(|fork| before.epoch.as_ref() == Some(&fork.epoch) && before.last <= fork.offset);
                if !same && shared {
                    self.count("a member recovered across a fork");
                }
                if !(same || shared) || before.last != joined.after {
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
                self.count("a member was reset");
                self.peers[peer].view(room).resets += 1;
                self.enter(peer, room, joined);
            }
            RoomEvent::Lost { epoch, offsets } => {
                self.count("a client heard which of its messages are lost");
                let sender = self.peers[peer].sender.clone();
                for offset in offsets {
                    let message = self.logs().find(room, &epoch, offset).cloned();
                    let is_own = message.as_ref().is_some_and(|message| message.from.sender == sender);
                    let now = self.logs().epoch(room);
                    let is_kept = message.is_some() && self.logs().find(room, &now, offset) == message.as_ref();
                    // A conflict gives a client another sender; what it said before is still its own.
                    if (!is_own && !self.peers[peer].in_conflict && !self.peers[peer].crashed) || is_kept {
                        self.violation(format!("peer {peer} heard that {offset} of {epoch} in {room} is lost"));
                    }
                    self.peers[peer].view(room).lost.insert((epoch.clone(), offset));
                }
            }
            RoomEvent::Message { message, own } => {
                if !before.joined || message.offset != before.last.next() {
                    self.violation(format!("peer {peer} got {message:?} after {before:?}"));
                }
                let epoch = before.epoch.unwrap_or_else(|| Epoch::from_random(0));
                if self.logs().find(room, &epoch, message.offset) != Some(&message) {
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
                let text: String = message.body.read().unwrap();
                // Another page with the same message may have sent it.
                let is_shared = self.copies.contains_key(&text);
                if own && !is_shared && self.peers[peer].sent.values().any(open) {
                    self.violation(format!("peer {peer} saw its {:?} before it was acked", message.body));
                }
            }
            RoomEvent::Signal { .. } => self.peers[peer].signals += 1,
            RoomEvent::Presence { users, change } => {
                let view = self.peers[peer].view(room);
                view.users = users;
                match change {
                    PresenceChange::List(members) => {
                        view.roster = Some(members.into_iter().map(|member| member.user).collect());
                    }
                    PresenceChange::Changed { joined, left } => {
                        if let Some(roster) = &mut view.roster {
                            roster.extend(joined.into_iter().map(|member| member.user));
                            for member in left {
                                roster.remove(&member.user);
                            }
                        }
                    }
                    PresenceChange::Untold => view.roster = None,
                }
            }
            RoomEvent::Left(reason) => {
                if let Some(LeftReason { .. }) = reason {
                    self.count("a member heard why it was expelled");
                }
                self.left(peer, room);
            }
            RoomEvent::Refused { .. } => {
                self.count("a client heard that it may not join");
                let view = self.peers[peer].view(room);
                view.ended = true;
                view.wanted = false;
                view.joined = false;
            }
        }
    }

    pub(super) fn left(&mut self, peer: usize, room: &RoomName) {
        let view = self.peers[peer].view(room);
        view.ended = view.wanted;
        view.wanted = false;
        view.joined = false;
    }

    fn enter(&mut self, peer: usize, room: &RoomName, joined: JoinedRoom) {
        if let Some(fork) = self.logs().fork_of(room, &joined.epoch).cloned() {
            let view = self.peers[peer].view(room).clone();
            let untold = self.peers[peer].sent.values().find(|sent| match &sent.last {
                Some(DeliveryState::Acked { epoch, offset, .. }) => {
                    sent.acked_here
                        && sent.room == *room
                        && *epoch == fork.epoch
                        && *offset > fork.offset
                        && !view.lost.contains(&(epoch.clone(), *offset))
                }
                _ => false,
            });
            if let Some(sent) = untold.cloned() {
                self.violation(format!(
                    "peer {peer} did not hear that {sent:?} is lost beyond {fork:?}"
                ));
            }
        }
        let view = self.peers[peer].view(room);
        view.joined = true;
        view.epoch = Some(joined.epoch);
        view.last = joined.after;
        view.users = joined.users;
        view.roster = joined
            .members
            .map(|members| members.into_iter().map(|member| member.user).collect());
    }

    pub(super) fn delivered(&mut self, peer: usize, tag: Tag, state: DeliveryState) {
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
            DeliveryState::Acked { epoch, offset, .. } => {
                if let Some(sent) = self.peers[peer].sent.get_mut(&tag) {
                    sent.acked_here = true;
                }
                let there = self.server.logs.find(&room, &epoch, offset);
                if there.is_none_or(|message| message.body != body) {
                    self.violation(format!(
                        "peer {peer}: {tag} was acked at {offset} of {epoch}, where {there:?} is"
                    ));
                }
            }
            DeliveryState::Failed(reason) => {
                self.check_failure(peer, tag, &reason);
                match reason {
                    FailReason::Unconfirmed => {
                        self.count("a message ended in doubt");
                        return;
                    }
                    FailReason::OutboxFull => {
                        self.count("the outbox was full");
                        let text: String = body.read().unwrap();
                        let padding = text.bytes().filter(|byte| *byte == b'x').count();
                        let held_back = &mut self.peers[peer].held_back;
                        if held_back.len() < HELD_BACK {
                            held_back.push_back((room, padding));
                        }
                        return;
                    }
                    FailReason::TooLarge { .. } => self.count("a message was too large"),
                    FailReason::Refused { .. } => self.count("a client heard that a message was refused for good"),
                    FailReason::Expired => self.count("a message expired"),
                    _ => {}
                }
                let epoch = self.logs().epoch(&room);
                let text: String = body.read().unwrap();
                let logs = self.server.logs.history();
                let log = logs.get(&(room, epoch.clone())).map_or(&[][..], Vec::as_slice);
                // Another page with the same message may have sent it.
                let is_shared = self.copies.contains_key(&text);
                if !is_shared && log.iter().any(|message| message.body == body) {
                    self.violation(format!("peer {peer}: {tag} failed with {reason:?}, but is in the log"));
                }
                if let Some(sent) = self.peers[peer].sent.get_mut(&tag) {
                    sent.never_since = Some(epoch);
                }
            }
        }
    }
}

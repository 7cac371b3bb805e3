//! What must hold of messages when they fail, and of everything in the end.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use talkback_protocol::{
    message::code,
    session::client::{DeliveryState, FailReason, Status, StopReason, Tag},
};

use super::{
    ms,
    peer::Sent,
    secs,
    world::{TTL, World},
};

/// By how much clocks are set back at most.
const CLOCK_ERROR: Duration = ms(2_600);

impl World {
    /// A message fails when its time is over, and not before.
    pub fn check_failure(&mut self, peer: usize, tag: Tag, reason: &FailReason) {
        let state = &self.peers[peer];
        // By a clock that was set back, a time may be over a little early.
        let age = self.now - state.sent[&tag].at + CLOCK_ERROR;
        let text: String = state.sent[&tag].body.read().unwrap();
        let is_shared = self.copies.contains_key(&text);
        let stopped = matches!(state.session.status(), Status::Stopped(StopReason::Asked));
        let fair = match reason {
            FailReason::Expired => age >= TTL,
            FailReason::Unconfirmed => stopped || age >= TTL * 2 || state.crashed || state.in_conflict,
            FailReason::Stopped => stopped,
            FailReason::OutboxFull => true,
            FailReason::TooLarge { .. } => self.small_bodies,
            FailReason::Refused { code, .. } => match code.as_str() {
                code::FORBIDDEN => self.server.faults.denied,
                code::TOO_LARGE => self.small_bodies,
                // Another page with the same message gave it up.
                code::WITHDRAWN => is_shared,
                _ => false,
            },
            _ => false,
        };
        if !fair {
            self.violation(format!("peer {peer}: {tag} failed with {reason:?} after {age:?}"));
        }
    }

    /// Messages that have time enough to be acknowledged, if nothing bad happens any more.
    pub fn still_possible(&self) -> Vec<(usize, Tag)> {
        let mut due = Vec::new();
        for peer in self.peers.iter().filter(|peer| !peer.crashed && !peer.in_conflict) {
            for (tag, sent) in &peer.sent {
                let ended = sent.last.as_ref().is_some_and(DeliveryState::is_final);
                if !ended && self.now - sent.at + secs(45) < TTL {
                    due.push((peer.index, *tag));
                }
            }
        }
        due
    }

    pub fn check_acked(&mut self, peer: usize, tag: Tag) {
        // Two pages with one key: what one of them had sent when the other was first is in doubt.
        if self.peers[peer].in_conflict {
            return;
        }
        let sent = &self.peers[peer].sent[&tag];
        let refused = matches!(
            sent.last,
            Some(DeliveryState::Failed(
                FailReason::OutboxFull | FailReason::TooLarge { .. } | FailReason::Refused { .. }
            ))
        );
        if !refused && !matches!(sent.last, Some(DeliveryState::Acked { .. })) {
            let text = format!("peer {peer}: {tag} was not acked although nothing bad happened: {sent:?}");
            self.violation(text);
        }
    }

    /// What must hold in the end, when everything works again.
    pub fn check_end(&mut self) {
        let mut problems = Vec::new();
        for ((room, epoch), log) in self.server.logs.history() {
            let mut seen: BTreeMap<String, usize> = BTreeMap::new();
            let mut ids = BTreeSet::new();
            let mut newest: BTreeMap<_, u64> = BTreeMap::new();
            for message in log {
                let text: String = message.body.read().unwrap();
                let mut parts = text.split('-');
                let (peer, tag) = (parts.next().unwrap().to_owned(), parts.next().unwrap());
                let tag: u64 = tag.parse().unwrap();
                let times = seen.entry(text.clone()).or_default();
                *times += 1;
                // A message that pages with different keys held is in the log for each of them.
                if *times > 1 + self.copies.get(&text).copied().unwrap_or_default() {
                    problems.push(format!("{text} is {times} times in {room} of {epoch}"));
                }
                // What two pages held and neither had sent may get two numbers: each page sends it once, and the count
                // above bounds it.
                let is_shared = self.copies.contains_key(&text);
                if !ids.insert((message.from.sender.clone(), message.id)) && !is_shared {
                    problems.push(format!("{text} is twice under one key in {room} of {epoch}"));
                }
                // Two pages with one key each keep their order; of what both held, the first one's is in the log.
                if is_shared {
                    continue;
                }
                let before = newest.insert((message.from.sender.clone(), peer), tag);
                if before.is_some_and(|before| before > tag) {
                    problems.push(format!("{text} is out of order in {room} of {epoch}"));
                }
            }
        }
        for peer in &self.peers {
            for (tag, sent) in &peer.sent {
                let ended = sent.last.as_ref().is_some_and(DeliveryState::is_final);
                if !ended && !sent.crashed {
                    problems.push(format!("peer {}: {tag} is in doubt: {sent:?}", peer.index));
                }
                let unsent = sent.crashed && sent.last == Some(DeliveryState::Queued);
                for ((room, epoch), log) in self.server.logs.history() {
                    // The epochs of the test server ascend in the order of time.
                    let text: String = sent.body.read().unwrap();
                    if self.copies.contains_key(&text) {
                        continue;
                    }
                    let never = unsent || sent.never_since.as_ref().is_some_and(|since| epoch >= since);
                    if never && *room == sent.room && log.iter().any(|message| message.body == sent.body) {
                        problems.push(format!("peer {}: {tag} is in {room} of {epoch}: {sent:?}", peer.index));
                    }
                }
            }
            if let Some((tag, answers)) = peer.pages.iter().find(|(_, answers)| **answers != 1) {
                problems.push(format!("peer {}: page {tag} has {answers} answers", peer.index));
            }
        }
        problems.into_iter().for_each(|problem| self.violation(problem));
    }

    /// Whether all that was sent has ended, and every room is read to its end.
    pub fn is_settled(&mut self) -> bool {
        for peer in 0..self.peers.len() {
            let ended = |sent: &Sent| sent.crashed || sent.last.as_ref().is_some_and(DeliveryState::is_final);
            if !self.peers[peer].sent.values().all(ended)
                || self.peers[peer].pages.values().any(|answers| *answers == 0)
            {
                return false;
            }
            let wanted = self.peers[peer].views.iter().filter(|(_, view)| view.wanted);
            let wanted: Vec<_> = wanted.map(|(room, _)| room.clone()).collect();
            for room in &wanted {
                let (epoch, head) = (self.logs().epoch(room), self.logs().head(room));
                let users = self.server.users(room);
                let view = &self.peers[peer].views[room];
                let count = usize::try_from(view.users).unwrap();
                let is_known = view.roster.as_ref().is_none_or(|roster| *roster == users);
                if count != users.len() || !is_known {
                    return false;
                }
                if !view.joined || view.epoch.as_ref() != Some(&epoch) || view.last != head {
                    return false;
                }
            }
        }
        true
    }
}

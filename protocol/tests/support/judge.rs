//! What must hold of messages when they fail, and of everything in the end.

use std::collections::BTreeMap;

use talkback_protocol::session::client::{DeliveryState, FailReason, Status, StopReason, Tag};

use super::{
    peer::Sent,
    secs,
    world::{TTL, World},
};

impl World {
    /// A message fails when its time is over, and not before.
    pub fn check_failure(&mut self, peer: usize, tag: Tag, reason: &FailReason) {
        let state = &self.peers[peer];
        let age = self.now - state.sent[&tag].at;
        let stopped = matches!(state.session.status(), Status::Stopped(StopReason::Asked));
        let fair = match reason {
            FailReason::Expired => age >= TTL,
            FailReason::Unconfirmed => stopped || age >= TTL * 2 || state.crashed,
            FailReason::Stopped => stopped,
            FailReason::OutboxFull => true,
            FailReason::TooLarge { .. }
            | FailReason::TooDeep { .. }
            | FailReason::TooManyRooms
            | FailReason::Refused { .. } => false,
        };
        if !fair {
            self.violation(format!("peer {peer}: {tag} failed with {reason:?} after {age:?}"));
        }
    }

    /// Messages that have time enough to be acknowledged, if nothing bad happens any more.
    pub fn still_possible(&self) -> Vec<(usize, Tag)> {
        let mut due = Vec::new();
        for peer in self.peers.iter().filter(|peer| !peer.crashed) {
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
        let sent = &self.peers[peer].sent[&tag];
        let full = matches!(sent.last, Some(DeliveryState::Failed(FailReason::OutboxFull)));
        if !full && !matches!(sent.last, Some(DeliveryState::Acked { .. })) {
            let text = format!("peer {peer}: {tag} was not acked although nothing bad happened: {sent:?}");
            self.violation(text);
        }
    }

    /// What must hold in the end, when everything works again.
    pub fn check_end(&mut self) {
        let mut problems = Vec::new();
        for ((room, epoch), log) in &self.log.truth {
            let mut seen = std::collections::BTreeSet::new();
            let mut newest: BTreeMap<String, u64> = BTreeMap::new();
            for message in log {
                let text: String = message.body.read().unwrap();
                let (peer, tag) = text.split_once('-').unwrap();
                let tag: u64 = tag.parse().unwrap();
                if !seen.insert(text.clone()) {
                    problems.push(format!("{text} is twice in {room} of {epoch}"));
                }
                if newest.insert(peer.to_owned(), tag).is_some_and(|before| before > tag) {
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
                for ((room, epoch), log) in &self.log.truth {
                    // The model's epochs count up, so their order is that of time.
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
            for (room, view) in self.peers[peer].views.iter().filter(|(_, view)| view.wanted) {
                let (epoch, head) = (self.log.epoch(room), self.log.head(room));
                if !view.joined || view.epoch.as_ref() != Some(&epoch) || view.last != head {
                    return false;
                }
            }
        }
        true
    }
}

//! The log of a room, in memory.

use std::{collections::BTreeMap, time::Duration};

use talkback_protocol::{
    Body, Cursor, Epoch, Offset, PublishId, RoomName, Seq, UserName,
    codec::{MemberList, MessageLine},
    message::{Author, Member, Message},
    session::server::{PageLines, Subscription},
};

/// The messages of one room, and its users.
pub(super) struct Log {
    epoch: Epoch,
    /// The last message that this epoch shares with the epoch before it.
    fork: Option<Cursor>,
    /// The offset before the first message in `messages`.
    dropped: Offset,
    messages: Vec<Message>,
    /// The users in the room, with the number of connections of each.
    users: BTreeMap<UserName, usize>,
}

impl Log {
    pub(super) fn new(epoch: Epoch) -> Self {
        Self {
            epoch,
            fork: None,
            dropped: Offset::ZERO,
            messages: Vec::new(),
            users: BTreeMap::new(),
        }
    }

    pub(super) fn epoch(&self) -> &Epoch {
        &self.epoch
    }

    pub(super) fn messages(&self) -> &[Message] {
        &self.messages
    }

    pub(super) fn append(
        &mut self,
        room: RoomName,
        from: Author,
        sent_as: Option<(Seq, PublishId)>,
        body: Body,
        now: Duration,
    ) -> Message {
        let message = Message {
            room,
            offset: self.head().next(),
            from,
            seq: sent_as.map(|(seq, _)| seq),
            id: sent_as.map(|(_, id)| id),
            at: u64::try_from(now.as_millis()).unwrap_or_default(),
            body,
        };
        self.messages.push(message.clone());
        message
    }

    /// Drops all messages except this many newest ones.
    pub(super) fn keep_newest(&mut self, count: usize) {
        let surplus = self.messages.len().saturating_sub(count);
        if let Some(last) = self.messages.drain(..surplus).next_back() {
            self.dropped = last.offset;
        }
    }

    /// Loses this many of the newest messages, and begins a new epoch.
    pub(super) fn lose_newest(&mut self, count: usize, epoch: Epoch) {
        self.messages.truncate(self.messages.len().saturating_sub(count));
        self.fork = Some(Cursor {
            epoch: std::mem::replace(&mut self.epoch, epoch),
            offset: self.head(),
        });
    }

    /// The messages for a new member: those after its cursor, or the newest ones if it has no cursor or this log cannot
    /// serve it.
    pub(super) fn subscribe(&self, since: Option<Cursor>, history: u32) -> Subscription {
        let head = self.head();
        let is_recovered = |since: &Cursor| since.is_recovered_by(&self.epoch, self.fork.as_ref(), self.dropped..=head);
        let recovered = since.as_ref().is_none_or(is_recovered);
        let after = match since.filter(|_| recovered) {
            Some(since) => since.offset,
            None => Offset::new(head.get().saturating_sub(u64::from(history)))
                .unwrap_or_default()
                .max(self.dropped),
        };
        let following = self.messages.iter().filter(|message| message.offset > after);
        Subscription {
            epoch: self.epoch.clone(),
            head,
            after,
            recovered,
            fork: self.fork.clone(),
            users: self.user_count(),
            members: Some(MemberList::encode(&self.members())),
            messages: following.map(MessageLine::encode).collect(),
        }
    }

    pub(super) fn page(&self, before: Offset, limit: u32) -> PageLines {
        let older = self.messages.partition_point(|message| message.offset < before);
        let from = older.saturating_sub(limit as usize);
        PageLines {
            epoch: self.epoch.clone(),
            messages: self.messages[from..older].iter().map(MessageLine::encode).collect(),
            more: from > 0,
        }
    }

    pub(super) fn user_count(&self) -> u32 {
        u32::try_from(self.users.len()).unwrap_or(u32::MAX)
    }

    fn members(&self) -> Vec<Member> {
        self.users.keys().map(|user| Member { user: user.clone() }).collect()
    }

    /// Counts a connection of a user that joined or left the room. Returns whether it is the user's first or last one.
    pub(super) fn count_connection(&mut self, user: &UserName, joined: bool) -> bool {
        let connections = self.users.entry(user.clone()).or_default();
        let before = *connections;
        *connections = if joined { before + 1 } else { before.saturating_sub(1) };
        let after = *connections;
        if after == 0 {
            self.users.remove(user);
        }
        (before == 0) != (after == 0)
    }

    pub(super) fn remove_users(&mut self) {
        self.users.clear();
    }

    fn head(&self) -> Offset {
        self.messages.last().map_or(self.dropped, |message| message.offset)
    }
}

//! The presence of users in a room, however many sockets each has, and the lines that announce it.
//!
//! Changes are not announced at once. The changed users are collected; at the next announcement, on a timer, one line
//! names those of them that are present as joined and the others as left. Both are set operations, so the line can be
//! applied to a newer list too. A new member gets a snapshot: the last list that was made, shared by all that join
//! while it is the newest. The announcements after it follow.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use talkback_protocol::{
    RoomName, UserName,
    codec::{self, MemberList},
    message::{self, Member, ServerLine},
};
use tokio::time::Instant;

use super::{HubOptions, directory::Directory};

/// The users of one room. A user whose last socket left stays for a grace period, in which a reconnect is not
/// announced.
#[derive(Default)]
pub(super) struct Presence {
    users: HashMap<UserName, Sockets>,
    /// Users whose last socket left, each once, in the order in which their grace periods are checked. Some may be
    /// back.
    leaving: VecDeque<(Instant, UserName)>,
    /// Users who joined or left since the last announcement, while users are listed: at most as many as may be listed.
    changed_users: HashSet<UserName>,
    /// There were more changed users: the next announcement is the whole list.
    too_many_changed: bool,
    /// A user joined or left since the last announcement.
    changed: bool,
    /// There are too many users to list them, or their list is too long for one text.
    unlisted: bool,
    /// The number of announcements so far.
    version: u64,
    /// The line of the last announcement.
    last: Option<Bytes>,
    announced_at: Option<Instant>,
    list: Option<List>,
    /// How many users joined and left so far.
    changes: u64,
    directory: Option<KeptDirectory>,
}

/// The directory of the last search.
pub(super) struct KeptDirectory {
    directory: Arc<Directory>,
    made_at: Instant,
    /// The number of changes before it was made.
    changes: u64,
}

/// What a search needs.
pub(super) enum Searched {
    /// A directory that is new enough.
    Directory(Arc<Directory>),
    /// The users of now, after so many changes: make a directory of them and [keep](Presence::keep_directory) it.
    Users(Vec<UserName>, u64),
}

/// The sockets of one user.
struct Sockets {
    open: usize,
    /// When the last one left.
    left_at: Option<Instant>,
    /// The user is in `leaving`.
    is_leaving: bool,
}

/// All users at one moment.
struct List {
    members: MemberList,
    users: u32,
    made_at: Instant,
    /// The number of announcements before it was made.
    version: u64,
    /// A user joined or left since.
    is_old: bool,
}

/// The presence that a member gets when it joins.
pub(crate) struct PresenceSnapshot {
    /// The number of users now.
    pub(crate) users: u32,
    /// The newest list, unless there are too many users.
    pub(crate) members: Option<MemberList>,
    /// The number of announcements before the list was made.
    pub(super) version: u64,
}

impl Presence {
    /// Adds a socket of a user. Returns whether an announcement is needed that was not needed before.
    pub(super) fn enter(&mut self, user: &UserName, options: &HubOptions) -> bool {
        if let Some(sockets) = self.users.get_mut(user) {
            sockets.open += 1;
            sockets.left_at = None;
            return false;
        }
        let sockets = Sockets {
            open: 1,
            left_at: None,
            is_leaving: false,
        };
        self.users.insert(user.clone(), sockets);
        self.change(user, options)
    }

    /// Removes a socket of a user. Returns whether the caller must schedule [`expire`](Self::expire), which was not
    /// scheduled before.
    pub(super) fn leave(&mut self, user: &UserName, now: Instant, grace: Duration) -> bool {
        let Some(sockets) = self.users.get_mut(user) else {
            return false;
        };
        sockets.open -= 1;
        if sockets.open > 0 {
            return false;
        }
        sockets.left_at = Some(now);
        if std::mem::replace(&mut sockets.is_leaving, true) {
            return false;
        }
        self.leaving.push_back((now + grace, user.clone()));
        self.leaving.len() == 1
    }

    /// When to call [`expire`](Self::expire) next.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.leaving.front().map(|(end, _)| *end)
    }

    /// Removes users whose grace period is over. Returns whether an announcement is needed that was not needed before.
    pub(super) fn expire(&mut self, now: Instant, options: &HubOptions) -> bool {
        let mut is_needed = false;
        while let Some((_, user)) = self.leaving.pop_front_if(|(end, _)| *end <= now) {
            let Some(sockets) = self.users.get_mut(&user) else {
                continue;
            };
            match sockets.left_at.map(|left_at| left_at + options.presence_grace) {
                None => sockets.is_leaving = false,
                // The user came back and left again since.
                Some(end) if end > now => self.leaving.push_back((end, user)),
                Some(_) => {
                    self.users.remove(&user);
                    is_needed |= self.change(&user, options);
                }
            }
        }
        is_needed
    }

    fn change(&mut self, user: &UserName, options: &HubOptions) -> bool {
        if let Some(list) = &mut self.list {
            list.is_old = true;
        }
        self.changes += 1;
        if self.users.len() > options.listed_users {
            self.unlisted = true;
            self.list = None;
            self.changed_users = HashSet::new();
        } else if self.changed_users.len() >= options.listed_users.max(1) && !self.changed_users.contains(user) {
            self.changed_users = HashSet::new();
            self.too_many_changed = true;
        } else if !self.unlisted && !self.too_many_changed {
            self.changed_users.insert(user.clone());
        }
        !std::mem::replace(&mut self.changed, true)
    }

    /// When the next announcement is due in a room with so many session members.
    pub(super) fn due(&self, now: Instant, sessions: usize, options: &HubOptions) -> Instant {
        let lines = u32::try_from(sessions).unwrap_or(u32::MAX);
        let share = Duration::from_secs(1) * lines / options.presence_lines_per_second.max(1);
        let interval = options.presence_interval.max(share);
        self.announced_at
            .map_or(now, |announced_at| now.max(announced_at + interval))
            .max(now + options.presence_interval)
    }

    /// The line that announces all changes since the last one to session members. `None` without changes.
    pub(super) fn announce(&mut self, room: &RoomName, now: Instant, options: &HubOptions) -> Option<Bytes> {
        if !std::mem::take(&mut self.changed) {
            return None;
        }
        self.announced_at = Some(now);
        self.version += 1;
        let line = if self.unlisted {
            self.announce_unlisted(room, now, options)
        } else {
            self.announce_listed(room, now, options)
        };
        // A new set, because the old one would keep the capacity of its largest burst.
        self.changed_users = HashSet::new();
        self.too_many_changed = false;
        self.last = Some(line.clone());
        Some(line)
    }

    /// The number of users, or their list if it may be listed again.
    fn announce_unlisted(&mut self, room: &RoomName, now: Instant, options: &HubOptions) -> Bytes {
        let largest = longest_list(options) / 4 * 3;
        if self.users.len() <= options.listed_again()
            && let Some(list) = self.make_list(now, largest)
        {
            return full_line(room, list);
        }
        number_line(room, self.count())
    }

    /// Who joined and left; if that is too long the list of users, and if that is too long too their number.
    fn announce_listed(&mut self, room: &RoomName, now: Instant, options: &HubOptions) -> Bytes {
        if !self.too_many_changed {
            let member = |user: &UserName| Member { user: user.clone() };
            let (joined, left): (Vec<_>, Vec<_>) = self
                .changed_users
                .iter()
                .partition(|user| self.users.contains_key(*user));
            let line: Bytes = codec::encode(&ServerLine::Presence(message::Presence {
                room: room.clone(),
                users: self.count(),
                joined: Some(joined.into_iter().map(member).collect()),
                left: Some(left.into_iter().map(member).collect()),
                members: None,
            }))
            .into();
            if line.len() <= options.sent_text_bytes {
                return line;
            }
        }
        match self.make_list(now, longest_list(options)) {
            Some(list) => full_line(room, list),
            None => number_line(room, self.count()),
        }
    }

    /// The presence for a member that joins now.
    pub(super) fn snapshot(&mut self, now: Instant, options: &HubOptions) -> PresenceSnapshot {
        let users = self.count();
        match self.newest_list(now, options) {
            Some(list) => PresenceSnapshot {
                users,
                members: Some(list.members.clone()),
                version: list.version,
            },
            None => PresenceSnapshot {
                users,
                members: None,
                version: self.version,
            },
        }
    }

    /// The lines that a member needs that has received this number of announcements.
    pub(super) fn missed(&mut self, version: u64, room: &RoomName, now: Instant, options: &HubOptions) -> Vec<Bytes> {
        match self.version - version {
            0 => Vec::new(),
            1 => self.last.iter().cloned().collect(),
            _ => {
                let (version, count) = (self.version, self.count());
                let Some(list) = self.newest_list(now, options) else {
                    return vec![number_line(room, count)];
                };
                let is_behind = list.version < version;
                let mut lines = vec![full_line(room, list)];
                lines.extend(self.last.iter().filter(|_| is_behind).cloned());
                lines
            }
        }
    }

    /// The last list, or a new one if that is too old. `None` if there are too many users.
    fn newest_list(&mut self, now: Instant, options: &HubOptions) -> Option<&List> {
        if self.unlisted {
            return None;
        }
        let is_good = |list: &List| !list.is_old || now < list.made_at + options.presence_interval;
        if !self.list.as_ref().is_some_and(is_good) {
            return self.make_list(now, longest_list(options));
        }
        if let Some(list) = self.list.as_mut().filter(|list| !list.is_old) {
            // No user joined or left since, so it is also the list of now.
            list.version = self.version;
        }
        self.list.as_ref()
    }

    /// Makes the list of now. If it has more than `max_bytes`, users are unlisted from now on.
    fn make_list(&mut self, now: Instant, max_bytes: usize) -> Option<&List> {
        let mut members: Vec<_> = self.users.keys().map(|user| Member { user: user.clone() }).collect();
        members.sort_unstable();
        let list = List {
            members: MemberList::encode(&members),
            users: u32::try_from(members.len()).unwrap_or(u32::MAX),
            made_at: now,
            version: self.version,
            is_old: false,
        };
        self.unlisted = list.members.json().len() > max_bytes;
        self.list = (!self.unlisted).then_some(list);
        self.list.as_ref()
    }

    /// The last directory, or the users for a new one if that is too old. The more users there are, the longer it is used,
    /// so that making directories always takes the same small share of the time.
    pub(super) fn searched(&self, now: Instant, options: &HubOptions) -> Searched {
        let thousands = u32::try_from(self.users.len() / 1_000).unwrap_or(u32::MAX);
        let interval = options.presence_interval.saturating_mul(thousands.saturating_add(1));
        let is_good = |kept: &&KeptDirectory| kept.changes == self.changes || now < kept.made_at + interval;
        match self.directory.as_ref().filter(is_good) {
            Some(kept) => Searched::Directory(Arc::clone(&kept.directory)),
            None => Searched::Users(self.users.keys().cloned().collect(), self.changes),
        }
    }

    /// Keeps a directory for later searches. Returns the one before, which may take long to free: not under a lock.
    #[must_use]
    pub(super) fn keep_directory(
        &mut self,
        directory: Arc<Directory>,
        changes: u64,
        made_at: Instant,
    ) -> Option<KeptDirectory> {
        self.directory.replace(KeptDirectory {
            directory,
            made_at,
            changes,
        })
    }

    /// Gives up the directory of a room whose users are listed, for the caller to free without a lock: few search there,
    /// and it may be of a time when the room was much larger.
    pub(super) fn take_needless_directory(&mut self) -> Option<KeptDirectory> {
        self.directory.take_if(|_| !self.unlisted)
    }

    /// How many users are present.
    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.users.len()).unwrap_or(u32::MAX)
    }

    /// The users who have a socket here, by name: those with more sockets than other servers that have them.
    pub(super) fn users_here(&self, elsewhere: &HashMap<u64, HashSet<UserName>>) -> Vec<UserName> {
        let is_here = |user: &UserName, sockets: &Sockets| {
            let servers = elsewhere.values().filter(|users| users.contains(user));
            sockets.open > servers.count()
        };
        let here = self.users.iter().filter(|(user, sockets)| is_here(user, sockets));
        let mut here: Vec<_> = here.map(|(user, _)| user.clone()).collect();
        here.sort_unstable();
        here
    }

    /// The users who are present, by name.
    pub(super) fn users(&self) -> Vec<UserName> {
        let mut users: Vec<_> = self.users.keys().cloned().collect();
        users.sort_unstable();
        users
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }
}

/// The most bytes that a line (`joined` or `presence`) has besides the list: the name of a room and two cursors.
const BESIDES_LIST: usize = 2048;

/// The most bytes that a list may have.
fn longest_list(options: &HubOptions) -> usize {
    options.sent_text_bytes.saturating_sub(BESIDES_LIST)
}

/// A line `presence` with the number of users.
fn number_line(room: &RoomName, users: u32) -> Bytes {
    let presence = message::Presence {
        room: room.clone(),
        users,
        joined: None,
        left: None,
        members: None,
    };
    codec::encode(&ServerLine::Presence(presence)).into()
}

/// A line `presence` with the whole list.
fn full_line(room: &RoomName, list: &List) -> Bytes {
    let mut line = codec::encode(&ServerLine::Presence(message::Presence {
        room: room.clone(),
        users: list.users,
        joined: None,
        left: None,
        members: None,
    }));
    // The list goes before the two closing braces, as it is encoded already.
    line.truncate(line.len() - 2);
    line.push_str(",\"members\":");
    line.push_str(list.members.json());
    line.push_str("}}");
    line.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: HubOptions = HubOptions {
        presence_grace: Duration::from_secs(5),
        presence_interval: Duration::from_millis(250),
        listed_users: 8,
        ..HubOptions::DEFAULT
    };
    const GRACE: Duration = OPTIONS.presence_grace;

    fn user(name: &str) -> UserName {
        UserName::parse(name).unwrap()
    }

    fn room() -> RoomName {
        RoomName::parse("lobby").unwrap()
    }

    /// The line as the user count and the sorted lists.
    fn read(line: &Bytes) -> (u32, [Option<Vec<String>>; 3]) {
        let ServerLine::Presence(presence) = serde_json::from_slice(line).unwrap() else {
            panic!("not a presence: {line:?}")
        };
        assert_eq!(presence.room, room());
        let names = |members: Option<Vec<Member>>| {
            members.map(|members| {
                let mut names: Vec<_> = members.iter().map(|member| member.user.to_string()).collect();
                names.sort_unstable();
                names
            })
        };
        (
            presence.users,
            [names(presence.joined), names(presence.left), names(presence.members)],
        )
    }

    fn names(names: &[&str]) -> Option<Vec<String>> {
        Some(names.iter().map(|name| (*name).to_owned()).collect())
    }

    fn listed(snapshot: &PresenceSnapshot) -> Vec<String> {
        let members: Vec<Member> = serde_json::from_str(snapshot.members.as_ref().unwrap().json()).unwrap();
        let mut names: Vec<_> = members.iter().map(|member| member.user.to_string()).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn a_user_is_present_from_the_first_socket_until_a_grace_after_the_last() {
        let (mut presence, ann, now) = (Presence::default(), user("ann"), Instant::now());
        assert!(presence.enter(&ann, &OPTIONS));
        assert!(!presence.enter(&ann, &OPTIONS), "a second tab changes nothing");
        assert!(!presence.leave(&ann, now, GRACE));
        assert!(presence.leave(&ann, now, GRACE));
        assert_eq!(presence.next_expiry(), Some(now + GRACE));
        presence.announce(&room(), now, &OPTIONS);
        assert!(!presence.expire(now + GRACE / 2, &OPTIONS));
        assert_eq!(presence.users(), std::slice::from_ref(&ann));
        assert!(presence.expire(now + GRACE, &OPTIONS));
        assert_eq!(presence.users(), []);
        assert_eq!(presence.next_expiry(), None);
        let line = presence.announce(&room(), now + GRACE, &OPTIONS).unwrap();
        assert_eq!(read(&line), (0, [names(&[]), names(&["ann"]), None]));
    }

    #[test]
    fn a_reconnect_within_the_grace_is_not_announced_and_each_leave_has_its_own_grace() {
        let (mut presence, ann, start) = (Presence::default(), user("ann"), Instant::now());
        presence.enter(&ann, &OPTIONS);
        presence.announce(&room(), start, &OPTIONS);
        assert!(presence.leave(&ann, start, GRACE));
        assert!(!presence.enter(&ann, &OPTIONS));
        assert!(
            !presence.leave(&ann, start + GRACE / 2, GRACE),
            "the check after the first leave is still scheduled"
        );
        assert!(
            !presence.expire(start + GRACE, &OPTIONS),
            "the grace of the second leave is half over"
        );
        assert!(presence.announce(&room(), start + GRACE, &OPTIONS).is_none());
        assert_eq!(presence.next_expiry(), Some(start + GRACE / 2 + GRACE));
        assert!(presence.expire(start + GRACE / 2 + GRACE, &OPTIONS));
    }

    #[test]
    fn a_user_who_leaves_and_returns_many_times_has_one_entry() {
        let (mut presence, now) = (Presence::default(), Instant::now());
        let users: Vec<_> = (0..5).map(|number| user(&format!("user{number}"))).collect();
        for _ in 0..1000 {
            for user in &users {
                presence.enter(user, &OPTIONS);
                presence.leave(user, now, GRACE);
            }
        }
        assert_eq!(presence.leaving.len(), users.len());
        for user in &users {
            presence.enter(user, &OPTIONS);
        }
        assert!(!presence.expire(now + GRACE, &OPTIONS));
        assert_eq!((presence.leaving.len(), presence.users().len()), (0, 5));
    }

    #[test]
    fn one_line_announces_all_changes_and_a_list_is_made_at_most_once_an_interval() {
        let (mut presence, start) = (Presence::default(), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        assert!(presence.enter(&user("ann"), &OPTIONS));
        assert_eq!(presence.due(start, 1, &OPTIONS), at(250));
        assert_eq!(listed(&presence.snapshot(start, &OPTIONS)), ["ann"]);
        assert!(
            !presence.enter(&user("bob"), &OPTIONS),
            "an announcement is due already"
        );
        let snapshot = presence.snapshot(at(249), &OPTIONS);
        assert_eq!((listed(&snapshot), snapshot.users), (vec!["ann".to_owned()], 2));
        let line = presence.announce(&room(), at(250), &OPTIONS).unwrap();
        assert_eq!(read(&line), (2, [names(&["ann", "bob"]), names(&[]), None]));
        // The changes since that list are in the line after it.
        assert_eq!(presence.missed(snapshot.version, &room(), at(250), &OPTIONS), [line]);
        assert_eq!(listed(&presence.snapshot(at(251), &OPTIONS)), ["ann", "bob"]);
        assert!(
            presence.announce(&room(), at(500), &OPTIONS).is_none(),
            "nothing changed"
        );
        // After several announcements the whole list is sent, and the changes since it.
        for (name, millis) in [("cid", 600), ("dan", 900), ("eve", 1200)] {
            presence.enter(&user(name), &OPTIONS);
            presence.announce(&room(), at(millis), &OPTIONS);
        }
        let missed = presence.missed(snapshot.version, &room(), at(1200), &OPTIONS);
        assert_eq!(missed.len(), 1);
        assert_eq!(
            read(&missed[0]),
            (5, [None, None, names(&["ann", "bob", "cid", "dan", "eve"])])
        );
        assert!(
            presence
                .missed(presence.version(), &room(), at(1200), &OPTIONS)
                .is_empty()
        );
    }

    /// The list of a member is right after every announcement, whenever it joined and whenever it went live.
    #[test]
    fn a_member_that_joins_at_any_time_has_the_right_list_after_the_next_announcement() {
        let mut random = fastrand::Rng::with_seed(7);
        let users: Vec<_> = (0..12).map(|number| user(&format!("user{number}"))).collect();
        let options = HubOptions {
            presence_grace: Duration::ZERO,
            ..OPTIONS
        };
        let (mut kept, mut fulls) = (0, 0);
        for _ in 0..300 {
            let (mut presence, mut now) = (Presence::default(), Instant::now());
            let mut open = HashSet::new();
            let mut joined: Option<(u64, Option<HashSet<UserName>>)> = None;
            let mut follower: Option<Option<HashSet<UserName>>> = None;
            let apply = |known: &mut Option<HashSet<UserName>>, line: &Bytes| {
                let ServerLine::Presence(line) = serde_json::from_slice(line).unwrap() else {
                    panic!("not a presence")
                };
                let set = |list: Vec<Member>| list.into_iter().map(|member| member.user).collect::<HashSet<_>>();
                match (line.members, line.joined, line.left) {
                    (Some(all), ..) => *known = Some(set(all)),
                    (None, Some(joined), Some(left)) => {
                        if let Some(known) = known {
                            known.extend(set(joined));
                            let left = set(left);
                            known.retain(|user| !left.contains(user));
                        }
                    }
                    _ => *known = None,
                }
            };
            for _ in 0..60 {
                now += Duration::from_millis(random.u64(0..120));
                let user = random.choice(&users).unwrap().clone();
                match random.u8(0..10) {
                    0..6 => {
                        if open.insert(user.clone()) {
                            presence.enter(&user, &options);
                        } else {
                            open.remove(&user);
                            presence.leave(&user, now, Duration::ZERO);
                            presence.expire(now, &options);
                        }
                    }
                    6 if joined.is_none() => {
                        let snapshot = presence.snapshot(now, &options);
                        let members = snapshot.members.map(|members| {
                            let members: Vec<Member> = serde_json::from_str(members.json()).unwrap();
                            members.into_iter().map(|member| member.user).collect()
                        });
                        joined = Some((snapshot.version, members));
                    }
                    7 => {
                        if let (Some((version, known)), None) = (&joined, &follower) {
                            let mut known = known.clone();
                            let missed = presence.missed(*version, &room(), now, &options);
                            fulls += usize::from(presence.version() - version > 1);
                            missed.iter().for_each(|line| apply(&mut known, line));
                            follower = Some(known);
                        }
                    }
                    _ => {
                        if let Some(line) = presence.announce(&room(), now, &options)
                            && let Some(known) = &mut follower
                        {
                            apply(known, &line);
                            if presence.unlisted {
                                assert_eq!(*known, None);
                            } else {
                                assert_eq!(known.as_ref(), Some(&presence.users().into_iter().collect()));
                                kept += 1;
                            }
                        }
                    }
                }
            }
        }
        assert!(kept > 500 && fulls > 20, "{kept} checks, {fulls} full lists");
    }

    #[test]
    fn above_the_bound_users_are_only_counted_and_clearly_below_it_they_are_listed_again() {
        let (mut presence, now) = (Presence::default(), Instant::now());
        let users: Vec<_> = (0..9).map(|number| user(&format!("user{number}"))).collect();
        for user in &users[..8] {
            presence.enter(user, &OPTIONS);
        }
        presence.announce(&room(), now, &OPTIONS);
        assert!(presence.snapshot(now, &OPTIONS).members.is_some());
        presence.enter(&users[8], &OPTIONS);
        let snapshot = presence.snapshot(now, &OPTIONS);
        assert_eq!((snapshot.users, snapshot.members.is_none()), (9, true));
        let line = presence.announce(&room(), now, &OPTIONS).unwrap();
        assert_eq!(read(&line), (9, [None, None, None]));
        for (left, expected) in [(8, None), (7, None), (6, Some(())), (5, None)] {
            presence.leave(&users[left], now, GRACE);
            presence.expire(now + GRACE, &OPTIONS);
            let line = presence.announce(&room(), now, &OPTIONS).unwrap();
            let (count, [joined, _, members]) = read(&line);
            assert_eq!(count as usize, left);
            assert_eq!(members.is_some(), expected.is_some(), "{left} users");
            assert_eq!(joined.is_some(), left < 6, "{left} users");
            if let Some(members) = members {
                assert_eq!(members.len(), 6);
            }
        }
        assert_eq!(listed(&presence.snapshot(now + GRACE, &OPTIONS)).len(), 5);
    }

    #[test]
    fn a_directory_is_kept_until_a_newer_one_and_while_users_are_not_listed() {
        let (mut presence, now) = (Presence::default(), Instant::now());
        let users: Vec<_> = (0..9).map(|number| user(&format!("user{number}"))).collect();
        for user in &users {
            presence.enter(user, &OPTIONS);
        }
        presence.announce(&room(), now, &OPTIONS);
        let Searched::Users(found, changes) = presence.searched(now, &OPTIONS) else {
            panic!("there is no directory yet");
        };
        let directory = Arc::new(Directory::of(found));
        assert!(presence.keep_directory(directory.clone(), changes, now).is_none());
        assert!(matches!(presence.searched(now, &OPTIONS), Searched::Directory(_)));
        let before = presence.keep_directory(directory.clone(), changes, now);
        assert!(before.is_some_and(|before| Arc::ptr_eq(&before.directory, &directory)));
        assert!(presence.take_needless_directory().is_none());
        for user in &users[3..] {
            presence.leave(user, now, GRACE);
        }
        presence.expire(now + GRACE, &OPTIONS);
        presence.announce(&room(), now + GRACE, &OPTIONS);
        assert!(presence.take_needless_directory().is_some(), "users are listed again");
        assert!(matches!(presence.searched(now, &OPTIONS), Searched::Users(..)));
    }

    #[test]
    fn users_are_listed_again_when_their_list_has_three_quarters_of_the_bytes_that_it_may_have() {
        // A list of n of these users has 14 n + 1 bytes: four have exactly three quarters of the longest list, and six
        // are too many.
        let options = HubOptions {
            listed_users: 100,
            sent_text_bytes: BESIDES_LIST + 76,
            ..OPTIONS
        };
        let (mut presence, now) = (Presence::default(), Instant::now());
        let users: Vec<_> = (0..6).map(|number| user(&format!("u{number}"))).collect();
        for user in &users[..5] {
            presence.enter(user, &options);
        }
        let five = presence.snapshot(now, &options).members.unwrap();
        assert_eq!(five.json().len(), 71);
        presence.enter(&users[5], &options);
        let later = now + options.presence_interval;
        assert!(presence.snapshot(later, &options).members.is_none());
        for (left, is_listed) in [(5, false), (4, true)] {
            presence.leave(&users[left], later, GRACE);
            presence.expire(later + GRACE, &options);
            let line = presence.announce(&room(), later, &options).unwrap();
            let (count, [_, _, members]) = read(&line);
            assert_eq!((count as usize, members.is_some()), (left, is_listed));
        }
    }

    /// With names of different lengths, and a text that has capacity for some of them.
    #[test]
    fn no_line_is_longer_than_a_text_may_be_and_a_member_has_the_right_list_or_none() {
        let options = HubOptions {
            listed_users: 150,
            sent_text_bytes: BESIDES_LIST + 1500,
            presence_grace: Duration::ZERO,
            ..OPTIONS
        };
        let mut random = fastrand::Rng::with_seed(11);
        let users: Vec<_> = (0..600)
            .map(|number| user(&format!("{number}{}", "x".repeat(random.usize(0..28)))))
            .collect();
        let (mut presence, mut now) = (Presence::default(), Instant::now());
        let mut open = HashSet::new();
        let mut known = Some(Vec::new());
        let (mut wholes, mut numbers, mut differences) = (0, 0, 0);
        for round in 0..400 {
            // The room is alternately small and large.
            let wanted = if round / 20 % 2 == 0 { 10 } else { 90 };
            for _ in 0..random.usize(0..1500) {
                let user = random.choice(&users).unwrap();
                if open.contains(user) && (open.len() > wanted || random.bool()) {
                    open.remove(user);
                    presence.leave(user, now, Duration::ZERO);
                    presence.expire(now, &options);
                } else if open.len() < wanted && open.insert(user.clone()) {
                    presence.enter(user, &options);
                }
                assert!(presence.changed_users.len() <= options.listed_users);
            }
            now += Duration::from_millis(300);
            let snapshot = presence.snapshot(now, &options);
            let fits = |list: &MemberList| list.json().len() + BESIDES_LIST <= options.sent_text_bytes;
            assert!(snapshot.members.as_ref().is_none_or(fits));
            let Some(line) = presence.announce(&room(), now, &options) else {
                continue;
            };
            for line in presence
                .missed(snapshot.version.saturating_sub(3), &room(), now, &options)
                .iter()
                .chain([&line])
            {
                assert!(line.len() <= options.sent_text_bytes, "{} bytes", line.len());
            }
            match read(&line) {
                (_, [None, None, Some(all)]) => {
                    wholes += 1;
                    known = Some(all);
                }
                (_, [Some(joined), Some(left), None]) => {
                    differences += 1;
                    if let Some(known) = &mut known {
                        known.retain(|user| !left.contains(user) && !joined.contains(user));
                        known.extend(joined);
                        known.sort_unstable();
                    }
                }
                (_, lists) => {
                    assert_eq!(lists, [None, None, None]);
                    numbers += 1;
                    known = None;
                }
            }
            let mut there: Vec<_> = open.iter().map(ToString::to_string).collect();
            there.sort_unstable();
            assert!(known.as_ref().is_none_or(|known| *known == there));
            assert_eq!(known.is_none(), presence.unlisted);
        }
        assert!(
            wholes > 5 && numbers > 20 && differences > 20,
            "{wholes}, {numbers}, {differences}"
        );
    }

    #[test]
    fn the_whole_list_is_announced_if_the_difference_is_too_long_for_a_text() {
        let options = HubOptions {
            listed_users: 1000,
            sent_text_bytes: BESIDES_LIST + 500,
            ..OPTIONS
        };
        let (mut presence, now) = (Presence::default(), Instant::now());
        presence.enter(&user("ann"), &options);
        for number in 0..400 {
            presence.enter(&user(&format!("user{number}")), &options);
        }
        for number in 0..400 {
            presence.leave(&user(&format!("user{number}")), now, Duration::ZERO);
        }
        presence.expire(now + options.presence_grace, &options);
        let line = presence.announce(&room(), now, &options).unwrap();
        assert!(line.len() <= options.sent_text_bytes);
        assert_eq!(read(&line), (1, [None, None, names(&["ann"])]));
    }

    #[test]
    fn the_users_that_changed_since_the_last_announcement_are_bounded() {
        let options = HubOptions {
            listed_users: 3,
            presence_grace: Duration::ZERO,
            ..OPTIONS
        };
        let (mut presence, now) = (Presence::default(), Instant::now());
        let visit = |presence: &mut Presence, name: &str| {
            presence.enter(&user(name), &options);
            presence.leave(&user(name), now, Duration::ZERO);
            presence.expire(now, &options);
        };
        for name in ["a", "b", "c", "c", "a"] {
            visit(&mut presence, name);
        }
        assert_eq!(presence.changed_users.len(), 3);
        let line = presence.announce(&room(), now, &options).unwrap();
        assert_eq!(read(&line).1[2], None, "a difference says it");
        for name in ["a", "b", "c", "d", "e"] {
            visit(&mut presence, name);
        }
        assert_eq!(presence.changed_users.len(), 0, "there are too many to tell each");
    }

    #[test]
    fn announcements_are_less_frequent_in_a_large_room() {
        let (mut presence, start) = (Presence::default(), Instant::now());
        presence.enter(&user("ann"), &OPTIONS);
        presence.announce(&room(), start, &OPTIONS);
        let per_second = OPTIONS.presence_lines_per_second as usize;
        assert_eq!(
            presence.due(start, per_second * 3, &OPTIONS),
            start + Duration::from_secs(3)
        );
        assert_eq!(presence.due(start, 10, &OPTIONS), start + OPTIONS.presence_interval);
    }
}

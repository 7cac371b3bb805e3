use std::time::Duration;

/// Bounds and times of rooms with members.
#[derive(Clone, Copy, Debug)]
pub struct HubOptions {
    /// Rooms with at least one member.
    pub rooms: usize,
    /// Members of one room.
    pub members_per_room: usize,
    /// Users of a room up to which sessions get the list of them. Above it they get the number only; they get the list
    /// again when there are at most three quarters of this.
    pub listed_users: usize,
    /// How long a user whose last socket closed still counts as present, so that a reconnect is not announced.
    pub presence_grace: Duration,
    /// The shortest time between two presence announcements in a room, and between two lists of a room's users.
    pub presence_interval: Duration,
    /// Lines a second that one room spends on presence announcements: a room with more session members than this
    /// announces less often than once a second.
    pub presence_lines_per_second: u32,
    /// Bytes of signals that may be pending in one room. More are dropped.
    pub signal_bytes: usize,
    /// Bytes of messages that may be delivered in one room in a second, to all its members together. Members that send
    /// more are read later, and also while deliveries are late. 0 is any number.
    pub delivery_rate: usize,
    /// The largest debt of a room beyond its burst, so that senders are read again soon after those that sent too much
    /// have left.
    pub delivery_max_debt: Duration,
    /// The longest pause of a sender. Shorter than the heartbeat's timeout, because the sender is not read during it.
    pub delivery_max_pause: Duration,
    /// With this debt a sender pauses for as long as the rate needs for what it caused; with twice as much, four times
    /// as long. With a hundred senders that send all they can, the debt settles at ten times this.
    pub delivery_debt_unit: Duration,
    /// How late deliveries may be. Every further delay counts as debt.
    pub delivery_max_delay: Duration,
    /// Members that a pass serves in one slice, before other tasks run.
    pub slice_members: usize,
    /// Bytes that a pass delivers in one slice, except that the last member of a slice gets all that is for it.
    pub slice_bytes: usize,
    /// The most bytes that are delivered to a member as one write, and as one text. One message may be larger.
    pub block_bytes: usize,
    /// Bytes of messages that may be pending in one room. While there are more, no message is added to its log, and
    /// senders are asked to retry.
    pub pending_bytes: usize,
    /// The most bytes of a text with several lines, and of a presence line: `sent_text_bytes` of the protocol.
    pub sent_text_bytes: usize,
    /// Messages of the first text frame to a member that catches up; each further one has twice as many. Small, because
    /// a client gets nothing of a frame that does not arrive whole, and over connections that never last long enough
    /// for a large one it would never get any.
    pub catch_up_first_messages: usize,
    /// The most messages of one text frame to a member that catches up. Together with `catch_up_bytes` and 600 bytes a
    /// line, for the longest names, it must stay within `sent_text_bytes`.
    pub catch_up_messages: usize,
    /// The most bytes of the bodies in one text frame to a member that catches up. One message may be larger. Answers
    /// to the client wait for one such frame at most, besides what the system has buffered.
    pub catch_up_bytes: usize,
    /// Clients whose rate is kept after their connection ended, so that a new connection does not begin with a full
    /// one.
    pub allowances: usize,
    /// How long it is kept. It should be as long as an empty rate needs to be full again.
    pub allowance_age: Duration,
}

impl HubOptions {
    pub(crate) const DEFAULT: Self = Self {
        rooms: 10_000,
        members_per_room: 10_000,
        listed_users: 1000,
        presence_grace: Duration::from_secs(5),
        presence_interval: Duration::from_millis(250),
        presence_lines_per_second: 1_000,
        signal_bytes: 16 * 1024,
        delivery_rate: 1 << 30,
        delivery_max_debt: Duration::from_secs(2),
        delivery_max_pause: Duration::from_secs(5),
        delivery_debt_unit: Duration::from_millis(100),
        delivery_max_delay: Duration::from_millis(50),
        slice_members: 256,
        slice_bytes: 256 * 1024,
        block_bytes: 64 * 1024,
        pending_bytes: 1024 * 1024,
        sent_text_bytes: 256 * 1024,
        catch_up_first_messages: 16,
        catch_up_messages: 256,
        catch_up_bytes: 32 * 1024,
        allowances: 10_000,
        allowance_age: Duration::from_secs(60),
    };

    /// The number of users at which a room that was not listed is listed again.
    pub(super) fn listed_again(&self) -> usize {
        self.listed_users / 4 * 3 + self.listed_users % 4 * 3 / 4
    }
}

impl Default for HubOptions {
    fn default() -> Self {
        Self::DEFAULT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_listed_again_at_three_quarters_of_the_bound_rounded_down() {
        for listed_users in 0..100 {
            let options = HubOptions {
                listed_users,
                ..HubOptions::DEFAULT
            };
            assert_eq!(options.listed_again(), listed_users * 3 / 4);
        }
    }
}

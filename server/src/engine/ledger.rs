//! The capacity for entries of publishers, shared by all clients and rooms.
//!
//! A fixed bound for each client would be too small for an honest one, or too large for many that are not. So the bound
//! is a part of what is free: a single holder gets a good part of all, and however many holders take their maximum,
//! something is left for a new one. (The dynamic threshold by which switches share their buffers, Choudhury and Hahne
//! 1998.)
//!
//! An attacker can make up any number of clients, and each may have at least one entry. So all clients of one origin
//! together have such a bound too.

use std::collections::HashMap;

use parking_lot::Mutex;
use talkback_protocol::ClientKey;

use super::Origin;

/// The holder of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    /// A client, in all rooms, and its origin when its entry was made.
    Client { key: ClientKey, origin: Option<Origin> },
    /// The named requests of the room whose log has this id.
    Requests(u64),
}

impl Holder {
    /// The accounts that are charged for the holder.
    fn accounts(self) -> impl Iterator<Item = Account> + Clone {
        let (own, origin) = match self {
            Self::Client { key, origin } => (Account::Client(key), origin),
            Self::Requests(log) => (Account::Requests(log), None),
        };
        [Some(own), origin.map(Account::Origin)].into_iter().flatten()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Account {
    Client(ClientKey),
    Requests(u64),
    Origin(Origin),
}

/// What entries take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cost {
    pub(super) entries: usize,
    pub(super) bytes: usize,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct LedgerOptions {
    pub(super) total: Cost,
    /// A holder may have this part of what is free: 16 is a sixteenth.
    pub(super) part: usize,
    /// All holders of one origin together may have this part of it.
    pub(super) origin_part: usize,
    /// Bytes that each account may have in any case while they are free: the largest size of one entry.
    pub(super) min_bytes: usize,
    /// Entries that are released under one lock. At least 1.
    pub(super) release_batch: usize,
}

/// Counts the entries of all rooms by their holders and origins.
pub(super) struct Ledger {
    options: LedgerOptions,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    accounts: HashMap<Account, Cost>,
    total: Cost,
}

impl Ledger {
    pub(super) fn new(options: LedgerOptions) -> Self {
        Self {
            options,
            held: Mutex::default(),
        }
    }

    /// Reserves `cost` for a holder. Returns false if the holder or its origin may not have it; then nothing was
    /// reserved.
    pub(super) fn reserve(&self, holder: Holder, cost: Cost) -> bool {
        if cost == Cost::default() {
            return true;
        }
        let LedgerOptions {
            total,
            part,
            origin_part,
            min_bytes,
            ..
        } = self.options;
        let mut held = self.held.lock();
        let free = Cost {
            entries: total.entries.saturating_sub(held.total.entries),
            bytes: total.bytes.saturating_sub(held.total.bytes),
        };
        let has_capacity = |account: Account| {
            let new = held.accounts.get(&account).copied().unwrap_or_default().plus(cost);
            let part = match account {
                Account::Client(_) | Account::Requests(_) => part,
                Account::Origin(_) => origin_part,
            };
            (cost.entries == 0 || new.entries <= (free.entries / part).max(1))
                && new.bytes <= (free.bytes / part).max(min_bytes)
        };
        let fits = cost.entries <= free.entries && cost.bytes <= free.bytes && holder.accounts().all(has_capacity);
        if fits {
            for account in holder.accounts() {
                let sum = held.accounts.entry(account).or_default();
                *sum = sum.plus(cost);
            }
            held.total = held.total.plus(cost);
        }
        fits
    }

    /// Reserves what a log has kept since an earlier process, also beyond the bounds.
    pub(super) fn reserve_always(&self, holder: Holder, cost: Cost) {
        let mut held = self.held.lock();
        for account in holder.accounts() {
            let sum = held.accounts.entry(account).or_default();
            *sum = sum.plus(cost);
        }
        held.total = held.total.plus(cost);
    }

    /// Releases reserved capacity. The lock is taken for one batch at a time, because a room may have very many
    /// publishers.
    pub(super) fn release(&self, released: impl IntoIterator<Item = (Holder, Cost)>) {
        let mut released = released.into_iter().peekable();
        while released.peek().is_some() {
            let mut held = self.held.lock();
            for (holder, cost) in released.by_ref().take(self.options.release_batch) {
                held.release(holder, cost);
            }
        }
    }

    pub(super) fn total(&self) -> Cost {
        self.held.lock().total
    }
}

impl Held {
    fn release(&mut self, holder: Holder, cost: Cost) {
        self.total = self.total.minus(cost);
        for account in holder.accounts() {
            if let Some(sum) = self.accounts.get_mut(&account) {
                *sum = sum.minus(cost);
                if *sum == Cost::default() {
                    self.accounts.remove(&account);
                }
            }
        }
    }
}

impl Cost {
    fn plus(self, other: Self) -> Self {
        Self {
            entries: self.entries + other.entries,
            bytes: self.bytes + other.bytes,
        }
    }

    fn minus(self, other: Self) -> Self {
        Self {
            entries: self.entries.saturating_sub(other.entries),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: Cost = Cost { entries: 1, bytes: 100 };

    fn ledger(entries: usize, bytes: usize) -> Ledger {
        Ledger::new(LedgerOptions {
            total: Cost { entries, bytes },
            part: 16,
            origin_part: 8,
            min_bytes: 400,
            release_batch: 256,
        })
    }

    fn client(number: u8) -> Holder {
        Holder::Client {
            key: ClientKey::from_random([number; 16]),
            origin: None,
        }
    }

    fn made_up(number: u64, origin: u64) -> Holder {
        Holder::Client {
            key: ClientKey::from_random(u128::from(number).to_ne_bytes()),
            origin: Some(Origin(origin)),
        }
    }

    /// How many clients of one origin get an entry, one each.
    fn reserve_made_up(ledger: &Ledger, origin: u64) -> usize {
        let clients = origin << 32..(origin + 1) << 32;
        clients
            .take_while(|number| ledger.reserve(made_up(*number, origin), ENTRY))
            .count()
    }

    fn reserve_all(ledger: &Ledger, holder: Holder) -> usize {
        (0..).take_while(|_| ledger.reserve(holder, ENTRY)).count()
    }

    #[test]
    fn one_holder_gets_a_part_and_many_greedy_ones_leave_capacity_for_new_ones() {
        let ledger = ledger(100_000, usize::MAX);
        let first = reserve_all(&ledger, client(0));
        assert!((5_000..=100_000 / 16).contains(&first), "{first}");
        for number in 1..40 {
            reserve_all(&ledger, client(number));
        }
        let taken = ledger.total().entries;
        assert!((50_000..95_000).contains(&taken), "{taken}");
        assert!(reserve_all(&ledger, client(200)) > 500, "a new one still gets some");
    }

    #[test]
    fn bytes_are_bounded_as_entries_are_and_an_entry_may_always_grow_to_its_full_size() {
        let ledger = ledger(usize::MAX, 100_000);
        for number in 0..60 {
            reserve_all(&ledger, client(number));
        }
        assert_eq!(reserve_all(&ledger, client(200)), 4, "the minimum of each account");
        for number in 60..200 {
            reserve_all(&ledger, client(number));
        }
        assert!(ledger.total().bytes <= 100_000);
        assert_eq!(reserve_all(&ledger, client(201)), 0);
    }

    #[test]
    fn all_clients_of_one_origin_get_an_eighth_and_other_holders_still_get_theirs() {
        let ledger = ledger(100_000, usize::MAX);
        let first = reserve_made_up(&ledger, 1);
        assert!((10_000..=100_000 / 8).contains(&first), "{first}");
        for origin in 2..20 {
            assert!(reserve_made_up(&ledger, origin) > 1000, "{origin}");
            assert_eq!(reserve_made_up(&ledger, 1), 0);
        }
        assert!(ledger.reserve(made_up(0, 99), ENTRY));
        assert!(reserve_all(&ledger, client(200)) > 500, "a holder without an origin");
    }

    #[test]
    fn bytes_of_an_origin_are_bounded_too_and_grow_within_that() {
        let ledger = ledger(usize::MAX, 100_000);
        let clients = reserve_made_up(&ledger, 1);
        assert!((100..=125).contains(&clients), "{clients}");
        let more = Cost { entries: 0, bytes: 100 };
        assert!(!ledger.reserve(made_up(1 << 32, 1), more));
        assert!(ledger.reserve(made_up(0, 2), ENTRY) && ledger.reserve(made_up(0, 2), more));
    }

    #[test]
    fn an_origin_can_reserve_again_what_it_released() {
        let ledger = ledger(100_000, usize::MAX);
        let clients = reserve_made_up(&ledger, 1);
        let released = (1 << 32..).take(clients).map(|number| (made_up(number, 1), ENTRY));
        ledger.release(released);
        assert_eq!(ledger.total(), Cost::default());
        assert!(ledger.held.lock().accounts.is_empty());
        assert_eq!(reserve_made_up(&ledger, 1), clients);
    }

    #[test]
    fn released_capacity_can_be_reserved_again_and_the_holders_account_is_removed() {
        let ledger = ledger(2, usize::MAX);
        assert!(ledger.reserve(client(1), ENTRY) && ledger.reserve(client(2), ENTRY));
        assert!(!ledger.reserve(client(3), ENTRY));
        ledger.release([(client(1), ENTRY)]);
        assert!(ledger.reserve(client(3), ENTRY));
        ledger.release([(client(2), ENTRY), (client(3), ENTRY)]);
        assert_eq!(ledger.total(), Cost::default());
        assert!(ledger.held.lock().accounts.is_empty());
    }
}

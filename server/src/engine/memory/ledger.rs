//! Who takes how much of what is remembered about publishers.
//!
//! A fixed bound for each client would be too small for an honest one or too large for many that are not. So the bound is a part of what
//! is still free: one holder alone gets a good part of all, and however many holders take as much as they may, something is left for
//! one that comes new. (The dynamic threshold by which switches share their buffers, Choudhury and Hahne 1998.)
//!
//! Clients cost nothing to make up, and each may have at least one entry. So all clients of one origin together have such a bound too.

use std::collections::HashMap;

use parking_lot::Mutex;
use talkback_protocol::ClientKey;

use super::super::Origin;

/// Who is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    /// A client, in all rooms, and its origin when it came to be remembered.
    Client { key: ClientKey, origin: Option<Origin> },
    /// The named requests of the room whose log has this id.
    Requests(u64),
}

impl Holder {
    /// Where it is counted.
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

/// So much is given back before others have a turn.
const RETURNED_AT_ONCE: usize = 256;

/// What something takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cost {
    pub(super) entries: usize,
    pub(super) bytes: usize,
}

/// The bounds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) total: Cost,
    /// A holder may have this part of what is free: 16 is a sixteenth.
    pub(super) part: usize,
    /// All holders of one origin may have this part of it together.
    pub(super) origin_part: usize,
    /// Bytes that each may have in any case while there are any: what one entry takes at most.
    pub(super) least_bytes: usize,
}

pub(super) struct Ledger {
    bounds: Bounds,
    books: Mutex<Books>,
}

#[derive(Default)]
struct Books {
    held: HashMap<Account, Cost>,
    total: Cost,
}

impl Ledger {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            books: Mutex::default(),
        }
    }

    /// Takes so much for a holder, if it may have it.
    pub(super) fn take(&self, holder: Holder, cost: Cost) -> bool {
        if cost == Cost::default() {
            return true;
        }
        let Bounds {
            total,
            part,
            origin_part,
            least_bytes,
        } = self.bounds;
        let mut books = self.books.lock();
        let free = Cost {
            entries: total.entries.saturating_sub(books.total.entries),
            bytes: total.bytes.saturating_sub(books.total.bytes),
        };
        let has_place = |account: Account| {
            let new = books.held.get(&account).copied().unwrap_or_default().plus(cost);
            let part = match account {
                Account::Client(_) | Account::Requests(_) => part,
                Account::Origin(_) => origin_part,
            };
            (cost.entries == 0 || new.entries <= (free.entries / part).max(1))
                && new.bytes <= (free.bytes / part).max(least_bytes)
        };
        let fits = cost.entries <= free.entries && cost.bytes <= free.bytes && holder.accounts().all(has_place);
        if fits {
            for account in holder.accounts() {
                let held = books.held.entry(account).or_default();
                *held = held.plus(cost);
            }
            books.total = books.total.plus(cost);
        }
        fits
    }

    /// Gives back what was taken. Others have a turn between: a room may have very many publishers.
    pub(super) fn give_back(&self, returned: impl IntoIterator<Item = (Holder, Cost)>) {
        let mut returned = returned.into_iter().peekable();
        while returned.peek().is_some() {
            let mut books = self.books.lock();
            for (holder, cost) in returned.by_ref().take(RETURNED_AT_ONCE) {
                books.give_back(holder, cost);
            }
        }
    }

    pub(super) fn total(&self) -> Cost {
        self.books.lock().total
    }
}

impl Books {
    fn give_back(&mut self, holder: Holder, cost: Cost) {
        self.total = self.total.minus(cost);
        for account in holder.accounts() {
            if let Some(held) = self.held.get_mut(&account) {
                *held = held.minus(cost);
                if *held == Cost::default() {
                    self.held.remove(&account);
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
        Ledger::new(Bounds {
            total: Cost { entries, bytes },
            part: 16,
            origin_part: 8,
            least_bytes: 400,
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

    /// How many entries clients get that one origin makes up, one each.
    fn take_as_many(ledger: &Ledger, origin: u64) -> usize {
        let clients = origin << 32..(origin + 1) << 32;
        clients
            .take_while(|number| ledger.take(made_up(*number, origin), ENTRY))
            .count()
    }

    fn take_all(ledger: &Ledger, holder: Holder) -> usize {
        (0..).take_while(|_| ledger.take(holder, ENTRY)).count()
    }

    #[test]
    fn one_holder_gets_a_part_and_many_greedy_ones_leave_room_for_new_ones() {
        let ledger = ledger(100_000, usize::MAX);
        let first = take_all(&ledger, client(0));
        assert!((5_000..=100_000 / 16).contains(&first), "{first}");
        for number in 1..40 {
            take_all(&ledger, client(number));
        }
        let taken = ledger.total().entries;
        assert!((50_000..95_000).contains(&taken), "{taken}");
        assert!(take_all(&ledger, client(200)) > 500, "a new one still gets some");
    }

    #[test]
    fn bytes_are_bounded_as_entries_are_and_an_entry_may_always_grow_to_its_full_size() {
        let ledger = ledger(usize::MAX, 100_000);
        for number in 0..60 {
            take_all(&ledger, client(number));
        }
        assert_eq!(take_all(&ledger, client(200)), 4, "the least that each may have");
        for number in 60..200 {
            take_all(&ledger, client(number));
        }
        assert!(ledger.total().bytes <= 100_000);
        assert_eq!(take_all(&ledger, client(201)), 0);
    }

    #[test]
    fn however_many_clients_an_origin_makes_up_it_gets_an_eighth_and_new_ones_still_get_theirs() {
        let ledger = ledger(100_000, usize::MAX);
        let first = take_as_many(&ledger, 1);
        assert!((10_000..=100_000 / 8).contains(&first), "{first}");
        for origin in 2..20 {
            assert!(take_as_many(&ledger, origin) > 1000, "{origin}");
            assert_eq!(take_as_many(&ledger, 1), 0);
        }
        assert!(ledger.take(made_up(0, 99), ENTRY));
        assert!(take_all(&ledger, client(200)) > 500, "one of no known origin");
    }

    #[test]
    fn bytes_of_an_origin_are_bounded_too_and_grow_within_that() {
        let ledger = ledger(usize::MAX, 100_000);
        let clients = take_as_many(&ledger, 1);
        assert!((100..=125).contains(&clients), "{clients}");
        let more = Cost { entries: 0, bytes: 100 };
        assert!(!ledger.take(made_up(1 << 32, 1), more));
        assert!(ledger.take(made_up(0, 2), ENTRY) && ledger.take(made_up(0, 2), more));
    }

    #[test]
    fn what_an_origin_gives_back_is_its_own_again() {
        let ledger = ledger(100_000, usize::MAX);
        let clients = take_as_many(&ledger, 1);
        let returned = (1 << 32..).take(clients).map(|number| (made_up(number, 1), ENTRY));
        ledger.give_back(returned);
        assert_eq!(ledger.total(), Cost::default());
        assert!(ledger.books.lock().held.is_empty());
        assert_eq!(take_as_many(&ledger, 1), clients);
    }

    #[test]
    fn what_is_given_back_can_be_taken_again_and_nothing_of_a_holder_stays() {
        let ledger = ledger(2, usize::MAX);
        assert!(ledger.take(client(1), ENTRY) && ledger.take(client(2), ENTRY));
        assert!(!ledger.take(client(3), ENTRY));
        ledger.give_back([(client(1), ENTRY)]);
        assert!(ledger.take(client(3), ENTRY));
        ledger.give_back([(client(2), ENTRY), (client(3), ENTRY)]);
        assert_eq!(ledger.total(), Cost::default());
        assert!(ledger.books.lock().held.is_empty());
    }
}

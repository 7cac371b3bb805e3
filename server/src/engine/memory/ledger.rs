//! Who takes how much of what is remembered about publishers.
//!
//! A fixed bound for each client would be too small for an honest one or too large for many that are not. So the bound is a part of what
//! is still free: one holder alone gets a good part of all, and however many holders take as much as they may, something is left for
//! one that comes new. (The dynamic threshold by which switches share their buffers, Choudhury and Hahne 1998.)

use std::collections::HashMap;

use parking_lot::Mutex;
use talkback_protocol::ClientKey;

/// Who is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Holder {
    /// A client, in all rooms.
    Client(ClientKey),
    /// The named requests of the room whose log has this id.
    Requests(u64),
}

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
    /// Bytes that a holder may have in any case while there are any: what one entry takes at most.
    pub(super) least_bytes: usize,
}

pub(super) struct Ledger {
    bounds: Bounds,
    books: Mutex<Books>,
}

#[derive(Default)]
struct Books {
    held: HashMap<Holder, Cost>,
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
            least_bytes,
        } = self.bounds;
        let mut books = self.books.lock();
        let held = books.held.get(&holder).copied().unwrap_or_default();
        let free = Cost {
            entries: total.entries.saturating_sub(books.total.entries),
            bytes: total.bytes.saturating_sub(books.total.bytes),
        };
        let new = held.plus(cost);
        let fits = cost.entries <= free.entries
            && cost.bytes <= free.bytes
            && (cost.entries == 0 || new.entries <= (free.entries / part).max(1))
            && new.bytes <= (free.bytes / part).max(least_bytes);
        if fits {
            books.held.insert(holder, new);
            books.total = books.total.plus(cost);
        }
        fits
    }

    /// Gives back what was taken.
    pub(super) fn give_back(&self, returned: impl IntoIterator<Item = (Holder, Cost)>) {
        let mut books = self.books.lock();
        let books = &mut *books;
        for (holder, cost) in returned {
            books.total = books.total.minus(cost);
            if let Some(held) = books.held.get_mut(&holder) {
                *held = held.minus(cost);
                if *held == Cost::default() {
                    books.held.remove(&holder);
                }
            }
        }
    }

    pub(super) fn total(&self) -> Cost {
        self.books.lock().total
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
            least_bytes: 400,
        })
    }

    fn client(number: u8) -> Holder {
        Holder::Client(ClientKey::from_random([number; 16]))
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

//! Retention: the task that drops expired entries, and messages where the logs of all rooms are nearly full.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    sync::{Weak, atomic::Ordering},
};

use tokio::time::Instant;

use super::{
    Inner, Memory,
    log::Log,
    rooms::{Class, RoomEntry},
};

impl Memory {
    /// Starts the task that sweeps, unless it runs. It ends when no room is left, or with the engine.
    pub(super) fn start_sweeping(&self) {
        if self.0.sweeping.load(Ordering::Relaxed) || self.0.sweeping.swap(true, Ordering::Relaxed) {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            self.0.sweeping.store(false, Ordering::Relaxed);
            return;
        };
        let interval = self.0.options.sweep_interval;
        let engine: Weak<Inner> = std::sync::Arc::downgrade(&self.0);
        runtime.spawn(async move {
            loop {
                tokio::time::sleep(interval).await;
                let Some(engine) = engine.upgrade() else { return };
                if engine.sweep().await == 0 {
                    engine.sweeping.store(false, Ordering::Relaxed);
                    // A room that was made since did not start another task.
                    if engine.rooms.lock().len() == 0 || engine.sweeping.swap(true, Ordering::Relaxed) {
                        return;
                    }
                }
            }
        });
    }
}

impl Inner {
    /// Drops what is expired or above the bounds. Returns how many rooms are left.
    pub(super) async fn sweep(&self) -> usize {
        let now = Instant::now();
        self.new_rooms.lock().expire(now);
        self.for_each_room(|room| {
            let mut log = room.log.lock();
            self.expire(&mut log, now);
            self.expire_publishers(&mut log, now);
            if self.is_unused(&log, now) {
                drop(log);
                // Removes no room with watchers.
                let evicted = self.rooms.lock().remove_if(&room.name, |log| self.is_unused(log, now));
                self.release_evicted(evicted);
            }
        })
        .await;
        let is_refused = self.refused_full.swap(false, Ordering::Relaxed);
        if is_refused || self.is_nearly_full() {
            self.drop_above_share(is_refused).await;
        }
        self.rooms.lock().len()
    }

    /// Visits all rooms in batches, between which other tasks run. A room that is made meanwhile may be left out.
    pub(super) async fn for_each_room(&self, mut visit: impl FnMut(RoomEntry)) {
        let mut next = Some(0);
        while let Some(from) = next {
            let (batch, rest) = self.rooms.lock().batch(from, self.options.sweep_batch.max(1));
            batch.into_iter().for_each(&mut visit);
            next = rest;
            tokio::task::yield_now().await;
        }
    }

    fn is_nearly_full(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) > high_water(self.options.total_bytes)
    }

    /// Drops messages of rooms that hold more than their share. Then, while rooms with watchers need more, it empties
    /// rooms without.
    async fn drop_above_share(&self, is_refused: bool) {
        let total = self.options.total_bytes;
        let (rooms, watched) = {
            let rooms = self.rooms.lock();
            (rooms.len(), rooms.watched())
        };
        // One more if a message was refused: it may be the first of a room, which is not counted then.
        let share = total / (rooms + usize::from(is_refused)).max(1);
        // At most half is for rooms with watchers: otherwise enough of them would leave nothing to all other rooms.
        let share_of_watched = total / 2 / watched.max(1);
        let kept = self.options.watched_bytes.min(share_of_watched);
        let trim = |log: &mut Log, above: usize, keep: usize| {
            if log.bytes() > above {
                self.freed(log.drop_while(|_, left| left.bytes > keep));
            }
        };
        let (mut unwatched, mut order) = (Vec::new(), Vec::new());
        self.for_each_room(|room| {
            let mut log = room.log.lock();
            if room.class == Class::Watched {
                trim(&mut log, share.max(kept), high_water(share).max(kept));
                return;
            }
            trim(&mut log, share, high_water(share));
            if watched > 0 && log.bytes() != 0 {
                order.push(Reverse((room.class, log.used(), unwatched.len())));
                drop(log);
                unwatched.push(room.log);
            }
        })
        .await;
        // A heap sorts only as far as needed: of very many rooms few may have to go.
        let mut order = BinaryHeap::from(order);
        while self.is_nearly_full() && !order.is_empty() {
            for _ in 0..self.options.sweep_batch.max(1) {
                if self.is_nearly_full()
                    && let Some(Reverse((_, _, index))) = order.pop()
                {
                    trim(&mut unwatched[index].lock(), 0, 0);
                }
            }
            tokio::task::yield_now().await;
        }
    }

    /// Whether a room can go: a room with entries of publishers is kept until they expire, one without any activity is
    /// not kept.
    fn is_unused(&self, log: &Log, now: Instant) -> bool {
        let remembered = self.options.client_age.max(self.options.request_age);
        log.bytes() == 0 && (!log.is_touched() || log.used() + remembered <= now)
    }
}

/// Above this, messages are dropped until no more than this is left.
fn high_water(total: usize) -> usize {
    total / 8 * 7
}

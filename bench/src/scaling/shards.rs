//! How evenly rooms are spread over the nodes of a cluster. The engine puts rooms into 1,024 parts by a hash of their
//! names, and each part into one slot; a node has the parts of its slots. A room is never on two nodes, so the load of
//! the busiest node, and of the busiest room, bounds the whole.

use std::hash::{DefaultHasher, Hash, Hasher};

/// The parts of the engine in Redis.
const PARTS: usize = 1024;

/// How the load is spread.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The load of the busiest node, as a multiple of the mean.
    pub busiest: f64,
    /// The part of all messages that the busiest room has.
    pub largest_room: f64,
}

/// Spreads rooms over nodes. The room with the rank n has a load of n to the power of `-skew`: 0 for rooms that are all
/// alike, about 1 for names that people choose.
#[must_use]
pub fn spread(rooms: usize, skew: f64, nodes: usize) -> Spread {
    let mut loads = vec![0.0; nodes.max(1)];
    let (mut total, mut largest) = (0.0, 0.0_f64);
    for rank in 1..=rooms {
        let load = (rank as f64).powf(-skew);
        loads[node_of(&format!("room-{rank}"), nodes.max(1))] += load;
        total += load;
        largest = largest.max(load);
    }
    let most = loads.iter().copied().fold(0.0, f64::max);
    Spread {
        busiest: most * nodes.max(1) as f64 / total,
        largest_room: largest / total,
    }
}

/// Neighbouring parts are in slots that are far apart, so a part is on a node by its own hash.
fn node_of(room: &str, nodes: usize) -> usize {
    let hash = |value: &dyn Fn(&mut DefaultHasher)| {
        let mut hasher = DefaultHasher::new();
        value(&mut hasher);
        usize::try_from(hasher.finish() >> 16).unwrap_or_default()
    };
    let part = hash(&|hasher| room.hash(hasher)) % PARTS;
    hash(&|hasher| ("part", part).hash(hasher)) % nodes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_that_are_alike_are_spread_evenly_and_one_node_has_everything() {
        assert!((spread(10_000, 1.0, 1).busiest - 1.0).abs() < 1e-9);
        let even = spread(100_000, 0.0, 3);
        assert!((1.0..1.15).contains(&even.busiest), "{even:?}");
        assert!(even.largest_room < 1e-4, "{even:?}");
    }

    #[test]
    fn a_busy_room_makes_its_node_the_busiest_and_more_nodes_do_not_help_it() {
        let (few, many) = (spread(100_000, 1.0, 3), spread(100_000, 1.0, 30));
        assert_eq!(few.largest_room, many.largest_room);
        assert!(many.busiest > few.busiest, "{few:?} {many:?}");
        assert!(many.busiest / 30.0 > many.largest_room, "{many:?}");
    }
}

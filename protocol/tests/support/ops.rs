//! Lists of operations, made from bytes, so that a seed and a fuzzer can write them.

use talkback_protocol::session::client::Input;

use super::{Random, TTL, World, ms, room, secs};

const PEERS: usize = 3;

/// Something that happens to the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Wait {
        milliseconds: u64,
    },
    Publish {
        peer: usize,
        room: usize,
        count: u8,
    },
    Join {
        peer: usize,
        room: usize,
        keep: bool,
    },
    Leave {
        peer: usize,
        room: usize,
    },
    History {
        peer: usize,
        room: usize,
    },
    Signal {
        peer: usize,
        room: usize,
    },
    Cut {
        peer: usize,
        told: bool,
    },
    CutAll,
    Link {
        delay: u8,
        refuse: bool,
        black_hole: bool,
        close_at_once: bool,
    },
    HealLink,
    Restart {
        lose: bool,
        graceful: bool,
    },
    Trim {
        keep: u8,
    },
    Forget,
    Busy {
        milliseconds: u64,
    },
    Sleep {
        peer: usize,
        seconds: u64,
    },
    Throttle {
        peer: usize,
        on: bool,
    },
    Suspend {
        peer: usize,
    },
    Resume {
        peer: usize,
    },
    Offline {
        peer: usize,
    },
    Online {
        peer: usize,
    },
    Visible {
        peer: usize,
    },
    Reload {
        peer: usize,
        crash: bool,
    },
    TooSlow {
        peer: usize,
    },
    Expel {
        peer: usize,
        room: usize,
    },
    Connect {
        peer: usize,
    },
    Stop {
        peer: usize,
    },
    NewTokens,
    Sloppy {
        on: bool,
    },
}

impl Op {
    /// Every three bytes are an operation.
    pub fn list(data: &[u8]) -> Vec<Self> {
        data.chunks_exact(3)
            .map(|bytes| Self::read(bytes[0], bytes[1], bytes[2]))
            .collect()
    }

    fn read(kind: u8, a: u8, b: u8) -> Self {
        let peer = usize::from(a) % PEERS;
        let room = usize::from(a / 8) % 2;
        match kind % 64 {
            0..=9 => Self::Wait {
                milliseconds: u64::from(a) * 4,
            },
            10..=13 => Self::Wait {
                milliseconds: u64::from(a) * 200,
            },
            14..=29 => Self::Publish {
                peer,
                room,
                count: b % 12 + 1,
            },
            30..=32 => Self::Join {
                peer,
                room,
                keep: b.is_multiple_of(2),
            },
            33 => Self::Leave { peer, room },
            34 => Self::History { peer, room },
            35 => Self::Signal { peer, room },
            36..=39 => Self::Cut {
                peer,
                told: b.is_multiple_of(2),
            },
            40 => Self::CutAll,
            41 => Self::Link {
                delay: b,
                refuse: a & 1 != 0,
                black_hole: a & 6 == 6,
                close_at_once: a & 24 == 24,
            },
            42..=43 => Self::HealLink,
            44..=45 => Self::Restart {
                lose: a.is_multiple_of(2),
                graceful: b.is_multiple_of(2),
            },
            46 => Self::Trim { keep: b % 16 },
            47 if b < 64 => Self::Forget,
            47 => Self::Sloppy {
                on: b.is_multiple_of(2),
            },
            48..=49 => Self::Busy {
                milliseconds: u64::from(b) * 8,
            },
            50 => Self::Sleep {
                peer,
                seconds: u64::from(b),
            },
            51 => Self::Throttle {
                peer,
                on: b.is_multiple_of(2),
            },
            52 => Self::Suspend { peer },
            53 => Self::Resume { peer },
            54 => Self::Offline { peer },
            55 => Self::Online { peer },
            56 => Self::Visible { peer },
            57..=58 => Self::Reload {
                peer,
                crash: b.is_multiple_of(2),
            },
            59 => Self::TooSlow { peer },
            60 => Self::Expel { peer, room },
            61 => Self::Connect { peer },
            62 => Self::NewTokens,
            _ if b < 64 => Self::Stop { peer },
            _ => Self::Wait {
                milliseconds: u64::from(b) * 50,
            },
        }
    }
}

/// Lets operations happen, then lets everything work again, and says which promise was broken.
pub fn run(seed: u64, ops: &[Op], verbose: bool) -> Result<(), String> {
    let mut world = World::new(seed, PEERS);
    world.verbose = verbose;
    for peer in 0..PEERS {
        world.peer_input(peer, Input::Connect);
        world.join(peer, &room("a"), true, 5);
    }
    for op in ops {
        world.note(|| format!("op {op:?}"));
        apply(&mut world, *op);
        if let Some(first) = world.violations.first() {
            return Err(first.clone());
        }
    }
    heal(&mut world);
    // One more in each room shows that the way is free, and uncovers a loss that no later message would.
    let last: Vec<_> = ["a", "b"].map(|name| world.publish(0, &room(name))).into();
    let due = world.still_possible();
    let settled = world.advance_until(TTL * 3 + secs(400), World::is_settled);
    world.check_end();
    for (peer, tag) in due.into_iter().chain(last.into_iter().map(|tag| (0, tag))) {
        world.check_acked(peer, tag);
    }
    if !settled {
        world.violation("it did not settle".to_owned());
    }
    world.violations.first().map_or(Ok(()), |first| Err(first.clone()))
}

/// The operations of a seed.
pub fn seeded(seed: u64) -> Vec<Op> {
    let mut random = Random::new(seed ^ 0x5eed);
    let length = random.below(60) * 3;
    let data: Vec<u8> = (0..length).map(|_| random.bits().to_be_bytes()[0]).collect();
    Op::list(&data)
}

fn heal(world: &mut World) {
    // Whoever sleeps wakes by itself: what waits in its buffers must not be overtaken.
    let wake = world.peers.iter().map(|peer| peer.wake).max().unwrap_or_default();
    world.advance(wake.saturating_sub(world.now));
    world.engine_busy_until = world.now;
    world.sloppy = false;
    good_link(world);
    for peer in 0..PEERS {
        world.peers[peer].throttled = false;
        world.peer_input(peer, Input::Online);
        world.peer_input(peer, Input::Resume);
        world.peer_input(peer, Input::Connect);
    }
}

fn good_link(world: &mut World) {
    world.link.delay = ms(40);
    world.link.refuse = false;
    world.link.black_hole = false;
    world.link.close_at_once = None;
}

fn apply(world: &mut World, op: Op) {
    let name = |index: usize| room(["a", "b"][index]);
    match op {
        Op::Wait { milliseconds } => world.advance(ms(milliseconds)),
        Op::CutAll => (0..PEERS).for_each(|peer| cut(world, peer, true)),
        Op::Link {
            delay,
            refuse,
            black_hole,
            close_at_once,
        } => {
            world.link.delay = ms(u64::from(delay) * 8);
            world.link.refuse = refuse;
            world.link.black_hole = black_hole;
            world.link.close_at_once = close_at_once.then_some(1013);
        }
        Op::HealLink => good_link(world),
        Op::Restart { lose, graceful } => {
            world.restart(graceful);
            if lose {
                world.log.lose();
            }
        }
        Op::Trim { keep } => world.log.trim(keep.into()),
        Op::Forget => {
            let before = world.now.saturating_sub(TTL * 3);
            world.log.forget(before);
        }
        Op::Busy { milliseconds } => world.engine_busy_until = world.now + ms(milliseconds),
        Op::Sloppy { on } => world.sloppy = on,
        Op::NewTokens => world.token_version += 1,
        Op::Cut { peer, told } => cut(world, peer, told),
        Op::TooSlow { peer } => {
            if let Some((_, conn)) = world.peers[peer].conn {
                world.close_by_server(conn, 4413);
            }
        }
        Op::Expel { peer, room } => {
            if let Some((_, conn)) = world.peers[peer].conn {
                world.expel(conn, &name(room));
            }
        }
        Op::Throttle { peer, on } => world.peers[peer].throttled = on,
        Op::Sleep { peer, seconds } => world.peers[peer].wake = world.now + secs(seconds),
        // What an application does needs a machine that is awake.
        Op::Publish { peer, .. }
        | Op::Join { peer, .. }
        | Op::Leave { peer, .. }
        | Op::History { peer, .. }
        | Op::Signal { peer, .. }
        | Op::Suspend { peer }
        | Op::Resume { peer }
        | Op::Offline { peer }
        | Op::Online { peer }
        | Op::Visible { peer }
        | Op::Reload { peer, .. }
        | Op::Connect { peer }
        | Op::Stop { peer }
            if world.peers[peer].sleeps_until(world.now).is_some() => {}
        Op::Publish { peer, room, count } => {
            for _ in 0..count {
                world.publish(peer, &name(room));
            }
        }
        Op::Join { peer, room, keep } => world.join(peer, &name(room), keep, 5),
        Op::Leave { peer, room } => world.leave(peer, &name(room)),
        Op::History { peer, room } => {
            let before = world.log.head(&name(room)).next();
            world.ask_history(peer, &name(room), before);
        }
        Op::Signal { peer, room } => {
            let (room, body) = (name(room), talkback_protocol::Body::text("typing"));
            world.peer_input(peer, Input::Signal { room, body });
        }
        Op::Suspend { peer } => world.peer_input(peer, Input::Suspend),
        Op::Resume { peer } => world.peer_input(peer, Input::Resume),
        Op::Offline { peer } => world.peer_input(peer, Input::Offline),
        Op::Online { peer } => world.peer_input(peer, Input::Online),
        Op::Visible { peer } => world.peer_input(peer, Input::Visible),
        Op::Reload { peer, crash } => world.reload(peer, crash),
        Op::Connect { peer } => world.peer_input(peer, Input::Connect),
        Op::Stop { peer } => world.peer_input(peer, Input::Stop),
    }
}

fn cut(world: &mut World, peer: usize, told: bool) {
    if let Some((_, conn)) = world.peers[peer].conn {
        world.cut(conn, told);
    }
}

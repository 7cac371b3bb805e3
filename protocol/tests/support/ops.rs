//! Lists of operations, made from bytes, so that a seed and a fuzzer can write them.

use std::{collections::BTreeMap, time::Duration};

use talkback_protocol::{
    Body, Moment,
    session::{
        client::{ClientSession, Input},
        server,
    },
    test_util::Random,
};

use super::{TTL, World, faults::Link, ms, room, secs};

const PEERS: usize = 4;
/// How many tabs may be duplicated.
const COPIES: usize = 2;
const ROOMS: [&str; 4] = ["a", "b", "c", "d"];

/// Something that happens to the world. The number of a peer is taken modulo their count, so that it can be one that
/// was added.
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
    PublishLarge {
        peer: usize,
        room: usize,
        padding: u8,
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
        count: u8,
    },
    Signal {
        peer: usize,
        room: usize,
    },
    Cut {
        peer: usize,
        is_noticed: bool,
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
        graceful: bool,
        loss: Loss,
    },
    /// A member is away while many messages are sent. Then the log loses the newest of them, or drops the oldest while
    /// the member catches up.
    Away {
        peer: usize,
        room: usize,
        fork: bool,
    },
    Trim {
        keep: u8,
    },
    Forget {
        seconds: u64,
    },
    Busy {
        milliseconds: u64,
    },
    Deny {
        on: bool,
    },
    SmallBodies {
        on: bool,
    },
    Flood {
        peer: usize,
    },
    Sleep {
        peer: usize,
        seconds: u64,
    },
    Throttle {
        peer: usize,
        on: bool,
    },
    SetClockBack {
        peer: usize,
        milliseconds: u64,
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
        away: u64,
        back: usize,
    },
    Duplicate {
        peer: usize,
    },
    TooSlow {
        peer: usize,
    },
    Expel {
        peer: usize,
        room: usize,
        leave: bool,
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

/// What a restart does to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    Nothing,
    /// The log goes on from where it was stored.
    Newest,
    Everything,
}

impl Op {
    /// Every three bytes are an operation.
    pub fn list(data: &[u8]) -> Vec<Self> {
        data.chunks_exact(3)
            .map(|bytes| Self::read(bytes[0], bytes[1], bytes[2]))
            .collect()
    }

    fn read(kind: u8, a: u8, b: u8) -> Self {
        let peer = usize::from(a % 8);
        let room = usize::from(a / 8) % ROOMS.len();
        let even = b.is_multiple_of(2);
        match kind % 96 {
            0..=13 => Self::Wait {
                milliseconds: u64::from(a) * 4,
            },
            14..=16 => Self::Wait {
                milliseconds: u64::from(a) * 200,
            },
            17..=18 => Self::Away { peer, room, fork: true },
            19 => Self::Away {
                peer,
                room,
                fork: false,
            },
            20..=38 => Self::Publish {
                peer,
                room,
                count: b % 12 + 1,
            },
            39..=42 => Self::PublishLarge { peer, room, padding: b },
            43..=45 => Self::Join { peer, room, keep: even },
            46..=47 | 65..=67 => Self::Trim { keep: b % 4 },
            48 => Self::Leave { peer, room },
            49..=50 => Self::History {
                peer,
                room,
                count: b % 6 + 1,
            },
            51 => Self::Signal { peer, room },
            52..=56 => Self::Cut { peer, is_noticed: even },
            57 => Self::CutAll,
            58 => Self::Link {
                delay: b,
                refuse: a & 1 != 0,
                black_hole: a & 6 == 6,
                close_at_once: a & 24 == 24,
            },
            59..=61 => Self::HealLink,
            62..=64 => Self::Restart {
                graceful: even,
                loss: [Loss::Nothing, Loss::Newest, Loss::Newest, Loss::Everything][usize::from(a) % 4],
            },
            68..=69 => Self::Forget { seconds: b.into() },
            70..=71 => Self::Busy {
                milliseconds: u64::from(b) * 8,
            },
            72 => Self::Deny { on: true },
            73 => Self::Deny { on: false },
            74 => Self::SmallBodies { on: even },
            75 => Self::Flood { peer },
            76 => Self::Sleep {
                peer,
                seconds: u64::from(b),
            },
            77 => Self::Throttle { peer, on: even },
            78 if even => Self::SetClockBack {
                peer,
                milliseconds: u64::from(b) * 10,
            },
            78 => Self::Sloppy { on: b % 4 == 1 },
            79 => Self::Suspend { peer },
            80 => Self::Resume { peer },
            81 => Self::Offline { peer },
            82 => Self::Online { peer },
            83 => Self::Visible { peer },
            84..=86 => Self::Reload {
                peer,
                crash: even,
                away: if b % 8 < 2 { u64::from(b) } else { 0 },
                back: if b % 8 == 3 { usize::from(a / 64) + 1 } else { 0 },
            },
            87..=88 => Self::Duplicate { peer },
            89 => Self::TooSlow { peer },
            90..=91 => Self::Expel {
                peer,
                room,
                leave: even,
            },
            92 => Self::Connect { peer },
            93 => Self::NewTokens,
            94 if b < 64 => Self::Stop { peer },
            _ => Self::Wait {
                milliseconds: u64::from(b) * 50,
            },
        }
    }
}

/// Applies operations, then ends all faults, and returns which promise was broken. Adds to `counts` what happened how
/// often.
pub fn run(seed: u64, ops: &[Op], verbose: bool, counts: &mut BTreeMap<&'static str, u64>) -> Result<(), String> {
    let mut world = World::new(seed, PEERS);
    world.verbose = verbose;
    let result = run_in(&mut world, ops);
    for (what, count) in world.server.faults.counts {
        *counts.entry(what).or_default() += count;
    }
    result
}

fn run_in(world: &mut World, ops: &[Op]) -> Result<(), String> {
    for peer in 0..PEERS {
        world.command(peer, ClientSession::connect);
        world.join(peer, &room("a"), true, 5);
    }
    for op in ops {
        world.note(|| format!("op {op:?}"));
        apply(world, *op);
        if let Some(first) = world.violations.first() {
            return Err(first.clone());
        }
    }
    heal(world);
    // One more message in each room uncovers the loss of the one before it.
    let last: Vec<_> = ROOMS.map(|name| world.publish(0, &room(name))).into();
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
    // Machines that sleep wake by themselves, because nothing may overtake what waits in their buffers.
    let wake = world.peers.iter().map(|peer| peer.wake).max().unwrap_or_default();
    world.advance(wake.saturating_sub(world.now));
    world.faults().busy_until = world.now;
    world.faults().sloppy = false;
    world.faults().deny = false;
    good_link(world);
    for peer in 0..world.peers.len() {
        world.peers[peer].throttled = false;
        world.peers[peer].clock_behind = Duration::ZERO;
        world.peer_input(peer, Input::Online);
        world.peer_input(peer, Input::Resume);
        world.command(peer, ClientSession::connect);
        // An application asks again for what it was refused.
        let ended = world.peers[peer].views.iter().filter(|(_, view)| view.ended);
        let ended: Vec<_> = ended.map(|(room, _)| room.clone()).collect();
        for room in ended {
            world.count("a client joined again after its membership had ended");
            world.join(peer, &room, true, 5);
        }
    }
}

fn good_link(world: &mut World) {
    world.faults().link = Link::GOOD;
}

fn apply(world: &mut World, op: Op) {
    let name = |index: usize| room(ROOMS[index]);
    let peers = world.peers.len();
    let awake = |world: &World, peer: usize| {
        let peer = peer % peers;
        // What an application does needs a machine that is awake.
        world.peers[peer].sleeps_until(world.now).is_none().then_some(peer)
    };
    let input = |world: &mut World, peer: usize, input: Input| {
        if let Some(peer) = awake(world, peer) {
            world.peer_input(peer, input);
        }
    };
    let command = |world: &mut World, peer: usize, act: fn(&mut ClientSession, Moment)| {
        if let Some(peer) = awake(world, peer) {
            world.command(peer, act);
        }
    };
    let conn = |world: &World, peer: usize| world.peers[peer % peers].conn.map(|(_, conn)| conn);
    match op {
        Op::Wait { milliseconds } => world.advance(ms(milliseconds)),
        Op::CutAll => (0..peers).for_each(|peer| cut(world, peer, true)),
        Op::Link {
            delay,
            refuse,
            black_hole,
            close_at_once,
        } => {
            world.faults().link = Link {
                delay: ms(u64::from(delay) * 8),
                refuse,
                close_at_once: close_at_once.then_some(1013),
                black_hole,
            };
        }
        Op::HealLink => good_link(world),
        Op::Restart { graceful, loss } => {
            world.restart(graceful);
            match loss {
                Loss::Nothing => world.count("a restart that kept the log"),
                Loss::Newest => {
                    if world.logs().lose_unstored() > 0 {
                        world.count("a restart that lost the newest messages");
                    }
                }
                Loss::Everything => {
                    world.count("a restart that lost the log");
                    world.logs().lose();
                }
            }
        }
        Op::Trim { keep } => world.logs().trim(keep.into()),
        Op::Away { peer, room, fork } => {
            let Some(away) = awake(world, peer) else { return };
            world.peer_input(away, Input::Suspend);
            if let Some(other) = awake(world, peer + 1) {
                for _ in 0..12 {
                    world.publish(other, &name(room));
                }
            }
            world.advance(ms(600));
            if fork {
                world.restart(false);
                if world.logs().lose_unstored() > 0 {
                    world.count("a restart that lost the newest messages");
                }
            }
            input(world, away, Input::Resume);
            if !fork {
                world.advance(ms(700));
                world.logs().trim(1);
            }
        }
        Op::Forget { seconds } => {
            world.advance(secs(seconds));
            let before = world.now.saturating_sub(TTL * 2 + secs(5));
            if world.logs().forget(before) > 0 {
                world.count("the log forgot a client");
            }
        }
        Op::Busy { milliseconds } => world.faults().busy_until = world.now + ms(milliseconds),
        Op::Deny { on } => {
            world.faults().deny = on;
            world.faults().denied |= on;
        }
        Op::SmallBodies { on } => world.limit_bodies(if on { 60 } else { 1 << 16 }),
        Op::Flood { peer } => {
            if let Some(conn) = conn(world, peer) {
                let flood = server::Input::Counted { frames: 15_000 };
                world.server.input(conn, flood, world.now);
            }
        }
        Op::Sloppy { on } => world.faults().sloppy = on,
        Op::NewTokens => world.faults().token_version += 1,
        Op::Cut { peer, is_noticed } => cut(world, peer % peers, is_noticed),
        Op::TooSlow { peer } => {
            if let Some(conn) = conn(world, peer) {
                world.count("a member was closed because it was too slow");
                world.close_by_server(conn, 4413);
            }
        }
        Op::Expel { peer, room, leave } => {
            let joined = world.peers[peer % peers].views.iter().filter(|(_, view)| view.joined);
            let joined: Vec<_> = joined.map(|(room, _)| room.clone()).collect();
            if let (Some(conn), false) = (conn(world, peer), joined.is_empty()) {
                let room = &joined[room % joined.len()];
                if leave && let Some(peer) = awake(world, peer) {
                    world.count("a member left and was expelled at once");
                    world.leave(peer, room);
                }
                world.expel(conn, room);
            }
        }
        Op::Throttle { peer, on } => world.peers[peer % peers].throttled = on,
        Op::SetClockBack { peer, milliseconds } => {
            world.count("a clock stepped back");
            world.peers[peer % peers].clock_behind = ms(milliseconds);
        }
        Op::Sleep { peer, seconds } => world.peers[peer % peers].wake = world.now + secs(seconds),
        Op::Publish { peer, room, count } => {
            if let Some(peer) = awake(world, peer) {
                for _ in 0..count {
                    world.publish(peer, &name(room));
                }
            }
        }
        Op::PublishLarge { peer, room, padding } => {
            if let Some(peer) = awake(world, peer) {
                for part in 1..4 {
                    world.publish_sized(peer, &name(room), usize::from(padding) * part);
                }
            }
        }
        Op::Join { peer, room, keep } => {
            if let Some(peer) = awake(world, peer) {
                world.join(peer, &name(room), keep, 5);
            }
        }
        Op::Leave { peer, room } => {
            if let Some(peer) = awake(world, peer) {
                world.leave(peer, &name(room));
            }
        }
        Op::History { peer, room, count } => {
            if let Some(peer) = awake(world, peer) {
                for _ in 0..count {
                    let before = world.logs().head(&name(room)).next();
                    world.ask_history(peer, &name(room), before);
                    world.find(peer, &name(room));
                }
            }
        }
        Op::Signal { peer, room } => {
            let (room, body) = (name(room), Body::text("typing"));
            if let Some(peer) = awake(world, peer) {
                world.command(peer, |session, moment| session.signal(moment, room, body));
            }
        }
        Op::Suspend { peer } => input(world, peer, Input::Suspend),
        Op::Resume { peer } => input(world, peer, Input::Resume),
        Op::Offline { peer } => input(world, peer, Input::Offline),
        Op::Online { peer } => input(world, peer, Input::Online),
        Op::Visible { peer } => input(world, peer, Input::Visible),
        Op::Reload {
            peer,
            crash,
            away,
            back,
        } => {
            if let Some(peer) = awake(world, peer) {
                world.reload(peer, crash, secs(away), back);
            }
        }
        Op::Duplicate { peer } => {
            if peers < PEERS + COPIES
                && let Some(peer) = awake(world, peer)
            {
                world.duplicate(peer);
            }
        }
        Op::Connect { peer } => command(world, peer, ClientSession::connect),
        Op::Stop { peer } => command(world, peer, ClientSession::stop),
    }
}

fn cut(world: &mut World, peer: usize, is_noticed: bool) {
    if let Some((_, conn)) = world.peers[peer].conn {
        world.cut(conn, is_noticed);
    }
}

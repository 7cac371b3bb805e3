//! What counting costs: the CPU time of a message that is given to a log through the hub, which counts it, and straight to
//! the same engine, in turns.
//!
//! `cargo run --release -p talkback-server --example metrics`

use std::{sync::Arc, time::Duration};

use rustix::time::{ClockId, clock_gettime};
use talkback_protocol::{Body, RoomName, UserName, message::Author};
use talkback_server::{
    engine::{Append, AppendOutcome, Engine, Memory, MemoryOptions, MessageId},
    hub::{Hub, HubOptions},
};

/// Messages of one turn.
const MESSAGES: u32 = 100_000;
/// Turns of each; an odd number, for the median.
const TURNS: usize = 41;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let engine: Arc<dyn Engine> = Arc::new(Memory::new(MemoryOptions::default()));
    let hub = Hub::new(HubOptions::default(), Arc::clone(&engine));
    let (room, user) = (RoomName::parse("lobby")?, UserName::parse("ann")?);
    let append = |body: Body| Append {
        room: room.clone(),
        id: MessageId::None,
        from: Author {
            sender: hub.sender().clone(),
            user: user.clone(),
        },
        content: Ok(body),
    };
    let body = Body::text(&"x".repeat(98));
    let (mut counted, mut uncounted, mut more) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..TURNS {
        let with = measured(async || hub.publish(&room, &user, body.clone()).await).await;
        let without = measured(async || engine.append(append(body.clone())).await).await;
        counted.push(with);
        uncounted.push(without);
        more.push(with - without);
    }
    println!("ns of CPU a message, median of {TURNS} turns with {MESSAGES} messages each (smallest to largest)");
    println!("counted:     {}", median(&mut counted));
    println!("not counted: {}", median(&mut uncounted));
    println!("difference:  {}", median(&mut more));
    Ok(())
}

/// The nanoseconds of CPU time that a call uses.
async fn measured(mut call: impl AsyncFnMut() -> AppendOutcome) -> f64 {
    let start = cpu_time();
    for _ in 0..MESSAGES {
        let outcome = call().await;
        assert!(matches!(outcome, AppendOutcome::Added(_)), "{outcome:?}");
    }
    let used = cpu_time().saturating_sub(start);
    used.as_secs_f64() * 1e9 / f64::from(MESSAGES)
}

/// The CPU time of this thread, which does all the work.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

fn median(figures: &mut [f64]) -> String {
    figures.sort_by(f64::total_cmp);
    let (first, last) = (figures[0], figures[figures.len() - 1]);
    format!("{:.0} ({first:.0} to {last:.0})", figures[figures.len() / 2])
}

//! The rest of clients' rates after their connections ended.

use std::{num::NonZeroUsize, time::Duration};

use lru::LruCache;
use parking_lot::Mutex;
use talkback_protocol::{ClientKey, session::server::Allowance};
use tokio::time::Instant;

/// A bounded table of allowances: a new one evicts that of the client whose connection ended first.
pub(crate) struct Allowances {
    age: Duration,
    /// `None` if the bound is 0. With the time when the connection ended.
    ended: Option<Mutex<LruCache<ClientKey, (Allowance, Instant)>>>,
}

impl Allowances {
    pub(super) fn new(clients: usize, age: Duration) -> Self {
        let ended = NonZeroUsize::new(clients).map(|clients| {
            let mut ended = LruCache::unbounded();
            // Resized after it is made: a cache that is made with its bound allocates the memory at once.
            ended.resize(clients);
            Mutex::new(ended)
        });
        Self { age, ended }
    }

    /// Keeps the allowance of a client whose connection ended.
    pub(crate) fn keep(&self, client: ClientKey, allowance: Allowance) {
        self.keep_at(client, allowance, Instant::now());
    }

    fn keep_at(&self, client: ClientKey, allowance: Allowance, now: Instant) {
        let Some(ended) = &self.ended else { return };
        let mut ended = ended.lock();
        // Of overlapping connections, the smaller allowance counts.
        let kept = ended.peek(&client).filter(|(_, at)| *at + self.age > now);
        let allowance = kept.map_or(allowance, |(kept, _)| kept.less(&allowance));
        ended.put(client, (allowance, now));
        // Two expired entries are removed for each one that is added, so that expired ones do not accumulate.
        for _ in 0..2 {
            let is_old = |(_, (_, at)): &(&ClientKey, &(Allowance, Instant))| *at + self.age <= now;
            if ended.peek_lru().is_none_or(|oldest| !is_old(&oldest)) {
                break;
            }
            ended.pop_lru();
        }
    }

    /// Takes the allowance that this client had when its last connection ended, and how long ago that was.
    pub(crate) fn take(&self, client: &ClientKey) -> Option<(Allowance, Duration)> {
        self.take_at(client, Instant::now())
    }

    fn take_at(&self, client: &ClientKey, now: Instant) -> Option<(Allowance, Duration)> {
        let (allowance, at) = self.ended.as_ref()?.lock().pop(client)?;
        let ago = now.saturating_duration_since(at);
        (ago < self.age).then_some((allowance, ago))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use talkback_protocol::{
        Moment, UserName,
        session::server::{Identity, Input, ServerOptions, ServerSession},
    };

    use super::*;

    fn client(number: u32) -> ClientKey {
        ClientKey::from_random(u128::from(number).to_ne_bytes())
    }

    /// The allowance of a client after its `hello`.
    fn allowance() -> Allowance {
        allowance_after(0)
    }

    /// The allowance of a client after its `hello` and so many further lines.
    fn allowance_after(lines: usize) -> Allowance {
        let mut session = ServerSession::new(Arc::new(ServerOptions::default()), Duration::ZERO);
        let user = UserName::parse("ann").unwrap();
        for input in [
            Input::Received {
                text: r#"{"hello":{"client":"00000000000000000000000000000001"}}"#.to_owned(),
            },
            Input::Identified(Ok(Identity {
                user,
                expires: None,
                allowance: None,
            })),
            Input::Received {
                text: vec!["{\"pong\":{}}"; lines].join("\n"),
            },
        ] {
            let moment = Moment {
                now: Duration::ZERO,
                random: 0,
            };
            session.handle(moment, input);
        }
        session.allowance().unwrap().1
    }

    #[test]
    fn allowances_expire_and_their_number_is_bounded() {
        let allowance = allowance();
        let (age, start) = (Duration::from_secs(60), Instant::now());
        let kept = Allowances::new(10, age);
        (0..1000).for_each(|number| kept.keep_at(client(number), allowance, start));
        assert_eq!(kept.ended.as_ref().unwrap().lock().len(), 10);
        assert!(kept.take_at(&client(989), start).is_none());
        let later = start + Duration::from_secs(7);
        assert_eq!(
            kept.take_at(&client(990), later),
            Some((allowance, Duration::from_secs(7)))
        );
        assert!(
            kept.take_at(&client(990), later).is_none(),
            "an allowance is taken once"
        );
        assert!(kept.take_at(&client(991), start + age).is_none());
        for number in 2000..2008 {
            kept.keep_at(client(number), allowance, start + age);
        }
        assert_eq!(kept.ended.as_ref().unwrap().lock().len(), 8, "expired ones are removed");
        let none = Allowances::new(0, age);
        none.keep_at(client(1), allowance, start);
        assert!(none.take_at(&client(1), start).is_none());
    }

    #[test]
    fn of_overlapping_connections_the_smaller_allowance_counts() {
        let (age, start) = (Duration::from_secs(60), Instant::now());
        let (little, much) = (allowance_after(10), allowance_after(5));
        let kept = Allowances::new(10, age);
        kept.keep_at(client(1), little, start);
        kept.keep_at(client(1), much, start + Duration::from_secs(1));
        let taken = kept.take_at(&client(1), start + Duration::from_secs(1));
        assert_eq!(taken, Some((little, Duration::ZERO)));
        kept.keep_at(client(1), little, start);
        kept.keep_at(client(1), much, start + age);
        let taken = kept.take_at(&client(1), start + age);
        assert_eq!(taken, Some((much, Duration::ZERO)), "the first one has expired");
    }

    #[test]
    fn an_allowance_is_for_the_next_connection() {
        let kept = Allowances::new(10, Duration::from_secs(60));
        let allowance = allowance();
        kept.keep(client(1), allowance);
        assert!(kept.take(&client(1)).is_some_and(|(taken, _)| taken == allowance));
    }
}

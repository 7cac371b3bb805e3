//! What one message, one delivery and one session cost: the measured figures that the models need.

use anyhow::Result;

use crate::engines::{
    figures::{Figures, name},
    stack::Kind,
};

/// Costs with logs in Redis. CPU time is in microseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Costs {
    /// CPU time of a server for a message that is published through it.
    pub server_message: f64,
    /// CPU time of a server for each member that gets a message, with one message at a time.
    pub server_delivery: f64,
    /// CPU time of Redis for a message that no server watches.
    pub redis_message: f64,
    /// CPU time of Redis for each server that gets a message, with several messages at a time.
    pub redis_subscriber: f64,
    /// CPU time of a server for a session that connects and joins a small room.
    pub server_join: f64,
    /// CPU time of Redis for it.
    pub redis_join: f64,
    /// Memory of a server for an idle session, in bytes, without the system's memory for its socket.
    pub session_bytes: f64,
}

impl Costs {
    /// The medians of the figures.
    ///
    /// # Errors
    /// Something was not measured.
    pub fn read(figures: &Figures) -> Result<Self> {
        let of = |kind, load: &str, unit| figures.median(&name::of(kind, load, unit));
        let acks = name::acks(crate::engines::SESSIONS, 100);
        let deliveries = name::deliveries(1);
        let members = crate::engines::MEMBERS as f64;
        let redis_message = of(Kind::Redis, &acks, name::REDIS_CPU)?;
        // A delivery's share of the message is the whole message divided by the members. A Redis that has much to do
        // runs several messages at a time.
        let several = name::deliveries(crate::engines::BURSTS[1]);
        let redis_delivered = of(Kind::Redis, &several, name::REDIS_CPU)? * members;
        Ok(Self {
            server_message: of(Kind::Redis, &acks, name::SERVER_CPU)?,
            server_delivery: of(Kind::Redis, &deliveries, name::SERVER_CPU)?,
            redis_message,
            redis_subscriber: (redis_delivered - redis_message).max(0.0),
            server_join: of(Kind::Redis, name::JOINS, name::SERVER_CPU)?,
            redis_join: of(Kind::Redis, name::JOINS, name::REDIS_CPU)?,
            session_bytes: of(Kind::Redis, name::JOINS, name::BYTES)?,
        })
    }

    /// Costs for tests.
    #[cfg(test)]
    pub(super) const EXAMPLE: Self = Self {
        server_message: 10.0,
        server_delivery: 5.0,
        redis_message: 20.0,
        redis_subscriber: 10.0,
        server_join: 100.0,
        redis_join: 50.0,
        session_bytes: 4000.0,
    };
}

//! How many cores, nodes and gigabytes a number of connections needs.

use super::costs::Costs;

/// The part of a core that is planned to be used, so that peaks and the loss of a server have room.
pub const PLANNED: f64 = 0.5;
/// The default of `--ping-interval`, in seconds.
const PING_INTERVAL: f64 = 25.0;
/// What a delivery has besides its body on the wire: the line, its frame, and the headers of TCP and IP.
const DELIVERY_OVERHEAD: f64 = 140.0 + 4.0 + 52.0;

/// What connected people do.
#[derive(Clone, Copy, Debug)]
pub struct Profile {
    /// What it is like, for the table.
    pub name: &'static str,
    /// Connections.
    pub connections: f64,
    /// Members of a room. Each connection is a member of one room.
    pub members: f64,
    /// Messages a second in each room.
    pub per_room: f64,
    /// Bytes of a body.
    pub body: f64,
    /// Servers over which the members of each room are spread evenly; a room has members on at most this many.
    pub servers: f64,
}

/// What a profile needs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Need {
    /// Messages a second.
    pub messages: f64,
    /// Deliveries a second.
    pub deliveries: f64,
    /// Cores of servers, each used by [`PLANNED`].
    pub server_cores: f64,
    /// Redis nodes, each used by [`PLANNED`]: Redis runs commands on one core.
    pub redis_nodes: f64,
    /// Memory of all servers for sessions, in GB.
    pub memory: f64,
    /// What all servers send to clients, in Gbit/s.
    pub network: f64,
}

impl Profile {
    /// What it needs with these costs.
    #[must_use]
    pub fn need(&self, costs: &Costs) -> Need {
        let messages = self.connections / self.members * self.per_room;
        let deliveries = messages * self.members;
        // A ping and its pong cost a server about as much as a delivery.
        let pings = self.connections / PING_INTERVAL;
        let server = messages * costs.server_message + (deliveries + pings) * costs.server_delivery;
        let subscribers = self.members.min(self.servers);
        let redis = messages * (costs.redis_message + subscribers * costs.redis_subscriber);
        Need {
            messages,
            deliveries,
            server_cores: server / 1e6 / PLANNED,
            redis_nodes: redis / 1e6 / PLANNED,
            memory: self.connections * costs.session_bytes / 1e9,
            network: deliveries * (self.body + DELIVERY_OVERHEAD) * 8.0 / 1e9,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHAT: Profile = Profile {
        name: "chat",
        connections: 1e6,
        members: 50.0,
        per_room: 0.5,
        body: 100.0,
        servers: 10.0,
    };

    #[test]
    fn a_profile_needs_the_sum_of_what_its_messages_and_deliveries_cost() {
        let need = CHAT.need(&Costs::EXAMPLE);
        assert_eq!((need.messages, need.deliveries), (10_000.0, 500_000.0));
        // (10,000 x 10 us + (500,000 + 40,000) x 5 us) and 10,000 x (20 + 10 x 10) us, half used.
        assert!((need.server_cores - 5.6).abs() < 1e-9, "{need:?}");
        assert!((need.redis_nodes - 2.4).abs() < 1e-9, "{need:?}");
        assert!((need.memory - 4.0).abs() < 1e-9, "{need:?}");
        assert!((need.network - 1.184).abs() < 1e-9, "{need:?}");
    }

    #[test]
    fn a_room_with_fewer_members_than_servers_is_on_fewer_servers() {
        let two = Profile {
            members: 2.0,
            per_room: 0.02,
            ..CHAT
        };
        let need = two.need(&Costs::EXAMPLE);
        assert!(
            (need.redis_nodes - 10_000.0 * 40.0 / 1e6 / PLANNED).abs() < 1e-9,
            "{need:?}"
        );
    }
}

//! A chat whose unsent messages survive a reload.

use std::time::Duration;

use talkback_client::OutboxStorage;

/// How long they are kept.
const TTL: Duration = Duration::from_secs(1_800);

fn main() {
    talkback_frontends::chat(|builder| builder.outbox_storage(OutboxStorage::session("chat", TTL)));
}

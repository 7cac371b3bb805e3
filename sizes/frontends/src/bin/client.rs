//! A chat whose unsent messages are in memory.

fn main() {
    talkback_frontends::chat(|builder| builder);
}

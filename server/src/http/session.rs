//! `/ws`: the session, `talkback.v1`. WebSocket only.

use std::sync::Arc;

use axum::{Extension, extract::State, response::Response};
use talkback_protocol::{close, message::SUBPROTOCOL, session::server::ServerOptions};

use crate::{addressing::Addressing, connection, hub::Hub, limits::Peer, logging, socket::Upgrade};

pub(crate) async fn session(
    upgrade: Upgrade,
    State(hub): State<Hub>,
    State(options): State<Arc<ServerOptions>>,
    State(addressing): State<Addressing>,
    peer: Option<Extension<Peer>>,
) -> Response {
    logging::websocket_accepted("session");
    let upgrade = upgrade.subprotocols(&[SUBPROTOCOL]);
    if upgrade.subprotocol().is_some() {
        let new_rooms = peer.map(|Extension(peer)| peer.new_rooms()).unwrap_or_default();
        return upgrade.on_upgrade(move |socket| {
            socket.sender().shared().expect_restart();
            connection::run(socket, hub, options, new_rooms, addressing)
        });
    }
    // A browser does not show its page why a handshake was refused, and fails a handshake that selects none of the
    // offered subprotocols. So one of them is selected, and the reason is in the close frame.
    let offered = upgrade.offered_subprotocols().first().cloned().unwrap_or_default();
    upgrade.subprotocols(&[&offered]).on_upgrade(|socket| async move {
        let reason = format!("this server speaks the subprotocol {SUBPROTOCOL}");
        socket.sender().close_by_server(close::WRONG_VERSION, &reason);
    })
}

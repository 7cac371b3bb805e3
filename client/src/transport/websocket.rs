use talkback_protocol::{close, message::SUBPROTOCOL};

use super::{Connection, Events, Transport};
use crate::{EventGuard, Message, OutboundOptions, SendErrorKind, Socket, SocketOptions};

/// The bound of [`OutboundOptions::max`] for the session's connection, in bytes.
/// [`ClientBuilder::outbox`](crate::ClientBuilder::outbox) documents it.
const MAX_BUFFERED: u32 = 16 * 1024 * 1024;

/// The browser's WebSocket as the session's transport.
pub(crate) struct WebSocketTransport {
    pub(crate) url: String,
}

impl Transport for WebSocketTransport {
    fn open(&self, events: Events) -> Option<Box<dyn Connection>> {
        let options = SocketOptions {
            protocols: vec![SUBPROTOCOL.to_owned()],
            outbound: OutboundOptions {
                max: MAX_BUFFERED,
                ..OutboundOptions::default()
            },
            ..SocketOptions::default()
        };
        let socket = match Socket::new(&self.url, &options) {
            Ok(socket) => socket,
            Err(error) => {
                events.closed(close::ABNORMAL, error.to_string());
                return None;
            }
        };
        let guards = [
            socket.on_open({
                let events = events.clone();
                move || events.opened()
            }),
            socket.on_message({
                let events = events.clone();
                move |message| match message {
                    Message::Text(text) => events.received(text.into_string()),
                    _ => events.closed(
                        close::UNSUPPORTED_DATA,
                        "the server sent a binary message: is it a Talkback server?".to_owned(),
                    ),
                }
            }),
            socket.on_close(move |event| events.closed(event.code, event.reason)),
        ];
        Some(Box::new(WebSocketConnection {
            socket,
            _guards: guards,
        }))
    }
}

struct WebSocketConnection {
    socket: Socket,
    _guards: [EventGuard; 3],
}

impl Connection for WebSocketConnection {
    fn send(&self, text: String) -> Result<(), String> {
        self.socket.send(text).or_else(|error| match error.kind() {
            SendErrorKind::NotOpen(_) => Ok(()),
            _ => Err(error.to_string()),
        })
    }

    fn close(self: Box<Self>, code: u16, reason: &str) {
        if self.socket.close_with(code, reason).is_err() {
            self.socket.close();
        }
    }
}

//! The workbench's WebSocket connection: [`Connection`] owns the socket, [`Phase`] is its state and how it ended.
//!
//! The connection turns the browser's callbacks into [`ConnectionEvent`]s and decides nothing; the workbench's reducer
//! takes the events and returns the next effects.

mod connect_error;
mod phase;

pub(crate) use connect_error::{bad_url, explain, is_not_sent, not_sent};
pub(crate) use phase::{CLOSE_HINT_MS, CLOSE_LIMIT_MS, CONNECT_HINT_MS, CloseInfo, ClosedBy, End, Phase, WAIT_TICK_MS};

use gloo_timers::callback::Timeout;
use talkback_client::{CloseEvent, ConnectError, EventGuard, Message, ReadyState, Socket, SocketOptions};
use yew::Callback;

use connect_error::{explain_unsent, not_sent_in};

use crate::i18n::Sentence;

/// How often the number of buffered bytes is read while it is not zero.
const BUFFER_POLL_MS: u32 = 100;

/// What happened to the connection.
#[derive(Debug)]
pub(crate) enum ConnectionEvent {
    Opened {
        protocol: String,
        extensions: String,
    },
    Received(Message),
    Closed(CloseInfo),
    /// The server has not answered the close for [`CLOSE_LIMIT_MS`].
    CloseOverdue,
    /// `bufferedAmount` was read: so many bytes are not sent yet.
    Buffered(u32),
}

/// Owns at most one socket; dropping it, or opening another, ends the one before without further events.
#[derive(Default)]
pub(crate) struct Connection {
    live: Option<Live>,
}

struct Live {
    socket: Socket,
    events: Callback<ConnectionEvent>,
    close_limit: Option<Timeout>,
    buffer_poll: Option<Timeout>,
    _listeners: [EventGuard; 3],
}

impl Connection {
    /// Starts connecting; every later change is an event.
    ///
    /// # Errors
    /// When the address or the subprotocols are invalid.
    pub(crate) fn open(
        &mut self,
        url: &str,
        protocols: Vec<String>,
        events: Callback<ConnectionEvent>,
    ) -> Result<(), ConnectError> {
        self.live = None;
        let options = SocketOptions {
            protocols,
            ..SocketOptions::default()
        };
        let socket = Socket::new(url, &options)?;
        let listeners = [
            socket.on_open({
                let (socket, events) = (socket.clone(), events.clone());
                move || {
                    events.emit(ConnectionEvent::Opened {
                        protocol: socket.protocol(),
                        extensions: socket.extensions(),
                    })
                }
            }),
            socket.on_message({
                let events = events.clone();
                move |message| events.emit(ConnectionEvent::Received(message))
            }),
            socket.on_close({
                let events = events.clone();
                move |closed: CloseEvent| {
                    events.emit(ConnectionEvent::Closed(CloseInfo {
                        code: closed.code,
                        reason: closed.reason,
                        clean: closed.was_clean,
                    }))
                }
            }),
        ];
        self.live = Some(Live {
            socket,
            events,
            close_limit: None,
            buffer_poll: None,
            _listeners: listeners,
        });
        Ok(())
    }

    /// Sends a message.
    ///
    /// # Errors
    /// When it was not sent; the sentence is for the user, and the caller still has the message.
    pub(crate) fn send(&self, message: impl Into<Message>) -> Result<(), Sentence> {
        let Some(live) = &self.live else {
            return Err(not_sent_in(ReadyState::Closed));
        };
        live.socket
            .send(message)
            .map_err(|error| explain_unsent(error.kind()))?;
        live.events
            .emit(ConnectionEvent::Buffered(live.socket.buffered_amount()));
        Ok(())
    }

    /// Reads the number of buffered bytes again after a moment.
    pub(crate) fn poll_buffer(&mut self) {
        if let Some(live) = &mut self.live {
            let (socket, events) = (live.socket.clone(), live.events.clone());
            live.buffer_poll = Some(Timeout::new(BUFFER_POLL_MS, move || {
                events.emit(ConnectionEvent::Buffered(socket.buffered_amount()))
            }));
        }
    }

    /// Begins the closing handshake, without a code or with a code and reason that the caller has checked.
    pub(crate) fn close(&mut self, code_and_reason: Option<(u16, &str)>) {
        let Some(live) = &mut self.live else { return };
        let begun = code_and_reason.map(|(code, reason)| live.socket.close_with(code, reason));
        if !matches!(begun, Some(Ok(()))) {
            // A code that passed the check by mistake must not keep the connection open.
            live.socket.close();
        }
        let events = live.events.clone();
        live.close_limit = Some(Timeout::new(CLOSE_LIMIT_MS, move || {
            events.emit(ConnectionEvent::CloseOverdue)
        }));
    }

    /// Ends the connection at once, in any state, without an event.
    pub(crate) fn terminate(&mut self) {
        if let Some(Live { socket, _listeners, .. }) = self.live.take() {
            drop(_listeners);
            socket.terminate();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connecting_without_a_browser_is_an_error() {
        let refused = Connection::default().open("ws://127.0.0.1/echo", Vec::new(), Callback::noop());
        assert_eq!(refused, Err(ConnectError::Unsupported));
    }
}

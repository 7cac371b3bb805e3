//! The socket of a view: browser callbacks in, [`Event`]s out. It decides nothing.

use gloo_timers::callback::Timeout;
use talkback_client::{
    CloseEvent, ConnectError, EventGuard, Message as Payload, SocketOptions, ReadyState, SendErrorKind, Socket,
};
use yew::Callback;

use super::{CLOSE_LIMIT_MS, Closed};
use crate::i18n::{Message, UrlProblem};

/// How often the number of buffered bytes is read while it is not zero.
const BUFFER_POLL_MS: u32 = 100;

/// What happened to the connection.
#[derive(Debug)]
pub(crate) enum Event {
    Opened {
        protocol: String,
        extensions: String,
    },
    Received(Payload),
    Closed(Closed),
    /// The server has not answered the close for [`CLOSE_LIMIT_MS`].
    CloseOverdue,
    /// So many bytes wait in the browser to be sent.
    Buffered(u32),
}

/// Owns at most one connection; dropping it, or opening another, ends the one before without further events.
#[derive(Default)]
pub(crate) struct Driver {
    live: Option<Live>,
}

struct Live {
    socket: Socket,
    events: Callback<Event>,
    close_limit: Option<Timeout>,
    buffer_poll: Option<Timeout>,
    _listeners: [EventGuard; 3],
}

impl Driver {
    /// Starts connecting; every later step comes as an event.
    ///
    /// # Errors
    /// What is wrong with the address or the subprotocols, for the user.
    pub(crate) fn open(&mut self, url: &str, protocols: Vec<String>, events: Callback<Event>) -> Result<(), Message> {
        self.live = None;
        let options = SocketOptions {
            protocols,
            ..SocketOptions::default()
        };
        let socket = Socket::new(url, &options).map_err(|error| explain(&error))?;
        let listeners = [
            socket.on_open({
                let (socket, events) = (socket.clone(), events.clone());
                move || {
                    events.emit(Event::Opened {
                        protocol: socket.protocol(),
                        extensions: socket.extensions(),
                    })
                }
            }),
            socket.on_message({
                let events = events.clone();
                move |message| events.emit(Event::Received(message))
            }),
            socket.on_close({
                let events = events.clone();
                move |CloseEvent { code, reason, .. }| events.emit(Event::Closed(Closed { code, reason }))
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

    /// Sends a text.
    ///
    /// # Errors
    /// Why it was not sent, for the user; the caller still has the text.
    pub(crate) fn send(&self, text: &str) -> Result<(), Message> {
        let Some(live) = &self.live else {
            return Err(Message::NotSent(ReadyState::Closed));
        };
        live.socket.send(text).map_err(|error| match error.kind() {
            SendErrorKind::NotOpen(state) => Message::NotSent(*state),
            SendErrorKind::Full { buffered, .. } => Message::BufferFull(*buffered),
            SendErrorKind::Rejected(reason) => Message::RefusedByBrowser(reason.clone()),
            // The sink alone reports other kinds; a plain send tells the end of the connection as NotOpen.
            _ => Message::NotSent(ReadyState::Closed),
        })?;
        live.events.emit(Event::Buffered(live.socket.buffered_amount()));
        Ok(())
    }

    /// Reads the number of buffered bytes again after a moment.
    pub(crate) fn poll_buffer(&mut self) {
        if let Some(live) = &mut self.live {
            let (socket, events) = (live.socket.clone(), live.events.clone());
            live.buffer_poll = Some(Timeout::new(BUFFER_POLL_MS, move || {
                events.emit(Event::Buffered(socket.buffered_amount()))
            }));
        }
    }

    /// Asks for the close handshake, without a code or with a code and reason that the caller has checked.
    pub(crate) fn close(&mut self, code_and_reason: Option<(u16, &str)>) {
        let Some(live) = &mut self.live else { return };
        let begun = code_and_reason.map(|(code, reason)| live.socket.close_with(code, reason));
        if !matches!(begun, Some(Ok(()))) {
            // A code that slipped through the check must not keep the connection open.
            live.socket.close();
        }
        let events = live.events.clone();
        live.close_limit = Some(Timeout::new(CLOSE_LIMIT_MS, move || events.emit(Event::CloseOverdue)));
    }

    /// Ends the connection at once, in any state, without an event.
    pub(crate) fn terminate(&mut self) {
        if let Some(Live { socket, _listeners, .. }) = self.live.take() {
            drop(_listeners);
            socket.terminate();
        }
    }
}

pub(crate) fn explain(error: &ConnectError) -> Message {
    match error {
        ConnectError::Unsupported => Message::Unsupported,
        ConnectError::InvalidUrl { url, .. } => bad_url(url),
        ConnectError::Fragment { .. } => Message::BadUrl(UrlProblem::Fragment),
        ConnectError::Subprotocol { name, .. } => Message::BadSubprotocol(name.clone()),
        ConnectError::MixedContent { .. } => Message::MixedContent,
        ConnectError::Refused { reason } => Message::RefusedByBrowser(reason.clone()),
        // What comes later comes as an event; nothing else is told before.
        _ => Message::Unsupported,
    }
}

/// Says what is wrong with an address that is not one.
pub(crate) fn bad_url(url: &str) -> Message {
    Message::BadUrl(url_problem(url))
}

fn url_problem(url: &str) -> UrlProblem {
    let url = url.trim();
    match url.split_once(':') {
        _ if url.is_empty() => UrlProblem::Empty,
        Some((scheme, _))
            if scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                && scheme
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
                && !["ws", "wss", "http", "https"]
                    .iter()
                    .any(|known| scheme.eq_ignore_ascii_case(known)) =>
        {
            UrlProblem::Scheme(scheme.to_owned())
        }
        _ => UrlProblem::Unreadable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_address_is_told_apart_by_what_is_wrong() {
        assert_eq!(url_problem("  "), UrlProblem::Empty);
        assert_eq!(url_problem("ftp://host/"), UrlProblem::Scheme("ftp".into()));
        assert_eq!(url_problem("ws://host:99999/"), UrlProblem::Unreadable);
        assert_eq!(url_problem("http://:80"), UrlProblem::Unreadable);
        assert_eq!(url_problem("[::1]:80"), UrlProblem::Unreadable);
    }

    #[test]
    fn without_a_browser_connecting_says_so() {
        let refused = Driver::default().open("ws://127.0.0.1/echo", Vec::new(), Callback::noop());
        assert_eq!(refused, Err(Message::Unsupported));
    }
}

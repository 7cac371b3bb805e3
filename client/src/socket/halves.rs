use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures_core::Stream;
use futures_sink::Sink;
use talkback_protocol::close::CloseError;

use super::{InboundOverflow, Message, SendError, Socket};

/// The receiving half of a [`Socket`], made by [`Socket::split`]: a `Stream` like the socket itself.
#[derive(Clone, Debug)]
pub struct SocketStream(Socket);

/// The sending half of a [`Socket`], made by [`Socket::split`]: a `Sink` like the socket itself.
#[derive(Clone, Debug)]
pub struct SocketSink(Socket);

pub(super) fn split(socket: Socket) -> (SocketSink, SocketStream) {
    (SocketSink(socket.clone()), SocketStream(socket))
}

impl SocketStream {
    /// The socket that this is a half of.
    pub fn socket(&self) -> &Socket {
        &self.0
    }

    /// Like [`Socket::close`].
    pub fn close(&self) {
        self.0.close();
    }

    /// Like [`Socket::close_with`].
    ///
    /// # Errors
    /// [`CloseError`] if the code is not 1000 or 3000 to 4999, or the reason has more than 123 bytes of UTF-8.
    pub fn close_with(&self, code: u16, reason: &str) -> Result<(), CloseError> {
        self.0.close_with(code, reason)
    }
}

impl SocketSink {
    /// The socket that this is a half of.
    pub fn socket(&self) -> &Socket {
        &self.0
    }

    /// Like [`Socket::close_with`]. Without a code, `SinkExt::close` waits for the peer and `sink.socket().close()`
    /// does not wait.
    ///
    /// # Errors
    /// [`CloseError`] if the code is not 1000 or 3000 to 4999, or the reason has more than 123 bytes of UTF-8.
    pub fn close_with(&self, code: u16, reason: &str) -> Result<(), CloseError> {
        self.0.close_with(code, reason)
    }
}

impl Stream for SocketStream {
    type Item = Result<Message, InboundOverflow>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.0).poll_next(context)
    }
}

impl Sink<Message> for SocketSink {
    type Error = SendError<Option<Message>>;

    fn poll_ready(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Pin::new(&mut self.0).poll_ready(context)
    }

    fn start_send(mut self: Pin<&mut Self>, message: Message) -> Result<(), Self::Error> {
        Pin::new(&mut self.0).start_send(message)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Pin::new(&mut self.0).poll_close(context)
    }
}

//! The task of one connection: polls the handler and does the I/O.

use std::{
    any::Any,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use pin_project_lite::pin_project;
use talkback_protocol::close;
use tokio::time::{Instant, Sleep};

use super::{
    SocketOptions,
    registry::{Registered, log_close},
    shared::{Liveness, SharedSocket},
};

pin_project! {
    /// Runs a connection to its end.
    ///
    /// Once the socket has ended, a handler that waits for something other than its socket is dropped, unless
    /// `finish_handler` is set. A handler that a call of its socket has returned the end to runs to its own end.
    ///
    /// A type and not an async function, whose future would hold each argument twice for the life of the connection.
    pub(crate) struct SocketTask<H> {
        // Before the socket, so that it is dropped first.
        handler: Option<Pin<Box<H>>>,
        socket: Registered,
        path: Box<str>,
        finish_handler: bool,
        is_end_logged: bool,
        #[pin]
        timer: SocketTimer,
    }
}

pin_project! {
    /// The one timer of a connection. Messages do not reset it.
    struct SocketTimer {
        // Ends at `due`, or earlier to check the write timeout.
        #[pin]
        sleep: Sleep,
        event: TimerEvent,
        due: Instant,
    }
}

impl SocketTimer {
    fn new(event: TimerEvent, after: Duration) -> Self {
        let due = Instant::now() + after;
        Self {
            sleep: tokio::time::sleep_until(due),
            event,
            due,
        }
    }

    /// The task is woken by it only after it was polled again.
    fn set(self: Pin<&mut Self>, event: TimerEvent, after: Duration) {
        let this = self.project();
        *this.event = event;
        *this.due = Instant::now() + after;
        this.sleep.reset(*this.due);
    }

    /// Makes the sleep end at `at` or earlier.
    fn no_later_than(self: Pin<&mut Self>, at: Instant, cx: &mut Context<'_>) {
        let mut sleep = self.project().sleep;
        if at < sleep.deadline() {
            sleep.as_mut().reset(at);
            if sleep.poll(cx).is_ready() {
                cx.waker().wake_by_ref();
            }
        }
    }

    fn poll_sleep(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.project().sleep.poll(cx)
    }
}

/// What the timer is set for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TimerEvent {
    /// Send a ping.
    Ping,
    /// Check that the client sent or took something since the ping.
    Answer,
    /// End the socket although the handler has not taken all messages before the client's close frame.
    HalfClosed,
    /// Cut the connection: the closing handshake was not completed in time.
    ForceClose,
    /// Cut the connection: the closing handshake is complete, and the client has not closed the stream.
    Linger,
}

impl<H: Future<Output = ()>> SocketTask<H> {
    pub(crate) fn new(socket: Registered, handler: Pin<Box<H>>, path: Box<str>, finish_handler: bool) -> Self {
        let after = first_timer(socket.sockets().options());
        Self {
            handler: Some(handler),
            socket,
            path,
            finish_handler,
            is_end_logged: false,
            timer: SocketTimer::new(TimerEvent::Ping, after),
        }
    }
}

impl<H: Future<Output = ()>> Future for SocketTask<H> {
    type Output = ();

    /// One turn.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let socket = &**this.socket;
        let options = socket.sockets().options();
        socket.begin_turn(cx.waker());
        while this.timer.as_mut().poll_sleep(cx).is_ready() {
            let now = Instant::now();
            let gives_up_at = gives_up_at(socket.stalled_since(), options);
            if gives_up_at.is_some_and(|at| now >= at) {
                socket.give_up(options.write_timeout);
            }
            let timer = this.timer.as_mut().project();
            if now < *timer.due {
                timer.sleep.reset(*timer.due);
                continue;
            }
            let (event, after) = fire(timer.event, socket, options);
            this.timer.as_mut().set(event, after);
        }
        if let Some(result) = poll_handler(this.handler, cx) {
            *this.handler = None;
            finished(socket, result, this.path);
        }
        let turn = socket.end_turn(this.handler.is_none());
        if turn.has_ended && !*this.is_end_logged {
            *this.is_end_logged = true;
            if let Some(info) = socket.peek_close_info() {
                log_close(socket.sockets(), this.path, &info);
            }
            this.timer.as_mut().set(TimerEvent::ForceClose, options.close_timeout);
            // The handler observes the end in another turn, with a new budget, before it may be dropped.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let event = this.timer.event;
        if turn.is_half_closed && event != TimerEvent::HalfClosed {
            this.timer.as_mut().set(TimerEvent::HalfClosed, options.close_timeout);
            cx.waker().wake_by_ref();
        } else if turn.is_complete && event != TimerEvent::Linger {
            let after = options.linger.min(options.close_timeout);
            this.timer.as_mut().set(TimerEvent::Linger, after);
            cx.waker().wake_by_ref();
        }
        if let (Some(at), false) = (gives_up_at(turn.stalled_since, options), turn.has_ended) {
            this.timer.as_mut().no_later_than(at, cx);
        }
        if turn.has_ended && !turn.is_observed && !*this.finish_handler {
            *this.handler = None;
        }
        if turn.is_over && this.handler.is_none() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

type HandlerResult = Result<(), Box<dyn Any + Send>>;

/// Polls the handler, if it has not ended; a panic is its result.
fn poll_handler<H: Future<Output = ()>>(
    handler: &mut Option<Pin<Box<H>>>,
    cx: &mut Context<'_>,
) -> Option<HandlerResult> {
    let handler = handler.as_mut()?.as_mut();
    match catch_unwind(AssertUnwindSafe(|| handler.poll(cx))) {
        Ok(Poll::Pending) => None,
        Ok(Poll::Ready(())) => Some(Ok(())),
        Err(panic) => Some(Err(panic)),
    }
}

fn finished(socket: &SharedSocket, result: HandlerResult, path: &str) {
    let Err(panic) = result else {
        socket.close(close::NORMAL, "");
        return;
    };
    let message = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    tracing::error!(path, message, "a WebSocket handler panicked");
    socket.sockets().metrics().handler_panics.add_one();
    socket.close(close::INTERNAL_ERROR, "the server met an error");
}

/// The delay of a disabled timer.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);

fn first_timer(options: &SocketOptions) -> Duration {
    if options.ping_interval.is_zero() {
        NEVER
    } else {
        options.ping_interval
    }
}

/// When the write timeout of a stalled client expires.
fn gives_up_at(stalled_since: Option<Instant>, options: &SocketOptions) -> Option<Instant> {
    let timeout = Some(options.write_timeout).filter(|timeout| !timeout.is_zero());
    Some(stalled_since? + timeout?)
}

/// Does what the timer was set for, and returns the timer's next event and its delay.
fn fire(event: &TimerEvent, socket: &SharedSocket, options: &SocketOptions) -> (TimerEvent, Duration) {
    match event {
        TimerEvent::Ping => {
            // The ping arrives after what was sent before.
            let backlog = socket.backlog_time();
            socket.ping();
            // Input before the ping does not count as an answer.
            socket.take_liveness();
            (TimerEvent::Answer, options.ping_timeout + backlog)
        }
        TimerEvent::Answer => match socket.take_liveness() {
            Liveness::Heard => {
                let rest = options.ping_interval.saturating_sub(options.ping_timeout);
                (TimerEvent::Ping, rest.max(Duration::from_millis(1)))
            }
            Liveness::NotRead => (TimerEvent::Answer, options.ping_timeout),
            Liveness::Silent => {
                if socket.close(close::HEARTBEAT_LOST, "nothing was heard from the client") {
                    socket.sockets().metrics().closed_heartbeat_lost.add_one();
                }
                (TimerEvent::ForceClose, options.close_timeout)
            }
        },
        TimerEvent::HalfClosed => {
            socket.end_half_closed();
            (TimerEvent::ForceClose, options.close_timeout)
        }
        TimerEvent::ForceClose | TimerEvent::Linger => {
            socket.force_over();
            (TimerEvent::ForceClose, NEVER)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::{Socket, core::SocketCore, io::SocketIo, outbox::Outbox};

    /// An idle connection also has its handler, its stream and its entry in the set of sockets; `cargo xtask bench`
    /// measures all of it.
    #[test]
    fn what_an_idle_socket_holds_is_small() {
        type Handler = std::future::Ready<()>;
        for (what, bytes, bound) in [
            ("the queue to a client", size_of::<Outbox>(), 112),
            ("the bytes in both directions", size_of::<SocketIo>(), 240),
            ("what the lock guards", size_of::<SocketCore>(), 408),
            ("what is shared", size_of::<SharedSocket>(), 464),
            ("the task", size_of::<SocketTask<Handler>>(), 200),
            ("what the handler has of it", size_of::<Socket>(), 56),
        ] {
            assert!(bytes <= bound, "{bytes} bytes for {what}, the bound is {bound}");
        }
    }
}

//! The task of one connection: polls the handler and moves the bytes.

use std::{
    future::Future,
    panic::AssertUnwindSafe,
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};

use futures_util::FutureExt;
use talkback_protocol::close;
use tokio::time::{Instant, Sleep};

use super::{
    SocketOptions,
    registry::{Registered, log_close},
    shared::{Liveness, SharedSocket},
};

/// The one timer of a connection. It is not touched when a message comes or goes.
struct SocketTimer<'a> {
    /// Ends at `due`, or before it to look whether the client has taken anything.
    sleep: Pin<&'a mut Sleep>,
    timer: TimerEvent,
    due: Instant,
}

impl SocketTimer<'_> {
    /// Takes effect at the next turn, where the task waits for it.
    fn set(&mut self, timer: TimerEvent, after: Duration) {
        self.timer = timer;
        self.due = Instant::now() + after;
        self.sleep.as_mut().reset(self.due);
    }

    /// Makes the sleep end by then.
    fn no_later_than(&mut self, at: Instant, cx: &mut Context<'_>) {
        if at < self.sleep.deadline() {
            self.sleep.as_mut().reset(at);
            if self.sleep.as_mut().poll(cx).is_ready() {
                cx.waker().wake_by_ref();
            }
        }
    }
}

/// What the timer is set for.
#[derive(PartialEq, Eq)]
enum TimerEvent {
    /// Send a ping.
    Ping,
    /// Something must have been heard since the ping.
    Answer,
    /// The handler must have taken what came before the client's close frame.
    HalfClosed,
    /// The close handshake must be complete.
    ForceClose,
    /// Both close frames are through, and the client should have hung up.
    Linger,
}

/// Runs a connection to its end.
///
/// Once the socket is closed, a handler that waits for something else than its socket is dropped, unless `finish`. A handler that
/// learns of the end from its socket may do its last work.
pub(crate) async fn run(socket: Registered, handler: impl Future<Output = ()>, path: Box<str>, finish: bool) {
    let mut handler = pin!(Some(AssertUnwindSafe(handler).catch_unwind()));
    let options = socket.sockets().options();
    let first = Instant::now() + first_timer(options);
    let mut alarm = SocketTimer {
        sleep: pin!(tokio::time::sleep_until(first)),
        timer: TimerEvent::Ping,
        due: first,
    };
    let mut is_logged = false;
    std::future::poll_fn(|cx| {
        socket.begin_turn(cx.waker());
        while alarm.sleep.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            let gives_up_at = gives_up_at(socket.stalled_since(), options);
            if gives_up_at.is_some_and(|at| now >= at) {
                socket.give_up(options.write_timeout);
            }
            if now < alarm.due {
                alarm.sleep.as_mut().reset(alarm.due);
                continue;
            }
            let (timer, after) = fire(&alarm.timer, &socket, options);
            alarm.set(timer, after);
        }
        if let Some(result) = poll_handler(handler.as_mut().as_pin_mut(), cx) {
            handler.set(None);
            finished(&socket, result, &path);
        }
        let turn = socket.end_turn(handler.is_none());
        if turn.has_ended && !is_logged {
            is_logged = true;
            if let Some(info) = socket.peek_close_info() {
                log_close(socket.sockets(), &path, &info);
            }
            alarm.set(TimerEvent::ForceClose, options.close_timeout);
            // The handler learns of it in a turn of its own, with a fresh budget, before it may be dropped.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if turn.is_half_closed && alarm.timer != TimerEvent::HalfClosed {
            alarm.set(TimerEvent::HalfClosed, options.close_timeout);
            cx.waker().wake_by_ref();
        } else if turn.is_complete && alarm.timer != TimerEvent::Linger {
            alarm.set(TimerEvent::Linger, options.linger.min(options.close_timeout));
            cx.waker().wake_by_ref();
        }
        if let (Some(at), false) = (gives_up_at(turn.stalled_since, options), turn.has_ended) {
            alarm.no_later_than(at, cx);
        }
        if turn.has_ended && !turn.is_observed && !finish {
            handler.set(None);
        }
        if turn.is_over && handler.is_none() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

type HandlerResult = Result<(), Box<dyn std::any::Any + Send>>;

fn poll_handler(
    handler: Option<Pin<&mut impl Future<Output = HandlerResult>>>,
    cx: &mut Context<'_>,
) -> Option<HandlerResult> {
    match handler?.poll(cx) {
        Poll::Ready(result) => Some(result),
        Poll::Pending => None,
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

/// Far enough for a timer that is switched off.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);

fn first_timer(options: &SocketOptions) -> Duration {
    if options.ping_interval.is_zero() {
        NEVER
    } else {
        options.ping_interval
    }
}

/// When a client is given up that has taken hardly anything for some time.
fn gives_up_at(stalled_since: Option<Instant>, options: &SocketOptions) -> Option<Instant> {
    let timeout = Some(options.write_timeout).filter(|timeout| !timeout.is_zero());
    Some(stalled_since? + timeout?)
}

/// Does what the timer was set for, and says what it is set for next.
fn fire(timer: &TimerEvent, socket: &SharedSocket, options: &SocketOptions) -> (TimerEvent, Duration) {
    match timer {
        TimerEvent::Ping => {
            // The ping arrives behind what was sent before.
            let backlog = socket.backlog_time();
            socket.ping();
            // What was heard before the ping says nothing about now.
            socket.life();
            (TimerEvent::Answer, options.ping_timeout + backlog)
        }
        TimerEvent::Answer => match socket.life() {
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

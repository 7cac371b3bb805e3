use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    task::{Context, Poll},
};

use gloo_events::EventListener;
use gloo_timers::callback::Timeout;
use js_sys::{Array, Reflect};
use talkback_protocol::close::{self, CloseError};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::spawn_local;
use web_sys::{Event, MessageEvent, WebSocket};

use crate::{
    timer::timeout_millis,
    waiters::{Waiter, Waiters},
};

use super::{
    CloseEvent, ConnectError, EventGuard, InboundOverflow, Message, ReadyState, SendErrorKind, SocketOptions, address,
    backpressure::Backpressure,
    events::Listeners,
    receive_queue::{Pushed, ReceiveQueue},
    subprotocol,
};

/// One WebSocket and the tasks that wait for it. The handles ([`Socket`](super::Socket)) own it and the browser's
/// closures hold weak references, so dropping the last handle ends the connection at any moment, also inside one of the
/// closures.
///
/// Nothing stays borrowed while a callback, a waker or the browser runs.
pub(super) struct Shared {
    pub(super) web: WebSocket,
    /// Removed when the connection ended, so that a handle that lives longer holds no closures.
    listeners: RefCell<Vec<EventListener>>,
    handshake: RefCell<Option<Handshake>>,
    offered: Vec<String>,
    /// Stays set after the connection ended.
    was_open: Cell<bool>,
    /// Why this side ended the opening handshake.
    given_up: Cell<Option<GiveUp>>,
    /// Set when the connection ended.
    close_event: RefCell<Option<CloseEvent>>,
    received: RefCell<ReceiveQueue<Message>>,
    backpressure: RefCell<Backpressure>,
    /// The timer of the next read of `bufferedAmount`; it stays here after it fired.
    buffer_timer: RefCell<Option<Timeout>>,
    is_buffer_timer_set: Cell<bool>,
    pub(super) on_open: Listeners<()>,
    on_message: Listeners<Message>,
    pub(super) on_error: Listeners<()>,
    pub(super) on_close: Listeners<CloseEvent>,
    /// Wait for a message or the end.
    readers: Waiters,
    /// Wait for capacity in the browser's buffer, or for a change of state.
    writers: Waiters,
    /// Wait for a change of state.
    watchers: Waiters,
}

/// What can end the opening handshake early; dropped when the handshake is over.
struct Handshake {
    _timeout: Option<Timeout>,
    _abort: Option<EventListener>,
}

#[derive(Clone, Copy)]
enum GiveUp {
    TimedOut,
    Aborted,
}

impl Shared {
    pub(super) fn connect(url: &str, options: &SocketOptions) -> Result<Rc<Self>, ConnectError> {
        if !is_supported() {
            return Err(ConnectError::Unsupported);
        }
        if options.abort.as_ref().is_some_and(|signal| signal.aborted()) {
            return Err(ConnectError::Aborted);
        }
        let url = address::resolve(url)?;
        subprotocol::check_offered(&options.protocols)?;
        let protocols: Array = options.protocols.iter().map(JsValue::from).collect();
        let web = WebSocket::new_with_str_sequence(&url, &protocols).map_err(|error| ConnectError::Refused {
            reason: describe(&error),
        })?;
        web.set_binary_type(options.binary_type.into());

        let shared = Rc::new(Self {
            web,
            listeners: RefCell::default(),
            handshake: RefCell::default(),
            offered: options.protocols.clone(),
            was_open: Cell::default(),
            given_up: Cell::default(),
            close_event: RefCell::default(),
            received: RefCell::new(ReceiveQueue::new(options.inbound)),
            backpressure: RefCell::new(Backpressure::new(options.outbound)),
            buffer_timer: RefCell::default(),
            is_buffer_timer_set: Cell::default(),
            on_open: Listeners::default(),
            on_message: Listeners::default(),
            on_error: Listeners::default(),
            on_close: Listeners::default(),
            readers: Waiters::default(),
            writers: Waiters::default(),
            watchers: Waiters::default(),
        });
        shared.listeners.replace(vec![
            shared.listen("open", |shared, _| shared.handle_open()),
            shared.listen("message", |shared, event| {
                shared.handle_message(event.unchecked_ref::<MessageEvent>().data());
            }),
            shared.listen("error", |shared, _| shared.on_error.emit(())),
            shared.listen("close", |shared, event| {
                let event = CloseEvent::from(event.unchecked_ref::<web_sys::CloseEvent>());
                shared.detach();
                shared.end(event.clone());
                shared.on_close.emit(event);
            }),
        ]);
        shared.handshake.replace(Some(shared.watch_handshake(options)));
        Ok(shared)
    }

    fn listen(self: &Rc<Self>, name: &'static str, handler: fn(&Rc<Self>, &Event)) -> EventListener {
        let weak = Rc::downgrade(self);
        EventListener::new(&self.web, name, move |event| {
            if let Some(shared) = weak.upgrade() {
                handler(&shared, event);
            }
        })
    }

    fn watch_handshake(self: &Rc<Self>, options: &SocketOptions) -> Handshake {
        let give_up = |why| {
            let weak = Rc::downgrade(self);
            move || {
                if let Some(shared) = weak.upgrade() {
                    shared.given_up.set(Some(why));
                    shared.terminate();
                }
            }
        };
        let (timed_out, aborted) = (give_up(GiveUp::TimedOut), give_up(GiveUp::Aborted));
        Handshake {
            _timeout: options
                .timeout
                .map(|timeout| Timeout::new(timeout_millis(timeout), timed_out)),
            _abort: options
                .abort
                .as_ref()
                .map(|signal| EventListener::once(signal, "abort", move |_| aborted())),
        }
    }

    fn handle_open(self: &Rc<Self>) {
        if !subprotocol::is_agreed(&self.offered, &self.web.protocol()) {
            return self.terminate();
        }
        self.was_open.set(true);
        drop(self.handshake.take());
        self.watchers.wake();
        self.writers.wake();
        self.on_open.emit(());
    }

    fn handle_message(&self, data: JsValue) {
        let message = Message::received(data);
        if self.on_message.is_empty() {
            let bytes = message.queued_bytes();
            let pushed = self.received.borrow_mut().push(message, bytes);
            if pushed == Pushed::MustClose {
                self.close_with(close::TOO_SLOW, "the page reads too slowly").ok();
            }
            self.readers.wake();
        } else {
            self.on_message.emit(message);
        }
        // In a hidden page timers may be a minute late, messages are not, so the buffer is read again here too.
        self.writers.wake();
    }

    fn end(&self, event: CloseEvent) {
        self.close_event.replace(Some(event));
        self.readers.wake();
        self.writers.wake();
        self.watchers.wake();
    }

    fn detach(&self) {
        drop(self.listeners.take());
        drop(self.handshake.take());
        drop(self.buffer_timer.take());
    }

    pub(super) fn ready_state(&self) -> ReadyState {
        if self.close_event.borrow().is_some() {
            return ReadyState::Closed;
        }
        ReadyState::from_web(self.web.ready_state())
    }

    pub(super) fn send(&self, message: &Message) -> Result<(), SendErrorKind> {
        let state = self.ready_state();
        if state != ReadyState::Open {
            return Err(SendErrorKind::NotOpen(state));
        }
        let (buffered, max) = (self.web.buffered_amount(), self.backpressure.borrow().max());
        if buffered > max {
            return Err(SendErrorKind::Full { buffered, max });
        }
        message
            .send_by(&self.web)
            .map_err(|error| SendErrorKind::Rejected(describe(&error)))
    }

    pub(super) fn close(&self) {
        self.web.close().ok();
        self.writers.wake();
    }

    pub(super) fn close_with(&self, code: u16, reason: &str) -> Result<(), CloseError> {
        close::check_code(code)?;
        close::check_reason(reason)?;
        self.web.close_with_code_and_reason(code, reason).ok();
        self.writers.wake();
        Ok(())
    }

    pub(super) fn terminate(self: &Rc<Self>) {
        if self.close_event.borrow().is_some() {
            return;
        }
        self.detach();
        self.web.close().ok();
        self.end(CloseEvent::abnormal());
        // Callbacks run after the caller returned, as they do for the browser's events.
        let weak = Rc::downgrade(self);
        spawn_local(async move {
            if let Some(shared) = weak.upgrade() {
                shared.on_error.emit(());
                shared.on_close.emit(CloseEvent::abnormal());
            }
        });
    }

    pub(super) fn on_message(self: &Rc<Self>, callback: impl FnMut(Message) + 'static) -> EventGuard {
        let guard = self.on_message.add(callback);
        if !self.received.borrow().is_empty() {
            let weak = Rc::downgrade(self);
            spawn_local(async move {
                if let Some(shared) = weak.upgrade() {
                    shared.emit_queued();
                }
            });
        }
        guard
    }

    /// Gives the callbacks the messages that were queued before the first callback. It runs before the browser's next
    /// event.
    fn emit_queued(&self) {
        while !self.on_message.is_empty() {
            let message = self.received.borrow_mut().pop_message();
            match message {
                Some(message) => self.on_message.emit(message),
                None => break,
            }
        }
    }

    pub(super) async fn opened(&self) -> Result<(), ConnectError> {
        let is_ended = || self.close_event.borrow().is_some();
        self.watchers.until(|| self.was_open.get() || is_ended()).await;
        if self.was_open.get() {
            return Ok(());
        }
        Err(match self.given_up.get() {
            Some(GiveUp::TimedOut) => ConnectError::TimedOut,
            Some(GiveUp::Aborted) => ConnectError::Aborted,
            None => ConnectError::Closed(self.closed().await),
        })
    }

    pub(super) async fn closed(&self) -> CloseEvent {
        self.watchers.wait_for(|| self.close_event.borrow().clone()).await
    }

    pub(super) fn poll_next(
        &self,
        waiter: &Waiter,
        context: &Context<'_>,
    ) -> Poll<Option<Result<Message, InboundOverflow>>> {
        let next = || match self.received.borrow_mut().pop() {
            None if self.close_event.borrow().is_none() => None,
            item => Some(item),
        };
        self.readers.poll_for(waiter, context, next)
    }

    pub(super) fn poll_ready(
        self: &Rc<Self>,
        waiter: &Waiter,
        context: &Context<'_>,
    ) -> Poll<Result<(), SendErrorKind>> {
        match self.ready_state() {
            ReadyState::Connecting => self.writers.wait(waiter, context),
            ReadyState::Open => {
                let buffered = self.web.buffered_amount();
                if self.backpressure.borrow_mut().is_ready(buffered) {
                    return Poll::Ready(Ok(()));
                }
                self.wait_to_drain(waiter, context);
            }
            state => return Poll::Ready(Err(SendErrorKind::NotOpen(state))),
        }
        Poll::Pending
    }

    pub(super) fn poll_flush(
        self: &Rc<Self>,
        waiter: &Waiter,
        context: &Context<'_>,
    ) -> Poll<Result<(), SendErrorKind>> {
        if self.web.buffered_amount() == 0 {
            self.backpressure.borrow_mut().drained();
            return Poll::Ready(Ok(()));
        }
        if let Some(event) = self.close_event.borrow().clone() {
            return Poll::Ready(Err(SendErrorKind::Lost(event)));
        }
        self.wait_to_drain(waiter, context);
        Poll::Pending
    }

    pub(super) fn poll_close(&self, waiter: &Waiter, context: &Context<'_>) -> Poll<Result<(), SendErrorKind>> {
        if let Some(event) = self.close_event.borrow().clone() {
            return Poll::Ready(if event.was_clean {
                Ok(())
            } else {
                Err(SendErrorKind::Lost(event))
            });
        }
        if matches!(self.ready_state(), ReadyState::Connecting | ReadyState::Open) {
            self.web.close().ok();
        }
        self.writers.wait(waiter, context);
        Poll::Pending
    }

    fn wait_to_drain(self: &Rc<Self>, waiter: &Waiter, context: &Context<'_>) {
        self.writers.wait(waiter, context);
        if self.is_buffer_timer_set.replace(true) {
            return;
        }
        let delay = self.backpressure.borrow_mut().next_poll_delay();
        let weak = Rc::downgrade(self);
        let timeout = Timeout::new(delay, move || {
            if let Some(shared) = weak.upgrade() {
                shared.is_buffer_timer_set.set(false);
                shared.writers.wake();
            }
        });
        drop(self.buffer_timer.replace(Some(timeout)));
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.detach();
        if matches!(self.ready_state(), ReadyState::Connecting | ReadyState::Open) {
            self.web.close_with_code(close::NORMAL).ok();
        }
    }
}

/// Whether the global object has `WebSocket`; outside of JavaScript there is no global object.
pub(super) fn is_supported() -> bool {
    cfg!(target_family = "wasm")
        && Reflect::get(&js_sys::global(), &"WebSocket".into()).is_ok_and(|constructor| constructor.is_function())
}

fn describe(error: &JsValue) -> String {
    match error.dyn_ref::<js_sys::Error>() {
        Some(error) => error.message().into(),
        None => format!("{error:?}"),
    }
}

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use gloo_events::EventListener;
use gloo_timers::callback::Timeout;
use js_sys::{Array, Object, Reflect};
use talkback_protocol::close::{self, CloseError};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::spawn_local;
use web_sys::{Event, MessageEvent, WebSocket};

use crate::waiters::Waiters;

use super::{
    CloseEvent, ConnectError, EventGuard, Message, Options, ReadyState, SendErrorKind, address,
    events::Listeners,
    inbound::{Pushed, Queue},
    options::{check_protocols, is_agreed, timeout_millis},
    outbound::Gate,
};

/// One WebSocket and everything that waits for it. Its handles own it; the browser's closures reach it weakly, so the last
/// handle's drop ends it at any moment, also from inside one of the closures.
///
/// Nothing stays borrowed while a callback, a waker or the browser runs.
pub(super) struct Shared {
    pub(super) web: WebSocket,
    /// Taken off when the connection is over, so that a handle that is kept longer keeps no closures.
    listeners: RefCell<Vec<EventListener>>,
    handshake: RefCell<Option<Handshake>>,
    offered: Vec<String>,
    pub(super) opened: Cell<bool>,
    pub(super) gave_up: Cell<Option<GaveUp>>,
    pub(super) ending: RefCell<Option<CloseEvent>>,
    pub(super) queue: RefCell<Queue<Message>>,
    pub(super) gate: RefCell<Gate>,
    pub(super) look_again: RefCell<Option<Timeout>>,
    pub(super) looking: Cell<bool>,
    pub(super) on_open: Listeners<()>,
    on_message: Listeners<Message>,
    pub(super) on_error: Listeners<()>,
    pub(super) on_close: Listeners<CloseEvent>,
    /// Wait for a message or the end.
    pub(super) readers: Waiters,
    /// Wait for room in the browser's buffer, or for a change of state.
    pub(super) writers: Waiters,
    /// Wait for a change of state.
    pub(super) watchers: Waiters,
}

/// What can end the opening handshake early; dropped with it.
struct Handshake {
    _timeout: Option<Timeout>,
    _abort: Option<EventListener>,
}

#[derive(Clone, Copy)]
pub(super) enum GaveUp {
    TimedOut,
    Aborted,
}

impl Shared {
    pub(super) fn connect(url: &str, options: &Options) -> Result<Rc<Self>, ConnectError> {
        if !is_supported() {
            return Err(ConnectError::Unsupported);
        }
        if options.abort.as_ref().is_some_and(|signal| signal.aborted()) {
            return Err(ConnectError::Aborted);
        }
        let url = address::resolve(url)?;
        check_protocols(&options.protocols)?;
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
            opened: Cell::default(),
            gave_up: Cell::default(),
            ending: RefCell::default(),
            queue: RefCell::new(Queue::new(options.inbound)),
            gate: RefCell::new(Gate::new(options.outbound)),
            look_again: RefCell::default(),
            looking: Cell::default(),
            on_open: Listeners::default(),
            on_message: Listeners::default(),
            on_error: Listeners::default(),
            on_close: Listeners::default(),
            readers: Waiters::default(),
            writers: Waiters::default(),
            watchers: Waiters::default(),
        });
        shared.listeners.replace(vec![
            shared.listen("open", |shared, _| shared.opened()),
            shared.listen("message", |shared, event| {
                shared.received(event.unchecked_ref::<MessageEvent>().data());
            }),
            shared.listen("error", |shared, _| shared.on_error.emit(&())),
            shared.listen("close", |shared, event| {
                let event = CloseEvent::from(event.unchecked_ref::<web_sys::CloseEvent>());
                shared.detach();
                shared.end(event.clone());
                shared.on_close.emit(&event);
            }),
        ]);
        shared.handshake.replace(Some(shared.watch_handshake(options)));
        Ok(shared)
    }

    fn listen(self: &Rc<Self>, name: &'static str, react: fn(&Rc<Self>, &Event)) -> EventListener {
        let weak = Rc::downgrade(self);
        EventListener::new(&self.web, name, move |event| {
            if let Some(shared) = weak.upgrade() {
                react(&shared, event);
            }
        })
    }

    fn watch_handshake(self: &Rc<Self>, options: &Options) -> Handshake {
        let give_up = |why| {
            let weak = Rc::downgrade(self);
            move || {
                if let Some(shared) = weak.upgrade() {
                    shared.gave_up.set(Some(why));
                    shared.terminate();
                }
            }
        };
        let (timed_out, aborted) = (give_up(GaveUp::TimedOut), give_up(GaveUp::Aborted));
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

    fn opened(self: &Rc<Self>) {
        if !is_agreed(&self.offered, &self.web.protocol()) {
            return self.terminate();
        }
        self.opened.set(true);
        drop(self.handshake.take());
        self.watchers.wake();
        self.writers.wake();
        self.on_open.emit(&());
    }

    fn received(&self, data: JsValue) {
        let message = Message::received(data);
        if self.on_message.is_empty() {
            let bytes = message.queued_bytes();
            let pushed = self.queue.borrow_mut().push(message, bytes);
            if pushed == Pushed::MustClose {
                self.close_with(close::TOO_SLOW, "the page reads too slowly").ok();
            }
            self.readers.wake();
        } else {
            self.on_message.emit(&message);
        }
        // Timers of a hidden page may be a minute late, messages are not.
        self.writers.wake();
    }

    fn end(&self, event: CloseEvent) {
        self.ending.replace(Some(event));
        self.readers.wake();
        self.writers.wake();
        self.watchers.wake();
    }

    fn detach(&self) {
        drop(self.listeners.take());
        drop(self.handshake.take());
        drop(self.look_again.take());
    }

    pub(super) fn ready_state(&self) -> ReadyState {
        if self.ending.borrow().is_some() {
            return ReadyState::Closed;
        }
        ReadyState::from_web(self.web.ready_state())
    }

    pub(super) fn send(&self, message: &Message) -> Result<(), SendErrorKind> {
        let state = self.ready_state();
        if state != ReadyState::Open {
            return Err(SendErrorKind::NotOpen(state));
        }
        let (buffered, max) = (self.web.buffered_amount(), self.gate.borrow().max());
        if buffered > max {
            return Err(SendErrorKind::Full { buffered, max });
        }
        // web-sys has one `send` for each type and none for a JavaScript string; they are the same function and pass it on as it is.
        self.web
            .send_with_array_buffer_view(message.to_send().unchecked_ref::<Object>())
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
        if self.ending.borrow().is_some() {
            return;
        }
        self.detach();
        self.web.close().ok();
        self.end(CloseEvent::abnormal());
        // The caller may be in the middle of anything, so callbacks run when it is done, as they do for the browser's events.
        let weak = Rc::downgrade(self);
        spawn_local(async move {
            if let Some(shared) = weak.upgrade() {
                shared.on_error.emit(&());
                shared.on_close.emit(&CloseEvent::abnormal());
            }
        });
    }

    pub(super) fn on_message(self: &Rc<Self>, callback: impl FnMut(Message) + 'static) -> EventGuard {
        let guard = self.on_message.add(callback);
        if !self.queue.borrow().is_empty() {
            let weak = Rc::downgrade(self);
            spawn_local(async move {
                if let Some(shared) = weak.upgrade() {
                    shared.deliver_backlog();
                }
            });
        }
        guard
    }

    /// Gives what came before the first callback to the callbacks; it runs before the browser's next event.
    fn deliver_backlog(&self) {
        while !self.on_message.is_empty() {
            let message = self.queue.borrow_mut().pop_message();
            match message {
                Some(message) => self.on_message.emit(&message),
                None => break,
            }
        }
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

/// Outside of JavaScript there is not even a global object to ask.
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

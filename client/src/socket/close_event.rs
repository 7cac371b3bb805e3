use talkback_protocol::close;

/// How a connection ended: [CloseEvent](https://websockets.spec.whatwg.org/#the-closeevent-interface).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseEvent {
    /// The code of the peer's close frame, 1005 if that had none, or 1006 if there was no close frame. The crate never
    /// makes up a code: 1000 means that the peer sent 1000.
    pub code: u16,
    /// The reason in the peer's close frame, at most 123 bytes of UTF-8, often empty.
    pub reason: String,
    /// Whether the closing handshake was completed.
    pub was_clean: bool,
}

impl CloseEvent {
    /// The connection ended without a close frame.
    pub(super) fn abnormal() -> Self {
        Self {
            code: close::ABNORMAL,
            reason: String::new(),
            was_clean: false,
        }
    }
}

impl From<&web_sys::CloseEvent> for CloseEvent {
    fn from(event: &web_sys::CloseEvent) -> Self {
        Self {
            code: event.code(),
            reason: event.reason(),
            was_clean: event.was_clean(),
        }
    }
}

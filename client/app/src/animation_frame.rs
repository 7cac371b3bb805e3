//! One drawing for many changes, at the next animation frame.

use gloo_render::{AnimationFrame, request_animation_frame};
use gloo_timers::callback::Timeout;
use yew::Callback;

/// A hidden page has no animation frames. It is drawn after this time, in milliseconds, so that tests and screen
/// readers see the change.
const HIDDEN_MS: u32 = 250;

/// A callback at the next animation frame; requests until then are one.
#[derive(Default)]
pub(crate) struct FrameRequest(Option<(AnimationFrame, Timeout)>);

impl FrameRequest {
    /// Calls back at the next frame, unless a request is pending.
    pub(crate) fn request(&mut self, wake: Callback<()>) {
        if self.0.is_none() {
            let timer = wake.clone();
            self.0 = Some((
                request_animation_frame(move |_| wake.emit(())),
                Timeout::new(HIDDEN_MS, move || timer.emit(())),
            ));
        }
    }

    /// The callback was requested and is still due.
    pub(crate) fn is_pending(&self) -> bool {
        self.0.is_some()
    }

    /// The callback has run; the next request is a new one.
    pub(crate) fn complete(&mut self) {
        self.0 = None;
    }
}

//! Drawing once for many changes.

use gloo_render::{AnimationFrame, request_animation_frame};
use gloo_timers::callback::Timeout;
use yew::Callback;

/// A hidden page gets no animation frames; it is drawn after this time, so that title bars, tests and screen readers still see
/// what came.
const HIDDEN_MS: u32 = 250;

/// A call at the next animation frame, however often it is asked for until then.
#[derive(Default)]
pub(crate) struct FrameRequest(Option<(AnimationFrame, Timeout)>);

impl FrameRequest {
    /// Calls back at the next frame, unless that was asked for already.
    pub(crate) fn request(&mut self, wake: Callback<()>) {
        if self.0.is_none() {
            let timer = wake.clone();
            self.0 = Some((
                request_animation_frame(move |_| wake.emit(())),
                Timeout::new(HIDDEN_MS, move || timer.emit(())),
            ));
        }
    }

    /// The call is still to come.
    pub(crate) fn is_pending(&self) -> bool {
        self.0.is_some()
    }

    /// The call came; the next request is for another one.
    pub(crate) fn complete(&mut self) {
        self.0 = None;
    }
}

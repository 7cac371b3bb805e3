//! The worker that tests texts against the pattern of the filter, `assets/pattern-worker.js`. The pattern is the user's and may take any time,
//! so a worker that does not answer in time is ended.

use gloo_timers::callback::Timeout;
use js_sys::Array;
use wasm_bindgen::{JsCast, JsValue, closure::Closure};
use web_sys::{MessageEvent, Worker};
use yew::Callback;

use super::log_filter::Pattern;
use crate::browser;

/// How long a pattern may take for the texts of one batch, in milliseconds.
pub(super) const DEADLINE_MS: u32 = 500;

/// The attribute of the document's root element with the address of the script, which `assets/boot.js` sets.
const SCRIPT: &str = "data-pattern-worker";

/// What the worker has to say.
#[derive(Debug)]
pub(super) enum Answer {
    /// It runs, and takes texts.
    Ready,
    /// The indices of the matching texts.
    Matching(Vec<usize>),
    /// Not a regular expression; with the browser's own text.
    Invalid(String),
    TooSlow,
    /// The browser could not load or run the script.
    Failed,
}

/// Ends with this value.
pub(super) struct PatternWorker {
    worker: Worker,
    deadline: Option<Timeout>,
    answer: Callback<Answer>,
    _onmessage: Closure<dyn FnMut(MessageEvent)>,
    _onerror: Closure<dyn FnMut()>,
}

impl PatternWorker {
    /// None where the browser has no workers for this page.
    pub(super) fn start(answer: Callback<Answer>) -> Option<Self> {
        let script = browser::document().document_element()?.get_attribute(SCRIPT)?;
        let worker = Worker::new(&script).ok()?;
        let told = answer.clone();
        let onmessage = Closure::<dyn FnMut(MessageEvent)>::new(move |event: MessageEvent| {
            told.emit(read(&event.data()));
        });
        worker.set_onmessage(Some(onmessage.as_ref().unchecked_ref()));
        let failed = answer.clone();
        let onerror = Closure::<dyn FnMut()>::new(move || failed.emit(Answer::Failed));
        worker.set_onerror(Some(onerror.as_ref().unchecked_ref()));
        Some(Self {
            worker,
            deadline: None,
            answer,
            _onmessage: onmessage,
            _onerror: onerror,
        })
    }

    /// Tests texts; the answer comes as [`Answer::Matching`], or at the deadline as [`Answer::TooSlow`].
    pub(super) fn test(&mut self, pattern: &Pattern, texts: &[String]) {
        let texts: Array = texts.iter().map(|text| JsValue::from_str(text)).collect();
        let message = Array::of3(&pattern.source.as_str().into(), &pattern.flags.as_str().into(), &texts);
        // Strings can always be cloned for a worker.
        let _: Result<(), JsValue> = self.worker.post_message(&message);
        let late = self.answer.clone();
        self.deadline = Some(Timeout::new(DEADLINE_MS, move || late.emit(Answer::TooSlow)));
    }

    /// The answer has come.
    pub(super) fn answered(&mut self) {
        self.deadline = None;
    }
}

impl Drop for PatternWorker {
    fn drop(&mut self) {
        self.worker.set_onmessage(None);
        self.worker.set_onerror(None);
        self.worker.terminate();
    }
}

fn read(answer: &JsValue) -> Answer {
    if let Some(indices) = answer.dyn_ref::<Array>() {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the indices of an array of texts"
        )]
        let indices = indices
            .iter()
            .filter_map(|index| index.as_f64())
            .map(|index| index as usize);
        Answer::Matching(indices.collect())
    } else {
        answer.as_string().map_or(Answer::Ready, Answer::Invalid)
    }
}

//! Waiting until the page shows something.

use serde_json::Value;

use crate::{DEADLINE, Page, Row, StepError, wait_for};

impl Page {
    /// Waits until the element is there to be seen.
    ///
    /// # Errors
    /// When it is not in time.
    pub async fn wait_shown(&self, id: &str) -> Result<(), StepError> {
        wait_for(format!("#{id} is shown"), DEADLINE, async || self.is_shown(id).await).await
    }

    /// Waits until the element is gone or hidden.
    ///
    /// # Errors
    /// When it is not in time.
    pub async fn wait_hidden(&self, id: &str) -> Result<(), StepError> {
        wait_for(format!("#{id} is hidden"), DEADLINE, async || {
            Ok(!self.is_shown(id).await?)
        })
        .await
    }

    /// Waits until the element's text contains `part`.
    ///
    /// # Errors
    /// When it does not in time; the error has what it contains instead.
    pub async fn wait_text(&self, id: &str, part: &str) -> Result<(), StepError> {
        self.wait_value(
            format!("#{id} says {part:?}"),
            async || self.text(id).await,
            |text| text.contains(part),
        )
        .await
    }

    /// Waits until the element's `data-state` is `state`.
    ///
    /// # Errors
    /// When it is not in time; the error has what it is instead.
    pub async fn wait_state(&self, id: &str, state: &str) -> Result<(), StepError> {
        self.wait_value(
            format!("#{id} is {state}"),
            async || self.state(id).await,
            |now| now == state,
        )
        .await
    }

    /// Waits until exactly this text is in the field.
    ///
    /// # Errors
    /// When it is not in time; the error has what is in it instead.
    pub async fn wait_field(&self, id: &str, text: &str) -> Result<(), StepError> {
        self.wait_value(
            format!("{text:?} is in #{id}"),
            async || self.value(id).await,
            |now| now == text,
        )
        .await
    }

    /// Waits until the element has the focus.
    ///
    /// # Errors
    /// When it has not in time; the error has the one that has it.
    pub async fn wait_focus(&self, id: &str) -> Result<(), StepError> {
        self.wait_value(
            format!("#{id} has the focus"),
            async || self.focused().await,
            |now| now == id,
        )
        .await
    }

    /// Waits until the page's URL has this path.
    ///
    /// # Errors
    /// When it has not in time; the error has its path.
    pub async fn wait_path(&self, path: &str) -> Result<(), StepError> {
        self.wait_value(
            format!("the path is {path}"),
            async || self.path().await,
            |now| now == path,
        )
        .await
    }

    /// Waits until a script returns this value. It runs with the element as `arguments[0]`, until then again and again.
    ///
    /// # Errors
    /// When it does not in time; the error has what it returns.
    pub async fn wait_script(&self, id: &str, body: &str, value: impl Into<Value>) -> Result<(), StepError> {
        let value = value.into();
        self.wait_value(
            format!("{value} is returned at #{id} by {body}"),
            async || self.script(id, body).await,
            |now| *now == value,
        )
        .await
    }

    /// As [`Page::wait_script`], without an element.
    ///
    /// # Errors
    /// When it does not in time; the error has what it returns.
    pub async fn wait_answer(&self, script: &str, value: impl Into<Value>) -> Result<(), StepError> {
        let value = value.into();
        self.wait_value(
            format!("{value} is returned by {script}"),
            async || self.execute(script, vec![]).await,
            |now| *now == value,
        )
        .await
    }

    /// Waits until the texts of a log's lines with this direction (empty: all) are exactly `expected`.
    ///
    /// # Errors
    /// When they are not in time; the error has what they are instead.
    pub async fn wait_texts(&self, id: &str, direction: &str, expected: &[&str]) -> Result<(), StepError> {
        let description = format!("the {direction} lines of #{id} are {expected:?}");
        self.wait_value(
            description,
            async || self.texts(id, direction).await,
            |texts| texts == expected,
        )
        .await
    }

    /// Waits until a line of the log is as `matches` wants it.
    ///
    /// # Errors
    /// When there is none in time; the error has the lines instead.
    pub async fn wait_row(&self, id: &str, what: &str, matches: impl Fn(&Row) -> bool) -> Result<(), StepError> {
        self.wait_rows(id, &format!("one says {what}"), |rows| rows.iter().any(&matches))
            .await
    }

    /// Waits until all lines of the log together are as `matches` wants them.
    ///
    /// # Errors
    /// When they are not in time; the error has what they are instead.
    pub async fn wait_rows(&self, id: &str, what: &str, matches: impl Fn(&[Row]) -> bool) -> Result<(), StepError> {
        let description = format!("the lines of #{id}: {what}");
        self.wait_value(description, async || self.rows(id).await, |rows| matches(rows))
            .await
    }

    /// Waits until `look` returns something that `fits`.
    ///
    /// # Errors
    /// When it does not in time; the error has what it returned last.
    pub async fn wait_value<T: std::fmt::Debug>(
        &self,
        description: impl Into<String>,
        mut look: impl AsyncFnMut() -> Result<T, StepError>,
        fits: impl Fn(&T) -> bool,
    ) -> Result<(), StepError> {
        let mut last = None;
        let waited = wait_for(description.into(), DEADLINE, async || {
            let seen = look().await?;
            let fit = fits(&seen);
            last = Some(seen);
            Ok(fit)
        });
        let mut waited = waited.await;
        if let (Err(StepError::TimedOut { last: at_last, .. }), Some(seen)) = (&mut waited, last) {
            at_last.get_or_insert_with(|| format!("it is {seen:?}"));
        }
        waited
    }
}

//! What the page shows.

use std::path::Path;

use serde::Deserialize;
use serde_json::json;

use crate::{Page, StepError};

/// A line of the workbench's log or of the chat.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Row {
    /// `in`, `out` or `info`; empty in the chat.
    pub direction: String,
    /// The text of the message.
    pub text: String,
    /// The sender shown beside it, in the chat.
    pub from: String,
    /// The time shown beside it.
    pub time: String,
    /// The size shown beside it.
    pub size: String,
}

const ROWS: &str = "
    const part = (row, name) => row.querySelector('.' + name)?.textContent.trim() ?? '';
    return [...arguments[0].querySelectorAll('li')].map(row => ({
        direction: row.dataset.direction ?? '',
        text: row.querySelector('.text')?.textContent ?? '',
        from: part(row, 'from'), time: part(row, 'time'), size: part(row, 'size'),
    }));";

impl Page {
    /// The text that the element shows.
    ///
    /// # Errors
    /// When there is no such element.
    pub async fn text(&self, id: &str) -> Result<String, StepError> {
        self.read(id, "return arguments[0].innerText.trim();").await
    }

    /// What is in the field.
    ///
    /// # Errors
    /// When there is no such field.
    pub async fn value(&self, id: &str) -> Result<String, StepError> {
        self.read(id, "return arguments[0].value;").await
    }

    /// The element's `data-state`.
    ///
    /// # Errors
    /// When there is no such element.
    pub async fn state(&self, id: &str) -> Result<String, StepError> {
        self.read(id, "return arguments[0].dataset.state ?? '';").await
    }

    /// The lines of a log, in order.
    ///
    /// # Errors
    /// When there is no such list.
    pub async fn rows(&self, id: &str) -> Result<Vec<Row>, StepError> {
        self.read(id, ROWS).await
    }

    /// The texts of a log's lines with this direction (`in`, `out`, `info`; empty: all), in order.
    ///
    /// # Errors
    /// When there is no such list.
    pub async fn texts(&self, id: &str, direction: &str) -> Result<Vec<String>, StepError> {
        let mut rows = self.rows(id).await?;
        rows.retain(|row| direction.is_empty() || row.direction == direction);
        Ok(rows.into_iter().map(|row| row.text).collect())
    }

    /// The `id` of the element that has the focus; empty when it has none.
    ///
    /// # Errors
    /// When the browser refuses.
    pub async fn focused(&self) -> Result<String, StepError> {
        self.to_front().await?;
        let id = self.execute("return document.activeElement?.id ?? '';", vec![]).await?;
        Ok(id.as_str().unwrap_or_default().to_owned())
    }

    /// Whether the element exists and takes part in the layout.
    ///
    /// # Errors
    /// When the browser refuses.
    pub async fn is_shown(&self, id: &str) -> Result<bool, StepError> {
        self.to_front().await?;
        let script = "return (document.getElementById(arguments[0])?.getClientRects().length ?? 0) > 0;";
        Ok(self.execute(script, vec![json!(id)]).await? == json!(true))
    }

    /// The path of the page's URL.
    ///
    /// # Errors
    /// When the browser refuses.
    pub async fn path(&self) -> Result<String, StepError> {
        let path = self.execute("return decodeURI(location.pathname);", vec![]).await?;
        Ok(path.as_str().unwrap_or_default().to_owned())
    }

    /// Saves what the tab shows as a PNG, once what is on the page now has been painted.
    ///
    /// # Errors
    /// When the browser or the file system refuses.
    pub async fn screenshot(&self, file: &Path) -> Result<(), StepError> {
        self.to_front().await?;
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder)
                .map_err(|error| StepError::Setup(format!("cannot make {}: {error}", folder.display())))?;
        }
        // A page that is not painted at all, because it is in the background, is not waited for.
        let painted = "
            const done = arguments[0];
            requestAnimationFrame(() => requestAnimationFrame(done));
            setTimeout(done, 1000);";
        self.driver
            .execute_async(painted, vec![])
            .await
            .map_err(StepError::browser("paint"))?;
        self.driver
            .screenshot(file)
            .await
            .map_err(StepError::browser(format!("save {}", file.display())))
    }

    pub(super) async fn read<T: serde::de::DeserializeOwned>(&self, id: &str, body: &str) -> Result<T, StepError> {
        let value = self.script(id, body).await?;
        serde_json::from_value(value).map_err(|error| StepError::Setup(format!("#{id} reads oddly: {error}")))
    }
}

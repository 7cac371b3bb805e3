//! One tab of a browser, as its user works with it: actions are here, what the page shows in `read`, waiting in `wait`,
//! the steps of the chat in `chat`.

mod chat;
mod read;
mod wait;

pub use read::Row;

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use thirtyfour::{By, Key, TypingData, WebDriver, WebElement, WindowHandle};

use crate::{DEADLINE, StepError, wait_for};

/// A tab. Its steps bring it to the front first, so scenarios may go back and forth between tabs.
///
/// Elements are named by their `id`. A step waits for its element up to [`DEADLINE`].
#[derive(Clone)]
pub struct Page {
    driver: WebDriver,
    window: WindowHandle,
    front: Arc<Mutex<WindowHandle>>,
}

impl Page {
    /// The tab a new browser starts with.
    pub(crate) async fn first(driver: WebDriver) -> Result<Self, StepError> {
        let window = driver.window().await.map_err(StepError::browser("name its tab"))?;
        let front = Arc::new(Mutex::new(window.clone()));
        Ok(Self { driver, window, front })
    }

    /// Opens another tab of the same browser, empty.
    ///
    /// In WebKitGTK its page stays hidden (`document.hidden`), whichever tab a step brings to the front: the driver changes the tab that it talks to,
    /// and MiniBrowser goes on showing the first one of the window. A page in which somebody reads there needs a window, see [`Page::new_window`].
    ///
    /// # Errors
    /// When the browser refuses.
    pub async fn new_tab(&self) -> Result<Self, StepError> {
        self.to_front().await?;
        let window = self.driver.new_tab().await.map_err(StepError::browser("open a tab"))?;
        Ok(Self { window, ..self.clone() })
    }

    /// Duplicates the tab, as its menu does: the copy loads the same address and begins with a copy of the
    /// `sessionStorage`.
    ///
    /// # Errors
    /// When no tab opens.
    pub async fn duplicate(&self) -> Result<Self, StepError> {
        self.opened_by("window.open(location.href);", vec![]).await
    }

    /// Opens a window whose page is `width` by `height` CSS pixels, empty. It is one without toolbars: the ordinary
    /// windows of Firefox and WebKitGTK do not get as narrow as a telephone. A script of this tab opens it, so it begins with a copy of the
    /// `sessionStorage` of this tab's page.
    ///
    /// # Errors
    /// When the browser refuses, or gives it another size.
    pub async fn new_window(&self, width: u32, height: u32) -> Result<Self, StepError> {
        let open = "window.open('about:blank', '', `popup,width=${arguments[0]},height=${arguments[1]}`);";
        let page = self.opened_by(open, vec![json!(width), json!(height)]).await?;
        let (mut outer_width, mut outer_height) = (width, height);
        let resize = async || {
            page.to_front().await?;
            let rect = page.driver.set_window_rect(0, 0, outer_width, outer_height);
            rect.await.map_err(StepError::browser("resize a window"))?;
            let size = page.execute("return [innerWidth, innerHeight];", vec![]).await?;
            let now: (u32, u32) = serde_json::from_value(size).map_err(|error| StepError::Setup(error.to_string()))?;
            // The size of the window's frame is found by trying.
            outer_width = (outer_width + width).saturating_sub(now.0);
            outer_height = (outer_height + height).saturating_sub(now.1);
            Ok(now)
        };
        let description = format!("the window is {width} by {height}");
        page.wait_value(description, resize, |now| *now == (width, height))
            .await?;
        Ok(page)
    }

    /// Loads `url` and waits until the application runs, which shows in the element `ready`.
    ///
    /// # Errors
    /// When the page does not load or `ready` does not appear.
    pub async fn open(&self, url: &str, ready: &str) -> Result<(), StepError> {
        self.to_front().await?;
        self.driver
            .goto(url)
            .await
            .map_err(StepError::browser(format!("open {url}")))?;
        self.wait_shown(ready).await
    }

    /// Clicks the element when it can be clicked.
    ///
    /// # Errors
    /// When it is missing, disabled, hidden or covered.
    pub async fn click(&self, id: &str) -> Result<(), StepError> {
        wait_for(format!("#{id} can be clicked"), DEADLINE, async || {
            let element = self.element(id).await?;
            if !element
                .is_enabled()
                .await
                .map_err(StepError::browser(format!("look at #{id}")))?
            {
                return Ok(false);
            }
            element
                .click()
                .await
                .map_err(StepError::browser(format!("click #{id}")))?;
            Ok(true)
        })
        .await
    }

    /// Clicks the first element of this CSS selector inside another one as soon as it is there, by a script: for parts without an `id`.
    ///
    /// # Errors
    /// When there is none in time.
    pub async fn click_inside(&self, id: &str, selector: &str) -> Result<(), StepError> {
        let click = format!(
            "const part = arguments[0].querySelector({});
             part?.click();
             return part !== null;",
            json!(selector)
        );
        self.wait_script(id, &click, true).await
    }

    /// Forgets all that the page remembers, as its user does, and waits until the page was loaded anew, which shows in the element `ready`.
    ///
    /// # Errors
    /// When it is not in time.
    pub async fn forget_all(&self, ready: &str) -> Result<(), StepError> {
        self.click("help_button").await?;
        self.click("forget").await?;
        self.execute("window.isOld = true;", vec![]).await?;
        self.click("forget_all").await?;
        self.wait_answer("return window.isOld ?? null;", Value::Null).await?;
        self.wait_shown(ready).await
    }

    /// Clicks at a point of the window, whatever is there then.
    ///
    /// # Errors
    /// When the browser refuses.
    pub async fn click_at(&self, x: i64, y: i64) -> Result<(), StepError> {
        self.to_front().await?;
        let click = self.driver.action_chain().move_to(x, y).click();
        click.perform().await.map_err(StepError::browser("click at a point"))
    }

    /// Replaces what is in the field by typing `text`; an empty text clears it.
    ///
    /// # Errors
    /// When there is no such field.
    pub async fn fill(&self, id: &str, text: &str) -> Result<(), StepError> {
        self.wait_shown(id).await?;
        self.press_in(id, Key::Control + "a").await?;
        self.press_in(
            id,
            if text.is_empty() {
                Key::Delete.value().to_string()
            } else {
                text.to_owned()
            },
        )
        .await
    }

    /// Presses keys in the field, behind what is already in it.
    ///
    /// # Errors
    /// When there is no such field.
    pub async fn press_in(&self, id: &str, keys: impl Into<TypingData>) -> Result<(), StepError> {
        let element = self.element(id).await?;
        element
            .send_keys(keys)
            .await
            .map_err(StepError::browser(format!("type into #{id}")))
    }

    /// Presses keys wherever the focus is, as a user without a mouse does.
    ///
    /// # Errors
    /// When the browser refuses.
    pub async fn press(&self, keys: impl Into<TypingData>) -> Result<(), StepError> {
        self.to_front().await?;
        self.driver
            .action_chain()
            .send_keys(keys)
            .perform()
            .await
            .map_err(StepError::browser("press keys"))
    }

    /// Presses a key wherever the focus is while `modifier` is held down.
    ///
    /// # Errors
    /// When the browser refuses.
    pub async fn press_with(&self, modifier: Key, key: impl Into<TypingData>) -> Result<(), StepError> {
        self.to_front().await?;
        let chord = self
            .driver
            .action_chain()
            .key_down(modifier.clone())
            .send_keys(key)
            .key_up(modifier);
        chord
            .perform()
            .await
            .map_err(StepError::browser("press a key with a modifier"))
    }

    /// Puts `text` into a field at once, as pasting does: for texts too long to type, and for characters that a driver
    /// cannot type.
    ///
    /// # Errors
    /// When there is no such field.
    pub async fn paste(&self, id: &str, text: &str) -> Result<(), StepError> {
        self.wait_shown(id).await?;
        self.to_front().await?;
        let script = "
            const field = document.getElementById(arguments[0]);
            const type = field instanceof HTMLTextAreaElement ? HTMLTextAreaElement : HTMLInputElement;
            Object.getOwnPropertyDescriptor(type.prototype, 'value').set.call(field, arguments[1]);
            field.dispatchEvent(new InputEvent('input', { bubbles: true, inputType: 'insertFromPaste' }));";
        self.execute(script, vec![json!(id), json!(text)]).await?;
        Ok(())
    }

    /// Chooses an option of a `select` by its value.
    ///
    /// # Errors
    /// When there is no such element or option.
    pub async fn choose(&self, id: &str, value: &str) -> Result<(), StepError> {
        self.wait_shown(id).await?;
        self.to_front().await?;
        let selector = format!("#{id} option[value='{value}']");
        let option = self
            .driver
            .find(By::Css(selector))
            .await
            .map_err(StepError::browser(format!("find {value}")))?;
        option
            .click()
            .await
            .map_err(StepError::browser(format!("choose {value} in #{id}")))
    }

    /// Runs a script with the element as `arguments[0]`.
    ///
    /// # Errors
    /// When there is no such element or the script throws.
    pub async fn script(&self, id: &str, body: &str) -> Result<Value, StepError> {
        self.to_front().await?;
        let script = format!(
            "const id = arguments[0], element = document.getElementById(id);
             if (!element) throw new Error('there is no #' + id);
             return (function() {{ {body} }})(element);"
        );
        self.execute(&script, vec![json!(id)]).await
    }

    /// Runs a script in the page and returns what it returns.
    ///
    /// # Errors
    /// When it throws.
    pub async fn execute(&self, script: &str, arguments: Vec<Value>) -> Result<Value, StepError> {
        self.to_front().await?;
        let answer = self
            .driver
            .execute(script, arguments)
            .await
            .map_err(StepError::browser("run a script"))?;
        Ok(answer.json().clone())
    }

    /// Loads the page anew.
    ///
    /// # Errors
    /// When the browser refuses.
    pub async fn reload(&self) -> Result<(), StepError> {
        self.to_front().await?;
        self.driver.refresh().await.map_err(StepError::browser("reload"))
    }

    /// Goes back in the tab's history.
    ///
    /// # Errors
    /// When the browser refuses.
    pub async fn back(&self) -> Result<(), StepError> {
        self.to_front().await?;
        self.driver.back().await.map_err(StepError::browser("go back"))
    }

    /// Goes forward in the tab's history.
    ///
    /// # Errors
    /// When the browser refuses.
    pub async fn forward(&self) -> Result<(), StepError> {
        self.to_front().await?;
        self.driver.forward().await.map_err(StepError::browser("go forward"))
    }

    async fn element(&self, id: &str) -> Result<WebElement, StepError> {
        self.to_front().await?;
        let found = self.driver.find(By::Id(id)).await;
        found.map_err(StepError::browser(format!("find #{id}")))
    }

    /// The tab or window that a script opens.
    async fn opened_by(&self, script: &str, arguments: Vec<Value>) -> Result<Self, StepError> {
        let windows = async || {
            let windows = self.driver.windows().await;
            windows.map_err(StepError::browser("list its windows"))
        };
        let before = windows().await?;
        self.execute(script, arguments).await?;
        let mut opened = None;
        wait_for("a window has opened", DEADLINE, async || {
            opened = windows().await?.into_iter().find(|window| !before.contains(window));
            Ok(opened.is_some())
        })
        .await?;
        let window = opened.unwrap_or_else(|| self.window.clone());
        Ok(Self { window, ..self.clone() })
    }

    async fn to_front(&self) -> Result<(), StepError> {
        if *self.front.lock().unwrap_or_else(PoisonError::into_inner) == self.window {
            return Ok(());
        }
        self.driver
            .switch_to_window(self.window.clone())
            .await
            .map_err(StepError::browser("switch to a tab"))?;
        *self.front.lock().unwrap_or_else(PoisonError::into_inner) = self.window.clone();
        Ok(())
    }
}

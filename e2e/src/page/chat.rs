//! The steps of a user of the chat, and what the chat shows.

use serde::Serialize;
use serde_json::json;
use talkback_testbed::Server;
use thirtyfour::Key;

use crate::{Page, StepError};

/// The list of the chat.
const LOG: &str = "chat_messages";

impl Page {
    /// Opens a room in the tab and joins it under `name`: a tab that remembers another name is in the room at once, and
    /// leaves it first.
    ///
    /// # Errors
    /// When the room is not joined in time.
    pub async fn join(&self, server: &Server, room: &str, name: &str) -> Result<(), StepError> {
        self.join_at(&server.http(""), room, name).await
    }

    /// As [`Page::join`], at an origin, for instance of a proxy.
    ///
    /// # Errors
    /// When the room is not joined in time.
    pub async fn join_at(&self, origin: &str, room: &str, name: &str) -> Result<(), StepError> {
        self.open(&format!("{origin}/chat/{room}"), "chat_room").await?;
        if self.text("chat_me").await? != name {
            if !self.is_shown("chat_join").await? {
                self.leave().await?;
            }
            self.wait_shown("chat_join").await?;
            self.fill("chat_name", name).await?;
        }
        if self.is_shown("chat_join").await? {
            self.click("chat_join").await?;
        }
        self.wait_state("chat_state", "OPEN").await
    }

    /// Leaves the room. On a narrow page the button is in the sheet with the rooms.
    ///
    /// # Errors
    /// When there is no such button.
    pub async fn leave(&self) -> Result<(), StepError> {
        self.show_rooms().await?;
        self.click("chat_leave").await
    }

    /// Opens another room by its name, in the tab.
    ///
    /// # Errors
    /// When it is not shown in time.
    pub async fn go_to_room(&self, room: &str) -> Result<(), StepError> {
        self.show_rooms().await?;
        if !self.is_shown("chat_other_room").await? {
            self.click("chat_add_room").await?;
        }
        self.fill("chat_other_room", room).await?;
        self.press_in("chat_other_room", Key::Enter).await?;
        self.wait_text("chat_room", room).await
    }

    /// Shows the rooms: on a narrow page they are in a sheet.
    async fn show_rooms(&self) -> Result<(), StepError> {
        if !self.is_shown("chat_add_room").await? {
            self.click("chat_rooms").await?;
        }
        self.wait_shown("chat_add_room").await
    }

    /// The rooms of the list, in order.
    ///
    /// # Errors
    /// When there is no chat.
    pub async fn rooms(&self) -> Result<Vec<String>, StepError> {
        self.read(
            "room_list",
            "return [...arguments[0].querySelectorAll('.name')].map(name => name.textContent);",
        )
        .await
    }

    /// Types a message and sends it.
    ///
    /// # Errors
    /// When there is no such field or button.
    pub async fn send(&self, text: &str) -> Result<(), StepError> {
        self.fill("chat_message", text).await?;
        self.click("chat_send").await
    }

    /// Sends several messages at once, from within the page: others come while the first one is under way.
    ///
    /// # Errors
    /// When there is no chat.
    pub async fn send_all<T: Serialize>(&self, texts: &[T]) -> Result<(), StepError> {
        let script = "
            const field = document.getElementById('chat_message');
            const set = Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, 'value').set;
            for (const text of arguments[0]) {
                set.call(field, text);
                field.dispatchEvent(new InputEvent('input', { bubbles: true }));
                field.form.requestSubmit();
            }";
        self.execute(script, vec![json!(texts)]).await.map(drop)
    }

    /// Waits until the chat shows exactly these messages, each as sender and text; the page's own notices aside.
    ///
    /// # Errors
    /// When it does not in time; the error has what it shows instead.
    pub async fn wait_messages(&self, expected: &[(&str, &str)]) -> Result<(), StepError> {
        self.wait_rows(LOG, &format!("the messages are {expected:?}"), |rows| {
            let shown: Vec<_> = rows.iter().filter(|row| !row.from.is_empty()).collect();
            shown.len() == expected.len()
                && shown
                    .iter()
                    .zip(expected)
                    .all(|(row, (from, text))| row.from == *from && row.text == *text)
        })
        .await
    }

    /// Waits until the chat shows a notice of the page that contains `part`.
    ///
    /// # Errors
    /// When it does not in time; the error has what it shows instead.
    pub async fn wait_notice(&self, part: &str) -> Result<(), StepError> {
        self.wait_row(LOG, part, |row| row.direction == "info" && row.text.contains(part))
            .await
    }

    /// Waits until these users are in the room, in this order.
    ///
    /// # Errors
    /// When they are not in time; the error has the users instead.
    pub async fn wait_roster(&self, expected: &[&str]) -> Result<(), StepError> {
        self.wait_value(
            format!("in the room are {expected:?}"),
            async || self.roster().await,
            |names| names == expected,
        )
        .await
    }

    /// The users in the room, oneself first.
    ///
    /// # Errors
    /// When the room is not joined.
    pub async fn roster(&self) -> Result<Vec<String>, StepError> {
        self.read(
            "roster",
            "return [...arguments[0].querySelectorAll('li .name')].map(name => name.textContent);",
        )
        .await
    }

    /// The delivery state of own messages that have not come back from the room: `pending`, `sent`, `acked` or `failed`
    /// of each message with this text, in order.
    ///
    /// # Errors
    /// When there is no chat.
    pub async fn deliveries(&self, text: &str) -> Result<Vec<String>, StepError> {
        let body = format!(
            "return [...arguments[0].querySelectorAll('li[data-delivery]')]
                .filter(row => row.querySelector('.text').textContent === {text:?})
                .map(row => row.dataset.delivery);"
        );
        self.read(LOG, &body).await
    }

    /// Waits until the own message with this text has the state `delivery`.
    ///
    /// # Errors
    /// When it is not in time; the error has its state instead.
    pub async fn wait_delivery(&self, text: &str, delivery: &str) -> Result<(), StepError> {
        self.wait_value(
            format!("{text:?} is {delivery}"),
            async || self.deliveries(text).await,
            |now| now == &[delivery],
        )
        .await
    }

    /// The offsets of the messages that are shown, in order.
    ///
    /// # Errors
    /// When there is no chat.
    pub async fn offsets(&self) -> Result<Vec<u64>, StepError> {
        self.read(
            LOG,
            "return [...arguments[0].querySelectorAll('li[data-offset]')].map(row => Number(row.dataset.offset));",
        )
        .await
    }
}

//! The newest messages of a room that the user is not in: over HTTP, because the session reads only rooms that are joined.

use js_sys::{Array, JSON, Reflect};
use percent_encoding::utf8_percent_encode;
use talkback_client::{Cursor, RoomName};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::Response;

use super::timeline::RoomMessage;
use crate::{browser, route::COMPONENT};

/// The end of a room's log.
#[derive(Debug, PartialEq)]
pub(crate) struct Preview {
    /// After the last message.
    pub(super) cursor: Cursor,
    /// Oldest first.
    pub(super) messages: Vec<RoomMessage>,
}

/// Reads it; none where the server does not answer, or not with messages.
pub(super) async fn fetch(room: RoomName) -> Option<Preview> {
    // So many as the server chooses: it refuses a limit that is larger than its own.
    let answer = get(&room, "").await.filter(Response::ok)?;
    read(&JsFuture::from(answer.json().ok()?).await.ok()?)
}

/// Reads where the log of a room ends.
pub(super) async fn head(room: &RoomName) -> Option<Cursor> {
    let answer = get(room, "?limit=1").await.filter(Response::ok)?;
    let answer = JsFuture::from(answer.json().ok()?).await.ok()?;
    field(&answer, "cursor").as_string()?.parse().ok()
}

async fn get(room: &RoomName, limit: &str) -> Option<Response> {
    let url = format!(
        "{}/rooms/{}/messages{limit}",
        browser::server_origin(),
        utf8_percent_encode(room, COMPONENT)
    );
    let answer = JsFuture::from(browser::window().fetch_with_str(&url)).await;
    Some(answer.ok()?.unchecked_into())
}

fn read(answer: &JsValue) -> Option<Preview> {
    let messages: Array = field(answer, "messages").dyn_into().ok()?;
    Some(Preview {
        cursor: field(answer, "cursor").as_string()?.parse().ok()?,
        messages: messages.iter().filter_map(|message| read_message(&message)).collect(),
    })
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "offsets are from 1 to below 2^53; `as` saturates"
)]
fn read_message(message: &JsValue) -> Option<RoomMessage> {
    let body = field(message, "body");
    let deleted = field(message, "deleted").is_truthy();
    Some(RoomMessage {
        offset: field(message, "offset").as_f64()? as u64,
        from: field(&field(message, "from"), "user").as_string()?,
        at: field(message, "at").as_f64()?,
        text: match body.as_string() {
            Some(text) => text,
            None if deleted => String::new(),
            // Without a body there is no text.
            None => JSON::stringify(&body).ok()?.as_string()?,
        },
        deleted,
        own: false,
        mentions: Vec::new(),
        mentions_me: false,
    })
}

fn field(of: &JsValue, name: &str) -> JsValue {
    Reflect::get(of, &name.into()).unwrap_or_default()
}

//! The workbench against a healthy server: what is sent comes back, by WebSocket and by HTTP.

use serde_json::Value;
use talkback_e2e::{DEADLINE, Row, in_every_browser, wait_for};
use thirtyfour::Key;

const LOG: &str = "messagecontainer";

#[test]
fn three_clicks_connect_send_and_close() {
    in_every_browser(async |stage| {
        let page = stage.workbench().await?;
        // The default address is this server's echo.
        page.wait_field("url", &stage.server.ws("/echo")).await?;
        page.wait_field("message", "Hello, World!").await?;
        page.wait_state("ready_state", "CLOSED").await?;
        page.script(
            LOG,
            "arguments[0].closest('section').querySelector('h2').scrollIntoView();",
        )
        .await?;
        let text = page.execute("return document.body.innerText;", vec![]).await?;
        assert!(
            text.as_str().is_some_and(|text| text.contains("Messages")),
            "the log has its heading"
        );

        page.click("connect_websocket").await?;
        page.wait_state("ready_state", "OPEN").await?;
        page.click("send_message").await?;
        page.wait_texts(LOG, "out", &["Hello, World!"]).await?;
        page.wait_texts(LOG, "in", &["Hello, World!"]).await?;
        let complete = |row: &Row| row.size == "13 B" && row.time.contains(':');
        for row in page.rows(LOG).await?.iter().filter(|row| row.direction != "info") {
            assert!(complete(row), "each message has its size and time: {row:?}");
        }

        page.wait_text("buffered_amount", "0 B").await?;

        page.click("close_websocket").await?;
        page.wait_state("ready_state", "CLOSED").await?;
        page.wait_text("close_info", "1000").await?;
        page.wait_text("close_info", "Normal closure").await?;
        page.wait_row(LOG, "who closed", |row| {
            row.direction == "info" && row.text.to_lowercase().contains("by this page")
        })
        .await?;
        Ok(())
    });
}

#[test]
fn a_row_can_be_clicked_while_messages_stream() {
    in_every_browser(async |stage| {
        let page = stage.workbench().await?;
        page.fill("url", &stage.server.ws("/flood?rate=100&size=100&n=100000"))
            .await?;
        page.click("connect_websocket").await?;
        let count = "return arguments[0].children.length;";
        page.wait_value(
            "rows fill the list",
            async || page.script(LOG, count).await,
            |rows| rows.as_u64().is_some_and(|rows| rows > 20),
        )
        .await?;
        for _ in 0..8 {
            let middle = "
                const { left, top, width, height } = arguments[0].closest('.log-viewport').getBoundingClientRect();
                return [Math.round(left + width / 2), Math.round(top + height / 2)];";
            let (x, y): (i64, i64) = serde_json::from_value(page.script(LOG, middle).await?)?;
            page.click_at(x, y).await?;
            page.wait_shown("detail_text").await?;
            let selected = "return arguments[0].querySelector('[aria-selected=true]')?.id ?? '';";
            let mut row = Value::Null;
            wait_for("a row is selected", DEADLINE, async || {
                row = page.script(LOG, selected).await?;
                Ok(row != "")
            })
            .await?;
            let before = page.text("log_count").await?;
            page.wait_value(
                "more messages came",
                async || page.text("log_count").await,
                |now| *now != before,
            )
            .await?;
            page.wait_script(LOG, selected, row).await?;
            page.press(Key::Escape).await?;
            page.wait_hidden("detail_text").await?;
        }
        page.click("close_websocket").await?;
        page.wait_state("ready_state", "CLOSED").await?;
        Ok(())
    });
}

#[test]
fn an_address_that_is_none_has_its_outcome_in_the_log() {
    in_every_browser(async |stage| {
        let page = stage.workbench().await?;
        page.fill("url", "ws://localhost/#part").await?;
        page.click("connect_websocket").await?;
        page.wait_row(LOG, "why it failed", |row| {
            row.direction == "info" && row.text.contains("# part")
        })
        .await?;
        page.wait_text("error", "# part").await?;
        Ok(())
    });
}

#[test]
fn the_fields_of_the_workbench_are_kept_over_a_reload() {
    in_every_browser(async |stage| {
        let page = stage.workbench().await?;
        let texts = [("url", "ws://localhost/x"), ("subprotocols", "b"), ("message", "kept")];
        page.click("subprotocols_button").await?;
        page.paste("subprotocols", "a, ").await?;
        for (field, text) in texts {
            page.paste(field, text).await?;
        }
        page.reload().await?;
        page.wait_shown("connect_websocket").await?;
        page.click("subprotocols_button").await?;
        page.wait_text("subprotocol_chips", "a").await?;
        for (field, text) in texts {
            page.wait_field(field, text).await?;
        }
        Ok(())
    });
}

#[test]
fn the_second_button_asks_over_plain_http_without_a_connection() {
    in_every_browser(async |stage| {
        let page = stage.workbench().await?;
        let text = "a&b=c #1 +100% 你好/?";
        page.fill("message", text).await?;
        page.click("send_http").await?;
        page.wait_texts(LOG, "out", &[text]).await?;
        page.wait_texts(LOG, "in", &[text]).await?;
        // No WebSocket was opened for it.
        page.wait_state("ready_state", "CLOSED").await?;
        Ok(())
    });
}

#[test]
fn what_is_typed_comes_back_byte_for_byte() {
    in_every_browser(async |stage| {
        let page = stage.connected_workbench().await?;
        let texts = ["你好，世界", "  two  spaces  ", "é ü ñ", "<b>bold</b> & \"quoted\""];
        for (count, text) in texts.iter().enumerate() {
            page.fill("message", text).await?;
            page.click("send_message").await?;
            page.wait_texts(LOG, "in", &texts[..=count]).await?;
        }
        // Drivers type no characters beyond the Basic Multilingual Plane, so these are pasted.
        let pasted = "👩‍👩‍👧 𠀀 \u{200f}עברית";
        page.paste("message", pasted).await?;
        page.click("send_message").await?;
        page.wait_row(LOG, "the emoji came back", |row| {
            row.direction == "in" && row.text == pasted
        })
        .await?;
        Ok(())
    });
}

#[test]
fn messages_sent_in_a_row_come_back_in_order() {
    in_every_browser(async |stage| {
        let page = stage.connected_workbench().await?;
        let texts: Vec<_> = (1..=12).map(|number| format!("message {number}")).collect();
        for text in &texts {
            page.paste("message", text).await?;
            page.press_in("message", Key::Control + Key::Enter).await?;
        }
        let expected: Vec<_> = texts.iter().map(String::as_str).collect();
        page.wait_texts(LOG, "out", &expected).await?;
        page.wait_texts(LOG, "in", &expected).await?;
        Ok(())
    });
}

#[test]
fn the_url_field_reaches_any_endpoint() {
    in_every_browser(async |stage| {
        let page = stage.workbench().await?;
        // A path that ends in a question mark froze a known workbench while it was typed: hoppscotch#1329.
        page.fill("url", &stage.server.ws("/echo?suffix=%21")).await?;
        page.press_in("url", Key::Enter).await?;
        page.wait_state("ready_state", "OPEN").await?;
        page.click("send_message").await?;
        page.wait_texts(LOG, "in", &["Hello, World!!"]).await?;
        Ok(())
    });
}

#[test]
fn an_endpoint_that_closes_after_one_message_is_shown_as_closed_by_the_server() {
    in_every_browser(async |stage| {
        let page = stage.workbench().await?;
        page.fill("url", &stage.server.ws("/once")).await?;
        page.click("connect_websocket").await?;
        page.wait_state("ready_state", "OPEN").await?;
        page.click("send_message").await?;
        page.wait_state("ready_state", "CLOSED").await?;
        page.wait_texts(LOG, "in", &["Hello, World!"]).await?;
        page.wait_text("close_info", "1000").await?;
        page.wait_row(LOG, "who closed", |row| {
            row.text.to_lowercase().contains("by the server")
        })
        .await?;
        Ok(())
    });
}

#[test]
fn the_address_of_the_echo_is_the_workbench_too() {
    in_every_browser(async |stage| {
        stage
            .page
            .open(&stage.server.http("/echo"), "connect_websocket")
            .await?;
        stage.page.click("connect_websocket").await?;
        stage.page.wait_state("ready_state", "OPEN").await?;
        Ok(())
    });
}

#[test]
fn a_message_over_the_servers_limit_closes_with_1009_and_the_page_says_why() {
    in_every_browser(async |stage| {
        let page = stage.connected_workbench().await?;
        page.paste("message", &"x".repeat(64 * 1024 + 1)).await?;
        page.click("send_message").await?;
        page.wait_state("ready_state", "CLOSED").await?;
        page.wait_text("close_info", "1009").await?;
        page.wait_text("close_info", "over the size limit").await?;
        Ok(())
    });
}

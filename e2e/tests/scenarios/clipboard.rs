//! What the page copies: also where the browser has no clipboard for it, and what it says when it may not copy.

use serde_json::{Value, json};
use talkback_e2e::{Page, StepError, in_every_browser};
use thirtyfour::Key;

use crate::faults::{machine_name, resolve};

#[test]
fn on_a_plain_http_page_of_another_host_messages_and_links_are_copied() {
    in_every_browser(async |stage| {
        let name = machine_name()?;
        let server = stage.server_at(resolve(&name)?, &["--allow-host", &name]).await?;
        let origin = format!("http://{name}:{}", server.address().port());
        let page = &stage.page;
        page.join_at(&origin, "den", "Ann").await?;
        let has_clipboard = page.execute("return 'clipboard' in navigator;", vec![]).await?;
        assert_eq!(has_clipboard, false, "it is no secure context");
        page.send("first `code`").await?;
        page.wait_answer("return document.querySelector('.said[data-row]') !== null;", true)
            .await?;
        point_at_a_message(page).await?;
        page.click("chat_copy").await?;
        page.wait_text("chat_flash", "Copied").await?;
        wait_pasted(page, "chat_message", "first `code`").await?;
        page.click("chat_copy_link").await?;
        wait_pasted(page, "chat_message", &format!("{origin}/chat/den#")).await?;

        page.open(&format!("{origin}/"), "connect_websocket").await?;
        page.click("share_url").await?;
        page.wait_script("share_url", "return arguments[0].title;", "Link copied")
            .await?;
        page.wait_focus("share_url").await?;
        wait_pasted(page, "message", &format!("{origin}/#")).await?;
        page.paste("message", "to copy").await?;
        page.click("connect_websocket").await?;
        page.wait_state("ready_state", "OPEN").await?;
        page.click("send_message").await?;
        page.wait_texts("messagecontainer", "in", &["to copy"]).await?;
        page.script("messagecontainer", "arguments[0].closest('.log-viewport').focus();")
            .await?;
        page.press(Key::End).await?;
        page.click("detail_copy").await?;
        page.wait_text("detail_copy", "Copied").await?;
        page.paste("message", "").await?;
        wait_pasted(page, "message", "to copy").await?;
        Ok(())
    });
}

#[test]
fn a_browser_that_refuses_to_copy_is_told() {
    in_every_browser(async |stage| {
        let refuse = "navigator.clipboard.writeText = () => Promise.reject(new DOMException('no', 'NotAllowedError'));";
        let page = stage.connected_workbench().await?;
        page.execute(refuse, vec![]).await?;
        page.click("share_url").await?;
        page.wait_script(
            "share_url",
            "return arguments[0].title;",
            "The browser does not allow copying",
        )
        .await?;
        page.paste("message", "to select").await?;
        page.click("send_message").await?;
        page.wait_texts("messagecontainer", "in", &["to select"]).await?;
        page.script("messagecontainer", "arguments[0].closest('.log-viewport').focus();")
            .await?;
        page.press(Key::End).await?;
        page.click("detail_copy").await?;
        page.wait_answer(
            "return document.querySelector('.detail-foot').innerText.includes('Select and press Ctrl+C');",
            true,
        )
        .await?;
        page.wait_answer("return getSelection().toString();", "to select")
            .await?;

        page.join(&stage.server, "den", "Ann").await?;
        page.execute(refuse, vec![]).await?;
        page.click("copy_room_link").await?;
        page.wait_text("chat_flash", "Select and press Ctrl+C").await?;
        Ok(())
    });
}

#[test]
fn the_rows_that_are_shown_are_copied_as_lines_of_json() {
    in_every_browser(async |stage| {
        let page = stage.connected_workbench().await?;
        // The clipboard is the browser's; what the page puts on it is looked at.
        let watch = "navigator.clipboard.writeText = async text => void (window.copied = text);";
        page.execute(watch, vec![]).await?;
        for text in ["apple", "plum"] {
            page.paste("message", text).await?;
            page.click("send_message").await?;
            page.wait_row("messagecontainer", "the echo", |row| {
                row.direction == "in" && row.text == text
            })
            .await?;
        }
        let data = "return (window.copied ?? '').split('\\n').slice(0, -1).map(line => JSON.parse(line).data)";
        page.click("export_log").await?;
        page.wait_text("copy_shown", "All rows").await?;
        page.click("copy_shown").await?;
        page.wait_text("copy_shown", "Copied").await?;
        page.wait_answer(&format!("{data}.slice(-4)"), json!(["apple", "apple", "plum", "plum"]))
            .await?;
        page.press(Key::Escape).await?;
        page.wait_hidden("copy_shown").await?;

        page.paste("log_filter", "plum").await?;
        page.wait_text("log_count", "2 of 4").await?;
        page.click("export_log").await?;
        page.wait_text("copy_shown", "Filtered messages").await?;
        page.wait_text("copy_shown", "Copy").await?;
        page.click("copy_shown").await?;
        page.wait_text("copy_shown", "Copied").await?;
        page.wait_answer(data, json!(["plum", "plum"])).await?;

        let refuse = "navigator.clipboard.writeText = () => Promise.reject(new DOMException('no', 'NotAllowedError'));";
        page.execute(refuse, vec![]).await?;
        page.click("copy_shown").await?;
        page.wait_text("copy_shown", "The browser does not allow copying")
            .await?;
        Ok(())
    });
}

#[test]
fn more_rows_than_a_clipboard_is_for_are_not_copied_and_that_is_told() {
    in_every_browser(async |stage| {
        let page = stage.workbench().await?;
        page.execute(
            "navigator.clipboard.writeText = () => void (window.copied = true);",
            vec![],
        )
        .await?;
        page.paste("url", &stage.server.ws("/flood?n=80&size=60000")).await?;
        page.click("connect_websocket").await?;
        page.wait_text("log_count", "80 messages").await?;
        page.click("export_log").await?;
        page.click("copy_shown").await?;
        page.wait_text("copy_shown", "Too long: export a file").await?;
        page.wait_answer("return window.copied ?? null;", Value::Null).await?;
        Ok(())
    });
}

/// The buttons of a message are shown for it.
async fn point_at_a_message(page: &Page) -> Result<(), StepError> {
    let point = "document.querySelector('.said[data-row] .text')
        .dispatchEvent(new PointerEvent('pointerover', { bubbles: true }));";
    page.execute(point, vec![]).await.map(drop)
}

/// Pastes what was copied in place of the text of a field, and waits until the field begins with `text`.
async fn wait_pasted(page: &Page, field: &str, text: &str) -> Result<(), StepError> {
    page.script(field, "arguments[0].focus(); arguments[0].select();")
        .await?;
    page.press_with(Key::Control, "v").await?;
    page.wait_value(
        format!("{text:?} is pasted into #{field}"),
        async || page.value(field).await,
        |now| now.starts_with(text),
    )
    .await
}

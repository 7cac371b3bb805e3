//! The bar of the workbench: its addresses, presets and keys, connecting again by itself, and what the page forgets.

use talkback_e2e::{Page, StepError, in_every_browser};
use thirtyfour::Key;

const LOG: &str = "messagecontainer";

#[test]
fn an_address_that_answered_is_offered_with_its_secrets_masked() {
    in_every_browser(async |stage| {
        let page = stage.workbench().await?;
        let address = stage.server.ws("/chat/lobby?name=secret");
        page.fill("url", &address).await?;
        page.click("connect_websocket").await?;
        page.wait_state("ready_state", "OPEN").await?;
        page.click("close_websocket").await?;
        page.wait_state("ready_state", "CLOSED").await?;
        page.fill("url", &stage.server.ws("/never")).await?;
        page.click("connect_websocket").await?;
        page.wait_text("error", "Could not connect").await?;
        page.reload().await?;
        page.wait_shown("connect_websocket").await?;
        page.click("url_list_button").await?;
        page.wait_text("url_list", "name=•••").await?;
        let list = page.text("url_list").await?;
        assert!(!list.contains("secret"), "{list}");
        assert!(
            !list.contains("/never"),
            "an address that never answered is not remembered: {list}"
        );

        page.press(Key::Escape).await?;
        page.wait_hidden("url_list").await?;
        assert_eq!(page.focused().await?, "url");
        page.fill("url", "lobby?").await?;
        page.wait_shown("url_0").await?;
        page.press(Key::Down).await?;
        page.wait_value(
            "the key has made it the active one",
            async || {
                page.script("url", "return arguments[0].getAttribute('aria-activedescendant');")
                    .await
            },
            |active| active == "url_0",
        )
        .await?;
        page.press(Key::Enter).await?;
        page.wait_hidden("url_list").await?;
        assert_eq!(page.value("url").await?, address, "the whole address is chosen");
        page.wait_state("ready_state", "CLOSED").await?;
        Ok(())
    });
}

#[test]
fn a_kept_address_stays_in_the_list_until_it_is_no_longer_kept() {
    in_every_browser(async |stage| {
        let page = stage.workbench().await?;
        page.fill("url", "ws://localhost:1/kept").await?;
        page.click("pin_url").await?;
        pressed(page, "true").await?;
        page.reload().await?;
        page.wait_shown("connect_websocket").await?;
        pressed(page, "true").await?;
        page.fill("url", "ws://localhost:1/other").await?;
        pressed(page, "false").await?;
        page.press(Key::Escape).await?;
        page.click("url_list_button").await?;
        page.wait_text("url_list", "/kept").await?;
        Ok(())
    });
}

#[test]
fn the_presets_are_the_endpoints_of_this_server() {
    in_every_browser(async |stage| {
        let page = stage.workbench().await?;
        page.fill("url", "").await?;
        page.press(Key::Escape).await?;
        page.click("url_list_button").await?;
        page.wait_text("url_list", "Flood 1,000/s").await?;
        let once = "return [...arguments[0].children].find(row => row.textContent.includes('/once')).id;";
        let row = page.script("url_list", once).await?;
        page.click(row.as_str().unwrap_or_default()).await?;
        page.wait_hidden("url_list").await?;
        assert_eq!(page.value("url").await?, stage.server.ws("/once"));
        page.press(Key::Enter).await?;
        page.wait_state("ready_state", "OPEN").await?;
        page.click("send_message").await?;
        page.wait_text("close_info", "by the server").await?;
        Ok(())
    });
}

#[test]
fn an_empty_log_offers_the_presets_which_connect_at_once() {
    in_every_browser(async |stage| {
        let page = stage.workbench().await?;
        let press = "arguments[0].closest('section').querySelector('[data-preset^=\"/flood\"]').click();";
        page.script(LOG, press).await?;
        page.wait_state("ready_state", "OPEN").await?;
        assert!(page.value("url").await?.contains("rate=1000"));
        page.wait_row(LOG, "messages", |row| row.direction == "in").await?;
        Ok(())
    });
}

#[test]
fn a_link_shows_its_address_and_does_not_connect() {
    in_every_browser(async |stage| {
        let link = stage.server.http("/#connect=ws%3A%2F%2Flocalhost%3A1%2Fx%3Fn%3D5");
        stage.page.open(&link, "connect_websocket").await?;
        let page = &stage.page;
        assert_eq!(page.value("url").await?, "ws://localhost:1/x?n=5");
        assert_eq!(page.state("ready_state").await?, "CLOSED");
        assert_eq!(page.execute("return location.hash;", vec![]).await?, "");
        page.fill("url", "wss://ann:pass@host/x?token=abc").await?;
        let take = "
            window.taken = '';
            navigator.clipboard.writeText = text => { window.taken = text; return Promise.resolve(); };
            arguments[0].click();";
        page.script("share_url", take).await?;
        page.wait_value(
            "the link is copied",
            async || page.execute("return window.taken;", vec![]).await,
            |taken| taken.as_str() == Some(&stage.server.http("/#connect=wss%3A%2F%2Fhost%2Fx%3Ftoken%3D")),
        )
        .await?;
        Ok(())
    });
}

#[test]
fn keys_lead_to_the_address_connect_and_disconnect_from_anywhere() {
    in_every_browser(async |stage| {
        let page = stage.workbench().await?;
        page.click("message").await?;
        page.press_with(Key::Control, "k").await?;
        assert_eq!(page.focused().await?, "url");
        let selected = "return arguments[0].selectionEnd - arguments[0].selectionStart === arguments[0].value.length;";
        assert_eq!(page.script("url", selected).await?, true, "typing replaces the address");
        page.click("message").await?;
        page.press_in("message", Key::Control + Key::Shift + Key::Enter).await?;
        page.wait_state("ready_state", "OPEN").await?;
        assert_eq!(page.texts(LOG, "out").await?, [""; 0], "it is no key that sends");
        assert_eq!(page.focused().await?, "message");
        page.press_in("message", Key::Control + Key::Shift + Key::Enter).await?;
        page.wait_state("ready_state", "CLOSED").await?;
        Ok(())
    });
}

#[test]
fn a_lost_connection_is_made_again_by_itself_and_the_log_is_kept() {
    in_every_browser(async |stage| {
        stage.connected_workbench().await?;
        let page = stage.page.clone();
        page.click("close_with").await?;
        page.click("reconnect").await?;
        page.press(Key::Escape).await?;
        page.click("send_message").await?;
        page.wait_texts(LOG, "in", &["Hello, World!"]).await?;
        stage.server.kill().await?;
        page.wait_state("ready_state", "WAITING").await?;
        page.wait_text("reconnect_notice", "Next attempt in").await?;
        page.wait_text("reconnect_notice", "Connection lost without a close message")
            .await?;
        stage.server.start_again().await?;
        // The pauses grow; this one is not waited for.
        if page.is_shown("connect_now").await? {
            let click = "arguments[0].click();";
            page.script("connect_now", click).await?;
        }
        page.wait_state("ready_state", "OPEN").await?;
        page.wait_hidden("reconnect_notice").await?;
        page.click("send_message").await?;
        page.wait_texts(LOG, "in", &["Hello, World!", "Hello, World!"]).await?;

        page.click("close_websocket").await?;
        page.wait_state("ready_state", "CLOSED").await?;
        page.wait_text("close_info", "by this page").await?;

        page.reload().await?;
        page.wait_shown("connect_websocket").await?;
        stage.server.stop().await?;
        page.click("connect_websocket").await?;
        page.wait_text("reconnect_notice", "Could not connect").await?;
        page.click("cancel_connect").await?;
        page.wait_state("ready_state", "CLOSED").await?;
        page.wait_hidden("reconnect_notice").await?;
        Ok(())
    });
}

#[test]
fn the_status_strip_counts_and_times_what_comes_back() {
    in_every_browser(async |stage| {
        let page = stage.connected_workbench().await?;
        page.fill("message", "你好").await?;
        for _ in 0..3 {
            page.click("send_message").await?;
        }
        page.wait_text("sent_count", "3 · 18 B").await?;
        page.wait_text("received_count", "3 · 18 B").await?;
        page.wait_text("round_trip", "p50").await?;
        page.wait_text("message_rate", "msg/s").await?;
        page.wait_value(
            "the time since the connection opened",
            async || page.text("uptime").await,
            |text| text.starts_with("0:0") && text != "0:00",
        )
        .await?;
        Ok(())
    });
}

#[test]
fn the_help_lists_the_keys_and_forgets_everything_on_request() {
    in_every_browser(async |stage| {
        let page = stage.connected_workbench().await?;
        page.fill("message", "a draft").await?;
        page.choose("theme", "dark").await?;
        page.press_in("message", "?").await?;
        assert!(!page.is_shown("help").await?, "a question mark in a text is one");
        page.script("help_button", "arguments[0].focus();").await?;
        page.press("?").await?;
        page.wait_text("help", "Ctrl").await?;
        page.click("forget").await?;
        page.click("forget_all").await?;
        page.wait_state("ready_state", "CLOSED").await?;
        assert_eq!(page.value("message").await?, "Hello, World!");
        let kept = "return [...Object.keys(localStorage), ...Object.keys(sessionStorage)].filter(key => key.startsWith('talkback'));";
        let kept = page.execute(kept, vec![]).await?;
        assert!(kept.as_array().is_some_and(Vec::is_empty), "{kept}");
        Ok(())
    });
}

async fn pressed(page: &Page, is: &str) -> Result<(), StepError> {
    page.wait_value(
        format!("the address is kept: {is}"),
        async || page.script("pin_url", "return arguments[0].ariaPressed;").await,
        |pressed| pressed == is,
    )
    .await
}

//! The bar of the workbench: its addresses, presets and keys, connecting again by itself, and what the page forgets.

use std::time::{Duration, Instant};

use serde_json::json;
use talkback_e2e::{DEADLINE, Engine, Page, StepError, in_every_browser, wait_for};
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
        page.wait_focus("url").await?;
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
        // The whole address is chosen.
        page.wait_field("url", &address).await?;
        page.wait_state("ready_state", "CLOSED").await?;

        page.fill("url", "lobby?").await?;
        page.wait_shown("url_0").await?;
        page.press(Key::Down).await?;
        page.press(Key::Delete).await?;
        page.wait_value(
            "the address is forgotten",
            async || page.execute("return localStorage['talkback.addresses'];", vec![]).await,
            |kept| kept.as_str().is_some_and(|kept| !kept.contains("secret")),
        )
        .await?;
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
        page.wait_field("url", &stage.server.ws("/once")).await?;
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
        page.wait_script("url", "return arguments[0].value.includes('rate=1000');", true)
            .await?;
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
        page.wait_field("url", "ws://localhost:1/x?n=5").await?;
        page.wait_state("ready_state", "CLOSED").await?;
        page.wait_answer("return location.hash;", "").await?;
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
        page.wait_focus("url").await?;
        let selected = "return arguments[0].selectionEnd - arguments[0].selectionStart === arguments[0].value.length;";
        // Typing replaces the address.
        page.wait_script("url", selected, true).await?;
        page.click("message").await?;
        page.press_in("message", Key::Control + Key::Shift + Key::Enter).await?;
        page.wait_state("ready_state", "OPEN").await?;
        assert_eq!(page.texts(LOG, "out").await?, [""; 0], "it is no key that sends");
        page.wait_focus("message").await?;
        page.press_in("message", Key::Control + Key::Shift + Key::Enter).await?;
        page.wait_state("ready_state", "CLOSED").await?;
        Ok(())
    });
}

#[test]
fn the_address_can_be_read_at_every_width_and_a_narrow_page_has_its_actions_in_the_sheet() {
    in_every_browser(async |stage| {
        for (width, least) in [(320, 90), (481, 150), (721, 250), (800, 250), (1000, 250), (1010, 200)] {
            let page = stage.page.new_window(width, 640).await?;
            page.open(&stage.server.http("/"), "connect_websocket").await?;
            let room = "
                const { paddingLeft, paddingRight } = getComputedStyle(arguments[0]);
                return Math.floor(arguments[0].clientWidth - parseFloat(paddingLeft) - parseFloat(paddingRight));";
            page.wait_value(
                format!("the address has {least} pixels of {width}"),
                async || page.script("url", room).await,
                |pixels| pixels.as_u64() >= Some(least),
            )
            .await?;
            let inside = "return document.documentElement.scrollWidth <= innerWidth
                && arguments[0].getBoundingClientRect().right <= innerWidth;";
            page.wait_script("connect_websocket", inside, true).await?;
            if width < 720 {
                page.click("more_options").await?;
                page.click("pin_in_sheet").await?;
                page.wait_value(
                    "the address is kept",
                    async || page.script("pin_in_sheet", "return arguments[0].ariaPressed;").await,
                    |pressed| pressed == "true",
                )
                .await?;
                page.wait_shown("share_in_sheet").await?;
                page.click("pin_in_sheet").await?;
            }
        }
        Ok(())
    });
}

#[test]
fn a_host_without_a_scheme_is_completed_in_the_field_and_secrets_are_masked_in_the_log() {
    in_every_browser(async |stage| {
        let page = stage.workbench().await?;
        let address = stage.server.ws("/echo");
        let host = address.trim_start_matches("ws://");
        page.fill("url", &format!("ann:pass@{host}?token=secret")).await?;
        page.click("connect_websocket").await?;
        page.wait_row(LOG, "the address that was dialled", |row| {
            row.text.contains("Connecting to ws://•••@") && !row.text.contains("secret")
        })
        .await?;
        // The field has the whole address.
        page.wait_field("url", &format!("ws://ann:pass@{host}?token=secret"))
            .await?;
        page.reload().await?;
        page.wait_shown("connect_websocket").await?;
        page.fill("url", "/echo").await?;
        page.click("connect_websocket").await?;
        page.wait_state("ready_state", "OPEN").await?;
        page.wait_row(LOG, "the resolved address", |row| row.text.ends_with(&address))
            .await?;
        page.click("close_websocket").await?;
        page.wait_state("ready_state", "CLOSED").await?;

        // Another server, which the content security policy keeps from HTTP.
        page.fill("url", "localhost:1/echo").await?;
        page.click("send_http").await?;
        page.wait_text("error", "security policy").await?;
        assert_eq!(page.texts(LOG, "out").await?, Vec::<String>::new());
        Ok(())
    });
}

#[test]
fn what_was_not_sent_is_an_error_until_the_state_changes() {
    in_every_browser(async |stage| {
        let page = stage.workbench().await?;
        page.click("send_message").await?;
        page.wait_text("error", "Not sent: you are not connected.").await?;
        let proxy = stage.proxy(&stage.server).await?;
        proxy.stall(true);
        let address = format!("{}/echo", proxy.origin().replacen("http", "ws", 1));
        page.fill("url", &address).await?;
        page.click("connect_websocket").await?;
        page.wait_state("ready_state", "CONNECTING").await?;
        page.wait_hidden("error").await?;
        page.click("send_message").await?;
        page.wait_text("error", "Not sent: the connection is still being opened.")
            .await?;
        proxy.stall(false);
        page.wait_state("ready_state", "OPEN").await?;
        page.wait_hidden("error").await?;
        Ok(())
    });
}

#[test]
fn the_keys_work_while_nothing_has_the_focus() {
    in_every_browser(async |stage| {
        let page = stage.connected_workbench().await?;
        let blur = "document.activeElement.blur();";
        page.execute(blur, vec![]).await?;
        page.press_with(Key::Control, Key::Enter).await?;
        page.wait_texts(LOG, "in", &["Hello, World!"]).await?;
        page.press_in("message", Key::Control + Key::Enter).await?;
        page.wait_texts(LOG, "in", &["Hello, World!", "Hello, World!"]).await?;
        assert_eq!(page.texts(LOG, "out").await?.len(), 2, "a key in the field sends once");
        page.execute(blur, vec![]).await?;
        page.press_with(Key::Control, "k").await?;
        page.wait_focus("url").await?;
        page.execute(blur, vec![]).await?;
        page.press_with(Key::Control, "/").await?;
        page.wait_focus("log_filter").await?;
        // In a dialog, nothing is sent.
        page.click("help_button").await?;
        page.wait_shown("help").await?;
        page.script("forget", "arguments[0].focus();").await?;
        page.press_with(Key::Control, Key::Enter).await?;
        page.press(Key::Escape).await?;
        page.press_in("message", Key::Control + Key::Enter).await?;
        page.wait_texts(LOG, "in", &["Hello, World!"; 3]).await?;
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
        page.execute("document.getElementById('connect_now')?.click();", vec![])
            .await?;
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
        // Without the switch it is not waited for the next attempt either.
        page.click("connect_websocket").await?;
        page.wait_text("reconnect_notice", "Could not connect").await?;
        page.click("close_with").await?;
        page.click("reconnect").await?;
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
            |text| text != "0:00" && text.split(':').map(str::len).eq([1, 2]),
        )
        .await?;
        // One that takes long is not in the middle.
        let slowly = "
            document.getElementById('send_message').click();
            // It is sent by a task after this one, and its echo waits for the page.
            (async () => {
                for (let turn = 0; turn < 20; turn++) await null;
                const end = performance.now() + 1000;
                while (performance.now() < end);
            })();";
        page.execute(slowly, vec![]).await?;
        let is_apart = "
            const times = /p50 ([\\d,]+) p95 ([\\d,]+) ms/.exec(arguments[0].textContent) ?? [];
            const [p50, p95] = times.slice(1).map(time => Number(time.replace(',', '')));
            return p50 < p95 && p95 >= 1000;";
        page.wait_script("round_trip", is_apart, true).await?;
        page.click("close_websocket").await?;
        page.wait_state("ready_state", "CLOSED").await?;
        page.click("connect_websocket").await?;
        page.wait_state("ready_state", "OPEN").await?;
        page.wait_text("sent_count", "0 · 0 B").await?;
        page.wait_value(
            "the times of the connection before are gone",
            async || page.text("round_trip").await,
            |text| !text.contains("p50"),
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
        for part in [
            "To the details of the message",
            "forget the chosen one",
            "On a Mac, ⌘ does the same as Ctrl.",
        ] {
            page.wait_text("help", part).await?;
        }
        page.wait_value(
            "it has the focus, so that it scrolls by keys",
            async || page.focused().await,
            |id| id == "help",
        )
        .await?;
        page.press(Key::Escape).await?;
        page.wait_hidden("help").await?;
        page.forget_all("connect_websocket").await?;
        page.wait_state("ready_state", "CLOSED").await?;
        page.wait_field("message", "Hello, World!").await?;
        let kept = "return [...Object.keys(localStorage), ...Object.keys(sessionStorage)].filter(key => key.startsWith('talkback'));";
        page.wait_answer(kept, json!([])).await?;

        page.join(&stage.server, "lobby", "Ann").await?;
        page.send("something").await?;
        page.wait_delivery("something", "acked").await?;
        page.forget_all("chat_join").await?;
        page.wait_answer(kept, json!([])).await?;
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

#[test]
fn the_next_attempt_is_made_at_once_when_its_button_is_pressed() {
    in_every_browser(async |stage| {
        stage.connected_workbench().await?;
        let page = stage.page.clone();
        page.click("close_with").await?;
        page.click("reconnect").await?;
        page.press(Key::Escape).await?;
        stage.server.kill().await?;
        // The pause is twice as long after each attempt.
        let seconds = async || -> Result<u64, StepError> {
            let notice = "return document.getElementById('reconnect_notice')?.textContent ?? '';";
            let notice = page.execute(notice, vec![]).await?;
            let text = notice.as_str().unwrap_or_default().split_once("Next attempt in ");
            Ok(text
                .and_then(|(_, left)| left.split(' ').next()?.parse().ok())
                .unwrap_or_default())
        };
        wait_for("the pause is one of 16 s or more", DEADLINE, async || {
            if seconds().await? > 12 {
                return Ok(true);
            }
            page.execute("document.getElementById('connect_now')?.click();", vec![])
                .await?;
            Ok(false)
        })
        .await?;
        stage.server.start_again().await?;
        // It is rounded up.
        let left = Duration::from_secs(seconds().await?.saturating_sub(1));
        let pressed = Instant::now();
        page.click("connect_now").await?;
        page.wait_state("ready_state", "OPEN").await?;
        let waited = pressed.elapsed();
        assert!(waited < left, "it was {waited:?} of {left:?}");
        page.wait_hidden("reconnect_notice").await?;
        Ok(())
    });
}

#[test]
fn the_button_of_the_closing_options_tells_that_they_have_the_switch_for_connecting_again() {
    in_every_browser(async |stage| {
        let page = stage.workbench().await?;
        let sign = "
            const sign = arguments[0].querySelector('.reconnects');
            return [arguments[0].title, sign?.textContent, getComputedStyle(sign).textDecorationLine];";
        let title = "Close code, reason, and whether to connect again";
        page.wait_script("close_with", sign, json!([title, "↻", "line-through"]))
            .await?;
        page.click("close_with").await?;
        page.click("reconnect").await?;
        page.wait_script("close_with", sign, json!([title, "↻", "none"]))
            .await?;
        Ok(())
    });
}

#[test]
fn a_page_that_is_left_closes_its_connection_and_has_it_again_when_its_user_comes_back() {
    in_every_browser(async |stage| {
        let page = stage.connected_workbench().await?;
        page.click("send_message").await?;
        page.wait_texts(LOG, "in", &["Hello, World!"]).await?;
        page.execute("window.wasKept = true; location.href = '/healthz';", vec![])
            .await?;
        page.wait_path("/healthz").await?;
        page.back().await?;
        page.wait_path("/").await?;
        if page.execute("return window.wasKept ?? null;", vec![]).await? != true {
            let engine = stage.browser.engine();
            assert_ne!(engine, Engine::Chromium, "it keeps a page that was left");
            eprintln!("{} keeps no page that was left: not tested", engine.name());
            return Ok(());
        }
        page.wait_state("ready_state", "OPEN").await?;
        page.wait_rows(LOG, "it was closed and connected again", |rows| {
            let notices: Vec<_> = rows.iter().filter(|row| row.direction == "info").collect();
            notices.iter().filter(|row| row.text == "Connected.").count() == 2
                && notices.iter().any(|row| row.text.contains("by this page"))
        })
        .await?;
        page.click("send_message").await?;
        page.wait_texts(LOG, "in", &["Hello, World!", "Hello, World!"]).await?;
        Ok(())
    });
}

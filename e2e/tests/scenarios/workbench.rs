//! What the workbench does where several of its parts meet: a busy log, errors at their fields, keys from anywhere, what is kept over a reload.

use serde_json::{Value, json};
use talkback_e2e::{DEADLINE, Page, Stage, StepError, in_every_browser, wait_for};
use thirtyfour::Key;

const LOG: &str = "messagecontainer";

#[test]
fn a_clear_is_undone_while_messages_stream() {
    in_every_browser(async |stage| {
        let page = stage.workbench().await?;
        connect(page, stage, "/flood?n=60000&rate=200&size=50").await?;
        page.wait_row(LOG, "messages", |row| row.direction == "in").await?;
        page.click("clear_log").await?;
        page.wait_shown("undo_clear").await?;
        page.wait_value(
            "the focus is on the undo",
            async || page.focused().await,
            |focused| focused == "undo_clear",
        )
        .await?;
        page.wait_row(LOG, "new messages", |row| row.direction == "in").await?;
        assert!(page.is_shown("undo_clear").await?, "the new rows leave it");
        assert_ne!(first_number(page).await?, "1");
        page.click("undo_clear").await?;
        page.wait_hidden("undo_clear").await?;
        page.script(LOG, "arguments[0].closest('.log-viewport').focus();")
            .await?;
        page.press(Key::Home).await?;
        page.wait_value(
            "the first row is back",
            async || first_number(page).await,
            |number| number == "1",
        )
        .await?;
        Ok(())
    });
}

#[test]
fn a_log_that_is_cleared_while_it_is_paused_says_that_rows_wait() {
    in_every_browser(async |stage| {
        let page = stage.connected_workbench().await?;
        page.click("pause_log").await?;
        page.click("clear_log").await?;
        page.click("send_message").await?;
        page.wait_text("rows_waiting", "2 waiting").await?;
        page.wait_shown("resume_log").await?;
        let empty = "return arguments[0].closest('.log-viewport').querySelector('.empty > p').textContent;";
        page.wait_script(LOG, empty, "2 waiting").await?;
        page.click("resume_log").await?;
        page.wait_texts(LOG, "in", &["Hello, World!"]).await?;
        Ok(())
    });
}

#[test]
fn a_kept_address_is_removed_in_the_list() {
    in_every_browser(async |stage| {
        let page = stage.workbench().await?;
        let kept = async || {
            page.execute("return localStorage['talkback.addresses'] ?? '';", vec![])
                .await
        };
        for url in ["ws://localhost:1/first", "ws://localhost:1/second"] {
            page.fill("url", url).await?;
            page.click("pin_url").await?;
            page.wait_value("it is kept", kept, |text| {
                text.as_str().is_some_and(|text| text.contains(url))
            })
            .await?;
        }
        page.fill("url", "/fir").await?;
        page.wait_shown("url_0").await?;
        page.press(Key::Down).await?;
        page.press(Key::Delete).await?;
        page.wait_value("the first is removed by the key", kept, |text| {
            text.as_str().is_some_and(|text| !text.contains("first"))
        })
        .await?;
        page.fill("url", "/sec").await?;
        page.wait_shown("url_0").await?;
        page.script("url_0", "arguments[0].querySelector('.choice-remove').click();")
            .await?;
        page.wait_value("the second is removed by its button", kept, |text| {
            text.as_str().is_some_and(|text| !text.contains("second"))
        })
        .await?;
        Ok(())
    });
}

#[test]
fn addresses_that_two_tabs_of_the_browser_keep_are_all_kept() {
    in_every_browser(async |stage| {
        let page = stage.workbench().await?;
        let other = page.new_tab().await?;
        other.open(&stage.server.http("/"), "connect_websocket").await?;
        for (tab, url) in [(page, "ws://localhost:1/first"), (&other, "ws://localhost:1/second")] {
            tab.fill("url", url).await?;
            tab.click("pin_url").await?;
            let kept = format!("return (localStorage['talkback.addresses'] ?? '').includes({url:?});");
            tab.wait_answer(&kept, true).await?;
        }
        page.fill("url", "ws://localhost:1/third").await?;
        page.click("pin_url").await?;
        let kept = "return ['first', 'second', 'third'].filter(path => localStorage['talkback.addresses'].includes(path)).length;";
        page.wait_answer(kept, 3).await?;
        Ok(())
    });
}

#[test]
fn what_is_wrong_with_the_close_code_and_the_reason_is_tied_to_their_fields() {
    in_every_browser(async |stage| {
        let page = stage.connected_workbench().await?;
        page.click("close_with").await?;
        let described = "
            const ids = arguments[0].getAttribute('aria-describedby').split(' ');
            return ids.map(id => document.getElementById(id)?.textContent ?? 'missing').join('|');";
        page.fill("close_code", "999").await?;
        page.wait_value(
            "the problem describes the code",
            async || page.script("close_code", described).await,
            |text| text == "|Code must be 1000 or 3000-4999.",
        )
        .await?;
        page.fill("close_code", "4000").await?;
        page.paste("close_reason", &"x".repeat(124)).await?;
        page.wait_value(
            "the bytes and the problem describe the reason",
            async || page.script("close_reason", described).await,
            |text| text == "124/123 bytes|The reason is too long: 124/123 bytes.",
        )
        .await?;
        Ok(())
    });
}

#[test]
fn the_strip_of_a_busy_connection_fits_and_has_its_curve() {
    in_every_browser(async |stage| {
        stage.workbench().await?;
        for width in [721, 900, 1_120] {
            let page = stage.page.new_window(width, 700).await?;
            page.open(&stage.server.http("/"), "connect_websocket").await?;
            let extensions = "
                Object.defineProperty(WebSocket.prototype, 'extensions', {
                    get: () => 'permessage-deflate; client_max_window_bits=15',
                });";
            page.execute(extensions, vec![]).await?;
            connect(&page, stage, "/flood?n=60000&rate=50&size=50").await?;
            page.wait_text("negotiated_extensions", "permessage-deflate").await?;
            let points = "return document.querySelector('.strip polyline').getAttribute('points').length;";
            page.wait_value(
                "there is a curve",
                async || page.execute(points, vec![]).await,
                |length| length.as_u64() > Some(0),
            )
            .await?;
            // What a busy echo shows, put there and measured at once: the next drawing replaces it.
            let seen = "
                for (const id of ['received_count', 'sent_count']) {
                    document.getElementById(id).firstChild.firstChild.data = '48,213';
                    document.getElementById(id).lastChild.data = '45.9 MiB';
                }
                document.querySelector('#message_rate b').firstChild.data = '10,000';
                document.querySelector('#buffered_amount b').firstChild.data = '12.3 MiB';
                document.getElementById('round_trip').firstChild.data = 'p50 12 p95 1,234 ms';
                const strip = document.getElementById('status_strip');
                const end = strip.lastElementChild.getBoundingClientRect().right;
                return {
                    sideways: document.documentElement.scrollWidth - document.documentElement.clientWidth,
                    strip: strip.scrollWidth - strip.clientWidth,
                    end: end <= strip.getBoundingClientRect().right,
                    curve: strip.querySelector('svg').checkVisibility(),
                };";
            let fits = json!({ "sideways": 0, "strip": 0, "end": true, "curve": true });
            assert_eq!(page.execute(seen, vec![]).await?, fits, "at {width} pixels");
        }
        Ok(())
    });
}

#[test]
fn keys_work_with_caps_lock_on_choices_and_from_the_message() {
    in_every_browser(async |stage| {
        let page = stage.connected_workbench().await?;
        page.click("send_message").await?;
        page.wait_texts(LOG, "in", &["Hello, World!"]).await?;
        // As it comes with Caps Lock.
        press(page, "message", "{ key: 'K', ctrlKey: true }").await?;
        page.wait_focus("url").await?;

        page.script(LOG, "arguments[0].closest('.log-viewport').focus();")
            .await?;
        page.press(Key::End).await?;
        page.wait_shown("detail").await?;
        let take = "navigator.clipboard.writeText = async text => { window.taken = text; };";
        page.execute(take, vec![]).await?;
        page.press("c").await?;
        page.wait_value(
            "the selected message is copied",
            async || page.execute("return window.taken;", vec![]).await,
            |taken| taken == "Hello, World!",
        )
        .await?;
        page.press(Key::Enter).await?;
        page.wait_focus("detail_text").await?;
        page.script("message", "arguments[0].focus();").await?;
        page.press(Key::Escape).await?;
        page.wait_hidden("detail").await?;
        // The focus stays.
        page.wait_focus("message").await?;

        page.script("show_all", "arguments[0].focus();").await?;
        page.press("?").await?;
        page.wait_shown("help").await?;
        page.press(Key::Escape).await?;
        page.wait_hidden("help").await?;
        page.script("message", "arguments[0].focus();").await?;
        page.press("?").await?;
        page.wait_value(
            "in a text it is a character",
            async || page.value("message").await,
            |text| text.contains('?'),
        )
        .await?;
        assert!(!page.is_shown("help").await?);
        Ok(())
    });
}

#[test]
fn keys_of_an_input_method_choose_no_address_and_add_no_subprotocol() {
    in_every_browser(async |stage| {
        let page = stage.workbench().await?;
        page.fill("url", "").await?;
        page.press(Key::Escape).await?;
        page.click("url_list_button").await?;
        page.wait_shown("url_list").await?;
        page.press(Key::Down).await?;
        let active = async || {
            page.script("url", "return arguments[0].getAttribute('aria-activedescendant');")
                .await
        };
        page.wait_value("the first is active", active, |id| id == "url_0")
            .await?;
        for key in ["Enter", "ArrowDown", "Delete"] {
            for of_method in ["isComposing: true", "keyCode: 229"] {
                press(page, "url", &format!("{{ key: '{key}', {of_method} }}")).await?;
            }
        }
        press(page, "url", "{ key: 'ArrowDown' }").await?;
        page.wait_value("one key has moved it", active, |id| id == "url_1")
            .await?;
        page.wait_field("url", "").await?;

        page.press(Key::Escape).await?;
        page.click("subprotocols_button").await?;
        page.fill("subprotocols", "chat").await?;
        page.wait_field("subprotocols", "chat").await?;
        press(page, "subprotocols", "{ key: 'Enter', keyCode: 229 }").await?;
        page.wait_field("subprotocols", "chat").await?;
        page.press(Key::Enter).await?;
        page.wait_text("subprotocol_chips", "chat").await?;
        Ok(())
    });
}

#[test]
fn what_was_sent_the_filter_and_the_presentation_are_kept_over_a_reload() {
    in_every_browser(async |stage| {
        let page = stage.connected_workbench().await?;
        for text in ["alpha 1", "beta 2"] {
            page.paste("message", text).await?;
            page.click("send_message").await?;
        }
        page.wait_texts(LOG, "in", &["alpha 1", "beta 2"]).await?;
        page.script(LOG, "arguments[0].closest('.log-viewport').focus();")
            .await?;
        page.press(Key::End).await?;
        page.wait_shown("detail").await?;
        page.click("detail_hex").await?;
        page.paste("log_filter", "alpha").await?;
        page.click("show_received").await?;
        page.wait_texts(LOG, "", &["alpha 1"]).await?;

        page.reload().await?;
        page.wait_shown("connect_websocket").await?;
        page.wait_field("log_filter", "alpha").await?;
        page.click("connect_websocket").await?;
        page.wait_state("ready_state", "OPEN").await?;
        page.paste("message", "").await?;
        page.script("message", "arguments[0].focus();").await?;
        for expected in ["beta 2", "alpha 1"] {
            page.press(Key::Up).await?;
            page.wait_value(
                "the history is there",
                async || page.value("message").await,
                |text| text == expected,
            )
            .await?;
        }
        page.click("send_message").await?;
        page.wait_texts(LOG, "", &["alpha 1"]).await?;
        page.script(LOG, "arguments[0].closest('.log-viewport').focus();")
            .await?;
        page.press(Key::End).await?;
        page.wait_shown("detail").await?;
        page.wait_script("detail_hex", "return arguments[0].checked;", true)
            .await?;
        Ok(())
    });
}

#[test]
fn a_message_that_is_not_sent_says_in_which_state_the_connection_is() {
    in_every_browser(async |stage| {
        stage.workbench().await?;
        let page = stage.page.clone();
        page.click("send_message").await?;
        page.wait_text("error", "Not sent: you are not connected. Your text is kept.")
            .await?;
        page.click("connect_websocket").await?;
        page.wait_state("ready_state", "OPEN").await?;
        page.click("close_with").await?;
        page.click("reconnect").await?;
        page.press(Key::Escape).await?;
        stage.server.kill().await?;
        page.wait_state("ready_state", "WAITING").await?;
        // The pauses grow; in a later one there is time for a click.
        page.wait_text("reconnect_notice", "(attempt 3)").await?;
        page.script("send_message", "arguments[0].click();").await?;
        page.wait_text("error", "Not sent: the connection ended, and the page connects again.")
            .await?;
        Ok(())
    });
}

#[test]
fn a_tab_whose_connection_failed_looks_unlike_an_unused_one() {
    in_every_browser(async |stage| {
        let page = stage.workbench().await?;
        page.click("new_tab").await?;
        page.wait_shown("tab_2").await?;
        page.fill("url", &stage.server.ws("/never")).await?;
        page.press(Key::Enter).await?;
        page.wait_text("error", "Could not connect").await?;
        let look = "
            const style = getComputedStyle(arguments[0].querySelector('.tab-state'));
            return [style.color, style.borderRadius];";
        let unused = page.script("tab_1", look).await?;
        let failed = async || page.script("tab_2", look).await;
        Ok(page
            .wait_value("its colour and its form are others", failed, |failed| {
                failed[0] != unused[0] && failed[1] != unused[1]
            })
            .await?)
    });
}

#[test]
fn keys_move_by_pages_and_only_a_drawn_row_is_the_active_one() {
    in_every_browser(async |stage| {
        let page = stage.workbench().await?;
        connect(page, stage, "/flood?n=2000&size=20").await?;
        page.wait_text("log_count", "2,000 messages").await?;
        page.script(LOG, "arguments[0].closest('.log-viewport').focus();")
            .await?;
        let active = "return arguments[0].closest('.log-viewport').getAttribute('aria-activedescendant');";
        let moved = async |key: Key, description: &str, before: u64| {
            page.press(key).await?;
            let mut now = 0;
            wait_for(description, DEADLINE, async || {
                now = number_of(&page.script(LOG, active).await?);
                Ok(now != before && now > 0)
            })
            .await?;
            Ok::<_, StepError>(now)
        };
        let last = moved(Key::End, "the last row", 0).await?;
        let above = moved(Key::PageUp, "a page up", last).await?;
        assert!(above < last - 1, "{above} {last}");
        let below = moved(Key::PageDown, "a page down", above).await?;
        assert!(below > above, "{below} {above}");
        assert_eq!(moved(Key::Home, "the first row", below).await?, 1);
        // Again and again: the list may be about to scroll to the first row.
        let scroll = format!("arguments[0].closest('.log-viewport').scrollTop = 20000; {active}");
        page.wait_value(
            "the row is not drawn",
            async || page.script(LOG, &scroll).await,
            Value::is_null,
        )
        .await?;
        assert!(page.is_shown("detail").await?, "it is still selected");
        Ok(())
    });
}

#[test]
fn each_message_has_its_type_and_all_have_a_number() {
    in_every_browser(async |stage| {
        let page = stage.connected_workbench().await?;
        let long = format!("{{\"a\":\"{}\"}}", "x".repeat(5_000));
        for text in ["plain", &long] {
            page.paste("message", text).await?;
            page.click("send_message").await?;
        }
        page.wait_text("log_count", "4 messages").await?;
        let tags = "return [...arguments[0].querySelectorAll('[data-direction=in] .tag')].map(tag => tag.textContent);";
        page.wait_value(
            "both have a type",
            async || page.script(LOG, tags).await,
            |tags| *tags == json!(["Text", "JSON"]),
        )
        .await?;
        let all = "return arguments[0].closest('label').textContent;";
        page.wait_script("show_all", all, "All 4").await?;
        Ok(())
    });
}

#[test]
fn files_that_are_too_large_or_no_text_are_refused_with_the_bound() {
    in_every_browser(async |stage| {
        let page = stage.connected_workbench().await?;
        page.click("saved_button").await?;
        choose(page, "import_saved", "'x'.repeat((2 << 20) + 1)").await?;
        page.wait_text("connections_notice", "at most 2 MiB are read").await?;
        choose(page, "import_saved", "new Uint8Array([255])").await?;
        page.wait_text("connections_notice", "The browser cannot read this file as text.")
            .await?;
        page.press(Key::Escape).await?;
        page.click("mode_file").await?;
        choose(page, "message_file", "new ArrayBuffer((64 << 20) + 1)").await?;
        page.wait_text("file_name", "64.0 MiB").await?;
        page.click("send_message").await?;
        page.wait_text("error", "at most 64 MiB are sent").await?;
        Ok(())
    });
}

/// Chooses a file with this content, an expression of JavaScript.
async fn choose(page: &Page, id: &str, content: &str) -> Result<(), StepError> {
    let choose = format!(
        "const files = new DataTransfer();
         files.items.add(new File([{content}], 'large'));
         arguments[0].files = files.files;
         arguments[0].dispatchEvent(new Event('change', {{ bubbles: true }}));"
    );
    page.script(id, &choose).await?;
    Ok(())
}

/// Connects to a path of the server.
async fn connect(page: &Page, stage: &Stage, path: &str) -> Result<(), StepError> {
    page.paste("url", &stage.server.ws(path)).await?;
    page.click("connect_websocket").await
}

/// The number of the first drawn row; empty without one.
async fn first_number(page: &Page) -> Result<String, StepError> {
    let number = "return arguments[0].querySelector('.number')?.textContent ?? '';";
    let number = page.script(LOG, number).await?;
    Ok(number.as_str().unwrap_or_default().to_owned())
}

/// The number in the `id` of a row; 0 without one.
fn number_of(id: &Value) -> u64 {
    let number = id.as_str().and_then(|id| id.strip_prefix("row_"));
    number.and_then(|number| number.parse().ok()).unwrap_or_default()
}

/// Dispatches a key that a driver cannot press.
async fn press(page: &Page, id: &str, key: &str) -> Result<(), StepError> {
    let script = format!(
        "arguments[0].dispatchEvent(new KeyboardEvent('keydown', {{ bubbles: true, cancelable: true, ...{key} }}));"
    );
    page.script(id, &script).await?;
    Ok(())
}

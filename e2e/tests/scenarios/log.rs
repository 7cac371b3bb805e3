//! The log of the workbench: what it shows of the messages, how they are found, looked at and saved.

use serde_json::{Value, json};
use talkback_e2e::{DEADLINE, Engine, Page, StepError, in_every_browser, wait_for};
use thirtyfour::Key;

const LOG: &str = "messagecontainer";

#[test]
fn rows_have_a_number_the_time_since_the_row_before_and_a_size() {
    in_every_browser(async |stage| {
        let page = stage.connected_workbench().await?;
        echo(page, &["one", "two"]).await?;
        let columns = "
            const part = (row, name) => row.querySelector('.' + name).textContent;
            return [...arguments[0].querySelectorAll('li')]
                .map(row => [part(row, 'number'), part(row, 'delta'), part(row, 'sign'), part(row, 'size')]);";
        page.wait_rows(LOG, "all are there", |rows| rows.len() == 6).await?;
        let rows: Vec<[String; 4]> = serde_json::from_value(page.script(LOG, columns).await?)?;
        let numbers: Vec<_> = rows.iter().map(|[number, ..]| number.as_str()).collect();
        assert_eq!(numbers, ["1", "2", "3", "4", "5", "6"], "two notices and four messages");
        assert_eq!(rows[0][1], "", "nothing is before the first");
        assert!(
            rows[1..].iter().all(|[_, delta, ..]| delta.starts_with('+')),
            "{rows:?}"
        );
        assert_eq!((rows[2][2].as_str(), rows[2][3].as_str()), ("↑", "3 B"));
        let edges = "
            const table = arguments[0].closest('.log-table');
            const head = table.querySelector('.log-head');
            const right = row => row.querySelector('.size').getBoundingClientRect().right;
            return [getComputedStyle(head).overflowY, right(head) - right(arguments[0].querySelector('li'))];";
        // The head has no scrollbar, and its columns are those of the rows.
        page.wait_script(LOG, edges, json!(["hidden", 0])).await?;
        Ok(())
    });
}

#[test]
fn the_log_is_filtered_by_text_direction_and_type() {
    in_every_browser(async |stage| {
        let page = stage.connected_workbench().await?;
        echo(page, &["{\"fruit\":\"Apple\"}", "apple pie", "plum"]).await?;
        page.wait_text("log_count", "6 messages").await?;

        page.press_with(Key::Control, "/").await?;
        page.wait_focus("log_filter").await?;
        page.press("aPPle").await?;
        let both = "{\"fruit\":\"Apple\"}";
        page.wait_texts(LOG, "", &[both, both, "apple pie", "apple pie"])
            .await?;
        page.wait_text("log_count", "4 of 6 messages").await?;
        page.click("show_received").await?;
        page.wait_texts(LOG, "", &[both, "apple pie"]).await?;
        page.click("show_json").await?;
        page.wait_texts(LOG, "", &[both]).await?;
        page.click("show_text").await?;
        page.wait_texts(LOG, "", &["apple pie"]).await?;
        page.click("show_any").await?;
        page.wait_texts(LOG, "", &[both, "apple pie"]).await?;
        page.click("show_text").await?;
        page.wait_texts(LOG, "", &["apple pie"]).await?;

        // New rows are filtered as they come.
        echo(page, &["Apple juice", "cherry"]).await?;
        page.wait_texts(LOG, "", &["apple pie", "Apple juice"]).await?;
        page.click("show_binary").await?;
        page.wait_texts(LOG, "", &[]).await?;
        page.click("clear_filter").await?;
        page.wait_text("log_count", "10 messages").await?;
        page.wait_field("log_filter", "").await?;
        Ok(())
    });
}

#[test]
fn keys_move_among_the_filtered_rows_and_the_selected_one_is_found_in_the_whole_log() {
    in_every_browser(async |stage| {
        let page = stage.connected_workbench().await?;
        echo(page, &["a 1", "b", "a 2"]).await?;
        page.paste("log_filter", "a ").await?;
        page.wait_texts(LOG, "", &["a 1", "a 1", "a 2", "a 2"]).await?;
        page.script(LOG, "arguments[0].closest('.log-viewport').focus();")
            .await?;
        for _ in 0..3 {
            page.press(Key::Up).await?;
        }
        page.wait_text("detail_text", "a 1").await?;
        page.paste("log_filter", "").await?;
        page.wait_text("log_count", "6 messages").await?;
        let selected = "return arguments[0].querySelector('[aria-selected=true] .text')?.textContent;";
        page.wait_script(LOG, selected, "a 1").await?;
        Ok(())
    });
}

#[test]
fn a_regular_expression_filters_and_one_that_is_invalid_or_too_slow_is_told_at_its_field() {
    in_every_browser(async |stage| {
        let page = stage.connected_workbench().await?;
        let slow = format!("{}!", "a".repeat(40));
        echo(page, &["tick 1", "TICK 2", "tock 3", &slow]).await?;
        page.paste("log_filter", "/^t[io]ck \\d$/").await?;
        page.wait_texts(LOG, "in", &["tick 1", "tock 3"]).await?;
        page.paste("log_filter", "/^tick/i").await?;
        page.wait_texts(LOG, "in", &["tick 1", "TICK 2"]).await?;
        // New rows are tested as they come.
        echo(page, &["Ticker"]).await?;
        page.wait_texts(LOG, "in", &["tick 1", "TICK 2", "Ticker"]).await?;

        page.paste("log_filter", "/[/").await?;
        page.wait_text("log_filter_error", "Not a regular expression: ").await?;
        page.wait_script(
            "log_filter",
            "return arguments[0].getAttribute('aria-invalid');",
            "true",
        )
        .await?;
        page.wait_text("log_count", "10 messages").await?;

        page.paste("log_filter", "/(a+)+$/").await?;
        page.wait_text("log_filter_error", "This pattern is too slow").await?;
        page.paste("log_filter", "tock").await?;
        page.wait_texts(LOG, "in", &["tock 3"]).await?;
        page.wait_hidden("log_filter_error").await?;
        Ok(())
    });
}

#[test]
fn a_paused_log_shows_nothing_new_and_loses_nothing() {
    in_every_browser(async |stage| {
        let page = stage.connected_workbench().await?;
        echo(page, &["one"]).await?;
        page.click("pause_log").await?;
        page.wait_text("rows_waiting", "0 waiting").await?;
        for text in ["two", "three"] {
            page.paste("message", text).await?;
            page.click("send_message").await?;
        }
        page.wait_text("rows_waiting", "4 waiting").await?;
        assert_eq!(page.texts(LOG, "in").await?, ["one"]);
        page.click("pause_log").await?;
        page.wait_texts(LOG, "in", &["one", "two", "three"]).await?;
        page.wait_hidden("rows_waiting").await?;
        Ok(())
    });
}

#[test]
fn thirty_thousand_rows_are_filtered_with_few_elements_and_their_export_can_be_cancelled() {
    in_every_browser(async |stage| {
        let page = stage.workbench().await?;
        page.paste("url", &stage.server.ws("/flood?n=30000&size=100")).await?;
        page.click("connect_websocket").await?;
        page.wait_state("ready_state", "OPEN").await?;
        wait_for("all messages are there", DEADLINE * 3, async || {
            Ok(page.text("log_count").await?.contains("30,000"))
        })
        .await?;
        let rows = "return arguments[0].children.length;";
        assert!(page.script(LOG, rows).await?.as_u64() <= Some(60));
        page.paste("log_filter", "99").await?;
        page.wait_text("log_count", " of ").await?;
        let count = (0..30_000)
            .filter(|number: &u32| number.to_string().contains("99"))
            .count();
        page.wait_text("log_count", &format!("{count} of 30,000")).await?;
        assert!(page.script(LOG, rows).await?.as_u64() <= Some(60));

        // Without animation frames, and the timers of 250 ms in their place, the export does not go on.
        catch_downloads(page).await?;
        let hold = "
            window.caughtName = null;
            window.requestAnimationFrame = () => 0;
            const later = window.setTimeout;
            window.setTimeout = (call, time, ...rest) => time === 250 ? 0 : later(call, time, ...rest);";
        page.execute(hold, vec![]).await?;
        page.click("export_log").await?;
        page.click("export_jsonl").await?;
        page.wait_text("export_progress", "%").await?;
        page.click("cancel_export").await?;
        page.wait_shown("export_log").await?;
        page.wait_hidden("export_progress").await?;
        page.wait_answer("return window.caughtName;", Value::Null).await?;
        Ok(())
    });
}

#[test]
fn json_is_laid_out_as_received_and_can_be_folded() {
    in_every_browser(async |stage| {
        let page = stage.connected_workbench().await?;
        let text = "{\"z\":1e400,\"id\":12345678901234567890,\"z\":{\"b\":[1,2],\"a\":\"<b>\\u00e9</b>\"}}";
        echo(page, &[text]).await?;
        select_newest(page).await?;
        let pretty = "{\n  \"z\": 1e400,\n  \"id\": 12345678901234567890,\n  \"z\": {\n    \"b\": [1, 2],\n    \
                      \"a\": \"<b>\\u00e9</b>\"\n  }\n}";
        let shown =
            "return [...arguments[0].querySelectorAll('.json-line')].map(line => line.textContent).join('\\n');";
        page.wait_value(
            "the JSON is laid out",
            async || page.script("detail_text", shown).await,
            |now| *now == pretty,
        )
        .await?;
        page.click("fold_3").await?;
        page.wait_value(
            "the list is folded",
            async || page.text("detail_text").await,
            |text| text.contains("2 items") && !text.contains("[1, 2]"),
        )
        .await?;
        page.click("fold_3").await?;
        page.wait_text("detail_text", "[1, 2]").await?;
        page.click("detail_raw").await?;
        page.wait_text("detail_text", text).await?;
        page.click("detail_hex").await?;
        page.wait_text("detail_text", "00000000  7b 22 7a 22 3a 31 65 34")
            .await?;
        // The choice stays for the next message.
        page.script(LOG, "arguments[0].closest('.log-viewport').focus();")
            .await?;
        page.press(Key::Up).await?;
        page.wait_text("detail_text", "00000000  7b").await?;
        Ok(())
    });
}

#[test]
fn an_image_is_shown_as_one_and_other_bytes_as_a_dump() {
    in_every_browser(async |stage| {
        let page = stage.workbench().await?;
        // A GIF of one pixel.
        let gif = "47494638396101000100800000ff0000ffffff21f90400000000002c00000000010001000002024401003b";
        send_bytes(page).await?;
        page.click("connect_websocket").await?;
        page.wait_state("ready_state", "OPEN").await?;
        page.paste("message", gif).await?;
        page.click("send_message").await?;
        page.wait_row(LOG, "the bytes", |row| {
            row.direction == "in" && row.text.starts_with("47 49 46 38")
        })
        .await?;
        select_newest(page).await?;
        page.wait_value(
            "the image is decoded",
            async || {
                page.script(
                    "detail_image",
                    "return [arguments[0].complete, arguments[0].naturalWidth];",
                )
                .await
            },
            |now| *now == json!([true, 1]),
        )
        .await?;
        let address = page.script("detail_image", "return arguments[0].src;").await?;
        let watch = "
            window.revoked = [];
            const revoke = URL.revokeObjectURL;
            URL.revokeObjectURL = address => { revoked.push(address); revoke.call(URL, address); };";
        page.execute(watch, vec![]).await?;
        page.click("detail_hex").await?;
        page.wait_text("detail_text", "00000000  47 49 46 38 39 61").await?;
        // The image is not kept when it is no longer shown.
        page.wait_answer("return window.revoked;", json!([address])).await?;
        Ok(())
    });
}

#[test]
fn a_logged_message_is_sent_again_at_once_or_after_it_was_edited() {
    in_every_browser(async |stage| {
        let page = stage.connected_workbench().await?;
        echo(page, &["first"]).await?;
        page.paste("message", "draft").await?;
        select_newest(page).await?;
        page.click("send_again").await?;
        page.wait_texts(LOG, "in", &["first", "first"]).await?;
        // The draft stays.
        page.wait_field("message", "draft").await?;
        page.click("edit_again").await?;
        page.wait_field("message", "first").await?;
        page.wait_focus("message").await?;
        page.press(" again").await?;
        page.click("send_message").await?;
        page.wait_texts(LOG, "in", &["first", "first", "first again"]).await?;

        page.click("close_websocket").await?;
        page.wait_state("ready_state", "CLOSED").await?;
        page.click("send_again").await?;
        page.wait_text("error", "Not sent: you are not connected.").await?;
        Ok(())
    });
}

#[test]
fn the_log_is_exported_as_json_lines_and_as_har() {
    in_every_browser(async |stage| {
        let page = stage.connected_workbench().await?;
        echo(page, &["first \"quoted\"", "second"]).await?;
        catch_downloads(page).await?;

        let (name, text) = export(page, "export_jsonl").await?;
        assert!(name.starts_with("talkback-20") && name.ends_with(".jsonl"), "{name}");
        let lines: Vec<Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        let sent: Vec<_> = lines
            .iter()
            .filter(|line| line["direction"] == "sent")
            .map(|line| &line["data"])
            .collect();
        assert_eq!(sent, ["first \"quoted\"", "second"]);

        let (name, text) = export(page, "export_har").await?;
        assert!(name.ends_with(".har"), "{name}");
        let har: Value = serde_json::from_str(&text)?;
        let entry = &har["log"]["entries"][0];
        assert_eq!(entry["request"]["url"], stage.server.ws("/echo"));
        let messages = entry["_webSocketMessages"].as_array().map_or(0, Vec::len);
        assert_eq!(messages, 4);

        page.paste("log_filter", "second").await?;
        page.wait_text("log_count", "2 of 4").await?;
        let (_, text) = export(page, "export_filtered_jsonl").await?;
        assert_eq!(text.lines().count(), 2);
        let (_, text) = export(page, "export_filtered_har").await?;
        let har: Value = serde_json::from_str(&text)?;
        let messages = har["log"]["entries"][0]["_webSocketMessages"]
            .as_array()
            .map_or(0, Vec::len);
        assert_eq!(messages, 2);
        page.click("export_log").await?;
        page.wait_text("export_har", "All messages").await?;
        page.press(Key::Escape).await?;
        page.wait_hidden("export_har").await?;
        page.wait_focus("export_log").await?;

        page.paste("log_filter", "").await?;
        page.click("send_http").await?;
        page.wait_text("log_count", "6 messages").await?;
        let (_, text) = export(page, "export_har").await?;
        let har: Value = serde_json::from_str(&text)?;
        let entry = &har["log"]["entries"][1];
        assert_eq!(entry["request"]["url"], stage.server.http("/echo?message=second"));
        assert_eq!(
            (&entry["response"]["status"], &entry["response"]["content"]["text"]),
            (&json!(200), &json!("second"))
        );
        Ok(())
    });
}

#[test]
fn an_http_request_without_an_answer_has_its_entry_in_the_har_file() {
    in_every_browser(async |stage| {
        let page = stage.workbench().await?;
        catch_downloads(page).await?;
        let away = "window.fetch = () => Promise.reject(new TypeError('away'));";
        page.execute(away, vec![]).await?;
        page.paste("message", "lost").await?;
        page.click("send_http").await?;
        page.wait_text("error", "The HTTP request failed.").await?;
        let (_, text) = export(page, "export_har").await?;
        let har: Value = serde_json::from_str(&text)?;
        let entries = &har["log"]["entries"];
        assert_eq!(entries.as_array().map_or(0, Vec::len), 1, "{text}");
        assert_eq!(entries[0]["request"]["url"], stage.server.http("/echo?message=lost"));
        assert_eq!(entries[0]["response"]["status"], 0);
        let error = entries[0]["response"]["_error"].as_str().unwrap_or_default();
        assert!(error.starts_with("The HTTP request failed."), "{text}");
        Ok(())
    });
}

#[test]
fn the_width_of_the_details_is_changed_by_keys_and_remembered() {
    in_every_browser(async |stage| {
        let page = stage.connected_workbench().await?;
        echo(page, &["x"]).await?;
        select_newest(page).await?;
        let width = "return arguments[0].getBoundingClientRect().width;";
        let before = page.script("detail", width).await?.as_f64().unwrap_or_default();
        page.script("detail_separator", "arguments[0].focus();").await?;
        page.press(Key::Right).await?;
        page.wait_value(
            "the details are narrower",
            async || page.script("detail", width).await,
            |now| now.as_f64() == Some(before - 20.0),
        )
        .await?;
        page.reload().await?;
        page.wait_shown("connect_websocket").await?;
        page.click("connect_websocket").await?;
        page.wait_state("ready_state", "OPEN").await?;
        select_newest(page).await?;
        page.wait_value(
            "the details have the width of before",
            async || page.script("detail", width).await,
            |now| now.as_f64() == Some(before - 20.0),
        )
        .await?;
        Ok(())
    });
}

#[test]
fn the_filter_and_the_selected_row_are_kept_while_the_chat_is_shown() {
    in_every_browser(async |stage| {
        let page = stage.connected_workbench().await?;
        echo(page, &["keep", "drop"]).await?;
        page.paste("log_filter", "keep").await?;
        page.wait_texts(LOG, "", &["keep", "keep"]).await?;
        select_newest(page).await?;
        page.click("nav_chat").await?;
        page.wait_shown("chat_join").await?;
        page.click("nav_workbench").await?;
        page.wait_texts(LOG, "", &["keep", "keep"]).await?;
        page.wait_field("log_filter", "keep").await?;
        page.wait_text("detail_text", "keep").await?;
        Ok(())
    });
}

/// Sends texts and waits until they have come back.
async fn echo(page: &Page, texts: &[&str]) -> Result<(), StepError> {
    for text in texts {
        let before = count(page).await?;
        page.paste("message", text).await?;
        page.click("send_message").await?;
        page.wait_value(
            format!("{text} came back"),
            async || count(page).await,
            |now| *now == before + 2,
        )
        .await?;
    }
    Ok(())
}

/// How many messages the log has.
async fn count(page: &Page) -> Result<u64, StepError> {
    let counts = "
        const counts = ['show_sent', 'show_received'].map(id => document.getElementById(id).parentElement.textContent);
        return counts.reduce((sum, text) => sum + Number(text.replace(/[^0-9]/g, '')), 0);";
    Ok(page.execute(counts, vec![]).await?.as_u64().unwrap_or_default())
}

async fn select_newest(page: &Page) -> Result<(), StepError> {
    page.script(LOG, "arguments[0].closest('.log-viewport').focus();")
        .await?;
    page.press(Key::End).await?;
    page.wait_shown("detail_text").await
}

/// From now on, the page's sockets send hex digits as the bytes that they stand for.
async fn send_bytes(page: &Page) -> Result<(), StepError> {
    let script = "
        const send = WebSocket.prototype.send;
        WebSocket.prototype.send = function (text) {
            send.call(this, Uint8Array.from(text.match(/../g), digits => parseInt(digits, 16)));
        };";
    page.execute(script, vec![]).await?;
    Ok(())
}

/// From now on, a download is kept by the page instead of being saved.
async fn catch_downloads(page: &Page) -> Result<(), StepError> {
    let script = "
        const create = URL.createObjectURL;
        URL.createObjectURL = blob => { window.caughtBlob = blob; return create.call(URL, blob); };
        HTMLAnchorElement.prototype.click = function () { window.caughtName = this.download; };";
    page.execute(script, vec![]).await?;
    Ok(())
}

/// How far the list is from its end, in pixels.
const FROM_END: &str = "
    const list = arguments[0].closest('.log-viewport');
    return Math.round(list.scrollHeight - list.clientHeight - list.scrollTop);";

#[test]
fn a_log_that_is_scrolled_up_stays_there_until_its_button_is_pressed() {
    in_every_browser(async |stage| {
        let page = stage.workbench().await?;
        page.paste("url", &stage.server.ws("/flood?n=500&size=50")).await?;
        page.click("connect_websocket").await?;
        page.wait_text("log_count", "500 messages").await?;
        page.wait_script(LOG, FROM_END, 0).await?;
        let pressed = "return arguments[0].ariaPressed;";
        page.script(LOG, "arguments[0].closest('.log-viewport').scrollTop = 1000;")
            .await?;
        page.wait_script("follow", pressed, "false").await?;
        page.click("follow").await?;
        page.wait_script("follow", pressed, "true").await?;
        page.wait_script(LOG, FROM_END, 0).await?;
        page.click("follow").await?;
        page.wait_script("follow", pressed, "false").await?;
        Ok(())
    });
}

#[test]
fn the_details_are_closed_by_their_button_and_show_long_json_in_parts() {
    in_every_browser(async |stage| {
        let page = stage.connected_workbench().await?;
        let items: Vec<_> = (0..1_100).map(|number| json!({ "number": [{}, number] })).collect();
        page.paste("message", &json!(items).to_string()).await?;
        page.click("send_message").await?;
        page.wait_row(LOG, "the echo", |row| row.direction == "in").await?;
        select_newest(page).await?;
        let lines = "return arguments[0].querySelectorAll('.json-line').length;";
        page.wait_script("detail_text", lines, 1_000).await?;
        page.click("more_lines").await?;
        page.wait_script("detail_text", lines, 2_000).await?;
        page.click("detail_close").await?;
        page.wait_hidden("detail").await?;
        Ok(())
    });
}

#[test]
fn the_details_are_made_wider_with_the_pointer() {
    in_every_browser(async |stage| {
        if stage.browser.engine() != Engine::Chromium {
            // Scripts cannot press a pointer so that it can be captured.
            return Ok(());
        }
        let page = stage.connected_workbench().await?;
        echo(page, &["x"]).await?;
        select_newest(page).await?;
        let place = "
            const { width } = document.getElementById('detail').getBoundingClientRect();
            const { left, top } = arguments[0].getBoundingClientRect();
            const at = x => document.elementFromPoint(x, top + 60) === arguments[0];
            let [first, last] = [left, left];
            while (at(first - 1)) first--;
            while (at(last + 1)) last++;
            return [width, left, top + 60, last - first + 1];";
        let place: [f64; 4] = serde_json::from_value(page.script("detail_separator", place).await?)?;
        let [width, x, y, target] = place;
        assert!(target >= 24.0, "the pointer has {target} pixels");
        for (kind, x) in [
            ("mousePressed", x),
            ("mouseMoved", x - 50.0),
            ("mouseReleased", x - 50.0),
        ] {
            let event = json!({ "type": kind, "x": x, "y": y, "button": "left", "buttons": 1, "clickCount": 1 });
            stage.browser.devtools("Input.dispatchMouseEvent", event).await?;
        }
        page.wait_value(
            "they are wider",
            async || {
                let now = page
                    .script("detail", "return arguments[0].getBoundingClientRect().width;")
                    .await?;
                Ok::<_, StepError>(now.as_f64().unwrap_or_default() - width)
            },
            // By as much as the pointer moved.
            |wider| (48.0..=52.0).contains(wider),
        )
        .await?;
        Ok(())
    });
}

#[test]
fn a_screen_reader_reads_the_direction_of_a_row_in_words() {
    in_every_browser(async |stage| {
        let page = stage.connected_workbench().await?;
        echo(page, &["x"]).await?;
        let words = "return [...arguments[0].querySelectorAll('.sign')].map(sign => sign.ariaLabel);";
        page.wait_script(LOG, words, json!(["information", "information", "sent", "received"]))
            .await?;
        Ok(())
    });
}

#[test]
fn a_log_that_is_cleared_while_connected_offers_nothing_to_connect_to() {
    in_every_browser(async |stage| {
        let page = stage.connected_workbench().await?;
        let empty = "const empty = document.querySelector('.log .empty');
            return [empty?.querySelector('p').textContent, empty?.querySelectorAll('[data-preset]').length];";
        page.click("clear_log").await?;
        page.wait_answer(empty, json!(["Nothing since the log was cleared.", 0]))
            .await?;
        page.click("close_websocket").await?;
        page.wait_state("ready_state", "CLOSED").await?;
        page.click("clear_log").await?;
        page.wait_answer(empty, json!(["Nothing yet. Connect and send a message.", 4]))
            .await?;
        Ok(())
    });
}

/// The name and the text of the file that this choice of the export makes.
async fn export(page: &Page, choice: &str) -> Result<(String, String), StepError> {
    page.execute("window.caughtName = null;", vec![]).await?;
    page.click("export_log").await?;
    page.click(choice).await?;
    wait_for("the file is there", DEADLINE, async || {
        Ok(page.execute("return window.caughtName !== null;", vec![]).await? == true)
    })
    .await?;
    let file = page
        .execute("return caughtBlob.text().then(text => [caughtName, text]);", vec![])
        .await?;
    serde_json::from_value(file).map_err(|error| StepError::Setup(error.to_string()))
}

#[test]
fn characters_that_are_not_seen_have_marks_and_are_copied_as_they_are() {
    in_every_browser(async |stage| {
        let page = stage.connected_workbench().await?;
        let text = "live \u{202e}edirrevo\u{202c} LTR";
        page.paste("message", text).await?;
        page.click("send_message").await?;
        page.wait_texts(LOG, "in", &[text]).await?;
        let mark = "
            const marks = [...arguments[0].querySelectorAll('[data-direction=in] .mark')];
            return marks.map(mark => {
                const { content } = getComputedStyle(mark, '::before');
                // Firefox tells the attribute, not its text.
                return content.replace('attr(data-mark)', mark.dataset.mark);
            }).join(' ');";
        let shown = page.script(LOG, mark).await?;
        let shown = shown.as_str().unwrap_or_default();
        assert!(shown.contains("U+202E") && shown.contains("U+202C"), "{shown}");

        page.paste("message", "").await?;
        page.click("send_message").await?;
        page.wait_texts(LOG, "in", &[text, ""]).await?;
        let empty = "return arguments[0].querySelector('[data-direction=in]:last-child .quiet')?.textContent ?? '';";
        page.wait_script(LOG, empty, "empty").await?;
        Ok(())
    });
}

#[test]
fn the_details_have_the_time_and_say_why_json_is_not_laid_out() {
    in_every_browser(async |stage| {
        let page = stage.connected_workbench().await?;
        let deep = ["[".repeat(201), "]".repeat(201)].concat();
        page.paste("message", &deep).await?;
        page.click("send_message").await?;
        page.wait_row(LOG, "the echo", |row| row.direction == "in").await?;
        page.script(LOG, "arguments[0].closest('.log-viewport').focus();")
            .await?;
        page.press(thirtyfour::Key::End).await?;
        page.wait_text("detail", "is shown as it came").await?;
        let head = "return arguments[0].querySelector('.detail-foot time') !== null;";
        page.wait_script("detail", head, true).await?;
        Ok(())
    });
}

#[test]
fn a_log_of_a_hundred_thousand_rows_says_that_the_oldest_are_dropped() {
    in_every_browser(async |stage| {
        let page = stage.workbench().await?;
        page.paste("url", &stage.server.ws("/flood?n=100000&size=20")).await?;
        page.click("connect_websocket").await?;
        page.wait_state("ready_state", "OPEN").await?;
        wait_for("all rows came", DEADLINE * 3, async || {
            Ok(page.state("ready_state").await? == "CLOSED")
        })
        .await?;
        page.wait_text("log_notice", "The log has 100,000 rows, which is all that it keeps")
            .await?;
        // Three notices came with the messages: two of them first.
        page.wait_text("rows_dropped", "3 older rows dropped").await?;
        page.wait_text("log_count", "99,999 messages").await?;
        page.click("dismiss_notice").await?;
        page.wait_hidden("log_notice").await?;
        page.wait_answer("return document.activeElement.className;", "log-viewport")
            .await?;
        page.wait_shown("rows_dropped").await?;
        Ok(())
    });
}

#[test]
fn screen_readers_announce_what_is_received_at_most_once_a_second() {
    in_every_browser(async |stage| {
        let page = stage.connected_workbench().await?;
        let watch = "
            const region = document.querySelector('.log [role=log]');
            window.read = [];
            new MutationObserver(() => window.read.push([performance.now(), region.textContent]))
                .observe(region, { childList: true, characterData: true, subtree: true });";
        page.execute(watch, vec![]).await?;
        let last = "return window.read.at(-1)?.[1] ?? '';";
        echo(page, &["hello"]).await?;
        page.wait_value(
            "the echo is read",
            async || page.execute(last, vec![]).await,
            |read| read.as_str().is_some_and(|read| read.ends_with("hello")),
        )
        .await?;
        // Of these, one is sent and one is received.
        echo(page, &["again"]).await?;
        page.wait_answer(last, "again").await?;
        page.paste("message", "many").await?;
        let send = "for (let count = 0; count < 30; count++) document.getElementById('send_message').click();";
        page.execute(send, vec![]).await?;
        wait_for("all are read", DEADLINE, async || {
            let count = "
                return window.read.slice(2).map(([, words]) => words.endsWith('many') ? parseInt(words) || 1 : 0)
                    .reduce((sum, count) => sum + count, 0);";
            Ok(page.execute(count, vec![]).await? == 30)
        })
        .await?;
        let read: Vec<(f64, String)> = serde_json::from_value(page.execute("return window.read;", vec![]).await?)?;
        assert!(read.windows(2).all(|pair| pair[1].0 - pair[0].0 > 900.0), "{read:?}");
        Ok(())
    });
}

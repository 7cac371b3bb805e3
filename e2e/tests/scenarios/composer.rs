//! How messages are written in the workbench: their kinds, what is taken back of them, repetition.

use serde_json::json;
use talkback_e2e::in_every_browser;
use thirtyfour::Key;

const LOG: &str = "messagecontainer";

#[test]
fn json_is_checked_laid_out_and_sent_as_it_is_written() {
    in_every_browser(async |stage| {
        let page = stage.connected_workbench().await?;
        page.click("mode_json").await?;
        page.paste("message", "{\"a\": 1e400,}").await?;
        page.wait_text("message_size", "Not JSON: line 1, column 13.").await?;
        page.click("send_message").await?;
        page.wait_text("error", "Not JSON: line 1, column 13.").await?;
        let text = "{\"a\":1e400,\"a\":12345678901234567890}";
        page.paste("message", text).await?;
        page.wait_hidden("error").await?;
        page.click("send_message").await?;
        page.wait_texts(LOG, "in", &[text]).await?;
        page.click("format_json").await?;
        let pretty = "{\n  \"a\": 1e400,\n  \"a\": 12345678901234567890\n}";
        page.wait_field("message", pretty).await?;
        page.click("mode_text").await?;
        page.wait_field("message", "Hello, World!").await?;
        page.reload().await?;
        page.wait_shown("connect_websocket").await?;
        page.click("mode_json").await?;
        page.wait_field("message", pretty).await?;
        Ok(())
    });
}

#[test]
fn json_with_templates_outside_of_quotes_cannot_be_laid_out_and_says_so() {
    in_every_browser(async |stage| {
        let page = stage.workbench().await?;
        page.click("mode_json").await?;
        let offered = "return [arguments[0].disabled, arguments[0].title];";
        page.paste("message", "{\"n\": \"{{seq}}\"}").await?;
        page.wait_script("format_json", offered, json!([false, ""])).await?;
        page.paste("message", "{\"n\": {{seq}}}").await?;
        let why = "{{seq}} and the like can be laid out within quotes only";
        page.wait_script("format_json", offered, json!([true, why])).await?;
        page.wait_text("message_size", "14 B").await?;
        Ok(())
    });
}

#[test]
fn a_long_problem_of_the_message_can_be_read() {
    in_every_browser(async |stage| {
        stage.workbench().await?;
        for width in [1_280, 700, 320] {
            let page = stage.page.new_window(width, 700).await?;
            page.open(&stage.server.http("/"), "connect_websocket").await?;
            page.click("mode_hex").await?;
            page.paste("message", "{{seq}}").await?;
            let problem = "{{seq}}, {{ts}}, {{uuid}} are replaced in texts and JSON only: write bytes here.";
            page.wait_text("message_size", problem).await?;
            let is_whole = "
                const { scrollWidth, clientWidth, scrollHeight, clientHeight, title } = arguments[0];
                // Firefox counts what letters need beyond their line.
                return [scrollWidth <= clientWidth, scrollHeight < clientHeight + 6, title];";
            page.wait_script("message_size", is_whole, json!([true, true, problem]))
                .await?;
        }
        Ok(())
    });
}

#[test]
fn bytes_are_sent_as_hexadecimal_digits_and_base64() {
    in_every_browser(async |stage| {
        let page = stage.connected_workbench().await?;
        page.click("mode_hex").await?;
        page.fill("message", "00 ff 7").await?;
        page.wait_text("message_size", "The last byte is incomplete.").await?;
        page.fill("message", "00 ff 7a").await?;
        page.wait_text("message_size", "3 B").await?;
        page.click("send_message").await?;
        page.wait_texts(LOG, "in", &["00 ff 7a"]).await?;
        page.click("mode_base64").await?;
        page.fill("message", "AP*6").await?;
        page.wait_text("message_size", "Character 3").await?;
        page.fill("message", "AP96").await?;
        page.click("send_message").await?;
        page.wait_texts(LOG, "in", &["00 ff 7a", "00 ff 7a"]).await?;
        Ok(())
    });
}

#[test]
fn a_file_is_sent_as_its_bytes() {
    in_every_browser(async |stage| {
        let page = stage.connected_workbench().await?;
        page.click("mode_file").await?;
        page.click("send_message").await?;
        page.wait_text("error", "Choose a file first.").await?;
        let choose = "
            const files = new DataTransfer();
            files.items.add(new File([new Uint8Array([1, 2, 255])], 'three.bin'));
            arguments[0].files = files.files;
            arguments[0].dispatchEvent(new Event('change', { bubbles: true }));";
        page.script("message_file", choose).await?;
        page.wait_text("file_name", "three.bin").await?;
        page.wait_text("file_name", "3 B").await?;
        page.click("send_message").await?;
        page.wait_texts(LOG, "in", &["01 02 ff"]).await?;
        page.wait_hidden("upload").await?;
        Ok(())
    });
}

#[test]
fn a_file_that_is_dropped_on_its_place_is_the_one_to_send() {
    in_every_browser(async |stage| {
        let page = stage.connected_workbench().await?;
        page.click("mode_file").await?;
        page.wait_text("file_name", "drop").await?;
        let drop = "
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File([new Uint8Array([7, 8])], 'two.bin'));
            return ['dragover', 'drop'].map(type => !arguments[0].dispatchEvent(
                new DragEvent(type, { dataTransfer, bubbles: true, cancelable: true })));";
        let is_taken = page.script("file_name", drop).await?;
        assert_eq!(is_taken, json!([true, true]), "the browser does not open it");
        page.wait_text("file_name", "two.bin · 2 B").await?;
        page.click("send_message").await?;
        page.wait_texts(LOG, "in", &["07 08"]).await?;
        Ok(())
    });
}

#[test]
fn the_arrow_keys_take_back_what_was_sent() {
    in_every_browser(async |stage| {
        let page = stage.connected_workbench().await?;
        for text in ["one", "two"] {
            page.fill("message", text).await?;
            page.press_in("message", Key::Control + Key::Enter).await?;
        }
        page.wait_texts(LOG, "in", &["one", "two"]).await?;
        page.paste("message", "three\nfour").await?;
        page.script(
            "message",
            "arguments[0].focus(); arguments[0].setSelectionRange(10, 10);",
        )
        .await?;
        // The second line, so the caret moves.
        page.press(Key::Up).await?;
        page.wait_field("message", "three\nfour").await?;
        page.script("message", "arguments[0].setSelectionRange(0, 0);").await?;
        for (key, text) in [
            (Key::Up, "two"),
            (Key::Up, "one"),
            (Key::Down, "two"),
            (Key::Down, "three\nfour"),
        ] {
            page.press(key).await?;
            page.wait_value(text.to_owned(), async || page.value("message").await, |now| now == text)
                .await?;
        }
        Ok(())
    });
}

#[test]
fn a_message_with_templates_is_repeated_and_can_be_stopped() {
    in_every_browser(async |stage| {
        let page = stage.connected_workbench().await?;
        page.fill("message", "n {{seq}}").await?;
        page.click("repeat").await?;
        page.fill("repeat_count", "x").await?;
        page.click("start_repeat").await?;
        page.wait_text("error", "Enter 1 to 1,000,000, or leave it empty.")
            .await?;
        page.fill("repeat_count", "3").await?;
        page.fill("repeat_interval", "0").await?;
        page.click("start_repeat").await?;
        page.wait_text("error", "Enter 1 to 3,600,000 ms.").await?;
        page.fill("repeat_interval", "10").await?;
        page.click("start_repeat").await?;
        page.wait_texts(LOG, "in", &["n 1", "n 2", "n 3"]).await?;
        page.wait_shown("repeat").await?;
        page.wait_field("message", "n {{seq}}").await?;

        page.click("repeat").await?;
        page.fill("repeat_count", "").await?;
        page.click("start_repeat").await?;
        // Few rows are drawn, each for a moment.
        let number = |text: &str| text.strip_prefix("n ")?.parse::<u32>().ok();
        page.wait_row(LOG, "a number after 8", |row| number(&row.text) > Some(8))
            .await?;
        // The button keeps the focus.
        page.wait_focus("stop_repeat").await?;
        page.click("stop_repeat").await?;
        page.wait_shown("repeat").await?;
        page.wait_focus("repeat").await?;
        let sent = page.text("sent_count").await?;
        page.press_in("message", "x").await?;
        page.click("send_message").await?;
        page.wait_value("one more", async || page.text("sent_count").await, |now| *now != sent)
            .await?;
        let uuid = "{{uuid}}";
        page.fill("message", uuid).await?;
        page.click("send_message").await?;
        let is_uuid = |text: &str| text.len() == 36 && text.split('-').map(str::len).eq([8, 4, 4, 4, 12]);
        page.wait_rows(LOG, "a uuid", |rows| rows.iter().any(|row| is_uuid(&row.text)))
            .await?;
        // The draft keeps it.
        page.wait_field("message", uuid).await?;
        // The numbers are of the connection.
        page.click("close_websocket").await?;
        page.wait_state("ready_state", "CLOSED").await?;
        page.click("connect_websocket").await?;
        page.wait_state("ready_state", "OPEN").await?;
        page.fill("message", "anew {{seq}}").await?;
        page.click("send_message").await?;
        page.wait_row(LOG, "the first number", |row| {
            row.direction == "in" && row.text == "anew 1"
        })
        .await?;
        Ok(())
    });
}

#[test]
fn what_is_wrong_is_said_once_and_a_draft_that_is_too_long_for_a_reload_says_so() {
    in_every_browser(async |stage| {
        let page = stage.connected_workbench().await?;
        page.click("mode_json").await?;
        page.paste("message", "{\"a\":").await?;
        page.wait_text("message_size", "Not JSON").await?;
        page.click("send_message").await?;
        page.wait_text("error", "Not JSON").await?;
        page.wait_value(
            "it is said once",
            async || page.text("message_size").await,
            |text| text.is_empty(),
        )
        .await?;
        page.click("mode_base64").await?;
        page.paste("message", "====").await?;
        page.wait_text("message_size", "The padding is wrong").await?;
        page.paste("message", "AAE").await?;
        page.wait_text("message_size", "2 B").await?;

        page.click("mode_text").await?;
        page.paste("message", "older").await?;
        page.paste("message", &"x".repeat(70_000)).await?;
        page.wait_text("message_size", "too long to be kept over a reload")
            .await?;
        page.reload().await?;
        page.wait_shown("connect_websocket").await?;
        // No older text stands for it.
        page.wait_field("message", "").await?;
        Ok(())
    });
}

#[test]
fn a_close_code_that_cannot_be_sent_is_told_while_it_is_typed() {
    in_every_browser(async |stage| {
        let page = stage.connected_workbench().await?;
        page.wait_text("close_with", "Close with 1000").await?;
        page.click("close_with").await?;
        page.fill("close_code", "999").await?;
        page.wait_text("close_problem", "Code must be 1000 or 3000-4999.")
            .await?;
        page.wait_value(
            "the button promises nothing that cannot be done",
            async || page.text("close_with").await,
            |label| !label.contains("999"),
        )
        .await?;
        page.fill("close_code", "4000").await?;
        page.wait_text("close_with", "Close with 4000").await?;
        page.paste("close_reason", &"x".repeat(124)).await?;
        page.wait_text("close_problem", "The reason is too long: 124/123 bytes.")
            .await?;
        page.paste("close_reason", "bye").await?;
        page.wait_value(
            "nothing is wrong",
            async || page.text("close_problem").await,
            |text| text.is_empty(),
        )
        .await?;
        page.click("close_now").await?;
        page.wait_text("close_info", "4000 “bye”").await?;
        Ok(())
    });
}

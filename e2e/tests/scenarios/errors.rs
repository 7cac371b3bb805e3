//! What the workbench and the chat say when the browser or the server does not do what was asked for.

use serde_json::json;
use talkback_e2e::in_every_browser;
use thirtyfour::Key;

const LOG: &str = "messagecontainer";

#[test]
fn a_browser_without_websockets_and_one_that_refuses_to_connect_are_told() {
    in_every_browser(async |stage| {
        let page = stage.workbench().await?;
        page.execute("delete window.WebSocket;", vec![]).await?;
        page.click("connect_websocket").await?;
        page.wait_text("error", "This browser does not support WebSocket.")
            .await?;
        page.choose("language", "zh").await?;
        page.wait_text("error", "您的浏览器不支持 WebSocket！").await?;
        page.choose("language", "en").await?;
        let refuse = "window.WebSocket = function () { throw new DOMException('not today', 'SecurityError'); };";
        page.execute(refuse, vec![]).await?;
        page.click("connect_websocket").await?;
        page.wait_text("error", "The browser refused: not today").await?;
        Ok(())
    });
}

#[test]
fn a_slow_connect_and_a_slow_close_say_what_is_waited_for() {
    in_every_browser(async |stage| {
        let faults = stage.faults().await?;
        let page = stage.workbench().await?;
        page.fill("url", &format!("{faults}/silent")).await?;
        page.click("connect_websocket").await?;
        page.wait_state("ready_state", "CONNECTING").await?;
        page.wait_text("uptime", "0:01").await?;
        page.wait_text(
            "waiting_hint",
            "No answer yet. The server may be unreachable; you can cancel.",
        )
        .await?;
        page.click("cancel_connect").await?;
        page.wait_hidden("waiting_hint").await?;

        page.fill("url", &format!("{faults}/no-close")).await?;
        page.click("connect_websocket").await?;
        page.wait_state("ready_state", "OPEN").await?;
        // It is shown for two seconds. An attribute is seen by all scripts of a driver, a variable not in Firefox.
        let watch = "
            const { dataset } = document.documentElement;
            dataset.said = '';
            new MutationObserver(() => { dataset.said += document.getElementById('waiting_hint')?.textContent ?? ''; })
                .observe(document.body, { childList: true, subtree: true });";
        page.execute(watch, vec![]).await?;
        page.click("close_websocket").await?;
        page.wait_state("ready_state", "CLOSED").await?;
        let said = page
            .execute("return document.documentElement.dataset.said;", vec![])
            .await?;
        let expected = "Waiting a moment for the server's close frame.";
        assert!(said.as_str().is_some_and(|said| said.contains(expected)), "{said}");
        Ok(())
    });
}

#[test]
fn a_message_that_cannot_be_sent_now_says_why_and_is_kept() {
    in_every_browser(async |stage| {
        let faults = stage.faults().await?;
        let page = stage.connected_workbench().await?;
        page.fill("message", "precious").await?;
        // As if much were waiting already.
        let full =
            "Object.defineProperty(WebSocket.prototype, 'bufferedAmount', { configurable: true, get: () => 2 ** 31 });";
        page.execute(full, vec![]).await?;
        page.click("send_message").await?;
        page.wait_text(
            "error",
            "Not sent: 2048.0 MiB still wait to be sent. Your text is kept.",
        )
        .await?;
        page.wait_field("message", "precious").await?;

        page.open(&stage.server.http("/"), "connect_websocket").await?;
        page.fill("url", &format!("{faults}/no-close")).await?;
        page.click("connect_websocket").await?;
        page.wait_state("ready_state", "OPEN").await?;
        let close_and_send = "['close_websocket', 'send_message'].forEach(id => document.getElementById(id).click());";
        page.execute(close_and_send, vec![]).await?;
        page.wait_text("error", "Not sent: the connection is being closed. Your text is kept.")
            .await?;
        page.wait_field("message", "precious").await?;
        Ok(())
    });
}

#[test]
fn a_lost_connection_says_how_long_it_lasted_and_a_subprotocol_is_logged() {
    in_every_browser(async |stage| {
        let faults = stage.faults().await?;
        let page = stage.workbench().await?;
        page.fill("url", &format!("{faults}/reset?after=1")).await?;
        page.click("connect_websocket").await?;
        page.wait_texts(LOG, "in", &["0"]).await?;
        page.click("send_message").await?;
        page.wait_text("error", "Connection lost without a close message after ")
            .await?;

        page.click("subprotocols_button").await?;
        page.fill("subprotocols", "chat.v2").await?;
        page.fill("url", &format!("{faults}/protocol?name=chat.v2")).await?;
        page.click("connect_websocket").await?;
        page.wait_row(LOG, "which one was chosen", |row| {
            row.text == "Connected with subprotocol chat.v2."
        })
        .await?;
        Ok(())
    });
}

#[test]
fn a_pattern_without_a_script_that_tests_it_is_told() {
    in_every_browser(async |stage| {
        let page = stage.connected_workbench().await?;
        page.execute(
            "window.Worker = class { constructor() { throw new Error('none'); } };",
            vec![],
        )
        .await?;
        page.fill("log_filter", "/a/").await?;
        page.wait_text(
            "log_filter_error",
            "The browser could not start the script that tests patterns. The log is shown without the pattern.",
        )
        .await?;
        Ok(())
    });
}

#[test]
fn what_cannot_be_saved_is_told_and_is_not_in_the_list() {
    in_every_browser(async |stage| {
        let page = stage.workbench().await?;
        page.paste("message", &"x".repeat(1_100_000)).await?;
        page.click("snippets_button").await?;
        page.fill("snippets_name", "long").await?;
        page.press(Key::Enter).await?;
        page.wait_text(
            "snippets_notice",
            "Not saved: at most 500 with 1 MiB together are kept.",
        )
        .await?;
        page.press(Key::Escape).await?;
        page.paste("message", "short").await?;
        let full = "Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError'); };";
        page.execute(full, vec![]).await?;
        page.click("snippets_button").await?;
        page.fill("snippets_name", "short").await?;
        page.press(Key::Enter).await?;
        page.wait_text(
            "snippets_notice",
            "Not saved: the browser's storage is full or forbidden.",
        )
        .await?;
        assert_eq!(page.text("snippets_list").await?, "");
        Ok(())
    });
}

#[test]
fn details_of_a_long_message_say_that_they_are_cut() {
    in_every_browser(async |stage| {
        let faults = stage.faults().await?;
        let page = stage.workbench().await?;
        page.fill("url", &format!("{faults}/no-close")).await?;
        page.click("connect_websocket").await?;
        page.wait_state("ready_state", "OPEN").await?;
        page.paste("message", &"x".repeat(300 << 10)).await?;
        page.click("send_message").await?;
        page.wait_row(LOG, "the message", |row| row.direction == "out").await?;
        page.script(LOG, "arguments[0].closest('.log-viewport').focus();")
            .await?;
        page.press(Key::End).await?;
        let hint = "return document.querySelector('.detail-foot .hint')?.innerText ?? '';";
        page.wait_answer(hint, "The first 256.0 KiB of 300.0 KiB are shown; Copy takes all.")
            .await?;
        Ok(())
    });
}

#[test]
fn each_reason_for_which_a_message_failed_is_told_in_the_chat() {
    in_every_browser(async |stage| {
        let page = &stage.page;
        page.open(&stage.server.http("/chat/den"), "chat_join").await?;
        // As the page keeps them over a reload.
        let reasons = [
            ("lost", "", "One of your messages was lost by the server."),
            ("full", "", "Not sent: too many messages wait already."),
            ("deep", "300 64", "Not sent: it is nested too deeply."),
            ("expired", "", "Not sent: there was no connection for too long."),
            (
                "unconfirmed",
                "",
                "Perhaps not sent: the server did not confirm it. Look for it before you send it again.",
            ),
            (
                "refused",
                "not here",
                "Not sent: the server refused it.\nThe server says: not here",
            ),
            ("stopped", "", "Not sent: you left before it was."),
        ];
        let lines = reasons.map(|(name, detail, _)| format!("{name}\t1\t{}\t\"text\"\n", json!(detail)));
        let keep = "sessionStorage.setItem('talkback.failed.den\\nAnn', arguments[0]);";
        page.execute(keep, vec![json!(lines.concat())]).await?;
        page.fill("chat_name", "Ann").await?;
        page.click("chat_join").await?;
        page.wait_state("chat_state", "OPEN").await?;
        let told = "return [...arguments[0].querySelectorAll('.fault')].map(fault => fault.textContent);";
        let expected = reasons.map(|(_, _, sentence)| sentence);
        page.wait_script("chat_messages", told, json!(expected)).await?;
        Ok(())
    });
}

#[test]
fn above_the_oldest_message_stands_that_the_server_keeps_nothing_older() {
    in_every_browser(async |stage| {
        let options = ["--log-messages", "5"];
        let server = stage.server_at(([127, 0, 0, 1], 0).into(), &options).await?;
        let page = &stage.page;
        page.join(&server, "den", "Ann").await?;
        let texts: Vec<_> = (1..=20).map(|number| format!("number {number}")).collect();
        page.send_all(&texts).await?;
        page.wait_delivery("number 20", "acked").await?;
        let bob = page.new_tab().await?;
        bob.join(&server, "den", "Bob").await?;
        // Where it is not loaded by itself, because the list is long enough to be scrolled.
        bob.execute("document.getElementById('load_older')?.click();", vec![])
            .await?;
        bob.wait_text("older", "The server keeps nothing older.").await?;
        Ok(())
    });
}

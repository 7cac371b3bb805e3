//! Several connections of the workbench at once.

use serde_json::json;
use talkback_e2e::{DEADLINE, Page, StepError, in_every_browser, wait_for};

const LOG: &str = "messagecontainer";

#[test]
fn each_connection_has_a_log_an_address_and_a_draft_of_its_own() {
    in_every_browser(async |stage| {
        let page = stage.connected_workbench().await?;
        assert!(!page.is_shown("tabs").await?, "one connection needs no tabs");
        page.fill("message", "of the first").await?;
        page.click("send_message").await?;
        page.wait_texts(LOG, "in", &["of the first"]).await?;

        page.click("new_tab").await?;
        page.wait_state("ready_state", "CLOSED").await?;
        page.wait_texts(LOG, "in", &[]).await?;
        // The same address is offered.
        page.wait_field("url", &stage.server.ws("/echo")).await?;
        page.wait_field("message", "Hello, World!").await?;
        page.fill("url", &stage.server.ws("/echo?suffix=%21")).await?;
        page.click("connect_websocket").await?;
        page.wait_state("ready_state", "OPEN").await?;
        page.fill("message", "of the second").await?;
        page.click("send_message").await?;
        page.wait_texts(LOG, "in", &["of the second!"]).await?;

        page.click("tab_1").await?;
        page.wait_texts(LOG, "in", &["of the first"]).await?;
        page.wait_state("ready_state", "OPEN").await?;
        page.wait_field("message", "of the first").await?;
        page.click("close_websocket").await?;
        page.wait_state("ready_state", "CLOSED").await?;
        page.click("tab_2").await?;
        page.wait_state("ready_state", "OPEN").await?;

        page.reload().await?;
        page.wait_shown("tab_2").await?;
        page.wait_field("message", "of the second").await?;
        page.click("close_tab_1").await?;
        page.wait_hidden("tabs").await?;
        page.wait_field("url", &stage.server.ws("/echo?suffix=%21")).await?;
        // Nothing is kept of the closed one.
        let kept = "
            const has = text => Object.values(sessionStorage).some(value => value.includes(text));
            return [has('of the first'), has('of the second')];";
        page.wait_answer(kept, json!([false, true])).await?;
        Ok(())
    });
}

#[test]
fn a_closed_tab_comes_back_with_its_connection_and_its_log_and_the_focus_is_kept() {
    in_every_browser(async |stage| {
        let page = stage.connected_workbench().await?;
        page.click("new_tab").await?;
        page.wait_shown("tab_2").await?;
        // A new tab begins with its address.
        page.wait_focus("url").await?;
        page.click("connect_websocket").await?;
        page.wait_state("ready_state", "OPEN").await?;
        page.fill("message", "of the second").await?;
        page.click("send_message").await?;
        page.wait_texts(LOG, "in", &["of the second"]).await?;
        page.click("close_tab_2").await?;
        page.wait_hidden("tab_2").await?;
        page.wait_focus("tab_1").await?;
        page.wait_texts(LOG, "in", &[]).await?;

        page.click("reopen_tab").await?;
        page.wait_shown("tab_2").await?;
        page.wait_hidden("reopen_tab").await?;
        page.wait_texts(LOG, "in", &["of the second"]).await?;
        page.wait_field("message", "of the second").await?;
        page.wait_state("ready_state", "OPEN").await?;
        page.reload().await?;
        page.wait_shown("tab_2").await?;
        page.wait_field("message", "of the second").await?;
        // Nothing would be lost with it.
        page.click("close_tab_1").await?;
        page.wait_hidden("tabs").await?;
        page.wait_focus("url").await?;
        for _ in 0..7 {
            page.click("new_tab").await?;
        }
        page.wait_value(
            "the button says why it does nothing",
            async || page.script("new_tab", "return arguments[0].title;").await,
            |title| title == "There are 8 connections, which is the most",
        )
        .await?;
        let shown = "return [...arguments[0].querySelectorAll('.tab-path')].every(path => path.scrollWidth <= path.clientWidth);";
        // Each path is shown whole.
        page.wait_script("tabs", shown, true).await?;
        Ok(())
    });
}

#[test]
fn the_tab_that_is_shown_is_in_sight_and_many_tabs_do_not_make_the_page_wider() {
    in_every_browser(async |stage| {
        stage.workbench().await?;
        let page = stage.page.new_window(360, 640).await?;
        page.open(&stage.server.http("/"), "connect_websocket").await?;
        for _ in 0..5 {
            page.click("new_tab").await?;
        }
        let in_sight = "
            const { left, right } = document.querySelector('.tab[data-shown]').getBoundingClientRect();
            return [document.querySelectorAll('.tab').length, left >= 0 && right <= innerWidth + 1,
                document.documentElement.scrollWidth <= innerWidth];";
        let wait = async |what: &str| {
            page.wait_value(
                what,
                async || page.execute(in_sight, vec![]).await,
                |seen| *seen == json!([6, true, true]),
            )
            .await
        };
        wait("the last of six tabs is in sight").await?;
        page.reload().await?;
        page.wait_shown("connect_websocket").await?;
        Ok(wait("it is after a reload").await?)
    });
}

#[test]
fn two_connections_that_are_flooded_at_once_lose_nothing() {
    in_every_browser(async |stage| {
        let page = stage.workbench().await?;
        page.paste("url", &stage.server.ws("/flood?n=9000&rate=3000&size=100"))
            .await?;
        page.click("connect_websocket").await?;
        page.wait_state("ready_state", "OPEN").await?;
        page.click("new_tab").await?;
        page.wait_state("ready_state", "CLOSED").await?;
        page.click("connect_websocket").await?;
        page.wait_text("received_count", "9,000 ·").await?;
        page.wait_row(LOG, "the last one", |row| row.text.trim_end().starts_with("8999"))
            .await?;
        page.click("tab_1").await?;
        page.wait_text("received_count", "9,000 ·").await?;
        page.wait_row(LOG, "the last one", |row| row.text.trim_end().starts_with("8999"))
            .await?;
        page.wait_text("log_count", "9,000").await?;
        Ok(())
    });
}

#[test]
fn a_tab_may_use_the_memory_of_the_others_and_the_largest_log_gives_up_its_oldest_rows() {
    in_every_browser(async |stage| {
        let page = stage.workbench().await?;
        // 41 MiB, more than the half of what all logs may have.
        flood(page, &stage.server.ws("/flood?n=655&size=65000"), "655 ·").await?;
        page.click("new_tab").await?;
        page.wait_state("ready_state", "CLOSED").await?;
        flood(page, &stage.server.ws("/flood?n=200&size=65000"), "200 ·").await?;
        assert!(!page.is_shown("rows_dropped").await? && !page.is_shown("log_notice").await?);
        page.click("tab_1").await?;
        page.wait_text("log_count", "655 messages").await?;
        assert!(
            !page.is_shown("rows_dropped").await?,
            "nothing is lost before the bound"
        );

        page.click("tab_2").await?;
        page.wait_text("log_count", "200 messages").await?;
        flood(page, &stage.server.ws("/flood?n=300&size=65000"), "300 ·").await?;
        page.wait_text("log_count", "500 messages").await?;
        assert!(!page.is_shown("log_notice").await?, "this log is not the largest");
        page.click("tab_1").await?;
        page.wait_text("log_notice", "64.0 MiB").await?;
        page.wait_shown("rows_dropped").await?;
        page.wait_row(LOG, "the newest row", |row| row.text.trim_end().starts_with("654"))
            .await?;
        page.click("dismiss_notice").await?;
        page.wait_hidden("log_notice").await?;
        Ok(())
    });
}

#[test]
fn an_export_goes_on_while_another_tab_is_shown() {
    in_every_browser(async |stage| {
        let page = stage.workbench().await?;
        flood(page, &stage.server.ws("/flood?n=20000&size=100"), "20,000 ·").await?;
        // The export waits for an animation frame or a timer of 250 ms, until `go` lets both on.
        let hold = "
            window.held = [];
            const frame = window.requestAnimationFrame, later = window.setTimeout;
            window.requestAnimationFrame = call => { held.push(() => frame.call(window, call)); return 0; };
            window.setTimeout = (call, time, ...rest) => time === 250 ? 0 : later(call, time, ...rest);
            window.go = () => {
                window.requestAnimationFrame = frame;
                window.setTimeout = later;
                held.forEach(call => call());
            };
            HTMLAnchorElement.prototype.click = function () { window.caughtName = this.download; };";
        page.execute(hold, vec![]).await?;
        page.click("export_log").await?;
        page.click("export_jsonl").await?;
        page.wait_shown("cancel_export").await?;
        page.click("new_tab").await?;
        page.wait_state("ready_state", "CLOSED").await?;
        page.click("nav_chat").await?;
        page.wait_shown("chat_join").await?;
        page.execute("go();", vec![]).await?;
        wait_for("the file is there", DEADLINE, async || {
            let name = page.execute("return window.caughtName ?? '';", vec![]).await?;
            Ok(name.as_str().is_some_and(|name| name.ends_with(".jsonl")))
        })
        .await?;
        Ok(())
    });
}

/// Connects to an address and waits until so much is received.
async fn flood(page: &Page, address: &str, received: &str) -> Result<(), StepError> {
    page.paste("url", address).await?;
    page.click("connect_websocket").await?;
    page.wait_text("received_count", received).await?;
    page.wait_state("ready_state", "CLOSED").await
}

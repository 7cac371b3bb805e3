//! Several connections of the workbench at once.

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
        assert_eq!(
            page.value("url").await?,
            stage.server.ws("/echo"),
            "the same address is offered"
        );
        assert_eq!(page.value("message").await?, "Hello, World!");
        page.fill("url", &stage.server.ws("/echo?suffix=%21")).await?;
        page.click("connect_websocket").await?;
        page.wait_state("ready_state", "OPEN").await?;
        page.fill("message", "of the second").await?;
        page.click("send_message").await?;
        page.wait_texts(LOG, "in", &["of the second!"]).await?;

        page.click("tab_1").await?;
        page.wait_texts(LOG, "in", &["of the first"]).await?;
        assert_eq!(page.state("ready_state").await?, "OPEN");
        assert_eq!(page.value("message").await?, "of the first");
        page.click("close_websocket").await?;
        page.wait_state("ready_state", "CLOSED").await?;
        page.click("tab_2").await?;
        page.wait_state("ready_state", "OPEN").await?;

        page.reload().await?;
        page.wait_shown("tab_2").await?;
        page.wait_value(
            "the shown tab is kept",
            async || page.value("message").await,
            |text| text == "of the second",
        )
        .await?;
        page.click("close_tab_1").await?;
        page.wait_hidden("tabs").await?;
        assert_eq!(page.value("url").await?, stage.server.ws("/echo?suffix=%21"));
        Ok(())
    });
}

#[test]
fn two_connections_that_are_flooded_at_once_lose_nothing() {
    in_every_browser(async |stage| {
        let page = stage.workbench().await?;
        page.paste("url", &stage.server.ws("/flood?n=20000&rate=5000&size=100"))
            .await?;
        page.click("connect_websocket").await?;
        page.wait_state("ready_state", "OPEN").await?;
        page.click("new_tab").await?;
        page.wait_state("ready_state", "CLOSED").await?;
        page.click("connect_websocket").await?;
        page.wait_text("received_count", "20,000 ·").await?;
        page.wait_row(LOG, "the last one", |row| row.text.trim_end().starts_with("19999"))
            .await?;
        page.click("tab_1").await?;
        page.wait_text("received_count", "20,000 ·").await?;
        page.wait_row(LOG, "the last one", |row| row.text.trim_end().starts_with("19999"))
            .await?;
        page.wait_text("log_count", "20,000").await?;
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

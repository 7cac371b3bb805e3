//! Several connections of the workbench at once.

use talkback_e2e::in_every_browser;

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

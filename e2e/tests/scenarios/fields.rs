//! The fields of the workbench: what is wrong in them is explained there, and what was typed is kept.

use talkback_e2e::{Page, StepError, in_every_browser};

const LOG: &str = "messagecontainer";

#[test]
fn sending_without_a_connection_says_so_and_keeps_the_text() {
    in_every_browser(async |stage| {
        let page = stage.workbench().await?;
        page.fill("message", "precious").await?;
        page.click("send_message").await?;
        page.wait_text("error", "Not sent: you are not connected. Your text is kept.")
            .await?;
        page.wait_field("message", "precious").await?;
        assert_eq!(
            page.texts(LOG, "out").await?,
            Vec::<String>::new(),
            "nothing is logged as sent"
        );

        page.click("connect_websocket").await?;
        page.wait_state("ready_state", "OPEN").await?;
        page.wait_hidden("error").await?;
        page.click("send_message").await?;
        page.wait_texts(LOG, "in", &["precious"]).await?;
        Ok(())
    });
}

#[test]
fn a_bad_address_is_explained_at_its_field_and_kept() {
    in_every_browser(async |stage| {
        let page = stage.workbench().await?;
        for (address, why) in [
            ("", "it is empty"),
            ("ftp://example.com/", "it starts with ftp:"),
            ("ws://localhost/echo#part", "it has a # part"),
            ("ws://local host:port/", "check the host and the port"),
        ] {
            page.fill("url", address).await?;
            page.click("connect_websocket").await?;
            page.wait_text("error", why).await?;
            page.wait_field("url", address).await?;
            page.wait_state("ready_state", "CLOSED").await?;
            marked(page, "url").await?;
        }
        page.fill("url", &stage.server.ws("/echo")).await?;
        page.wait_hidden("error").await?;
        Ok(())
    });
}

#[test]
fn a_repeated_or_malformed_subprotocol_is_explained_at_its_field_and_kept() {
    in_every_browser(async |stage| {
        let page = stage.workbench().await?;
        page.click("subprotocols_button").await?;
        for (protocols, culprit, kept) in [("chat, chat", "'chat'", "chat"), ("good, b@d", "'b@d'", "b@d")] {
            page.fill("subprotocols", protocols).await?;
            page.click("connect_websocket").await?;
            page.wait_text(
                "error",
                &format!("Subprotocol {culprit} is repeated or has a forbidden character."),
            )
            .await?;
            page.wait_field("subprotocols", kept).await?;
            marked(page, "subprotocols").await?;
        }
        Ok(())
    });
}

#[test]
fn a_bad_close_code_or_a_long_reason_is_explained_at_its_field_and_the_connection_stays() {
    in_every_browser(async |stage| {
        let page = stage.connected_workbench().await?;
        page.click("close_with").await?;
        // The popover with the field closes with the click on the other button, and the error opens it again.
        for code in ["999", "1001", "2999", "5000", "1e3"] {
            page.fill("close_code", code).await?;
            page.click("close_websocket").await?;
            page.wait_text("error", "Code must be 1000 or 3000-4999.").await?;
            page.wait_field("close_code", code).await?;
            marked(page, "close_code").await?;
        }
        page.fill("close_code", "4000").await?;
        page.wait_hidden("error").await?;
        // 42 characters, but 126 bytes.
        let reason = "再".repeat(42);
        page.fill("close_reason", &reason).await?;
        page.click("close_websocket").await?;
        page.wait_text("error", "126/123 bytes").await?;
        page.wait_field("close_reason", &reason).await?;
        marked(page, "close_reason").await?;

        page.wait_state("ready_state", "OPEN").await?;
        page.click("send_message").await?;
        page.wait_texts(LOG, "in", &["Hello, World!"]).await?;
        Ok(())
    });
}

#[test]
fn markup_in_a_message_stays_text() {
    in_every_browser(async |stage| {
        let page = stage.connected_workbench().await?;
        let attack = "<img src=x onerror=\"document.title='hit'\"><script>document.title='hit'</script>";
        page.fill("message", attack).await?;
        page.click("send_message").await?;
        page.wait_texts(LOG, "in", &[attack]).await?;
        let elements = page
            .script(LOG, "return arguments[0].querySelectorAll('img, script').length;")
            .await?;
        assert_eq!(elements, 0, "the text became no element");
        assert_ne!(
            page.execute("return document.title;", vec![]).await?,
            "hit",
            "the script did not run"
        );
        Ok(())
    });
}

/// Waits until the field is marked as invalid for screen readers.
async fn marked(page: &Page, id: &str) -> Result<(), StepError> {
    page.wait_script(id, "return arguments[0].getAttribute('aria-invalid');", "true")
        .await
}

//! The workbench when something goes wrong: the page says what, keeps what was typed and logged, and goes on.

use std::net::{SocketAddr, ToSocketAddrs};

use talkback_e2e::{DEADLINE, StepError, in_every_browser, wait_for};
use talkback_testbed::Server;

const LOG: &str = "messagecontainer";

#[test]
fn after_a_stop_of_the_server_the_page_shows_it_keeps_the_log_and_connects_again() {
    in_every_browser(async |stage| {
        stage.connected_workbench().await?;
        let page = stage.page.clone();
        page.click("send_message").await?;
        page.wait_texts(LOG, "in", &["Hello, World!"]).await?;

        stage.server.stop().await?;
        page.wait_state("ready_state", "CLOSED").await?;
        page.wait_text("close_info", "1001").await?;
        page.wait_text("close_info", "Going away").await?;
        page.wait_row(LOG, "who closed", |row| {
            row.text.to_lowercase().contains("by the server")
        })
        .await?;

        page.click("connect_websocket").await?;
        page.wait_text("error", "Could not connect").await?;
        page.wait_state("ready_state", "CLOSED").await?;

        stage.server.start_again().await?;
        page.click("connect_websocket").await?;
        page.wait_state("ready_state", "OPEN").await?;
        page.wait_hidden("error").await?;
        page.fill("message", "again").await?;
        page.click("send_message").await?;
        page.wait_texts(LOG, "in", &["Hello, World!", "again"]).await?;
        Ok(())
    });
}

#[test]
fn a_killed_server_is_shown_as_a_lost_connection() {
    in_every_browser(async |stage| {
        stage.connected_workbench().await?;
        let page = stage.page.clone();
        page.click("send_message").await?;
        page.wait_texts(LOG, "in", &["Hello, World!"]).await?;
        stage.server.kill().await?;
        page.wait_state("ready_state", "CLOSED").await?;
        page.wait_text("close_info", "1006").await?;
        page.wait_row(LOG, "it was lost", |row| {
            row.text.contains("Connection lost without a close message")
        })
        .await?;
        page.wait_texts(LOG, "in", &["Hello, World!"]).await?;
        Ok(())
    });
}

#[test]
fn a_connection_reset_in_the_middle_of_a_message_shows_only_whole_messages() {
    in_every_browser(async |stage| {
        let faults = stage.faults().await?;
        let page = stage.workbench().await?;
        page.fill("url", &format!("{faults}/reset?after=3")).await?;
        page.click("connect_websocket").await?;
        page.wait_texts(LOG, "in", &["0", "1", "2"]).await?;
        page.click("send_message").await?;
        page.wait_state("ready_state", "CLOSED").await?;
        page.wait_text("close_info", "1006").await?;
        page.wait_texts(LOG, "in", &["0", "1", "2"]).await?;
        Ok(())
    });
}

#[test]
fn a_page_of_another_origin_is_refused_unless_the_server_allows_it() {
    in_every_browser(async |stage| {
        // A name of this machine that is not a loopback name: with `localhost` the server would be lenient.
        let name = machine_name()?;
        let address = resolve(&name)?;
        let host = ["--allow-host", &name];
        let home = stage.server_at(address, &host).await?;
        let strict = stage.server_at(address, &host).await?;
        let origin = format!("http://{name}:*");
        let allowing = stage
            .server_at(address, &[&host[..], &["--allow-origin", &origin]].concat())
            .await?;
        let named = |server: &Server| format!("ws://{name}:{}/echo", server.address().port());

        let page = &stage.page;
        page.open(
            &format!("http://{name}:{}/", home.address().port()),
            "connect_websocket",
        )
        .await?;
        page.fill("url", &named(&strict)).await?;
        page.click("connect_websocket").await?;
        page.wait_text("error", "Origin refused").await?;
        page.wait_state("ready_state", "CLOSED").await?;
        // The address is kept.
        page.wait_field("url", &named(&strict)).await?;

        for accepted in [&home, &allowing] {
            page.fill("url", &named(accepted)).await?;
            page.click("connect_websocket").await?;
            page.wait_state("ready_state", "OPEN").await?;
            page.click("close_websocket").await?;
            page.wait_state("ready_state", "CLOSED").await?;
        }
        Ok(())
    });
}

#[test]
fn a_code_and_reason_given_on_the_page_reach_the_server() {
    in_every_browser(async |stage| {
        let page = stage.connected_workbench().await?;
        page.click("close_with").await?;
        page.fill("close_code", "4000").await?;
        page.fill("close_reason", "再见").await?;
        page.click("close_websocket").await?;
        page.wait_state("ready_state", "CLOSED").await?;
        page.wait_text("close_info", "4000").await?;
        // A browser reports the close that the server answered with.
        page.wait_text("close_info", "再见").await?;
        stage
            .wait_log("the close with code 4000, in the server's own words", |line| {
                let line = line.to_string();
                line.contains("4000") && !line.contains("再见")
            })
            .await?;
        Ok(())
    });
}

#[test]
fn a_code_and_reason_from_the_server_are_shown_with_what_they_mean() {
    in_every_browser(async |stage| {
        let faults = stage.faults().await?;
        let page = stage.workbench().await?;
        page.fill("url", &format!("{faults}/close?code=4000&reason=bye&on_message=1"))
            .await?;
        page.click("connect_websocket").await?;
        page.wait_state("ready_state", "OPEN").await?;
        page.click("send_message").await?;
        page.wait_state("ready_state", "CLOSED").await?;
        for part in ["4000", "bye", "A code of the application's own"] {
            page.wait_text("close_info", part).await?;
        }
        page.wait_row(LOG, "who closed", |row| {
            row.text.to_lowercase().contains("by the server")
        })
        .await?;

        page.fill("url", &format!("{faults}/close")).await?;
        page.click("connect_websocket").await?;
        page.wait_text("close_info", "1005").await?;
        page.wait_text("close_info", "no code given").await?;
        Ok(())
    });
}

#[test]
fn a_refused_upgrade_and_a_wrong_subprotocol_are_shown_as_a_failed_connect() {
    in_every_browser(async |stage| {
        let faults = stage.faults().await?;
        let page = stage.workbench().await?;
        page.fill("url", &format!("{faults}/refuse?status=403")).await?;
        page.click("connect_websocket").await?;
        page.wait_text("error", "Could not connect").await?;
        page.wait_state("ready_state", "CLOSED").await?;

        page.fill("url", &format!("{faults}/protocol?name=other")).await?;
        page.wait_hidden("error").await?;
        page.click("subprotocols_button").await?;
        page.fill("subprotocols", "chat.v1, chat.v2").await?;
        page.click("connect_websocket").await?;
        page.wait_text("error", "Could not connect").await?;

        page.fill("url", &format!("{faults}/protocol?name=chat.v2")).await?;
        page.click("connect_websocket").await?;
        page.wait_state("ready_state", "OPEN").await?;
        page.wait_text("negotiated_protocol", "chat.v2").await?;
        Ok(())
    });
}

#[test]
fn a_view_that_cannot_be_loaded_says_so_and_the_other_one_goes_on() {
    in_every_browser(async |stage| {
        stage.workbench().await?;
        stage.server.kill().await?;
        let page = &stage.page;
        page.click("nav_chat").await?;
        let told = "
            const text = document.querySelector('#chat .shell-slow');
            return document.documentElement.dataset.failed === 'chat'
                && text.checkVisibility({ visibilityProperty: true });";
        wait_for("the page says that it cannot load the chat", DEADLINE, async || {
            Ok(page.execute(told, vec![]).await? == true)
        })
        .await?;
        page.click("nav_workbench").await?;
        page.wait_shown("connect_websocket").await?;
        page.click("connect_websocket").await?;
        page.wait_state("ready_state", "CLOSED").await?;
        page.wait_row(LOG, "the server is gone", |row| row.text.contains("1006"))
            .await?;
        Ok(())
    });
}

#[test]
fn a_server_that_never_answers_can_be_cancelled() {
    // hoppscotch#2773: connecting could not be cancelled.
    in_every_browser(async |stage| {
        let faults = stage.faults().await?;
        let page = stage.workbench().await?;
        assert!(
            !page.is_shown("cancel_connect").await?,
            "there is nothing to cancel yet"
        );
        page.fill("url", &format!("{faults}/silent")).await?;
        page.click("connect_websocket").await?;
        page.wait_state("ready_state", "CONNECTING").await?;
        page.click("cancel_connect").await?;
        page.wait_state("ready_state", "CLOSED").await?;
        page.wait_hidden("cancel_connect").await?;
        page.wait_row(LOG, "it was cancelled", |row| row.text.contains("Cancelled"))
            .await?;

        page.fill("url", &stage.server.ws("/echo")).await?;
        page.click("connect_websocket").await?;
        page.wait_state("ready_state", "OPEN").await?;
        Ok(())
    });
}

#[test]
fn a_connection_whose_close_is_not_answered_is_ended_after_a_timeout() {
    in_every_browser(async |stage| {
        let faults = stage.faults().await?;
        let page = stage.workbench().await?;
        page.fill("url", &format!("{faults}/no-close")).await?;
        page.click("connect_websocket").await?;
        page.wait_state("ready_state", "OPEN").await?;
        page.click("close_websocket").await?;
        page.wait_state("ready_state", "CLOSING").await?;
        page.wait_state("ready_state", "CLOSED").await?;
        page.wait_row(LOG, "it was ended", |row| row.text.contains("did not answer the close"))
            .await?;
        Ok(())
    });
}

/// The name of this machine, which is no loopback name.
pub(super) fn machine_name() -> Result<String, StepError> {
    let name =
        std::fs::read_to_string("/proc/sys/kernel/hostname").map_err(|error| StepError::Setup(error.to_string()))?;
    Ok(name.trim().to_ascii_lowercase())
}

/// An address of a name.
pub(super) fn resolve(name: &str) -> Result<SocketAddr, StepError> {
    let mut addresses = (name, 0).to_socket_addrs().into_iter().flatten();
    addresses.find(SocketAddr::is_ipv4).ok_or_else(|| {
        StepError::Setup(format!(
            "this machine's own name, {name}, has no IPv4 address: add `127.0.0.1 {name}` to /etc/hosts"
        ))
    })
}

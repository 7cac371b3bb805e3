//! The client's trace on the browser's console, which the parameter `trace` of the page's address switches on.

use talkback_e2e::{DEADLINE, Engine, Page, Stage, StepError, in_every_browser, wait_for};
use talkback_testbed::Proxy;

/// What no line may contain, beside the client's key.
const NAME: &str = "Grace";
const ROOM: &str = "vault";
const TEXTS: [&str; 2] = ["whisper", "murmur"];

/// The lines of the trace on the console after the first `skipped` lines.
async fn trace(stage: &Stage, skipped: usize) -> Vec<String> {
    let mut lines = stage.browser.console().await.split_off(skipped);
    lines.retain(|line| line.contains("talkback::"));
    lines
}

/// Loses the connection, sends a message meanwhile, and waits until it is delivered over the next connection. Returns
/// the client's key.
async fn reconnect(page: &Page, proxy: &Proxy, text: &str) -> Result<String, StepError> {
    proxy.refuse(true);
    proxy.cut();
    page.wait_shown("offline_banner").await?;
    page.send(text).await?;
    page.wait_delivery(text, "pending").await?;
    let mut key = String::new();
    wait_for("the outbox is stored with its key", DEADLINE, async || {
        let read = "return Object.values(sessionStorage).join().match(/[0-9a-f]{32}/)?.[0] ?? '';";
        key = page
            .execute(read, vec![])
            .await?
            .as_str()
            .unwrap_or_default()
            .to_owned();
        Ok(!key.is_empty())
    })
    .await?;
    proxy.refuse(false);
    page.wait_state("chat_state", "OPEN").await?;
    page.wait_delivery(text, "acked").await?;
    Ok(key)
}

#[test]
fn a_reconnection_can_be_followed_on_the_console_if_the_address_asks_for_the_trace() {
    in_every_browser(async |stage| {
        let proxy = stage.proxy(&stage.server).await?;
        let origin = format!("http://{}", proxy.address());
        let page = stage.page.clone();
        let start = stage.browser.console().await.len();
        page.join_at(&origin, ROOM, NAME).await?;
        reconnect(&page, &proxy, TEXTS[0]).await?;
        assert_eq!(trace(stage, start).await, [""; 0], "without the parameter");

        page.execute("sessionStorage.clear();", vec![]).await?;
        let start = stage.browser.console().await.len();
        page.join_at(&origin, &format!("{ROOM}?trace"), NAME).await?;
        let key = reconnect(&page, &proxy, TEXTS[1]).await?;
        let address = "return location.pathname + location.search;";
        let views = [
            ("nav_workbench", "/?trace", "connect_websocket"),
            ("nav_chat", "/chat/vault?trace", "chat_message"),
        ];
        for (link, expected, shown) in views {
            page.click(link).await?;
            page.wait_answer(address, expected).await?;
            // The address changes before the view.
            page.wait_shown(shown).await?;
        }
        for (event, state) in [("freeze", "SUSPENDED"), ("resume", "OPEN")] {
            let dispatch = format!("document.dispatchEvent(new Event('{event}'));");
            page.execute(&dispatch, vec![]).await?;
            page.wait_state("chat_state", state).await?;
        }
        page.reload().await?;
        page.wait_state("chat_state", "OPEN").await?;

        // WebKitGTK reports no console.
        if stage.browser.engine() == Engine::WebKit {
            return Ok(());
        }
        let mut rest = Vec::new();
        let found = wait_for(
            "the trace has the connections, the events and the reload",
            DEADLINE,
            async || {
                // The parts of the expected lines, in their order.
                let mut expected = [
                "DEBUG talkback::client: the session begins: the outbox is stored, with 0 messages of an earlier page",
                "connection 1: connecting -> greeting",
                "connection 1: greeting -> open",
                "DEBUG talkback::client: room 1: joined",
                "connection 1: open, heartbeat 25000 ms -> waiting until",
                "after close code 1006",
                "TRACE talkback::client: timer",
                "-> connecting",
                "connecting -> greeting",
                "greeting -> open",
                "DEBUG talkback::client: event freeze",
                "-> suspended (Asleep)",
                "DEBUG talkback::client: event resume",
                "suspended (Asleep) ->",
                "DEBUG talkback::client: records of a stored outbox: lock granted, adopted",
                "connection 1: connecting -> greeting",
                "connection 1: greeting -> open",
            ]
            .into_iter()
            .peekable();
                for line in trace(stage, start).await {
                    while expected.next_if(|part| line.contains(part)).is_some() {}
                }
                rest = expected.collect();
                Ok(rest.is_empty())
            },
        )
        .await;
        let lines = trace(stage, start).await;
        found.map_err(|error| StepError::Setup(format!("{error}: {rest:?} is missing in\n{}", lines.join("\n"))))?;
        for secret in [NAME, ROOM, TEXTS[0], TEXTS[1], &key] {
            let with_secret = lines.iter().find(|line| line.contains(secret));
            assert_eq!(with_secret, None, "{secret}");
        }
        Ok(())
    });
}

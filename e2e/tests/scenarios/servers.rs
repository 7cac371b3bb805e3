//! The chat on several servers with one Redis, behind nginx.

use serde_json::Value;
use talkback_e2e::{DEADLINE, Page, StepError, in_every_browser, wait_for};
use talkback_testbed::{ProxyProgram, Redis, ReverseProxy, Server};

/// Whether a page has a session at this server, by its log.
fn has_session(server: &Server) -> bool {
    server.log().iter().any(|line| {
        let line: Value = serde_json::from_str(line).unwrap_or_default();
        line["span"]["kind"] == "session"
    })
}

async fn wait_for_all(pages: &[&Page], messages: &[(&str, String)]) -> Result<(), StepError> {
    let messages: Vec<_> = messages.iter().map(|(name, text)| (*name, text.as_str())).collect();
    for page in pages {
        page.wait_messages(&messages).await?;
    }
    Ok(())
}

#[test]
fn two_tabs_on_two_servers_show_all_messages_once_and_in_one_order_while_each_server_is_killed() {
    in_every_browser(async |stage| {
        let setup = |error: std::io::Error| StepError::Setup(error.to_string());
        let redis = Redis::start(&[]).await.map_err(setup)?;
        let url = redis.url();
        let arguments = [
            "--engine",
            &url,
            "--trust-proxy",
            "127.0.0.1/32",
            "--log",
            "talkback=trace",
        ];
        let any_port = || ([127, 0, 0, 1], 0).into();
        let mut servers = [
            stage.server_at(any_port(), &arguments).await?,
            stage.server_at(any_port(), &arguments).await?,
        ];
        let addresses = [servers[0].address(), servers[1].address()];
        let front = ReverseProxy::start(ProxyProgram::Nginx, &addresses)
            .await
            .map_err(setup)?;
        let origin = format!("http://{}", front.address());
        // A window and not a tab: the timers of a tab that is not in front are late.
        let (ann, bob) = (stage.page.clone(), stage.page.new_window(900, 700).await?);
        ann.join_at(&origin, "harbour", "Ann").await?;
        bob.join_at(&origin, "harbour", "Bob").await?;
        wait_for("each server has a tab", DEADLINE, async || {
            Ok(servers.iter().all(has_session))
        })
        .await?;
        let mut expected = Vec::new();
        for server in &mut servers {
            let texts = ["before", "meanwhile", "after"].map(|when| format!("{when} {}", expected.len()));
            let [before, meanwhile, after] = texts;
            bob.send(&before).await?;
            expected.push(("Bob", before));
            wait_for_all(&[&ann, &bob], &expected).await?;
            server.kill().await.map_err(setup)?;
            // A tab of this server moves to the other one.
            ann.send(&meanwhile).await?;
            ann.wait_delivery(&meanwhile, "acked").await?;
            bob.send(&after).await?;
            bob.wait_delivery(&after, "acked").await?;
            server.start_again().await.map_err(setup)?;
            expected.extend([("Ann", meanwhile), ("Bob", after)]);
            wait_for_all(&[&ann, &bob], &expected).await?;
        }
        for page in [&ann, &bob] {
            page.wait_value(
                "it is one log",
                async || page.offsets().await,
                |offsets| offsets.iter().copied().eq(1..=6),
            )
            .await?;
        }
        Ok(())
    });
}

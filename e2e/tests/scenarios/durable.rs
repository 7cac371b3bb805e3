//! The chat on a server that keeps its log in a file.

use talkback_e2e::{StepError, in_every_browser};

#[test]
fn two_tabs_show_all_messages_once_and_in_one_order_while_their_server_is_killed_three_times() {
    in_every_browser(async |stage| {
        let setup = |error: std::io::Error| StepError::Setup(error.to_string());
        let directory = tempfile::tempdir().map_err(setup)?;
        let engine = format!("sqlite:{}", directory.path().join("log.db").display());
        let any_port = ([127, 0, 0, 1], 0).into();
        let mut server = stage.server_at(any_port, &["--engine", &engine]).await?;
        // A window and not a tab: the timers of a tab that is not in front are late.
        let (ann, bob) = (stage.page.clone(), stage.page.new_window(900, 700).await?);
        ann.join(&server, "cellar", "Ann").await?;
        bob.join(&server, "cellar", "Bob").await?;
        let mut expected = Vec::new();
        for kill in 1..=3 {
            let texts = ["to be stored", "just before the end", "meanwhile", "after it"];
            let [stored, just_before, meanwhile, after] = texts.map(|text| format!("{kill}: {text}"));
            ann.send(&stored).await?;
            ann.wait_delivery(&stored, "acked").await?;
            // The server may be killed before it gets this one, before its commit, or before the answer.
            ann.send(&just_before).await?;
            server.kill().await?;
            ann.wait_shown("offline_banner").await?;
            ann.send(&meanwhile).await?;
            server.start_again().await?;
            ann.wait_delivery(&meanwhile, "acked").await?;
            bob.send(&after).await?;
            expected.extend([
                ("Ann", stored),
                ("Ann", just_before),
                ("Ann", meanwhile),
                ("Bob", after),
            ]);
            let expected: Vec<_> = expected.iter().map(|(name, text)| (*name, text.as_str())).collect();
            for page in [&ann, &bob] {
                page.wait_messages(&expected).await?;
            }
        }
        for page in [&ann, &bob] {
            page.wait_value(
                "the log went on after each start",
                async || page.offsets().await,
                |offsets| offsets.iter().copied().eq(1..=12),
            )
            .await?;
        }
        Ok(())
    });
}

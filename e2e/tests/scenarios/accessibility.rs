//! axe-core, which knows the rules of accessibility, finds nothing in the views: each theme in Chromium for every day, each language
//! and engine too with `cargo xtask test --full`.

use std::fs;

use serde_json::Value;
use talkback_e2e::{DEADLINE, Engine, Outcome, Page, Stage, StepError, in_every_browser, is_full, target, wait_for};
use thirtyfour::Key;

/// Where `cargo xtask` installs axe-core.
const AXE: &str = "npm/node_modules/axe-core/axe.min.js";

const LOG: &str = "messagecontainer";

#[test]
fn axe_finds_nothing_in_any_view_and_theme() {
    in_every_browser(async |stage| {
        let is_full = is_full();
        let languages: &[&str] = if is_full { &["en", "zh"] } else { &["en"] };
        if !is_full && stage.browser.engine() != Engine::Chromium {
            return Ok(());
        }
        let path = target().join(AXE);
        let axe = match fs::read_to_string(&path) {
            Ok(axe) => axe,
            Err(error) if is_full => {
                return Err(StepError::Setup(format!(
                    "axe-core cannot be read from {}: {error}. Install npm, with which `cargo xtask` installs it.",
                    path.display()
                ))
                .into());
            }
            Err(_) => {
                eprintln!("axe-core was not run: there is no npm to install it with");
                return Ok(());
            }
        };
        let mut findings = Vec::new();
        for language in languages {
            for theme in ["light", "dark"] {
                let look = Look {
                    axe: &axe,
                    language,
                    theme,
                };
                look.at_the_workbench(stage, &mut findings).await?;
                look.at_the_chat(stage, &mut findings).await?;
            }
        }
        assert!(findings.is_empty(), "{}", findings.join("\n"));
        Ok(())
    });
}

struct Look<'a> {
    axe: &'a str,
    language: &'a str,
    theme: &'a str,
}

impl Look<'_> {
    async fn at_the_workbench(&self, stage: &Stage, findings: &mut Vec<String>) -> Outcome {
        let page = &stage.page;
        page.open(&stage.server.http("/"), "connect_websocket").await?;
        page.choose("language", self.language).await?;
        page.choose("theme", self.theme).await?;
        self.examine(page, "the workbench, empty", findings).await?;
        page.paste("url", &stage.server.ws("/echo")).await?;
        page.click("connect_websocket").await?;
        page.wait_state("ready_state", "OPEN").await?;
        page.paste("message", r#"{"id": 1, "price": 101.5, "open": true, "none": null}"#)
            .await?;
        page.click("send_message").await?;
        page.wait_row(LOG, "the echo", |row| row.direction == "in").await?;
        self.examine(page, "the workbench, connected", findings).await?;
        for (opener, popover) in [
            ("close_with", "close_options"),
            ("subprotocols_button", "subprotocol_options"),
            ("repeat", "repeat_options"),
            ("saved_button", "saved_connections"),
            ("snippets_button", "saved_snippets"),
            ("help_button", "help"),
            ("url_list_button", "url_list"),
        ] {
            page.click(opener).await?;
            page.wait_shown(popover).await?;
            self.examine(page, &format!("the workbench with #{popover}"), findings)
                .await?;
            page.press(Key::Escape).await?;
            page.wait_hidden(popover).await?;
        }
        page.click("new_tab").await?;
        page.wait_shown("tabs").await?;
        self.examine(page, "the workbench with tabs", findings).await?;
        page.click("close_tab_2").await?;
        page.wait_hidden("tabs").await?;
        page.script(LOG, "arguments[0].closest('.log-viewport').focus();")
            .await?;
        page.press(Key::Up).await?;
        page.wait_shown("detail_text").await?;
        self.examine(page, "the workbench with a message's details", findings)
            .await?;
        page.press(Key::Escape).await?;
        page.click("close_websocket").await?;
        page.wait_state("ready_state", "CLOSED").await?;
        page.paste("url", "ws://nowhere/#x").await?;
        page.click("connect_websocket").await?;
        page.wait_shown("error").await?;
        self.examine(page, "the workbench with an error", findings).await
    }

    async fn at_the_chat(&self, stage: &Stage, findings: &mut Vec<String>) -> Outcome {
        let page = &stage.page;
        // A room of its own for each look, without the messages of the one before.
        let room = format!("{}-{}", self.theme, self.language);
        page.join(&stage.server, &room, "Ann").await?;
        self.examine(page, "a room without messages", findings).await?;
        for text in ["hello", "see http://example.org/, `code` and\n```\nmore code\n```"] {
            page.paste("chat_message", text).await?;
            page.click("chat_send").await?;
        }
        page.wait_row("chat_messages", "the code", |row| row.text.contains("more code"))
            .await?;
        let friend = page.new_tab().await?;
        friend.join(&stage.server, &room, "Bob").await?;
        friend.send("good morning").await?;
        page.wait_row("chat_messages", "the answer", |row| row.text == "good morning")
            .await?;
        self.examine(page, "a room with messages", findings).await?;
        page.click("chat_leave").await?;
        page.wait_shown("chat_join").await?;
        self.examine(page, "a room that was left", findings).await
    }

    async fn examine(&self, page: &Page, what: &str, findings: &mut Vec<String>) -> Outcome {
        // Half a megabyte, once for each page that is loaded.
        if page.execute("return typeof axe;", vec![]).await? == "undefined" {
            page.execute(&format!("{}; window.axe = axe;", self.axe), vec![])
                .await?;
        }
        let start = "
            window.findings = undefined;
            axe.run(document, { resultTypes: ['violations'] }).then(
                ({ violations }) => {
                    window.findings = violations.flatMap(({ id, nodes }) =>
                        nodes.map(node => `${id}: ${node.target.join(' ')}: ${node.failureSummary}`));
                },
                error => { window.findings = [`${error}`]; },
            );";
        page.execute(start, vec![]).await?;
        let mut found = Value::Null;
        wait_for(format!("axe has examined {what}"), DEADLINE, async || {
            found = page.execute("return window.findings ?? null;", vec![]).await?;
            Ok(!found.is_null())
        })
        .await?;
        let found: Vec<String> = serde_json::from_value(found)?;
        let Self { language, theme, .. } = self;
        findings.extend(
            found
                .into_iter()
                .map(|finding| format!("{what}, {theme}, {language}: {finding}")),
        );
        Ok(())
    }
}

//! axe-core, which knows the rules of accessibility, finds nothing in the views: each theme in Chromium for every day, each language
//! and engine too with `cargo xtask test --full`.

use std::fs;

use serde_json::Value;
use talkback_e2e::{DEADLINE, Engine, Outcome, Page, Stage, StepError, in_every_browser, is_full, target, wait_for};
use thirtyfour::Key;

use crate::offline::{make_another_build, open_copy};

/// Where `cargo xtask` installs axe-core.
const AXE: &str = "npm/node_modules/axe-core/axe.min.js";

const LOG: &str = "messagecontainer";

#[test]
fn axe_finds_nothing_in_any_view_and_theme() {
    in_every_browser(async |stage| {
        let is_full = is_full();
        let (languages, themes): (&[&str], &[&str]) = if is_full {
            (&["en", "zh"], &["light", "dark"])
        } else {
            (&["en"], &["light"])
        };
        if !is_full && stage.browser.engine() != Engine::Chromium {
            return Ok(());
        }
        let Some(axe) = axe()? else {
            return Ok(());
        };
        let mut findings = Vec::new();
        for language in languages {
            for theme in themes {
                let look = Look {
                    axe: &axe,
                    language,
                    theme,
                };
                look.at_the_workbench(stage, &mut findings).await?;
                look.at_the_chat(stage, &mut findings).await?;
                look.at_narrow_pages(stage, &mut findings).await?;
            }
        }
        assert!(findings.is_empty(), "{}", findings.join("\n"));
        Ok(())
    });
}

#[test]
fn axe_finds_nothing_in_the_notices_of_a_full_log_and_of_a_newer_build() {
    in_every_browser(async |stage| {
        if !is_full() && stage.browser.engine() != Engine::Chromium {
            return Ok(());
        }
        let (Some(axe), Some((folder, server))) = (axe()?, open_copy(stage).await?) else {
            return Ok(());
        };
        let page = &stage.page;
        page.paste("url", &server.ws("/flood?n=100000&size=20")).await?;
        page.click("connect_websocket").await?;
        make_another_build(folder.path())?;
        let update = "return navigator.serviceWorker.ready.then(worker => worker.update()).then(() => true);";
        page.execute(update, vec![]).await?;
        wait_for("both notices are shown", DEADLINE * 3, async || {
            Ok(page.is_shown("log_notice").await? && page.is_shown("update_now").await?)
        })
        .await?;
        let mut findings = Vec::new();
        for theme in ["light", "dark"] {
            page.choose("theme", theme).await?;
            let look = Look {
                axe: &axe,
                language: "en",
                theme,
            };
            look.examine(page, "the workbench with notices", &mut findings).await?;
        }
        assert!(findings.is_empty(), "{}", findings.join("\n"));
        Ok(())
    });
}

/// axe-core; none where it is not installed, if not all is to be tested.
fn axe() -> Result<Option<String>, StepError> {
    let path = target().join(AXE);
    match fs::read_to_string(&path) {
        Ok(axe) => Ok(Some(axe)),
        Err(error) if is_full() => Err(StepError::Setup(format!(
            "axe-core cannot be read from {}: {error}. Install npm, with which `cargo xtask` installs it.",
            path.display()
        ))),
        Err(_) => {
            eprintln!("axe-core was not run: there is no npm to install it with");
            Ok(None)
        }
    }
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
        page.click("export_log").await?;
        page.wait_shown("export_har").await?;
        self.examine(page, "the workbench with the choices of the export", findings)
            .await?;
        page.press(Key::Escape).await?;
        page.wait_hidden("export_har").await?;
        page.fill("log_filter", "/(/").await?;
        page.wait_shown("log_filter_error").await?;
        self.examine(page, "the workbench with a filter that is wrong", findings)
            .await?;
        page.fill("log_filter", "").await?;
        page.click("mode_file").await?;
        page.wait_shown("message_file").await?;
        self.examine(page, "the workbench with a file to send", findings)
            .await?;
        page.click("mode_hex").await?;
        page.fill("message", "x").await?;
        page.wait_script("message_size", "return 'problem' in arguments[0].dataset;", true)
            .await?;
        self.examine(page, "the workbench with bytes that are wrong", findings)
            .await?;
        page.click("mode_text").await?;
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
        page.click("chat_search_button").await?;
        page.fill("chat_search", "code").await?;
        page.wait_text("chat_found", "/").await?;
        page.fill("chat_message", "@B").await?;
        page.wait_shown("chat_names").await?;
        self.examine(page, "a room with the search and a list of names", findings)
            .await?;
        page.fill("chat_message", "").await?;
        page.press_with(Key::Control, "k").await?;
        page.wait_shown("chat_switch_to").await?;
        self.examine(page, "a room with the list of rooms to switch to", findings)
            .await?;
        page.press(Key::Escape).await?;
        page.wait_hidden("chat_switch_to").await?;
        page.execute("window.dispatchEvent(new Event('offline'));", vec![])
            .await?;
        page.wait_shown("slow_banner").await?;
        self.examine(page, "a room with a banner", findings).await?;
        page.wait_hidden("slow_banner").await?;
        page.click("chat_leave").await?;
        page.wait_shown("chat_join").await?;
        self.examine(page, "a room that was left", findings).await?;
        let failed = "sessionStorage.setItem(`talkback.failed.${arguments[0]}-failed\\nAnn`, 'expired\\t1\\t\"\"\\t\"text\"\\n');";
        page.execute(failed, vec![room.clone().into()]).await?;
        page.join(&stage.server, &format!("{room}-failed"), "Ann").await?;
        page.wait_delivery("text", "failed").await?;
        self.examine(page, "a room with a failed message", findings).await?;
        page.leave().await?;
        page.wait_shown("chat_join").await?;
        self.examine(page, "a room that was left, with a failed message", findings)
            .await?;
        page.fill("chat_name", "a]").await?;
        page.click("chat_join").await?;
        page.wait_shown("error").await?;
        self.examine(page, "a room with a name that is wrong", findings).await?;
        page.open(&stage.server.http("/chat/a%20b"), "chat_lobby").await?;
        self.examine(page, "no room", findings).await?;
        page.open(&stage.server.http("/nope"), "no_page").await?;
        self.examine(page, "no page", findings).await
    }

    async fn at_narrow_pages(&self, stage: &Stage, findings: &mut Vec<String>) -> Outcome {
        let page = stage.page.new_window(320, 640).await?;
        page.open(&stage.server.http("/"), "connect_websocket").await?;
        page.paste("url", &stage.server.ws("/echo")).await?;
        page.click("connect_websocket").await?;
        page.wait_state("ready_state", "OPEN").await?;
        page.paste("message", r#"{"id": 1, "list": [{"open": true}, {"none": null}]}"#)
            .await?;
        page.click("send_message").await?;
        page.wait_row(LOG, "the echo", |row| row.direction == "in").await?;
        self.examine(&page, "the narrow workbench", findings).await?;
        page.click("more_options").await?;
        page.wait_shown("connection_options").await?;
        self.examine(&page, "the narrow workbench with its options", findings)
            .await?;
        page.press(Key::Escape).await?;
        page.wait_hidden("connection_options").await?;
        page.script(LOG, "arguments[0].closest('.log-viewport').focus();")
            .await?;
        page.press(Key::End).await?;
        page.wait_shown("detail_text").await?;
        self.examine(&page, "the narrow workbench with a message's details", findings)
            .await?;
        page.join(&stage.server, &format!("{}-{}", self.theme, self.language), "Ann")
            .await?;
        self.examine(&page, "the narrow chat", findings).await?;
        for (opener, part) in [("chat_rooms", "chat_add_room"), ("chat_people", "roster")] {
            page.click(opener).await?;
            page.wait_shown(part).await?;
            self.examine(&page, &format!("the narrow chat with #{part}"), findings)
                .await?;
            page.press(Key::Escape).await?;
            page.wait_hidden(part).await?;
        }
        Ok(())
    }

    async fn examine(&self, page: &Page, what: &str, findings: &mut Vec<String>) -> Outcome {
        // Half a megabyte, once for each page that is loaded.
        if page.execute("return typeof axe;", vec![]).await? == "undefined" {
            page.execute(&format!("{}; window.axe = axe;", self.axe), vec![])
                .await?;
        }
        let start = "
            window.findings = undefined;
            const rules = { 'target-size': { enabled: true } };
            axe.run(document, { resultTypes: ['violations'], rules }).then(
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

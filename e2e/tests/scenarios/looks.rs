//! The page as a whole: languages, themes, keyboard, narrow screens, and what it asks of the network.

use std::net::Ipv4Addr;

use serde_json::Value;
use talkback_e2e::{
    DEADLINE, Engine, Page, Stage, StepError, in_every_browser, in_every_browser_with_requests, is_full, wait_for,
};
use thirtyfour::Key;

const LOG: &str = "messagecontainer";
const CHAT: &str = "chat_messages";

#[test]
fn loading_breaks_no_rule_of_the_content_security_policy_and_writes_no_error() {
    in_every_browser(async |stage| {
        for (path, ready) in [("/", "connect_websocket"), ("/chat/lobby", "chat_join")] {
            stage.page.open(&stage.server.http(path), ready).await?;
        }
        stage.page.click("chat_join").await?;
        stage.page.wait_state("chat_state", "OPEN").await?;
        let complaints: Vec<_> = stage
            .browser
            .console()
            .await
            .into_iter()
            // Firefox's own start writes to the same place.
            .filter(|line| {
                line.starts_with("SEVERE") || line.starts_with("WARNING") || line.contains("http://127.0.0.1")
            })
            .collect();
        assert!(complaints.is_empty(), "{complaints:#?}");
        Ok(())
    });
}

#[test]
fn nothing_is_asked_of_any_other_host() {
    in_every_browser_with_requests(async |stage| {
        let page = stage.connected_workbench().await?;
        let list = "return performance.getEntriesByType('resource').map(entry => entry.name);";
        let mut requests: Vec<String> = serde_json::from_value(page.execute(list, vec![]).await?)?;
        requests.extend(stage.browser.requests().await);
        assert!(
            requests.iter().any(|url| url.ends_with(".wasm")),
            "the list is complete: {requests:#?}"
        );
        let own = [
            stage.server.http("/"),
            stage.server.ws("/"),
            "data:".into(),
            "blob:".into(),
        ];
        requests.retain(|url| !own.iter().any(|own| url.starts_with(own)));
        assert!(requests.is_empty(), "{requests:#?}");
        Ok(())
    });
}

#[test]
fn opening_and_closing_the_details_keeps_the_list_and_its_keys() {
    // yew#3262: a keyed element beside unkeyed ones made the list anew, and the focus fell to the body.
    in_every_browser(async |stage| {
        let page = stage.connected_workbench().await?;
        page.click("send_message").await?;
        page.wait_texts(LOG, "in", &["Hello, World!"]).await?;
        let mark = "const list = arguments[0].closest('.log-viewport'); list.mark = 1; list.focus();";
        page.script(LOG, mark).await?;
        let is_same = "
            const list = arguments[0].closest('.log-viewport');
            return list.mark === 1 && document.activeElement === list;";
        let selected = "return arguments[0].querySelector('[aria-selected=true]')?.id ?? '';";
        page.press(Key::Up).await?;
        page.wait_shown("detail_text").await?;
        let mut newest = Value::Null;
        wait_for("a row is selected", DEADLINE, async || {
            newest = page.script(LOG, selected).await?;
            Ok(newest != "")
        })
        .await?;
        // It is the same element.
        page.wait_script(LOG, is_same, true).await?;
        page.press(Key::Up).await?;
        wait_for("the row above is selected", DEADLINE, async || {
            Ok(page.script(LOG, selected).await? != newest)
        })
        .await?;
        page.press(Key::Escape).await?;
        page.wait_hidden("detail_text").await?;
        // It is the same element.
        page.wait_script(LOG, is_same, true).await?;
        page.press(Key::Up).await?;
        page.wait_shown("detail_text").await?;
        Ok(())
    });
}

#[test]
fn everything_can_be_done_by_keyboard() {
    in_every_browser(async |stage| {
        let page = stage.workbench().await?;
        tab_to(page, "connect_websocket").await?;
        page.press(Key::Enter).await?;
        page.wait_state("ready_state", "OPEN").await?;
        // The button keeps the focus.
        page.wait_focus("close_websocket").await?;
        tab_to(page, "message").await?;
        page.press_with(Key::Control, "a").await?;
        page.press("by keyboard").await?;
        tab_to(page, "send_message").await?;
        page.press(Key::Space).await?;
        page.wait_texts(LOG, "in", &["by keyboard"]).await?;
        tab_back_to(page, "close_websocket").await?;
        page.press(Key::Enter).await?;
        page.wait_state("ready_state", "CLOSED").await?;
        // The button keeps the focus.
        page.wait_focus("connect_websocket").await?;
        tab_back_to(page, "nav_chat").await?;
        page.press(Key::Enter).await?;
        page.wait_shown("chat_join").await?;
        tab_to(page, "chat_name").await?;
        page.press_with(Key::Control, "a").await?;
        page.press("Ann").await?;
        page.press(Key::Enter).await?;
        page.wait_state("chat_state", "OPEN").await?;
        // There is nothing else to do first.
        page.wait_focus("chat_message").await?;
        page.press("hello").await?;
        page.press(Key::Enter).await?;
        page.wait_delivery("hello", "acked").await?;
        tab_back_to(page, "chat_leave").await?;
        page.press(Key::Space).await?;
        page.wait_state("chat_state", "CLOSED").await?;
        Ok(())
    });
}

#[test]
fn the_page_is_shown_in_chinese_and_remembers_it() {
    in_every_browser(async |stage| {
        let page = stage.workbench().await?;
        page.choose("language", "zh").await?;
        page.wait_text("connect_websocket", "连接").await?;
        page.wait_text("send_message", "发送").await?;
        let says_so = "return document.body.innerText.includes('暂无消息');";
        page.wait_answer(says_so, true).await?;
        page.wait_answer("return document.documentElement.lang;", "zh-CN")
            .await?;
        page.click("send_message").await?;
        page.wait_text("error", "未发送").await?;

        stage.workbench().await?;
        page.wait_text("connect_websocket", "连接").await?;
        page.choose("language", "en").await?;
        page.wait_text("connect_websocket", "Connect").await?;
        Ok(())
    });
}

#[test]
fn changing_the_language_keeps_the_connection_the_log_and_what_was_typed() {
    in_every_browser(async |stage| {
        let page = stage.connected_workbench().await?;
        page.click("send_message").await?;
        page.wait_texts(LOG, "in", &["Hello, World!"]).await?;
        page.fill("message", "draft").await?;
        page.choose("language", "zh").await?;
        page.wait_text("close_websocket", "断开").await?;
        page.wait_state("ready_state", "OPEN").await?;
        page.wait_field("message", "draft").await?;
        page.click("send_message").await?;
        page.wait_texts(LOG, "in", &["Hello, World!", "draft"]).await?;
        Ok(())
    });
}

#[test]
fn the_dark_theme_is_dark_and_remembered() {
    in_every_browser(async |stage| {
        let page = stage.workbench().await?;
        let is_light = async || wait_brightness(page, |now| now > 200.0).await;
        let is_dark = async || wait_brightness(page, |now| now < 60.0).await;
        page.choose("theme", "light").await?;
        is_light().await?;
        page.choose("theme", "dark").await?;
        is_dark().await?;
        stage.workbench().await?;
        is_dark().await?;
        Ok(())
    });
}

#[test]
fn a_screen_of_320_pixels_needs_no_sideways_scrolling() {
    in_every_browser(async |stage| {
        stage.workbench().await?;
        let page = stage.page.new_window(320, 640).await?;
        for language in ["en", "zh"] {
            page.open(&stage.server.http("/"), "connect_websocket").await?;
            page.choose("language", language).await?;
            fits(&page, "the workbench").await?;
            page.fill("url", &stage.server.ws("/echo")).await?;
            page.click("connect_websocket").await?;
            page.wait_state("ready_state", "OPEN").await?;
            let long = "https://example.com/a-word-that-has-no-place-to-break/".repeat(8);
            page.paste("message", &long).await?;
            page.click("send_message").await?;
            page.wait_texts(LOG, "in", &[&long]).await?;
            fits(&page, "the workbench with a long word").await?;
            page.click("more_options").await?;
            page.paste("subprotocols", &format!("{}, b, {}, ", "a".repeat(60), "c".repeat(30)))
                .await?;
            page.paste("connections_name", &"name ".repeat(12)).await?;
            page.click("connections_save").await?;
            page.wait_text("connections_list", "name").await?;
            fits(&page, "the options").await?;
            picture(stage, &page, &format!("workbench-options-{language}")).await?;
            // The server chooses none, which would end the next connection.
            for _ in 0..3 {
                page.press_in("subprotocols", Key::Backspace).await?;
            }
            page.press(Key::Escape).await?;
            page.click("snippets_button").await?;
            page.paste("snippets_name", &"name ".repeat(12)).await?;
            page.click("snippets_save").await?;
            page.wait_text("snippets_list", "name").await?;
            fits(&page, "the snippets").await?;
            picture(stage, &page, &format!("workbench-snippets-{language}")).await?;
            page.press(Key::Escape).await?;
            page.click("close_websocket").await?;
            page.wait_state("ready_state", "CLOSED").await?;
            page.fill("url", "nonsense").await?;
            page.click("connect_websocket").await?;
            page.wait_shown("error").await?;
            fits(&page, "the workbench with an error").await?;

            page.join(&stage.server, "lobby", "Ann").await?;
            page.leave().await?;
            page.wait_shown("chat_join").await?;
            fits(&page, "the chat").await?;
            page.click("chat_join").await?;
            page.wait_state("chat_state", "OPEN").await?;
            fits(&page, "the joined chat").await?;
            page.paste("chat_message", &long).await?;
            page.click("chat_send").await?;
            page.wait_row("chat_messages", "the long word", |row| row.text == long)
                .await?;
            fits(&page, "the chat with a long word").await?;
        }
        Ok(())
    });
}

#[test]
fn forced_colours_show_what_is_selected_pressed_and_current() {
    in_every_browser(async |stage| {
        if stage.browser.engine() != Engine::Chromium {
            // Only Chromium emulates them.
            return Ok(());
        }
        let page = stage.connected_workbench().await?;
        for theme in ["light", "dark"] {
            let media = serde_json::json!({ "features": [
                { "name": "forced-colors", "value": "active" },
                { "name": "prefers-color-scheme", "value": theme },
            ] });
            stage.browser.devtools("Emulation.setEmulatedMedia", media).await?;
            page.open(&stage.server.http("/"), "connect_websocket").await?;
            page.click("connect_websocket").await?;
            page.wait_state("ready_state", "OPEN").await?;
            page.click("send_message").await?;
            page.wait_row(LOG, "the echo", |row| row.direction == "in").await?;
            page.script(LOG, "arguments[0].closest('.log-viewport').focus();")
                .await?;
            page.press(Key::Up).await?;
            page.wait_shown("detail_text").await?;
            page.click("pin_url").await?;
            page.click("new_tab").await?;
            page.click("tab_1").await?;
            page.wait_shown("detail_text").await?;
            picture(stage, page, &format!("workbench-forced-{theme}")).await?;
            for marked in [
                "[aria-current=page]",
                ".tab[data-shown]",
                ".log-row[aria-selected=true]",
                "#follow[aria-pressed=true]",
                "#pin_url[aria-pressed=true]",
                "label:has(#show_all:checked)",
                "label:has(#mode_text:checked)",
            ] {
                wait_marked(page, marked).await?;
            }
            page.click("pin_url").await?;
            page.click("saved_button").await?;
            picture(stage, page, &format!("workbench-forced-sheet-{theme}")).await?;
            page.press(Key::Escape).await?;
            page.click("close_tab_2").await?;
            page.wait_hidden("tabs").await?;

            page.join(&stage.server, "lobby", "Ann").await?;
            page.send(theme).await?;
            page.wait_delivery(theme, "acked").await?;
            picture(stage, page, &format!("chat-forced-{theme}")).await?;
            page.leave().await?;
        }
        stage
            .browser
            .devtools("Emulation.setEmulatedMedia", serde_json::json!({ "features": [] }))
            .await?;
        Ok(())
    });
}

#[test]
fn nothing_moves_by_itself_for_users_who_want_no_motion() {
    in_every_browser(async |stage| {
        if stage.browser.engine() != Engine::Chromium {
            // Only Chromium emulates it.
            return Ok(());
        }
        let faults = stage.faults().await?;
        let page = stage.workbench().await?;
        page.fill("url", &format!("{faults}/silent")).await?;
        page.click("connect_websocket").await?;
        page.wait_state("ready_state", "CONNECTING").await?;
        for (preference, animation) in [("no-preference", "pulse"), ("reduce", "none")] {
            let media = serde_json::json!({ "features": [{ "name": "prefers-reduced-motion", "value": preference }] });
            stage.browser.devtools("Emulation.setEmulatedMedia", media).await?;
            let name = "return getComputedStyle(arguments[0].closest('.url-state'), '::before').animationName;";
            page.wait_script("ready_state", name, animation).await?;
        }
        page.wait_answer("return document.getAnimations().length;", 0).await?;
        let any = serde_json::json!({ "features": [] });
        stage.browser.devtools("Emulation.setEmulatedMedia", any).await?;
        Ok(())
    });
}

#[test]
fn the_first_key_leads_past_the_header_in_each_view() {
    in_every_browser(async |stage| {
        let page = &stage.page;
        for (path, ready) in [("/", "connect_websocket"), ("/chat/den", "chat_join")] {
            page.open(&stage.server.http(path), ready).await?;
            page.execute("document.activeElement.blur();", vec![]).await?;
            page.press(Key::Tab).await?;
            let at_link = "
                const { activeElement: link } = document;
                const { left, top, width } = link.getBoundingClientRect();
                return [link.textContent, left >= 0 && top >= 0 && width > 50];";
            page.wait_answer(at_link, serde_json::json!(["Skip to content", true]))
                .await?;
            page.press(Key::Enter).await?;
            page.wait_focus("main").await?;
            page.press(Key::Tab).await?;
            page.wait_answer("return document.activeElement.closest('#main')?.id ?? '';", "main")
                .await?;
        }
        Ok(())
    });
}

#[test]
fn on_a_phone_the_options_tell_the_state_and_the_time_in_words() {
    in_every_browser(async |stage| {
        let wide = stage.workbench().await?;
        assert!(!wide.is_shown("state_in_words").await?, "the bar has them");
        let page = stage.page.new_window(320, 640).await?;
        page.open(&stage.server.http("/"), "connect_websocket").await?;
        page.click("more_options").await?;
        page.wait_shown("state_in_words").await?;
        page.wait_text("state_in_words", "Not connected").await?;
        page.press(Key::Escape).await?;
        page.click("connect_websocket").await?;
        page.wait_state("ready_state", "OPEN").await?;
        page.click("more_options").await?;
        page.wait_text("state_in_words", "Open 0:").await?;
        Ok(())
    });
}

#[test]
fn a_narrow_log_gives_up_the_difference_before_the_number_and_the_details_keep_milliseconds() {
    in_every_browser(async |stage| {
        stage.workbench().await?;
        for (width, expected) in [
            (1_280, [true, true, true]),
            (600, [true, true, false]),
            (320, [false, false, false]),
        ] {
            let page = stage.page.new_window(width, 700).await?;
            page.open(&stage.server.http("/"), "connect_websocket").await?;
            page.click("connect_websocket").await?;
            page.wait_state("ready_state", "OPEN").await?;
            page.click("send_message").await?;
            page.wait_row(LOG, "the echo", |row| row.direction == "in").await?;
            let shown = "
                return ['number', 'milliseconds', 'delta'].map(name =>
                    arguments[0].querySelector(`li:last-child .${name}`).getClientRects().length > 0);";
            page.wait_script(LOG, shown, serde_json::json!(expected)).await?;
            page.script(LOG, "arguments[0].closest('.log-viewport').focus();")
                .await?;
            page.press(Key::End).await?;
            let in_details = "return document.querySelector('.detail .milliseconds').getClientRects().length > 0;";
            page.wait_answer(in_details, true).await?;
        }
        Ok(())
    });
}

/// Waits until the element has an outline, which forced colours leave: it can be told from the others.
async fn wait_marked(page: &Page, selector: &str) -> Result<(), StepError> {
    let script = "
        const style = getComputedStyle(document.querySelector(arguments[0]));
        return style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0;";
    wait_for(format!("{selector} is marked"), DEADLINE, async || {
        Ok(page.execute(script, vec![selector.into()]).await? == true)
    })
    .await
}

/// The pictures are for people: `target/screenshots/`.
#[test]
fn pictures_are_taken_of_each_view_wide() {
    in_every_browser(async |stage| Ok(pictures(stage, &stage.page, "wide", Some(("dark", "en"))).await?));
}

/// People are in a sheet at this width, and the details lie over the log. With `cargo xtask test --full`.
#[test]
fn pictures_are_taken_of_each_view_at_the_width_of_a_tablet() {
    in_every_browser(async |stage| {
        stage.workbench().await?;
        let tablet = stage.page.new_window(820, 640).await?;
        Ok(pictures(stage, &tablet, "tablet", None).await?)
    });
}

#[test]
fn pictures_are_taken_of_each_view_narrow() {
    in_every_browser(async |stage| {
        stage.workbench().await?;
        let narrow = stage.page.new_window(320, 640).await?;
        Ok(pictures(stage, &narrow, "narrow", Some(("light", "zh"))).await?)
    });
}

/// Every day in one theme and language, or in none.
async fn pictures(stage: &Stage, page: &Page, width: &str, every_day: Option<(&str, &str)>) -> Result<(), StepError> {
    let all = [("light", "en"), ("dark", "en"), ("light", "zh")];
    for (theme, language) in all.into_iter().filter(|look| is_full() || Some(*look) == every_day) {
        let look = if theme == "dark" { "dark" } else { language };
        page.open(&stage.server.http("/"), "connect_websocket").await?;
        page.choose("language", language).await?;
        page.choose("theme", theme).await?;
        // The tab keeps what the round before has left in the fields.
        page.paste("url", &stage.server.ws("/echo")).await?;
        page.paste("message", "Hello, World!").await?;
        page.click("connect_websocket").await?;
        page.wait_state("ready_state", "OPEN").await?;
        page.click("send_message").await?;
        page.paste("message", "你好，世界").await?;
        page.click("send_message").await?;
        page.wait_texts(LOG, "in", &["Hello, World!", "你好，世界"]).await?;
        page.click("send_http").await?;
        page.wait_texts(LOG, "in", &["Hello, World!", "你好，世界", "你好，世界"])
            .await?;
        picture(stage, page, &format!("workbench-{width}-{look}")).await?;
        page.script(LOG, "arguments[0].scrollIntoView({ block: 'end' });")
            .await?;
        page.screenshot(&stage.picture(&format!("workbench-log-{width}-{look}")))
            .await?;
        page.click("close_websocket").await?;
        page.wait_state("ready_state", "CLOSED").await?;
        page.paste("url", "ws://nowhere/#x").await?;
        page.click("connect_websocket").await?;
        page.wait_shown("error").await?;
        picture(stage, page, &format!("workbench-error-{width}-{look}")).await?;

        // Eighteen pictures of one view: enough of one engine.
        if stage.browser.engine() == Engine::Chromium {
            talk(stage, page, width, look).await?;
        }
    }
    Ok(())
}

/// The chat before joining, in the middle of a talk, with unread messages, without a network, and after a loss.
async fn talk(stage: &Stage, page: &Page, width: &str, look: &str) -> Result<(), StepError> {
    let mut server = stage.server_at((Ipv4Addr::LOCALHOST, 0).into(), &[]).await?;
    let origin = server.http("");
    let name = |what: &str| format!("chat-{what}-{width}-{look}");
    page.open(&format!("{origin}/chat/lobby"), "chat_join").await?;
    // It is another origin, with settings of its own.
    page.choose("language", if look == "zh" { "zh" } else { "en" }).await?;
    page.choose("theme", if look == "dark" { "dark" } else { "light" })
        .await?;
    page.join_at(&origin, "lobby", "小明").await?;
    page.leave().await?;
    page.wait_shown("chat_join").await?;
    picture(stage, page, &name("before")).await?;
    page.click("chat_join").await?;
    page.wait_state("chat_state", "OPEN").await?;
    let friend = page.new_tab().await?;
    friend.join_at(&origin, "lobby", "Bob").await?;
    for text in ["Hello, everybody", "大家好！今天天气真好，我们去公园散步吧。"] {
        page.paste("chat_message", text).await?;
        page.click("chat_send").await?;
        page.wait_delivery(text, "acked").await?;
    }
    friend
        .send("See you at the corner. Shall I bring something to eat, or shall we go to the café behind the pond?")
        .await?;
    friend
        .wait_delivery(
            "See you at the corner. Shall I bring something to eat, or shall we go to the café behind the pond?",
            "acked",
        )
        .await?;
    friend.press_in("chat_message", "And").await?;
    let typing = if look == "zh" {
        "Bob 正在输入"
    } else {
        "Bob is typing"
    };
    page.wait_text("typing", typing).await?;
    picture(stage, page, &name("talk")).await?;

    for number in 1..=12 {
        friend.send(&format!("number {number}")).await?;
    }
    page.wait_row(CHAT, "the last one", |row| row.text == "number 12")
        .await?;
    page.script(CHAT, "arguments[0].closest('.chat-viewport').scrollTop = 0;")
        .await?;
    page.wait_shown("to_newest").await?;
    friend.send("What do you say?").await?;
    friend.send("?").await?;
    page.wait_shown("new_messages").await?;
    picture(stage, page, &name("pill")).await?;
    page.click("new_messages").await?;
    page.wait_hidden("new_messages").await?;
    picture(stage, page, &name("unread")).await?;

    server.kill().await.map_err(broken)?;
    page.wait_shown("offline_banner").await?;
    page.paste("chat_message", "I am on my way").await?;
    page.click("chat_send").await?;
    page.wait_delivery("I am on my way", "pending").await?;
    let shows =
        "return document.getElementById('reconnect_now')?.checkVisibility({ visibilityProperty: true }) ?? false;";
    wait_for("the banner has appeared", DEADLINE, async || {
        Ok(page.execute(shows, vec![]).await? == true)
    })
    .await?;
    picture(stage, page, &name("offline")).await?;
    server.start_again().await.map_err(broken)?;
    page.wait_delivery("I am on my way", "acked").await?;
    picture(stage, page, &name("lost")).await?;
    page.paste("chat_message", &"long ".repeat(20_000)).await?;
    page.click("chat_send").await?;
    page.wait_shown("error").await?;
    picture(stage, page, &name("too-long")).await?;
    Ok(())
}

fn broken(error: std::io::Error) -> StepError {
    StepError::Setup(format!("the server cannot be stopped or started: {error}"))
}

async fn picture(stage: &Stage, page: &Page, name: &str) -> Result<(), StepError> {
    page.execute("scrollTo(0, 0);", vec![]).await?;
    page.screenshot(&stage.picture(name)).await
}

/// Presses Tab until the element has the focus.
async fn tab_to(page: &Page, id: &str) -> Result<(), StepError> {
    walk_to(page, id, async || page.press(Key::Tab).await).await
}

/// Presses Shift+Tab until the element has the focus.
async fn tab_back_to(page: &Page, id: &str) -> Result<(), StepError> {
    walk_to(page, id, async || page.press_with(Key::Shift, Key::Tab).await).await
}

/// Takes steps until the element has the focus. Every stop on the way must show that it has the focus.
async fn walk_to(page: &Page, id: &str, step: impl AsyncFn() -> Result<(), StepError>) -> Result<(), StepError> {
    let look = "
        const now = document.activeElement;
        if (!now?.closest('#header, #main')) return null;
        const style = getComputedStyle(now);
        return [now.outerHTML.slice(0, 100), style.outlineStyle !== 'none' || style.boxShadow !== 'none'];";
    let mut stops = Vec::new();
    for _ in 0..40 {
        step().await?;
        if let [Value::String(stop), shown] = page
            .execute(look, vec![])
            .await?
            .as_array()
            .map_or(&[][..], Vec::as_slice)
        {
            assert_eq!(*shown, true, "the focus can be seen on {stop}");
            stops.push(stop.clone());
        }
        if page.focused().await? == id {
            return Ok(());
        }
    }
    panic!("the focus never reached #{id}; it stopped at {stops:#?}");
}

/// Waits until the page's background is as bright as wanted, from 0 to 255.
async fn wait_brightness(page: &Page, fits: impl Fn(f64) -> bool) -> Result<(), StepError> {
    let script = "
        const ground = [document.body, document.documentElement]
            .map(element => getComputedStyle(element).backgroundColor)
            .find(color => !/, 0\\)$|transparent/.test(color)) ?? 'rgb(255, 255, 255)';
        const parts = ground.match(/[0-9.]+/g).slice(0, 3).map(Number);
        return (parts[0] + parts[1] + parts[2]) / 3;";
    let value = async || page.execute(script, vec![]).await;
    page.wait_value("the background has its brightness", value, |now| {
        now.as_f64().is_some_and(&fits)
    })
    .await
}

/// Nothing sticks out of the window to the right.
async fn fits(page: &Page, what: &str) -> Result<(), StepError> {
    let script = "
        const width = document.documentElement.clientWidth;
        return {
            width, needed: document.documentElement.scrollWidth,
            out: [...document.querySelectorAll('body *')]
                .filter(element => element.getBoundingClientRect().right > width + 1 && element.checkVisibility())
                .map(element => element.tagName + '#' + element.id + '.' + element.className),
        };";
    let description = format!("{what} is no wider than the window");
    let seen = async || page.execute(script, vec![]).await;
    page.wait_value(description, seen, |seen| {
        seen["needed"].as_f64() <= seen["width"].as_f64()
    })
    .await
}

#[test]
fn a_low_window_has_rows_of_the_log_and_the_whole_button_to_send() {
    in_every_browser(async |stage| {
        // A window of 1280 by 800 at 200 percent.
        let page = stage.page.new_window(640, 400).await?;
        page.open(&stage.server.http("/"), "connect_websocket").await?;
        let places = "
            const send = arguments[0].getBoundingClientRect();
            const log = document.querySelector('.log-viewport').getBoundingClientRect();
            return [send.bottom <= innerHeight && send.right <= innerWidth, Math.floor(log.height)];";
        page.wait_value(
            "the button is in the window, and the log has a height",
            async || page.script("send_message", places).await,
            |places| places[0] == true && places[1].as_u64() >= Some(100),
        )
        .await?;
        Ok(())
    });
}

#[test]
fn a_long_problem_of_the_message_leaves_the_buttons_in_the_window() {
    in_every_browser(async |stage| {
        stage.workbench().await?;
        let page = stage.page.new_window(768, 640).await?;
        page.open(&stage.server.http("/"), "connect_websocket").await?;
        page.click("mode_hex").await?;
        page.paste("message", "12 3g").await?;
        page.wait_text("message_size", "Character 5").await?;
        Ok(fits(&page, "the composer with a problem").await?)
    });
}

#[test]
fn the_empty_log_of_a_narrow_page_begins_at_its_start() {
    in_every_browser(async |stage| {
        let page = stage.page.new_window(320, 640).await?;
        page.open(&stage.server.http("/"), "connect_websocket").await?;
        let top = "return arguments[0].closest('.log-viewport').scrollTop;";
        page.wait_script(LOG, top, 0).await?;
        let following = "return arguments[0].ariaPressed;";
        page.wait_script("follow", following, "true").await?;
        Ok(())
    });
}

#[test]
fn an_unknown_address_says_that_there_is_nothing_and_leads_on() {
    in_every_browser(async |stage| {
        let page = &stage.page;
        page.open(&stage.server.http("/nope"), "no_page").await?;
        page.wait_text("no_page", "There is nothing at /nope.").await?;
        page.click_inside("no_page", "a[href=\"/\"]").await?;
        page.wait_shown("connect_websocket").await?;
        page.wait_hidden("no_page").await?;
        page.open(&stage.server.http("/chat"), "chat_join").await?;
        Ok(())
    });
}

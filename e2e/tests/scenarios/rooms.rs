//! The rooms of the chat: which are listed, how they are opened and left, and what is unread in them.

use serde_json::json;
use talkback_e2e::{DEADLINE, Page, StepError, in_every_browser, wait_for};
use thirtyfour::Key;

const LOG: &str = "chat_messages";

#[test]
fn a_user_who_left_gets_no_messages_until_joining_again_and_then_all_of_them() {
    in_every_browser(async |stage| {
        let ann = stage.page.clone();
        let bob = ann.new_tab().await?;
        ann.join(&stage.server, "porch", "Ann").await?;
        bob.join(&stage.server, "porch", "Bob").await?;
        bob.leave().await?;
        bob.wait_state("chat_state", "CLOSED").await?;
        ann.send("Bob?").await?;
        ann.wait_messages(&[("Ann", "Bob?")]).await?;
        bob.wait_messages(&[]).await?;
        bob.click("chat_join").await?;
        bob.wait_state("chat_state", "OPEN").await?;
        ann.send("Back!").await?;
        bob.wait_messages(&[("Ann", "Bob?"), ("Ann", "Back!")]).await?;
        Ok(())
    });
}

#[test]
fn a_name_that_the_server_refuses_is_kept_and_the_reason_is_shown() {
    in_every_browser(async |stage| {
        let page = &stage.page;
        page.open(&stage.server.http("/chat/lobby"), "chat_join").await?;
        for (name, error) in [
            ("", "give it 1 to 32 characters"),
            ("[Ann]", "it has the character '['"),
            ("Ann\u{202e}", "it has the character 'U+202E'"),
        ] {
            page.paste("chat_name", name).await?;
            page.click("chat_join").await?;
            page.wait_text("error", error).await?;
            page.wait_focus("chat_name").await?;
            let marks = "return [arguments[0].role, document.getElementById('chat_name').ariaInvalid];";
            page.wait_script("error", marks, json!(["alert", "true"])).await?;
        }
        page.fill("chat_name", "server").await?;
        page.click("chat_join").await?;
        page.wait_text("error", "does not accept this name").await?;
        page.wait_text("error", "The server says: ").await?;
        page.wait_focus("chat_name").await?;
        page.choose("language", "zh").await?;
        page.wait_text("error", "服务器不接受此名字").await?;
        page.wait_text("error", "服务器说明：").await?;
        page.choose("language", "en").await?;
        page.wait_field("chat_name", "server").await?;
        page.wait_script("chat_name", "return arguments[0].ariaInvalid;", "true")
            .await?;
        page.wait_state("chat_state", "CLOSED").await?;
        page.fill("chat_name", "Ann").await?;
        page.click("chat_join").await?;
        page.wait_state("chat_state", "OPEN").await?;
        page.wait_hidden("error").await?;
        Ok(())
    });
}

#[test]
fn the_rooms_that_were_opened_are_listed_kept_and_can_be_removed() {
    in_every_browser(async |stage| {
        let page = stage.page.clone();
        page.join(&stage.server, "attic", "Ann").await?;
        page.go_to_room("cellar").await?;
        page.wait_state("chat_state", "OPEN").await?;
        wait_rooms(&page, &["attic", "cellar"]).await?;
        page.reload().await?;
        page.wait_state("chat_state", "OPEN").await?;
        wait_rooms(&page, &["attic", "cellar"]).await?;
        let current = "return arguments[0].querySelector('[aria-current=page] .name').textContent;";
        page.wait_script("room_list", current, "cellar").await?;
        page.click_inside("room_list", "a").await?;
        page.wait_text("chat_room", "attic").await?;
        page.wait_path("/chat/attic").await?;
        page.wait_script("room_list", current, "attic").await?;
        page.click_inside("room_list", ".forget").await?;
        wait_rooms(&page, &["attic"]).await?;
        Ok(())
    });
}

async fn wait_rooms(page: &Page, expected: &[&str]) -> Result<(), StepError> {
    page.wait_value(
        format!("the rooms are {expected:?}"),
        async || page.rooms().await,
        |rooms| rooms == expected,
    )
    .await
}

#[test]
fn a_path_with_a_bad_room_name_says_why_and_leads_on() {
    in_every_browser(async |stage| {
        let page = stage.page.clone();
        page.open(&stage.server.http("/chat/%F0%9F%98%80"), "chat_lobby")
            .await?;
        page.wait_text("error", "it has the character '😀'").await?;
        wait_rooms(&page, &[]).await?;
        page.open(&stage.server.http("/chat/a%20b"), "chat_lobby").await?;
        page.wait_text("error", "Not a room name").await?;
        page.click("chat_choose_room").await?;
        page.wait_shown("chat_other_room").await?;
        page.fill("chat_other_room", "a/b").await?;
        page.press_in("chat_other_room", Key::Enter).await?;
        page.wait_text("error", "it has the character '/'").await?;
        page.click("chat_lobby").await?;
        page.wait_text("chat_room", "lobby").await?;
        page.wait_path("/chat/lobby").await?;
        page.wait_shown("chat_join").await?;
        Ok(())
    });
}

#[test]
fn on_a_narrow_page_rooms_and_people_are_sheets_that_escape_closes() {
    in_every_browser(async |stage| {
        let page = stage.page.new_window(360, 640).await?;
        page.join(&stage.server, "den", "Ann").await?;
        let can_focus = "arguments[0].focus(); return document.activeElement === arguments[0];";
        for (opener, inside) in [("chat_rooms", "chat_leave"), ("chat_people", "chat_find_person")] {
            page.wait_hidden(inside).await?;
            page.click(opener).await?;
            page.wait_shown(inside).await?;
            // What it covers cannot be reached by keyboard.
            page.wait_script("chat_message", can_focus, false).await?;
            page.wait_script(inside, can_focus, true).await?;
            page.press(Key::Escape).await?;
            page.wait_hidden(inside).await?;
            // The focus goes back.
            page.wait_focus(opener).await?;
            page.wait_script("chat_message", can_focus, true).await?;
        }
        page.go_to_room("attic").await?;
        page.wait_hidden("chat_leave").await?;
        page.wait_state("chat_state", "OPEN").await?;
        page.wait_script("chat_message", can_focus, true).await?;
        // On a wide page they are columns, which cover nothing.
        page.click("chat_people").await?;
        page.wait_script("chat_message", can_focus, false).await?;
        let window = page.new_window(1200, 640).await?;
        window.join(&stage.server, "den", "Ann").await?;
        window.click("chat_add_room").await?;
        window.wait_shown("chat_other_room").await?;
        window.wait_script("chat_message", can_focus, true).await?;
        Ok(())
    });
}

#[test]
fn several_rooms_stay_joined_and_each_counts_what_is_unread() {
    in_every_browser(async |stage| {
        let (ann, bob) = (stage.page.clone(), stage.page.new_tab().await?);
        ann.join(&stage.server, "deploys", "Ann").await?;
        ann.send("kept").await?;
        ann.wait_delivery("kept", "acked").await?;
        ann.go_to_room("lobby").await?;
        ann.wait_state("chat_state", "OPEN").await?;
        bob.join(&stage.server, "deploys", "Bob").await?;
        bob.wait_roster(&["Bob", "Ann"]).await?;
        bob.send("one").await?;
        bob.send("two @Ann").await?;
        let unread = "
            return [...arguments[0].querySelectorAll('li')].map(room =>
                [room.querySelector('.name').textContent, ...[...room.querySelectorAll('.unread-count')]
                    .map(count => count.firstChild.nodeValue + (count.matches('.mentions') ? count.textContent.slice(1) : ''))]);";
        let wait_unread = async |expected: serde_json::Value| {
            ann.wait_value(
                format!("the rooms count {expected}"),
                async || ann.script("room_list", unread).await,
                |counts| *counts == expected,
            )
            .await
        };
        wait_unread(json!([["deploys", "@1", "2"], ["lobby"]])).await?;
        let title = "return document.title;";
        wait_for("the title counts them", DEADLINE, async || {
            Ok(ann.execute(title, vec![]).await? == json!("(2) Chat · Talkback"))
        })
        .await?;
        let mute = "arguments[0].querySelector('.mute').click();";
        ann.script("room_list", mute).await?;
        wait_for("of a muted room the mentions count", DEADLINE, async || {
            Ok(ann.execute(title, vec![]).await? == json!("(1) Chat · Talkback"))
        })
        .await?;
        ann.script("room_list", mute).await?;
        ann.click_inside("room_list", "a").await?;
        ann.wait_messages(&[("Ann", "kept"), ("Bob", "one"), ("Bob", "two @Ann")])
            .await?;
        wait_unread(json!([["deploys"], ["lobby"]])).await?;
        let below = "return arguments[0].nextElementSibling.querySelector('.text').textContent;";
        ann.wait_script("unread", below, "one").await?;
        Ok(())
    });
}

#[test]
fn another_room_is_opened_by_keyboard() {
    in_every_browser(async |stage| {
        let page = stage.page.clone();
        page.join(&stage.server, "attic", "Ann").await?;
        page.go_to_room("cellar").await?;
        page.wait_state("chat_state", "OPEN").await?;
        page.press_in("chat_message", Key::Control + "k").await?;
        page.wait_focus("chat_switch_to").await?;
        page.press("att").await?;
        page.wait_text("chat_switcher_rooms", "# attic").await?;
        page.press(Key::Enter).await?;
        page.wait_text("chat_room", "attic").await?;
        page.wait_hidden("chat_switch_to").await?;
        page.press_in("chat_message", Key::Control + "k").await?;
        page.wait_shown("chat_switch_to").await?;
        page.press("never-opened").await?;
        page.wait_text("chat_switcher_rooms", "Open #never-opened").await?;
        page.press(Key::Escape).await?;
        page.wait_hidden("chat_switch_to").await?;
        page.wait_path("/chat/attic").await?;
        Ok(())
    });
}

#[test]
fn what_was_said_is_read_before_joining_and_comes_once() {
    in_every_browser(async |stage| {
        let page = stage.page.clone();
        page.open(&stage.server.http("/chat/elsewhere"), "chat_join").await?;
        // Not by this page, which would keep it.
        let say = "
            const socket = new WebSocket(`${location.origin.replace('http', 'ws')}/chat/hall?name=Zoe`);
            socket.onopen = () => ['one', 'two', 'three'].forEach(text => socket.send(text));";
        page.execute(say, vec![]).await?;
        let said = [("Zoe", "one"), ("Zoe", "two"), ("Zoe", "three")];
        let count =
            "return fetch('/rooms/hall/messages').then(answer => answer.json()).then(page => page.messages.length);";
        wait_for("they are in the room", DEADLINE, async || {
            Ok(page.execute(count, vec![]).await? == 3)
        })
        .await?;
        page.go_to_room("hall").await?;
        page.wait_messages(&said).await?;
        page.wait_shown("chat_join").await?;
        page.wait_hidden("load_older").await?;
        page.fill("chat_name", "Zoe").await?;
        page.click("chat_join").await?;
        page.wait_state("chat_state", "OPEN").await?;
        page.send("four").await?;
        page.wait_messages(&[("Zoe", "one"), ("Zoe", "two"), ("Zoe", "three"), ("Zoe", "four")])
            .await?;
        page.wait_rows(LOG, "now it is known who reads them", |rows| {
            rows.iter().filter(|row| row.direction == "out").count() == 4
        })
        .await?;
        Ok(())
    });
}

#[test]
fn an_answer_without_messages_shows_none_and_a_refusal_is_asked_for_once() {
    in_every_browser(async |stage| {
        let page = stage.page.clone();
        page.open(&stage.server.http("/chat/elsewhere"), "chat_join").await?;
        let answers = "
            window.failures = [];
            addEventListener('error', ({ message }) => failures.push(message));
            addEventListener('unhandledrejection', ({ reason }) => failures.push(String(reason)));
            window.asked = [];
            const cursor = `${'0'.repeat(16)}:1`;
            const message = { offset: 1, from: { user: 'Zoe' }, at: 1 };
            const answers = {
                empty: [200, {}],
                text: [200, { cursor, messages: 'none' }],
                bodiless: [200, { cursor, messages: [message, { ...message, body: [1] }] }],
                away: [503, {}],
            };
            const { fetch } = window;
            window.fetch = (url, options) => {
                const [, room, query] = /rooms[/]([^/]+)[/]messages(.*)/.exec(url) ?? [];
                if (!answers[room]) return fetch.call(window, url, options);
                asked.push(room + query);
                const [status, answer] = answers[room];
                return Promise.resolve(new Response(JSON.stringify(answer), { status }));
            };";
        page.execute(answers, vec![]).await?;
        let mut asked = Vec::new();
        for room in ["empty", "text", "away", "bodiless"] {
            page.go_to_room(room).await?;
            asked.push(room);
            page.wait_answer("return asked;", json!(asked)).await?;
        }
        page.wait_messages(&[("Zoe", "[1]")]).await?;
        assert_eq!(page.execute("return failures;", vec![]).await?, json!([]));
        Ok(())
    });
}

#[test]
fn the_unread_place_and_the_rooms_that_are_joined_are_kept_over_a_reload() {
    in_every_browser(async |stage| {
        let (ann, bob) = (stage.page.clone(), stage.page.new_tab().await?);
        bob.join(&stage.server, "deploys", "Bob").await?;
        bob.go_to_room("lobby").await?;
        bob.wait_state("chat_state", "OPEN").await?;
        ann.join(&stage.server, "deploys", "Ann").await?;
        bob.send("read").await?;
        ann.go_to_room("lobby").await?;
        ann.wait_messages(&[("Bob", "read")]).await?;
        // The page is left, and its rooms go on.
        ann.click("nav_workbench").await?;
        ann.wait_shown("connect_websocket").await?;
        ann.open(&stage.server.http("/"), "connect_websocket").await?;
        bob.send("unread in the lobby").await?;
        bob.wait_delivery("unread in the lobby", "acked").await?;
        bob.go_to_room("deploys").await?;
        bob.send("unread in deploys").await?;
        bob.wait_delivery("unread in deploys", "acked").await?;
        ann.open(&stage.server.http("/chat/lobby"), "chat_room").await?;
        ann.wait_messages(&[("Bob", "read"), ("Bob", "unread in the lobby")])
            .await?;
        let below = "return arguments[0].nextElementSibling.querySelector('.text').textContent;";
        ann.wait_script("unread", below, "unread in the lobby").await?;
        ann.wait_text("room_list", "1").await?;
        let unread = "return arguments[0].querySelector('[data-unread] .name').textContent;";
        ann.wait_script("room_list", unread, "deploys").await?;
        Ok(())
    });
}

/// Waits until the list of rooms shows these, each with how many of its messages are unread.
async fn wait_unread(page: &Page, expected: serde_json::Value) -> Result<(), StepError> {
    let unread = "
        return [...arguments[0].querySelectorAll('li')].map(room => [
            room.querySelector('.name').textContent,
            Number(room.querySelector('.unread-count:not(.mentions)')?.firstChild.nodeValue ?? 0),
        ]);";
    page.wait_value(
        format!("the rooms count {expected}"),
        async || page.script("room_list", unread).await,
        |counts| *counts == expected,
    )
    .await
}

#[test]
fn what_is_read_muted_or_opened_in_one_tab_is_so_in_the_other_one() {
    in_every_browser(async |stage| {
        let (ann, bob) = (stage.page.clone(), stage.page.new_tab().await?);
        let too = stage.page.new_window(1200, 800).await?;
        ann.join(&stage.server, "deploys", "Ann").await?;
        ann.go_to_room("lobby").await?;
        ann.wait_state("chat_state", "OPEN").await?;
        bob.join(&stage.server, "deploys", "Bob").await?;
        bob.send("one").await?;
        bob.send("two").await?;
        wait_unread(&ann, json!([["deploys", 2], ["lobby", 0]])).await?;
        too.join(&stage.server, "deploys", "Ann").await?;
        too.wait_messages(&[("Bob", "one"), ("Bob", "two")]).await?;
        wait_unread(&ann, json!([["deploys", 0], ["lobby", 0]])).await?;
        let title = "return document.title;";
        wait_for("the title counts nothing", DEADLINE, async || {
            Ok(ann.execute(title, vec![]).await? == json!("Chat · Talkback"))
        })
        .await?;
        too.script("room_list", "arguments[0].querySelector('.mute').click();")
            .await?;
        let muted = "return arguments[0].querySelector('[data-muted] .name')?.textContent ?? '';";
        ann.wait_value(
            "the room is muted",
            async || ann.script("room_list", muted).await,
            |room| *room == "deploys",
        )
        .await?;
        let has_sign = "return arguments[0].querySelector('[data-muted] > .muted') !== null;";
        ann.wait_script("room_list", has_sign, true).await?;
        too.go_to_room("attic").await?;
        wait_unread(&ann, json!([["deploys", 0], ["lobby", 0], ["attic", 0]])).await?;
        Ok(())
    });
}

#[test]
fn a_room_that_is_not_joined_counts_what_came_since_it_was_read() {
    in_every_browser(async |stage| {
        let (ann, bob) = (stage.page.clone(), stage.page.new_tab().await?);
        let too = stage.page.new_window(1200, 800).await?;
        ann.join(&stage.server, "deploys", "Ann").await?;
        bob.join(&stage.server, "deploys", "Bob").await?;
        bob.send("one").await?;
        ann.wait_messages(&[("Bob", "one")]).await?;
        wait_for("it is kept that the message is read", DEADLINE, async || {
            let read = ann
                .execute("return localStorage.getItem('talkback.read.Ann') ?? '';", vec![])
                .await?;
            Ok(read.as_str().is_some_and(|read| read.trim_end().ends_with(":1")))
        })
        .await?;
        ann.open(&stage.server.http("/"), "connect_websocket").await?;
        for text in ["two", "three"] {
            bob.send(text).await?;
            bob.wait_delivery(text, "acked").await?;
        }
        // Another tab is in other rooms.
        too.join(&stage.server, "lobby", "Ann").await?;
        wait_unread(&too, json!([["deploys", 2], ["lobby", 0]])).await?;
        let title = "return document.title;";
        wait_for("the title counts them", DEADLINE, async || {
            Ok(too.execute(title, vec![]).await? == json!("(2) Chat · Talkback"))
        })
        .await?;
        too.script("room_list", "arguments[0].querySelector('a').click();")
            .await?;
        too.wait_messages(&[("Bob", "one"), ("Bob", "two"), ("Bob", "three")])
            .await?;
        wait_unread(&too, json!([["deploys", 0], ["lobby", 0]])).await?;
        let below = "return arguments[0].nextElementSibling.querySelector('.text').textContent;";
        too.wait_script("unread", below, "two").await?;
        Ok(())
    });
}

#[test]
fn an_empty_room_offers_to_say_hello_and_to_copy_its_link() {
    in_every_browser(async |stage| {
        let page = stage.page.clone();
        page.join(&stage.server, "quiet", "Ann").await?;
        page.wait_shown("copy_room_link").await?;
        let watch = "navigator.clipboard.writeText = async text => { window.copied = text; };";
        page.execute(watch, vec![]).await?;
        page.click("copy_room_link").await?;
        page.wait_text("chat_flash", "Copied").await?;
        let link = stage.server.http("/chat/quiet");
        assert_eq!(page.execute("return window.copied;", vec![]).await?, json!(link));
        page.click("say_hello").await?;
        page.wait_value(
            "the field has the focus",
            async || page.focused().await,
            |id| id == "chat_message",
        )
        .await?;
        page.press("hello").await?;
        page.press(Key::Enter).await?;
        page.wait_messages(&[("Ann", "hello")]).await?;
        page.wait_hidden("say_hello").await?;
        Ok(())
    });
}

//! Group chat: tabs of one room see each other, other rooms see nothing.

use serde_json::json;
use talkback_e2e::{DEADLINE, in_every_browser, wait_for};
use thirtyfour::Key;

const LOG: &str = "chat_messages";

#[test]
fn two_tabs_of_a_room_see_each_other_and_a_third_elsewhere_sees_nothing() {
    in_every_browser(async |stage| {
        let ann = stage.page.clone();
        let bob = ann.new_tab().await?;
        let eve = ann.new_tab().await?;
        ann.join(&stage.server, "kitchen", "Ann").await?;
        bob.join(&stage.server, "kitchen", "Bob").await?;
        eve.join(&stage.server, "cellar", "Eve").await?;
        ann.wait_text("chat_room", "kitchen").await?;

        ann.send("Is anybody there?").await?;
        bob.wait_messages(&[("Ann", "Is anybody there?")]).await?;
        bob.send("I am").await?;
        let talk = [("Ann", "Is anybody there?"), ("Bob", "I am")];
        ann.wait_messages(&talk).await?;
        bob.wait_messages(&talk).await?;

        // Eve's message comes back after all that was sent before it, so a message of the kitchen would show by now.
        eve.send("echo?").await?;
        eve.wait_messages(&[("Eve", "echo?")]).await?;
        ann.wait_messages(&talk).await?;
        Ok(())
    });
}

#[test]
fn rooms_names_and_messages_may_be_chinese() {
    in_every_browser(async |stage| {
        let ann = stage.page.clone();
        let bob = ann.new_tab().await?;
        ann.join(&stage.server, "大厅", "小明").await?;
        bob.join(&stage.server, "大厅", "小红").await?;
        ann.wait_path("/chat/大厅").await?;
        ann.wait_text("chat_room", "大厅").await?;
        ann.send("大家好！").await?;
        bob.wait_messages(&[("小明", "大家好！")]).await?;
        Ok(())
    });
}

#[test]
fn enter_sends_but_not_while_an_input_method_composes() {
    // element-web and many chats sent half a word when Enter confirmed a candidate.
    in_every_browser(async |stage| {
        let page = stage.page.clone();
        page.join(&stage.server, "study", "Ann").await?;
        page.paste("chat_message", "ni hao").await?;
        // Browsers report an Enter that belongs to the input method in two ways.
        let confirm = "
            for (const [isComposing, keyCode] of [[true, 13], [false, 229]]) {
                const event = new KeyboardEvent('keydown', { key: 'Enter', isComposing, bubbles: true, cancelable: true });
                Object.defineProperty(event, 'keyCode', { value: keyCode });
                arguments[0].dispatchEvent(event);
            }";
        page.script("chat_message", confirm).await?;
        // The text stays in the field.
        page.wait_field("chat_message", "ni hao").await?;
        page.fill("chat_message", "你好").await?;
        page.press_in("chat_message", Key::Enter).await?;
        page.wait_messages(&[("Ann", "你好")]).await?;
        // The field is ready for the next message.
        page.wait_field("chat_message", "").await?;
        Ok(())
    });
}

#[test]
fn shift_enter_starts_a_new_line() {
    in_every_browser(async |stage| {
        let page = stage.page.clone();
        page.join(&stage.server, "study", "Ann").await?;
        page.fill("chat_message", "one").await?;
        page.press_in("chat_message", Key::Shift + Key::Enter).await?;
        page.press_in("chat_message", "two").await?;
        page.press_in("chat_message", Key::Enter).await?;
        page.wait_messages(&[("Ann", "one\ntwo")]).await?;
        Ok(())
    });
}

#[test]
fn what_is_not_sent_stays_in_its_room_also_over_a_reload() {
    in_every_browser(async |stage| {
        let page = stage.page.clone();
        page.join(&stage.server, "attic", "Ann").await?;
        page.fill("chat_message", "for the attic").await?;
        page.go_to_room("cellar").await?;
        page.wait_field("chat_message", "").await?;
        page.fill("chat_message", "for the cellar").await?;
        page.back().await?;
        page.wait_text("chat_room", "attic").await?;
        page.wait_field("chat_message", "for the attic").await?;
        page.reload().await?;
        page.wait_shown("chat_message").await?;
        page.wait_field("chat_message", "for the attic").await?;
        page.wait_state("chat_state", "OPEN").await?;
        page.click("chat_send").await?;
        page.wait_messages(&[("Ann", "for the attic")]).await?;
        page.reload().await?;
        page.wait_shown("chat_message").await?;
        // What was sent is no draft.
        page.wait_field("chat_message", "").await?;
        page.forward().await?;
        page.wait_text("chat_room", "cellar").await?;
        page.wait_field("chat_message", "for the cellar").await?;
        Ok(())
    });
}

#[test]
fn back_and_forward_lead_between_the_views() {
    in_every_browser(async |stage| {
        let page = stage.workbench().await?;
        page.click("nav_chat").await?;
        page.wait_shown("chat_join").await?;
        page.wait_path("/chat/lobby").await?;
        page.wait_text("chat_room", "lobby").await?;
        page.back().await?;
        page.wait_shown("connect_websocket").await?;
        page.wait_path("/").await?;
        page.forward().await?;
        page.wait_shown("chat_join").await?;
        page.wait_path("/chat/lobby").await?;
        page.click("nav_workbench").await?;
        page.wait_shown("connect_websocket").await?;
        page.wait_path("/").await?;
        Ok(())
    });
}

#[test]
fn a_room_is_joined_at_once_under_the_name_of_the_tab_and_without_one_the_page_asks() {
    in_every_browser(async |stage| {
        let ann = stage.page.clone();
        ann.open(&stage.server.http("/chat/hall"), "chat_join").await?;
        // Nobody was asked yet.
        ann.wait_state("chat_state", "CLOSED").await?;
        ann.join(&stage.server, "hall", "Ann").await?;
        // The next thing to do is to say something.
        ann.wait_focus("chat_message").await?;
        ann.open(&stage.server.http("/chat/yard"), "chat_leave").await?;
        ann.wait_state("chat_state", "OPEN").await?;
        ann.wait_roster(&["Ann"]).await?;
        let bob = ann.new_tab().await?;
        bob.join(&stage.server, "yard", "Bob").await?;
        ann.reload().await?;
        bob.reload().await?;
        ann.wait_roster(&["Ann", "Bob"]).await?;
        bob.wait_roster(&["Bob", "Ann"]).await?;
        Ok(())
    });
}

#[test]
fn the_rooms_are_opened_by_keyboard_also_where_nothing_has_the_focus() {
    in_every_browser(async |stage| {
        let page = stage.page.clone();
        page.open(&stage.server.http("/chat/attic"), "chat_join").await?;
        page.execute("document.activeElement?.blur();", vec![]).await?;
        page.press_with(Key::Control, "k").await?;
        let focus = async |expected: &str| {
            page.wait_value(
                format!("{expected} has the focus"),
                async || page.focused().await,
                |id| id == expected,
            )
            .await
        };
        focus("chat_switch_to").await?;
        page.press(Key::Escape).await?;
        page.wait_hidden("chat_switch_to").await?;
        focus("chat_name").await?;
        page.click("chat_search_button").await?;
        page.wait_shown("chat_search").await?;
        page.execute("document.activeElement?.blur();", vec![]).await?;
        page.press(Key::Escape).await?;
        page.wait_hidden("chat_search").await?;
        Ok(())
    });
}

#[test]
fn a_link_to_a_message_in_a_message_is_followed_in_the_page() {
    in_every_browser(async |stage| {
        let page = stage.page.new_window(1100, 700).await?;
        page.join(&stage.server, "attic", "Ann").await?;
        for text in ["one", "two"] {
            page.send(text).await?;
            page.wait_delivery(text, "acked").await?;
        }
        page.go_to_room("cellar").await?;
        page.wait_state("chat_state", "OPEN").await?;
        let link = stage.server.http("/chat/attic#1");
        page.paste("chat_message", &link).await?;
        page.click("chat_send").await?;
        page.wait_messages(&[("Ann", &link)]).await?;
        let found = "return document.querySelector('[data-found] .text')?.textContent ?? '';";
        let found = async |expected: &str| {
            page.wait_value(
                format!("{expected} is marked"),
                async || page.execute(found, vec![]).await,
                |text| text == expected,
            )
            .await
        };
        page.click_inside(LOG, "a.link").await?;
        page.wait_text("chat_room", "attic").await?;
        found("one").await?;
        let address = "return location.href;";
        page.wait_answer(address, link).await?;
        // In the room that is shown; the address is that of the message.
        page.execute("location.hash = '#2';", vec![]).await?;
        found("two").await?;
        page.back().await?;
        found("one").await?;
        Ok(())
    });
}

#[test]
fn what_marks_a_message_that_is_pointed_at_or_found_covers_no_text() {
    in_every_browser(async |stage| {
        for (width, height) in [(1100, 700), (360, 640)] {
            let page = stage.page.new_window(width, height).await?;
            let room = format!("den-{width}");
            page.join(&stage.server, &room, "Ann").await?;
            let zoe = "
                window.zoe = new WebSocket(`${location.origin.replace('http', 'ws')}/chat/${arguments[0]}?name=Zoe`);";
            page.execute(zoe, vec![json!(room)]).await?;
            // Before her messages, so that an own message follows the last one.
            page.wait_notice("Zoe joined").await?;
            let say = "['one', 'word '.repeat(60), 'two', 'three'].forEach(text => zoe.send(text));";
            page.execute(say, vec![]).await?;
            wait_for("all are there", DEADLINE, async || {
                let count = "return document.querySelectorAll('.said[data-row]').length;";
                Ok(page.execute(count, vec![]).await? == 4)
            })
            .await?;
            for text in ["a", "b"] {
                page.send(text).await?;
                page.wait_delivery(text, "acked").await?;
            }
            wait_for("the own ones are messages of the room", DEADLINE, async || {
                let count = "return document.querySelectorAll('.said[data-row]').length;";
                Ok(page.execute(count, vec![]).await? == 6)
            })
            .await?;
            let covered = "
                const lines = element => {
                    const range = document.createRange();
                    range.selectNodeContents(element);
                    return [...range.getClientRects()];
                };
                const meet = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
                const rows = [...document.querySelectorAll('.said[data-row]')];
                if (rows.at(-3).nextElementSibling !== rows.at(-2)) return ['an own message follows'];
                const texts = rows.flatMap(row => lines(row.querySelector('.text')));
                const actions = document.querySelector('.message-actions');
                let covered = [];
                for (const row of rows) {
                    row.querySelector('.text').dispatchEvent(new PointerEvent('pointerover', { bubbles: true }));
                    const [box, at] = [actions, row].map(one => one.getBoundingClientRect());
                    if (box.width === 0 || texts.some(text => meet(box, text)) || box.right < at.left || box.left > at.right) {
                        covered.push(row.textContent);
                    }
                }
                return covered;";
            assert_eq!(page.execute(covered, vec![]).await?, json!([]), "{width}");
            let middle = "
                const rows = [...document.querySelectorAll('.said[data-goes-on][data-direction=in]')];
                const at = rows.at(-1).querySelector('.text').getBoundingClientRect();
                return [at.left + 5, at.top + at.height / 2].map(Math.round);";
            let middle: [i64; 2] = serde_json::from_value(page.execute(middle, vec![]).await?)?;
            page.click_at(middle[0], middle[1]).await?;
            let time = "
                const row = [...document.querySelectorAll('.said[data-goes-on][data-direction=in]')].at(-1);
                const time = row.querySelector('.time');
                return [getComputedStyle(time).visibility,
                    time.getBoundingClientRect().right <= row.querySelector('.text').getBoundingClientRect().left];";
            page.wait_value(
                "its time stands beside it",
                async || page.execute(time, vec![]).await,
                |seen| *seen == json!(["visible", true]),
            )
            .await?;
            page.script(LOG, "arguments[0].closest('.chat-viewport').focus();")
                .await?;
            page.press(Key::Up).await?;
            page.click("chat_search_button").await?;
            page.fill("chat_search", "two").await?;
            // Two rows that follow each other have two pixels between them.
            let outlines = "
                const beyond = row => {
                    const style = getComputedStyle(row);
                    return style.outlineStyle === 'none' ? 0 : parseFloat(style.outlineWidth) + parseFloat(style.outlineOffset);
                };
                const found = document.querySelector('[data-found]');
                return found !== null && beyond(found) <= 2;";
            wait_for("the row that is found is marked", DEADLINE, async || {
                Ok(page.execute(outlines, vec![]).await? == true)
            })
            .await?;
        }
        Ok(())
    });
}

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
        assert!(ann.text("chat_room").await?.contains("kitchen"));

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
        assert_eq!(ann.path().await?, "/chat/大厅");
        assert!(ann.text("chat_room").await?.contains("大厅"));
        ann.send("大家好！").await?;
        bob.wait_messages(&[("小明", "大家好！")]).await?;
        Ok(())
    });
}

#[test]
fn markup_in_names_and_messages_stays_text() {
    in_every_browser(async |stage| {
        let ann = stage.page.clone();
        let bob = ann.new_tab().await?;
        ann.join(&stage.server, "attic", "<i>Ann</i>").await?;
        bob.join(&stage.server, "attic", "Bob").await?;
        let attack = "<img src=x onerror=\"document.title='hit'\"><script>document.title='hit'</script>";
        ann.send(attack).await?;
        bob.wait_messages(&[("<i>Ann</i>", attack)]).await?;
        let elements = bob
            .script(LOG, "return arguments[0].querySelectorAll('img, script, i').length;")
            .await?;
        assert_eq!(elements, 0, "the text became no element");
        let title = bob.execute("return document.title;", vec![]).await?;
        assert_ne!(title, "hit", "the script did not run");
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
        assert_eq!(
            page.value("chat_message").await?,
            "ni hao",
            "the text stays in the field"
        );
        page.fill("chat_message", "你好").await?;
        page.press_in("chat_message", Key::Enter).await?;
        page.wait_messages(&[("Ann", "你好")]).await?;
        assert_eq!(
            page.value("chat_message").await?,
            "",
            "the field is ready for the next message"
        );
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
fn a_message_over_the_limit_is_refused_in_the_field_and_stays_there() {
    in_every_browser(async |stage| {
        let page = stage.page.clone();
        page.join(&stage.server, "attic", "Ann").await?;
        page.paste("chat_message", &"x".repeat(70_000)).await?;
        page.wait_text("chat_size", "/").await?;
        page.click("chat_send").await?;
        page.wait_text("error", "too long").await?;
        assert_eq!(page.value("chat_message").await?.len(), 70_000);
        page.fill("chat_message", "short").await?;
        page.click("chat_send").await?;
        page.wait_messages(&[("Ann", "short")]).await?;
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
        assert_eq!(page.value("chat_message").await?, "");
        page.fill("chat_message", "for the cellar").await?;
        page.back().await?;
        page.wait_text("chat_room", "attic").await?;
        assert_eq!(page.value("chat_message").await?, "for the attic");
        page.reload().await?;
        page.wait_shown("chat_message").await?;
        assert_eq!(page.value("chat_message").await?, "for the attic");
        page.wait_state("chat_state", "OPEN").await?;
        page.click("chat_send").await?;
        page.wait_messages(&[("Ann", "for the attic")]).await?;
        page.reload().await?;
        page.wait_shown("chat_message").await?;
        assert_eq!(page.value("chat_message").await?, "", "what was sent is no draft");
        page.forward().await?;
        page.wait_text("chat_room", "cellar").await?;
        assert_eq!(page.value("chat_message").await?, "for the cellar");
        Ok(())
    });
}

#[test]
fn back_and_forward_lead_between_the_views() {
    in_every_browser(async |stage| {
        let page = stage.workbench().await?;
        page.click("nav_chat").await?;
        page.wait_shown("chat_join").await?;
        assert_eq!(page.path().await?, "/chat/lobby");
        assert!(page.text("chat_room").await?.contains("lobby"));
        page.back().await?;
        page.wait_shown("connect_websocket").await?;
        assert_eq!(page.path().await?, "/");
        page.forward().await?;
        page.wait_shown("chat_join").await?;
        assert_eq!(page.path().await?, "/chat/lobby");
        page.click("nav_workbench").await?;
        page.wait_shown("connect_websocket").await?;
        assert_eq!(page.path().await?, "/");
        Ok(())
    });
}

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
fn a_room_is_joined_at_once_under_the_name_of_the_tab_and_without_one_the_page_asks() {
    in_every_browser(async |stage| {
        let ann = stage.page.clone();
        ann.open(&stage.server.http("/chat/hall"), "chat_join").await?;
        assert_eq!(ann.state("chat_state").await?, "CLOSED", "nobody was asked yet");
        ann.join(&stage.server, "hall", "Ann").await?;
        assert_eq!(
            ann.focused().await?,
            "chat_message",
            "the next thing to do is to say something"
        );
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
fn a_name_that_the_server_refuses_is_kept_and_the_reason_is_shown() {
    in_every_browser(async |stage| {
        let page = &stage.page;
        page.open(&stage.server.http("/chat/lobby"), "chat_join").await?;
        page.fill("chat_name", "[Ann]").await?;
        page.click("chat_join").await?;
        page.wait_text("error", "does not take this name").await?;
        assert_eq!(page.value("chat_name").await?, "[Ann]");
        let is_marked = page.script("chat_name", "return arguments[0].ariaInvalid;").await?;
        assert_eq!(is_marked, "true");
        assert_eq!(page.state("chat_state").await?, "CLOSED");
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
        assert_eq!(page.rooms().await?, ["attic", "cellar"]);
        page.reload().await?;
        page.wait_state("chat_state", "OPEN").await?;
        assert_eq!(page.rooms().await?, ["attic", "cellar"]);
        let current = "return arguments[0].querySelector('[aria-current=page] .name').textContent;";
        assert_eq!(page.script("room_list", current).await?, "cellar");
        page.script("room_list", "arguments[0].querySelector('a').click();")
            .await?;
        page.wait_text("chat_room", "attic").await?;
        assert_eq!(page.path().await?, "/chat/attic");
        assert_eq!(page.script("room_list", current).await?, "attic");
        page.script("room_list", "arguments[0].querySelector('.forget').click();")
            .await?;
        page.wait_value(
            "the other room is not listed",
            async || page.rooms().await,
            |rooms| rooms == &["attic"],
        )
        .await?;
        Ok(())
    });
}

#[test]
fn a_path_with_a_bad_room_name_says_why_and_leads_on() {
    in_every_browser(async |stage| {
        let page = stage.page.clone();
        page.open(&stage.server.http("/chat/a%20b"), "chat_lobby").await?;
        page.wait_text("error", "Not a room name").await?;
        page.click("chat_choose_room").await?;
        page.wait_shown("chat_other_room").await?;
        page.fill("chat_other_room", "a/b").await?;
        page.press_in("chat_other_room", Key::Enter).await?;
        page.wait_text("error", "it has the character '/'").await?;
        page.click("chat_lobby").await?;
        page.wait_text("chat_room", "lobby").await?;
        assert_eq!(page.path().await?, "/chat/lobby");
        page.wait_shown("chat_join").await?;
        Ok(())
    });
}

#[test]
fn a_run_of_messages_shows_its_name_once_and_the_state_of_own_ones_below_the_last() {
    in_every_browser(async |stage| {
        let (ann, bob) = (stage.page.clone(), stage.page.new_tab().await?);
        ann.join(&stage.server, "den", "Ann").await?;
        bob.join(&stage.server, "den", "Bob").await?;
        for text in ["one", "two", "three"] {
            ann.send(text).await?;
        }
        bob.wait_messages(&[("Ann", "one"), ("Ann", "two"), ("Ann", "three")])
            .await?;
        let shown = "
            const shown = part => [...arguments[0].querySelectorAll(part)].filter(one => one.offsetWidth > 1).length;
            return [shown('.said'), shown('.said:not([data-goes-on]) .from'), shown('.said[data-goes-on] .from'),
                shown('.said .avatar'), shown('.said .foot')];";
        assert_eq!(bob.script(LOG, shown).await?, json!([3, 1, 0, 1, 0]));
        wait_for("all are delivered", DEADLINE, async || {
            let counts = ann.script(LOG, shown).await?;
            Ok([&counts[0], &counts[3], &counts[4]] == [&json!(3), &json!(0), &json!(1)])
        })
        .await?;
        let foot = ann
            .script(
                LOG,
                "return arguments[0].lastElementChild.querySelector('.foot').innerText;",
            )
            .await?;
        assert!(foot.as_str().is_some_and(|foot| foot.contains("Delivered")), "{foot}");
        let title = "return arguments[0].querySelector('.time').title;";
        let title = bob.script(LOG, title).await?;
        assert_eq!(title.as_str().map(str::len), Some("15:36:07".len()), "{title}");
        Ok(())
    });
}

#[test]
fn on_a_narrow_page_rooms_and_people_are_sheets_that_escape_closes() {
    in_every_browser(async |stage| {
        let page = stage.page.new_window(360, 640).await?;
        page.join(&stage.server, "den", "Ann").await?;
        for (opener, inside) in [("chat_rooms", "chat_leave"), ("chat_people", "chat_find_person")] {
            page.wait_hidden(inside).await?;
            page.click(opener).await?;
            page.wait_shown(inside).await?;
            page.press(Key::Escape).await?;
            page.wait_hidden(inside).await?;
            assert_eq!(page.focused().await?, opener, "the focus goes back");
        }
        page.go_to_room("attic").await?;
        page.wait_hidden("chat_leave").await?;
        page.wait_state("chat_state", "OPEN").await?;
        Ok(())
    });
}

#[test]
fn links_open_safely_and_code_stands_by_itself() {
    in_every_browser(async |stage| {
        let (ann, bob) = (stage.page.clone(), stage.page.new_tab().await?);
        ann.join(&stage.server, "den", "Ann").await?;
        bob.join(&stage.server, "den", "Bob").await?;
        let long = format!("https://example.com/{}/end", "a".repeat(200));
        let text = format!("see ({long}), or javascript:alert(1): `<b>`");
        ann.paste("chat_message", &text).await?;
        ann.click("chat_send").await?;
        // All of the text is there, without the marks of the code.
        let shown = text.replace('`', "");
        bob.wait_messages(&[("Ann", &shown)]).await?;
        let look = "
            const link = arguments[0].querySelector('a.link');
            const tail = link.querySelector('.tail');
            return [arguments[0].querySelectorAll('a').length, link.getAttribute('href'), link.rel,
                link.getBoundingClientRect().width < 760, tail.textContent.endsWith('/end'),
                arguments[0].querySelector('code').textContent];";
        let expected = json!([1, long, "noopener noreferrer", true, true, "<b>"]);
        assert_eq!(bob.script(LOG, look).await?, expected);
        ann.paste("chat_message", "```rust\nlet a = 1;\n\nlet b = 2;\n```")
            .await?;
        ann.click("chat_send").await?;
        bob.wait_messages(&[("Ann", &shown), ("Ann", "let a = 1;\n\nlet b = 2;")])
            .await?;
        Ok(())
    });
}

#[test]
fn a_message_of_many_lines_is_folded_until_its_button_is_pressed() {
    in_every_browser(async |stage| {
        let (page, bob) = (stage.page.clone(), stage.page.new_tab().await?);
        page.join(&stage.server, "den", "Ann").await?;
        bob.join(&stage.server, "den", "Bob").await?;
        let text = vec!["line"; 60].join("\n");
        bob.paste("chat_message", &text).await?;
        bob.click("chat_send").await?;
        page.wait_messages(&[("Bob", &text)]).await?;
        let height = "return arguments[0].querySelector('.said .text').getBoundingClientRect().height;";
        let height = async || Ok::<_, talkback_e2e::StepError>(page.script(LOG, height).await?.as_f64().unwrap_or(0.0));
        let folded = height().await?;
        assert!((200.0..500.0).contains(&folded), "{folded}");
        page.script(LOG, "arguments[0].querySelector('.unfold').click();")
            .await?;
        wait_for("all lines are shown", DEADLINE, async || Ok(height().await? > 1_000.0)).await?;
        page.script(LOG, "arguments[0].querySelector('.unfold').click();")
            .await?;
        wait_for("it is folded again", DEADLINE, async || Ok(height().await? == folded)).await?;
        Ok(())
    });
}

#[test]
fn names_are_completed_after_an_at_sign_and_a_mention_is_marked() {
    in_every_browser(async |stage| {
        let (ann, bob) = (stage.page.clone(), stage.page.new_tab().await?);
        ann.join(&stage.server, "den", "Ann").await?;
        bob.join(&stage.server, "den", "Bob").await?;
        bob.wait_roster(&["Bob", "Ann"]).await?;
        bob.fill("chat_message", "hi @a").await?;
        bob.wait_text("chat_names", "Ann").await?;
        let marked = "return document.getElementById(arguments[0].getAttribute('aria-activedescendant')).innerText;";
        let marked = bob.script("chat_message", marked).await?;
        assert!(marked.as_str().is_some_and(|marked| marked.contains("Ann")), "{marked}");
        bob.press_in("chat_message", Key::Escape).await?;
        bob.wait_hidden("chat_names").await?;
        bob.press_in("chat_message", "n").await?;
        bob.wait_shown("chat_names").await?;
        bob.press_in("chat_message", Key::Enter).await?;
        bob.wait_hidden("chat_names").await?;
        bob.wait_value(
            "the name is completed",
            async || bob.value("chat_message").await,
            |text| text == "hi @Ann ",
        )
        .await?;
        bob.press_in("chat_message", "look").await?;
        bob.press_in("chat_message", Key::Enter).await?;
        ann.wait_messages(&[("Bob", "hi @Ann look")]).await?;
        let mention = "
            const row = arguments[0].querySelector('.mention').closest('.said');
            return [row.querySelector('.mention').textContent, row.matches('[data-mentions-me]')];";
        assert_eq!(ann.script(LOG, mention).await?, json!(["@Ann", true]));
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
        ann.script("room_list", "arguments[0].querySelector('a').click();")
            .await?;
        ann.wait_messages(&[("Ann", "kept"), ("Bob", "one"), ("Bob", "two @Ann")])
            .await?;
        wait_unread(json!([["deploys"], ["lobby"]])).await?;
        let below = "return arguments[0].nextElementSibling.querySelector('.text').textContent;";
        assert_eq!(ann.script("unread", below).await?, "one");
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
        page.wait_value(
            "the field has the focus",
            async || page.focused().await,
            |id| id == "chat_switch_to",
        )
        .await?;
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
        assert_eq!(page.path().await?, "/chat/attic");
        Ok(())
    });
}

#[test]
fn loaded_messages_are_searched_and_the_one_that_is_found_is_shown() {
    in_every_browser(async |stage| {
        let page = stage.page.new_window(1100, 700).await?;
        page.join(&stage.server, "den", "Ann").await?;
        for text in ["Needle one", "hay"] {
            page.send(text).await?;
        }
        let hay = vec!["hay"; 60].join("\n");
        for text in [hay.as_str(), &hay, "needle two"] {
            page.paste("chat_message", text).await?;
            page.click("chat_send").await?;
        }
        page.wait_delivery("needle two", "acked").await?;
        let shown = async |expected: &str| {
            let script = "
                const row = document.querySelector('[data-found]');
                if (!row) return '';
                const [inner, outer] = [row, row.closest('.chat-viewport')].map(one => one.getBoundingClientRect());
                return inner.top >= outer.top && inner.bottom <= outer.bottom ? row.querySelector('.text').textContent : '';";
            page.wait_value(
                format!("{expected} is in sight"),
                async || page.execute(script, vec![]).await,
                |text| *text == expected,
            )
            .await
        };
        page.click("chat_search_button").await?;
        page.fill("chat_search", "NEEDLE").await?;
        page.wait_text("chat_found", "2 / 2").await?;
        shown("needle two").await?;
        page.press_in("chat_search", Key::Enter).await?;
        page.wait_text("chat_found", "1 / 2").await?;
        shown("Needle one").await?;
        page.click("chat_search_newer").await?;
        shown("needle two").await?;
        page.fill("chat_search", "straw").await?;
        page.wait_text("chat_found", "Nothing found").await?;
        page.script("chat_search", "arguments[0].focus();").await?;
        page.press(Key::Escape).await?;
        page.wait_hidden("chat_search").await?;
        assert_eq!(page.focused().await?, "chat_search_button");
        Ok(())
    });
}

#[test]
fn a_link_to_a_message_loads_what_is_older_and_shows_it() {
    in_every_browser(async |stage| {
        let (ann, bob) = (stage.page.clone(), stage.page.new_window(900, 700).await?);
        ann.join(&stage.server, "past", "Ann").await?;
        let send = "
            const field = document.getElementById('chat_message');
            const set = Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, 'value').set;
            for (let number = 1; number <= 250; number++) {
                set.call(field, `number ${number}`);
                field.dispatchEvent(new InputEvent('input', { bubbles: true }));
                field.form.requestSubmit();
            }";
        ann.execute(send, vec![]).await?;
        ann.wait_delivery("number 250", "acked").await?;
        bob.join(&stage.server, "past", "Bob").await?;
        // Another address than the one that is open, so that the page is loaded.
        bob.open(&stage.server.http("/"), "connect_websocket").await?;
        bob.open(&stage.server.http("/chat/past#7"), "chat_room").await?;
        let found = "return document.querySelector('[data-found] .text')?.textContent ?? '';";
        bob.wait_value(
            "the message is marked",
            async || bob.execute(found, vec![]).await,
            |text| text == "number 7",
        )
        .await?;
        Ok(())
    });
}

#[test]
fn the_text_of_a_message_and_a_link_to_it_are_copied() {
    in_every_browser(async |stage| {
        let page = stage.page.clone();
        page.join(&stage.server, "den", "Ann").await?;
        page.send("first `code`").await?;
        page.wait_delivery("first code", "acked").await?;
        wait_for("it is a message of the room", DEADLINE, async || {
            let script = "return document.querySelector('.said[data-row]') !== null;";
            Ok(page.execute(script, vec![]).await? == true)
        })
        .await?;
        // The clipboard is the browser's; what the page puts on it is looked at.
        let watch = "
            window.copied = [];
            navigator.clipboard.writeText = async text => void window.copied.push(text);";
        page.execute(watch, vec![]).await?;
        let point = "document.querySelector('.said[data-row] .text')
            .dispatchEvent(new PointerEvent('pointerover', { bubbles: true }));";
        page.execute(point, vec![]).await?;
        page.click("chat_copy").await?;
        page.wait_text("chat_flash", "Copied").await?;
        page.click("chat_copy_link").await?;
        let link = stage.server.http("/chat/den#1");
        let copied = |expected: serde_json::Value| {
            let page = page.clone();
            async move {
                page.wait_value(
                    "it is copied",
                    async || page.execute("return window.copied;", vec![]).await,
                    |copied| *copied == expected,
                )
                .await
            }
        };
        copied(json!(["first `code`", link])).await?;
        // By keyboard, from the list to its last message.
        page.script(LOG, "arguments[0].closest('.chat-viewport').focus();")
            .await?;
        page.press(Key::Up).await?;
        page.press("l").await?;
        copied(json!(["first `code`", link, link])).await?;
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
        assert_eq!(ann.script("unread", below).await?, "unread in the lobby");
        ann.wait_text("room_list", "1").await?;
        let unread = "return arguments[0].querySelector('[data-unread] .name').textContent;";
        assert_eq!(ann.script("room_list", unread).await?, "deploys");
        Ok(())
    });
}

#[test]
fn a_mention_notifies_a_user_who_asked_for_it_and_is_elsewhere() {
    in_every_browser(async |stage| {
        let (ann, bob) = (stage.page.clone(), stage.page.new_tab().await?);
        ann.join(&stage.server, "den", "Ann").await?;
        bob.join(&stage.server, "den", "Bob").await?;
        bob.wait_roster(&["Bob", "Ann"]).await?;
        // Drivers cannot answer the browser's question.
        let stand_in = "
            window.shown = [];
            window.asked = 0;
            window.Notification = class {
                static requestPermission() { window.asked++; return Promise.resolve(window.answer); }
                constructor(title, options) { window.shown.push([title, options.body, options.tag]); }
            };
            window.answer = 'denied';";
        ann.execute(stand_in, vec![]).await?;
        assert_eq!(
            ann.script("chat_alerts", "return arguments[0].checked;").await?,
            json!(false)
        );
        ann.click("chat_alerts").await?;
        ann.wait_text("chat_flash", "does not allow notifications").await?;
        ann.wait_value(
            "the switch is off",
            async || ann.script("chat_alerts", "return arguments[0].checked;").await,
            |checked| *checked == false,
        )
        .await?;
        ann.execute("window.answer = 'granted';", vec![]).await?;
        ann.click("chat_alerts").await?;
        wait_for("the switch is on", DEADLINE, async || {
            Ok(ann
                .execute("return localStorage.getItem('talkback.alerts');", vec![])
                .await?
                == "")
        })
        .await?;
        ann.go_to_room("lobby").await?;
        ann.wait_state("chat_state", "OPEN").await?;
        bob.send("nothing for anybody").await?;
        bob.send("hello @Ann").await?;
        ann.wait_value(
            "the mention is notified",
            async || ann.execute("return window.shown;", vec![]).await,
            |shown| *shown == json!([["Bob · #den", "hello @Ann", "den"]]),
        )
        .await?;
        Ok(())
    });
}

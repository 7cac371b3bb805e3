//! The messages of the chat: how they are shown, found, copied and notified.

use serde_json::json;
use talkback_e2e::{DEADLINE, Engine, StepError, in_every_browser, wait_for};
use talkback_testbed::Port;
use thirtyfour::Key;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const LOG: &str = "chat_messages";

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
fn a_message_over_the_limit_is_refused_in_the_field_and_stays_there() {
    in_every_browser(async |stage| {
        let page = stage.page.clone();
        page.join(&stage.server, "attic", "Ann").await?;
        page.paste("chat_message", &"x".repeat(70_000)).await?;
        page.wait_text("chat_size", "/").await?;
        page.click("chat_send").await?;
        page.wait_text("error", "too long").await?;
        page.wait_script("chat_message", "return arguments[0].value.length;", 70_000)
            .await?;
        page.fill("chat_message", "short").await?;
        page.click("chat_send").await?;
        page.wait_messages(&[("Ann", "short")]).await?;
        Ok(())
    });
}

#[test]
fn a_run_of_messages_shows_its_name_once_and_the_state_of_own_ones_below_the_last() {
    in_every_browser(async |stage| {
        let (ann, bob) = (stage.page.clone(), stage.page.new_tab().await?);
        ann.join(&stage.server, "den", "Ann").await?;
        bob.join(&stage.server, "den", "Bob").await?;
        // This line would stand between messages that are sent before it comes.
        ann.wait_text(LOG, "Bob joined").await?;
        for text in ["one", "two", "three"] {
            ann.send(text).await?;
        }
        bob.wait_messages(&[("Ann", "one"), ("Ann", "two"), ("Ann", "three")])
            .await?;
        let shown = "
            const shown = part => [...arguments[0].querySelectorAll(part)].filter(one => one.offsetWidth > 1).length;
            return [shown('.said'), shown('.said:not([data-goes-on]) .from'), shown('.said[data-goes-on] .from'),
                shown('.said .avatar'), shown('.said .foot')];";
        bob.wait_script(LOG, shown, json!([3, 1, 0, 1, 0])).await?;
        wait_for("all are delivered", DEADLINE, async || {
            let counts = ann.script(LOG, shown).await?;
            Ok([&counts[0], &counts[3], &counts[4]] == [&json!(3), &json!(0), &json!(1)])
        })
        .await?;
        let foot = "
            const foot = [...arguments[0].querySelectorAll('.said')].at(-1).querySelector('.foot');
            return foot.innerText.includes('Delivered');";
        ann.wait_script(LOG, foot, true).await?;
        let title = "return arguments[0].querySelector('.time').title;";
        bob.wait_value(
            "its time has seconds",
            async || bob.script(LOG, title).await,
            |title| title.as_str().map(str::len) == Some("15:36:07".len()),
        )
        .await?;
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
        bob.wait_script(LOG, look, expected).await?;
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
        let height = async || Ok::<_, StepError>(page.script(LOG, height).await?.as_f64().unwrap_or(0.0));
        page.wait_value("it is folded", height, |height| (200.0..500.0).contains(height))
            .await?;
        let folded = height().await?;
        page.click_inside(LOG, ".unfold").await?;
        wait_for("all lines are shown", DEADLINE, async || Ok(height().await? > 1_000.0)).await?;
        page.click_inside(LOG, ".unfold").await?;
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
        bob.wait_value(
            "the name is marked",
            async || bob.script("chat_message", marked).await,
            |marked| marked.as_str().is_some_and(|marked| marked.contains("Ann")),
        )
        .await?;
        bob.press_in("chat_message", Key::Escape).await?;
        bob.wait_hidden("chat_names").await?;
        bob.press_in("chat_message", "n").await?;
        bob.wait_shown("chat_names").await?;
        bob.press_in("chat_message", Key::Enter).await?;
        bob.wait_hidden("chat_names").await?;
        bob.wait_field("chat_message", "hi @Ann ").await?;
        bob.press_in("chat_message", "look").await?;
        bob.press_in("chat_message", Key::Enter).await?;
        ann.wait_messages(&[("Bob", "hi @Ann look")]).await?;
        let mention = "
            const row = arguments[0].querySelector('.mention').closest('.said');
            return [row.querySelector('.mention').textContent, row.matches('[data-mentions-me]')];";
        ann.wait_script(LOG, mention, json!(["@Ann", true])).await?;
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
        let marked = "
            return 'highlights' in CSS ? [...CSS.highlights.get('found') ?? []].map(range => range.toString()) : null;";
        page.wait_value(
            "the words near it are marked, where the browser has highlights",
            async || page.execute(marked, vec![]).await,
            |marked| marked.is_null() || *marked == json!(["needle"]),
        )
        .await?;
        page.press_in("chat_search", Key::Enter).await?;
        page.wait_text("chat_found", "1 / 2").await?;
        shown("Needle one").await?;
        page.click("chat_search_newer").await?;
        shown("needle two").await?;
        page.click("chat_search_older").await?;
        page.wait_text("chat_found", "1 / 2").await?;
        page.click("chat_search_newer").await?;
        // As a browser without highlights.
        page.execute("delete window.Highlight;", vec![]).await?;
        let elements = "
            const list = document.getElementById('chat_messages');
            return [[...list.querySelectorAll('mark')].map(mark => mark.textContent), list.textContent.includes('needle two')];";
        for (text, marked) in [
            ("two", vec!["two"]),
            ("e", vec!["e", "e", "e"]),
            ("NEEDLE", vec!["needle"]),
        ] {
            page.fill("chat_search", text).await?;
            page.wait_value(
                format!("{marked:?} are marked and no text is changed"),
                async || page.execute(elements, vec![]).await,
                |found| *found == json!([marked, true]),
            )
            .await?;
        }
        page.fill("chat_search", "straw").await?;
        page.wait_text("chat_found", "Nothing found").await?;
        page.wait_value(
            "nothing is marked any more",
            async || page.execute(elements, vec![]).await,
            |found| *found == json!([[], true]),
        )
        .await?;
        page.script("chat_search", "arguments[0].focus();").await?;
        page.press(Key::Escape).await?;
        page.wait_hidden("chat_search").await?;
        page.wait_focus("chat_search_button").await?;
        let is_marked = "return document.querySelector('[data-found]') !== null;";
        page.wait_answer(is_marked, false).await?;
        // What is being written is written on.
        page.press(Key::Enter).await?;
        page.wait_shown("chat_search").await?;
        page.fill("chat_message", "half").await?;
        page.press(Key::Escape).await?;
        page.wait_hidden("chat_search").await?;
        page.press(" of it").await?;
        page.wait_field("chat_message", "half of it").await?;
        // A search is one of the messages of its room.
        page.click("chat_search_button").await?;
        page.fill("chat_search", "hay").await?;
        page.wait_text("chat_found", "3 / 3").await?;
        page.go_to_room("barn").await?;
        page.wait_hidden("chat_search").await?;
        Ok(())
    });
}

#[test]
fn keys_of_an_input_method_close_nothing_and_move_no_mark() {
    in_every_browser(async |stage| {
        let (page, bob) = (stage.page.clone(), stage.page.new_tab().await?);
        page.join(&stage.server, "hall", "Ann").await?;
        page.go_to_room("yard").await?;
        page.go_to_room("den").await?;
        bob.join(&stage.server, "den", "Bob").await?;
        page.wait_roster(&["Ann", "Bob"]).await?;
        // As WebKit tells the key that ends the composition: it is over, and the code says whose key it was.
        let press = async |id: &str, key: &str, code: u32| {
            let press = format!(
                "arguments[0].dispatchEvent(new KeyboardEvent('keydown', {{
                    key: '{key}', keyCode: {code}, bubbles: true, cancelable: true }}));"
            );
            page.script(id, &press).await
        };
        page.click("chat_search_button").await?;
        page.wait_shown("chat_search").await?;
        press("chat_search", "Escape", 229).await?;
        page.fill("chat_message", "@b").await?;
        page.wait_shown("chat_names").await?;
        press("chat_message", "Escape", 229).await?;
        assert!(page.is_shown("chat_names").await?, "the names are still offered");
        page.fill("chat_message", "").await?;
        page.wait_hidden("chat_names").await?;
        page.press_with(Key::Control, "k").await?;
        page.wait_shown("chat_switch_to").await?;
        let marked = "return arguments[0].getAttribute('aria-activedescendant');";
        let before = page.script("chat_switch_to", marked).await?;
        press("chat_switch_to", "ArrowDown", 229).await?;
        press("chat_switch_to", "Escape", 229).await?;
        page.wait_script("chat_switch_to", marked, before).await?;
        // The same keys without an input method do it.
        press("chat_switch_to", "Escape", 27).await?;
        page.wait_hidden("chat_switch_to").await?;
        assert!(page.is_shown("chat_search").await?, "the search is still open");
        Ok(())
    });
}

#[test]
fn older_messages_are_not_offered_to_a_user_who_left() {
    in_every_browser(async |stage| {
        let page = stage.page.new_window(900, 500).await?;
        page.join(&stage.server, "den", "Ann").await?;
        let texts: Vec<_> = (1..=400).map(|number| format!("number {number}")).collect();
        page.send_all(&texts).await?;
        page.wait_delivery("number 400", "acked").await?;
        let bob = stage.page.new_tab().await?;
        bob.join(&stage.server, "den", "Bob").await?;
        bob.wait_state("older", "more").await?;
        bob.leave().await?;
        bob.wait_shown("chat_join").await?;
        bob.wait_state("older", "unknown").await?;
        bob.wait_hidden("load_older").await?;
        Ok(())
    });
}

#[test]
fn below_the_rows_of_a_lost_log_nothing_says_that_the_room_begins_there() {
    in_every_browser(async |stage| {
        let page = stage.page.clone();
        page.join(&stage.server, "den", "Ann").await?;
        page.send("before").await?;
        page.wait_text("older", "This is the beginning of the room.").await?;
        page.wait_messages(&[("Ann", "before")]).await?;
        stage.server.kill().await?;
        stage.server.start_again().await?;
        page.wait_notice("The server was restarted without its messages")
            .await?;
        page.wait_state("older", "beginning").await?;
        assert_eq!(page.text("older").await?, "");
        Ok(())
    });
}

#[test]
fn a_search_goes_on_in_older_messages_that_are_loaded_for_it() {
    in_every_browser(async |stage| {
        let page = stage.page.clone();
        page.open(&stage.server.http("/chat/elsewhere"), "chat_join").await?;
        let say = "
            const socket = new WebSocket(`${location.origin.replace('http', 'ws')}/chat/past?name=Zoe`);
            socket.onopen = () => [...Array(300).keys()].forEach(number => socket.send(`number ${number + 1}.`));";
        page.execute(say, vec![]).await?;
        let count = "return fetch('/rooms/past/messages').then(answer => answer.json()).then(page => page.head);";
        wait_for("they are in the room", DEADLINE, async || {
            Ok(page.execute(count, vec![]).await? == 300)
        })
        .await?;
        page.join(&stage.server, "past", "Ann").await?;
        page.click("chat_search_button").await?;
        page.fill("chat_search", "number 12.").await?;
        page.wait_text("chat_found", "Nothing found").await?;
        page.click("chat_search_beyond").await?;
        page.wait_text("chat_found", "1 / 1").await?;
        let found = "return document.querySelector('[data-found] .text')?.textContent ?? '';";
        page.wait_value(
            "the message is marked",
            async || page.execute(found, vec![]).await,
            |text| text == "number 12.",
        )
        .await?;
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
        let cursor = "return fetch('/rooms/den/messages').then(answer => answer.json()).then(page => page.cursor);";
        let cursor = page.execute(cursor, vec![]).await?;
        let link = stage.server.http("/chat/den#") + cursor.as_str().unwrap_or_default();
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
        page.press("c").await?;
        copied(json!(["first `code`", link, link, "first `code`"])).await?;
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
                constructor(title, options) { window.shown.push([title, options.body, options.tag]); window.last = this; }
            };
            window.answer = 'denied';";
        ann.execute(stand_in, vec![]).await?;
        ann.wait_script("chat_alerts", "return arguments[0].checked;", json!(false))
            .await?;
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
        ann.execute("window.last.onclick();", vec![]).await?;
        ann.wait_text("chat_room", "den").await?;
        ann.wait_path("/chat/den").await?;
        // Some systems keep it after it was pressed.
        ann.go_to_room("lobby").await?;
        ann.execute("window.last.onclick();", vec![]).await?;
        ann.wait_text("chat_room", "den").await?;
        Ok(())
    });
}

#[test]
fn the_tab_key_reaches_the_links_of_the_current_message_only() {
    in_every_browser(async |stage| {
        let page = stage.page.clone();
        page.join(&stage.server, "links", "Ann").await?;
        for host in ["one", "two"] {
            let text = format!("https://{host}.example/");
            page.send(&text).await?;
            page.wait_row(LOG, "it is a message of the room", |row| row.text == text)
                .await?;
        }
        let rows = "return document.querySelectorAll('.said[data-row]').length;";
        wait_for("both are messages of the room", DEADLINE, async || {
            Ok(page.execute(rows, vec![]).await? == 2)
        })
        .await?;
        let stops = "
            return [...arguments[0].querySelectorAll('a, button, code')].filter(stop => stop.tabIndex === 0)
                .map(stop => stop.getAttribute('href'));";
        page.wait_script(LOG, stops, json!([])).await?;
        page.script(LOG, "arguments[0].closest('.chat-viewport').focus();")
            .await?;
        for expected in ["https://two.example/", "https://one.example/"] {
            page.press(Key::Up).await?;
            page.wait_value(
                "its link is a stop",
                async || page.script(LOG, stops).await,
                |stops| *stops == json!([expected]),
            )
            .await?;
        }
        page.press(Key::Tab).await?;
        page.wait_value(
            "the link has the focus",
            async || {
                page.execute("return document.activeElement.getAttribute('href');", vec![])
                    .await
            },
            |href| *href == "https://one.example/",
        )
        .await?;
        Ok(())
    });
}

#[test]
fn a_day_is_gone_to_by_its_field_and_one_without_messages_says_so() {
    in_every_browser(async |stage| {
        let page = stage.page.clone();
        page.join(&stage.server, "diary", "Ann").await?;
        page.send("dear diary").await?;
        page.wait_delivery("dear diary", "acked").await?;
        let day = "return document.querySelector('.line.day')?.textContent ?? '';";
        page.wait_answer(day, "Today").await?;
        // A letter with Caps Lock, and a key of no letter.
        let press = "
            const [key] = arguments;
            document.body.dispatchEvent(new KeyboardEvent('keydown', { key, ctrlKey: true, bubbles: true, cancelable: true }));";
        page.execute(press, vec![json!("K")]).await?;
        page.wait_shown("chat_switch_to").await?;
        page.execute(press, vec![json!("K")]).await?;
        page.wait_hidden("chat_switch_to").await?;
        page.execute(press, vec![json!("/")]).await?;
        page.wait_shown("chat_search").await?;
        // From the local midnight of the day that begins so many days from now.
        let go = "
            const day = new Date(Date.now() + arguments[0] * 86_400_000);
            const field = document.getElementById('chat_day');
            field.value = [day.getFullYear(), day.getMonth() + 1, day.getDate()]
                .map(number => String(number).padStart(2, '0')).join('-');
            field.dispatchEvent(new Event('change', { bubbles: true }));";
        page.execute(go, vec![json!(2)]).await?;
        page.wait_text("chat_flash", "Nothing found").await?;
        page.execute(go, vec![json!(-1)]).await?;
        let found = "return document.querySelector('[data-found] .text')?.textContent ?? '';";
        page.wait_value(
            "the first message of that day or later is marked",
            async || page.execute(found, vec![]).await,
            |text| *text == "dear diary",
        )
        .await?;
        // A link to a message of another log.
        page.execute("location.hash = '#another-log:1';", vec![]).await?;
        page.wait_text("chat_flash", "does not have this message").await?;
        Ok(())
    });
}

#[test]
fn a_deleted_message_is_shown_as_deleted_to_a_user_who_joins_later() {
    in_every_browser(async |stage| {
        let setup = |error: std::io::Error| StepError::Setup(error.to_string());
        let (key, port) = ("0123456789abcdef", Port::loopback().map_err(setup)?);
        let operations = port.address().to_string();
        let options = ["--operations-listen", &operations, "--admin-key", key];
        let server = stage.server_at(([127, 0, 0, 1], 0).into(), &options).await?;
        let (ann, bob) = (stage.page.clone(), stage.page.new_tab().await?);
        ann.join(&server, "lobby", "Ann").await?;
        ann.send("secret").await?;
        ann.wait_delivery("secret", "acked").await?;
        bob.join(&server, "lobby", "Bob").await?;
        bob.send("stays").await?;
        bob.wait_delivery("stays", "acked").await?;

        let mut operator = TcpStream::connect(port.address()).await.map_err(setup)?;
        let request = format!(
            "DELETE /admin/users/Ann/messages HTTP/1.1\r\nHost: {operations}\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n\r\n"
        );
        operator.write_all(request.as_bytes()).await.map_err(setup)?;
        let mut answer = String::new();
        operator.read_to_string(&mut answer).await.map_err(setup)?;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");

        let deleted = "This message was deleted";
        let cid = stage.page.new_window(900, 700).await?;
        cid.join(&server, "lobby", "Cid").await?;
        cid.wait_messages(&[("Ann", deleted), ("Bob", "stays")]).await?;
        cid.wait_hidden("unread").await?;
        Ok(())
    });
}

#[test]
fn a_user_who_has_read_nothing_of_a_room_finds_no_divider_though_the_user_before_had_read_some() {
    in_every_browser(async |stage| {
        let (ann, bob) = (stage.page.clone(), stage.page.new_window(900, 700).await?);
        ann.join(&stage.server, "hall", "Ann").await?;
        ann.send("one").await?;
        ann.wait_messages(&[("Ann", "one")]).await?;
        let read = "return localStorage.getItem('talkback.read.Ann')?.trim().endsWith(':1');";
        ann.wait_answer(read, true).await?;
        // It is closed for Ann, so that what comes is new to her.
        ann.execute("location.href = '/healthz';", vec![]).await?;
        let say = "
            const socket = new WebSocket(`${arguments[0]}/chat/hall?name=Zoe`);
            const text = arguments[1];
            socket.onopen = () => socket.send(text);";
        let mouth = ann.new_tab().await?;
        mouth.open(&stage.server.http("/"), "connect_websocket").await?;
        mouth
            .execute(say, vec![json!(stage.server.ws("")), json!("two")])
            .await?;
        let below = "return arguments[0].nextElementSibling.querySelector('.text').textContent;";
        bob.open(&stage.server.http("/chat/hall"), "chat_room").await?;
        bob.wait_messages(&[("Ann", "one"), ("Zoe", "two")]).await?;
        bob.wait_script("unread", below, "two").await?;

        bob.leave().await?;
        bob.wait_shown("chat_join").await?;
        bob.fill("chat_name", "Bob").await?;
        bob.click("chat_join").await?;
        bob.wait_notice("You joined hall as Bob.").await?;
        bob.wait_messages(&[("Ann", "one"), ("Zoe", "two")]).await?;
        bob.wait_hidden("unread").await?;
        // What comes while he looks at the other view is new.
        bob.click("nav_workbench").await?;
        bob.wait_shown("connect_websocket").await?;
        mouth
            .execute(say, vec![json!(stage.server.ws("")), json!("three")])
            .await?;
        bob.wait_text("nav_chat", "1").await?;
        bob.click("nav_chat").await?;
        bob.wait_script("unread", below, "three").await?;
        Ok(())
    });
}

#[test]
fn the_days_of_messages_are_told_in_words() {
    in_every_browser(async |stage| {
        if stage.browser.engine() == Engine::Firefox {
            // The page's clock is not changed by what its driver's scripts do to theirs.
            return Ok(());
        }
        let (ann, bob) = (stage.page.clone(), stage.page.new_tab().await?);
        ann.join(&stage.server, "den", "Ann").await?;
        bob.join(&stage.server, "den", "Bob").await?;
        bob.send("one").await?;
        let days = "return [...arguments[0].querySelectorAll('.line.day')].map(day => day.textContent);";
        ann.wait_messages(&[("Bob", "one")]).await?;
        ann.wait_script(LOG, days, json!(["Today"])).await?;
        let date = "
            const words = { weekday: 'long', year: 'numeric', month: 'long', day: 'numeric' };
            return new Date().toLocaleDateString('en', words);";
        let date = ann.execute(date, vec![]).await?;
        // Each message has the time of the server.
        let a_day_later = "
            const now = Date.now;
            Date.now = () => now() + 86_400_000;";
        for (text, expected) in [("two", json!("Yesterday")), ("three", date)] {
            ann.execute(a_day_later, vec![]).await?;
            bob.send(text).await?;
            ann.wait_row(LOG, text, |row| row.text == text).await?;
            ann.wait_script(LOG, days, json!([expected])).await?;
        }
        Ok(())
    });
}

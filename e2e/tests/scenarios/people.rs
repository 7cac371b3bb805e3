//! The users of a room, typing, and reading their messages.

use std::{net::Ipv4Addr, time::Duration};

use serde_json::json;
use talkback_e2e::{DEADLINE, Page, StepError, in_every_browser, wait_for};
use thirtyfour::Key;

/// Scrolls as a wheel would. WebKitGTK's windows on a virtual display are not always painted, and tell of no scrolling
/// until they are; so the event is repeated.
async fn scroll_to(page: &Page, top: &str) -> Result<(), StepError> {
    let script = format!(
        "const list = arguments[0].closest('.chat-viewport');
         list.scrollTop = {top};
         list.dispatchEvent(new Event('scroll'));"
    );
    page.script("chat_messages", &script).await.map(drop)
}

#[test]
fn several_tabs_of_one_user_are_one_in_the_roster_and_typing_is_not_shown_to_oneself() {
    in_every_browser(async |stage| {
        let (ann, too, bob) = (
            stage.page.clone(),
            stage.page.new_tab().await?,
            stage.page.new_tab().await?,
        );
        ann.join(&stage.server, "den", "Ann").await?;
        too.join(&stage.server, "den", "Ann").await?;
        bob.join(&stage.server, "den", "Bob").await?;
        for page in [&ann, &too] {
            page.wait_roster(&["Ann", "Bob"]).await?;
        }
        bob.wait_roster(&["Bob", "Ann"]).await?;
        ann.wait_notice("Bob joined").await?;

        ann.press_in("chat_message", "he").await?;
        bob.wait_text("typing", "Ann is typing").await?;
        assert_eq!(too.text("typing").await?, "", "it is the same person");
        wait_for("who stopped is typing no more", DEADLINE, async || {
            Ok(bob.text("typing").await?.is_empty())
        })
        .await?;
        ann.press_in("chat_message", "llo").await?;
        bob.wait_text("typing", "Ann is typing").await?;
        ann.click("chat_send").await?;
        bob.wait_messages(&[("Ann", "hello")]).await?;
        too.wait_messages(&[("Ann", "hello")]).await?;
        for (page, direction) in [(&ann, "out"), (&too, "out"), (&bob, "in")] {
            page.wait_row("chat_messages", direction, |row| {
                row.text == "hello" && row.direction == direction
            })
            .await?;
        }
        bob.wait_script("typing", "return arguments[0].textContent;", "")
            .await?;

        too.leave().await?;
        bob.leave().await?;
        ann.wait_notice("Bob left").await?;
        ann.wait_roster(&["Ann"]).await?;
        Ok(())
    });
}

#[test]
fn unread_messages_are_counted_in_the_title_and_the_navigation_of_the_other_view() {
    in_every_browser(async |stage| {
        let (ann, bob) = (stage.page.clone(), stage.page.new_tab().await?);
        ann.join(&stage.server, "hall", "Ann").await?;
        ann.click("nav_workbench").await?;
        ann.wait_shown("connect_websocket").await?;
        bob.join(&stage.server, "hall", "Bob").await?;
        bob.send("one").await?;
        bob.send("two").await?;
        ann.wait_text("nav_chat", "2").await?;
        let title = "return [document.title, document.querySelector('link[rel=icon]').id];";
        ann.wait_answer(title, json!(["(2) Workbench · Talkback", "icon_unread"]))
            .await?;
        ann.click("nav_chat").await?;
        ann.wait_messages(&[("Bob", "one"), ("Bob", "two")]).await?;
        ann.wait_value(
            "nothing is unread",
            async || ann.execute(title, vec![]).await,
            |now| *now == json!(["Chat · Talkback", "icon"]),
        )
        .await?;
        Ok(())
    });
}

#[test]
fn the_list_of_a_crowd_scrolls_and_each_of_its_rows_can_be_read() {
    in_every_browser(async |stage| {
        let page = stage.page.clone();
        page.join(&stage.server, "crowd", "Ann").await?;
        let crowd = "
            const origin = location.origin.replace('http', 'ws');
            window.crowd = [...Array(120).keys()].map(n => new WebSocket(`${origin}/chat/crowd?name=User ${n}`));";
        page.execute(crowd, vec![]).await?;
        wait_for("the crowd is in the list", DEADLINE, async || {
            Ok(page.roster().await?.len() == 121)
        })
        .await?;
        let measure = "
            const heights = [...arguments[0].children].map(row => row.getBoundingClientRect().height);
            const list = arguments[0];
            return [Math.min(...heights) >= 18, list.scrollHeight > list.clientHeight + 1000];";
        page.wait_script("roster", measure, json!([true, true])).await?;
        page.fill("chat_find_person", "user 11").await?;
        page.wait_roster(&[
            "User 11", "User 110", "User 111", "User 112", "User 113", "User 114", "User 115", "User 116", "User 117",
            "User 118", "User 119",
        ])
        .await?;
        page.fill("chat_find_person", "nobody has this").await?;
        page.wait_roster(&[]).await?;
        Ok(())
    });
}

#[test]
fn in_a_room_with_too_many_people_to_list_they_are_found_at_the_server() {
    in_every_browser(async |stage| {
        let server = stage
            .server_at((Ipv4Addr::LOCALHOST, 0).into(), &["--max-listed-users", "3"])
            .await?;
        let page = stage.page.clone();
        page.join(&server, "crowd", "Ann").await?;
        let crowd = "
            const origin = location.origin.replace('http', 'ws');
            const names = ['Hanna', 'Anton', '李安', ...[...Array(60).keys()].map(n => `User ${n}`)];
            window.crowd = names.map(name => new WebSocket(`${origin}/chat/crowd?name=${encodeURIComponent(name)}`));";
        page.execute(crowd, vec![]).await?;
        let count = "return document.querySelector('.people .count').textContent;";
        page.wait_answer(count, "64").await?;
        wait_for("the newest users are found", DEADLINE, async || {
            page.fill("chat_find_person", "User 5").await?;
            page.fill("chat_find_person", "AN").await?;
            Ok(page.roster().await? == ["Ann", "Anton", "Hanna"])
        })
        .await?;
        page.fill("chat_find_person", "安").await?;
        page.wait_roster(&["李安"]).await?;
        let rest = "return document.querySelector('.people > .quiet')?.textContent ?? '';";
        page.fill("chat_find_person", "user").await?;
        page.wait_answer(rest, "There are more: type more of the name.").await?;
        page.fill("chat_find_person", "nobody has this").await?;
        page.wait_answer(rest, "Nobody here has a name like this.").await?;
        page.fill("chat_find_person", "").await?;
        page.wait_answer(rest, "and 14 more").await?;

        page.fill("chat_message", "hi @ant").await?;
        page.wait_text("chat_names", "Anton").await?;
        page.press_in("chat_message", Key::Tab).await?;
        page.wait_field("chat_message", "hi @Anton ").await?;
        Ok(())
    });
}

#[test]
fn users_who_join_and_leave_in_a_row_are_one_line() {
    in_every_browser(async |stage| {
        let page = stage.page.clone();
        page.join(&stage.server, "door", "Ann").await?;
        let open = "
            const origin = location.origin.replace('http', 'ws');
            const open = name => new Promise(done => {
                const socket = new WebSocket(`${origin}/chat/door?name=${name}`);
                socket.onopen = () => done(socket);
            });
            window.guests = [];
            for (const name of ['Bob', 'Eve', 'Zoe']) window.guests.push(await open(name));";
        page.execute(&format!("return (async () => {{ {open} }})();"), vec![])
            .await?;
        page.wait_roster(&["Ann", "Bob", "Eve", "Zoe"]).await?;
        page.execute("window.guests[0].close();", vec![]).await?;
        page.wait_notice("Bob left").await?;
        let mut rows = page.rows("chat_messages").await?;
        rows.retain(|row| row.text.contains("Eve"));
        let [row] = &rows[..] else {
            panic!("it is one line: {rows:?}")
        };
        assert!(
            row.text.contains("Zoe") && row.text.ends_with("joined · Bob left"),
            "{row:?}"
        );
        Ok(())
    });
}

#[test]
fn a_member_of_plain_chat_and_a_tab_on_the_session_see_each_other() {
    in_every_browser(async |stage| {
        let ann = stage.page.clone();
        ann.join(&stage.server, "mixed", "Ann").await?;
        // The workbench of another tab is a plain WebSocket.
        let bob = ann.new_tab().await?;
        bob.open(&stage.server.http("/"), "connect_websocket").await?;
        bob.fill("url", &stage.server.ws("/chat/mixed?name=Bob")).await?;
        bob.click("connect_websocket").await?;
        bob.wait_state("ready_state", "OPEN").await?;
        ann.wait_roster(&["Ann", "Bob"]).await?;
        ann.send("over the session").await?;
        bob.wait_texts("messagecontainer", "in", &["[Ann] over the session"])
            .await?;
        bob.fill("message", "plain").await?;
        bob.click("send_message").await?;
        ann.wait_messages(&[("Ann", "over the session"), ("Bob", "plain")])
            .await?;
        Ok(())
    });
}

#[test]
fn scrolling_up_fetches_history_and_keeps_in_place_what_is_read() {
    in_every_browser(async |stage| {
        // A window and not a tab: WebKit moves nothing in a page that is not painted.
        let (ann, bob) = (stage.page.clone(), stage.page.new_window(900, 700).await?);
        ann.join(&stage.server, "past", "Ann").await?;
        let texts: Vec<_> = (1..=200).map(|number| format!("number {number}")).collect();
        ann.send_all(&texts).await?;
        ann.wait_delivery("number 200", "acked").await?;

        // At another origin, where the browser has not kept what Ann read.
        let proxy = stage.proxy(&stage.server).await?;
        bob.join_at(&proxy.origin(), "past", "Bob").await?;
        // Not all of the history comes at once.
        wait_offsets(&bob, 101, 200).await?;
        let first = 101;
        // One row, and where it stands in the window, before and after the page that is fetched.
        let place = async || -> Result<f64, StepError> {
            let script = format!(
                "return arguments[0].querySelector('li[data-offset=\"{}\"]').getBoundingClientRect().top;",
                first + 1
            );
            Ok(bob.script("chat_messages", &script).await?.as_f64().unwrap_or(f64::NAN))
        };
        // Measured before the page gets the scroll event: the older messages may be there before the next question
        // is.
        let script = format!(
            "const list = arguments[0].closest('.chat-viewport');
             list.scrollTop = 90;
             const row = arguments[0].querySelector('li[data-offset=\"{}\"]');
             return row.getBoundingClientRect().top;",
            first + 1
        );
        let before = bob.script("chat_messages", &script).await?;
        let before = before.as_f64().expect("the row stands there");
        scroll_to(&bob, "list.scrollTop").await?;
        wait_for("older messages came", DEADLINE, async || {
            Ok(bob.offsets().await?[0] < first)
        })
        .await?;
        let stays = async || {
            wait_for("the row stands where it stood", DEADLINE, async || {
                let now = place().await?;
                if (before - now).abs() <= 2.0 {
                    return Ok(true);
                }
                Err(StepError::Setup(format!("it moved from {before} to {now}")))
            })
            .await
        };
        stays().await?;

        // News below move nothing either, and are counted.
        ann.send_all(&["news".to_owned()]).await?;
        bob.wait_text("new_messages", "1 new message").await?;
        bob.wait_text("unread", "1 new message").await?;
        stays().await?;
        bob.click("new_messages").await?;
        bob.wait_hidden("new_messages").await?;
        // The divider stands before what was not read.
        let below = "return arguments[0].nextElementSibling.querySelector('.text').textContent;";
        bob.wait_script("unread", below, "news").await?;

        wait_for("the beginning is reached", 2 * DEADLINE, async || {
            scroll_to(&bob, "0").await?;
            Ok(bob.state("older").await? == "beginning")
        })
        .await?;
        wait_offsets(&bob, 1, 201).await?;
        Ok(())
    });
}

/// Waits until the chat shows the messages with these offsets, and no other.
async fn wait_offsets(page: &Page, first: u64, last: u64) -> Result<(), StepError> {
    page.wait_value(
        format!("the messages are those from {first} to {last}"),
        async || page.offsets().await,
        |offsets| offsets.iter().copied().eq(first..=last),
    )
    .await
}

#[test]
fn each_message_of_a_room_is_reached_that_has_more_than_the_page_shows_at_once() {
    const MESSAGES: u64 = 11_000;
    in_every_browser(async |stage| {
        let unlimited = ["--log-messages=20000", "--session-line-rate=0", "--session-byte-rate=0"];
        let server = stage.server_at(([127, 0, 0, 1], 0).into(), &unlimited).await?;
        let (ann, bob) = (stage.page.clone(), stage.page.new_window(900, 700).await?);
        bob.open(&server.http("/"), "connect_websocket").await?;
        let talk = "
            window.bob = new WebSocket(`${arguments[0]}/chat/annals?name=Bob`);
            window.bob.onopen = () => {
                for (let number = 1; number <= arguments[1]; number++) window.bob.send(`number ${number}`);
            };";
        bob.execute(talk, vec![json!(server.ws("")), json!(MESSAGES)]).await?;
        let head =
            "return fetch('/rooms/annals/messages?limit=1').then(answer => answer.json()).then(page => page.head);";
        wait_for("all messages are in the log", 4 * DEADLINE, async || {
            Ok(bob.execute(head, vec![]).await? == MESSAGES)
        })
        .await?;

        // A link to the first message, and from there down to the newest.
        ann.join(&server, "annals", "Ann").await?;
        ann.open(&server.http("/"), "connect_websocket").await?;
        ann.open(&server.http("/chat/annals#1"), "chat_room").await?;
        let found = "return document.querySelector('[data-found] .text')?.textContent ?? '';";
        ann.wait_answer(found, "number 1").await?;
        ann.wait_text("to_newest", "Older messages. Go to the newest").await?;
        let read_on = "
            const list = arguments[0].closest('.chat-viewport');
            const frame = () => new Promise(resolve => requestAnimationFrame(() => setTimeout(resolve)));
            window.read = null;
            (async () => {
                let [read, most] = [0, 0];
                while (document.getElementById('newer')) {
                    list.scrollTop = list.scrollHeight;
                    await frame();
                    const shown = [...document.querySelectorAll('li[data-offset]')].map(row => Number(row.dataset.offset));
                    most = Math.max(most, shown.length);
                    if (shown[0] > read + 1 || shown.some((offset, index) => offset !== shown[0] + index)) {
                        window.read = `after ${read}: ${shown}`;
                        return;
                    }
                    read = Math.max(read, shown.at(-1));
                }
                window.read = most > 10500 ? `${most} rows` : 'all';
            })();";
        ann.script("chat_messages", read_on).await?;
        wait_for(
            "the page has read on to the newest message",
            8 * DEADLINE,
            async || match ann.execute("return window.read;", vec![]).await? {
                serde_json::Value::Null => Ok(false),
                read if read == "all" => Ok(true),
                fault => Err(StepError::Setup(fault.to_string())),
            },
        )
        .await?;
        let is_in_order = |offsets: &[u64], last| {
            let first = offsets.first().copied().unwrap_or_default();
            first > 0 && offsets.iter().copied().eq(first..=last)
        };
        ann.wait_value(
            "the rows end with the newest message",
            async || ann.offsets().await,
            |offsets| is_in_order(offsets, MESSAGES),
        )
        .await?;

        // What is older takes the place of the newest ones, which are there again at once.
        wait_for("the newest messages made place", 2 * DEADLINE, async || {
            scroll_to(&ann, "0").await?;
            Ok(ann
                .execute("return document.getElementById('newer') !== null;", vec![])
                .await?
                == true)
        })
        .await?;
        bob.execute("window.bob.send('news');", vec![]).await?;
        ann.wait_text("new_messages", "1 new message").await?;
        assert!(ann.offsets().await?.last() < Some(&MESSAGES));
        ann.click("new_messages").await?;
        ann.wait_hidden("new_messages").await?;
        ann.wait_value(
            "the newest rows are shown",
            async || ann.offsets().await,
            |offsets| is_in_order(offsets, MESSAGES + 1) && offsets.len() <= 501,
        )
        .await?;
        let below = "return arguments[0].nextElementSibling.querySelector('.text').textContent;";
        ann.wait_script("unread", below, "news").await?;
        Ok(())
    });
}

#[test]
fn nothing_moves_while_a_long_history_is_read_and_at_the_end_most_of_it_is_dropped() {
    in_every_browser(async |stage| {
        let page = stage.page.new_window(1100, 800).await?;
        // Some of them are higher than others; each block of rows has another height.
        let talk = "
            const socket = new WebSocket(`${arguments[0]}/chat/annals?name=Bob`);
            socket.onopen = () => {
                for (let n = 1; n <= 600; n++) socket.send(`number ${n}` + `${n % 7 === 0 ? '\\nand more' : ''}`.repeat(n % 40));
            };";
        // He stays; otherwise a row would say that he left.
        let bob = stage.workbench().await?;
        bob.execute(talk, vec![json!(stage.server.ws(""))]).await?;
        let count = "return fetch('/rooms/annals/messages').then(answer => answer.json()).then(page => page.head);";
        wait_for("all messages are in the log", DEADLINE, async || {
            Ok(bob.execute(count, vec![]).await? == 600)
        })
        .await?;
        page.join(&stage.server, "annals", "Ann").await?;
        wait_for("the newest came", DEADLINE, async || {
            Ok(page.offsets().await?.last() == Some(&600))
        })
        .await?;
        // As on a slow machine: to Yew all that it does takes longer than a frame, and it lets the browser paint wherever it can.
        let slow = "
            const { now } = Date;
            let calls = 0;
            Date.now = () => now.call(Date) + 16 * (calls++ % 64);";
        page.execute(slow, vec![]).await?;
        // By how many pixels the row in the middle was moved at most, in some frames after each step, on the way up and down.
        let read = "
            const list = arguments[0].closest('.chat-viewport');
            const frame = () => new Promise(resolve => requestAnimationFrame(() => setTimeout(resolve)));
            const row = () => {
                const { left, top, width, height } = list.getBoundingClientRect();
                for (const y of [0.5, 0.4, 0.6]) {
                    const found = document.elementsFromPoint(left + width / 3, top + height * y)
                        .map(element => element.closest('.said')).find(Boolean);
                    if (found) return found;
                }
            };
            window.moved = null;
            // Counts the steps that got further than all before: on the way up, to a lower number or nearer to the top; then nearer to the end.
            window.steps = 0;
            let furthest = [Infinity, Infinity];
            const note = (number, pixels) => {
                const [least, nearest] = furthest;
                if (number > least || (number === least && pixels >= nearest)) return;
                furthest = [number, pixels];
                window.steps++;
            };
            (async () => {
                let most = 0;
                const look = async by => {
                    list.scrollTop += by;
                    if (by < 0) note(Number(first()), list.scrollTop);
                    else note(0, end());
                    list.dispatchEvent(new Event('scroll'));
                    await frame();
                    const middle = row();
                    const before = middle?.getBoundingClientRect().top;
                    for (let n = 0; n < 4 && middle; n++) {
                        await frame();
                        most = Math.max(most, Math.abs(middle.getBoundingClientRect().top - before));
                    }
                };
                const first = () => arguments[0].querySelector('[data-offset]').dataset.offset;
                while (first() !== '1') await look(-500);
                await look(-1e6);
                const end = () => list.scrollHeight - list.clientHeight - list.scrollTop;
                while (end() > 3000) await look(900);
                window.moved = [most, document.querySelectorAll('.said').length];
            })();";
        page.script("chat_messages", read).await?;
        // A slow machine takes minutes for all of it.
        let (mut steps, mut moved) = (0, serde_json::Value::Null);
        while moved.is_null() {
            let before = steps;
            wait_for("more of it is read", DEADLINE, async || {
                let now = page.execute("return [window.steps, window.moved];", vec![]).await?;
                (steps, moved) = serde_json::from_value(now).map_err(|error| StepError::Setup(error.to_string()))?;
                Ok(steps > before || !moved.is_null())
            })
            .await?;
        }
        assert!(moved[0].as_f64().is_some_and(|pixels| pixels <= 2.0), "{moved}");
        assert_eq!(moved[1], 600);
        page.click("to_newest").await?;
        // One says that Ann joined, and others if her connection was slow.
        let left = "
            const numbers = [...arguments[0].querySelectorAll('li[data-offset]')].map(row => Number(row.dataset.offset));
            return [numbers, arguments[0].querySelectorAll('li[data-direction=info]').length];";
        page.wait_value(
            "the newest 500 rows are left",
            async || {
                let left = page.script("chat_messages", left).await?;
                serde_json::from_value(left).map_err(|error| StepError::Setup(error.to_string()))
            },
            |(numbers, notices): &(Vec<u64>, u64)| *notices > 0 && numbers.iter().copied().eq(101 + notices..=600),
        )
        .await?;
        page.wait_hidden("to_newest").await?;
        let rest = "
            const list = arguments[0].closest('.chat-viewport');
            return list.scrollHeight - list.clientHeight - list.scrollTop;";
        page.wait_value(
            "the end is in sight",
            async || page.script("chat_messages", rest).await,
            |rest| rest.as_f64().is_some_and(|rest| rest <= 2.0),
        )
        .await?;
        // From the list, the keys lead over the borders of its blocks.
        page.script("chat_messages", "arguments[0].closest('.chat-viewport').focus();")
            .await?;
        for _ in 0..60 {
            page.press(Key::Up).await?;
        }
        let focused = "return document.activeElement.dataset.offset;";
        page.wait_answer(focused, "541").await?;
        Ok(())
    });
}

#[test]
fn sending_a_message_scrolls_to_the_end() {
    in_every_browser(async |stage| {
        let page = stage.page.clone();
        page.join(&stage.server, "end", "Ann").await?;
        let texts: Vec<_> = (1..=60).map(|number| format!("number {number}")).collect();
        page.send_all(&texts).await?;
        page.wait_delivery("number 60", "acked").await?;
        scroll_to(&page, "0").await?;
        page.wait_shown("to_newest").await?;
        page.send("here").await?;
        wait_for("the end is in sight", DEADLINE, async || {
            let script = "
                const list = arguments[0].closest('.chat-viewport');
                return list.scrollHeight - list.clientHeight - list.scrollTop;";
            Ok(page
                .script("chat_messages", script)
                .await?
                .as_f64()
                .is_some_and(|rest| rest <= 2.0))
        })
        .await?;
        page.wait_hidden("to_newest").await?;
        Ok(())
    });
}

#[test]
fn screen_readers_announce_others_messages_at_most_once_a_second_and_not_ones_own() {
    in_every_browser(async |stage| {
        let (ann, bob) = (stage.page.clone(), stage.page.new_tab().await?);
        ann.join(&stage.server, "quiet", "Ann").await?;
        bob.join(&stage.server, "quiet", "Bob").await?;
        let watch = "
            const region = document.querySelector('.chat [role=log]');
            window.read = [];
            new MutationObserver(() => window.read.push([performance.now(), region.textContent]))
                .observe(region, { childList: true, characterData: true, subtree: true });";
        ann.execute(watch, vec![]).await?;
        // What was before is announced before.
        ann.wait_roster(&["Ann", "Bob"]).await?;
        bob.send("hello").await?;
        let last = "return window.read.at(-1)?.[1].split('Bob: ')[1] ?? '';";
        ann.wait_answer(last, "hello").await?;
        ann.send("mine").await?;
        ann.wait_delivery("mine", "acked").await?;
        // It is older than this one, which is announced alone.
        bob.send("theirs").await?;
        ann.wait_answer(last, "theirs").await?;
        ann.wait_answer("return window.read.at(-1)[1];", "Bob: theirs").await?;
        let texts: Vec<_> = (1..=30).map(|number| format!("number {number}")).collect();
        for some in texts.chunks(10) {
            bob.send_all(some).await?;
            tokio::time::timeout(DEADLINE, bob.wait_delivery(&some[9], "acked"))
                .await
                .map_err(|_| StepError::Setup("not acknowledged".to_owned()))??;
        }
        wait_for("the last one is read", DEADLINE, async || {
            let read = ann.execute("return window.read.at(-1)?.[1] ?? '';", vec![]).await?;
            Ok(read.as_str().is_some_and(|read| read.contains("number 30")))
        })
        .await?;
        let read = ann.execute("return window.read;", vec![]).await?;
        let read: Vec<(f64, String)> = serde_json::from_value(read)?;
        assert!(read.iter().all(|(_, words)| !words.contains("mine")), "{read:?}");
        let too_soon = Duration::from_millis(900).as_secs_f64() * 1_000.0;
        assert!(read.windows(2).all(|pair| pair[1].0 - pair[0].0 > too_soon), "{read:?}");
        let eve = ann.new_tab().await?;
        eve.join(&stage.server, "quiet", "Eve").await?;
        ann.wait_answer("return window.read.at(-1)[1].includes('Eve');", true)
            .await?;
        Ok(())
    });
}

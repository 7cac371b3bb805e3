//! What the browser keeps of the chat: messages that were read, and failed ones; how the chat shows a connection that is
//! only slow.

use std::time::{Duration, Instant};

use serde_json::json;
use talkback_e2e::{DEADLINE, Page, Stage, StepError, in_every_browser, wait_for};
use talkback_testbed::Proxy;

/// What is kept of the rooms: for each the lines of its index. The first three are its key, and the fourth ends with the
/// cursor.
async fn kept(page: &Page) -> Result<Vec<String>, StepError> {
    let script = "
        const ask = request => new Promise(done => {
            request.onsuccess = () => done(request.result);
            request.onerror = () => done(null);
        });
        return (async () => {
            const database = await ask(indexedDB.open('talkback.history'));
            if (!database?.objectStoreNames.contains('rooms')) return [];
            const rooms = await ask(database.transaction('rooms').objectStore('rooms').getAll());
            database.close();
            return rooms;
        })();";
    let rooms = page.execute(script, vec![]).await?;
    serde_json::from_value(rooms).map_err(|error| StepError::Setup(error.to_string()))
}

/// Waits until the one room that is kept is kept up to this offset.
async fn wait_kept(page: &Page, offset: u64) -> Result<(), StepError> {
    page.wait_value(
        format!("the room is kept up to {offset}"),
        async || kept(page).await,
        |rooms| {
            let cursor = |room: &String| {
                room.lines()
                    .nth(3)
                    .is_some_and(|line| line.ends_with(&format!(":{offset}")))
            };
            rooms.iter().any(cursor)
        },
    )
    .await
}

/// The server cannot be reached any more; the page itself can be loaded.
fn server_away(proxy: &Proxy) {
    proxy.refuse_sessions(true);
    proxy.cut();
}

/// A line to the stage's server, and a user in a room behind it.
async fn behind_a_proxy(stage: &Stage, room: &str, name: &str) -> Result<(Proxy, Page), StepError> {
    let proxy = stage.proxy(&stage.server).await?;
    let page = stage.page.clone();
    page.join_at(&proxy.origin(), room, name).await?;
    Ok((proxy, page))
}

#[test]
fn a_reload_without_a_server_shows_what_was_read_and_the_room_goes_on_from_there() {
    in_every_browser(async |stage| {
        let (proxy, ann) = behind_a_proxy(stage, "diary", "Ann").await?;
        let bob = ann.new_tab().await?;
        bob.join(&stage.server, "diary", "Bob").await?;
        ann.send("one").await?;
        ann.wait_messages(&[("Ann", "one")]).await?;
        bob.paste("chat_message", "two\nlines").await?;
        bob.click("chat_send").await?;
        ann.wait_messages(&[("Ann", "one"), ("Bob", "two\nlines")]).await?;
        wait_kept(&ann, 2).await?;

        server_away(&proxy);
        ann.reload().await?;
        ann.wait_messages(&[("Ann", "one"), ("Bob", "two\nlines")]).await?;
        assert_ne!(ann.state("chat_state").await?, "OPEN");
        ann.wait_rows("chat_messages", "it is known whose they are", |rows| {
            let said = rows.iter().filter(|row| !row.from.is_empty());
            said.map(|row| row.direction.as_str()).eq(["out", "in"])
        })
        .await?;
        ann.send("four").await?;
        ann.wait_delivery("four", "pending").await?;

        bob.send("three").await?;
        bob.wait_delivery("three", "acked").await?;
        proxy.refuse_sessions(false);
        ann.wait_state("chat_state", "OPEN").await?;
        let all = [("Ann", "one"), ("Bob", "two\nlines"), ("Bob", "three"), ("Ann", "four")];
        ann.wait_messages(&all).await?;
        ann.wait_value(
            "all are in the log",
            async || ann.offsets().await,
            |offsets| offsets == &[1, 2, 3, 4],
        )
        .await?;
        wait_kept(&ann, 4).await?;
        server_away(&proxy);
        ann.reload().await?;
        ann.wait_messages(&all).await?;
        Ok(())
    });
}

#[test]
fn after_a_reload_messages_of_a_log_that_is_no_more_stay_above_a_line_that_says_so() {
    in_every_browser(async |stage| {
        let (proxy, ann) = behind_a_proxy(stage, "diary", "Ann").await?;
        ann.send("before").await?;
        ann.wait_messages(&[("Ann", "before")]).await?;
        wait_kept(&ann, 1).await?;
        // To the page it is the same server without its messages.
        let anew = stage.server_at(([127, 0, 0, 1], 0).into(), &[]).await?;
        let bob = ann.new_tab().await?;
        bob.join(&anew, "diary", "Bob").await?;
        bob.send("after").await?;
        bob.wait_delivery("after", "acked").await?;
        server_away(&proxy);
        proxy.set_target(anew.address());
        ann.reload().await?;
        ann.wait_messages(&[("Ann", "before")]).await?;
        proxy.refuse_sessions(false);

        let expected = ["before", "The server was restarted without its messages", "after"];
        let in_order = |rows: &[talkback_e2e::Row]| {
            let place = |text: &&str| rows.iter().position(|row| row.text.starts_with(text));
            let places: Vec<_> = expected.iter().filter_map(place).collect();
            places.len() == expected.len() && places.is_sorted()
        };
        let all = [("Ann", "before"), ("Bob", "after")];
        ann.wait_rows("chat_messages", "the line is between the logs", in_order)
            .await?;
        ann.wait_messages(&all).await?;
        ann.wait_value(
            "the new log counts from one",
            async || ann.offsets().await,
            |offsets| offsets == &[1, 1],
        )
        .await?;
        ann.wait_value(
            "both logs are kept",
            async || kept(&ann).await,
            |rooms| rooms.iter().any(|room| room.lines().count() == 6),
        )
        .await?;
        server_away(&proxy);
        ann.reload().await?;
        ann.wait_rows("chat_messages", "the line is still there", in_order)
            .await?;
        ann.wait_messages(&all).await?;
        Ok(())
    });
}

#[test]
fn of_two_tabs_one_writes_what_is_read_and_the_other_goes_on_when_it_is_gone() {
    in_every_browser(async |stage| {
        let (proxy, first) = behind_a_proxy(stage, "diary", "Ann").await?;
        let second = first.new_tab().await?;
        second.join_at(&proxy.origin(), "diary", "Ann").await?;
        let locks = "
            return navigator.locks.query().then(({ held, pending }) =>
                [held, pending].map(locks => locks.filter(lock => lock.name.startsWith('talkback.history')).length));";
        second
            .wait_value(
                "one tab has the lock, one waits",
                async || second.execute(locks, vec![]).await,
                |now| *now == json!([1, 1]),
            )
            .await?;
        second.send("one").await?;
        for page in [&first, &second] {
            page.wait_messages(&[("Ann", "one")]).await?;
        }
        wait_kept(&second, 1).await?;
        first.execute("location.href = '/healthz';", vec![]).await?;
        second.send("two").await?;
        wait_kept(&second, 2).await?;
        server_away(&proxy);
        second.reload().await?;
        second.wait_messages(&[("Ann", "one"), ("Ann", "two")]).await?;
        Ok(())
    });
}

#[test]
fn what_was_read_is_shown_before_joining_and_forgotten_with_all_else() {
    in_every_browser(async |stage| {
        let (proxy, page) = behind_a_proxy(stage, "diary", "Ann").await?;
        page.send("secret").await?;
        page.wait_messages(&[("Ann", "secret")]).await?;
        wait_kept(&page, 1).await?;
        server_away(&proxy);
        // Another user of the browser.
        page.execute("localStorage.clear(); sessionStorage.clear();", vec![])
            .await?;
        page.reload().await?;
        page.wait_shown("chat_join").await?;
        page.wait_messages(&[("Ann", "secret")]).await?;
        // Not what the server has, where nothing says whose it is.
        page.wait_texts("chat_messages", "out", &["secret"]).await?;

        // Another tab has the database open.
        let other = page.new_tab().await?;
        other
            .open(&format!("{}/chat/diary", proxy.origin()), "chat_join")
            .await?;
        other.wait_texts("chat_messages", "out", &["secret"]).await?;
        page.forget_all("chat_join").await?;
        page.wait_value("nothing is kept", async || kept(&page).await, |rooms| rooms.is_empty())
            .await?;
        // What the server has: nothing here says whose it is.
        page.wait_texts("chat_messages", "in", &["secret"]).await?;
        Ok(())
    });
}

/// How many messages of the rooms are kept.
fn rows_kept(rooms: &[String]) -> usize {
    let segments = rooms.iter().flat_map(|room| room.lines().skip(4));
    segments
        .filter_map(|segment| segment.split(' ').nth(1)?.parse::<usize>().ok())
        .sum()
}

#[test]
fn what_scrolling_back_has_loaded_is_there_after_a_reload_without_a_server() {
    in_every_browser(async |stage| {
        let talk = "
            const socket = new WebSocket(`${arguments[0]}/chat/annals?name=Bob`);
            socket.onopen = () => { for (let n = 1; n <= 350; n++) socket.send(`number ${n}`); };";
        let bob = stage.workbench().await?.clone();
        bob.execute(talk, vec![json!(stage.server.ws(""))]).await?;
        let head = "return fetch('/rooms/annals/messages').then(answer => answer.json()).then(page => page.head);";
        bob.wait_answer(head, 350).await?;
        let proxy = stage.proxy(&stage.server).await?;
        let ann = bob.new_window(900, 700).await?;
        ann.join_at(&proxy.origin(), "annals", "Ann").await?;
        wait_kept(&ann, 350).await?;
        let with_join = rows_kept(&kept(&ann).await?);
        assert!(
            (100..350).contains(&with_join),
            "{with_join} are kept without scrolling"
        );
        wait_for("the beginning is reached", 2 * DEADLINE, async || {
            ann.script("chat_messages", "arguments[0].closest('.chat-viewport').scrollTop = 0;")
                .await?;
            Ok(ann.state("older").await? == "beginning")
        })
        .await?;
        ann.wait_value(
            "all are kept",
            async || kept(&ann).await,
            |rooms| rows_kept(rooms) == 350,
        )
        .await?;
        server_away(&proxy);
        ann.reload().await?;
        ann.wait_value(
            "all are shown",
            async || ann.offsets().await,
            |offsets| offsets.iter().copied().eq(1..=350),
        )
        .await?;
        // The cursor is that of the newest, so that nothing comes twice.
        bob.join(&stage.server, "annals", "Bob").await?;
        bob.send("number 351").await?;
        proxy.refuse_sessions(false);
        ann.wait_state("chat_state", "OPEN").await?;
        ann.wait_value(
            "the room goes on",
            async || ann.offsets().await,
            |offsets| offsets.iter().copied().eq(1..=351),
        )
        .await?;
        Ok(())
    });
}

#[test]
fn a_room_that_is_removed_from_the_list_is_not_kept_any_more() {
    in_every_browser(async |stage| {
        let (proxy, page) = behind_a_proxy(stage, "diary", "Ann").await?;
        page.send("secret").await?;
        wait_kept(&page, 1).await?;
        page.go_to_room("diary-2").await?;
        page.send("other").await?;
        page.wait_value(
            "both rooms are kept",
            async || kept(&page).await,
            |rooms| rooms.len() == 2,
        )
        .await?;
        let forget = "
            const item = [...arguments[0].children].find(item => item.querySelector('.name').textContent === 'diary');
            item.querySelector('.forget').click();";
        page.script("room_list", forget).await?;
        page.wait_value(
            "one room is kept",
            async || kept(&page).await,
            |rooms| rooms.len() == 1 && rooms[0].lines().nth(1) == Some("diary-2"),
        )
        .await?;
        let rows = "
            const ask = request => new Promise(done => { request.onsuccess = () => done(request.result); });
            return (async () => {
                const database = await ask(indexedDB.open('talkback.history'));
                const keys = await ask(database.transaction('rows').objectStore('rows').getAllKeys());
                database.close();
                return keys.map(([room]) => room.split('\\n')[1]);
            })();";
        page.wait_answer(rows, json!(["diary-2"])).await?;
        server_away(&proxy);
        for (room, said) in [("diary-2", &[("Ann", "other")][..]), ("diary", &[])] {
            page.open(&format!("{}/chat/{room}", proxy.origin()), "chat_room")
                .await?;
            // A room is joined once it was read what is kept of it.
            page.wait_shown("offline_banner").await?;
            page.wait_messages(said).await?;
        }
        Ok(())
    });
}

#[test]
fn what_was_read_is_shown_though_the_browser_reads_it_late_and_continues_once() {
    in_every_browser(async |stage| {
        let (proxy, ann) = behind_a_proxy(stage, "diary", "Ann").await?;
        let holder = ann.new_window(700, 500).await?;
        holder.open(&proxy.origin(), "connect_websocket").await?;
        let bob = ann.new_tab().await?;
        bob.join(&stage.server, "diary", "Bob").await?;
        ann.send("one").await?;
        ann.wait_messages(&[("Ann", "one")]).await?;
        bob.send("two").await?;
        let read = [("Ann", "one"), ("Bob", "two")];
        ann.wait_messages(&read).await?;
        wait_kept(&ann, 2).await?;
        // A transaction that writes, and goes on as long as it has requests: others wait for it.
        let hold = "
            return new Promise(done => {
                const request = indexedDB.open('talkback.history');
                request.onsuccess = () => {
                    const database = request.result;
                    const store = database.transaction(['rooms', 'rows'], 'readwrite').objectStore('rooms');
                    window.holds = true;
                    const next = () => {
                        done(true);
                        if (window.holds) store.get('').onsuccess = next;
                        else database.close();
                    };
                    next();
                };
            });";
        holder.execute(hold, vec![]).await?;
        server_away(&proxy);
        ann.reload().await?;
        // It has tried to join, without what is kept.
        ann.wait_shown("offline_banner").await?;
        ann.wait_messages(&[]).await?;
        holder.execute("window.holds = false;", vec![]).await?;
        ann.wait_messages(&read).await?;

        bob.send("three").await?;
        bob.wait_delivery("three", "acked").await?;
        proxy.refuse_sessions(false);
        ann.wait_state("chat_state", "OPEN").await?;
        ann.wait_messages(&[("Ann", "one"), ("Bob", "two"), ("Bob", "three")])
            .await?;
        ann.wait_value(
            "each is there once",
            async || ann.offsets().await,
            |offsets| offsets == &[1, 2, 3],
        )
        .await?;
        wait_kept(&ann, 3).await?;
        Ok(())
    });
}

#[test]
fn what_another_tab_forgets_is_not_kept_again_by_a_tab_in_two_rooms() {
    in_every_browser(async |stage| {
        let (ann, other) = (stage.page.clone(), stage.page.new_tab().await?);
        ann.join(&stage.server, "diary", "Ann").await?;
        ann.go_to_room("attic").await?;
        ann.wait_state("chat_state", "OPEN").await?;
        // Both views are loaded before their files are forgotten too.
        ann.click("nav_workbench").await?;
        ann.wait_shown("connect_websocket").await?;
        ann.click("nav_chat").await?;
        ann.wait_shown("chat_message").await?;
        ann.send("read").await?;
        let read = "return Object.keys(localStorage).filter(key => key.startsWith('talkback.read'));";
        ann.wait_answer(read, json!(["talkback.read.Ann"])).await?;
        other.open(&stage.server.http("/"), "connect_websocket").await?;
        other.forget_all("connect_websocket").await?;
        // It leaves the rooms that are no longer in the list.
        ann.wait_script("room_list", "return arguments[0].children.length;", 0)
            .await?;
        ann.wait_answer(read, json!([])).await?;
        ann.send("read after that").await?;
        ann.wait_delivery("read after that", "acked").await?;
        // What is read is kept at the latest when the view is hidden.
        ann.click("nav_workbench").await?;
        ann.wait_shown("connect_websocket").await?;
        ann.wait_answer(read, json!([])).await?;
        Ok(())
    });
}

#[test]
fn a_database_that_another_page_holds_is_forgotten_when_that_lets_it_go() {
    in_every_browser(async |stage| {
        let (page, other) = (stage.page.clone(), stage.page.new_tab().await?);
        page.join(&stage.server, "diary", "Ann").await?;
        page.send("secret").await?;
        wait_kept(&page, 1).await?;
        other.open(&stage.server.http("/"), "connect_websocket").await?;
        // Without a listener for the page that wants to delete it.
        let hold = "
            return new Promise(done => {
                const request = indexedDB.open('talkback.history');
                request.onsuccess = () => { window.held = request.result; done(true); };
            });";
        other.execute(hold, vec![]).await?;
        page.forget_all("chat_join").await?;
        other.execute("window.held.close();", vec![]).await?;
        page.wait_value("nothing is kept", async || kept(&page).await, |rooms| rooms.is_empty())
            .await?;
        Ok(())
    });
}

#[test]
fn without_a_database_the_chat_works_and_says_nothing_of_it() {
    in_every_browser(async |stage| {
        let (proxy, page) = behind_a_proxy(stage, "diary", "Ann").await?;
        // A full disk: from now on each write fails.
        let full = "
            IDBObjectStore.prototype.put = () => { throw new DOMException('full', 'QuotaExceededError'); };";
        page.execute(full, vec![]).await?;
        page.send("one").await?;
        page.send("two").await?;
        page.wait_messages(&[("Ann", "one"), ("Ann", "two")]).await?;
        page.wait_hidden("error").await?;
        // A database of a later version of the page cannot be opened.
        let later = "
            return new Promise(done => {
                indexedDB.deleteDatabase('talkback.history').onsuccess = () => {
                    const request = indexedDB.open('talkback.history', 9);
                    request.onsuccess = () => { request.result.close(); done(true); };
                };
            });";
        page.execute(later, vec![]).await?;
        page.reload().await?;
        page.wait_state("chat_state", "OPEN").await?;
        page.wait_messages(&[("Ann", "one"), ("Ann", "two")]).await?;
        page.send("three").await?;
        page.wait_messages(&[("Ann", "one"), ("Ann", "two"), ("Ann", "three")])
            .await?;
        page.wait_hidden("error").await?;
        drop(proxy);
        Ok(())
    });
}

#[test]
fn failed_messages_are_there_after_a_reload_with_their_reason_and_can_be_sent_again() {
    in_every_browser(async |stage| {
        let (proxy, page) = behind_a_proxy(stage, "attic", "Ann").await?;
        server_away(&proxy);
        page.wait_shown("offline_banner").await?;
        // The list is that of the time before.
        let is_stale = "return arguments[0].closest('.people').hasAttribute('data-stale');";
        page.wait_script("roster", is_stale, true).await?;
        // Where the page is narrow, this button has the mark of it.
        let is_marked = "return !['OPEN', 'CLOSED'].includes(arguments[0].dataset.state);";
        page.wait_script("chat_rooms", is_marked, true).await?;
        for text in ["first", "second"] {
            page.send(text).await?;
            page.wait_delivery(text, "pending").await?;
        }
        page.leave().await?;
        page.wait_delivery("second", "failed").await?;
        proxy.refuse_sessions(false);
        page.reload().await?;
        page.wait_state("chat_state", "OPEN").await?;
        page.wait_script("roster", is_stale, false).await?;
        for text in ["first", "second"] {
            page.wait_delivery(text, "failed").await?;
        }
        let fault = "return document.querySelector('#chat_messages [data-delivery=failed] .fault').textContent;";
        page.wait_answer(fault, "Not sent: you left before it was.").await?;
        page.click_inside("chat_messages", "[data-action=retry]").await?;
        page.wait_delivery("first", "acked").await?;
        page.click_inside("chat_messages", "[data-action=edit]").await?;
        page.wait_field("chat_message", "second").await?;
        page.reload().await?;
        page.wait_state("chat_state", "OPEN").await?;
        page.wait_messages(&[("Ann", "first")]).await?;
        // It is a draft.
        page.wait_field("chat_message", "second").await?;
        Ok(())
    });
}

#[test]
fn a_connection_that_does_not_answer_in_time_is_shown_as_slow_kept_and_checked() {
    in_every_browser(async |stage| {
        let (proxy, page) = behind_a_proxy(stage, "cellar", "Ann").await?;
        page.send("quick").await?;
        page.wait_delivery("quick", "acked").await?;
        let sessions = proxy.passed().sessions;
        proxy.stall(true);
        let begun = Instant::now();
        page.send("slow").await?;
        page.wait_shown("slow_banner").await?;
        assert!(begun.elapsed() > Duration::from_secs(3), "{:?}", begun.elapsed());
        page.wait_text("slow_banner", "Connection is slow").await?;
        page.wait_state("chat_state", "OPEN").await?;
        proxy.stall(false);
        page.wait_delivery("slow", "acked").await?;
        page.wait_hidden("slow_banner").await?;
        assert_eq!(proxy.passed().sessions, sessions, "it is the same connection");

        // The browser says so at once; the server answers, so that the connection is kept.
        page.execute("window.dispatchEvent(new Event('offline'));", vec![])
            .await?;
        page.wait_shown("slow_banner").await?;
        page.wait_hidden("slow_banner").await?;
        page.execute("window.dispatchEvent(new Event('online'));", vec![])
            .await?;
        // The page has asked the server, which answers in order: with this ack, nothing that was asked is without an answer.
        page.send("back").await?;
        page.wait_delivery("back", "acked").await?;
        page.wait_state("chat_state", "OPEN").await?;
        assert_eq!(proxy.passed().sessions, sessions, "it is still the same connection");

        // Nobody asks, and the next heartbeat is many seconds away.
        proxy.stall(true);
        let begun = Instant::now();
        page.send("lost").await?;
        page.wait_shown("offline_banner").await?;
        assert!(begun.elapsed() > Duration::from_secs(8), "{:?}", begun.elapsed());
        proxy.cut();
        proxy.stall(false);
        page.wait_delivery("lost", "acked").await?;

        proxy.stall(true);
        page.send("swallowed").await?;
        page.click("check_now").await?;
        page.wait_shown("offline_banner").await?;
        page.wait_hidden("slow_banner").await?;
        proxy.cut();
        proxy.stall(false);
        page.wait_state("chat_state", "OPEN").await?;
        let all = ["quick", "slow", "back", "lost", "swallowed"].map(|text| ("Ann", text));
        page.wait_messages(&all).await?;
        Ok(())
    });
}

#[test]
fn new_messages_that_are_not_in_sight_are_heard_if_the_user_wants_that() {
    in_every_browser(async |stage| {
        let (ann, bob) = (stage.page.clone(), stage.page.new_tab().await?);
        ann.join(&stage.server, "hall", "Ann").await?;
        bob.join(&stage.server, "hall", "Bob").await?;
        // What the page asks of the browser; the machine of the test may have no sound.
        let listen = "
            window.heard = 0;
            const create = BaseAudioContext.prototype.createOscillator;
            BaseAudioContext.prototype.createOscillator = function () { window.heard++; return create.call(this); };";
        ann.execute(listen, vec![]).await?;
        ann.click("chat_sounds").await?;
        ann.wait_value(
            "it is heard once to be tried",
            async || ann.execute("return heard;", vec![]).await,
            |heard| *heard == 1,
        )
        .await?;
        ann.click("nav_workbench").await?;
        ann.wait_shown("connect_websocket").await?;
        // The second one is within two seconds of the first.
        bob.send_all(&["one", "two"]).await?;
        ann.wait_text("nav_chat", "2").await?;
        ann.wait_answer("return heard;", 2).await?;
        ann.reload().await?;
        ann.click("nav_chat").await?;
        ann.wait_shown("chat_sounds").await?;
        ann.wait_script("chat_sounds", "return arguments[0].checked;", true)
            .await?;
        Ok(())
    });
}

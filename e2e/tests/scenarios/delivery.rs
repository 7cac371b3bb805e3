//! The chat on a network and a server that fail: nothing is lost, nothing comes twice, and the page says where it
//! stands.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use talkback_e2e::{DEADLINE, Engine, Page, Stage, StepError, in_every_browser, is_full, wait_for};
use talkback_testbed::Proxy;

/// Messages of the long scenario: in the first engine every day, and with `cargo xtask test --full`.
const LONG: [u64; 2] = [300, 1_000];

fn origin(proxy: &Proxy) -> String {
    format!("http://{}", proxy.address())
}

/// No network: connections are reset, and new ones refused.
fn down(proxy: &Proxy) {
    proxy.refuse(true);
    proxy.cut();
}

fn up(proxy: &Proxy) {
    proxy.refuse(false);
}

/// Sends these numbers, as fast as the page's form takes them, after those of earlier calls.
async fn send_numbers(page: &Page, name: &str, numbers: RangeInclusive<u64>) -> Result<(), StepError> {
    let script = "
        const [name, first, last] = arguments;
        const field = document.getElementById('chat_message');
        const set = Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, 'value').set;
        const begun = window.sending !== undefined;
        window.sending = { sent: window.sending?.sent ?? first - 1, last };
        const next = () => {
            if (sending.sent < sending.last) {
                set.call(field, `${name} ${++sending.sent}`);
                field.dispatchEvent(new InputEvent('input', { bubbles: true }));
                field.form.requestSubmit();
            }
            setTimeout(next);
        };
        if (!begun) next();";
    let (first, last) = numbers.into_inner();
    page.execute(script, vec![name.into(), first.into(), last.into()])
        .await
        .map(drop)
}

/// From now on each random byte of the page is this one.
async fn set_random(page: &Page, byte: u8) -> Result<(), StepError> {
    let script = "const [byte] = arguments; crypto.getRandomValues = bytes => bytes.fill(byte);";
    page.execute(script, vec![byte.into()]).await.map(drop)
}

/// All messages from the first one on: scrolls up until the beginning of the room is there.
async fn all_messages(page: &Page) -> Result<Vec<String>, StepError> {
    let mut all = Vec::new();
    wait_for("the beginning of the room is on the page", 3 * DEADLINE, async || {
        // In one script: the page may draw between two.
        let script = "
            arguments[0].closest('.chat-viewport').scrollTop = 0;
            if (document.getElementById('older').dataset.state !== 'beginning') return null;
            return [...arguments[0].querySelectorAll('.said > .text')].map(text => text.textContent);";
        let shown = page.script("chat_messages", script).await?;
        let texts = shown
            .as_array()
            .map(|texts| texts.iter().filter_map(|text| text.as_str()));
        all = texts.into_iter().flatten().map(str::to_owned).collect();
        Ok(!shown.is_null())
    })
    .await?;
    Ok(all)
}

async fn wait_last(page: &Page, text: &str, deadline: Duration) -> Result<(), StepError> {
    // By one short answer: the rows are many, and each look at all of them delays what is waited for.
    let came =
        format!("return [...arguments[0].querySelectorAll('li .text')].some(text => text.textContent === {text:?});");
    wait_for(format!("{text:?} came"), deadline, async || {
        Ok(page.script("chat_messages", &came).await? == true)
    })
    .await
}

/// Both users send at once while `fault` happens ten times; then both must have all messages once and in one order.
async fn chat_through_faults(
    stage: &Stage,
    messages: u64,
    fault: impl AsyncFn(u64, &Page, &Proxy) -> Result<(), StepError>,
) -> Result<Vec<String>, StepError> {
    let proxy = stage.proxy(&stage.server).await?;
    // A window and not a tab: browsers report no scrolling of a tab that is not in front.
    let (ann, bob) = (stage.page.clone(), stage.page.new_window(900, 700).await?);
    ann.join_at(&origin(&proxy), "long", "Ann").await?;
    bob.join_at(&origin(&proxy), "long", "Bob").await?;
    let half = messages / 2;
    for round in 0..10 {
        let numbers = round * half / 10 + 1..=(round + 1) * half / 10;
        send_numbers(&ann, "Ann", numbers.clone()).await?;
        send_numbers(&bob, "Bob", numbers.clone()).await?;
        // In the middle of it: some of them are under way.
        let middle = format!("Ann {}", numbers.end() - half / 20);
        wait_last(&ann, &middle, DEADLINE).await?;
        fault(round, &ann, &proxy).await?;
    }
    for page in [&ann, &bob] {
        for name in ["Ann", "Bob"] {
            wait_last(page, &format!("{name} {half}"), 3 * DEADLINE).await?;
        }
        wait_for("all own messages are delivered", DEADLINE, async || {
            let script = "return arguments[0].querySelectorAll('li:is([data-delivery=pending], [data-delivery=sent], [data-delivery=failed])').length;";
            Ok(page.script("chat_messages", script).await? == 0)
        })
        .await?;
    }
    let received = all_messages(&ann).await?;
    assert_eq!(all_messages(&bob).await?, received, "one order for all");
    for name in ["Ann", "Bob"] {
        let own: Vec<_> = received.iter().filter(|text| text.starts_with(name)).cloned().collect();
        let sent: Vec<_> = (1..=half).map(|number| format!("{name} {number}")).collect();
        assert_eq!(own, sent, "all of {name}'s, once, in the order in which they were sent");
    }
    Ok(received)
}

/// As many messages as there is time for: the long form takes more than 15 s in the other engines.
fn length(stage: &Stage) -> u64 {
    match stage.browser.engine() {
        Engine::Chromium => LONG[usize::from(is_full())],
        Engine::Firefox | Engine::WebKit => 100,
    }
}

#[test]
fn all_messages_arrive_once_and_in_one_order_while_the_network_is_cut_ten_times() {
    in_every_browser(async |stage| {
        let received = chat_through_faults(stage, length(stage), async |_, _, proxy| {
            proxy.cut();
            Ok(())
        })
        .await?;
        let late = stage.page.new_window(900, 700).await?;
        late.join(&stage.server, "long", "Late").await?;
        let newest = received.last().map_or("", String::as_str);
        wait_last(&late, newest, DEADLINE).await?;
        assert_eq!(all_messages(&late).await?, received, "a late member sees the history");
        Ok(())
    });
}

#[test]
fn a_reload_in_the_middle_of_sending_loses_nothing() {
    in_every_browser(async |stage| {
        chat_through_faults(stage, length(stage) / 5, async |round, ann, proxy| {
            if round == 4 {
                wait_for("the page has sent all it was asked to", DEADLINE, async || {
                    Ok(ann.execute("return sending.sent === sending.last;", vec![]).await? == true)
                })
                .await?;
                // What was sent and not answered when the network went down is kept over the reload.
                down(proxy);
                ann.wait_shown("offline_banner").await?;
                ann.send("kept over the reload").await?;
                ann.wait_delivery("kept over the reload", "pending").await?;
                up(proxy);
                ann.reload().await?;
                ann.wait_delivery("kept over the reload", "acked").await?;
                ann.wait_state("chat_state", "OPEN").await?;
            }
            Ok(())
        })
        .await?;
        Ok(())
    });
}

#[test]
fn without_its_server_the_page_counts_down_keeps_what_is_sent_and_connects_now_when_asked() {
    in_every_browser(async |stage| {
        let proxy = stage.proxy(&stage.server).await?;
        let page = stage.page.clone();
        page.join_at(&origin(&proxy), "cellar", "Ann").await?;
        page.wait_hidden("offline_banner").await?;
        // The page itself can be loaded, so that the proxy can tell its attempts from other requests.
        proxy.refuse_sessions(true);
        proxy.cut();
        page.wait_shown("offline_banner").await?;
        page.send("kept").await?;
        page.wait_delivery("kept", "pending").await?;
        // The waits are random, and their bound doubles with each attempt. None at first, then one as long as the
        // bound.
        set_random(&page, 0).await?;
        let attempts = proxy.passed().sessions + 6;
        wait_for("it was tried six times", DEADLINE, async || {
            Ok(proxy.passed().sessions >= attempts)
        })
        .await?;
        set_random(&page, 255).await?;
        let seconds = async || -> Result<Option<u64>, StepError> {
            let text = page.text("offline_banner").await?;
            Ok(text.split_whitespace().find_map(|word| word.parse().ok()))
        };
        let mut shown = Vec::new();
        wait_for("the countdown goes down", DEADLINE, async || {
            shown.extend(seconds().await?);
            Ok(shown.windows(2).any(|pair| pair[1] + 1 == pair[0] && pair[0] > 10))
        })
        .await?;
        page.wait_state("chat_state", "WAITING").await?;
        proxy.refuse_sessions(false);
        let (asked, left) = (Instant::now(), Duration::from_secs(shown[shown.len() - 1]));
        page.click("reconnect_now").await?;
        page.wait_state("chat_state", "OPEN").await?;
        let waited = asked.elapsed();
        assert!(waited < left, "it was {waited:?} of {left:?}");
        page.wait_hidden("offline_banner").await?;
        page.wait_delivery("kept", "acked").await?;
        page.wait_messages(&[("Ann", "kept")]).await?;
        Ok(())
    });
}

#[test]
fn a_restarted_server_has_lost_its_log_which_the_page_says_and_goes_on() {
    in_every_browser(async |stage| {
        let (ann, bob) = (stage.page.clone(), stage.page.new_tab().await?);
        ann.join(&stage.server, "shelter", "Ann").await?;
        bob.join(&stage.server, "shelter", "Bob").await?;
        ann.send("before").await?;
        bob.wait_messages(&[("Ann", "before")]).await?;
        stage.server.kill().await?;
        ann.wait_shown("offline_banner").await?;
        ann.send("meanwhile").await?;
        stage.server.start_again().await?;
        for page in [&ann, &bob] {
            page.wait_notice("The server was restarted without its messages")
                .await?;
            page.wait_messages(&[("Ann", "before"), ("Ann", "meanwhile")]).await?;
        }
        bob.send("after").await?;
        ann.wait_messages(&[("Ann", "before"), ("Ann", "meanwhile"), ("Bob", "after")])
            .await?;
        ann.wait_value(
            "the new log counts from one",
            async || ann.offsets().await,
            |offsets| offsets == &[1, 1, 2],
        )
        .await?;
        Ok(())
    });
}

#[test]
fn a_message_that_the_server_refuses_says_why_and_can_be_sent_again_or_edited() {
    in_every_browser(async |stage| {
        let proxy = stage.proxy(&stage.server).await?;
        let options = ["--max-body-size", "1KiB"];
        let strict = stage.server_at(([127, 0, 0, 1], 0).into(), &options).await?;
        let page = stage.page.clone();
        page.join_at(&origin(&proxy), "attic", "Ann").await?;
        down(&proxy);
        page.wait_shown("offline_banner").await?;
        // The field takes what the first server would take.
        let long = "long ".repeat(1_000);
        page.paste("chat_message", &long).await?;
        page.click("chat_send").await?;
        page.wait_delivery(&long, "pending").await?;
        proxy.set_target(strict.address());
        up(&proxy);
        page.wait_delivery(&long, "failed").await?;
        let failed = "#chat_messages li[data-delivery=failed]";
        let fault = page
            .execute(
                &format!("return document.querySelector('{failed} .fault').textContent;"),
                vec![],
            )
            .await?;
        assert!(
            fault.as_str().is_some_and(|fault| fault.contains("too long")),
            "{fault}"
        );
        // The row still says "failed" for a moment after the click, so the first fault is marked and
        // a fault without the mark is the answer to the second try.
        let retry = format!(
            "const row = document.querySelector('{failed}');
             row.querySelector('.fault').dataset.first = '';
             row.querySelector('[data-action=retry]').click();"
        );
        page.execute(&retry, vec![]).await?;
        let again = format!("return document.querySelector('{failed} .fault:not([data-first])') !== null;");
        wait_for("the second try is refused too", DEADLINE, async || {
            Ok(page.execute(&again, vec![]).await? == true)
        })
        .await?;
        page.click_inside("chat_messages", "li[data-delivery=failed] [data-action=edit]")
            .await?;
        page.wait_value(
            "the text is back in the field",
            async || page.value("chat_message").await,
            |text| *text == long,
        )
        .await?;
        page.wait_value(
            "the failed one is gone",
            async || page.deliveries(&long).await,
            |now| now.is_empty(),
        )
        .await?;
        page.wait_focus("chat_message").await?;
        page.click("chat_send").await?;
        page.wait_text("error", "too long").await?;
        page.send("short").await?;
        page.wait_messages(&[("Ann", "short")]).await?;
        page.wait_delivery("short", "acked").await?;
        Ok(())
    });
}

#[test]
fn what_was_not_sent_when_its_sender_left_can_be_sent_again() {
    in_every_browser(async |stage| {
        let proxy = stage.proxy(&stage.server).await?;
        let page = stage.page.clone();
        page.join_at(&origin(&proxy), "attic", "Ann").await?;
        down(&proxy);
        page.wait_shown("offline_banner").await?;
        page.send("wait").await?;
        page.wait_delivery("wait", "pending").await?;
        page.leave().await?;
        page.wait_delivery("wait", "failed").await?;
        // Not `innerText`, which has a line between the two in some engines.
        let offered = "return arguments[0].querySelector('.row-buttons').textContent;";
        page.wait_script(
            "chat_messages",
            offered,
            "Join the room to send it again or to edit it.Discard",
        )
        .await?;
        up(&proxy);
        page.click("chat_join").await?;
        page.wait_state("chat_state", "OPEN").await?;
        page.click_inside("chat_messages", "[data-action=discard]").await?;
        page.wait_messages(&[]).await?;
        page.click("chat_undo").await?;
        page.wait_delivery("wait", "failed").await?;
        page.click_inside("chat_messages", "[data-action=retry]").await?;
        page.wait_messages(&[("Ann", "wait")]).await?;
        page.wait_delivery("wait", "acked").await?;
        Ok(())
    });
}

/// A duplicated tab has a copy of what the first one keeps, messages that are not sent yet among it.
#[test]
fn a_duplicated_tab_is_a_member_of_its_own_and_sends_nothing_of_the_first() {
    in_every_browser(async |stage| {
        let first = stage.page.clone();
        first.join(&stage.server, "twins", "Ann").await?;
        first.send("before").await?;
        first.wait_delivery("before", "acked").await?;
        first
            .execute("document.dispatchEvent(new Event('freeze'));", vec![])
            .await?;
        first.wait_state("chat_state", "SUSPENDED").await?;
        first.send("not sent yet").await?;
        wait_for("it is in the storage of the tab", DEADLINE, async || {
            let kept = "return Object.values(sessionStorage).some(value => value.includes('not sent yet'));";
            Ok(first.execute(kept, vec![]).await? == true)
        })
        .await?;

        let second = first.duplicate().await?;
        second.wait_shown("chat_message").await?;
        second.wait_state("chat_state", "OPEN").await?;
        second.send("of the second").await?;
        second.wait_delivery("of the second", "acked").await?;
        first
            .execute("document.dispatchEvent(new Event('resume'));", vec![])
            .await?;
        first.wait_delivery("not sent yet", "acked").await?;
        // Both go on, in turn, also after both were loaded anew.
        let mut all = vec!["before", "of the second", "not sent yet"];
        for (text, page) in [("1", &first), ("2", &second), ("3", &first), ("4", &second)] {
            page.send(text).await?;
            page.wait_delivery(text, "acked").await?;
            all.push(text);
            if text == "2" {
                first.reload().await?;
                second.reload().await?;
                first.wait_state("chat_state", "OPEN").await?;
                second.wait_state("chat_state", "OPEN").await?;
            }
        }
        let expected: Vec<_> = all.into_iter().map(|text| ("Ann", text)).collect();
        first.wait_messages(&expected).await?;
        second.wait_messages(&expected).await?;
        Ok(())
    });
}

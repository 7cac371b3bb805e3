//! How fast the built page is in Chromium. `cargo xtask bench --page` runs it and writes the figures to docs/browser.md.

use std::{env, fs, path::Path, time::Duration};

use futures_util::{SinkExt, StreamExt, future::try_join_all};
use num_format::{Locale, ToFormattedString};
use serde_json::{Value, json};
use talkback_e2e::{Page, Stage, StepError, in_every_browser, wait_for};
use talkback_testbed::Server;
use tokio::{net::TcpStream, task::JoinSet};
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::Message};

const LOG: &str = "messagecontainer";

/// A load of a hundred thousand messages takes some seconds on a busy machine.
const LONG: Duration = Duration::from_secs(180);

/// Slow 4G as Lighthouse has it: 1.6 Mbit/s down, 750 kbit/s up, 150 ms there and back.
const SLOW_4G: (u32, u32, u32) = (1_638_400 / 8, 768_000 / 8, 150);

/// Watches for tasks of the page that take longer than 50 ms, which is the least that browsers report.
const WATCH: &str = "
    window.tasks = [];
    window.watch ??= new PerformanceObserver(list => {
        for (const { duration } of list.getEntries()) window.tasks.push(duration);
    });
    window.watch.observe({ type: 'longtask' });";

/// One figure: its values in the rounds.
struct Figure {
    what: &'static str,
    target: &'static str,
    unit: &'static str,
    values: Vec<f64>,
}

#[derive(Default)]
struct Figures(Vec<Figure>);

impl Figures {
    fn add(&mut self, what: &'static str, target: &'static str, unit: &'static str, value: f64) {
        match self.0.iter_mut().find(|figure| figure.what == what) {
            Some(figure) => figure.values.push(value),
            None => self.0.push(Figure {
                what,
                target,
                unit,
                values: vec![value],
            }),
        }
    }

    /// The rows of a table: what, target, median with the least and the greatest value.
    fn table(mut self) -> String {
        let mut table = String::new();
        for Figure {
            what,
            target,
            unit,
            values,
        } in &mut self.0
        {
            values.sort_by(f64::total_cmp);
            #[expect(
                clippy::cast_possible_truncation,
                reason = "no figure is that large, and none at all becomes 0"
            )]
            let shown = |value: f64| (value.round() as i64).to_formatted_string(&Locale::en);
            let (least, median, greatest) = (values[0], values[values.len() / 2], values[values.len() - 1]);
            let spread = if values.len() > 1 {
                format!(" ({} to {})", shown(least), shown(greatest))
            } else {
                String::new()
            };
            table += &format!("| {what} | {target} | {}{spread} {unit} |\n", shown(median));
        }
        table
    }
}

#[test]
fn the_page_is_measured() {
    let rounds: usize = env::var("TEST_ROUNDS").map_or(1, |rounds| rounds.parse().expect("TEST_ROUNDS is a number"));
    in_every_browser(async |stage| {
        let mut figures = Figures::default();
        for _ in 0..rounds {
            loading(
                stage,
                "/",
                "connect_websocket",
                [
                    "`/`: bytes on the wire",
                    "`/`: the button works, slow 4G, CPU four times slower",
                ],
                "at most 130,000",
                &mut figures,
            )
            .await?;
            loading(
                stage,
                "/chat/lobby",
                "chat_join",
                [
                    "`/chat/lobby`: bytes on the wire",
                    "`/chat/lobby`: the button works, slow 4G, CPU four times slower",
                ],
                "at most 175,000",
                &mut figures,
            )
            .await?;
        }
        let server = stage.server_at(([127, 0, 0, 1], 0).into(), &[]).await?;
        stage.page.open(&server.http("/"), "connect_websocket").await?;
        let minute = if rounds > 1 { 60_000 } else { 5_000 };
        let (_, longest) = flood(
            stage,
            &server.ws(&format!("/flood?n={minute}&rate=1000&size=100")),
            minute,
        )
        .await?;
        figures.add(
            "1,000 messages a second for 60 s: the longest task",
            "50",
            "ms",
            longest,
        );
        for _ in 0..rounds {
            stage.page.click("clear_log").await?;
            let (lost, longest) = flood(stage, &server.ws("/flood?n=100000&rate=10000&size=100"), 100_000).await?;
            figures.add(
                "10,000 messages of 100 bytes a second for 10 s: lost",
                "0",
                "messages",
                lost,
            );
            figures.add("10,000 messages a second: the longest task", "", "ms", longest);
            let rows = stage.page.script(LOG, "return arguments[0].children.length;").await?;
            figures.add("100,000 messages kept: row elements", "at most 60", "", number(&rows));
            figures.add(
                "100,000 messages kept: the page's process",
                "steady",
                "MiB",
                renderer_mib(),
            );
            let (time, longest) = filter(&stage.page).await?;
            figures.add(
                "a filter over 100,000 messages: until all rows are right",
                "150",
                "ms",
                time,
            );
            figures.add("the filter: the longest task", "50", "ms", longest);
            let (time, longest) = export(&stage.page).await?;
            figures.add("export of 100,000 messages as JSON lines", "2,000", "ms", time);
            figures.add("the export: the longest task", "", "ms", longest);
        }
        crowd(stage, &mut figures).await?;
        write("page.md", &figures.table())?;
        Ok(())
    });
}

/// Prints a table, and writes it into the folder TEST_FIGURES if that is set.
fn write(name: &str, table: &str) -> Result<(), StepError> {
    println!("{table}");
    let Some(folder) = env::var_os("TEST_FIGURES") else {
        return Ok(());
    };
    let file = Path::new(&folder).join(name);
    fs::write(&file, table).map_err(|error| StepError::Setup(format!("cannot write {}: {error}", file.display())))
}

/// A room that the browser keeps, after a reload without its server: when the first and the last of its messages are there, and
/// the longest task until then. With `TEST_ROUNDS` so many reloads.
#[test]
fn a_kept_room_is_measured() {
    let rounds: usize = env::var("TEST_ROUNDS").map_or(1, |rounds| rounds.parse().expect("TEST_ROUNDS is a number"));
    in_every_browser(async |stage| {
        let proxy = stage.proxy(&stage.server).await?;
        let page = &stage.page;
        page.join_at(&proxy.origin(), "kept", "Ann").await?;
        let talk = "
            const socket = new WebSocket(`${arguments[0]}/chat/kept?name=Bob`);
            socket.onopen = () => { for (let n = 1; n <= 1000; n++) socket.send(`message ${n} `.padEnd(100, '.')); };";
        page.execute(talk, vec![json!(stage.server.ws(""))]).await?;
        wait_for("all are kept", LONG, async || {
            let script = "
                const ask = request => new Promise(done => { request.onsuccess = () => done(request.result); });
                return (async () => {
                    const database = await ask(indexedDB.open('talkback.history'));
                    const rooms = await ask(database.transaction('rooms').objectStore('rooms').getAll());
                    database.close();
                    return rooms.some(room => room.split('\\n')[3].endsWith(':1000'));
                })();";
            Ok(page.execute(script, vec![]).await? == true)
        })
        .await?;
        proxy.refuse_sessions(true);
        proxy.cut();
        let look = "
            window.tasks = [];
            new PerformanceObserver(list => {
                for (const { duration } of list.getEntries()) window.tasks.push(duration);
            }).observe({ type: 'longtask', buffered: true });
            const look = setInterval(() => {
                const rows = document.querySelectorAll('.said[data-offset]');
                if (rows.length > 0) { window.shownAt = performance.now(); window.shown = rows.length; clearInterval(look); }
            }, 1);";
        let added = stage
            .browser
            .devtools("Page.addScriptToEvaluateOnNewDocument", json!({ "source": look }))
            .await?;
        let mut figures = Figures::default();
        for _ in 0..rounds {
            page.reload().await?;
            let mut shown = Value::Null;
            wait_for("its messages are there", LONG, async || {
                let script = "return window.shownAt === undefined ? null : [shownAt, shown, Math.max(0, ...tasks)];";
                shown = page.execute(script, vec![]).await?;
                Ok(!shown.is_null())
            })
            .await?;
            figures.add(
                "a kept room: from the reload to its messages",
                "",
                "ms",
                number(&shown[0]),
            );
            figures.add("the same: messages that are there at once", "", "", number(&shown[1]));
            figures.add("the same: the longest task of the page", "", "ms", number(&shown[2]));
        }
        // The browser runs other measurements too.
        let id = json!({ "identifier": added["identifier"] });
        stage
            .browser
            .devtools("Page.removeScriptToEvaluateOnNewDocument", id)
            .await?;
        write("kept.md", &figures.table())?;
        Ok(())
    });
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}

/// A first visit without a cache: the bytes on the wire, then the time until the element is there and enabled.
async fn loading(
    stage: &Stage,
    path: &str,
    id: &str,
    names: [&'static str; 2],
    budget: &'static str,
    figures: &mut Figures,
) -> Result<(), StepError> {
    let page = stage.page.clone();
    let url = stage.server.http(path);
    for is_slow in [false, true] {
        page.open("about:blank", "").await.ok();
        stage.browser.devtools("Network.enable", json!({})).await?;
        stage.browser.devtools("Network.clearBrowserCache", json!({})).await?;
        stage
            .browser
            .devtools("Network.setCacheDisabled", json!({ "cacheDisabled": true }))
            .await?;
        let (down, up, latency) = if is_slow { SLOW_4G } else { (0, 0, 0) };
        let rate = |bytes: u32| if bytes == 0 { -1.0 } else { f64::from(bytes) };
        let network = json!({ "offline": false, "latency": latency, "downloadThroughput": rate(down), "uploadThroughput": rate(up) });
        stage
            .browser
            .devtools("Network.emulateNetworkConditions", network)
            .await?;
        let slower = if is_slow { 4 } else { 1 };
        stage
            .browser
            .devtools("Emulation.setCPUThrottlingRate", json!({ "rate": slower }))
            .await?;
        let script = format!(
            "{{
                const look = setInterval(() => {{
                    const element = document.getElementById('{id}');
                    if (element && !element.disabled) {{ window.readyAt = performance.now(); clearInterval(look); }}
                }}, 5);
            }}"
        );
        let added = stage
            .browser
            .devtools("Page.addScriptToEvaluateOnNewDocument", json!({ "source": script }))
            .await?;
        page.open(&url, id).await?;
        let mut ready = Value::Null;
        wait_for("the page is ready", LONG, async || {
            ready = page.execute("return window.readyAt ?? null;", vec![]).await?;
            Ok(!ready.is_null())
        })
        .await?;
        if is_slow {
            figures.add(names[1], "2,000", "ms", number(&ready));
        } else {
            let idle = "
                const entries = [...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')];
                const last = Math.max(...entries.map(entry => entry.responseEnd));
                return performance.now() - last < 1000 ? null : entries.reduce((sum, entry) => sum + entry.encodedBodySize, 0);";
            let mut bytes = Value::Null;
            wait_for("the network is idle", LONG, async || {
                bytes = page.execute(idle, vec![]).await?;
                Ok(!bytes.is_null())
            })
            .await?;
            figures.add(names[0], budget, "", number(&bytes));
        }
        let id = json!({ "identifier": added["identifier"] });
        stage
            .browser
            .devtools("Page.removeScriptToEvaluateOnNewDocument", id)
            .await?;
    }
    let network = json!({ "offline": false, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1 });
    stage
        .browser
        .devtools("Network.emulateNetworkConditions", network)
        .await?;
    stage
        .browser
        .devtools("Emulation.setCPUThrottlingRate", json!({ "rate": 1 }))
        .await?;
    stage
        .browser
        .devtools("Network.setCacheDisabled", json!({ "cacheDisabled": false }))
        .await?;
    stage.browser.devtools("Network.disable", json!({})).await?;
    Ok(())
}

/// Receives a flood to its end: how many of the messages were lost, and the longest task.
async fn flood(stage: &Stage, url: &str, messages: u32) -> Result<(f64, f64), StepError> {
    let page = &stage.page;
    page.paste("url", url).await?;
    page.execute(WATCH, vec![]).await?;
    page.click("connect_websocket").await?;
    let is_over = "return document.getElementById('ready_state').dataset.state === 'CLOSED' && document.getElementById('connect_websocket') !== null;";
    wait_for("the flood is over", LONG, async || {
        Ok(page.execute(is_over, vec![]).await? == true)
    })
    .await?;
    let received = page
        .script(
            "show_received",
            "return arguments[0].textContent.replace(/[^0-9]/g, '');",
        )
        .await?;
    let received: f64 = received
        .as_str()
        .and_then(|digits| digits.parse().ok())
        .unwrap_or(f64::NAN);
    Ok((f64::from(messages) - received, longest(page).await?))
}

/// The longest task since [`WATCH`]; 0 if none took 50 ms.
async fn longest(page: &Page) -> Result<f64, StepError> {
    Ok(number(
        &page.execute("return Math.max(0, ...window.tasks);", vec![]).await?,
    ))
}

/// Types a filter that admits one row of a hundred: the time until the count of the rows no longer changes, and the longest task.
async fn filter(page: &Page) -> Result<(f64, f64), StepError> {
    page.execute(WATCH, vec![]).await?;
    let start = "
        const count = document.getElementById('log_count');
        window.changed = 0;
        window.counting = new MutationObserver(() => { window.changed = performance.now(); });
        window.counting.observe(count.parentElement, { characterData: true, childList: true, subtree: true });
        const field = arguments[0];
        window.typed = performance.now();
        field.value = '77';
        field.dispatchEvent(new InputEvent('input', { bubbles: true }));";
    page.script("log_filter", start).await?;
    let mut time = Value::Null;
    let rests =
        "return window.changed > 0 && performance.now() - window.changed > 500 ? window.changed - window.typed : null;";
    wait_for("the filter is through", LONG, async || {
        time = page.execute(rests, vec![]).await?;
        Ok(!time.is_null())
    })
    .await?;
    let longest = longest(page).await?;
    let clear = "
        window.counting.disconnect();
        arguments[0].value = '';
        arguments[0].dispatchEvent(new InputEvent('input', { bubbles: true }));";
    page.script("log_filter", clear).await?;
    Ok((number(&time), longest))
}

/// Exports the whole log: the time until the file is handed to the browser, and the longest task.
async fn export(page: &Page) -> Result<(f64, f64), StepError> {
    page.execute(WATCH, vec![]).await?;
    let catch = "
        window.exported = null;
        const create = URL.createObjectURL;
        URL.createObjectURL = blob => { window.exported = performance.now(); URL.createObjectURL = create; return create.call(URL, blob); };";
    page.execute(catch, vec![]).await?;
    page.click("export_log").await?;
    page.wait_shown("export_jsonl").await?;
    page.script(
        "export_jsonl",
        "window.begun = performance.now(); arguments[0].click();",
    )
    .await?;
    let mut time = Value::Null;
    wait_for("the export is through", LONG, async || {
        time = page
            .execute(
                "return window.exported === null ? null : window.exported - window.begun;",
                vec![],
            )
            .await?;
        Ok(!time.is_null())
    })
    .await?;
    Ok((number(&time), longest(page).await?))
}

const PEOPLE: usize = 5_000;
const CROWD_SENDERS: usize = 10;
const CROWD_MESSAGES: usize = 100_000;

/// A room with many people and a long history: the page joins, scrolls up through the history as fast as it is loaded, and then over as
/// many messages as it keeps. Once, because then it has them.
async fn crowd(stage: &Stage, figures: &mut Figures) -> Result<(), StepError> {
    let unlimited = [
        "--log-messages=200000",
        "--log-bytes=128MiB",
        "--session-line-rate=0",
        "--session-byte-rate=0",
        "--max-connection-rate=0",
        "--max-address-connections=0",
        "--address-connection-rate=0",
        "--max-room-members=10000",
        "--queue-messages=200000",
        "--queue-bytes=128MiB",
    ];
    let server = stage.server_at(([127, 0, 0, 1], 0).into(), &unlimited).await?;
    let mut people = JoinSet::new();
    let mut senders = Vec::new();
    for number in 0..CROWD_SENDERS {
        let (sender, mut received) = member(&server, number).await?.split();
        senders.push(sender);
        // The server closes members that do not read, and does not read what they sent last.
        people.spawn(async move { while received.next().await.is_some_and(|message| message.is_ok()) {} });
    }
    try_join_all(senders.iter_mut().map(async |sender| {
        let text = "What somebody says in a room where many people talk to each other all day long.";
        for _ in 0..CROWD_MESSAGES / CROWD_SENDERS {
            sender.feed(Message::text(text)).await?;
        }
        sender.flush().await
    }))
    .await
    .map_err(|error| StepError::Setup(format!("the crowd's messages: {error}")))?;
    let page = &stage.page;
    page.open(&server.http("/"), "connect_websocket").await?;
    let head = "return fetch('/rooms/crowd/messages?limit=1').then(answer => answer.json()).then(page => page.head);";
    wait_for("all messages are in the room", LONG, async || {
        Ok(page.execute(head, vec![]).await? == CROWD_MESSAGES)
    })
    .await?;
    people.shutdown().await;
    drop(senders);

    for number in 0..PEOPLE {
        let mut member = member(&server, number).await?;
        // Reads for as long as the scenario runs, and answers pings.
        people.spawn(async move { while member.next().await.is_some_and(|message| message.is_ok()) {} });
    }
    page.join(&server, "crowd", "Ann").await?;
    wait_for("everybody is counted", LONG, async || {
        let here = "return document.querySelector('.here').textContent.replace(/[^0-9]/g, '');";
        let here = page.execute(here, vec![]).await?;
        Ok(here.as_str() == Some(&(PEOPLE + 1).to_string()))
    })
    .await?;
    page.execute(WATCH, vec![]).await?;
    let (scrolled, gap) = scroll(page, -200).await?;
    figures.add(
        "a room of 5,000 people, 10 s of scrolling up: messages loaded",
        "",
        "",
        scrolled,
    );
    figures.add("the scrolling: the longest time between two frames", "50", "ms", gap);
    figures.add("the scrolling: the longest task", "50", "ms", longest(page).await?);

    let to_the_start = "
        const list = arguments[0].parentElement;
        list.scrollTop = 0;
        return document.getElementById('newer') !== null;";
    wait_for(
        "as many messages are loaded as the page shows at once",
        LONG,
        async || Ok(page.script("chat_messages", to_the_start).await? == true),
    )
    .await?;
    let rows = "return arguments[0].querySelectorAll('.said').length;";
    let rows = number(&page.script("chat_messages", rows).await?);
    page.execute(WATCH, vec![]).await?;
    let (_, gap) = scroll(page, 500).await?;
    figures.add("messages loaded after reading on", "", "", rows);
    figures.add(
        "10 s of scrolling down over them: the longest time between two frames",
        "50",
        "ms",
        gap,
    );
    figures.add("the same: the longest task", "50", "ms", longest(page).await?);
    Ok(())
}

/// Scrolls the chat for 10 s by so many pixels a frame: how many messages were loaded, and the longest time between two frames.
async fn scroll(page: &Page, by: i32) -> Result<(f64, f64), StepError> {
    let scroll = format!(
        "const list = arguments[0].parentElement;
        const end = performance.now() + 10_000;
        let before = null;
        window.gap = 0;
        window.scrolled = null;
        const first = () => Number(document.querySelector('#chat_messages [data-offset]')?.dataset.offset ?? 0);
        const from = first();
        const step = now => {{
            if (before !== null) window.gap = Math.max(window.gap, now - before);
            before = now;
            list.scrollTop += {by};
            if (now < end) requestAnimationFrame(step); else window.scrolled = from - first();
        }};
        requestAnimationFrame(step);"
    );
    page.script("chat_messages", &scroll).await?;
    let mut scrolled = Value::Null;
    wait_for("the list was scrolled", LONG, async || {
        scrolled = page.execute("return window.scrolled;", vec![]).await?;
        Ok(!scrolled.is_null())
    })
    .await?;
    let gap = page.execute("return window.gap;", vec![]).await?;
    Ok((number(&scrolled), number(&gap)))
}

type Member = WebSocketStream<TcpStream>;

/// Joins the room as a plain chat member.
async fn member(server: &Server, number: usize) -> Result<Member, StepError> {
    let setup = |error: String| StepError::Setup(format!("member {number} of the crowd: {error}"));
    let stream = TcpStream::connect(server.address())
        .await
        .map_err(|error| setup(error.to_string()))?;
    let url = server.ws(&format!("/chat/crowd?name=User%20{number}"));
    let (socket, _) = client_async(url, stream)
        .await
        .map_err(|error| setup(error.to_string()))?;
    Ok(socket)
}

/// The resident memory of the largest process that draws pages.
fn renderer_mib() -> f64 {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let resident = processes.filter_map(|process| {
        let command = fs::read(process.path().join("cmdline")).ok()?;
        if !String::from_utf8_lossy(&command).contains("--type=renderer") {
            return None;
        }
        let status = fs::read_to_string(process.path().join("status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().strip_suffix(" kB")?.parse::<f64>().ok()
    });
    resident.fold(f64::NAN, f64::max) / 1024.0
}

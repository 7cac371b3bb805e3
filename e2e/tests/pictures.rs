//! The pictures of README.md, of scenes that the page is driven to as a user would. `cargo xtask pictures` runs it.

use std::{env, fs, net::Ipv4Addr, path::PathBuf, time::Duration};

use data_encoding::BASE64;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use talkback_e2e::{DEADLINE, Page, Stage, StepError, in_every_browser, wait_for};
use talkback_testbed::Server;
use tokio::{net::TcpListener, time::timeout};
use tokio_tungstenite::tungstenite::Message;

const LOG: &str = "messagecontainer";
const CHAT: &str = "chat_messages";

/// The port in the pictures, or any other while it is taken: that of `cargo xtask serve`.
const PORT: u16 = 8787;

/// The same of the server of others.
const PRICES_PORT: u16 = 9090;

/// No picture may be larger, in bytes: a README is read on telephones too.
const LARGEST: usize = 150_000;

/// Pixels of a picture for each CSS pixel.
const SCALE: f64 = 2.0;

/// The size of a wide window and of a telephone, in CSS pixels.
const WIDE: (u32, u32) = (1200, 750);
const NARROW: (u32, u32) = (390, 780);

#[test]
fn pictures_are_taken() {
    in_every_browser(async |stage| {
        let mut server = server(stage).await?;
        let page = &stage.page;
        page.open(&server.http("/"), "connect_websocket").await?;
        let hidden = json!({ "hidden": true });
        stage.browser.devtools("Emulation.setScrollbarsHidden", hidden).await?;
        size(stage, WIDE).await?;
        page.choose("theme", "light").await?;
        workbench(stage, &server).await?;
        let friends = chat(stage, &server).await?;
        telephone(stage, &server, &friends).await?;
        without_server(stage, &mut server).await?;
        Ok(())
    });
}

async fn server(stage: &Stage) -> Result<Server, StepError> {
    match stage.server_at((Ipv4Addr::LOCALHOST, PORT).into(), &[]).await {
        Ok(server) => Ok(server),
        Err(_) => stage.server_at((Ipv4Addr::LOCALHOST, 0).into(), &[]).await,
    }
}

/// A server of others: prices of tea, as JSON, text and pictures.
async fn serve_prices(listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else {
                return;
            };
            let hello = r#"{"type":"welcome","server":"tea-exchange","version":"2.4.1"}"#;
            let mut alive = socket.send(Message::text(hello)).await.is_ok();
            let mut number = 0;
            while alive {
                let pause = Duration::from_millis(if number == 0 { 60_000 } else { 15 + number * 61 % 130 });
                alive = match timeout(pause, socket.next()).await {
                    // The first line subscribes; the others are answered with themselves.
                    Ok(Some(Ok(Message::Text(text)))) if number > 0 => socket.send(Message::Text(text)).await.is_ok(),
                    Ok(Some(Ok(Message::Text(_)))) => {
                        number = 1;
                        let answer = r#"{"type":"subscribed","channels":["trades","books","alerts"]}"#;
                        socket.send(Message::text(answer)).await.is_ok()
                    }
                    Ok(Some(Ok(_))) => true,
                    Ok(_) => false,
                    Err(_) => {
                        number += 1;
                        socket.send(price(number)).await.is_ok()
                    }
                };
            }
        });
    }
}

fn price(number: u64) -> Message {
    let teas = ["Earl Grey", "Assam", "Sencha", "Lapsang Souchong", "龙井", "Rooibos"];
    let tea = teas[usize::try_from(number * 5 % 6).unwrap_or_default()];
    let cents = 310 + number * 37 % 640;
    let grams = 50 + number * 7 % 9 * 50;
    let euros = |cents: u64| format!("{}.{:02}", cents / 100, cents % 100);
    match number % 12 {
        2 | 8 => Message::text(format!(
            r#"{{"type":"book","tea":"{tea}","bids":[[{},400],[{},1200]],"asks":[[{},350],[{},900]],"seq":9007199254740{number:03}1}}"#,
            euros(cents - 5),
            euros(cents - 10),
            euros(cents + 5),
            euros(cents + 15),
        )),
        5 => Message::text(format!("heartbeat {number}")),
        7 => Message::text(format!(
            r#"{{"type":"alert","level":"warn","text":"{tea}: nearly sold out"}}"#
        )),
        9 => Message::binary(include_bytes!("../../client/app/assets/app-192.png").as_slice()),
        _ => {
            let side = if number.is_multiple_of(3) { "sell" } else { "buy" };
            let id = 48_100 + number;
            let price = euros(cents);
            Message::text(format!(
                r#"{{"type":"trade","id":{id},"tea":"{tea}","grams":{grams},"price":{price},"side":"{side}"}}"#
            ))
        }
    }
}

/// The workbench with the log of another server, once with JSON and once with an image in the details.
async fn workbench(stage: &Stage, server: &Server) -> Result<(), StepError> {
    let page = &stage.page;
    let listener = match TcpListener::bind((Ipv4Addr::LOCALHOST, PRICES_PORT)).await {
        Ok(listener) => listener,
        Err(_) => TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(odd)?,
    };
    let prices = listener.local_addr().map_err(odd)?;
    let prices_task = tokio::spawn(serve_prices(listener));
    page.paste("url", &server.ws("/flood?n=100000&rate=250&size=64"))
        .await?;
    page.click("connect_websocket").await?;
    page.wait_state("ready_state", "OPEN").await?;
    page.click("new_tab").await?;
    page.wait_state("ready_state", "CLOSED").await?;
    page.paste("url", &format!("ws://localhost:{}/v2/prices", prices.port()))
        .await?;
    page.click("connect_websocket").await?;
    page.wait_state("ready_state", "OPEN").await?;
    page.click("mode_json").await?;
    page.paste("message", r#"{"subscribe": ["trades", "books", "alerts"]}"#)
        .await?;
    page.click("send_message").await?;
    for (count, text) in [
        (30, r#""ping""#),
        (40, r#""ping""#),
        (52, r#""ping 2""#),
        (84, r#"{"unsubscribe": ["alerts"]}"#),
    ] {
        page.wait_row(LOG, "a price", |row| {
            row.text.contains(&format!("\"id\":{}", 48_100 + count))
        })
        .await?;
        page.paste("message", text).await?;
        page.click("send_message").await?;
    }
    page.wait_row(LOG, "the last price", |row| {
        row.text.contains(&format!("\"id\":{}", 48_195))
    })
    .await?;
    page.paste("message", r#"{"subscribe": ["trades"], "teas": ["Sencha", "龙井"]}"#)
        .await?;
    choose(page, "\"book\"").await?;
    take(stage, "workbench-light").await?;
    page.choose("theme", "dark").await?;
    choose(page, "89 50 4e 47").await?;
    take(stage, "workbench-dark").await?;
    page.choose("theme", "light").await?;
    prices_task.abort();
    Ok(())
}

/// Presses the last row in view with this text, until the details have it: rows move while messages come.
async fn choose(page: &Page, text: &str) -> Result<(), StepError> {
    let place = format!(
        "const view = arguments[0].closest('.log-viewport').getBoundingClientRect();
         const rows = [...arguments[0].querySelectorAll('li')].filter(row => {{
             const {{ top, bottom }} = row.getBoundingClientRect();
             return top > view.top + 30 && bottom < view.bottom && row.textContent.includes({text:?});
         }});
         const {{ left, top, height }} = rows.at(-1).getBoundingClientRect();
         return [left + 300, top + height / 2].map(Math.round);"
    );
    let selected =
        format!("return arguments[0].querySelector('[aria-selected=true]')?.textContent.includes({text:?}) ?? false;");
    wait_for(format!("a row with {text} is selected"), DEADLINE, async || {
        let (x, y): (i64, i64) = serde_json::from_value(page.script(LOG, &place).await?).map_err(odd)?;
        page.click_at(x, y).await?;
        Ok(page.script(LOG, &selected).await? == true)
    })
    .await?;
    page.wait_shown("detail_text").await
}

/// People in plain chat: sockets of another tab.
const FRIENDS: &str = "
    window.friends = {};
    const [names, origin, room] = arguments;
    const opened = name => new Promise((resolve, reject) => {
        const socket = new WebSocket(`${origin}/chat/${encodeURIComponent(room)}?name=${encodeURIComponent(name)}`);
        socket.onopen = resolve;
        socket.onerror = reject;
        window.friends[name] = socket;
    });
    return Promise.all(names.map(opened)).then(() => true);";

const NAMES: [&str; 11] = [
    "Bob",
    "Carla",
    "李雷",
    "Dmitri",
    "Zoë",
    "ليلى",
    "Müller-Lüdenscheidt",
    "O’Brien",
    "Zara",
    "김민준",
    "Priya",
];

const TALK: [(&str, &str); 10] = [
    ("Bob", "Morning! The tasting room opens at nine. Who has the key?"),
    ("李雷", "钥匙在我这里，八点半到。"),
    ("", "I bring the Sencha, and the small cups"),
    (
        "Carla",
        "The order page is slow since last night: https://status.example.com/incidents/4711",
    ),
    (
        "Carla",
        "```\nSELECT tea, sum(grams) FROM orders\nWHERE day = current_date\nGROUP BY tea;\n```",
    ),
    ("Bob", "It reads the whole table. An index on `day` should do."),
    ("", "@Zoë can you add it before lunch?"),
    ("ليلى", "صباح الخير! هل بقي شاي بالنعناع؟"),
    ("Zoë", "@Ann the index is there: 2.4 s → 11 ms ✔"),
    ("", "See you at half past eight"),
];

/// A room in the middle of a talk.
async fn chat(stage: &Stage, server: &Server) -> Result<Page, StepError> {
    let page = &stage.page;
    page.join(server, "tasting", "Ann").await?;
    for room in ["deploys", "random", "lobby"] {
        page.go_to_room(room).await?;
        page.wait_state("chat_state", "OPEN").await?;
    }
    let friends = page.new_tab().await?;
    friends.open(&server.http("/"), "connect_websocket").await?;
    let origin = server.ws("");
    for (room, texts) in [
        (
            "deploys",
            &["2.4.1 is live", "All green", "@Ann please look at the alerts"][..],
        ),
        ("random", &["Cake in the kitchen"]),
    ] {
        friends
            .execute(FRIENDS, vec![json!(["Bob"]), json!(origin), json!(room)])
            .await?;
        for text in texts {
            say(&friends, "Bob", text).await?;
        }
    }
    friends
        .execute(FRIENDS, vec![json!(NAMES), json!(origin), json!("lobby")])
        .await?;
    page.wait_text("roster", "김민준").await?;
    talk(page, &friends, &TALK).await?;
    let writer = page.new_tab().await?;
    writer.join(server, "lobby", "Bob").await?;
    writer.press_in("chat_message", "Perfect").await?;
    page.wait_text("typing", "Bob").await?;
    take(stage, "chat-light").await?;
    writer.execute("window.close();", vec![]).await.ok();
    Ok(friends)
}

/// Lets people say something one after the other: who has no name is the user of the page.
async fn talk(page: &Page, friends: &Page, talk: &[(&str, &str)]) -> Result<(), StepError> {
    for &(name, text) in talk {
        if name.is_empty() {
            page.paste("chat_message", text).await?;
            page.click("chat_send").await?;
            page.wait_delivery(text, "acked").await?;
        } else {
            say(friends, name, text).await?;
            // Of a text with code, the part before the code or its first line.
            let first = text
                .trim_start_matches("```\n")
                .split(['`', '\n'])
                .next()
                .unwrap_or_default();
            page.wait_row(CHAT, text, |row| row.text.contains(first)).await?;
        }
    }
    Ok(())
}

async fn say(friends: &Page, name: &str, text: &str) -> Result<(), StepError> {
    friends
        .execute(
            "window.friends[arguments[0]].send(arguments[1]);",
            vec![json!(name), json!(text)],
        )
        .await?;
    Ok(())
}

const TALK_IN_CHINESE: [(&str, &str); 8] = [
    ("韩梅梅", "今天的新茶到了吗？"),
    ("李雷", "到了，明前龙井，一共两公斤。"),
    ("", "太好了！我带杯子，九点开始品茶。"),
    ("韩梅梅", "地址在这里：https://example.com/tasting"),
    ("小明", "@Ann 我可以带一位朋友吗？"),
    ("", "当然可以，人多热闹。"),
    ("李雷", "水温用 `80 °C`，泡三分钟。"),
    ("", "收到"),
];

/// A room in Chinese, on a telephone.
async fn telephone(stage: &Stage, server: &Server, friends: &Page) -> Result<(), StepError> {
    let page = &stage.page;
    page.choose("language", "zh").await?;
    page.go_to_room("品茶").await?;
    page.wait_state("chat_state", "OPEN").await?;
    let names = ["韩梅梅", "李雷", "小明"];
    friends
        .execute(FRIENDS, vec![json!(names), json!(server.ws("")), json!("品茶")])
        .await?;
    page.wait_text("roster", "韩梅梅").await?;
    talk(page, friends, &TALK_IN_CHINESE).await?;
    size(stage, NARROW).await?;
    take(stage, "chat-narrow-chinese").await?;
    size(stage, WIDE).await?;
    page.choose("language", "en").await?;
    page.script(
        "room_list",
        "[...arguments[0].querySelectorAll('a')].find(link => link.textContent.includes('lobby')).click();",
    )
    .await?;
    page.wait_text("chat_room", "lobby").await
}

/// The same room when the server is gone: what is said meanwhile waits.
async fn without_server(stage: &Stage, server: &mut Server) -> Result<(), StepError> {
    let page = &stage.page;
    page.choose("theme", "dark").await?;
    server.kill().await.map_err(odd)?;
    page.wait_shown("offline_banner").await?;
    for text in ["Is the server gone?", "I write on, it will be sent later"] {
        page.paste("chat_message", text).await?;
        page.click("chat_send").await?;
        page.wait_delivery(text, "pending").await?;
    }
    let shown =
        "return document.getElementById('reconnect_now')?.checkVisibility({ visibilityProperty: true }) ?? false;";
    wait_for("the banner has appeared", DEADLINE, async || {
        Ok(page.execute(shown, vec![]).await? == true)
    })
    .await?;
    take(stage, "chat-dark").await
}

/// Sets the size of the page in CSS pixels.
async fn size(stage: &Stage, (width, height): (u32, u32)) -> Result<(), StepError> {
    let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": SCALE, "mobile": false });
    stage
        .browser
        .devtools("Emulation.setDeviceMetricsOverride", metrics)
        .await?;
    Ok(())
}

/// Saves what the page shows as `docs/pictures/NAME.webp`, at the highest quality that is small enough.
async fn take(stage: &Stage, name: &str) -> Result<(), StepError> {
    let folder = env::var_os("TEST_PICTURES").map_or_else(|| talkback_e2e::target().join("pictures"), PathBuf::from);
    let broken = |error: std::io::Error| StepError::Setup(format!("{name} cannot be saved: {error}"));
    fs::create_dir_all(&folder).map_err(broken)?;
    // Neither the focus nor the pointer is in a picture.
    stage.page.execute("document.activeElement?.blur();", vec![]).await?;
    let away = json!({ "type": "mouseMoved", "x": 1, "y": 1 });
    stage.browser.devtools("Input.dispatchMouseEvent", away).await?;
    for quality in [100, 92, 86, 80, 72, 64, 56, 48, 40] {
        let format = json!({ "format": "webp", "quality": quality });
        let picture: Value = stage.browser.devtools("Page.captureScreenshot", format).await?;
        let picture = BASE64
            .decode(picture["data"].as_str().unwrap_or_default().as_bytes())
            .map_err(odd)?;
        if picture.len() <= LARGEST {
            println!("{name}: {} bytes, quality {quality}", picture.len());
            return fs::write(folder.join(format!("{name}.webp")), picture).map_err(broken);
        }
    }
    Err(StepError::Setup(format!("{name} is larger than {LARGEST} bytes")))
}

fn odd(error: impl std::fmt::Display) -> StepError {
    StepError::Setup(format!("the browser's answer reads oddly: {error}"))
}

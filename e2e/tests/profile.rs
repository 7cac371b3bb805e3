//! Which functions of the page a first visit runs: `cargo xtask profile` runs this with a page whose functions mark that they ran
//! (pack/src/split/profile.rs), and xtask/src/profile.rs makes lists of what it writes.

use std::{
    collections::BTreeMap,
    env, fs,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use serde_json::{Value, json};
use talkback_e2e::{Page, Stage, StepError, in_every_browser};

const LOG: &str = "messagecontainer";

/// Each binary with its functions by their numbers.
type Marks = BTreeMap<String, BTreeMap<usize, Function>>;

#[derive(Default)]
struct Function {
    name: String,
    /// Tells whether another build's regions are the same.
    shape: String,
    ran: bool,
    /// Whether each region of it was reached.
    regions: BTreeMap<usize, bool>,
}

#[test]
fn what_a_first_visit_runs_is_measured() {
    // The engines do not call the page in the same order, and not all have the same features.
    let all = Mutex::new(Marks::new());
    in_every_browser(async |stage| {
        let mut marks = std::mem::take(&mut *all.lock().unwrap_or_else(PoisonError::into_inner));
        let settings = [None, Some(("light", "en")), Some(("dark", "zh"))];
        for setting in settings {
            workbench(stage, setting, &mut marks).await?;
        }
        // The other member of the rooms has a page too.
        let other = stage.page.new_tab().await?;
        for (room, setting) in ["lobby", "tea", "coffee"].into_iter().zip(settings) {
            chat(stage, &other, room, setting, &mut marks).await?;
        }
        *all.lock().unwrap_or_else(PoisonError::into_inner) = marks;
        Ok(())
    });
    let folder = env::var_os("TEST_PROFILE").map_or_else(|| talkback_e2e::target().join("profile"), PathBuf::from);
    fs::create_dir_all(&folder).expect("the folder of what ran");
    let marks = all.into_inner().unwrap_or_else(PoisonError::into_inner);
    assert_eq!(marks.len(), 2, "both binaries ran");
    for (binary, functions) in marks {
        let functions = functions.values().map(|function| {
            json!({
                "name": function.name,
                "shape": function.shape,
                "ran": function.ran,
                "regions": Vec::from_iter(function.regions.values()),
            })
        });
        let text = Value::from_iter(functions).to_string();
        fs::write(folder.join(format!("{binary}.json")), text).expect("what ran is written");
    }
}

/// Connects, sends, receives and disconnects, and does not connect to a server that is away; then once more with what is remembered of that.
async fn workbench(stage: &mut Stage, setting: Option<(&str, &str)>, marks: &mut Marks) -> Result<(), StepError> {
    remember(stage.workbench().await?, setting).await?;
    for visit in ["the first message", "the second message"] {
        let page = &stage.page;
        page.open(&stage.server.http("/"), "connect_websocket").await?;
        page.click("connect_websocket").await?;
        page.wait_state("ready_state", "OPEN").await?;
        page.click("send_message").await?;
        page.wait_texts(LOG, "in", &["Hello, World!"]).await?;
        page.fill("message", visit).await?;
        page.click("send_message").await?;
        page.wait_texts(LOG, "in", &["Hello, World!", visit]).await?;
        page.click("close_websocket").await?;
        page.wait_state("ready_state", "CLOSED").await?;
        leave(page).await?;
        collect(page, marks).await?;
        // The server is away: then the rest cannot be loaded either.
        stage.server.kill().await.map_err(odd)?;
        let page = &stage.page;
        page.click("connect_websocket").await?;
        page.wait_row(LOG, "the server is gone", |row| row.text.contains("1006"))
            .await?;
        page.click("nav_chat").await?;
        page.wait_hidden("connect_websocket").await?;
        page.click("nav_workbench").await?;
        page.wait_shown("connect_websocket").await?;
        collect(page, marks).await?;
        stage.server.start_again().await.map_err(odd)?;
        let page = &stage.page;
        // The draft is remembered by the tab, and would be sent next time.
        page.fill("message", "Hello, World!").await?;
    }
    Ok(())
}

/// Joins a room, sends and receives, and loses its connection for a moment; then once more with what is remembered of that.
async fn chat(
    stage: &Stage,
    other: &Page,
    room: &str,
    setting: Option<(&str, &str)>,
    marks: &mut Marks,
) -> Result<(), StepError> {
    let page = &stage.page;
    let proxy = stage.proxy(&stage.server).await?;
    page.open(&proxy.origin(), "connect_websocket").await?;
    remember(page, setting).await?;
    for visit in ["the first message", "the second message"] {
        page.join_at(&proxy.origin(), room, "Ann").await?;
        other.join(&stage.server, room, "Bob").await?;
        page.wait_roster(&["Ann", "Bob"]).await?;
        page.send(visit).await?;
        page.wait_delivery(visit, "acked").await?;
        other.wait_text("chat_messages", visit).await?;
        let answer = format!("an answer to {visit}");
        other.send(&answer).await?;
        page.wait_text("chat_messages", &answer).await?;
        // The connection breaks, and comes back.
        proxy.refuse(true);
        proxy.cut();
        page.wait_shown("offline_banner").await?;
        proxy.refuse(false);
        page.wait_state("chat_state", "OPEN").await?;
        // Leaving is no part of a first visit.
        collect(other, marks).await?;
        other.leave().await?;
        page.wait_roster(&["Ann"]).await?;
        leave(page).await?;
        collect(page, marks).await?;
    }
    Ok(())
}

/// The settings of the page's next visit.
async fn remember(page: &Page, setting: Option<(&str, &str)>) -> Result<(), StepError> {
    let script = "
        const [theme, language] = arguments[0] ?? [];
        localStorage.clear();
        sessionStorage.clear();
        if (theme) localStorage.setItem('talkback.theme', theme);
        if (language) localStorage.setItem('talkback.language', language);";
    page.execute(script, vec![json!(setting)]).await?;
    Ok(())
}

/// What happens to a page by itself: its tab goes to the background, its window changes, it is left and comes back.
async fn leave(page: &Page) -> Result<(), StepError> {
    let script = "
        for (const type of ['blur', 'focus', 'resize']) dispatchEvent(new Event(type));
        document.dispatchEvent(new Event('visibilitychange'));
        for (const type of ['pagehide', 'pageshow']) dispatchEvent(new PageTransitionEvent(type, { persisted: true }));
        return new Promise(resolve => requestAnimationFrame(() => setTimeout(resolve, 300, true)));";
    page.execute(script, vec![]).await?;
    Ok(())
}

/// Adds which functions ran in this page since it was loaded, and which of their regions.
async fn collect(page: &Page, marks: &mut Marks) -> Result<(), StepError> {
    let script = "
        const marks = ([binary, parts]) => [binary, Object.entries(parts)
            .filter(([name]) => /^(ran|at) /.test(name))
            .map(([name, { value }]) => [name, value === 1])];
        return Object.entries(globalThis.talkbackProfile).map(marks);";
    let ran = page.execute(script, vec![]).await?;
    let ran: Vec<(String, Vec<(String, bool)>)> = serde_json::from_value(ran).map_err(odd)?;
    for (binary, parts) in ran {
        let known = marks.entry(binary).or_default();
        for (mark, ran) in parts {
            let mut words = mark.splitn(4, ' ');
            let mut word = || words.next().unwrap_or_default();
            let (kind, number) = (word(), word().parse().map_err(odd)?);
            let function = known.entry(number).or_default();
            if kind == "ran" {
                word().clone_into(&mut function.shape);
                word().clone_into(&mut function.name);
                function.ran |= ran;
            } else {
                *function.regions.entry(word().parse().map_err(odd)?).or_default() |= ran;
            }
        }
    }
    Ok(())
}

fn odd(error: impl std::fmt::Display) -> StepError {
    StepError::Setup(format!("the marks read oddly: {error}"))
}

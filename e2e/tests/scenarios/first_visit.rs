//! What a first visit loads, and the rest of a binary that is loaded later: see pack/src/split.rs.

use std::{fs, io, path::Path, time::Duration};

use serde_json::json;
use talkback_e2e::{DEADLINE, Page, Stage, StepError, copy_of_page, dist, in_every_browser, wait_for};
use talkback_testbed::Server;
use tempfile::TempDir;

const LOG: &str = "messagecontainer";

/// The bytes of a first visit, see `VIEWS` in sizes/src/main.rs.
const BUDGETS: [(&str, &str, u64); 2] = [
    ("/", "connect_websocket", 121_000),
    ("/chat/lobby", "chat_join", 175_000),
];

/// The page waits so long for a quiet network before it loads what a first visit does not need, see boot.js.
const QUIET: Duration = Duration::from_secs(3);

/// The page's `fetch` of a rest does not end. Requests that are waited for are others, `XMLHttpRequest`.
const HOLD_BACK: &str = "
    const { fetch } = window;
    window.fetch = (url, options) =>
        String(url).includes('_rest-') ? new Promise(() => {}) : fetch.call(window, url, options);";

/// A server whose page runs this script before all of its own: one that runs after a page was opened may come later than what it is to
/// prevent. The folder is that of the page.
async fn server_with_script(stage: &Stage, script: &str) -> Result<(TempDir, Server), StepError> {
    let broken = |error: io::Error| StepError::Setup(format!("the page cannot be changed: {error}"));
    let folder = copy_of_page()?;
    let index = folder.path().join("index.html");
    let html = fs::read_to_string(&index).map_err(broken)?;
    let changed = html.replacen("<head>", &format!("<head><script>{{{script}}}</script>"), 1);
    if changed == html {
        return Err(StepError::Setup("the page has no <head>".to_owned()));
    }
    fs::write(&index, changed).map_err(broken)?;
    let server = stage.server_of(folder.path()).await?;
    Ok((folder, server))
}

/// Whether a visit is the measured one to the last function. In the other engines what comes first, and so what runs, differs from visit to
/// visit, and WebKitGTK tells of a pointer that rests over the page.
fn is_strict(stage: &Stage) -> bool {
    stage.browser.engine().name() == "chromium"
}

/// Each file that the page has requested: its path, when (in ms), and by what.
async fn requests(page: &Page) -> Result<Vec<(String, f64, String)>, StepError> {
    let script = "
        return performance.getEntriesByType('resource')
            .filter(({ name }) => name.startsWith(location.origin))
            .map(({ name, startTime, initiatorType }) => [new URL(name).pathname, startTime, initiatorType]);";
    let requests = page.execute(script, vec![]).await?;
    serde_json::from_value(requests).map_err(|error| StepError::Setup(format!("the requests read oddly: {error}")))
}

fn is_rest(path: &str) -> bool {
    path.contains("_rest-")
}

/// A rest, or the style sheet of the other view, which comes with it; the order in which a browser lists the two is its own.
fn is_later(path: &str) -> bool {
    is_rest(path) || path.contains("-later-")
}

/// Whether the binary has waited for a rest.
async fn has_waited(page: &Page) -> Result<bool, StepError> {
    Ok(requests(page)
        .await?
        .iter()
        .any(|(path, _, by)| is_rest(path) && by == "xmlhttprequest"))
}

/// Whether the composer is that for JSON, which is no part of a first visit.
async fn pressed(page: &Page) -> Result<bool, StepError> {
    let script = "
        const { checked, ariaPressed, ariaSelected, ariaChecked } = arguments[0];
        return checked ?? [ariaPressed, ariaSelected, ariaChecked].includes('true');";
    Ok(page.script("mode_json", script).await? == true)
}

/// The bytes of a file on the wire.
fn on_the_wire(folder: &Path, path: &str) -> u64 {
    let file = folder.join(path.trim_start_matches('/'));
    let compressed = folder.join(format!("{}.br", path.trim_start_matches('/')));
    fs::metadata(compressed)
        .or_else(|_| fs::metadata(file))
        .map_or(0, |file| file.len())
}

#[test]
fn a_first_visit_has_no_more_bytes_than_its_budget_and_the_rest_comes_later() {
    in_every_browser(async |stage| {
        let folder = dist()?;
        for (path, ready, budget) in BUDGETS {
            let page = stage.page.new_tab().await?;
            page.open(&stage.server.http(path), ready).await?;
            let mut all = Vec::new();
            wait_for("the rest is requested, without an interaction", DEADLINE, async || {
                all = requests(&page).await?;
                Ok(all.iter().any(|(path, ..)| is_rest(path)))
            })
            .await?;
            let rest = all.iter().position(|(path, ..)| is_later(path)).unwrap_or_default();
            let (first, later) = all.split_at(rest);
            let last = first.iter().map(|(_, start, _)| *start).fold(0.0, f64::max);
            let pause = later[0].1 - last;
            assert!(
                !is_strict(stage) || pause >= QUIET.as_secs_f64() * 990.0,
                "{path}: {pause} ms after the last file of the visit"
            );
            assert!(
                !is_strict(stage) || later.iter().all(|(path, _, by)| !is_rest(path) || by == "fetch"),
                "the page did not wait for it"
            );
            let files = ["/index.html"]
                .into_iter()
                .chain(first.iter().map(|(path, ..)| path.as_str()));
            let bytes: u64 = files.map(|path| on_the_wire(&folder, path)).sum();
            assert!(
                bytes <= budget && (bytes > budget / 2 || !is_strict(stage)),
                "{path} loads {bytes} bytes: {first:?}"
            );
            // The next view is another first visit.
            page.execute("window.close();", vec![]).await.ok();
            forget(stage).await?;
        }
        Ok(())
    });
}

/// Removes the worker and its files.
async fn forget(stage: &Stage) -> Result<(), StepError> {
    let page = stage.workbench().await?;
    let script = "
        return Promise.resolve(navigator.serviceWorker?.getRegistrations())
            .then(all => Promise.all((all ?? []).map(registration => registration.unregister()))).then(() => true);";
    page.execute(script, vec![]).await?;
    page.execute("location = 'about:blank';", vec![]).await?;
    Ok(())
}

#[test]
fn the_workbench_connects_sends_receives_and_disconnects_without_the_rest() {
    in_every_browser(async |stage| {
        let (_folder, server) = server_with_script(stage, HOLD_BACK).await?;
        let page = &stage.page;
        page.open(&server.http("/"), "connect_websocket").await?;
        page.click("connect_websocket").await?;
        page.wait_state("ready_state", "OPEN").await?;
        page.click("send_message").await?;
        page.wait_texts(LOG, "in", &["Hello, World!"]).await?;
        page.click("close_websocket").await?;
        page.wait_state("ready_state", "CLOSED").await?;
        assert!(
            !is_strict(stage) || !has_waited(page).await?,
            "a first visit needs the rest: run `cargo xtask profile`"
        );
        // What a first visit does not do waits for the rest.
        page.click("mode_json").await?;
        page.wait_value("the JSON is shown", async || pressed(page).await, |pressed| *pressed)
            .await?;
        if is_strict(stage) {
            page.wait_value(
                "JSON is no part of a first visit",
                async || has_waited(page).await,
                |waited| *waited,
            )
            .await?;
        }
        Ok(())
    });
}

#[test]
fn the_chat_joins_sends_and_receives_while_the_rest_is_held_back() {
    in_every_browser(async |stage| {
        let (_folder, server) = server_with_script(stage, HOLD_BACK).await?;
        let other = stage.page.new_tab().await?;
        other.join(&server, "lobby", "Bob").await?;
        // This tab is that of another user.
        other.execute("localStorage.clear();", vec![]).await?;
        let page = &stage.page;
        page.open(&server.http("/chat/lobby"), "chat_join").await?;
        page.fill("chat_name", "Ann").await?;
        page.click("chat_join").await?;
        page.wait_state("chat_state", "OPEN").await?;
        page.send("hello").await?;
        page.wait_delivery("hello", "acked").await?;
        other.send("an answer").await?;
        page.wait_messages(&[("Ann", "hello"), ("Bob", "an answer")]).await?;
        Ok(())
    });
}

#[test]
fn an_interaction_loads_the_rest_which_nothing_waits_for_then() {
    in_every_browser(async |stage| {
        let page = stage.workbench().await?;
        page.press("a").await?;
        wait_for("the rest is requested", DEADLINE, async || {
            Ok(requests(page).await?.iter().any(|(path, ..)| is_rest(path)))
        })
        .await?;
        wait_for("the rest has come", DEADLINE, async || {
            let ended = "return performance.getEntriesByType('resource')
                .some(({ name, responseEnd }) => name.includes('_rest-') && responseEnd > 0);";
            Ok(page.execute(ended, vec![]).await? == true)
        })
        .await?;
        page.click("mode_json").await?;
        page.wait_value("the JSON is shown", async || pressed(page).await, |pressed| *pressed)
            .await?;
        Ok(())
    });
}

#[test]
fn a_rest_that_cannot_be_loaded_is_asked_for_again_and_nothing_is_lost() {
    in_every_browser(async |stage| {
        // Firefox's driver does not answer while the page waits for a request that fails.
        if stage.browser.engine().name() == "firefox" {
            return Ok(());
        }
        let (_folder, server) = server_with_script(stage, HOLD_BACK).await?;
        let page = &stage.page;
        page.open(&server.http("/"), "connect_websocket").await?;
        // The server is away for HTTP: what the page asks for by itself is the rest alone.
        let away = "
            const { open } = XMLHttpRequest.prototype;
            window.away = true;
            XMLHttpRequest.prototype.open = function (method, url, ...rest) {
                return open.call(this, method, window.away ? 'http://127.0.0.1:1/' : url, ...rest);
            };
            window.asked = [];
            window.confirm = text => {
                asked.push(text);
                away = asked.length < 3;
                return true;
            };";
        page.execute(away, vec![]).await?;
        page.click("connect_websocket").await?;
        page.wait_state("ready_state", "OPEN").await?;
        page.click("send_message").await?;
        page.wait_texts(LOG, "in", &["Hello, World!"]).await?;
        // By a script: Firefox's driver waits for the events of a click, which come late while the page waits for a request.
        page.script("mode_json", "arguments[0].click();").await?;
        page.wait_value("the JSON is shown", async || pressed(page).await, |pressed| *pressed)
            .await?;
        let asked = page.execute("return asked;", vec![]).await?;
        let text = "A part of the page could not be loaded. Try again?";
        assert_eq!(asked, json!([text, text, text]));
        page.wait_texts(LOG, "in", &["Hello, World!"]).await?;
        page.wait_state("ready_state", "OPEN").await?;
        Ok(())
    });
}

#[test]
fn a_page_that_cannot_go_on_says_so_and_can_be_loaded_again() {
    in_every_browser(async |stage| {
        let (_folder, server) = server_with_script(stage, HOLD_BACK).await?;
        let page = &stage.page;
        page.open(&server.http("/"), "connect_websocket").await?;
        let away = "
            XMLHttpRequest.prototype.open = () => { throw new Error('away'); };
            window.confirm = () => false;";
        page.execute(away, vec![]).await?;
        page.click("mode_json").await?;
        page.wait_text(
            "update",
            "The page has stopped, because a part of it could not be loaded.",
        )
        .await?;
        let failed = "return [document.documentElement.dataset.failed, document.getElementById('main').inert];";
        page.wait_answer(failed, json!(["workbench", true])).await?;
        // What the browser tells the page from now on is not gathered.
        let gathered = "
            const { push } = Array.prototype;
            let gathered = 0;
            Array.prototype.push = function (...items) {
                gathered += items.some(item => typeof item === 'function');
                return push.apply(this, items);
            };
            for (const type of ['input', 'keydown', 'click']) arguments[0].dispatchEvent(new Event(type, { bubbles: true }));
            Array.prototype.push = push;
            return gathered;";
        assert_eq!(page.script("message", gathered).await?, 0);
        page.screenshot(&stage.picture("stopped-wide-en")).await?;
        page.click_inside("update", "button").await?;
        wait_for("the page works again", DEADLINE, async || {
            Ok(page
                .execute("return !document.documentElement.dataset.failed;", vec![])
                .await?
                == true
                && page.is_shown("connect_websocket").await?)
        })
        .await?;
        page.click("mode_json").await?;
        page.wait_value("the JSON is shown", async || pressed(page).await, |pressed| *pressed)
            .await?;
        Ok(())
    });
}

/// What each element of the shown view looks like: every property, its pseudo-elements too.
const LOOKS: &str = "
    const hidden = document.documentElement.dataset.view === 'chat' ? '#workbench' : '#chat';
    // The styles of the help come later, as its content does.
    const elements = document.querySelectorAll(`*:not(${hidden}, ${hidden} *, #help, #help *)`);
    const looks = () => Array.from(elements, element =>
        [null, '::before', '::after'].map(pseudo => {
            const style = getComputedStyle(element, pseudo);
            return Array.from(style, name => `${name}: ${style.getPropertyValue(name)}`);
        }));";

/// The style sheets of the page by their names without the hash.
async fn sheets(page: &Page) -> Result<Vec<String>, StepError> {
    let script =
        "return Array.from(document.styleSheets, ({ href }) => href.split('/').pop().replace(/-[0-9a-f]{16}/, ''));";
    serde_json::from_value(page.execute(script, vec![]).await?)
        .map_err(|error| StepError::Setup(format!("the style sheets read oddly: {error}")))
}

#[test]
fn a_view_looks_the_same_with_the_style_sheet_of_the_other_view_and_without() {
    in_every_browser(async |stage| {
        let page = &stage.page;
        for [path, ready, own, later, other] in [
            [
                "/",
                "connect_websocket",
                "talkback-workbench.css",
                "chat-later.css",
                "nav_chat",
            ],
            [
                "/chat/lobby",
                "chat_join",
                "talkback-chat.css",
                "workbench-later.css",
                "nav_workbench",
            ],
        ] {
            page.open(&stage.server.http(path), ready).await?;
            if path == "/" {
                page.click("connect_websocket").await?;
                page.wait_state("ready_state", "OPEN").await?;
                page.click("send_message").await?;
                page.wait_texts(LOG, "in", &["Hello, World!"]).await?;
            } else {
                page.join(&stage.server, "lobby", "Ann").await?;
                page.send("hello").await?;
                page.wait_delivery("hello", "acked").await?;
            }
            wait_for("both style sheets are there", DEADLINE, async || {
                Ok(sheets(page).await? == [own, later])
            })
            .await?;
            let script = format!(
                "{LOOKS}
                const both = looks();
                document.styleSheets[1].disabled = true;
                const own = looks();
                document.styleSheets[1].disabled = false;
                return own.flatMap((element, at) => element.flatMap((parts, pseudo) => parts
                    .map((part, property) => [part, both[at][pseudo][property]])
                    .filter(([one, two]) => one !== two)
                    .map(parts => `${{elements[at].outerHTML.slice(0, 80)}} ${{parts}}`))).slice(0, 20);"
            );
            assert_eq!(page.execute(&script, vec![]).await?, json!([]), "{path}");
            // And the other view has all of its own.
            page.click(other).await?;
            let marker = if other == "nav_chat" {
                "chat_join"
            } else {
                "connect_websocket"
            };
            page.wait_shown(marker).await?;
            assert_eq!(sheets(page).await?, [own, later]);
        }
        Ok(())
    });
}

#[test]
fn a_view_is_not_drawn_before_its_style_sheet_is_there() {
    in_every_browser(async |stage| {
        // The others do not load what comes later at the same moment in each visit.
        if !is_strict(stage) {
            return Ok(());
        }
        let hold = "
            const { append } = Element.prototype;
            Element.prototype.append = function (...nodes) {
                if (nodes[0].href?.includes('later')) window.release = () => append.apply(this, nodes);
                else append.apply(this, nodes);
            };";
        let (_folder, server) = server_with_script(stage, hold).await?;
        let page = &stage.page;
        page.open(&server.http("/"), "connect_websocket").await?;
        page.click("nav_chat").await?;
        page.wait_hidden("connect_websocket").await?;
        wait_for("the binary of the chat has come", DEADLINE, async || {
            let ended = "return performance.getEntriesByType('resource')
                .some(({ name, responseEnd }) => name.includes('talkback-chat') && name.endsWith('.wasm') && responseEnd > 0);";
            Ok(page.execute(ended, vec![]).await? == true)
        })
        .await?;
        page.wait_answer("return !!window.release;", true).await?;
        let view = "
            return new Promise(resolve => requestAnimationFrame(() => setTimeout(resolve)))
                .then(() => [document.documentElement.dataset.view, document.getElementById('chat').offsetWidth]);";
        assert_eq!(page.execute(view, vec![]).await?, json!(["workbench", 0]));
        page.execute("release();", vec![]).await?;
        page.wait_shown("chat_join").await?;
        assert_eq!(sheets(page).await?, ["talkback-workbench.css", "chat-later.css"]);
        Ok(())
    });
}

#[test]
fn a_view_whose_style_sheet_could_not_be_loaded_is_loaded_when_it_is_opened_again() {
    in_every_browser(async |stage| {
        let broken = "
            const { append } = Element.prototype;
            Element.prototype.append = function (...nodes) {
                if (nodes[0].href?.includes('later') && !window.mended) nodes[0].href = '/missing.css';
                append.apply(this, nodes);
            };";
        let (_folder, server) = server_with_script(stage, broken).await?;
        let page = &stage.page;
        page.open(&server.http("/chat/lobby"), "chat_join").await?;
        page.click("nav_workbench").await?;
        // Until then the page may be asking for the style sheet, and would get it.
        page.wait_answer("return document.documentElement.dataset.failed ?? null;", "workbench")
            .await?;
        page.execute("window.mended = true;", vec![]).await?;
        page.click("nav_chat").await?;
        page.wait_shown("chat_join").await?;
        page.click("nav_workbench").await?;
        page.wait_shown("connect_websocket").await?;
        assert_eq!(sheets(page).await?, ["talkback-chat.css", "workbench-later.css"]);
        Ok(())
    });
}

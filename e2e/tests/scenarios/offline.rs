//! The service worker of a release build: the page without its server, newer builds, and forgetting all of it. Engines whose tests have no
//! service workers say so.

use std::{fs, path::Path};

use serde_json::Value;
use talkback_e2e::{DEADLINE, Page, Stage, StepError, copy_of_page, in_every_browser, wait_for};
use talkback_testbed::Server;
use tempfile::TempDir;

/// Waits until the worker is in use, which it is only with all its files; false where the browser has none.
async fn has_worker(stage: &Stage, page: &Page) -> Result<bool, StepError> {
    if page.execute("return !navigator.serviceWorker;", vec![]).await? == true {
        eprintln!(
            "{} has no service workers here: not tested",
            stage.browser.engine().name()
        );
        return Ok(false);
    }
    wait_for("the service worker is in use", DEADLINE, async || {
        Ok(page
            .execute("return !!navigator.serviceWorker.controller;", vec![])
            .await?
            == true)
    })
    .await?;
    Ok(true)
}

/// The caches of the page's origin and the number of its workers.
async fn kept(page: &Page) -> Result<(Vec<String>, u64), StepError> {
    let script = "
        return Promise.all([caches.keys(), navigator.serviceWorker.getRegistrations()])
            .then(([names, registrations]) => [names, registrations.length]);";
    let kept = page.execute(script, vec![]).await?;
    serde_json::from_value(kept).map_err(|error| StepError::Setup(format!("the caches read oddly: {error}")))
}

/// The build of the page.
async fn build(page: &Page) -> Result<String, StepError> {
    let build = page
        .execute("return document.documentElement.dataset.build ?? '';", vec![])
        .await?;
    Ok(build.as_str().unwrap_or_default().to_owned())
}

/// Opens a copy of the page, which its server has from this folder, in the stage's tab, with the worker in use; none where the browser has
/// no workers.
pub(crate) async fn open_copy(stage: &Stage) -> Result<Option<(TempDir, Server)>, StepError> {
    let folder = copy_of_page()?;
    let server = stage.server_of(folder.path()).await?;
    stage.page.open(&server.http("/"), "connect_websocket").await?;
    Ok(has_worker(stage, &stage.page).await?.then_some((folder, server)))
}

/// Makes another build of the page in this folder: the hash in each name, and the build's, are written backwards, in the names and in all
/// texts. The files of the build before are gone.
pub(crate) fn make_another_build(folder: &Path) -> Result<(), StepError> {
    let broken = |error: std::io::Error| StepError::Setup(format!("the page cannot be changed: {error}"));
    let index = fs::read_to_string(folder.join("index.html")).map_err(broken)?;
    let mut hashes: Vec<String> = index
        .split_once("data-build=\"")
        .map(|(_, rest)| rest[..16].to_owned())
        .into_iter()
        .collect();
    let files: Vec<_> = fs::read_dir(folder).map_err(broken)?.flatten().collect();
    for file in &files {
        let name = file.file_name().to_string_lossy().into_owned();
        let hash = name
            .rsplit_once('-')
            .map(|(_, rest)| rest.chars().take(16).collect::<String>());
        hashes.extend(hash.filter(|hash| hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit())));
    }
    let other = |text: &str| {
        hashes.iter().fold(text.to_owned(), |text, hash| {
            text.replace(hash.as_str(), &hash.chars().rev().collect::<String>())
        })
    };
    for file in files {
        let name = file.file_name().to_string_lossy().into_owned();
        let content = fs::read(file.path()).map_err(broken)?;
        let content = String::from_utf8(content).map_or_else(|binary| binary.into_bytes(), |text| other(&text).into());
        fs::remove_file(file.path()).map_err(broken)?;
        fs::write(folder.join(other(&name)), content).map_err(broken)?;
    }
    Ok(())
}

#[test]
fn both_views_open_without_their_server_after_one_visit_of_one() {
    in_every_browser(async |stage| {
        stage.workbench().await?;
        if !has_worker(stage, &stage.page).await? {
            return Ok(());
        }
        let origin = stage.server.http("");
        stage.server.kill().await?;
        let page = &stage.page;
        page.open(&format!("{origin}/chat/lobby"), "chat_join").await?;
        page.open(&format!("{origin}/"), "connect_websocket").await?;
        page.click("connect_websocket").await?;
        page.wait_text("error", "Could not connect.").await?;
        // Nothing but the page is answered in place of the server.
        let asked = "
            const asked = ['/healthz', '/rooms/lobby/messages', '/once'].map(path => fetch(path).then(() => path, () => ''));
            return Promise.all(asked);";
        assert_eq!(page.execute(asked, vec![]).await?, serde_json::json!(["", "", ""]));
        // It is no other page: with the server it goes on.
        stage.server.start_again().await?;
        let page = &stage.page;
        page.click("connect_websocket").await?;
        page.wait_state("ready_state", "OPEN").await?;
        Ok(())
    });
}

#[test]
fn a_server_that_does_not_answer_is_waited_for_two_seconds() {
    in_every_browser(async |stage| {
        let proxy = stage.proxy(&stage.server).await?;
        let page = &stage.page;
        page.open(&proxy.origin(), "connect_websocket").await?;
        if !has_worker(stage, page).await? {
            return Ok(());
        }
        proxy.stall(true);
        page.open(&format!("{}/chat/lobby", proxy.origin()), "chat_join")
            .await?;
        proxy.stall(false);
        Ok(())
    });
}

#[test]
fn a_newer_build_is_told_in_open_pages_which_work_on() {
    in_every_browser(async |stage| {
        let Some((folder, server)) = open_copy(stage).await? else {
            return Ok(());
        };
        let page = &stage.page;
        let narrow = page.new_window(320, 640).await?;
        narrow.open(&server.http("/chat/lobby"), "chat_join").await?;
        has_worker(stage, &narrow).await?;
        let before = build(page).await?;
        make_another_build(folder.path())?;

        // A visit is when browsers look for another worker.
        let visit = page.new_tab().await?;
        wait_for("the server has another build", DEADLINE, async || {
            // A server that is slow to answer is answered for by the worker.
            visit.open(&server.http("/"), "connect_websocket").await?;
            Ok(build(&visit).await? != before)
        })
        .await?;
        // Browsers do it after a while.
        let update =
            "return navigator.serviceWorker.ready.then(registration => registration.update()).then(() => true);";
        visit.execute(update, vec![]).await?;
        page.wait_text("update", "A new version is ready.").await?;
        page.screenshot(&stage.picture("update-wide-en")).await?;
        narrow.wait_text("update", "A new version is ready.").await?;
        let width = "return [document.documentElement.scrollWidth, arguments[0].getBoundingClientRect().right];";
        narrow
            .wait_value(
                "the notice is no wider than the window",
                async || narrow.script("update", width).await,
                |width| [0, 1].iter().all(|&side| width[side].as_f64() <= Some(320.0)),
            )
            .await?;
        narrow.screenshot(&stage.picture("update-narrow-en")).await?;
        page.choose("language", "zh").await?;
        page.wait_text("update", "有新版本可用").await?;
        page.screenshot(&stage.picture("update-wide-zh")).await?;
        page.choose("language", "en").await?;
        page.click("update_later").await?;
        page.wait_hidden("update").await?;
        assert_eq!(build(page).await?, before, "it does not load itself anew");
        assert!(!visit.is_shown("update").await?, "this tab has the new version");

        // The server has the files of the earlier build no longer.
        page.click("nav_chat").await?;
        page.wait_shown("chat_join").await?;
        page.click("nav_workbench").await?;
        page.wait_shown("connect_websocket").await?;

        page.wait_value(
            "the files of an open page are kept",
            async || kept(page).await,
            |(names, _)| names.len() == 2,
        )
        .await?;
        Ok(())
    });
}

#[test]
fn the_notice_loads_the_newer_build_and_files_of_no_open_page_are_removed() {
    in_every_browser(async |stage| {
        let Some((folder, _server)) = open_copy(stage).await? else {
            return Ok(());
        };
        let page = &stage.page;
        page.fill("message", "a draft").await?;
        let before = build(page).await?;
        make_another_build(folder.path())?;
        page.execute(
            "navigator.serviceWorker.ready.then(registration => registration.update());",
            vec![],
        )
        .await?;
        page.click("update_now").await?;
        wait_for("the page is of the newer build", DEADLINE, async || {
            Ok(build(page).await? != before && page.is_shown("connect_websocket").await?)
        })
        .await?;
        page.wait_field("message", "a draft").await?;
        let only = format!("talkback-page-{}", build(page).await?);
        page.wait_value(
            "the files of the earlier build are removed",
            async || Ok(kept(page).await?.0),
            |names| *names == [only.clone()],
        )
        .await?;
        page.wait_hidden("update").await?;
        Ok(())
    });
}

#[test]
fn a_build_is_taken_whole_or_not_at_all() {
    in_every_browser(async |stage| {
        let Some((folder, mut server)) = open_copy(stage).await? else {
            return Ok(());
        };
        let page = &stage.page;
        let before = kept(page).await?;
        let index = folder.path().join("index.html");
        let html = fs::read(&index)?;
        make_another_build(folder.path())?;
        let binary = fs::read_dir(folder.path())?
            .flatten()
            .map(|file| file.path())
            .find(|path| path.extension().is_some_and(|extension| extension == "wasm"));
        let binary = binary.unwrap_or_default();
        let whole = fs::read(&binary)?;
        let update = "
            return navigator.serviceWorker.ready.then(registration => new Promise(resolve => {
                registration.addEventListener('updatefound', () => {
                    const worker = registration.installing;
                    worker.addEventListener('statechange', () => resolve(worker.state));
                }, { once: true });
                registration.update();
            }));";

        fs::write(&binary, &whole[..whole.len() / 2])?;
        assert_eq!(page.execute(update, vec![]).await?, "redundant", "a file is cut off");
        fs::remove_file(&binary)?;
        assert_eq!(page.execute(update, vec![]).await?, "redundant", "a file is missing");
        fs::write(&binary, &whole)?;
        let newer = fs::read(&index)?;
        fs::write(&index, html)?;
        assert_eq!(
            page.execute(update, vec![]).await?,
            "redundant",
            "the page is of another build"
        );
        assert_eq!(kept(page).await?, before);
        server.kill().await?;
        page.open(&server.http("/chat/lobby"), "chat_join").await?;

        server.start_again().await?;
        fs::write(&index, newer)?;
        assert_eq!(page.execute(update, vec![]).await?, "installed");
        Ok(())
    });
}

#[test]
fn forgetting_everything_removes_the_worker_and_its_files() {
    in_every_browser(async |stage| {
        let page = stage.workbench().await?;
        if !has_worker(stage, page).await? {
            return Ok(());
        }
        page.choose("theme", "dark").await?;
        page.forget_all("connect_websocket").await?;
        page.wait_value(
            "worker and files are gone",
            async || kept(page).await,
            |kept| *kept == (vec![], 0),
        )
        .await?;
        page.wait_answer("return document.documentElement.dataset.theme;", "system")
            .await?;
        // This visit keeps nothing again.
        page.wait_answer("return history.state;", "forgotten").await?;
        // The next one does.
        page.open(&stage.server.http("/chat/lobby"), "chat_join").await?;
        has_worker(stage, page).await?;
        Ok(())
    });
}

#[test]
fn a_page_whose_worker_another_tab_forgets_before_it_is_active_opens_its_other_view() {
    in_every_browser(async |stage| {
        // Under WebKitGTK's driver the other tab does not see the worker being installed within 15 seconds.
        if stage.browser.engine().name() == "webkit" {
            return Ok(());
        }
        // Each lasts for some seconds, in which the other tab forgets everything.
        let long = [
            (
                "installing",
                "const { put } = Cache.prototype;
                 Cache.prototype.put = function (...entry) {
                     return new Promise(done => setTimeout(done, 1000)).then(() => put.apply(this, entry));
                 };",
            ),
            (
                "activating",
                "addEventListener('activate', event => event.waitUntil(new Promise(done => setTimeout(done, 2000))));",
            ),
        ];
        for (state, script) in long {
            let folder = copy_of_page()?;
            let worker = folder.path().join("sw.js");
            let text = fs::read_to_string(&worker)?;
            fs::write(&worker, [script, &text].concat())?;
            // The other tab has no worker of its own, which it would register later.
            let index = folder.path().join("index.html");
            let html = fs::read_to_string(&index)?;
            let none = "<head><script>
                if (location.pathname === '/' && navigator.serviceWorker) {
                    ServiceWorkerContainer.prototype.register = () => new Promise(() => {});
                }
                </script>";
            fs::write(&index, html.replacen("<head>", none, 1))?;
            let server = stage.server_of(folder.path()).await?;
            let (page, other) = (&stage.page, stage.page.new_tab().await?);
            other.open(&server.http("/"), "connect_websocket").await?;
            if other.execute("return !navigator.serviceWorker;", vec![]).await? == true {
                return Ok(());
            }
            page.open(&server.http("/chat/lobby"), "chat_join").await?;
            // In one script: the state may last no longer than the driver needs for another one.
            let forget = "
                const [state] = arguments;
                return (async () => {
                    for (const end = Date.now() + 15_000; Date.now() < end; await new Promise(done => setTimeout(done))) {
                        const { installing, waiting, active } = await navigator.serviceWorker.getRegistration('/') ?? {};
                        if ((installing ?? waiting ?? active)?.state !== state) continue;
                        dispatchEvent(new Event('talkback:forget'));
                        return true;
                    }
                    return false;
                })();";
            let is_forgotten = other.execute(forget, vec![state.into()]).await?;
            assert_eq!(is_forgotten, true, "the worker was {state}");
            other.wait_answer("return history.state;", "forgotten").await?;
            other.wait_shown("connect_websocket").await?;
            other
                .wait_value(
                    format!("worker and files are gone, which was {state}"),
                    async || kept(&other).await,
                    |kept| *kept == (vec![], 0),
                )
                .await?;
            page.click("nav_workbench").await?;
            page.wait_shown("connect_websocket").await?;
        }
        Ok(())
    });
}

#[test]
fn a_development_build_has_no_worker_and_removes_that_of_a_release_build() {
    in_every_browser(async |stage| {
        let Some((folder, _server)) = open_copy(stage).await? else {
            return Ok(());
        };
        let page = &stage.page;
        // What the hook of Trunk.toml adds to a release build alone.
        let index = folder.path().join("index.html");
        let html = fs::read_to_string(&index)?;
        fs::write(&index, html.replacen("data-build=", "data-none=", 1))?;
        page.reload().await?;
        wait_for("the worker is gone, and the page works", DEADLINE, async || {
            Ok(kept(page).await?.1 == 0 && page.is_shown("connect_websocket").await?)
        })
        .await?;
        Ok(())
    });
}

#[test]
fn the_page_can_be_installed() {
    in_every_browser(async |stage| {
        let page = stage.workbench().await?;
        let manifest = "
            const link = document.querySelector('link[rel=manifest]').href;
            return fetch(link).then(answer => answer.json()).then(async manifest => {
                for (const icon of manifest.icons) {
                    const answer = await fetch(new URL(icon.src, link));
                    const picture = await new Promise((resolve, reject) => {
                        const image = new Image();
                        image.onload = () => resolve(image);
                        image.onerror = reject;
                        image.src = new URL(icon.src, link);
                    });
                    icon.is = [answer.headers.get('content-type'), `${picture.naturalWidth}x${picture.naturalHeight}`];
                }
                return manifest;
            });";
        let manifest: Value = page.execute(manifest, vec![]).await?;
        assert_eq!(manifest["start_url"], "/");
        assert_eq!(manifest["display"], "standalone");
        let icons = manifest["icons"].as_array().map_or(&[][..], Vec::as_slice);
        for icon in icons {
            assert_eq!(icon["is"][0], icon["type"], "{icon}");
            if icon["sizes"] != "any" {
                assert_eq!(icon["is"][1], icon["sizes"], "{icon}");
            }
        }
        for size in ["192x192", "512x512", "any"] {
            assert!(icons.iter().any(|icon| icon["sizes"] == size), "{size}: {manifest}");
        }
        assert!(icons.iter().any(|icon| icon["purpose"] == "maskable"), "{manifest}");
        Ok(())
    });
}

#[test]
fn a_file_that_is_dropped_beside_its_place_does_not_replace_the_page() {
    in_every_browser(async |stage| {
        let dropped = "
            const data = new DataTransfer();
            data.items.add(new File(['x'], 'x.txt'));
            const text = new DataTransfer();
            text.setData('text/plain', 'x');
            const taken = (type, dataTransfer) =>
                !arguments[0].dispatchEvent(new DragEvent(type, { dataTransfer, bubbles: true, cancelable: true }));
            return [taken('dragover', data), taken('drop', data), taken('drop', text)];";
        let page = stage.workbench().await?;
        for id in ["messagecontainer", "message", "header"] {
            let taken = page.script(id, dropped).await?;
            assert_eq!(
                taken,
                serde_json::json!([true, true, false]),
                "a file, and not text, at #{id}"
            );
        }
        page.join(&stage.server, "lobby", "Ann").await?;
        for id in ["chat_messages", "chat_message"] {
            let taken = page.script(id, dropped).await?;
            assert_eq!(
                taken,
                serde_json::json!([true, true, false]),
                "a file, and not text, at #{id}"
            );
        }
        Ok(())
    });
}

#[test]
fn where_only_the_service_worker_may_notify_a_press_shows_the_room_of_the_mention() {
    in_every_browser(async |stage| {
        let folder = copy_of_page()?;
        let worker = folder.path().join("sw.js");
        // No driver can press a notification: the worker is told to do as if.
        let press = "
            addEventListener('message', ({ data: { press } }) => {
                if (!press) return;
                const event = new ExtendableEvent('notificationclick');
                const notification = { data: press, close() {} };
                dispatchEvent(Object.assign(event, { notification, waitUntil: done => done.catch(() => {}) }));
            });";
        fs::write(&worker, fs::read_to_string(&worker)? + press)?;
        let server = stage.server_of(folder.path()).await?;
        let (ann, bob) = (stage.page.clone(), stage.page.new_tab().await?);
        ann.join(&server, "den", "Ann").await?;
        if !has_worker(stage, &ann).await? {
            return Ok(());
        }
        bob.join(&server, "den", "Bob").await?;
        bob.wait_roster(&["Bob", "Ann"]).await?;
        // As in Chrome for Android.
        let stand_in = "
            window.Notification = class {
                static requestPermission() { return Promise.resolve('granted'); }
                constructor() { throw new TypeError('Illegal constructor'); }
            };
            window.shown = [];
            ServiceWorkerRegistration.prototype.showNotification = async (title, { body, tag, data }) => {
                window.shown.push([title, body, tag, data]);
            };";
        ann.execute(stand_in, vec![]).await?;
        ann.click("chat_alerts").await?;
        ann.wait_answer("return localStorage.getItem('talkback.alerts');", "")
            .await?;
        ann.go_to_room("lobby").await?;
        ann.wait_state("chat_state", "OPEN").await?;
        bob.send("hello @Ann").await?;
        let expected = serde_json::json!([["Bob · #den", "hello @Ann", "den", "/chat/den"]]);
        ann.wait_answer("return window.shown;", expected).await?;
        // Otherwise it is the page of the chat that was used last.
        bob.open(&server.http("/"), "connect_websocket").await?;
        let press = "navigator.serviceWorker.controller.postMessage({ press: window.shown[0][3] }, [new MessageChannel().port2]);";
        ann.execute(press, vec![]).await?;
        ann.wait_path("/chat/den").await?;
        ann.wait_text("chat_room", "den").await?;
        Ok(())
    });
}

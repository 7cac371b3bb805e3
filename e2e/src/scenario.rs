//! Running one scenario in every chosen engine, and keeping what is needed to understand a failure.

use std::fmt::{self, Display};
use std::fs::File;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Instant;
use std::{env, fs, io, thread};

use serde_json::Value;
use talkback_testbed::{Proxy, Server, faults};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::{Browser, DEADLINE, Engine, Page, StepError, paths, pool, wait_for};

/// What a scenario works with: a browser with one empty tab, and a server of its own that serves the built page.
pub struct Stage {
    /// The server.
    pub server: Server,
    /// The browser. Further scenarios use it: what a scenario changes beside tabs, windows and the storage of its pages
    /// (an emulated network, a permission), it changes back.
    pub browser: Browser,
    /// The browser's first tab.
    pub page: Page,
    /// The fault services; they end with the scenario.
    faults: Mutex<JoinSet<()>>,
}

/// Why a scenario failed, and at which of its lines.
pub struct Failure(String);

/// What a scenario returns; `?` on any step records the line.
pub type Outcome = Result<(), Failure>;

impl<E: std::error::Error> From<E> for Failure {
    #[track_caller]
    fn from(error: E) -> Self {
        let place = Location::caller();
        Self(format!("{}:{}: {error}", place.file(), place.line()))
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether all is tested that there is to test, and not what is for every day: `cargo xtask test --full`.
#[must_use]
pub fn is_full() -> bool {
    env::var_os("TEST_FULL").is_some()
}

/// Runs `scenario` once in each engine of `TEST_BROWSERS`, each time with a browser that has nothing of another
/// scenario and a fresh server.
///
/// # Panics
/// When it failed in one of them. The text names each such engine, the line, and where the screenshot, the page's text,
/// the console and the server's log are. A browser or driver that is not installed is such a failure.
#[track_caller]
pub fn in_every_browser<S>(scenario: S)
where
    S: AsyncFn(&mut Stage) -> Outcome,
{
    in_every(false, scenario);
}

/// As [`in_every_browser`], with a browser whose [`Browser::requests`] are recorded.
///
/// # Panics
/// As [`in_every_browser`].
#[track_caller]
pub fn in_every_browser_with_requests<S>(scenario: S)
where
    S: AsyncFn(&mut Stage) -> Outcome,
{
    in_every(true, scenario);
}

#[track_caller]
fn in_every<S>(records_requests: bool, scenario: S)
where
    S: AsyncFn(&mut Stage) -> Outcome,
{
    let name = thread::current().name().unwrap_or("scenario").replace("::", "-");
    let engines = Engine::chosen().unwrap_or_else(|error| panic!("{error}"));
    let failures: Vec<String> = engines
        .into_iter()
        .filter_map(|engine| {
            let report = run(engine, records_requests, &name, &scenario).err()?;
            Some(format!("in {}:\n{report}", engine.name()))
        })
        .collect();
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

/// Set by Ctrl-C: the scenarios that run clean up after themselves, and no other is started.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// One for all scenarios, because a browser's session, which outlives a scenario, has connections that run on it.
static RUNTIME: LazyLock<io::Result<Runtime>> = LazyLock::new(Runtime::new);

fn run<S>(engine: Engine, records_requests: bool, name: &str, scenario: &S) -> Result<(), String>
where
    S: AsyncFn(&mut Stage) -> Outcome,
{
    let runtime = RUNTIME.as_ref().map_err(ToString::to_string)?;
    let begun = Instant::now();
    let set = async {
        tokio::select! {
            stage = Stage::set(engine, records_requests) => stage.map_err(|error| error.to_string()),
            Failure(interrupted) = interruption() => Err(interrupted),
        }
    };
    let mut stage = runtime.block_on(set)?;
    let is_set = Instant::now();
    let acted = async {
        tokio::select! {
            outcome = scenario(&mut stage) => outcome,
            interrupted = interruption() => Err(interrupted),
        }
    };
    // A failed assertion is a panic; the browser is still there to be looked at.
    let result = match catch_unwind(AssertUnwindSafe(|| runtime.block_on(acted))) {
        Ok(outcome) => outcome.map_err(|failure| failure.0),
        Err(panic) => Err(panic_text(panic.as_ref())),
    };
    let has_acted = Instant::now();
    runtime.block_on(async {
        match result {
            Ok(()) => {
                pool::give_back(stage.browser).await;
                note_times(engine, name, [begun, is_set, has_acted, Instant::now()]);
                Ok(())
            }
            Err(trouble) => {
                let kept = stage.keep(name).await;
                stage.browser.quit().await;
                Err(format!("{trouble}\n{kept}"))
            }
        }
    })
}

/// Adds a line to `target/e2e/times-ENGINE`, whose slowest `cargo xtask test` prints: the milliseconds of all, of setting the stage, of the
/// scenario itself and of clearing the browser, and its name.
fn note_times(engine: Engine, name: &str, times: [Instant; 4]) {
    let [begun, is_set, has_acted, ended] = times;
    let parts = [ended - begun, is_set - begun, has_acted - is_set, ended - has_acted];
    let [all, set, act, clear] = parts.map(|part| part.as_millis());
    let file = paths::target().join("e2e").join(format!("times-{}", engine.name()));
    // What is not written is only not printed. One write, so that lines of scenarios that end at the same time do not mix.
    let _: io::Result<()> = fs::create_dir_all(paths::target().join("e2e"))
        .and_then(|()| File::options().append(true).create(true).open(file))
        .and_then(|mut file| file.write_all(format!("{all} {set} {act} {clear} {name}\n").as_bytes()));
}

/// Ends when the tests are to end early.
async fn interruption() -> Failure {
    if !INTERRUPTED.load(Ordering::Relaxed) {
        // Where Ctrl-C cannot be listened to, it ends the process at once.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        INTERRUPTED.store(true, Ordering::Relaxed);
    }
    Failure("interrupted".to_owned())
}

impl Stage {
    async fn set(engine: Engine, records_requests: bool) -> Result<Self, StepError> {
        let server = start_server((Ipv4Addr::LOCALHOST, 0).into(), &paths::dist()?, &[]).await?;
        let browser = pool::take(engine, records_requests).await?;
        let page = Page::first(browser.driver.clone()).await?;
        Ok(Self {
            server,
            browser,
            page,
            faults: Mutex::default(),
        })
    }

    /// Opens the workbench in the first tab.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn workbench(&self) -> Result<&Page, StepError> {
        self.page.open(&self.server.http("/"), "connect_websocket").await?;
        Ok(&self.page)
    }

    /// Opens the workbench in the first tab and connects it to its default address.
    ///
    /// # Errors
    /// When it does not come up or not connect.
    pub async fn connected_workbench(&self) -> Result<&Page, StepError> {
        let page = self.workbench().await?;
        page.click("connect_websocket").await?;
        page.wait_state("ready_state", "OPEN").await?;
        Ok(page)
    }

    /// Starts another server at this address (port 0: any) with these arguments, beside the stage's own.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn server_at(&self, address: SocketAddr, arguments: &[&str]) -> Result<Server, StepError> {
        start_server(address, &paths::dist()?, arguments).await
    }

    /// Starts another server that serves the page of this folder, which may change meanwhile.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn server_of(&self, page: &Path) -> Result<Server, StepError> {
        start_server((Ipv4Addr::LOCALHOST, 0).into(), page, &[]).await
    }

    /// Starts a line in front of this server that can be cut; pages are opened at [`Proxy::address`].
    ///
    /// # Errors
    /// When no port is free.
    pub async fn proxy(&self, server: &Server) -> Result<Proxy, StepError> {
        Proxy::start(server.address())
            .await
            .map_err(|error| StepError::Setup(format!("the proxy did not start: {error}")))
    }

    /// Starts the fault service of the testbed and returns its `ws://` origin.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn faults(&self) -> Result<String, StepError> {
        let setup = |error: io::Error| StepError::Setup(format!("the fault service did not start: {error}"));
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(setup)?;
        let address = listener.local_addr().map_err(setup)?;
        self.faults
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .spawn(faults::serve(listener));
        Ok(format!("ws://{address}"))
    }

    /// Waits until the server has logged a line (a JSON object) as `matches` wants it.
    ///
    /// # Errors
    /// When it has not in time.
    pub async fn wait_log(&self, description: &str, matches: impl Fn(&Value) -> bool) -> Result<(), StepError> {
        wait_for(format!("the server logs {description}"), DEADLINE, async || {
            Ok(self
                .server
                .log()
                .iter()
                .filter_map(|line| serde_json::from_str(line).ok())
                .any(|line| matches(&line)))
        })
        .await
    }

    /// The file for a picture of what the page looks like: `target/screenshots/NAME-ENGINE.png`.
    pub fn picture(&self, name: &str) -> PathBuf {
        paths::target()
            .join("screenshots")
            .join(format!("{name}-{}.png", self.browser.engine().name()))
    }

    /// Keeps what explains a failure in `target/e2e/`, and returns where it is and the end of the server's log.
    async fn keep(&self, name: &str) -> String {
        let base = paths::target()
            .join("e2e")
            .join(format!("{name}-{}", self.browser.engine().name()));
        let picture = base.with_extension("png");
        let mut report = match self.page.screenshot(&picture).await {
            Ok(()) => format!("screenshot: {}\n", picture.display()),
            Err(error) => format!("no screenshot: {error}\n"),
        };
        let read = "return location.href + '\\n\\n' + document.body.innerText;";
        let page = match self.page.execute(read, vec![]).await {
            Ok(text) => text.as_str().unwrap_or_default().to_owned(),
            Err(error) => format!("the page cannot be read: {error}"),
        };
        let console = self.browser.console().await.join("\n");
        let log = self.server.log();
        let text = format!(
            "page: {page}\n\n--- console\n{console}\n\n--- server\n{}\n",
            log.join("\n")
        );
        let file = base.with_extension("txt");
        report += &match fs::write(&file, text) {
            Ok(()) => format!("page, console and log: {}\n", file.display()),
            Err(error) => format!("cannot write {}: {error}\n", file.display()),
        };
        let tail = log[log.len().saturating_sub(10)..].join("\n");
        format!("{report}end of the server's log:\n{tail}")
    }
}

async fn start_server(address: SocketAddr, page: &Path, arguments: &[&str]) -> Result<Server, StepError> {
    let assets = page
        .to_str()
        .ok_or_else(|| StepError::Setup(format!("{} is not UTF-8", page.display())))?;
    // The default is seconds, and tests wait until a user has left.
    let arguments = ["--assets", assets, "--presence-grace", "1s"]
        .iter()
        .chain(arguments)
        .map(|&argument| argument.to_owned())
        .collect();
    Server::start_at(address, arguments)
        .await
        .map_err(|error| StepError::Setup(error.to_string()))
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("panicked")
        .to_owned()
}

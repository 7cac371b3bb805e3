//! The three engines, each behind its own WebDriver.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::{env, fs};

use serde_json::{Value, json};
use tempfile::TempDir;
use thirtyfour::{Capabilities, WebDriver, WindowHandle};

use crate::driver::{Program, find, missing};
use crate::{DEADLINE, StepError, wait_for};

/// A browser engine and the WebDriver program that drives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// Chromium, headless, by `chromedriver`.
    Chromium,
    /// Firefox, headless, by `geckodriver`.
    Firefox,
    /// WebKitGTK's MiniBrowser on a virtual display (`Xvfb`), by `WebKitWebDriver`.
    WebKit,
}

/// A started browser. Dropping it ends the browser, its driver and their profile.
pub struct Browser {
    engine: Engine,
    pub(crate) driver: WebDriver,
    /// The tab it started with.
    tab: WindowHandle,
    records_requests: bool,
    console: Mutex<Vec<String>>,
    /// How many lines of the driver's output are of earlier scenarios.
    forgotten: usize,
    // Dropped in this order: the driver's session (above), the driver, its display, the files they used.
    program: Program,
    _display: Option<Program>,
    _files: TempDir,
}

impl Engine {
    /// The engines named by `TEST_BROWSERS`, a comma-separated list of `chromium`, `firefox` and `webkit`; Chromium
    /// when it is not set.
    ///
    /// # Errors
    /// A name that is none of the three.
    pub fn chosen() -> Result<Vec<Self>, StepError> {
        let names = env::var("TEST_BROWSERS").unwrap_or_else(|_| "chromium".to_owned());
        names
            .split(',')
            .map(|name| match name.trim() {
                "chromium" => Ok(Self::Chromium),
                "firefox" => Ok(Self::Firefox),
                "webkit" => Ok(Self::WebKit),
                other => Err(StepError::Setup(format!(
                    "TEST_BROWSERS: unknown browser {other:?}; known are chromium, firefox, webkit"
                ))),
            })
            .collect()
    }

    /// The engine's name as in `TEST_BROWSERS` and in file names.
    pub fn name(self) -> &'static str {
        match self {
            Self::Chromium => "chromium",
            Self::Firefox => "firefox",
            Self::WebKit => "webkit",
        }
    }

    /// Starts the driver and a fresh browser in English with an empty profile. What its pages ask the network for is recorded on request
    /// alone: the record has each message too, which costs the browser more than the page does.
    ///
    /// # Errors
    /// A missing program, with the command that installs it, or one that did not start, with what it wrote.
    pub async fn start(self, records_requests: bool) -> Result<Browser, StepError> {
        // WebKitGTK's driver and its inspector both look for a free port first and bind it later. When another program
        // binds it in between, the start fails, and the next attempt gets other ports.
        let attempts = if self == Self::WebKit { 3 } else { 1 };
        let mut started = self.try_start(records_requests).await;
        for _ in 1..attempts {
            if started.is_ok() {
                break;
            }
            started = self.try_start(records_requests).await;
        }
        started
    }

    async fn try_start(self, records_requests: bool) -> Result<Browser, StepError> {
        let directory = TempDir::with_prefix("talkback-e2e-")
            .map_err(|error| StepError::Setup(format!("cannot make a directory for the browser: {error}")))?;
        let files = directory.path();
        let (program, display, port) = match self {
            Self::Chromium => {
                let program = Program::start("chromedriver", files, |command| command.arg("--port=0"))?;
                let port = program.number_after("started successfully on port ").await?;
                (program, None, port)
            }
            Self::Firefox => {
                let program = Program::start("geckodriver", files, |command| {
                    command.args(["--host", "127.0.0.1", "--port", "0"])
                })?;
                let port = program.number_after("Listening on 127.0.0.1:").await?;
                (program, None, port)
            }
            Self::WebKit => {
                let display = Program::start("Xvfb", files, |command| {
                    command.args(["-displayfd", "1", "-screen", "0", "1400x1000x24", "-nolisten", "tcp"])
                })?;
                let number = display.number_after("").await?;
                let (program, port) = start_webkit_driver(number, files).await?;
                (program, Some(display), port)
            }
        };
        let capabilities = match self.capabilities(records_requests)? {
            Value::Object(map) => Capabilities::from(map),
            _ => unreachable!("capabilities are an object"),
        };
        let driver = WebDriver::new(format!("http://127.0.0.1:{port}"), capabilities)
            .await
            .map_err(|error| program.trouble(format!("{} did not start: {error}", self.name())))?;
        let tab = driver.window().await.map_err(StepError::browser("name its tab"))?;
        let (width, height) = WINDOW;
        driver
            .set_window_rect(0, 0, width, height)
            .await
            .map_err(StepError::browser("resize its window"))?;
        Ok(Browser {
            engine: self,
            driver,
            tab,
            records_requests,
            console: Mutex::default(),
            forgotten: 0,
            program,
            _display: display,
            _files: directory,
        })
    }

    fn capabilities(self, records_requests: bool) -> Result<Value, StepError> {
        Ok(match self {
            Self::Chromium => json!({
                "goog:chromeOptions": { "args": [
                    "--headless=new",
                    // Containers run as root, where Chromium's sandbox refuses to start.
                    "--no-sandbox",
                    "--disable-gpu",
                    "--disable-dev-shm-usage",
                    "--disable-background-networking",
                    "--disable-component-update",
                    "--no-first-run",
                    "--lang=en-US",
                ] },
                "goog:loggingPrefs": { "browser": "ALL", "performance": if records_requests { "ALL" } else { "OFF" } },
            }),
            Self::Firefox => json!({
                "moz:firefoxOptions": {
                    "binary": find("firefox").or_else(|_| find("firefox-esr"))?,
                    "args": ["-headless"],
                    "prefs": {
                        "intl.accept_languages": "en-US",
                        // The page's console goes to the driver's output, where `Browser::console` finds it.
                        "devtools.console.stdout.content": true,
                        // Firefox delays attempts to connect after failed ones by up to a minute.
                        "network.websocket.delay-failed-reconnects": false,
                        // Nothing is fetched but what the page asks for.
                        "network.captive-portal-service.enabled": false,
                        "network.connectivity-service.enabled": false,
                    },
                },
            }),
            Self::WebKit => json!({
                "webkitgtk:browserOptions": {
                    "binary": minibrowser()?,
                    "args": [
                        "--automation",
                        // Scenarios open windows without a click before.
                        "--javascript-can-open-windows-automatically=true",
                    ],
                },
            }),
        })
    }
}

impl Browser {
    /// The engine it runs.
    pub fn engine(&self) -> Engine {
        self.engine
    }

    pub(crate) fn records_requests(&self) -> bool {
        self.records_requests
    }

    /// What the pages of this scenario wrote to the console so far, the browser's own errors (failed requests, violated
    /// content security policy, uncaught errors) among it.
    ///
    /// Firefox reports to its driver only `console` calls and uncaught errors, WebKitGTK nothing.
    pub async fn console(&self) -> Vec<String> {
        match self.engine {
            // The driver hands out each entry once, so they are kept here.
            Engine::Chromium => {
                let new = self.driver.browser_log().await.unwrap_or_default();
                let mut all = self.console.lock().unwrap_or_else(PoisonError::into_inner);
                all.extend(
                    new.into_iter()
                        .map(|entry| format!("{}: {}", entry.level, entry.message)),
                );
                all.clone()
            }
            Engine::Firefox => {
                let mut lines = self.program.lines().split_off(self.forgotten);
                lines.retain(|line| line.starts_with("console.") || line.starts_with("JavaScript "));
                lines
            }
            Engine::WebKit => Vec::new(),
        }
    }

    /// The URLs that the pages of this scenario asked the network for, WebSockets among them, if they are recorded, see
    /// [`in_every_browser_with_requests`](crate::in_every_browser_with_requests); only Chromium reports them to its driver.
    pub async fn requests(&self) -> Vec<String> {
        let log = match self.engine {
            Engine::Chromium if self.records_requests => self.driver.get_log("performance").await.unwrap_or_default(),
            Engine::Chromium | Engine::Firefox | Engine::WebKit => Vec::new(),
        };
        let url = |event: Value| match event["message"]["method"].as_str()? {
            "Network.requestWillBeSent" => event["message"]["params"]["request"]["url"].as_str().map(str::to_owned),
            "Network.webSocketCreated" => event["message"]["params"]["url"].as_str().map(str::to_owned),
            _ => None,
        };
        log.iter()
            .filter_map(|entry| url(serde_json::from_str(&entry.message).ok()?))
            .collect()
    }

    /// Calls a command of Chromium's developer tools.
    ///
    /// # Errors
    /// When the browser refuses, or is another.
    pub async fn devtools(&self, command: &str, parameters: Value) -> Result<Value, StepError> {
        let answer = self.driver.cdp().send_raw(command, parameters).await;
        answer.map_err(StepError::browser(format!("run {command}")))
    }

    /// How many tabs it has, in all windows.
    ///
    /// # Errors
    /// When the browser refuses.
    pub async fn tabs(&self) -> Result<usize, StepError> {
        let windows = self.driver.windows().await;
        Ok(windows.map_err(StepError::browser("list its windows"))?.len())
    }

    /// Leaves one tab, with an empty page. What the pages stored is cleared, because a later server may get the port of
    /// this scenario's, and with it the same origin.
    pub(crate) async fn close_pages(&self) -> Result<(), StepError> {
        let failed = |step: &str| StepError::browser(step.to_owned());
        for window in self.driver.windows().await.map_err(failed("list its windows"))? {
            let is_tab = window == self.tab;
            self.switch_to(window).await?;
            self.driver
                .execute_async(CLEAR, vec![])
                .await
                .map_err(failed("clear the storage"))?;
            if !is_tab {
                self.driver.close_window().await.map_err(failed("close a window"))?;
            }
        }
        self.switch_to(self.tab.clone()).await?;
        let (width, height) = WINDOW;
        let resized = self.driver.set_window_rect(0, 0, width, height).await;
        resized.map_err(failed("resize its window"))?;
        self.driver
            .goto("about:blank")
            .await
            .map_err(failed("open an empty page"))
    }

    /// Forgets the console and the requests of earlier scenarios.
    pub(crate) async fn forget_logs(&mut self) -> Result<(), StepError> {
        if self.engine == Engine::Chromium {
            // Its driver hands out each entry once.
            for kind in ["browser", "performance"]
                .into_iter()
                .take(1 + usize::from(self.records_requests))
            {
                let log = self.driver.get_log(kind).await;
                log.map_err(StepError::browser("forget its logs"))?;
            }
        }
        self.console.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
        self.forgotten = self.program.lines().len();
        Ok(())
    }

    async fn switch_to(&self, window: WindowHandle) -> Result<(), StepError> {
        let switched = self.driver.switch_to_window(window).await;
        switched.map_err(StepError::browser("switch to a tab"))
    }

    /// Ends the session; dropping the browser does the same, but blocks the thread meanwhile.
    pub async fn quit(self) {
        // Whatever is left is killed when `self` is dropped.
        let _ = self.driver.clone().quit().await;
    }
}

/// Clears what the pages of an origin keep. An empty page and an error page have no storage.
const CLEAR: &str = "
    const done = arguments[0];
    const clear = async () => {
        localStorage.clear();
        sessionStorage.clear();
        indexedDB.deleteDatabase('talkback.history');
        for (const registration of await navigator.serviceWorker.getRegistrations()) await registration.unregister();
        for (const name of await caches.keys()) await caches.delete(name);
    };
    clear().then(done, () => done());";

/// Width and height of a browser's first window.
const WINDOW: (u32, u32) = (1280, 900);

/// A style for the frame of WebKitGTK's windows: with buttons and tabs of the usual size they do not get as narrow as a
/// telephone.
const WEBKIT_FRAME: &str = "* { font-size: 1px; margin: 0; min-width: 0; padding: 0; }";

/// MiniBrowser is not on the PATH: it is where the distribution keeps the library, in a folder named by its version.
fn minibrowser() -> Result<PathBuf, StepError> {
    let folders = |path: &Path| {
        fs::read_dir(path)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
    };
    folders(Path::new("/usr/lib"))
        .flat_map(|architecture| folders(&architecture).collect::<Vec<_>>())
        .chain(folders(Path::new("/usr/libexec")))
        .map(|folder| folder.join("MiniBrowser"))
        .find(|path| path.is_file())
        .ok_or_else(|| missing("MiniBrowser"))
}

/// `WebKitWebDriver` takes no port 0, so a free port is looked up for it.
async fn start_webkit_driver(display: u32, files: &Path) -> Result<(Program, u16), StepError> {
    let style = files.join("gtk-3.0/gtk.css");
    fs::create_dir_all(files.join("gtk-3.0"))
        .and_then(|()| fs::write(&style, WEBKIT_FRAME))
        .map_err(|error| StepError::Setup(format!("cannot write {}: {error}", style.display())))?;
    let port = TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .map_err(|error| StepError::Setup(format!("no free port: {error}")))?
        .port();
    let driver = Program::start("WebKitWebDriver", files, |command| {
        command
            .arg(format!("--port={port}"))
            .env("DISPLAY", format!(":{display}"))
            .env("XDG_CONFIG_HOME", files)
    })?;
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    wait_for("WebKitWebDriver accepts connections", DEADLINE, async || {
        Ok(TcpStream::connect(address).is_ok())
    })
    .await
    .map_err(|error| driver.trouble(error))?;
    Ok((driver, port))
}

//! End-to-end tests: the steps of a user in real browsers, against the real server and the built page.
//!
//! In reading order:
//! - [`in_every_browser`] runs one scenario in each engine of `TEST_BROWSERS` and hands it a [`Stage`];
//! - [`Page`] is one tab: click, type, read, wait;
//! - [`Engine`] and [`Browser`] start a WebDriver and the browser behind it, `pool.rs` keeps them for further
//!   scenarios;
//! - [`wait_for`] replaces sleeping; [`StepError`] says what was tried and [`Failure`] adds where.
//!
//! The scenarios are in `tests/`, one file per behaviour. `cargo xtask test --tier e2e` sets everything up and runs
//! them, `cargo test --workspace --test scenarios NAME` some of them once the page is built; a failed scenario
//! leaves a screenshot, the page's text, the browser's console and the server's log in `target/e2e/`.

mod browser;
mod driver;
mod page;
mod paths;
mod pool;
mod scenario;
mod wait;

pub use browser::{Browser, Engine};
pub use page::{Page, Row};
pub use paths::{copy_of_page, dist, target};
pub use scenario::{Failure, Outcome, Stage, in_every_browser, in_every_browser_with_requests, is_full};
pub use wait::{DEADLINE, StepError, wait_for};

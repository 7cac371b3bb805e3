//! `cargo xtask pictures`: the pictures of README.md and docs/browser.md, taken of the page as it is.

use crate::{browsers, page, run};

/// Where they are written, as WebP.
const FOLDER: &str = "docs/pictures";

/// Takes them.
///
/// # Errors
/// Something does not build, or a scene does not come up.
pub(crate) fn run() -> anyhow::Result<()> {
    page::build()?;
    browsers::set_up(browsers::Choice::Chromium)?;
    run::succeed(run::cargo().args(["build", "--workspace", "--bin", "talkback-server"]))?;
    let server = std::fs::canonicalize(run::target().join("debug/talkback-server"))?;
    let mut pictures = run::cargo();
    pictures
        .args(["test", "--workspace", "--test", "pictures", "--", "--nocapture"])
        .env("TEST_BROWSERS", "chromium")
        .env("TEST_SERVER_BIN", server)
        .env("TEST_PICTURES", std::path::absolute(FOLDER)?);
    run::succeed(&mut pictures)
}

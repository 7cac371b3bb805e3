//! Where the built things are.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::StepError;

/// Cargo's target directory: the running test is `target/PROFILE/deps/NAME`.
///
/// # Panics
/// When the system does not say where the running test is.
#[must_use]
pub fn target() -> PathBuf {
    let test = std::env::current_exe().expect("the path of the running test");
    test.ancestors()
        .nth(3)
        .expect("tests run from target/PROFILE/deps")
        .to_owned()
}

/// The built page: `TEST_DIST`, else where `cargo xtask` puts it.
///
/// # Errors
/// When there is no page in it; the text says how to build it.
pub fn dist() -> Result<PathBuf, StepError> {
    let dist = std::env::var_os("TEST_DIST").map_or_else(|| target().join("page"), PathBuf::from);
    if dist.join("index.html").is_file() {
        return Ok(dist);
    }
    Err(StepError::Setup(format!(
        "there is no built page in {}. Run `cargo xtask test --tier e2e`, which builds it, or `trunk build --release` and \
         set TEST_DIST if it is elsewhere.",
        dist.display()
    )))
}

/// A copy of the built page that a scenario may change, without compressed files, which would not be of the changed ones.
///
/// # Errors
/// When there is no page, as of [`dist`], or the file system refuses.
pub fn copy_of_page() -> Result<TempDir, StepError> {
    let broken = |error: std::io::Error| StepError::Setup(format!("the page cannot be copied: {error}"));
    let copy = TempDir::new().map_err(broken)?;
    for entry in fs::read_dir(dist()?).map_err(broken)? {
        let entry = entry.map_err(broken)?;
        let name = entry.file_name();
        if !name.to_string_lossy().ends_with(".br") && !name.to_string_lossy().ends_with(".gz") {
            fs::copy(entry.path(), copy.path().join(name)).map_err(broken)?;
        }
    }
    Ok(copy)
}

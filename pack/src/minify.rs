//! Minifies scripts and style sheets by esbuild.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};

use crate::files;

/// Where `cargo xtask` installs it. Absolute, because it is started by another program's working directory.
const ESBUILD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/npm/node_modules/.bin/esbuild");

/// Minifies each script and style sheet in its place, or does nothing where there is no esbuild.
pub(crate) fn all(directory: &Path) -> anyhow::Result<()> {
    let esbuild = Path::new(ESBUILD);
    if !esbuild.exists() {
        eprintln!("pack: there is no esbuild: scripts and style sheets stay as long as they are");
        return Ok(());
    }
    for path in files(directory)? {
        let kind = path.extension().and_then(|extension| extension.to_str());
        if matches!(kind, Some("js" | "css")) {
            run(esbuild, &path)?;
        }
    }
    Ok(())
}

fn run(esbuild: &Path, path: &PathBuf) -> anyhow::Result<()> {
    let output = Command::new(esbuild)
        .arg(path)
        // Browsers of 2024, which the page asks for anyway.
        .args([
            "--minify",
            "--target=es2023,chrome123,firefox120,safari17.5",
            "--log-level=warning",
            "--allow-overwrite",
        ])
        .arg(format!("--outfile={}", path.display()))
        .output()
        .with_context(|| format!("cannot start {}", esbuild.display()))?;
    let trouble = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "esbuild cannot minify {}:\n{trouble}",
        path.display()
    );
    Ok(())
}

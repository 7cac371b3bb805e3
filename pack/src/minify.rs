//! Minifies the page, and scripts and style sheets by esbuild.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};

use crate::files;

/// Where `cargo xtask` installs it. Absolute, because it is started by another program's working directory.
const ESBUILD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/npm/node_modules/.bin/esbuild");

/// Removes comments and indentation. The page has no element in which they count: no inline script, no `pre`.
pub(crate) fn page(index: &Path) -> anyhow::Result<()> {
    let html = fs::read_to_string(index)?;
    Ok(fs::write(index, without_comments(&html))?)
}

fn without_comments(html: &str) -> String {
    let mut parts = html.split("<!--");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        text += part.split_once("-->").map_or("", |(_, rest)| rest);
    }
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join("\n")
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_indentation_are_removed_and_lines_stay_apart() {
        let html = "<!doctype html>\n<html>\n  <!-- a\n  b --><p>\n    one\n    two\n  </p>\n\n</html>\n";
        assert_eq!(
            without_comments(html),
            "<!doctype html>\n<html>\n<p>\none\ntwo\n</p>\n</html>"
        );
        assert_eq!(without_comments("a<!-- never ends"), "a");
    }
}

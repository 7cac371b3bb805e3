//! Tells the service worker which files the page has, and the page of which build it is.

use std::{fs, path::Path};

use anyhow::{Context, ensure};
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use crate::{INDEX, WORKER};

/// In bytes, as in the names of files.
const HASH: usize = 8;

/// Puts the build and the files before the worker's script, and the build into the page as an attribute of its root element. `files`
/// has the size of each file by its name, the page and the worker among them.
///
/// The build is a hash of all of it: the names of the files are hashes of their contents.
pub(crate) fn complete(directory: &Path, files: &serde_json::Map<String, serde_json::Value>) -> anyhow::Result<()> {
    let (index, worker) = (directory.join(INDEX), directory.join(WORKER));
    let html = fs::read_to_string(&index)?;
    let script = fs::read_to_string(&worker).with_context(|| format!("{} is missing", worker.display()))?;
    let cached = files.iter().filter(|(name, _)| *name != INDEX && *name != WORKER);
    let cached: serde_json::Map<_, _> = cached.map(|(name, size)| (format!("/{name}"), size.clone())).collect();
    let cached = serde_json::Value::from(cached).to_string();

    let mut hasher = Sha256::new();
    for part in [&html, &script, &cached] {
        hasher.update(part.len().to_le_bytes());
        hasher.update(part);
    }
    let build = HEXLOWER.encode(&hasher.finalize()[..HASH]);

    let root = "<html ";
    ensure!(
        html.matches(root).count() == 1,
        "{INDEX} has no root element with an attribute"
    );
    fs::write(index, html.replacen(root, &format!("{root}data-build=\"{build}\" "), 1))?;
    fs::write(worker, format!("const BUILD=\"{build}\",FILES={cached};{script}"))?;
    Ok(())
}

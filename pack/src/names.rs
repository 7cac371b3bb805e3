//! Names by content: `chat.js` becomes `chat-1a2b3c4d5e6f7a8b.js`, and every file that refers to it refers to the new name.

use std::{fs, path::Path};

use anyhow::{Context, bail};
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use crate::{INDEX, WORKER};

/// In bytes; twice as many hexadecimal digits stand in the name, as in Trunk's names.
const HASH: usize = 8;

struct File {
    /// As Trunk has named it.
    name: String,
    content: Vec<u8>,
}

/// Renames the files at the top of the directory. Those in directories below are snippets of JavaScript from crates: wasm-bindgen names
/// their directory by their content.
pub(crate) fn add_hashes(directory: &Path) -> anyhow::Result<()> {
    let mut waiting = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            let name = entry
                .file_name()
                .into_string()
                .ok()
                .context("a file name is not UTF-8")?;
            waiting.push(File {
                name,
                content: fs::read(entry.path())?,
            });
        }
    }
    waiting.sort_by(|one, other| one.name.cmp(&other.name));
    // A name depends on the content, and the content on the names in it: files that refer to no other come first.
    while !waiting.is_empty() {
        // No file refers to the page itself: where its name stands in another one, it is a part of a text.
        let names = waiting.iter().map(|file| file.name.clone());
        let names: Vec<_> = names.filter(|name| name != INDEX).collect();
        let refers = |file: &File| {
            names
                .iter()
                .any(|name| *name != file.name && !positions(&file.content, name).is_empty())
        };
        let (later, ready): (Vec<_>, Vec<_>) = waiting.into_iter().partition(refers);
        if ready.is_empty() {
            let names: Vec<_> = later.iter().map(|file| file.name.as_str()).collect();
            bail!("the page's files refer to each other in a circle: {}", names.join(", "));
        }
        waiting = later;
        for file in ready {
            let name = hashed(&file);
            for other in &mut waiting {
                replace(&mut other.content, &file.name, &name);
            }
            fs::remove_file(directory.join(&file.name))?;
            fs::write(directory.join(&name), &file.content)?;
        }
    }
    Ok(())
}

/// The name with the hash of the content, in place of Trunk's own hash if there is one.
fn hashed(file: &File) -> String {
    if file.name == INDEX || file.name == WORKER {
        return file.name.clone();
    }
    let end = file.name.find('.').unwrap_or(file.name.len());
    let (stem, extension) = file.name.split_at(end);
    // wasm-bindgen's suffix stays behind the hash, where Trunk leaves it.
    let (stem, suffix) = stem.strip_suffix("_bg").map_or((stem, ""), |stem| (stem, "_bg"));
    let stem = match stem.rsplit_once('-') {
        Some((name, hash)) if hash.len() >= 12 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) => name,
        _ => stem,
    };
    let digest = Sha256::digest(&file.content);
    let hash = HEXLOWER.encode(&digest[..HASH]);
    format!("{stem}-{hash}{suffix}{extension}")
}

/// Where a file name stands in a content as a whole name.
fn positions(content: &[u8], name: &str) -> Vec<usize> {
    let of_a_name = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte));
    let found = content.windows(name.len()).enumerate();
    found
        .filter(|(at, window)| {
            let before = at.checked_sub(1).and_then(|before| content.get(before));
            *window == name.as_bytes() && !of_a_name(before) && !of_a_name(content.get(at + name.len()))
        })
        .map(|(at, _)| at)
        .collect()
}

fn replace(content: &mut Vec<u8>, name: &str, with: &str) {
    for at in positions(content, name).into_iter().rev() {
        content.splice(at..at + name.len(), with.bytes());
    }
}

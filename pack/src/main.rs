//! Packs the page after Trunk has built it: `[[hooks]]` in Trunk.toml runs this program before Trunk moves its staging directory to the
//! place that servers read.
//!
//! - Comments and indentation of the page are removed; scripts and style sheets are minified by esbuild, where it is installed: `cargo xtask` does that where npm is. (Trunk's own minifier
//!   cannot read what wasm-bindgen writes.)
//! - The style sheets of a view become one file, and the script that loads the rest a part of the page.
//! - The names of the functions that a binary imports, and of those that it exports to call closures, are shortened, in the binary and in its glue.
//! - Files at the top get a hash of their content in their name, so that servers let browsers keep them for a year. Trunk does that for
//!   most, but not for a binary that is loaded on demand.
//! - `files.json` lists the files under their new names, with their sizes, and the service worker has the same list.
//! - Every file that gets smaller has a `.br` and a `.gz` beside it.
//!
//! A development build is left as it is. `cargo xtask` sets `TALKBACK_PACK` where there is no wasm-opt: its release build then looks like one
//! for development to Trunk.

mod bundle;
mod imports;
mod minify;
mod names;
mod split;
mod styles;
mod worker;

use std::{
    env, fs,
    io::Write,
    iter,
    num::NonZero,
    panic,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    thread,
};

use anyhow::Context;
use brotli::enc::BrotliEncoderParams;
use walkdir::WalkDir;

/// The page itself: it keeps its name, because its address does.
const INDEX: &str = "index.html";
/// The service worker. Browsers know one by its address, so it keeps its name.
const WORKER: &str = "sw.js";
/// All files but itself and the compressed copies: an object of paths, relative to the page's directory, and sizes in bytes.
const LIST: &str = "files.json";
/// Below this a compressed copy saves less than the header that announces it.
const SMALLEST: usize = 256;

fn main() -> anyhow::Result<()> {
    if env::var("TRUNK_PROFILE").is_ok_and(|profile| profile == "debug") && env::var_os("TALKBACK_PACK").is_none() {
        return Ok(());
    }
    let directory = env::var_os("TRUNK_STAGING_DIR").context("Trunk runs this program: it sets TRUNK_STAGING_DIR")?;
    let directory = Path::new(&directory);
    split::all(directory, env::var_os("TALKBACK_PROFILE").is_some())?;
    styles::bundle(directory)?;
    minify::all(directory)?;
    minify::page(&directory.join(INDEX))?;
    bundle::all(directory)?;
    imports::shorten(directory)?;
    pack(directory)
}

/// Names, lists and compresses what is there.
fn pack(directory: &Path) -> anyhow::Result<()> {
    names::add_hashes(directory)?;
    worker::complete(directory, &list(directory)?)?;
    // Once more, with the sizes of the page and the worker as they are now.
    fs::write(directory.join(LIST), serde_json::to_vec(&list(directory)?)?)?;
    compress_all(files(directory)?)
}

/// Compresses the files, the largest ones first, on all processors.
fn compress_all(mut files: Vec<PathBuf>) -> anyhow::Result<()> {
    files.sort_by_key(|path| path.metadata().map_or(0, |file| file.len()));
    let waiting = Mutex::new(files);
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let work = || iter::from_fn(next).try_for_each(|path| compress(&path));
    thread::scope(|scope| {
        let processors = thread::available_parallelism().map_or(1, NonZero::get);
        let workers: Vec<_> = (0..processors).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().unwrap_or_else(|panic| panic::resume_unwind(panic)))
    })
}

/// The files of a directory and of those in it.
fn files(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in WalkDir::new(directory).sort_by_file_name() {
        let entry = entry?;
        if entry.file_type().is_file() {
            files.push(entry.into_path());
        }
    }
    Ok(files)
}

/// The sizes of the files by their paths.
fn list(directory: &Path) -> anyhow::Result<serde_json::Map<String, serde_json::Value>> {
    let mut list = serde_json::Map::new();
    for path in files(directory)? {
        let name = path
            .strip_prefix(directory)?
            .to_str()
            .context("a file name is not UTF-8")?;
        list.insert(name.replace('\\', "/"), path.metadata()?.len().into());
    }
    Ok(list)
}

/// Writes the compressed copies of a file, if they are smaller.
fn compress(path: &Path) -> anyhow::Result<()> {
    let content = fs::read(path)?;
    if content.len() < SMALLEST {
        return Ok(());
    }
    // The highest quality, and the window that all browsers accept. Blocks of 64 KiB make code 0.2% smaller than those that it chooses itself.
    let settings = BrotliEncoderParams {
        quality: 11,
        lgwin: 22,
        lgblock: 16,
        ..Default::default()
    };
    let mut br = Vec::new();
    brotli::CompressorWriter::with_params(&mut br, 1 << 16, &settings).write_all(&content)?;
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gz.write_all(&content)?;
    for (extension, compressed) in [("br", br), ("gz", gz.finish()?)] {
        if compressed.len() < content.len() {
            let mut name = path.as_os_str().to_owned();
            name.push(".");
            name.push(extension);
            fs::write(name, compressed)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn page() -> tempfile::TempDir {
        let page = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(page.path().join(name), text).unwrap();
        write(
            INDEX,
            "<html lang=\"en\"><link href=\"/style-00112233445566aa.css\"><script src=\"/boot.js\"></script>",
        );
        write(WORKER, "use(FILES)");
        write("style-00112233445566aa.css", &"p { color: red }".repeat(100));
        write("boot.js", "import('./chat.js'); // not xchat.js");
        write("chat.js", "new URL('chat_bg.wasm', import.meta.url)");
        // The texts of a binary may name the page.
        write("chat_bg.wasm", "\0asm index.html");
        page
    }

    fn names(page: &Path) -> Vec<String> {
        let files = files(page).unwrap();
        files
            .iter()
            .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn each_file_but_the_page_is_named_by_its_content_and_found_under_that_name() {
        let page = page();
        pack(page.path()).unwrap();
        let names = names(page.path());
        let of = |start: &str, end: &str| {
            let name = names.iter().find(|name| name.starts_with(start) && name.ends_with(end));
            name.unwrap_or_else(|| panic!("no {start}*{end} in {names:?}")).clone()
        };
        let text = |name: &str| fs::read_to_string(page.path().join(name)).unwrap();
        let index = text(INDEX);
        assert!(
            index.contains(&of("style-", ".css")) && index.contains(&of("boot-", ".js")),
            "{index}"
        );
        assert!(!names.iter().any(|name| name.contains("00112233445566aa")), "{names:?}");
        let boot = text(&of("boot-", ".js"));
        assert_eq!(boot, format!("import('./{}'); // not xchat.js", of("chat-", ".js")));
        assert!(text(&of("chat-", ".js")).contains(&of("chat-", "_bg.wasm")));
    }

    #[test]
    fn a_change_in_a_file_renames_those_that_refer_to_it_and_no_other() {
        let (one, other) = (page(), page());
        fs::write(other.path().join("chat_bg.wasm"), "\0asm changed").unwrap();
        pack(one.path()).unwrap();
        pack(other.path()).unwrap();
        let (before, after) = (names(one.path()), names(other.path()));
        let kept: Vec<_> = before.iter().filter(|name| after.contains(name)).collect();
        let kept: Vec<_> = kept
            .iter()
            .filter(|name| ![INDEX, LIST, WORKER].iter().any(|kept| name.starts_with(kept)))
            .collect();
        assert!(
            kept.iter().all(|name| name.starts_with("style-")) && !kept.is_empty(),
            "{kept:?}"
        );
    }

    #[test]
    fn compressed_copies_hold_the_same_bytes_and_tiny_files_have_none() {
        let page = page();
        pack(page.path()).unwrap();
        let names = names(page.path());
        let style = names.iter().find(|name| name.ends_with(".css")).unwrap();
        let original = fs::read(page.path().join(style)).unwrap();
        let read = |extension: &str| fs::read(page.path().join(format!("{style}.{extension}"))).unwrap();
        let (mut br, mut gz) = (Vec::new(), Vec::new());
        brotli::Decompressor::new(&read("br")[..], 4096)
            .read_to_end(&mut br)
            .unwrap();
        flate2::read::GzDecoder::new(&read("gz")[..])
            .read_to_end(&mut gz)
            .unwrap();
        assert!(br == original && gz == original);
        assert!(!names.iter().any(|name| name.contains(".wasm.")), "{names:?}");
    }

    #[test]
    fn the_list_names_every_file_that_the_page_loads() {
        let page = page();
        pack(page.path()).unwrap();
        let list: serde_json::Value = serde_json::from_slice(&fs::read(page.path().join(LIST)).unwrap()).unwrap();
        let listed: Vec<_> = list.as_object().unwrap().keys().cloned().collect();
        let files = names(page.path());
        let loaded = files
            .iter()
            .filter(|name| !name.ends_with(".br") && !name.ends_with(".gz") && *name != LIST);
        assert_eq!(listed, loaded.cloned().collect::<Vec<_>>());
    }

    #[test]
    fn the_worker_knows_each_file_with_its_size_and_is_of_the_build_of_the_page() {
        let page = page();
        pack(page.path()).unwrap();
        let worker = fs::read_to_string(page.path().join(WORKER)).unwrap();
        let (build, rest) = worker
            .strip_prefix("const BUILD=\"")
            .and_then(|rest| rest.split_once("\",FILES="))
            .unwrap();
        let (files, script) = rest.split_once("};").unwrap();
        assert_eq!(script, "use(FILES)");
        let index = fs::read_to_string(page.path().join(INDEX)).unwrap();
        assert!(
            index.starts_with(&format!("<html data-build=\"{build}\" lang=\"en\">")),
            "{index}"
        );
        let files: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&format!("{files}}}")).unwrap();
        assert_eq!(files.len(), 4, "two scripts, the style sheet, the binary: {files:?}");
        for (path, size) in files {
            let file = page.path().join(&path[1..]);
            assert_eq!(size, file.metadata().unwrap().len(), "{path}");
        }
    }

    #[test]
    fn any_change_is_another_build() {
        let build = |name: &str, text: &str| {
            let page = page();
            fs::write(page.path().join(name), text).unwrap();
            pack(page.path()).unwrap();
            let index = fs::read_to_string(page.path().join(INDEX)).unwrap();
            index[..40].to_owned()
        };
        let builds = [
            build("none.js", ""),
            build("chat_bg.wasm", "changed"),
            build(WORKER, "changed"),
            build(INDEX, "<html lang=\"en\">changed"),
        ];
        let different: std::collections::BTreeSet<_> = builds.iter().collect();
        assert_eq!(different.len(), builds.len(), "{builds:?}");
        assert_eq!(build("none.js", ""), builds[0], "the same page is the same build");
    }

    #[test]
    fn a_page_without_its_worker_is_an_error() {
        let page = page();
        fs::remove_file(page.path().join(WORKER)).unwrap();
        assert!(pack(page.path()).unwrap_err().to_string().contains(WORKER));
    }

    #[test]
    fn files_that_refer_to_each_other_are_an_error() {
        let page = page();
        fs::write(page.path().join("a.js"), "import './b.js'").unwrap();
        fs::write(page.path().join("b.js"), "import './a.js'").unwrap();
        let error = pack(page.path()).unwrap_err().to_string();
        assert!(error.contains("a.js") && error.contains("b.js"), "{error}");
    }
}

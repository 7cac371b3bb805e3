//! Runs the corpus of the fuzz targets through the same functions, so that a target that does not compile or an input
//! that fails is noticed.

#![cfg(not(target_family = "wasm"))]

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
};

use support::fuzz;
use talkback_protocol::{
    ClientLine, ServerLine,
    codec::{self, TextLimits},
};

#[test]
fn the_codec_reads_its_corpus() {
    each("codec", 15, fuzz::codec);
}

#[test]
fn the_promises_hold_for_the_corpus_of_operations() {
    each("operations", 12, fuzz::operations);
}

/// A sample of an old version of the wire would only be refused, and test nothing else.
#[test]
fn the_corpus_of_the_codec_is_of_this_version_of_the_wire() {
    let wrong = ["bad-kind", "lists", "not-json", "numbers", "two-kinds"];
    let limits = TextLimits {
        bytes: usize::MAX,
        lines: usize::MAX,
    };
    for file in files("codec") {
        let name = file.file_name().unwrap().to_str().unwrap();
        let text = fs::read_to_string(&file).unwrap();
        let lines = text.lines().filter(|line| !line.trim().is_empty()).count();
        let server = codec::decode::<ServerLine>(&text, limits);
        let client = codec::decode::<ClientLine>(&text, limits);
        let known = server
            .as_ref()
            .map_or(0, Vec::len)
            .max(client.as_ref().map_or(0, Vec::len));
        let right = known == lines || name == "unknown";
        assert_eq!(right, !wrong.contains(&name), "{name}: {server:?} {client:?}");
    }
}

fn files(target: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect()
}

fn each(target: &str, at_least: usize, function: fn(&[u8])) {
    let files = files(target);
    assert!(files.len() >= at_least, "{} files in the corpus", files.len());
    for file in files {
        println!("{}", file.display());
        function(&fs::read(file).unwrap());
    }
}

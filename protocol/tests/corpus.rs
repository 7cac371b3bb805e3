//! The fuzz targets' corpus through the same functions: a target that no longer compiles or an input that fails again shows here.

#![cfg(not(target_family = "wasm"))]

mod support;

use std::{fs, path::Path};

use support::fuzz;

#[test]
fn the_codec_takes_its_corpus() {
    each("codec", 15, fuzz::codec);
}

#[test]
fn the_promises_hold_for_the_corpus_of_operations() {
    each("operations", 12, fuzz::operations);
}

fn each(target: &str, at_least: usize, function: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let files: Vec<_> = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    assert!(files.len() >= at_least, "the corpus is there");
    for file in files {
        println!("{}", file.display());
        function(&fs::read(file).unwrap());
    }
}

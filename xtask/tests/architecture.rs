//! ARCHITECTURE.md names files of this workspace, each by its whole path.

use std::{fs, path::Path};

/// What stands between backticks and has the form of a path in this workspace: letters, digits and `/ . _ -`, with a
/// slash or with one of the endings of our files.
fn paths(text: &str) -> Vec<&str> {
    let is_path = |span: &&str| {
        let plain = span.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
        let ends = [".rs", ".md", ".toml", ".css", ".json"]
            .iter()
            .any(|end| span.ends_with(end));
        plain && !span.starts_with('/') && (ends || span.contains('/'))
    };
    text.lines()
        .filter(|line| !line.starts_with("    "))
        .flat_map(|line| line.split('`').skip(1).step_by(2))
        .filter(is_path)
        .collect()
}

#[test]
fn every_path_in_the_map_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = fs::read_to_string(root.join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let paths = paths(&text);
    assert!(paths.len() > 100, "only {} paths were found", paths.len());
    let missing: Vec<_> = paths.into_iter().filter(|path| !root.join(path).exists()).collect();
    assert_eq!(missing, [""; 0], "name each by its path from the workspace's folder");
}

/// A map that does not name a file leaves it to be guessed.
#[test]
fn every_source_file_is_named_or_in_a_named_folder() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = fs::read_to_string(root.join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let paths = paths(&text);
    let mut missing = Vec::new();
    for folder in ["protocol/src", "client/src", "client/app/src", "server/src"] {
        let mut folders = vec![root.join(folder)];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let name = path
                    .strip_prefix(&root)
                    .expect("inside")
                    .to_str()
                    .expect("UTF-8")
                    .to_owned();
                let is_test = name.ends_with("/tests.rs");
                let is_named = paths
                    .iter()
                    .any(|path| *path == name || path.ends_with('/') && name.starts_with(path));
                if name.ends_with(".rs") && !is_test && !is_named {
                    missing.push(name);
                }
            }
        }
    }
    missing.sort_unstable();
    assert_eq!(missing, [""; 0], "the table `To change X, open Y` says what is in each");
}

/// They are one program with a list of its files: a file that is not in the list would not run.
#[test]
fn every_file_of_the_tests_of_the_server_is_in_their_program() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../server/tests");
    let main = fs::read_to_string(folder.join("main.rs")).expect("server/tests/main.rs");
    for entry in fs::read_dir(&folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().expect("a name").to_str().expect("UTF-8");
        let is_listed = main.lines().any(|line| line == format!("mod {name};"));
        assert!(name == "main" || is_listed, "server/tests/main.rs has no `mod {name};`");
    }
}

#[test]
fn a_path_is_told_from_other_code() {
    let text = "`server/src/app.rs` and `GET /healthz`, `a::b`, `x/`, `--flag`, `/echo`, `Cargo.toml`, `name.rs`";
    assert_eq!(paths(text), ["server/src/app.rs", "x/", "Cargo.toml", "name.rs"]);
}

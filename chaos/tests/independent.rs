//! The checker judges the server and the session, so it must not share their mistakes.

use std::{fs, path::Path};

#[test]
fn the_checker_and_the_format_use_no_other_code_of_talkback() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let checker = fs::read_dir(source.join("bin/check"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut files = 0;
    for path in checker.chain([source.join("lib.rs")]) {
        let text = fs::read_to_string(&path).unwrap();
        for part in text.split("talkback_").skip(1) {
            assert!(
                part.starts_with("chaos::"),
                "{} uses talkback_{part:.20}",
                path.display()
            );
        }
        files += 1;
    }
    assert!(files >= 5, "only {files} files");
}

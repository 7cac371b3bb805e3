use std::fs;

use talkback_e2e::dist;

/// A panic names its source file. The folders of the machine that built the page are left out, see `xtask/src/page.rs`.
#[test]
fn what_ships_names_no_folder_of_the_machine_that_built_it() {
    let page = dist().unwrap();
    let mut binaries = 0;
    for entry in fs::read_dir(&page).unwrap() {
        let path = entry.unwrap().path();
        let content = fs::read(&path).unwrap();
        let is_binary = path.extension().is_some_and(|extension| extension == "wasm");
        binaries += usize::from(is_binary);
        if path
            .extension()
            .is_some_and(|extension| extension == "br" || extension == "gz")
        {
            continue;
        }
        let text = String::from_utf8_lossy(&content);
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/");
        let workspace = source.trim_end_matches("e2e/");
        for folder in ["/home/", "/root/", "/Users/", ".cargo/registry", ".rustup/", workspace] {
            if let Some(at) = text.find(folder) {
                let place: String = text[at..]
                    .chars()
                    .take_while(char::is_ascii_graphic)
                    .take(100)
                    .collect();
                panic!("{} names {place}", path.display());
            }
        }
    }
    assert!(binaries >= 2, "one for each view, in {}", page.display());
}

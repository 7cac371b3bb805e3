//! Makes one file of each style sheet that imports others, and removes those: each file that the first paint waits for is another trip to
//! the server.
//!
//! Each view has two sheets: one for a first visit of it, and one with what the other view's first one does not have. boot.js chooses
//! between them. In a development build they load what they import.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context, ensure};

/// Puts the imported sheets in the place of each `@import`.
pub(crate) fn bundle(directory: &Path) -> anyhow::Result<()> {
    let mut imported = BTreeSet::new();
    let mut whole = Vec::new();
    for path in crate::files(directory)? {
        if path.extension().is_some_and(|extension| extension == "css") {
            let mut text = String::new();
            for line in fs::read_to_string(&path)?.lines() {
                if let Some(name) = import(line) {
                    let part = directory.join(name);
                    let sheet =
                        fs::read_to_string(&part).with_context(|| format!("{} imports {name}", path.display()))?;
                    ensure!(
                        sheet.lines().all(|line| import(line).is_none()),
                        "{name} is imported and imports another one"
                    );
                    text += &sheet;
                    imported.insert(part);
                } else {
                    text += line;
                    text.push('\n');
                }
            }
            whole.push((path, text));
        }
    }
    for (path, text) in whole {
        fs::write(path, text)?;
    }
    imported.iter().try_for_each(|path| Ok(fs::remove_file(path)?))
}

/// The file that a line imports.
fn import(line: &str) -> Option<&str> {
    line.trim().strip_prefix("@import \"")?.strip_suffix("\";")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(sheets: &[(&str, &str)]) -> tempfile::TempDir {
        let page = tempfile::tempdir().unwrap();
        for (name, text) in sheets {
            fs::write(page.path().join(name), text).unwrap();
        }
        page
    }

    #[test]
    fn sheets_that_import_others_are_whole_and_the_others_are_gone() {
        let sheets = [
            ("base.css", "a{}\n"),
            ("one.css", "b{}\n"),
            ("alone.css", "c{}\n"),
            ("whole.css", "@import \"base.css\";\n@import \"one.css\";\nd{}\n"),
            ("later.css", "@import \"one.css\";\n"),
        ];
        let page = page(&sheets);
        bundle(page.path()).unwrap();
        let read = |name: &str| fs::read_to_string(page.path().join(name)).unwrap();
        assert_eq!(read("whole.css"), "a{}\nb{}\nd{}\n");
        assert_eq!(read("later.css"), "b{}\n");
        assert_eq!(read("alone.css"), "c{}\n");
        assert_eq!(fs::read_dir(page.path()).unwrap().count(), 3);
    }

    #[test]
    fn an_import_of_a_sheet_that_is_missing_or_imports_itself_is_an_error() {
        assert!(bundle(page(&[("a.css", "@import \"b.css\";\n")]).path()).is_err());
        let chain = [
            ("a.css", "@import \"b.css\";\n"),
            ("b.css", "@import \"c.css\";\n"),
            ("c.css", ""),
        ];
        assert!(bundle(page(&chain).path()).is_err());
    }
}

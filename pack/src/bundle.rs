//! Puts the script that loads the rest into the page: each file that the first paint waits for is another trip to the server. The server's
//! content security policy has the hash of the script.

use std::{fs, path::Path};

use anyhow::{Context, ensure};

use crate::INDEX;

/// Puts the scripts that the page names into it, and leaves out what was for Trunk.
pub(crate) fn all(directory: &Path) -> anyhow::Result<()> {
    let index = directory.join(INDEX);
    let html = fs::read_to_string(&index)?;
    let mut page = String::new();
    let mut rest = &html[..];
    while let Some(start) = rest.find('<') {
        let end = rest[start..].find('>').map_or(rest.len(), |length| start + length + 1);
        let tag = &rest[start..end];
        page += &rest[..start];
        rest = &rest[end..];
        if tag.starts_with("<link ") && tag.contains(" data-trunk ") {
            // Was for Trunk alone.
        } else if let Some(path) = path(tag, "src").filter(|_| tag.starts_with("<script ")) {
            let file = directory.join(path);
            let script = fs::read_to_string(&file).with_context(|| format!("{INDEX} names {path}"))?;
            fs::remove_file(file)?;
            ensure!(!script.contains("</script"), "{path} cannot be a part of the page");
            page += "<script>";
            page += script.trim_end();
        } else {
            page += tag;
        }
    }
    page += rest;
    Ok(fs::write(index, page)?)
}

/// The path of the page's own file that an attribute of a tag names.
fn path<'a>(tag: &'a str, attribute: &str) -> Option<&'a str> {
    let (_, value) = tag.split_once(&format!(" {attribute}=\"/"))?;
    Some(value.split_once('"')?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_is_in_the_page() {
        let page = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(page.path().join(name), text).unwrap();
        write(
            INDEX,
            "<html lang=\"en\"><link rel=\"icon\" href=\"/i.svg\"><script src=\"/boot.js\"></script>\
             <link rel=\"stylesheet\" href=\"/a.css\"/><link data-trunk rel=\"rust\" /><p>text</p>",
        );
        write("boot.js", "if (1 < 2) '<link>';\n");
        all(page.path()).unwrap();
        assert_eq!(
            fs::read_to_string(page.path().join(INDEX)).unwrap(),
            "<html lang=\"en\"><link rel=\"icon\" href=\"/i.svg\"><script>if (1 < 2) '<link>';</script>\
             <link rel=\"stylesheet\" href=\"/a.css\"/><p>text</p>"
        );
        assert_eq!(
            fs::read_dir(page.path()).unwrap().count(),
            1,
            "the script is no file any more"
        );
    }

    #[test]
    fn a_script_that_would_end_its_element_is_an_error() {
        let page = tempfile::tempdir().unwrap();
        fs::write(page.path().join(INDEX), "<script src=\"/a.js\"></script>").unwrap();
        fs::write(page.path().join("a.js"), "'</script>'").unwrap();
        assert!(all(page.path()).is_err());
    }
}

//! Bytes of files, as they are and as servers compress them.

use std::{fmt, fs, io::Write, iter::Sum, ops::Add, path::Path};

use anyhow::Context;

/// The bytes of something that a browser loads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub(crate) raw: u64,
    /// gzip at its best.
    pub(crate) gz: u64,
    /// Brotli at its best, which is what the page's server sends.
    pub(crate) br: u64,
}

impl Sizes {
    pub(crate) fn of(content: &[u8]) -> anyhow::Result<Self> {
        let mut br = Vec::new();
        brotli::CompressorWriter::new(&mut br, 1 << 16, 11, 22).write_all(content)?;
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gz.write_all(content)?;
        Ok(Self {
            raw: content.len() as u64,
            gz: gz.finish()?.len() as u64,
            br: br.len() as u64,
        })
    }

    fn of_file(path: &Path) -> anyhow::Result<Self> {
        Self::of(&fs::read(path).with_context(|| format!("cannot read {}", path.display()))?)
    }

    /// Of a file of the page: its compressed copies, which the page's server sends, or the file itself where there are none.
    fn of_served(path: &Path) -> anyhow::Result<Self> {
        let length = |path: &Path| fs::metadata(path).map(|file| file.len());
        let raw = length(path).with_context(|| format!("cannot read {}", path.display()))?;
        let copy = |extension: &str| {
            let mut name = path.as_os_str().to_owned();
            name.push(extension);
            length(Path::new(&name)).unwrap_or(raw)
        };
        Ok(Self {
            raw,
            gz: copy(".gz"),
            br: copy(".br"),
        })
    }
}

impl Add for Sizes {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            raw: self.raw + other.raw,
            gz: self.gz + other.gz,
            br: self.br + other.br,
        }
    }
}

impl Sum for Sizes {
    fn sum<I: Iterator<Item = Self>>(sizes: I) -> Self {
        sizes.fold(Self::default(), Self::add)
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} gzip, {} Brotli)", self.raw, self.gz, self.br)
    }
}

/// A frontend of `sizes/frontends`.
pub(crate) struct Frontend {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) wasm: Sizes,
    /// The JavaScript that wasm-bindgen makes.
    pub(crate) glue: Sizes,
    /// Of [`Sizes::gz`] of the WebAssembly.
    pub(crate) budget: Option<u64>,
}

impl Frontend {
    pub(crate) fn measure(
        folder: &Path,
        name: &'static str,
        what: &'static str,
        budget: Option<u64>,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            name,
            what,
            wasm: Sizes::of_file(&folder.join(format!("{name}_bg.wasm")))?,
            glue: Sizes::of_file(&folder.join(format!("{name}.js")))?,
            budget,
        })
    }

    /// What to say if it is over its budget.
    pub(crate) fn excess(&self) -> Option<String> {
        let (Self { name, .. }, size, budget) = (self, self.wasm.gz, self.budget?);
        (size > budget).then(|| format!("the frontend {name} has {size} bytes of gzip instead of {budget}"))
    }
}

/// What the first visit of one view of the page loads.
pub(crate) struct View {
    pub(crate) path: &'static str,
    pub(crate) wasm: Sizes,
    /// The rest of the WebAssembly, which is loaded when the user does something or the network is quiet: no part of [`View::all`].
    pub(crate) later: Sizes,
    pub(crate) glue: Sizes,
    /// The page itself and what browsers load for it: scripts, style sheets, an icon.
    pub(crate) rest: Sizes,
    /// Of [`Sizes::br`] of all.
    pub(crate) budget: u64,
}

impl View {
    pub(crate) fn measure(page: &Path, path: &'static str, binary: &str, budget: u64) -> anyhow::Result<Self> {
        let (mut wasm, mut later, mut glue) = (Sizes::default(), Sizes::default(), Sizes::default());
        let index = page.join("index.html");
        let text = fs::read_to_string(&index).with_context(|| format!("there is no page: {}", index.display()))?;
        let mut rest = Sizes::of_served(&index)?;
        for entry in fs::read_dir(page)? {
            let entry = entry?;
            let name = entry.file_name().into_string().unwrap_or_default();
            let sizes = || Sizes::of_served(&entry.path());
            if name.ends_with(".br") || name.ends_with(".gz") {
                continue;
            } else if name.starts_with(&format!("{binary}_rest")) {
                later = later + sizes()?;
            } else if name.starts_with(binary) && name.ends_with(".wasm") {
                wasm = wasm + sizes()?;
            } else if name.starts_with(binary) && name.ends_with(".js") {
                glue = glue + sizes()?;
            } else if name.ends_with(".css") {
                // Named for where scripts do not run; boot.js takes that of the view.
                if name.starts_with(binary) {
                    rest = rest + sizes()?;
                }
            } else if is_loaded(&text, &name) {
                rest = rest + sizes()?;
            }
        }
        Ok(Self {
            path,
            wasm,
            later,
            glue,
            rest,
            budget,
        })
    }

    pub(crate) fn all(&self) -> Sizes {
        [self.wasm, self.glue, self.rest].into_iter().sum()
    }

    /// What to say if it is over its budget.
    pub(crate) fn excess(&self) -> Option<String> {
        let (Self { path, budget, .. }, size) = (self, self.all().br);
        (size > *budget).then(|| format!("a first visit of {path} loads {size} bytes of Brotli instead of {budget} (`cargo xtask profile` finds anew what it does not run)"))
    }
}

/// Whether a browser loads this file for the page because an element names it. It does not load what is there in place of something else.
fn is_loaded(page: &str, name: &str) -> bool {
    page.split('<').any(|element| {
        let element = element.split('>').next().unwrap_or_default();
        let names = ["href=\"/", "href=/", "src=\"/", "src=/"];
        names.iter().any(|names| element.contains(&format!("{names}{name}"))) && !element.contains("alternate")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_is_its_binary_and_what_a_browser_loads_for_the_page() {
        let page = tempfile::tempdir().unwrap();
        for (name, text) in [
            (
                "index.html",
                "<script src=/boot-1.js></script><link href=/workbench-9.css><link rel=\"alternate\" href=\"/unread-7.svg\" />",
            ),
            ("unread-7.svg", "7777777"),
            ("boot-1.js", "1"),
            ("chat-2.css", "22"),
            ("workbench-9.css", "999999999"),
            ("chat-3.js", "333"),
            ("chat-4_bg.wasm", "4444"),
            ("chat_rest-8.wasm", "88888888"),
            ("workbench-5_bg.wasm", "55555"),
            ("files.json", "666666"),
        ] {
            fs::write(page.path().join(name), text).unwrap();
            fs::write(page.path().join(format!("{name}.br")), &text[1..]).unwrap();
        }
        let chat = View::measure(page.path(), "/chat", "chat", 10).unwrap();
        assert_eq!((chat.wasm.raw, chat.later.raw, chat.glue.raw), (4, 8, 3));
        assert_eq!(
            (chat.wasm.br, chat.wasm.gz),
            (3, 4),
            "the compressed copy where there is one"
        );
        let index = fs::metadata(page.path().join("index.html")).unwrap().len();
        assert_eq!(chat.all().raw, 4 + 3 + 1 + 2 + index);
        assert!(chat.excess().unwrap().contains("/chat"));
    }

    #[test]
    fn a_frontend_may_have_as_many_bytes_as_its_budget() {
        let frontend = |gz, budget| Frontend {
            name: "client",
            what: "",
            wasm: Sizes { raw: 0, gz, br: 0 },
            glue: Sizes::default(),
            budget,
        };
        assert_eq!(frontend(75_000, Some(75_000)).excess(), None);
        assert!(frontend(75_001, Some(75_000)).excess().is_some());
        assert_eq!(frontend(75_001, None).excess(), None);
    }

    #[test]
    fn text_that_repeats_gets_smaller() {
        let sizes = Sizes::of("smaller ".repeat(1_000).as_bytes()).unwrap();
        assert_eq!(sizes.raw, 8_000);
        assert!(sizes.gz < 200 && sizes.br < sizes.gz, "{sizes}");
    }
}

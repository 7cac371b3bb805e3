//! Measures what `cargo xtask sizes` has built, writes docs/sizes.md and docs/sizes.svg, and fails when something is larger than
//! its budget.

mod measure;
mod report;

use std::{fs, path::PathBuf};

use anyhow::{Context, ensure};
use clap::Parser;

use measure::{Frontend, Sizes, View};

/// The frontends of `sizes/frontends` in the order of the report, each with what it is, and the budget of its WebAssembly in
/// bytes of gzip.
const FRONTENDS: [(&str, &str, Option<u64>); 7] = [
    ("raw", "web-sys alone", None),
    ("gloo", "gloo-net", None),
    ("socket", "`Socket`", Some(24_500)),
    ("client", "`Client`, outbox in memory", Some(98_900)),
    ("talc", "`Client`, with the page's allocator", Some(96_200)),
    ("stored", "`Client`, outbox stored", Some(128_000)),
    ("traced", "`Client` with its trace", Some(105_000)),
];

/// The clients of other servers.
const PEERS: [(&str, &str); 4] = [
    ("socket.io-client", "Socket.IO"),
    ("centrifuge", "Centrifugo"),
    ("phoenix", "Phoenix channels"),
    ("partysocket", "any, or PartyKit"),
];

/// The views of the page, each with the name of its binary, and the budget of all that its first visit loads, in bytes of Brotli.
const VIEWS: [(&str, &str, u64); 2] = [
    ("/", "talkback-workbench", 121_000),
    ("/chat/lobby", "talkback-chat", 175_000),
];

#[derive(Parser)]
struct Arguments {
    /// Where the frontends are, each in a folder of its name, and the bundles of npm's packages in `npm`
    #[arg(long)]
    built: PathBuf,
    /// The built page
    #[arg(long, requires = "out")]
    page: Option<PathBuf>,
    /// Where to write sizes.md and sizes.svg
    #[arg(long, requires = "page")]
    out: Option<PathBuf>,
    /// Print the sizes of this frontend, and measure nothing else; may be repeated
    #[arg(long)]
    only: Vec<String>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let frontends = FRONTENDS
        .into_iter()
        .filter(|(name, ..)| arguments.only.is_empty() || arguments.only.iter().any(|only| only == name))
        .map(|(name, what, budget)| Frontend::measure(&arguments.built.join(name), name, what, budget))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let (Some(page), Some(out)) = (&arguments.page, &arguments.out) else {
        for Frontend { name, wasm, glue, .. } in &frontends {
            println!("{name}: wasm {wasm}, glue {glue}");
        }
        return Ok(());
    };
    let peers = PEERS
        .into_iter()
        .filter_map(|(name, server)| {
            let bundle = fs::read(arguments.built.join("npm").join(format!("{name}.js"))).ok()?;
            Some(Sizes::of(&bundle).map(|sizes| (name, server, sizes)))
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    let views = VIEWS
        .into_iter()
        .map(|(path, binary, budget)| View::measure(page, path, binary, budget))
        .collect::<anyhow::Result<Vec<_>>>()?;

    let write = |name: &str, text: String| {
        let path = out.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    write("sizes.md", report::markdown(&frontends, &peers, &views))?;
    write("sizes.svg", report::svg(&frontends, &peers, &views)?)?;

    let frontends = frontends.iter().filter_map(Frontend::excess);
    let excesses: Vec<_> = frontends.chain(views.iter().filter_map(View::excess)).collect();
    ensure!(
        excesses.is_empty(),
        "larger than the budgets in sizes/src/main.rs: {}",
        excesses.join("; ")
    );
    Ok(())
}

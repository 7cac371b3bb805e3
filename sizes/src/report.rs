//! The texts of docs/sizes.md and docs/sizes.svg.

use std::fmt::Write;

use num_format::{Locale, ToFormattedString};
use talkback_plot::{Bar, Panel};

use crate::measure::{Frontend, Sizes, View};

/// The clients of other servers: the package, its server, and its bundle.
type Peer = (&'static str, &'static str, Sizes);

const HEAD: &str = "\
# What a browser loads

Written by `cargo xtask sizes`, which also fails when something is larger than its budget (`sizes/src/main.rs`); do not edit.
Bytes; gzip and Brotli at their best. Everything is built as the page is: `opt-level = \"z\"`, LTO, one unit of code, `panic = \"abort\"`,
wasm-opt and esbuild from npm.

![The sizes as bars](sizes.svg)

## Frontends

Each shows what it receives and sends what the user enters (`sizes/frontends`). The WebAssembly of the first, which has nothing of the
client crate, is in all: allocator, formatting, panics, closures.
";

const PEERS: &str = "
## Clients of other servers

From npm, each with a script that sends and receives messages, bundled and minified by esbuild. None of them numbers and resends what
it sends, so none delivers exactly once in both directions.
";

const PAGE: &str = "
## The page

A first visit of each view, until it works and the network is idle: what it runs of its binary, its style sheet, and the files that a browser loads for
it. The rest of the binary is loaded when the user does something, and at the latest when the network was quiet for 3 s: what a first visit runs was
measured (`cargo xtask profile`), and includes connecting, sending, receiving and joining a room.
";

const REST: &str = include_str!("remarks.md");

pub(crate) fn markdown(frontends: &[Frontend], peers: &[Peer], views: &[View]) -> String {
    let mut text = HEAD.to_owned();
    table(
        &mut text,
        &["", "wasm", "gzip", "Brotli", "glue, gzip", "budget of wasm, gzip"],
        frontends.iter().map(|frontend| {
            let Frontend {
                what,
                wasm,
                glue,
                budget,
                ..
            } = frontend;
            let budget = budget.map(grouped).unwrap_or_default();
            vec![
                (*what).to_owned(),
                grouped(wasm.raw),
                grouped(wasm.gz),
                grouped(wasm.br),
                grouped(glue.gz),
                budget,
            ]
        }),
    );
    if !peers.is_empty() {
        text.push_str(PEERS);
        table(
            &mut text,
            &["package", "server", "script", "gzip", "Brotli"],
            peers.iter().map(|(name, server, sizes)| {
                vec![
                    (*name).to_owned(),
                    (*server).to_owned(),
                    grouped(sizes.raw),
                    grouped(sizes.gz),
                    grouped(sizes.br),
                ]
            }),
        );
    }
    text.push_str(PAGE);
    table(
        &mut text,
        &[
            "Brotli",
            "WebAssembly",
            "glue",
            "page, scripts, style sheets, icons",
            "all",
            "budget",
            "WebAssembly that comes later",
        ],
        views.iter().map(|view| {
            let parts = [view.wasm, view.glue, view.rest, view.all()].map(|sizes| grouped(sizes.br));
            [
                vec![format!("`{}`", view.path)],
                parts.to_vec(),
                vec![grouped(view.budget), grouped(view.later.br)],
            ]
            .concat()
        }),
    );
    text.push('\n');
    text.push_str(REST);
    text
}

pub(crate) fn svg(frontends: &[Frontend], peers: &[Peer], views: &[View]) -> anyhow::Result<String> {
    let bar = |name: &str, bytes: u64, is_talkback| {
        #[expect(clippy::cast_precision_loss, reason = "exact below 2^53 bytes")]
        let value = bytes as f64 / 1_000.0;
        Bar {
            name: name.replace('`', ""),
            value,
            range: None,
            text: format!("{value:.1}"),
            is_talkback,
        }
    };
    let loaded = frontends.iter().map(|frontend| {
        let Frontend {
            name, what, wasm, glue, ..
        } = frontend;
        bar(what, wasm.gz + glue.gz, !matches!(*name, "raw" | "gloo"))
    });
    let others = peers.iter().map(|(name, _, sizes)| bar(name, sizes.gz, false));
    let clients = Panel {
        head: "A frontend: kB of gzip, WebAssembly and scripts".to_owned(),
        bars: loaded.chain(others).collect(),
    };
    let page = Panel {
        head: "A first visit of the page: kB of Brotli".to_owned(),
        bars: views.iter().map(|view| bar(view.path, view.all().br, true)).collect(),
    };
    talkback_plot::svg(&[clients, page], 1)
}

fn table(text: &mut String, head: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    text.push('\n');
    // Writing to a String cannot fail.
    let mut line = |cells: &str| {
        let _ = writeln!(text, "| {cells} |");
    };
    line(&head.join(" | "));
    line(&vec!["---"; head.len()].join(" | "));
    for row in rows {
        line(&row.join(" | "));
    }
}

/// A number with commas between thousands: 75,000.
fn grouped(number: u64) -> String {
    number.to_formatted_string(&Locale::en)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_has_its_sizes_and_its_budget() {
        let sizes = |gz| Sizes {
            raw: 3 * gz,
            gz,
            br: gz / 2,
        };
        let frontend = Frontend {
            name: "client",
            what: "`Client`",
            wasm: sizes(75_000),
            glue: sizes(4_000),
            budget: Some(80_000),
        };
        let view = View {
            path: "/",
            wasm: sizes(100_000),
            later: sizes(60_000),
            glue: sizes(8_000),
            rest: sizes(2_000),
            budget: 130_000,
        };
        let peer = ("phoenix", "Phoenix channels", sizes(8_000));
        let text = markdown(&[frontend], &[peer], &[view]);
        for row in [
            "| `Client` | 225,000 | 75,000 | 37,500 | 4,000 | 80,000 |",
            "| phoenix | Phoenix channels | 24,000 | 8,000 | 4,000 |",
            "| `/` | 50,000 | 4,000 | 1,000 | 55,000 | 130,000 | 30,000 |",
        ] {
            assert!(text.contains(row), "no {row} in {text}");
        }
    }
}

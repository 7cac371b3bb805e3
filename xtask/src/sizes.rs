//! `cargo xtask sizes`: builds small frontends with the client crate, the page, and the clients of other realtime
//! servers, and writes what a browser loads of each.

use crate::{page, run, tools};
use anyhow::Context;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Where the frontends and the other clients are built.
const FOLDER: &str = "target/sizes";

/// The frontends of `sizes/frontends`: each with the features that it needs.
const FRONTENDS: [(&str, &str); 7] = [
    ("raw", ""),
    ("gloo", ""),
    ("socket", ""),
    ("client", "session"),
    ("talc", "session"),
    ("stored", "session"),
    ("traced", "trace"),
];

/// The other clients, each with a script that sends and receives messages with it: their versions are in Cargo.toml.
const PEERS: [(&str, &str); 4] = [
    (
        "centrifuge",
        r#"import { Centrifuge } from "centrifuge";
        const client = new Centrifuge("wss://example.org/ws");
        const room = client.newSubscription("lobby");
        room.on("publication", (message) => document.body.append(message.data));
        room.subscribe();
        client.connect();
        document.onclick = () => room.publish("hello");"#,
    ),
    (
        "partysocket",
        r#"import PartySocket from "partysocket";
        const socket = new PartySocket({ host: "example.org", room: "lobby" });
        socket.addEventListener("message", (message) => document.body.append(message.data));
        document.onclick = () => socket.send("hello");"#,
    ),
    (
        "phoenix",
        r#"import { Socket } from "phoenix";
        const socket = new Socket("/socket");
        socket.connect();
        const room = socket.channel("lobby");
        room.on("message", (message) => document.body.append(message.text));
        room.join();
        document.onclick = () => room.push("message", { text: "hello" });"#,
    ),
    (
        "socket.io-client",
        r#"import { io } from "socket.io-client";
        const socket = io();
        socket.on("message", (message) => document.body.append(message));
        document.onclick = () => socket.emit("message", "hello");"#,
    ),
];

#[derive(clap::Args)]
pub(crate) struct SizesArgs {
    /// Print the sizes of these frontends and write nothing: raw, gloo, socket, client, talc, stored, traced
    #[arg(value_name = "FRONTEND")]
    only: Vec<String>,
    /// Keep the names of functions, to see in tools what is large; the sizes are larger then
    #[arg(long, requires = "only")]
    names: bool,
}

/// Builds and measures all of it.
///
/// # Errors
/// Something does not build, or is larger than its budget.
pub(crate) fn run(arguments: &SizesArgs) -> anyhow::Result<()> {
    page::set_up()?;
    let folder = Path::new(FOLDER);
    let mut report = run::cargo();
    report.args(["run", "--quiet", "--package", "talkback-sizes", "--"]);
    if arguments.only.is_empty() {
        for (name, features) in FRONTENDS {
            frontend(name, features, false)?;
        }
        peers(folder)?;
        page::build()?;
        report.args(["--page", page::DIST, "--out", "docs"]);
    } else {
        for only in &arguments.only {
            let known = FRONTENDS.iter().find(|(name, _)| name == only);
            let (name, features) = known.with_context(|| format!("there is no frontend {only}: see --help"))?;
            frontend(name, features, arguments.names)?;
            report.arg("--only").arg(only);
        }
    }
    run::succeed(report.arg("--built").arg(folder))
}

/// Builds a frontend as Trunk builds the page: the same profile, wasm-bindgen, wasm-opt, and esbuild for the glue.
fn frontend(name: &str, features: &str, names: bool) -> anyhow::Result<()> {
    const TARGET: &str = "wasm32-unknown-unknown";
    let mut build = run::cargo();
    build
        .args(["build", "--package", "talkback-frontends", "--bin", name])
        .args(["--no-default-features", "--features", features])
        .args(["--target", TARGET, "--profile", page::PROFILE])
        .envs(page::without_paths());
    run::succeed(&mut build)?;
    let built = run::target().join(TARGET).join(page::PROFILE).join(name);
    let folder = Path::new(FOLDER).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    let mut bindgen = Command::new("wasm-bindgen");
    bindgen.args(["--target", "web", "--no-typescript", "--remove-producers-section"]);
    if !names {
        bindgen.arg("--remove-name-section");
    }
    bindgen.arg("--out-dir");
    run::succeed(bindgen.arg(&folder).arg(built.with_extension("wasm")))?;
    let Some(programs) = tools::npm_programs() else {
        return Ok(());
    };
    let binary = folder.join(format!("{name}_bg.wasm"));
    let mut optimise = Command::new(programs.join("wasm-opt"));
    optimise.args(page::WASM_OPT).arg("-o").arg(&binary).arg(&binary);
    if names {
        optimise.arg("-g");
    }
    run::succeed(&mut optimise)?;
    let glue = folder.join(format!("{name}.js"));
    let mut minify = Command::new(programs.join("esbuild"));
    minify.args(["--minify", "--log-level=warning", "--allow-overwrite"]);
    run::succeed(minify.arg(outfile(&glue)).arg(&glue))
}

/// Bundles the other clients, where npm is.
fn peers(folder: &Path) -> anyhow::Result<()> {
    let Some(programs) = tools::npm_programs() else {
        eprintln!("xtask: there is no npm: the clients of other servers are left out");
        return Ok(());
    };
    let folder = folder.join("npm");
    let packages = PEERS.map(|(name, _)| Ok(format!("{name}@{}", tools::peer(name)?)));
    let packages = packages.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    tools::npm_install(&folder, &packages)?;
    for (name, script) in PEERS {
        let entry = folder.join(format!("{name}.entry.js"));
        fs::write(&entry, script)?;
        let mut bundle = Command::new(programs.join("esbuild"));
        bundle.args(["--bundle", "--minify", "--format=esm", "--log-level=warning"]);
        run::succeed(bundle.arg(outfile(&folder.join(format!("{name}.js")))).arg(&entry))?;
    }
    Ok(())
}

fn outfile(path: &Path) -> PathBuf {
    let mut argument = std::ffi::OsString::from("--outfile=");
    argument.push(path);
    argument.into()
}

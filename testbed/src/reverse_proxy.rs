//! A real reverse proxy in front of servers, as a process, with the configuration that docs/ recommends.

use crate::unpacked;
use std::{
    fmt::Write,
    fs, io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};
use talkback_launch::{Lines, Process};
use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    time::{Instant, sleep},
};

/// The timeout until it listens.
const DEADLINE: Duration = Duration::from_secs(20);
/// A port that is free may be taken by another program before the reverse proxy listens on it.
const ATTEMPTS: usize = 5;
/// What both say then.
const IN_USE: &str = "address already in use";

const NGINX_SITE: &str = include_str!("../../docs/nginx.conf");
const CADDY_SITE: &str = include_str!("../../docs/Caddyfile");

/// A program that is a reverse proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyProgram {
    /// nginx with docs/nginx.conf.
    Nginx,
    /// Caddy with docs/Caddyfile.
    Caddy,
}

/// A running reverse proxy with a folder of its own. It is killed when dropped, and the folder is deleted.
#[derive(Debug)]
pub struct ReverseProxy {
    // Before the folder: it writes there until it has ended.
    _process: Process,
    _directory: TempDir,
    address: SocketAddr,
}

impl ReverseProxy {
    /// Starts it on a free loopback port in front of these servers, which may start later, and waits until it listens. Its
    /// configuration is that of docs/ with this port, these servers and, for Caddy, without TLS.
    ///
    /// The program is the one on the PATH, or else the one that `cargo xtask test --tier native` has unpacked.
    ///
    /// # Errors
    /// There is no such program, or it does not listen within 20 s; the text has its log. Or the configuration of docs/ has
    /// not the form that is replaced.
    pub async fn start(program: ProxyProgram, servers: &[SocketAddr]) -> io::Result<Self> {
        let mut attempt = 1;
        loop {
            let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
            let directory = TempDir::new()?;
            let mut process = program.spawn(directory.path(), address, servers)?;
            let log = Lines::default();
            if let Some(stderr) = process.take_stderr() {
                log.collect(stderr);
            }
            match listens(&mut process, address, &log).await {
                Ok(()) => {
                    return Ok(Self {
                        _process: process,
                        _directory: directory,
                        address,
                    });
                }
                Err(error) if attempt < ATTEMPTS && error.to_string().to_lowercase().contains(IN_USE) => attempt += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// The address on which it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn listens(process: &mut Process, address: SocketAddr, log: &Lines) -> io::Result<()> {
    let until = Instant::now() + DEADLINE;
    while TcpStream::connect(address).await.is_err() {
        if Instant::now() >= until || process.try_wait()?.is_some() {
            let text = log.all().join("\n");
            return Err(io::Error::other(format!("the reverse proxy does not listen:\n{text}")));
        }
        sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

impl ProxyProgram {
    fn spawn(self, directory: &Path, address: SocketAddr, servers: &[SocketAddr]) -> io::Result<Process> {
        let (name, text) = match self {
            Self::Nginx => ("nginx", nginx(address, servers)?),
            Self::Caddy => ("caddy", caddy(address, servers)?),
        };
        let file = directory.join(name);
        fs::write(&file, text)?;
        let mut command = unpacked::command(name, name)?;
        match self {
            Self::Nginx => command.arg("-p").arg(directory).args(["-e", "stderr", "-c"]).arg(&file),
            Self::Caddy => caddy_run(&mut command, directory).arg(&file),
        };
        let (stdin, stdout) = (Stdio::null(), Stdio::null());
        Process::spawn_group(command.stdin(stdin).stdout(stdout).stderr(Stdio::piped()))
    }
}

fn caddy_run<'c>(command: &'c mut Command, directory: &Path) -> &'c mut Command {
    // Where it would keep certificates.
    for variable in ["HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"] {
        command.env(variable, directory);
    }
    command.args(["run", "--adapter", "caddyfile", "--config"])
}

/// The site of docs/ as a whole configuration: one process in the foreground, with all files in its own folder.
fn nginx(address: SocketAddr, servers: &[SocketAddr]) -> io::Result<String> {
    let mut text = "daemon off;\nmaster_process off;\npid pid;\nerror_log stderr;\n\
                    events { worker_connections 4096; }\nhttp {\naccess_log off;\n"
        .to_owned();
    for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        let _ = writeln!(text, "{kind}_temp_path {kind};");
    }
    let (mut ports, mut upstreams) = (0, 0);
    for line in NGINX_SITE.lines() {
        let words = line.trim_start();
        if words.starts_with("listen ") {
            if ports == 0 {
                let _ = writeln!(text, "listen {address};");
            }
            ports += 1;
        } else if let Some(upstream) = words.strip_prefix("server 127.0.0.1:") {
            if upstreams == 0 {
                let options = upstream.trim_start_matches(|c: char| c.is_ascii_digit());
                for server in servers {
                    let _ = writeln!(text, "server {server}{options}");
                }
            }
            upstreams += 1;
        } else {
            let _ = writeln!(text, "{line}");
        }
    }
    text.push_str("}\n");
    if ports == 0 || upstreams == 0 {
        return Err(io::Error::other(
            "docs/nginx.conf needs a line `listen PORT;` and a line `server 127.0.0.1:PORT ...;`",
        ));
    }
    Ok(text)
}

/// The site of docs/ with this address instead of its name, without TLS and without a port for administration.
fn caddy(address: SocketAddr, servers: &[SocketAddr]) -> io::Result<String> {
    const SITE: &str = "\nchat.example.com {\n";
    const SERVERS: &str = "reverse_proxy 127.0.0.1:3001 127.0.0.1:3002 {";
    if !CADDY_SITE.contains(SITE) || !CADDY_SITE.contains(SERVERS) {
        return Err(io::Error::other(format!(
            "docs/Caddyfile needs the lines `{}` and `{SERVERS}`",
            SITE.trim()
        )));
    }
    let any_name = format!("\nhttp://:{} {{\nbind {}\n", address.port(), address.ip());
    let servers: Vec<_> = servers.iter().map(ToString::to_string).collect();
    let site = CADDY_SITE
        .replace(SITE, &any_name)
        .replace(SERVERS, &format!("reverse_proxy {} {{", servers.join(" ")));
    Ok(format!("{{\nadmin off\n}}\n{site}"))
}

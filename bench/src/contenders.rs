//! The servers, how each is started, and what each is asked to do.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::{
    clients::Target,
    process::{Cores, Server},
    session,
    suite::Shape,
};

/// As it ships, but for the limits of new connections, of connections of one address, and of messages, bytes and deliveries a second: all
/// clients have one address, and do what they do as fast as they can.
const TALKBACK: [&str; 16] = [
    "--listen",
    "127.0.0.1:0",
    "--max-connection-rate",
    "0",
    "--address-connection-rate",
    "0",
    "--max-address-connections",
    "65536",
    "--session-line-rate",
    "0",
    "--session-byte-rate",
    "0",
    "--room-delivery-rate",
    "0",
    "--log",
    "error",
];

/// A server under measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contender {
    /// Plain TCP on one epoll loop: what the system itself costs.
    Tcp,
    /// axum with 4 KiB buffers that flushes each message.
    AxumEach,
    /// axum with 4 KiB buffers that feeds what is there and flushes once.
    AxumBatch,
    /// fastwebsockets on hyper.
    FastWebSockets,
    /// uWebSockets in C++.
    UWebSockets,
    /// This project's server, as it ships: plain WebSockets.
    Talkback,
    /// The same server: sessions of `talkback.v1`.
    Session,
}

impl Contender {
    /// Every contender, in the order of the tables.
    pub const ALL: [Self; 7] = [
        Self::Tcp,
        Self::AxumEach,
        Self::AxumBatch,
        Self::FastWebSockets,
        Self::UWebSockets,
        Self::Talkback,
        Self::Session,
    ];

    /// Its name in tables and plots.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "plain TCP (the limit)",
            Self::AxumEach => "axum, flushing each message",
            Self::AxumBatch => "axum, flushing each batch",
            Self::FastWebSockets => "fastwebsockets",
            Self::UWebSockets => "uWebSockets",
            Self::Talkback => "Talkback",
            Self::Session => "Talkback, session",
        }
    }

    /// Whether it can do this.
    #[must_use]
    pub fn can(self, shape: Shape) -> bool {
        match shape {
            Shape::Echo { .. } => self != Self::Session,
            Shape::FanOut { .. } => matches!(self, Self::Tcp | Self::UWebSockets | Self::Talkback | Self::Session),
        }
    }

    /// What a room puts in front of a text.
    #[must_use]
    pub fn room_prefix(self) -> &'static str {
        if self == Self::Talkback { "[bench] " } else { "" }
    }

    /// The program's file name and arguments.
    #[must_use]
    pub fn command(self, shape: Shape) -> (&'static str, Vec<&'static str>) {
        let fan_out = matches!(shape, Shape::FanOut { .. });
        match self {
            Self::Tcp => (
                "reference-tcp",
                vec!["--mode", if fan_out { "fan-out" } else { "echo" }],
            ),
            Self::AxumEach => ("reference-axum", vec!["--mode", "each"]),
            Self::AxumBatch => ("reference-axum", vec!["--mode", "batch"]),
            Self::FastWebSockets => ("reference-fastwebsockets", vec![]),
            Self::UWebSockets => ("uwebsockets", vec![]),
            Self::Talkback | Self::Session => ("talkback-server", TALKBACK.to_vec()),
        }
    }

    fn path(self, shape: Shape) -> Option<String> {
        let path = match shape {
            _ if self == Self::Session => session::PATH,
            Shape::Echo { .. } => "/echo",
            Shape::FanOut { .. } => "/chat/bench?name=bench",
        };
        (self != Self::Tcp).then(|| path.to_owned())
    }
}

/// Where the programs are.
#[derive(Clone, Debug)]
pub struct Programs {
    folder: PathBuf,
    uwebsockets: Option<PathBuf>,
}

impl Programs {
    /// The programs beside this one, and `uwebsockets` where it was compiled.
    ///
    /// # Errors
    /// When Talkback's server or a reference server is not there.
    pub fn find(uwebsockets: Option<PathBuf>) -> Result<Self> {
        let own = std::env::current_exe()?;
        let folder = own.parent().context("this program is in no folder")?.to_owned();
        let programs = Self { folder, uwebsockets };
        for contender in Contender::ALL {
            if let Some(program) = programs.path(contender) {
                let there = program.is_file();
                ensure!(
                    there,
                    "{} is not built: start the bench with `cargo xtask bench`",
                    program.display()
                );
            }
        }
        Ok(programs)
    }

    /// The contenders that can be measured here.
    #[must_use]
    pub fn contenders(&self) -> Vec<Contender> {
        Contender::ALL
            .into_iter()
            .filter(|&contender| self.path(contender).is_some())
            .collect()
    }

    /// Starts a contender on the server's core.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(&self, contender: Contender, shape: Shape, cores: Cores) -> Result<(Server, Target)> {
        let program = self.path(contender).context("uWebSockets was not compiled")?;
        let server = Server::start(cores, &program, &contender.command(shape).1)?;
        let target = Target {
            address: server.address(),
            path: contender.path(shape),
        };
        Ok((server, target))
    }

    fn path(&self, contender: Contender) -> Option<PathBuf> {
        match contender {
            Contender::UWebSockets => self.uwebsockets.clone(),
            _ => Some(in_folder(&self.folder, contender)),
        }
    }
}

fn in_folder(folder: &Path, contender: Contender) -> PathBuf {
    folder.join(contender.command(Shape::IDLE).0)
}

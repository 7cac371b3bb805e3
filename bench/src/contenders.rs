//! The servers, how each is started, and under which loads each is measured.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::{
    clients::Target,
    process::{Cores, Place, Server},
    session,
    suite::Shape,
};

/// Listens on a free port.
const LISTEN: [&str; 2] = ["--listen", "127.0.0.1:0"];

/// An option that switches a limit off, and the reason.
#[derive(Clone, Copy, Debug)]
pub struct SwitchedOff {
    /// The flag, with its dashes.
    pub option: &'static str,
    /// The value that switches the limit off.
    pub value: &'static str,
    /// Why the comparison is fair with it.
    pub why: &'static str,
}

/// The limits that are switched off in Talkback, except where it is measured with its defaults. All other options have
/// their defaults.
pub const TALKBACK: [SwitchedOff; 7] = [
    SwitchedOff {
        option: "--max-connection-rate",
        value: "0",
        why: "the clients connect as fast as they can before the measurement; no other server limits this rate",
    },
    SwitchedOff {
        option: "--address-connection-rate",
        value: "0",
        why: "the same: thousands of clients have one address here, as behind a proxy that is not trusted",
    },
    SwitchedOff {
        option: "--max-address-connections",
        value: "65536",
        why: "the same, when the server is more than half full",
    },
    SwitchedOff {
        option: "--session-line-rate",
        value: "0",
        why: "the clients send as fast as answers arrive; with this limit the server would wait, not work",
    },
    SwitchedOff {
        option: "--session-byte-rate",
        value: "0",
        why: "the same",
    },
    SwitchedOff {
        option: "--room-delivery-rate",
        value: "0",
        why: "one room has all deliveries that the core can process",
    },
    SwitchedOff {
        option: "--log",
        value: "error",
        why: "no other server logs connections",
    },
];

/// A server under measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contender {
    /// Plain TCP on one epoll loop: the cost of the system itself.
    Tcp,
    /// axum with 4 KiB buffers that flushes each message.
    AxumEach,
    /// axum with 4 KiB buffers that feeds all messages that are ready and flushes once.
    AxumBatch,
    /// fastwebsockets on hyper.
    FastWebSockets,
    /// uWebSockets in C++.
    UWebSockets,
    /// This project's server without the limits of [`TALKBACK`]: plain WebSockets.
    Talkback,
    /// The same server: sessions of `talkback.v1`.
    Session,
    /// Sessions, with a thread on every core of the machine.
    AllCores,
    /// Talkback with default limits: an echo, or sessions in a room.
    DefaultLimits,
    /// An earlier version of Talkback's server, if one is given: plain WebSockets.
    Before,
    /// The same earlier version: sessions.
    BeforeSession,
}

impl Contender {
    /// Every contender, in the order of the tables.
    pub const ALL: [Self; 11] = [
        Self::Tcp,
        Self::AxumEach,
        Self::AxumBatch,
        Self::FastWebSockets,
        Self::UWebSockets,
        Self::Talkback,
        Self::Session,
        Self::AllCores,
        Self::DefaultLimits,
        Self::Before,
        Self::BeforeSession,
    ];

    /// The name in tables and plots.
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
            Self::AllCores => "Talkback, session, all cores",
            Self::DefaultLimits => "Talkback, default limits",
            Self::Before => "Talkback before",
            Self::BeforeSession => "Talkback before, session",
        }
    }

    /// Whether the report compares `own` with it.
    #[must_use]
    pub fn is_rival_of(self, own: Self) -> bool {
        match self {
            Self::Before => own == Self::Talkback,
            Self::BeforeSession => own == Self::Session,
            _ => own.is_talkback() && !self.is_talkback(),
        }
    }

    /// Whether it is the current version of this project's server.
    #[must_use]
    pub fn is_talkback(self) -> bool {
        matches!(
            self,
            Self::Talkback | Self::Session | Self::AllCores | Self::DefaultLimits
        )
    }

    /// Whether it is measured under this load.
    #[must_use]
    pub fn can(self, shape: Shape) -> bool {
        match shape {
            Shape::Echo { .. } => match self {
                Self::DefaultLimits => shape == Shape::ECHO_DEFAULT_LIMITS,
                _ => !matches!(self, Self::Session | Self::AllCores | Self::BeforeSession),
            },
            Shape::FanOut { .. } => matches!(
                self,
                Self::Tcp
                    | Self::AxumBatch
                    | Self::UWebSockets
                    | Self::Talkback
                    | Self::Session
                    | Self::Before
                    | Self::BeforeSession
            ),
            Shape::Paced { .. } => matches!(self, Self::Session | Self::DefaultLimits),
            Shape::Append { .. } => matches!(self, Self::Session | Self::AllCores),
            Shape::Join { .. } => self == Self::Session,
        }
    }

    /// What is switched off in a reference server, and the reason.
    #[must_use]
    pub fn leaves_out(self) -> Option<(&'static str, &'static str)> {
        let lean = "there is nothing else to switch off: it has no rate limits, no connection limits, no timers, \
                    no checks of host and origin";
        match self {
            Self::Tcp => Some((
                "HTTP, WebSocket, every limit and timer",
                "it is the lower limit: the cost of the system itself",
            )),
            Self::AxumEach => Some(("buffers of 4 KiB instead of 128 KiB", lean)),
            Self::AxumBatch => Some((
                "buffers of 4 KiB instead of 128 KiB; in a room a member more than 1,024 messages behind is dropped",
                lean,
            )),
            Self::FastWebSockets => Some(("nothing", lean)),
            Self::UWebSockets => Some((
                "TLS and compression, at compile time; messages of up to 64 KiB instead of 16 KiB",
                "no other server has them here; its idle timeout, its pings and its limit of a client's queue are on",
            )),
            _ => None,
        }
    }

    /// Whether its memory with idle connections is measured: plain TCP holds no memory per connection, and a server
    /// that is listed twice is measured once.
    #[must_use]
    pub fn can_idle(self) -> bool {
        !matches!(self, Self::Tcp | Self::AllCores | Self::DefaultLimits)
    }

    /// The text that a room puts before each message.
    #[must_use]
    pub fn room_prefix(self) -> &'static str {
        match self {
            Self::Talkback | Self::Before => "[bench] ",
            _ => "",
        }
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
            Self::Talkback | Self::Session | Self::AllCores => {
                let options = TALKBACK.iter().flat_map(|off| [off.option, off.value]);
                ("talkback-server", LISTEN.into_iter().chain(options).collect())
            }
            // The other options of an earlier version are given with its program.
            Self::DefaultLimits | Self::Before | Self::BeforeSession => ("talkback-server", LISTEN.to_vec()),
        }
    }

    fn place(self) -> Place {
        match self {
            Self::AllCores => Place::AllCores,
            _ => Place::OwnCore,
        }
    }

    /// The destination of its log: by default Talkback logs connections, which would fill the terminal.
    fn log(self) -> Stdio {
        match self {
            Self::DefaultLimits => Stdio::null(),
            _ => Stdio::inherit(),
        }
    }

    fn path(self, shape: Shape) -> Option<String> {
        let path = match shape {
            _ if matches!(self, Self::Session | Self::AllCores | Self::BeforeSession) => session::PATH,
            Shape::Echo { .. } => "/echo",
            Shape::FanOut { .. } => "/chat/bench?name=bench",
            Shape::Paced { .. } | Shape::Append { .. } | Shape::Join { .. } => session::PATH,
        };
        (self != Self::Tcp).then(|| path.to_owned())
    }
}

/// The paths of the servers' programs.
#[derive(Clone, Debug)]
pub struct Programs {
    folder: PathBuf,
    others: Others,
}

/// Programs that are not in the folder of this program.
#[derive(Args, Clone, Debug, Default)]
pub struct Others {
    /// The program of reference/uwebsockets.cpp; without it uWebSockets is not measured
    #[arg(long, value_name = "PROGRAM")]
    uwebsockets: Option<PathBuf>,
    /// The program of an earlier talkback-server, for comparison
    #[arg(long, value_name = "PROGRAM")]
    before: Option<PathBuf>,
    /// An option of the earlier talkback-server, such as --before-option=--session-line-rate=0; may be repeated
    #[arg(long, value_name = "OPTION", requires = "before")]
    before_option: Vec<String>,
}

impl Programs {
    /// The programs in the folder of this program, and the others if they are given.
    ///
    /// # Errors
    /// When Talkback's server or a reference server is not built.
    pub fn find(others: Others) -> Result<Self> {
        let own = std::env::current_exe()?;
        let folder = own
            .parent()
            .context("the path of this program has no folder")?
            .to_owned();
        let programs = Self { folder, others };
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

    /// The contenders whose programs exist.
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
    /// When it does not start or has no program.
    pub fn start(&self, contender: Contender, shape: Shape, cores: Cores) -> Result<(Server, Target)> {
        let program = self.path(contender).context("its program is not given")?;
        let arguments = self.arguments(contender, shape);
        let server = Server::start(cores, contender.place(), &program, &arguments, contender.log())?;
        let target = Target {
            address: server.address(),
            path: contender.path(shape),
        };
        Ok((server, target))
    }

    /// The command line of a contender, as text for the report.
    #[must_use]
    pub fn command_line(&self, contender: Contender) -> String {
        let mut command = vec![contender.command(Shape::IDLE).0];
        command.extend(self.arguments(contender, Shape::IDLE));
        command.join(" ")
    }

    fn arguments(&self, contender: Contender, shape: Shape) -> Vec<&str> {
        let mut arguments = contender.command(shape).1;
        if matches!(contender, Contender::Before | Contender::BeforeSession) {
            arguments.extend(self.others.before_option.iter().map(String::as_str));
        }
        arguments
    }

    fn path(&self, contender: Contender) -> Option<PathBuf> {
        match contender {
            Contender::UWebSockets => self.others.uwebsockets.clone(),
            Contender::Before | Contender::BeforeSession => self.others.before.clone(),
            _ => Some(in_folder(&self.folder, contender)),
        }
    }
}

fn in_folder(folder: &Path, contender: Contender) -> PathBuf {
    folder.join(contender.command(Shape::IDLE).0)
}

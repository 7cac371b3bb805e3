//! The processes of one measurement: servers, Redis, files.

use std::{path::Path, process::Stdio, time::Duration};

use anyhow::{Context, Result};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::{
    clients::Target,
    contenders::TALKBACK,
    process::{self, Cores, Place, Server},
    session,
};

/// Limits that are switched off beside those of [`TALKBACK`], because the clients have one address and make all rooms.
pub(crate) const LIMITS: [(&str, &str); 9] = [
    ("--address-room-rate", "0"),
    ("--new-rooms-burst", "100000"),
    ("--new-rooms-per-minute", "0"),
    ("--max-rooms", "20000"),
    ("--max-room-members", "20000"),
    ("--log-rooms", "20000"),
    ("--remember-clients", "1000000"),
    ("--remember-bytes", "2GiB"),
    ("--engine-room-queue-bytes", "64MiB"),
];
/// The room in the chat with Channels.
const CHANNELS_PATH: &str = "/ws/chat/bench/";
const CHANNELS_PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/reference/channels_chat.py");

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A server with logs in memory.
    Memory,
    /// A server with logs in a file.
    Sqlite,
    /// A server with logs in Redis.
    Redis,
    /// Two servers with logs in one Redis.
    TwoServers,
    /// A process with Channels, and Redis.
    Channels,
    /// Two of them with one Redis.
    TwoChannels,
}

impl Kind {
    /// One server with each engine.
    pub(crate) const ENGINES: [Self; 3] = [Self::Memory, Self::Sqlite, Self::Redis];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Sqlite => "sqlite",
            Self::Redis => "redis",
            Self::TwoServers => "redis, two servers",
            Self::Channels => "Channels",
            Self::TwoChannels => "Channels, two servers",
        }
    }

    pub(crate) fn is_channels(self) -> bool {
        matches!(self, Self::Channels | Self::TwoChannels)
    }

    fn has_redis(self) -> bool {
        !matches!(self, Self::Memory | Self::Sqlite)
    }
}

/// Running processes. They are killed when dropped.
pub(crate) struct Stack {
    kind: Kind,
    servers: Vec<Server>,
    redis: Option<talkback_testbed::Redis>,
    _directory: TempDir,
}

/// CPU time so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cpu {
    pub(crate) servers: Duration,
    pub(crate) redis: Duration,
}

impl Cpu {
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            servers: self.servers.saturating_sub(before.servers),
            redis: self.redis.saturating_sub(before.redis),
        }
    }
}

impl Stack {
    /// Starts Redis alone, on the servers' core.
    ///
    /// # Errors
    /// It does not start.
    pub(crate) fn start_redis(cores: Cores, runtime: &Runtime) -> Result<talkback_testbed::Redis> {
        let start = || Ok(runtime.block_on(talkback_testbed::Redis::start(&[]))?);
        cores.on_server_core(start).context("Redis does not start")
    }

    /// Starts the processes, all on the servers' core.
    ///
    /// # Errors
    /// One does not start.
    pub(crate) fn start(
        kind: Kind,
        folder: &Path,
        python: Option<&Path>,
        cores: Cores,
        runtime: &Runtime,
    ) -> Result<Self> {
        let directory = TempDir::new()?;
        let redis = kind
            .has_redis()
            .then(|| Self::start_redis(cores, runtime))
            .transpose()?;
        let engine = match (&redis, kind) {
            (Some(redis), _) => redis.url(),
            (None, Kind::Sqlite) => format!("sqlite:{}", directory.path().join("log.db").display()),
            (None, _) => "memory".to_owned(),
        };
        let is_pair = matches!(kind, Kind::TwoServers | Kind::TwoChannels);
        let servers = (0..if is_pair { 2 } else { 1 }).map(|_| {
            let (program, arguments) = match (kind.is_channels(), &redis) {
                (true, Some(redis)) => {
                    let port = redis.address().port().to_string();
                    let python = python.context("--python is not given")?;
                    (python.to_owned(), vec![CHANNELS_PROGRAM.to_owned(), port])
                }
                _ => (folder.join("talkback-server"), options(&engine)),
            };
            Server::start(cores, Place::OwnCore, &program, &arguments, Stdio::inherit())
        });
        Ok(Self {
            kind,
            servers: servers.collect::<Result<_>>()?,
            redis,
            _directory: directory,
        })
    }

    /// The WebSocket of the first or the second server.
    pub(crate) fn target(&self, server: usize) -> Target {
        let path = if self.is_channels() {
            CHANNELS_PATH
        } else {
            session::PATH
        };
        Target {
            address: self.servers[server].address(),
            path: Some(path.to_owned()),
        }
    }

    /// The last server.
    pub(crate) fn last(&self) -> Target {
        self.target(self.servers.len() - 1)
    }

    pub(crate) fn is_channels(&self) -> bool {
        self.kind.is_channels()
    }

    pub(crate) fn has_redis(&self) -> bool {
        self.redis.is_some()
    }

    /// The resident memory of all servers in bytes.
    ///
    /// # Errors
    /// One has ended.
    pub(crate) fn memory(&self) -> Result<u64> {
        self.servers.iter().map(Server::memory).sum()
    }

    /// The CPU time of all processes so far.
    ///
    /// # Errors
    /// One has ended.
    pub(crate) fn cpu(&self) -> Result<Cpu> {
        let servers = self.servers.iter().map(Server::cpu_time).sum::<Result<_>>()?;
        let redis = self.redis.as_ref().map(|redis| process::cpu_time(redis.process_id()));
        Ok(Cpu {
            servers,
            redis: redis.transpose()?.unwrap_or_default(),
        })
    }
}

fn options(engine: &str) -> Vec<String> {
    let off = TALKBACK.iter().map(|off| (off.option, off.value));
    let options = [("--listen", "127.0.0.1:0"), ("--engine", engine)];
    let all = options.into_iter().chain(off).chain(LIMITS);
    all.flat_map(|(option, value)| [option.to_owned(), value.to_owned()])
        .collect()
}

use std::{fmt, path::PathBuf, str::FromStr};

use serde::{Serialize, Serializer};

#[cfg(feature = "redis")]
use crate::engine::RedisUrl;

/// Where the logs are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineOption {
    /// `memory`: in this process, until it ends.
    Memory,
    /// `sqlite:PATH`: in this file.
    Sqlite(PathBuf),
    /// `redis://HOST:PORT` and the other forms of [`RedisUrl`]: in this Redis, together with other servers.
    #[cfg(feature = "redis")]
    Redis(RedisUrl),
}

/// The text of an [`EngineOption`] that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSuchEngine {
    /// It names no engine.
    #[error(
        "write `memory`, or `sqlite:` and the path of a file, such as sqlite:/var/lib/talkback/log.db, or the URL of a \
         Redis, such as redis://localhost"
    )]
    Unknown,
    /// The URL of a Redis is wrong, or this program cannot use one.
    #[error("{0}")]
    Redis(String),
}

#[cfg(feature = "redis")]
fn redis(url: &str) -> Result<EngineOption, NoSuchEngine> {
    url.parse().map(EngineOption::Redis).map_err(NoSuchEngine::Redis)
}

#[cfg(not(feature = "redis"))]
fn redis(_: &str) -> Result<EngineOption, NoSuchEngine> {
    let why = "this program is built without Redis: build it with the feature `redis`";
    Err(NoSuchEngine::Redis(why.to_owned()))
}

/// The schemes of the URL of a Redis.
const REDIS: [&str; 10] = [
    "redis",
    "rediss",
    "redis+unix",
    "unix",
    "valkey",
    "valkeys",
    "redis+cluster",
    "rediss+cluster",
    "valkey+cluster",
    "valkeys+cluster",
];

impl FromStr for EngineOption {
    type Err = NoSuchEngine;

    fn from_str(text: &str) -> Result<Self, NoSuchEngine> {
        match text.split_once(':') {
            None if text == "memory" => Ok(Self::Memory),
            Some(("sqlite", path)) if !path.is_empty() => Ok(Self::Sqlite(path.into())),
            Some((scheme, _)) if REDIS.contains(&scheme) => redis(text),
            _ => Err(NoSuchEngine::Unknown),
        }
    }
}

impl fmt::Display for EngineOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory"),
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            #[cfg(feature = "redis")]
            Self::Redis(url) => url.fmt(f),
        }
    }
}

impl Serialize for EngineOption {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_is_read_as_it_is_written_and_everything_else_says_what_to_write() {
        for text in ["memory", "sqlite:log.db", "sqlite:/a b/c:d.db"] {
            assert_eq!(text.parse::<EngineOption>().unwrap().to_string(), text);
        }
        for text in ["", "Memory", "sqlite", "sqlite:", "memory:", "http://localhost"] {
            let error = text.parse::<EngineOption>().unwrap_err().to_string();
            assert!(error.contains("sqlite:"), "{text}: {error}");
        }
        #[cfg(feature = "redis")]
        for (text, shown) in [
            ("redis://localhost:6380/1", "redis://localhost:6380/1"),
            ("unix:///run/redis.sock", "unix:///run/redis.sock"),
            ("redis://ann:hunter2@localhost", "redis://ann:(secret)@localhost"),
        ] {
            assert_eq!(text.parse::<EngineOption>().unwrap().to_string(), shown);
        }
        let error = "redis://".parse::<EngineOption>().unwrap_err().to_string();
        assert!(error.contains("redis"), "{error}");
    }
}

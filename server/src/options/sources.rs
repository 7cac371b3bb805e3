//! Reads settings from the command line, the environment and a file, and checks them.

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
};

use clap::{Command, CommandFactory, FromArgMatches};

use super::{Action, AppOptions};

const PREFIX: &str = "TALKBACK_";
/// Arguments that are not settings.
const NOT_SETTINGS: [&str; 4] = ["action", "config", "help", "version"];

/// Why settings were refused.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    /// A flag or variable has a wrong value, or `--help` was asked for; [`clap::Error::exit`] prints it.
    #[error(transparent)]
    Arguments(#[from] clap::Error),
    /// The file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// The file is not TOML, or a value in it is wrong.
    #[error("{}: {message}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        message: String,
    },
    /// A value of an [`AppOptions`] is out of its range, or two values contradict each other.
    #[error("{0}")]
    Invalid(String),
    /// The file or the environment has a key or variable that does not exist.
    #[error("unknown {place} `{name}`{}", suggestion.as_ref().map(|name| format!(": did you mean `{name}`?")).unwrap_or_default())]
    Unknown {
        /// The file, or `environment variable`.
        place: String,
        /// The key or variable.
        name: String,
        /// The most similar known key or variable.
        suggestion: Option<String>,
    },
}

impl AppOptions {
    /// Reads the command line, the environment and the file that they name.
    ///
    /// # Errors
    /// [`OptionsError`], with the name of the flag, variable or key.
    pub fn load() -> Result<Self, OptionsError> {
        let options = Self::from_command_line(std::env::args_os())?;
        if let Some(unknown) = unknown_variable(std::env::vars_os().map(|(name, _)| name)) {
            // The variable may belong to another program, so only `check` fails.
            if options.action == Some(Action::Check) {
                return Err(unknown);
            }
            eprintln!("warning: {unknown}");
        }
        Ok(options)
    }

    /// Reads this command line, the process's environment, and the file that they name.
    ///
    /// # Errors
    /// [`OptionsError`], with the name of the flag, variable or key.
    pub fn from_command_line(args: impl IntoIterator<Item = OsString>) -> Result<Self, OptionsError> {
        let args: Vec<_> = args.into_iter().collect();
        let command = with_environment(Self::command());
        let mut matches = command.clone().try_get_matches_from(&args)?;
        if let Some(path) = matches.get_one::<PathBuf>("config").cloned() {
            let malformed = |message| OptionsError::Malformed {
                path: path.clone(),
                message,
            };
            let text = std::fs::read_to_string(&path).map_err(|error| OptionsError::Unreadable {
                path: path.clone(),
                error,
            })?;
            let table = text
                .parse::<toml::Table>()
                .map_err(|error| malformed(error.to_string()))?;
            matches = with_table(command, &path, table)?
                .try_get_matches_from(&args)
                .map_err(|error| malformed(first_line(&error)))?;
        }
        let options = Self::from_arg_matches(&matches)?;
        options.check_combinations()?;
        Ok(options)
    }

    /// Checks the ranges of all values, as they are checked when they are read. For options that were not read by
    /// [`load`](Self::load).
    ///
    /// # Errors
    /// [`OptionsError::Invalid`] with the first setting that no server can run with, and its rule.
    pub fn validate(&self) -> Result<(), OptionsError> {
        // The parsers of the flags have the ranges, so each value goes through its parser again.
        let mut table = toml::Table::try_from(self).map_err(|error| OptionsError::Invalid(error.to_string()))?;
        // The texts of keys are not shown, and there is no other way to make one than its parser.
        table.remove("publish-key");
        table.remove("admin-key");
        with_table(Self::command(), Path::new("options"), table)?
            .try_get_matches_from([env!("CARGO_PKG_NAME")])
            .map_err(|error| OptionsError::Invalid(first_line(&error)))?;
        self.check_combinations()
    }

    fn check_combinations(&self) -> Result<(), OptionsError> {
        let error = if !self.ping_interval.is_zero() && self.ping_timeout.is_zero() {
            "--ping-timeout must be more than 0s while --ping-interval sends pings"
        } else if self.answer_bytes < self.max_answer_size {
            "--answer-bytes must be at least --max-answer-size"
        } else {
            return Ok(());
        };
        Err(OptionsError::Invalid(error.to_owned()))
    }
}

fn with_environment(command: Command) -> Command {
    command.mut_args(|arg| {
        let name = arg.get_id().as_str().to_uppercase();
        if name == "ACTION" {
            arg
        } else {
            arg.env(format!("{PREFIX}{name}")).hide_env(true)
        }
    })
}

/// Makes the values of `table` the defaults of their flags.
fn with_table(mut command: Command, path: &Path, table: toml::Table) -> Result<Command, OptionsError> {
    let keys = keys(&command);
    for (key, value) in table {
        if !keys.contains(&key) {
            return Err(OptionsError::Unknown {
                place: format!("key in {}:", path.display()),
                suggestion: nearest(&key, &keys),
                name: key,
            });
        }
        let values = texts(value).ok_or_else(|| OptionsError::Malformed {
            path: path.into(),
            message: format!("`{key}` must be a string, an integer, true or false, or a list of strings"),
        })?;
        command = command.mut_arg(key.replace('-', "_"), |arg| arg.default_values(values));
    }
    Ok(command)
}

/// The keys of all settings.
fn keys(command: &Command) -> Vec<String> {
    let ids = command.get_arguments().map(|arg| arg.get_id().as_str());
    ids.filter(|id| !NOT_SETTINGS.contains(id))
        .map(|id| id.replace('_', "-"))
        .collect()
}

fn texts(value: toml::Value) -> Option<Vec<String>> {
    match value {
        toml::Value::String(text) => Some(vec![text]),
        toml::Value::Integer(number) => Some(vec![number.to_string()]),
        toml::Value::Boolean(flag) => Some(vec![flag.to_string()]),
        toml::Value::Array(values) => values
            .into_iter()
            .map(|value| value.as_str().map(str::to_owned))
            .collect(),
        _ => None,
    }
}

fn unknown_variable(names: impl Iterator<Item = OsString>) -> Option<OptionsError> {
    let variables = |key: &String| format!("{PREFIX}{}", key.replace('-', "_").to_uppercase());
    let mut known: Vec<_> = keys(&AppOptions::command()).iter().map(variables).collect();
    known.push(format!("{PREFIX}CONFIG"));
    let mut names = names.filter_map(|name| name.into_string().ok());
    let name = names.find(|name| name.starts_with(PREFIX) && !known.contains(name))?;
    Some(OptionsError::Unknown {
        place: "environment variable".to_owned(),
        suggestion: nearest(&name, &known),
        name,
    })
}

fn nearest(name: &str, known: &[String]) -> Option<String> {
    let similarity = |candidate: &String| strsim::jaro_winkler(name, candidate);
    let best = known.iter().max_by(|a, b| similarity(a).total_cmp(&similarity(b)))?;
    (similarity(best) > 0.8).then(|| best.clone())
}

fn first_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    line.trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn error(arguments: &[&str]) -> String {
        let arguments = ["talkback-server"].iter().chain(arguments).map(Into::into);
        match AppOptions::from_command_line(arguments) {
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn the_defaults_and_the_values_that_switch_something_off_are_valid() {
        assert_eq!(error(&[]), "");
        AppOptions::default().validate().unwrap();
        for setting in [
            "--ping-interval",
            "--write-timeout",
            "--max-wait",
            "--drain-delay",
            "--drain-time",
            "--presence-grace",
            "--reconnect-spread",
            "--address-delay",
        ] {
            assert_eq!(error(&[setting, "0s"]), "", "{setting}");
        }
        for setting in [
            "--max-connection-rate",
            "--address-connection-rate",
            "--address-request-rate",
            "--address-room-rate",
            "--room-delivery-rate",
            "--workers",
        ] {
            assert_eq!(error(&[setting, "0"]), "", "{setting}");
        }
    }

    #[test]
    fn a_value_out_of_its_range_is_refused_with_the_setting_and_the_range() {
        for (setting, value, rule) in [
            ("max-connections", "0", "must be at least 1"),
            ("queue-messages", "0", "must be at least 1"),
            ("queue-bytes", "0", "must be at least 1B"),
            ("queue-bytes", "16EiB", "must be at most 1TiB"),
            ("log-rooms", "0", "must be at least 1"),
            ("max-page", "0", "must be at least 1"),
            ("max-page", "4294967296", "the number is too large"),
            ("max-in-flight", "0", "must be at least 1"),
            ("flood-messages", "0", "must be at least 1"),
            ("remember-addresses", "0", "must be at least 1"),
            ("max-listed-users", "1801", "must be at most 1800"),
            ("workers", "100000", "must be at most 1024"),
            ("max-message-size", "1KiB", "must be more than 1KiB"),
            ("hello-timeout", "0s", "must be more than 0s"),
            ("header-timeout", "0s", "must be more than 0s"),
            ("log-age", "0s", "must be more than 0s"),
            ("log-age", "500000000000years", "must be at most 10 years"),
            ("write-timeout", "11years", "must be at most 10 years"),
            ("body-timeout", "0s", "must be more than 0s"),
            ("proxy-header", "forwarded", "X-Forwarded-For"),
            ("proxy-header", "a b", "X-Forwarded-For"),
            ("trust-proxy", "10.0.0.0/99", "--trust-proxy"),
            ("log", "talkback=loud", "info,talkback=debug"),
            ("max-rooms", "many", "write a whole number"),
        ] {
            let error = error(&[&format!("--{setting}"), value]);
            assert!(
                error.contains(&format!("--{setting}")) && error.contains(rule),
                "{setting} {value}: {error}"
            );
        }
    }

    #[test]
    fn values_that_contradict_each_other_are_refused() {
        let text = error(&["--ping-timeout", "0s"]);
        assert!(text.contains("while --ping-interval"), "{text}");
        assert_eq!(error(&["--ping-timeout", "0s", "--ping-interval", "0s"]), "");
        let text = error(&["--max-answer-size", "1GiB"]);
        assert!(
            text.contains("--answer-bytes must be at least --max-answer-size"),
            "{text}"
        );
    }

    #[test]
    fn options_that_were_not_read_have_the_same_ranges() {
        let invalid = |options: AppOptions| options.validate().unwrap_err().to_string();
        let default = AppOptions::default();
        let error = invalid(AppOptions {
            max_rooms: 0,
            ..default.clone()
        });
        assert_eq!(error, "invalid value '0' for '--max-rooms <COUNT>': must be at least 1");
        let error = invalid(AppOptions {
            ping_timeout: Duration::ZERO,
            ..default.clone()
        });
        assert!(error.contains("while --ping-interval"), "{error}");
        let options = AppOptions {
            publish_key: Some("0123456789abcdef".parse().unwrap()),
            allow_host: vec!["chat.example.com".parse().unwrap()],
            flood: true,
            ping_interval: Duration::from_nanos(1_000_001),
            ..default
        };
        options.validate().unwrap();
    }
}

//! Where settings come from: the command line, the environment and a file.

use std::{ffi::OsString, io, path::PathBuf};

use clap::{Command, CommandFactory, FromArgMatches};

use super::{Action, AppOptions};

const PREFIX: &str = "TALKBACK_";
/// Arguments that are not settings.
const NOT_SETTINGS: [&str; 4] = ["action", "config", "help", "version"];

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    /// A flag or variable is wrong, or `--help` was asked for; [`clap::Error::exit`] prints it.
    #[error(transparent)]
    Arguments(#[from] clap::Error),
    /// The file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The file is not TOML, or a value has the wrong type.
    #[error("{}: {message}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        message: String,
    },
    /// A value that cannot be meant.
    #[error("--{setting} {rule}")]
    Invalid {
        /// The name of the flag.
        setting: &'static str,
        /// What it must be.
        rule: String,
    },
    /// A key or variable that does not exist.
    #[error("unknown {place} `{name}`{}", suggestion.as_ref().map(|name| format!(": did you mean `{name}`?")).unwrap_or_default())]
    Unknown {
        /// The file, or `environment variable`.
        place: String,
        /// The key as it is written there.
        name: String,
        /// The known key that is most like it.
        suggestion: Option<String>,
    },
}

impl AppOptions {
    /// Reads the command line, the environment and the file that they name.
    ///
    /// # Errors
    /// [`OptionsError`], naming the flag, variable or key.
    pub fn load() -> Result<Self, OptionsError> {
        let config = Self::from_command_line(std::env::args_os())?;
        if let Some(unknown) = unknown_variable(std::env::vars_os().map(|(name, _)| name)) {
            // Somebody else may own a variable with this prefix, so only `check` insists.
            if config.action == Some(Action::Check) {
                return Err(unknown);
            }
            eprintln!("warning: {unknown}");
        }
        Ok(config)
    }

    /// Reads this command line, the process's environment, and the file that they name.
    ///
    /// # Errors
    /// [`OptionsError`], naming the flag, variable or key.
    pub fn from_command_line(args: impl IntoIterator<Item = OsString>) -> Result<Self, OptionsError> {
        let args: Vec<_> = args.into_iter().collect();
        let command = with_environment(Self::command());
        let matches = command.clone().try_get_matches_from(&args)?;
        let Some(path) = matches.get_one::<PathBuf>("config").cloned() else {
            return valid(Self::from_arg_matches(&matches)?);
        };
        let text = std::fs::read_to_string(&path).map_err(|error| OptionsError::Unreadable {
            path: path.clone(),
            error,
        })?;
        let table = text.parse::<toml::Table>().map_err(|error| OptionsError::Malformed {
            path: path.clone(),
            message: error.to_string(),
        })?;
        let matches = with_file(command, &path, table)?
            .try_get_matches_from(&args)
            .map_err(|error| OptionsError::Malformed {
                path: path.clone(),
                message: first_line(&error),
            })?;
        valid(Self::from_arg_matches(&matches)?)
    }
}

fn valid(config: AppOptions) -> Result<AppOptions, OptionsError> {
    config.validate()?;
    Ok(config)
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

fn with_file(mut command: Command, path: &std::path::Path, table: toml::Table) -> Result<Command, OptionsError> {
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
            message: format!("`{key}` must be a text, a number, true or false, or a list of texts"),
        })?;
        command = command.mut_arg(key.replace('-', "_"), |arg| arg.default_values(values));
    }
    Ok(command)
}

/// The settings by the names they have in a file.
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
    let likeness = |candidate: &String| strsim::jaro_winkler(name, candidate);
    let best = known.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(best) > 0.8).then(|| best.clone())
}

fn first_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    line.trim_start_matches("error: ").to_owned()
}

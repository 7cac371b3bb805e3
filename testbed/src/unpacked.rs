//! Programs on the PATH, or else those that `cargo xtask test` has unpacked.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::Command,
};

/// A command of the program `name` on the PATH, or else of the one under `target/FOLDER` with its libraries.
///
/// # Errors
/// There is none; the text says what to run.
pub(crate) fn command(name: &str, folder: &str) -> io::Result<Command> {
    let path = env::var_os("PATH").unwrap_or_default();
    if let Some(found) = env::split_paths(&path)
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
    {
        return Ok(Command::new(found));
    }
    let executable = env::current_exe()?;
    for directory in executable.ancestors().map(|target| target.join(folder).join("usr")) {
        let places = ["bin", "sbin"].map(|place| directory.join(place).join(name));
        if let Some(found) = places.iter().find(|file| file.is_file()) {
            return with_libraries(found, &directory.join("lib"));
        }
    }
    Err(io::Error::new(
        io::ErrorKind::NotFound,
        format!(
            "there is no {name}: install it, or run `cargo xtask test --tier native`, which unpacks it under target/"
        ),
    ))
}

/// The folder has a folder for each kind of machine. There is none if the program was unpacked alone.
fn with_libraries(program: &Path, folder: &Path) -> io::Result<Command> {
    let mut command = Command::new(program);
    if folder.is_dir() {
        let libraries: Vec<PathBuf> = fs::read_dir(folder)?
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .collect();
        command.env("LD_LIBRARY_PATH", env::join_paths(libraries).map_err(io::Error::other)?);
    }
    Ok(command)
}

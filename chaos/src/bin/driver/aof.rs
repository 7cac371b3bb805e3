//! The append-only files of a Redis: copies of them, older ones instead of them, and their end cut off.

use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// The folder with the files, in that of a Redis.
const FOLDER: &str = "appendonlydir";
/// The list of the files.
const MANIFEST: &str = "appendonly.aof.manifest";
const SNAPSHOT: &str = "dump.rdb";

/// A copy of the data.
#[derive(Clone, Debug)]
pub(crate) enum Copy {
    /// The append-only files.
    Files(PathBuf),
    /// A snapshot.
    Snapshot(PathBuf),
}

impl Copy {
    /// Copies the append-only files of a Redis, which may run meanwhile.
    ///
    /// # Errors
    /// The error of the system.
    pub(crate) fn of_files(redis: &Path, to: &Path) -> Result<Self> {
        copy_folder(&redis.join(FOLDER), to)?;
        Ok(Self::Files(to.to_owned()))
    }

    /// Copies the snapshot that `SAVE` has made.
    ///
    /// # Errors
    /// The error of the system.
    pub(crate) fn of_snapshot(redis: &Path, to: &Path) -> Result<Self> {
        let from = redis.join(SNAPSHOT);
        fs::copy(&from, to).with_context(|| format!("cannot copy {}", from.display()))?;
        Ok(Self::Snapshot(to.to_owned()))
    }

    /// Puts the copy in the place of the data of a Redis that does not run.
    ///
    /// # Errors
    /// The error of the system.
    pub(crate) fn restore(&self, redis: &Path) -> Result<()> {
        let folder = redis.join(FOLDER);
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
        match self {
            Self::Files(from) => copy_folder(from, &folder),
            // A Redis with an append-only file reads no other snapshot than the one at its beginning.
            Self::Snapshot(from) => {
                let (base, tail) = ("appendonly.aof.1.base.rdb", "appendonly.aof.1.incr.aof");
                fs::create_dir_all(&folder)?;
                fs::copy(from, folder.join(base))?;
                File::create(folder.join(tail))?;
                let manifest = format!("file {base} seq 1 type b\nfile {tail} seq 1 type i\n");
                File::create(folder.join(MANIFEST))?.write_all(manifest.as_bytes())?;
                Ok(())
            }
        }
    }

    /// Removes the copy.
    ///
    /// # Errors
    /// The error of the system.
    pub(crate) fn remove(&self) -> Result<()> {
        match self {
            Self::Files(path) => fs::remove_dir_all(path),
            Self::Snapshot(path) => fs::remove_file(path),
        }
        .context("cannot remove a copy")
    }
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    let failed = || format!("cannot copy {}", from.display());
    fs::create_dir_all(to).with_context(failed)?;
    for entry in fs::read_dir(from).with_context(failed)? {
        let path = entry?.path();
        let Some(name) = path.file_name() else { continue };
        match fs::copy(&path, to.join(name)) {
            // One that Redis removes later than it was replaced.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            copied => drop(copied.with_context(failed)?),
        }
    }
    Ok(())
}

/// The end of the file that a Redis appends to.
pub(crate) struct Tail {
    file: PathBuf,
    length: u64,
}

impl Tail {
    /// Where it is now.
    ///
    /// # Errors
    /// Redis has no such file.
    pub(crate) fn of(redis: &Path) -> Result<Self> {
        let folder = redis.join(FOLDER);
        let manifest = folder.join(MANIFEST);
        let text = fs::read_to_string(&manifest).with_context(|| format!("cannot read {}", manifest.display()))?;
        let lines = text.lines().filter(|line| line.contains(" type i"));
        let mut names = lines.filter_map(|line| line.strip_prefix("file ")?.split(' ').next());
        let file = folder.join(names.next_back().context("Redis has no file that it appends to")?);
        let length = file.metadata()?.len();
        Ok(Self { file, length })
    }

    /// Cuts off what was appended since, except `kept` thousandths of it. It may end within a command.
    ///
    /// # Errors
    /// The error of the system.
    pub(crate) fn cut(&self, kept: u64) -> Result<()> {
        let file = OpenOptions::new().write(true).open(&self.file)?;
        let more = file.metadata()?.len().saturating_sub(self.length);
        file.set_len(self.length + more * kept / 1_000)?;
        Ok(file.sync_all()?)
    }
}

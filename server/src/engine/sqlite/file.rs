//! The file: its lock, its schema, whether it is the one that was written last, and what its errors mean.

use std::{
    fs::{File, OpenOptions, TryLockError},
    path::{Path, PathBuf},
};

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Transaction, TransactionBehavior};
use talkback_protocol::Epoch;

use super::{super::NotReady, SqliteOptions};

/// `TALK`: marks the file as one of this program (`PRAGMA application_id`).
const APPLICATION: i64 = 0x5441_4c4b;

/// Each upgrades the schema by one version (`PRAGMA user_version`).
const MIGRATIONS: [&str; 2] = [include_str!("schema-1.sql"), include_str!("schema-2.sql")];

/// Pages of 4 KiB that writing keeps in memory, as a negative number of KiB.
const WRITER_CACHE: i64 = -32 * 1024;
const READER_CACHE: i64 = -8 * 1024;

/// Opens the file for writing and locks it against other servers.
pub(super) fn open(options: &SqliteOptions) -> Result<(Connection, File), NotReady> {
    let path = &options.path;
    let lock = lock(path)?;
    let failed = |error: rusqlite::Error| explain(path, &error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    if connection.is_readonly("main").map_err(failed)? {
        return Err(NotReady(format!(
            "{} cannot be written: give this user the right to write the file and its directory",
            path.display()
        )));
    }
    connection.busy_timeout(options.busy_timeout).map_err(failed)?;
    check_owner(&connection, path)?;
    prepare(&connection).map_err(failed)?;
    migrate(&mut connection, path)?;
    let identity = identity(path);
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(failed)?;
    begin_epochs(&transaction, identity, options).map_err(failed)?;
    transaction.commit().map_err(failed)?;
    Ok((connection, lock))
}

/// Opens the file for reading.
pub(super) fn open_reader(options: &SqliteOptions) -> Result<Connection, NotReady> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || {
        let connection = Connection::open_with_flags(&options.path, flags)?;
        connection.busy_timeout(options.busy_timeout)?;
        connection.pragma_update(None, "cache_size", READER_CACHE)?;
        Ok(connection)
    };
    open().map_err(|error| explain(&options.path, &error))
}

/// The lock is gone when the file is closed, also by the end of the process.
fn lock(path: &Path) -> Result<File, NotReady> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let name = PathBuf::from(name);
    let file = OpenOptions::new().create(true).write(true).truncate(false).open(&name);
    let file = file.map_err(|error| {
        let name = name.display();
        NotReady(format!(
            "{name} cannot be created: {error}. Create its directory, or give this user the right to write it"
        ))
    })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(NotReady(format!(
            "another server uses {}: stop it, or give this one a file of its own",
            path.display()
        ))),
        Err(TryLockError::Error(error)) => Err(NotReady(format!("{} cannot be locked: {error}", name.display()))),
    }
}

fn check_owner(connection: &Connection, path: &Path) -> Result<(), NotReady> {
    let read = || -> rusqlite::Result<(i64, i64)> {
        let tables = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        let application = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
        Ok((tables, application))
    };
    match read().map_err(|error| explain(path, &error))? {
        (0, _) | (_, APPLICATION) => Ok(()),
        _ => Err(NotReady(format!(
            "{} is a database of another program: choose another file",
            path.display()
        ))),
    }
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    // Each commit waits until the write-ahead log is on the disk.
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "cache_size", WRITER_CACHE)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "application_id", APPLICATION)
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), NotReady> {
    let failed = |error: rusqlite::Error| explain(path, &error);
    let version: usize = connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(failed)?;
    let Some(missing) = MIGRATIONS.get(version..) else {
        return Err(NotReady(format!(
            "{} was written by a newer server (schema {version}, this one knows {}): start that version",
            path.display(),
            MIGRATIONS.len()
        )));
    };
    for (migration, version) in missing.iter().zip(version + 1..) {
        let transaction = connection.transaction().map_err(failed)?;
        transaction.execute_batch(migration).map_err(failed)?;
        transaction
            .pragma_update(None, "user_version", version)
            .map_err(failed)?;
        transaction.commit().map_err(failed)?;
    }
    Ok(())
}

/// What makes the file this file: a copy has another. The inode alone does not, because file systems give that of a
/// removed file to the next new one; some file systems do not keep the time when a file was made.
fn identity(path: &Path) -> Option<String> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let metadata = std::fs::metadata(path).ok()?;
        let made = metadata.created().ok();
        let made = made.and_then(|made| made.duration_since(std::time::UNIX_EPOCH).ok());
        let made = made.map_or(0, |since| since.as_nanos());
        Some(format!("{}:{}:{made}", metadata.dev(), metadata.ino()))
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        None
    }
}

/// Gives rooms without a log their epochs, and all rooms new epochs if the file is a copy: the original may have gone
/// on with other messages at the same offsets. The messages of the copy are the same up to its head.
fn begin_epochs(
    transaction: &Transaction<'_>,
    identity: Option<String>,
    options: &SqliteOptions,
) -> rusqlite::Result<()> {
    let slots = i64::try_from(options.log.epoch_slots.max(1)).unwrap_or(i64::MAX);
    let known: Option<Option<String>> = transaction
        .query_row("SELECT value FROM meta WHERE name = 'file'", [], |row| row.get(0))
        .optional()?;
    let is_copy = known.is_some_and(|known| known != identity) || options.restored;
    if is_copy {
        tracing::warn!(
            path = %options.path.display(),
            "this file is a copy of the one that was written last: all rooms begin new epochs"
        );
        transaction.execute("DELETE FROM epochs", [])?;
        let ids: Vec<i64> = transaction
            .prepare("SELECT id FROM rooms")?
            .query_map([], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        let mut renew =
            transaction.prepare("UPDATE rooms SET fork_epoch = epoch, fork_offset = head, epoch = ?2 WHERE id = ?1")?;
        for id in ids {
            renew.execute((id, new_epoch().as_str()))?;
        }
    }
    let have: i64 = transaction.query_row("SELECT count(*) FROM epochs", [], |row| row.get(0))?;
    if have != slots {
        transaction.execute("DELETE FROM epochs", [])?;
        let mut add = transaction.prepare("INSERT INTO epochs (slot, epoch) VALUES (?1, ?2)")?;
        for slot in 0..slots {
            add.execute((slot, new_epoch().as_str()))?;
        }
    }
    transaction.execute(
        "INSERT INTO meta (name, value) VALUES ('file', ?1) ON CONFLICT (name) DO UPDATE SET value = ?1",
        [identity],
    )?;
    Ok(())
}

pub(super) fn new_epoch() -> Epoch {
    Epoch::from_random(fastrand::u64(..))
}

/// The error for operators, with what to do.
pub(super) fn explain(path: &Path, error: &rusqlite::Error) -> NotReady {
    let what_to_do = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            "the file is damaged: stop the server and restore a backup, or save what is readable with `sqlite3 FILE .recover`"
        }
        Some(ErrorCode::DiskFull) => "the disk is full: free space on its volume",
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            "give this user the right to write the file and its directory"
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "another program writes to it: end its transaction"
        }
        Some(ErrorCode::CannotOpen) => "create its directory, or choose another file",
        _ => "check its volume, then start the server again",
    };
    NotReady(format!("{}: {error}. Next: {what_to_do}", path.display()))
}

/// Whether no message can be added before the server is started again, after this error of a read: a file that is damaged
/// in one place may be so in others. A row that cannot be read says nothing of what is added.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
    )
}

/// Whether no message can be added before the server is started again, after this error of a transaction that adds some:
/// after a failed write or sync, what the system holds of the file is unknown, and a second sync would succeed without the
/// first one's data.
pub(super) fn is_fatal(error: &rusqlite::Error) -> bool {
    !matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::DiskFull
                | ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::ReadOnly
                | ErrorCode::ConstraintViolation
                | ErrorCode::TooBig
        )
    )
}

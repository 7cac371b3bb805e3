//! What a power cut takes from the files of a killed server: all that was written after they were synced last.
//!
//! `chaos/power_cut/power_cut.c`, which is loaded into the server, keeps in a journal what each write replaces.

use std::{
    fs::{self, File, OpenOptions},
    io::{Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

const MARK: u64 = 0x756e_7379_6e63_6564;

/// What a write has replaced.
#[derive(Debug, PartialEq, Eq)]
struct Entry<'a> {
    offset: u64,
    /// The size of the file before the write.
    size: u64,
    bytes: &'a [u8],
}

/// The journal of a file.
fn journal(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".unsynced");
    name.into()
}

/// Takes back what was written to the file since it was synced last. Returns how many writes it were.
///
/// # Errors
/// The error of the system.
pub(crate) fn take_back(file: &Path) -> Result<u64> {
    let path = journal(file);
    if !path.exists() {
        return Ok(0);
    }
    let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let entries = entries(&bytes);
    if !entries.is_empty() {
        let mut output = OpenOptions::new().write(true).open(file)?;
        for Entry { offset, size, bytes } in entries.iter().rev() {
            output.seek(SeekFrom::Start(*offset))?;
            output.write_all(bytes)?;
            output.set_len(*size)?;
        }
    }
    forget(file)?;
    Ok(entries.len() as u64)
}

/// Empties the journal of a file: the system wrote all of it in time, or another file takes its place.
///
/// # Errors
/// The error of the system.
pub(crate) fn forget(file: &Path) -> Result<()> {
    let path = journal(file);
    if path.exists() {
        File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// The whole entries of a journal. The server may have been killed in the last one, before the write that it is for.
fn entries(mut bytes: &[u8]) -> Vec<Entry<'_>> {
    let mut entries = Vec::new();
    while let Some((entry, rest)) = entry(bytes) {
        entries.push(entry);
        bytes = rest;
    }
    entries
}

fn entry(bytes: &[u8]) -> Option<(Entry<'_>, &[u8])> {
    let (head, rest) = bytes.split_at_checked(32)?;
    let mut numbers = head
        .chunks_exact(8)
        .map(|number| number.try_into().map(u64::from_ne_bytes));
    let mut next = || numbers.next()?.ok();
    let (mark, offset, size, length) = (next()?, next()?, next()?, next()?);
    let (bytes, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    (mark == MARK).then_some((Entry { offset, size, bytes }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// Writes and syncs a file: `wOFFSET,TEXT`, `tSIZE` to truncate, `s` to sync.
    const PROGRAM: &str = r#"
        #include <fcntl.h>
        #include <stdlib.h>
        #include <string.h>
        #include <unistd.h>
        int main(int count, char **words) {
            int file = open(words[1], O_RDWR | O_CREAT, 0644);
            for (int i = 2; i < count; i++) {
                char *text = words[i][0] == 'w' ? strchr(words[i], ',') + 1 : "";
                long number = atol(words[i] + 1);
                int ok = words[i][0] == 'w' ? pwrite(file, text, strlen(text), number) == (ssize_t)strlen(text)
                       : words[i][0] == 't' ? ftruncate(file, number) == 0
                       : fdatasync(file) == 0;
                if (!ok)
                    return 1;
            }
            return 0;
        }"#;

    fn compile(arguments: &[&str], source: &Path, program: &Path) {
        let mut cc = Command::new("cc");
        cc.args(arguments).arg("-o").arg(program).arg(source);
        assert!(cc.args(["-ldl", "-lpthread"]).status().unwrap().success());
    }

    #[test]
    fn what_was_not_synced_is_taken_back_and_what_was_synced_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (library, program) = (folder.path().join("power_cut.so"), folder.path().join("writer"));
        let layer = concat!(env!("CARGO_MANIFEST_DIR"), "/power_cut/power_cut.c");
        compile(&["-O1", "-shared", "-fPIC"], layer.as_ref(), &library);
        let source = folder.path().join("writer.c");
        fs::write(&source, PROGRAM).unwrap();
        compile(&[], &source, &program);
        let file = folder.path().join("data");
        let run = |words: &[&str]| {
            let mut writer = Command::new(&program);
            writer.arg(&file).args(words);
            writer.env("LD_PRELOAD", &library).env("POWER_CUT_FILE", &file);
            assert!(writer.status().unwrap().success());
            fs::read_to_string(&file).unwrap()
        };
        assert_eq!(run(&["w0,synced", "s"]), "synced");
        assert_eq!(take_back(&file).unwrap(), 0);
        assert_eq!(run(&["w2,XY and more", "w0,Z", "t8", "w3,ZZ"]), "ZyXZZand");
        assert_eq!(take_back(&file).unwrap(), 4);
        assert_eq!(fs::read_to_string(&file).unwrap(), "synced");
        assert_eq!(take_back(&file).unwrap(), 0, "the journal is used up");
        assert_eq!(run(&["w6,ab", "s", "w0,lost"]), "lostedab");
        assert_eq!(take_back(&file).unwrap(), 1);
        assert_eq!(fs::read_to_string(&file).unwrap(), "syncedab");
        run(&["w0,S"]);
        forget(&file).unwrap();
        assert_eq!(take_back(&file).unwrap(), 0);
        assert_eq!(fs::read_to_string(&file).unwrap(), "Syncedab");
    }

    #[test]
    fn an_entry_that_was_cut_off_is_ignored() {
        let mut bytes = Vec::new();
        for number in [MARK, 5, 9, 2] {
            bytes.extend(number.to_ne_bytes());
        }
        bytes.extend(b"ab");
        let whole = bytes.clone();
        bytes.extend(&whole[..33]);
        let expected = Entry {
            offset: 5,
            size: 9,
            bytes: b"ab",
        };
        assert_eq!(entries(&bytes), [expected]);
    }
}

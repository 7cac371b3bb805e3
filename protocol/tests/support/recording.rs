//! What went over a session's connections, as one number. A change of the code that is to change nothing on the wire is
//! shown to change nothing: `cargo xtask recordings` gives the same digest before and after it.

use std::{
    env,
    fs::OpenOptions,
    hash::{DefaultHasher, Hash, Hasher},
    io::Write,
    time::Duration,
};

pub(crate) use talkback_protocol::test_util::Direction;

/// The texts of one script or world, in both directions, with their times. When it is dropped, its number is added to
/// the file that `TEST_RECORDINGS` names.
#[derive(Debug, Default)]
pub(crate) struct Recording {
    texts: u64,
    hash: DefaultHasher,
}

impl Recording {
    pub(crate) fn text(&mut self, now: Duration, connection: u64, direction: Direction, text: &str) {
        self.texts += 1;
        (now, connection, direction, text).hash(&mut self.hash);
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        let Some(path) = env::var_os("TEST_RECORDINGS") else {
            return;
        };
        if self.texts == 0 {
            return;
        }
        // One write for a line: the tests of a program append to the file from many threads.
        let line = format!("{:016x} {}\n", self.hash.finish(), self.texts);
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let written = file.and_then(|mut file| file.write_all(line.as_bytes()));
        assert!(written.is_ok(), "cannot write {}: {written:?}", path.display());
    }
}

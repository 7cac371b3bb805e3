//! Writes the recording.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use talkback_chaos::{Event, Record};

/// The recording of a run. All clients share it, so that its lines have one order.
pub(crate) struct Recorder {
    start: Instant,
    output: Mutex<Output>,
}

struct Output {
    file: BufWriter<File>,
    records: u64,
    /// The first error, after which nothing more is written.
    error: Option<io::Error>,
}

impl Recorder {
    /// # Errors
    /// The file cannot be made.
    pub(crate) fn new(path: &Path) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self {
            start: Instant::now(),
            output: Mutex::new(Output {
                file: BufWriter::with_capacity(1 << 20, file),
                records: 0,
                error: None,
            }),
        })
    }

    /// The time since the run began.
    pub(crate) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Appends a record of a client.
    pub(crate) fn client(&self, client: u32, event: Event) {
        self.write(Some(client), event);
    }

    /// Appends a record of the run.
    pub(crate) fn run(&self, event: Event) {
        self.write(None, event);
    }

    fn write(&self, client: Option<u32>, event: Event) {
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        // The time is taken under the lock, so that it does not decrease from line to line.
        let us = u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX);
        if output.error.is_none() {
            let written = output.write(&Record { us, client, event });
            output.error = written.err();
        }
    }

    /// Writes the last line.
    ///
    /// # Errors
    /// A record could not be written.
    pub(crate) fn finish(&self) -> Result<()> {
        let records = self.output.lock().unwrap_or_else(PoisonError::into_inner).records;
        self.run(Event::End { records });
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        match output.error.take() {
            Some(error) => Err(error).context("cannot write the recording"),
            None => output.file.flush().context("cannot write the recording"),
        }
    }
}

impl Output {
    fn write(&mut self, record: &Record) -> io::Result<()> {
        serde_json::to_writer(&mut self.file, record)?;
        self.file.write_all(b"\n")?;
        self.records += 1;
        Ok(())
    }
}

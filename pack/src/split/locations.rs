//! The constants that say where in the sources a panic is: `core::panic::Location`, and the paths that they name.
//!
//! The linker lays all constants out as one, so those of the rest's code are in the first part. Which code reads a constant cannot be told
//! from the binary, but only the panic handler reads these (and `log`, for its records, of which nothing is shown but the text), and it is in
//! the rest. So the first part has zeros in their place, and the rest
//! has them as data, which the browser copies into the memory when it is loaded: before the panic handler runs.

use std::{collections::BTreeSet, ops::Range};

use wasm_encoder::{ConstExpr, DataSection};
use wasmparser::{BinaryReader, DataKind, DataSectionReader, Operator};

/// What all panics call, of the standard library.
pub(crate) const PANIC_HANDLER: &str = "rust_begin_unwind";

/// The bytes of a `Location`: pointer to the path, its length, the line, the column. Each has four bytes.
const LOCATION: usize = 16;
/// What a file of Rust ends with.
const ENDING: &[u8] = b".rs";
/// Greater ones mean something else.
const LONGEST_PATH: usize = 300;
const MOST_LINES: usize = 100_000;
const MOST_COLUMNS: usize = 1_000;

/// The section of data, without and with them.
pub(crate) struct Parts {
    pub(crate) first: DataSection,
    pub(crate) rest: DataSection,
}

/// Splits a section of data.
///
/// # Errors
/// Its segments have no constant place in the first memory.
pub(crate) fn split(data: &[u8]) -> anyhow::Result<Parts> {
    let mut segments = Vec::new();
    for segment in DataSectionReader::new(BinaryReader::new(data, 0))? {
        let segment = segment?;
        let DataKind::Active {
            memory_index: 0,
            offset_expr,
        } = segment.kind
        else {
            anyhow::bail!("a segment of data is not of the first memory");
        };
        let Operator::I32Const { value } = offset_expr.get_operators_reader().read()? else {
            anyhow::bail!("a segment of data has no constant place");
        };
        segments.push((usize::try_from(value)?, segment.data));
    }
    let start = segments.iter().map(|(start, _)| *start).min().unwrap_or_default();
    let end = segments
        .iter()
        .map(|(start, data)| start + data.len())
        .max()
        .unwrap_or_default();
    let mut memory = vec![0; end - start];
    for (at, data) in &segments {
        memory[at - start..][..data.len()].copy_from_slice(data);
    }
    let moved = find(&memory, start);

    let mut first = DataSection::new();
    let mut rest = DataSection::new();
    for (at, data) in segments {
        let mut left = data.to_vec();
        let own = at..at + data.len();
        for range in &moved {
            let range = range.start.max(own.start)..range.end.min(own.end);
            if !range.is_empty() {
                let within = range.start - at..range.end - at;
                rest.active(0, &place(range.start)?, data[within.clone()].iter().copied());
                left[within].fill(0);
            }
        }
        first.active(0, &place(at)?, left);
    }
    Ok(Parts { first, rest })
}

fn place(address: usize) -> anyhow::Result<ConstExpr> {
    Ok(ConstExpr::i32_const(i32::try_from(address)?))
}

/// Where they are in a memory that begins at an address, in order and without a gap of nothing between two.
fn find(memory: &[u8], start: usize) -> Vec<Range<usize>> {
    let number = |at: usize| {
        let bytes = memory.get(at..at + 4)?;
        usize::try_from(u32::from_le_bytes(bytes.try_into().ok()?)).ok()
    };
    let location = |at: usize| {
        let path = number(at)?.checked_sub(start)?;
        let path = path..path + number(at + 4).filter(|length| *length <= LONGEST_PATH)?;
        let (line, column) = (number(at + 8)?, number(at + 12)?);
        let is_one = memory.get(path.clone())?.ends_with(ENDING)
            && (1..=MOST_LINES).contains(&line)
            && (1..=MOST_COLUMNS).contains(&column);
        is_one.then_some(path)
    };
    let mut bytes = BTreeSet::new();
    // Addresses are aligned, whatever the first one is.
    for at in (start.next_multiple_of(4) - start..memory.len()).step_by(4) {
        if let Some(path) = location(at) {
            bytes.extend(at..at + LOCATION);
            bytes.extend(path);
        }
    }
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for at in bytes {
        match ranges.last_mut() {
            Some(last) if last.end == start + at => last.end += 1,
            _ => ranges.push(start + at..start + at + 1),
        }
    }
    ranges
}

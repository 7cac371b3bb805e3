//! Sizes and times as people write them.

use std::time::Duration;

use bytesize::ByteSize;
use serde::Serializer;

/// The longest duration that a setting may have: ten years. The clock's arithmetic ends far behind it.
const LONGEST: Duration = Duration::from_secs(3652 * 24 * 3600);
/// The largest size that a setting may have: 1 TiB.
const LARGEST: usize = 1 << 40;

pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if duration > LONGEST {
        return Err("at most 10 years (3652d) are allowed".to_owned());
    }
    Ok(duration)
}

pub(super) fn parse_size(text: &str) -> Result<usize, String> {
    let size: ByteSize = text
        .parse()
        .map_err(|_| "write a number of bytes, or a size such as 64KiB or 16MiB".to_owned())?;
    let size = usize::try_from(size.as_u64()).ok().filter(|size| *size <= LARGEST);
    size.ok_or_else(|| "at most 1TiB is allowed".to_owned())
}

/// A size as it was meant: in the largest unit that divides it.
pub(super) fn size<S: Serializer>(size: &usize, serializer: S) -> Result<S::Ok, S::Error> {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units
        .into_iter()
        .find(|(unit, _)| size.is_multiple_of(*unit) && *size > 0)
    {
        Some((unit, name)) => serializer.collect_str(&format_args!("{}{name}", size / unit)),
        None => serializer.collect_str(&format_args!("{size}B")),
    }
}

pub(super) fn duration<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_duration(*duration))
}

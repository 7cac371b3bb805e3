//! Values of settings: their texts, and the ranges that they must be in.

use std::{
    fmt::Display,
    num::NonZeroUsize,
    ops::{Bound, RangeBounds},
    time::Duration,
};

use axum::http::HeaderName;
use bytesize::ByteSize;
use serde::Serializer;
use tracing_subscriber::EnvFilter;

/// The longest duration of a setting: ten years, which can be added to any `Instant`.
const LONGEST: Duration = Duration::from_secs(3652 * 24 * 3600);
/// The largest size of a setting: 1 TiB.
const LARGEST: usize = 1 << 40;

/// The range of all values above `least`.
pub(super) fn more_than<T>(least: T) -> (Bound<T>, Bound<T>) {
    (Bound::Excluded(least), Bound::Unbounded)
}

/// Parses a whole number in `range`.
pub(super) fn count<T: TryFrom<u64>>(
    range: impl RangeBounds<u64> + Clone,
) -> impl Fn(&str) -> Result<T, String> + Clone {
    move |text| {
        let number = text.parse().map_err(|_| "write a whole number, such as 100")?;
        within(number, &range, |number| *number)?;
        T::try_from(number).map_err(|_| "the number is too large".to_owned())
    }
}

/// Parses a whole number of at least 1.
pub(super) fn nonzero(text: &str) -> Result<NonZeroUsize, String> {
    let number = count::<usize>(1..)(text)?;
    NonZeroUsize::new(number).ok_or_else(|| "must be at least 1".to_owned())
}

/// Parses what all keys in Redis begin with. Braces have a meaning in the keys of Redis.
pub(super) fn redis_prefix(text: &str) -> Result<String, &'static str> {
    let allowed = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'{' | b'}');
    if (1..=64).contains(&text.len()) && text.bytes().all(allowed) {
        Ok(text.to_owned())
    } else {
        Err("write 1 to 64 ASCII characters without spaces, { and }")
    }
}

/// Parses a size in `range`, of at most 1 TiB.
pub(super) fn size(range: impl RangeBounds<usize> + Clone) -> impl Fn(&str) -> Result<usize, String> + Clone {
    move |text| {
        let size: ByteSize = text
            .parse()
            .map_err(|_| "write a number of bytes, or a size such as 64KiB or 16MiB")?;
        let size = usize::try_from(size.as_u64()).unwrap_or(usize::MAX);
        within(size, &(..=LARGEST), |size| size_text(*size))?;
        within(size, &range, |size| size_text(*size))?;
        Ok(size)
    }
}

/// Parses a duration in `range`, of at most ten years.
pub(super) fn duration(range: impl RangeBounds<Duration> + Clone) -> impl Fn(&str) -> Result<Duration, String> + Clone {
    move |text| {
        let duration = humantime::parse_duration(text)
            .map_err(|error| format!("{error}. Write a time such as 250ms, 10s, 5m or 24h"))?;
        within(duration, &(..=LONGEST), |_| "10 years (3652d)")?;
        within(duration, &range, |duration| duration_text(*duration))?;
        Ok(duration)
    }
}

fn within<T: PartialOrd, D: Display>(
    value: T,
    range: &impl RangeBounds<T>,
    text: impl Fn(&T) -> D,
) -> Result<(), String> {
    if range.contains(&value) {
        return Ok(());
    }
    let too_small = match range.start_bound() {
        Bound::Included(least) if value < *least => Some(format!("must be at least {}", text(least))),
        Bound::Excluded(least) if value <= *least => Some(format!("must be more than {}", text(least))),
        _ => None,
    };
    Err(too_small.unwrap_or_else(|| match range.end_bound() {
        Bound::Included(most) => format!("must be at most {}", text(most)),
        Bound::Excluded(most) => format!("must be less than {}", text(most)),
        Bound::Unbounded => "is out of range".to_owned(),
    }))
}

/// Parses the name of a header that has plain addresses.
pub(super) fn header_name(text: &str) -> Result<String, &'static str> {
    match text.parse::<HeaderName>() {
        Ok(header) if header != "forwarded" => Ok(text.to_owned()),
        _ => Err(
            "must be the name of a header with plain addresses, such as X-Forwarded-For; Forwarded is not supported",
        ),
    }
}

/// Parses the directives of a log filter.
pub(super) fn log_filter(text: &str) -> Result<String, String> {
    match EnvFilter::builder().parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!(
            "{error}. Write a level such as debug, or a list of levels by target such as info,talkback=debug"
        )),
    }
}

/// The text of a size in the largest unit that divides it.
pub(super) fn size_text(size: impl TryInto<u64>) -> String {
    let size = size.try_into().unwrap_or(u64::MAX);
    let units: [(u64, _); 4] = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.iter().find(|(unit, _)| size > 0 && size.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{}{name}", size / unit),
        None => format!("{size}B"),
    }
}

pub(super) fn duration_text(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

pub(super) fn as_size<S: Serializer>(size: &usize, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&size_text(*size))
}

pub(super) fn as_duration<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&duration_text(*duration))
}

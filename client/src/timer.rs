//! What the browser's timers take.

use std::time::Duration;

/// The milliseconds for `setTimeout`, rounded up. At most 24.8 days, because browsers take a longer delay as zero.
pub(crate) fn timeout_millis(timeout: Duration) -> u32 {
    const MAX: u32 = i32::MAX.unsigned_abs();
    // Not of `as_nanos`, because a division of 128 bits would cost a page a kilobyte.
    let rest = u64::from(timeout.subsec_nanos().div_ceil(1_000_000));
    let millis = timeout.as_secs().saturating_mul(1_000).saturating_add(rest);
    u32::try_from(millis).unwrap_or(MAX).min(MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_rounded_up_and_never_wrap_around() {
        assert_eq!(timeout_millis(Duration::ZERO), 0);
        assert_eq!(timeout_millis(Duration::from_nanos(1)), 1);
        assert_eq!(timeout_millis(Duration::from_millis(1500)), 1500);
        assert_eq!(timeout_millis(Duration::MAX), 2_147_483_647);
    }
}

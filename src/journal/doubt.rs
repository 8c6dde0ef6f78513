//! How a mark in doubt comes back.

use std::time::Duration;

/// How often a mark in doubt comes back after it was cleared: soon, a little later, and at the end
/// of the time in which a write whose reply was lost may still be applied. One that a Qdrant has
/// taken in and not applied yet is waited for besides, whenever such a mark is worked off.
pub(super) const DOUBT: u8 = 3;

/// How long a mark sleeps that comes back `doubt` times more, of `all` of that time.
pub(super) fn comeback(doubt: u8, all: Duration) -> Duration {
    match DOUBT.saturating_sub(doubt) {
        0 => all / 20,
        1 => all / 5,
        _ => all * 3 / 4,
    }
}

/// All comebacks together, and a little.
pub(super) fn doubt_ms(all: Duration) -> u64 {
    u64::try_from(all.as_millis()).unwrap_or(u64::MAX / 4) / 20 * 21 + 1000
}

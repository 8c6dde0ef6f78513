//! How a mark in doubt comes back.

use std::time::Duration;

/// When a mark in doubt comes back after it was cleared: the first time, the second, the third.
/// A write whose reply was lost may be applied so much later.
pub(super) const COMEBACKS: [Duration; 3] = [
    Duration::from_secs(2),
    Duration::from_secs(10),
    Duration::from_secs(60),
];
/// How often a mark in doubt comes back.
pub(super) const DOUBT: u8 = 3;
/// All comebacks together, and a little.
pub(super) const DOUBT_MS: u64 = 75_000;

const _: () = assert!(COMEBACKS.len() == DOUBT as usize);

/// How long a mark sleeps that comes back `doubt` times more.
pub(super) fn comeback(doubt: u8) -> Duration {
    let turn = usize::from(DOUBT.saturating_sub(doubt));
    COMEBACKS.get(turn).copied().unwrap_or_default()
}

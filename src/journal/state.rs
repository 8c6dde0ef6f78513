//! What a journal tells of itself.

use std::sync::atomic::AtomicU64;

/// Whether what the journal promises holds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum State {
    Sound,
    /// The disk cannot be written: marks are in memory only. It is tried again and again.
    Failed {
        since_ms: u64,
        reason: Box<str>,
    },
}

/// Numbers for whoever shows them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Figures {
    /// Groups of records that were written and synced.
    pub syncs: u64,
    /// How often all that is live was written again.
    pub copies: u64,
    pub bytes: u64,
    pub segments: u64,
    /// In memory, in flight and in doubt included.
    pub marks: u64,
}

#[derive(Default)]
pub(super) struct Counts {
    pub(super) syncs: AtomicU64,
    pub(super) copies: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) segments: AtomicU64,
}

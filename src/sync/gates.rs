//! The gate of each collection: writes that name their points share it, and a write that first has
//! to find them has it alone, so that nothing changes between the finding and the writing. So do
//! changes of the collection itself.
//!
//! It orders the writes of this process only. Two sidecars over one Qdrant may interleave; what is
//! changed is marked all the same, because what is sent are ids.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

/// Gates that nobody uses are let go once there are so many.
const KEPT: usize = 1024;

#[derive(Default)]
pub(super) struct Gates {
    by_name: Mutex<HashMap<Box<str>, Arc<RwLock<()>>>>,
}

/// Held as long as the write goes on.
pub(super) enum Passed {
    Shared(#[expect(dead_code, reason = "held, not looked at")] OwnedRwLockReadGuard<()>),
    Alone(#[expect(dead_code, reason = "held, not looked at")] OwnedRwLockWriteGuard<()>),
}

impl Gates {
    /// Cancel safety: safe.
    pub(super) async fn shared(&self, collection: &str) -> Passed {
        Passed::Shared(self.gate(collection).read_owned().await)
    }

    /// Cancel safety: safe.
    pub(super) async fn alone(&self, collection: &str) -> Passed {
        Passed::Alone(self.gate(collection).write_owned().await)
    }

    fn gate(&self, collection: &str) -> Arc<RwLock<()>> {
        let mut by_name = self.by_name.lock();
        if by_name.len() >= KEPT {
            by_name.retain(|_, gate| Arc::strong_count(gate) > 1);
        }
        let gate = by_name.entry(collection.into()).or_default();
        Arc::clone(gate)
    }
}

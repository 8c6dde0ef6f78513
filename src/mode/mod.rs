//! The mode in force, and the stores it speaks of.
//!
//! A request takes one `Snapshot` at its start and lives by it to its end. The router is the only
//! holder of the present value; whoever changes it swaps it whole.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::model::{Mode, Role};
use crate::store::Store;

/// The two stores, by role.
#[derive(Clone)]
pub struct Stores {
    pub primary: Arc<dyn Store>,
    pub secondary: Option<Arc<dyn Store>>,
}

impl Stores {
    pub fn get(&self, role: Role) -> Option<&Arc<dyn Store>> {
        match role {
            Role::Primary => Some(&self.primary),
            Role::Secondary => self.secondary.as_ref(),
        }
    }
}

/// What one request lives by.
pub struct Snapshot {
    pub mode: Mode,
    pub epoch: u64,
    /// The store that answers reads and is written first.
    pub authority: Arc<dyn Store>,
    pub authority_role: Role,
}

pub struct Router {
    stores: Stores,
    current: ArcSwap<Snapshot>,
}

impl Router {
    /// `None` when the mode's authority is a store that is not configured.
    pub fn new(stores: Stores, mode: Mode) -> Option<Self> {
        let authority_role = mode.authority();
        let authority = Arc::clone(stores.get(authority_role)?);
        let snapshot = Snapshot {
            mode,
            epoch: 0,
            authority,
            authority_role,
        };
        Some(Self {
            stores,
            current: ArcSwap::from_pointee(snapshot),
        })
    }

    /// One per request: two loads may see two modes.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    pub fn stores(&self) -> &Stores {
        &self.stores
    }
}

//! The present modes and the stores they speak of, as one value that is swapped whole.
//!
//! A request takes one `Snapshot` at its start and lives by it to its end.
//!
//! A collection may have a mode of its own, by its real name. A request that names an alias has
//! the mode of the collection behind it: as soon as any collection has a mode of its own, whoever
//! routes has to know the aliases (`Snapshot::has_own_modes`). Calls that name no collection (the
//! list of collections, aliases, the service itself) go by the mode of all. A read that looks into
//! a second collection (`lookup_from`, `with_lookup`) is answered by one store: it is refused where
//! the two are read from different stores, and only there.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::table::Table;
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
#[derive(Clone)]
pub struct Plan {
    pub mode: Mode,
    pub epoch: u64,
    /// The collection whose own mode it is; `None` where it is that of all.
    pub own: Option<Arc<str>>,
    /// The store that answers reads and is written first.
    pub authority: Arc<dyn Store>,
    pub authority_role: Role,
    /// The store that is kept equal to it, if any.
    pub follower: Option<Arc<dyn Store>>,
}

impl Plan {
    /// Whether this store is the authority, and another follows it.
    pub fn is_followed_from(&self, authority: Role) -> bool {
        self.authority_role == authority && self.follower.is_some()
    }
}

/// All plans of one epoch.
pub struct Snapshot {
    table: Table,
    common: Arc<Plan>,
    own: BTreeMap<String, Arc<Plan>>,
}

impl Snapshot {
    pub fn table(&self) -> &Table {
        &self.table
    }

    pub fn epoch(&self) -> u64 {
        self.table.epoch
    }

    /// Whether names have to be told apart at all.
    pub fn has_own_modes(&self) -> bool {
        !self.own.is_empty()
    }

    /// Whether some collections are read from one store and some from the other.
    pub fn reads_both(&self) -> bool {
        let role = self.common.authority_role;
        self.own.values().any(|plan| plan.authority_role != role)
    }

    /// The plan of a collection by its real name; without one, that of all.
    pub fn plan(&self, collection: Option<&str>) -> &Arc<Plan> {
        let own = collection.and_then(|name| self.own.get(name));
        own.unwrap_or(&self.common)
    }

    /// A plan for each store that something is read from, that of all first.
    pub fn readers(&self) -> impl Iterator<Item = &Arc<Plan>> {
        let role = self.common.authority_role;
        let other = self.own.values().find(|plan| plan.authority_role != role);
        std::iter::once(&self.common).chain(other)
    }

    /// The plan of what is of no one collection and is followed as soon as anything is (aliases):
    /// one with a follower, if there is any beside the authority of all.
    pub fn of_names(&self) -> &Arc<Plan> {
        let role = self.common.authority_role;
        let mut plans = std::iter::once(&self.common).chain(self.own.values());
        let followed = plans.find(|plan| plan.is_followed_from(role));
        followed.unwrap_or(&self.common)
    }

    /// Whether anything has this store for its authority and a follower.
    pub fn follows_from(&self, authority: Role) -> bool {
        let plans = std::iter::once(&self.common).chain(self.own.values());
        plans
            .into_iter()
            .any(|plan| plan.is_followed_from(authority))
    }

    /// Whether anything is written first to the store that is not in this role.
    pub fn has_authority_beside(&self, role: Role) -> bool {
        let plans = std::iter::once(&self.common).chain(self.own.values());
        plans.into_iter().any(|plan| plan.authority_role != role)
    }

    pub fn has_own(&self, collection: &str) -> bool {
        self.own.contains_key(collection)
    }

    fn new(stores: &Stores, table: Table) -> Option<Self> {
        let plan = |mode: Mode, own: Option<Arc<str>>| {
            let authority_role = mode.authority();
            let follower = match mode.follower() {
                Some(role) => Some(Arc::clone(stores.get(role)?)),
                None => None,
            };
            Some(Arc::new(Plan {
                mode,
                epoch: table.epoch,
                own,
                authority: Arc::clone(stores.get(authority_role)?),
                authority_role,
                follower,
            }))
        };
        let own = table.collections.iter();
        let own: Option<_> = own
            .map(|(name, mode)| Some((name.clone(), plan(*mode, Some(name.as_str().into()))?)))
            .collect();
        Some(Self {
            common: plan(table.mode, None)?,
            own: own?,
            table,
        })
    }
}

/// The only holder of the present value.
pub struct Router {
    stores: Stores,
    current: ArcSwap<Snapshot>,
}

impl Router {
    /// `None` when a mode speaks of a store that is not configured.
    pub fn new(stores: Stores, table: Table) -> Option<Self> {
        let snapshot = Snapshot::new(&stores, table)?;
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

    /// Puts another table in force. `None`, and nothing changes, when a mode in it speaks of a
    /// store that is not configured.
    pub(super) fn swap(&self, table: Table) -> Option<Arc<Snapshot>> {
        let snapshot = Arc::new(Snapshot::new(&self.stores, table)?);
        self.current.store(Arc::clone(&snapshot));
        Some(snapshot)
    }
}

//! The cache as its operator sees it: what is kept, what is in force, and how it is emptied.

use std::time::Duration;

use super::narrow::Broad;
use super::policy::{Bypass, Policy};
use super::scope::Scope;
use super::{Age, Cache, shared};
use crate::metrics::CacheMetrics;

const STALE_WHILE_REVALIDATE: &str = "stale_while_revalidate";
const STALE_IF_ERROR: &str = "stale_if_error";
pub const STALE_REASONS: [&str; 2] = [STALE_WHILE_REVALIDATE, STALE_IF_ERROR];

/// What is in force beside the policy, to be shown.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub memory_bytes: u64,
    pub settle: Duration,
    pub stale_while_revalidate: Duration,
    pub stale_if_error: Duration,
    pub vector_rounding: Option<u32>,
}

impl Cache {
    /// An answer past its time was served.
    pub fn served_stale(&self, age: Age) {
        match age {
            Age::Fresh => {}
            Age::Stale => self.metrics.stale(STALE_WHILE_REVALIDATE),
            Age::LastResort => self.metrics.stale(STALE_IF_ERROR),
        }
    }

    /// Lets go of everything at once, and begins the estimate anew.
    pub fn clear(&self) {
        self.ghost.forget();
        self.generations.renew_all();
        self.entries.invalidate_all();
        if let Some(near) = &self.near {
            near.clear();
        }
    }

    /// Whatever was read before is out of force: a name may mean another collection, or be read
    /// from another store.
    pub fn renew_all(&self) {
        self.generations.renew_all();
    }

    /// Lets go of what is kept of one collection, under any name that a caller has for it.
    pub fn clear_collection(&self, name: &str) {
        let names = self.views.all_of(name);
        let slots = names.iter().flat_map(|name| {
            let name = name.as_str();
            let own = [Scope::Points(name), Scope::Shared(name), Scope::Shape(name)];
            own.map(Scope::slot)
        });
        let every = [Scope::Anything.slot(), Scope::Catalog.slot()];
        let slots: Vec<_> = slots.chain(every).collect();
        self.generations.renew(&slots);
    }

    pub fn settings(&self) -> Settings {
        self.settings
    }

    /// Whether there is to be a Redis; whether it serves is a metric.
    pub fn has_second(&self) -> bool {
        self.shared.is_some()
    }

    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// How many answers are kept, and what they take.
    pub fn size(&self) -> (u64, u64) {
        self.entries.run_pending_tasks();
        (self.entries.entry_count(), self.entries.weighted_size())
    }
}

/// A reason that has not come up yet is shown as nought, not left out.
pub(super) fn show_all(metrics: &CacheMetrics) {
    for reason in Bypass::ALL.map(Bypass::as_str) {
        metrics.bypasses(reason);
    }
    shared::show_all(metrics);
    for reason in Broad::ALL.map(Broad::as_str) {
        metrics.broad_writes(reason);
    }
    for reason in STALE_REASONS {
        metrics.stales(reason);
    }
}

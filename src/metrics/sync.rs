//! The handles of sync: how far behind the follower is, and what was done about it.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge;
use prometheus_client::registry::Registry;

use super::{Counter, Gauge, OutcomeLabel, names, put};
use crate::model::Backlog;

/// Collections that are told by name; the rest is `other`.
const NAMED_MAX: usize = 100;

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct CollectionLabel {
    collection: String,
}

#[derive(Clone)]
pub struct SyncMetrics {
    dirty: Family<CollectionLabel, Gauge>,
    lag: gauge::Gauge<f64, AtomicU64>,
    dead: Gauge,
    pub applied: Counter,
    pub retries: Counter,
    rehearsed: Family<OutcomeLabel, Counter>,
}

impl SyncMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            dirty: put(registry, &names::SYNC_DIRTY),
            lag: put(registry, &names::SYNC_LAG),
            dead: put(registry, &names::SYNC_DEAD),
            applied: put(registry, &names::SYNC_APPLIED),
            retries: put(registry, &names::SYNC_RETRIES),
            rehearsed: put(registry, &names::MIRROR_DRY_RUN),
        };
        // A family shows nothing until it has a member, and an alert needs a zero to start from.
        metrics.lag(&[], 0);
        for outcome in ["accepted", "refused", "unchecked"] {
            let count = metrics
                .rehearsed
                .get_or_create_owned(&OutcomeLabel { outcome });
            count.inc_by(0);
        }
        metrics
    }

    /// A write that was held against the follower in a dry run.
    pub fn rehearsed(&self, outcome: &'static str) {
        self.rehearsed
            .get_or_create(&OutcomeLabel { outcome })
            .inc();
    }

    /// What waits, by collection, and how many points were refused for good.
    pub fn lag(&self, backlog: &[(Box<str>, Backlog)], dead: u64) {
        // What is of no one collection; there are seldom any.
        let mut by_name: BTreeMap<&str, u64> = BTreeMap::from([("*", 0)]);
        for (name, waiting) in backlog {
            let is_known = by_name.contains_key(&**name) || by_name.len() < NAMED_MAX;
            let name = if is_known { &**name } else { "other" };
            *by_name.entry(name).or_default() += waiting.marks;
        }
        // A collection whose last mark is gone shows none.
        self.dirty.clear();
        for (name, marks) in by_name {
            let label = CollectionLabel {
                collection: name.to_owned(),
            };
            let marks = i64::try_from(marks).unwrap_or(i64::MAX);
            self.dirty.get_or_create(&label).set(marks);
        }
        let ages = backlog.iter().filter_map(|(_, waiting)| waiting.age);
        let oldest = ages.max().unwrap_or_default();
        self.lag.set(oldest.as_secs_f64());
        self.dead.set(i64::try_from(dead).unwrap_or(i64::MAX));
    }
}

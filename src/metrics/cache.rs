//! What the cache counts.

use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::{Counter, Gauge, KindLabel, ReasonLabel, TierLabel, names, put};

/// Where an answer is kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Tier {
    /// In the process.
    L1,
    /// In Redis.
    L2,
}

impl Tier {
    const ALL: [Self; 2] = [Self::L1, Self::L2];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::L1 => "l1",
            Self::L2 => "l2",
        }
    }
}

/// The handles of the cache.
#[derive(Clone)]
pub struct CacheMetrics {
    l1_hits: Counter,
    l2_hits: Counter,
    pub misses: Counter,
    pub coalesced: Counter,
    pub evictions: Counter,
    /// What the first tier takes.
    pub bytes: Gauge,
    /// Whether each tier serves.
    pub l1_up: Gauge,
    pub l2_up: Gauge,
    /// Answers written to Redis.
    pub fills: Counter,
    fills_dropped: Family<ReasonLabel, Counter>,
    /// Round trips that told Redis of writes.
    pub renewals: Counter,
    /// What was written here and Redis does not know yet, in scopes.
    pub unshared: Gauge,
    /// Writes whose answer left before Redis knew of them.
    pub untold: Counter,
    /// What other sidecars told of theirs.
    pub messages: Counter,
    redis_errors: Family<KindLabel, Counter>,
    stale: Family<ReasonLabel, Counter>,
    bypasses: Family<ReasonLabel, Counter>,
    pub near_hits: Counter,
    pub narrow_writes: Counter,
    broad_writes: Family<ReasonLabel, Counter>,
}

impl CacheMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let hits: Family<TierLabel, Counter> = put(registry, &names::CACHE_HITS);
        let bytes: Family<TierLabel, Gauge> = put(registry, &names::CACHE_BYTES);
        let [l1_hits, l2_hits] = Tier::ALL.map(|tier| {
            let tier = tier.as_str();
            hits.get_or_create_owned(&TierLabel { tier })
        });
        let up: Family<TierLabel, Gauge> = put(registry, &names::CACHE_TIER_UP);
        let [l1_up, l2_up] = Tier::ALL.map(|tier| {
            let tier = tier.as_str();
            up.get_or_create_owned(&TierLabel { tier })
        });
        let tier = Tier::L1.as_str();
        Self {
            l1_up,
            l2_up,
            fills: put(registry, &names::CACHE_FILLS),
            fills_dropped: put(registry, &names::CACHE_FILLS_DROPPED),
            renewals: put(registry, &names::CACHE_RENEWALS),
            unshared: put(registry, &names::CACHE_UNSHARED),
            untold: put(registry, &names::CACHE_UNTOLD),
            messages: put(registry, &names::CACHE_MESSAGES),
            redis_errors: put(registry, &names::REDIS_ERRORS),
            l1_hits,
            l2_hits,
            misses: put(registry, &names::CACHE_MISSES),
            coalesced: put(registry, &names::CACHE_COALESCED),
            evictions: put(registry, &names::CACHE_EVICTIONS),
            bytes: bytes.get_or_create_owned(&TierLabel { tier }),
            stale: put(registry, &names::CACHE_STALE),
            bypasses: put(registry, &names::CACHE_BYPASSES),
            near_hits: put(registry, &names::CACHE_NEAR_HITS),
            narrow_writes: put(registry, &names::CACHE_NARROW_WRITES),
            broad_writes: put(registry, &names::CACHE_BROAD_WRITES),
        }
    }

    pub fn hit(&self, tier: Tier) {
        match tier {
            Tier::L1 => self.l1_hits.inc(),
            Tier::L2 => self.l2_hits.inc(),
        };
    }

    pub fn hits(&self, tier: Tier) -> u64 {
        match tier {
            Tier::L1 => self.l1_hits.get(),
            Tier::L2 => self.l2_hits.get(),
        }
    }

    pub fn bypasses(&self, reason: &'static str) -> u64 {
        self.bypasses.get_or_create(&ReasonLabel { reason }).get()
    }

    pub fn stales(&self, reason: &'static str) -> u64 {
        self.stale.get_or_create(&ReasonLabel { reason }).get()
    }

    pub fn broad_writes(&self, reason: &'static str) -> u64 {
        let of = self.broad_writes.get_or_create(&ReasonLabel { reason });
        of.get()
    }

    /// `reason` is one of the few words of the cache's own table.
    pub fn bypassed(&self, reason: &'static str) {
        self.bypasses.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// `reason` is one of the few words of the cache's own table.
    pub fn broad(&self, reason: &'static str) {
        self.broad_writes
            .get_or_create(&ReasonLabel { reason })
            .inc();
    }

    /// An answer was not written to Redis. `reason` is one of the few words of the second tier.
    pub fn fill_dropped(&self, reason: &'static str) {
        self.fills_dropped
            .get_or_create(&ReasonLabel { reason })
            .inc();
    }

    /// `kind` is one of the few words of the second tier.
    pub fn redis_error(&self, kind: &'static str) {
        self.redis_errors.get_or_create(&KindLabel { kind }).inc();
    }

    pub fn fills_dropped(&self, reason: &'static str) -> u64 {
        self.fills_dropped
            .get_or_create(&ReasonLabel { reason })
            .get()
    }

    pub fn redis_errors(&self, kind: &'static str) -> u64 {
        self.redis_errors.get_or_create(&KindLabel { kind }).get()
    }

    /// `reason` is the setting that allowed it.
    pub fn stale(&self, reason: &'static str) {
        self.stale.get_or_create(&ReasonLabel { reason }).inc();
    }
}

//! The cache, for `GET /api/cache`, `DELETE /api/cache` and `GET /api/cache/estimate`.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::cache::{Broad, Bypass, Cache, EstimateRow, STALE_REASONS};
use crate::metrics::{CacheMetrics, Tier};

/// What is kept, what came of it, and what is in force.
pub(super) fn state(cache: &Cache, counted: &CacheMetrics) -> Value {
    let (entries, bytes) = cache.size();
    let bypasses = Bypass::ALL.map(Bypass::as_str);
    let bypasses = bypasses.map(|reason| (reason, counted.bypasses(reason)));
    let broad = Broad::ALL.map(Broad::as_str);
    let broad = broad.map(|reason| (reason, counted.broad_writes(reason)));
    json!({
        "enabled": cache.is_on(),
        "tiers": {
            "l1": {
                "entries": entries,
                "bytes": bytes,
                "hits": counted.hits(Tier::L1),
                "evictions": counted.evictions.get(),
                "up": counted.l1_up.get() == 1,
            },
            "l2": {
                "configured": cache.has_second(),
                "hits": counted.hits(Tier::L2),
                "fills": counted.fills.get(),
                "up": counted.l2_up.get() == 1,
            },
        },
        "near_hits": counted.near_hits.get(),
        "misses": counted.misses.get(),
        "coalesced": counted.coalesced.get(),
        "stale": counts(&STALE_REASONS.map(|reason| (reason, counted.stales(reason)))),
        "bypasses": counts(&bypasses),
        "writes": { "narrow": counted.narrow_writes.get(), "broad": counts(&broad) },
        "settings": settings(cache),
    })
}

/// Those that have happened.
fn counts(of: &[(&'static str, u64)]) -> Value {
    let happened = of.iter().filter(|(_, count)| *count > 0);
    let pairs = happened.map(|(reason, count)| ((*reason).to_owned(), json!(count)));
    Value::Object(pairs.collect::<Map<_, _>>())
}

fn settings(cache: &Cache) -> Value {
    let (of, policy) = (cache.settings(), cache.policy());
    let own = policy.collections.iter().map(|(name, own)| {
        let own = json!({
            "cache": own.enabled,
            "ttl": own.ttl.map(told),
            "tenant_key": own.tenant_key,
        });
        (name.clone(), own)
    });
    json!({
        "memory_bytes": of.memory_bytes,
        "ttl": told(policy.ttl),
        "entry_bytes_max": policy.entry_bytes_max,
        "settle": told(of.settle),
        "stale_while_revalidate": told(of.stale_while_revalidate),
        "stale_if_error": told(of.stale_if_error),
        "vector_rounding": of.vector_rounding,
        "collections": own.collect::<Map<_, _>>(),
    })
}

fn told(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

/// What caches of other sizes, lifetimes and reaches would have done with the same reads and writes.
pub(super) fn estimate(cache: &Cache) -> Value {
    let estimate = cache.estimate();
    let row = |row: &EstimateRow| {
        json!({
            "memory_mb": row.memory_mib,
            "ttl": told(row.ttl),
            "tenant_wise": row.by_tenant,
            "hit_rate": to_places(row.hit_rate, 4),
            "saved_ms": to_places(row.saved_seconds * 1e3, 1),
            "saved_ms_per_read": to_places(row.saved_seconds * 1e3 / estimate.reads.max(1.0), 3),
        })
    };
    json!({
        "watched_seconds": estimate.watched.as_secs(),
        "reads": estimate.reads.round(),
        "store_ms": to_places(estimate.store_seconds * 1e3, 1),
        "sampled_keys": estimate.sampled_keys,
        "sample": estimate.sample,
        "rows": estimate.rows.iter().map(row).collect::<Vec<_>>(),
    })
}

fn to_places(value: f64, places: i32) -> f64 {
    let scale = 10f64.powi(places);
    (value * scale).round() / scale
}

/// Lets go of all that is kept, or of one collection's.
pub(super) fn clear(cache: &Cache, query: Option<&str>) -> Value {
    let mut asked = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    let collection = asked.find(|(name, _)| name == "collection");
    match &collection {
        Some((_, name)) => cache.clear_collection(name),
        None => cache.clear(),
    }
    json!({ "cleared": true, "collection": collection.map(|(_, name)| name) })
}

//! The one table of metric names. A name stands here and nowhere else; the README's table is
//! checked against it.
//!
//! Counters are written with `_total`, as they are read; the encoder adds the ending itself.

/// One metric: what a scrape shows.
pub struct Name {
    pub name: &'static str,
    pub help: &'static str,
    /// Label names, every one a closed set of values.
    pub labels: &'static [&'static str],
}

macro_rules! names {
    ($($constant:ident = $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(pub(super) const $constant: Name =
            Name { name: concat!("outrigger_", $name), help: $help, labels: &[$($label),*] };)*
        pub const ALL: &[&Name] = &[$(&$constant),*];
    };
}

names! {
    REQUESTS = "requests_total" ["operation", "store", "cache", "status"]
        "Requests answered, by operation, the store that answered, what the cache did, and status.";
    REQUEST_SECONDS = "request_seconds" ["operation"]
        "From the head of a request to the head of its answer.";
    IN_FLIGHT = "requests_in_flight" []
        "Requests being served now.";
    SHED = "requests_shed_total" ["reason"]
        "Requests refused because a limit was reached.";
    PANICS = "request_panics_total" []
        "Requests that ended in a bug of ours; each was answered with 500.";
    CONNECTIONS = "connections" ["listener"]
        "Connections from clients that are open now.";
    CONNECTIONS_OPENED = "connections_opened_total" ["listener"]
        "Connections accepted from clients.";
    CONNECTIONS_REFUSED = "connections_refused_total" ["listener"]
        "Connections refused because connections_max was reached.";
    CONNECTIONS_GAVE_UP = "connections_gave_up_total" ["listener"]
        "Connections closed because the client kept us waiting.";
    ACCEPT_ERRORS = "accept_errors_total" ["listener"]
        "Errors of the accept loop.";
    STORE_UP = "store_up" ["store"]
        "1 when the last call or probe of the store was answered, 0 when it was not.";
    STORE_SECONDS = "store_seconds" ["store"]
        "From asking a store to the head of its answer.";
    STORE_ERRORS = "store_errors_total" ["store", "kind"]
        "Calls of a store that brought no answer.";
    STORE_RETRIES = "store_retries_total" ["store"]
        "Calls of a store that were made a second time.";
    STORE_CONNECTIONS = "store_pool_connections" ["store"]
        "Connections towards a store that are open now.";
    STORE_IN_USE = "store_pool_in_use" ["store"]
        "Connections of a pool towards PostgreSQL that calls have now.";
    STORE_WAITING = "store_pool_waiting" ["store"]
        "Calls that wait for a connection to PostgreSQL that others have.";
    BREAKER_STATE = "breaker_state" ["target"]
        "0 closed, 1 half open, 2 open.";
    CACHE_HITS = "cache_hits_total" ["tier"]
        "Reads answered with a kept answer, by the tier that had it.";
    CACHE_MISSES = "cache_misses_total" []
        "Reads that the store was asked for because no answer was kept.";
    CACHE_COALESCED = "cache_coalesced_total" []
        "Reads answered with the answer to an equal one that was under way.";
    CACHE_STALE = "cache_stale_total" ["reason"]
        "Reads answered with an answer past its time, by what allowed it.";
    CACHE_BYPASSES = "cache_bypasses_total" ["reason"]
        "Answers that were not looked for or not kept, by reason.";
    CACHE_BYTES = "cache_bytes" ["tier"]
        "What the kept answers take, with what it takes to keep them.";
    CACHE_EVICTIONS = "cache_evictions_total" []
        "Answers let go of to make room.";
    CACHE_TIER_UP = "cache_tier_up" ["tier"]
        "1 while a tier of the cache serves: l1 is the process, l2 is Redis.";
    CACHE_FILLS = "cache_fills_total" []
        "Answers written to Redis.";
    CACHE_FILLS_DROPPED = "cache_fills_dropped_total" ["reason"]
        "Answers that were to be written to Redis and were not, by reason.";
    CACHE_RENEWALS = "cache_renewals_total" []
        "Round trips that told Redis and the other sidecars of writes.";
    CACHE_UNSHARED = "cache_unshared_scopes" []
        "Scopes of answers that were written to here and that Redis has not confirmed.";
    CACHE_UNTOLD = "cache_untold_writes_total" []
        "Writes whose answer left before Redis knew of them: for a moment other sidecars may have answered as before them.";
    CACHE_MESSAGES = "cache_messages_total" []
        "Messages of other sidecars about their writes.";
    REDIS_ERRORS = "redis_errors_total" ["kind"]
        "What went wrong with Redis, by kind.";
    CACHE_NEAR_HITS = "cache_near_hits_total" []
        "Hits that differ from what was asked in the last bits of its vectors.";
    CACHE_NARROW_WRITES = "cache_narrow_writes_total" []
        "Writes that left the kept answers of other tenants alone.";
    CACHE_BROAD_WRITES = "cache_broad_writes_total" ["reason"]
        "Writes to a collection of several tenants that let go of all its answers, by reason.";
    READ_FAILOVERS = "read_failovers_total" ["outcome"]
        "Reads that the read store could not be asked, by whether the follower answered, or why not.";
    SPLIT_UPSERTS = "split_upserts_total" []
        "Upserts too large for Qdrant that were sent to it in parts.";
    MODE = "mode" ["collection", "mode"]
        "1 for the mode in force; collection is * for the whole sidecar.";
    MODE_EPOCH = "mode_epoch" []
        "Raised by every change of mode.";
    GUARD_STEPS_BACK = "guard_steps_back_total" []
        "Times the mode was set back to dual_read because the secondary did not do.";
    SYNC_DIRTY = "sync_dirty_ids" ["collection"]
        "Marks that wait: points of a collection whose state at the follower may differ.";
    SYNC_LAG = "sync_lag_seconds" []
        "Age of the oldest mark that waits.";
    SYNC_APPLIED = "sync_applied_total" []
        "Points written to the follower, or deleted there.";
    SYNC_DEAD = "sync_dead_letters" []
        "Points that the follower refuses for good.";
    SYNC_RETRIES = "sync_retries_total" []
        "Times a store did not answer and mirroring waited.";
    FENCE_SECONDS = "mode_fence_seconds" []
        "How long writes were held for a change of mode.";
    HELD_WRITES = "mode_held_writes_total" []
        "Writes that waited for a change of mode.";
    MIRROR_DRY_RUN = "mirror_dry_run_total" ["outcome"]
        "Writes held against the secondary before it follows, by what it would say to them.";
    SHADOW_READS = "shadow_reads_total" ["class"]
        "Reads whose answer was compared with the follower's, by what kind of difference there is.";
    SHADOW_OVERLAP = "shadow_overlap_ratio" []
        "Overlap of the first ten of both stores' answers to one search, of searches that do not lag.";
    SHADOW_OWN = "shadow_own_overlap_ratio" []
        "Overlap of the read store's answers with its own exact ones: its noise.";
    SHADOW_RBO = "shadow_rbo" []
        "Rank-biased overlap of both stores' answers to one search, of searches that do not lag.";
    SHADOW_SECONDS = "shadow_latency_seconds" ["side"]
        "How long a compared read took at the authority, whose answer the client has, and at the follower.";
    SHADOW_DROPPED = "shadow_dropped_total" []
        "Sampled reads that found no place in the queue.";
    SHADOW_SKIPPED = "shadow_skipped_total" ["reason"]
        "Sampled reads that were not compared, by reason.";
    SHADOW_MARKED = "shadow_marked_total" []
        "Points that a comparison found apart and marked, for sync to bring to the follower.";
    REPORT_LOOKED_AT = "report_looked_at_total" []
        "Requests whose shape was looked at for the report on other stores.";
    REPORT_PASSED_OVER = "report_passed_over_total" []
        "Requests that were not looked at for the report, because others were.";
    TASKS = "tasks" ["name"]
        "Tasks alive now.";
    TLS_RELOADS = "tls_reloads_total" ["outcome"]
        "Times the certificate files were found changed and read again.";
    BUILD = "build_info" ["version"]
        "Always 1; the version of this binary.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_said_once_and_explained() {
        let mut seen = std::collections::BTreeSet::new();
        for name in ALL {
            assert!(seen.insert(name.name), "{} stands twice", name.name);
            assert!(name.help.ends_with('.'), "{} has no help", name.name);
        }
    }
}

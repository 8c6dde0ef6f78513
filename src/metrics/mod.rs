//! What operators count. Handles are passed as `Arc<Metrics>`: there is no global, so that two
//! sidecars in one test process do not count each other's work.
//!
//! Labels are closed sets; never an id, never a key. Whatever is dropped, bypassed, retried or
//! refused has a counter here: if it can happen silently, it is not finished.

mod cache;
mod names;
mod report;
mod shadow;
mod sync;

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, AtomicU64};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

use crate::model::{Mode, Operation, Role};
pub use cache::{CacheMetrics, Tier};
pub use names::{ALL as NAMES, Name};
pub use report::ReportMetrics;
pub use shadow::{ShadowMetrics, Uncompared};
pub use sync::SyncMetrics;

pub type Counter = counter::Counter<u64, AtomicU64>;
pub type Gauge = gauge::Gauge<i64, AtomicI64>;

/// Where a scrape may be read as.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// From a cache hit to a snapshot: half a millisecond apart where clients feel it.
const SECONDS_BUCKETS: [f64; 15] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
    30.0,
];

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct RequestLabels {
    pub operation: &'static str,
    pub store: &'static str,
    pub cache: &'static str,
    pub status: u16,
}

macro_rules! one_label {
    ($($set:ident { $label:ident })*) => {
        $(#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
        struct $set { $label: &'static str })*
    };
}

one_label! {
    OperationLabel { operation }
    ReasonLabel { reason }
    ListenerLabel { listener }
    StoreLabel { store }
    TargetLabel { target }
    NameLabel { name }
    KindLabel { kind }
    OutcomeLabel { outcome }
    TierLabel { tier }
    VersionLabel { version }
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct StoreErrorLabels {
    store: &'static str,
    kind: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct ModeLabels {
    collection: String,
    mode: &'static str,
}

/// Why a request was refused without being served.
#[derive(Clone, Copy, Debug)]
pub enum Shed {
    /// `requests_max` requests were in flight.
    Requests,
    /// The bodies held in memory had reached their bound.
    BodyMemory,
}

impl Shed {
    const ALL: [Self; 2] = [Self::Requests, Self::BodyMemory];

    fn as_str(self) -> &'static str {
        match self {
            Self::Requests => "requests_max",
            Self::BodyMemory => "body_memory",
        }
    }
}

/// What became of a read that the read store could not be asked.
#[derive(Clone, Copy, Debug)]
pub enum ReadFailover {
    /// The follower's answer was handed on.
    Answered,
    /// The follower may lack something.
    Behind,
    /// It cannot be known whether it does.
    Unknown,
    /// The follower did not answer, or refused.
    Refused,
}

impl ReadFailover {
    const ALL: [Self; 4] = [Self::Answered, Self::Behind, Self::Unknown, Self::Refused];

    fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Behind => "behind",
            Self::Unknown => "unknown",
            Self::Refused => "refused",
        }
    }
}

/// The handles of one listener.
#[derive(Clone)]
pub struct ListenerMetrics {
    pub open: Gauge,
    pub opened: Counter,
    pub refused: Counter,
    pub gave_up: Counter,
    pub accept_errors: Counter,
}

/// The handles of one store, by the role it takes.
#[derive(Clone)]
pub struct StoreMetrics {
    store: &'static str,
    pub up: Gauge,
    pub seconds: Histogram,
    pub retries: Counter,
    pub connections: Gauge,
    pub in_use: Gauge,
    pub waiting: Gauge,
    pub breaker: Gauge,
    /// Answers that broke off after their head had been sent on.
    pub broken_answers: Counter,
    errors: Family<StoreErrorLabels, Counter>,
}

impl StoreMetrics {
    /// `kind` is one of the few words of the store's own table of failures.
    pub fn error(&self, kind: &'static str) {
        self.errors
            .get_or_create(&StoreErrorLabels {
                store: self.store,
                kind,
            })
            .inc();
    }
}

/// The handles of one operation, kept so that a request needs no look-up.
#[derive(Default)]
struct Kept {
    seconds: OnceLock<Histogram>,
    requests: OnceLock<(RequestLabels, Counter)>,
}

pub struct Metrics {
    registry: Registry,
    /// In the order of `Operation`.
    kept: Vec<Kept>,
    requests: Family<RequestLabels, Counter>,
    seconds: Family<OperationLabel, Histogram>,
    pub in_flight: Gauge,
    pub panics: Counter,
    pub split_upserts: Counter,
    pub cache: CacheMetrics,
    pub sync: SyncMetrics,
    pub shadow: ShadowMetrics,
    pub report: ReportMetrics,
    shed: Family<ReasonLabel, Counter>,
    read_failovers: Family<OutcomeLabel, Counter>,
    connections: Family<ListenerLabel, Gauge>,
    opened: Family<ListenerLabel, Counter>,
    refused: Family<ListenerLabel, Counter>,
    gave_up: Family<ListenerLabel, Counter>,
    accept_errors: Family<ListenerLabel, Counter>,
    store_up: Family<StoreLabel, Gauge>,
    store_seconds: Family<StoreLabel, Histogram>,
    store_errors: Family<StoreErrorLabels, Counter>,
    store_retries: Family<StoreLabel, Counter>,
    store_connections: Family<StoreLabel, Gauge>,
    store_in_use: Family<StoreLabel, Gauge>,
    store_waiting: Family<StoreLabel, Gauge>,
    breaker: Family<TargetLabel, Gauge>,
    mode: Family<ModeLabels, Gauge>,
    pub mode_epoch: Gauge,
    pub guard_steps_back: Counter,
    pub fence_seconds: Histogram,
    pub held_writes: Counter,
    tasks: Family<NameLabel, Gauge>,
    tls_reloads: Family<OutcomeLabel, Counter>,
}

fn histogram() -> Histogram {
    Histogram::new(SECONDS_BUCKETS)
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    pub fn new() -> Self {
        let mut registry = Registry::default();
        let build: Family<VersionLabel, Gauge> = put(&mut registry, &names::BUILD);
        build
            .get_or_create(&VersionLabel {
                version: env!("CARGO_PKG_VERSION"),
            })
            .set(1);
        let metrics = Self {
            kept: Operation::ALL.iter().map(|_| Kept::default()).collect(),
            requests: put(&mut registry, &names::REQUESTS),
            seconds: put_with(
                &mut registry,
                &names::REQUEST_SECONDS,
                Family::new_with_constructor(histogram),
            ),
            in_flight: put(&mut registry, &names::IN_FLIGHT),
            panics: put(&mut registry, &names::PANICS),
            split_upserts: put(&mut registry, &names::SPLIT_UPSERTS),
            cache: CacheMetrics::new(&mut registry),
            sync: SyncMetrics::new(&mut registry),
            shadow: ShadowMetrics::new(&mut registry),
            report: ReportMetrics::new(&mut registry),
            shed: put(&mut registry, &names::SHED),
            read_failovers: put(&mut registry, &names::READ_FAILOVERS),
            connections: put(&mut registry, &names::CONNECTIONS),
            opened: put(&mut registry, &names::CONNECTIONS_OPENED),
            refused: put(&mut registry, &names::CONNECTIONS_REFUSED),
            gave_up: put(&mut registry, &names::CONNECTIONS_GAVE_UP),
            accept_errors: put(&mut registry, &names::ACCEPT_ERRORS),
            store_up: put(&mut registry, &names::STORE_UP),
            store_seconds: put_with(
                &mut registry,
                &names::STORE_SECONDS,
                Family::new_with_constructor(histogram),
            ),
            store_errors: put(&mut registry, &names::STORE_ERRORS),
            store_retries: put(&mut registry, &names::STORE_RETRIES),
            store_connections: put(&mut registry, &names::STORE_CONNECTIONS),
            store_in_use: put(&mut registry, &names::STORE_IN_USE),
            store_waiting: put(&mut registry, &names::STORE_WAITING),
            breaker: put(&mut registry, &names::BREAKER_STATE),
            mode: put(&mut registry, &names::MODE),
            mode_epoch: put(&mut registry, &names::MODE_EPOCH),
            guard_steps_back: put(&mut registry, &names::GUARD_STEPS_BACK),
            fence_seconds: put_with(&mut registry, &names::FENCE_SECONDS, histogram()),
            held_writes: put(&mut registry, &names::HELD_WRITES),
            tasks: put(&mut registry, &names::TASKS),
            tls_reloads: put(&mut registry, &names::TLS_RELOADS),
            registry,
        };
        // A family shows nothing until it has a member, and an alert needs a zero to start from.
        for reason in Shed::ALL {
            metrics.count_shed(reason).inc_by(0);
        }
        for outcome in ReadFailover::ALL {
            metrics.count_read_failover(outcome).inc_by(0);
        }
        for well in [true, false] {
            metrics.count_tls(well).inc_by(0);
        }
        metrics
    }

    fn count_shed(&self, reason: Shed) -> Counter {
        let reason = reason.as_str();
        self.shed.get_or_create_owned(&ReasonLabel { reason })
    }

    fn count_read_failover(&self, outcome: ReadFailover) -> Counter {
        let outcome = outcome.as_str();
        self.read_failovers
            .get_or_create_owned(&OutcomeLabel { outcome })
    }

    pub fn read_failover(&self, outcome: ReadFailover) {
        self.count_read_failover(outcome).inc();
    }

    fn count_tls(&self, well: bool) -> Counter {
        let outcome = if well { "in_force" } else { "refused" };
        self.tls_reloads
            .get_or_create_owned(&OutcomeLabel { outcome })
    }

    pub fn answered(&self, operation: Operation, labels: &RequestLabels, seconds: f64) {
        let Some(kept) = self.kept.get(operation as usize) else {
            return;
        };
        let name = OperationLabel {
            operation: operation.as_str(),
        };
        let histogram = || self.seconds.get_or_create_owned(&name);
        kept.seconds.get_or_init(histogram).observe(seconds);
        // A look-up hashes every label; nearly all requests carry the same ones as the first.
        let counter = || (labels.clone(), self.requests.get_or_create_owned(labels));
        let (first, count) = kept.requests.get_or_init(counter);
        if first == labels {
            count.inc();
        } else {
            self.requests.get_or_create(labels).inc();
        }
    }

    pub fn shed(&self, reason: Shed) {
        self.count_shed(reason).inc();
    }

    pub fn tls_reloaded(&self, well: bool) {
        self.count_tls(well).inc();
    }

    pub fn listener(&self, listener: &'static str) -> ListenerMetrics {
        let label = ListenerLabel { listener };
        ListenerMetrics {
            open: self.connections.get_or_create_owned(&label),
            opened: self.opened.get_or_create_owned(&label),
            refused: self.refused.get_or_create_owned(&label),
            gave_up: self.gave_up.get_or_create_owned(&label),
            accept_errors: self.accept_errors.get_or_create_owned(&label),
        }
    }

    pub fn store(&self, role: Role) -> StoreMetrics {
        let label = StoreLabel {
            store: role.as_str(),
        };
        StoreMetrics {
            store: role.as_str(),
            up: self.store_up.get_or_create_owned(&label),
            seconds: self.store_seconds.get_or_create_owned(&label),
            retries: self.store_retries.get_or_create_owned(&label),
            connections: self.store_connections.get_or_create_owned(&label),
            in_use: self.store_in_use.get_or_create_owned(&label),
            waiting: self.store_waiting.get_or_create_owned(&label),
            breaker: self.breaker.get_or_create_owned(&TargetLabel {
                target: role.as_str(),
            }),
            broken_answers: self.store_errors.get_or_create_owned(&StoreErrorLabels {
                store: role.as_str(),
                kind: "broken_answer",
            }),
            errors: self.store_errors.clone(),
        }
    }

    /// Shows `mode` as the one in force for `collection` (`*` is the whole sidecar).
    pub fn mode_in_force(&self, collection: &str, mode: Mode) {
        for each in Mode::ALL {
            let labels = ModeLabels {
                collection: collection.to_owned(),
                mode: each.as_str(),
            };
            self.mode
                .get_or_create(&labels)
                .set(i64::from(each == mode));
        }
    }

    /// The whole scrape. `tasks` are those alive now, by name.
    pub fn render(&self, tasks: &BTreeMap<&'static str, usize>) -> String {
        self.tasks.clear();
        for (name, count) in tasks {
            let count = i64::try_from(*count).unwrap_or(i64::MAX);
            self.tasks.get_or_create(&NameLabel { name }).set(count);
        }
        let mut text = String::new();
        // Writing to a string does not fail, so only a broken metric could; the rest still shows.
        if encode(&mut text, &self.registry).is_err() {
            text.push_str("# a metric could not be written\n");
        }
        text
    }
}

fn put<M: Metric + Clone + Default>(registry: &mut Registry, name: &Name) -> M {
    put_with(registry, name, M::default())
}

fn put_with<M: Metric + Clone>(registry: &mut Registry, name: &Name, metric: M) -> M {
    // The encoder puts the ending of counters and the full stop of helps itself.
    let plain = name.name.strip_suffix("_total").unwrap_or(name.name);
    registry.register(plain, name.help.trim_end_matches('.'), metric.clone());
    metric
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_the_table_is_registered() {
        let metrics = Metrics::new();
        // A family shows nothing until one of its members was made.
        metrics.listener("proxy");
        metrics.store(Role::Primary).error("timeout");
        metrics.shed(Shed::Requests);
        metrics.tls_reloaded(true);
        metrics.cache.bypassed("off");
        metrics.cache.stale("stale_if_error");
        metrics.cache.broad("met");
        metrics.cache.fill_dropped("queue_full");
        metrics.cache.redis_error("lost");
        metrics.sync.rehearsed("accepted");
        metrics
            .sync
            .lag(&[("c".into(), crate::model::Backlog::default())], 0);
        metrics.mode_in_force("*", Mode::PrimaryOnly);
        let labels = RequestLabels {
            operation: Operation::Root.as_str(),
            store: "none",
            cache: "bypass",
            status: 200,
        };
        metrics.answered(Operation::Root, &labels, 0.1);
        let text = metrics.render(&BTreeMap::from([("accept", 1)]));
        for name in NAMES {
            let plain = name.name.strip_suffix("_total").unwrap_or(name.name);
            assert!(
                text.contains(&format!("# HELP {plain} ")),
                "{} is not registered",
                name.name
            );
        }
    }

    #[test]
    fn one_mode_is_in_force_at_a_time() {
        let metrics = Metrics::new();
        metrics.mode_in_force("*", Mode::PrimaryOnly);
        metrics.mode_in_force("*", Mode::DualWrite);
        let text = metrics.render(&BTreeMap::new());
        assert!(
            text.contains(r#"outrigger_mode{collection="*",mode="dual_write"} 1"#),
            "{text}"
        );
        assert!(
            text.contains(r#"outrigger_mode{collection="*",mode="primary_only"} 0"#),
            "{text}"
        );
    }
}

//! The connection to Redis as those see it who ask. They never make one: there is one or there is
//! not.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use redis::RedisError;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::dial::Connection;
use super::keys::Place;
use crate::metrics::CacheMetrics;

/// Look-ups under way at one time. Who would be one more asks the store.
const LOOK_UPS_MAX: usize = 512;

pub(super) struct Link {
    open: ArcSwapOption<Open>,
    places: Arc<Semaphore>,
    broken: Notify,
}

pub(super) struct Open {
    pub(super) connection: Connection,
    pub(super) place: Place,
}

/// What went wrong with Redis. Also a metric label.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fault {
    /// No connection, or it broke.
    Lost,
    /// No answer in time.
    Timeout,
    /// `maxmemory` is reached and nothing may be evicted.
    Full,
    /// A wrong password, or one that may not do what we ask.
    Denied,
    /// It is no master, or loads its data: to be left and looked for anew.
    NotServing,
    /// Our own heartbeat did not come back.
    Silent,
    /// Any other error.
    Other,
}

impl Fault {
    const ALL: [Self; 7] = [
        Self::Lost,
        Self::Timeout,
        Self::Full,
        Self::Denied,
        Self::NotServing,
        Self::Silent,
        Self::Other,
    ];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Timeout => "timeout",
            Self::Full => "full",
            Self::Denied => "denied",
            Self::NotServing => "not_serving",
            Self::Silent => "silent",
            Self::Other => "other",
        }
    }
}

/// What else is counted as an error of Redis: an answer of no shape that we know, and an entry
/// that is not as we wrote it.
pub(super) const NONSENSE: &str = "nonsense";
pub(super) const GARBAGE: &str = "garbage";

/// Why an answer was not written to Redis.
pub(super) const QUEUE_FULL: &str = "queue_full";
pub(super) const UNSHARED: &str = "unshared";

/// A reason that has not come up yet is shown as nought, not left out.
pub(in crate::cache) fn show_all(metrics: &CacheMetrics) {
    for fault in Fault::ALL {
        metrics.redis_errors(fault.as_str());
    }
    for kind in [NONSENSE, GARBAGE] {
        metrics.redis_errors(kind);
    }
    for reason in [QUEUE_FULL, UNSHARED] {
        metrics.fills_dropped(reason);
    }
}

pub(super) fn fault_of(error: &RedisError) -> Fault {
    if error.is_timeout() {
        return Fault::Timeout;
    }
    match error.code() {
        Some("OOM") => Fault::Full,
        Some("NOAUTH" | "WRONGPASS" | "NOPERM") => Fault::Denied,
        Some("READONLY" | "LOADING" | "MASTERDOWN" | "CLUSTERDOWN") => Fault::NotServing,
        Some(_) | None => {
            if matches!(error.kind(), redis::ErrorKind::AuthenticationFailed) {
                Fault::Denied
            } else if error.is_io_error() || error.is_unrecoverable_error() {
                Fault::Lost
            } else {
                Fault::Other
            }
        }
    }
}

impl Link {
    pub(super) fn new() -> Self {
        Self {
            open: ArcSwapOption::empty(),
            places: Arc::new(Semaphore::new(LOOK_UPS_MAX)),
            broken: Notify::new(),
        }
    }

    pub(super) fn open(&self) -> Option<Arc<Open>> {
        self.open.load_full()
    }

    pub(super) fn set(&self, open: Option<Arc<Open>>) {
        self.open.store(open);
    }

    /// The connection and leave to ask by it.
    pub(super) fn place(&self) -> Option<(Arc<Open>, OwnedSemaphorePermit)> {
        let open = self.open()?;
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        Some((open, place))
    }

    /// Somebody met a fault. One that only a new connection can cure is told to who makes it.
    pub(super) fn tell(&self, fault: Fault) {
        match fault {
            Fault::Lost | Fault::NotServing | Fault::Denied => self.broken.notify_one(),
            Fault::Timeout | Fault::Full | Fault::Silent | Fault::Other => (),
        }
    }

    /// Cancel safety: safe.
    pub(super) async fn breaks(&self) {
        self.broken.notified().await;
    }
}

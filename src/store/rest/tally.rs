//! What has been asked of the store and how it went: the figures behind `/telemetry` and
//! `/metrics`.

#![expect(
    clippy::disallowed_methods,
    reason = "telemetry tells the wall clock of the answer"
)]

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;

use crate::error::{Error, ErrorKind};
use crate::model::Operation;
use crate::wire::{ROUTES, envelope};

/// Requests that an own store has answered, by call and status.
#[derive(Default)]
pub(super) struct Tally {
    answered: Mutex<BTreeMap<(&'static str, u16), Figures>>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Figures {
    pub(super) count: u64,
    pub(super) total: Duration,
    pub(super) least: Duration,
    pub(super) most: Duration,
    pub(super) last: SystemTime,
}

/// The figures of one call and one status.
pub(super) struct Row {
    pub(super) method: String,
    /// As Qdrant writes it: `/collections/{name}/points`.
    pub(super) endpoint: String,
    pub(super) status: u16,
    pub(super) figures: Figures,
}

impl Tally {
    pub(super) fn count(&self, operation: Operation, status: u16, took: Duration) {
        let now = SystemTime::now();
        let mut answered = self.answered.lock();
        let figures = answered
            .entry((operation.as_str(), status))
            .or_insert(Figures {
                count: 0,
                total: Duration::ZERO,
                least: took,
                most: took,
                last: now,
            });
        figures.count += 1;
        figures.total = figures.total.saturating_add(took);
        figures.least = figures.least.min(took);
        figures.most = figures.most.max(took);
        figures.last = now;
    }

    /// One row a call and status, sorted by call.
    pub(super) fn rows(&self) -> Vec<Row> {
        let answered = self.answered.lock().clone();
        let rows = answered
            .into_iter()
            .filter_map(|((name, status), figures)| {
                let route = ROUTES
                    .iter()
                    .find(|route| route.operation.as_str() == name)?;
                let endpoint = route
                    .template
                    .replace("{collection}", "{name}")
                    .replace("{point}", "{id}");
                Some(Row {
                    method: route.method.to_string(),
                    endpoint,
                    status,
                    figures,
                })
            });
        rows.collect()
    }
}

/// The status that a refusal goes out with.
pub(super) fn status_of(error: &Error) -> u16 {
    match error.kind() {
        ErrorKind::BadInput if envelope::is_validation_error(&error.to_string()) => 422,
        ErrorKind::BadInput | ErrorKind::Settings => 400,
        ErrorKind::Unauthorized => 401,
        ErrorKind::Forbidden => 403,
        ErrorKind::NotFound => 404,
        ErrorKind::Timeout => 408,
        ErrorKind::Conflict => 409,
        ErrorKind::RateLimited => 429,
        ErrorKind::Unsupported => 501,
        ErrorKind::Busy | ErrorKind::Unavailable => 503,
        ErrorKind::Nonsense | ErrorKind::Loop | ErrorKind::Internal => 500,
    }
}

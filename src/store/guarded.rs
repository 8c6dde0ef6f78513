//! A wrapper around any store: the breaker and the metrics of calls outward.
//!
//! It changes no answer. It refuses while the breaker is open, at once and saying when to come
//! back, and it counts every call that brought no answer, by kind.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::breaker::{Breaker, BreakerSettings};
use super::{PassAnswer, PassCall, Store, StoreFuture};
use crate::error::{Error, ErrorKind, Origin, Result, Retry};
use crate::metrics::StoreMetrics;
use crate::model::{Role, StoreKind};

pub struct Guarded {
    inner: Arc<dyn Store>,
    role: Role,
    breaker: Breaker,
    metrics: StoreMetrics,
}

impl Guarded {
    pub fn new(
        inner: Arc<dyn Store>,
        role: Role,
        settings: BreakerSettings,
        metrics: StoreMetrics,
    ) -> Self {
        let breaker = Breaker::new(settings, metrics.breaker.clone());
        Self {
            inner,
            role,
            breaker,
            metrics,
        }
    }

    async fn guarded<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        let permit = self.breaker.admit().map_err(|wait| {
            self.metrics.error("breaker_open");
            let doing = format!(
                "the {} store ({}) did not answer its last calls; waiting before asking it again",
                self.role,
                self.inner.kind()
            );
            Error::new(ErrorKind::Busy, Origin::Proxy, Retry::Safe, doing).with_retry_after(wait)
        })?;
        let began = Instant::now();
        let result = call.await;
        match &result {
            Ok(_) => {
                self.metrics.seconds.observe(began.elapsed().as_secs_f64());
                permit.succeeded();
                if self.metrics.up.set(1) == 0 {
                    info!(store = %self.role, kind = %self.inner.kind(), "the store answers");
                }
            }
            Err(error) if is_the_stores_failure(error) => {
                self.metrics.error(kind_of(error));
                self.metrics.up.set(0);
                if permit.failed() {
                    warn!(store = %self.role, error = %error.chain(), "the store fails; breaker opened");
                }
            }
            // The client's doing: it says nothing about the store.
            Err(_) => drop(permit),
        }
        result
    }
}

/// Failures of the connection or of the answer; not what a client did or what is not served.
fn is_the_stores_failure(error: &Error) -> bool {
    match error.origin() {
        Origin::Client | Origin::Proxy => false,
        Origin::Qdrant | Origin::Pgvector | Origin::Embedded => matches!(
            error.kind(),
            ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::Nonsense
        ),
    }
}

fn kind_of(error: &Error) -> &'static str {
    match error.kind() {
        ErrorKind::Timeout => "timeout",
        ErrorKind::Nonsense => "nonsense",
        ErrorKind::Unavailable => "unavailable",
        ErrorKind::BadInput
        | ErrorKind::Unauthorized
        | ErrorKind::Forbidden
        | ErrorKind::NotFound
        | ErrorKind::Conflict
        | ErrorKind::RateLimited
        | ErrorKind::Busy
        | ErrorKind::Loop
        | ErrorKind::Unsupported
        | ErrorKind::Settings
        | ErrorKind::Internal => "other",
    }
}

impl Store for Guarded {
    fn kind(&self) -> StoreKind {
        self.inner.kind()
    }

    fn pass(&self, call: PassCall) -> StoreFuture<'_, PassAnswer> {
        Box::pin(self.guarded(self.inner.pass(call)))
    }

    /// A probe goes round the breaker: it is how an open one is seen to heal without traffic.
    fn probe(&self, within: Duration) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            let result = self.inner.probe(within).await;
            self.metrics.up.set(i64::from(result.is_ok()));
            result
        })
    }
}

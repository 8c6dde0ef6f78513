//! A follower whose calls are held, done with their reply lost, or refused.

use std::sync::Arc;
use std::time::Duration;

use http::{Response, StatusCode};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::error::{Error, ErrorKind, Origin, Retry};
use crate::model::StoreKind;
use crate::net::Body;
use crate::store::{PassAnswer, PassCall, Store, StoreFuture};
use crate::task;

/// What becomes of a call.
#[derive(Clone)]
pub(super) enum Fate {
    Passes,
    /// The store has it only when it is let go, whoever still waits for it then.
    IsHeld(watch::Receiver<bool>),
    IsRefused(StatusCode, &'static str),
}

type Rule = dyn Fn(&PassCall) -> Fate + Send + Sync;

pub(super) struct Faulty {
    inner: Arc<dyn Store>,
    rule: Mutex<Arc<Rule>>,
    /// How many calls were held or refused.
    met: watch::Sender<usize>,
}

impl Faulty {
    pub(super) fn new(inner: Arc<dyn Store>) -> Self {
        Self {
            inner,
            rule: Mutex::new(Arc::new(|_: &PassCall| Fate::Passes)),
            met: watch::Sender::new(0),
        }
    }

    /// From now on.
    pub(super) fn rule(&self, rule: impl Fn(&PassCall) -> Fate + Send + Sync + 'static) {
        *self.rule.lock() = Arc::new(rule);
    }

    pub(super) fn pass_all(&self) {
        self.rule(|_| Fate::Passes);
    }

    /// Waits until so many calls were held or refused.
    pub(super) async fn met(&self, count: usize) {
        let mut met = self.met.subscribe();
        met.wait_for(|met| *met >= count).await.unwrap();
    }
}

impl Store for Faulty {
    fn kind(&self) -> StoreKind {
        self.inner.kind()
    }

    fn pass(&self, call: PassCall) -> StoreFuture<'_, PassAnswer> {
        let rule = Arc::clone(&*self.rule.lock());
        let fate = rule(&call);
        if !matches!(fate, Fate::Passes) {
            self.met.send_modify(|met| *met += 1);
        }
        match fate {
            Fate::Passes => self.inner.pass(call),
            Fate::IsHeld(mut is_open) => {
                let inner = Arc::clone(&self.inner);
                let late = task::spawn("late", async move {
                    is_open.wait_for(|is_open| *is_open).await.unwrap();
                    inner.pass(call).await
                });
                Box::pin(async move { late.await.unwrap_or_else(|_panic| Err(lost())) })
            }
            Fate::IsRefused(status, why) => {
                let body = serde_json::json!({"status": {"error": why}, "time": 0.0});
                let mut answer = Response::new(Body::full(body.to_string()));
                *answer.status_mut() = status;
                Box::pin(std::future::ready(Ok(answer)))
            }
        }
    }

    fn probe(&self, within: Duration) -> StoreFuture<'_, ()> {
        self.inner.probe(within)
    }
}

fn lost() -> Error {
    let (kind, retry) = (ErrorKind::Unavailable, Retry::OutcomeUnknown);
    Error::new(kind, Origin::Proxy, retry, "hear of a call")
}

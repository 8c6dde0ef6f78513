//! The bound on requests in flight. A request beyond it is told so at once: a queue here would
//! only hide the overload until the client's own five seconds are over.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::Semaphore;
use tower::{Layer, Service};

use super::call::{Answer, Call};
use super::respond;
use crate::error::{Error, ErrorKind, Origin, Retry};
use crate::metrics::{Metrics, Shed as Reason};
use crate::model::Access;

#[derive(Clone)]
pub(super) struct ShedLayer {
    pub(super) places: Arc<Semaphore>,
    /// For what needs no key.
    pub(super) open_places: Arc<Semaphore>,
    pub(super) metrics: Arc<Metrics>,
}

impl<S> Layer<S> for ShedLayer {
    type Service = Shed<S>;

    fn layer(&self, inner: S) -> Shed<S> {
        Shed {
            rules: self.clone(),
            inner,
        }
    }
}

#[derive(Clone)]
pub(super) struct Shed<S> {
    rules: ShedLayer,
    inner: S,
}

impl<S> Service<Call> for Shed<S>
where
    S: Service<Call, Response = Answer, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Answer;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, call: Call) -> Self::Future {
        // What anyone may ask has places of its own: probes must get through when all the others
        // are taken (a busy sidecar that looks dead would be restarted), and whoever has no key
        // must not be able to take the places of those who have one.
        let is_open = call.operation.access() == Access::Open || call.is_preflight();
        let places = if is_open {
            &self.rules.open_places
        } else {
            &self.rules.places
        };
        let Ok(place) = Arc::clone(places).try_acquire_owned() else {
            self.rules.metrics.shed(Reason::Requests);
            let doing = "too many requests in flight (server.requests_max)";
            let busy = Error::new(ErrorKind::Busy, Origin::Proxy, Retry::Safe, doing);
            return Box::pin(std::future::ready(Ok(respond::error(&busy))));
        };
        let metrics = Arc::clone(&self.rules.metrics);
        let answer = self.inner.call(call);
        Box::pin(async move {
            let busy = Busy::begin(metrics);
            Ok(answer.await?.holding((place, busy)))
        })
    }
}

/// Counts a request as in flight until its answer has been sent.
struct Busy(Arc<Metrics>);

impl Busy {
    fn begin(metrics: Arc<Metrics>) -> Self {
        metrics.in_flight.inc();
        Self(metrics)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.in_flight.dec();
    }
}

//! The front of the stack: recognises a request once, gives it its ids and its span, and at the
//! end counts it and says in headers what was done.
//!
//! A panic anywhere below costs this one request: it is answered with 500 and counted.

use std::convert::Infallible;

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::FutureExt;
use http::Response;
use http::header::{HeaderName, HeaderValue};
use tokio::time::Instant;
use tower::{Layer, Service};
use tracing::{Instrument, debug, error, info_span};

use super::call::{Answer, Call, Upload};
use super::marks::{self, Marks, REQUEST_ID};
use super::respond::{self, CorsAsked};
use crate::cache::Asker;
use crate::metrics::{Metrics, RequestLabels};
use crate::model::Role;
use crate::net::{Arrival, Body};
use crate::wire;

const SAYS_CACHE: HeaderName = HeaderName::from_static("x-outrigger-cache");
const SAYS_STORE: HeaderName = HeaderName::from_static("x-outrigger-store");

#[derive(Clone)]
pub(super) struct FrontLayer {
    pub(super) metrics: Arc<Metrics>,
}

impl<S> Layer<S> for FrontLayer {
    type Service = Front<S>;

    fn layer(&self, inner: S) -> Front<S> {
        Front {
            metrics: Arc::clone(&self.metrics),
            inner,
        }
    }
}

#[derive(Clone)]
pub(super) struct Front<S> {
    metrics: Arc<Metrics>,
    inner: S,
}

impl<S> Service<Arrival> for Front<S>
where
    S: Service<Call, Response = Answer, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, arrival: Arrival) -> Self::Future {
        let began = Instant::now();
        let Arrival {
            request,
            peer,
            in_flight,
        } = arrival;
        let (head, body) = request.into_parts();
        let recognised = wire::recognise(&head.method, head.uri.path());
        let operation = recognised.operation;
        let request_id = marks::request_id(&head.headers);
        let marks = Marks {
            peer,
            request_id: request_id.clone(),
            via: None,
        };
        let span = info_span!(
            "request",
            operation = operation.as_str(),
            collection = recognised.collection().as_deref(),
            request_id = request_id.to_str().unwrap_or_default(),
        );
        let collection = recognised.collection().map(|name| Box::from(&*name));
        let asker = Asker::of(&head.headers);
        let metrics = Arc::clone(&self.metrics);
        let mut inner = self.inner.clone();
        let work = async move {
            let call = Call {
                operation,
                collection,
                asker,
                head,
                body: Upload::Coming(body),
                marks,
            };
            let preflight = call.is_preflight();
            let cors = CorsAsked::of(&call.head.headers, preflight);
            let asked = AssertUnwindSafe(async { inner.call(call).await }).catch_unwind();
            let answer = match asked.await {
                Ok(Ok(answer)) => answer,
                Err(_panic) => {
                    metrics.panics.inc();
                    error!("a request ended in a panic");
                    respond::panicked()
                }
            };
            let answer = answer.holding(in_flight);
            let labels = RequestLabels {
                operation: operation.as_str(),
                store: answer.store.map_or("none", Role::as_str),
                cache: answer.cache.as_str(),
                status: answer.response.status().as_u16(),
            };
            debug!(status = labels.status, store = labels.store, "answered");
            metrics.answered(operation, &labels, began.elapsed().as_secs_f64());
            Ok(finished(answer, request_id, cors))
        };
        Box::pin(work.instrument(span))
    }
}

/// Says in headers what was done; the body of an answer is never touched.
fn finished(answer: Answer, request_id: HeaderValue, cors: Option<CorsAsked>) -> Response<Body> {
    let Answer {
        mut response,
        store,
        cache,
    } = answer;
    if let (None, Some(asked)) = (store, cors) {
        respond::allow_origin(&mut response, &asked);
    }
    let fields = response.headers_mut();
    fields.insert(SAYS_CACHE, HeaderValue::from_static(cache.as_str()));
    if let Some(role) = store {
        fields.insert(SAYS_STORE, HeaderValue::from_static(role.as_str()));
    }
    fields.entry(REQUEST_ID).or_insert(request_id);
    response
}

//! The front of the stack: recognises a request once, gives it its ids and its span, and at the
//! end counts it and says in headers what was done.
//!
//! A panic anywhere below costs this one request: it is answered with 500 and counted.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::FutureExt;
use http::Response;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;
use tower::{Layer, Service};
use tracing::{Instrument, debug, error, info_span};

use super::call::{Answer, Call};
use super::respond::{self, CorsAsked};
use crate::cache::Asker;
use crate::metrics::{Metrics, RequestLabels};
use crate::model::Role;
use crate::net::{Arrival, Body};
use crate::wire;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
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
        let (mut head, body) = request.into_parts();
        let recognised = wire::recognise(&head.method, head.uri.path());
        let operation = recognised.operation;
        let request_id = stamp(&mut head.headers, peer);
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
                body,
                peer,
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

/// Gives a request the marks that it carries on to the store, and returns its id.
fn stamp(fields: &mut HeaderMap, peer: SocketAddr) -> HeaderValue {
    let address = peer.ip().to_canonical();
    let mut path = String::new();
    for before in fields.get_all(&FORWARDED_FOR) {
        if let Ok(before) = before.to_str() {
            path.push_str(before);
            path.push_str(", ");
        }
    }
    path.push_str(&address.to_string());
    if let Ok(path) = HeaderValue::try_from(path) {
        fields.insert(FORWARDED_FOR, path);
    }
    if !fields.contains_key(&TRACEPARENT) {
        // Not sampled: nobody upstream of us has asked for a trace.
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        let (trace, parent): ([u8; 16], [u8; 8]) = (rand::random(), rand::random());
        put_hex(text.get_mut(3..35), &trace);
        put_hex(text.get_mut(36..52), &parent);
        if let Ok(made) = HeaderValue::from_bytes(&text) {
            fields.insert(TRACEPARENT, made);
        }
    }
    if let Some(given) = fields.get(&REQUEST_ID) {
        return given.clone();
    }
    let mut text = [b'0'; 32];
    put_hex(Some(&mut text), &rand::random::<[u8; 16]>());
    let made = HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("-"));
    fields.insert(REQUEST_ID, made.clone());
    made
}

/// `format!` takes about a microsecond for one id, and every request needs two.
fn put_hex(text: Option<&mut [u8]>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let pairs = text.into_iter().flat_map(|text| text.chunks_exact_mut(2));
    for (pair, byte) in pairs.zip(bytes) {
        pair.copy_from_slice(&[
            DIGITS[usize::from(byte >> 4)],
            DIGITS[usize::from(byte & 15)],
        ]);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn stamped(mut fields: HeaderMap) -> HeaderMap {
        stamp(&mut fields, "10.0.0.7:1234".parse().unwrap());
        fields
    }

    #[test]
    fn ids_are_made_where_there_are_none() {
        let fields = stamped(HeaderMap::new());
        assert_eq!(fields[REQUEST_ID].len(), 32);
        assert_eq!(fields[TRACEPARENT].len(), 55);
        assert_eq!(fields[FORWARDED_FOR], "10.0.0.7");
    }

    #[test]
    fn ids_that_are_there_are_passed_on() {
        let given = [
            (REQUEST_ID, "mine"),
            (TRACEPARENT, "theirs"),
            (FORWARDED_FOR, "1.2.3.4"),
        ];
        let given = given.map(|(name, value)| (name, HeaderValue::from_static(value)));
        let fields = stamped(given.into_iter().collect());
        assert_eq!(fields[REQUEST_ID], "mine");
        assert_eq!(fields[TRACEPARENT], "theirs");
        assert_eq!(fields[FORWARDED_FOR], "1.2.3.4, 10.0.0.7");
    }
}

//! The `qdrant` store: any Qdrant server or cluster, reached over REST. Bytes in, bytes out.
//!
//! Promises: path, query, body and headers (less hop-by-hop ones) arrive as the client sent them;
//! whatever Qdrant answers is the answer; a short answer is gathered before its head is sent on,
//! so that an upstream that breaks half-way is answered for; a read that was never answered is
//! asked once more; a write is never sent twice. An upsert above Qdrant's limit is sent in parts.

mod headers;
mod oversize;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::ACCEPT_ENCODING;
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, Version};
use tokio::time::{Instant, timeout_at};
use tracing::debug;

use super::{PassAnswer, PassCall, Store, StoreFuture};
use crate::error::{Error, ErrorKind, Origin, Result, Retry};
use crate::metrics::{Counter, StoreMetrics};
use crate::model::{Operation, StoreKind};
use crate::net::{Awaits, Body, Gathered, Streamed, Upstream, gather};

/// An answer up to this length is gathered before its head is sent on.
const GATHER_BYTES_MAX: usize = 256 * 1024;
/// The pause before a read is asked again of an upstream that could not be reached: enough for a
/// listener that is just being restarted, and spread, so that callers do not come back as one.
const RETRY_PAUSE_MS: std::ops::Range<u64> = 20..80;

pub struct QdrantSettings {
    pub scheme: Scheme,
    pub authority: Authority,
    /// Put before every path; empty for most.
    pub path_prefix: String,
    /// Our own key at Qdrant. Without one the client's is passed on.
    pub api_key: Option<HeaderValue>,
    /// The longest pause between two pieces of an answer.
    pub pause: Duration,
    /// The most JSON that this Qdrant takes in one body.
    pub body_limit: u64,
}

/// Cheap to clone; clones share the pool.
#[derive(Clone)]
pub struct Qdrant {
    upstream: Upstream,
    settings: Arc<QdrantSettings>,
    metrics: StoreMetrics,
    split_upserts: Counter,
}

impl Qdrant {
    pub fn new(
        upstream: Upstream,
        settings: QdrantSettings,
        metrics: StoreMetrics,
        split_upserts: Counter,
    ) -> Self {
        Self {
            upstream,
            settings: Arc::new(settings),
            metrics,
            split_upserts,
        }
    }

    async fn pass_call(&self, call: PassCall) -> Result<PassAnswer> {
        let PassCall {
            operation,
            mut head,
            mut body,
            deadline,
        } = call;
        if !operation.class().is_read() {
            // What comes of a write is read on its way back, by the cache and by sync. Qdrant packs
            // the shortest answer for whoever takes it packed.
            head.headers.remove(ACCEPT_ENCODING);
        }
        let upload = body.tell_awaits();
        let too_long = |bytes: &Bytes| bytes.len() as u64 > self.settings.body_limit;
        match body.as_bytes() {
            Some(bytes) if operation == Operation::UpsertPoints && too_long(&bytes) => {
                self.pass_in_parts(head, body, bytes, deadline).await
            }
            Some(bytes) if operation.class().is_read() => {
                self.pass_read(head, bytes, deadline).await
            }
            _ => {
                let answer = self.pass_once(self.outbound(head, body)?, deadline).await;
                answer.map_err(|error| blame(error, &upload))
            }
        }
    }

    /// Asks, and asks once more if the first try was never answered.
    async fn pass_read(&self, head: Parts, body: Bytes, deadline: Instant) -> Result<PassAnswer> {
        let first = self.outbound(head.clone(), Body::full(body.clone()))?;
        let error = match self.pass_once(first, deadline).await {
            Err(error) if error.kind() == ErrorKind::Unavailable => error,
            other => return other,
        };
        if error.retry() == Retry::Safe {
            let pause = Duration::from_millis(rand::random_range(RETRY_PAUSE_MS));
            tokio::time::sleep(pause).await;
        }
        debug!(error = %error.chain(), "ask a second time");
        self.metrics.retries.inc();
        self.pass_once(self.outbound(head, Body::full(body))?, deadline)
            .await
    }

    async fn pass_once(&self, request: Request<Body>, deadline: Instant) -> Result<PassAnswer> {
        // One bound over sending and gathering: a timer less for every request.
        match timeout_at(deadline, self.ask(request)).await {
            Ok(answer) => answer,
            Err(_) => Err(self.too_late()),
        }
    }

    async fn ask(&self, request: Request<Body>) -> Result<PassAnswer> {
        let answer = self.upstream.send(request).await;
        let answer = answer.map_err(|failed| failed.into_error(Origin::Qdrant, self.doing()))?;
        let (mut head, incoming) = answer.into_parts();
        headers::strip_hop_by_hop(&mut head.headers);
        head.version = Version::HTTP_11;
        let pause = self.settings.pause;
        let broken = &self.metrics.broken_answers;
        let body = if incoming.is_end_stream() {
            Body::empty()
        } else if Self::goes_on_at_once(&head.headers, &incoming) {
            Body::stream(incoming, pause).counting(broken)
        } else {
            match gather(incoming, pause, GATHER_BYTES_MAX).await {
                Ok(Gathered::Whole(bytes)) => Body::full(bytes),
                Ok(Gathered::Rest(body)) => body.counting(broken),
                Err(error) => return Err(self.broke_off().with_source(error)),
            }
        };
        Ok(PassAnswer::from_parts(head, body))
    }

    /// Whether an answer is known to be long, or to end in trailers.
    fn goes_on_at_once(fields: &HeaderMap, incoming: &Streamed) -> bool {
        let long = incoming.size_hint().lower() > GATHER_BYTES_MAX as u64;
        long || fields.contains_key(http::header::TRAILER)
    }

    fn outbound(&self, head: Parts, body: Body) -> Result<Request<Body>> {
        let Parts {
            method,
            uri,
            headers: mut fields,
            ..
        } = head;
        headers::for_upstream(&mut fields, self.settings.api_key.as_ref());
        let mut request = Request::new(body);
        *request.uri_mut() = self.target(&uri)?;
        *request.method_mut() = method;
        *request.headers_mut() = fields;
        Ok(request)
    }

    fn target(&self, uri: &Uri) -> Result<Uri> {
        let own = || PathAndQuery::from_static("/");
        let asked = uri.path_and_query().cloned().unwrap_or_else(own);
        let path = if self.settings.path_prefix.is_empty() {
            asked
        } else {
            PathAndQuery::try_from(format!("{}{asked}", self.settings.path_prefix)).map_err(
                |error| {
                    let doing = "put the path prefix of the store before the path";
                    Error::new(ErrorKind::BadInput, Origin::Client, Retry::Never, doing)
                        .with_source(error)
                },
            )?
        };
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.settings.scheme.clone());
        parts.authority = Some(self.settings.authority.clone());
        parts.path_and_query = Some(path);
        Uri::from_parts(parts).map_err(|error| {
            Error::new(
                ErrorKind::Internal,
                Origin::Proxy,
                Retry::Never,
                "address the store",
            )
            .with_source(error)
        })
    }

    fn doing(&self) -> String {
        format!("ask Qdrant at {}", self.settings.authority)
    }

    fn too_late(&self) -> Error {
        let doing = format!(
            "Qdrant at {} did not answer in time",
            self.settings.authority
        );
        Error::new(
            ErrorKind::Timeout,
            Origin::Qdrant,
            Retry::OutcomeUnknown,
            doing,
        )
    }

    fn broke_off(&self) -> Error {
        let doing = format!("Qdrant at {} broke off its answer", self.settings.authority);
        // Not `Unavailable`: it began to answer, so it is not asked a second time.
        Error::new(
            ErrorKind::Nonsense,
            Origin::Qdrant,
            Retry::OutcomeUnknown,
            doing,
        )
    }

    async fn ask_readiness(&self, within: Duration) -> Result<()> {
        let mut request = Request::new(());
        *request.method_mut() = Method::GET;
        *request.uri_mut() = Uri::from_static("/readyz");
        let head = request.into_parts().0;
        let request = self.outbound(head, Body::empty())?;
        let answer = self.pass_once(request, Instant::now() + within).await?;
        match answer.status() {
            // Older ones have no such route, and answer all the same.
            status if status.is_success() || status == StatusCode::NOT_FOUND => Ok(()),
            status => {
                let doing = format!(
                    "Qdrant at {} says it is not ready: {status}",
                    self.settings.authority
                );
                Err(Error::new(
                    ErrorKind::Unavailable,
                    Origin::Qdrant,
                    Retry::Safe,
                    doing,
                ))
            }
        }
    }
}

/// Who was waited for when the time was over is to blame: the client, where the store had taken all
/// that had come of the request and there was more to come; else the store.
fn blame(error: Error, upload: &Awaits) -> Error {
    if error.kind() != ErrorKind::Timeout || !upload.is_set() || error.retry() == Retry::Safe {
        return error;
    }
    let text = "Outrigger: the request's body did not arrive in time";
    Error::new(ErrorKind::Timeout, Origin::Client, Retry::Never, text)
}

impl Store for Qdrant {
    fn kind(&self) -> StoreKind {
        StoreKind::Qdrant
    }

    fn pass(&self, call: PassCall) -> StoreFuture<'_, PassAnswer> {
        Box::pin(self.pass_call(call))
    }

    fn probe(&self, within: Duration) -> StoreFuture<'_, ()> {
        Box::pin(self.ask_readiness(within))
    }
}

//! What becomes of a request's body.
//!
//! A small one is read whole, so that it goes on in one piece and can be sent again. A large one
//! streams. JSON above Qdrant's limit is refused in Qdrant's words, after it has been read off: a
//! client that is refused while it still writes reports a time-out. An upsert above that limit is
//! read whole up to `max_body`, to be sent on in parts. What is held in memory at one time, over
//! all requests, is bounded; a body that finds no room is told to come back.

use std::sync::Arc;
use std::time::Duration;

use http_body::Body as _;
use hyper::body::Incoming;

use super::call::Upload;
use crate::error::{Error, ErrorKind, Origin, Result, Retry};
use crate::metrics::{Metrics, Shed};
use crate::model::Operation;
use crate::net::{Body, BodyError, Collect, Memory, collect};
use crate::wire::envelope;

/// Up to this length a body is read whole before it goes on. `requests_max` of these may be held.
const SMALL_BYTES_MAX: u64 = 64 * 1024;

/// Up to this length a question is read whole, to be looked for in the cache: a batch of a dozen
/// searches with large vectors.
const QUESTION_BYTES_MAX: u64 = 1024 * 1024;

pub struct BodyLimits {
    /// The most JSON that Qdrant takes in one body.
    json: u64,
    /// The most that we take of an upsert.
    upsert: u64,
    pause: Duration,
    /// What the bodies that are read whole may take together, the small ones apart.
    memory: Memory,
    metrics: Arc<Metrics>,
}

impl BodyLimits {
    /// Two bodies of the largest kind fit in memory at one time.
    pub fn new(json: u64, upsert: u64, pause: Duration, metrics: Arc<Metrics>) -> Self {
        let upsert = upsert.max(json);
        Self {
            json,
            upsert,
            pause,
            memory: Memory::new(2 * upsert),
            metrics,
        }
    }

    /// Cancel safety: what was read so far is lost, as is the request.
    pub(super) async fn take_in(&self, operation: Operation, upload: Upload) -> Result<Body> {
        self.take(operation, upload, SMALL_BYTES_MAX).await
    }

    /// The same, but a question that the cache goes by is read whole up to a larger length.
    pub(super) async fn take_question(&self, operation: Operation, upload: Upload) -> Result<Body> {
        self.take(operation, upload, QUESTION_BYTES_MAX).await
    }

    /// The same, but whole whatever its length, up to what is taken at all.
    pub(super) async fn take_whole(&self, operation: Operation, upload: Upload) -> Result<Body> {
        self.take(operation, upload, u64::MAX).await
    }

    async fn take(
        &self,
        operation: Operation,
        upload: Upload,
        whole_bytes_max: u64,
    ) -> Result<Body> {
        let incoming = match upload {
            Upload::Coming(incoming) => incoming,
            Upload::Whole(body) => return Ok(body),
        };
        if incoming.is_end_stream() {
            return Ok(Body::empty());
        }
        let declared = incoming.size_hint().exact();
        let limit = if operation == Operation::UpsertPoints {
            self.upsert
        } else {
            self.json
        };
        match declared {
            Some(length) if length <= whole_bytes_max.min(limit) => {
                self.whole(incoming, whole_bytes_max.min(limit), declared)
                    .await
            }
            _ if !operation.has_json_body() => Ok(Body::stream(incoming, self.pause)),
            Some(length) if length <= self.json => Ok(Body::stream(incoming, self.pause)),
            Some(_) | None => self.whole(incoming, limit, declared).await,
        }
    }

    async fn whole(&self, incoming: Incoming, limit: u64, declared: Option<u64>) -> Result<Body> {
        let bytes_max = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut room = self.memory.room(SMALL_BYTES_MAX);
        match collect(incoming, self.pause, bytes_max, &mut room).await {
            Ok(Collect::Whole(bytes)) if bytes.len() as u64 <= SMALL_BYTES_MAX => {
                Ok(Body::full(bytes))
            }
            Ok(Collect::Whole(bytes)) => Ok(Body::full(bytes).holding(room)),
            Ok(Collect::TooLong { .. }) => Err(too_large(declared, limit)),
            Err(error) => Err(self.broken(error)),
        }
    }

    fn broken(&self, error: BodyError) -> Error {
        let (kind, origin, text) = match error {
            BodyError::Stalled => (
                ErrorKind::Timeout,
                Origin::Client,
                "Outrigger: the request's body did not arrive",
            ),
            BodyError::Broken(_) | BodyError::Unreadable(_) => (
                ErrorKind::BadInput,
                Origin::Client,
                "Outrigger: the request's body ended early",
            ),
            BodyError::NoRoom => {
                self.metrics.shed(Shed::BodyMemory);
                let text = "too many large bodies at one time (max_body bounds them)";
                (ErrorKind::Busy, Origin::Proxy, text)
            }
        };
        let retry = if kind == ErrorKind::Busy {
            Retry::Safe
        } else {
            Retry::Never
        };
        Error::new(kind, origin, retry, text)
    }
}

fn too_large(declared: Option<u64>, limit: u64) -> Error {
    let text = match declared {
        Some(length) => envelope::payload_too_large(length, limit),
        None => envelope::payload_exceeded(limit),
    };
    Error::new(ErrorKind::BadInput, Origin::Client, Retry::Never, text)
}

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
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{Error, ErrorKind, Origin, Result, Retry};
use crate::metrics::{Metrics, Shed};
use crate::model::Operation;
use crate::net::{Body, BodyError, Collect, collect};
use crate::wire::envelope;

/// Up to this length a body is read whole before it goes on. `requests_max` of these may be held.
const SMALL_BYTES_MAX: u64 = 64 * 1024;

pub struct BodyLimits {
    /// The most JSON that Qdrant takes in one body.
    json: u64,
    /// The most that we take of an upsert.
    upsert: u64,
    pause: Duration,
    /// Room for large bodies, in KiB.
    room: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

impl BodyLimits {
    /// Two bodies of the largest kind fit in memory at one time.
    pub fn new(json: u64, upsert: u64, pause: Duration, metrics: Arc<Metrics>) -> Self {
        let room = usize::try_from(2 * kib(json.max(upsert))).unwrap_or(usize::MAX);
        let room = Arc::new(Semaphore::new(room.min(Semaphore::MAX_PERMITS)));
        Self {
            json,
            upsert: upsert.max(json),
            pause,
            room,
            metrics,
        }
    }

    /// Cancel safety: what was read so far is lost, as is the request.
    pub(super) async fn take_in(&self, operation: Operation, incoming: Incoming) -> Result<Body> {
        if incoming.is_end_stream() {
            return Ok(Body::empty());
        }
        let declared = incoming.size_hint().exact();
        if declared.is_some_and(|length| length <= SMALL_BYTES_MAX) {
            return self.whole(incoming, SMALL_BYTES_MAX, declared).await;
        }
        let limit = if operation == Operation::UpsertPoints {
            self.upsert
        } else {
            self.json
        };
        match declared {
            _ if !operation.has_json_body() => Ok(Body::stream(incoming, self.pause)),
            Some(length) if length <= self.json => Ok(Body::stream(incoming, self.pause)),
            Some(length) if length > limit => self.whole(incoming, 0, declared).await,
            _ => {
                let room = self.room_for(declared.unwrap_or(limit)).await?;
                Ok(self.whole(incoming, limit, declared).await?.holding(room))
            }
        }
    }

    async fn whole(
        &self,
        incoming: Incoming,
        bytes_max: u64,
        declared: Option<u64>,
    ) -> Result<Body> {
        let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        match collect(incoming, self.pause, bytes_max).await {
            Ok(Collect::Whole(bytes)) => Ok(Body::full(bytes)),
            Ok(Collect::TooLong { .. }) => Err(self.too_large(declared, bytes_max)),
            Err(error) => Err(broken(error)),
        }
    }

    fn too_large(&self, declared: Option<u64>, bytes_max: usize) -> Error {
        let text = match declared {
            // What is in force for this request: the limit that its length was held against.
            Some(length) if length > self.upsert => {
                envelope::payload_too_large(length, self.upsert)
            }
            Some(length) => envelope::payload_too_large(length, self.json),
            None => envelope::payload_exceeded(bytes_max as u64),
        };
        Error::new(ErrorKind::BadInput, Origin::Client, Retry::Never, text)
    }

    async fn room_for(&self, bytes: u64) -> Result<OwnedSemaphorePermit> {
        let wanted = u32::try_from(kib(bytes)).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).acquire_many_owned(wanted);
        if let Ok(Ok(room)) = tokio::time::timeout(self.pause, room).await {
            return Ok(room);
        }
        self.metrics.shed(Shed::BodyMemory);
        let doing = "too many large bodies at one time (max_body bounds them)";
        Err(Error::new(
            ErrorKind::Busy,
            Origin::Proxy,
            Retry::Safe,
            doing,
        ))
    }
}

fn kib(bytes: u64) -> u64 {
    bytes.div_ceil(1024)
}

fn broken(error: BodyError) -> Error {
    let (kind, text) = match error {
        BodyError::Stalled => (
            ErrorKind::Timeout,
            "Outrigger: the request's body did not arrive",
        ),
        BodyError::Broken(_) | BodyError::Unreadable(_) => (
            ErrorKind::BadInput,
            "Outrigger: the request's body ended early",
        ),
    };
    Error::new(kind, Origin::Client, Retry::Never, text).with_source(error)
}

//! What every family of calls is given, and what it gives back.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use validator::Validate;

use super::strict::{Fullness, Rates};
use super::tally::Tally;
use crate::error::{Error, ErrorKind, Origin, Result, Retry};
use crate::model::Operation;
use crate::net::Body;
use crate::store::PassAnswer;
use crate::store::engine::{Collection, Engine};
use crate::task;
use crate::wire::rest::{path, refuse};
use crate::wire::{self, Recognised, envelope};

/// The parts that live as long as the store.
pub(crate) struct Served {
    pub(crate) engine: Arc<dyn Engine>,
    /// The Qdrant whose behaviour this is.
    pub(crate) qdrant_version: String,
    /// How hard a search tries that does not say; the engine's own measure where there is none.
    pub(super) ef_search: Option<usize>,
    /// How fast collections with limits have been used of late.
    pub(super) rates: Rates,
    /// How full collections with limits were when last looked at.
    pub(super) fullness: Fullness,
    /// Held by whoever reads a configuration or the aliases in order to change them.
    pub(super) changes: tokio::sync::Mutex<()>,
    pub(super) tally: Tally,
    pub(super) began: Instant,
    /// Work whose client did not wait for it.
    running: Mutex<Vec<JoinHandle<Result<Reply>>>>,
}

impl Served {
    pub(crate) fn new(
        engine: Arc<dyn Engine>,
        qdrant_version: String,
        ef_search: Option<usize>,
    ) -> Self {
        Self {
            engine,
            qdrant_version,
            ef_search,
            rates: Rates::default(),
            fullness: Fullness::default(),
            changes: tokio::sync::Mutex::default(),
            tally: Tally::default(),
            began: Instant::now(),
            running: Mutex::default(),
        }
    }

    /// The collection that `name` means, through its alias if it is one, or Qdrant's 404.
    pub(crate) async fn collection(&self, name: &str) -> Result<Arc<Collection>> {
        let real = match self.engine.aliases().await?.get(name) {
            Some(real) => real.clone(),
            None => name.to_owned(),
        };
        let found = self.engine.collection(&real).await?;
        found.ok_or_else(|| refuse::no_collection(name))
    }

    /// Keeps hold of work whose client did not wait for it.
    pub(super) fn leave_running(&self, work: JoinHandle<Result<Reply>>) {
        let mut running = self.running.lock();
        running.retain(|work| !work.is_finished());
        running.push(work);
    }

    /// Drops what is remembered about the use of a collection.
    pub(super) fn forget(&self, collection: &str) {
        self.rates.forget(collection);
        self.fullness.forget(collection);
    }
}

/// How often a change is made anew because somebody else was faster. Each time somebody has got on.
pub(super) const CHANGE_TRIES: usize = 100;

/// Somebody else was faster every time.
pub(super) fn overtaken() -> Error {
    let text = "change what others are changing all the time";
    Error::new(ErrorKind::Busy, Origin::Proxy, Retry::Safe, text)
}

/// A request, whole.
pub(crate) struct Asked<'r> {
    pub(crate) operation: Operation,
    pub(crate) recognised: &'r Recognised<'r>,
    pub(crate) query: Option<&'r str>,
    pub(crate) body: Bytes,
}

impl Asked<'_> {
    /// The collection's name as the path has it, unchecked. Empty where the path names none.
    pub(crate) fn name(&self) -> String {
        self.recognised
            .collection()
            .map(std::borrow::Cow::into_owned)
            .unwrap_or_default()
    }

    /// `wait`, `ordering`, `timeout`, `consistency`, or Qdrant's refusal of them.
    pub(crate) fn params(&self) -> Result<wire::Params> {
        wire::Params::read(self.operation, self.query)
    }

    /// The body as `T`, in Qdrant's two steps: its shape (400), then its rules (422).
    pub(crate) fn json<T: DeserializeOwned + Validate>(&self) -> Result<T> {
        read_json(&self.body, |body| serde_json::from_slice(body))
    }

    /// As `json`, and off the async threads if it takes its time.
    pub(crate) async fn large_json<T>(&self) -> Result<T>
    where
        T: DeserializeOwned + Validate + Send + 'static,
    {
        self.large_json_by(|body| serde_json::from_slice(body))
            .await
    }

    /// As `large_json`, the shape being read by `read`.
    pub(crate) async fn large_json_by<T>(
        &self,
        read: fn(&[u8]) -> serde_json::Result<T>,
    ) -> Result<T>
    where
        T: Validate + Send + 'static,
    {
        if self.body.len() < PARSED_AT_ONCE_BYTES_MAX {
            return read_json(&self.body, read);
        }
        let body = self.body.clone();
        let work = task::spawn_blocking("parse", move || read_json(&body, read));
        work.await.map_err(|error| {
            refuse::service_error("reading the body stopped half-way").with_source(error)
        })?
    }
}

/// About what is read in a millisecond.
const PARSED_AT_ONCE_BYTES_MAX: usize = 64 * 1024;

fn read_json<T: Validate>(body: &[u8], read: fn(&[u8]) -> serde_json::Result<T>) -> Result<T> {
    let value: T = read(body).map_err(|error| refuse::format_error(&error.to_string()))?;
    value
        .validate()
        .map_err(|errors| refuse::validation("JSON body", &errors))?;
    Ok(value)
}

/// The rules for the names that stand in the path.
pub(super) fn check_path(recognised: &Recognised<'_>) -> Result<()> {
    if let Some(name) = recognised.collection() {
        if recognised.operation == Operation::CreateCollection {
            path::new_collection(&name)?;
        } else {
            path::collection(&name)?;
        }
    }
    match recognised.vector_name() {
        Some(name) => path::vector(&name),
        None => Ok(()),
    }
}

/// What is answered.
pub(crate) enum Reply {
    /// A result, already JSON, to be put in the envelope.
    Result(Box<serde_json::value::RawValue>),
    /// Text outside the envelope, such as `/healthz`.
    Text(&'static str, String),
    /// JSON outside the envelope, such as `/`.
    Bare(serde_json::Value),
    /// As Qdrant answers a path it does not know: 404 and nothing more.
    UnknownPath,
}

impl Reply {
    pub(crate) fn result(value: &impl serde::Serialize) -> Result<Self> {
        serde_json::value::to_raw_value(value)
            .map(Self::Result)
            .map_err(|error| refuse::service_error(&error.to_string()))
    }

    pub(super) fn into_answer(self, took: Duration) -> PassAnswer {
        let json = HeaderValue::from_static("application/json");
        let (status, kind, body) = match self {
            Self::Result(result) => (StatusCode::OK, Some(json), envelope::ok(&result, took)),
            Self::Bare(value) => (StatusCode::OK, Some(json), value.to_string().into()),
            Self::Text(kind, text) => (
                StatusCode::OK,
                Some(HeaderValue::from_static(kind)),
                text.into(),
            ),
            Self::UnknownPath => (StatusCode::NOT_FOUND, None, Bytes::new()),
        };
        let mut answer = Response::new(Body::full(body));
        *answer.status_mut() = status;
        if let Some(kind) = kind {
            answer.headers_mut().insert(CONTENT_TYPE, kind);
        }
        answer
    }
}

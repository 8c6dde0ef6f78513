//! One of the two stores, as sync speaks to it: in Qdrant's REST API, whatever kind it is.
//!
//! Points travel as the bytes of JSON that the store gave: what is not looked at cannot be changed
//! on the way. Every call has a deadline of its own. A refusal is an answer here (`Reply`), and an
//! error means that the store did not answer, or not with sense.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use qdrant_edge::PointId;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::error::{Error, ErrorKind, Origin, Result, Retry};
use crate::model::{Operation, PointKey, StoreKind};
use crate::net::Body;
use crate::store::{PassAnswer, PassCall, Store};
use crate::wire::written::{ids_json, key_of};

/// What may stand in a path as it is.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// The longest answer that is read: a page of points.
const ANSWER_BYTES_MAX: usize = 512 * 1024 * 1024;

/// Whether anything may be changed at a store at present, and until when; `None` has no end.
pub(super) type MayWrite = dyn Fn() -> Result<Option<Instant>> + Send + Sync;

/// One store. Cheap to clone.
#[derive(Clone)]
pub struct Peer {
    store: Arc<dyn Store>,
    patience: Duration,
    /// Asked before each call that changes something.
    may_write: Option<Arc<MayWrite>>,
}

/// What a store said, whatever it was.
pub struct Reply {
    pub status: StatusCode,
    pub body: Bytes,
}

/// What came of a call that the store answered.
pub enum Said<T> {
    Done(T),
    /// There is no such collection.
    NoCollection,
    /// It will not do this, and would not the next time: what it said.
    Refused(Box<str>),
}

/// Points as they are: an id that is not in it has no point.
pub(super) type Points = HashMap<PointKey, Box<RawValue>>;

/// A page of points in the order of their ids.
pub struct Page {
    pub points: Vec<(PointKey, Box<RawValue>)>,
    pub next: Option<PointKey>,
}

#[derive(Deserialize)]
struct Answer<T> {
    result: T,
}

#[derive(Deserialize)]
struct Scrolled<'a> {
    #[serde(borrow)]
    points: Vec<&'a RawValue>,
    next_page_offset: Option<PointId>,
}

#[derive(Deserialize)]
struct OnlyId {
    id: PointId,
}

/// How a collection is.
#[derive(Clone, Debug, Deserialize)]
pub struct Condition {
    /// green, yellow, grey, red.
    pub status: Box<str>,
    pub points_count: Option<u64>,
}

impl Peer {
    pub fn new(store: Arc<dyn Store>, patience: Duration) -> Self {
        Self {
            store,
            patience,
            may_write: None,
        }
    }

    /// The same store, of which nothing is changed but as `may_write` says.
    pub(super) fn under(&self, may_write: Arc<MayWrite>) -> Self {
        Self {
            may_write: Some(may_write),
            ..self.clone()
        }
    }

    /// Until when something may be changed there.
    pub(super) fn leave(&self) -> Result<Option<Instant>> {
        self.may_write.as_ref().map_or(Ok(None), |ask| ask())
    }

    pub fn kind(&self) -> StoreKind {
        self.store.kind()
    }

    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The points with these ids, whole.
    ///
    /// Cancel safety: safe, it only reads.
    pub async fn fetch(&self, collection: &str, ids: &[PointKey]) -> Result<Said<Points>> {
        let path = format!(
            "/collections/{}/points{}",
            name(collection),
            self.consistent()
        );
        let body = format!(
            r#"{{"ids":{},"with_payload":true,"with_vector":true}}"#,
            ids_json(ids)
        );
        let said = self.ask(Operation::GetPoints, Method::POST, &path, body);
        let reply = match said.await? {
            Said::Done(reply) => reply,
            Said::NoCollection => return Ok(Said::NoCollection),
            Said::Refused(why) => return Ok(Said::Refused(why)),
        };
        let answer: Answer<Vec<&RawValue>> = self.read(&reply)?;
        let points = answer.result.into_iter().map(|raw| self.with_id(raw));
        points.collect::<Result<_>>().map(Said::Done)
    }

    /// The points after `from`, in the order of their ids.
    ///
    /// Cancel safety: safe, it only reads.
    pub async fn page(
        &self,
        collection: &str,
        from: Option<PointKey>,
        points_max: usize,
    ) -> Result<Said<Page>> {
        let path = format!(
            "/collections/{}/points/scroll{}",
            name(collection),
            self.consistent()
        );
        let offset = match from {
            None => "null".to_owned(),
            Some(from) => id_json(from),
        };
        let body = format!(
            r#"{{"offset":{offset},"limit":{points_max},"with_payload":true,"with_vector":true}}"#
        );
        let said = self.ask(Operation::ScrollPoints, Method::POST, &path, body);
        let reply = match said.await? {
            Said::Done(reply) => reply,
            Said::NoCollection => return Ok(Said::NoCollection),
            Said::Refused(why) => return Ok(Said::Refused(why)),
        };
        let answer: Answer<Scrolled<'_>> = self.read(&reply)?;
        let points = answer
            .result
            .points
            .into_iter()
            .map(|raw| self.with_id(raw));
        Ok(Said::Done(Page {
            points: points.collect::<Result<_>>()?,
            next: answer.result.next_page_offset.map(key_of),
        }))
    }

    /// Waits until a Qdrant has applied every write that it has taken in: its shards apply writes
    /// in their order, and this one changes nothing. Stores of our own answer when it is done.
    ///
    /// Cancel safety: safe.
    pub async fn settle(&self, collection: &str) -> Result<()> {
        match self.kind() {
            StoreKind::Qdrant => (),
            StoreKind::Pgvector | StoreKind::Embedded => return Ok(()),
        }
        let path = format!(
            "/collections/{}/points/payload/delete?wait=true",
            name(collection)
        );
        let body = r#"{"keys":["outrigger"],"filter":{"must":[{"has_id":[]}]}}"#;
        let said = self.ask(Operation::DeletePayload, Method::POST, &path, body);
        // What it says to this says nothing about the points.
        said.await.map(drop)
    }

    /// Writes points as they are given, whole.
    ///
    /// Cancel safety: not safe; it may be done or not.
    pub async fn upsert(&self, collection: &str, points: &[&RawValue]) -> Result<Said<()>> {
        let path = format!("/collections/{}/points?wait=true", name(collection));
        let listed: Vec<&str> = points.iter().map(|point| point.get()).collect();
        let body = format!(r#"{{"points":[{}]}}"#, listed.join(","));
        let said = self.ask(Operation::UpsertPoints, Method::PUT, &path, body);
        Ok(said.await?.without())
    }

    /// Cancel safety: not safe; it may be done or not.
    pub async fn delete(&self, collection: &str, ids: &[PointKey]) -> Result<Said<()>> {
        let path = format!("/collections/{}/points/delete?wait=true", name(collection));
        let body = format!(r#"{{"points":{}}}"#, ids_json(ids));
        let said = self.ask(Operation::DeletePoints, Method::POST, &path, body);
        Ok(said.await?.without())
    }

    /// Whether an index of the collection is being built, or a change to it waits for one.
    ///
    /// Cancel safety: safe, it only reads.
    pub async fn is_indexing(&self, collection: &str) -> Result<bool> {
        Ok(match self.condition(collection).await? {
            Said::Done(of) => matches!(&*of.status, "yellow" | "grey"),
            Said::NoCollection | Said::Refused(_) => false,
        })
    }

    /// How the collection is, as the store tells it.
    ///
    /// Cancel safety: safe, it only reads.
    pub async fn condition(&self, collection: &str) -> Result<Said<Condition>> {
        let path = format!("/collections/{}", name(collection));
        let said = self.ask(Operation::GetCollection, Method::GET, &path, "");
        Ok(match said.await? {
            Said::Done(reply) => {
                let told: Answer<Condition> = self.read(&reply)?;
                Said::Done(told.result)
            }
            Said::NoCollection => Said::NoCollection,
            Said::Refused(text) => Said::Refused(text),
        })
    }

    /// Any call, with what was said sorted. `path` is written as it stands in a URL.
    ///
    /// Cancel safety: that of the call.
    pub async fn ask(
        &self,
        operation: Operation,
        method: Method,
        path: &str,
        body: impl Into<Bytes>,
    ) -> Result<Said<Reply>> {
        let reply = self.call(operation, method, path, body.into()).await?;
        if reply.status.is_success() {
            return Ok(Said::Done(reply));
        }
        let text = refusal(&reply.body);
        if is_passing(reply.status, &text) {
            let doing = format!(
                "the {} store answered {}: {text}",
                self.kind(),
                reply.status
            );
            // Whoever stands in between may have given up before the store did.
            let is_over = ![408, 502, 504].contains(&reply.status.as_u16());
            let retry = if is_over {
                Retry::Safe
            } else {
                Retry::OutcomeUnknown
            };
            return Err(Error::new(
                ErrorKind::Unavailable,
                Origin::from(self.kind()),
                retry,
                doing,
            ));
        }
        // In Qdrant's own words: what stands before a store has pages that do not exist.
        let is_of_one = text.contains("Collection `") && text.contains("doesn't exist");
        if reply.status == StatusCode::NOT_FOUND && is_of_one {
            return Ok(Said::NoCollection);
        }
        Ok(Said::Refused(text.into()))
    }

    async fn call(
        &self,
        operation: Operation,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Reply> {
        let mut request = Request::new(());
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().map_err(|error| {
            let doing = "address a call to a store";
            Error::new(ErrorKind::Internal, Origin::Proxy, Retry::Never, doing).with_source(error)
        })?;
        let json = HeaderValue::from_static("application/json");
        request.headers_mut().insert(CONTENT_TYPE, json);
        let call = PassCall {
            operation,
            head: request.into_parts().0,
            body: Body::full(body),
            deadline: Instant::now() + self.patience,
        };
        let answer = match self.answered(call).await? {
            Ok(answer) => answer,
            // Stores of our own refuse this way.
            Err(error) if is_refusal(error.kind()) => {
                let status = if error.kind() == ErrorKind::NotFound {
                    StatusCode::NOT_FOUND
                } else {
                    StatusCode::BAD_REQUEST
                };
                let body = crate::wire::envelope::error(&error.chain(), Duration::ZERO);
                return Ok(Reply { status, body });
            }
            Err(error) => return Err(error),
        };
        let (head, body) = answer.into_parts();
        let body = body.gathered(ANSWER_BYTES_MAX).await.map_err(|error| {
            self.failed(ErrorKind::Nonsense, "end its answer")
                .with_source(error)
        })?;
        let body = body
            .as_bytes()
            .ok_or_else(|| self.failed(ErrorKind::Nonsense, "answer with less"))?;
        Ok(Reply {
            status: head.status,
            body,
        })
    }

    /// Waits for an answer as long as there is patience, and leave.
    async fn answered(&self, call: PassCall) -> Result<Result<PassAnswer>> {
        let is_read = call.operation.class().is_read();
        let leave = || if is_read { Ok(None) } else { self.leave() };
        let patience = call.deadline;
        let mut until = leave()?;
        let mut answer = self.store.pass(call);
        loop {
            let ends = until.map_or(patience, |until| until.min(patience));
            if let Ok(answer) = tokio::time::timeout_at(ends, &mut answer).await {
                return Ok(answer);
            }
            if ends == patience {
                return Err(self.failed(ErrorKind::Timeout, "answer in time"));
            }
            // The lease may have been renewed meanwhile.
            until = leave().map_err(|error| {
                let doing = "answer while there was leave to change it";
                self.failed(ErrorKind::Timeout, doing).with_source(error)
            })?;
        }
    }

    /// On a cluster, what is read must be what was acknowledged.
    fn consistent(&self) -> &'static str {
        match self.kind() {
            StoreKind::Qdrant => "?consistency=majority",
            StoreKind::Pgvector | StoreKind::Embedded => "",
        }
    }

    pub fn read<'r, T: Deserialize<'r>>(&self, reply: &'r Reply) -> Result<T> {
        serde_json::from_slice(&reply.body).map_err(|error| {
            self.failed(ErrorKind::Nonsense, "answer in a form that is known")
                .with_source(error)
        })
    }

    fn with_id(&self, raw: &RawValue) -> Result<(PointKey, Box<RawValue>)> {
        let OnlyId { id } = serde_json::from_str(raw.get()).map_err(|error| {
            self.failed(ErrorKind::Nonsense, "give a point its id")
                .with_source(error)
        })?;
        Ok((key_of(id), raw.to_owned()))
    }

    fn failed(&self, kind: ErrorKind, what: &str) -> Error {
        let doing = format!("the {} store did not {what}", self.kind());
        let retry = Retry::OutcomeUnknown;
        Error::new(kind, Origin::from(self.kind()), retry, doing)
    }
}

impl<T> Said<T> {
    fn without(self) -> Said<()> {
        match self {
            Self::Done(_) => Said::Done(()),
            Self::NoCollection => Said::NoCollection,
            Self::Refused(why) => Said::Refused(why),
        }
    }
}

/// Whether the same call may be answered otherwise a little later.
fn is_passing(status: StatusCode, text: &str) -> bool {
    // Older ones refuse this way what their strict mode does not allow, and say what to do.
    let is_strict = status == StatusCode::FORBIDDEN && text.contains(". Help: ");
    let passing = [
        StatusCode::REQUEST_TIMEOUT,
        StatusCode::TOO_MANY_REQUESTS,
        StatusCode::UNAUTHORIZED,
        StatusCode::FORBIDDEN,
    ];
    status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED
        || passing.contains(&status) && !is_strict
}

/// What would be said the next time too.
fn is_refusal(kind: ErrorKind) -> bool {
    match kind {
        ErrorKind::BadInput
        | ErrorKind::NotFound
        | ErrorKind::Conflict
        | ErrorKind::Unsupported => true,
        ErrorKind::Unauthorized
        | ErrorKind::Forbidden
        | ErrorKind::RateLimited
        | ErrorKind::Busy
        | ErrorKind::Unavailable
        | ErrorKind::Nonsense
        | ErrorKind::Timeout
        | ErrorKind::Loop
        | ErrorKind::Settings
        | ErrorKind::Internal => false,
    }
}

/// A name as it stands in a path.
pub(super) fn name(collection: &str) -> String {
    utf8_percent_encode(collection, PLAIN).to_string()
}

fn id_json(id: PointKey) -> String {
    let listed = ids_json(&[id]);
    listed.trim_matches(['[', ']']).to_owned()
}

/// What a refusal says, without its envelope.
fn refusal(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Envelope {
        status: Status,
    }
    #[derive(Deserialize)]
    struct Status {
        error: String,
    }
    const CHARACTERS_MAX: usize = 500;
    let text = match serde_json::from_slice::<Envelope>(body) {
        Ok(envelope) => envelope.status.error,
        Err(_) => String::from_utf8_lossy(body).into_owned(),
    };
    text.chars().take(CHARACTERS_MAX).collect()
}

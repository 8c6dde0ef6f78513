//! The journey of a call that is handed to a store as it came, and how long one may take.

use std::time::Duration;

use http::header::CONTENT_ENCODING;
use http::request::Parts;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::Instrument as _;

use super::call::{Answer, Call, Upload};
use super::failover;
use super::layers::ProxyParts;
use crate::error::{Error, ErrorKind, Origin, Result, Retry};
use crate::mode::{Permit, Plan};
use crate::model::{Class, Operation};
use crate::net::Body;
use crate::store::PassCall;
use crate::wire;

/// How long a store may take until the head of its answer is there.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    pub read: Duration,
    pub write: Duration,
    /// Snapshots, and whatever we do not know.
    pub slow: Duration,
}

/// A client that asks for patience gets this much more, so that the store's own answer to a
/// `timeout` that has passed still arrives.
const GRACE: Duration = Duration::from_secs(1);

impl Deadlines {
    pub(super) fn of(&self, operation: Operation, query: Option<&str>) -> Duration {
        let usual = match operation.class() {
            Class::PointRead
            | Class::SearchRead
            | Class::SampleRead
            | Class::CollectionRead
            | Class::AliasRead
            | Class::ClusterRead
            | Class::ServiceRead => self.read,
            Class::PointWrite
            | Class::CollectionWrite
            | Class::IndexWrite
            | Class::AliasWrite
            | Class::ServiceWrite
            | Class::Embedding => self.write,
            Class::SnapshotRead | Class::SnapshotWrite | Class::ClusterWrite | Class::Unknown => {
                self.slow
            }
        };
        // A query that Qdrant would refuse is Qdrant's to refuse.
        let asked = wire::Params::read(operation, query)
            .ok()
            .and_then(|params| params.timeout);
        asked.map_or(usual, |asked| usual.max((asked + GRACE).min(self.slow)))
    }
}

/// Hands a call on. With a permit, it counts as a write.
pub(super) async fn pass(
    parts: &ProxyParts,
    plan: &Plan,
    call: Call,
    permit: Option<&Permit>,
) -> Result<Answer> {
    let collection = call.collection.clone();
    let call = taken_in(parts, plan, call).await?;
    match permit {
        Some(permit) => send_write(parts, plan, collection.as_deref(), call, permit).await,
        None => failover::send(parts, plan, collection.as_deref(), call).await,
    }
}

/// Reads as much of the body as is read before the store is asked.
pub(super) async fn taken_in(parts: &ProxyParts, plan: &Plan, call: Call) -> Result<PassCall> {
    let patience = parts.patience(plan, call.operation, call.head.uri.query());
    let taking = async {
        let shadow = parts.shadow.as_ref();
        let may_be_compared = shadow.is_some_and(|it| it.may_compare(plan, call.operation));
        if may_be_compared || failover::may_be(parts, plan, call.operation) {
            parts.bodies.take_question(call.operation, call.body).await
        } else {
            parts.bodies.take_in(call.operation, call.body).await
        }
    };
    let body = in_time(patience, taking).await?;
    Ok(taken(parts, call.operation, call.head, body, patience))
}

/// A call whose body is there, or as much of it as is read before the store is asked.
pub(super) fn taken(
    parts: &ProxyParts,
    operation: Operation,
    head: Parts,
    body: Body,
    patience: Duration,
) -> PassCall {
    let is_plain = !head.headers.contains_key(CONTENT_ENCODING);
    let said = body.as_bytes().filter(|_| is_plain);
    parts.traffic.offer(operation, head.uri.query(), said);
    PassCall {
        operation,
        head,
        body,
        deadline: Instant::now() + patience,
    }
}

/// The same, but whole up to the length of a question: somebody wants to know what it says.
pub(super) async fn taken_in_to_be_read(
    parts: &ProxyParts,
    plan: &Plan,
    call: Call,
) -> Result<PassCall> {
    let patience = parts.patience(plan, call.operation, call.head.uri.query());
    let taking = parts.bodies.take_question(call.operation, call.body);
    let body = in_time(patience, taking).await?;
    Ok(taken(parts, call.operation, call.head, body, patience))
}

/// Each pause in a body is bounded where it is read; here the whole of it is, so that nobody holds
/// a place by sending a byte now and then.
pub(super) async fn in_time(
    patience: Duration,
    taking: impl Future<Output = Result<Body>>,
) -> Result<Body> {
    let text = "Outrigger: the request's body did not arrive in time";
    let too_slow = || Error::new(ErrorKind::Timeout, Origin::Client, Retry::Never, text);
    let taken = tokio::time::timeout(patience, taking).await;
    taken.map_err(|_elapsed| too_slow())?
}

pub(super) async fn send(plan: &Plan, call: PassCall) -> Result<Answer> {
    let answer = plan.authority.pass(call).await?;
    Ok(Answer::of_store(answer, plan.authority_role))
}

/// Reads the body of a write whole before it gets its permit, where the mode can change: an upload
/// that is slow must not keep the fence waiting, and what a write touches is read from its body.
///
/// Cancel safety: what was read so far is lost, as is the request.
pub(super) async fn taken_first(parts: &ProxyParts, mut call: Call) -> Result<Call> {
    if !parts.mirrors.are_there() || !call.operation.has_json_body() {
        return Ok(call);
    }
    let snapshot = parts.router.snapshot();
    let patience = parts.patience(snapshot.plan(None), call.operation, call.head.uri.query());
    let taking = parts.bodies.take_whole(call.operation, call.body);
    call.body = Upload::Whole(in_time(patience, taking).await?);
    Ok(call)
}

/// Sends a write, through the mirror if there is one, unless the sidecar has lost touch since it
/// began. If that has happened when the answer comes, nobody is told that it was done: the modes may
/// have changed without us.
pub(super) async fn send_write(
    parts: &ProxyParts,
    plan: &Plan,
    collection: Option<&str>,
    call: PassCall,
    permit: &Permit,
) -> Result<Answer> {
    permit.check()?;
    let answer = match parts.mirrors.of(plan) {
        None => {
            let said = parts.rehearsal.as_ref().map(|_| call.body.as_bytes());
            let operation = call.operation;
            let answer = send(plan, call).await?;
            if let (Some(rehearsal), Some(said)) = (&parts.rehearsal, said)
                && answer.response.status().is_success()
            {
                rehearsal.offer(operation, collection, said);
            }
            answer
        }
        Some(mirror) => {
            // In a box of its own: most writes go without it.
            let answer = Box::pin(mirror.send(call, collection)).await?;
            Answer::of_store(answer, plan.authority_role)
        }
    };
    match permit.check() {
        Ok(()) => Ok(answer),
        Err(error) => {
            if plan.follower.is_none() {
                parts.mirrors.doubt(plan).await;
            }
            let doing = "this write was sent, and may have been made";
            let (kind, retry) = (ErrorKind::Busy, Retry::OutcomeUnknown);
            Err(Error::new(kind, Origin::Proxy, retry, doing).with_source(error))
        }
    }
}

/// Runs a write that has been read in full in a task of its own, with all that it holds: a client
/// that hangs up leaves nobody guessing.
pub(super) async fn to_its_end(
    parts: &ProxyParts,
    is_whole: bool,
    work: impl Future<Output = Result<Answer>> + Send + 'static,
) -> Result<Answer> {
    if !is_whole {
        return work.await;
    }
    let (tells, told) = oneshot::channel();
    let work = async move {
        // Whoever asked may be gone.
        let _gone = tells.send(work.await);
    };
    parts.tasks.spawn("write", work.in_current_span());
    told.await.unwrap_or_else(|_panicked| {
        let text = "a bug ended this write; the log has the place";
        let (kind, retry) = (ErrorKind::Internal, Retry::OutcomeUnknown);
        Err(Error::new(kind, Origin::Proxy, retry, text))
    })
}

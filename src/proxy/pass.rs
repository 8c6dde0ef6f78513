//! The journey of a call that is handed to a store as it came, and how long one may take.

use std::time::Duration;

use tokio::time::Instant;

use super::call::{Answer, Call};
use super::layers::ProxyParts;
use crate::error::{Error, ErrorKind, Origin, Result, Retry};
use crate::mode::Snapshot;
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

/// Hands a call on.
pub(super) async fn pass(parts: &ProxyParts, snapshot: &Snapshot, call: Call) -> Result<Answer> {
    let call = taken_in(parts, call).await?;
    send(snapshot, call).await
}

/// Reads as much of the body as is read before the store is asked.
pub(super) async fn taken_in(parts: &ProxyParts, call: Call) -> Result<PassCall> {
    let patience = parts.deadlines.of(call.operation, call.head.uri.query());
    let taking = parts.bodies.take_in(call.operation, call.body);
    let body = in_time(patience, taking).await?;
    Ok(PassCall {
        operation: call.operation,
        head: call.head,
        body,
        deadline: Instant::now() + patience,
    })
}

/// The same, but whole up to the length of a question: somebody wants to know what it says.
pub(super) async fn taken_in_to_be_read(parts: &ProxyParts, call: Call) -> Result<PassCall> {
    let patience = parts.deadlines.of(call.operation, call.head.uri.query());
    let taking = parts.bodies.take_question(call.operation, call.body);
    let body = in_time(patience, taking).await?;
    Ok(PassCall {
        operation: call.operation,
        head: call.head,
        body,
        deadline: Instant::now() + patience,
    })
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

pub(super) async fn send(snapshot: &Snapshot, call: PassCall) -> Result<Answer> {
    let answer = snapshot.authority.pass(call).await?;
    Ok(Answer::of_store(answer, snapshot.authority_role))
}

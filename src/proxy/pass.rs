//! The journey of a call that is handed to a store as it came.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;
use tower::Service;
use tracing::{debug, warn};

use super::call::{Answer, Call};
use super::layers::ProxyParts;
use super::respond;
use crate::error::{Error, ErrorKind, Origin, Result, Retry};
use crate::model::{Class, Operation};
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
    fn of(&self, operation: Operation, query: Option<&str>) -> Duration {
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

#[derive(Clone)]
pub(super) struct Journey {
    pub(super) parts: Arc<ProxyParts>,
}

impl Service<Call> for Journey {
    type Response = Answer;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, Infallible>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: Call) -> Self::Future {
        let parts = Arc::clone(&self.parts);
        Box::pin(async move {
            Ok(pass(&parts, call).await.unwrap_or_else(|error| {
                log(&error);
                respond::error(&error)
            }))
        })
    }
}

async fn pass(parts: &ProxyParts, call: Call) -> Result<Answer> {
    let snapshot = parts.router.snapshot();
    let Call {
        operation,
        head,
        body,
        ..
    } = call;
    let patience = parts.deadlines.of(operation, head.uri.query());
    // Each pause in a body is bounded where it is read; here the whole of it is, so that nobody
    // holds a place by sending a byte now and then.
    let taken = tokio::time::timeout(patience, parts.bodies.take_in(operation, body)).await;
    let body = taken.map_err(|_elapsed| client_too_slow())??;
    let deadline = Instant::now() + patience;
    let call = PassCall {
        operation,
        head,
        body,
        deadline,
    };
    let answer = snapshot.authority.pass(call).await?;
    Ok(Answer::of_store(answer, snapshot.authority_role))
}

fn client_too_slow() -> Error {
    let text = "Outrigger: the request's body did not arrive in time";
    Error::new(ErrorKind::Timeout, Origin::Client, Retry::Never, text)
}

fn log(error: &Error) {
    match error.origin() {
        Origin::Client => debug!(error = %error.chain(), "refuse a request"),
        Origin::Proxy | Origin::Qdrant | Origin::Pgvector | Origin::Embedded => {
            warn!(error = %error.chain(), retry = ?error.retry(), "a request failed");
        }
    }
}

//! Which way a call goes: the foot of the stack.
//!
//! A call takes one snapshot of the mode here and lives by it to its end. Whatever is not known to
//! read takes a permit first, and keeps it until it has ended: the fence waits for it.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Method;
use tower::Service;
use tracing::{debug, warn};

use super::call::{Answer, Call};
use super::layers::ProxyParts;
use super::{marks, pass, read, respond, route, unkept, write};
use crate::cache::Policy;
use crate::error::{Error, Origin, Result};
use crate::mode::needs_permit;
use crate::model::Class;

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
            Ok(travel(&parts, call).await.unwrap_or_else(|error| {
                log(&error);
                respond::error(&error)
            }))
        })
    }
}

async fn travel(parts: &Arc<ProxyParts>, mut call: Call) -> Result<Answer> {
    // Before the snapshot: who has been held goes by the mode that came out.
    let permit = if needs_permit(call.operation) && !call.is_preflight() {
        call = pass::taken_first(parts, call).await?;
        Some(parts.passage.enter().await?)
    } else {
        parts.passage.reading().await;
        None
    };
    let snapshot = parts.router.snapshot();
    let plan = route::plan(parts, &snapshot, &call).await?;
    let may_be_kept = parts.cache.is_on() && Policy::keeps(call.operation);
    if !may_be_kept {
        marks::put(&mut call.head.headers, &call.marks);
    }
    match permit {
        Some(permit) if may_change(&call) && parts.cache.is_on() => {
            write::write(parts, plan, call, permit).await
        }
        Some(permit) if may_change(&call) => unkept::write(parts, plan, call, permit).await,
        Some(permit) => pass::pass(parts, &plan, call, Some(&permit)).await,
        None if may_be_kept => read::read(parts, &snapshot, plan, call).await,
        None if parts.cache.is_on() => pass::pass(parts, &plan, call, None).await,
        None => unkept::read(parts, &snapshot, &plan, call).await,
    }
}

/// Whether something may be otherwise after the call. What is not known here is judged by its
/// method.
fn may_change(call: &Call) -> bool {
    let reads = [Method::GET, Method::HEAD, Method::OPTIONS];
    let class = call.operation.class();
    !class.is_read() && (class != Class::Unknown || !reads.contains(&call.head.method))
}

fn log(error: &Error) {
    match error.origin() {
        Origin::Client => debug!(error = %error.chain(), "refuse a request"),
        Origin::Proxy | Origin::Qdrant | Origin::Pgvector | Origin::Embedded => {
            warn!(error = %error.chain(), retry = ?error.retry(), "a request failed");
        }
    }
}

//! The journeys of a call while the cache is off: it passes, and the ghost is told of it, so that
//! it can be said what a cache would do before anyone turns one on. Nothing is read into memory for
//! it that would not be anyway.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::call::{Answer, Call};
use super::layers::ProxyParts;
use super::{failover, pass, route};
use crate::cache::{Asked, Key, Policy};
use crate::error::Result;
use crate::mode::{Permit, Plan, Snapshot};
use crate::model::Class;

/// A read.
pub(super) async fn read(
    parts: &ProxyParts,
    snapshot: &Snapshot,
    plan: &Plan,
    call: Call,
) -> Result<Answer> {
    let (operation, asker, collection) = (call.operation, call.asker, call.collection.clone());
    let collection = collection.as_deref();
    if !Policy::keeps(operation) {
        return pass::pass(parts, plan, call, None).await;
    }
    let call = if snapshot.reads_both() {
        pass::taken_in_to_be_read(parts, plan, call).await?
    } else {
        pass::taken_in(parts, plan, call).await?
    };
    let body = call.body.as_bytes();
    if let Some(body) = &body {
        let asking = (asker, &call.head);
        route::check_lookups(parts, snapshot, plan, operation, asking, body).await?;
    }
    let role = plan.authority_role;
    let key = body
        .as_ref()
        .map(|body| Key::of(asker, role, operation, &call.head, body));
    let began = Instant::now();
    let answer = failover::send(parts, plan, collection, call).await;
    if let (Some(key), Some(body), Ok(answer)) = (key, &body, &answer)
        && answer.store == Some(role)
    {
        let asked = Asked {
            operation,
            collection,
            body,
        };
        reckon(parts, key, asked, answer, Some(began.elapsed()));
    }
    answer
}

/// A call that may change something.
pub(super) async fn write(
    parts: &Arc<ProxyParts>,
    plan: Arc<Plan>,
    call: Call,
    permit: Permit,
) -> Result<Answer> {
    let (operation, collection) = (call.operation, call.collection.clone());
    let call = pass::taken_in(parts, &plan, call).await?;
    // One that breaks off before its end ends the call by itself.
    let is_whole = call.body.is_whole() || operation.class() == Class::SnapshotWrite;
    let body = call.body.as_bytes();
    let cloned = Arc::clone(parts);
    let work = async move {
        let cache = &cloned.cache;
        let answer = pass::send_write(&cloned, &plan, collection.as_deref(), call, &permit).await;
        // The names that are remembered for the modes of single collections are of the cache too.
        if route::moves_names(operation) {
            cache.renew_all();
        }
        cache.reckon_write(operation, collection.as_deref(), body.as_deref());
        answer
    };
    pass::to_its_end(parts, is_whole, work).await
}

/// Tells the ghost of an answer, if it is one that could be kept.
pub(super) fn reckon(
    parts: &ProxyParts,
    key: Key,
    asked: Asked<'_>,
    answer: &Answer,
    took: Option<Duration>,
) {
    let body = answer.response.body();
    let length = http_body::Body::size_hint(body).exact();
    let length = length.and_then(|length| usize::try_from(length).ok());
    if let (http::StatusCode::OK, Some(length)) = (answer.response.status(), length)
        && length <= parts.cache.entry_bytes_max()
    {
        parts.cache.reckon(key, asked, length, took);
    }
}

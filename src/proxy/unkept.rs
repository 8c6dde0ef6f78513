//! The journey of a call while the cache is off: it passes, and the ghost is told of it, so that it
//! can be said what a cache would do before anyone turns one on. Nothing is read into memory for it
//! that would not be anyway.

use std::time::Duration;

use tokio::time::Instant;

use super::call::{Answer, Call};
use super::layers::ProxyParts;
use super::pass;
use crate::cache::{Asked, Key, Policy};
use crate::error::Result;
use crate::mode::Snapshot;

pub(super) async fn unkept(
    parts: &ProxyParts,
    snapshot: &Snapshot,
    call: Call,
    may_change: bool,
) -> Result<Answer> {
    let (operation, asker, collection) = (call.operation, call.asker, call.collection.clone());
    let collection = collection.as_deref();
    let is_read = Policy::keeps(operation);
    if !is_read && !may_change {
        return pass::pass(parts, snapshot, call).await;
    }
    let call = pass::taken_in(parts, call).await?;
    let body = call.body.as_bytes();
    let role = snapshot.authority_role;
    let key = match &body {
        Some(body) if is_read => Some(Key::of(asker, role, operation, &call.head, body)),
        None | Some(_) => None,
    };
    let began = Instant::now();
    let answer = pass::send(snapshot, call).await;
    if may_change {
        parts
            .cache
            .reckon_write(operation, collection, body.as_deref());
    }
    if let (Some(key), Some(body), Ok(answer)) = (key, &body, &answer) {
        let asked = Asked {
            operation,
            collection,
            body,
        };
        reckon(parts, key, asked, answer, Some(began.elapsed()));
    }
    answer
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

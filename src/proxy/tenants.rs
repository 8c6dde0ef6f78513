//! What the store says of tenants: which field tells them apart in a collection, and whose points
//! a write is about to touch. Asked with the caller's own credential.

use std::sync::Arc;
use std::time::Duration;

use http::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, TRANSFER_ENCODING,
};
use http::request::Parts;
use http::{Method, StatusCode, Uri};
use memchr::memmem;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::time::Instant;

use super::layers::ProxyParts;
use crate::cache::{Asker, Names, Narrowing, Tenancy};
use crate::mode::Plan;
use crate::model::{Class, Operation, StoreKind};
use crate::net::Body;
use crate::store::PassCall;

/// A description that is longer is as good as none.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// A write does not wait longer to be told whose its points are.
const LOOK_UP_WITHIN: Duration = Duration::from_secs(1);

/// Whether the tenants of a collection may matter for this read.
pub(super) fn may_matter(operation: Operation, question: &[u8]) -> bool {
    matches!(operation.class(), Class::PointRead | Class::SearchRead)
        && memmem::find(question, b"\"must\"").is_some()
        && memmem::find(question, b"\"match\"").is_some()
}

/// What a collection's tenants are told apart by. `None` when the caller may not know, or the store
/// does not say.
pub(super) async fn told(
    parts: &ProxyParts,
    plan: &Plan,
    who: (Asker, &str),
    names: &Names,
    head: &Parts,
    patience: Duration,
) -> Option<Arc<Tenancy>> {
    if let Some(known) = parts.cache.tenancy(who) {
        return known;
    }
    let (_, name) = who;
    let before = parts.cache.before_tenancy(name, names);
    let call = PassCall {
        operation: Operation::GetCollection,
        head: head_for(
            head,
            Method::GET,
            &format!("/collections/{}", encoded(name)),
        )?,
        body: Body::empty(),
        deadline: Instant::now() + patience,
    };
    let answer = answered(plan, call).await;
    parts
        .cache
        .remember_tenancy(who, names, answer.as_deref(), before)
}

/// The store's answer to whose points a write is about to touch.
pub(super) async fn found(
    plan: &Plan,
    narrowing: &Narrowing,
    name: &str,
    head: &Parts,
) -> Option<bytes::Bytes> {
    let (operation, body) = narrowing.question();
    let scroll = if operation == Operation::ScrollPoints {
        "/scroll"
    } else {
        ""
    };
    // One replica may not have heard of a point yet.
    let consistency = match plan.authority.kind() {
        StoreKind::Qdrant => "?consistency=majority",
        StoreKind::Pgvector | StoreKind::Embedded => "",
    };
    let target = format!("/collections/{}/points{scroll}{consistency}", encoded(name));
    let mut head = head_for(head, Method::POST, &target)?;
    head.headers
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    head.headers.insert(CONTENT_LENGTH, body.len().into());
    let call = PassCall {
        operation,
        head,
        body: Body::full(body),
        deadline: Instant::now() + LOOK_UP_WITHIN,
    };
    let looking = answered(plan, call);
    tokio::time::timeout(LOOK_UP_WITHIN, looking).await.ok()?
}

fn encoded(name: &str) -> impl std::fmt::Display {
    utf8_percent_encode(name, NON_ALPHANUMERIC)
}

/// The caller's head for a question of our own.
fn head_for(head: &Parts, method: Method, target: &str) -> Option<Parts> {
    let mut head = head.clone();
    head.method = method;
    head.uri = Uri::try_from(target).ok()?;
    for name in [
        ACCEPT_ENCODING,
        CONTENT_ENCODING,
        CONTENT_LENGTH,
        CONTENT_TYPE,
        TRANSFER_ENCODING,
    ] {
        head.headers.remove(name);
    }
    Some(head)
}

async fn answered(plan: &Plan, call: PassCall) -> Option<bytes::Bytes> {
    let (head, body) = plan.authority.pass(call).await.ok()?.into_parts();
    if head.status != StatusCode::OK {
        return None;
    }
    body.gathered(ANSWER_BYTES_MAX).await.ok()?.as_bytes()
}

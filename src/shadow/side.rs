//! One store, asked what a client asked.
//!
//! With nothing of the client's but the question: no credential of theirs, so that the store sees
//! its own (as sync comes to it) or none. A refusal is an answer. What takes too long is let go of
//! before the store itself would count as failing: a comparison that is too dear must not have the
//! breaker turn clients away.

use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use tokio::time::Instant;

use super::ANSWER_BYTES_MAX;
use crate::error::ErrorKind;
use crate::metrics::Uncompared;
use crate::model::Operation;
use crate::net::Body;
use crate::store::{PassCall, Store};
use crate::wire::envelope;

/// The question, as it was put in the path and the body.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) operation: Operation,
    pub(super) method: Method,
    pub(super) target: PathAndQuery,
    pub(super) body: Bytes,
}

/// What a store said, in plain JSON.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub(super) status: u16,
    pub(super) body: Bytes,
    pub(super) took: Duration,
}

/// Cancel safety: safe, it only reads.
pub(super) async fn ask(
    store: &dyn Store,
    question: &Question,
    patience: Duration,
    silent: Uncompared,
) -> Result<Said, Uncompared> {
    let began = Instant::now();
    let asked = tokio::time::timeout(patience, answer(store, question, patience, silent));
    let (status, body) = asked.await.unwrap_or(Err(silent))?;
    Ok(Said {
        status: status.as_u16(),
        body,
        took: began.elapsed(),
    })
}

async fn answer(
    store: &dyn Store,
    question: &Question,
    patience: Duration,
    silent: Uncompared,
) -> Result<(StatusCode, Bytes), Uncompared> {
    let mut request = Request::new(());
    *request.method_mut() = question.method.clone();
    *request.uri_mut() = Uri::from(question.target.clone());
    let json = HeaderValue::from_static("application/json");
    request.headers_mut().insert(CONTENT_TYPE, json);
    let call = PassCall {
        operation: question.operation,
        head: request.into_parts().0,
        body: Body::full(question.body.clone()),
        // Later than ours.
        deadline: Instant::now() + patience * 2,
    };
    let answer = match store.pass(call).await {
        Ok(answer) => answer,
        // Stores of our own refuse this way.
        Err(error) => {
            let status = refusal(error.kind()).ok_or(silent)?;
            return Ok((status, envelope::error(&error.to_string(), Duration::ZERO)));
        }
    };
    let (head, body) = answer.into_parts();
    if is_passing(head.status) {
        return Err(silent);
    }
    let gathered = body.gathered(ANSWER_BYTES_MAX).await;
    let body = gathered.map_err(|_broken| silent)?;
    match body.as_bytes() {
        Some(body) if body.len() <= ANSWER_BYTES_MAX => Ok((head.status, body)),
        Some(_) | None => Err(Uncompared::TooLarge),
    }
}

/// Whether it says nothing of the question: what the store cannot do now it may do a moment later,
/// or as soon as we may ask it.
fn is_passing(status: StatusCode) -> bool {
    let passing = [
        StatusCode::UNAUTHORIZED,
        StatusCode::FORBIDDEN,
        StatusCode::REQUEST_TIMEOUT,
        StatusCode::TOO_MANY_REQUESTS,
    ];
    passing.contains(&status) || (status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED)
}

/// The status of what would be refused the next time too.
fn refusal(kind: ErrorKind) -> Option<StatusCode> {
    match kind {
        ErrorKind::BadInput => Some(StatusCode::BAD_REQUEST),
        ErrorKind::NotFound => Some(StatusCode::NOT_FOUND),
        ErrorKind::Conflict => Some(StatusCode::CONFLICT),
        ErrorKind::Unsupported => Some(StatusCode::NOT_IMPLEMENTED),
        ErrorKind::Unauthorized
        | ErrorKind::Forbidden
        | ErrorKind::RateLimited
        | ErrorKind::Busy
        | ErrorKind::Unavailable
        | ErrorKind::Nonsense
        | ErrorKind::Timeout
        | ErrorKind::Loop
        | ErrorKind::Settings
        | ErrorKind::Internal => None,
    }
}

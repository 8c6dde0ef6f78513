//! Answers of the sidecar's own, in Qdrant's shape. The only status codes of the package are here.

use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_REQUEST_HEADERS, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER, VARY,
};
use http::{Response, StatusCode};

use super::call::Answer;
use crate::error::{Error, ErrorKind, Origin};
use crate::net::Body;
use crate::wire::envelope;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
/// What to say when nothing better is known: "soon".
const RETRY_SOON: Duration = Duration::from_secs(1);
const VARY_CORS: HeaderValue = HeaderValue::from_static(
    "Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
);
const ALL_METHODS: HeaderValue =
    HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, CONNECT, TRACE");

/// Turns an error into the answer that tells it.
pub fn error(error: &Error) -> Answer {
    let status = status(error);
    if error.kind() == ErrorKind::Unauthorized {
        // As Qdrant does: the one refusal that is not in the envelope.
        return Answer::own(response(status, TEXT, error.to_string().into()));
    }
    // What the client did is told in Qdrant's own words; the rest begins with our name, so that
    // nobody looks for it in Qdrant's log.
    let text = match error.origin() {
        Origin::Client => error.to_string(),
        Origin::Proxy | Origin::Qdrant | Origin::Pgvector | Origin::Embedded => {
            format!("Outrigger: {}", error.chain())
        }
    };
    let mut response = response(status, JSON, envelope::error(&text, Duration::ZERO));
    if matches!(error.kind(), ErrorKind::Busy | ErrorKind::RateLimited) {
        let after = error.retry_after().unwrap_or(RETRY_SOON);
        response
            .headers_mut()
            .insert(RETRY_AFTER, whole_seconds(after).into());
    }
    Answer::own(response)
}

fn status(error: &Error) -> StatusCode {
    match error.kind() {
        ErrorKind::BadInput if envelope::is_validation_error(&error.to_string()) => {
            StatusCode::UNPROCESSABLE_ENTITY
        }
        ErrorKind::BadInput => StatusCode::BAD_REQUEST,
        ErrorKind::Unauthorized => StatusCode::UNAUTHORIZED,
        ErrorKind::Forbidden => StatusCode::FORBIDDEN,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::Conflict => StatusCode::CONFLICT,
        ErrorKind::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        ErrorKind::Busy => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::Unavailable | ErrorKind::Nonsense => StatusCode::BAD_GATEWAY,
        ErrorKind::Timeout if error.origin() == Origin::Client => StatusCode::REQUEST_TIMEOUT,
        ErrorKind::Timeout => StatusCode::GATEWAY_TIMEOUT,
        ErrorKind::Loop => StatusCode::LOOP_DETECTED,
        ErrorKind::Unsupported => StatusCode::NOT_IMPLEMENTED,
        ErrorKind::Settings | ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Rounded up, and never "at once": a client told 0 comes back in a tight loop.
fn whole_seconds(after: Duration) -> u64 {
    let extra = u64::from(after.subsec_nanos() > 0);
    (after.as_secs() + extra).max(1)
}

/// The answer to a request that hit a bug of ours.
pub fn panicked() -> Answer {
    let text = "Outrigger: a bug ended this request; the log has the place";
    let body = envelope::error(text, Duration::ZERO);
    Answer::own(response(StatusCode::INTERNAL_SERVER_ERROR, JSON, body))
}

/// The answer to a connection beyond the limit.
pub fn too_many_connections() -> Response<Body> {
    let text = "Outrigger: too many connections (server.connections_max)";
    let mut response = response(
        StatusCode::SERVICE_UNAVAILABLE,
        JSON,
        envelope::error(text, Duration::ZERO),
    );
    response
        .headers_mut()
        .insert(RETRY_AFTER, whole_seconds(RETRY_SOON).into());
    response
}

/// Whether a health answer is good.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Health {
    Well,
    Unwell,
}

pub fn health(health: Health, text: impl Into<Bytes>) -> Response<Body> {
    let status = match health {
        Health::Well => StatusCode::OK,
        Health::Unwell => StatusCode::SERVICE_UNAVAILABLE,
    };
    response(status, TEXT, text.into())
}

pub fn json(value: &serde_json::Value) -> Response<Body> {
    response(StatusCode::OK, JSON, value.to_string().into())
}

/// What was asked for cannot be done as things are.
pub fn conflict(value: &serde_json::Value) -> Response<Body> {
    response(StatusCode::CONFLICT, JSON, value.to_string().into())
}

pub fn page(content_type: &'static str, text: String) -> Response<Body> {
    response(
        StatusCode::OK,
        HeaderValue::from_static(content_type),
        text.into(),
    )
}

fn response(status: StatusCode, content_type: HeaderValue, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::full(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// Lets a browser read an answer of our own, as Qdrant lets it read all of its.
pub fn allow_origin(response: &mut Response<Body>, asked: &CorsAsked) {
    let fields = response.headers_mut();
    fields.insert(ACCESS_CONTROL_ALLOW_ORIGIN, asked.origin.clone());
    fields.insert(VARY, VARY_CORS);
    if asked.preflight {
        fields.insert(ACCESS_CONTROL_ALLOW_METHODS, ALL_METHODS);
        if let Some(names) = &asked.headers {
            fields.insert(ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
        }
    }
}

/// What a browser said of where it comes from.
pub struct CorsAsked {
    origin: HeaderValue,
    headers: Option<HeaderValue>,
    preflight: bool,
}

impl CorsAsked {
    pub fn of(fields: &HeaderMap, preflight: bool) -> Option<Self> {
        let origin = fields.get(http::header::ORIGIN)?.clone();
        let headers = fields.get(ACCESS_CONTROL_REQUEST_HEADERS).cloned();
        Some(Self {
            origin,
            headers,
            preflight,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Retry;

    #[test]
    fn retry_after_is_rounded_up_and_never_zero() {
        for (millis, seconds) in [(0, 1), (200, 1), (1000, 1), (1001, 2)] {
            assert_eq!(whole_seconds(Duration::from_millis(millis)), seconds);
        }
    }

    #[tokio::test]
    async fn what_a_client_did_is_told_in_qdrants_words_only() {
        let wrong = Error::new(
            ErrorKind::BadInput,
            Origin::Client,
            Retry::Never,
            "Bad request: x",
        );
        let body = error(&wrong)
            .response
            .into_body()
            .into_bytes()
            .await
            .unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["status"]["error"], "Bad request: x");
    }
}

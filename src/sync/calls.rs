//! Calls of clients as they are sent on, and what the answers say of their end.

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING,
};
use http::{HeaderValue, Method, Response, StatusCode, Uri};

use super::peer::name;
use crate::error::{Error, ErrorKind, Origin, Result, Retry};
use crate::model::{Class, Operation};
use crate::net::Body;
use crate::store::{PassAnswer, PassCall};

/// Whether nothing was done, unless of a batch. A store that ran out of time answers so (408) while
/// it goes on, and one of its shards may have had too many writes (429) when others have done
/// theirs.
pub(super) fn is_refused(answer: &Result<PassAnswer>) -> bool {
    const MAY_BE_DONE: [StatusCode; 2] =
        [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS];
    match answer {
        Ok(answer) => {
            let status = answer.status();
            status.is_client_error() && !MAY_BE_DONE.contains(&status)
        }
        Err(error) => error.retry() == Retry::Never,
    }
}

/// Whether a deletion is known to have found nothing.
pub(super) fn deleted_nothing(answer: &Result<PassAnswer>) -> bool {
    if is_refused(answer) {
        return true;
    }
    let Ok(answer) = answer else {
        return false;
    };
    let body = answer.body().as_bytes().unwrap_or_default();
    let says_false = memchr::memmem::find(&body, b"\"result\":false").is_some();
    answer.status().is_success() && says_false
}

pub(super) fn may_change_points(class: Class) -> bool {
    match class {
        Class::SnapshotWrite | Class::ClusterWrite | Class::Unknown => true,
        Class::PointRead
        | Class::SearchRead
        | Class::SampleRead
        | Class::PointWrite
        | Class::CollectionRead
        | Class::CollectionWrite
        | Class::IndexWrite
        | Class::AliasRead
        | Class::AliasWrite
        | Class::SnapshotRead
        | Class::ClusterRead
        | Class::ServiceRead
        | Class::ServiceWrite
        | Class::Embedding => false,
    }
}

/// Only asks, makes or deletes a snapshot, or says where shards are: no point is another
/// afterwards.
pub(super) fn is_harmless(call: &PassCall) -> bool {
    // Also of a call that is not known.
    if call.head.method.is_safe() {
        return true;
    }
    matches!(
        call.operation,
        Operation::CreateSnapshot
            | Operation::DeleteSnapshot
            | Operation::CreateFullSnapshot
            | Operation::DeleteFullSnapshot
            | Operation::CreateShardSnapshot
            | Operation::DeleteShardSnapshot
            | Operation::RecoverPeer
            | Operation::RemovePeer
            | Operation::UpdateClusterMetadata
            | Operation::DeleteClusterMetadata
            | Operation::CreateShardKey
    )
}

/// The same call under the collection's own name.
pub(super) fn readdress(call: &mut PassCall, real: &str) -> Result<()> {
    let uri = &call.head.uri;
    let mut segments = uri.path().splitn(4, '/');
    let (_, _, _, rest) = (
        segments.next(),
        segments.next(),
        segments.next(),
        segments.next(),
    );
    let query = uri
        .query()
        .map(|query| format!("?{query}"))
        .unwrap_or_default();
    let path = format!(
        "/collections/{}/{}{query}",
        name(real),
        rest.unwrap_or_default()
    );
    call.head.uri = address(&path)?;
    Ok(())
}

/// Asks the store to answer when the write is done, whatever the client asked.
pub(super) fn wait_for_it(call: &mut PassCall) -> Result<()> {
    let uri = &call.head.uri;
    let asked = uri.query().unwrap_or_default().split('&');
    let kept = asked.filter(|pair| !pair.is_empty() && !pair.starts_with("wait="));
    let query: Vec<&str> = kept.chain(["wait=true"]).collect();
    let path = format!("{}?{}", uri.path(), query.join("&"));
    call.head.uri = address(&path)?;
    Ok(())
}

/// A call of ours in the name of whoever made `call`.
pub(super) fn internal(
    call: &PassCall,
    operation: Operation,
    path: &str,
    body: String,
) -> Result<PassCall> {
    let mut head = call.head.clone();
    let query = if operation == Operation::ScrollPoints {
        ""
    } else {
        head.uri.query().unwrap_or_default()
    };
    let path = match query {
        "" => path.to_owned(),
        query => format!("{path}?{query}"),
    };
    head.uri = address(&path)?;
    head.method = Method::POST;
    for field in [CONTENT_ENCODING, CONTENT_LENGTH, TRANSFER_ENCODING] {
        head.headers.remove(field);
    }
    // Nothing of an answer to us may be packed.
    head.headers.remove(ACCEPT_ENCODING);
    let json = HeaderValue::from_static("application/json");
    head.headers.insert(CONTENT_TYPE, json);
    Ok(PassCall {
        operation,
        head,
        body: Body::full(body),
        deadline: call.deadline,
    })
}

fn address(path: &str) -> Result<Uri> {
    path.parse().map_err(|error| {
        let doing = "address a write";
        Error::new(ErrorKind::Internal, Origin::Proxy, Retry::Never, doing).with_source(error)
    })
}

pub(super) fn unwritable() -> Error {
    let doing = "write a part of a batch down";
    Error::new(ErrorKind::Internal, Origin::Proxy, Retry::Never, doing)
}

pub(super) fn answer_of(body: Bytes) -> PassAnswer {
    let mut answer = Response::new(Body::full(body));
    let json = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(CONTENT_TYPE, json);
    answer
}

/// The call with another body, which is JSON and whole.
pub(super) fn saying(call: &mut PassCall, body: String) {
    for field in [CONTENT_ENCODING, CONTENT_LENGTH, TRANSFER_ENCODING] {
        call.head.headers.remove(field);
    }
    call.body = Body::full(body);
}

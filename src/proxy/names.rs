//! The aliases of the store, as one caller sees them.

use std::sync::Arc;
use std::time::Duration;

use http::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING,
};
use http::request::Parts;
use http::{Method, StatusCode, Uri};
use tokio::time::Instant;

use super::layers::ProxyParts;
use crate::cache::{Asker, Names};
use crate::mode::Plan;
use crate::model::Operation;
use crate::net::Body;
use crate::store::PassCall;

/// A list that is longer is as good as none.
const LIST_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Asks the store unless it was asked a moment ago, with the caller's own credential. `None` when
/// the caller may not know, or the store does not say.
pub(super) async fn told(
    parts: &ProxyParts,
    plan: &Plan,
    asker: Asker,
    head: &Parts,
    patience: Duration,
) -> Option<Arc<Names>> {
    if let Some(known) = parts.cache.names(asker, plan.authority_role) {
        return known;
    }
    let before = parts.cache.before_names();
    let mut head = head.clone();
    head.method = Method::GET;
    head.uri = Uri::from_static("/aliases");
    for name in [
        ACCEPT_ENCODING,
        CONTENT_ENCODING,
        CONTENT_LENGTH,
        CONTENT_TYPE,
        TRANSFER_ENCODING,
    ] {
        head.headers.remove(name);
    }
    let call = PassCall {
        operation: Operation::ListAliases,
        head,
        body: Body::empty(),
        deadline: Instant::now() + patience,
    };
    let (head, body) = plan.authority.pass(call).await.ok()?.into_parts();
    let names = if head.status == StatusCode::OK {
        let body = body.gathered(LIST_BYTES_MAX).await.ok()?;
        let list = body.as_bytes()?;
        Names::parse(&list)
    } else {
        None
    };
    parts
        .cache
        .remember((asker, plan.authority_role), names, before)
}

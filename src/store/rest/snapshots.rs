//! To be written.

use http::request::Parts;
use tokio::time::Instant;

use super::context::{Reply, Served};
use crate::error::Result;
use crate::model::Operation;
use crate::net::Body;
use crate::store::PassAnswer;

#[expect(clippy::unused_async, reason = "the family is not written yet")]
pub(super) async fn answer(
    _served: &Served,
    _operation: Operation,
    _head: Parts,
    _body: Body,
    began: Instant,
) -> Result<PassAnswer> {
    Ok(Reply::UnknownPath.into_answer(began.elapsed()))
}

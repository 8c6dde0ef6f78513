//! To be written.

use super::context::{Asked, Reply, Served};
use crate::error::Result;

#[expect(clippy::unused_async, reason = "the family is not written yet")]
pub(super) async fn answer(_served: &Served, _asked: &Asked<'_>) -> Result<Option<Reply>> {
    Ok(None)
}

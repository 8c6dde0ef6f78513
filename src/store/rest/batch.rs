//! Several writes to the points of a collection in one request.
//!
//! Strict mode is asked about all of them before the first is done. They are done in order; the
//! first that fails ends the request with its error, and what was done before it stays.

use super::context::{Asked, Reply, Served};
use super::updates;
use crate::error::Result;
use crate::model::Operation;
use crate::wire::rest::points::{PointWrite, UpdateOperations};

pub(super) async fn answer(served: &Served, asked: &Asked<'_>) -> Result<Option<Reply>> {
    if asked.operation != Operation::BatchUpdate {
        return Ok(None);
    }
    let params = asked.params()?;
    let request: UpdateOperations = asked.large_json().await?;
    let writes: Vec<_> = request
        .operations
        .into_iter()
        .map(PointWrite::from)
        .collect();
    let mut results = Vec::with_capacity(writes.len());
    // Without a single write Qdrant does not even look for the collection.
    if !writes.is_empty() {
        let collection = served.collection(&asked.name()).await?;
        for write in &writes {
            updates::check(served, &collection, write, &params).await?;
        }
        for write in writes {
            results.push(updates::run(served, &collection, write, &params).await?);
        }
    }
    Reply::result(&results).map(Some)
}

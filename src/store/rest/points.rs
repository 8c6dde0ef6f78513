//! One write to the points of a collection.

use super::context::{Asked, Reply, Served};
use super::updates;
use crate::error::Result;
use crate::model::Operation;
use crate::wire::rest::points::{PointInsertOperations, PointWrite};

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "what other families answer is not listed here"
)]
pub(super) async fn answer(served: &Served, asked: &Asked<'_>) -> Result<Option<Reply>> {
    let write = match asked.operation {
        Operation::UpsertPoints
        | Operation::DeletePoints
        | Operation::UpdateVectors
        | Operation::DeleteVectors
        | Operation::SetPayload
        | Operation::OverwritePayload
        | Operation::DeletePayload
        | Operation::ClearPayload => asked.operation,
        _ => return Ok(None),
    };
    let params = asked.params()?;
    let write = match write {
        Operation::UpsertPoints => PointWrite::Upsert(
            asked
                .large_json_by(PointInsertOperations::from_json)
                .await?,
        ),
        Operation::DeletePoints => PointWrite::Delete(asked.large_json().await?),
        Operation::UpdateVectors => PointWrite::UpdateVectors(asked.large_json().await?),
        Operation::DeleteVectors => PointWrite::DeleteVectors(asked.large_json().await?),
        Operation::SetPayload => PointWrite::SetPayload(asked.large_json().await?),
        Operation::OverwritePayload => PointWrite::OverwritePayload(asked.large_json().await?),
        Operation::DeletePayload => PointWrite::DeletePayload(asked.large_json().await?),
        _ => PointWrite::ClearPayload(asked.large_json().await?),
    };
    let collection = served.collection(&asked.name()).await?;
    updates::check(served, &collection, &write, &params).await?;
    let result = updates::run(served, &collection, write, &params).await?;
    Reply::result(&result).map(Some)
}

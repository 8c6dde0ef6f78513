//! A write in the one form in which the engines take it: columns as a list, each id once, the last
//! one of a kind winning.

use std::collections::HashSet;

use qdrant_edge::{
    ConditionalInsertOperation, PointId, PointInsertOperations, PointOperations,
    PointStructPersisted, UpdateOperation,
};

use super::refused;
use crate::error::Result;
use crate::wire::rest::refuse;

/// Columns become a list, each id stands in it once, and a payload is always given: the engine
/// keeps the old payload of a point in an optimised segment if it is not.
pub(super) fn operation(operation: UpdateOperation) -> Result<UpdateOperation> {
    let UpdateOperation::PointOperation(operation) = operation else {
        return Ok(operation);
    };
    let operation = match operation {
        PointOperations::UpsertPoints(insert) => PointOperations::UpsertPoints(list(insert)?),
        PointOperations::UpsertPointsConditional(conditional) => {
            PointOperations::UpsertPointsConditional(ConditionalInsertOperation {
                points_op: list(conditional.points_op)?,
                ..conditional
            })
        }
        PointOperations::DeletePoints { ids } => PointOperations::DeletePoints {
            ids: each_once(ids),
        },
        other @ (PointOperations::DeletePointsByFilter(_) | PointOperations::SyncPoints(_)) => {
            other
        }
    };
    Ok(UpdateOperation::PointOperation(operation))
}

fn list(insert: PointInsertOperations) -> Result<PointInsertOperations> {
    // Uneven columns make the conversion panic.
    let points = refused::guarded(|| Ok(insert.into_point_vec()))
        .map_err(|_panic| refuse::wrong_input("the columns of the batch do not fit one another"))?;
    let mut seen = HashSet::with_capacity(points.len());
    let mut points: Vec<_> = points
        .into_iter()
        .rev()
        .filter(|point| seen.insert(point.id))
        .map(|point| PointStructPersisted {
            payload: Some(point.payload.unwrap_or_default()),
            ..point
        })
        .collect();
    points.reverse();
    Ok(PointInsertOperations::PointsList(points))
}

pub(super) fn each_once(mut ids: Vec<PointId>) -> Vec<PointId> {
    let mut seen = HashSet::with_capacity(ids.len());
    ids.retain(|id| seen.insert(*id));
    ids
}

//! What one write becomes before it is given to the engine.
//!
//! The engine applies an operation point by point and stops at the first fault. So whatever can
//! fail is found out first, and what Qdrant does in spite of a fault (a payload change of several
//! points of which one is missing reaches the others) is made of a smaller operation and a
//! refusal. A conditional upsert is resolved into the points it writes: that is replayed after a
//! crash without asking the condition again.

use std::collections::HashSet;

use qdrant_edge::{
    Condition, ConditionalInsertOperation, EdgeShard, Filter, OperationError, PayloadOps, PointId,
    PointIdsList, PointInsertOperations, PointOperations, PointStructPersisted, ScrollRequest,
    UpdateMode, UpdateOperation, VectorOperations, WithPayloadInterface, WithVector,
};

use crate::error::Result;
use crate::store::refused::{self, refused};
use crate::store::{check, listed};

/// A write, ready.
pub(super) struct Planned {
    /// `None`: nothing is left to be done.
    pub(super) operation: Option<UpdateOperation>,
    /// The first id that should have been there.
    pub(super) missing: Option<PointId>,
    /// Points that were there already, with the names of the vectors that this upsert takes away.
    pub(super) taken: Vec<(PointId, Vec<String>)>,
}

impl Planned {
    fn plain(operation: UpdateOperation) -> Self {
        Self {
            operation: Some(operation),
            missing: None,
            taken: Vec::new(),
        }
    }
}

pub(super) fn plan(shard: &EdgeShard, operation: UpdateOperation) -> Result<Planned> {
    let operation = listed::operation(operation)?;
    check::operation(&shard.config(), &operation)?;
    match operation {
        UpdateOperation::PointOperation(operation) => points(shard, operation),
        UpdateOperation::PayloadOperation(operation) => payload(shard, operation),
        UpdateOperation::VectorOperation(operation) => vectors(shard, operation),
        other @ (UpdateOperation::FieldIndexOperation(_)
        | UpdateOperation::VectorNameOperation(_)) => Ok(Planned::plain(other)),
    }
}

fn points(shard: &EdgeShard, operation: PointOperations) -> Result<Planned> {
    let points = match operation {
        PointOperations::UpsertPoints(PointInsertOperations::PointsList(points)) => points,
        PointOperations::UpsertPointsConditional(conditional) => chosen(shard, conditional)?,
        other @ (PointOperations::UpsertPoints(PointInsertOperations::PointsBatch(_))
        | PointOperations::DeletePoints { .. }
        | PointOperations::DeletePointsByFilter(_)
        | PointOperations::SyncPoints(_)) => {
            return Ok(Planned::plain(UpdateOperation::PointOperation(other)));
        }
    };
    let taken = taken(shard, &points)?;
    Ok(Planned {
        operation: Some(upsert(points)),
        missing: None,
        taken,
    })
}

pub(super) fn upsert(points: Vec<PointStructPersisted>) -> UpdateOperation {
    UpdateOperation::PointOperation(PointOperations::UpsertPoints(
        PointInsertOperations::PointsList(points),
    ))
}

/// The points that a conditional upsert writes.
fn chosen(
    shard: &EdgeShard,
    conditional: ConditionalInsertOperation,
) -> Result<Vec<PointStructPersisted>> {
    let ConditionalInsertOperation {
        points_op,
        condition,
        update_mode,
    } = conditional;
    let mut points = points_op.into_point_vec();
    let ids: Vec<_> = points.iter().map(|point| point.id).collect();
    let present = present(shard, &ids)?;
    let mode = update_mode.unwrap_or_default();
    let matching = match mode {
        UpdateMode::InsertOnly => HashSet::new(),
        UpdateMode::Upsert | UpdateMode::UpdateOnly => matching(shard, &present, condition)?,
    };
    points.retain(|point| {
        if present.contains(&point.id) {
            matching.contains(&point.id)
        } else {
            mode != UpdateMode::UpdateOnly
        }
    });
    Ok(points)
}

fn matching(
    shard: &EdgeShard,
    present: &HashSet<PointId>,
    condition: Filter,
) -> Result<HashSet<PointId>> {
    if condition == Filter::default() || present.is_empty() {
        return Ok(present.clone());
    }
    let among = Filter::new_must(Condition::HasId(present.iter().copied().collect()));
    let request = ScrollRequest {
        limit: Some(present.len()),
        filter: Some(among.merge_owned(condition)),
        with_payload: Some(WithPayloadInterface::Bool(false)),
        with_vector: WithVector::Bool(false),
        ..ScrollRequest::default()
    };
    let (records, _) = refused::read(|| shard.scroll(request))?;
    Ok(records.into_iter().map(|record| record.id).collect())
}

/// Which of `ids` are there.
fn present(shard: &EdgeShard, ids: &[PointId]) -> Result<HashSet<PointId>> {
    let payload = Some(WithPayloadInterface::Bool(false));
    let records = refused::read(|| shard.retrieve(ids, payload, Some(WithVector::Bool(false))))?;
    Ok(records.into_iter().map(|record| record.id).collect())
}

/// An upsert replaces the whole point, but the engine leaves vectors that are not mentioned on a
/// point in an optimised segment. They are found out before and deleted after.
fn taken(
    shard: &EdgeShard,
    points: &[PointStructPersisted],
) -> Result<Vec<(PointId, Vec<String>)>> {
    let left_out = names_left_out(shard, points);
    if left_out.is_empty() {
        return Ok(left_out);
    }
    let ids: Vec<_> = left_out.iter().map(|(id, _)| *id).collect();
    let present = present(shard, &ids)?;
    Ok(left_out
        .into_iter()
        .filter(|(id, _)| present.contains(id))
        .collect())
}

fn names_left_out(
    shard: &EdgeShard,
    points: &[PointStructPersisted],
) -> Vec<(PointId, Vec<String>)> {
    let config = shard.config();
    let of_each = points
        .iter()
        .map(|point| (point.id, check::left_out(&config, &point.vector)));
    of_each.filter(|(_, names)| !names.is_empty()).collect()
}

/// The points of a logged upsert, each with the vectors it leaves out; nothing for others.
pub(super) fn left_out(
    shard: &EdgeShard,
    operation: &UpdateOperation,
) -> Vec<(PointId, Vec<String>)> {
    match operation {
        UpdateOperation::PointOperation(PointOperations::UpsertPoints(
            PointInsertOperations::PointsList(points),
        )) => names_left_out(shard, points),
        UpdateOperation::PointOperation(_)
        | UpdateOperation::VectorOperation(_)
        | UpdateOperation::PayloadOperation(_)
        | UpdateOperation::FieldIndexOperation(_)
        | UpdateOperation::VectorNameOperation(_) => Vec::new(),
    }
}

/// The operations that take away what an upsert should have taken away and has not.
pub(super) fn leftovers(
    shard: &EdgeShard,
    taken: Vec<(PointId, Vec<String>)>,
) -> Result<Vec<UpdateOperation>> {
    let mut by_names: Vec<(Vec<String>, Vec<PointId>)> = Vec::new();
    for (id, names) in taken {
        match by_names.iter_mut().find(|(known, _)| *known == names) {
            Some((_, ids)) => ids.push(id),
            None => by_names.push((names, vec![id])),
        }
    }
    let mut operations = Vec::new();
    for (names, ids) in by_names {
        let vectors = WithVector::Selector(names.clone());
        let payload = Some(WithPayloadInterface::Bool(false));
        let records = refused::read(|| shard.retrieve(&ids, payload, Some(vectors)))?;
        let still_there: Vec<_> = records
            .into_iter()
            .filter(|record| record.vector.as_ref().is_some_and(has_any))
            .map(|record| record.id)
            .collect();
        if !still_there.is_empty() {
            operations.push(UpdateOperation::VectorOperation(
                VectorOperations::DeleteVectors(PointIdsList::from(still_there), names),
            ));
        }
    }
    Ok(operations)
}

fn has_any(vector: &qdrant_edge::VectorStructInternal) -> bool {
    match vector {
        qdrant_edge::VectorStructInternal::Named(named) => !named.is_empty(),
        qdrant_edge::VectorStructInternal::Single(_)
        | qdrant_edge::VectorStructInternal::MultiDense(_) => true,
    }
}

/// A logged operation without the points that were deleted after it, which would keep it from the
/// others; `None` if no point is left.
pub(super) fn only_what_is_there(
    shard: &EdgeShard,
    operation: UpdateOperation,
) -> Result<Option<UpdateOperation>> {
    let planned = match operation {
        UpdateOperation::PayloadOperation(operation) => payload(shard, operation)?,
        UpdateOperation::VectorOperation(operation) => vectors(shard, operation)?,
        other @ (UpdateOperation::PointOperation(_)
        | UpdateOperation::FieldIndexOperation(_)
        | UpdateOperation::VectorNameOperation(_)) => return Ok(Some(other)),
    };
    Ok(planned.operation)
}

/// The ids that are there, in place of `ids`, and the first that is not.
fn only_present(shard: &EdgeShard, ids: Vec<PointId>) -> Result<(Vec<PointId>, Option<PointId>)> {
    let present = present(shard, &ids)?;
    let missing = ids.iter().copied().find(|id| !present.contains(id));
    let ids = listed::each_once(ids)
        .into_iter()
        .filter(|id| present.contains(id))
        .collect();
    Ok((ids, missing))
}

fn payload(shard: &EdgeShard, operation: PayloadOps) -> Result<Planned> {
    let mut missing = None;
    let mut narrow = |points: Option<Vec<PointId>>, has_filter: bool| match points {
        Some(ids) => {
            let (present, absent) = only_present(shard, ids)?;
            missing = absent;
            Ok(Some(present))
        }
        None if has_filter => Ok(None),
        None => Err(refused(OperationError::validation_error(
            "No points or filter specified",
        ))),
    };
    let operation = match operation {
        PayloadOps::SetPayload(mut set) => {
            set.points = narrow(set.points, set.filter.is_some())?;
            PayloadOps::SetPayload(set)
        }
        PayloadOps::OverwritePayload(mut set) => {
            set.points = narrow(set.points, set.filter.is_some())?;
            PayloadOps::OverwritePayload(set)
        }
        PayloadOps::DeletePayload(mut delete) => {
            delete.points = narrow(delete.points, delete.filter.is_some())?;
            PayloadOps::DeletePayload(delete)
        }
        PayloadOps::ClearPayload { points } => PayloadOps::ClearPayload {
            points: narrow(Some(points), false)?.unwrap_or_default(),
        },
        other @ PayloadOps::ClearPayloadByFilter(_) => other,
    };
    let is_left = operation_points(&operation).is_none_or(|ids| !ids.is_empty());
    Ok(Planned {
        operation: is_left.then_some(UpdateOperation::PayloadOperation(operation)),
        missing,
        taken: Vec::new(),
    })
}

fn operation_points(operation: &PayloadOps) -> Option<&[PointId]> {
    match operation {
        PayloadOps::SetPayload(set) | PayloadOps::OverwritePayload(set) => set.points.as_deref(),
        PayloadOps::DeletePayload(delete) => delete.points.as_deref(),
        PayloadOps::ClearPayload { points } => Some(points),
        PayloadOps::ClearPayloadByFilter(_) => None,
    }
}

fn vectors(shard: &EdgeShard, operation: VectorOperations) -> Result<Planned> {
    let (operation, missing) = match operation {
        VectorOperations::UpdateVectors(mut update) => {
            let ids = update.points.iter().map(|point| point.id).collect();
            let (present, missing) = only_present(shard, ids)?;
            let present: HashSet<_> = present.into_iter().collect();
            update.points.retain(|point| present.contains(&point.id));
            let is_left = !update.points.is_empty();
            (
                is_left.then_some(VectorOperations::UpdateVectors(update)),
                missing,
            )
        }
        VectorOperations::DeleteVectors(list, names) => {
            let (present, missing) = only_present(shard, list.points)?;
            let is_left = !present.is_empty() && !names.is_empty();
            let operation = VectorOperations::DeleteVectors(PointIdsList::from(present), names);
            (is_left.then_some(operation), missing)
        }
        other @ VectorOperations::DeleteVectorsByFilter(..) => (Some(other), None),
    };
    Ok(Planned {
        operation: operation.map(UpdateOperation::VectorOperation),
        missing,
        taken: Vec::new(),
    })
}

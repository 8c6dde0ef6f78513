//! From a request to what the engine applies.

use qdrant_edge::{
    ConditionalInsertOperation, DeletePayloadOp, Filter, PayloadOps, PointIdsList,
    PointInsertOperations as EnginePoints, PointOperations, SetPayloadOp, UpdateMode,
    UpdateOperation, UpdateVectorsOp, VectorOperations,
};

use crate::error::Result;
use crate::wire::rest::points::{
    DeleteVectors, PointInsertOperations, PointVectors, PointWrite, PointsSelector, SetPayload,
    UpdateVectors,
};
use crate::wire::rest::shard_key::ShardKeySelector;
use crate::wire::rest::{CollectionConfig, refuse};

/// One operation, or why it cannot be one. Steps before it are done all the same.
pub(super) type Step = Result<UpdateOperation>;

/// What `write` comes to, in order. An error of its own means that no step is to be taken.
pub(super) fn lower(write: PointWrite, config: &CollectionConfig) -> Result<Vec<Step>> {
    let operation = match write {
        PointWrite::Upsert(insert) => upsert(insert, config)?,
        PointWrite::Delete(selector) => {
            no_shards(selector.shard_key())?;
            UpdateOperation::PointOperation(match selector {
                PointsSelector::PointIdsSelector(ids) => PointOperations::DeletePoints {
                    ids: some(ids.points)?,
                },
                PointsSelector::FilterSelector(by) => {
                    PointOperations::DeletePointsByFilter(by.filter)
                }
            })
        }
        PointWrite::SetPayload(set) => {
            let operation = PayloadOps::SetPayload(payload(set)?);
            UpdateOperation::PayloadOperation(operation)
        }
        PointWrite::OverwritePayload(set) => {
            // Everything is replaced, wherever the request points to.
            let operation = PayloadOps::OverwritePayload(SetPayloadOp {
                key: None,
                ..payload(set)?
            });
            UpdateOperation::PayloadOperation(operation)
        }
        PointWrite::DeletePayload(delete) => {
            no_shards(delete.shard_key.as_ref())?;
            let operation = PayloadOps::DeletePayload(DeletePayloadOp {
                keys: delete.keys,
                points: delete.points.map(some).transpose()?,
                filter: delete.filter,
            });
            UpdateOperation::PayloadOperation(operation)
        }
        PointWrite::ClearPayload(selector) => {
            no_shards(selector.shard_key())?;
            UpdateOperation::PayloadOperation(match selector {
                PointsSelector::PointIdsSelector(ids) => PayloadOps::ClearPayload {
                    points: some(ids.points)?,
                },
                PointsSelector::FilterSelector(by) => PayloadOps::ClearPayloadByFilter(by.filter),
            })
        }
        PointWrite::UpdateVectors(update) => vectors(update, config)?,
        PointWrite::DeleteVectors(delete) => return delete_vectors(delete),
    };
    Ok(vec![Ok(operation)])
}

fn upsert(insert: PointInsertOperations, config: &CollectionConfig) -> Result<UpdateOperation> {
    let condition = insert.update_filter().cloned();
    let mode = insert.update_mode();
    let shard_key = insert.shard_key().cloned();
    let points = insert.into_points(config)?;
    no_shards(shard_key.as_ref())?;
    let points = EnginePoints::PointsList(some(points)?);
    let plain = condition.is_none() && mode.unwrap_or_default() == UpdateMode::Upsert;
    Ok(UpdateOperation::PointOperation(if plain {
        PointOperations::UpsertPoints(points)
    } else {
        PointOperations::UpsertPointsConditional(ConditionalInsertOperation {
            points_op: points,
            condition: condition.unwrap_or_default(),
            update_mode: mode,
        })
    }))
}

fn vectors(update: UpdateVectors, config: &CollectionConfig) -> Result<UpdateOperation> {
    let points = PointVectors::all_into_persisted(update.points, config)?;
    no_shards(update.shard_key.as_ref())?;
    let operation = VectorOperations::UpdateVectors(UpdateVectorsOp {
        points: some(points)?,
        update_filter: update.update_filter,
    });
    Ok(UpdateOperation::VectorOperation(operation))
}

/// By filter and by ids are two operations, in this order.
fn delete_vectors(delete: DeleteVectors) -> Result<Vec<Step>> {
    let mut names: Vec<_> = delete.vector.into_iter().collect();
    names.sort();
    let mut steps = Vec::with_capacity(2);
    if delete.filter.is_some() || delete.points.is_some() {
        no_shards(delete.shard_key.as_ref())?;
    }
    if let Some(filter) = delete.filter {
        let operation = VectorOperations::DeleteVectorsByFilter(filter, names.clone());
        steps.push(Ok(UpdateOperation::VectorOperation(operation)));
    }
    if let Some(points) = delete.points {
        steps.push(some(points).map(|points| {
            let operation = VectorOperations::DeleteVectors(PointIdsList::from(points), names);
            UpdateOperation::VectorOperation(operation)
        }));
    }
    Ok(steps)
}

fn payload(set: SetPayload) -> Result<SetPayloadOp> {
    no_shards(set.shard_key.as_ref())?;
    Ok(SetPayloadOp {
        payload: set.payload,
        points: set.points.map(some).transpose()?,
        filter: set.filter,
        key: set.key,
    })
}

/// Points that a write names must be at least one.
fn some<T>(points: Vec<T>) -> Result<Vec<T>> {
    if points.is_empty() {
        return Err(refuse::bad_request("Empty update request"));
    }
    Ok(points)
}

/// No collection here has shards that a write could be sent to.
fn no_shards(selector: Option<&ShardKeySelector>) -> Result<()> {
    let Some(selector) = selector else {
        return Ok(());
    };
    Err(refuse::wrong_input(&match selector.first() {
        Some(key) => format!("Shard key {key} not found"),
        None => "Empty shard keys selection".to_owned(),
    }))
}

/// The filter by which an operation finds its points.
pub(super) fn filter_of(operation: &UpdateOperation) -> Option<&Filter> {
    match operation {
        UpdateOperation::PointOperation(PointOperations::DeletePointsByFilter(filter))
        | UpdateOperation::PayloadOperation(PayloadOps::ClearPayloadByFilter(filter))
        | UpdateOperation::VectorOperation(VectorOperations::DeleteVectorsByFilter(filter, _)) => {
            Some(filter)
        }
        UpdateOperation::PayloadOperation(
            PayloadOps::SetPayload(set) | PayloadOps::OverwritePayload(set),
        ) => set.filter.as_ref(),
        UpdateOperation::PayloadOperation(PayloadOps::DeletePayload(delete)) => {
            delete.filter.as_ref()
        }
        UpdateOperation::PointOperation(
            PointOperations::UpsertPoints(_)
            | PointOperations::UpsertPointsConditional(_)
            | PointOperations::DeletePoints { .. }
            | PointOperations::SyncPoints(_),
        )
        | UpdateOperation::PayloadOperation(PayloadOps::ClearPayload { .. })
        | UpdateOperation::VectorOperation(
            VectorOperations::UpdateVectors(_) | VectorOperations::DeleteVectors(..),
        )
        | UpdateOperation::FieldIndexOperation(_)
        | UpdateOperation::VectorNameOperation(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::wire::rest::points::{UpdateOperation as Batched, UpdateOperations};

    fn lowered(operation: Value) -> Result<Vec<Step>> {
        let config = serde_json::from_value(json!({
            "params": {"vectors": {"size": 2, "distance": "Dot"}},
            "hnsw_config": {"m": 16, "ef_construct": 100, "full_scan_threshold": 10_000},
            "optimizer_config": {
                "deleted_threshold": 0.2, "vacuum_min_vector_number": 1000,
                "default_segment_number": 0, "flush_interval_sec": 5,
            },
            "wal_config": {"wal_capacity_mb": 32, "wal_segments_ahead": 0},
        }));
        let request = json!({"operations": [operation]});
        let request: UpdateOperations = serde_json::from_value(request).unwrap();
        let operation: Batched = request.operations.into_iter().next().unwrap();
        lower(PointWrite::from(operation), &config.unwrap())
    }

    #[track_caller]
    fn check(operation: Value, expected: Value) {
        let steps = lowered(operation).unwrap();
        let steps: Vec<_> = steps
            .into_iter()
            .map(|step| match step {
                Ok(operation) => serde_json::to_value(operation).unwrap(),
                Err(error) => Value::String(error.to_string()),
            })
            .collect();
        assert_eq!(Value::Array(steps), expected);
    }

    #[test]
    fn writes_become_what_the_engine_applies() {
        let point = json!({"id": 1, "vector": [1.0, 2.0], "payload": {}});
        check(
            json!({"upsert": {"points": [{"id": 1, "vector": [1, 2]}]}}),
            json!([{"upsert_points": {"points": [point]}}]),
        );
        let conditional = json!({
            "points_op": {"points": [point]}, "condition": {}, "update_mode": "insert_only",
        });
        check(
            json!({"upsert": {"points": [point], "update_mode": "insert_only"}}),
            json!([{"upsert_points_conditional": conditional}]),
        );
        check(
            json!({"delete": {"filter": {"must": [{"has_id": [1]}]}}}),
            json!([{"delete_points_by_filter": {"must": [{"has_id": [1]}]}}]),
        );
        let set = json!({"payload": {"a": 1}, "points": [1], "filter": null, "key": null});
        check(
            json!({"overwrite_payload": {"payload": {"a": 1}, "points": [1], "key": "b"}}),
            json!([{"overwrite_payload": set}]),
        );
    }

    #[test]
    fn vectors_are_deleted_by_filter_and_then_by_ids() {
        let by_filter = json!({"delete_vectors_by_filter": [{}, ["a", "b"]]});
        check(
            json!({"delete_vectors": {"vector": ["b", "a"], "filter": {}, "points": [1]}}),
            json!([by_filter, {"delete_vectors": [{"points": [1]}, ["a", "b"]]}]),
        );
        check(
            json!({"delete_vectors": {"vector": ["b", "a"], "filter": {}, "points": []}}),
            json!([by_filter, "Bad request: Empty update request"]),
        );
        check(json!({"delete_vectors": {"vector": ["a"]}}), json!([]));
    }

    #[test]
    fn nothing_and_shards_are_refused() {
        let empty = "Bad request: Empty update request";
        let shard = "Wrong input: Shard key \"k\" not found";
        for (operation, text) in [
            (json!({"upsert": {"points": []}}), empty),
            (json!({"delete": {"points": []}}), empty),
            (json!({"clear_payload": {"points": []}}), empty),
            (
                json!({"set_payload": {"payload": {}, "points": [], "filter": {}}}),
                empty,
            ),
            (json!({"delete": {"points": [], "shard_key": "k"}}), shard),
            (
                json!({"delete_payload": {"keys": [], "filter": {}, "shard_key": ["k"]}}),
                shard,
            ),
            (
                json!({"clear_payload": {"points": [1], "shard_key": []}}),
                "Wrong input: Empty shard keys selection",
            ),
        ] {
            assert_eq!(lowered(operation).unwrap_err().to_string(), text);
        }
    }
}

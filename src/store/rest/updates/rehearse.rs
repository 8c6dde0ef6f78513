//! What a store would say to a write, by what is declared of its collection and nothing else:
//! whether it can be read, keeps the rules, names vectors that are there, in their sizes.

use qdrant_edge::EdgeConfig;
use serde::de::DeserializeOwned;
use validator::Validate;

use super::lower;
use crate::error::Result;
use crate::model::Operation;
use crate::store::{check, declared, listed};
use crate::wire::rest::points::{PointInsertOperations, PointWrite, UpdateOperations};
use crate::wire::rest::{CollectionConfig, refuse};

/// The refusal, if there would be one. What is no write to points is not refused here.
pub fn rehearse(config: &CollectionConfig, operation: Operation, body: &[u8]) -> Result<()> {
    let edge = declared::edge_config(config);
    if operation == Operation::BatchUpdate {
        let batch: UpdateOperations = read(body)?;
        let writes = batch.operations.into_iter().map(PointWrite::from);
        return writes
            .into_iter()
            .try_for_each(|write| one(config, &edge, write));
    }
    match write(operation, body)? {
        Some(write) => one(config, &edge, write),
        None => Ok(()),
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "what is no write to points is not listed here"
)]
fn write(operation: Operation, body: &[u8]) -> Result<Option<PointWrite>> {
    Ok(Some(match operation {
        Operation::UpsertPoints => PointWrite::Upsert(read::<PointInsertOperations>(body)?),
        Operation::DeletePoints => PointWrite::Delete(read(body)?),
        Operation::UpdateVectors => PointWrite::UpdateVectors(read(body)?),
        Operation::DeleteVectors => PointWrite::DeleteVectors(read(body)?),
        Operation::SetPayload => PointWrite::SetPayload(read(body)?),
        Operation::OverwritePayload => PointWrite::OverwritePayload(read(body)?),
        Operation::DeletePayload => PointWrite::DeletePayload(read(body)?),
        Operation::ClearPayload => PointWrite::ClearPayload(read(body)?),
        _ => return Ok(None),
    }))
}

fn one(config: &CollectionConfig, edge: &EdgeConfig, write: PointWrite) -> Result<()> {
    if write.needs_models() {
        // Vectors are made where the points are written; that takes a model and time.
        return Ok(());
    }
    for step in lower::lower(write, config)? {
        check::operation(edge, &listed::operation(step?)?)?;
    }
    Ok(())
}

fn read<T: DeserializeOwned + Validate>(body: &[u8]) -> Result<T> {
    let value: T =
        serde_json::from_slice(body).map_err(|error| refuse::format_error(&error.to_string()))?;
    let broken = value.validate();
    broken.map_err(|errors| refuse::validation("JSON body", &errors))?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(operation: Operation, body: &str, refusal: Option<&str>) {
        let config = serde_json::json!({
            "params": {"vectors": {"a": {"size": 2, "distance": "Cosine"}}},
            "hnsw_config": {"m": 16, "ef_construct": 100, "full_scan_threshold": 10000},
            "optimizer_config": {"deleted_threshold": 0.2, "vacuum_min_vector_number": 1000,
                "default_segment_number": 0, "flush_interval_sec": 5},
            "wal_config": {"wal_capacity_mb": 32, "wal_segments_ahead": 0},
        });
        let config = serde_json::from_value(config).unwrap();
        let said = rehearse(&config, operation, body.as_bytes());
        let said = said.err().map(|error| error.to_string());
        match (said, refusal) {
            (None, None) => (),
            (Some(said), Some(refusal)) if said.contains(refusal) => (),
            (said, refusal) => panic!("{body}: {said:?} instead of {refusal:?}"),
        }
    }

    #[test]
    fn what_would_be_refused_is_told_and_nothing_else() {
        let upsert = Operation::UpsertPoints;
        check(
            upsert,
            r#"{"points":[{"id":1,"vector":{"a":[1,2]}}]}"#,
            None,
        );
        check(
            upsert,
            r#"{"points":[{"id":1,"vector":{"a":[1,2,3]}}]}"#,
            Some("dimension"),
        );
        check(
            upsert,
            r#"{"points":[{"id":1,"vector":{"b":[1,2]}}]}"#,
            Some("b"),
        );
        check(
            upsert,
            r#"{"points":[{"id":-1,"vector":{"a":[1,2]}}]}"#,
            Some("Format error"),
        );
        check(Operation::DeletePoints, r#"{"points":[1]}"#, None);
        let batch = r#"{"operations":[{"delete":{"points":[1]}},{"upsert":{"points":[{"id":1,"vector":{"a":[1]}}]}}]}"#;
        check(Operation::BatchUpdate, batch, Some("dimension"));
        check(Operation::CreateIndex, "{}", None);
    }
}

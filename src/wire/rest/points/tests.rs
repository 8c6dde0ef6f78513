//! What requests that write points are refused with, and what the good ones become.

#![expect(clippy::indexing_slicing, reason = "a failed index is a failed test")]

use qdrant_edge::{PointId, VectorPersisted, VectorStructPersisted};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use validator::Validate;

use super::*;
use crate::error::Error;
use crate::wire::rest::{CollectionConfig, refuse};

/// The text of the refusal of `body`.
fn refused<T: DeserializeOwned + Validate>(body: &str) -> String {
    let error = match serde_json::from_str::<T>(body) {
        Err(error) => refuse::format_error(&error.to_string()),
        Ok(value) => refuse::validation("JSON body", &value.validate().unwrap_err()),
    };
    error.to_string()
}

#[track_caller]
fn check<T: DeserializeOwned + Validate>(cases: &[(&str, &str)]) {
    for (body, text) in cases {
        let said = refused::<T>(body);
        let expected = if text.starts_with('[') {
            format!("Validation error in JSON body: {text}")
        } else {
            format!("Format error in JSON body: {text}")
        };
        assert_eq!(said, expected, "{body}");
    }
}

fn config(vectors: Value, sparse: Value) -> CollectionConfig {
    let params = json!({"vectors": vectors, "sparse_vectors": sparse});
    serde_json::from_value(json!({
        "params": params,
        "hnsw_config": {"m": 16, "ef_construct": 100, "full_scan_threshold": 10_000},
        "optimizer_config": {
            "deleted_threshold": 0.2, "vacuum_min_vector_number": 1000,
            "default_segment_number": 0, "flush_interval_sec": 5,
        },
        "wal_config": {"wal_capacity_mb": 32, "wal_segments_ahead": 0},
    }))
    .unwrap()
}

fn points(
    body: Value,
    config: &CollectionConfig,
) -> Result<Vec<(PointId, VectorStructPersisted)>, Error> {
    let insert: PointInsertOperations = serde_json::from_value(body).unwrap();
    insert.validate().unwrap();
    let points = insert.into_points(config)?.into_iter();
    Ok(points.map(|point| (point.id, point.vector)).collect())
}

#[test]
fn upserts_are_refused_in_qdrants_words() {
    check::<PointInsertOperations>(&[
        ("{}", "Invalid PointInsertOperations format"),
        ("[]", "Invalid PointInsertOperations format"),
        ("{\"points\": [],}", "trailing comma at line 1 column 15"),
        (
            "{\"points\": null}",
            "invalid type: null, expected a sequence",
        ),
        ("{\"points\": [{\"id\": 1}]}", "missing field `vector`"),
        (
            "{\"points\": [{\"id\": 1, \"vector\": {\"a\": 1}}]}",
            "data did not match any variant of untagged enum VectorStruct",
        ),
        (
            "{\"points\": [{\"id\": -1, \"vector\": [1]}]}",
            "value -1 is not a valid point ID, valid values are either an unsigned integer or a UUID",
        ),
        (
            "{\"points\": [{\"id\": 1, \"vector\": [1], \"payload\": []}]}",
            "invalid type: sequence, expected a map",
        ),
        (
            "{\"points\": [], \"update_mode\": \"nope\"}",
            "unknown variant `nope`, expected one of `upsert`, `insert_only`, `update_only`",
        ),
        (
            "{\"points\": [], \"shard_key\": 1.5}",
            "Expected a string or an integer",
        ),
        ("{\"batch\": {}}", "missing field `ids`"),
        (
            "{\"batch\": {\"ids\": [1], \"vectors\": {\"a\": [true]}}}",
            "data did not match any variant of untagged enum BatchVectorStruct",
        ),
    ]);
}

#[test]
fn bad_vectors_are_named_by_where_they_stand() {
    let same_length = "Validation error: must be the same length as indices [{}]";
    let unique = "Validation error: must be unique [{}]";
    let point = |vector: &str| format!("{{\"points\": [{{\"id\": 1, \"vector\": {vector}}}]}}");
    for (vector, text) in [
        (
            "[]",
            "[points[0].vector.vector: dense vector must not be empty]",
        ),
        (
            "{\"a\": []}",
            "[points[0].vector.?.vector: dense vector must not be empty]",
        ),
        (
            "[[]]",
            "[points[0].vector.data: all vectors must be non-empty]",
        ),
        (
            "[[0.5], [0.5, 1]]",
            "[points[0].vector.data: all vectors must have the same dimension, found vector with dimension 2]",
        ),
        (
            "{\"a\": [[]]}",
            "[points[0].vector.?.data: all vectors must be non-empty]",
        ),
    ] {
        check::<PointInsertOperations>(&[(&point(vector), text)]);
    }
    let sparse = |indices: &str, values: &str| {
        point(&format!(
            "{{\"s\": {{\"indices\": {indices}, \"values\": {values}}}}}"
        ))
    };
    check::<PointInsertOperations>(&[
        (
            &sparse("[1, 1]", "[1, 2]"),
            &format!("[points[0].vector.?.indices: {unique}]"),
        ),
        (
            &sparse("[1, 2]", "[1]"),
            &format!("[points[0].vector.?.values: {same_length}]"),
        ),
        (
            "{\"batch\": {\"ids\": [1, 2], \"vectors\": [[1]]}}",
            "[batch.batch: number of ids and vectors must be equal (2 != 1)]",
        ),
        (
            "{\"batch\": {\"ids\": [1], \"vectors\": {\"a\": [[1]]}, \"payloads\": []}}",
            "[batch.batch: number of ids and payloads must be equal (1 != 0)]",
        ),
        (
            "{\"batch\": {\"ids\": [1], \"vectors\": {\"a\": [[]]}}}",
            "[batch.?.vector: dense vector must not be empty]",
        ),
        (
            "{\"points\": [], \"update_filter\": {\"must\": [{\"key\": \"x\"}]}}",
            "[update_filter.must[0].__all__: Validation error: At least one field condition must be specified [{}]]",
        ),
    ]);
}

#[test]
fn changes_are_refused_in_qdrants_words() {
    check::<PointsSelector>(&[(
        "{\"point\": []}",
        "data did not match any variant of untagged enum PointsSelector",
    )]);
    check::<SetPayload>(&[
        ("{}", "missing field `payload` at line 1 column 2"),
        (
            "null",
            "invalid type: null, expected struct SetPayloadShadow at line 1 column 4",
        ),
        (
            "{\"payload\": {}}",
            "Either list of point ids or filter must be provided",
        ),
        (
            "{\"payload\": {}, \"points\": [1], \"key\": \"a..b\"}",
            "Invalid json path: 'a..b' at line 1 column 45",
        ),
    ]);
    check::<DeletePayload>(&[(
        "{\"keys\": [\"a\"]}",
        "Either list of point ids or filter must be provided",
    )]);
    check::<UpdateVectors>(&[
        (
            "[]",
            "invalid length 0, expected struct UpdateVectors with 3 elements at line 1 column 2",
        ),
        (
            "{\"points\": []}",
            "[points: must specify points to update]",
        ),
        (
            "{\"points\": [{\"id\": 1, \"vector\": {}}]}",
            "[points[0].vector: must specify vectors to update for point]",
        ),
        (
            "{\"points\": [{\"id\": 1, \"vector\": {\"a\": [[]]}}]}",
            "[points[0].?.data: all vectors must be non-empty]",
        ),
    ]);
    check::<DeleteVectors>(&[
        ("{}", "missing field `vector` at line 1 column 2"),
        (
            "{\"vector\": []}",
            "[vector: must specify vector names to delete]",
        ),
    ]);
    check::<UpdateOperations>(&[
        (
            "{\"operations\": [{\"nope\": {}}]}",
            "data did not match any variant of untagged enum UpdateOperation at line 1 column 29",
        ),
        (
            "{\"operations\": [{\"delete\": {\"points\": []}}, {\"update_vectors\": {\"points\": []}}]}",
            "[operations[1].update_vectors.points: must specify points to update]",
        ),
    ]);
}

#[test]
fn columns_become_points() {
    let config = config(
        json!({"": {"size": 2, "distance": "Dot"}, "a": {"size": 1, "distance": "Dot"}}),
        json!({}),
    );
    let named = json!({"batch": {
        "ids": [7, "550e8400e29b41d4a716446655440000"],
        "vectors": {"a": [[1.0], [2.0]]},
    }});
    let points = points(named, &config).unwrap();
    let ids: Vec<_> = points.iter().map(|(id, _)| id.to_string()).collect();
    assert_eq!(ids, ["7", "550e8400-e29b-41d4-a716-446655440000"]);
    let VectorStructPersisted::Named(second) = &points[1].1 else {
        panic!("names were given");
    };
    assert_eq!(second.get("a"), Some(&VectorPersisted::Dense(vec![2.0])));
}

#[test]
fn two_rows_of_whole_numbers_are_rows_where_rows_are_kept() {
    let multi =
        json!({"size": 2, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}});
    let config = config(json!({"m": multi}), json!({"s": {}}));
    let body = json!({"points": [
        {"id": 1, "vector": {"m": [[1, 0], [0, 1]], "s": [[1, 0], [0, 1]]}},
    ]});
    let points = points(body, &config).unwrap();
    let VectorStructPersisted::Named(named) = &points[0].1 else {
        panic!("names were given");
    };
    let rows = VectorPersisted::MultiDense(vec![vec![1.0, 0.0], vec![0.0, 1.0]]);
    assert_eq!(named.get("m"), Some(&rows));
    let sparse = VectorPersisted::new_sparse(vec![1, 0], vec![0.0, 1.0]);
    assert_eq!(named.get("s"), Some(&sparse));
}

#[test]
fn sizes_are_checked_before_anything_is_written() {
    let single = config(json!({"size": 3, "distance": "Dot"}), json!({}));
    let named = config(json!({"a": {"size": 3, "distance": "Dot"}}), json!({}));
    let one = |vector: Value| json!({"points": [{"id": 1, "vector": vector}]});
    for (config, vector, text) in [
        (&single, json!([1.0]), "expected dim: 3, got 1"),
        (
            &single,
            json!({"": [1.0]}),
            "expected dim: 3, got 1 for vector ''",
        ),
        (&single, json!([[1.0, 0.5]]), "expected dim: 3, got 2"),
        (
            &named,
            json!({"a": [1.0]}),
            "expected dim: 3, got 1 for vector 'a'",
        ),
    ] {
        let error = points(one(vector), config).unwrap_err();
        let expected = format!("Wrong input: Vector dimension error: {text}");
        assert_eq!(error.to_string(), expected);
    }
    // What the collection lacks altogether is the engine's to refuse.
    assert!(points(one(json!({"zz": [1.0]})), &named).is_ok());
}

#[test]
fn a_text_alone_makes_no_unnamed_vector() {
    let config = config(json!({}), json!({"s": {}}));
    let text = json!({"text": "fox", "model": "bm25"});
    let unnamed = json!({"points": [{"id": 1, "vector": text}]});
    let error = points(unnamed, &config).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Bad request: Sparse vector should be named"
    );
    let named = json!({"points": [{"id": 1, "vector": {"s": text}}]});
    assert_eq!(points(named, &config).unwrap().len(), 1);
    let body = json!({"points": [{"id": 1, "vector": text}]});
    let update: UpdateVectors = serde_json::from_value(body).unwrap();
    let error = PointVectors::all_into_persisted(update.points, &config).unwrap_err();
    let expected = "Document processing is not supported for point vectors.";
    assert_eq!(error.to_string(), expected);
}

#![expect(clippy::indexing_slicing, reason = "a failed index is a failed test")]
use serde_json::{Value, json};

use super::*;
use crate::wire::rest::describe::describe;

fn create(body: Value) -> Result<CollectionConfig> {
    let request: CreateCollection = serde_json::from_value(body).unwrap();
    request.validate().unwrap();
    request.into_config()
}

fn printed(config: &CollectionConfig) -> Value {
    serde_json::to_value(config).unwrap()
}

#[test]
fn a_fresh_collection_is_printed_with_qdrants_defaults() {
    let config = create(json!({"vectors": {"size": 3, "distance": "Cosine"}})).unwrap();
    let expected = r#"{"params":{"vectors":{"size":3,"distance":"Cosine"},"shard_number":1,"replication_factor":1,"write_consistency_factor":1,"on_disk_payload":true},"hnsw_config":{"m":16,"ef_construct":100,"full_scan_threshold":10000,"max_indexing_threads":0,"on_disk":false},"optimizer_config":{"deleted_threshold":0.2,"vacuum_min_vector_number":1000,"default_segment_number":0,"max_segment_size":null,"memmap_threshold":null,"indexing_threshold":10000,"flush_interval_sec":5,"max_optimization_threads":null,"prevent_unoptimized":null},"wal_config":{"wal_capacity_mb":32,"wal_segments_ahead":0,"wal_retain_closed":1},"quantization_config":null}"#;
    let text = serde_json::to_string(&config).unwrap();
    assert_eq!(text, expected);
    let read: CollectionConfig = serde_json::from_str(&text).unwrap();
    assert_eq!(read, config);
    assert!(config.is_single_unnamed());
    assert_eq!(
        printed(&create(json!({})).unwrap())["params"]["vectors"],
        json!({})
    );
}

#[test]
fn names_of_vectors_are_checked() {
    let vector = json!({"size": 2, "distance": "Dot"});
    let cases = [
        (
            json!({"vectors": {"c:d": vector}}),
            "Wrong input: Invalid dense vector name `c:d`: vector name cannot contain \":\" char",
        ),
        (
            json!({"sparse_vectors": {"a/b": {}}}),
            "Wrong input: Invalid sparse vector name `a/b`: vector name cannot contain \"/\" char",
        ),
        (
            json!({"vectors": vector, "sparse_vectors": {"": {}}}),
            "Wrong input: Sparse vector name cannot be empty",
        ),
        (
            json!({"vectors": {"s": vector}, "sparse_vectors": {"s": {}}}),
            "Wrong input: Dense and sparse vector names must be unique - duplicate found with 's'",
        ),
    ];
    for (body, text) in cases {
        assert_eq!(create(body).unwrap_err().to_string(), text);
    }
}

#[test]
fn broken_rules_are_described_by_path() {
    let vector = |more: Value| {
        let mut vector = json!({"size": 5, "distance": "Dot"});
        vector
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        json!({"vectors": vector})
    };
    let cases = [
        (
            json!({"vectors": {"size": 65537, "distance": "Dot"}}),
            "vectors.size: value 65537 invalid, must be from 1 to 65536",
        ),
        (
            vector(json!({"hnsw_config": {"ef_construct": 3}})),
            "vectors.hnsw_config.ef_construct: value 3 invalid, must be 4 or larger",
        ),
        (
            vector(json!({"quantization_config": {"scalar": {"type": "int8", "quantile": 0.4}}})),
            "vectors.quantization_config.scalar.quantile: value 0.4000000059604645 invalid, must be from 0.5 to 1.0",
        ),
        (
            json!({"shard_number": 0}),
            "shard_number: value 0 invalid, must be 1 or larger",
        ),
        (
            json!({"optimizers_config": {"deleted_threshold": 1.5}}),
            "optimizers_config.deleted_threshold: value 1.5 invalid, must be from 0.0 to 1.0",
        ),
        (
            json!({"strict_mode_config": {"sparse_config": {"a": {"max_length": 0}}}}),
            "strict_mode_config.sparse_config.config[0].max_length: value 0 invalid, must be 1 or larger",
        ),
        (
            json!({"strict_mode_config": {"max_resident_memory_percent": 101}}),
            "strict_mode_config.max_resident_memory_percent: value 101 invalid, must be from 1 to 100",
        ),
        (
            json!({"sparse_vectors": {"t": {"index": {"full_scan_threshold": null, "on_disk": null, "datatype": "turbo4"}}}}),
            "sparse_vectors[0].index.datatype: sparse vectors do not support the `turbo4` datatype",
        ),
    ];
    for (body, text) in cases {
        let request: CreateCollection = serde_json::from_value(body).unwrap();
        assert_eq!(describe(&request.validate().unwrap_err()), text);
    }
    let update: UpdateCollection =
        serde_json::from_value(json!({"vectors": {"": {"hnsw_config": {"ef_construct": 2}}}}))
            .unwrap();
    let expected = "vectors.?.hnsw_config.ef_construct: value 2 invalid, must be 4 or larger";
    assert_eq!(describe(&update.validate().unwrap_err()), expected);
}

#[test]
fn a_change_keeps_what_it_does_not_name() {
    let before = create(json!({
        "vectors": {"size": 4, "distance": "Dot"},
        "sparse_vectors": {"s": {"index": {"on_disk": true}}},
        "hnsw_config": {"m": 8},
        "quantization_config": {"binary": {"always_ram": true}},
        "strict_mode_config": {"enabled": true, "max_query_limit": 5},
        "metadata": {"a": 1, "b": {"c": 2}},
    }))
    .unwrap();
    let update = json!({
        "vectors": {"": {"hnsw_config": {"m": 0}, "on_disk": true}},
        "sparse_vectors": {"s": {"modifier": "idf"}},
        "optimizers_config": {"indexing_threshold": 7, "max_optimization_threads": 2},
        "params": {"replication_factor": 2},
        "hnsw_config": {"ef_construct": 50},
        "quantization_config": "Disabled",
        "strict_mode_config": {"max_timeout": 3},
        "metadata": {"a": null, "b": {"d": 1}, "e": 5},
    });
    let update: UpdateCollection = serde_json::from_value(update).unwrap();
    let after = printed(&update.apply(&before).unwrap());
    for (pointer, expected) in [
        ("/params/vectors/hnsw_config", json!({"m": 0})),
        ("/params/vectors/on_disk", json!(true)),
        (
            "/params/sparse_vectors/s",
            json!({"index": {"on_disk": true}, "modifier": "idf"}),
        ),
        ("/params/replication_factor", json!(2)),
        ("/optimizer_config/indexing_threshold", json!(7)),
        ("/optimizer_config/max_optimization_threads", json!(2)),
        ("/hnsw_config/m", json!(8)),
        ("/hnsw_config/ef_construct", json!(50)),
        ("/quantization_config", json!(null)),
        (
            "/strict_mode_config",
            json!({"enabled": true, "max_query_limit": 5, "max_timeout": 3}),
        ),
        ("/metadata", json!({"b": {"d": 1}, "e": 5})),
    ] {
        assert_eq!(after.pointer(pointer), Some(&expected), "{pointer}");
    }
    let unknown: UpdateCollection =
        serde_json::from_value(json!({"vectors": {"nope": {}}})).unwrap();
    let refused = unknown.apply(&before).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "Wrong input: Not existing vector name error: nope"
    );
}

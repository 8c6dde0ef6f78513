use serde_json::json;

use super::*;

fn words(operation: Operation, body: &Value) -> Vec<&'static str> {
    let shape = shape(operation, None, Some(body.to_string().as_bytes()));
    shape.features().map(Feature::as_str).collect()
}

#[test]
fn queries_are_told_apart_by_kind_and_not_by_value() {
    let check = |body: Value, expected: &[&str]| {
        assert_eq!(words(Operation::QueryPoints, &body), expected, "{body}");
    };
    check(
        json!({"query": [0.1, 0.2], "limit": 3}),
        &["nearest", "dense vector", "approximate"],
    );
    check(
        json!({"query": {"nearest": [1.0], "mmr": {}}, "params": {"exact": true}}),
        &["nearest", "mmr", "dense vector", "exact"],
    );
    check(
        json!({"query": {"indices": [1], "values": [0.5]}, "using": "s"}),
        &["nearest", "sparse vector"],
    );
    check(
        json!({"query": {"text": "a", "model": "Qdrant/bm25"}}),
        &["nearest", "text by bm25"],
    );
    check(
        json!({"query": {"text": "a", "model": "m"}}),
        &["nearest", "inference", "approximate"],
    );
    check(
        json!({"query": {"recommend": {"positive": [1], "strategy": "best_score"}}}),
        &["recommend", "best_score", "by id", "approximate"],
    );
    check(
        json!({"query": {"context": {"positive": [1.0], "negative": 3}}, "shard_key": "k"}),
        &[
            "context",
            "dense vector",
            "by id",
            "approximate",
            "shard_key",
        ],
    );
    check(
        json!({"query": {"fusion": "rrf"}, "prefetch": [
            {"query": [1.0], "params": {"exact": true}},
            {"query": {"indices": [1], "values": [0.5]}, "lookup_from": {"collection": "c"}}]}),
        &[
            "nearest",
            "fusion rrf",
            "dense vector",
            "sparse vector",
            "prefetch",
            "exact",
            "lookup_from",
        ],
    );
    check(
        json!({"query": [1.0], "prefetch": {"query": {"sample": "random"}}}),
        &["nearest", "sample", "dense vector", "prefetch"],
    );
    check(json!({}), &[]);
}

#[test]
fn what_tunes_a_search_counts_only_where_it_may_guess() {
    let params = json!({"hnsw_ef": 9, "quantization": {"rescore": true}, "indexed_only": true,
        "acorn": {"enable": true}});
    let mut body = json!({"vector": [1.0], "limit": 1, "params": params});
    let guesses = [
        "approximate",
        "hnsw_ef",
        "quantization",
        "indexed_only",
        "acorn",
    ];
    let told = words(Operation::SearchPoints, &body);
    assert_eq!(told, [&["nearest", "dense vector"][..], &guesses].concat());
    body["params"]["exact"] = json!(true);
    let told = words(Operation::SearchPoints, &body);
    assert_eq!(told, ["nearest", "dense vector", "exact"]);
}

#[test]
fn conditions_are_found_wherever_they_stand() {
    let filter = json!({
        "must": [{"key": "a", "match": {"value": 1}}, {"key": "d", "range": {"gte": "2020-01-01T00:00:00Z"}}],
        "should": {"nested": {"key": "b", "filter": {"must_not": {"key": "c", "match": {"any": [1]}}}}},
        "min_should": {"min_count": 1, "conditions": [{"has_id": [1]}, {"must": [{"is_null": {"key": "e"}}]}]},
    });
    let told = words(Operation::ScrollPoints, &json!({"filter": filter}));
    assert_eq!(
        told,
        [
            "match value",
            "match any",
            "datetime range",
            "is_null",
            "has_id",
            "nested",
            "min_should"
        ]
    );
    let many = |count: usize| {
        let one = json!({"key": "a", "match": {"value": 1}});
        json!({"filter": {"must": vec![one; count]}})
    };
    let told = words(Operation::CountPoints, &many(2_000));
    assert_eq!(told, ["match value"]);
    let told = words(Operation::CountPoints, &many(2_001));
    assert_eq!(told, ["match value", "more than 2000 conditions"]);
}

#[test]
fn writes_and_collections_have_shapes_too() {
    let point = json!({"id": 1, "vector": {"a": [1.0], "b": {"text": "x", "model": "m"}},
        "payload": {"model": "no", "shard_key": "no", "filter": {"must": [{"has_id": [1]}]}}});
    let told = words(
        Operation::UpsertPoints,
        &json!({"points": [point], "update_filter": {}}),
    );
    assert_eq!(told, ["dense vector", "inference", "update_filter"]);
    let delete = json!({"filter": {"must": [{"has_id": [1]}]}});
    let told = words(Operation::DeletePoints, &delete);
    assert_eq!(told, ["has_id", "by filter"]);
    let batch = json!({"operations": [{"delete": {"points": [1], "shard_key": "k"}}]});
    assert_eq!(words(Operation::BatchUpdate, &batch), ["shard_key"]);
    let made = json!({"vectors": {"a": {"size": 4, "distance": "Dot", "quantization_config": {}}},
        "sharding_method": "custom"});
    let told = words(Operation::CreateCollection, &made);
    assert_eq!(told, ["quantization_config", "sharding_method custom"]);
}

#[test]
fn a_body_that_is_not_seen_is_said_to_be_so_and_any_other_is_survived() {
    let told = |body: Option<&[u8]>| {
        let shape = shape(Operation::QueryPoints, Some("consistency=all"), body);
        shape.features().map(Feature::as_str).collect::<Vec<_>>()
    };
    assert_eq!(told(None), ["body not looked at", "consistency"]);
    assert_eq!(told(Some(b"no JSON")), ["consistency"]);
    let deep = format!("{}1{}", "{\"prefetch\":".repeat(9_000), "}".repeat(9_000));
    assert_eq!(told(Some(deep.as_bytes())), ["consistency"]);
}

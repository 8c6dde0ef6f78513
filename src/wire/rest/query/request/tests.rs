use serde_json::json;

use super::*;
use crate::wire::rest::refuse;

/// The text that Qdrant refuses `body` with, or nothing.
fn said<T: serde::de::DeserializeOwned + Validate>(body: &str) -> Option<String> {
    let error = match serde_json::from_str::<T>(body) {
        Err(error) => refuse::format_error(&error.to_string()),
        Ok(request) => refuse::validation("JSON body", &request.validate().err()?),
    };
    Some(error.to_string())
}

#[test]
fn every_form_of_query_is_read() {
    for query in [
        json!([0.1, 0.2]),
        json!([[0.1, 0.2], [0.3, 0.4]]),
        json!({"indices": [1, 2], "values": [0.1, 0.2]}),
        json!(7),
        json!("f9e4bd1f-93cd-4a02-b2f1-3a6ba6ab5c5c"),
        json!({"text": "hello", "model": "Qdrant/bm25"}),
        json!({"nearest": [0.1], "mmr": {"diversity": 0.3, "candidates_limit": 20}}),
        json!({"recommend": {"positive": [1, [0.1]], "negative": null, "strategy": "best_score"}}),
        json!({"discover": {"target": 1, "context": {"positive": 2, "negative": 3}}}),
        json!({"discover": {"target": 1, "context": null}}),
        json!({"context": [{"positive": 2, "negative": 3}]}),
        json!({"context": {"positive": 2, "negative": 3}}),
        json!({"order_by": "price"}),
        json!({"order_by": {"key": "price", "direction": "desc", "start_from": 3}}),
        json!({"fusion": "rrf"}),
        json!({"fusion": "dbsf"}),
        json!({"rrf": {"k": 60, "weights": [1.0, 2.0]}}),
        json!({"rrf": {}}),
        json!({"formula": {"sum": ["$score", {"mult": [0.5, {"key": "a", "match": {"value": 1}}]}]}}),
        json!({"sample": "random"}),
        json!({"relevance_feedback": {
            "target": 1,
            "feedback": [{"example": 2, "score": 0.5}],
            "strategy": {"naive": {"a": 1.0, "b": 1.0, "c": 1.0}},
        }}),
    ] {
        let body = json!({"query": query, "prefetch": {"query": 1}}).to_string();
        assert_eq!(said::<QueryRequest>(&body), None, "{body}");
    }
}

#[test]
fn what_is_wrong_is_said_in_qdrants_words() {
    let query = |query: &str| format!(r#"{{"query": {query}}}"#);
    let shape = "Format error in JSON body: Expected some form of vector, id, or a type of query";
    for (body, text) in [
        (query("{}"), format!("{shape} at line 1 column 13")),
        (query("[\"a\"]"), String::new()),
        (
            query(r#"{"discover": {"target": 1}}"#),
            format!("{shape} at line 1 column 38"),
        ),
        (
            r#"{"prefetch": 5}"#.to_owned(),
            "Format error in JSON body: invalid type: integer `5`, expected null, array or map \
             at line 1 column 15"
                .to_owned(),
        ),
        (
            r#"{"prefetch": [[]]}"#.to_owned(),
            "Format error in JSON body: invalid length 1, expected struct Prefetch with 8 elements \
             at line 1 column 18"
                .to_owned(),
        ),
        (
            r#"{"limit": -1}"#.to_owned(),
            "Format error in JSON body: invalid value: integer `-1`, expected usize \
             at line 1 column 13"
                .to_owned(),
        ),
        (
            r#"{"query": 1, "query": 2}"#.to_owned(),
            "Format error in JSON body: duplicate field `query` at line 1 column 24".to_owned(),
        ),
        (
            "null".to_owned(),
            "Format error in JSON body: invalid type: null, expected struct QueryRequest \
             at line 1 column 4"
                .to_owned(),
        ),
        (
            "[null]".to_owned(),
            "Format error in JSON body: invalid type: sequence, expected struct QueryRequest \
             at line 1 column 0"
                .to_owned(),
        ),
    ] {
        assert_eq!(said::<QueryRequest>(&body).unwrap_or_default(), text, "{body}");
    }
}

#[test]
fn rules_are_named_by_qdrants_paths() {
    for (body, rule) in [
        (
            json!({"limit": 0}),
            "internal.limit: value 0 invalid, must be 1 or larger",
        ),
        (
            json!({"prefetch": [{"limit": 0}]}),
            "internal.prefetch[0].limit: value 0 invalid, must be 1 or larger",
        ),
        (
            json!({"query": {"nearest": 1, "mmr": {"diversity": 2}}}),
            "internal.query.mmr.diversity: value 2.0 invalid, must be from 0.0 to 1.0",
        ),
        (
            json!({"query": {"nearest": 1, "mmr": {"candidates_limit": 99_999}}}),
            "internal.query.mmr.candidates_limit: value 99999 invalid, must be 16384 or smaller",
        ),
        (
            json!({"query": {"rrf": {"k": 0}}}),
            "internal.query.rrf.k: value 0 invalid, must be 1 or larger",
        ),
        (
            json!({"query": {"recommend": {}}}),
            "internal.query.recommend.positives, negatives: Validation error: At least one \
             positive or negative vector/id must be provided [{}]",
        ),
        (
            json!({"query": {"recommend": {"positive": [1], "negative": [[[]]]}}}),
            "internal.query.recommend.data: all vectors must be non-empty",
        ),
        (
            json!({"query": {"indices": [1, 1], "values": [0.5, 0.5]}}),
            "internal.query.indices: Validation error: must be unique [{}]",
        ),
        (
            json!({"query": [[0.5, 0.5], [0.5]]}),
            "internal.query.data: all vectors must have the same dimension, found vector with \
             dimension 1",
        ),
        (
            json!({"query": {"relevance_feedback": {"target": 1, "feedback": [],
                "strategy": {"naive": {"a": 1, "b": 1, "c": 1}}}}}),
            "internal.query.relevance_feedback.__all__: feedback elements must be non-empty",
        ),
        (
            json!({"query": {"relevance_feedback": {
                "target": 1, "feedback": [{"example": 1, "score": 1}],
                "strategy": {"naive": {"a": 1, "b": -1, "c": 1}}}}}),
            "internal.query.relevance_feedback.strategy.naive.b: value -1.0 invalid, must be 0.0 \
             or larger",
        ),
        (
            json!({"query": {"formula": {"key": "a"}}}),
            "internal.query.__all__: Validation error: At least one field condition must be \
             specified [{}]",
        ),
        (
            json!({"query": {"formula": 1, "defaults": {"a[": 1}}}),
            "internal.query.defaults: Invalid payload variable: a[",
        ),
        (
            json!({"query": {"formula": 1, "defaults": {"$score": "x"}}}),
            "internal.query.defaults: Validation error: Score default must be a number [{}]",
        ),
    ] {
        let text = format!("Validation error in JSON body: [{rule}]");
        assert_eq!(said::<QueryRequest>(&body.to_string()), Some(text));
    }
}

#[test]
fn groups_have_a_path_of_their_own() {
    let body = json!({"group_by": "a", "group_size": 0}).to_string();
    let text = "Validation error in JSON body: [search_group_request.group_request.group_size: \
                value 0 invalid, must be 1 or larger]";
    assert_eq!(said::<QueryGroupsRequest>(&body).as_deref(), Some(text));
    assert_eq!(
        said::<QueryGroupsRequest>("{}").as_deref(),
        Some("Format error in JSON body: missing field `group_by` at line 1 column 2")
    );
}

//! The short way to read a search.
//!
//! Qdrant's own way puts every number of the query's vector into the buffer of the flattened
//! request, then into that of an untagged enum, and then into the vector. That way decides what a
//! query means and what is said of a bad one. But nearly all searches have a plain form, read here
//! in one go: known keys, each once, a vector that is a list of numbers, no prefetch. Whatever else
//! comes is left to the long way.
//!
//! The rule: what is read here is read to the same value there.

use qdrant_edge::{Filter, SearchParams, WithPayloadInterface, WithVector};
use serde::Deserialize;

use super::kinds::QueryInterface;
use super::request::{QueryRequest, QueryRequestBatch, QueryRequestInternal};
use super::vector_input::VectorInput;

/// `None`: not of the plain form, which says nothing about its being right or wrong.
pub(super) fn read(body: &[u8]) -> Option<QueryRequest> {
    let plain: Plain = serde_json::from_slice(body).ok()?;
    Some(plain.into_request())
}

/// The same of a batch: all of it is plain, or none of it is read here.
pub(super) fn read_batch(body: &[u8]) -> Option<QueryRequestBatch> {
    let plain: PlainBatch = serde_json::from_slice(body).ok()?;
    let searches = plain.searches.into_iter().map(Plain::into_request);
    Some(QueryRequestBatch {
        searches: searches.collect(),
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlainBatch {
    searches: Vec<Plain>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Plain {
    query: Option<Vec<f32>>,
    using: Option<String>,
    filter: Option<Filter>,
    params: Option<SearchParams>,
    score_threshold: Option<f32>,
    limit: Option<usize>,
    offset: Option<usize>,
    #[serde(alias = "with_vectors")]
    with_vector: Option<WithVector>,
    with_payload: Option<WithPayloadInterface>,
    #[serde(default, rename = "prefetch")]
    _prefetch: Option<Nothing>,
    #[serde(default, rename = "lookup_from")]
    _lookup_from: Option<Nothing>,
    #[serde(default, rename = "shard_key")]
    _shard_key: Option<Nothing>,
}

/// Of no form at all: a key of this kind may only be `null`.
#[derive(Deserialize)]
enum Nothing {}

impl Plain {
    fn into_request(self) -> QueryRequest {
        let vector = self.query.map(VectorInput::DenseVector);
        QueryRequest {
            internal: QueryRequestInternal {
                prefetch: None,
                query: vector.map(QueryInterface::Nearest),
                using: self.using,
                filter: self.filter,
                params: self.params,
                score_threshold: self.score_threshold,
                limit: self.limit,
                offset: self.offset,
                with_vector: self.with_vector,
                with_payload: self.with_payload,
                lookup_from: None,
            },
            shard_key: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &str, is_plain: bool) {
        let quick = read(body.as_bytes());
        assert_eq!(quick.is_some(), is_plain, "{body}");
        let slow = serde_json::from_str::<QueryRequest>(body);
        let batch = format!(r#"{{"searches": [{body}, {{"limit": 1}}]}}"#);
        let quick_batch = read_batch(batch.as_bytes());
        assert_eq!(quick_batch.is_some(), is_plain, "{batch}");
        if let (Some(quick), Some(quick_batch)) = (quick, quick_batch) {
            let slow_batch = serde_json::from_str::<QueryRequestBatch>(&batch).unwrap();
            assert_eq!(format!("{quick:?}"), format!("{:?}", slow.unwrap()));
            assert_eq!(format!("{quick_batch:?}"), format!("{slow_batch:?}"));
        }
    }

    #[test]
    fn plain_searches_read_the_same_both_ways() {
        for body in [
            "{}",
            r#"{"query": null, "limit": null, "prefetch": null, "lookup_from": null}"#,
            r#"{"query": [1, 0.1, -3, 1e39, 18446744073709551615, 1e-50], "shard_key": null}"#,
            r#"{"query": [], "limit": 0, "offset": 3, "with_payload": true, "using": "a"}"#,
            r#"{"query": [0.1], "with_payload": ["a", "b.c"], "with_vectors": ["x"]}"#,
            r#"{"query": [0.1], "with_payload": {"exclude": ["a"]}, "with_vector": false}"#,
            r#"{"query": [0.1], "score_threshold": 0.1, "params": {"hnsw_ef": 4, "exact": false}}"#,
            r#"{"query": [0.1], "params": {"quantization": {"rescore": true, "oversampling": 1.1}}}"#,
            r#"{"query": [0.1], "filter": {"must": {"key": "a[].b", "match": {"value": 3}}}}"#,
            r#"{"query": [0.1], "filter": {"must": [{"key": "a", "range": {"gte": 1, "lt": 2.5}},
                {"key": "t", "range": {"gt": "2024-01-01T00:00:00Z"}}, {"has_id": [2]},
                {"key": "b", "match": {"any": ["x", "y"]}}, {"is_empty": {"key": "c"}},
                {"nested": {"key": "d", "filter": {"must_not": [{"is_null": {"key": "e"}}]}}}],
                "min_should": {"conditions": [{"has_vector": "v"}], "min_count": 1}}}"#,
            r#"{"query": [0.1], "filter": {"should": [{"key": "g", "geo_radius":
                {"center": {"lon": 1, "lat": 2}, "radius": 3}}, {"must": []}]}}"#,
        ] {
            check(body, true);
        }
    }

    #[test]
    fn whatever_is_not_plain_is_left_alone() {
        for body in [
            "",
            "[]",
            r#"{"query": 7}"#,
            r#"{"query": [[1, 2], [0.5, 0.5]]}"#,
            r#"{"query": [1, null]}"#,
            r#"{"query": {"nearest": [1]}}"#,
            r#"{"query": {"indices": [1], "values": [1]}}"#,
            r#"{"query": [1], "prefetch": []}"#,
            r#"{"query": [1], "shard_key": "a"}"#,
            r#"{"query": [1], "lookup_from": {"collection": "c"}}"#,
            r#"{"query": [1], "query": [2]}"#,
            r#"{"query": [1], "with_vector": true, "with_vectors": true}"#,
            r#"{"query": [1], "unknown": 1}"#,
            r#"{"query": [1], "limit": -1}"#,
            r#"{"query": [1], "limit": 1.5}"#,
            r#"{"query": [1], "filter": {"must": [{"matches": 1}]}}"#,
            r#"{"query": [1]} x"#,
        ] {
            check(body, false);
        }
    }
}

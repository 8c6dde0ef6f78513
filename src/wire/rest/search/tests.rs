use serde::de::DeserializeOwned;

use super::*;
use crate::wire::rest::examples::{
    DiscoverRequest, RecommendGroupsRequest, RecommendRequest, RecommendRequestBatch,
};
use crate::wire::rest::matrix::SearchMatrixRequest;
use crate::wire::rest::refuse;

/// The text that Qdrant refuses `body` with, or nothing.
fn said<T: DeserializeOwned + Validate>(body: &str) -> Option<String> {
    let error = match serde_json::from_str::<T>(body) {
        Err(error) => refuse::format_error(&error.to_string()),
        Ok(request) => refuse::validation("JSON body", &request.validate().err()?),
    };
    Some(error.to_string())
}

#[test]
fn searches_are_refused_in_qdrants_words() {
    type Said = fn(&str) -> Option<String>;
    for (said, body, text) in [
        (
            said::<SearchRequest> as Said,
            "{}",
            "Format error in JSON body: missing field `vector` at line 1 column 2",
        ),
        (
            said::<SearchRequest>,
            r#"{"vector": 5, "limit": 1}"#,
            "Format error in JSON body: data did not match any variant of untagged enum \
             NamedVectorStruct at line 1 column 25",
        ),
        (
            said::<SearchRequest>,
            r#"{"vector": [0.5], "top": 0}"#,
            "Validation error in JSON body: [search_request.limit: value 0 invalid, must be 1 or \
             larger]",
        ),
        (
            said::<SearchRequest>,
            r#"{"vector": {"name": "s", "vector": [[], [0.5]]}, "limit": 1}"#,
            "Validation error in JSON body: [search_request.vector.vector.values: Validation \
             error: must be the same length as indices [{}]]",
        ),
        (
            said::<SearchGroupsRequest>,
            r#"{"vector": [0.5], "limit": 2, "group_by": "a"}"#,
            "Format error in JSON body: missing field `group_size` at line 1 column 46",
        ),
        (
            said::<RecommendRequest>,
            r#"{"positive": [{}], "limit": 2}"#,
            "Format error in JSON body: data did not match any variant of untagged enum \
             RecommendExample at line 1 column 30",
        ),
        (
            said::<RecommendRequest>,
            r#"{"using": 5, "limit": 2}"#,
            "Format error in JSON body: data did not match any variant of untagged enum \
             UsingVector at line 1 column 24",
        ),
        (
            said::<RecommendRequest>,
            r#"{"strategy": "nope", "limit": 2}"#,
            "Format error in JSON body: unknown variant `nope`, expected one of \
             `average_vector`, `best_score`, `sum_scores` at line 1 column 32",
        ),
        (
            said::<RecommendRequestBatch>,
            r#"{"searches": [{"limit": 1}, {"limit": 0}]}"#,
            "Validation error in JSON body: [searches[1].recommend_request.limit: value 0 \
             invalid, must be 1 or larger]",
        ),
        (
            said::<DiscoverRequest>,
            r#"{"context": [5], "limit": 2}"#,
            "Format error in JSON body: invalid type: integer `5`, expected struct \
             ContextExamplePair at line 1 column 28",
        ),
        (
            said::<SearchMatrixRequest>,
            r#"{"sample": 1}"#,
            "Validation error in JSON body: [search_request.sample: value 1 invalid, must be 2 or \
             larger]",
        ),
    ] {
        assert_eq!(said(body).as_deref(), Some(text), "{body}");
    }
}

#[test]
fn a_recommendation_takes_groups_of_size_0_as_qdrant_does() {
    let body = r#"{"positive": [1], "group_by": "a", "group_size": 0, "limit": 2}"#;
    assert_eq!(said::<RecommendGroupsRequest>(body), None);
}

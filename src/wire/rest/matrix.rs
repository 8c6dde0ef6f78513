//! Distances between the points of a sample.

use qdrant_edge::{Filter, PointId};
use serde::{Deserialize, Serialize};
use validator::Validate;

use super::shard_key::ShardKeySelector;

#[derive(Debug, Deserialize, Validate)]
#[serde(rename_all = "snake_case")]
pub struct SearchMatrixRequest {
    #[serde(flatten)]
    #[validate(nested)]
    pub search_request: SearchMatrixRequestInternal,
    #[serde(default)]
    pub shard_key: Option<ShardKeySelector>,
}

#[derive(Debug, Deserialize, Validate)]
#[serde(rename_all = "snake_case")]
pub struct SearchMatrixRequestInternal {
    #[validate(nested)]
    pub filter: Option<Filter>,
    #[validate(range(min = 2))]
    pub sample: Option<usize>,
    #[validate(range(min = 1))]
    pub limit: Option<usize>,
    pub using: Option<String>,
}

#[derive(Debug, Default, PartialEq, Serialize)]
pub struct SearchMatrixOffsets {
    pub offsets_row: Vec<usize>,
    pub offsets_col: Vec<usize>,
    pub scores: Vec<f32>,
    pub ids: Vec<PointId>,
}

#[derive(Debug, Default, PartialEq, Serialize)]
pub struct SearchMatrixPairs {
    pub pairs: Vec<SearchMatrixPair>,
}

#[derive(Debug, PartialEq, Serialize)]
pub struct SearchMatrixPair {
    pub a: PointId,
    pub b: PointId,
    pub score: f32,
}

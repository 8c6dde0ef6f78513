//! The request, and the prefetches that it rests on.
//!
//! The names of the flattened parts (`internal`, `search_group_request`) are in Qdrant's texts.

use qdrant_edge::{Filter, JsonPath, SearchParams, WithPayloadInterface, WithVector};
use serde::Deserialize;
use validator::Validate;

use super::kinds::QueryInterface;
use super::quick;
use crate::wire::rest::lookup::{LookupLocation, WithLookupInterface};
use crate::wire::rest::one_or_many::one_or_many;
use crate::wire::rest::shard_key::ShardKeySelector;

#[derive(Debug, Deserialize, Validate)]
pub struct QueryRequestInternal {
    #[validate(nested)]
    #[serde(default, deserialize_with = "one_or_many")]
    pub prefetch: Option<Vec<Prefetch>>,
    #[validate(nested)]
    pub query: Option<QueryInterface>,
    pub using: Option<String>,
    #[validate(nested)]
    pub filter: Option<Filter>,
    #[validate(nested)]
    pub params: Option<SearchParams>,
    pub score_threshold: Option<f32>,
    #[validate(range(min = 1))]
    pub limit: Option<usize>,
    pub offset: Option<usize>,
    #[serde(alias = "with_vectors")]
    pub with_vector: Option<WithVector>,
    pub with_payload: Option<WithPayloadInterface>,
    #[serde(default)]
    pub lookup_from: Option<LookupLocation>,
}

#[derive(Debug, Deserialize, Validate)]
pub struct QueryRequest {
    #[validate(nested)]
    #[serde(flatten)]
    pub internal: QueryRequestInternal,
    pub shard_key: Option<ShardKeySelector>,
}

#[derive(Debug, Deserialize, Validate)]
pub struct QueryRequestBatch {
    #[validate(nested)]
    pub searches: Vec<QueryRequest>,
}

impl QueryRequest {
    /// As its `Deserialize` reads it, and in most cases several times as fast.
    pub fn from_json(body: &[u8]) -> serde_json::Result<Self> {
        match quick::read(body) {
            Some(plain) => Ok(plain),
            None => serde_json::from_slice(body),
        }
    }
}

impl QueryRequestBatch {
    /// The same of a batch.
    pub fn from_json(body: &[u8]) -> serde_json::Result<Self> {
        match quick::read_batch(body) {
            Some(plain) => Ok(plain),
            None => serde_json::from_slice(body),
        }
    }
}

#[derive(Debug, Deserialize, Validate)]
pub struct Prefetch {
    #[validate(nested)]
    #[serde(default, deserialize_with = "one_or_many")]
    pub prefetch: Option<Vec<Prefetch>>,
    #[validate(nested)]
    pub query: Option<QueryInterface>,
    pub using: Option<String>,
    #[validate(nested)]
    pub filter: Option<Filter>,
    #[validate(nested)]
    pub params: Option<SearchParams>,
    pub score_threshold: Option<f32>,
    #[validate(range(min = 1))]
    pub limit: Option<usize>,
    #[serde(default)]
    pub lookup_from: Option<LookupLocation>,
}

#[derive(Debug, Deserialize, Validate)]
pub struct QueryBaseGroupRequest {
    pub group_by: JsonPath,
    #[validate(range(min = 1))]
    pub group_size: Option<usize>,
    #[validate(range(min = 1))]
    pub limit: Option<usize>,
    pub with_lookup: Option<WithLookupInterface>,
}

#[derive(Debug, Deserialize, Validate)]
pub struct QueryGroupsRequestInternal {
    #[validate(nested)]
    #[serde(default, deserialize_with = "one_or_many")]
    pub prefetch: Option<Vec<Prefetch>>,
    #[validate(nested)]
    pub query: Option<QueryInterface>,
    pub using: Option<String>,
    #[validate(nested)]
    pub filter: Option<Filter>,
    #[validate(nested)]
    pub params: Option<SearchParams>,
    pub score_threshold: Option<f32>,
    pub with_vector: Option<WithVector>,
    pub with_payload: Option<WithPayloadInterface>,
    #[serde(default)]
    pub lookup_from: Option<LookupLocation>,
    #[serde(flatten)]
    #[validate(nested)]
    pub group_request: QueryBaseGroupRequest,
}

#[derive(Debug, Deserialize, Validate)]
pub struct QueryGroupsRequest {
    #[validate(nested)]
    #[serde(flatten)]
    pub search_group_request: QueryGroupsRequestInternal,
    pub shard_key: Option<ShardKeySelector>,
}

#[cfg(test)]
mod tests;

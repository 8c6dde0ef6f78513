//! The older calls: search, recommend, discover, with their batches and groups.

use qdrant_edge::{Filter, JsonPath, SearchParams, SparseVector, WithPayloadInterface, WithVector};
use serde::Deserialize;
use validator::{Validate, ValidationErrors};

use super::lookup::WithLookupInterface;
use super::shard_key::ShardKeySelector;

#[derive(Debug, Deserialize, Validate)]
#[serde(rename_all = "snake_case")]
pub struct SearchRequest {
    #[serde(flatten)]
    #[validate(nested)]
    pub search_request: SearchRequestInternal,
    #[serde(default)]
    pub shard_key: Option<ShardKeySelector>,
}

#[derive(Debug, Deserialize, Validate)]
#[serde(rename_all = "snake_case")]
pub struct SearchRequestInternal {
    #[validate(nested)]
    pub vector: NamedVectorStruct,
    #[validate(nested)]
    pub filter: Option<Filter>,
    #[validate(nested)]
    pub params: Option<SearchParams>,
    #[serde(alias = "top")]
    #[validate(range(min = 1))]
    pub limit: usize,
    pub offset: Option<usize>,
    pub with_payload: Option<WithPayloadInterface>,
    #[serde(default, alias = "with_vectors")]
    pub with_vector: Option<WithVector>,
    pub score_threshold: Option<f32>,
}

#[derive(Debug, Deserialize, Validate)]
#[serde(rename_all = "snake_case")]
pub struct SearchRequestBatch {
    #[validate(nested)]
    pub searches: Vec<SearchRequest>,
}

#[derive(Debug, Deserialize, Validate)]
pub struct SearchGroupsRequest {
    #[serde(flatten)]
    #[validate(nested)]
    pub search_group_request: SearchGroupsRequestInternal,
    #[serde(default)]
    pub shard_key: Option<ShardKeySelector>,
}

#[derive(Debug, Deserialize, Validate)]
pub struct SearchGroupsRequestInternal {
    #[validate(nested)]
    pub vector: NamedVectorStruct,
    #[validate(nested)]
    pub filter: Option<Filter>,
    #[validate(nested)]
    pub params: Option<SearchParams>,
    pub with_payload: Option<WithPayloadInterface>,
    #[serde(default, alias = "with_vectors")]
    pub with_vector: Option<WithVector>,
    pub score_threshold: Option<f32>,
    #[serde(flatten)]
    #[validate(nested)]
    pub group_request: BaseGroupRequest,
}

#[derive(Debug, Deserialize, Validate)]
pub struct BaseGroupRequest {
    pub group_by: JsonPath,
    #[validate(range(min = 1))]
    pub group_size: u32,
    #[validate(range(min = 1))]
    pub limit: u32,
    pub with_lookup: Option<WithLookupInterface>,
}

/// The vector to search with: bare for the unnamed one, else with its name.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
#[serde(untagged)]
pub enum NamedVectorStruct {
    Default(Vec<f32>),
    Dense(NamedVector),
    Sparse(NamedSparseVector),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub struct NamedVector {
    pub name: String,
    pub vector: Vec<f32>,
}

#[derive(Debug, Deserialize, Validate)]
#[serde(rename_all = "snake_case")]
pub struct NamedSparseVector {
    pub name: String,
    #[validate(nested)]
    pub vector: SparseVector,
}

impl Validate for NamedVectorStruct {
    fn validate(&self) -> Result<(), ValidationErrors> {
        match self {
            Self::Default(_) | Self::Dense(_) => Ok(()),
            Self::Sparse(sparse) => sparse.validate(),
        }
    }
}

#[cfg(test)]
mod tests;

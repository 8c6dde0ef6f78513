//! Requests that read points without ranking them.

use qdrant_edge::{
    CountRequest, FacetRequest, Filter, JsonPath, PointId, ScrollRequest, WithPayloadInterface,
    WithVector,
};
use serde::Deserialize;
use validator::Validate;

use super::shard_key::ShardKeySelector;

/// How many values a facet lists unless told.
const FACET_HITS: usize = 10;

/// `GetPoints`: points by their ids.
#[derive(Clone, Debug, Deserialize, Validate)]
#[serde(expecting = "struct PointRequest")]
pub struct RetrievePoints {
    #[serde(flatten)]
    #[validate(nested)]
    pub point_request: RetrieveInternal,
    pub shard_key: Option<ShardKeySelector>,
}

#[derive(Clone, Debug, Deserialize, Validate)]
pub struct RetrieveInternal {
    pub ids: Vec<PointId>,
    pub with_payload: Option<WithPayloadInterface>,
    #[serde(default, alias = "with_vectors")]
    pub with_vector: WithVector,
}

#[derive(Clone, Debug, Deserialize, Validate)]
#[serde(expecting = "struct ScrollRequest")]
pub struct ScrollPoints {
    #[serde(flatten)]
    #[validate(nested)]
    pub scroll_request: ScrollRequest,
    pub shard_key: Option<ShardKeySelector>,
}

#[derive(Clone, Debug, Deserialize, Validate)]
#[serde(expecting = "struct CountRequest")]
pub struct CountPoints {
    #[serde(flatten)]
    #[validate(nested)]
    pub count_request: CountRequest,
    pub shard_key: Option<ShardKeySelector>,
}

#[derive(Clone, Debug, Deserialize, Validate)]
#[serde(expecting = "struct FacetRequest")]
pub struct FacetPoints {
    #[serde(flatten)]
    #[validate(nested)]
    pub facet_request: FacetInternal,
    pub shard_key: Option<ShardKeySelector>,
}

#[derive(Clone, Debug, Deserialize, Validate)]
pub struct FacetInternal {
    pub key: JsonPath,
    #[validate(range(min = 1))]
    pub limit: Option<usize>,
    #[validate(nested)]
    pub filter: Option<Filter>,
    pub exact: Option<bool>,
}

impl From<FacetInternal> for FacetRequest {
    fn from(request: FacetInternal) -> Self {
        Self {
            key: request.key,
            limit: request.limit.unwrap_or(FACET_HITS),
            filter: request.filter,
            exact: request.exact.unwrap_or(false),
        }
    }
}

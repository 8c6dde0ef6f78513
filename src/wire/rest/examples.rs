//! The older calls that search by examples: recommend and discover.

use qdrant_edge::{Filter, PointId, SearchParams, SparseVector, WithPayloadInterface, WithVector};
use serde::Deserialize;
use validator::{Validate, ValidationErrors};

use super::lookup::LookupLocation;
use super::query::RecommendStrategy;
use super::search::BaseGroupRequest;
use super::shard_key::ShardKeySelector;

/// A point of the collection, or a vector.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum RecommendExample {
    PointId(PointId),
    Dense(Vec<f32>),
    Sparse(SparseVector),
}

impl RecommendExample {
    pub fn id(&self) -> Option<PointId> {
        match self {
            Self::PointId(id) => Some(*id),
            Self::Dense(_) | Self::Sparse(_) => None,
        }
    }
}

impl Validate for RecommendExample {
    fn validate(&self) -> Result<(), ValidationErrors> {
        match self {
            Self::PointId(_) | Self::Dense(_) => Ok(()),
            Self::Sparse(sparse) => sparse.validate(),
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case", untagged)]
pub enum UsingVector {
    Name(String),
}

impl UsingVector {
    pub fn into_name(self) -> String {
        let Self::Name(name) = self;
        name
    }
}

#[derive(Debug, Deserialize, Validate)]
#[serde(rename_all = "snake_case")]
pub struct RecommendRequest {
    #[serde(flatten)]
    #[validate(nested)]
    pub recommend_request: RecommendRequestInternal,
    #[serde(default)]
    pub shard_key: Option<ShardKeySelector>,
}

#[derive(Debug, Deserialize, Validate)]
#[serde(rename_all = "snake_case")]
pub struct RecommendRequestInternal {
    #[serde(default)]
    #[validate(nested)]
    pub positive: Vec<RecommendExample>,
    #[serde(default)]
    #[validate(nested)]
    pub negative: Vec<RecommendExample>,
    pub strategy: Option<RecommendStrategy>,
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
    #[serde(default)]
    pub using: Option<UsingVector>,
    #[serde(default)]
    pub lookup_from: Option<LookupLocation>,
}

#[derive(Debug, Deserialize, Validate)]
#[serde(rename_all = "snake_case")]
pub struct RecommendRequestBatch {
    #[validate(nested)]
    pub searches: Vec<RecommendRequest>,
}

#[derive(Debug, Deserialize, Validate)]
#[serde(rename_all = "snake_case")]
pub struct RecommendGroupsRequest {
    #[serde(flatten)]
    #[validate(nested)]
    pub recommend_group_request: RecommendGroupsRequestInternal,
    #[serde(default)]
    pub shard_key: Option<ShardKeySelector>,
}

/// Group sizes are not checked here: Qdrant takes one of 0.
#[derive(Debug, Deserialize, Validate)]
pub struct RecommendGroupsRequestInternal {
    #[serde(default)]
    #[validate(nested)]
    pub positive: Vec<RecommendExample>,
    #[serde(default)]
    #[validate(nested)]
    pub negative: Vec<RecommendExample>,
    #[serde(default)]
    pub strategy: Option<RecommendStrategy>,
    #[validate(nested)]
    pub filter: Option<Filter>,
    #[validate(nested)]
    pub params: Option<SearchParams>,
    pub with_payload: Option<WithPayloadInterface>,
    #[serde(default, alias = "with_vectors")]
    pub with_vector: Option<WithVector>,
    pub score_threshold: Option<f32>,
    #[serde(default)]
    pub using: Option<UsingVector>,
    #[serde(default)]
    pub lookup_from: Option<LookupLocation>,
    #[serde(flatten)]
    pub group_request: BaseGroupRequest,
}

#[derive(Debug, Deserialize, Validate)]
pub struct DiscoverRequest {
    #[serde(flatten)]
    #[validate(nested)]
    pub discover_request: DiscoverRequestInternal,
    #[serde(default)]
    pub shard_key: Option<ShardKeySelector>,
}

#[derive(Debug, Deserialize, Validate)]
pub struct DiscoverRequestInternal {
    #[validate(nested)]
    pub target: Option<RecommendExample>,
    #[validate(nested)]
    pub context: Option<Vec<ContextExamplePair>>,
    #[validate(nested)]
    pub filter: Option<Filter>,
    #[validate(nested)]
    pub params: Option<SearchParams>,
    #[serde(alias = "top")]
    #[validate(range(min = 1))]
    pub limit: usize,
    pub offset: Option<usize>,
    pub with_payload: Option<WithPayloadInterface>,
    pub with_vector: Option<WithVector>,
    #[serde(default)]
    pub using: Option<UsingVector>,
    #[serde(default)]
    pub lookup_from: Option<LookupLocation>,
}

#[derive(Debug, Deserialize, Validate)]
pub struct DiscoverRequestBatch {
    #[validate(nested)]
    pub searches: Vec<DiscoverRequest>,
}

#[derive(Clone, Debug, Deserialize, Validate)]
pub struct ContextExamplePair {
    #[validate(nested)]
    pub positive: RecommendExample,
    #[validate(nested)]
    pub negative: RecommendExample,
}

//! The request and reply types of Qdrant's REST API.
//!
//! Where `qdrant-edge` carries Qdrant's own type, that is the type. What it lacks stands here in
//! the same shape, with the same serde attributes, in the same order: `serde_json` then words its
//! errors as Qdrant does, down to line and column. Rules are `validator`'s, described as Qdrant
//! describes them (`refuse::validation`).

mod alias;
mod collection;
mod collection_requests;
mod config_diff;
mod describe;
pub mod examples;
mod index;
pub mod inference;
pub mod lookup;
pub mod matrix;
mod one_or_many;
pub mod output;
pub mod path;
pub mod points;
pub mod query;
mod reads;
pub mod refuse;
pub mod rules;
pub mod search;
pub mod shard_key;
pub mod snapshot;
mod strict_mode;
mod update_result;
mod vector_params;

pub use alias::{AliasDescription, AliasOperations, ChangeAliasesOperation};
pub use collection::{
    CollectionConfig, CollectionParams, OptimizersConfig, ShardingMethod, UNNAMED, VectorKind,
    WalConfig,
};
pub use collection_requests::{CreateCollection, UpdateCollection};
pub use config_diff::HnswConfigDiff;
pub use index::CreateFieldIndex;
pub use lookup::LookupLocation;
pub use query::VectorInput;
pub use reads::{CountPoints, FacetPoints, RetrievePoints, ScrollPoints};
pub use shard_key::ShardKeySelector;
pub use strict_mode::StrictModeConfig;
pub use update_result::{UpdateResult, UpdateStatus};
pub use vector_params::{SparseIndexParams, SparseVectorParams, VectorParams, VectorsConfig};

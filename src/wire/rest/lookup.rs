//! Points in other collections: vectors to search with, records to show beside a group.

use qdrant_edge::{WithPayloadInterface, WithVector};
use serde::Deserialize;

use super::shard_key::ShardKeySelector;

/// Where the vectors of ids are looked up.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub struct LookupLocation {
    pub collection: String,
    #[serde(default)]
    pub vector: Option<String>,
    #[serde(default)]
    pub shard_key: Option<ShardKeySelector>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct WithLookup {
    #[serde(rename = "collection")]
    pub collection_name: String,
    #[serde(default = "whole_payload")]
    pub with_payload: Option<WithPayloadInterface>,
    #[serde(alias = "with_vector")]
    #[serde(default)]
    pub with_vectors: Option<WithVector>,
}

#[expect(clippy::unnecessary_wraps, reason = "a default for serde")]
fn whole_payload() -> Option<WithPayloadInterface> {
    Some(WithPayloadInterface::Bool(true))
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum WithLookupInterface {
    Collection(String),
    WithLookup(WithLookup),
}

impl From<WithLookupInterface> for WithLookup {
    fn from(written: WithLookupInterface) -> Self {
        match written {
            WithLookupInterface::Collection(collection_name) => Self {
                collection_name,
                with_payload: whole_payload(),
                with_vectors: None,
            },
            WithLookupInterface::WithLookup(lookup) => lookup,
        }
    }
}

//! The request that makes a payload index.

use qdrant_edge::{JsonPath, PayloadFieldSchema};
use serde::Deserialize;
use validator::Validate;

#[derive(Clone, Debug, Deserialize, Validate)]
#[serde(rename_all = "snake_case")]
pub struct CreateFieldIndex {
    pub field_name: JsonPath,
    #[serde(alias = "field_type")]
    #[validate(nested)]
    pub field_schema: Option<PayloadFieldSchema>,
}

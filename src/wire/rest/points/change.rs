//! Writes to points that are there: deletions, payloads, vectors.

use std::collections::HashSet;
use std::fmt;

use qdrant_edge::{Filter, JsonPath, Payload, PointId};
use serde::Deserialize;
use validator::{Validate, ValidationError, ValidationErrors};

use super::insert::PointVectors;
use crate::wire::rest::rules;
use crate::wire::rest::shard_key::ShardKeySelector;

#[derive(Clone, Debug, Deserialize, Validate)]
pub struct PointIdsList {
    pub points: Vec<PointId>,
    #[serde(default)]
    pub shard_key: Option<ShardKeySelector>,
}

/// Its filter keeps no rules: Qdrant takes conditions here that it refuses everywhere else.
#[derive(Clone, Debug, Deserialize, Validate)]
pub struct FilterSelector {
    pub filter: Filter,
    #[serde(default)]
    pub shard_key: Option<ShardKeySelector>,
}

/// In the order in which the forms are tried: ids win over a filter beside them.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum PointsSelector {
    PointIdsSelector(PointIdsList),
    FilterSelector(FilterSelector),
}

impl PointsSelector {
    pub fn filter(&self) -> Option<&Filter> {
        match self {
            Self::PointIdsSelector(_) => None,
            Self::FilterSelector(by) => Some(&by.filter),
        }
    }

    pub fn shard_key(&self) -> Option<&ShardKeySelector> {
        match self {
            Self::PointIdsSelector(ids) => ids.shard_key.as_ref(),
            Self::FilterSelector(by) => by.shard_key.as_ref(),
        }
    }
}

impl Validate for PointsSelector {
    fn validate(&self) -> Result<(), ValidationErrors> {
        match self {
            Self::PointIdsSelector(ids) => ids.validate(),
            Self::FilterSelector(filter) => filter.validate(),
        }
    }
}

/// `PUT` and `POST` `…/points/payload`. Has `points` or `filter`.
#[derive(Clone, Debug, Deserialize, Validate)]
#[serde(try_from = "SetPayloadShadow")]
pub struct SetPayload {
    pub payload: Payload,
    pub points: Option<Vec<PointId>>,
    #[validate(nested)]
    pub filter: Option<Filter>,
    pub shard_key: Option<ShardKeySelector>,
    pub key: Option<JsonPath>,
}

#[derive(Deserialize)]
struct SetPayloadShadow {
    payload: Payload,
    points: Option<Vec<PointId>>,
    filter: Option<Filter>,
    shard_key: Option<ShardKeySelector>,
    key: Option<JsonPath>,
}

/// Has `points` or `filter`.
#[derive(Clone, Debug, Deserialize, Validate)]
#[serde(try_from = "DeletePayloadShadow")]
pub struct DeletePayload {
    pub keys: Vec<JsonPath>,
    pub points: Option<Vec<PointId>>,
    #[validate(nested)]
    pub filter: Option<Filter>,
    pub shard_key: Option<ShardKeySelector>,
}

#[derive(Deserialize)]
struct DeletePayloadShadow {
    keys: Vec<JsonPath>,
    points: Option<Vec<PointId>>,
    filter: Option<Filter>,
    shard_key: Option<ShardKeySelector>,
}

/// Neither points nor a filter are given.
struct NothingSelected;

impl fmt::Display for NothingSelected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Either list of point ids or filter must be provided")
    }
}

impl TryFrom<SetPayloadShadow> for SetPayload {
    type Error = NothingSelected;

    fn try_from(shadow: SetPayloadShadow) -> Result<Self, Self::Error> {
        if shadow.points.is_none() && shadow.filter.is_none() {
            return Err(NothingSelected);
        }
        Ok(Self {
            payload: shadow.payload,
            points: shadow.points,
            filter: shadow.filter,
            shard_key: shadow.shard_key,
            key: shadow.key,
        })
    }
}

impl TryFrom<DeletePayloadShadow> for DeletePayload {
    type Error = NothingSelected;

    fn try_from(shadow: DeletePayloadShadow) -> Result<Self, Self::Error> {
        if shadow.points.is_none() && shadow.filter.is_none() {
            return Err(NothingSelected);
        }
        Ok(Self {
            keys: shadow.keys,
            points: shadow.points,
            filter: shadow.filter,
            shard_key: shadow.shard_key,
        })
    }
}

#[derive(Clone, Debug, Deserialize)]
pub struct UpdateVectors {
    pub points: Vec<PointVectors>,
    #[serde(default)]
    pub shard_key: Option<ShardKeySelector>,
    #[serde(default)]
    pub update_filter: Option<Filter>,
}

/// Not derived: the derived form would copy all points into the error.
impl Validate for UpdateVectors {
    fn validate(&self) -> Result<(), ValidationErrors> {
        let mut errors = ValidationErrors::new();
        if self.points.is_empty() {
            let fault = rules::said("length", "must specify points to update");
            errors.add("points", fault);
        } else {
            errors.merge_self("points", self.points.validate());
        }
        if let Some(filter) = &self.update_filter {
            errors.merge_self("update_filter", filter.validate());
        }
        if errors.is_empty() {
            Ok(())
        } else {
            Err(errors)
        }
    }
}

/// With both `points` and `filter`, both are done.
#[derive(Clone, Debug, Deserialize, Validate)]
pub struct DeleteVectors {
    pub points: Option<Vec<PointId>>,
    #[validate(nested)]
    pub filter: Option<Filter>,
    #[serde(alias = "vectors")]
    #[validate(custom(function = "some_names"))]
    pub vector: HashSet<String>,
    #[serde(default)]
    pub shard_key: Option<ShardKeySelector>,
}

fn some_names(names: &HashSet<String>) -> Result<(), ValidationError> {
    if names.is_empty() {
        return Err(rules::said("length", "must specify vector names to delete"));
    }
    Ok(())
}

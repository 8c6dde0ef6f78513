//! Upserts: points in a list or in columns, and new vectors for points that are there.

use qdrant_edge::{
    Filter, Payload, PointId, PointStructPersisted, PointVectorsPersisted, UpdateMode,
};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use validator::{Validate, ValidationErrors};

use super::columns::Batch;
use super::quick;
use super::vector::{Size, VectorStruct, sizes_fit};
use crate::error::Result;
use crate::wire::rest::inference::{Embedder, Input, Purpose, all_local};
use crate::wire::rest::shard_key::ShardKeySelector;
use crate::wire::rest::{CollectionConfig, refuse, rules};

#[derive(Clone, Debug, Deserialize, PartialEq, Validate)]
pub struct PointStruct {
    pub id: PointId,
    #[serde(alias = "vectors")]
    #[validate(nested)]
    pub vector: VectorStruct,
    pub payload: Option<Payload>,
}

#[derive(Clone, Debug, Deserialize, Validate)]
pub struct PointsList {
    #[validate(nested)]
    pub points: Vec<PointStruct>,
    #[serde(default)]
    pub shard_key: Option<ShardKeySelector>,
    #[serde(default)]
    #[validate(nested)]
    pub update_filter: Option<Filter>,
    #[serde(default)]
    pub update_mode: Option<UpdateMode>,
}

#[derive(Clone, Debug, Deserialize, Validate)]
pub struct PointsBatch {
    #[validate(nested)]
    pub batch: Batch,
    #[serde(default)]
    pub shard_key: Option<ShardKeySelector>,
    #[serde(default)]
    #[validate(nested)]
    pub update_filter: Option<Filter>,
    #[serde(default)]
    pub update_mode: Option<UpdateMode>,
}

#[derive(Clone, Debug)]
pub enum PointInsertOperations {
    PointsBatch(PointsBatch),
    PointsList(PointsList),
}

/// Which of the two it is, is decided by the keys that are there. Going through a `Value`, as
/// Qdrant does, costs the errors their place and lets the last of two equal keys win.
impl<'de> Deserialize<'de> for PointInsertOperations {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let has = |key| value.get(key).is_some() && value.is_object();
        if has("batch") {
            let batch = PointsBatch::deserialize(value).map_err(D::Error::custom)?;
            Ok(Self::PointsBatch(batch))
        } else if has("points") {
            let list = PointsList::deserialize(value).map_err(D::Error::custom)?;
            Ok(Self::PointsList(list))
        } else {
            Err(D::Error::custom("Invalid PointInsertOperations format"))
        }
    }
}

impl Validate for PointInsertOperations {
    fn validate(&self) -> Result<(), ValidationErrors> {
        match self {
            Self::PointsBatch(batch) => batch.validate(),
            Self::PointsList(list) => list.validate(),
        }
    }
}

impl PointInsertOperations {
    /// As its `Deserialize` reads it, and in most cases several times as fast.
    pub fn from_json(body: &[u8]) -> serde_json::Result<Self> {
        match quick::read(body) {
            Some(plain) => Ok(plain),
            None => serde_json::from_slice(body),
        }
    }

    pub fn len(&self) -> usize {
        match self {
            Self::PointsBatch(batch) => batch.batch.ids.len(),
            Self::PointsList(list) => list.points.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn shard_key(&self) -> Option<&ShardKeySelector> {
        match self {
            Self::PointsBatch(batch) => batch.shard_key.as_ref(),
            Self::PointsList(list) => list.shard_key.as_ref(),
        }
    }

    pub fn update_filter(&self) -> Option<&Filter> {
        match self {
            Self::PointsBatch(batch) => batch.update_filter.as_ref(),
            Self::PointsList(list) => list.update_filter.as_ref(),
        }
    }

    pub fn update_mode(&self) -> Option<UpdateMode> {
        match self {
            Self::PointsBatch(batch) => batch.update_mode,
            Self::PointsList(list) => list.update_mode,
        }
    }

    /// Whether vectors have to be made of something first.
    pub fn needs_models(&self) -> bool {
        match self {
            Self::PointsBatch(batch) => batch.batch.vectors.needs_models(),
            Self::PointsList(list) => {
                let mut points = list.points.iter();
                points.any(|point| point.vector.inputs().next().is_some())
            }
        }
    }

    /// How much there is under each name of each point.
    pub fn sizes(&self) -> Box<dyn Iterator<Item = (&str, Size)> + '_> {
        match self {
            Self::PointsBatch(batch) => Box::new(batch.batch.vectors.sizes()),
            Self::PointsList(list) => {
                Box::new(list.points.iter().flat_map(|point| point.vector.sizes()))
            }
        }
    }

    /// The points as the engine takes them: vectors made, sizes checked, and a payload for each,
    /// because an upsert replaces what was there, with nothing if nothing is given.
    pub fn into_points(self, config: &CollectionConfig) -> Result<Vec<PointStructPersisted>> {
        let points = match self {
            Self::PointsBatch(batch) => batch.batch.into_points(config)?,
            Self::PointsList(list) => {
                all_local(list.points.iter().flat_map(|point| point.vector.inputs()))?;
                let mut embedder = Embedder::new(Purpose::Update);
                let convert = |point: PointStruct| {
                    Ok(PointStructPersisted {
                        id: point.id,
                        vector: point.vector.into_persisted(config, &mut embedder)?,
                        payload: Some(point.payload.unwrap_or_default()),
                    })
                };
                list.points
                    .into_iter()
                    .map(convert)
                    .collect::<Result<_>>()?
            }
        };
        points
            .iter()
            .try_for_each(|point| sizes_fit(&point.vector, config))?;
        Ok(points)
    }
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct PointVectors {
    pub id: PointId,
    #[serde(alias = "vectors")]
    pub vector: VectorStruct,
}

/// What is wrong inside the vectors is told without their field's name, as Qdrant tells it.
impl Validate for PointVectors {
    fn validate(&self) -> Result<(), ValidationErrors> {
        if !self.vector.is_empty() {
            return self.vector.validate();
        }
        let mut errors = ValidationErrors::new();
        let fault = rules::said("length", "must specify vectors to update for point");
        errors.add("vector", fault);
        Err(errors)
    }
}

impl PointVectors {
    /// As the engine takes them. Names, kinds and sizes are the engine's to check.
    pub fn all_into_persisted(
        points: Vec<Self>,
        config: &CollectionConfig,
    ) -> Result<Vec<PointVectorsPersisted>> {
        let named = points.iter().filter_map(|point| match &point.vector {
            VectorStruct::Named(_) => Some(point.vector.inputs()),
            VectorStruct::Single(_)
            | VectorStruct::MultiDense(_)
            | VectorStruct::Document(_)
            | VectorStruct::Image(_)
            | VectorStruct::Object(_) => None,
        });
        all_local(named.flatten())?;
        let mut embedder = Embedder::new(Purpose::Update);
        let convert = |point: Self| {
            if let Some(input) = unnamed_input(&point.vector) {
                let what = match input {
                    Input::Document(_) => "Document",
                    Input::Image(_) => "Image",
                    Input::Object(_) => "Object",
                };
                let text = format!("{what} processing is not supported for point vectors.");
                return Err(refuse::inference_error(&text));
            }
            Ok(PointVectorsPersisted {
                id: point.id,
                vector: point.vector.into_persisted(config, &mut embedder)?,
            })
        };
        points.into_iter().map(convert).collect()
    }
}

fn unnamed_input(vectors: &VectorStruct) -> Option<Input<'_>> {
    match vectors {
        VectorStruct::Document(document) => Some(Input::Document(document)),
        VectorStruct::Image(image) => Some(Input::Image(image)),
        VectorStruct::Object(object) => Some(Input::Object(object)),
        VectorStruct::Single(_) | VectorStruct::MultiDense(_) | VectorStruct::Named(_) => None,
    }
}

//! The vectors of a collection: what they are and how they are kept.

use std::collections::BTreeMap;
use std::num::NonZeroU64;

use qdrant_edge::{
    Distance, Modifier, MultiVectorConfig, QuantizationConfig, VectorStorageDatatype,
};
use serde::{Deserialize, Deserializer, Serialize};
use validator::{Validate, ValidationError, ValidationErrors};

use super::collection::UNNAMED;
use super::config_diff::HnswConfigDiff;
use super::rules;

/// The most dimensions a dense vector has.
pub(super) const DIMENSIONS_MAX: u64 = 65_536;

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, Validate)]
#[serde(rename_all = "snake_case")]
pub struct VectorParams {
    #[validate(custom(function = "size_in_range"))]
    pub size: NonZeroU64,
    pub distance: Distance,
    #[serde(default, skip_serializing_if = "HnswConfigDiff::is_none_or_empty")]
    #[validate(nested)]
    pub hnsw_config: Option<HnswConfigDiff>,
    #[serde(
        default,
        alias = "quantization",
        skip_serializing_if = "Option::is_none"
    )]
    #[validate(nested)]
    pub quantization_config: Option<QuantizationConfig>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_disk: Option<bool>,
    #[serde(
        default,
        deserialize_with = "datatype",
        skip_serializing_if = "Option::is_none"
    )]
    pub datatype: Option<VectorStorageDatatype>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multivector_config: Option<MultiVectorConfig>,
}

impl VectorParams {
    /// The size as the engines count. Above `DIMENSIONS_MAX` nothing is accepted, so it fits.
    pub fn dimensions(&self) -> usize {
        usize::try_from(self.size.get()).unwrap_or(usize::MAX)
    }
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, Validate)]
#[serde(rename_all = "snake_case")]
pub struct SparseVectorParams {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[validate(nested)]
    pub index: Option<SparseIndexParams>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modifier: Option<Modifier>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize, Validate)]
#[serde(rename_all = "snake_case")]
pub struct SparseIndexParams {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub full_scan_threshold: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_disk: Option<bool>,
    #[serde(
        default,
        deserialize_with = "datatype",
        skip_serializing_if = "Option::is_none"
    )]
    #[validate(custom(function = "not_turbo"))]
    pub datatype: Option<VectorStorageDatatype>,
}

impl SparseIndexParams {
    /// Takes what `change` sets; what it leaves out stays.
    pub fn merge(&mut self, change: Self) {
        self.full_scan_threshold = change.full_scan_threshold.or(self.full_scan_threshold);
        self.on_disk = change.on_disk.or(self.on_disk);
        self.datatype = change.datatype.or(self.datatype);
    }
}

/// One vector without a name, or several with names (of which one may be `""`).
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", untagged)]
pub enum VectorsConfig {
    Single(VectorParams),
    Multi(BTreeMap<String, VectorParams>),
}

impl Default for VectorsConfig {
    fn default() -> Self {
        Self::Multi(BTreeMap::new())
    }
}

impl VectorsConfig {
    pub fn get(&self, name: &str) -> Option<&VectorParams> {
        match self {
            Self::Single(params) => (name == UNNAMED).then_some(params),
            Self::Multi(all) => all.get(name),
        }
    }

    pub fn get_mut(&mut self, name: &str) -> Option<&mut VectorParams> {
        match self {
            Self::Single(params) => (name == UNNAMED).then_some(params),
            Self::Multi(all) => all.get_mut(name),
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &VectorParams)> {
        let (single, named) = match self {
            Self::Single(params) => (Some((UNNAMED, params)), None),
            Self::Multi(all) => (None, Some(all)),
        };
        let named = named.into_iter().flatten();
        single
            .into_iter()
            .chain(named.map(|(name, params)| (name.as_str(), params)))
    }

    /// Adds a vector. One without a name is from then on shown under `""`.
    pub fn insert(&mut self, name: &str, params: VectorParams) {
        let mut all = match std::mem::take(self) {
            Self::Single(single) => BTreeMap::from([(UNNAMED.to_owned(), single)]),
            Self::Multi(all) => all,
        };
        all.insert(name.to_owned(), params);
        *self = Self::Multi(all);
    }

    pub fn remove(&mut self, name: &str) {
        match self {
            Self::Single(_) if name == UNNAMED => *self = Self::default(),
            Self::Single(_) => {}
            Self::Multi(all) => {
                all.remove(name);
            }
        }
    }
}

impl Validate for VectorsConfig {
    fn validate(&self) -> Result<(), ValidationErrors> {
        match self {
            Self::Single(params) => params.validate(),
            Self::Multi(all) => rules::each(all.values()),
        }
    }
}

/// The types in the order in which Qdrant lists them to one who names another.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Datatype {
    Float32,
    Uint8,
    Float16,
    Turbo4,
}

fn datatype<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<VectorStorageDatatype>, D::Error> {
    let named = Option::<Datatype>::deserialize(deserializer)?;
    Ok(named.map(|datatype| match datatype {
        Datatype::Float32 => VectorStorageDatatype::Float32,
        Datatype::Uint8 => VectorStorageDatatype::Uint8,
        Datatype::Float16 => VectorStorageDatatype::Float16,
        Datatype::Turbo4 => VectorStorageDatatype::Turbo4,
    }))
}

fn size_in_range(size: &NonZeroU64) -> Result<(), ValidationError> {
    rules::in_range(size.get(), 1, DIMENSIONS_MAX)
}

fn not_turbo(datatype: &VectorStorageDatatype) -> Result<(), ValidationError> {
    match datatype {
        VectorStorageDatatype::Turbo4 => Err(rules::said(
            "unsupported_sparse_datatype",
            "sparse vectors do not support the `turbo4` datatype",
        )),
        VectorStorageDatatype::Float32
        | VectorStorageDatatype::Float16
        | VectorStorageDatatype::Uint8 => Ok(()),
    }
}

//! What a collection is: its configuration, as `GET /collections/{c}` prints it.
//!
//! The same form is what an engine keeps on disk, so every field reads what it writes, and an
//! older file without a field reads as Qdrant's default.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use qdrant_edge::{HnswIndexConfig, Payload, QuantizationConfig};
use serde::{Deserialize, Serialize};
use validator::Validate;

use super::strict_mode::StrictModeConfig;
use super::vector_params::{SparseVectorParams, VectorParams, VectorsConfig};

/// The name of the vector of a collection that has one without a name.
pub const UNNAMED: &str = "";

/// A collection's whole configuration, defaults filled in.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct CollectionConfig {
    pub params: CollectionParams,
    pub hnsw_config: HnswIndexConfig,
    pub optimizer_config: OptimizersConfig,
    pub wal_config: WalConfig,
    #[serde(default)]
    pub quantization_config: Option<QuantizationConfig>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strict_mode_config: Option<StrictModeConfig>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Payload>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct CollectionParams {
    #[serde(default)]
    pub vectors: VectorsConfig,
    #[serde(default = "one")]
    pub shard_number: NonZeroU32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sharding_method: Option<ShardingMethod>,
    #[serde(default = "one")]
    pub replication_factor: NonZeroU32,
    #[serde(default = "one")]
    pub write_consistency_factor: NonZeroU32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_fan_out_factor: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_fan_out_delay_ms: Option<u64>,
    #[serde(default = "yes")]
    pub on_disk_payload: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sparse_vectors: Option<BTreeMap<String, SparseVectorParams>>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ShardingMethod {
    #[default]
    Auto,
    Custom,
}

/// Printed as `optimizer_config`, although asked for as `optimizers_config`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct OptimizersConfig {
    pub deleted_threshold: f64,
    pub vacuum_min_vector_number: usize,
    pub default_segment_number: usize,
    #[serde(default)]
    pub max_segment_size: Option<usize>,
    #[serde(default)]
    pub memmap_threshold: Option<usize>,
    #[serde(default)]
    pub indexing_threshold: Option<usize>,
    pub flush_interval_sec: u64,
    #[serde(default)]
    pub max_optimization_threads: Option<usize>,
    #[serde(default)]
    pub prevent_unoptimized: Option<bool>,
}

impl Default for OptimizersConfig {
    fn default() -> Self {
        Self {
            deleted_threshold: 0.2,
            vacuum_min_vector_number: 1000,
            default_segment_number: 0,
            max_segment_size: None,
            memmap_threshold: None,
            indexing_threshold: Some(10_000),
            flush_interval_sec: 5,
            max_optimization_threads: None,
            prevent_unoptimized: None,
        }
    }
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, Validate)]
pub struct WalConfig {
    #[validate(range(min = 1))]
    pub wal_capacity_mb: usize,
    pub wal_segments_ahead: usize,
    #[serde(default = "one_file")]
    #[validate(range(min = 1))]
    pub wal_retain_closed: usize,
}

impl Default for WalConfig {
    fn default() -> Self {
        Self {
            wal_capacity_mb: 32,
            wal_segments_ahead: 0,
            wal_retain_closed: 1,
        }
    }
}

/// One vector of a collection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum VectorKind<'c> {
    Dense(&'c VectorParams),
    Sparse(&'c SparseVectorParams),
}

impl VectorKind<'_> {
    /// Whether a point has several rows under this one name.
    pub fn is_multi(&self) -> bool {
        match self {
            Self::Dense(params) => params.multivector_config.is_some(),
            Self::Sparse(_) => false,
        }
    }
}

impl CollectionConfig {
    /// The vector called `name`; the one without a name is called `""`.
    pub fn vector(&self, name: &str) -> Option<VectorKind<'_>> {
        self.params.vector(name)
    }

    /// Names of all vectors, the dense ones first.
    pub fn vector_names(&self) -> impl Iterator<Item = &str> {
        self.vectors().map(|(name, _)| name)
    }

    /// All vectors, the dense ones first, each kind by name.
    pub fn vectors(&self) -> impl Iterator<Item = (&str, VectorKind<'_>)> {
        let dense = self.params.vectors.iter();
        let sparse = self.params.sparse_vectors.iter().flatten();
        dense
            .map(|(name, params)| (name, VectorKind::Dense(params)))
            .chain(sparse.map(|(name, params)| (name.as_str(), VectorKind::Sparse(params))))
    }

    /// There is one vector, and it has no name: requests and answers may leave the name out.
    pub fn is_single_unnamed(&self) -> bool {
        let mut names = self.vector_names();
        names.next() == Some(UNNAMED) && names.next().is_none()
    }

    /// Strict mode as far as it is switched on.
    pub fn strict_mode(&self) -> Option<&StrictModeConfig> {
        self.strict_mode_config
            .as_ref()
            .filter(|config| config.enabled == Some(true))
    }
}

impl CollectionParams {
    pub fn vector(&self, name: &str) -> Option<VectorKind<'_>> {
        let dense = self.vectors.get(name).map(VectorKind::Dense);
        dense.or_else(|| self.sparse(name).map(VectorKind::Sparse))
    }

    pub fn sparse(&self, name: &str) -> Option<&SparseVectorParams> {
        self.sparse_vectors.as_ref()?.get(name)
    }
}

pub(super) fn one() -> NonZeroU32 {
    NonZeroU32::MIN
}

fn one_file() -> usize {
    1
}

fn yes() -> bool {
    true
}

//! Requests that make collections, change them and their vectors.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use qdrant_edge::{HnswIndexConfig, Payload, QuantizationConfig};
use serde::Deserialize;
use validator::{Validate, ValidationErrors};

use super::collection::{
    CollectionConfig, CollectionParams, OptimizersConfig, ShardingMethod, WalConfig, one,
};
use super::config_diff::{
    CollectionParamsDiff, HnswConfigDiff, OptimizersConfigDiff, QuantizationConfigDiff,
    WalConfigDiff,
};
use super::strict_mode::StrictModeConfig;
use super::vector_params::{SparseVectorParams, VectorsConfig};
use super::{refuse, rules};
use crate::error::Result;

#[derive(Clone, Debug, Deserialize, Validate)]
#[serde(rename_all = "snake_case")]
pub struct CreateCollection {
    #[serde(default)]
    #[validate(nested)]
    pub vectors: VectorsConfig,
    #[serde(default)]
    #[validate(range(min = 1))]
    pub shard_number: Option<u32>,
    #[serde(default)]
    pub sharding_method: Option<ShardingMethod>,
    #[serde(default)]
    #[validate(range(min = 1))]
    pub replication_factor: Option<u32>,
    #[serde(default)]
    #[validate(range(min = 1))]
    pub write_consistency_factor: Option<u32>,
    #[serde(default)]
    pub on_disk_payload: Option<bool>,
    #[validate(nested)]
    pub hnsw_config: Option<HnswConfigDiff>,
    #[validate(nested)]
    pub wal_config: Option<WalConfigDiff>,
    #[serde(alias = "optimizer_config")]
    #[validate(nested)]
    pub optimizers_config: Option<OptimizersConfigDiff>,
    #[serde(default, alias = "quantization")]
    #[validate(nested)]
    pub quantization_config: Option<QuantizationConfig>,
    #[validate(nested)]
    pub sparse_vectors: Option<BTreeMap<String, SparseVectorParams>>,
    #[validate(nested)]
    pub strict_mode_config: Option<StrictModeConfig>,
    #[serde(default)]
    pub metadata: Option<Payload>,
}

impl CreateCollection {
    /// The configuration with Qdrant's defaults in the places left open, or what is wrong with
    /// the names of the vectors.
    pub fn into_config(self) -> Result<CollectionConfig> {
        self.check_names()?;
        let number = |given: Option<u32>| given.and_then(NonZeroU32::new).unwrap_or_else(one);
        let hnsw = self.hnsw_config.unwrap_or_default();
        let mut optimizer_config = OptimizersConfig::default();
        self.optimizers_config
            .unwrap_or_default()
            .apply(&mut optimizer_config);
        let mut wal_config = WalConfig::default();
        self.wal_config.unwrap_or_default().apply(&mut wal_config);
        Ok(CollectionConfig {
            params: CollectionParams {
                vectors: self.vectors,
                shard_number: number(self.shard_number),
                sharding_method: self.sharding_method,
                replication_factor: number(self.replication_factor),
                write_consistency_factor: number(self.write_consistency_factor),
                read_fan_out_factor: None,
                read_fan_out_delay_ms: None,
                on_disk_payload: self.on_disk_payload.unwrap_or(true),
                sparse_vectors: self.sparse_vectors,
            },
            hnsw_config: hnsw.applied_to(&HnswIndexConfig::default()),
            optimizer_config,
            wal_config,
            quantization_config: self.quantization_config,
            strict_mode_config: self.strict_mode_config,
            metadata: self.metadata,
        })
    }

    fn check_names(&self) -> Result<()> {
        for (name, _) in self.vectors.iter() {
            check_name("dense", name)?;
        }
        for name in self.sparse_vectors.iter().flat_map(BTreeMap::keys) {
            if name.is_empty() {
                return Err(refuse::wrong_input("Sparse vector name cannot be empty"));
            }
            check_name("sparse", name)?;
            if self.vectors.get(name).is_some() {
                return Err(refuse::wrong_input(&format!(
                    "Dense and sparse vector names must be unique - duplicate found with '{name}'"
                )));
            }
        }
        Ok(())
    }
}

fn check_name(kind: &str, name: &str) -> Result<()> {
    rules::vector_name(name).map_err(|fault| {
        let said = fault.message.unwrap_or_default();
        refuse::wrong_input(&format!("Invalid {kind} vector name `{name}`: {said}"))
    })
}

#[derive(Clone, Debug, Deserialize, Validate)]
#[serde(rename_all = "snake_case")]
pub struct UpdateCollection {
    #[validate(nested)]
    pub vectors: Option<VectorsConfigDiff>,
    #[serde(alias = "optimizer_config")]
    #[validate(nested)]
    pub optimizers_config: Option<OptimizersConfigDiff>,
    pub params: Option<CollectionParamsDiff>,
    #[validate(nested)]
    pub hnsw_config: Option<HnswConfigDiff>,
    #[serde(default, alias = "quantization")]
    #[validate(nested)]
    pub quantization_config: Option<QuantizationConfigDiff>,
    #[validate(nested)]
    pub sparse_vectors: Option<SparseVectorsConfig>,
    #[validate(nested)]
    pub strict_mode_config: Option<StrictModeConfig>,
    #[serde(default)]
    pub metadata: Option<Payload>,
}

/// Changes of dense vectors, by name; `""` is the one without a name.
#[derive(Clone, Debug, Deserialize)]
pub struct VectorsConfigDiff(pub BTreeMap<String, VectorParamsDiff>);

#[derive(Clone, Debug, Deserialize, Validate)]
#[serde(rename_all = "snake_case")]
pub struct VectorParamsDiff {
    #[serde(default)]
    #[validate(nested)]
    pub hnsw_config: Option<HnswConfigDiff>,
    #[serde(default, alias = "quantization")]
    #[validate(nested)]
    pub quantization_config: Option<QuantizationConfigDiff>,
    #[serde(default)]
    pub on_disk: Option<bool>,
}

/// Changes of sparse vectors, by name.
#[derive(Clone, Debug, Deserialize)]
pub struct SparseVectorsConfig(pub BTreeMap<String, SparseVectorParams>);

impl Validate for VectorsConfigDiff {
    fn validate(&self) -> Result<(), ValidationErrors> {
        rules::each(self.0.values())
    }
}

impl Validate for SparseVectorsConfig {
    fn validate(&self) -> Result<(), ValidationErrors> {
        rules::each(self.0.values())
    }
}

impl UpdateCollection {
    /// Carries the changes out on `config`: all of them, or none and why.
    pub fn apply(self, config: &CollectionConfig) -> Result<CollectionConfig> {
        let mut config = config.clone();
        if let Some(vectors) = self.vectors {
            vectors.apply(&mut config.params)?;
        }
        if let Some(vectors) = self.sparse_vectors {
            vectors.apply(&mut config.params)?;
        }
        if let Some(change) = self.optimizers_config {
            change.apply(&mut config.optimizer_config);
        }
        if let Some(change) = self.params {
            change.apply(&mut config.params);
        }
        if let Some(change) = self.hnsw_config {
            config.hnsw_config = change.applied_to(&config.hnsw_config);
        }
        if let Some(change) = self.quantization_config {
            config.quantization_config = change.into_config();
        }
        if let Some(change) = self.strict_mode_config {
            config
                .strict_mode_config
                .get_or_insert_default()
                .merge(change);
        }
        if let Some(change) = self.metadata {
            merge_metadata(&mut config.metadata, change);
        }
        Ok(config)
    }
}

impl VectorsConfigDiff {
    fn apply(self, params: &mut CollectionParams) -> Result<()> {
        for (name, change) in self.0 {
            let Some(vector) = params.vectors.get_mut(&name) else {
                return Err(no_vector(&name));
            };
            if let Some(hnsw) = change.hnsw_config {
                vector.hnsw_config = Some(hnsw.over(vector.hnsw_config.unwrap_or_default()));
            }
            if let Some(quantization) = change.quantization_config {
                vector.quantization_config = quantization.into_config();
            }
            vector.on_disk = change.on_disk.or(vector.on_disk);
        }
        Ok(())
    }
}

impl SparseVectorsConfig {
    fn apply(self, params: &mut CollectionParams) -> Result<()> {
        for (name, change) in self.0 {
            let vectors = params.sparse_vectors.as_mut();
            let Some(vector) = vectors.and_then(|vectors| vectors.get_mut(&name)) else {
                return Err(no_vector(&name));
            };
            vector.modifier = change.modifier.or(vector.modifier);
            if let Some(index) = change.index {
                vector.index.get_or_insert_default().merge(index);
            }
        }
        Ok(())
    }
}

fn no_vector(name: &str) -> crate::error::Error {
    refuse::wrong_input(&format!("Not existing vector name error: {name}"))
}

/// A key replaces what was under it; null takes the key away.
fn merge_metadata(metadata: &mut Option<Payload>, change: Payload) {
    let kept = metadata.get_or_insert_default();
    for (key, value) in change.0 {
        if value.is_null() {
            // The keys that stay keep their order.
            kept.0.shift_remove(&key);
        } else {
            kept.0.insert(key, value);
        }
    }
}

#[cfg(test)]
mod tests;

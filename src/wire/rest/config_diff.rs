//! Changes to parts of a configuration: what is given replaces, what is left out or null stays.

use std::num::NonZeroU32;

use qdrant_edge::{HnswIndexConfig, QuantizationConfig};
use serde::{Deserialize, Serialize};
use validator::{Validate, ValidationErrors};

use super::collection::{CollectionParams, OptimizersConfig, WalConfig};

#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize, Validate)]
#[serde(rename_all = "snake_case")]
pub struct HnswConfigDiff {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub m: Option<usize>,
    #[validate(range(min = 4))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ef_construct: Option<usize>,
    #[serde(
        alias = "full_scan_threshold_kb",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    #[validate(range(min = 10))]
    pub full_scan_threshold: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_indexing_threads: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_disk: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_m: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inline_storage: Option<bool>,
}

impl HnswConfigDiff {
    pub(super) fn is_none_or_empty(diff: &Option<Self>) -> bool {
        diff.unwrap_or_default() == Self::default()
    }

    /// This one's settings, `base` where it has none.
    pub fn over(self, base: Self) -> Self {
        Self {
            m: self.m.or(base.m),
            ef_construct: self.ef_construct.or(base.ef_construct),
            full_scan_threshold: self.full_scan_threshold.or(base.full_scan_threshold),
            max_indexing_threads: self.max_indexing_threads.or(base.max_indexing_threads),
            on_disk: self.on_disk.or(base.on_disk),
            payload_m: self.payload_m.or(base.payload_m),
            inline_storage: self.inline_storage.or(base.inline_storage),
        }
    }

    /// `config` with these settings in place of its own.
    pub fn applied_to(self, config: &HnswIndexConfig) -> HnswIndexConfig {
        HnswIndexConfig {
            m: self.m.unwrap_or(config.m),
            ef_construct: self.ef_construct.unwrap_or(config.ef_construct),
            full_scan_threshold: self
                .full_scan_threshold
                .unwrap_or(config.full_scan_threshold),
            max_indexing_threads: self
                .max_indexing_threads
                .unwrap_or(config.max_indexing_threads),
            on_disk: self.on_disk.or(config.on_disk),
            payload_m: self.payload_m.or(config.payload_m),
            inline_storage: self.inline_storage.or(config.inline_storage),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize, Validate)]
pub struct WalConfigDiff {
    #[validate(range(min = 1))]
    pub wal_capacity_mb: Option<usize>,
    pub wal_segments_ahead: Option<usize>,
    #[validate(range(min = 1))]
    pub wal_retain_closed: Option<usize>,
}

impl WalConfigDiff {
    pub fn apply(self, config: &mut WalConfig) {
        set(&mut config.wal_capacity_mb, self.wal_capacity_mb);
        set(&mut config.wal_segments_ahead, self.wal_segments_ahead);
        set(&mut config.wal_retain_closed, self.wal_retain_closed);
    }
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize, Validate)]
pub struct OptimizersConfigDiff {
    #[validate(range(min = 0.0, max = 1.0))]
    pub deleted_threshold: Option<f64>,
    #[validate(range(min = 100))]
    pub vacuum_min_vector_number: Option<usize>,
    pub default_segment_number: Option<usize>,
    #[serde(alias = "max_segment_size_kb")]
    #[validate(range(min = 1))]
    pub max_segment_size: Option<usize>,
    #[serde(alias = "memmap_threshold_kb")]
    pub memmap_threshold: Option<usize>,
    #[serde(alias = "indexing_threshold_kb")]
    pub indexing_threshold: Option<usize>,
    pub flush_interval_sec: Option<u64>,
    pub max_optimization_threads: Option<MaxOptimizationThreads>,
    pub prevent_unoptimized: Option<bool>,
}

/// A number, or `"auto"` for as many as there is work.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(untagged)]
pub enum MaxOptimizationThreads {
    Setting(AutoThreads),
    Threads(usize),
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AutoThreads {
    Auto,
}

impl OptimizersConfigDiff {
    pub fn apply(self, config: &mut OptimizersConfig) {
        set(&mut config.deleted_threshold, self.deleted_threshold);
        set(
            &mut config.vacuum_min_vector_number,
            self.vacuum_min_vector_number,
        );
        set(
            &mut config.default_segment_number,
            self.default_segment_number,
        );
        set_option(&mut config.max_segment_size, self.max_segment_size);
        set_option(&mut config.memmap_threshold, self.memmap_threshold);
        set_option(&mut config.indexing_threshold, self.indexing_threshold);
        set(&mut config.flush_interval_sec, self.flush_interval_sec);
        match self.max_optimization_threads {
            None => {}
            Some(MaxOptimizationThreads::Setting(AutoThreads::Auto)) => {
                config.max_optimization_threads = None;
            }
            Some(MaxOptimizationThreads::Threads(threads)) => {
                config.max_optimization_threads = Some(threads);
            }
        }
        set_option(&mut config.prevent_unoptimized, self.prevent_unoptimized);
    }
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize, Validate)]
pub struct CollectionParamsDiff {
    pub replication_factor: Option<NonZeroU32>,
    pub write_consistency_factor: Option<NonZeroU32>,
    pub read_fan_out_factor: Option<u32>,
    pub read_fan_out_delay_ms: Option<u64>,
    #[serde(default)]
    pub on_disk_payload: Option<bool>,
}

impl CollectionParamsDiff {
    pub fn apply(self, params: &mut CollectionParams) {
        set(&mut params.replication_factor, self.replication_factor);
        set(
            &mut params.write_consistency_factor,
            self.write_consistency_factor,
        );
        set_option(&mut params.read_fan_out_factor, self.read_fan_out_factor);
        set_option(
            &mut params.read_fan_out_delay_ms,
            self.read_fan_out_delay_ms,
        );
        set(&mut params.on_disk_payload, self.on_disk_payload);
    }
}

/// A quantization to have from now on, or none.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", untagged)]
pub enum QuantizationConfigDiff {
    Set(QuantizationConfig),
    Disabled(Disabled),
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Disabled {
    Disabled,
}

impl QuantizationConfigDiff {
    pub fn into_config(self) -> Option<QuantizationConfig> {
        match self {
            Self::Set(config) => Some(config),
            Self::Disabled(_) => None,
        }
    }
}

impl Validate for QuantizationConfigDiff {
    fn validate(&self) -> Result<(), ValidationErrors> {
        match self {
            Self::Set(config) => config.validate(),
            Self::Disabled(_) => Ok(()),
        }
    }
}

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

fn set_option<T>(field: &mut Option<T>, value: Option<T>) {
    if value.is_some() {
        *field = value;
    }
}

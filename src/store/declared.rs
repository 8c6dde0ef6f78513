//! A collection's declared configuration as the engine wants it, and what a vector that was added
//! later adds to the declaration.

use std::num::NonZeroU64;

use qdrant_edge::{
    DenseVectorConfig, EdgeConfig, EdgeOptimizersConfig, EdgeSparseVectorParams, EdgeVectorParams,
    FieldIndexOperations, JsonPath, PayloadFieldSchema, SparseVectorConfig, UpdateOperation,
    VectorNameConfig, VectorNameOperations, WalOptions,
};

use super::engine::Collection;
use crate::wire::rest::{
    CollectionConfig, OptimizersConfig, SparseIndexParams, SparseVectorParams, VectorParams,
};

/// One file of the log. Small, so that what is no longer needed goes soon; an operation that is
/// larger gets a larger file.
const LOG_FILE_BYTES: usize = 8 * 1024 * 1024;

pub(super) fn edge_config(config: &CollectionConfig) -> EdgeConfig {
    let params = &config.params;
    let vectors = params.vectors.iter();
    let vectors = vectors.map(|(name, vector)| (name.to_owned(), dense(vector, config)));
    let sparse = params.sparse_vectors.iter().flatten();
    let sparse = sparse.map(|(name, vector)| (name.clone(), sparse_params(vector)));
    EdgeConfig {
        on_disk_payload: params.on_disk_payload,
        vectors: vectors.collect(),
        sparse_vectors: sparse.collect(),
        hnsw_config: config.hnsw_config,
        quantization_config: config.quantization_config.clone(),
        optimizers: optimizers(&config.optimizer_config),
        wal_options: Some(WalOptions {
            segment_capacity: LOG_FILE_BYTES,
            ..WalOptions::default()
        }),
    }
}

fn dense(vector: &VectorParams, config: &CollectionConfig) -> EdgeVectorParams {
    EdgeVectorParams {
        size: vector.dimensions(),
        distance: vector.distance,
        on_disk: vector.on_disk,
        multivector_config: vector.multivector_config,
        datatype: vector.datatype,
        quantization_config: vector.quantization_config.clone(),
        hnsw_config: vector
            .hnsw_config
            .map(|diff| diff.applied_to(&config.hnsw_config)),
    }
}

fn sparse_params(vector: &SparseVectorParams) -> EdgeSparseVectorParams {
    let index = vector.index.unwrap_or_default();
    EdgeSparseVectorParams {
        full_scan_threshold: index.full_scan_threshold,
        on_disk: index.on_disk,
        modifier: vector.modifier,
        datatype: index.datatype,
    }
}

fn optimizers(config: &OptimizersConfig) -> EdgeOptimizersConfig {
    EdgeOptimizersConfig {
        deleted_threshold: Some(config.deleted_threshold),
        vacuum_min_vector_number: Some(config.vacuum_min_vector_number),
        default_segment_number: Some(config.default_segment_number),
        max_segment_size: config.max_segment_size,
        indexing_threshold: config.indexing_threshold,
        prevent_unoptimized: None,
    }
}

/// Whether a running shard can take `wanted` over without being opened anew.
pub(super) fn differs_in_tuning_only(present: &EdgeConfig, wanted: &EdgeConfig) -> bool {
    let mut present = present.clone();
    present.hnsw_config = wanted.hnsw_config;
    present.optimizers = wanted.optimizers.clone();
    for (name, vector) in &mut present.vectors {
        if let Some(wanted) = wanted.vectors.get(name)
            && wanted.hnsw_config.is_some()
        {
            vector.hnsw_config = wanted.hnsw_config;
        }
    }
    present == *wanted
}

/// A change that an operation makes to the declaration.
pub(super) enum SchemaChange {
    IndexField(JsonPath, PayloadFieldSchema),
    UnindexField(JsonPath),
    AddVector(String, VectorNameConfig),
    RemoveVector(String),
}

impl SchemaChange {
    pub(super) fn of(operation: &UpdateOperation) -> Option<Self> {
        match operation {
            UpdateOperation::FieldIndexOperation(FieldIndexOperations::CreateIndex(create)) => {
                let schema = create.field_schema.clone()?;
                Some(Self::IndexField(create.field_name.clone(), schema))
            }
            UpdateOperation::FieldIndexOperation(FieldIndexOperations::DeleteIndex(field)) => {
                Some(Self::UnindexField(field.clone()))
            }
            UpdateOperation::VectorNameOperation(VectorNameOperations::CreateVectorName(
                create,
            )) => Some(Self::AddVector(
                create.vector_name.clone(),
                create.config.clone(),
            )),
            UpdateOperation::VectorNameOperation(VectorNameOperations::DeleteVectorName(
                delete,
            )) => Some(Self::RemoveVector(delete.vector_name.clone())),
            UpdateOperation::PointOperation(_)
            | UpdateOperation::VectorOperation(_)
            | UpdateOperation::PayloadOperation(_) => None,
        }
    }

    pub(super) fn apply(self, declared: &mut Collection) {
        match self {
            Self::IndexField(field, schema) => {
                declared.payload_schema.insert(field, schema);
            }
            Self::UnindexField(field) => {
                declared.payload_schema.remove(&field);
            }
            Self::AddVector(name, added) => {
                add_vector(&mut declared.config, &name, &added);
            }
            Self::RemoveVector(name) => remove_vector(&mut declared.config, &name),
        }
    }
}

/// Writes a vector that was added into the declaration.
fn add_vector(config: &mut CollectionConfig, name: &str, added: &VectorNameConfig) {
    match added {
        VectorNameConfig::Dense(wrapped) => {
            if let Some(params) = declared_dense(&wrapped.dense)
                && config.params.vectors.get(name).is_none()
            {
                config.params.vectors.insert(name, params);
            }
        }
        VectorNameConfig::Sparse(wrapped) => {
            let all = config.params.sparse_vectors.get_or_insert_default();
            all.entry(name.to_owned())
                .or_insert_with(|| declared_sparse(&wrapped.sparse));
        }
    }
}

fn remove_vector(config: &mut CollectionConfig, name: &str) {
    config.params.vectors.remove(name);
    if let Some(all) = &mut config.params.sparse_vectors {
        all.remove(name);
    }
}

fn declared_dense(added: &DenseVectorConfig) -> Option<VectorParams> {
    Some(VectorParams {
        size: NonZeroU64::new(u64::try_from(added.size).ok()?)?,
        distance: added.distance,
        hnsw_config: None,
        quantization_config: None,
        on_disk: None,
        datatype: added.datatype,
        multivector_config: added.multivector_config,
    })
}

fn declared_sparse(added: &SparseVectorConfig) -> SparseVectorParams {
    SparseVectorParams {
        index: added.datatype.map(|datatype| SparseIndexParams {
            datatype: Some(datatype),
            ..SparseIndexParams::default()
        }),
        modifier: added.modifier,
    }
}

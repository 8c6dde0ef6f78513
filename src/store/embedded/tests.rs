mod damage;
mod logged;
mod points;
mod upkeep;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use qdrant_edge::{
    Fusion, Mmr, NamedQuery, Prefetch, QueryEnum, QueryRequest, Sample, ScoringQuery, SparseVector,
    VectorInternal, VectorPersisted, VectorStructPersisted,
};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::*;
use crate::error::ErrorKind;
use crate::store::engine::Health;
use crate::store::{check, declared, refused};

/// A folder that goes when the test ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("outrigger-{}", uuid::Uuid::new_v4()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn store(&self) -> Embedded {
        Embedded::open(&self.0).unwrap()
    }

    /// The folder as a killed process would have left it now. Nothing may move while it is copied,
    /// or the copy shows no one moment.
    fn as_killed(&self, store: &Embedded) -> Self {
        let shards = store.catalog.all();
        let deadline = Instant::now() + Duration::from_secs(60);
        let _still: Vec<_> = shards
            .iter()
            .map(|shard| {
                let mut gate = shard.gate.lock();
                assert!(shard.calm_down(&mut gate, deadline));
                gate
            })
            .collect();
        let copy = Self::new();
        copy_all(&self.0, &copy.0);
        copy
    }

    fn homes(&self) -> Vec<PathBuf> {
        let homes = fs::read_dir(self.0.join("collections")).unwrap();
        homes.map(|home| home.unwrap().path()).collect()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// What goes while it is copied, a deleted collection's files, is left out.
fn copy_all(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).into_iter().flatten() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            fs::create_dir_all(&target).unwrap();
            copy_all(&entry.path(), &target);
        } else if let Err(error) = fs::copy(entry.path(), target) {
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
        }
    }
}

fn config(vectors: Value) -> CollectionConfig {
    let mut params = json!({"vectors": vectors});
    if vectors.get("words").is_some() {
        params["sparse_vectors"] = json!({"words": {}});
        params["vectors"].as_object_mut().unwrap().remove("words");
    }
    serde_json::from_value(json!({
        "params": params,
        "hnsw_config": {"m": 16, "ef_construct": 100, "full_scan_threshold": 10000},
        "optimizer_config": {
            "deleted_threshold": 0.2, "vacuum_min_vector_number": 1000,
            "default_segment_number": 1, "indexing_threshold": 1, "flush_interval_sec": 5
        },
        "wal_config": {"wal_capacity_mb": 32, "wal_segments_ahead": 0},
    }))
    .unwrap()
}

fn two() -> CollectionConfig {
    config(
        json!({"a": {"size": 2, "distance": "Dot"}, "b": {"size": 3, "distance": "Cosine"}, "words": {}}),
    )
}

fn operation(value: Value) -> UpdateOperation {
    serde_json::from_value(value).unwrap()
}

async fn apply(store: &Embedded, value: Value) -> Result<u64> {
    store.apply("c", operation(value)).await
}

async fn upsert(store: &Embedded, ids: std::ops::Range<u64>) {
    let points: Vec<_> = ids
        .map(|id| json!({"id": id, "vector": {"a": [1.0, id], "b": [1.0, 0.5, id]}, "payload": {"n": id}}))
        .collect();
    apply(store, json!({"upsert_points": {"points": points}}))
        .await
        .unwrap();
}

async fn point(store: &Embedded, id: u64) -> Option<(Value, Vec<String>)> {
    let all = store
        .retrieve("c", vec![id.into()], true.into(), WithVector::Bool(true))
        .await;
    let record = all.unwrap().pop()?;
    let mut names = match record.vector {
        Some(qdrant_edge::VectorStructInternal::Named(named)) => named.into_keys().collect(),
        _ => Vec::new(),
    };
    names.sort();
    Some((serde_json::to_value(record.payload).unwrap(), names))
}

async fn count(store: &Embedded, filter: Option<Value>) -> usize {
    let filter = filter.map(|filter| serde_json::from_value(filter).unwrap());
    store
        .count(
            "c",
            CountRequest {
                filter,
                exact: true,
            },
        )
        .await
        .unwrap()
}

/// A copy of what is on disk now, so that nothing of this process holds it.
fn copied(scratch: &Scratch) -> Scratch {
    let copy = Scratch::new();
    copy_all(&scratch.0, &copy.0);
    copy
}

//! The weighting of sparse vectors (`modifier`), written where the engine keeps it.
//!
//! It takes part in searches alone, yet the engine opens no segment that was made under another,
//! and does not open its own folder when a crash has left the new one in some of the files. So it is
//! written into all of them before a shard is opened.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use qdrant_edge::EdgeConfig;
use serde_json::Value;

use super::folder::{self, cannot};
use crate::error::Result;

/// Blocks.
pub(super) fn write(folder: &Path, wanted: &EdgeConfig) -> Result<()> {
    if wanted.sparse_vectors.is_empty() {
        return Ok(());
    }
    weigh_file(&folder.join("edge_config.json"), "/sparse_vectors", wanted)?;
    let segments = folder.join("segments");
    let list = match fs::read_dir(&segments) {
        Ok(list) => list,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(cannot("list", &segments, error)),
    };
    for entry in list {
        let entry = entry.map_err(|error| cannot("list", &segments, error))?;
        let state = entry.path().join("segment.json");
        weigh_file(&state, "/config/sparse_vector_data", wanted)?;
    }
    Ok(())
}

fn weigh_file(path: &Path, vectors: &str, wanted: &EdgeConfig) -> Result<()> {
    let Some(present) = folder::read_json::<Value>(path)? else {
        return Ok(());
    };
    let mut weighed = present.clone();
    let all = weighed
        .pointer_mut(vectors)
        .and_then(|all| all.as_object_mut());
    for (name, vector) in all.into_iter().flatten() {
        let (Some(wanted), Some(vector)) =
            (wanted.sparse_vectors.get(name), vector.as_object_mut())
        else {
            continue;
        };
        match wanted.modifier {
            Some(modifier) => {
                let modifier = serde_json::to_value(modifier);
                let modifier = modifier.map_err(|error| cannot("encode", path, error))?;
                vector.insert("modifier".to_owned(), modifier);
            }
            None => {
                vector.shift_remove("modifier");
            }
        }
    }
    if weighed == present {
        return Ok(());
    }
    folder::write_json(path, &weighed)
}

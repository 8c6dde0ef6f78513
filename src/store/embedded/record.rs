//! What a collection's folder says of the collection: `collection.json`, `checkpoint.json` and
//! `files.json`.
//!
//! Writing the record is what makes a new collection exist. Where a restore was cut short two
//! folders may carry one name: the higher `serial` is the newer.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use qdrant_edge::{JsonPath, PayloadFieldSchema};
use serde::{Deserialize, Serialize};

use super::folder::{self, FORMAT, cannot};
use crate::error::{Error, ErrorKind, Origin, Result, Retry};
use crate::store::engine::Collection;
use crate::wire::rest::CollectionConfig;

const RECORD: &str = "collection.json";
const CHECKPOINT: &str = "checkpoint.json";
const INVENTORY: &str = "files.json";
const SEGMENTS: &str = "shard/segments";

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Record {
    pub(super) version: u32,
    pub(super) serial: u64,
    pub(super) name: String,
    pub(super) config: CollectionConfig,
    pub(super) payload_indexes: Vec<PayloadIndex>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct PayloadIndex {
    pub(super) field: JsonPath,
    pub(super) schema: PayloadFieldSchema,
}

impl Record {
    pub(super) fn new(serial: u64, declared: &Collection) -> Self {
        let mut payload_indexes: Vec<_> = declared
            .payload_schema
            .iter()
            .map(|(field, schema)| PayloadIndex {
                field: field.clone(),
                schema: schema.clone(),
            })
            .collect();
        payload_indexes.sort_by_key(|index| index.field.to_string());
        Self {
            version: FORMAT,
            serial,
            name: declared.name.clone(),
            config: declared.config.clone(),
            payload_indexes,
        }
    }

    pub(super) fn declared(self) -> Collection {
        Collection {
            name: self.name,
            config: self.config,
            payload_schema: schema_map(self.payload_indexes),
        }
    }

    pub(super) fn read(home: &Path) -> Result<Option<Self>> {
        let path = home.join(RECORD);
        match folder::read_json::<Self>(&path)? {
            Some(record) if record.version != FORMAT => Err(newer(&path, record.version)),
            other => Ok(other),
        }
    }

    pub(super) fn write(&self, home: &Path) -> Result<()> {
        folder::write_json(&home.join(RECORD), self)
    }
}

fn schema_map(indexes: Vec<PayloadIndex>) -> HashMap<JsonPath, PayloadFieldSchema> {
    indexes
        .into_iter()
        .map(|index| (index.field, index.schema))
        .collect()
}

/// How far the log has become segments.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(super) struct Checkpoint {
    version: u32,
    /// Every operation below this number is in the segments, on disk.
    pub(super) operation: u64,
    /// The collection was closed in good order and has not been opened since: nothing is to be
    /// replayed, nothing to be healed.
    pub(super) is_clean: bool,
    /// The operation in which the engine broke, if it did since: it was not acknowledged, and
    /// may be in the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) broke_at: Option<u64>,
}

impl Checkpoint {
    pub(super) fn new(operation: u64, is_clean: bool) -> Self {
        Self {
            version: FORMAT,
            operation,
            is_clean,
            broke_at: None,
        }
    }

    pub(super) fn broke_at(operation: u64, broke_at: u64) -> Self {
        Self {
            broke_at: Some(broke_at),
            ..Self::new(operation, false)
        }
    }

    pub(super) fn read(home: &Path) -> Result<Self> {
        let path = home.join(CHECKPOINT);
        match folder::read_json::<Self>(&path)? {
            Some(checkpoint) if checkpoint.version != FORMAT => {
                Err(newer(&path, checkpoint.version))
            }
            Some(checkpoint) => Ok(checkpoint),
            None => Ok(Self::new(0, false)),
        }
    }

    pub(super) fn write(self, home: &Path) -> Result<()> {
        folder::write_json(&home.join(CHECKPOINT), &self)
    }
}

/// The files of the segments as a clean close left them. The engine takes some that are missing or
/// cut short for empty.
#[derive(Deserialize, Serialize)]
pub(super) struct Inventory {
    version: u32,
    bytes: BTreeMap<PathBuf, u64>,
}

impl Inventory {
    pub(super) fn write(home: &Path) -> Result<()> {
        let bytes = folder::sizes(&home.join(SEGMENTS));
        let inventory = Self {
            version: FORMAT,
            bytes: bytes.map_err(|error| cannot("list", home, error))?,
        };
        folder::write_json(&home.join(INVENTORY), &inventory)
    }

    /// Names the first file that is not what it was.
    pub(super) fn check(home: &Path) -> Result<()> {
        let Some(inventory) = folder::read_json::<Self>(&home.join(INVENTORY))? else {
            return Ok(());
        };
        for (path, bytes) in &inventory.bytes {
            let path = home.join(SEGMENTS).join(path);
            let found = fs::metadata(&path).map_err(|error| cannot("read", &path, error))?;
            if found.len() != *bytes {
                let (found, text) = (found.len(), "bytes are left of");
                return Err(cannot("read", &path, format!("{found} {text} {bytes}")));
            }
        }
        Ok(())
    }
}

/// The shape of a file that another version of Outrigger wrote.
fn newer(path: &Path, version: u32) -> Error {
    let text = format!(
        "{} has format {version}, and this version of Outrigger reads format {FORMAT}",
        path.display()
    );
    Error::new(ErrorKind::Internal, Origin::Embedded, Retry::Never, text)
}

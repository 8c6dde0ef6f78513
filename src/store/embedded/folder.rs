//! The data folder: who owns it, how it is laid out, how a file in it is replaced.
//!
//! ```text
//! lock                      held by the one process that uses the folder
//! store.id                  which store it is: drawn when the folder was made
//! aliases.json
//! collections/ID/           one a collection; ID is generated, names are in the record
//!     making | deleted      present while it is being made, or once it has been deleted
//!     collection.json       the record: name, configuration, payload indexes
//!     checkpoint.json       operations below this number are in the segments
//!     files.json            the segments' files and their sizes when it was closed in good order
//!     shard/                the engine's own
//! snapshots/                files that clients may fetch
//! ```
//!
//! A file of ours is replaced whole: written beside, synced, renamed, and the folder synced.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, ErrorKind, Origin, Result, Retry};
use crate::wire::rest::refuse;

/// The version of every file of ours in the folder.
pub(super) const FORMAT: u32 = 1;

/// What must be free for a write: a file of the log, and what the write adds to the segments.
pub(super) const WRITE_BYTES: u64 = 64 * 1024 * 1024;
/// What must be free for a collection to be opened. Less than for a write: what was kept from
/// filling the disk can still be read after a restart.
pub(super) const OPEN_BYTES: u64 = 16 * 1024 * 1024;

/// The data folder, held for as long as this lives.
pub(super) struct DataFolder {
    root: PathBuf,
    snapshots: PathBuf,
    id: Box<str>,
    /// Closing it gives the folder free; the kernel does so for a killed process.
    _lock: File,
}

impl DataFolder {
    pub(super) fn take(root: &Path) -> Result<Self> {
        let snapshots = root.join("snapshots");
        for folder in [
            root.to_path_buf(),
            root.join("collections"),
            snapshots.clone(),
        ] {
            fs::create_dir_all(&folder).map_err(|error| unusable(root, error))?;
        }
        let path = root.join("lock");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path);
        let lock = lock.map_err(|error| unusable(root, error))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                root: root.to_path_buf(),
                snapshots,
                id: id(root)?,
                _lock: lock,
            }),
            Err(TryLockError::WouldBlock) => Err(Error::settings(format!(
                "the data folder {} is in use by another process; stop that one, or give this \
                 one a folder of its own with --data-dir",
                root.display()
            ))),
            Err(TryLockError::Error(error)) => Err(unusable(root, error)),
        }
    }

    pub(super) fn collections(&self) -> PathBuf {
        self.root.join("collections")
    }

    /// Another folder has another, and so has this one if it is lost and made again.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn aliases(&self) -> PathBuf {
        self.root.join("aliases.json")
    }

    pub(super) fn snapshots(&self) -> &Path {
        &self.snapshots
    }
}

fn id(root: &Path) -> Result<Box<str>> {
    let path = root.join("store.id");
    match fs::read_to_string(&path) {
        Ok(id) => Ok(id.trim().into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let id = format!("{:016x}", rand::random::<u64>());
            write_whole(&path, id.as_bytes()).map_err(|error| unusable(root, error))?;
            Ok(id.into())
        }
        Err(error) => Err(unusable(root, error)),
    }
}

fn unusable(root: &Path, error: io::Error) -> Error {
    let text = format!(
        "the data folder {} cannot be used; make it writable, or name another with --data-dir",
        root.display()
    );
    Error::settings(text).with_source(error)
}

/// Replaces `path` durably: after a crash it holds either the old text or the new.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("tmp");
    let mut file = File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    drop(file);
    fs::rename(&beside, path)?;
    match path.parent() {
        Some(folder) => sync_folder(folder),
        None => Ok(()),
    }
}

/// Makes what was created, renamed or removed in `folder` last.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

pub(super) fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let bytes = serde_json::to_vec_pretty(value).map_err(|error| cannot("encode", path, error))?;
    write_whole(path, &bytes).map_err(|error| cannot("write", path, error))
}

/// `None` when there is no such file.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(cannot("read", path, error)),
    };
    let value = serde_json::from_slice(&bytes).map_err(|error| cannot("read", path, error))?;
    Ok(Some(value))
}

/// Every file below `root` with its size.
pub(super) fn sizes(root: &Path) -> io::Result<BTreeMap<PathBuf, u64>> {
    let (mut found, mut left) = (BTreeMap::new(), vec![root.to_path_buf()]);
    while let Some(folder) = left.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let (path, about) = (entry.path(), entry.metadata()?);
            if about.is_dir() {
                left.push(path);
            } else if let Ok(inside) = path.strip_prefix(root) {
                found.insert(inside.to_path_buf(), about.len());
            }
        }
    }
    Ok(found)
}

/// Removes a folder or a file, whichever is there, if any is.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    let removed = if path.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Refuses, in Qdrant's words, if less than `bytes` are free where `path` is. The engine's files
/// are mapped and have holes: a page of theirs that finds no room ends the process, so the disk
/// must not be let get so full.
pub(super) fn has_room(path: &Path, bytes: u64) -> Result<()> {
    // Where it cannot be told, whatever is written there will show it.
    let free = fs4::available_space(path).unwrap_or(u64::MAX);
    if free >= bytes {
        return Ok(());
    }
    Err(refuse::service_error(
        "No space left on device: WAL buffer size exceeds available disk space",
    ))
}

/// Something in the folder cannot be worked with.
pub(super) fn cannot(
    verb: &str,
    path: &Path,
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    let doing = format!("{verb} {}", path.display());
    Error::new(
        ErrorKind::Internal,
        Origin::Embedded,
        Retry::OutcomeUnknown,
        doing,
    )
    .with_source(error)
}

//! The folder that snapshot files are kept in: those of a collection in one of its name, those of
//! everything beside them. Each has its checksum in a file next to it.
//!
//! A name from outside is one name in one folder, or there is no such snapshot. Files that are
//! still being written have names that begin with a dot, and are not listed.

#![expect(
    clippy::disallowed_methods,
    reason = "a snapshot is named by the wall clock"
)]

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use qdrant_edge::external::uuid::Uuid;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::wire::rest::refuse;
use crate::wire::rest::snapshot::SnapshotDescription;

const EXTENSION: &str = ".snapshot";
const BUFFER_BYTES: usize = 256 * 1024;
/// More than one snapshot a second is numbered; nobody makes so many.
const SAME_SECOND_MAX: usize = 1000;

/// One folder of snapshots.
#[derive(Clone, Debug)]
pub(super) struct Shelf {
    folder: PathBuf,
}

/// A file that goes away unless it is kept.
#[derive(Debug)]
pub(super) struct Draft {
    path: PathBuf,
}

impl Drop for Draft {
    fn drop(&mut self) {
        // It may have been kept, or never written.
        drop(fs::remove_file(&self.path));
    }
}

impl Draft {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Shelf {
    pub(super) fn of_everything(root: &Path) -> Self {
        Self {
            folder: root.to_path_buf(),
        }
    }

    /// `collection` is a name that a collection can have: no path.
    pub(super) fn of_collection(root: &Path, collection: &str) -> Self {
        Self {
            folder: root.join(collection),
        }
    }

    pub(super) fn of_shard(root: &Path, collection: &str) -> Self {
        Self {
            folder: root.join(collection).join("shards").join("0"),
        }
    }

    /// Sorted by name. A folder that is not there yet holds none.
    pub(super) fn list(&self) -> Result<Vec<SnapshotDescription>> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(cannot("read the snapshots", error)),
        };
        let mut all = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| cannot("read the snapshots", error))?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            if is_name(&name) && entry.path().is_file() {
                all.push(self.describe(&name)?);
            }
        }
        all.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(all)
    }

    /// The file of that name.
    pub(super) fn find(&self, name: &str) -> Result<PathBuf> {
        let path = self.folder.join(name);
        if is_name(name) && path.is_file() {
            return Ok(path);
        }
        Err(refuse::not_found(&format!("Snapshot {name} not found")))
    }

    pub(super) fn remove(&self, name: &str) -> Result<()> {
        let path = self.find(name)?;
        fs::remove_file(&path).map_err(|error| cannot("delete the snapshot", error))?;
        // Files from elsewhere have none.
        drop(fs::remove_file(checksum_path(&path)));
        Ok(())
    }

    /// A place for a file that is not finished yet.
    pub(super) fn draft(&self) -> Result<Draft> {
        fs::create_dir_all(&self.folder).map_err(|error| cannot("make the folder", error))?;
        let name = format!(".{}", Uuid::from_u128(rand::random()));
        Ok(Draft {
            path: self.folder.join(name),
        })
    }

    /// Puts a finished file in its place, named after what it is of and the time.
    pub(super) fn keep(&self, draft: &Draft, stem: &str) -> Result<SnapshotDescription> {
        let checksum =
            hash(draft.path()).map_err(|error| cannot("read the new snapshot", error))?;
        let stem = format!("{stem}-{}", time_for_name(SystemTime::now()));
        let mut numbers = 1..=SAME_SECOND_MAX;
        let free = numbers.find_map(|number| {
            let name = match number {
                1 => format!("{stem}{EXTENSION}"),
                more => format!("{stem}-{more}{EXTENSION}"),
            };
            (!self.folder.join(&name).exists()).then_some(name)
        });
        let name = free.ok_or_else(|| refuse::service_error("too many snapshots this second"))?;
        let path = self.folder.join(&name);
        let placed = write_whole(&checksum_path(&path), checksum.as_bytes())
            .and_then(|()| fs::rename(draft.path(), &path));
        placed.map_err(|error| cannot("keep the new snapshot", error))?;
        self.describe(&name)
    }

    fn describe(&self, name: &str) -> Result<SnapshotDescription> {
        let path = self.folder.join(name);
        let known = path
            .metadata()
            .map_err(|error| cannot("read a snapshot's size", error))?;
        let created = known.modified().ok();
        let checksum = fs::read_to_string(checksum_path(&path)).ok();
        Ok(SnapshotDescription {
            name: name.to_owned(),
            creation_time: created.map(time_without_zone),
            size: known.len(),
            checksum: checksum.map(|text| text.trim().to_owned()),
        })
    }
}

/// Whether a name can be that of a snapshot.
fn is_name(name: &str) -> bool {
    !name.starts_with('.') && name.ends_with(EXTENSION) && !name.contains(['/', '\\', '\0'])
}

fn checksum_path(snapshot: &Path) -> PathBuf {
    let mut path = snapshot.as_os_str().to_owned();
    path.push(".checksum");
    path.into()
}

fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// SHA-256 of a file in hexadecimal digits. Blocks.
pub(super) fn hash(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let read = file.read(&mut buffer)?;
        match buffer.get(..read) {
            Some([]) | None => break,
            Some(bytes) => digest.update(bytes),
        }
    }
    let digits = digest
        .finalize()
        .iter()
        .fold(String::with_capacity(64), |mut digits, byte| {
            for half in [byte >> 4, byte & 0xf] {
                digits.extend(char::from_digit(half.into(), 16));
            }
            digits
        });
    Ok(digits)
}

/// `2026-01-31-23-59-59`
fn time_for_name(time: SystemTime) -> String {
    time_without_zone(time).replace(['T', ':'], "-")
}

fn time_without_zone(time: SystemTime) -> String {
    let text = humantime::format_rfc3339_seconds(time).to_string();
    text.trim_end_matches('Z').to_owned()
}

pub(super) fn cannot(what: &str, error: io::Error) -> Error {
    refuse::service_error(&format!("cannot {what}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch() -> PathBuf {
        let name = format!("outrigger-shelf-{}", Uuid::from_u128(rand::random()));
        std::env::temp_dir().join(name)
    }

    #[test]
    fn a_snapshot_is_kept_listed_and_removed() {
        let root = scratch();
        let shelf = Shelf::of_collection(&root, "c");
        assert_eq!(shelf.list().unwrap(), Vec::new());
        let draft = shelf.draft().unwrap();
        fs::write(draft.path(), b"abc").unwrap();
        assert_eq!(shelf.list().unwrap(), Vec::new());
        let kept = shelf.keep(&draft, "c-1").unwrap();
        drop(draft);
        assert_eq!(kept.size, 3);
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(kept.checksum.as_deref(), Some(expected));
        assert!(kept.name.starts_with("c-1-20") && kept.name.ends_with(".snapshot"));
        assert_eq!(shelf.list().unwrap(), vec![kept.clone()]);
        let again = shelf.draft().unwrap();
        fs::write(again.path(), b"").unwrap();
        assert_ne!(shelf.keep(&again, "c-1").unwrap().name, kept.name);
        shelf.remove(&kept.name).unwrap();
        let refused = shelf.remove(&kept.name).unwrap_err().to_string();
        assert_eq!(
            refused,
            format!("Not found: Snapshot {} not found", kept.name)
        );
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn no_name_leads_out_of_the_folder() {
        let root = scratch();
        let shelf = Shelf::of_collection(&root, "c");
        fs::create_dir_all(root.join("c/x.snapshot")).unwrap();
        fs::write(root.join("secret.snapshot"), b"").unwrap();
        fs::write(root.join("c/.x.snapshot"), b"").unwrap();
        for name in [
            "../secret.snapshot",
            ".x.snapshot",
            "x.snapshot",
            "",
            "..",
            "/etc/passwd",
        ] {
            assert!(shelf.find(name).is_err(), "{name}");
        }
        fs::remove_dir_all(&root).unwrap();
    }
}

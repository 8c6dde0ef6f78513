//! A collection as one file, in a format of our own: a tar of the segments behind a manifest.
//!
//! ```text
//! manifest.json     format, version, the record, the number of the next operation, and every
//!                   file with its size and checksum
//! shard/…           the engine's files, without its log: everything is in the segments
//! ```
//!
//! Writes wait while it is taken, reads go on. A restore accepts exactly the files that the
//! manifest lists, and nothing of it is seen before all of it is there and checked.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::catalog::{self, Catalog};
use super::folder::{self, cannot};
use super::log;
use super::record::{Checkpoint, Record};
use super::recover;
use super::shard::{Seat, Shard};
use crate::error::{Error, Result};
use crate::wire::rest::refuse;

const FORMAT: &str = "outrigger-collection";
const VERSION: u32 = 1;
const MANIFEST: &str = "manifest.json";
/// No manifest is larger.
const MANIFEST_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// How long an optimisation may take to end once no more is written.
const CALM: Duration = Duration::from_secs(3600);
/// What of the shard's folder is kept. The rest is the log, and leftovers.
const KEPT: [&str; 3] = ["segments", "edge_config.json", "payload_index.json"];

#[derive(Deserialize, Serialize)]
struct Manifest {
    format: String,
    version: u32,
    next_operation: u64,
    record: Record,
    files: Vec<Listed>,
}

#[derive(Deserialize, Serialize)]
struct Listed {
    path: PathBuf,
    bytes: u64,
    crc32c: u32,
}

/// Writes the collection into a new file. Blocks.
pub(super) fn write(shard: &Shard, into: &Path) -> Result<()> {
    let mut gate = shard.gate.lock();
    if !shard.calm_down(&mut gate, Instant::now() + CALM) {
        return Err(refuse::timed_out("an optimisation did not end"));
    }
    if !shard.flush(&mut gate) || gate.is_suspect {
        return Err(refuse::service_error("the segments cannot be written out"));
    }
    shard.read(|_| {
        let files = list(&shard.home)?;
        let manifest = Manifest {
            format: FORMAT.to_owned(),
            version: VERSION,
            next_operation: gate.next,
            record: Record::new(shard.serial, &shard.declared()),
            files,
        };
        let beside = into.with_extension("partial");
        let taken = taken(&shard.home, &manifest.files);
        let taken = taken.map_err(|error| cannot("read", &shard.home, error))?;
        has_room_for(into, taken)?;
        let written = pack(&shard.home, &manifest, &beside)
            .and_then(|()| fs::rename(&beside, into))
            .and_then(|()| into.parent().map_or(Ok(()), folder::sync_folder));
        written.map_err(|error| {
            drop(folder::remove(&beside));
            cannot("write", into, error)
        })
    })
}

/// What the files take on the disk: most of them are holes.
fn taken(home: &Path, files: &[Listed]) -> io::Result<u64> {
    files.iter().try_fold(0, |sum, file| {
        let blocks = fs::metadata(home.join(&file.path))?.blocks();
        Ok(sum + blocks * 512)
    })
}

/// Whether `bytes` fit beside what writes need.
fn has_room_for(path: &Path, bytes: u64) -> Result<()> {
    let folder = path.parent().unwrap_or(path);
    folder::has_room(folder, bytes.saturating_add(folder::WRITE_BYTES))
}

fn pack(home: &Path, manifest: &Manifest, into: &Path) -> io::Result<()> {
    // Chunks of vectors are mostly holes: they stay holes in the archive.
    let mut archive = tar::Builder::new(File::create(into)?);
    let bytes = serde_json::to_vec(manifest)?;
    let mut head = tar::Header::new_gnu();
    head.set_size(u64::try_from(bytes.len()).map_err(io::Error::other)?);
    head.set_mode(0o644);
    archive.append_data(&mut head, MANIFEST, bytes.as_slice())?;
    for file in &manifest.files {
        archive.append_path_with_name(home.join(&file.path), &file.path)?;
    }
    archive.into_inner()?.sync_all()
}

fn list(home: &Path) -> Result<Vec<Listed>> {
    let mut files = Vec::new();
    for kept in KEPT {
        let path = Path::new("shard").join(kept);
        if home.join(&path).exists() {
            walk(home, path, &mut files).map_err(|error| cannot("read", home, error))?;
        }
    }
    Ok(files)
}

fn walk(home: &Path, path: PathBuf, files: &mut Vec<Listed>) -> io::Result<()> {
    let full = home.join(&path);
    if !full.is_dir() {
        let (bytes, crc32c) = measure(&full)?;
        files.push(Listed {
            path,
            bytes,
            crc32c,
        });
        return Ok(());
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(&full)? {
        names.push(entry?.file_name());
    }
    names.sort();
    names
        .into_iter()
        .try_for_each(|name| walk(home, path.join(name), files))
}

/// Size and checksum of a file.
fn measure(path: &Path) -> io::Result<(u64, u32)> {
    let mut file = File::open(path)?;
    let (mut bytes, mut crc) = (0, 0);
    let mut buffer = vec![0; 1024 * 1024];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok((bytes, crc));
        }
        crc = log::crc32c(crc, buffer.get(..read).unwrap_or_default());
        bytes += u64::try_from(read).map_err(io::Error::other)?;
    }
}

/// Puts a snapshot in place of the collection `name`, or makes it. Returns what it replaced.
/// Blocks.
pub(super) fn restore(catalog: &Catalog, name: &str, from: &Path) -> Result<Option<Arc<Shard>>> {
    let home = catalog.new_home()?;
    let made = prepare(catalog, name, from, &home);
    let replaced = made.and_then(|shard| catalog.replace(name, shard));
    if replaced.is_err() {
        catalog::discard(&home);
    }
    let replaced = replaced?;
    if let Some(replaced) = &replaced {
        catalog::mark_deleted(&replaced.home)?;
    }
    Ok(replaced)
}

fn prepare(catalog: &Catalog, name: &str, from: &Path, home: &Path) -> Result<Shard> {
    let manifest = unpack(from, home)?;
    let next = manifest.next_operation;
    let wal = home.join("shard/wal");
    log::create_empty(&wal, next).map_err(|error| cannot("make", &wal, error))?;
    Checkpoint::new(next, false).write(home)?;
    let record = Record {
        name: name.to_owned(),
        serial: catalog.next_serial(),
        ..manifest.record
    };
    let opened = recover::open(home, record.clone())?;
    let record = Record::new(record.serial, &opened.declared);
    Ok(Shard::new(
        home.to_path_buf(),
        record,
        Seat::Open(Box::new(opened.shard)),
        opened.gate,
    ))
}

/// Unpacks into `home`, and checks that all is there and as it was.
fn unpack(from: &Path, home: &Path) -> Result<Manifest> {
    let bad = |error: io::Error| damaged(&error.to_string());
    let file = File::open(from).map_err(|error| cannot("read", from, error))?;
    let mut archive = tar::Archive::new(file);
    let mut entries = archive.entries().map_err(bad)?;
    let manifest = match entries.next() {
        Some(entry) => manifest(&mut entry.map_err(bad)?)?,
        None => return Err(damaged("it is empty")),
    };
    let bytes = fs::metadata(from).map_err(|error| cannot("read", from, error))?;
    has_room_for(home, bytes.len())?;
    let mut left: std::collections::HashMap<_, _> = manifest
        .files
        .iter()
        .map(|file| (file.path.as_path(), file))
        .collect();
    for entry in entries {
        let mut entry = entry.map_err(bad)?;
        let path = entry.path().map_err(bad)?.into_owned();
        let is_file =
            entry.header().entry_type().is_file() || entry.header().entry_type().is_gnu_sparse();
        let listed = left
            .remove(path.as_path())
            .filter(|_| is_file && is_kept(&path));
        let listed = listed.ok_or_else(|| damaged("it holds a file that it should not"))?;
        if entry.size() != listed.bytes {
            return Err(damaged(&format!("{} has another size", path.display())));
        }
        let to = home.join(&path);
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder).map_err(|error| cannot("make", folder, error))?;
        }
        entry.unpack(&to).map_err(bad)?;
        // The engine syncs what it writes itself; of these files it may never write one.
        let synced = File::open(&to).and_then(|file| file.sync_all());
        synced.map_err(|error| cannot("write", &to, error))?;
        let (bytes, crc32c) = measure(&to).map_err(bad)?;
        if (bytes, crc32c) != (listed.bytes, listed.crc32c) {
            return Err(damaged(&format!(
                "{} is not what was written",
                path.display()
            )));
        }
    }
    match left.keys().next() {
        None => {
            sync_folders(home).map_err(|error| cannot("write", home, error))?;
            Ok(manifest)
        }
        Some(path) => Err(damaged(&format!("{} is missing", path.display()))),
    }
}

fn sync_folders(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            sync_folders(&path)?;
        }
    }
    folder::sync_folder(folder)
}

fn manifest(entry: &mut tar::Entry<'_, File>) -> Result<Manifest> {
    let path = entry
        .path()
        .map_err(|error| damaged(&error.to_string()))?
        .into_owned();
    if path != Path::new(MANIFEST) || entry.size() > MANIFEST_BYTES_MAX {
        return Err(damaged(
            "it is not one of Outrigger's own; snapshots of a Qdrant server cannot be recovered here",
        ));
    }
    let manifest: Manifest = serde_json::from_reader(entry.take(MANIFEST_BYTES_MAX))
        .map_err(|error| damaged(&error.to_string()))?;
    if manifest.format != FORMAT || manifest.version != VERSION {
        let (format, version) = (&manifest.format, manifest.version);
        return Err(damaged(&format!("its format is {format} {version}")));
    }
    Ok(manifest)
}

/// A path of one of the files that a snapshot is made of: it stays in the folder it is unpacked
/// into, and is none of those by which this store knows what a folder is.
fn is_kept(path: &Path) -> bool {
    let is_inside = path
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    let is_ours = |kept: &str| path.starts_with(Path::new("shard").join(kept));
    is_inside && KEPT.into_iter().any(is_ours)
}

fn damaged(why: &str) -> Error {
    refuse::bad_request(&format!("the snapshot cannot be recovered: {why}"))
}

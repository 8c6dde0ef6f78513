//! All collections of a data folder, and the aliases that lead to them.
//!
//! Making, deleting and renaming are one at a time. A collection exists from the moment its record
//! is in its folder and the mark `making` is not; it is gone from the moment the mark `deleted` is
//! there, and its files go when the last call in it has ended.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use qdrant_edge::EdgeShard;
use serde::{Deserialize, Serialize};
use tracing::{error, info, warn};

use super::folder::{self, DataFolder, FORMAT, cannot};
use super::record::{Checkpoint, Record};
use super::shard::{Gate, Seat, Shard, write_payload_indexes};
use super::{recover, write};
use crate::error::{Error, ErrorKind, Origin, Result, Retry};
use crate::store::engine::Collection;
use crate::store::{declared, refused};
use crate::wire::rest::{CollectionConfig, refuse};

const MAKING: &str = "making";
const DELETED: &str = "deleted";
/// What the name of a folder begins with that is being removed.
const GONE: &str = "gone-";

pub(super) struct Catalog {
    folder: DataFolder,
    shards: RwLock<BTreeMap<String, Arc<Shard>>>,
    aliases: RwLock<Arc<BTreeMap<String, String>>>,
    /// Held while collections or aliases change.
    changing: Mutex<()>,
    serial: AtomicU64,
}

/// `aliases.json`.
#[derive(Deserialize, Serialize)]
struct AliasFile {
    version: u32,
    aliases: BTreeMap<String, String>,
}

impl Catalog {
    /// Opens whatever is in the folder. A collection that is damaged is named, and answers calls
    /// with what is wrong; the others open.
    pub(super) fn open(root: &Path) -> Result<Self> {
        let folder = DataFolder::take(root)?;
        let aliases = read_aliases(&folder.aliases())?;
        let catalog = Self {
            folder,
            shards: RwLock::default(),
            aliases: RwLock::new(Arc::new(aliases)),
            changing: Mutex::new(()),
            serial: AtomicU64::new(1),
        };
        catalog.open_all()?;
        Ok(catalog)
    }

    pub(super) fn id(&self) -> &str {
        self.folder.id()
    }

    fn open_all(&self) -> Result<()> {
        let home = self.folder.collections();
        let entries = fs::read_dir(&home).map_err(|error| cannot("list", &home, error))?;
        let mut records: HashMap<String, (PathBuf, Record)> = HashMap::new();
        let (mut gone, mut ended) = (HashSet::new(), Vec::new());
        for entry in entries {
            let path = entry.map_err(|error| cannot("list", &home, error))?.path();
            let is_gone = entry_name(&path).starts_with(GONE);
            if is_gone || path.join(DELETED).exists() || path.join(MAKING).exists() {
                if let Ok(Some(record)) = Record::read(&path) {
                    gone.insert(record.name);
                }
                // Its aliases are still to go, and only it says whose they are.
                ended.push(path);
                continue;
            }
            match Record::read(&path) {
                Ok(Some(record)) => {
                    self.serial.fetch_max(record.serial + 1, Ordering::Relaxed);
                    let name = record.name.clone();
                    let known = records.get(&name).map(|(_, known)| known.serial);
                    if known.is_none_or(|serial| serial < record.serial) {
                        if let Some((older, _)) = records.insert(name, (path, record)) {
                            discard(&older);
                        }
                    } else {
                        discard(&path);
                    }
                }
                Ok(None) => left_alone(&path, "it has no collection.json"),
                Err(error) => left_alone(&path, &error.chain()),
            }
        }
        gone.retain(|name| !records.contains_key(name));
        self.drop_aliases(|real| gone.contains(real))?;
        ended.iter().for_each(|path| discard(path));
        let mut shards = self.shards.write();
        for (name, (path, record)) in records {
            shards.insert(name, Arc::new(open_one(path, record)));
        }
        Ok(())
    }

    pub(super) fn snapshots(&self) -> &Path {
        self.folder.snapshots()
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.shards.read().keys().cloned().collect()
    }

    pub(super) fn all(&self) -> Vec<Arc<Shard>> {
        self.shards.read().values().cloned().collect()
    }

    pub(super) fn find(&self, name: &str) -> Option<Arc<Shard>> {
        self.shards.read().get(name).cloned()
    }

    pub(super) fn get(&self, name: &str) -> Result<Arc<Shard>> {
        self.find(name).ok_or_else(|| refuse::no_collection(name))
    }

    pub(super) fn create(&self, name: &str, config: CollectionConfig) -> Result<()> {
        let _changing = self.changing.lock();
        if self.find(name).is_some() {
            return Err(Error::new(
                ErrorKind::Conflict,
                Origin::Client,
                Retry::Never,
                format!("Wrong input: Collection `{name}` already exists!"),
            ));
        }
        let declared = Collection {
            name: name.to_owned(),
            config,
            payload_schema: HashMap::new(),
        };
        let record = Record::new(self.next_serial(), &declared);
        let home = self.new_home()?;
        let made = make(&home, record, &declared);
        if made.is_err() {
            discard(&home);
        }
        self.shards.write().insert(name.to_owned(), Arc::new(made?));
        Ok(())
    }

    pub(super) fn next_serial(&self) -> u64 {
        self.serial.fetch_add(1, Ordering::Relaxed)
    }

    /// A new folder, marked as not yet a collection.
    pub(super) fn new_home(&self) -> Result<PathBuf> {
        let all = self.folder.collections();
        folder::has_room(&all, folder::WRITE_BYTES)?;
        let home = all.join(uuid::Uuid::new_v4().to_string());
        let made = fs::create_dir(&home).and_then(|()| fs::write(home.join(MAKING), b""));
        made.map_err(|error| cannot("make", &home, error))?;
        Ok(home)
    }

    /// Puts a prepared shard in place of the one of its name, if there is one.
    pub(super) fn replace(&self, name: &str, shard: Shard) -> Result<Option<Arc<Shard>>> {
        let _changing = self.changing.lock();
        commit(&shard.home)?;
        Ok(self.shards.write().insert(name.to_owned(), Arc::new(shard)))
    }

    /// Takes a collection and the aliases that lead to it away; its files are left for `discard`.
    pub(super) fn delete(&self, name: &str) -> Result<Option<Arc<Shard>>> {
        let _changing = self.changing.lock();
        let Some(shard) = self.find(name) else {
            return Ok(None);
        };
        // The mark decides. Aliases that a crash leaves behind it go at the next start.
        mark_deleted(&shard.home)?;
        self.shards.write().remove(name);
        self.drop_aliases(|real| real == name)?;
        Ok(Some(shard))
    }

    fn drop_aliases(&self, is_gone: impl Fn(&str) -> bool) -> Result<()> {
        let mut aliases = BTreeMap::clone(&self.aliases.read());
        let before = aliases.len();
        aliases.retain(|_, real| !is_gone(real));
        if aliases.len() == before {
            return Ok(());
        }
        self.write_aliases(aliases)
    }

    pub(super) fn aliases(&self) -> Arc<BTreeMap<String, String>> {
        Arc::clone(&self.aliases.read())
    }

    pub(super) fn set_aliases(
        &self,
        before: &BTreeMap<String, String>,
        aliases: BTreeMap<String, String>,
    ) -> Result<bool> {
        let _changing = self.changing.lock();
        if **self.aliases.read() != *before {
            return Ok(false);
        }
        self.write_aliases(aliases)?;
        Ok(true)
    }

    fn write_aliases(&self, aliases: BTreeMap<String, String>) -> Result<()> {
        let file = AliasFile {
            version: FORMAT,
            aliases,
        };
        folder::write_json(&self.folder.aliases(), &file)?;
        *self.aliases.write() = Arc::new(file.aliases);
        Ok(())
    }
}

/// Damaged aliases keep no collection from being served: they are put aside, and told.
fn read_aliases(path: &Path) -> Result<BTreeMap<String, String>> {
    match folder::read_json::<AliasFile>(path) {
        Ok(file) => Ok(file.map_or_else(BTreeMap::new, |file| file.aliases)),
        Err(why) => {
            let aside = path.with_extension("damaged");
            fs::rename(path, &aside).map_err(|error| cannot("put aside", path, error))?;
            error!(file = %path.display(), kept_as = %aside.display(), error = %why.chain(), "the aliases are damaged; the collections are served without them");
            Ok(BTreeMap::new())
        }
    }
}

/// Without its record a collection has no name to be known by.
fn left_alone(home: &Path, why: &str) {
    error!(folder = %home.display(), why, "a collection's folder cannot be read; it is left alone");
}

fn entry_name(path: &Path) -> &str {
    path.file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default()
}

fn open_one(home: PathBuf, record: Record) -> Shard {
    let name = record.name.clone();
    match recover::open(&home, record.clone()) {
        Ok(opened) => {
            let record = Record::new(record.serial, &opened.declared);
            Shard::new(
                home,
                record,
                Seat::Open(Box::new(opened.shard)),
                opened.gate,
            )
        }
        Err(error) => {
            error!(collection = name, folder = %home.display(), error = %error.chain(), "the collection is damaged and cannot be opened; the others are served");
            Shard::new(home, record, Seat::Closed(error.chain()), Gate::new(0, 0))
        }
    }
}

/// Makes a shard in `home`, durably.
fn make(home: &Path, record: Record, declared: &Collection) -> Result<Shard> {
    let folder = home.join("shard");
    fs::create_dir(&folder).map_err(|error| cannot("make", &folder, error))?;
    let edge_config = declared::edge_config(&declared.config);
    let shard = refused::read(|| EdgeShard::new(&folder, edge_config))?;
    // Operations of clients begin at 1, as Qdrant's do.
    refused::read(|| shard.update(write::upsert(Vec::new())))?;
    refused::read(|| {
        shard.flush();
        Ok(())
    })?;
    Checkpoint::new(1, false).write(home)?;
    write_payload_indexes(&folder, declared)?;
    record.write(home)?;
    commit(home)?;
    Ok(Shard::new(
        home.to_path_buf(),
        record,
        Seat::Open(Box::new(shard)),
        Gate::new(1, 1),
    ))
}

/// Makes a prepared folder a collection.
fn commit(home: &Path) -> Result<()> {
    let done = folder::remove(&home.join(MAKING)).and_then(|()| folder::sync_folder(home));
    let synced = done.and_then(|()| home.parent().map_or(Ok(()), folder::sync_folder));
    synced.map_err(|error| cannot("finish", home, error))
}

pub(super) fn mark_deleted(home: &Path) -> Result<()> {
    folder::write_whole(&home.join(DELETED), b"").map_err(|error| cannot("delete", home, error))
}

/// Ends a deleted shard and removes its files. Blocks until the last call in it is over.
pub(super) fn dispose(shard: &Shard) {
    // Writes that wait for room in its log need none any more.
    shard.room.send_replace(true);
    // Not at the seat, where those who come after one that waits wait too: an optimisation may
    // have long to go, and what still reads here would keep the turns of other collections.
    shard.wait_for_calm();
    let old = std::mem::replace(&mut *shard.seat.write(), Seat::Deleted);
    drop(refused::guarded(|| {
        drop(old);
        Ok(())
    }));
    discard(&shard.home);
    info!(collection = shard.name(), "deleted");
}

/// Removes a folder that is no collection any more. What cannot be removed now is at the next
/// start: it is renamed first, for its mark may go before its record does.
pub(super) fn discard(home: &Path) {
    let name = entry_name(home).trim_start_matches(GONE);
    let gone = home.with_file_name(format!("{GONE}{name}"));
    if let Err(error) = fs::rename(home, &gone).and_then(|()| folder::remove(&gone)) {
        warn!(folder = %home.display(), %error, "remove a deleted collection's files");
    }
}

//! Opening a shard: what the log holds and the segments do not is applied again.
//!
//! The engine does not replay its log. So the log is put aside (`wal.old`), the shard is opened on
//! an empty log that goes on at the checkpoint, and the operations are applied again under their
//! old numbers; points that have seen one already skip it. Every step may be cut short and is then
//! done again from the start: `wal.old` goes last.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use qdrant_edge::{
    Condition, CountRequest, EdgeShard, Filter, PointId, PointOperations, PointStructPersisted,
    ScrollRequest, UpdateOperation, VectorStructInternal, VectorStructPersisted,
    WithPayloadInterface, WithVector,
};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tracing::{info, warn};

use super::folder::{self, FORMAT, cannot};
use super::log::{self, Log};
use super::record::{Checkpoint, Inventory, Record};
use super::shard::{Gate, Seat, Shard, write_payload_indexes};
use super::{weigh, write};
use crate::error::{Error, Result};
use crate::store::check;
use crate::store::declared::{self, SchemaChange};
use crate::store::engine::Collection;
use crate::store::refused::{self, Fault};

/// Copies of points on their way out of the segments and back in.
const REPAIR: &str = "repair.json";
const PAGE: usize = 4096;
/// A shard that broke is not reopened more often than this.
const REOPEN_PAUSE: Duration = Duration::from_secs(10);

/// A shard as it was found in its folder.
pub(super) struct Opened {
    pub(super) shard: EdgeShard,
    pub(super) gate: Gate,
    /// With what the log had and the record had not.
    pub(super) declared: Collection,
}

/// A panic on the way, one while closing what could not be opened included, is an error.
pub(super) fn open(home: &Path, record: Record) -> Result<Opened> {
    let opened = refused::guarded(|| Ok(open_unguarded(home, record)));
    opened.map_err(Fault::into_error)?
}

fn open_unguarded(home: &Path, record: Record) -> Result<Opened> {
    folder::has_room(home, folder::OPEN_BYTES)?;
    let folder = home.join("shard");
    let checkpoint = Checkpoint::read(home)?;
    let serial = record.serial;
    let mut declared = record.declared();
    weigh::write(&folder, &declared::edge_config(&declared.config))?;
    let (shard, next) = if checkpoint.is_clean {
        let next = checkpoint.operation;
        Inventory::check(home)?;
        Checkpoint::new(next, false).write(home)?;
        // The log has nothing that the segments have not. A new one is sure to go on at `next`,
        // whatever has become of the old: numbers given twice would be writes that do nothing.
        let wal = folder.join("wal");
        let renewed = folder::remove(&wal).and_then(|()| log::create_empty(&wal, next));
        renewed.map_err(|error| cannot("put in order", &wal, error))?;
        (refused::read(|| EdgeShard::load(&folder, None))?, next)
    } else {
        replay(home, checkpoint, &mut declared)?
    };
    if !checkpoint.is_clean {
        Record::new(serial, &declared).write(home)?;
        write_payload_indexes(&folder, &declared)?;
    }
    let mut gate = Gate::new(next, next);
    gate.reload_due = *shard.config() != declared::edge_config(&declared.config);
    Ok(Opened {
        shard,
        gate,
        declared,
    })
}

/// Opens the shard and brings it to where its log ends.
fn replay(home: &Path, noted: Checkpoint, declared: &mut Collection) -> Result<(EdgeShard, u64)> {
    let (folder, checkpoint) = (home.join("shard"), noted.operation);
    let (wal, aside) = (folder.join("wal"), folder.join("wal.old"));
    let tidy = |path: &Path, done: std::io::Result<()>| {
        done.map_err(|error| cannot("put in order", path, error))
    };
    if aside.exists() {
        tidy(&wal, folder::remove(&wal))?;
    } else if wal.exists() {
        tidy(&wal, fs::rename(&wal, &aside))?;
    }
    let had_log = aside.exists();
    if !had_log {
        tidy(&aside, fs::create_dir_all(&aside))?;
    }
    tidy(&wal, folder::remove(&wal))?;
    tidy(&wal, log::create_empty(&wal, checkpoint))?;
    let temporary = folder.join("temp_segments");
    tidy(&temporary, folder::remove(&temporary))?;

    let mut shard = refused::read(|| EdgeShard::load(&folder, None))?;
    let old = Log::look(&aside).map_err(|error| cannot("read", &aside, error))?;
    let mut from = checkpoint;
    if old.is_empty() {
        // Without a log the numbering is what the segments know of it.
        from = from.max(numbers_in_segments(&shard)?);
        drop(shard);
        tidy(&wal, folder::remove(&wal))?;
        tidy(&wal, log::create_empty(&wal, from))?;
        shard = refused::read(|| EdgeShard::load(&folder, None))?;
    }
    let mut replayer = Replayer {
        shard: &shard,
        declared,
        next: from,
        broke_at: noted.broke_at,
        replayed: 0,
        upserted: Vec::new(),
        broken: None,
    };
    let end = old.replay(from, |number, operation| replayer.apply(number, operation));
    let end = end.map_err(|error| cannot("replay", &aside, error))?;
    replayer.fill_up_to(end);
    // The log stays where it is: what is in it was acknowledged.
    if let Some(error) = replayer.broken {
        return Err(error);
    }
    let (mut next, replayed) = (replayer.next, replayer.replayed);
    // The kill may have come between an upsert and what it still had to take away.
    for leftover in write::leftovers(&shard, replayer.upserted)? {
        update(&shard, leftover, &mut next)?;
    }
    let healed = heal(home, &shard, &mut next)?;
    if replayed > 0 || healed > 0 {
        info!(
            collection = declared.name,
            replayed, healed, "recovered what was not yet in the segments"
        );
    }
    settle(home, &shard, next)?;
    tidy(&aside, folder::remove(&aside))?;
    Ok((shard, next))
}

struct Replayer<'r> {
    shard: &'r EdgeShard,
    declared: &'r mut Collection,
    next: u64,
    /// An operation that is left out: the engine broke in it when it was written.
    broke_at: Option<u64>,
    replayed: u64,
    /// What the last operation wrote, if it was an upsert, and what it left out.
    upserted: Vec<(PointId, Vec<String>)>,
    /// The disk, the data, or a bug: nothing is applied after this.
    broken: Option<Error>,
}

impl Replayer<'_> {
    fn apply(&mut self, number: u64, mut operation: UpdateOperation) {
        self.fill_up_to(number);
        if self.broken.is_some() || self.broke_at == Some(number) {
            return;
        }
        check::as_fits_now(&self.shard.config(), &mut operation);
        self.upserted = write::left_out(self.shard, &operation);
        match write::only_what_is_there(self.shard, operation) {
            Ok(Some(operation)) => self.update(operation),
            Ok(None) => {}
            Err(error) => self.broken = Some(error),
        }
    }

    fn update(&mut self, operation: UpdateOperation) {
        let number = self.next;
        let change = SchemaChange::of(&operation);
        match refused::guarded(|| self.shard.update(operation)) {
            Ok(()) => {
                self.replayed += 1;
                if let Some(change) = change {
                    change.apply(self.declared);
                }
            }
            // What was refused when it was written is refused again, and is in nobody's answer.
            Err(fault @ Fault::Refused(_)) => {
                let error = fault.into_error();
                warn!(number, %error, "an operation in the log is refused again");
            }
            Err(fault @ (Fault::Broken(_) | Fault::Panicked(_))) => {
                self.broken = Some(fault.into_error());
            }
        }
        self.next += 1;
    }

    /// Takes up the numbers of operations that cannot be read, so that those after them keep
    /// theirs.
    fn fill_up_to(&mut self, number: u64) {
        while self.next < number && self.broken.is_none() {
            self.update(write::upsert(Vec::new()));
        }
    }
}

/// A number above every operation that the segments have seen.
fn numbers_in_segments(shard: &EdgeShard) -> Result<u64> {
    let manifest = refused::read(|| shard.snapshot_manifest())?;
    let manifest = serde_json::to_value(manifest).unwrap_or_default();
    let segments = manifest.as_object().into_iter().flatten();
    let versions = segments.filter_map(|(_, segment)| segment.get("segment_version")?.as_u64());
    Ok(versions.max().map_or(0, |version| version + 1))
}

/// Opens a shard that broke anew, from its log.
pub(super) fn reopen(of: &Shard, gate: &mut Gate) -> Result<()> {
    let refuse = |why: &str| {
        Err(crate::wire::rest::refuse::service_error(&format!(
            "collection `{}` is being brought back after a fault: {why}",
            of.name()
        )))
    };
    if gate.is_optimising {
        return refuse("an optimisation has to end first");
    }
    if gate
        .reopened_at
        .is_some_and(|at| at.elapsed() < REOPEN_PAUSE)
    {
        return refuse("it was tried a moment ago");
    }
    gate.reopened_at = Some(Instant::now());
    let mut seat = of.seat.write();
    if matches!(*seat, Seat::Deleted) {
        return Ok(());
    }
    // Closing flushes, and a broken shard may not survive that; the log has it all.
    let old = std::mem::replace(&mut *seat, Seat::Closed("it is being reopened".to_owned()));
    drop(refused::guarded(|| {
        drop(old);
        Ok(())
    }));
    let record = Record::new(of.serial, &of.declared());
    match open(&of.home, record) {
        Ok(opened) => {
            *seat = Seat::Open(Box::new(opened.shard));
            let tried = gate.reopened_at;
            *gate = opened.gate;
            gate.reopened_at = tried;
            of.take_declared(opened.declared, gate.next);
            *of.signs.fault.lock() = None;
            info!(collection = of.name(), "the collection is open again");
            Ok(())
        }
        Err(error) => {
            *seat = Seat::Closed(error.chain());
            of.blame(&error.chain());
            Err(error)
        }
    }
}

/// Opens a sound shard anew, for a configuration that only an opening takes over.
pub(super) fn reload(of: &Shard, gate: &mut Gate) -> Result<()> {
    if !of.flush(gate) {
        return Ok(());
    }
    let wanted = declared::edge_config(&of.declared().config);
    let mut seat = of.seat.write();
    if !matches!(*seat, Seat::Open(_)) {
        return Ok(());
    }
    let old = std::mem::replace(&mut *seat, Seat::Closed("it is being reopened".to_owned()));
    drop(refused::guarded(|| {
        drop(old);
        Ok(())
    }));
    let folder = of.folder();
    let loaded = weigh::write(&folder, &wanted)
        .and_then(|()| refused::read(|| EdgeShard::load(&folder, Some(wanted))));
    // A configuration that the segments do not fit must not take the collection away.
    let loaded = loaded.or_else(|error| {
        of.blame(&format!(
            "the configuration cannot be put in force: {}",
            error.chain()
        ));
        refused::read(|| EdgeShard::load(&folder, None))
    });
    gate.reload_due = false;
    match loaded {
        Ok(shard) => {
            *seat = Seat::Open(Box::new(shard));
            of.signs.is_retuned.store(true, Ordering::Release);
            Ok(())
        }
        Err(error) => {
            gate.is_suspect = true;
            *seat = Seat::Closed(error.chain());
            of.blame(&error.chain());
            Err(error)
        }
    }
}

/// Points on their way out and back in.
#[derive(Deserialize, Serialize)]
struct Repair {
    version: u32,
    /// No operation after these may have a number below this one.
    next: u64,
    points: Vec<PointStructPersisted>,
}

/// An optimisation that was cut short at its end leaves two copies of the points it moved. Replay
/// heals copies of different ages; these here are of one age. They are taken out and put back, a
/// page at a time, with a copy beside until the page is in the segments.
fn heal(home: &Path, shard: &EdgeShard, next: &mut u64) -> Result<usize> {
    let path = home.join(REPAIR);
    if let Some(repair) = folder::read_json::<Repair>(&path)? {
        let ids: Vec<_> = repair.points.iter().map(|point| point.id).collect();
        let present: HashSet<_> = records(shard, &ids, false)?.iter().map(|r| r.id).collect();
        let mut missing = repair.points;
        missing.retain(|point| !present.contains(&point.id));
        while *next < repair.next {
            update(shard, write::upsert(Vec::new()), next)?;
        }
        update(shard, write::upsert(missing), next)?;
    }
    let mut healed = 0;
    for page in doubled_pages(shard)? {
        let doubled = doubles(shard, page)?;
        let found = records(shard, &doubled, true)?;
        let points: Vec<_> = found.into_iter().map(as_written).collect();
        healed += points.len();
        let repair = Repair {
            version: FORMAT,
            next: *next + 2,
            points,
        };
        folder::write_json(&path, &repair)?;
        let delete = PointOperations::DeletePoints { ids: doubled };
        update(shard, UpdateOperation::PointOperation(delete), next)?;
        update(shard, write::upsert(repair.points), next)?;
        settle(home, shard, *next)?;
    }
    Ok(healed)
}

fn update(shard: &EdgeShard, operation: UpdateOperation, next: &mut u64) -> Result<()> {
    *next += 1;
    refused::read(|| shard.update(operation))
}

/// Puts everything into the segments and says so.
fn settle(home: &Path, shard: &EdgeShard, next: u64) -> Result<()> {
    refused::read(|| {
        shard.flush();
        Ok(())
    })?;
    Checkpoint::new(next, false).write(home)?;
    let repair = home.join(REPAIR);
    folder::remove(&repair).map_err(|error| cannot("remove", &repair, error))
}

fn as_written(record: qdrant_edge::Record) -> PointStructPersisted {
    PointStructPersisted {
        id: record.id,
        vector: record.vector.map_or_else(
            || VectorStructPersisted::Named(std::collections::HashMap::new()),
            |vector: VectorStructInternal| vector.into(),
        ),
        payload: Some(record.payload.unwrap_or_default()),
    }
}

fn records(shard: &EdgeShard, ids: &[PointId], whole: bool) -> Result<Vec<qdrant_edge::Record>> {
    let payload = Some(WithPayloadInterface::Bool(whole));
    refused::read(|| shard.retrieve(ids, payload, Some(WithVector::Bool(whole))))
}

/// Pages of ids among which some are there twice.
fn doubled_pages(shard: &EdgeShard) -> Result<Vec<Vec<PointId>>> {
    let (mut pages, mut total, mut offset) = (Vec::new(), 0, None);
    loop {
        let request = ScrollRequest {
            offset,
            limit: Some(PAGE),
            with_payload: Some(WithPayloadInterface::Bool(false)),
            ..ScrollRequest::default()
        };
        let (records, next) = refused::read(|| shard.scroll(request))?;
        total += records.len();
        pages.push(
            records
                .into_iter()
                .map(|record| record.id)
                .collect::<Vec<_>>(),
        );
        match next {
            Some(next) => offset = Some(next),
            None => break,
        }
    }
    if super::read::points(shard)? == total {
        return Ok(Vec::new());
    }
    let mut doubled = Vec::new();
    for page in pages {
        if copies(shard, &page)? != page.len() {
            doubled.push(page);
        }
    }
    Ok(doubled)
}

/// Halves `ids` until only those are left that are there more than once.
fn doubles(shard: &EdgeShard, ids: Vec<PointId>) -> Result<Vec<PointId>> {
    let mut found = Vec::new();
    let mut left = vec![ids];
    while let Some(ids) = left.pop() {
        let copies = copies(shard, &ids)?;
        if copies == ids.len() {
            continue;
        }
        if ids.len() == 1 || copies == ids.len() * 2 {
            found.extend(ids);
            continue;
        }
        let (first, second) = ids.split_at(ids.len() / 2);
        left.push(first.to_vec());
        left.push(second.to_vec());
    }
    Ok(found)
}

fn copies(shard: &EdgeShard, ids: &[PointId]) -> Result<usize> {
    if ids.is_empty() {
        return Ok(0);
    }
    let filter = Filter::new_must(Condition::HasId(ids.iter().copied().collect()));
    refused::read(|| {
        shard.count(CountRequest {
            filter: Some(filter),
            exact: true,
        })
    })
}

//! One collection: the engine's shard, its declaration, and the gate that its writes pass.
//!
//! The gate is held by whoever changes the log or the segments as a whole: a write, a flush, the
//! start and the end of an optimisation, a reopening. Reads pass beside it. Locks are taken in
//! the order gate, seat, declared.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};
use qdrant_edge::{
    EdgeConfig, EdgeShard, OperationError, PayloadFieldSchema, UpdateOperation,
    VectorNameOperations,
};
use serde::Serialize;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tracing::{error, warn};

use super::record::{Checkpoint, Record};
use super::{folder, recover, write};
use crate::error::Result;
use crate::store::declared::{self, SchemaChange};
use crate::store::engine::{Collection, Condition, Health};
use crate::store::refused::{self, Fault, refused};
use crate::wire::rest::{CollectionConfig, refuse};

/// The engine's own list of payload indexes, which it reads and does not write.
const PAYLOAD_INDEXES: &str = "payload_index.json";

/// How long a change of the vectors waits for an optimisation to end.
const SCHEMA_PATIENCE: Duration = Duration::from_secs(20);

const OPTIMISATION_FAILED: &str = "the last optimisation failed";

pub(super) struct Shard {
    pub(super) home: PathBuf,
    pub(super) serial: u64,
    declared: RwLock<Arc<Collection>>,
    pub(super) seat: RwLock<Seat>,
    pub(super) gate: Mutex<Gate>,
    /// Told when an optimisation ends.
    pub(super) calm: Condvar,
    /// One writer at a time is let to the gate, first come first served, so that writes that wait
    /// take no threads.
    pub(super) turn: Arc<Semaphore>,
    /// Whether the log has room for more.
    pub(super) room: watch::Sender<bool>,
    pub(super) signs: Signs,
}

/// Where the engine's shard sits.
pub(super) enum Seat {
    Open(Box<EdgeShard>),
    /// It could not be opened, or was closed: why.
    Closed(String),
    Deleted,
}

pub(super) struct Gate {
    /// The number that the next operation gets.
    pub(super) next: u64,
    pub(super) checkpoint: u64,
    /// `next` when the segments were last written out.
    pub(super) flushed: u64,
    pub(super) flushed_at: Instant,
    /// A call broke off: what is in the log and the segments is not known until it is reopened.
    pub(super) is_suspect: bool,
    /// The engine has to be opened anew for a changed configuration.
    pub(super) reload_due: bool,
    pub(super) is_optimising: bool,
    pub(super) optimised_at: Instant,
    /// `next` at the keeper's last look.
    pub(super) seen: u64,
    pub(super) reopened_at: Option<Instant>,
}

impl Gate {
    pub(super) fn new(next: u64, checkpoint: u64) -> Self {
        Self {
            next,
            checkpoint,
            flushed: next,
            flushed_at: Instant::now(),
            is_suspect: false,
            reload_due: false,
            is_optimising: false,
            optimised_at: Instant::now(),
            seen: next,
            reopened_at: None,
        }
    }
}

/// What can be seen without the gate.
#[derive(Default)]
pub(super) struct Signs {
    /// Operations so far.
    pub(super) written: AtomicU64,
    /// `written` when the optimiser last found nothing to do.
    pub(super) settled: AtomicU64,
    pub(super) is_optimising: AtomicBool,
    /// The configuration has changed in a way that may have segments rebuilt.
    pub(super) is_retuned: AtomicBool,
    pub(super) is_queued: AtomicBool,
    /// Why the collection is red.
    pub(super) fault: Mutex<Option<String>>,
}

impl Shard {
    pub(super) fn new(home: PathBuf, record: Record, seat: Seat, gate: Gate) -> Self {
        let signs = Signs::default();
        signs.written.store(gate.next, Ordering::Relaxed);
        if let Seat::Closed(why) = &seat {
            *signs.fault.lock() = Some(why.clone());
        }
        Self {
            home,
            serial: record.serial,
            declared: RwLock::new(Arc::new(record.declared())),
            seat: RwLock::new(seat),
            gate: Mutex::new(gate),
            calm: Condvar::new(),
            turn: Arc::new(Semaphore::new(1)),
            room: watch::Sender::new(true),
            signs,
        }
    }

    pub(super) fn declared(&self) -> Arc<Collection> {
        Arc::clone(&self.declared.read())
    }

    pub(super) fn name(&self) -> String {
        self.declared.read().name.clone()
    }

    pub(super) fn folder(&self) -> PathBuf {
        self.home.join("shard")
    }

    /// Runs a read of the engine's. Blocks.
    pub(super) fn read<T>(&self, work: impl FnOnce(&EdgeShard) -> Result<T>) -> Result<T> {
        match &*self.seat.read() {
            Seat::Open(shard) => work(shard),
            Seat::Closed(why) => Err(refuse::service_error(&format!(
                "collection `{}` cannot be opened: {why}",
                self.name()
            ))),
            Seat::Deleted => Err(refuse::no_collection(&self.name())),
        }
    }

    /// Applies one write. Blocks.
    pub(super) fn apply(&self, operation: UpdateOperation) -> Result<u64> {
        let mut gate = self.gate.lock();
        folder::has_room(&self.home, folder::WRITE_BYTES)?;
        if gate.is_suspect {
            self.reopen(&mut gate)?;
        }
        self.settle_before(&mut gate, &operation);
        let (missing, result) = self.read(|shard| {
            let planned = write::plan(shard, operation)?;
            let mut result = Ok(gate.next);
            if let Some(operation) = planned.operation {
                result = self.update(&mut gate, shard, operation);
            }
            if result.is_ok() {
                for leftover in write::leftovers(shard, planned.taken)? {
                    result = self.update(&mut gate, shard, leftover);
                }
            }
            Ok((planned.missing, result))
        })?;
        let number = result?;
        match missing {
            Some(missed_point_id) => Err(refused(OperationError::PointIdError { missed_point_id })),
            None => Ok(number),
        }
    }

    /// A change of the schema shows in the segments at once, whatever the checkpoint is; what was
    /// written before it should not have to be replayed after it. A removed vector is gone with
    /// what filters knew of it, so that one waits a while for an optimisation to end.
    fn settle_before(&self, gate: &mut MutexGuard<'_, Gate>, operation: &UpdateOperation) {
        let waits = match operation {
            UpdateOperation::FieldIndexOperation(_) => false,
            UpdateOperation::VectorNameOperation(VectorNameOperations::CreateVectorName(_)) => {
                false
            }
            UpdateOperation::VectorNameOperation(VectorNameOperations::DeleteVectorName(_)) => true,
            UpdateOperation::PointOperation(_)
            | UpdateOperation::VectorOperation(_)
            | UpdateOperation::PayloadOperation(_) => return,
        };
        if waits {
            self.calm_down(gate, Instant::now() + SCHEMA_PATIENCE);
        }
        if !gate.is_optimising && gate.checkpoint != gate.next {
            self.flush(gate);
        }
    }

    /// Hands one operation to the engine, and counts it.
    pub(super) fn update(
        &self,
        gate: &mut Gate,
        shard: &EdgeShard,
        operation: UpdateOperation,
    ) -> Result<u64> {
        let schema = SchemaChange::of(&operation);
        let result = refused::guarded(|| shard.update(operation));
        let number = gate.next;
        match result {
            Ok(()) => {
                self.count(gate);
                if let Some(change) = schema
                    && let Err(error) = self.redeclare(change)
                {
                    // The log has the change; reopening declares it.
                    gate.is_suspect = true;
                    self.blame(&error.chain());
                    return Err(error);
                }
                Ok(number)
            }
            Err(fault @ Fault::Refused(_)) => {
                // It is in the log all the same, and has its number.
                self.count(gate);
                Err(fault.into_error())
            }
            Err(fault @ (Fault::Broken(_) | Fault::Panicked(_))) => {
                // Whether it is in the log is not known; reopening finds out, and leaves it out.
                gate.is_suspect = true;
                if let Err(error) = Checkpoint::broke_at(gate.checkpoint, number).write(&self.home)
                {
                    warn!(collection = self.name(), error = %error.chain(), "note the operation that broke off");
                }
                let fault = fault.into_error();
                self.blame(&fault.to_string());
                Err(fault)
            }
        }
    }

    fn count(&self, gate: &mut Gate) {
        gate.next += 1;
        self.signs.written.store(gate.next, Ordering::Release);
    }

    /// Turns the collection red, and says so.
    pub(super) fn blame(&self, why: &str) {
        error!(
            collection = self.name(),
            why, "the collection is in trouble"
        );
        *self.signs.fault.lock() = Some(why.to_owned());
    }

    fn redeclare(&self, change: SchemaChange) -> Result<()> {
        let mut declared = Collection::clone(&self.declared());
        change.apply(&mut declared);
        self.declare(declared)
    }

    /// Writes the declaration down, then puts it in force.
    fn declare(&self, declared: Collection) -> Result<()> {
        Record::new(self.serial, &declared).write(&self.home)?;
        write_payload_indexes(&self.folder(), &declared)?;
        *self.declared.write() = Arc::new(declared);
        Ok(())
    }

    /// Turns the collection red for as long as no later optimisation succeeds.
    pub(super) fn blame_optimiser(&self, why: &str) {
        self.blame(&format!("{OPTIMISATION_FAILED}: {why}"));
    }

    pub(super) fn praise_optimiser(&self) {
        let mut fault = self.signs.fault.lock();
        fault.take_if(|why| why.starts_with(OPTIMISATION_FAILED));
    }

    /// What a reopening found declared.
    pub(super) fn take_declared(&self, declared: Collection, next: u64) {
        *self.declared.write() = Arc::new(declared);
        self.signs.written.store(next, Ordering::Release);
    }

    pub(super) fn configure(
        &self,
        before: &CollectionConfig,
        config: CollectionConfig,
    ) -> Result<bool> {
        let mut gate = self.gate.lock();
        if self.declared().config != *before {
            return Ok(false);
        }
        let wanted = declared::edge_config(&config);
        let declared = Collection {
            config,
            ..Collection::clone(&self.declared())
        };
        self.declare(declared)?;
        self.read(|shard| {
            let present = shard.config().clone();
            if present == wanted {
                return Ok(());
            }
            self.signs.is_retuned.store(true, Ordering::Release);
            if declared::differs_in_tuning_only(&present, &wanted) {
                retune(shard, &wanted)
            } else {
                gate.reload_due = true;
                Ok(())
            }
        })?;
        // A changed weighting of sparse vectors is to be seen by the next search.
        if gate.reload_due && !gate.is_optimising {
            recover::reload(self, &mut gate)?;
        }
        Ok(true)
    }

    pub(super) fn reopen(&self, gate: &mut Gate) -> Result<()> {
        recover::reopen(self, gate)
    }

    pub(super) fn condition(&self) -> Result<Condition> {
        let fault = self.signs.fault.lock().clone();
        let found = self.read(|shard| refused::read(|| Ok((shard.info(), shard.config().clone()))));
        let (info, config) = match (found, &fault) {
            (Ok(found), _) => found,
            (Err(_), Some(why)) => return Ok(lost(why.clone())),
            (Err(error), None) => return Err(error),
        };
        let health = match fault {
            Some(why) => Health::Red(why),
            None if self.has_work(info.points_count, &config) => Health::Yellow,
            None => Health::Green,
        };
        Ok(Condition {
            health,
            points_count: info.points_count,
            indexed_vectors_count: info.indexed_vectors_count,
            segments_count: info.segments_count,
            index_points: info
                .payload_schema
                .into_iter()
                .map(|(field, index)| (field, index.points))
                .collect(),
        })
    }

    /// Whether an optimisation runs, or what was written since the last one may call for one.
    pub(super) fn has_work(&self, points: usize, config: &EdgeConfig) -> bool {
        let signs = &self.signs;
        if signs.is_optimising.load(Ordering::Acquire) || signs.is_retuned.load(Ordering::Acquire) {
            return true;
        }
        let written = signs.written.load(Ordering::Acquire);
        written != signs.settled.load(Ordering::Acquire) && may_be_due(points, config)
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        // The engine flushes when it is dropped, and panics if it cannot.
        let old = std::mem::replace(self.seat.get_mut(), Seat::Deleted);
        drop(refused::guarded(|| {
            drop(old);
            Ok(())
        }));
    }
}

/// Whether a collection of this size can have a segment worth optimising at all: one that is
/// large enough for an index, or for its deleted points to be swept out.
fn may_be_due(points: usize, config: &EdgeConfig) -> bool {
    let optimizers = &config.optimizers;
    let sweep = optimizers.vacuum_min_vector_number.unwrap_or(1000);
    if points >= sweep {
        return true;
    }
    let threshold = optimizers.indexing_threshold.unwrap_or(10_000);
    let largest = config
        .vectors
        .values()
        .map(|vector| vector.size)
        .max()
        .unwrap_or(0);
    let kilobytes = points.saturating_mul(largest).saturating_mul(4) / 1024;
    threshold > 0 && kilobytes >= threshold
}

fn lost(why: String) -> Condition {
    Condition {
        health: Health::Red(why),
        points_count: 0,
        indexed_vectors_count: 0,
        segments_count: 0,
        index_points: std::collections::HashMap::new(),
    }
}

/// Puts changed tuning in force in a running shard.
fn retune(shard: &EdgeShard, wanted: &EdgeConfig) -> Result<()> {
    refused::read(|| {
        shard.set_hnsw_config(wanted.hnsw_config)?;
        for (name, vector) in &wanted.vectors {
            if let Some(hnsw) = vector.hnsw_config {
                shard.set_vector_hnsw_config(name, hnsw)?;
            }
        }
        shard.set_optimizers_config(wanted.optimizers.clone())
    })
}

/// The list that the engine reads when it has to make a new segment while opening.
pub(super) fn write_payload_indexes(shard: &Path, declared: &Collection) -> Result<()> {
    #[derive(Serialize)]
    struct List<'d> {
        schema: std::collections::BTreeMap<String, &'d PayloadFieldSchema>,
    }
    let schema = declared.payload_schema.iter();
    let schema = schema
        .map(|(field, schema)| (field.to_string(), schema))
        .collect();
    folder::write_json(&shard.join(PAYLOAD_INDEXES), &List { schema })
}

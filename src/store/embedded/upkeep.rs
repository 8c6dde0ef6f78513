//! What goes on behind the calls: writing segments out, moving the checkpoint, cutting the log,
//! optimising, closing.
//!
//! The checkpoint may move only after a flush that no optimisation overlaps: while one runs,
//! deletions of the points it is working on are in memory alone.

use std::sync::atomic::Ordering;
use std::time::Duration;

use qdrant_edge::EdgeShard;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::log::Log;
use super::record::{Checkpoint, Inventory};
use super::shard::{Gate, Seat, Shard};
use crate::error::Result;
use crate::store::refused::{self, Fault};

/// How long written points may wait to be flushed. Until then the log has them.
const FLUSH_PAUSE: Duration = Duration::from_secs(5);
/// How far apart optimisations begin while writes go on.
const OPTIMISE_PAUSE: Duration = Duration::from_secs(3);
/// What a collection is given to close in when the time for all is up.
const CLOSE_PATIENCE: Duration = Duration::from_millis(100);
/// More log than this is not left to be replayed: new writes wait until the segments have it.
const LOG_BYTES_MAX: u64 = 1024 * 1024 * 1024;

impl Shard {
    /// One look, a few times a second. Blocks for as long as a flush takes; returns whether an
    /// optimisation should be begun.
    pub(super) fn look_after(&self) -> bool {
        // A held gate is a write or an index being built: there will be another look.
        let Some(mut gate) = self.gate.try_lock() else {
            return false;
        };
        let must_reopen = gate.is_suspect || (gate.reload_due && !gate.is_optimising);
        if must_reopen && let Err(error) = self.reload(&mut gate) {
            debug!(collection = self.name(), error = %error.chain(), "reopen a collection");
        }
        if gate.is_suspect {
            return false;
        }
        // Whoever else moved the checkpoint has made room that nobody was told of.
        if gate.next != gate.checkpoint || !*self.room.borrow() {
            self.keep_log_short(&mut gate);
        }
        let next = gate.next;
        let is_idle = std::mem::replace(&mut gate.seen, next) == next;
        let is_free = !gate.is_optimising && !self.signs.is_queued.load(Ordering::Acquire);
        // While points are pouring in, each optimisation would be out of date when it ends.
        is_free && (is_idle || gate.optimised_at.elapsed() >= OPTIMISE_PAUSE) && self.wants_work()
    }

    fn keep_log_short(&self, gate: &mut Gate) {
        let is_due = gate.next != gate.flushed && gate.flushed_at.elapsed() >= FLUSH_PAUSE;
        if is_due || self.log_is_full(gate) {
            self.flush(gate);
        }
        let has_room = gate.next == gate.checkpoint || !self.log_is_full(gate);
        if self.room.send_replace(has_room) && !has_room {
            warn!(
                collection = self.name(),
                "the log is full; writes wait until the segments have it"
            );
        }
    }

    /// Whether an optimisation has to be begun to find out that nothing is to be optimised.
    fn wants_work(&self) -> bool {
        let signs = &self.signs;
        let written = signs.written.load(Ordering::Acquire);
        let is_retuned = signs.is_retuned.load(Ordering::Acquire);
        if written == signs.settled.load(Ordering::Acquire) && !is_retuned {
            return false;
        }
        let work = self.read(|shard| {
            let points = super::read::points(shard)?;
            Ok(self.has_work(points, &shard.config()))
        });
        let has_work = work.unwrap_or(false);
        if !has_work {
            signs.settled.store(written, Ordering::Release);
        }
        has_work
    }

    fn log_is_full(&self, gate: &Gate) -> bool {
        let bytes = Log::look(&self.folder().join("wal"))
            .and_then(|log| log.bytes_since(gate.checkpoint))
            .unwrap_or(0);
        bytes > LOG_BYTES_MAX
    }

    fn reload(&self, gate: &mut Gate) -> Result<()> {
        if gate.is_suspect {
            return self.reopen(gate);
        }
        super::recover::reload(self, gate)
    }

    /// Writes the segments out, and moves the checkpoint if that is allowed.
    pub(super) fn flush(&self, gate: &mut Gate) -> bool {
        let flushed = self.read(|shard| flush(shard).map_err(Fault::into_error));
        if let Err(error) = flushed {
            // Met the moment in which an optimisation swaps segments, or the disk: the log still
            // has everything, and there will be another try.
            debug!(collection = self.name(), error = %error.chain(), "flush");
            return false;
        }
        (gate.flushed, gate.flushed_at) = (gate.next, Instant::now());
        if gate.is_optimising || gate.is_suspect || gate.checkpoint == gate.next {
            return true;
        }
        if let Err(error) = Checkpoint::new(gate.next, false).write(&self.home) {
            warn!(collection = self.name(), error = %error.chain(), "the checkpoint stays where it was");
            return true;
        }
        gate.checkpoint = gate.next;
        let trimmed = Log::look(&self.folder().join("wal")).and_then(|log| log.trim(gate.next));
        if let Err(error) = trimmed {
            warn!(collection = self.name(), %error, "the log stays as long as it was");
        }
        true
    }

    /// Runs the optimisers until they find nothing more to do. Blocks, for minutes perhaps; reads
    /// and writes go on.
    pub(super) fn optimise(&self) {
        let signs = &self.signs;
        signs.is_queued.store(false, Ordering::Release);
        let written = {
            let mut gate = self.gate.lock();
            if gate.is_optimising || gate.is_suspect || gate.reload_due || !self.flush(&mut gate) {
                return;
            }
            gate.is_optimising = true;
            gate.next
        };
        signs.is_optimising.store(true, Ordering::Release);
        let is_retuned = signs.is_retuned.swap(false, Ordering::AcqRel);
        let began = Instant::now();
        let done = self.read(|shard| Ok(refused::guarded(|| shard.optimize())));
        let mut gate = self.gate.lock();
        gate.is_optimising = false;
        gate.optimised_at = Instant::now();
        match done {
            Ok(Ok(did)) => {
                self.praise_optimiser();
                signs.settled.store(written, Ordering::Release);
                if did {
                    info!(collection = self.name(), took = ?began.elapsed(), "optimised");
                }
            }
            Ok(Err(fault)) => {
                // A panic leaves segments wrapped whose deletions are in memory alone: a flush
                // must not move the checkpoint past them before they are reopened.
                gate.is_suspect |= matches!(fault, Fault::Panicked(_));
                self.blame_optimiser(&fault.into_error().to_string());
                // Not again before something has changed.
                signs.settled.store(written, Ordering::Release);
            }
            // Deleted or closed meanwhile.
            Err(_) if is_retuned => signs.is_retuned.store(true, Ordering::Release),
            Err(_) => {}
        }
        signs.is_optimising.store(false, Ordering::Release);
        drop(gate);
        self.calm.notify_all();
    }

    /// Waits until no optimisation runs, at most until `deadline`. What it returns tells whether.
    pub(super) fn calm_down(
        &self,
        gate: &mut parking_lot::MutexGuard<'_, Gate>,
        deadline: Instant,
    ) -> bool {
        while gate.is_optimising {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || self.calm.wait_for(gate, left).timed_out() {
                return !gate.is_optimising;
            }
        }
        true
    }

    /// Waits until no optimisation runs, however long that takes.
    pub(super) fn wait_for_calm(&self) {
        let mut gate = self.gate.lock();
        while gate.is_optimising {
            self.calm.wait(&mut gate);
        }
    }

    /// Closes in good order, so that the next start has nothing to replay. A shard that cannot be
    /// closed in time is left as after a crash, which loses nothing.
    pub(super) fn close(&self, deadline: Instant) {
        // It may be held by something long: an index being built, a snapshot being written.
        let left = deadline.saturating_duration_since(Instant::now());
        let Some(mut gate) = self.gate.try_lock_for(left.max(CLOSE_PATIENCE)) else {
            return;
        };
        if !self.calm_down(&mut gate, deadline) || gate.is_suspect || !self.flush(&mut gate) {
            return;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let Some(mut seat) = self.seat.try_write_for(left.max(CLOSE_PATIENCE)) else {
            return;
        };
        if !matches!(*seat, Seat::Open(_)) {
            return;
        }
        let old = std::mem::replace(&mut *seat, Seat::Closed("it is shut down".to_owned()));
        let closed = refused::guarded(|| {
            drop(old);
            Ok(())
        });
        if closed.is_ok()
            && gate.checkpoint == gate.next
            && let Err(error) = Inventory::write(&self.home)
                .and_then(|()| Checkpoint::new(gate.next, true).write(&self.home))
        {
            debug!(collection = self.name(), error = %error.chain(), "note the clean close");
        }
    }
}

fn flush(shard: &EdgeShard) -> Result<(), Fault> {
    refused::guarded(|| {
        shard.flush();
        Ok(())
    })
}

//! The gate that every write goes through, and that the fence closes.
//!
//! A write takes a permit before it takes its snapshot of the mode and keeps it until it has ended.
//! So once the gate is closed and no permit is out, no write is under way, and none begins until it
//! is opened; those that come meanwhile wait for it, and find the mode that is in force then. They
//! wait in a bounded number and for a bounded time, and are told to come back past either.
//!
//! The gate is also where a sidecar is stopped whose lease has run out: it does not know any more
//! who the authority is. A write that began under a lease which ran out meanwhile must not be sent
//! (`Permit::check` before), and if it was, nobody may be told that it was done (`Permit::check`
//! after): the fence may have gone up and down without it.
//!
//! A change that holds no write (no authority moves) has to know when the last one has ended that may
//! go by the old modes: permits are told apart by whether they were given before the last `turn`.
//!
//! Reads never wait for the fence. A read that finds the lease run out, or the gate closed and what
//! is known old, waits for one look at the control store and is then served with what is known.
//!
//! Whoever closes the gate holds a guard: dropped in whatever way, a panic included, it opens.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::lease::{Lease, Term};
use crate::error::{Error, ErrorKind, Origin, Result, Retry};
use crate::metrics::Metrics;
use crate::model::Operation;

/// Writes that wait for the gate at one time.
const WAITING_MAX: usize = 1024;
/// How much longer than the fence may last a write waits for it.
const MARGIN: Duration = Duration::from_millis(500);
/// While the gate is closed, a read goes by what was seen so long ago and no longer.
const AGE_MAX_WHILE_CLOSED: Duration = Duration::from_millis(500);

pub struct Passage {
    state: Mutex<State>,
    /// Sent whenever the gate opens, or the last permit comes back.
    moves: watch::Sender<()>,
    lease: Lease,
    patience: Duration,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct State {
    closed_by: usize,
    under_way: usize,
    /// Of those, how many were given before the last turn.
    elder: usize,
    turns: u64,
    waiting: usize,
}

/// A write that may be under way. Not `Clone`: one write, one permit.
pub struct Permit {
    passage: Arc<Passage>,
    term: Term,
    turns: u64,
}

/// Whether an operation has to have a permit.
pub fn needs_permit(operation: Operation) -> bool {
    !operation.class().is_read()
}

impl Passage {
    /// Of a sidecar that is the only one there can be.
    pub fn alone(fence_timeout: Duration, metrics: Arc<Metrics>) -> Arc<Self> {
        Self::with(Lease::for_ever(), fence_timeout, metrics)
    }

    /// Of one of several: nothing may be written until it has been heard of.
    pub fn shared(fence_timeout: Duration, metrics: Arc<Metrics>) -> Arc<Self> {
        Self::with(Lease::lapsed(), fence_timeout, metrics)
    }

    fn with(lease: Lease, fence_timeout: Duration, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            moves: watch::Sender::new(()),
            lease,
            patience: fence_timeout + MARGIN,
            metrics,
        })
    }

    pub(super) fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Takes a permit for a write, and waits while the gate is closed.
    ///
    /// Cancel safety: safe.
    pub async fn enter(self: &Arc<Self>) -> Result<Permit> {
        if self.lease.term().is_none() {
            self.lease.look().await;
        }
        if let Some(permit) = self.try_enter()? {
            return Ok(permit);
        }
        let _place = self.wait_in_line()?;
        self.metrics.held_writes.inc();
        let mut moves = self.moves.subscribe();
        let until = Instant::now() + self.patience;
        loop {
            if let Some(permit) = self.try_enter()? {
                return Ok(permit);
            }
            if tokio::time::timeout_at(until, moves.changed())
                .await
                .is_err()
            {
                return Err(refusal(
                    "writes are held while the mode changes, and it takes longer than it should",
                ));
            }
        }
    }

    /// A permit for what does not wait: `None` while the gate is closed, or the lease run out.
    pub fn begin(self: &Arc<Self>) -> Option<Permit> {
        self.try_enter().ok().flatten()
    }

    /// What may be acted on at present, without a permit: the number of the lease's term, which is
    /// another after every gap, and when it ends unless it is renewed (`None`: never).
    pub fn held(&self) -> Option<(u64, Option<Instant>)> {
        let (term, until) = self.lease.held()?;
        Some((term.number(), until))
    }

    fn try_enter(self: &Arc<Self>) -> Result<Option<Permit>> {
        let mut state = self.state.lock();
        if state.closed_by > 0 {
            return Ok(None);
        }
        // Under the lock: whoever closes the gate after this sees the permit.
        let Some(term) = self.lease.term() else {
            return Err(lapsed());
        };
        state.under_way += 1;
        let turns = state.turns;
        drop(state);
        let passage = Arc::clone(self);
        Ok(Some(Permit {
            passage,
            term,
            turns,
        }))
    }

    fn wait_in_line(&self) -> Result<Place<'_>> {
        let mut state = self.state.lock();
        if state.waiting >= WAITING_MAX {
            return Err(refusal(
                "writes are held while the mode changes, and too many wait already",
            ));
        }
        state.waiting += 1;
        Ok(Place(self))
    }

    /// Before a read takes its snapshot. Waits only if what is known may be old.
    ///
    /// Cancel safety: safe.
    pub async fn reading(&self) {
        if self.is_doubtful() {
            self.lease.look_unless_in_vain().await;
        }
    }

    fn is_doubtful(&self) -> bool {
        let is_closed = self.state.lock().closed_by > 0;
        self.lease.term().is_none() || (is_closed && self.lease.age() > AGE_MAX_WHILE_CLOSED)
    }

    /// Closes the gate. It opens when every guard is gone.
    pub fn close(self: &Arc<Self>) -> Fence {
        self.state.lock().closed_by += 1;
        Fence {
            passage: Arc::clone(self),
            since: Instant::now(),
        }
    }

    /// Other modes are in force: whoever takes a permit from now on goes by them.
    pub(super) fn turn(&self) {
        let mut state = self.state.lock();
        state.turns += 1;
        state.elder = state.under_way;
    }

    /// Writes under way that may go by modes from before the last turn.
    pub(super) fn elders(&self) -> usize {
        self.state.lock().elder
    }

    /// Writes that have a permit now.
    pub fn under_way(&self) -> usize {
        self.state.lock().under_way
    }

    /// Writes that wait for the gate.
    pub fn waiting(&self) -> usize {
        self.state.lock().waiting
    }

    fn moved(&self) {
        self.moves.send_replace(());
    }
}

impl Permit {
    /// Whether the lease under which the write began has held since. To be asked right before the
    /// write is sent, and before anyone is told that it was done.
    pub fn check(&self) -> Result<()> {
        if self.passage.lease.term() == Some(self.term) {
            Ok(())
        } else {
            Err(lapsed())
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.passage.state.lock();
        state.under_way -= 1;
        if self.turns < state.turns {
            state.elder -= 1;
        }
        let was_last = state.under_way == 0 && state.closed_by > 0;
        drop(state);
        if was_last {
            self.passage.moved();
        }
    }
}

/// A place in the line before the closed gate.
struct Place<'p>(&'p Passage);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.state.lock().waiting -= 1;
    }
}

/// Keeps the gate closed.
pub struct Fence {
    passage: Arc<Passage>,
    since: Instant,
}

impl Fence {
    /// Returns once no write is under way any more.
    ///
    /// Cancel safety: safe.
    pub async fn drained(&self) {
        let mut moves = self.passage.moves.subscribe();
        while self.passage.under_way() > 0 {
            if moves.changed().await.is_err() {
                return;
            }
        }
    }

    pub fn held(&self) -> Duration {
        self.since.elapsed()
    }
}

impl Drop for Fence {
    fn drop(&mut self) {
        self.passage.state.lock().closed_by -= 1;
        let held = self.held().as_secs_f64();
        self.passage.metrics.fence_seconds.observe(held);
        self.passage.moved();
    }
}

fn refusal(text: &'static str) -> Error {
    Error::new(ErrorKind::Busy, Origin::Proxy, Retry::Safe, text)
}

fn lapsed() -> Error {
    refusal(
        "this sidecar has lost touch with the control store, so it does not know which store is \
         written first; nothing is written until it does",
    )
}

#[cfg(test)]
mod tests;

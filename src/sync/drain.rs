//! The drainer: takes marks, and has the follower made what the authority is where they point
//! (`copy`, `barriers`).
//!
//! The order that makes it right: marks are taken, then the authority is read, then the follower is
//! written, then the marks are cleared, and only those that are still as they were taken. Where
//! others may drain at the same time, the authority is read once more before that: what has moved
//! keeps its mark, so whoever writes to the follower last has written what is there. Nothing is
//! written or cleared without leave (`leave`), and nothing cleared by whoever has lost the lead: it
//! marks anew what it has sent (`done`).
//!
//! One collection that cannot be worked on holds up no other: each goes on by itself, and one about
//! which a store does not answer is left alone for longer and longer, and asked again.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{self, FuturesUnordered};
use tokio::time::{Instant, sleep};
use tracing::{debug, error, warn};

use super::blocks::spread;
use super::direction::Direction;
use crate::error::Result;
use crate::model::{Batch, Mark, Subject};
use crate::stage::Stage;

/// Marks worked off together: a page of points at either store.
pub(super) const MARKS_MAX: usize = 256;
/// Collections worked on at one time, but for those that are slow; and those too.
const SIDE_BY_SIDE: usize = 4;
const SIDE_BY_SIDE_MAX: usize = 64;
/// What takes longer than this is slow, and another may begin beside it.
const SLOW: Duration = Duration::from_secs(1);
/// The pause after the marks themselves were not to be had, and the longest.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// How long a collection that cannot be brought along is left alone.
const BLOCKED_PAUSE: Duration = Duration::from_secs(5);
/// How long nothing may be heard before one looks again all the same: marks of other sidecars wake
/// nobody here.
const LOOK: Duration = Duration::from_millis(250);
/// Who stands still for longer lets others have the lead.
const STILL_MAX: Duration = Duration::from_secs(5);
/// The same while something is worked on.
const LOOK_MEANWHILE: Duration = Duration::from_millis(50);

/// What one batch came to.
pub(super) enum Worked {
    /// So many points were put right.
    Done(u64),
    /// Not now: why.
    Blocked(Box<str>),
}

/// The collections that are worked on, and since when.
#[derive(Default)]
struct Busy {
    since: HashMap<Box<str>, Instant>,
    /// The last that was begun: the others have their turn next.
    last: Box<str>,
}

impl Busy {
    fn names(&self) -> Vec<Box<str>> {
        self.since.keys().cloned().collect()
    }

    /// How many more may be begun.
    fn room(&self) -> usize {
        let quick = self.since.values().filter(|at| at.elapsed() < SLOW);
        let beside = SIDE_BY_SIDE.saturating_sub(quick.count());
        beside.min(SIDE_BY_SIDE_MAX.saturating_sub(self.since.len()))
    }

    /// Those whose turn it is.
    fn turn(&mut self, mut batches: Vec<Batch>) -> Vec<Batch> {
        batches.sort_by(|one, other| one.collection.cmp(&other.collection));
        let next = batches.partition_point(|batch| batch.collection <= self.last);
        batches.rotate_left(next);
        batches.truncate(self.room());
        for batch in &batches {
            self.since.insert(batch.collection.clone(), Instant::now());
            self.last.clone_from(&batch.collection);
        }
        batches
    }
}

impl Direction {
    /// Drains until it is dropped.
    ///
    /// Cancel safety: safe. What was applied and not cleared is applied again.
    pub async fn drain(&self) {
        let (mut working, mut busy) = (FuturesUnordered::new(), Busy::default());
        let mut pause = PAUSE;
        loop {
            let mut rest = LOOK_MEANWHILE;
            if busy.room() > 0 {
                match self.due(&busy.names()).await {
                    Ok((lead, batches)) => {
                        pause = PAUSE;
                        self.state.failed(None);
                        for batch in busy.turn(batches) {
                            working.push(async move {
                                let collection = batch.collection.clone();
                                // What became of it is told already.
                                drop(self.worked(batch, lead).await);
                                collection
                            });
                        }
                    }
                    Err(error) => {
                        if self.state.failed(Some(error.chain())) {
                            warn!(error = %error.chain(), "mirroring waits: there are no marks to be had");
                        }
                        self.metrics.retries.inc();
                        rest = spread(pause);
                        pause = (pause * 2).min(PAUSE_MAX);
                    }
                }
                if working.is_empty() && rest == LOOK_MEANWHILE {
                    self.ledger.woken(LOOK).await;
                    continue;
                }
            }
            tokio::select! {
                Some(collection) = working.next() => drop(busy.since.remove(&collection)),
                () = sleep(rest) => (),
            }
        }
    }

    /// Takes what there is and works it off. Returns how many marks were cleared.
    ///
    /// Cancel safety: safe, as above.
    pub async fn round(&self) -> Result<u64> {
        let (lead, batches) = self.due(&[]).await?;
        let working = batches.into_iter().map(|batch| self.worked(batch, lead));
        let mut working = stream::iter(working).buffer_unordered(SIDE_BY_SIDE);
        let (mut cleared, mut failure) = (0, None);
        while let Some(worked) = working.next().await {
            match worked {
                Ok(count) => cleared += count,
                Err(error) => failure = Some(error),
            }
        }
        match failure {
            Some(error) if cleared == 0 => Err(error),
            Some(_) | None => Ok(cleared),
        }
    }

    /// What may be worked on now, and under which lead.
    async fn due(&self, busy: &[Box<str>]) -> Result<(u64, Vec<Batch>)> {
        // A sidecar that does not know the modes stands still.
        if (self.leave)().is_none() {
            if self.state.stands_still(Instant::now()) > STILL_MAX {
                self.ledger.give_way();
            }
            return Ok((0, Vec::new()));
        }
        self.state.goes_on();
        let Some(lead) = self.ledger.leads().await? else {
            return Ok((0, Vec::new()));
        };
        let taken = Instant::now();
        let asleep = {
            let mut suspects = self.state.suspects.lock();
            suspects.led(lead, taken);
            suspects.most_asleep()
        };
        let mut batches = self.ledger.take(MARKS_MAX + asleep, busy).await?;
        let now = Instant::now();
        let mut suspects = self.state.suspects.lock();
        batches.retain_mut(|batch| {
            if !(self.follows)(&batch.collection) || self.state.is_blocked(&batch.collection, now) {
                return false;
            }
            suspects.left_behind(batch, self.doubt, taken);
            suspects.wake(batch, now)
        });
        drop(suspects);
        Ok((lead, batches))
    }

    async fn worked(&self, batch: Batch, lead: u64) -> Result<u64> {
        let collection = &*batch.collection;
        let Some(own) = self.held(collection) else {
            return Ok(0);
        };
        let worked = own.work(&batch, lead).await;
        if let Err(error) = &worked {
            if own.may_write().is_err() {
                debug!(collection, error = %error.chain(), "the modes have changed meanwhile");
                return Ok(0);
            }
            self.metrics.retries.inc();
            if self.state.fails(collection, &error.chain(), Instant::now()) {
                warn!(collection, error = %error.chain(), "mirroring of a collection waits");
            }
        }
        match worked? {
            Worked::Done(points) => {
                self.state.unblock(collection);
                self.metrics.applied.inc_by(points);
                Ok(batch.marks.len() as u64)
            }
            Worked::Blocked(why) => {
                let until = Instant::now() + BLOCKED_PAUSE;
                if self.state.block(collection, &why, until) {
                    error!(collection, %why, "a collection is not mirrored");
                }
                Ok(0)
            }
        }
    }

    async fn work(&self, batch: &Batch, lead: u64) -> Result<Worked> {
        self.stages.reached(Stage::AfterTake).await;
        match batch.marks.first().map(|mark| mark.subject) {
            None => Ok(Worked::Done(0)),
            Some(Subject::Schema) => self.bring(batch, lead).await,
            Some(Subject::Dropped) => self.drop_collection(batch, lead).await,
            Some(Subject::Point(_)) => self.copy(batch, lead).await,
        }
    }

    /// Clears, of a batch that was worked off, what may be. By whoever has lost the lead all of it is
    /// marked anew instead: its successor may have sent what is newer, and what was sent here came
    /// after it.
    pub(super) async fn done(&self, batch: &Batch, cleared: &[Mark], lead: u64) -> Result<()> {
        self.may_write()?;
        if self.ledger.has_led(lead).await? {
            self.ledger.clear(&batch.collection, cleared).await
        } else {
            self.mark_anew(batch).await
        }
    }

    pub(super) async fn mark_anew(&self, batch: &Batch) -> Result<()> {
        let collection = &*batch.collection;
        debug!(collection, "the lead is lost; what was sent is marked anew");
        let subjects: Vec<Subject> = batch.marks.iter().map(|mark| mark.subject).collect();
        self.ledger.mark(collection, &subjects).await
    }
}

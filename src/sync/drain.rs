//! The drainer: takes marks, and makes the follower what the authority is where they point.
//!
//! The order that makes it right: marks are taken, then the authority is read, then the follower is
//! written, then the marks are cleared, and only those that are still as they were taken. Where
//! others may drain at the same time, the authority is read once more before that: what has moved
//! keeps its mark, so whoever writes to the follower last has written what is there.
//!
//! One collection that cannot be worked on holds up no other. A store that does not answer is left
//! alone for longer and longer, and asked again.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use super::apply::{Applied, apply};
use super::direction::Direction;
use super::mirror::WHOLE_STORE;
use super::peer::{Points, Said};
use super::schema::{self, Brought};
use crate::compare::same_point;
use crate::error::Result;
use crate::model::{Batch, DeadLetter, Mark, PointKey, Subject};
use crate::stage::Stage;

/// Marks worked off together: a page of points at either store.
const MARKS_MAX: usize = 256;
/// Collections worked on at one time.
const SIDE_BY_SIDE: usize = 4;
/// The first pause after a failure, and the longest.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// How long a collection that cannot be brought along is left alone.
const BLOCKED_PAUSE: Duration = Duration::from_secs(5);
/// How long nothing may be heard before one looks again all the same: marks of other sidecars wake
/// nobody here.
const LOOK: Duration = Duration::from_millis(250);
/// A mark that is older may be of a write whose end is not known.
const LONG: Duration = Duration::from_millis(500);
/// What was read of the authority is not written after this: somebody may have stopped this process
/// in between.
const FRESH: Duration = Duration::from_secs(5);

/// What one batch came to.
enum Worked {
    /// So many points were put right.
    Done(u64),
    /// Not now: why.
    Blocked(Box<str>),
}

impl Direction {
    /// Drains until it is dropped.
    ///
    /// Cancel safety: safe. What was applied and not cleared is applied again.
    pub async fn drain(&self) {
        let mut pause = PAUSE;
        loop {
            match self.round().await {
                Ok(0) => {
                    pause = PAUSE;
                    self.state.failed(None);
                    self.ledger.woken(LOOK).await;
                }
                Ok(_) => {
                    pause = PAUSE;
                    self.state.failed(None);
                }
                Err(error) => {
                    if self.state.failed(Some(error.chain())) {
                        warn!(error = %error.chain(), "mirroring waits: a store does not answer");
                    }
                    self.metrics.retries.inc();
                    tokio::time::sleep(spread(pause)).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }

    /// Takes what there is and works it off. Returns how many marks were cleared.
    ///
    /// Cancel safety: safe, as above.
    pub async fn round(&self) -> Result<u64> {
        if !self.ledger.leads().await? {
            return Ok(0);
        }
        let batches = self.ledger.take(MARKS_MAX).await?;
        let now = Instant::now();
        let due = batches
            .into_iter()
            .filter(|batch| (self.follows)(&batch.collection))
            .filter(|batch| !self.state.is_blocked(&batch.collection, now));
        let mut working =
            stream::iter(due.map(|batch| self.worked(batch))).buffer_unordered(SIDE_BY_SIDE);
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

    async fn worked(&self, batch: Batch) -> Result<u64> {
        let collection = &*batch.collection;
        match self.work(&batch).await? {
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

    async fn work(&self, batch: &Batch) -> Result<Worked> {
        self.stages.reached(Stage::AfterTake).await;
        match batch.marks.first().map(|mark| mark.subject) {
            None => Ok(Worked::Done(0)),
            Some(Subject::Schema) => self.bring(batch).await,
            Some(Subject::Dropped) => self.drop_collection(batch).await,
            Some(Subject::Point(_)) => self.copy(batch).await,
        }
    }

    async fn bring(&self, batch: &Batch) -> Result<Worked> {
        let collection = &*batch.collection;
        if collection != WHOLE_STORE
            && !self.led_on(collection, &batch.marks).await?
            && let Some(why) = self.bring_along(collection).await?
        {
            return Ok(Worked::Blocked(why));
        }
        if let Brought::Blocked(why) = schema::aliases(&self.authority, &self.follower).await? {
            return Ok(Worked::Blocked(why));
        }
        self.ledger.clear(collection, &batch.marks).await?;
        Ok(Worked::Done(0))
    }

    async fn drop_collection(&self, batch: &Batch) -> Result<Worked> {
        let collection = &*batch.collection;
        info!(
            collection,
            "the collection was deleted; the follower deletes it"
        );
        if let Some(why) = self.replace(collection).await? {
            return Ok(Worked::Blocked(why));
        }
        if self.ledger.others_may_drain()
            && schema::describe(&self.authority, collection)
                .await?
                .is_some()
        {
            // Somebody else may have copied points of the new one before the old one was dropped.
            let reason = "it was deleted and made again";
            self.ledger.want_sweep(Some(collection), reason).await?;
        }
        schema::aliases(&self.authority, &self.follower).await?;
        self.ledger.clear(collection, &batch.marks).await?;
        Ok(Worked::Done(0))
    }

    async fn copy(&self, batch: &Batch) -> Result<Worked> {
        let collection = &*batch.collection;
        let ids: Vec<PointKey> = batch.marks.iter().filter_map(|mark| point(*mark)).collect();
        // What is read and written by an alias is of another collection than the one that was marked,
        // and need not be the same one at both stores.
        if self.led_on(collection, &batch.marks).await? {
            self.ledger.clear(collection, &batch.marks).await?;
            return Ok(Worked::Done(0));
        }
        if schema::is_alias(&self.follower, collection).await?
            && let Some(why) = self.bring_along(collection).await?
        {
            return Ok(Worked::Blocked(why));
        }
        if batch.age > LONG && self.ledger.others_may_drain() {
            self.authority.settle(collection).await?;
        }
        let Some((points, applied)) = self.copied(collection, &ids).await? else {
            // The collection is gone at the authority: so are its points, and its own mark follows.
            self.ledger.clear(collection, &batch.marks).await?;
            return Ok(Worked::Done(0));
        };
        let (points, applied) = if applied.no_collection || !applied.refused.is_empty() {
            // What the follower lacks may be what it is to be told of later.
            if let Some(why) = self.bring_along(collection).await? {
                return Ok(Worked::Blocked(why));
            }
            match self.copied(collection, &ids).await? {
                Some(copied) => copied,
                None => return Ok(Worked::Done(0)),
            }
        } else {
            (points, applied)
        };
        if applied.no_collection {
            return Ok(Worked::Blocked(
                "the follower has no such collection".into(),
            ));
        }
        self.bury(collection, &applied).await?;
        self.ledger.applied(collection, &applied.fine(&ids)).await?;
        let still = self.still(collection, batch, &points).await?;
        self.stages.reached(Stage::BeforeClear).await;
        self.ledger.clear(collection, &still).await?;
        debug!(
            collection,
            written = applied.written,
            deleted = applied.deleted,
            "mirrored"
        );
        Ok(Worked::Done(applied.written + applied.deleted))
    }

    /// Reads and writes once. `None`: the authority has no such collection.
    async fn copied(
        &self,
        collection: &str,
        ids: &[PointKey],
    ) -> Result<Option<(Points, Applied)>> {
        loop {
            let read = Instant::now();
            let points = match self.authority.fetch(collection, ids).await? {
                Said::Done(points) => points,
                Said::NoCollection => return Ok(None),
                Said::Refused(why) => return Err(self.unreadable(&why)),
            };
            self.stages.reached(Stage::AfterRead).await;
            if read.elapsed() > FRESH {
                continue;
            }
            let applied = apply(&self.follower, collection, ids, &points).await?;
            self.stages.reached(Stage::AfterApply).await;
            return Ok(Some((points, applied)));
        }
    }

    async fn bury(&self, collection: &str, applied: &Applied) -> Result<()> {
        if applied.refused.is_empty() {
            return Ok(());
        }
        let since_ms = u64::try_from(self.clock.since_epoch().as_millis()).unwrap_or(u64::MAX);
        let letters = applied.refused.iter().map(|(id, reason)| DeadLetter {
            collection: collection.into(),
            id: *id,
            reason: reason.clone(),
            since_ms,
        });
        let letters: Vec<_> = letters.collect();
        if let Some(first) = letters.first() {
            warn!(
                collection,
                points = letters.len(),
                reason = %first.reason,
                "the follower refuses points for good; see `outrigger sync dead`"
            );
        }
        self.ledger.bury(&letters).await
    }

    /// The marks that may be cleared: where others may have written to the follower meanwhile, only
    /// those whose points are at the authority what they were.
    async fn still(&self, collection: &str, batch: &Batch, before: &Points) -> Result<Vec<Mark>> {
        if !self.ledger.others_may_drain() {
            return Ok(batch.marks.clone());
        }
        let ids: Vec<PointKey> = batch.marks.iter().filter_map(|mark| point(*mark)).collect();
        let now = match self.authority.fetch(collection, &ids).await? {
            Said::Done(now) => now,
            Said::NoCollection => return Ok(batch.marks.clone()),
            Said::Refused(why) => return Err(self.unreadable(&why)),
        };
        let moved = |id: PointKey| match (before.get(&id), now.get(&id)) {
            (None, None) => false,
            (Some(before), Some(now)) => !same_point(before.get(), now.get()),
            (None, Some(_)) | (Some(_), None) => true,
        };
        let still = batch.marks.iter().copied();
        Ok(still
            .filter(|mark| point(*mark).is_none_or(|id| !moved(id)))
            .collect())
    }
}

fn point(mark: Mark) -> Option<PointKey> {
    match mark.subject {
        Subject::Point(id) => Some(id),
        Subject::Schema | Subject::Dropped => None,
    }
}

/// So that several do not come back as one.
fn spread(pause: Duration) -> Duration {
    pause.mul_f64(rand::random_range(0.5..1.0))
}

/// What is known of collections that cannot be worked on.
#[derive(Default)]
pub(super) struct Blocks {
    by_name: HashMap<Box<str>, (Box<str>, Instant)>,
}

impl Blocks {
    /// Whether this is news.
    pub(super) fn put(&mut self, collection: &str, why: &str, until: Instant) -> bool {
        let before = self.by_name.insert(collection.into(), (why.into(), until));
        before.is_none_or(|(before, _)| &*before != why)
    }

    pub(super) fn take(&mut self, collection: &str) {
        self.by_name.remove(collection);
    }

    /// Lets go of those of which nothing waits any more.
    pub(super) fn keep(&mut self, waits: impl Fn(&str) -> bool) {
        self.by_name.retain(|name, _| waits(name));
    }

    pub(super) fn holds(&self, collection: &str, now: Instant) -> bool {
        self.by_name
            .get(collection)
            .is_some_and(|(_, until)| now < *until)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (&str, &str)> {
        self.by_name
            .iter()
            .map(|(name, (why, _))| (&**name, &**why))
    }
}

//! Marks of points: read at the authority, and put at the follower as they are there.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, warn};

use super::apply::{Applied, apply};
use super::direction::Direction;
use super::drain::Worked;
use super::peer::{Points, Said};
use super::schema;
use crate::compare::same_point;
use crate::error::{Error, Result, Retry};
use crate::model::{Batch, DeadLetter, Mark, PointKey, Subject};
use crate::stage::Stage;

/// A mark that is older may be of a write whose end is not known.
const LONG: Duration = Duration::from_millis(500);
/// What was read of the authority is not written after this: somebody may have stopped this process
/// in between.
const FRESH: Duration = Duration::from_secs(5);

impl Direction {
    pub(super) async fn copy(&self, batch: &Batch, lead: u64) -> Result<Worked> {
        let collection = &*batch.collection;
        let ids: Vec<PointKey> = batch.marks.iter().filter_map(|mark| point(*mark)).collect();
        // What is read and written by an alias is of another collection than the one that was marked,
        // and need not be the same one at both stores.
        if self.led_on(collection, &batch.marks).await? {
            self.done(batch, &batch.marks, lead).await?;
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
        let Some((points, applied)) = self.copied(batch, &ids, lead).await? else {
            // The collection is gone at the authority: so are its points, and its own mark follows.
            self.done(batch, &batch.marks, lead).await?;
            return Ok(Worked::Done(0));
        };
        let (points, applied) = if applied.no_collection || !applied.refused.is_empty() {
            // What the follower lacks may be what it is to be told of later.
            if let Some(why) = self.bring_along(collection).await? {
                return Ok(Worked::Blocked(why));
            }
            match self.copied(batch, &ids, lead).await? {
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
        let still = {
            let mut suspects = self.state.suspects.lock();
            suspects.put_to_sleep(collection, still, (self.doubt, Instant::now()))
        };
        self.done(batch, &still, lead).await?;
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
        batch: &Batch,
        ids: &[PointKey],
        lead: u64,
    ) -> Result<Option<(Points, Applied)>> {
        let collection = &*batch.collection;
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
            let applied = match apply(&self.follower, collection, ids, &points).await {
                Ok(applied) => applied,
                Err(error) => {
                    self.suspect(batch, ids, lead, &error).await?;
                    return Err(error);
                }
            };
            self.stages.reached(Stage::AfterApply).await;
            return Ok(Some((points, applied)));
        }
    }

    /// What was sent to the follower may still be applied, if its reply was lost.
    async fn suspect(
        &self,
        batch: &Batch,
        ids: &[PointKey],
        lead: u64,
        error: &Error,
    ) -> Result<()> {
        let collection = &*batch.collection;
        if error.retry() == Retry::OutcomeUnknown {
            let until = Instant::now() + self.doubt;
            self.state.suspects.lock().put(collection, ids, until);
        }
        // Somebody else may have cleared them.
        if !self.ledger.has_led(lead).await? {
            self.mark_anew(batch).await?;
        }
        Ok(())
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

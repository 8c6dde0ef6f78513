//! What keeps the marks of one direction: the outbox of a PostgreSQL, or a journal of our own.

use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::error::Result;
use crate::journal::Journal;
use crate::model::{Backlog, Batch, DeadLetter, Mark, Marked, PointKey, Subject, SweepDue};
use crate::store::{Lead, Outbox};

/// The lead of whoever shares its ledger with nobody.
pub(super) const ALONE: u64 = 0;

pub type Told<'a, T> = BoxFuture<'a, Result<T>>;

/// Marks, durable.
///
/// A mark that was made is given by `take` until it is cleared, whatever happens to the process.
/// Clearing takes away only what was taken: a mark made anew in between stays. Calls run in
/// parallel; futures may be dropped, what they were to do may then be done or not.
pub trait Ledger: Send + Sync {
    /// Durable when it returns.
    fn mark<'a>(&'a self, collection: &'a str, subjects: &'a [Subject]) -> Told<'a, ()>;

    /// Removes nothing: the same is given again until it is cleared. What is `busy` is left out: what
    /// was taken of it is still worked on.
    fn take<'a>(&'a self, marks_max: usize, busy: &'a [Box<str>]) -> Told<'a, Vec<Batch>>;

    fn clear<'a>(&'a self, collection: &'a str, marks: &'a [Mark]) -> Told<'a, ()>;

    /// Writes under way count. A collection that is not named has nothing waiting.
    fn backlog(&self) -> Told<'_, Vec<(Box<str>, Backlog)>>;

    /// Which of these points are marked, those of writes under way among them.
    fn marked<'a>(&'a self, collection: &'a str, points: &'a [PointKey]) -> Told<'a, Marked>;

    fn bury<'a>(&'a self, letters: &'a [DeadLetter]) -> Told<'a, ()>;

    /// The follower has these as they are: they are dead letters no longer.
    fn applied<'a>(&'a self, _collection: &'a str, _ids: &'a [PointKey]) -> Told<'a, ()> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn dead<'a>(&'a self, collection: Option<&'a str>, max: usize) -> Told<'a, Vec<DeadLetter>>;

    fn dead_count(&self) -> Told<'_, Vec<(Box<str>, u64)>>;

    /// Dead letters become marks again. Returns how many.
    fn revive<'a>(&'a self, collection: Option<&'a str>) -> Told<'a, u64>;

    /// Durable when it returns.
    fn want_sweep<'a>(&'a self, collection: Option<&'a str>, reason: &'a str) -> Told<'a, ()>;

    fn sweeps(&self) -> Told<'_, Vec<SweepDue>>;

    /// Whether what is due may begin by now: a call for which it is due may be under way.
    fn may_be_swept(&self, _due: &SweepDue) -> bool {
        true
    }

    /// Takes the wish away, unless it has been renewed since.
    fn swept<'a>(&'a self, due: &'a SweepDue) -> Told<'a, ()>;

    /// Everything: the direction was not followed until now.
    fn forget(&self) -> Told<'_, ()>;

    /// Waits until there may be something to take that was not there before, at most so long.
    fn woken(&self, within: Duration) -> BoxFuture<'_, ()>;

    /// There may be something new that this process made elsewhere.
    fn poke(&self);

    /// Where the marks are this process's own alone: which journal it is.
    fn journal_id(&self) -> Option<u128> {
        None
    }

    /// Whether another process may work off marks of the same collections at the same time.
    fn others_may_drain(&self) -> bool;

    /// Whether this process is to work the marks off now. Where several share a ledger, one is. The
    /// number is another whenever the lead was lost in between.
    fn leads(&self) -> Told<'_, Option<u64>>;

    /// This process stands still: another may have the lead.
    fn give_way(&self) {}

    /// Whether nobody else can have begun to work marks off since this lead was told of. To be asked
    /// when the follower has answered, before anything is cleared.
    fn has_led(&self, lead: u64) -> Told<'_, bool>;
}

impl Ledger for Journal {
    fn mark<'a>(&'a self, collection: &'a str, subjects: &'a [Subject]) -> Told<'a, ()> {
        Box::pin(self.mark(collection, subjects))
    }

    fn take<'a>(&'a self, marks_max: usize, busy: &'a [Box<str>]) -> Told<'a, Vec<Batch>> {
        Box::pin(async move {
            let mut batches = self.take(marks_max).await?;
            batches.retain(|batch| !busy.contains(&batch.collection));
            Ok(batches)
        })
    }

    fn clear<'a>(&'a self, collection: &'a str, marks: &'a [Mark]) -> Told<'a, ()> {
        Box::pin(self.clear(collection, marks))
    }

    fn backlog(&self) -> Told<'_, Vec<(Box<str>, Backlog)>> {
        Box::pin(self.backlog())
    }

    fn marked<'a>(&'a self, collection: &'a str, points: &'a [PointKey]) -> Told<'a, Marked> {
        Box::pin(std::future::ready(Ok(self.marked(collection, points))))
    }

    fn bury<'a>(&'a self, letters: &'a [DeadLetter]) -> Told<'a, ()> {
        Box::pin(self.bury(letters))
    }

    fn applied<'a>(&'a self, collection: &'a str, ids: &'a [PointKey]) -> Told<'a, ()> {
        Box::pin(self.applied(collection, ids))
    }

    fn dead<'a>(&'a self, collection: Option<&'a str>, max: usize) -> Told<'a, Vec<DeadLetter>> {
        Box::pin(self.dead(collection, max))
    }

    fn dead_count(&self) -> Told<'_, Vec<(Box<str>, u64)>> {
        Box::pin(self.dead_count())
    }

    fn revive<'a>(&'a self, collection: Option<&'a str>) -> Told<'a, u64> {
        Box::pin(self.revive(collection))
    }

    fn want_sweep<'a>(&'a self, collection: Option<&'a str>, reason: &'a str) -> Told<'a, ()> {
        Box::pin(self.want_sweep(collection, reason))
    }

    fn sweeps(&self) -> Told<'_, Vec<SweepDue>> {
        Box::pin(self.sweeps())
    }

    fn may_be_swept(&self, due: &SweepDue) -> bool {
        self.may_be_swept(due)
    }

    fn swept<'a>(&'a self, due: &'a SweepDue) -> Told<'a, ()> {
        Box::pin(self.swept(due))
    }

    fn forget(&self) -> Told<'_, ()> {
        Box::pin(self.forget())
    }

    fn woken(&self, within: Duration) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            drop(tokio::time::timeout(within, self.woken()).await);
        })
    }

    /// Whatever makes marks in a journal wakes it.
    fn poke(&self) {}

    fn journal_id(&self) -> Option<u128> {
        Some(self.id())
    }

    /// Other sidecars over the same stores have journals of their own.
    fn others_may_drain(&self) -> bool {
        true
    }

    fn leads(&self) -> Told<'_, Option<u64>> {
        Box::pin(std::future::ready(Ok(Some(ALONE))))
    }

    fn has_led(&self, _lead: u64) -> Told<'_, bool> {
        Box::pin(std::future::ready(Ok(true)))
    }
}

/// The outbox of a PostgreSQL, with the right to work it off.
pub struct SharedOutbox {
    outbox: Outbox,
    lead: Mutex<Option<Lead>>,
    /// When it was last asked for in vain.
    refused: Mutex<Option<Instant>>,
}

/// How often the lead is asked for.
const ASK_EVERY: Duration = Duration::from_secs(1);

impl SharedOutbox {
    pub fn new(outbox: Outbox) -> Self {
        Self {
            outbox,
            lead: Mutex::default(),
            refused: Mutex::default(),
        }
    }

    async fn take_lead(&self) -> Result<Option<u64>> {
        if let Some(lead) = self.lead.lock().as_ref().filter(|lead| lead.is_held()) {
            return Ok(Some(lead.number()));
        }
        let refused = *self.refused.lock();
        if refused.is_some_and(|at| at.elapsed() < ASK_EVERY) {
            return Ok(None);
        }
        *self.refused.lock() = Some(Instant::now());
        let lead = self.outbox.try_lead().await?;
        let number = lead.as_ref().map(Lead::number);
        *self.lead.lock() = lead;
        Ok(number)
    }
}

impl Ledger for SharedOutbox {
    fn mark<'a>(&'a self, collection: &'a str, subjects: &'a [Subject]) -> Told<'a, ()> {
        Box::pin(self.outbox.mark(collection, subjects))
    }

    fn take<'a>(&'a self, marks_max: usize, busy: &'a [Box<str>]) -> Told<'a, Vec<Batch>> {
        Box::pin(self.outbox.take_beside(marks_max, busy))
    }

    fn clear<'a>(&'a self, collection: &'a str, marks: &'a [Mark]) -> Told<'a, ()> {
        Box::pin(self.outbox.clear(collection, marks))
    }

    fn backlog(&self) -> Told<'_, Vec<(Box<str>, Backlog)>> {
        Box::pin(self.outbox.backlog())
    }

    fn marked<'a>(&'a self, collection: &'a str, points: &'a [PointKey]) -> Told<'a, Marked> {
        Box::pin(self.outbox.marked(collection, points))
    }

    fn bury<'a>(&'a self, letters: &'a [DeadLetter]) -> Told<'a, ()> {
        Box::pin(self.outbox.bury(letters))
    }

    fn dead<'a>(&'a self, collection: Option<&'a str>, max: usize) -> Told<'a, Vec<DeadLetter>> {
        Box::pin(self.outbox.dead(collection, max))
    }

    fn dead_count(&self) -> Told<'_, Vec<(Box<str>, u64)>> {
        Box::pin(async { Ok(self.outbox.dead_count().await?.into_iter().collect()) })
    }

    fn revive<'a>(&'a self, collection: Option<&'a str>) -> Told<'a, u64> {
        Box::pin(self.outbox.revive(collection))
    }

    fn want_sweep<'a>(&'a self, collection: Option<&'a str>, reason: &'a str) -> Told<'a, ()> {
        Box::pin(self.outbox.want_sweep(collection, reason))
    }

    fn sweeps(&self) -> Told<'_, Vec<SweepDue>> {
        Box::pin(self.outbox.sweeps())
    }

    fn swept<'a>(&'a self, due: &'a SweepDue) -> Told<'a, ()> {
        Box::pin(self.outbox.swept(due))
    }

    fn forget(&self) -> Told<'_, ()> {
        Box::pin(self.outbox.forget())
    }

    fn woken(&self, within: Duration) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            drop(tokio::time::timeout(within, self.outbox.woken()).await);
        })
    }

    fn poke(&self) {
        self.outbox.poke();
    }

    /// One has the lead; who has lost it finds out when it has applied something (`has_led`).
    fn others_may_drain(&self) -> bool {
        false
    }

    fn leads(&self) -> Told<'_, Option<u64>> {
        Box::pin(self.take_lead())
    }

    fn give_way(&self) {
        drop(self.lead.lock().take());
    }

    fn has_led(&self, lead: u64) -> Told<'_, bool> {
        let ours = self.lead.lock().as_ref().map(Lead::asked);
        Box::pin(async move {
            match ours.filter(|ours| ours.number() == lead) {
                Some(ours) => Ok(ours.is_held().await),
                None => Ok(false),
            }
        })
    }
}

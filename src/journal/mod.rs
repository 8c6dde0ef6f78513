//! The journal: durable marks of one direction, for an authority that has no transactions of ours.
//!
//! What it promises:
//!
//! - When `intend` or `mark` has returned, a process killed at any instant finds the marks again,
//!   until they are cleared. One sync serves all who wait at that moment.
//! - What is in flight is not given to anybody, and counts as waiting. It is given when the last
//!   write to it has ended, or when it has waited for a second (a point that is written to all the
//!   time must not wait for ever; the end of the write marks it anew).
//! - A write whose outcome is not known is marked at once, and comes back three times within `doubt`
//!   (the settings) after it was cleared, since it may be applied later. The same holds after a restart for what
//!   was written to shortly before it.
//! - A mark is cleared under the token with which it was taken. Made anew meanwhile, it stays.
//! - Barriers hold their place in the line of their collection. A deletion that has happened makes
//!   the point marks before it void; one that is in doubt becomes a `Schema` mark and a sweep.
//! - A comparison that a call has asked for before it was sent (`owe`) does not begin before the
//!   call has ended. It is told as due until then.
//! - Memory and disk are bounded. Past a bound the collections with the most marks are *spilled*:
//!   their point marks are let go, and a sweep of them is due. Nothing is lost by that: the sweep
//!   compares everything after its token was read. Until somebody reads it (`sweeps`), new marks
//!   of the collection are let go as well when their writes have ended; from then on they are kept
//!   again. What is in flight or in doubt at that time is kept, or makes the sweep due again.
//! - A disk that fails never fails a write. The journal then says so (`state`, `is_sound`, an
//!   intent that is not durable), everything is to be compared, and that is written down as soon
//!   as the disk works again.
//! - A journal that is damaged otherwise than by a crash is kept aside; all that can be read of it
//!   is marked, and everything is to be compared.
//!
//! What it must never do: say that something is durable that is not, or wait for a disk under the
//! lock of the marks.

mod barrier;
mod copy;
mod dead;
mod disk;
mod doubt;
mod folder;
mod frame;
mod id;
mod intent;
mod lane;
mod marks;
mod owed;
mod record;
mod replay;
mod run;
mod shared;
mod state;
mod sweep;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tracing::{error, info};

pub use intent::{Intent, Outcome};
pub use owed::Owed;
pub use state::{Figures, State};

use crate::clock::Clock;
use crate::error::Result;
use crate::model::{Backlog, Batch, DeadLetter, Mark, Marked, PointKey, Subject, SweepDue};
use disk::{Disk, RealDisk};
use folder::{Folder, cannot};
use marks::Marks;
use shared::{Now, Shared};
use writer::Writer;

/// Subjects that are changed under the lock in one go.
const CHUNK: usize = 2048;

#[derive(Clone, Debug)]
pub struct JournalSettings {
    /// Of all segments. A broken journal that was kept aside does not count.
    pub bytes_max: u64,
    /// Of all collections.
    pub marks_max: usize,
    /// A segment that is larger is followed by another.
    pub segment_bytes: u64,
    /// How long a disk that failed is left alone.
    pub retry: Duration,
    /// How long a write whose reply was lost may still be applied.
    pub doubt: Duration,
    /// Why everything has to be compared where there was no journal: known as durably as that there
    /// is one now.
    pub fresh: Option<&'static str>,
}

impl Default for JournalSettings {
    fn default() -> Self {
        Self {
            bytes_max: 256 * 1024 * 1024,
            marks_max: 1_000_000,
            segment_bytes: 16 * 1024 * 1024,
            retry: Duration::from_secs(3),
            doubt: Duration::from_secs(20),
            fresh: None,
        }
    }
}

impl JournalSettings {
    fn segment_bytes(&self) -> u64 {
        self.segment_bytes.min(self.bytes_max / 8)
    }
}

/// What `open` found in the folder.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Found {
    /// No journal; there is an empty one now. Whether that is right, the caller knows.
    Fresh,
    Whole,
    /// Kept aside. A sweep of everything is due.
    Broken(Box<str>),
}

pub struct Opened {
    pub journal: Arc<Journal>,
    pub found: Found,
}

/// The marks of one direction. Dropping it blocks until what nobody waits for is written.
pub struct Journal {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
    id: u128,
}

impl Journal {
    /// Blocks. What is found is marked and can be taken.
    pub fn open(dir: &Path, settings: JournalSettings, clock: &Clock) -> Result<Opened> {
        Self::open_on(Arc::new(RealDisk), dir, settings, clock)
    }

    fn open_on(
        disk: Arc<dyn Disk>,
        dir: &Path,
        settings: JournalSettings,
        clock: &Clock,
    ) -> Result<Opened> {
        let folder = Folder::take(dir)?;
        let looks = folder.look()?;
        let fresh = settings.fresh;
        let shared = Arc::new(Shared::new(settings, clock));
        let now = shared.now();
        let id = looks.journal.unwrap_or_else(rand::random);
        let found = match &looks.problem {
            _ if looks.last == 0 && !folder.whole().exists() => Found::Fresh,
            Some(problem) => Found::Broken(problem.as_str().into()),
            None => Found::Whole,
        };
        {
            let marks = &mut shared.state.lock().marks;
            for (sequence, _) in &looks.segments {
                folder.read(*sequence, |record| marks.apply(record));
            }
            marks.restored(now);
            match (&found, fresh) {
                (Found::Broken(reason), _) => marks.want_sweep(None, reason, now),
                (Found::Fresh, Some(reason)) => marks.want_sweep(None, reason, now),
                (Found::Fresh, None) | (Found::Whole, _) => (),
            }
        }
        let path = folder.path.display().to_string();
        match &found {
            Found::Fresh => info!(journal = path, "a new journal"),
            Found::Whole => {
                info!(
                    journal = path,
                    marks = shared.state.lock().marks.count(),
                    "the journal was read"
                );
            }
            Found::Broken(reason) => {
                let sequences = folder
                    .sequences()
                    .and_then(|all| folder.put_aside(&all, now.ms));
                let aside = sequences.map_err(|error| cannot("put aside", dir, error))?;
                error!(
                    journal = path, %reason, aside = %aside.display(),
                    "the journal is broken: everything has to be compared"
                );
            }
        }
        if found == Found::Whole {
            writer::tidy(&*disk, &folder, &looks)?;
        }
        let last = looks.segments.last().map(|(sequence, _)| *sequence);
        let mut writer = match (&found, last) {
            (Found::Whole, Some(last)) => {
                let mut writer = Writer::new(Arc::clone(&shared), disk, folder, id, last);
                writer.go_on(looks.segments)?;
                writer
            }
            (Found::Whole | Found::Fresh | Found::Broken(_), _) => {
                Writer::new(Arc::clone(&shared), disk, folder, id, looks.last)
            }
        };
        if last.is_none() || found != Found::Whole {
            writer.write_anew()?;
        }
        let journal = Arc::new(Self {
            shared,
            writer: Mutex::new(Some(writer.start()?)),
            id,
        });
        Ok(Opened { journal, found })
    }

    /// Drawn when the journal was made: another one is another journal.
    pub fn id(&self) -> u128 {
        self.id
    }

    /// A write to these subjects is about to be sent: they are marked, durably, and in flight until
    /// the intent ends. Fails only after `close`.
    ///
    /// Cancel safety: safe. Dropped before it returned, nothing was sent, and nothing is marked
    /// that was not.
    pub async fn intend(&self, collection: &str, subjects: &[Subject]) -> Result<Intent> {
        let mut intent = Intent::new(Arc::clone(&self.shared), collection);
        for chunk in subjects.chunks(CHUNK) {
            self.shared.has_room().await?;
            let held = &mut intent.held;
            let now = self.shared.now();
            self.shared
                .change(|marks| marks.lift(collection, chunk, held, now));
        }
        intent.is_durable = self.shared.is_on_disk().await;
        intent.on_drop = Outcome::Unknown;
        Ok(intent)
    }

    /// Marks, or marks anew. Durable when it returns, if the journal is sound.
    ///
    /// Cancel safety: what was marked until then is.
    pub async fn mark(&self, collection: &str, subjects: &[Subject]) -> Result<()> {
        for chunk in subjects.chunks(CHUNK) {
            self.shared.has_room().await?;
            let now = self.shared.now();
            self.shared
                .change(|marks| marks.mark(collection, chunk, now));
            self.shared.woken.notify_one();
        }
        self.shared.is_on_disk().await;
        Ok(())
    }

    /// What is first in line, a batch a collection. Nothing is removed by that: it is given again
    /// until it is cleared.
    #[expect(clippy::unused_async, reason = "the other ledger asks a database")]
    pub async fn take(&self, max: usize) -> Result<Vec<Batch>> {
        let now = self.shared.now();
        self.shared.change(|marks| {
            marks.wake(now);
            Ok(marks.take(max, now))
        })
    }

    /// The follower has what was read at the authority after these were taken. Those that were
    /// made anew meanwhile stay.
    ///
    /// Cancel safety: safe.
    pub async fn clear(&self, collection: &str, marks: &[Mark]) -> Result<()> {
        for chunk in marks.chunks(CHUNK) {
            self.shared.has_room().await?;
            let now = self.shared.now();
            self.shared.change(|all| all.clear(collection, chunk, now));
        }
        // There may be more behind a barrier, and what is in doubt has a time to wake at.
        self.shared.woken.notify_one();
        Ok(())
    }

    /// How much waits, a collection each: in line, in flight, and in doubt. Those in doubt that
    /// sleep have no age.
    #[expect(clippy::unused_async, reason = "the other ledger asks a database")]
    pub async fn backlog(&self) -> Result<Vec<(Box<str>, Backlog)>> {
        let now = self.shared.now();
        Ok(self.shared.change(|marks| {
            marks.wake(now);
            marks.backlog(now)
        }))
    }

    /// Which of these points wait: in line, in flight, or in doubt.
    pub fn marked(&self, collection: &str, points: &[PointKey]) -> Marked {
        let now = self.shared.now();
        self.shared.change(|marks| {
            marks.wake(now);
            marks.marked(collection, points)
        })
    }

    /// These the follower refuses for good. Their marks stay until they are cleared.
    ///
    /// Cancel safety: safe.
    pub async fn bury(&self, letters: &[DeadLetter]) -> Result<()> {
        for chunk in letters.chunks(CHUNK) {
            self.shared.has_room().await?;
            let now = self.shared.now();
            self.shared.change(|marks| marks.bury(chunk, now));
        }
        self.shared.is_on_disk().await;
        Ok(())
    }

    #[expect(clippy::unused_async, reason = "the other ledger asks a database")]
    pub async fn dead(&self, collection: Option<&str>, max: usize) -> Result<Vec<DeadLetter>> {
        Ok(self.shared.change(|marks| marks.dead(collection, max)))
    }

    #[expect(clippy::unused_async, reason = "the other ledger asks a database")]
    pub async fn dead_count(&self) -> Result<Vec<(Box<str>, u64)>> {
        Ok(self.shared.change(|marks| marks.dead_count()))
    }

    /// Dead letters become marks again. How many.
    ///
    /// Cancel safety: those that were revived until then are.
    pub async fn revive(&self, collection: Option<&str>) -> Result<u64> {
        let counts = self.dead_count().await?;
        let meant = |name: &str| collection.is_none_or(|collection| collection == name);
        let of = counts.iter().filter(|(name, _)| meant(name));
        let (all, mut revived) = (of.map(|(_, count)| count).sum::<u64>(), 0);
        while revived < all {
            self.shared.has_room().await?;
            let now = self.shared.now();
            let some = self
                .shared
                .change(|marks| marks.revive(collection, CHUNK, now));
            if some == 0 {
                break;
            }
            revived += u64::try_from(some).unwrap_or(u64::MAX);
            self.shared.woken.notify_one();
        }
        self.shared.is_on_disk().await;
        Ok(revived)
    }

    /// It is not known what differs: everything has to be compared.
    ///
    /// Cancel safety: safe.
    pub async fn want_sweep(&self, collection: Option<&str>, reason: &str) -> Result<()> {
        self.shared.has_room().await?;
        let now = self.shared.now();
        self.shared
            .change(|marks| marks.want_sweep(collection, reason, now));
        self.shared.woken.notify_one();
        self.shared.is_on_disk().await;
        Ok(())
    }

    /// What has to be compared, also what is not to begin yet (`may_be_swept`). A sweep must begin
    /// after this was asked: marks made from now on are kept singly again.
    #[expect(clippy::unused_async, reason = "the other ledger asks a database")]
    pub async fn sweeps(&self) -> Result<Vec<SweepDue>> {
        let now = self.shared.now();
        Ok(self.shared.change(|marks| {
            marks.wake(now);
            marks.sweeps()
        }))
    }

    /// A sweep that began after `due` was read is done.
    #[expect(clippy::unused_async, reason = "the other ledger asks a database")]
    pub async fn swept(&self, due: &SweepDue) -> Result<()> {
        let now = self.shared.now();
        self.shared.change(|marks| {
            marks.wake(now);
            marks.swept(due);
        });
        Ok(())
    }

    /// Forgets everything: the direction is no longer followed.
    ///
    /// Cancel safety: safe.
    pub async fn forget(&self) -> Result<()> {
        self.shared.has_room().await?;
        drop(self.shared.change(Marks::forget));
        self.shared.is_on_disk().await;
        Ok(())
    }

    /// Returns when there may be something new to take.
    ///
    /// Cancel safety: safe. For one who waits: of several, one is woken.
    pub async fn woken(&self) {
        let now = self.shared.now();
        let due = self.shared.change(|marks| marks.next_due(now));
        match due {
            None => self.shared.woken.notified().await,
            Some(due) => {
                // That the time has come is as good as being woken.
                drop(tokio::time::timeout(due, self.shared.woken.notified()).await);
            }
        }
    }

    pub fn state(&self) -> State {
        self.shared.health.borrow().clone()
    }

    /// Whether what `intend` and `mark` promise holds.
    pub fn is_sound(&self) -> bool {
        *self.shared.health.borrow() == State::Sound
    }

    /// Tells every change of the state.
    pub fn watch(&self) -> watch::Receiver<State> {
        self.shared.health.subscribe()
    }

    pub fn figures(&self) -> Figures {
        let counts = &self.shared.counts;
        let marks = self.shared.state.lock().marks.count();
        Figures {
            syncs: counts.syncs.load(Ordering::Relaxed),
            copies: counts.copies.load(Ordering::Relaxed),
            bytes: counts.bytes.load(Ordering::Relaxed),
            segments: counts.segments.load(Ordering::Relaxed),
            marks: u64::try_from(marks).unwrap_or(u64::MAX),
        }
    }

    /// Blocks until all that was changed is written, and gives the folder free. After it, nothing
    /// can be intended any more.
    pub fn close(&self) {
        self.shared.state.lock().is_closing = true;
        self.shared.work.notify_one();
        self.shared.room.notify_waiters();
        if let Some(writer) = self.writer.lock().take()
            && writer.join().is_err()
        {
            error!("the journal's thread ended in a panic");
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests;

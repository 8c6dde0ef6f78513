//! The threads that look after the collections: one that flushes and decides, a few that optimise,
//! and whichever removes files. Plain threads, for what they do blocks for seconds or minutes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::time::Instant;
use tracing::debug;

use super::catalog::{self, Catalog};
use super::shard::Shard;
use crate::error::{Error, ErrorKind, Origin, Result, Retry};

const LOOK: Duration = Duration::from_millis(250);
/// Each uses a pool of threads of its own while it builds an index.
const OPTIMISERS: usize = 2;
const STACK_BYTES: usize = 16 * 1024 * 1024;

pub(super) struct Keeper {
    shared: Arc<Shared>,
    catalog: Arc<Catalog>,
    keeper: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Shared {
    work: Mutex<Work>,
    changed: Condvar,
}

/// Bounded by the number of collections: each stands in `due` once at most.
#[derive(Default)]
struct Work {
    due: VecDeque<Arc<Shard>>,
    deleted: Vec<Arc<Shard>>,
    is_over: bool,
}

impl Keeper {
    pub(super) fn start(catalog: Arc<Catalog>) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let (own, watched) = (Arc::clone(&shared), Arc::clone(&catalog));
        let keeper = spawn("store-keeper", move || own.keep(&watched))?;
        for _ in 0..OPTIMISERS {
            let own = Arc::clone(&shared);
            drop(spawn("store-optimiser", move || own.optimise())?);
        }
        let own = Arc::clone(&shared);
        drop(spawn("store-cleaner", move || own.clean())?);
        Ok(Self {
            shared,
            catalog,
            keeper: Mutex::new(Some(keeper)),
        })
    }

    /// Leaves a deleted collection's end to the background.
    pub(super) fn dispose(&self, shard: Arc<Shard>) {
        self.shared.work.lock().deleted.push(shard);
        self.shared.changed.notify_all();
    }

    /// Ends the threads and closes every collection in good order. Only the first call does
    /// something.
    pub(super) fn close(&self, grace: Duration) {
        let deadline = Instant::now() + grace;
        {
            let mut work = self.shared.work.lock();
            if std::mem::replace(&mut work.is_over, true) {
                return;
            }
            work.due.clear();
        }
        self.shared.changed.notify_all();
        // Those first that need not be waited for.
        let mut shards = self.catalog.all();
        shards.sort_by_key(|shard| shard.signs.is_optimising.load(Ordering::Acquire));
        for shard in shards {
            shard.close(deadline);
        }
        // The keeper holds the catalog, and with it the folder's lock. The others may be in the
        // middle of something long; they hold only what they work on.
        if let Some(keeper) = self.keeper.lock().take()
            && keeper.join().is_err()
        {
            debug!("the store's keeper ended in a panic");
        }
    }
}

impl Shared {
    fn keep(&self, catalog: &Catalog) {
        loop {
            {
                let mut work = self.work.lock();
                if work.is_over {
                    return;
                }
                self.changed.wait_for(&mut work, LOOK);
                if work.is_over {
                    return;
                }
            }
            for shard in catalog.all() {
                if shard.look_after() {
                    self.queue(shard);
                }
            }
        }
    }

    fn queue(&self, shard: Arc<Shard>) {
        shard.signs.is_queued.store(true, Ordering::Release);
        self.work.lock().due.push_back(shard);
        self.changed.notify_all();
    }

    fn optimise(&self) {
        while let Some(shard) = self.next(|work| work.due.pop_front()) {
            shard.optimise();
        }
    }

    fn clean(&self) {
        while let Some(shard) = self.next(|work| work.deleted.pop()) {
            catalog::dispose(&shard);
        }
    }

    /// The next piece of work; `None` when it is over.
    fn next(&self, take: impl Fn(&mut Work) -> Option<Arc<Shard>>) -> Option<Arc<Shard>> {
        let mut work = self.work.lock();
        loop {
            if work.is_over {
                return None;
            }
            if let Some(shard) = take(&mut work) {
                return Some(shard);
            }
            self.changed.wait(&mut work);
        }
    }
}

/// A thread with room for filters that are nested as deep as JSON may be.
pub(super) fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>> {
    let thread = Builder::new().name(name.to_owned()).stack_size(STACK_BYTES);
    thread.spawn(work).map_err(|error| {
        Error::new(
            ErrorKind::Internal,
            Origin::Embedded,
            Retry::Safe,
            "start a thread",
        )
        .with_source(error)
    })
}

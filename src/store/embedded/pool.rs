//! Where the engine's blocking calls run: beside the async threads, and not more at once than the
//! machine has use for. Waiting for a turn takes no thread.

use std::sync::Arc;

use qdrant_edge::UpdateOperation;
use tokio::sync::Semaphore;
use tokio::task::JoinError;

use super::shard::Shard;
use crate::error::{Error, ErrorKind, Origin, Result, Retry};
use crate::task;

/// Writes of different collections at once.
const WRITES_MAX: usize = 16;

pub(super) struct Pool {
    reads: Arc<Semaphore>,
    writes: Arc<Semaphore>,
}

impl Pool {
    pub(super) fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        // Some wait for the disk while others compute.
        Self {
            reads: Arc::new(Semaphore::new((cores * 4).max(8))),
            writes: Arc::new(Semaphore::new(WRITES_MAX)),
        }
    }

    /// Cancel safety: dropping it before its turn does nothing; after that it runs to its end
    /// unseen.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        run(Arc::clone(&self.reads), Retry::Safe, work).await
    }

    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        run(Arc::clone(&self.writes), Retry::OutcomeUnknown, work).await
    }

    /// While no write of this collection is under way, and none begins.
    pub(super) async fn alone<T: Send + 'static>(
        &self,
        shard: &Shard,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let turn = Arc::clone(&shard.turn)
            .acquire_owned()
            .await
            .map_err(closed)?;
        self.write(move || {
            let _turn = turn;
            work()
        })
        .await
    }

    pub(super) async fn apply(&self, shard: Arc<Shard>, operation: UpdateOperation) -> Result<u64> {
        let turn = Arc::clone(&shard.turn)
            .acquire_owned()
            .await
            .map_err(closed)?;
        let mut room = shard.room.subscribe();
        // The sender lives in the shard.
        drop(room.wait_for(|has_room| *has_room).await);
        self.write(move || {
            let _turn = turn;
            shard.apply(operation)
        })
        .await
    }
}

async fn run<T: Send + 'static>(
    among: Arc<Semaphore>,
    retry: Retry,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let permit = among.acquire_owned().await.map_err(closed)?;
    let done = task::spawn_blocking("engine", move || {
        let _permit = permit;
        work()
    });
    done.await.map_err(|error| lost(error, retry))?
}

fn closed(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        Origin::Embedded,
        Retry::Safe,
        "ask the store",
    )
    .with_source(error)
}

fn lost(error: JoinError, retry: Retry) -> Error {
    Error::new(
        ErrorKind::Internal,
        Origin::Embedded,
        retry,
        "carry out a call of the store",
    )
    .with_source(error)
}

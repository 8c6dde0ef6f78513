//! A connection lent for a write, and the turn that goes with it.
//!
//! Writes wait at gates, for as long as whoever is before them takes. There are fewer turns than
//! connections, so that reads, and whatever is no write, find one however many writes wait.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use deadpool_postgres::{Client, Object};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::link::{self, Fault};

pub(super) struct Writer {
    client: Client,
    _turn: OwnedSemaphorePermit,
}

impl Writer {
    pub(super) fn new(client: Client, turn: OwnedSemaphorePermit) -> Self {
        Self {
            client,
            _turn: turn,
        }
    }

    /// Ends the connection: something may be under way on it that nobody waits for.
    pub(super) fn end(self) {
        drop(Object::take(self.client));
    }
}

impl Deref for Writer {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl DerefMut for Writer {
    fn deref_mut(&mut self) -> &mut Client {
        &mut self.client
    }
}

/// The turns of writes.
pub(super) struct Turns {
    free: Arc<Semaphore>,
    waiting: AtomicUsize,
}

impl Turns {
    /// Of a pool with so many connections.
    pub(super) fn of(connections: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new((connections / 2).max(1))),
            waiting: AtomicUsize::new(0),
        }
    }

    /// Cancel safety: safe.
    pub(super) async fn take(&self, patience: Duration) -> Result<OwnedSemaphorePermit, Fault> {
        if let Ok(turn) = Arc::clone(&self.free).try_acquire_owned() {
            return Ok(turn);
        }
        let _counted = Waiting::count(&self.waiting);
        match timeout(patience, Arc::clone(&self.free).acquire_owned()).await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(_)) | Err(_) => Err(link::all_in_use().into()),
        }
    }

    /// Writes that wait for a turn.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

struct Waiting<'t>(&'t AtomicUsize);

impl<'t> Waiting<'t> {
    fn count(waiting: &'t AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

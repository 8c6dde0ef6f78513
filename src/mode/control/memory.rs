//! A control store in memory, for several sidecars of one process: what the tests of the fleet go
//! by. It keeps leases as a shared one does.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::state::State;
use super::{Beat, Begun, Control, ControlFuture, Entry, Flip, Look, Proposal, SidecarId};
use crate::clock::Clock;
use crate::mode::table::Table;
use crate::model::Role;

/// Clones share one truth.
#[derive(Clone)]
pub struct MemoryControl {
    state: Arc<Mutex<State>>,
    moves: Arc<Notify>,
    lease: Duration,
    keeper: Option<Role>,
    clock: Clock,
}

impl MemoryControl {
    pub fn new(lease: Duration) -> Self {
        Self {
            state: Arc::default(),
            moves: Arc::default(),
            lease,
            keeper: None,
            clock: Clock::system(),
        }
    }

    /// As if it were in the database of this store.
    pub fn kept_by(mut self, keeper: Role) -> Self {
        self.keeper = Some(keeper);
        self
    }

    fn at_ms(&self) -> u64 {
        u64::try_from(self.clock.since_epoch().as_millis()).unwrap_or(u64::MAX)
    }

    fn now<T: Send + 'static>(&self, decide: impl FnOnce(&mut State) -> T) -> ControlFuture<'_, T> {
        let decided = decide(&mut self.state.lock());
        Box::pin(std::future::ready(Ok(decided)))
    }

    fn moving<T: Send + 'static>(
        &self,
        decide: impl FnOnce(&mut State) -> T,
    ) -> ControlFuture<'_, T> {
        let decided = self.now(decide);
        self.moves.notify_waiters();
        decided
    }
}

impl Control for MemoryControl {
    fn lease(&self) -> Option<Duration> {
        Some(self.lease)
    }

    fn keeper(&self) -> Option<Role> {
        self.keeper
    }

    fn forget<'a>(&'a self, name: &'a str, silent: Duration) -> ControlFuture<'a, bool> {
        self.moving(|state| state.forget(name, silent))
    }

    fn initialise<'a>(&'a self, table: &'a Table, who: &'a str) -> ControlFuture<'a, Table> {
        let at_ms = self.at_ms();
        self.now(|state| state.initialise(table, who, at_ms))
    }

    fn table(&self) -> ControlFuture<'_, Option<Table>> {
        self.now(|state| state.kept.table.clone())
    }

    fn beat(&self, beat: Beat) -> ControlFuture<'_, Look> {
        let lease = Some(self.lease);
        self.now(|state| state.beat(beat, lease))
    }

    fn leave(&self, id: SidecarId) -> ControlFuture<'_, ()> {
        self.now(|state| state.leave(id))
    }

    fn begin(&self, proposal: Proposal) -> ControlFuture<'_, Begun> {
        self.moving(|state| state.begin(proposal))
    }

    fn flip(&self, change: u64) -> ControlFuture<'_, Flip> {
        let at_ms = self.at_ms();
        self.moving(|state| state.flip(change, at_ms))
    }

    fn finish(&self, change: u64) -> ControlFuture<'_, bool> {
        let is_finished = self.state.lock().finish(change);
        // Nobody is woken for nothing: those who are would ask again at once.
        if is_finished {
            self.moves.notify_waiters();
        }
        Box::pin(std::future::ready(Ok(is_finished)))
    }

    fn abandon(&self, change: u64) -> ControlFuture<'_, bool> {
        self.moving(|state| state.abandon(change))
    }

    fn history(&self, limit: usize) -> ControlFuture<'_, Vec<Entry>> {
        self.now(|state| state.history(limit))
    }

    fn fact<'a>(&'a self, name: &'a str) -> ControlFuture<'a, Option<String>> {
        self.now(|state| state.kept.facts.get(name).cloned())
    }

    fn facts<'a>(&'a self, prefix: &'a str) -> ControlFuture<'a, Vec<(String, String)>> {
        self.now(|state| state.facts(prefix))
    }

    fn drop_fact<'a>(&'a self, name: &'a str) -> ControlFuture<'a, ()> {
        self.now(|state| drop(state.kept.facts.remove(name)))
    }

    fn put_fact<'a>(&'a self, name: &'a str, value: &'a str) -> ControlFuture<'a, ()> {
        self.now(|state| {
            state.kept.facts.insert(name.to_owned(), value.to_owned());
        })
    }

    fn replace_fact<'a>(
        &'a self,
        name: &'a str,
        was: Option<&'a str>,
        value: &'a str,
    ) -> ControlFuture<'a, bool> {
        self.now(|state| state.replace_fact(name, was, value))
    }

    fn woken(&self) -> ControlFuture<'_, ()> {
        Box::pin(async {
            self.moves.notified().await;
            Ok(())
        })
    }
}

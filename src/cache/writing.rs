//! A write under way, from before it is sent until other sidecars can know of it.

use std::sync::Arc;

use super::generation::{Generations, Outcome, Seen};
use super::names::Names;
use super::narrowing::Watch;
use super::scope::{Scope, Slot};
use super::shared::Ticket;
use super::{Cache, reach};
use crate::model::Operation;

/// A write under way. What it touches is not kept, and what was kept of it is out of force.
/// Dropped without `end`, nobody knows how it ended.
#[must_use]
pub struct Writing {
    pub(super) generations: Arc<Generations>,
    pub(super) slots: Vec<Slot>,
    /// What the names that it was judged by depend on.
    pub(super) names_hold_while: Seen,
    /// Of a write that is taken to touch only some tenants.
    pub(super) watch: Option<Watch>,
}

impl Cache {
    /// A write is about to be sent. `None`: it changes no answer.
    pub fn writing(
        &self,
        operation: Operation,
        collection: Option<&str>,
        names: Option<&Names>,
    ) -> Option<Writing> {
        let slots = reach::of_write(operation, collection, names);
        if !self.policy.enabled || slots.is_empty() {
            return None;
        }
        self.generations.begin(&slots);
        let world = |names: &Names| names.hold_while.of(Scope::World.slot());
        Some(Writing {
            generations: Arc::clone(&self.generations),
            slots,
            names_hold_while: names.map(world).unwrap_or_default(),
            watch: None,
        })
    }
}

impl Cache {
    /// Something is being written, and nobody knows what: until it ends, nothing is kept.
    pub fn writing_anywhere(&self) -> Option<Writing> {
        if !self.policy.enabled {
            return None;
        }
        let slots = vec![Scope::World.slot()];
        self.generations.begin(&slots);
        Some(Writing {
            generations: Arc::clone(&self.generations),
            slots,
            names_hold_while: Seen::default(),
            watch: None,
        })
    }
}

impl Writing {
    /// Returns when the other sidecars can know of it, or soon after.
    ///
    /// Cancel safety: safe; the write has ended when this was first polled.
    pub async fn end(mut self, outcome: Outcome) {
        if let Some(ticket) = self.finish(outcome) {
            ticket.known().await;
        }
    }

    fn finish(&mut self, outcome: Outcome) -> Option<Ticket> {
        if let Some(watch) = self.watch.take() {
            self.slots
                .extend(watch.over(&self.generations, &self.slots));
        }
        let mut slots = std::mem::take(&mut self.slots);
        // An alias was switched since it was told: nobody knows which collection this reached.
        let world = Scope::World.slot();
        if !self.generations.in_force(&self.names_hold_while) && !slots.contains(&world) {
            self.generations.begin(&[world]);
            slots.push(world);
        }
        self.generations.end(&slots, outcome)
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        if !self.slots.is_empty() {
            let _nobody_waits = self.finish(Outcome::Unsettled);
        }
    }
}

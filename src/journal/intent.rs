//! A write that has been announced and has not ended.

use std::mem;
use std::sync::Arc;

use super::marks::Held;
use super::{CHUNK, Shared};

/// What is known of a write that has ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// The authority said that it is done.
    Settled,
    /// The authority refused it before doing anything.
    NothingDone,
    /// No answer, or one that leaves it open: it may be applied, now or later.
    Unknown,
}

/// As long as this lives, its subjects are in flight. Dropped without `end`, nothing is known of
/// the write. Not `Clone`: a write ends once.
#[must_use = "a write that is not ended is taken for one whose outcome is not known"]
pub struct Intent {
    shared: Arc<Shared>,
    collection: Box<str>,
    pub(super) held: Held,
    pub(super) on_drop: Outcome,
    pub(super) is_durable: bool,
}

impl Intent {
    pub(super) fn new(shared: Arc<Shared>, collection: &str) -> Self {
        Self {
            shared,
            collection: collection.into(),
            held: Held::default(),
            on_drop: Outcome::NothingDone,
            is_durable: false,
        }
    }

    /// False while the disk fails. The marks are in memory, and everything will be compared.
    pub fn is_durable(&self) -> bool {
        self.is_durable
    }

    pub fn end(mut self, outcome: Outcome) {
        self.on_drop = outcome;
    }
}

impl Drop for Intent {
    fn drop(&mut self) {
        let mut barriers = mem::take(&mut self.held.barriers);
        let points = mem::take(&mut self.held.points);
        let chunks = points.chunks(CHUNK).map(<[_]>::to_vec);
        // Barriers alone make one chunk of no points.
        let alone = points.is_empty().then(Vec::new);
        for points in chunks.chain(alone) {
            let barriers = mem::take(&mut barriers);
            let era = self.held.era;
            let held = Held {
                points,
                barriers,
                era,
            };
            let now = self.shared.now();
            self.shared.change(|marks| {
                marks.land(&self.collection, held, self.on_drop, now);
            });
        }
        self.shared.woken.notify_one();
    }
}

//! Calls whose effect is not known beforehand: what they may reach has to be compared when they
//! have ended.
//!
//! The comparison is due, durably, before the call is sent; it is not to begin before the call has
//! ended, and is not done before that whoever says so. Calls of one collection share one: it goes
//! again when all of them came to nothing and nobody else asked for it. After a call whose outcome
//! is not known it is due once more when the call can have no more effect; so it is after a restart,
//! for calls that were under way.

use std::borrow::Cow;
use std::sync::Arc;

use super::marks::Marks;
use super::record::Record;
use super::sweep::Sweep;
use super::{Journal, Now, Outcome, Shared};
use crate::error::Result;
use crate::model::SweepDue;

/// As long as this lives, the call is under way. Dropped without `end`, nothing is known of it.
/// Not `Clone`: a call ends once.
#[must_use = "a call that is not ended is taken for one whose outcome is not known"]
pub struct Owed {
    shared: Arc<Shared>,
    collection: Option<Box<str>>,
    era: u64,
    on_drop: Outcome,
}

impl Owed {
    pub fn end(mut self, outcome: Outcome) {
        self.on_drop = outcome;
    }
}

impl Drop for Owed {
    fn drop(&mut self) {
        let now = self.shared.now();
        self.shared.change(|marks| {
            marks.paid(self.collection.as_deref(), self.era, self.on_drop, now);
        });
        self.shared.woken.notify_one();
    }
}

impl Journal {
    /// A call is about to be sent after which the collection, or all, has to be compared. Why is
    /// told unless there is a reason already.
    ///
    /// Cancel safety: safe. Dropped before it returned, nothing was sent, and nothing is owed that
    /// was not.
    pub async fn owe(&self, collection: Option<&str>, reason: &str) -> Result<Owed> {
        self.shared.has_room().await?;
        let now = self.shared.now();
        let era = self
            .shared
            .change(|marks| marks.owe(collection, reason, now));
        let mut owed = Owed {
            shared: Arc::clone(&self.shared),
            collection: collection.map(Into::into),
            era,
            on_drop: Outcome::NothingDone,
        };
        self.shared.is_on_disk().await;
        owed.on_drop = Outcome::Unknown;
        Ok(owed)
    }

    /// Whether a comparison that is due may begin: no call is under way for which it is due, and it
    /// does not wait until one whose outcome is not known can have no more effect.
    pub fn may_be_swept(&self, due: &SweepDue) -> bool {
        self.shared
            .change(|marks| match marks.sweep_of(due.collection.as_deref()) {
                Some(sweep) => sweep.may_begin(),
                None => true,
            })
    }
}

impl Marks {
    fn sweep_of(&self, collection: Option<&str>) -> Option<&Sweep> {
        match collection {
            None => self.sweep_all.as_ref(),
            Some(name) => self.lanes.get(name)?.sweep.as_ref(),
        }
    }

    fn with_sweep<R>(
        &mut self,
        collection: Option<&str>,
        work: impl FnOnce(&mut Option<Sweep>) -> R,
    ) -> R {
        match collection {
            None => work(&mut self.sweep_all),
            Some(name) => self.lane(name, |lane, _, _| work(&mut lane.sweep)),
        }
    }

    /// The era in which it is owed.
    fn owe(&mut self, collection: Option<&str>, reason: &str, now: Now) -> u64 {
        let token = self.draw.token();
        self.with_sweep(collection, |sweep| match sweep {
            Some(sweep) => sweep.owe(token),
            None => *sweep = Some(Sweep::owed(reason, token, now)),
        });
        self.note_sweep(collection);
        self.era()
    }

    fn paid(&mut self, collection: Option<&str>, era: u64, outcome: Outcome, now: Now) {
        if era != self.era() {
            return;
        }
        let token = self.draw.token();
        let is_over = self.with_sweep(collection, |sweep| {
            sweep
                .take_if(|sweep| sweep.paid(outcome, token, now))
                .is_some()
        });
        if is_over {
            let collection = collection.map(Cow::Borrowed);
            Record::Swept { collection }.encode(&mut self.out);
        } else {
            self.note_sweep(collection);
        }
    }

    /// Writes down what is due.
    pub(super) fn note_sweep(&mut self, collection: Option<&str>) {
        let mut out = std::mem::take(&mut self.out);
        if let Some(sweep) = self.sweep_of(collection) {
            sweep.note(collection, &mut out);
        }
        self.out = out;
    }
}

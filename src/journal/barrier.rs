//! Barriers in the line of a collection: its schema changed, or it was deleted.
//!
//! A barrier holds its place from the moment its call is about to be sent: what is marked from
//! then on may be of the time after it. A deletion that is not known to have happened must not
//! make anything void, and must not make the follower throw anything away: it becomes a `Schema`
//! mark, and the collection is compared whole.

use super::doubt::{DOUBT, comeback};
use super::id::Draw;
use super::lane::Lane;
use super::record::Kind;
use super::{Now, Outcome};
use crate::model::Subject;

pub(super) struct Barrier {
    pub(super) subject: Subject,
    pub(super) token: u64,
    pub(super) made_ms: u64,
    /// How many intents it is in.
    flying: u32,
    is_owed: bool,
    doubt: u8,
    /// Plain, or settled.
    is_sure: bool,
    /// Places at which the journal has this barrier still, besides its own.
    also_at: Vec<u64>,
}

/// A `Schema` in doubt that was cleared and is to come back.
pub(super) struct SchemaAsleep {
    pub(super) due: u32,
    doubt: u8,
    pub(super) made_ms: u64,
    pub(super) also_at: Vec<u64>,
}

/// What the end of an intent on a barrier asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum BarrierLanded {
    Stays,
    Gone,
    /// What was before it is void, and this has to be written down.
    Sure,
    /// It is not known whether the collection was deleted.
    InDoubt,
}

impl Barrier {
    pub(super) fn is_takeable(&self) -> bool {
        self.is_owed && self.flying == 0
    }

    pub(super) fn kind(&self) -> Kind {
        if self.is_sure {
            Kind::Plain
        } else {
            Kind::Intent
        }
    }
}

impl Lane {
    /// Puts a barrier at the end of the line, or finds the one that stands there already. Its
    /// place, and whether it is new.
    pub(super) fn raise(
        &mut self,
        subject: Subject,
        kind: Kind,
        draw: &mut Draw,
        now: Now,
    ) -> (u64, bool) {
        let last = self.barriers.last_key_value();
        let same = last.filter(|(place, barrier)| {
            subject == Subject::Schema
                && barrier.subject == Subject::Schema
                && self.is_nothing_behind(**place)
        });
        let (place, is_new) = match same.map(|(place, _)| *place) {
            Some(place) => (place, false),
            None => (draw.place(), true),
        };
        let barrier = self.barriers.entry(place).or_insert_with(|| Barrier {
            subject,
            token: 0,
            made_ms: now.ms,
            flying: 0,
            is_owed: false,
            doubt: 0,
            is_sure: false,
            also_at: Vec::new(),
        });
        match kind {
            Kind::Intent => barrier.flying += 1,
            Kind::Plain => {
                barrier.is_owed = true;
                barrier.is_sure = true;
                barrier.token = draw.token();
            }
        }
        (place, is_new)
    }

    /// The one whose turn it is: the first. But a deletion that is known to have happened comes
    /// before changes that stand before it: they are of a life that is over, and what the follower
    /// has of it may be in their way for good.
    pub(super) fn barrier_in_turn(&self) -> Option<(u64, &Barrier)> {
        let is_over = |of: &Barrier| of.subject == Subject::Dropped && of.is_sure;
        let mut deletions = self.barriers.iter().filter(|(_, of)| is_over(of));
        let deletion = deletions.next();
        let turn = deletion.or_else(|| self.barriers.first_key_value());
        turn.map(|(place, barrier)| (*place, barrier))
    }

    pub(super) fn land_barrier(
        &mut self,
        place: u64,
        outcome: Outcome,
        draw: &mut Draw,
        now: Now,
    ) -> BarrierLanded {
        let Some(barrier) = self.barriers.get_mut(&place) else {
            return BarrierLanded::Stays;
        };
        barrier.flying = barrier.flying.saturating_sub(1);
        match (outcome, barrier.subject) {
            (Outcome::NothingDone, _) => {
                if barrier.flying > 0 || barrier.is_owed {
                    return BarrierLanded::Stays;
                }
                if barrier.doubt > 0 {
                    self.put_to_sleep(place, now);
                    return BarrierLanded::Stays;
                }
                self.barriers.remove(&place);
                BarrierLanded::Gone
            }
            (Outcome::Settled, subject) => {
                barrier.is_owed = true;
                barrier.token = draw.token();
                if subject != Subject::Dropped {
                    return BarrierLanded::Stays;
                }
                barrier.is_sure = true;
                self.void_before(place);
                BarrierLanded::Sure
            }
            (Outcome::Unknown, subject) => {
                barrier.is_owed = true;
                barrier.doubt = DOUBT;
                barrier.token = draw.token();
                barrier.subject = Subject::Schema;
                self.doubt_until_ms = now.ms + now.doubt_ms();
                if subject == Subject::Dropped {
                    BarrierLanded::InDoubt
                } else {
                    BarrierLanded::Stays
                }
            }
        }
    }

    /// The follower has what the barrier stands for. The places that the journal may forget.
    pub(super) fn clear_barrier(&mut self, token: u64, now: Now) -> Vec<u64> {
        let mut owed = self.barriers.iter_mut().filter(|(_, of)| of.is_owed);
        let Some((place, barrier)) = owed.find(|(_, of)| of.token == token) else {
            return Vec::new();
        };
        let place = *place;
        barrier.is_owed = false;
        if barrier.flying > 0 {
            return Vec::new();
        }
        if barrier.doubt > 0 {
            self.put_to_sleep(place, now);
            return Vec::new();
        }
        let cleared = self.barriers.remove(&place);
        let mut gone = cleared.map_or_else(Vec::new, |of| of.also_at);
        gone.push(place);
        gone
    }

    fn put_to_sleep(&mut self, place: u64, now: Now) {
        let Some(barrier) = self.barriers.remove(&place) else {
            return;
        };
        let (mut doubt, mut also_at) = (barrier.doubt, barrier.also_at);
        also_at.push(place);
        if let Some(other) = self.schema_asleep.take() {
            doubt = doubt.max(other.doubt);
            also_at.extend(other.also_at);
        }
        self.schema_asleep = Some(SchemaAsleep {
            due: now.tenths_after(comeback(doubt, now.doubt)),
            doubt: doubt.saturating_sub(1),
            made_ms: barrier.made_ms,
            also_at,
        });
    }

    /// Whether a `Schema` in doubt stands in line again.
    pub(super) fn wake_schema(&mut self, draw: &mut Draw, now: Now) -> bool {
        let is_due = |schema: &mut SchemaAsleep| schema.due <= now.tenths();
        let Some(schema) = self.schema_asleep.take_if(is_due) else {
            return false;
        };
        let (place, _) = self.raise(Subject::Schema, Kind::Plain, draw, now);
        if let Some(barrier) = self.barriers.get_mut(&place) {
            barrier.doubt = barrier.doubt.max(schema.doubt);
            barrier.is_sure = false;
            barrier.also_at.extend(schema.also_at);
        }
        true
    }

    pub(super) fn restore_barrier(
        &mut self,
        subject: Subject,
        kind: Kind,
        place: u64,
        made_ms: u64,
        token: u64,
    ) {
        let barrier = Barrier {
            subject,
            token,
            made_ms,
            flying: 0,
            is_owed: true,
            doubt: 0,
            is_sure: kind == Kind::Plain,
            also_at: Vec::new(),
        };
        self.barriers.insert(place, barrier);
    }

    pub(super) fn restore_barrier_sure(&mut self, place: u64) {
        if let Some(barrier) = self.barriers.get_mut(&place) {
            barrier.is_sure = true;
        }
        self.restore_sure(place);
    }

    /// After a restart the outcome of an intent is not known. Whether a deletion is among them.
    pub(super) fn doubt_barriers(&mut self) -> bool {
        let mut is_any_deletion = false;
        for barrier in self
            .barriers
            .values_mut()
            .filter(|barrier| !barrier.is_sure)
        {
            is_any_deletion |= barrier.subject == Subject::Dropped;
            barrier.subject = Subject::Schema;
            barrier.doubt = DOUBT;
        }
        is_any_deletion
    }
}

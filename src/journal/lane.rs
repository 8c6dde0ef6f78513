//! The point marks of one collection, in the order in which they are worked off.
//!
//! A mark has a *place* in the line, which it keeps when it is made anew, and a *token*, which it
//! does not. Barriers have places in the same line. A point that is marked anew behind a barrier
//! moves behind it.
//!
//! Everything takes the logarithm of what waits, or what it gives back: callers hold a lock that
//! writers wait for. What becomes void at once is let go little by little.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::ops::Bound;

use super::barrier::{Barrier, SchemaAsleep};
use super::dead::Letter;
use super::doubt::{DOUBT, comeback};
use super::id::{Draw, Id};
use super::record::Kept;
use super::sweep::Sweep;
use super::{Now, Outcome};
use crate::model::{Mark, PointKey, Subject};

/// A point that always has a write in flight is given all the same when it has waited this long.
/// That costs a second copy, for the end of the write marks it anew.
pub(super) const STARVING_MS: u64 = 1_000;
/// A write to a point that is marked already is noted again after so long, so that a restart
/// knows which writes may still have been on their way.
const NOTED_AGAIN_S: u32 = 60;

#[derive(Clone, Copy, Debug)]
struct Entry {
    place: u64,
    token: u64,
    made_ms: u64,
    intended_s: u32,
    at: At,
}

/// `doubt`: how often it will come back after it is cleared.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum At {
    /// Nothing is owed but what the writes in flight may bring.
    Flying {
        doubt: u8,
    },
    Waiting {
        doubt: u8,
    },
    /// Cleared, and to come back. `due` is in tenths of a second since the journal was opened.
    Asleep {
        doubt: u8,
        due: u32,
    },
}

#[derive(Default)]
pub(super) struct Lane {
    points: BTreeMap<Id, Entry>,
    queue: BTreeMap<u64, Id>,
    asleep: BTreeSet<(u32, Id)>,
    /// How many intents each point is in.
    flying: BTreeMap<Id, u32>,
    /// Waited before a deletion. Still in `points`, and as good as not there.
    void: BTreeMap<u64, Id>,
    pub(super) barriers: BTreeMap<u64, Barrier>,
    pub(super) schema_asleep: Option<SchemaAsleep>,
    pub(super) dead: BTreeMap<Id, Letter>,
    pub(super) sweep: Option<Sweep>,
    /// The place of the last deletion: the journal knows nothing of points before it.
    deleted_at: u64,
    /// Until then a write whose outcome is not known may be applied.
    pub(super) doubt_until_ms: u64,
}

/// What is left of an intent on a point.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Landed {
    Owed,
    Stays,
    /// Nothing is marked any more.
    Gone,
}

/// Let go of, to be freed where nobody waits for it.
pub(super) struct Garbage {
    _points: BTreeMap<Id, Entry>,
    _queue: BTreeMap<u64, Id>,
    _asleep: BTreeSet<(u32, Id)>,
    _void: BTreeMap<u64, Id>,
}

impl Lane {
    /// All that waits: in line, in flight, in doubt, and barriers.
    pub(super) fn count(&self) -> usize {
        let barriers = self.barriers.len() + usize::from(self.schema_asleep.is_some());
        self.points.len() - self.void.len() + barriers
    }

    /// Whether a point waits.
    pub(super) fn has(&self, id: Id) -> bool {
        let entry = self.points.get(&id);
        entry.is_some_and(|entry| !self.void.contains_key(&entry.place))
    }

    /// Points that a spill would let go.
    pub(super) fn spillable(&self) -> usize {
        self.queue.len() + self.asleep.len()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.points.is_empty()
            && self.flying.is_empty()
            && self.void.is_empty()
            && self.barriers.is_empty()
            && self.schema_asleep.is_none()
            && self.dead.is_empty()
            && self.sweep.is_none()
    }

    pub(super) fn flying(&self) -> impl Iterator<Item = Id> + '_ {
        self.flying.keys().copied()
    }

    /// What has a place before this is written down anew when it is marked anew.
    fn last_barrier(&self) -> u64 {
        let barrier = self.barriers.last_key_value();
        barrier.map_or(self.deleted_at, |(place, _)| *place)
    }

    /// A write that may touch the point is about to be sent. The place is given if that must be
    /// written down.
    pub(super) fn lift(&mut self, id: Id, draw: &mut Draw, now: Now) -> Option<u64> {
        self.look_void(id);
        *self.flying.entry(id).or_default() += 1;
        let last_barrier = self.last_barrier();
        let Some(entry) = self.points.get_mut(&id) else {
            let place = draw.place();
            let entry = Entry {
                place,
                token: draw.token(),
                made_ms: now.ms,
                intended_s: now.seconds(),
                at: At::Flying { doubt: 0 },
            };
            self.points.insert(id, entry);
            return Some(place);
        };
        let is_old = now.seconds().abs_diff(entry.intended_s) >= NOTED_AGAIN_S;
        let is_behind = entry.place > last_barrier;
        if is_behind && !is_old {
            return None;
        }
        entry.intended_s = now.seconds();
        let place = draw.place();
        if !is_behind {
            self.shift(id, place);
        }
        Some(place)
    }

    /// Gives a point another place, further back.
    fn shift(&mut self, id: Id, place: u64) {
        let Some(entry) = self.points.get_mut(&id) else {
            return;
        };
        if let At::Waiting { .. } = entry.at {
            self.queue.remove(&entry.place);
            self.queue.insert(place, id);
        }
        entry.place = place;
    }

    /// The write has ended.
    pub(super) fn land(&mut self, id: Id, outcome: Outcome, draw: &mut Draw, now: Now) -> Landed {
        let Some(count) = self.flying.get_mut(&id) else {
            return Landed::Stays;
        };
        *count -= 1;
        let is_last = *count == 0;
        if is_last {
            self.flying.remove(&id);
        }
        self.look_void(id);
        let doubt = match outcome {
            Outcome::NothingDone => return self.land_empty(id, is_last, now),
            Outcome::Settled => 0,
            Outcome::Unknown => {
                self.doubt_until_ms = now.ms + now.doubt_ms();
                DOUBT
            }
        };
        if let Some(sweep) = self.sweep.as_mut().filter(|sweep| sweep.is_spilled) {
            // The sweep has not begun, so it will see what was written.
            if doubt > 0 {
                sweep.again_ms = self.doubt_until_ms;
            }
            return self.let_go(id, is_last);
        }
        self.owe(id, doubt, draw, now);
        Landed::Owed
    }

    fn land_empty(&mut self, id: Id, is_last: bool, now: Now) -> Landed {
        match self.points.get(&id).map(|entry| entry.at) {
            Some(At::Flying { doubt: 0 }) if is_last => {
                self.points.remove(&id);
                Landed::Gone
            }
            Some(At::Flying { doubt }) if is_last => {
                self.sleep(id, doubt, now);
                Landed::Stays
            }
            Some(At::Flying { .. } | At::Waiting { .. } | At::Asleep { .. }) | None => {
                Landed::Stays
            }
        }
    }

    fn let_go(&mut self, id: Id, is_last: bool) -> Landed {
        let Some(entry) = self.points.get_mut(&id) else {
            return Landed::Stays;
        };
        match entry.at {
            At::Flying { .. } => {}
            At::Waiting { .. } => drop(self.queue.remove(&entry.place)),
            At::Asleep { due, .. } => drop(self.asleep.remove(&(due, id))),
        }
        if is_last {
            self.points.remove(&id);
            return Landed::Gone;
        }
        entry.at = At::Flying { doubt: 0 };
        Landed::Stays
    }

    /// The point may differ. The place is given if that must be written down.
    pub(super) fn mark(&mut self, id: Id, draw: &mut Draw, now: Now) -> Option<u64> {
        self.look_void(id);
        self.owe(id, 0, draw, now)
    }

    fn owe(&mut self, id: Id, doubt: u8, draw: &mut Draw, now: Now) -> Option<u64> {
        let last_barrier = self.last_barrier();
        let Some(entry) = self.points.get_mut(&id) else {
            let place = draw.place();
            let entry = Entry {
                place,
                token: draw.token(),
                made_ms: now.ms,
                intended_s: 0,
                at: At::Waiting { doubt },
            };
            self.points.insert(id, entry);
            self.queue.insert(place, id);
            return Some(place);
        };
        let (old, mut moved) = (entry.place, None);
        if old < last_barrier {
            entry.place = draw.place();
            moved = Some(entry.place);
        }
        entry.token = draw.token();
        let had = match entry.at {
            At::Flying { doubt } => doubt,
            At::Waiting { doubt } => {
                self.queue.remove(&old);
                doubt
            }
            At::Asleep { doubt, due } => {
                self.asleep.remove(&(due, id));
                entry.made_ms = now.ms;
                doubt
            }
        };
        entry.at = At::Waiting {
            doubt: doubt.max(had),
        };
        self.queue.insert(entry.place, id);
        moved
    }

    /// Up to `max` of what is first in line, and when the oldest of them was made.
    pub(super) fn take(&self, max: usize, now: Now) -> Option<(Vec<Mark>, u64)> {
        let barrier = self.barrier_in_turn();
        let end = barrier.map_or(u64::MAX, |(place, _)| place);
        let (mut marks, mut oldest_ms) = (Vec::new(), u64::MAX);
        for id in self.queue.range(..end).map(|(_, id)| *id) {
            let Some(entry) = self.points.get(&id) else {
                continue;
            };
            let is_starving = entry.made_ms + STARVING_MS <= now.ms;
            if self.flying.contains_key(&id) && !is_starving {
                continue;
            }
            if marks.len() == max {
                break;
            }
            oldest_ms = oldest_ms.min(entry.made_ms);
            marks.push(Mark {
                token: entry.token,
                subject: Subject::Point(id.into()),
            });
        }
        if !marks.is_empty() {
            return Some((marks, oldest_ms));
        }
        let (_, barrier) = barrier?;
        let is_first = self.queue.range(..end).next().is_none();
        (max > 0 && is_first && barrier.is_takeable()).then(|| {
            let mark = Mark {
                token: barrier.token,
                subject: barrier.subject,
            };
            (vec![mark], barrier.made_ms)
        })
    }

    /// The follower has what was read under this token. Whether nothing is marked any more.
    pub(super) fn clear(&mut self, id: Id, token: u64, now: Now) -> bool {
        self.look_void(id);
        let Some(entry) = self
            .points
            .get_mut(&id)
            .filter(|entry| entry.token == token)
        else {
            return false;
        };
        let At::Waiting { doubt } = entry.at else {
            return false;
        };
        self.queue.remove(&entry.place);
        if self.flying.contains_key(&id) {
            entry.at = At::Flying { doubt };
            entry.made_ms = now.ms;
            return false;
        }
        if doubt > 0 {
            self.sleep(id, doubt, now);
            return false;
        }
        self.points.remove(&id);
        true
    }

    fn sleep(&mut self, id: Id, doubt: u8, now: Now) {
        let due = now.tenths_after(comeback(doubt, now.doubt));
        if let Some(entry) = self.points.get_mut(&id) {
            let doubt = doubt.saturating_sub(1);
            entry.at = At::Asleep { doubt, due };
            self.asleep.insert((due, id));
        }
    }

    /// The first that is in doubt and has slept long enough stands in line again: its place, if
    /// that must be written down.
    pub(super) fn wake(&mut self, draw: &mut Draw, now: Now) -> Option<(Id, Option<u64>)> {
        let (due, id) = *self.asleep.first()?;
        if due > now.tenths() {
            return None;
        }
        Some((id, self.owe(id, 0, draw, now)))
    }

    /// When the next one wakes, in tenths of a second.
    pub(super) fn next_due(&self) -> Option<u32> {
        let point = self.asleep.first().map(|(due, _)| *due);
        let schema = self.schema_asleep.as_ref().map(|schema| schema.due);
        point.into_iter().chain(schema).min()
    }

    /// When the first in line was made. Those in doubt that sleep are not in line.
    pub(super) fn oldest_ms(&self) -> Option<u64> {
        let made = |id: &Id| self.points.get(id).map(|entry| entry.made_ms);
        let waiting = self.queue.values().next().and_then(made);
        let barrier = self.barriers.values().next().map(|barrier| barrier.made_ms);
        let flying = self.flying.keys().next().and_then(made);
        waiting.into_iter().chain(barrier).chain(flying).min()
    }

    pub(super) fn is_nothing_behind(&self, place: u64) -> bool {
        self.queue.range(place..).next().is_none()
    }

    /// A deletion has happened at `place`: what was written before it is of another life. What is
    /// in flight may land after it, and so has its place behind every barrier.
    pub(super) fn void_before(&mut self, place: u64) {
        self.deleted_at = place;
        let behind = self.queue.split_off(&place);
        let mut before = mem::replace(&mut self.queue, behind);
        self.void.append(&mut before);
    }

    fn look_void(&mut self, id: Id) {
        if !self.void.is_empty()
            && let Some(entry) = self.points.get(&id)
            && self.void.remove(&entry.place).is_some()
        {
            self.points.remove(&id);
        }
    }

    /// Frees some of what is void.
    pub(super) fn free(&mut self, budget: usize) {
        for _ in 0..budget {
            let Some((_, id)) = self.void.pop_first() else {
                return;
            };
            self.points.remove(&id);
        }
    }

    /// Lets all points go that are not in flight.
    pub(super) fn spill(&mut self) -> Garbage {
        let mut kept = BTreeMap::new();
        for id in self.flying.keys() {
            if let Some(entry) = self.points.get(id) {
                let at = At::Flying { doubt: 0 };
                kept.insert(*id, Entry { at, ..*entry });
            }
        }
        Garbage {
            _points: mem::replace(&mut self.points, kept),
            _queue: mem::take(&mut self.queue),
            _asleep: mem::take(&mut self.asleep),
            _void: mem::take(&mut self.void),
        }
    }

    /// It was written down anew that this one is in flight.
    pub(super) fn note_flying(&mut self, id: Id, place: u64, now: Now) {
        if let Some(entry) = self.points.get_mut(&id) {
            entry.intended_s = now.seconds();
            self.shift(id, place);
        }
    }

    /// Looks at up to `max` points after `after` in the order of ids: those that are marked, and
    /// the last one looked at.
    pub(super) fn copy(&self, after: Option<Id>, max: usize) -> (Vec<Kept>, Option<Id>) {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let (mut marked, mut last) = (Vec::new(), None);
        for (id, entry) in self.points.range((from, Bound::Unbounded)).take(max) {
            last = Some(*id);
            if !self.void.contains_key(&entry.place) {
                marked.push(Kept {
                    point: (*id).into(),
                    place: entry.place,
                    made_ms: entry.made_ms,
                    intended_s: entry.intended_s,
                });
            }
        }
        (marked, last)
    }

    /// As it stood in the journal. What is known of the point already is older.
    pub(super) fn restore(&mut self, kept: Kept, token: u64) {
        let id = Id::from(kept.point);
        let mut entry = Entry {
            place: kept.place,
            token,
            made_ms: kept.made_ms,
            intended_s: kept.intended_s,
            at: At::Waiting { doubt: 0 },
        };
        if let Some(old) = self.points.get(&id) {
            entry.made_ms = entry.made_ms.min(old.made_ms);
            entry.intended_s = entry.intended_s.max(old.intended_s);
            self.queue.remove(&old.place);
        }
        self.queue.insert(entry.place, id);
        self.points.insert(id, entry);
    }

    pub(super) fn restore_cleared(&mut self, point: PointKey) {
        if let Some(entry) = self.points.remove(&point.into()) {
            self.queue.remove(&entry.place);
        }
    }

    pub(super) fn restore_sure(&mut self, place: u64) {
        self.void_before(place);
        self.free(usize::MAX);
    }

    /// What a write touched shortly before the restart may be applied after it.
    pub(super) fn doubt_since(&mut self, intended_s: u32, until_ms: u64) {
        for entry in self.points.values_mut() {
            if entry.intended_s >= intended_s {
                entry.at = At::Waiting { doubt: DOUBT };
                self.doubt_until_ms = until_ms;
            }
        }
    }
}

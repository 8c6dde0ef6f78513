//! All that is marked, in memory, and what of each change has to be written down.
//!
//! Every method changes the marks and appends to `out` what a restart needs to come to the same;
//! both happen under one lock, so that the journal tells the changes in their order. Nothing here
//! touches a disk or waits.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::time::Duration;

use tracing::error;

use super::barrier::BarrierLanded;
use super::id::{Draw, Id};
use super::lane::{Garbage, Landed, Lane};
use super::record::{Kind, Record};
use super::run::{Run, note_flying, put_cleared, put_raised, put_sure};
use super::sweep::Sweep;
use super::{Now, Outcome};
use crate::model::{
    Backlog, Batch, DeadLetter, Mark, Marked, PERHAPS_DELETED, PointKey, Subject, SweepDue,
};

/// After so long everything is looked at again of which letters were forgotten.
const LETTERS_PAUSE_MS: u64 = 10 * 60 * 1000;

/// What a mark, and a dead letter, take on disk, at most but for long names.
const MARK_BYTES: u64 = 40;
const LETTER_BYTES: u64 = 560;

/// How much is woken, and freed, in one go.
const WAKE_MAX: usize = 4096;
const FREE_MAX: usize = 64;

/// What an intent holds on to until it ends.
#[derive(Default)]
pub(super) struct Held {
    pub(super) points: Vec<Id>,
    /// By place.
    pub(super) barriers: Vec<u64>,
    /// Intents of an era that is over hold nothing.
    pub(super) era: u64,
}

pub(super) struct Marks {
    pub(super) lanes: BTreeMap<Box<str>, Lane>,
    pub(super) sweep_all: Option<Sweep>,
    pub(super) draw: Draw,
    /// Records that are still to be written.
    pub(super) out: Vec<u8>,
    total: usize,
    letters: usize,
    era: u64,
    marks_max: usize,
    letters_max: usize,
}

impl Marks {
    pub(super) fn new(marks_max: usize) -> Self {
        Self {
            lanes: BTreeMap::new(),
            sweep_all: None,
            draw: Draw::default(),
            out: Vec::new(),
            total: 0,
            letters: 0,
            era: 0,
            marks_max,
            letters_max: (marks_max / 10).max(100),
        }
    }

    pub(super) fn count(&self) -> usize {
        self.total
    }

    pub(super) fn era(&self) -> u64 {
        self.era
    }

    /// What a copy of all that is live takes on disk.
    pub(super) fn live_bytes(&self) -> u64 {
        let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        number(self.total) * MARK_BYTES
            + number(self.letters) * LETTER_BYTES
            + number(self.lanes.len()) * LETTER_BYTES
    }

    pub(super) fn lane<R>(
        &mut self,
        collection: &str,
        work: impl FnOnce(&mut Lane, &mut Draw, &mut Vec<u8>) -> R,
    ) -> R {
        let mut fresh = None;
        let lane = match self.lanes.get_mut(collection) {
            Some(lane) => lane,
            None => fresh.insert(Lane::default()),
        };
        let (marks, letters) = (lane.count(), lane.dead.len());
        lane.free(FREE_MAX);
        let done = work(lane, &mut self.draw, &mut self.out);
        self.total = self.total + lane.count() - marks;
        self.letters = self.letters + lane.dead.len() - letters;
        let is_idle = lane.is_idle();
        match fresh {
            Some(lane) if !is_idle => drop(self.lanes.insert(collection.into(), lane)),
            None if is_idle => drop(self.lanes.remove(collection)),
            Some(_) | None => {}
        }
        done
    }

    /// Writes to these subjects are about to be sent.
    pub(super) fn lift(
        &mut self,
        collection: &str,
        subjects: &[Subject],
        held: &mut Held,
        now: Now,
    ) {
        held.era = self.era;
        self.lane(collection, |lane, draw, out| {
            let mut run = Run::new(collection, Kind::Intent, now);
            for subject in subjects {
                match subject {
                    Subject::Point(key) => {
                        held.points.push((*key).into());
                        run.add(*subject, lane.lift((*key).into(), draw, now), out);
                    }
                    Subject::Schema | Subject::Dropped => {
                        let place = run.barrier(lane, *subject, draw, out);
                        held.barriers.push(place);
                    }
                }
            }
            run.end(out);
        });
    }

    /// They have ended.
    pub(super) fn land(&mut self, collection: &str, held: Held, outcome: Outcome, now: Now) {
        if held.era != self.era {
            return;
        }
        let is_doubtful = self.lane(collection, |lane, draw, out| {
            let (mut gone, mut raised, mut gone_barriers) = (Vec::new(), Vec::new(), Vec::new());
            for id in held.points {
                if lane.land(id, outcome, draw, now) == Landed::Gone {
                    gone.push(PointKey::from(id));
                }
                let is_touched = outcome != Outcome::NothingDone;
                if is_touched && lane.dead.remove(&id).is_some() {
                    raised.push(PointKey::from(id));
                }
            }
            let mut is_doubtful = false;
            for place in held.barriers {
                match lane.land_barrier(place, outcome, draw, now) {
                    BarrierLanded::Stays => {}
                    BarrierLanded::Gone => gone_barriers.push(place),
                    BarrierLanded::InDoubt => is_doubtful = true,
                    BarrierLanded::Sure => {
                        put_sure(collection, place, out);
                        // What is gone is refused no more.
                        raised.extend(lane.absolve());
                        is_doubtful |= lane.doubt_until_ms > now.ms;
                    }
                }
            }
            put_raised(collection, raised, out);
            put_cleared(collection, gone, gone_barriers, out);
            is_doubtful
        });
        if is_doubtful {
            self.doubt_deletion(collection, now);
        }
    }

    /// Marks in doubt went with a deletion, or it is the deletion itself that is in doubt: whatever
    /// may still be applied, a sweep will see.
    fn doubt_deletion(&mut self, collection: &str, now: Now) {
        let reason =
            format!("{PERHAPS_DELETED}: a write of unknown outcome was sent around a deletion");
        self.want_sweep(Some(collection), &reason, now);
        self.sweep_again(collection, self.doubt_until_ms(collection));
    }

    /// These may differ.
    pub(super) fn mark(&mut self, collection: &str, subjects: &[Subject], now: Now) {
        let is_doubtful = self.lane(collection, |lane, draw, out| {
            let (mut run, mut raised) = (Run::new(collection, Kind::Plain, now), Vec::new());
            let mut is_doubtful = false;
            for subject in subjects {
                let Subject::Point(key) = subject else {
                    let place = run.barrier(lane, *subject, draw, out);
                    if *subject == Subject::Dropped {
                        lane.void_before(place);
                        put_sure(collection, place, out);
                        raised.extend(lane.absolve());
                        is_doubtful |= lane.doubt_until_ms > now.ms;
                    }
                    continue;
                };
                let id = Id::from(*key);
                if lane.dead.remove(&id).is_some() {
                    raised.push(*key);
                }
                // The sweep has not begun, so it will see whatever differs.
                if lane.sweep.as_ref().is_none_or(|sweep| !sweep.is_spilled) {
                    run.add(*subject, lane.mark(id, draw, now), out);
                }
            }
            run.end(out);
            put_raised(collection, raised, out);
            is_doubtful
        });
        if is_doubtful {
            self.doubt_deletion(collection, now);
        }
    }

    pub(super) fn take(&self, max: usize, now: Now) -> Vec<Batch> {
        let lanes = self.lanes.iter().filter_map(|(name, lane)| {
            let (marks, oldest_ms) = lane.take(max, now)?;
            Some(Batch {
                collection: name.clone(),
                marks,
                age: now.since(oldest_ms),
            })
        });
        lanes.collect()
    }

    pub(super) fn clear(&mut self, collection: &str, marks: &[Mark], now: Now) {
        if !self.lanes.contains_key(collection) {
            return;
        }
        self.lane(collection, |lane, _, out| {
            let (mut points, mut barriers) = (Vec::new(), Vec::new());
            for mark in marks {
                match mark.subject {
                    Subject::Point(key) => {
                        if lane.clear(key.into(), mark.token, now) {
                            points.push(key);
                        }
                    }
                    Subject::Schema | Subject::Dropped => {
                        barriers.extend(lane.clear_barrier(mark.token, now));
                    }
                }
            }
            put_cleared(collection, points, barriers, out);
        });
    }

    pub(super) fn backlog(&self, now: Now) -> Vec<(Box<str>, Backlog)> {
        let lanes = self.lanes.iter().filter_map(|(name, lane)| {
            let backlog = Backlog {
                marks: u64::try_from(lane.count()).unwrap_or(u64::MAX),
                age: lane.oldest_ms().map(|made_ms| now.since(made_ms)),
            };
            (backlog.marks > 0).then(|| (name.clone(), backlog))
        });
        lanes.collect()
    }

    pub(super) fn marked(&self, collection: &str, points: &[PointKey]) -> Marked {
        let Some(lane) = self.lanes.get(collection) else {
            return Marked::default();
        };
        let points = points.iter().copied();
        Marked {
            points: points.filter(|key| lane.has((*key).into())).collect(),
            is_barrier: !lane.barriers.is_empty() || lane.schema_asleep.is_some(),
        }
    }

    pub(super) fn bury(&mut self, letters: &[DeadLetter], now: Now) {
        let mut forgotten = BTreeSet::new();
        for letter in letters {
            let is_full = self.letters >= self.letters_max;
            let is_forgotten = self.lane(&letter.collection, |lane, _, out| {
                let first = is_full.then(|| lane.dead.pop_first()).flatten();
                if let Some((id, _)) = first {
                    put_raised(&letter.collection, vec![id.into()], out);
                }
                let record = lane
                    .bury(letter)
                    .record(&letter.collection, letter.id.into());
                record.encode(out);
                first.is_some()
            });
            if is_forgotten {
                forgotten.insert(&*letter.collection);
            }
        }
        for collection in forgotten {
            let lane = self.lanes.get(collection);
            match lane.and_then(|lane| lane.sweep.as_ref()) {
                Some(sweep) if sweep.is_spilled => continue,
                Some(_) => {
                    // It may be past them; and who asked for it at once would have it go on for ever.
                    self.sweep_again(collection, now.ms + LETTERS_PAUSE_MS);
                    continue;
                }
                None => {}
            }
            let reason = format!("more than {} dead letters", self.letters_max);
            error!(
                collection,
                max = self.letters_max,
                "there are too many dead letters, the first ones are forgotten"
            );
            self.want_sweep(Some(collection), &reason, now);
        }
    }

    pub(super) fn dead(&self, collection: Option<&str>, max: usize) -> Vec<DeadLetter> {
        let mut letters = Vec::new();
        let is_meant = |name: &str| collection.is_none_or(|collection| collection == name);
        for (name, lane) in self.lanes.iter().filter(|(name, _)| is_meant(name)) {
            letters.extend(lane.letters(name, max - letters.len()));
        }
        letters
    }

    pub(super) fn dead_count(&self) -> Vec<(Box<str>, u64)> {
        let lanes = self.lanes.iter().filter(|(_, lane)| !lane.dead.is_empty());
        let count = |lane: &Lane| u64::try_from(lane.dead.len()).unwrap_or(u64::MAX);
        lanes
            .map(|(name, lane)| (name.clone(), count(lane)))
            .collect()
    }

    /// Up to `max` dead letters become marks again. How many.
    pub(super) fn revive(&mut self, collection: Option<&str>, max: usize, now: Now) -> usize {
        let letters = self.dead(collection, max);
        for letter in &letters {
            self.mark(&letter.collection, &[Subject::Point(letter.id)], now);
        }
        letters.len()
    }

    pub(super) fn want_sweep(&mut self, collection: Option<&str>, reason: &str, now: Now) {
        let token = self.draw.token();
        let asked = Sweep::new(reason, token, now);
        let asked = |sweep: &mut Option<Sweep>| match sweep {
            Some(sweep) => sweep.renew(reason, token),
            None => *sweep = Some(asked),
        };
        match collection {
            None => asked(&mut self.sweep_all),
            Some(name) => self.lane(name, |lane, _, _| asked(&mut lane.sweep)),
        }
        self.note_sweep(collection);
    }

    fn doubt_until_ms(&self, collection: &str) -> u64 {
        let lane = self.lanes.get(collection);
        lane.map_or(0, |lane| lane.doubt_until_ms)
    }

    /// What is due of a collection is due once more at that time.
    pub(super) fn sweep_again(&mut self, collection: &str, at_ms: u64) {
        self.lane(collection, |lane, _, _| {
            if let Some(sweep) = &mut lane.sweep {
                sweep.again_ms = sweep.again_ms.max(at_ms);
            }
        });
        self.note_sweep(Some(collection));
    }

    pub(super) fn sweeps(&mut self) -> Vec<SweepDue> {
        let all = self.sweep_all.iter_mut().map(|sweep| sweep.told(None));
        let each = self.lanes.iter_mut().filter_map(|(name, lane)| {
            let sweep = lane.sweep.as_mut()?;
            Some(sweep.told(Some(name)))
        });
        all.chain(each).collect()
    }

    pub(super) fn swept(&mut self, due: &SweepDue) {
        let is_done = |sweep: &mut Sweep| sweep.is_done(due.token);
        let is_over = match due.collection.as_deref() {
            None => self.sweep_all.take_if(is_done).is_some(),
            Some(name) if self.lanes.contains_key(name) => {
                self.lane(name, |lane, _, _| lane.sweep.take_if(is_done).is_some())
            }
            Some(_) => false,
        };
        if is_over {
            let collection = due.collection.as_deref().map(Cow::Borrowed);
            Record::Swept { collection }.encode(&mut self.out);
        }
    }

    /// The direction is no longer followed. What was marked is given back, to be freed elsewhere.
    pub(super) fn forget(&mut self) -> BTreeMap<Box<str>, Lane> {
        self.era += 1;
        (self.total, self.letters, self.sweep_all) = (0, 0, None);
        Record::Forgotten.encode(&mut self.out);
        mem::take(&mut self.lanes)
    }

    /// What is in doubt and has slept long enough is due again. Whether there was any.
    pub(super) fn wake(&mut self, now: Now) -> bool {
        let draw = &mut self.draw;
        let mut is_any = self
            .sweep_all
            .as_mut()
            .is_some_and(|sweep| sweep.wake(draw.token(), now));
        for (name, lane) in &mut self.lanes {
            let before = lane.count();
            let mut run = Run::new(name, Kind::Plain, now);
            for _ in 0..WAKE_MAX {
                let Some((id, place)) = lane.wake(draw, now) else {
                    break;
                };
                run.add(Subject::Point(id.into()), place, &mut self.out);
                is_any = true;
            }
            run.end(&mut self.out);
            is_any |= lane.wake_schema(draw, now);
            // A schema that wakes may fall together with one that waits.
            self.total = self.total + lane.count() - before;
            if let Some(sweep) = &mut lane.sweep {
                is_any |= sweep.wake(draw.token(), now);
            }
            lane.free(WAKE_MAX);
        }
        is_any
    }

    /// How long until something wakes.
    pub(super) fn next_due(&self, now: Now) -> Option<Duration> {
        let tenths = self.lanes.values().filter_map(Lane::next_due).min();
        let lanes = self.lanes.values().filter_map(|lane| lane.sweep.as_ref());
        let sweeps = lanes.chain(&self.sweep_all).filter(|s| s.again_ms > 0);
        let sweep = sweeps.map(|sweep| sweep.again_ms).min();
        let marks = tenths.map(|tenths| now.until_tenths(tenths));
        let sweep = sweep.map(|ms| Duration::from_millis(ms.saturating_sub(now.ms)));
        marks.into_iter().chain(sweep).min()
    }

    /// Keeps to the bound: collections with the most marks are to be compared whole instead.
    pub(super) fn spill_to(&mut self, marks_max: usize, why: &str, now: Now) -> Vec<Garbage> {
        let mut garbage = Vec::new();
        while self.total > marks_max {
            let most = self.lanes.iter().max_by_key(|(_, lane)| lane.spillable());
            let Some((name, lane)) = most.filter(|(_, lane)| lane.spillable() > 0) else {
                break;
            };
            let (name, marks) = (name.clone(), lane.spillable());
            error!(
                collection = %name, marks,
                "{why}: the collection has to be compared whole"
            );
            garbage.push(self.spill(&name, why, now));
        }
        garbage
    }

    pub(super) fn keep_to_bound(&mut self, now: Now) -> Vec<Garbage> {
        if self.total <= self.marks_max {
            return Vec::new();
        }
        let why = format!("more than {} marks waited", self.marks_max);
        self.spill_to(self.marks_max, &why, now)
    }

    fn spill(&mut self, collection: &str, reason: &str, now: Now) -> Garbage {
        let token = self.draw.token();
        self.lane(collection, |lane, draw, out| {
            let garbage = lane.spill();
            let again_ms = lane.doubt_until_ms;
            let sweep = lane
                .sweep
                .get_or_insert_with(|| Sweep::new(reason, token, now));
            sweep.renew(reason, token);
            sweep.is_spilled = true;
            if again_ms > now.ms {
                sweep.again_ms = sweep.again_ms.max(again_ms);
            }
            sweep.note_spill(collection, out);
            note_flying(lane, collection, draw, now, out);
            garbage
        })
    }
}

/// How old the note of an intent may be, in seconds, beside the time in which its write may be
/// applied.
pub(super) const RECENT_S: u64 = 60;

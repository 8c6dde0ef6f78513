//! Everything live, written again in small pieces between the writes of others, so that older
//! segments can go.
//!
//! A piece is made under the lock that every change takes, so the copy of a mark stands in the
//! journal exactly where the mark was live. What changes behind the cursor is written down by who
//! changes it, like everything else.

use std::borrow::Cow;
use std::mem;
use std::ops::Bound;

use super::id::Id;
use super::lane::Lane;
use super::marks::Marks;
use super::record::{Kind, Record};
use crate::model::Subject;

/// How far a copy has come.
pub(super) enum Cursor {
    Begin,
    /// At this collection, if it is there still, or else at the one after it.
    At(Box<str>, Part),
    Done,
}

#[derive(Clone, Copy)]
pub(super) enum Part {
    Barriers,
    Letters(Option<Id>),
    Points(Option<Id>),
}

/// A collection takes of the budget as much as so many marks.
const LANE_COST: usize = 16;
const LETTERS_MAX: usize = 256;

impl Marks {
    /// Writes some `budget` marks again. `first` is the segment in which the copy began.
    pub(super) fn copy(&mut self, cursor: &mut Cursor, first: u64, budget: usize) {
        let mut left = budget;
        while left > 0 {
            let (next, cost) = match mem::replace(cursor, Cursor::Done) {
                Cursor::Begin => {
                    Record::CopyBegins.encode(&mut self.out);
                    self.copy_sweeps();
                    (self.next_lane(None, first), LANE_COST)
                }
                Cursor::At(name, part) => {
                    let (part, cost) = self.copy_part(&name, part, left);
                    match part {
                        Some(part) => (Cursor::At(name, part), cost),
                        None => (self.next_lane(Some(&name), first), cost),
                    }
                }
                Cursor::Done => return,
            };
            *cursor = next;
            left = left.saturating_sub(cost);
        }
    }

    /// What of the collection is next, and what this took of the budget.
    fn copy_part(&mut self, name: &str, part: Part, left: usize) -> (Option<Part>, usize) {
        let Some(lane) = self.lanes.get(name) else {
            return (None, LANE_COST);
        };
        match part {
            Part::Barriers => {
                copy_barriers(name, lane, &mut self.out);
                (Some(Part::Letters(None)), LANE_COST + lane.barriers.len())
            }
            Part::Letters(after) => {
                match lane.copy_letters(name, after, LETTERS_MAX, &mut self.out) {
                    Some(last) => (Some(Part::Letters(Some(last))), LETTERS_MAX),
                    None => (Some(Part::Points(None)), 1),
                }
            }
            Part::Points(after) => {
                let (points, last) = lane.copy(after, left);
                if !points.is_empty() {
                    let (collection, points) = (Cow::Borrowed(name), Cow::Owned(points));
                    Record::Kept { collection, points }.encode(&mut self.out);
                }
                (
                    last.map(|last| Part::Points(Some(last))),
                    if last.is_some() { left } else { 1 },
                )
            }
        }
    }

    fn next_lane(&mut self, after: Option<&str>, first: u64) -> Cursor {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let next = self.lanes.range::<str, _>((from, Bound::Unbounded)).next();
        if let Some((name, _)) = next {
            return Cursor::At(name.clone(), Part::Barriers);
        }
        Record::CopyEnds { first }.encode(&mut self.out);
        Cursor::Done
    }

    /// All at once, and first: they say what is not known.
    fn copy_sweeps(&mut self) {
        let each = self
            .lanes
            .iter()
            .filter_map(|(name, lane)| Some((Some(&**name), lane.sweep.as_ref()?)));
        let all = self.sweep_all.iter().map(|sweep| (None, sweep));
        for (collection, sweep) in all.chain(each) {
            sweep.note(collection, &mut self.out);
        }
    }
}

fn copy_barriers(name: &str, lane: &Lane, out: &mut Vec<u8>) {
    for (place, barrier) in &lane.barriers {
        let record = Record::KeptBarrier {
            collection: Cow::Borrowed(name),
            kind: barrier.kind(),
            subject: barrier.subject,
            place: *place,
            made_ms: barrier.made_ms,
        };
        record.encode(out);
    }
    if let Some(asleep) = &lane.schema_asleep
        && let Some(place) = asleep.also_at.first()
    {
        let record = Record::KeptBarrier {
            collection: Cow::Borrowed(name),
            kind: Kind::Intent,
            subject: Subject::Schema,
            place: *place,
            made_ms: asleep.made_ms,
        };
        record.encode(out);
    }
}

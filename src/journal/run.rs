//! Changes of marks as records, as few as they can be.

use std::borrow::Cow;

use super::Now;
use super::id::{Draw, Id};
use super::lane::Lane;
use super::record::{Kind, Record};
use crate::model::{PointKey, Subject};

/// Records gather here as long as their places follow one another.
pub(super) struct Run<'a> {
    collection: &'a str,
    kind: Kind,
    now: Now,
    first: u64,
    subjects: Vec<Subject>,
}

impl<'a> Run<'a> {
    pub(super) fn new(collection: &'a str, kind: Kind, now: Now) -> Self {
        Self {
            collection,
            kind,
            now,
            first: 0,
            subjects: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, subject: Subject, place: Option<u64>, out: &mut Vec<u8>) {
        let Some(place) = place else {
            return;
        };
        let count = u64::try_from(self.subjects.len()).unwrap_or(u64::MAX);
        if count > 0 && place != self.first + count {
            self.end(out);
        }
        if self.subjects.is_empty() {
            self.first = place;
        }
        self.subjects.push(subject);
    }

    /// Its place. What is in flight may land behind it, and so is noted behind it.
    pub(super) fn barrier(
        &mut self,
        lane: &mut Lane,
        subject: Subject,
        draw: &mut Draw,
        out: &mut Vec<u8>,
    ) -> u64 {
        let (place, is_new) = lane.raise(subject, self.kind, draw, self.now);
        if is_new {
            self.add(subject, Some(place), out);
            self.end(out);
            note_flying(lane, self.collection, draw, self.now, out);
        }
        place
    }

    pub(super) fn end(&mut self, out: &mut Vec<u8>) {
        if self.subjects.is_empty() {
            return;
        }
        let record = Record::Marked {
            collection: Cow::Borrowed(self.collection),
            kind: self.kind,
            at_ms: self.now.ms,
            first: self.first,
            subjects: Cow::Borrowed(&self.subjects),
        };
        record.encode(out);
        self.subjects.clear();
    }
}

pub(super) fn note_flying(
    lane: &mut Lane,
    collection: &str,
    draw: &mut Draw,
    now: Now,
    out: &mut Vec<u8>,
) {
    let mut run = Run::new(collection, Kind::Intent, now);
    let flying: Vec<Id> = lane.flying().collect();
    for id in flying {
        let place = draw.place();
        lane.note_flying(id, place, now);
        run.add(Subject::Point(id.into()), Some(place), out);
    }
    run.end(out);
}

pub(super) fn put_cleared(
    collection: &str,
    points: Vec<PointKey>,
    barriers: Vec<u64>,
    out: &mut Vec<u8>,
) {
    if !points.is_empty() || !barriers.is_empty() {
        let (points, barriers) = (Cow::Owned(points), Cow::Owned(barriers));
        let collection = Cow::Borrowed(collection);
        let record = Record::Cleared {
            collection,
            points,
            barriers,
        };
        record.encode(out);
    }
}

pub(super) fn put_sure(collection: &str, place: u64, out: &mut Vec<u8>) {
    let collection = Cow::Borrowed(collection);
    Record::Sure { collection, place }.encode(out);
}

pub(super) fn put_raised(collection: &str, points: Vec<PointKey>, out: &mut Vec<u8>) {
    if !points.is_empty() {
        let (collection, points) = (Cow::Borrowed(collection), Cow::Owned(points));
        Record::Raised { collection, points }.encode(out);
    }
}

//! Marks as a journal tells them. Every mark that is read is owed, whatever became of its write.

use super::Now;
use super::marks::{Marks, RECENT_S};
use super::record::{Kept, Kind, Record};
use super::sweep::Sweep;
use crate::model::{PERHAPS_DELETED, Subject};

impl Marks {
    pub(super) fn apply(&mut self, record: Record<'_>) {
        match record {
            Record::Marked {
                collection,
                kind,
                at_ms,
                first,
                subjects,
            } => self.apply_marked(&collection, kind, at_ms, first, &subjects),
            Record::Cleared {
                collection,
                points,
                barriers,
            } => self.lane(&collection, |lane, _, _| {
                points.iter().for_each(|point| lane.restore_cleared(*point));
                for place in barriers.iter() {
                    lane.barriers.remove(place);
                }
            }),
            Record::Kept { collection, points } => {
                for kept in points.iter() {
                    self.restore(&collection, *kept);
                }
            }
            Record::KeptBarrier {
                collection,
                kind,
                subject,
                place,
                made_ms,
            } => self.restore_barrier(&collection, subject, kind, place, made_ms),
            Record::Sure { collection, place } => {
                self.lane(&collection, |lane, _, _| lane.restore_barrier_sure(place));
            }
            Record::Buried {
                collection,
                point,
                reason,
                since_ms,
            } => self.lane(&collection, |lane, _, _| {
                let reason = reason.into();
                let letter = super::dead::Letter { reason, since_ms };
                lane.dead.insert(point.into(), letter);
            }),
            Record::Raised { collection, points } => self.lane(&collection, |lane, _, _| {
                for point in points.iter() {
                    lane.dead.remove(&(*point).into());
                }
            }),
            Record::SweepDue {
                collection,
                reason,
                token,
                since_ms,
                spills,
            } => {
                self.draw.token = self.draw.token.max(token);
                let sweep = Sweep::restored(&reason, token, since_ms);
                match collection {
                    None => self.sweep_all = Some(sweep),
                    Some(name) => self.lane(&name, |lane, _, _| {
                        lane.sweep = Some(sweep);
                        if spills {
                            drop(lane.spill());
                        }
                    }),
                }
            }
            Record::SweepAgain { collection, at_ms } => {
                let sweep = match collection {
                    None => self.sweep_all.as_mut(),
                    Some(name) => {
                        let lane = self.lanes.get_mut(&*name);
                        lane.and_then(|lane| lane.sweep.as_mut())
                    }
                };
                if let Some(sweep) = sweep {
                    sweep.again_ms = at_ms;
                }
            }
            Record::Swept { collection } => match collection {
                None => self.sweep_all = None,
                Some(name) => self.lane(&name, |lane, _, _| lane.sweep = None),
            },
            Record::Forgotten => drop(self.forget()),
            Record::CopyBegins | Record::CopyEnds { .. } | Record::Continued => {}
        }
        // What is read is written down already.
        self.out.clear();
    }

    fn apply_marked(
        &mut self,
        collection: &str,
        kind: Kind,
        at_ms: u64,
        first: u64,
        subjects: &[Subject],
    ) {
        let intended_s = match kind {
            Kind::Plain => 0,
            Kind::Intent => u32::try_from(at_ms / 1000).unwrap_or(u32::MAX),
        };
        for (subject, place) in subjects.iter().zip(first..) {
            match subject {
                Subject::Point(point) => {
                    let kept = Kept {
                        point: *point,
                        place,
                        made_ms: at_ms,
                        intended_s,
                    };
                    self.restore(collection, kept);
                }
                Subject::Schema | Subject::Dropped => {
                    self.restore_barrier(collection, *subject, kind, place, at_ms);
                }
            }
        }
    }

    fn restore(&mut self, collection: &str, kept: Kept) {
        self.draw.place = self.draw.place.max(kept.place);
        self.lane(collection, |lane, draw, _| lane.restore(kept, draw.token()));
    }

    fn restore_barrier(
        &mut self,
        collection: &str,
        subject: Subject,
        kind: Kind,
        place: u64,
        made_ms: u64,
    ) {
        self.draw.place = self.draw.place.max(place);
        self.lane(collection, |lane, draw, _| {
            lane.restore_barrier(subject, kind, place, made_ms, draw.token());
        });
    }

    /// Everything has been read. What is not known of it is in doubt, and what that asks for is to
    /// be written.
    pub(super) fn restored(&mut self, now: Now) {
        // A token of an earlier process must not fit a mark of this one.
        self.draw.token = self.draw.token.max(now.ms.saturating_mul(1 << 20));
        let recent_s =
            u32::try_from((now.ms / 1000).saturating_sub(RECENT_S + now.doubt_ms() / 1000))
                .unwrap_or(u32::MAX);
        let mut deleted = Vec::new();
        if let Some(sweep) = &mut self.sweep_all {
            sweep.doubt_since(now);
        }
        for (name, lane) in &mut self.lanes {
            if let Some(sweep) = &mut lane.sweep {
                sweep.doubt_since(now);
            }
            lane.doubt_since(recent_s.max(1), now.ms + now.doubt_ms());
            if lane.doubt_barriers() {
                deleted.push(name.clone());
            }
        }
        for name in deleted {
            let reason = format!("{PERHAPS_DELETED}: nobody knows what became of it at a restart");
            self.want_sweep(Some(&name), &reason, now);
            self.sweep_again(&name, now.ms + now.doubt_ms());
        }
        drop(self.keep_to_bound(now));
    }
}

//! Points at the follower that something on its way there may still change.
//!
//! A call whose reply was lost may be carried out much later, over what was brought there since. So
//! a point that was in it is brought again, soon, a little later, and once more when `mirror.doubt`
//! has passed, and only then its mark is cleared. Until then the mark sleeps: it is in the ledger, so
//! that the fence waits for it and a crash does not lose it, and it holds up no other. Made anew by a
//! write, it is worked off at once, and sleeps again.
//!
//! The time is in memory, and so it begins anew for whoever leads next: of the marks that it finds,
//! the first ones may have been in the hands of whoever led before, for those are cleared last.
//! They are suspects too.
//!
//! What is left: who has lost the lead, takes marks that were made since because it does not know
//! it yet (`Lead`: some ten seconds at most), sends them on and dies before the answer. If that call
//! is carried out after those of the new leader, nobody looks again. And a deletion of a whole
//! collection whose reply was lost: what it takes away later is found by the next sweep.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::drain::MARKS_MAX;
use super::ledger::ALONE;
use crate::model::{Batch, Mark, PointKey, Subject};

/// Past so many of a collection no more of it is begun.
const ASLEEP_MAX: usize = 4096;
/// So many of a collection may have been in the hands of whoever led before: those that slept there,
/// and those that were on their way.
const LEFT_MAX: usize = ASLEEP_MAX / 2 + MARKS_MAX;

pub(super) struct Suspects {
    by_name: HashMap<Box<str>, HashMap<PointKey, Suspect>>,
    led: Led,
}

struct Suspect {
    until: Instant,
    /// How often it was brought since the reply was lost.
    times: u32,
    /// The mark that was worked off and not cleared, and until when it sleeps.
    asleep: Option<(u64, Instant)>,
}

impl Suspect {
    fn new(until: Instant) -> Self {
        Self {
            until,
            times: 0,
            asleep: None,
        }
    }

    /// Soon, a little later, and at the end: most calls are carried out soon or never.
    fn sleep(&mut self, token: u64, doubt: Duration, now: Instant) {
        let longest = match self.times {
            0 => doubt / 20,
            1 => doubt / 5,
            _ => doubt,
        };
        self.times += 1;
        self.asleep = Some((token, self.until.min(now + longest)));
    }

    fn sleeps(&self, token: u64, now: Instant) -> bool {
        self.asleep
            .is_some_and(|(of, until)| of == token && now < until)
    }
}

/// Since when this process leads.
struct Led {
    lead: u64,
    since: Instant,
    /// How many of those that were found then are suspects.
    left: HashMap<Box<str>, usize>,
}

impl Default for Suspects {
    /// Where no lead is asked for, this process leads from its beginning.
    fn default() -> Self {
        Self {
            by_name: HashMap::new(),
            led: Led::new(ALONE, Instant::now()),
        }
    }
}

impl Led {
    fn new(lead: u64, since: Instant) -> Self {
        Self {
            lead,
            since,
            left: HashMap::new(),
        }
    }
}

impl Suspects {
    /// This process leads.
    pub(super) fn led(&mut self, lead: u64, now: Instant) {
        if self.led.lead != lead {
            self.led = Led::new(lead, now);
        }
        self.by_name.retain(|_, of| {
            of.retain(|_, suspect| now < suspect.until);
            !of.is_empty()
        });
    }

    /// What was marked before this process led may have been under way then. `taken`: from before the
    /// batch was.
    pub(super) fn left_behind(&mut self, batch: &Batch, doubt: Duration, taken: Instant) {
        let led = &mut self.led;
        let until = led.since + doubt;
        if until <= taken || batch.age <= taken - led.since {
            return;
        }
        let of = self.by_name.entry(batch.collection.clone()).or_default();
        let left = led.left.entry(batch.collection.clone()).or_default();
        for id in batch.marks.iter().filter_map(point) {
            if *left >= LEFT_MAX {
                break;
            }
            of.entry(id).or_insert_with(|| {
                *left += 1;
                Suspect::new(until)
            });
        }
    }

    /// The reply to a call with these was lost.
    pub(super) fn put(&mut self, collection: &str, ids: &[PointKey], until: Instant) {
        let of = self.by_name.entry(collection.into()).or_default();
        for id in ids {
            of.insert(*id, Suspect::new(until));
        }
    }

    /// How many marks of one collection sleep, at most.
    pub(super) fn most_asleep(&self) -> usize {
        self.by_name.values().map(asleep).max().unwrap_or_default()
    }

    pub(super) fn asleep(&self, collection: &str) -> usize {
        self.by_name.get(collection).map(asleep).unwrap_or_default()
    }

    /// Leaves out of a batch what sleeps. Whether anything is left of it.
    pub(super) fn wake(&self, batch: &mut Batch, now: Instant) -> bool {
        if let Some(of) = self.by_name.get(&batch.collection) {
            if asleep(of) >= ASLEEP_MAX {
                return false;
            }
            batch.marks.retain(|mark| {
                let suspect = point(mark).and_then(|id| of.get(&id));
                suspect.is_none_or(|of| !of.sleeps(mark.token, now))
            });
        }
        batch.marks.truncate(MARKS_MAX);
        !batch.marks.is_empty()
    }

    /// Of what was worked off, what may be cleared; the rest sleeps.
    pub(super) fn put_to_sleep(
        &mut self,
        collection: &str,
        marks: Vec<Mark>,
        (doubt, now): (Duration, Instant),
    ) -> Vec<Mark> {
        let Some(of) = self.by_name.get_mut(collection) else {
            return marks;
        };
        let is_cleared = |mark: &Mark| match point(mark).and_then(|id| of.get_mut(&id)) {
            Some(suspect) if now < suspect.until => {
                suspect.sleep(mark.token, doubt, now);
                false
            }
            Some(_) | None => true,
        };
        marks.into_iter().filter(is_cleared).collect()
    }
}

fn asleep(of: &HashMap<PointKey, Suspect>) -> usize {
    of.values().filter(|of| of.asleep.is_some()).count()
}

fn point(mark: &Mark) -> Option<PointKey> {
    match mark.subject {
        Subject::Point(id) => Some(id),
        Subject::Schema | Subject::Dropped => None,
    }
}

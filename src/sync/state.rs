//! How a direction is doing, for whoever asks.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::blocks::Blocks;
use super::deeds::Compared;
use super::suspects::Suspects;
use crate::model::{Backlog, SweepDue};

/// A collection that cannot be mirrored as things are.
#[derive(Clone, Debug)]
pub struct Blocked {
    pub collection: Box<str>,
    pub reason: Box<str>,
}

/// A sweep under way.
#[derive(Clone, Debug, Default)]
pub struct Sweeping {
    pub collection: Box<str>,
    pub compared: u64,
    pub differing: u64,
}

/// A sweep that has ended.
#[derive(Clone, Debug)]
pub(super) struct Swept {
    pub(super) collection: Box<str>,
    pub(super) ended: Instant,
    pub(super) came_to: Compared,
}

/// All that is known of a direction.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub backlog: Vec<(Box<str>, Backlog)>,
    pub dead: Vec<(Box<str>, u64)>,
    pub sweeps: Vec<SweepDue>,
    pub sweeping: Option<Sweeping>,
    pub blocked: Vec<Blocked>,
    /// Why nothing goes on at present.
    pub failing: Option<String>,
}

#[derive(Default)]
pub(super) struct State {
    /// Why no marks are to be had.
    failing: Mutex<Option<String>>,
    blocks: Mutex<Blocks>,
    pub(super) suspects: Mutex<Suspects>,
    sweeping: Mutex<Option<Sweeping>>,
    still_since: Mutex<Option<Instant>>,
    /// Sweeps of which not everything that they marked is known to be applied.
    swept: Mutex<Vec<Swept>>,
    /// Sweeps that failed, and are left alone for a while.
    resting: Mutex<Vec<Resting>>,
}

struct Resting {
    collection: Option<Box<str>>,
    /// One that is asked for anew has another.
    token: u64,
    pause: Duration,
    until: Instant,
}

impl Resting {
    fn is_of(&self, due: &SweepDue) -> bool {
        self.collection == due.collection && self.token == due.token
    }
}

/// For how long a sweep that failed is left alone: at first, and at most.
const REST: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(300));

impl State {
    /// Whether this is news.
    pub(super) fn failed(&self, why: Option<String>) -> bool {
        let mut failing = self.failing.lock();
        let is_news = failing.is_none() && why.is_some();
        *failing = why;
        is_news
    }

    pub(super) fn failing(&self) -> Option<String> {
        let failing = self.failing.lock().clone();
        failing.or_else(|| self.blocks.lock().failing().map(str::to_owned))
    }

    /// A store did not answer about this collection, which is left alone for a while. Whether this is
    /// news.
    pub(super) fn fails(&self, collection: &str, why: &str, now: Instant) -> bool {
        self.blocks.lock().fails(collection, why, now)
    }

    /// Whether so many marks of a collection are all asleep.
    pub(super) fn sleeps(&self, collection: &str, marks: u64) -> bool {
        let asleep = self.suspects.lock().asleep(collection);
        u64::try_from(asleep).is_ok_and(|asleep| asleep > 0 && asleep >= marks)
    }

    /// Whether this is news.
    pub(super) fn block(&self, collection: &str, why: &str, until: Instant) -> bool {
        self.blocks.lock().put(collection, why, until)
    }

    pub(super) fn unblock(&self, collection: &str) {
        self.blocks.lock().take(collection);
    }

    /// Lets go of those of which nothing waits any more.
    pub(super) fn unblock_all_but(&self, backlog: &[(Box<str>, Backlog)]) {
        let waits = |name: &str| backlog.iter().any(|(waiting, _)| &**waiting == name);
        self.blocks.lock().keep(waits);
    }

    pub(super) fn is_blocked(&self, collection: &str, now: Instant) -> bool {
        self.blocks.lock().holds(collection, now)
    }

    pub(super) fn blocked(&self) -> Vec<Blocked> {
        let blocks = self.blocks.lock();
        let all = blocks.all().map(|(collection, reason)| Blocked {
            collection: collection.into(),
            reason: reason.into(),
        });
        all.collect()
    }

    pub(super) fn sweeping(&self) -> Option<Sweeping> {
        self.sweeping.lock().clone()
    }

    /// It could not be made: it holds up no other, and is tried again after a while, which grows.
    pub(super) fn sweep_failed(&self, due: &SweepDue, now: Instant) {
        let mut resting = self.resting.lock();
        let known = resting.iter_mut().find(|of| of.is_of(due));
        if let Some(known) = known {
            known.pause = (known.pause * 2).min(REST.1);
            known.until = now + known.pause;
            return;
        }
        resting.retain(|of| of.collection != due.collection);
        resting.push(Resting {
            collection: due.collection.clone(),
            token: due.token,
            pause: REST.0,
            until: now + REST.0,
        });
    }

    /// Takes out those that rest.
    pub(super) fn leave_resting(&self, dues: &mut Vec<SweepDue>) {
        let now = Instant::now();
        let mut resting = self.resting.lock();
        resting.retain(|of| dues.iter().any(|due| of.is_of(due)));
        dues.retain(|due| !resting.iter().any(|of| of.is_of(due) && of.until > now));
    }

    /// The last of each collection.
    pub(super) fn swept(&self) -> Vec<Swept> {
        self.swept.lock().clone()
    }

    pub(super) fn has_swept(&self, of: Swept) {
        let mut swept = self.swept.lock();
        swept.retain(|before| before.collection != of.collection);
        swept.push(of);
    }

    /// Nothing may be done now: for how long that has been so.
    pub(super) fn stands_still(&self, now: Instant) -> Duration {
        let mut since = self.still_since.lock();
        now.duration_since(*since.get_or_insert(now))
    }

    pub(super) fn goes_on(&self) {
        *self.still_since.lock() = None;
    }

    /// What was swept under this name is gone.
    pub(super) fn parts(&self, collection: &str) {
        let mut swept = self.swept.lock();
        swept.retain(|of| *of.collection != *collection);
    }

    pub(super) fn sweeps(&self, now: Option<Sweeping>) {
        *self.sweeping.lock() = now;
    }
}

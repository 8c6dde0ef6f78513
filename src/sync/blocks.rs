//! Collections that are left alone for a while, each by itself: one that cannot be brought along as
//! things are, and one about which a store does not answer.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

/// The first pause after a failure, and the longest.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);

#[derive(Default)]
pub(super) struct Blocks {
    by_name: HashMap<Box<str>, (Box<str>, Instant)>,
    failing: HashMap<Box<str>, Failing>,
}

/// The last call failed.
struct Failing {
    why: Box<str>,
    until: Instant,
    pause: Duration,
}

impl Blocks {
    /// Whether this is news.
    pub(super) fn put(&mut self, collection: &str, why: &str, until: Instant) -> bool {
        self.failing.remove(collection);
        let before = self.by_name.insert(collection.into(), (why.into(), until));
        before.is_none_or(|(before, _)| &*before != why)
    }

    /// A store did not answer: longer than the last time. Whether this is news.
    pub(super) fn fails(&mut self, collection: &str, why: &str, now: Instant) -> bool {
        let before = self.failing.get(collection);
        let pause = before.map_or(PAUSE, |before| (before.pause * 2).min(PAUSE_MAX));
        let failing = Failing {
            why: why.into(),
            until: now + spread(pause),
            pause,
        };
        self.failing.insert(collection.into(), failing).is_none()
    }

    pub(super) fn take(&mut self, collection: &str) {
        self.by_name.remove(collection);
        self.failing.remove(collection);
    }

    /// Lets go of those of which nothing waits any more.
    pub(super) fn keep(&mut self, waits: impl Fn(&str) -> bool) {
        self.by_name.retain(|name, _| waits(name));
        self.failing.retain(|name, _| waits(name));
    }

    pub(super) fn holds(&self, collection: &str, now: Instant) -> bool {
        let blocked = self.by_name.get(collection).map(|(_, until)| *until);
        let failing = self.failing.get(collection).map(|of| of.until);
        [blocked, failing]
            .into_iter()
            .flatten()
            .any(|until| now < until)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (&str, &str)> {
        self.by_name
            .iter()
            .map(|(name, (why, _))| (&**name, &**why))
    }

    /// Why one of them fails.
    pub(super) fn failing(&self) -> Option<&str> {
        self.failing.values().next().map(|of| &*of.why)
    }
}

/// So that several do not come back as one.
pub(super) fn spread(pause: Duration) -> Duration {
    pause.mul_f64(rand::random_range(0.5..1.0))
}

//! What was seen of the read store lately, for the guard behind a cutover: how far it agrees with
//! the store that was read before, how many reads it fails, how long it takes.
//!
//! Only kept in `cutover`, and only where there is a guard. All of fixed size.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::Shadow;
use crate::compare::{Sample, Summary, Window};
use crate::mode::Plan;
use crate::model::{Class, Mode, Operation};

/// Collections that are told apart; reads of further ones are not compared for the guard.
const COLLECTIONS_MAX: usize = 200;
/// Scopes whose reads are counted.
const SCOPES_MAX: usize = 1000;
/// So many latencies are remembered of a collection.
const LATENCIES: usize = 2048;
/// So finely the time is cut in which reads are counted.
const PARTS: u32 = 30;

pub(super) struct Watch {
    span: Duration,
    kept: Mutex<Kept>,
}

struct Kept {
    since: Instant,
    /// By the collection whose mode it is; `None` is all without a mode of their own.
    tallies: HashMap<Option<Arc<str>>, Counted>,
    collections: HashMap<Box<str>, Compared>,
}

#[derive(Default)]
struct Counted {
    parts: VecDeque<Part>,
    /// Reads that failed since the last look.
    fresh: u64,
}

/// Reads of a part of the time.
#[derive(Clone, Copy)]
struct Part {
    number: u128,
    reads: u64,
    failed: u64,
}

struct Compared {
    window: Window,
    /// Whether the other store answered.
    asked: VecDeque<Part>,
    /// Of the read store and of the other.
    took: VecDeque<(Instant, [Duration; 2])>,
}

/// What is told of it.
pub struct Lately {
    tallies: HashMap<Option<Arc<str>>, Tally>,
    pub collections: Vec<LatelyOf>,
}

/// Of what has a mode.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Tally {
    pub reads: u64,
    pub failed: u64,
    /// Those of the failed that were not there at the last look.
    pub fresh: u64,
}

/// Of one collection.
pub struct LatelyOf {
    pub collection: Box<str>,
    pub summary: Summary,
    /// Of the read store and of the other: the last of so many reads that both answered.
    pub p99: [Duration; 2],
    pub timed: u64,
    /// Reads that the other store was asked too, and those that it refused or was silent about.
    pub asked: u64,
    pub unanswered: u64,
}

impl Lately {
    /// Reads of what has this mode, and how many of them failed.
    pub fn tally(&self, scope: Option<&str>) -> Tally {
        let mut tallies = self.tallies.iter();
        let found = tallies.find(|(of, _)| of.as_deref() == scope);
        found.map_or_else(Tally::default, |(_, tally)| *tally)
    }
}

impl Watch {
    pub(super) fn new(span: Duration) -> Self {
        Self {
            span,
            kept: Mutex::new(Kept::new()),
        }
    }

    fn clear(&self) {
        *self.kept.lock() = Kept::new();
    }

    fn counts(&self, scope: Option<&Arc<str>>, failed: bool) {
        let mut kept = self.kept.lock();
        let number = self.number(&kept);
        let scope = scope.map(Arc::clone);
        if !kept.tallies.contains_key(&scope) && kept.tallies.len() >= SCOPES_MAX {
            return;
        }
        let counted = kept.tallies.entry(scope).or_default();
        count(&mut counted.parts, number, failed);
        counted.fresh += u64::from(failed);
    }

    fn number(&self, kept: &Kept) -> u128 {
        let width = (self.span / PARTS).max(Duration::from_millis(1));
        kept.since.elapsed().as_nanos() / width.as_nanos()
    }

    /// The other store answered too.
    pub(super) fn compared(
        &self,
        collection: &str,
        samples: impl Iterator<Item = Sample>,
        took: [Duration; 2],
    ) {
        self.with(collection, |since, number, of| {
            count(&mut of.asked, number, false);
            for sample in samples {
                of.window.add(since.elapsed(), sample);
            }
            if of.took.len() >= LATENCIES {
                of.took.pop_front();
            }
            of.took.push_back((Instant::now(), took));
        });
    }

    /// The other store refused, or said nothing: there is nothing to hold the answer against.
    pub(super) fn unanswered(&self, collection: &str) {
        self.with(collection, |_, number, of| {
            count(&mut of.asked, number, true);
        });
    }

    fn with(&self, collection: &str, work: impl FnOnce(Instant, u128, &mut Compared)) {
        let mut kept = self.kept.lock();
        let number = self.number(&kept);
        let all = &mut kept.collections;
        if !all.contains_key(collection) && all.len() >= COLLECTIONS_MAX {
            return;
        }
        if !all.contains_key(collection) {
            let new = Compared {
                window: Window::new(self.span),
                asked: VecDeque::new(),
                took: VecDeque::new(),
            };
            all.insert(collection.into(), new);
        }
        let since = kept.since;
        if let Some(of) = kept.collections.get_mut(collection) {
            work(since, number, of);
        }
    }

    fn lately(&self) -> Lately {
        let mut kept = self.kept.lock();
        let (now, number) = (kept.since.elapsed(), self.number(&kept));
        let tallies = kept.tallies.iter_mut().map(|(scope, of)| {
            let (reads, failed) = tally(&of.parts, number);
            let fresh = std::mem::take(&mut of.fresh);
            let tally = Tally {
                reads,
                failed,
                fresh,
            };
            (scope.as_ref().map(Arc::clone), tally)
        });
        let tallies = tallies.collect();
        let collections = kept.collections.iter().map(|(name, of)| {
            let took = of.took.iter().filter(|(at, _)| at.elapsed() <= self.span);
            let (own, other): (Vec<_>, Vec<_>) =
                took.map(|(_, [own, other])| (*own, *other)).unzip();
            let (asked, unanswered) = tally(&of.asked, number);
            let timed = match own.len() {
                LATENCIES.. => asked.saturating_sub(unanswered),
                kept => u64::try_from(kept).unwrap_or(u64::MAX),
            };
            LatelyOf {
                collection: name.clone(),
                summary: of.window.summary(now),
                timed,
                p99: [p99(own), p99(other)],
                asked,
                unanswered,
            }
        });
        Lately {
            tallies,
            collections: collections.collect(),
        }
    }
}

impl Kept {
    fn new() -> Self {
        Self {
            since: Instant::now(),
            tallies: HashMap::new(),
            collections: HashMap::new(),
        }
    }
}

fn count(parts: &mut VecDeque<Part>, number: u128, failed: bool) {
    if parts.back().is_none_or(|part| part.number != number) {
        parts.push_back(Part {
            number,
            reads: 0,
            failed: 0,
        });
        parts.retain(|part| is_within(part, number));
    }
    if let Some(part) = parts.back_mut() {
        part.reads += 1;
        part.failed += u64::from(failed);
    }
}

fn tally(parts: &VecDeque<Part>, number: u128) -> (u64, u64) {
    let parts = parts.iter().filter(|part| is_within(part, number));
    parts.fold((0, 0), |(reads, failed), part| {
        (reads + part.reads, failed + part.failed)
    })
}

fn is_within(part: &Part, number: u128) -> bool {
    part.number + u128::from(PARTS) >= number
}

/// What 99 in a hundred stay within.
fn p99(mut of: Vec<Duration>) -> Duration {
    of.sort_unstable();
    let rank = (of.len() * 99).div_ceil(100);
    of.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

impl Shadow {
    /// A read was answered by the read store, or was not. For the guard.
    pub fn was_read(&self, plan: &Plan, operation: Operation, failed: bool) {
        let is_read = matches!(operation.class(), Class::PointRead | Class::SearchRead);
        if let Some(watch) = &self.watch
            && plan.mode == Mode::Cutover
            && is_read
        {
            watch.counts(plan.own.as_ref(), failed);
        }
    }

    /// What was seen before counts no more.
    pub fn watch_anew(&self) {
        if let Some(watch) = &self.watch {
            watch.clear();
        }
    }

    /// What was seen in `cutover` lately. Whoever asks looks: what failed is fresh once.
    pub fn lately(&self) -> Lately {
        match &self.watch {
            Some(watch) => watch.lately(),
            None => Lately {
                tallies: HashMap::new(),
                collections: Vec::new(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: Duration = Duration::from_secs(300);

    #[tokio::test(start_paused = true)]
    async fn reads_are_counted_by_whose_mode_it_is_and_forgotten_in_time() {
        let watch = Watch::new(SPAN);
        let own: Arc<str> = "own".into();
        watch.counts(None, true);
        watch.counts(None, false);
        tokio::time::advance(SPAN / 2).await;
        watch.counts(None, false);
        watch.counts(Some(&own), true);
        let tallies = |watch: &Watch| {
            let lately = watch.lately();
            [lately.tally(None), lately.tally(Some("own"))]
        };
        let of = |reads, failed, fresh| Tally {
            reads,
            failed,
            fresh,
        };
        assert_eq!(tallies(&watch), [of(3, 1, 1), of(1, 1, 1)]);
        assert_eq!(tallies(&watch), [of(3, 1, 0), of(1, 1, 0)]);
        watch.counts(Some(&own), true);
        assert_eq!(tallies(&watch), [of(3, 1, 0), of(2, 2, 1)]);
        tokio::time::advance(SPAN / 2 + SPAN / PARTS).await;
        assert_eq!(tallies(&watch), [of(1, 0, 0), of(2, 2, 0)]);
        watch.clear();
        assert_eq!(tallies(&watch), [of(0, 0, 0); 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn latencies_of_the_time_make_the_p99_of_each_side() {
        let watch = Watch::new(SPAN);
        watch.compared("docs", std::iter::empty(), [Duration::from_secs(9); 2]);
        watch.unanswered("docs");
        tokio::time::advance(SPAN * 2).await;
        for ms in 1..=100 {
            let own = Duration::from_millis(ms);
            watch.compared("docs", std::iter::empty(), [own, own * 2]);
        }
        watch.unanswered("docs");
        let lately = watch.lately();
        let of = lately.collections.first().unwrap();
        let expected = [99, 198].map(Duration::from_millis);
        assert_eq!((of.timed, of.p99), (100, expected));
        assert_eq!((of.asked, of.unanswered), (101, 1));
        // Not all of so many are remembered, and all of them count.
        for _ in 0..LATENCIES {
            watch.compared("docs", std::iter::empty(), [Duration::ZERO; 2]);
        }
        let lately = watch.lately();
        let of = lately.collections.first().unwrap();
        assert_eq!((of.timed, of.p99), (2148, [Duration::ZERO; 2]));
    }
}

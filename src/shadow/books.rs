//! What comparisons came to, by collection and by the store that was read. All of fixed size.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::round::Judged;
use super::side::Question;
use super::worst::{Payloads, Worst, keep, shape};
use crate::compare::{Class, Kind, Summary, Window};
use crate::metrics::Uncompared;
use crate::model::Role;

/// Collections that are told apart; past that, the one that was read longest ago is let go of.
const COLLECTIONS_MAX: usize = 200;
/// So many latencies of either side are remembered.
const LATENCIES: usize = 1024;

pub(super) struct Books {
    began: Instant,
    window: Duration,
    worst: usize,
    shelves: Mutex<HashMap<(Box<str>, Role), Open>>,
}

/// What is known of a collection, while one store was the authority.
#[derive(Clone, Debug)]
pub struct Shelf {
    pub collection: Box<str>,
    pub authority: Role,
    /// Of the searches of the window.
    pub summary: Summary,
    /// Questions of every kind, since the start.
    pub classes: [(Class, u64); Class::ALL.len()],
    /// Those that are real, by what is apart.
    pub real: [(Kind, u64); Kind::ALL.len()],
    /// Sampled reads that were not compared.
    pub skipped: [(Uncompared, u64); Uncompared::ALL.len()],
    /// Points that were marked.
    pub marked: u64,
    /// Of the authority and of the follower; of the last reads.
    pub latencies: [Latencies; 2],
    pub worst: Vec<Worst>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Latencies {
    pub count: usize,
    pub p50: Duration,
    pub p95: Duration,
    pub p99: Duration,
}

/// One question that was compared.
pub(super) struct Entry<'e> {
    pub(super) real: &'e str,
    pub(super) authority: Role,
    pub(super) question: &'e Question,
    pub(super) judged: Judged,
    pub(super) took: [Duration; 2],
    pub(super) payloads: Option<&'e Payloads>,
    pub(super) now: String,
}

struct Open {
    window: Window,
    classes: HashMap<Class, u64>,
    real: HashMap<Kind, u64>,
    skipped: HashMap<&'static str, u64>,
    marked: u64,
    took: [VecDeque<Duration>; 2],
    worst: Vec<Worst>,
    last: Instant,
}

impl Books {
    pub(super) fn new(window: Duration, worst: usize) -> Self {
        Self {
            began: Instant::now(),
            window,
            worst,
            shelves: Mutex::default(),
        }
    }

    pub(super) fn add(&self, entry: Entry<'_>) {
        let Judged {
            seen,
            class,
            sample,
            dirty,
            ..
        } = entry.judged;
        let kind = seen.apart().kind();
        // Parsed before the lock is taken.
        let worst = (self.worst > 0 && Worst::is_kept(class)).then(|| Worst {
            at: entry.now,
            operation: entry.question.operation,
            class,
            key: Worst::key(entry.question, seen.index),
            shape: shape(&entry.question.body),
            payloads: entry.payloads.and_then(Payloads::kept),
            took: entry.took,
            times: 1,
            seen,
            dirty,
        });
        let now = self.began.elapsed();
        self.with(entry.real, entry.authority, |open| {
            if let Some(sample) = sample {
                open.window.add(now, sample);
            }
            *open.classes.entry(class).or_default() += 1;
            if class == Class::Real {
                *open.real.entry(kind).or_default() += 1;
            }
            if let Some(worst) = worst {
                keep(&mut open.worst, worst, self.worst);
            }
        });
    }

    pub(super) fn took(&self, real: &str, authority: Role, took: [Duration; 2]) {
        self.with(real, authority, |open| {
            for (all, took) in open.took.iter_mut().zip(took) {
                if all.len() >= LATENCIES {
                    all.pop_front();
                }
                all.push_back(took);
            }
        });
    }

    pub(super) fn skipped(&self, real: &str, authority: Role, reason: Uncompared) {
        self.with(real, authority, |open| {
            *open.skipped.entry(reason.as_str()).or_default() += 1;
        });
    }

    pub(super) fn marked(&self, real: &str, authority: Role, count: u64) {
        self.with(real, authority, |open| open.marked += count);
    }

    fn with(&self, real: &str, authority: Role, work: impl FnOnce(&mut Open)) {
        let mut shelves = self.shelves.lock();
        let key = (Box::from(real), authority);
        if !shelves.contains_key(&key) && shelves.len() >= COLLECTIONS_MAX {
            let oldest = shelves.iter().min_by_key(|(_, open)| open.last);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                shelves.remove(&oldest);
            }
        }
        let open = shelves.entry(key).or_insert_with(|| Open::new(self.window));
        open.last = Instant::now();
        work(open);
    }

    /// Only of what was read `within` so long, if that is said.
    pub(super) fn summary(
        &self,
        real: &str,
        authority: Role,
        within: Option<Duration>,
    ) -> Option<Summary> {
        let now = self.began.elapsed();
        let since = within.map_or(Duration::ZERO, |within| now.saturating_sub(within));
        let shelves = self.shelves.lock();
        let open = shelves.get(&(Box::from(real), authority))?;
        Some(open.window.summary_since(now, since))
    }

    /// Forgets all others.
    pub(super) fn retain(&self, is_kept: impl Fn(&str) -> bool) {
        let mut shelves = self.shelves.lock();
        shelves.retain(|(name, _), _| is_kept(name));
    }

    /// All, by name.
    pub(super) fn shelves(&self) -> Vec<Shelf> {
        let now = self.began.elapsed();
        let shelves = self.shelves.lock();
        let told = shelves
            .iter()
            .map(|((name, role), open)| open.told(name, *role, now));
        let mut told: Vec<Shelf> = told.collect();
        drop(shelves);
        told.sort_by(|one, other| {
            let name = one.collection.cmp(&other.collection);
            name.then(one.authority.as_str().cmp(other.authority.as_str()))
        });
        told
    }
}

impl Open {
    fn new(window: Duration) -> Self {
        Self {
            window: Window::new(window),
            classes: HashMap::new(),
            real: HashMap::new(),
            skipped: HashMap::new(),
            marked: 0,
            took: [VecDeque::new(), VecDeque::new()],
            worst: Vec::new(),
            last: Instant::now(),
        }
    }

    fn told(&self, collection: &str, authority: Role, now: Duration) -> Shelf {
        let [one, other] = &self.took;
        Shelf {
            collection: collection.into(),
            authority,
            summary: self.window.summary(now),
            classes: Class::ALL.map(|of| (of, self.classes.get(&of).copied().unwrap_or(0))),
            real: Kind::ALL.map(|of| (of, self.real.get(&of).copied().unwrap_or(0))),
            skipped: Uncompared::ALL
                .map(|of| (of, self.skipped.get(of.as_str()).copied().unwrap_or(0))),
            marked: self.marked,
            latencies: [Latencies::of(one), Latencies::of(other)],
            worst: self.worst.clone(),
        }
    }
}

impl Latencies {
    fn of(all: &VecDeque<Duration>) -> Self {
        let mut all: Vec<Duration> = all.iter().copied().collect();
        all.sort_unstable();
        let at = |percent: usize| {
            let last = all.len().saturating_sub(1);
            // Rounded up: of few, the slowest.
            let place = (last * percent).div_ceil(100);
            all.get(place).copied().unwrap_or_default()
        };
        Self {
            count: all.len(),
            p50: at(50),
            p95: at(95),
            p99: at(99),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_has_its_count_from_the_start() {
        let text = crate::metrics::Metrics::new().render(&Default::default());
        let counts = text.matches("outrigger_shadow_reads_total{").count();
        assert_eq!(counts, Class::ALL.len());
        for class in Class::ALL {
            let line = format!(
                "outrigger_shadow_reads_total{{class=\"{}\"}} 0",
                class.as_str()
            );
            assert!(text.contains(&line), "{line}");
        }
    }

    #[test]
    fn latencies_are_those_of_the_last_reads() {
        let books = Books::new(Duration::from_secs(60), 0);
        for ms in 0..2000 {
            let took = Duration::from_millis(ms);
            books.took("c", Role::Primary, [took, took * 2]);
        }
        let shelves = books.shelves();
        let [one, other] = shelves.first().unwrap().latencies;
        assert_eq!(one.count, LATENCIES);
        assert_eq!(one.p50, Duration::from_millis(976 + 512));
        assert_eq!(one.p99, Duration::from_millis(976 + 1013));
        assert_eq!(other.p50, one.p50 * 2);
        assert_eq!(Latencies::of(&VecDeque::new()), Latencies::default());
    }

    #[test]
    fn what_is_not_followed_any_more_is_forgotten() {
        let books = Books::new(Duration::from_secs(60), 0);
        for (name, role) in [
            ("a", Role::Primary),
            ("b", Role::Primary),
            ("a", Role::Secondary),
        ] {
            books.marked(name, role, 1);
        }
        books.retain(|name| name == "b");
        let shelves = books.shelves();
        let left: Vec<&str> = shelves.iter().map(|of| &*of.collection).collect();
        assert_eq!(left, ["b"]);
    }

    #[tokio::test(start_paused = true)]
    async fn of_too_many_collections_the_one_read_longest_ago_goes() {
        let books = Books::new(Duration::from_secs(60), 0);
        for number in 0..=COLLECTIONS_MAX {
            tokio::time::advance(Duration::from_millis(1)).await;
            books.marked(&number.to_string(), Role::Primary, 1);
            books.marked("0", Role::Primary, 1);
        }
        let shelves = books.shelves();
        assert_eq!(shelves.len(), COLLECTIONS_MAX);
        let has = |name: &str| shelves.iter().any(|shelf| &*shelf.collection == name);
        assert!(has("0") && !has("1") && has("2"));
    }
}

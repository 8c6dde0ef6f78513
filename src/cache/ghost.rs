//! The ghost: what a cache of another size, lifetime or reach would have done.
//!
//! It keeps no answers, only what tells whether one would have been there: for a sample of the keys,
//! chosen by their hash, when each was last asked for, how much came in between (the distance in
//! bytes), and under which renewals. What the sample does stands for the whole (SHARDS: Waldspurger
//! and others, 2015). One order of last use answers for all sizes, as for a cache that lets go of
//! what was used longest ago; ours weighs how often, too, and does a little better.
//!
//! It also runs while the cache is off, goes by the bodies alone, and asks no store: whose a point
//! is that a write names by its id only is not known to it, and counts against it. Memory is bound by
//! `KEYS_MAX`: past that, half of the sample is let go of and the rest stands for twice as much.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::entry::OVERHEAD_BYTES;
use super::key::Key;
use super::scope::{SLOTS, Slot};

/// About 3 MiB.
const KEYS_MAX: usize = 8192;
/// Places in the order of last use for each key that is there, until it is written anew.
const PLACES_A_KEY: usize = 4;
const PLACES_MIN: usize = 256;

const SIZES_MIB: [u32; 7] = [16, 64, 128, 256, 512, 1024, 4096];
const TTLS: [Duration; 3] = [
    Duration::from_secs(30),
    Duration::from_secs(300),
    Duration::from_secs(3600),
];

/// How far a write reaches in what is reckoned.
const REACHES: usize = 2;

pub(super) struct Ghost {
    /// Keys whose hash is not above it are in the sample.
    threshold: AtomicU64,
    renewals: Box<[AtomicU32]>,
    state: Mutex<State>,
}

/// What an answer depends on.
pub(super) struct Depends {
    pub(super) collection: Box<[Slot]>,
    /// With tenants told apart.
    pub(super) tenants: Box<[Slot]>,
}

struct State {
    began: Instant,
    /// How many keys each one of the sample stands for.
    weight: f64,
    keys: HashMap<u64, Known>,
    order: Order,
    reads: f64,
    seconds: f64,
    tally: [[Tally; TTLS.len()]; REACHES],
}

struct Known {
    place: usize,
    bytes: u64,
    seconds: f64,
    depends: Depends,
    filled: [[Filled; TTLS.len()]; REACHES],
}

#[derive(Clone, Copy)]
struct Filled {
    at: Instant,
    renewals: u64,
}

/// Hits and what they would have saved, by the least size that has them.
#[derive(Clone, Copy, Default)]
struct Tally {
    hits: [f64; SIZES_MIB.len()],
    seconds: [f64; SIZES_MIB.len()],
}

/// What was reckoned.
#[derive(Clone, Debug)]
pub struct Estimate {
    pub watched: Duration,
    /// Reads that were counted, and what the store took for them.
    pub reads: f64,
    pub store_seconds: f64,
    pub sampled_keys: usize,
    /// The share of all keys that is in the sample.
    pub sample: f64,
    pub rows: Vec<EstimateRow>,
}

#[derive(Clone, Debug)]
pub struct EstimateRow {
    pub memory_mib: u32,
    pub ttl: Duration,
    /// With tenant-wise invalidation.
    pub by_tenant: bool,
    pub hit_rate: f64,
    pub saved_seconds: f64,
}

impl Default for Ghost {
    fn default() -> Self {
        Self {
            threshold: AtomicU64::new(u64::MAX),
            renewals: (0..SLOTS).map(|_| AtomicU32::new(0)).collect(),
            state: Mutex::new(State::new()),
        }
    }
}

impl Ghost {
    /// A read was answered with so many bytes; `took` when the store was asked.
    pub(super) fn read(
        &self,
        key: Key,
        bytes: usize,
        took: Option<Duration>,
        depends: impl FnOnce() -> Option<Depends>,
    ) {
        let hash = u64::try_from(key.0 >> 64).unwrap_or_default();
        if hash > self.threshold.load(Ordering::Relaxed) {
            return;
        }
        let bytes = (bytes + OVERHEAD_BYTES) as u64;
        let mut state = self.state.lock();
        if !state.keys.contains_key(&hash) {
            let Some(depends) = depends() else {
                return;
            };
            let now = [
                self.renewals(&depends.collection),
                self.renewals(&depends.tenants),
            ];
            state.first(hash, bytes, took, depends, now);
            if state.keys.len() > KEYS_MAX {
                let threshold = self.threshold.load(Ordering::Relaxed) / 2;
                self.threshold.store(threshold, Ordering::Relaxed);
                state.let_go_above(threshold);
            }
            return;
        }
        state.again(hash, bytes, took, |slots| self.renewals(slots));
    }

    /// A write has touched these.
    pub(super) fn renew(&self, slots: impl IntoIterator<Item = Slot>) {
        for slot in slots {
            if let Some(count) = self.renewals.get(slot.index()) {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Counts only ever grow, so their sum is another one as soon as one of them is.
    fn renewals(&self, slots: &[Slot]) -> u64 {
        let counts = slots
            .iter()
            .filter_map(|slot| self.renewals.get(slot.index()));
        counts
            .map(|count| u64::from(count.load(Ordering::Relaxed)))
            .sum()
    }

    pub(super) fn estimate(&self) -> Estimate {
        self.state.lock().estimate()
    }

    /// Begins anew.
    pub(super) fn forget(&self) {
        *self.state.lock() = State::new();
        self.threshold.store(u64::MAX, Ordering::Relaxed);
    }
}

impl State {
    fn new() -> Self {
        Self {
            began: Instant::now(),
            weight: 1.0,
            keys: HashMap::new(),
            order: Order::new(0),
            reads: 0.0,
            seconds: 0.0,
            tally: Default::default(),
        }
    }

    fn first(
        &mut self,
        hash: u64,
        bytes: u64,
        took: Option<Duration>,
        depends: Depends,
        renewals: [u64; REACHES],
    ) {
        let at = Instant::now();
        let seconds = took.unwrap_or_default().as_secs_f64();
        self.reads += self.weight;
        self.seconds += self.weight * seconds;
        let place = self.next_place(bytes);
        let known = Known {
            place,
            bytes,
            seconds,
            depends,
            filled: renewals.map(|renewals| [Filled { at, renewals }; TTLS.len()]),
        };
        self.keys.insert(hash, known);
    }

    fn again(
        &mut self,
        hash: u64,
        bytes: u64,
        took: Option<Duration>,
        renewals: impl Fn(&[Slot]) -> u64,
    ) {
        let place = self.next_place(bytes);
        let Some(known) = self.keys.get_mut(&hash) else {
            return;
        };
        if let Some(took) = took {
            known.seconds = took.as_secs_f64();
        }
        let (now, weight) = (Instant::now(), self.weight);
        self.reads += weight;
        self.seconds += weight * known.seconds;
        // What was asked for since then, and itself.
        let distance = self.order.after(known.place);
        let distance = distance as f64 * weight;
        let fits = |mib: &u32| f64::from(*mib) * 1_048_576.0 < distance;
        let size = SIZES_MIB.partition_point(fits);
        let reaches = [&known.depends.collection, &known.depends.tenants];
        for ((slots, filled), tally) in reaches
            .into_iter()
            .zip(&mut known.filled)
            .zip(&mut self.tally)
        {
            let renewals = renewals(slots);
            for ((ttl, filled), tally) in TTLS.iter().zip(filled).zip(tally) {
                if filled.renewals != renewals || now.duration_since(filled.at) >= *ttl {
                    *filled = Filled { at: now, renewals };
                } else if let (Some(hits), Some(seconds)) =
                    (tally.hits.get_mut(size), tally.seconds.get_mut(size))
                {
                    *hits += weight;
                    *seconds += weight * known.seconds;
                }
            }
        }
        self.order.remove(known.place, known.bytes);
        (known.place, known.bytes) = (place, bytes);
    }

    /// The latest place of all, taken by so many bytes.
    fn next_place(&mut self, bytes: u64) -> usize {
        if self.order.is_full() {
            let mut all: Vec<&mut Known> = self.keys.values_mut().collect();
            all.sort_unstable_by_key(|known| known.place);
            self.order = Order::new(all.len());
            for known in all {
                known.place = self.order.push(known.bytes);
            }
        }
        self.order.push(bytes)
    }

    fn let_go_above(&mut self, threshold: u64) {
        let order = &mut self.order;
        self.keys.retain(|hash, known| {
            let stays = *hash <= threshold;
            if !stays {
                order.remove(known.place, known.bytes);
            }
            stays
        });
        self.weight *= 2.0;
    }

    fn estimate(&self) -> Estimate {
        let mut rows = Vec::new();
        for (by_tenant, tallies) in [false, true].into_iter().zip(&self.tally) {
            for (ttl, tally) in TTLS.into_iter().zip(tallies) {
                let (mut hits, mut saved_seconds) = (0.0, 0.0);
                for ((memory_mib, more), seconds) in
                    SIZES_MIB.into_iter().zip(tally.hits).zip(tally.seconds)
                {
                    hits += more;
                    saved_seconds += seconds;
                    rows.push(EstimateRow {
                        memory_mib,
                        ttl,
                        by_tenant,
                        hit_rate: if self.reads > 0.0 {
                            hits / self.reads
                        } else {
                            0.0
                        },
                        saved_seconds,
                    });
                }
            }
        }
        Estimate {
            watched: self.began.elapsed(),
            reads: self.reads,
            store_seconds: self.seconds,
            sampled_keys: self.keys.len(),
            sample: 1.0 / self.weight,
            rows,
        }
    }
}

/// The order of last use, each place with its bytes: a tree of sums (Fenwick's).
struct Order {
    sums: Vec<u64>,
    next: usize,
    total: u64,
}

impl Order {
    fn new(keys: usize) -> Self {
        let places = PLACES_MIN.max(keys * PLACES_A_KEY);
        Self {
            sums: vec![0; places + 1],
            next: 0,
            total: 0,
        }
    }

    fn is_full(&self) -> bool {
        self.next + 1 == self.sums.len()
    }

    fn push(&mut self, bytes: u64) -> usize {
        let place = self.next;
        self.next += 1;
        self.total += bytes;
        self.add(place, bytes);
        place
    }

    fn remove(&mut self, place: usize, bytes: u64) {
        self.total -= bytes;
        self.add(place, bytes.wrapping_neg());
    }

    fn add(&mut self, place: usize, bytes: u64) {
        let mut at = place + 1;
        while let Some(sum) = self.sums.get_mut(at) {
            *sum = sum.wrapping_add(bytes);
            at += at & at.wrapping_neg();
        }
    }

    /// The bytes at later places.
    fn after(&self, place: usize) -> u64 {
        let (mut at, mut before) = (place + 1, 0u64);
        while at > 0 {
            before = before.wrapping_add(self.sums.get(at).copied().unwrap_or_default());
            at &= at - 1;
        }
        self.total.wrapping_sub(before)
    }
}

#[cfg(test)]
mod tests;

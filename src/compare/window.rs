//! The figures of the reads of some time past, for the gate and for whoever looks.
//!
//! Of fixed size: the time is cut in `PARTS`, each holds sums and histograms, and the oldest goes
//! as a whole. The caller tells the time, counted from whenever it likes.
//!
//! Reads that lag are counted and not measured: they tell how far sync is, not how well the stores
//! agree. So a follower that is never in sync gathers no figures, and the gate stays shut. A search
//! that only one store answered is measured, as no agreement at all.

use std::collections::VecDeque;
use std::time::Duration;

use super::asked::Order;
use super::baseline::Overlaps;
use super::class::Class;
use super::difference::{Answers, Difference};
use super::histogram::Histogram;

/// So finely the span is cut.
const PARTS: u32 = 60;

/// The depth at which the gate measures.
pub const DEPTH: usize = 10;

/// The figures of one ranked read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    pub class: Class,
    pub top1: bool,
    /// Of the first ten; rows that are only tied at the cut are taken as equal where that is seen.
    pub overlap: f64,
    pub spearman: Option<f64>,
    /// Whether either answer has rows enough for an order.
    pub is_list: bool,
    /// The overlap of the read store with its own exact answer, if it was asked twice.
    pub own: Option<f64>,
    /// The part of that exact answer's first ten that the other store found.
    pub recall: Option<f64>,
}

impl Sample {
    /// `None` for what is not ranked.
    pub fn new(seen: &Difference, class: Class) -> Option<Self> {
        if seen.asked.order != Order::Ranked {
            return None;
        }
        let mut sample = Self {
            class,
            top1: false,
            overlap: 0.0,
            spearman: None,
            is_list: seen.apart().rows > 1,
            own: None,
            recall: None,
        };
        if let Some(agreement) = seen.agreement(DEPTH) {
            sample.top1 = agreement.top1;
            sample.overlap = overlap(seen)?;
            sample.spearman = agreement.spearman;
            return Some(sample);
        }
        let differs = matches!(&seen.answers, Answers::Failed { one, other } if one != other);
        // Nobody knows of what has no answer.
        sample.is_list = true;
        differs.then_some(sample)
    }

    /// For a read that was not drawn by lot to be asked exactly.
    #[must_use]
    pub fn without_exact(self) -> Self {
        Self {
            own: None,
            recall: None,
            ..self
        }
    }

    /// What an exact answer of the read store adds: what that store answered first against it, and
    /// it against what the other store answered. One of them without a ranking adds nothing.
    #[must_use]
    pub fn with_exact(self, own: &Difference, other: &Difference) -> Self {
        match (overlap(own), overlap(other)) {
            (Some(own), Some(recall)) => Self {
                own: Some(own),
                recall: Some(recall),
                ..self
            },
            (None, _) | (_, None) => self,
        }
    }
}

/// Of the first ten; where no more were asked for, rows tied at the cut are taken as equal.
fn overlap(seen: &Difference) -> Option<f64> {
    let strict = seen.agreement(DEPTH)?.overlap;
    let apart = seen.apart();
    let all = apart.is_none() || seen.asked.limit.is_some_and(|limit| limit <= DEPTH);
    let is_grouped = matches!(seen.answers, Answers::Groups(_));
    Some(if all && !is_grouped {
        apart.overlap.max(strict)
    } else {
        strict
    })
}

/// The reads of a span of time. Where the gate asks for an hour, the span has to be longer: a window
/// is as old as its oldest read.
#[derive(Clone, Debug)]
pub struct Window {
    width: Duration,
    parts: VecDeque<Part>,
    latest: Duration,
}

/// How many reads, and what they say.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// How long ago the oldest read that was measured was.
    pub age: Duration,
    /// How many were measured: all but those that lag.
    pub queries: u64,
    classes: [u64; Class::ALL.len()],
    /// The share of the measured with the same first row.
    pub top1: Option<f64>,
    pub overlap: Option<f64>,
    /// Of those measured that have an order.
    pub spearman: Option<f64>,
    /// The measured with more than one row in either answer.
    pub lists: u64,
    pub recall: Option<Spread>,
    pub overlaps: Overlaps,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub count: u64,
    pub mean: f64,
    pub median: f64,
    pub p5: f64,
}

impl Summary {
    pub fn count(&self, class: Class) -> u64 {
        let counts = Class::ALL.into_iter().zip(self.classes);
        counts
            .filter(|(known, _)| *known == class)
            .map(|(_, count)| count)
            .sum()
    }
}

#[derive(Clone, Debug, Default)]
struct Part {
    /// When it begins, in widths.
    number: u128,
    /// When its first measured read was.
    first: Option<Duration>,
    classes: [u64; Class::ALL.len()],
    top1: u64,
    queries: u64,
    spearman_sum: f64,
    spearman_count: u64,
    lists: u64,
    overlaps: Overlaps,
    recall: Histogram,
}

impl Window {
    pub fn new(span: Duration) -> Self {
        Self {
            width: (span / PARTS).max(Duration::from_millis(1)),
            parts: VecDeque::new(),
            latest: Duration::ZERO,
        }
    }

    /// Time that goes backwards is taken as standing still.
    pub fn add(&mut self, now: Duration, sample: Sample) {
        let now = now.max(self.latest);
        self.latest = now;
        let number = now.as_nanos() / self.width.as_nanos();
        let newest = self.parts.back().map(|part| part.number);
        if newest.is_none_or(|newest| newest < number) {
            self.parts.push_back(Part {
                number,
                ..Part::default()
            });
            self.parts.retain(|part| is_within(part, number));
        }
        if let Some(part) = self.parts.back_mut() {
            part.add(now, sample);
        }
    }

    /// Forgets everything: what was measured belongs to another pair of stores.
    pub fn clear(&mut self) {
        self.parts.clear();
    }

    pub fn summary(&self, now: Duration) -> Summary {
        self.summary_since(now, Duration::ZERO)
    }

    /// Without the parts that began before.
    pub fn summary_since(&self, now: Duration, since: Duration) -> Summary {
        let number = now.as_nanos() / self.width.as_nanos();
        let first = since.as_nanos().div_ceil(self.width.as_nanos());
        let mut all = Part::default();
        let parts = self.parts.iter().filter(|part| is_within(part, number));
        for part in parts.filter(|part| part.number >= first) {
            all.merge(part);
        }
        let age = all
            .first
            .map_or(Duration::ZERO, |first| now.saturating_sub(first));
        all.summary(age)
    }
}

/// One part more than the span has: the oldest is never whole.
fn is_within(part: &Part, number: u128) -> bool {
    part.number + u128::from(PARTS) >= number
}

impl Part {
    fn add(&mut self, now: Duration, sample: Sample) {
        for (class, count) in Class::ALL.into_iter().zip(&mut self.classes) {
            *count += u64::from(class == sample.class);
        }
        if sample.class == Class::Lagging {
            return;
        }
        self.first = Some(self.first.map_or(now, |first| first.min(now)));
        self.queries += 1;
        self.top1 += u64::from(sample.top1);
        self.lists += u64::from(sample.is_list);
        self.overlaps.add(sample.overlap, sample.own);
        if let Some(spearman) = sample.spearman {
            self.spearman_sum += spearman;
            self.spearman_count += 1;
        }
        if let Some(recall) = sample.recall {
            self.recall.add(recall);
        }
    }

    fn merge(&mut self, other: &Self) {
        for (count, more) in self.classes.iter_mut().zip(other.classes) {
            *count += more;
        }
        self.first = match (self.first, other.first) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        self.top1 += other.top1;
        self.queries += other.queries;
        self.spearman_sum += other.spearman_sum;
        self.spearman_count += other.spearman_count;
        self.lists += other.lists;
        self.overlaps.merge(&other.overlaps);
        self.recall.merge(&other.recall);
    }

    fn summary(self, age: Duration) -> Summary {
        let mean = |sum: f64, count: u64| (count > 0).then(|| sum / count as f64);
        let recall = || {
            Some(Spread {
                count: self.recall.count(),
                mean: self.recall.mean()?,
                median: self.recall.percentile(50)?,
                p5: self.recall.percentile(5)?,
            })
        };
        Summary {
            age,
            queries: self.queries,
            classes: self.classes,
            top1: mean(self.top1 as f64, self.queries),
            overlap: self.overlaps.observed().mean(),
            spearman: mean(self.spearman_sum, self.spearman_count),
            lists: self.lists,
            recall: recall(),
            overlaps: self.overlaps,
        }
    }
}

#[cfg(test)]
mod tests;

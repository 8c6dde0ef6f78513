//! How far two rankings of one question agree.
//!
//! - **Overlap@k**: the share of the first `k` of the longer list that both have. A list that ends
//!   before `k` is not held against both: of three answers to ten asked for, three in common are
//!   all. Two empty lists agree wholly.
//! - **Top-1**: whether both begin with the same id, or with one that scores the same.
//! - **Rank-biased overlap**: the extrapolated form, RBO_ext, of Webber, Moffat and Zobel (ACM TOIS
//!   2010, equation 32), which is made for lists of uneven length: what is unseen is taken to agree
//!   as what is seen. Each next rank weighs [`RBO_P`] of the one before. Two empty lists have 1, an
//!   empty and another 0. It knows no ties: the order is taken as it stands.
//! - **Kendall's tau-b** and **Spearman's rho** over the ids that both have, by their places; a run
//!   of equal scores is one place. Places and not scores: for a Euclidean distance the best is the
//!   smallest, and a list that was reordered for variety has no order of scores.
//! - **Drift**: how far the scores of the ids that both have lie apart.
//!
//! An id that comes twice in a list, as a value of a list of values does under `order_by`, is a
//! thing of its own each time.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use super::correlation::{kendall_tau_b, spearman_rho};

/// Scores that lie no further apart are equal. The stores promise no more: a sum of float32 in
/// another order differs in its last bits.
pub const SCORE_TOLERANCE: f64 = 1e-5;

/// The weight of a rank against the one before it: the first ten make up 86% of the whole.
pub const RBO_P: f64 = 0.9;

/// One row of a ranking.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit<K> {
    pub id: K,
    /// Not a number if the store gave none.
    pub score: f64,
}

/// How far the scores of the common ids lie apart; all zero if there are none.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Drift {
    pub max: f64,
    pub mean: f64,
    /// Against the larger of the two scores.
    pub relative_max: f64,
    pub relative_mean: f64,
}

/// The figures of two rankings, of which the first is what the other is measured by.
#[derive(Clone, Debug, PartialEq)]
pub struct Agreement<K> {
    pub k: usize,
    pub overlap: f64,
    pub top1: bool,
    pub rbo: f64,
    pub kendall: Option<f64>,
    pub spearman: Option<f64>,
    pub drift: Drift,
    /// How many ids are in both lists.
    pub common: usize,
    /// In the first list only, in its order.
    pub missing: Vec<K>,
    /// In the other list only, in its order.
    pub extra: Vec<K>,
}

impl<K: Clone + Eq + Hash> Agreement<K> {
    pub fn new(one: &[Hit<K>], other: &[Hit<K>], k: usize) -> Self {
        let common = Common::new(one, other);
        let places = common.places();
        Self {
            k,
            overlap: overlap(one, other, k),
            top1: top1(one, other),
            rbo: rbo_ext(one, other, RBO_P),
            kendall: kendall_tau_b(&places),
            spearman: spearman_rho(&places),
            drift: common.drift(),
            common: common.in_one.len(),
            missing: common.missing.into_iter().cloned().collect(),
            extra: common.extra.into_iter().cloned().collect(),
        }
    }
}

impl<K> Agreement<K> {
    pub fn map_ids<T>(self, name: impl Fn(K) -> T) -> Agreement<T> {
        Agreement {
            k: self.k,
            overlap: self.overlap,
            top1: self.top1,
            rbo: self.rbo,
            kendall: self.kendall,
            spearman: self.spearman,
            drift: self.drift,
            common: self.common,
            missing: self.missing.into_iter().map(&name).collect(),
            extra: self.extra.into_iter().map(&name).collect(),
        }
    }
}

/// Whether two scores are equal, or both none.
pub fn same_score(one: f64, other: f64) -> bool {
    let scale = one.abs().max(other.abs()).max(1.0);
    one == other
        || (scale.is_finite() && (one - other).abs() <= SCORE_TOLERANCE * scale)
        || (one.is_nan() && other.is_nan())
}

/// The share of the first `k` that both lists have.
pub fn overlap<K: Eq + Hash>(one: &[Hit<K>], other: &[Hit<K>], k: usize) -> f64 {
    let of = one.len().max(other.len()).min(k);
    if of == 0 {
        return 1.0;
    }
    let one: HashSet<_> = numbered(one).take(k).map(|(key, _)| key).collect();
    let both = numbered(other).take(k).filter(|(key, _)| one.contains(key));
    both.count() as f64 / of as f64
}

/// Extrapolated rank-biased overlap; see the header.
pub fn rbo_ext<K: Eq + Hash>(one: &[Hit<K>], other: &[Hit<K>], p: f64) -> f64 {
    let (short, long) = if one.len() <= other.len() {
        (one, other)
    } else {
        (other, one)
    };
    if short.is_empty() {
        return if long.is_empty() { 1.0 } else { 0.0 };
    }
    let (s, l) = (short.len() as f64, long.len() as f64);
    let (mut seen_short, mut seen_long) = (HashSet::new(), HashSet::new());
    let mut shorts = numbered(short).map(|(key, _)| key);
    // What both have down to the present depth, and down to where the shorter list ends.
    let (mut both, mut both_at_s) = (0.0, 0.0);
    let (mut sum, mut weight, mut depth) = (0.0, 1.0, 0.0);
    for (key, _) in numbered(long) {
        depth += 1.0;
        weight *= p;
        if let Some(key) = shorts.next() {
            if seen_long.contains(&key) {
                both += 1.0;
            }
            seen_short.insert(key);
        }
        if seen_short.contains(&key) {
            both += 1.0;
        }
        seen_long.insert(key);
        if depth <= s {
            both_at_s = both;
        }
        sum += both / depth * weight;
        if depth > s {
            sum += both_at_s * (depth - s) / (s * depth) * weight;
        }
    }
    (1.0 - p) / p * sum + ((both - both_at_s) / l + both_at_s / s) * weight
}

fn top1<K: Eq + Hash>(one: &[Hit<K>], other: &[Hit<K>]) -> bool {
    let (Some(first), Some(found)) = (one.first(), other.first()) else {
        return one.is_empty() && other.is_empty();
    };
    // Judged by the scores of the one list: shuffled scores must not speak for themselves. An id
    // that it does not list scores no better than its last.
    let known = one.iter().find(|hit| hit.id == found.id).or(one.last());
    first.id == found.id
        || (same_score(first.score, found.score)
            && known.is_some_and(|known| same_score(first.score, known.score)))
}

/// An id, and how often it came before.
pub(super) type Key<'k, K> = (&'k K, usize);

/// The rows of a list, each with a key that no other row of the list has.
pub(super) fn numbered<K: Eq + Hash>(hits: &[Hit<K>]) -> impl Iterator<Item = (Key<'_, K>, f64)> {
    let mut counts = HashMap::with_capacity(hits.len());
    hits.iter().map(move |hit| {
        let count: &mut usize = counts.entry(&hit.id).or_default();
        let key = (&hit.id, *count);
        *count += 1;
        (key, hit.score)
    })
}

/// What two lists have in common, and what not.
pub(super) struct Common<'k, K> {
    /// In the order of the one list: the score there, and that in the other.
    pub(super) in_one: Vec<(Key<'k, K>, f64, f64)>,
    /// The same in the order of the other list.
    pub(super) in_other: Vec<(Key<'k, K>, f64, f64)>,
    pub(super) missing: Vec<&'k K>,
    pub(super) extra: Vec<&'k K>,
}

impl<'k, K: Eq + Hash> Common<'k, K> {
    pub(super) fn new(one: &'k [Hit<K>], other: &'k [Hit<K>]) -> Self {
        let ones: HashMap<_, _> = numbered(one).collect();
        let others: HashMap<_, _> = numbered(other).collect();
        let mut common = Self {
            in_one: Vec::with_capacity(one.len()),
            in_other: Vec::with_capacity(one.len()),
            missing: Vec::new(),
            extra: Vec::new(),
        };
        for (key, score) in numbered(one) {
            match others.get(&key) {
                Some(found) => common.in_one.push((key, score, *found)),
                None => common.missing.push(key.0),
            }
        }
        for (key, score) in numbered(other) {
            match ones.get(&key) {
                Some(known) => common.in_other.push((key, *known, score)),
                None => common.extra.push(key.0),
            }
        }
        common
    }

    /// For each common id its place in both lists, those of equal score sharing one.
    fn places(&self) -> Vec<(u64, u64)> {
        let in_other: HashMap<_, _> = self
            .in_other
            .iter()
            .map(|row| row.0)
            .zip(runs(self.in_other.iter().map(|row| row.2)))
            .collect();
        let in_one = self.in_one.iter().map(|row| row.0);
        in_one
            .zip(runs(self.in_one.iter().map(|row| row.1)))
            .filter_map(|(key, place)| Some((place, *in_other.get(&key)?)))
            .collect()
    }

    fn drift(&self) -> Drift {
        let mut drift = Drift::default();
        for (_, one, other) in &self.in_one {
            let (apart, relative) = (apart(*one, *other), relative(*one, *other));
            drift.max = drift.max.max(apart);
            drift.relative_max = drift.relative_max.max(relative);
            drift.mean += apart;
            drift.relative_mean += relative;
        }
        let count = self.in_one.len().max(1) as f64;
        drift.mean /= count;
        drift.relative_mean /= count;
        drift
    }
}

/// Numbers the runs of equal scores. A score is held against the first of its run: a row of scores
/// each a little off the one before is not one run.
fn runs(scores: impl Iterator<Item = f64>) -> impl Iterator<Item = u64> {
    let mut run: Option<(f64, u64)> = None;
    scores.map(move |score| {
        let (begin, number) = match run {
            Some((begin, number)) if same_score(begin, score) => (begin, number),
            Some((_, number)) => (score, number + 1),
            None => (score, 0),
        };
        run = Some((begin, number));
        number
    })
}

/// How far two scores lie apart: no score against some score is without end.
pub(super) fn apart(one: f64, other: f64) -> f64 {
    if one == other || (one.is_nan() && other.is_nan()) {
        0.0
    } else if one.is_nan() || other.is_nan() {
        f64::INFINITY
    } else {
        (one - other).abs()
    }
}

fn relative(one: f64, other: f64) -> f64 {
    let apart = apart(one, other);
    if apart == 0.0 || apart.is_infinite() {
        apart
    } else {
        apart / one.abs().max(other.abs())
    }
}

#[cfg(test)]
mod tests;

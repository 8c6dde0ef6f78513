//! What kind of difference it is.
//!
//! The classes are asked for in this order, and the first that explains all of the difference is it:
//!
//! 1. **Equal, tie.** They follow from the answers alone and need no excuse.
//! 2. **Lagging.** Known, and heals by itself. The points that are marked are taken out of both
//!    answers, and the rest is judged anew: a mark excuses its own point and what moved up in its
//!    place, and never hides another fault. For counts, which name no points, a difference of no
//!    more than the marks that wait.
//! 3. **Real: what no search can do.** A store that searches badly returns too few points or others,
//!    but those it returns it has. So other contents, other scores of one point, an order that
//!    contradicts the scores, and an id that a look by id found at one store only or not the same,
//!    are faults of the data, and no state of an index and no noise excuses them. Scores may differ
//!    as far as the read store's own do between its approximate and its exact answer: compressed
//!    vectors and fused ranks change them.
//! 4. **Index.** Before what is left is put down to noise or to shortness: an index that is not
//!    finished causes both, and passes.
//! 5. **Short.** Before noise, for the rows that are not there would count as misses. What the
//!    shorter answer does hold has to agree.
//! 6. **Noise.** Last, for it is a matter of degree: the answers differ no more than the read store
//!    differs from its own exact answer, give or take `slack`.
//! 7. **Real**, if nothing explained it.
//!
//! The last three excuses all say: the points are there and were not found. Only a look by id can
//! tell, so without one (`looked: None`) points missing or extra are real. That is the use of it:
//! what is real at first sight is asked again and looked up before it is reported.

use std::collections::HashSet;

use super::asked::Order;
use super::difference::{Answers, Apart, Difference, Outcome};
use super::lists::Side;
use crate::model::PointKey;

/// From harmless to grave.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Class {
    /// Nothing differs that means anything.
    Equal,
    /// Rows of equal score stand in for each other.
    Tie,
    /// The points that differ are marked: sync is at it.
    Lagging,
    /// No more than what approximate search does by itself.
    Noise,
    /// A store returned fewer than asked for, and others exist.
    Short,
    /// An index is being built.
    Index,
    Real,
}

impl Class {
    pub const ALL: [Self; 7] = [
        Self::Equal,
        Self::Tie,
        Self::Lagging,
        Self::Noise,
        Self::Short,
        Self::Index,
        Self::Real,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "equal",
            Self::Tie => "tie",
            Self::Lagging => "lagging",
            Self::Noise => "noise",
            Self::Short => "short",
            Self::Index => "index",
            Self::Real => "real",
        }
    }
}

/// What is known besides the two answers.
#[derive(Clone, Debug, Default)]
pub struct Circumstances {
    pub lag: Lag,
    /// The points of the difference that a look by id found at one store only, or not the same at
    /// both; marked ones may be among them. `None`: nobody looked.
    pub looked: Option<HashSet<PointKey>>,
    /// How far the read store's own approximate answers are from exact.
    pub baseline: Option<Baseline>,
    /// An index is being built at either store.
    pub indexing: bool,
}

/// What waits to be brought to the other store.
#[derive(Clone, Debug, Default)]
pub struct Lag {
    /// The points of the difference that are marked, or were when the stores were asked.
    pub dirty: HashSet<PointKey>,
    /// How many of the collection's points are marked, in this answer or not.
    pub waiting: u64,
    /// The collection itself is marked, or has to be swept: nothing can be said of it.
    pub barrier: bool,
}

/// The read store's approximate answer against its exact one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Baseline {
    /// Their overlap, to this question or, if it was not asked twice, on average.
    pub own: f64,
    /// The overlap of the other store's answer with that exact one, if it is to this question.
    pub other: Option<f64>,
    /// The most that the scores of one point lie apart between the two.
    pub drift: f64,
}

impl Baseline {
    /// Of a question that ran at the read store twice: what it answered first against the exact
    /// answer, and the exact answer against what the other store answered.
    pub fn new(own: &Difference, other: &Difference) -> Self {
        let (own, other) = (own.apart(), other.apart());
        Self {
            own: own.overlap,
            other: Some(other.overlap),
            drift: own.drift,
        }
    }
}

/// What kind of difference it is; see the header.
pub fn classify(seen: &Difference, known: &Circumstances) -> Class {
    let first = seen.apart();
    if first.is_none() {
        return if first.tied { Class::Tie } else { Class::Equal };
    }
    if known.lag.barrier {
        return Class::Lagging;
    }
    match &seen.answers {
        Answers::Failed { one, other } => failed(*one, *other, known),
        Answers::Number { .. } | Answers::Facet(_) => number(seen, &first, known),
        Answers::Points(_) | Answers::Groups(_) => rows(seen, known),
    }
}

fn failed(one: Outcome, other: Outcome, known: &Circumstances) -> Class {
    let refused = |status| one == Outcome::Refused(status) || other == Outcome::Refused(status);
    if known.lag.waiting > 0 && refused(404) {
        // A point that the question refers to.
        Class::Lagging
    } else if known.indexing && refused(400) {
        // Facets and `order_by` are refused where the payload has no index.
        Class::Index
    } else {
        Class::Real
    }
}

fn number(seen: &Difference, apart: &Apart, known: &Circumstances) -> Class {
    let own = known.baseline.map(|baseline| baseline.own);
    if apart.number <= known.lag.waiting as f64 {
        Class::Lagging
    } else if known.indexing {
        Class::Index
    } else if !seen.asked.exact && own.is_some_and(|own| apart.overlap >= own * own) {
        Class::Noise
    } else {
        Class::Real
    }
}

fn rows(seen: &Difference, known: &Circumstances) -> Class {
    let rest = seen.without(&known.lag.dirty);
    let apart = rest.apart();
    if apart.is_none() {
        return Class::Lagging;
    }
    if is_wrong(&rest, &apart, known) {
        return Class::Real;
    }
    let points = apart.missing.len().max(apart.extra.len());
    let waiting = usize::try_from(known.lag.waiting).unwrap_or(usize::MAX);
    if seen.asked.offset > 0 && points <= waiting {
        // Marked points that were left out with the offset shift the page.
        return Class::Lagging;
    }
    if known.indexing {
        return Class::Index;
    }
    if is_short(&rest, &apart, known.baseline) {
        return Class::Short;
    }
    let may_guess = seen.asked.order == Order::Ranked && !seen.asked.exact;
    if may_guess && known.baseline.is_some_and(|own| is_noise(&apart, own)) {
        return Class::Noise;
    }
    Class::Real
}

/// What no search can do, be it as bad as it may.
fn is_wrong(rest: &Difference, apart: &Apart, known: &Circumstances) -> bool {
    let drift_max = match known.baseline {
        Some(baseline) if !rest.asked.exact => baseline.drift,
        Some(_) | None => 0.0,
    };
    let rescored = !apart.rescored.is_empty() && apart.drift > drift_max;
    // Where scores follow from what else was found, or the order not from the scores, the order
    // does from what was found.
    let excused = !apart.rescored.is_empty() || !rest.is_sorted();
    let moved = apart.moved && (rest.asked.order != Order::Ranked || !excused);
    let lost = match &known.looked {
        Some(looked) => apart.points().iter().any(|id| looked.contains(id)),
        None => !apart.missing.is_empty() || !apart.extra.is_empty(),
    };
    !apart.changed.is_empty() || rescored || moved || lost
}

/// A store gave too few, and of these no more are not the other's than noise allows.
fn is_short(rest: &Difference, apart: &Apart, baseline: Option<Baseline>) -> bool {
    let foreign = match rest.shorter() {
        Some(Side::One) => apart.missing.len(),
        Some(Side::Other) => apart.extra.len(),
        None => return false,
    };
    let own = baseline.map_or(1.0, |baseline| baseline.own);
    foreign as f64 <= (1.0 - own * own) * apart.rows as f64
}

/// Two stores that each miss as much, and not the same points, share `own²` of their answers. If
/// the exact answer to this very question is known, the other store is held against that instead.
fn is_noise(apart: &Apart, baseline: Baseline) -> bool {
    let slack = slack(apart.rows) as f64 / apart.rows.max(1) as f64;
    match baseline.other {
        Some(other) => other >= baseline.own - slack - f64::EPSILON,
        None => {
            apart.overlap > 0.0
                && apart.overlap >= baseline.own * baseline.own - slack - f64::EPSILON
        }
    }
}

/// So many points of an answer may be others without being held against a store that has them: one
/// in five, for overlap moves in steps and one answer is no statistic; at least one, but none of
/// three or fewer. Whether a store misses more than it should is told by the [`Window`] of many.
///
/// [`Window`]: super::Window
fn slack(rows: usize) -> usize {
    if rows <= 3 { 0 } else { (rows / 5).max(1) }
}

#[cfg(test)]
mod tests;

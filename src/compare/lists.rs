//! Two lists of answers, and what of their difference is none.
//!
//! Where a store has more rows of one score than fit, which of them it shows is chance, and so is
//! the order of rows that score the same. So rows that only one list has are **tied at the cut** if
//! they score what the last row of their list scores, and both lists were cut, end at the same
//! score, and are of one length: a list that was not cut shows all rows there are. As many on the
//! one side as on the other: a row at the cut that stands in for a missing better one is not
//! explained by its score.
//!
//! A list whose scores neither fall nor rise throughout (reordered for variety, or shuffled) has no
//! cut, and its order is taken as it stands.

use std::collections::HashSet;
use std::hash::Hash;

use super::ranking::{Common, Hit, apart, numbered, same_score};

/// What makes two rows of a list exchangeable.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ties {
    /// Scores that are equal to within [`SCORE_TOLERANCE`](super::SCORE_TOLERANCE).
    Scores,
    /// Values that are equal: counts, and the values of `order_by`.
    Values,
    /// Nothing: the order is that of the ids.
    Never,
}

impl Ties {
    fn same(self, one: f64, other: f64) -> bool {
        match self {
            Self::Scores => same_score(one, other),
            Self::Values => apart(one, other) == 0.0,
            Self::Never => false,
        }
    }
}

/// One of the two stores.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Side {
    One,
    Other,
}

/// The two lists that answer one question.
#[derive(Clone, Debug, PartialEq)]
pub struct Lists<K> {
    pub one: Vec<Hit<K>>,
    pub other: Vec<Hit<K>>,
    /// A list as long as this was cut here; a shorter one is all there is. `None`: nothing is cut.
    pub asked: Option<usize>,
    pub ties: Ties,
}

/// What two lists have apart that is not only tied.
#[derive(Clone, Debug, PartialEq)]
pub struct ListsApart<K> {
    pub missing: Vec<K>,
    pub extra: Vec<K>,
    /// In both, with another score.
    pub rescored: Vec<K>,
    /// The most that two scores of one row lie apart.
    pub drift: f64,
    /// Rows in both stand in an order that their scores do not allow.
    pub moved: bool,
    /// They do differ, if only by what is tied.
    pub tied: bool,
    /// The rows in both, with those that are tied at the cut, of the longer list.
    pub overlap: f64,
}

impl<K: Clone + Eq + Hash> Lists<K> {
    pub fn apart(&self) -> ListsApart<K> {
        let common = Common::new(&self.one, &self.other);
        let mut missing: Vec<K> = common.missing.iter().map(|id| (*id).clone()).collect();
        let mut extra: Vec<K> = common.extra.iter().map(|id| (*id).clone()).collect();
        let at_cut = self.tied_at_cut(&mut missing, &mut extra);
        let mut found = ListsApart {
            overlap: 1.0,
            missing,
            extra,
            rescored: Vec::new(),
            drift: 0.0,
            moved: false,
            tied: at_cut > 0,
        };
        let longer = self.one.len().max(self.other.len());
        if longer > 0 {
            found.overlap = (common.in_one.len() + at_cut) as f64 / longer as f64;
        }
        if self.ties != Ties::Never {
            for (key, one, other) in &common.in_one {
                if !self.ties.same(*one, *other) {
                    found.rescored.push(key.0.clone());
                    found.drift = found.drift.max(apart(*one, *other));
                }
            }
        }
        let reordered = common
            .in_one
            .iter()
            .zip(&common.in_other)
            .any(|(one, other)| one.0 != other.0);
        if reordered {
            let known = common.in_other.iter().map(|row| row.1);
            found.moved = !self.allows(known);
            found.tied |= !found.moved;
        }
        found
    }

    /// The same lists without some rows, cut where both can still be known to be complete.
    ///
    /// A row that goes makes room at the end, and which row would come up from below the cut is not
    /// known. So a list that was cut is complete only to its present end, and the other list is
    /// compared to there and no further. A list that was not cut has shown all it has.
    #[must_use]
    pub fn without(&self, gone: impl Fn(&K) -> bool) -> Self {
        let left = |hits: &[Hit<K>]| -> Vec<Hit<K>> {
            hits.iter().filter(|hit| !gone(&hit.id)).cloned().collect()
        };
        let (mut one, mut other) = (left(&self.one), left(&self.other));
        let mut end = usize::MAX;
        if one.len() < self.one.len() || other.len() < self.other.len() {
            for (before, after) in [(&self.one, &one), (&self.other, &other)] {
                if self.asked.is_some_and(|asked| before.len() >= asked) {
                    end = end.min(after.len());
                }
            }
        }
        one.truncate(end);
        other.truncate(end);
        let asked = self.asked.map(|asked| asked.min(end));
        Self {
            one,
            other,
            asked,
            ties: self.ties,
        }
    }

    /// The store that gave fewer rows than were asked for and than the other gave.
    pub fn shorter(&self) -> Option<Side> {
        let asked = self.asked?;
        if self.other.len() < self.one.len().min(asked) {
            Some(Side::Other)
        } else if self.one.len() < self.other.len().min(asked) {
            Some(Side::One)
        } else {
            None
        }
    }

    /// Whether the scores of the one list fall or rise throughout.
    pub fn is_sorted(&self) -> bool {
        self.sorted(&self.one)
    }

    fn sorted(&self, hits: &[Hit<K>]) -> bool {
        let scores = || hits.iter().map(|hit| hit.score);
        Direction::ALL
            .into_iter()
            .any(|way| self.goes(way, scores()))
    }

    /// Whether rows of the one list may be shown in an order in which they have these scores there.
    fn allows(&self, scores: impl Iterator<Item = f64> + Clone) -> bool {
        let one = || self.one.iter().map(|hit| hit.score);
        // A list all of one score goes both ways, but then every order of it is allowed.
        self.ties != Ties::Never
            && Direction::ALL
                .into_iter()
                .any(|way| self.goes(way, one()) && self.goes(way, scores.clone()))
    }

    fn goes(&self, way: Direction, scores: impl Iterator<Item = f64>) -> bool {
        // The furthest that it has gone: a slow way back in small steps is one as well.
        let mut furthest: Option<f64> = None;
        for score in scores {
            if let Some(before) = furthest
                && !self.ties.same(before, score)
                && !way.is_onward(before, score)
            {
                return false;
            }
            furthest = Some(match furthest {
                Some(before) if !way.is_onward(before, score) => before,
                Some(_) | None => score,
            });
        }
        true
    }

    /// Takes out what is tied at the cut, and tells how many rows of each side that are.
    fn tied_at_cut(&self, missing: &mut Vec<K>, extra: &mut Vec<K>) -> usize {
        let (Some(one), Some(other)) = (self.one.last(), self.other.last()) else {
            return 0;
        };
        let is_cut = |hits: &[Hit<K>]| self.asked.is_some_and(|asked| hits.len() >= asked);
        let cut = is_cut(&self.one) && is_cut(&self.other);
        let same = self.one.len() == self.other.len() && self.ties.same(one.score, other.score);
        if !cut || !same || !self.sorted(&self.one) || !self.sorted(&self.other) {
            return 0;
        }
        let at = |hits: &[Hit<K>], cut: f64| -> HashSet<K> {
            numbered(hits)
                .filter(|(_, score)| self.ties.same(*score, cut))
                .map(|((id, _), _)| id.clone())
                .collect()
        };
        let ones = at(&self.one, one.score);
        let others = at(&self.other, other.score);
        let tied = |ids: &[K], at: &HashSet<K>| ids.iter().filter(|id| at.contains(*id)).count();
        let count = tied(missing, &ones).min(tied(extra, &others));
        take_last(missing, &ones, count);
        take_last(extra, &others, count);
        count
    }
}

fn take_last<K: Eq + Hash>(ids: &mut Vec<K>, of: &HashSet<K>, count: usize) {
    let mut left = count;
    let mut kept = Vec::with_capacity(ids.len());
    for id in ids.drain(..).rev() {
        if left > 0 && of.contains(&id) {
            left -= 1;
        } else {
            kept.push(id);
        }
    }
    kept.reverse();
    *ids = kept;
}

impl<K> ListsApart<K> {
    /// Whether nothing is left but what is tied.
    pub fn is_none(&self) -> bool {
        self.missing.is_empty() && self.extra.is_empty() && self.rescored.is_empty() && !self.moved
    }
}

#[derive(Clone, Copy)]
enum Direction {
    Falling,
    Rising,
}

impl Direction {
    const ALL: [Self; 2] = [Self::Falling, Self::Rising];

    fn is_onward(self, before: f64, next: f64) -> bool {
        match self {
            Self::Falling => next <= before,
            Self::Rising => next >= before,
        }
    }
}

#[cfg(test)]
mod tests;

//! A point that was found, and which of two comes first.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use ordered_float::OrderedFloat;
use qdrant_edge::{OrderValue, PointId, ScoredPoint};

/// A point on its way through a query: all but what it carries.
#[derive(Clone, Debug)]
pub(in crate::store::pgvector) struct Hit {
    pub(in crate::store::pgvector) pid: i64,
    pub(in crate::store::pgvector) id: PointId,
    pub(in crate::store::pgvector) version: u64,
    pub(in crate::store::pgvector) score: f32,
    pub(in crate::store::pgvector) order_value: Option<OrderValue>,
    /// As PostgreSQL prints it, where the statement that found the point has brought it.
    pub(in crate::store::pgvector) payload: Option<String>,
}

impl Hit {
    pub(in crate::store::pgvector) fn into_point(self) -> ScoredPoint {
        ScoredPoint {
            id: self.id,
            version: self.version,
            score: self.score,
            payload: None,
            vector: None,
            shard_key: None,
            order_value: self.order_value,
        }
    }
}

/// The larger score first. Of equal ones the smaller id: Qdrant leaves that open.
pub(super) fn by_score(one: &Hit, other: &Hit) -> Ordering {
    OrderedFloat(other.score)
        .cmp(&OrderedFloat(one.score))
        .then_with(|| one.id.cmp(&other.id))
}

/// As Qdrant orders results of any kind: what was ordered by a field goes by that.
pub(super) fn by_rank(one: &Hit, other: &Hit) -> Ordering {
    match (&one.order_value, &other.order_value) {
        (None, None) => by_score(one, other),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (Some(one_value), Some(other_value)) => other_value
            .cmp(one_value)
            .then_with(|| one.id.cmp(&other.id)),
    }
}

struct Ranked(Hit);

impl PartialEq for Ranked {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Ranked {}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> Ordering {
        by_score(&other.0, &self.0)
    }
}

/// The first `limit` of what is pushed, by score. Takes memory for so many, or for as many as
/// there are.
pub(super) struct Best {
    limit: usize,
    heap: BinaryHeap<Reverse<Ranked>>,
}

impl Best {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            heap: BinaryHeap::new(),
        }
    }

    pub(super) fn push(&mut self, hit: Hit) {
        let hit = Ranked(hit);
        if self.heap.len() < self.limit {
            self.heap.push(Reverse(hit));
        } else if let Some(mut last) = self.heap.peek_mut()
            && last.0 < hit
        {
            *last = Reverse(hit);
        }
    }

    /// The best first.
    pub(super) fn into_sorted(self) -> Vec<Hit> {
        let sorted = self.heap.into_sorted_vec().into_iter();
        sorted.map(|Reverse(Ranked(hit))| hit).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hit(id: u64, score: f32) -> Hit {
        Hit {
            pid: 0,
            id: PointId::NumId(id),
            version: 0,
            score,
            order_value: None,
            payload: None,
        }
    }

    #[test]
    fn the_best_are_kept_and_equals_go_by_id() {
        let mut best = Best::new(3);
        for (id, score) in [(9, 1.0), (1, 2.0), (7, 2.0), (3, 2.0), (2, 0.0), (4, 3.0)] {
            best.push(hit(id, score));
        }
        let ids: Vec<_> = best.into_sorted().iter().map(|hit| hit.id).collect();
        assert_eq!(ids, [4, 1, 3].map(PointId::NumId));
        let mut none = Best::new(0);
        none.push(hit(1, 1.0));
        assert!(none.into_sorted().is_empty());
    }
}

//! Maximal marginal relevance: each next result is near to the query and unlike those before it.
//!
//! It is done here for every engine. An engine that keeps a table of all pairs, as Qdrant's own
//! does, needs gigabytes for as many candidates as a client may ask for.

use std::borrow::Cow;
use std::collections::HashSet;

use qdrant_edge::{Distance, ScoredPoint, SparseVector, VectorInternal, VectorStructInternal};

/// By what vectors are compared.
pub(super) struct Likeness<'q> {
    pub(super) query: &'q VectorInternal,
    pub(super) using: &'q str,
    pub(super) distance: Distance,
    /// How much more relevance counts than novelty: from 0 to 1.
    pub(super) lambda: f32,
}

/// Chooses up to `limit` of `found`. A point keeps the score that it was found with; one that has
/// lost its vector is left out.
///
/// Takes as many steps as the points chosen times the points found: not for an async thread.
pub(super) fn rerank(found: Vec<ScoredPoint>, by: &Likeness<'_>, limit: usize) -> Vec<ScoredPoint> {
    let chosen = choose(&found, by, limit);
    let mut found: Vec<_> = found.into_iter().map(Some).collect();
    let chosen = chosen.into_iter();
    chosen
        .filter_map(|at| found.get_mut(at).and_then(Option::take))
        .collect()
}

struct Candidate<'p> {
    at: usize,
    stored: View<'p>,
    /// As it is when it is searched with.
    asked: View<'p>,
    relevance: f32,
    /// To that of the chosen which it is most like.
    likeness: f32,
}

/// The places of the chosen, in the order in which they were chosen.
fn choose(found: &[ScoredPoint], by: &Likeness<'_>, limit: usize) -> Vec<usize> {
    let query = View::of(by.query).asked(by.distance);
    let mut known = HashSet::new();
    let mut candidates = vec![];
    for (at, point) in found.iter().enumerate() {
        let stored = point
            .vector
            .as_ref()
            .and_then(|vectors| View::named(vectors, by.using));
        let Some(stored) = stored.filter(|_| known.insert(point.id)) else {
            continue;
        };
        candidates.push(Candidate {
            at,
            relevance: query.similarity(&stored, by.distance),
            asked: stored.clone().asked(by.distance),
            stored,
            likeness: f32::NEG_INFINITY,
        });
    }
    let mut chosen = vec![];
    while chosen.len() < limit {
        let worth = |one: &Candidate<'_>| {
            if chosen.is_empty() {
                one.relevance
            } else {
                by.lambda * one.relevance - (1.0 - by.lambda) * one.likeness
            }
        };
        let ranked = candidates.iter().enumerate();
        let best = ranked.max_by(|(_, one), (_, other)| worth(one).total_cmp(&worth(other)));
        let Some((at, _)) = best else { break };
        let best = candidates.swap_remove(at);
        chosen.push(best.at);
        for other in &mut candidates {
            let likeness = other.asked.similarity(&best.stored, by.distance);
            other.likeness = other.likeness.max(likeness);
        }
    }
    chosen
}

/// A vector of a point or a query, wherever it is kept.
#[derive(Clone)]
enum View<'v> {
    /// Rows of the given length, one after the other. A dense vector is one row.
    Rows(Cow<'v, [f32]>, usize),
    Sparse(&'v SparseVector),
}

impl<'v> View<'v> {
    fn of(vector: &'v VectorInternal) -> Self {
        match vector {
            VectorInternal::Dense(vector) => Self::row(vector),
            VectorInternal::Sparse(vector) => Self::Sparse(vector),
            VectorInternal::MultiDense(rows) => {
                Self::Rows(Cow::Borrowed(&rows.flattened_vectors), rows.dim)
            }
        }
    }

    fn row(vector: &'v [f32]) -> Self {
        Self::Rows(Cow::Borrowed(vector), vector.len())
    }

    fn named(vectors: &'v VectorStructInternal, name: &str) -> Option<Self> {
        match vectors {
            VectorStructInternal::Single(vector) => name.is_empty().then(|| Self::row(vector)),
            VectorStructInternal::MultiDense(rows) => name
                .is_empty()
                .then(|| Self::Rows(Cow::Borrowed(&rows.flattened_vectors), rows.dim)),
            VectorStructInternal::Named(vectors) => vectors.get(name).map(Self::of),
        }
    }

    /// As it is searched with. Where angles count, that is of length 1; most vectors are stored so.
    fn asked(self, distance: Distance) -> Self {
        match self {
            Self::Rows(rows, dimensions) if distance == Distance::Cosine => {
                let is_unit = |row: &[f32]| {
                    let square = dot(row, row);
                    square < f32::EPSILON || (square - 1.0).abs() <= 1.0e-6
                };
                let mut lengths = rows.chunks(dimensions.max(1));
                if lengths.all(is_unit) {
                    return Self::Rows(rows, dimensions);
                }
                let mut rows = rows.into_owned();
                for row in rows.chunks_mut(dimensions.max(1)) {
                    let length = dot(row, row).sqrt();
                    if length > 0.0 {
                        row.iter_mut().for_each(|value| *value /= length);
                    }
                }
                Self::Rows(Cow::Owned(rows), dimensions)
            }
            Self::Rows(..) | Self::Sparse(_) => self,
        }
    }

    /// Larger is more alike, whatever the distance. Of several rows, each is compared with that of
    /// the other vector which it is most like.
    fn similarity(&self, stored: &Self, distance: Distance) -> f32 {
        match (self, stored) {
            (Self::Rows(asked, one), Self::Rows(stored, other)) => {
                let rows = |row| {
                    let others = stored.chunks(*other.max(&1));
                    let alike = others.map(|other| row_similarity(row, other, distance));
                    alike.fold(f32::NEG_INFINITY, f32::max)
                };
                asked.chunks(*one.max(&1)).map(rows).sum()
            }
            (Self::Sparse(asked), Self::Sparse(stored)) => sparse_dot(asked, stored),
            // A search does not find one with the other.
            (Self::Rows(..), Self::Sparse(_)) | (Self::Sparse(_), Self::Rows(..)) => 0.0,
        }
    }
}

fn row_similarity(one: &[f32], other: &[f32], distance: Distance) -> f32 {
    let pairs = one.iter().zip(other);
    match distance {
        Distance::Cosine | Distance::Dot => dot(one, other),
        Distance::Euclid => -pairs.map(|(a, b)| (a - b) * (a - b)).sum::<f32>(),
        Distance::Manhattan => -pairs.map(|(a, b)| (a - b).abs()).sum::<f32>(),
    }
}

fn dot(one: &[f32], other: &[f32]) -> f32 {
    one.iter().zip(other).map(|(a, b)| a * b).sum()
}

/// Both have their indices in order.
fn sparse_dot(one: &SparseVector, other: &SparseVector) -> f32 {
    let mut theirs = other.indices.iter().zip(&other.values).peekable();
    let mut sum = 0.0;
    for (index, value) in one.indices.iter().zip(&one.values) {
        while theirs.next_if(|(theirs, _)| *theirs < index).is_some() {}
        if let Some((_, other)) = theirs.next_if(|(theirs, _)| *theirs == index) {
            sum += value * other;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use qdrant_edge::{PointId, TypedMultiDenseVector};

    use super::*;

    fn point(id: u64, vector: VectorInternal) -> ScoredPoint {
        ScoredPoint {
            id: PointId::NumId(id),
            version: 0,
            score: 1.0,
            payload: None,
            vector: Some(VectorStructInternal::Named(
                [("v".to_owned(), vector)].into(),
            )),
            shard_key: None,
            order_value: None,
        }
    }

    fn dense(vector: &[f32]) -> VectorInternal {
        VectorInternal::Dense(vector.to_vec())
    }

    fn rows(flat: &[f32]) -> VectorInternal {
        VectorInternal::MultiDense(TypedMultiDenseVector {
            flattened_vectors: flat.to_vec(),
            dim: 2,
        })
    }

    fn sparse(entries: &[(u32, f32)]) -> VectorInternal {
        let (indices, values) = entries.iter().copied().unzip();
        VectorInternal::Sparse(SparseVector { indices, values })
    }

    fn order(
        query: &VectorInternal,
        stored: Vec<VectorInternal>,
        distance: Distance,
        lambda: f32,
        limit: usize,
    ) -> Vec<PointId> {
        let found = (1..).zip(stored).map(|(id, vector)| point(id, vector));
        let by = Likeness {
            query,
            using: "v",
            distance,
            lambda,
        };
        let chosen = rerank(found.collect(), &by, limit);
        chosen.into_iter().map(|point| point.id).collect()
    }

    #[test]
    fn the_less_relevance_counts_the_sooner_come_points_unlike_the_first() {
        let kinds = [
            (
                sparse(&[(1, 1.0), (2, 1.0)]),
                vec![
                    sparse(&[(1, 1.0), (2, 1.0)]),
                    sparse(&[(1, 0.9), (2, 0.9)]),
                    sparse(&[(2, 1.0), (9, 1.0)]),
                ],
                Distance::Dot,
            ),
            (
                dense(&[2.0, 0.0]),
                vec![
                    dense(&[1.0, 0.0]),
                    dense(&[0.99, 0.14]),
                    dense(&[0.6, -0.8]),
                ],
                Distance::Cosine,
            ),
            (
                dense(&[0.0, 0.0]),
                vec![dense(&[1.0, 0.0]), dense(&[1.1, 0.0]), dense(&[-2.0, 0.0])],
                Distance::Euclid,
            ),
            (
                rows(&[1.0, 0.0, 0.0, 1.0]),
                vec![
                    rows(&[1.0, 0.0, 0.0, 1.0]),
                    rows(&[0.9, 0.0]),
                    rows(&[0.0, 0.8]),
                ],
                Distance::Manhattan,
            ),
        ];
        for (query, stored, distance) in kinds {
            let order = |lambda, limit| order(&query, stored.clone(), distance, lambda, limit);
            let id = PointId::NumId;
            assert_eq!(order(1.0, 3), [id(1), id(2), id(3)], "{distance:?}");
            assert_eq!(order(0.2, 2).first(), Some(&id(1)), "{distance:?}");
            assert_eq!(order(0.2, 0), []);
            if distance != Distance::Manhattan {
                assert_eq!(order(0.2, 3), [id(1), id(3), id(2)], "{distance:?}");
            }
        }
    }

    #[test]
    fn a_point_without_the_vector_is_left_out_and_none_comes_twice() {
        let mut bare = point(3, dense(&[1.0]));
        bare.vector = None;
        let found = vec![point(1, dense(&[1.0])), bare, point(1, dense(&[1.0]))];
        let by = Likeness {
            query: &dense(&[1.0]),
            using: "v",
            distance: Distance::Dot,
            lambda: 0.5,
        };
        assert_eq!(rerank(found, &by, 9).len(), 1);
    }

    #[test]
    fn only_common_indices_count() {
        let one = sparse(&[(1, 2.0), (5, 3.0), (7, 1.0)]);
        let other = sparse(&[(2, 9.0), (5, 2.0), (7, 0.5), (9, 1.0)]);
        let likeness = View::of(&one).similarity(&View::of(&other), Distance::Dot);
        assert_eq!(likeness, 6.5);
    }
}

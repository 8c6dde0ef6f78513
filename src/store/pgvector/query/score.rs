//! What a vector scores by a query: Qdrant's formulas, in its own precision.
//!
//! Scores are similarities, larger is better; only those of a search for the nearest are turned
//! into distances, by the caller.

use std::cmp::Ordering;

use qdrant_edge::{
    ContextPair, FeedbackItem, NaiveFeedbackStrategy, OperationError, QueryEnum, SparseVector,
    VectorInternal,
};

use super::similarity::similarity;
use crate::store::pgvector::vectors::{Space, Stored};

/// A query, checked and made ready for many vectors of one name.
pub(super) struct Scorer {
    space: Space,
    kind: Kind,
}

enum Kind {
    Nearest(Stored),
    BestScore {
        positives: Vec<Stored>,
        negatives: Vec<Stored>,
    },
    SumScores {
        positives: Vec<Stored>,
        negatives: Vec<Stored>,
    },
    Discover {
        target: Stored,
        pairs: Vec<ContextPair<Stored>>,
    },
    Context(Vec<ContextPair<Stored>>),
    Feedback {
        target: Stored,
        weight: f32,
        pairs: Vec<(ContextPair<Stored>, f32)>,
    },
}

impl Scorer {
    /// `weigh` changes the weights of a sparse vector that is searched with.
    pub(super) fn new(
        query: QueryEnum,
        space: Space,
        weigh: impl Fn(&mut SparseVector),
    ) -> Result<Self, OperationError> {
        let ready = |vector: VectorInternal| -> Result<Stored, OperationError> {
            check(&vector, &space)?;
            let mut stored = Stored::of(vector, &space);
            if let Stored::Sparse(vector) = &mut stored {
                weigh(vector);
            }
            Ok(stored)
        };
        let all = |vectors: Vec<VectorInternal>| -> Result<Vec<Stored>, OperationError> {
            vectors.into_iter().map(ready).collect()
        };
        let pairs = |pairs: Vec<ContextPair<VectorInternal>>| {
            let pairs = pairs.into_iter().map(|pair| {
                Ok(ContextPair {
                    positive: ready(pair.positive)?,
                    negative: ready(pair.negative)?,
                })
            });
            pairs.collect::<Result<Vec<_>, OperationError>>()
        };
        let kind = match query {
            QueryEnum::Nearest(named) => Kind::Nearest(ready(named.query)?),
            QueryEnum::RecommendBestScore(named) => Kind::BestScore {
                positives: all(named.query.positives)?,
                negatives: all(named.query.negatives)?,
            },
            QueryEnum::RecommendSumScores(named) => Kind::SumScores {
                positives: all(named.query.positives)?,
                negatives: all(named.query.negatives)?,
            },
            QueryEnum::Discover(named) => Kind::Discover {
                target: ready(named.query.target)?,
                pairs: pairs(named.query.pairs)?,
            },
            QueryEnum::Context(named) => Kind::Context(pairs(named.query.pairs)?),
            QueryEnum::FeedbackNaive(named) => {
                let items = named.query.feedback.into_iter().map(|item| {
                    Ok(FeedbackItem {
                        vector: ready(item.vector)?,
                        score: item.score,
                    })
                });
                let items = items.collect::<Result<Vec<_>, OperationError>>()?;
                Kind::Feedback {
                    target: ready(named.query.target)?,
                    weight: named.query.coefficients.a.into_inner(),
                    pairs: contrasts(&items, named.query.coefficients),
                }
            }
        };
        Ok(Self { space, kind })
    }

    /// The vector of a search for the nearest.
    pub(super) fn nearest(&self) -> Option<&Stored> {
        match &self.kind {
            Kind::Nearest(vector) => Some(vector),
            Kind::BestScore { .. }
            | Kind::SumScores { .. }
            | Kind::Discover { .. }
            | Kind::Context(_)
            | Kind::Feedback { .. } => None,
        }
    }

    /// `None` where the nearest sparse vectors are asked for and this has nothing in common.
    pub(super) fn score(&self, vector: &Stored) -> Option<f32> {
        let like = |asked: &Stored| self.likeness(asked, vector).unwrap_or(0.0);
        let score = match &self.kind {
            Kind::Nearest(asked) => return self.likeness(asked, vector),
            Kind::BestScore {
                positives,
                negatives,
            } => {
                let best = |of: &[Stored]| {
                    let likenesses = of.iter().map(like);
                    likenesses
                        .max_by(f32::total_cmp)
                        .unwrap_or(f32::NEG_INFINITY)
                };
                let (positive, negative) = (best(positives), best(negatives));
                if positive > negative {
                    scaled_sigmoid(positive)
                } else {
                    -scaled_sigmoid(negative)
                }
            }
            Kind::SumScores {
                positives,
                negatives,
            } => {
                let positive: f32 = positives.iter().map(like).sum();
                let negative: f32 = negatives.iter().map(like).sum();
                positive - negative
            }
            Kind::Discover { target, pairs } => {
                let ranks = pairs.iter().map(|pair| {
                    match like(&pair.positive).total_cmp(&like(&pair.negative)) {
                        Ordering::Less => -1.0,
                        Ordering::Equal => 0.0,
                        Ordering::Greater => 1.0_f32,
                    }
                });
                // From 0, not from the -0 that a sum of none is.
                ranks.fold(0.0, |sum, rank| sum + rank) + scaled_sigmoid(like(target))
            }
            Kind::Context(pairs) => pairs.iter().map(|pair| pair.loss_by(like)).sum(),
            Kind::Feedback {
                target,
                weight,
                pairs,
            } => {
                let mut score = weight * like(target);
                for (pair, weight) in pairs {
                    score += weight * (like(&pair.positive) - like(&pair.negative));
                }
                score
            }
        };
        Some(score)
    }

    /// What `score` gives, as clients are shown it.
    pub(super) fn shown(&self, score: f32) -> f32 {
        if self.nearest().is_some() {
            self.space.distance.postprocess_score(score)
        } else {
            score
        }
    }

    /// Whether a score as it is shown is above the threshold.
    pub(super) fn passes(&self, shown: f32, threshold: f32) -> bool {
        self.space.distance.check_threshold(shown, threshold)
    }

    fn likeness(&self, asked: &Stored, stored: &Stored) -> Option<f32> {
        match (asked, stored) {
            (Stored::Rows(asked), Stored::Rows(stored)) => {
                Some(max_similarity(&self.space, asked, stored))
            }
            (Stored::Sparse(asked), Stored::Sparse(stored)) => stored.score(asked),
            // Checked before.
            (Stored::Rows(_), Stored::Sparse(_)) | (Stored::Sparse(_), Stored::Rows(_)) => None,
        }
    }
}

/// Each row that is asked with counts by that stored row which it is most like.
pub(super) fn max_similarity(space: &Space, asked: &[f32], stored: &[f32]) -> f32 {
    let like = |one: &[f32], other: &[f32]| similarity(space.distance, space.element, one, other);
    if !space.is_multi {
        return like(asked, stored);
    }
    let dimensions = space.dimensions.max(1);
    let mut sum = 0.0;
    for row in asked.chunks(dimensions) {
        let mut most = f32::NEG_INFINITY;
        for stored in stored.chunks(dimensions) {
            let likeness = like(row, stored);
            if likeness > most {
                most = likeness;
            }
        }
        sum += most;
    }
    sum
}

fn check(vector: &VectorInternal, space: &Space) -> Result<(), OperationError> {
    let sized = |received: usize| {
        if received == space.dimensions {
            return Ok(());
        }
        Err(OperationError::WrongVectorDimension {
            expected_dim: space.dimensions,
            received_dim: received,
        })
    };
    match (vector, space.is_sparse) {
        (VectorInternal::Sparse(_), true) => Ok(()),
        (VectorInternal::Sparse(_), false) | (VectorInternal::Dense(_), true) => {
            Err(OperationError::WrongSparse)
        }
        (VectorInternal::MultiDense(_), true) => Err(OperationError::WrongMulti),
        (VectorInternal::Dense(row), false) => sized(row.len()),
        (VectorInternal::MultiDense(rows), false) => {
            sized(rows.dim)?;
            if !space.is_multi {
                return Err(OperationError::WrongMulti);
            }
            Ok(())
        }
    }
}

/// Every two pieces of feedback of which the first scored higher, and how much that counts.
fn contrasts(
    items: &[FeedbackItem<Stored>],
    coefficients: NaiveFeedbackStrategy,
) -> Vec<(ContextPair<Stored>, f32)> {
    let (exponent, weight) = (coefficients.b.into_inner(), coefficients.c.into_inner());
    let mut contrasts = vec![];
    for (at, positive) in items.iter().enumerate() {
        for (other_at, negative) in items.iter().enumerate() {
            let confidence = positive.score.into_inner() - negative.score.into_inner();
            if at == other_at || confidence <= 0.0 {
                continue;
            }
            let pair = ContextPair {
                positive: positive.vector.clone(),
                negative: negative.vector.clone(),
            };
            contrasts.push((pair, confidence.powf(exponent) * weight));
        }
    }
    contrasts
}

fn scaled_sigmoid(value: f32) -> f32 {
    0.5 * (value / (1.0 + value.abs()) + 1.0)
}

#[cfg(test)]
mod tests {
    use qdrant_edge::{Distance, NamedQuery, RecommendQuery};

    use super::*;
    use crate::store::pgvector::query::similarity::Element;

    #[test]
    fn recommendations_score_as_seen_of_qdrant() {
        let space = Space {
            distance: Distance::Dot,
            element: Element::Float,
            dimensions: 1,
            is_multi: false,
            is_sparse: false,
        };
        let check = |positives: &[f32], negatives: &[f32], expected: f32| {
            let vectors = |of: &[f32]| {
                let vectors = of.iter().map(|value| VectorInternal::Dense(vec![*value]));
                vectors.collect::<Vec<_>>()
            };
            let query = RecommendQuery::new(vectors(positives), vectors(negatives));
            let query = QueryEnum::RecommendBestScore(NamedQuery::new(query, ""));
            let scorer = Scorer::new(query, space, |_| {}).unwrap();
            assert_eq!(scorer.score(&Stored::Rows(vec![1.0])), Some(expected));
        };
        check(&[], &[0.0], -0.5);
        check(&[], &[0.6], -0.6875);
        check(&[], &[0.8], -0.722_222_2);
        check(&[2.0], &[], 0.833_333_4);
    }
}

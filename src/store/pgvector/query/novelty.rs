//! Maximal marginal relevance within a query: each next point is near to what is asked for and
//! unlike those chosen before it.
//!
//! Vectors are compared as Qdrant does it here: as 32-bit floats, whatever they are stored as.

use std::collections::HashSet;

use qdrant_edge::{Mmr, OperationError};

use super::hit::Hit;
use super::score::max_similarity;
use super::similarity::Element;
use crate::store::pgvector::vectors::{Space, Stored};

/// The vector of a search by novelty, compared in `space`.
pub(super) struct Novelty {
    space: Space,
    asked: Vec<f32>,
    lambda: f32,
}

struct Candidate {
    hit: Hit,
    stored: Vec<f32>,
    /// As it is when it is searched with.
    asked: Vec<f32>,
    relevance: f32,
    /// To that of the chosen which it is most like.
    likeness: f32,
}

impl Novelty {
    pub(super) fn new(mmr: Mmr, space: Space) -> Result<Self, OperationError> {
        let space = Space {
            element: Element::Float,
            ..space
        };
        match Stored::of(mmr.vector, &space) {
            Stored::Rows(asked) => Ok(Self {
                space,
                asked,
                lambda: mmr.lambda.into_inner(),
            }),
            Stored::Sparse(_) => Err(OperationError::WrongSparse),
        }
    }

    /// Chooses up to `limit` of `found`, which come with their vectors and are not there twice.
    ///
    /// Takes as many steps as the points chosen times the points found.
    pub(super) fn choose(&self, found: Vec<(Hit, Vec<f32>)>, limit: usize) -> Vec<Hit> {
        if found.len() < 2 {
            return found.into_iter().map(|(hit, _)| hit).collect();
        }
        let like = |one: &[f32], other: &[f32]| max_similarity(&self.space, one, other);
        let candidates = found.into_iter().map(|(hit, stored)| Candidate {
            hit,
            relevance: like(&self.asked, &stored),
            asked: self.space.prepared(&stored),
            stored,
            likeness: f32::NEG_INFINITY,
        });
        let mut candidates: Vec<_> = candidates.collect();
        let mut chosen = vec![];
        while chosen.len() < limit {
            let worth = |one: &Candidate| {
                if chosen.is_empty() {
                    one.relevance
                } else {
                    self.lambda * one.relevance - (1.0 - self.lambda) * one.likeness
                }
            };
            let ranked = candidates.iter().enumerate();
            let best = ranked.max_by(|(_, one), (_, other)| worth(one).total_cmp(&worth(other)));
            let Some((at, _)) = best else { break };
            let best = candidates.swap_remove(at);
            for other in &mut candidates {
                let likeness = like(&other.asked, &best.stored);
                other.likeness = other.likeness.max(likeness);
            }
            chosen.push(best.hit);
        }
        chosen
    }
}

/// Each point once, where it came first.
pub(super) fn once(hits: Vec<Hit>) -> Vec<Hit> {
    let mut known = HashSet::new();
    let mut hits = hits;
    hits.retain(|hit| known.insert(hit.id));
    hits
}

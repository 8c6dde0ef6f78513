//! Several rankings made one, as Qdrant does it.

use std::collections::HashMap;

use ordered_float::OrderedFloat;
use qdrant_edge::{Fusion, PointId};

use super::hit::{Hit, by_rank, by_score};

/// The best first. A point that is in several keeps what it had in the first of them.
///
/// There are as many weights as rankings: that is checked before.
pub(super) fn fuse(rankings: Vec<Vec<Hit>>, fusion: &Fusion) -> Vec<Hit> {
    match fusion {
        Fusion::Rrf { k, weights } => reciprocal(rankings, *k, weights.as_deref()),
        Fusion::Dbsf => distributed(rankings),
    }
}

/// By place alone.
fn reciprocal(
    rankings: Vec<Vec<Hit>>,
    k: usize,
    weights: Option<&[OrderedFloat<f32>]>,
) -> Vec<Hit> {
    let mut fused = Fused::default();
    for (at, ranking) in rankings.into_iter().enumerate() {
        let weight = weights.and_then(|weights| weights.get(at));
        let weight = weight.map_or(1.0, |weight| weight.into_inner());
        for (place, mut hit) in ranking.into_iter().enumerate() {
            hit.score = worth(place, k, weight);
            fused.add(hit);
        }
    }
    let mut hits = fused.hits;
    hits.sort_by(by_score);
    hits
}

fn worth(place: usize, k: usize, weight: f32) -> f32 {
    if weight <= 0.0 {
        return 0.0;
    }
    1.0 / (float(place.saturating_add(1)) / weight + float(k) - 1.0)
}

/// By scores, each ranking's spread out over the same range.
fn distributed(rankings: Vec<Vec<Hit>>) -> Vec<Hit> {
    let mut fused = Fused::default();
    for mut ranking in rankings {
        normalise(&mut ranking);
        ranking.into_iter().for_each(|hit| fused.add(hit));
    }
    let mut hits = fused.hits;
    hits.sort_by(by_rank);
    hits
}

/// Three standard deviations below the mean become 0, three above it 1.
fn normalise(ranking: &mut [Hit]) {
    if let [only] = ranking {
        only.score = 0.5;
        return;
    }
    let (mean, deviation) = distribution(ranking);
    let least = mean - 3.0 * deviation;
    let most = mean + 3.0 * deviation;
    for hit in ranking {
        hit.score = if least == most {
            0.5
        } else {
            (hit.score - least) / (most - least)
        };
    }
}

/// Mean and standard deviation in one pass (Welford).
fn distribution(ranking: &[Hit]) -> (f32, f32) {
    let (mut mean, mut aggregate) = (0.0, 0.0);
    for (hit, count) in ranking.iter().zip(1_usize..) {
        let before = hit.score - mean;
        mean += before / float(count);
        aggregate += before * (hit.score - mean);
    }
    let variance: f32 = aggregate / (float(ranking.len()) - 1.0);
    (mean, variance.sqrt())
}

#[derive(Default)]
struct Fused {
    hits: Vec<Hit>,
    places: HashMap<PointId, usize>,
}

impl Fused {
    fn add(&mut self, hit: Hit) {
        let at = *self.places.entry(hit.id).or_insert(self.hits.len());
        match self.hits.get_mut(at) {
            Some(known) => known.score += hit.score,
            None => self.hits.push(hit),
        }
    }
}

fn float(count: usize) -> f32 {
    count as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranking(scores: &[(u64, f32)]) -> Vec<Hit> {
        let hits = scores.iter().map(|(id, score)| Hit {
            pid: 0,
            id: PointId::NumId(*id),
            version: 0,
            score: *score,
            order_value: None,
            payload: None,
        });
        hits.collect()
    }

    fn check(rankings: Vec<Vec<Hit>>, fusion: &Fusion, expected: &[(u64, f32)]) {
        let fused = fuse(rankings, fusion);
        let found: Vec<_> = fused.iter().map(|hit| (hit.id, hit.score)).collect();
        let expected = expected
            .iter()
            .map(|(id, score)| (PointId::NumId(*id), *score));
        assert_eq!(found, expected.collect::<Vec<_>>());
    }

    #[test]
    fn fusions_score_as_seen_of_qdrant() {
        let roots = [(1, 1.0), (2, 2.0), (3, 5.0), (4, 14.0_f32)];
        let distances = ranking(&roots.map(|(id, square)| (id, square.sqrt())));
        let lists = || vec![distances.clone(), ranking(&[(4, 5.0)])];
        let rrf = Fusion::Rrf {
            k: 2,
            weights: None,
        };
        check(
            lists(),
            &rrf,
            &[(4, 0.7), (1, 0.5), (2, 0.333_333_34), (3, 0.25)],
        );
        let weighted = Fusion::Rrf {
            k: 1,
            weights: Some(vec![OrderedFloat(1.0), OrderedFloat(2.0)]),
        };
        check(
            lists(),
            &weighted,
            &[(4, 2.25), (1, 1.0), (2, 0.5), (3, 0.333_333_34)],
        );
        check(
            lists(),
            &Fusion::Dbsf,
            &[
                (4, 1.226_361_5),
                (3, 0.519_016_4),
                (2, 0.405_833_15),
                (1, 0.348_788_95),
            ],
        );
    }
}

//! The same points in an embedded shard and in PostgreSQL, and the same questions to both.
//!
//! A case that fails prints its seed; `OUTRIGGER_TEST_SEED` replays it, `OUTRIGGER_TEST_CASES` sets
//! how many are run.

mod ask;
mod world;

use qdrant_edge::{
    Filter, Prefetch, QueryRequest, ScoredPoint, ScoringQuery, WithPayloadInterface, WithVector,
};

use self::ask::Asker;
use self::world::{Dice, World};
use crate::store::engine::Engine;
use crate::store::pgvector::scratch::setting;

/// How many scores were the same to the last bit, and how many were close.
#[derive(Debug, Default)]
struct Tally {
    same: usize,
    close: usize,
    errors: usize,
    empty: usize,
    tied: usize,
}

/// Whether some of those that novelty chooses from, or the first that it does not see, score the
/// same.
fn has_tied_candidates(world: &World, request: &QueryRequest) -> bool {
    let Some(ScoringQuery::Mmr(mmr)) = &request.query else {
        return false;
    };
    let nearest = Prefetch {
        prefetches: request.prefetches.clone(),
        query: Some(super::nearest(mmr)),
        limit: mmr.candidates_limit,
        params: request.params,
        filter: request.filter.clone(),
        score_threshold: request.score_threshold,
    };
    has_ties(world, &nearest, None)
}

/// Whether points score the same anywhere below, by the embedded shard's account.
fn has_ties(world: &World, part: &Prefetch, above: Option<&Filter>) -> bool {
    let filter = Filter::merge_opts(above.cloned(), part.filter.clone());
    let mut below = part.prefetches.iter();
    if below.any(|part| has_ties(world, part, filter.as_ref())) {
        return true;
    }
    let alone = QueryRequest {
        prefetches: part.prefetches.clone(),
        query: part.query.clone(),
        filter,
        score_threshold: part.score_threshold,
        limit: part.limit + 1,
        offset: 0,
        params: part.params,
        with_vector: WithVector::Bool(false),
        with_payload: WithPayloadInterface::Bool(false),
    };
    // Points in the order of their ids all score 1, and tie in nothing.
    let is_ranked = part.query.is_some();
    let found = world.embedded(alone).unwrap_or_default();
    is_ranked
        && found.windows(2).any(|pair| {
            pair[0].score == pair[1].score && pair[0].order_value == pair[1].order_value
        })
}

#[tokio::test]
async fn every_kind_of_query_is_answered_as_by_an_embedded_shard() {
    let first: u64 = setting("OUTRIGGER_TEST_SEED").map_or(1, |seed| seed.parse().unwrap());
    let cases = setting("OUTRIGGER_TEST_CASES").map_or(300, |cases| cases.parse().unwrap());
    let mut tallies = std::collections::BTreeMap::<String, Tally>::new();
    let mut failures = 0;
    let mut world = None;
    for seed in first..first + cases {
        // Points are made anew now and then.
        let era = seed / 500;
        if world.as_ref().is_none_or(|(made, _)| *made != era) {
            drop(world.take());
            world = Some((era, World::make(era).await));
        }
        let world = &world.as_ref().unwrap().1;
        let (kind, request) = Asker::new(Dice::new(seed), world).request();
        let tally = tallies.entry(kind.clone()).or_default();
        let expected = world.embedded(request.clone());
        let found = world.pgvector(request.clone()).await;
        if let Err(difference) = compare(&kind, &expected, &found, tally) {
            let filter = request.filter.as_ref();
            if request
                .prefetches
                .iter()
                .any(|part| has_ties(world, part, filter))
                || has_tied_candidates(world, &request)
            {
                // Which of equal points go up is left open.
                tally.tied += 1;
                continue;
            }
            failures += 1;
            println!("seed {seed} {kind}: {difference}\n{request:?}\n");
        }
    }
    for (kind, tally) in &tallies {
        println!("{kind}: {tally:?}");
    }
    assert_eq!(failures, 0, "seeds above");
}

type Answer = Result<Vec<ScoredPoint>, String>;

fn compare(kind: &str, expected: &Answer, found: &Answer, tally: &mut Tally) -> Result<(), String> {
    let (expected, found) = match (expected, found) {
        (Ok(expected), Ok(found)) => (expected, found),
        (Err(expected), Err(found)) if expected == found => {
            tally.errors += 1;
            return Ok(());
        }
        // Of several points that a formula fails for, any may be named.
        (Err(expected), Err(found)) if kind == "formula" && is_of_formula(expected) => {
            tally.errors += 1;
            return if is_of_formula(found) {
                Ok(())
            } else {
                Err(format!("expected {expected}\nfound {found}"))
            };
        }
        (expected, found) => return Err(format!("expected {expected:?}\nfound {found:?}")),
    };
    let shown = |points: &[ScoredPoint]| {
        let each = points
            .iter()
            .map(|point| format!("{} {} {:?}", point.id, point.score, point.order_value));
        each.collect::<Vec<_>>().join("\n  ")
    };
    let differ = |why: &str| {
        let (expected, found) = (shown(expected), shown(found));
        Err(format!("{why}\nexpected\n  {expected}\nfound\n  {found}"))
    };
    if expected.len() != found.len() {
        return differ("not as many");
    }
    if expected.is_empty() {
        tally.empty += 1;
    }
    if kind == "sample" {
        return Ok(());
    }
    for (one, other) in expected.iter().zip(found) {
        if one.score.to_bits() == other.score.to_bits() {
            tally.same += 1;
        } else if near(one.score, other.score) {
            tally.close += 1;
        } else {
            return differ("another score");
        }
        if kind == "order_by" && one.order_value != other.order_value {
            return differ("another order");
        }
    }
    for one in expected {
        let is_same =
            |other: &&ScoredPoint| other.id == one.id && other.order_value == one.order_value;
        match found.iter().find(is_same) {
            Some(other) => {
                if one.version != other.version {
                    return differ(&format!("version of {}: {}", one.id, one.version));
                }
                if one.payload != other.payload || one.vector != other.vector {
                    return Err(format!(
                        "carries {:?} {:?}\nnot {:?} {:?}",
                        other.payload, other.vector, one.payload, one.vector
                    ));
                }
            }
            None => {
                // One that ties with the last, or with the last that was skipped.
                let ends = [expected.first(), expected.last()];
                let has_tie = ends
                    .into_iter()
                    .flatten()
                    .any(|end| near(end.score, one.score) && end.order_value == one.order_value);
                if !has_tie {
                    return differ(&format!("{} is missing", one.id));
                }
            }
        }
    }
    Ok(())
}

fn is_of_formula(error: &str) -> bool {
    error.contains("produced a non-finite number")
        || error.contains("in the payload and/or in the formula defaults")
}

fn near(one: f32, other: f32) -> bool {
    one == other
        || (one.is_nan() && other.is_nan())
        || (one - other).abs() <= 1e-5 * one.abs().max(other.abs()).max(1e-2)
}

#[tokio::test]
async fn pages_counts_and_facets_are_those_of_an_embedded_shard() {
    let world = World::make(77).await;
    for seed in 0..150 {
        let mut asker = Asker::new(Dice::new(seed), &world);
        let (scroll, facet, count) = (asker.scroll(), asker.facet(), asker.count());
        let expected = world.shard().scroll(scroll.clone());
        let found = world.store.scroll(world::NAME, scroll.clone()).await;
        match (expected, found) {
            (Ok((expected, next)), Ok((found, found_next))) => {
                assert_eq!(next, found_next, "seed {seed} {scroll:?}");
                assert_eq!(expected.len(), found.len(), "seed {seed} {scroll:?}");
                for (one, other) in expected.iter().zip(&found) {
                    assert_eq!(one.order_value, other.order_value, "seed {seed} {scroll:?}");
                    if one.order_value.is_none() {
                        assert_eq!(one, other, "seed {seed} {scroll:?}");
                    }
                }
            }
            (expected, found) => assert_eq!(
                expected.map(drop).map_err(|error| error.to_string()),
                found.map(drop).map_err(World::words),
            ),
        }
        let expected = world.shard().facet(facet.clone());
        let found = world.store.facet(world::NAME, facet.clone()).await;
        match (expected, found) {
            (Ok(expected), Ok(found)) => {
                assert_eq!(expected.hits, found.hits, "seed {seed} {facet:?}");
            }
            (expected, found) => assert_eq!(
                expected.map(drop).map_err(|error| error.to_string()),
                found.map(drop).map_err(World::words),
            ),
        }
        let expected = world.shard().count(count.clone()).unwrap();
        let found = world.store.count(world::NAME, count).await;
        assert_eq!(expected, found.unwrap(), "seed {seed}");
    }
}

#[tokio::test]
async fn an_index_finds_nearly_all_and_a_filter_never_leaves_too_few() {
    let many = world::Many::make(4_000).await;
    for seed in 0..30 {
        let mut dice = Dice::new(seed);
        let asked = world::dense(&mut dice, world::MANY_DIMENSIONS, "float32");
        let exact = many.search(&asked, None, 20, true).await;
        let by_index = many.search(&asked, None, 20, false).await;
        assert_eq!(exact.len(), 20);
        assert_eq!(by_index.len(), 20);
        let same = exact.iter().filter(|id| by_index.contains(id)).count();
        assert!(same >= 17, "seed {seed}: {same} of 20");
        // Hardly any points are let through, and far from what is asked for as often as not.
        let few: Vec<u64> = (0..40).map(|_| dice.below(4_000) as u64).collect();
        let found = many.search(&asked, Some(&few), 30, false).await;
        assert_eq!(found, many.search(&asked, Some(&few), 30, true).await);
        let unique: std::collections::HashSet<_> = few.iter().collect();
        assert_eq!(found.len(), unique.len().min(30));
    }
}

//! Distances between the points of a random sample: each with those nearest to it.

use std::collections::HashMap;

use qdrant_edge::{
    Condition, Filter, HasIdCondition, HasVectorCondition, NamedQuery, PointId, QueryEnum,
    QueryRequest as EngineRequest, Sample, ScoredPoint, ScoringQuery, WithPayloadInterface,
    WithVector,
};

use super::context::{Asked, Reply, Served};
use super::query::check_shard_keys;
use super::rank::{rank, rank_all, within};
use super::resolve::named_vector;
use super::strict::{self, Demand};
use crate::error::{Error, Result};
use crate::model::Operation;
use crate::store::engine::Collection;
use crate::wire::rest::matrix::{
    SearchMatrixOffsets, SearchMatrixPair, SearchMatrixPairs, SearchMatrixRequest,
};
use crate::wire::rest::{UNNAMED, refuse};

const SAMPLE: usize = 10;
const LIMIT: usize = 3;
/// An answer has no more pairs than this.
const PAIRS_MAX: usize = 1 << 22;

pub(super) async fn answer(served: &Served, asked: &Asked<'_>) -> Result<Option<Reply>> {
    if asked.operation == Operation::SearchMatrixPairs {
        let matrix = matrix(served, asked).await?;
        return Reply::result(&matrix.pairs()).map(Some);
    }
    if asked.operation == Operation::SearchMatrixOffsets {
        let matrix = matrix(served, asked).await?;
        return Reply::result(&matrix.offsets()).map(Some);
    }
    Ok(None)
}

/// The sampled points, by id, and what is nearest to each.
#[derive(Default)]
struct Matrix {
    rows: Vec<(PointId, Vec<ScoredPoint>)>,
}

impl Matrix {
    fn pairs(self) -> SearchMatrixPairs {
        let pairs = self.rows.into_iter().flat_map(|(a, near)| {
            near.into_iter().map(move |point| SearchMatrixPair {
                a,
                b: point.id,
                score: point.score,
            })
        });
        SearchMatrixPairs {
            pairs: pairs.collect(),
        }
    }

    fn offsets(self) -> SearchMatrixOffsets {
        let mut offsets = SearchMatrixOffsets {
            ids: self.rows.iter().map(|(id, _)| *id).collect(),
            ..SearchMatrixOffsets::default()
        };
        let places = offsets.ids.iter().enumerate();
        let places: HashMap<PointId, usize> = places.map(|(at, id)| (*id, at)).collect();
        for (row, (_, near)) in self.rows.into_iter().enumerate() {
            for point in near {
                let Some(column) = places.get(&point.id) else {
                    continue;
                };
                offsets.offsets_row.push(row);
                offsets.offsets_col.push(*column);
                offsets.scores.push(point.score);
            }
        }
        offsets
    }
}

async fn matrix(served: &Served, asked: &Asked<'_>) -> Result<Matrix> {
    let params = asked.params()?;
    let request: SearchMatrixRequest = asked.large_json().await?;
    let shard_key = request.shard_key;
    let request = request.search_request;
    let using = request.using.unwrap_or_default();
    let sample = request.sample.unwrap_or(SAMPLE);
    let limit = request.limit.unwrap_or(LIMIT);
    let work = async {
        let collection = served.collection(&asked.name()).await?;
        strict::check_query(
            &collection,
            &Demand {
                limit: Some(sample.saturating_mul(limit)),
                filter: request.filter.as_ref(),
                params: None,
                exact: None,
            },
        )?;
        strict::check_timeout(&collection, params.timeout)?;
        if collection.config.vector(&using).is_none() {
            return Err(no_such_vector(&collection, &using));
        }
        check_shard_keys(shard_key.as_slice())?;
        let sampled = sampled(served, &collection, request.filter, sample, &using).await?;
        if sampled.len() < 2 {
            return Ok(Matrix::default());
        }
        let pairs = limit.min(sampled.len()).saturating_mul(sampled.len());
        if pairs > PAIRS_MAX {
            return Err(refuse::bad_request(&format!(
                "{} points with {limit} neighbours each are too many: choose sample and limit so \
                 that there are at most {PAIRS_MAX} pairs",
                sampled.len()
            )));
        }
        nearest(served, &collection, sampled, limit, &using).await
    };
    within(params.timeout, "Search", work).await
}

/// Points that have the vector, at random, by id.
async fn sampled(
    served: &Served,
    collection: &Collection,
    filter: Option<Filter>,
    sample: usize,
    using: &str,
) -> Result<Vec<ScoredPoint>> {
    let has_vector = HasVectorCondition::from(using.to_owned());
    let has_vector = Filter::new_must(Condition::HasVector(has_vector));
    let search = EngineRequest {
        prefetches: vec![],
        query: Some(ScoringQuery::Sample(Sample::Random)),
        filter: Some(filter.unwrap_or_default().merge_owned(has_vector)),
        score_threshold: None,
        limit: sample,
        offset: 0,
        params: None,
        with_vector: WithVector::Selector(vec![using.to_owned()]),
        with_payload: WithPayloadInterface::Bool(false),
    };
    let mut points = rank(served, collection, search).await?;
    points.truncate(sample);
    points.sort_unstable_by_key(|point| point.id);
    Ok(points)
}

/// For each of the sample, those of the sample that are nearest to it.
async fn nearest(
    served: &Served,
    collection: &Collection,
    sampled: Vec<ScoredPoint>,
    limit: usize,
    using: &str,
) -> Result<Matrix> {
    let ids: HasIdCondition = sampled.iter().map(|point| point.id).collect();
    let among = Filter::new_must(Condition::HasId(ids));
    let mut ids = Vec::with_capacity(sampled.len());
    let mut searches = Vec::with_capacity(sampled.len());
    for point in sampled {
        let vectors = point.vector.as_ref();
        // A point may have lost its vector since it was sampled.
        let Some(vector) = vectors.and_then(|vectors| named_vector(vectors, using)) else {
            continue;
        };
        ids.push(point.id);
        searches.push(EngineRequest {
            prefetches: vec![],
            query: Some(ScoringQuery::Vector(QueryEnum::Nearest(NamedQuery::new(
                vector, using,
            )))),
            filter: Some(among.clone()),
            score_threshold: None,
            // One more, for every point is nearest to itself.
            limit: limit.saturating_add(1),
            offset: 0,
            params: None,
            with_vector: WithVector::Bool(false),
            with_payload: WithPayloadInterface::Bool(false),
        });
    }
    let found = rank_all(served, collection, searches).await?;
    let rows = ids.into_iter().zip(found).map(|(id, mut near)| {
        near.retain(|point| point.id != id);
        near.truncate(limit);
        (id, near)
    });
    Ok(Matrix {
        rows: rows.collect(),
    })
}

/// To a name of a vector that the collection does not have.
pub(super) fn no_such_vector(collection: &Collection, name: &str) -> Error {
    let names: Vec<_> = collection.config.vector_names().collect();
    refuse::wrong_input(&match names.as_slice() {
        [] => "Vectors are not configured in this collection".to_owned(),
        [UNNAMED] => format!("Vector with name {name} is not configured in this collection"),
        names => {
            let names = names.join(", ");
            if name == UNNAMED {
                format!(
                    "Collection requires specified vector name in the request, \
                     available names: {names}"
                )
            } else {
                format!(
                    "Vector with name `{name}` is not configured in this collection, \
                     available names: {names}"
                )
            }
        }
    })
}

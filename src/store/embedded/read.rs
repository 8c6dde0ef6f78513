//! Reads, with what the engine leaves to its caller: limits cut to what there is (it reserves
//! memory for the limit it is given), the offset cut off, and vectors that only MMR wanted.

use qdrant_edge::{
    CountRequest, EdgeShard, FacetRequest, FacetResponse, PointId, Prefetch, QueryRequest, Record,
    ScoredPoint, ScoringQuery, ScrollRequest, VectorStructInternal, WithPayloadInterface,
    WithVector,
};

use crate::error::Result;
use crate::store::refused;

/// How many points there are, copies included.
pub(super) fn points(shard: &EdgeShard) -> Result<usize> {
    refused::read(|| Ok(shard.info().points_count))
}

pub(super) fn retrieve(
    shard: &EdgeShard,
    ids: &[PointId],
    payload: WithPayloadInterface,
    vector: WithVector,
) -> Result<Vec<Record>> {
    refused::read(|| shard.retrieve(ids, Some(payload), Some(vector)))
}

pub(super) fn scroll(
    shard: &EdgeShard,
    mut request: ScrollRequest,
) -> Result<(Vec<Record>, Option<PointId>)> {
    // Ordered, a point comes once for each of its values, and nothing is reserved ahead.
    if request.order_by.is_none() {
        // One more than there is: the engine looks one record ahead.
        let most = points(shard)?.saturating_add(1);
        request.limit = request.limit.map(|limit| limit.min(most));
    }
    refused::read(|| shard.scroll(request))
}

pub(super) fn count(shard: &EdgeShard, request: CountRequest) -> Result<usize> {
    refused::read(|| shard.count(request))
}

pub(super) fn facet(shard: &EdgeShard, request: FacetRequest) -> Result<FacetResponse> {
    refused::read(|| shard.facet(request))
}

pub(super) fn query(shard: &EdgeShard, mut request: QueryRequest) -> Result<Vec<ScoredPoint>> {
    // At least one, so that a query of an empty collection is still judged.
    let most = points(shard)?.max(1);
    let (limit, offset) = (request.limit.min(most), request.offset.min(most));
    if request.limit == 0 {
        return Ok(Vec::new());
    }
    (request.limit, request.offset) = (limit, offset);
    request.query = request.query.map(|query| bounded(query, most));
    request
        .prefetches
        .iter_mut()
        .for_each(|prefetch| bound(prefetch, most));
    let unwanted = match &request.query {
        Some(ScoringQuery::Mmr(_)) => Some(request.with_vector.clone()),
        _ => None,
    };
    let mut points = refused::read(|| shard.query(request))?;
    points.drain(..offset.min(points.len()));
    points.truncate(limit);
    if let Some(wanted) = unwanted {
        points
            .iter_mut()
            .for_each(|point| strip(&mut point.vector, &wanted));
    }
    Ok(points)
}

fn bound(prefetch: &mut Prefetch, most: usize) {
    prefetch.limit = prefetch.limit.min(most);
    prefetch.query = prefetch.query.take().map(|query| bounded(query, most));
    prefetch
        .prefetches
        .iter_mut()
        .for_each(|inner| bound(inner, most));
}

fn bounded(query: ScoringQuery, most: usize) -> ScoringQuery {
    match query {
        ScoringQuery::Mmr(mut mmr) => {
            mmr.candidates_limit = mmr.candidates_limit.min(most);
            ScoringQuery::Mmr(mmr)
        }
        other @ (ScoringQuery::Vector(_)
        | ScoringQuery::Fusion(_)
        | ScoringQuery::OrderBy(_)
        | ScoringQuery::Formula(_)
        | ScoringQuery::Sample(_)) => other,
    }
}

/// Leaves the vectors that were asked for.
fn strip(vector: &mut Option<VectorStructInternal>, wanted: &WithVector) {
    match wanted {
        WithVector::Bool(true) => {}
        WithVector::Bool(false) => *vector = None,
        WithVector::Selector(names) => match vector {
            Some(VectorStructInternal::Named(named)) => {
                named.retain(|name, _| names.contains(name));
            }
            Some(VectorStructInternal::Single(_) | VectorStructInternal::MultiDense(_))
                if !names.iter().any(String::is_empty) =>
            {
                *vector = None;
            }
            _ => {}
        },
    }
}

//! One planned query, carried out: charged, run, and rid of what was fetched for its own sake.

use std::future::Future;
use std::time::Duration;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use qdrant_edge::{
    Distance, Filter, Mmr, NamedQuery, Prefetch, QueryEnum, QueryRequest, ScoredPoint,
    ScoringQuery, SearchParams, VectorInternal, VectorStructInternal, WithVector,
};

use super::context::Served;
use super::novelty::{self, Likeness};
use super::strict;
use crate::error::Result;
use crate::store::engine::Collection;
use crate::task;
use crate::wire::rest::{VectorKind, refuse};

/// So many members of a batch are searched for at the same time.
const BATCH_PARALLEL: usize = 4;

/// Carries out `request` on `collection`.
pub(super) async fn rank(
    served: &Served,
    collection: &Collection,
    mut request: QueryRequest,
) -> Result<Vec<ScoredPoint>> {
    if let Some(ef_search) = served.ef_search {
        try_so_hard(&mut request.params, &mut request.prefetches, ef_search);
    }
    strict::spend_reads(served, collection, cost(&request))?;
    if let Some(ScoringQuery::Mmr(mmr)) = &request.query {
        let mmr = mmr.clone();
        return by_novelty(served, collection, request, mmr).await;
    }
    served.engine.query(&collection.name, request).await
}

/// Where nothing is said of it, at whatever depth. Prefetches are no deeper than a body may be.
fn try_so_hard(params: &mut Option<SearchParams>, below: &mut [Prefetch], ef_search: usize) {
    params
        .get_or_insert_default()
        .hnsw_ef
        .get_or_insert(ef_search);
    for prefetch in below {
        try_so_hard(&mut prefetch.params, &mut prefetch.prefetches, ef_search);
    }
}

/// The nearest, reranked by novelty.
async fn by_novelty(
    served: &Served,
    collection: &Collection,
    mut request: QueryRequest,
    mmr: Mmr,
) -> Result<Vec<ScoredPoint>> {
    let (limit, offset) = (request.limit, request.offset);
    let asked = request.with_vector.clone();
    let nearest = NamedQuery::new(mmr.vector.clone(), mmr.using.as_str());
    request.query = Some(ScoringQuery::Vector(QueryEnum::Nearest(nearest)));
    // Asked for none, an engine need not look whether it could find any.
    request.limit = mmr.candidates_limit.max(1);
    request.offset = 0;
    request.with_vector = with(&asked, &mmr.using);
    let mut found = served.engine.query(&collection.name, request).await?;
    found.truncate(mmr.candidates_limit);
    let distance = match collection.config.vector(&mmr.using) {
        Some(VectorKind::Dense(params)) => params.distance,
        Some(VectorKind::Sparse(_)) | None => Distance::Dot,
    };
    let rerank = move || {
        let by = Likeness {
            query: &mmr.vector,
            using: &mmr.using,
            distance,
            lambda: mmr.lambda.into_inner(),
        };
        novelty::rerank(found, &by, limit)
    };
    let reranked = task::spawn_blocking("rerank", rerank).await;
    let reranked = reranked
        .map_err(|error| refuse::service_error("reranking stopped half-way").with_source(error))?;
    // Qdrant chooses no more than `limit` and leaves out the first of those.
    let mut points: Vec<_> = reranked.into_iter().skip(offset).collect();
    for point in &mut points {
        keep_asked(&mut point.vector, &asked);
    }
    Ok(points)
}

/// What is asked for, and `name` too.
fn with(asked: &WithVector, name: &str) -> WithVector {
    match asked {
        WithVector::Bool(true) => WithVector::Bool(true),
        WithVector::Bool(false) => WithVector::Selector(vec![name.to_owned()]),
        WithVector::Selector(names) => {
            let mut names = names.clone();
            names.push(name.to_owned());
            WithVector::Selector(names)
        }
    }
}

/// Carries out all of `requests`, a few at a time. The first fault ends it.
pub(super) async fn rank_all(
    served: &Served,
    collection: &Collection,
    requests: Vec<QueryRequest>,
) -> Result<Vec<Vec<ScoredPoint>>> {
    let searches = requests
        .into_iter()
        .map(|request| rank(served, collection, request));
    stream::iter(searches)
        .buffered(BATCH_PARALLEL)
        .try_collect()
        .await
}

/// Ends the work with Qdrant's 408 when the time that the client gives is over.
pub(super) async fn within<T>(
    timeout: Option<Duration>,
    operation: &str,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let Some(timeout) = timeout else {
        return work.await;
    };
    match tokio::time::timeout(timeout, work).await {
        Ok(done) => done,
        Err(_elapsed) => Err(refuse::timed_out(&format!(
            "Operation '{operation}' timed out after {timeout:?}"
        ))),
    }
}

fn keep_asked(vectors: &mut Option<VectorStructInternal>, asked: &WithVector) {
    match (asked, vectors.as_mut()) {
        (WithVector::Bool(true), _) | (_, None) => {}
        (WithVector::Bool(false), Some(_)) => *vectors = None,
        (WithVector::Selector(names), Some(VectorStructInternal::Named(named))) => {
            named.retain(|name, _| names.contains(name));
        }
        (
            WithVector::Selector(names),
            Some(VectorStructInternal::Single(_) | VectorStructInternal::MultiDense(_)),
        ) => {
            if !names.iter().any(String::is_empty) {
                *vectors = Some(VectorStructInternal::Named(std::collections::HashMap::new()));
            }
        }
    }
}

/// What a query costs where reads are limited: the vectors that points are compared with, and the
/// conditions that they are checked against, in every search that it takes.
fn cost(request: &QueryRequest) -> usize {
    let conditions = strict::conditions(request.filter.as_ref());
    if request.prefetches.is_empty() {
        return vectors(request.query.as_ref()).saturating_add(conditions);
    }
    prefetch_cost(&request.prefetches, conditions)
}

fn prefetch_cost(prefetches: &[Prefetch], above: usize) -> usize {
    prefetches.iter().fold(0, |sum, part| {
        let filter: Option<&Filter> = part.filter.as_ref();
        let conditions = above.saturating_add(strict::conditions(filter));
        let own = if part.prefetches.is_empty() {
            vectors(part.query.as_ref()).saturating_add(conditions)
        } else {
            prefetch_cost(&part.prefetches, conditions)
        };
        sum.saturating_add(own)
    })
}

fn vectors(query: Option<&ScoringQuery>) -> usize {
    let query = match query {
        Some(ScoringQuery::Vector(query)) => query,
        Some(ScoringQuery::Mmr(mmr)) => return rows(&mmr.vector),
        Some(
            ScoringQuery::Fusion(_)
            | ScoringQuery::OrderBy(_)
            | ScoringQuery::Formula(_)
            | ScoringQuery::Sample(_),
        )
        | None => return 1,
    };
    match query {
        QueryEnum::Nearest(nearest) => rows(&nearest.query),
        QueryEnum::RecommendBestScore(examples) | QueryEnum::RecommendSumScores(examples) => {
            let examples = &examples.query;
            sum(examples.positives.iter().chain(&examples.negatives))
        }
        QueryEnum::Discover(discover) => {
            let pairs = discover.query.pairs.iter();
            let pairs = pairs.flat_map(|pair| [&pair.positive, &pair.negative]);
            sum(pairs.chain([&discover.query.target]))
        }
        QueryEnum::Context(context) => {
            let pairs = context.query.pairs.iter();
            sum(pairs.flat_map(|pair| [&pair.positive, &pair.negative]))
        }
        QueryEnum::FeedbackNaive(feedback) => {
            let items = feedback.query.feedback.iter().map(|item| &item.vector);
            sum(items.chain([&feedback.query.target]))
        }
    }
}

fn sum<'v>(vectors: impl Iterator<Item = &'v VectorInternal>) -> usize {
    vectors.map(rows).fold(0, usize::saturating_add)
}

fn rows(vector: &VectorInternal) -> usize {
    match vector {
        VectorInternal::Dense(_) => 1,
        VectorInternal::Sparse(vector) => vector.indices.len(),
        VectorInternal::MultiDense(rows) => rows
            .flattened_vectors
            .len()
            .checked_div(rows.dim)
            .unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn searches_that_say_how_hard_they_try_are_left_alone() {
        let part = |params| Prefetch {
            prefetches: vec![],
            query: None,
            limit: 5,
            params,
            filter: None,
            score_threshold: None,
        };
        let said = SearchParams {
            hnsw_ef: Some(64),
            ..SearchParams::default()
        };
        let mut outer = part(None);
        outer.prefetches = vec![part(Some(said))];
        let (mut params, mut below) = (None, [outer]);
        try_so_hard(&mut params, &mut below, 4);
        let [outer] = &below;
        let ef = |params: &Option<SearchParams>| params.as_ref().and_then(|of| of.hnsw_ef);
        let inner = outer.prefetches.first().unwrap();
        assert_eq!(ef(&params), Some(4));
        assert_eq!(ef(&outer.params), Some(4));
        assert_eq!(ef(&inner.params), Some(64));
    }
}

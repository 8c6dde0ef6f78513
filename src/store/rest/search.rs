//! The older searches: by vector, by examples (recommend) and by context (discover), one at a
//! time or many. They are the newer query in other words, with lists for answers.

use std::time::Duration;

use ordered_float::OrderedFloat;
use qdrant_edge::{
    NamedQuery, QueryEnum, QueryRequest as EngineRequest, ScoredPoint, ScoringQuery,
    VectorInternal, WithPayloadInterface, WithVector,
};

use super::context::{Asked, Reply, Served};
use super::examples::{Discover, Examples, Recommend};
use super::rank::{rank_all, within};
use super::resolve::Resolved;
use super::strict::{self, Demand};
use crate::error::Result;
use crate::model::Operation;
use crate::store::engine::Collection;
use crate::wire::rest::examples::{
    DiscoverRequest, DiscoverRequestBatch, RecommendRequest, RecommendRequestBatch,
};
use crate::wire::rest::search::{
    NamedVectorStruct, SearchRequest, SearchRequestBatch, SearchRequestInternal,
};
use crate::wire::rest::{ShardKeySelector, output};

pub(super) async fn answer(served: &Served, asked: &Asked<'_>) -> Result<Option<Reply>> {
    let operation = asked.operation;
    let timeout = || asked.params().map(|params| params.timeout);
    if operation == Operation::SearchPoints {
        let timeout = timeout()?;
        let request: SearchRequest = asked.large_json().await?;
        let found = search(served, asked, vec![request], timeout);
        return one(found.await?).map(Some);
    }
    if operation == Operation::SearchBatch {
        let timeout = timeout()?;
        let request: SearchRequestBatch = asked.large_json().await?;
        let found = search(served, asked, request.searches, timeout);
        return all(&found.await?).map(Some);
    }
    if operation == Operation::RecommendPoints {
        let timeout = timeout()?;
        let request: RecommendRequest = asked.large_json().await?;
        let found = by_examples(served, asked, recommendations(vec![request]), timeout);
        return one(found.await?).map(Some);
    }
    if operation == Operation::RecommendBatch {
        let timeout = timeout()?;
        let request: RecommendRequestBatch = asked.large_json().await?;
        let found = by_examples(served, asked, recommendations(request.searches), timeout);
        return all(&found.await?).map(Some);
    }
    if operation == Operation::DiscoverPoints {
        let timeout = timeout()?;
        let request: DiscoverRequest = asked.large_json().await?;
        let found = by_examples(served, asked, discoveries(vec![request]), timeout);
        return one(found.await?).map(Some);
    }
    if operation == Operation::DiscoverBatch {
        let timeout = timeout()?;
        let request: DiscoverRequestBatch = asked.large_json().await?;
        let found = by_examples(served, asked, discoveries(request.searches), timeout);
        return all(&found.await?).map(Some);
    }
    Ok(None)
}

fn one(found: Vec<Vec<ScoredPoint>>) -> Result<Reply> {
    let points = found.into_iter().next().unwrap_or_default();
    Reply::result(&output::scored_points(&points))
}

fn all(found: &[Vec<ScoredPoint>]) -> Result<Reply> {
    let lists: Vec<_> = found
        .iter()
        .map(|points| output::scored_points(points))
        .collect();
    Reply::result(&lists)
}

fn recommendations(requests: Vec<RecommendRequest>) -> Vec<Recommend> {
    let requests = requests.into_iter();
    requests.map(Recommend::from).collect()
}

fn discoveries(requests: Vec<DiscoverRequest>) -> Vec<Discover> {
    let requests = requests.into_iter();
    requests.map(Discover::from).collect()
}

async fn search(
    served: &Served,
    asked: &Asked<'_>,
    requests: Vec<SearchRequest>,
    timeout: Option<Duration>,
) -> Result<Vec<Vec<ScoredPoint>>> {
    let work = async {
        let collection = served.collection(&asked.name()).await?;
        if asked.operation == Operation::SearchBatch {
            strict::check_search_batch(&collection, requests.len())?;
        }
        let mut planned = Vec::with_capacity(requests.len());
        let mut shard_keys = vec![];
        for request in requests {
            let search = plan(request.search_request);
            check_strict(&collection, &search, search.limit)?;
            planned.push(search);
            shard_keys.push(request.shard_key);
        }
        strict::check_timeout(&collection, timeout)?;
        rank_unless_sharded(served, &collection, planned, &shard_keys).await
    };
    within(timeout, "Search", work).await
}

fn plan(request: SearchRequestInternal) -> EngineRequest {
    EngineRequest {
        prefetches: vec![],
        query: Some(nearest(request.vector)),
        filter: request.filter,
        score_threshold: request.score_threshold.map(OrderedFloat),
        limit: request.limit,
        offset: request.offset.unwrap_or(0),
        params: request.params,
        with_vector: request.with_vector.unwrap_or(WithVector::Bool(false)),
        with_payload: request
            .with_payload
            .unwrap_or(WithPayloadInterface::Bool(false)),
    }
}

pub(super) fn nearest(vector: NamedVectorStruct) -> ScoringQuery {
    let (mut vector, using) = match vector {
        NamedVectorStruct::Default(vector) => (VectorInternal::Dense(vector), String::new()),
        NamedVectorStruct::Dense(dense) => (VectorInternal::Dense(dense.vector), dense.name),
        NamedVectorStruct::Sparse(sparse) => (VectorInternal::Sparse(sparse.vector), sparse.name),
    };
    vector.preprocess();
    ScoringQuery::Vector(QueryEnum::Nearest(NamedQuery::new(vector, using)))
}

/// What the collection's strict mode has against the search. `limit` is what it comes to.
pub(super) fn check_strict(
    collection: &Collection,
    search: &EngineRequest,
    limit: usize,
) -> Result<()> {
    let filter = search.filter.as_ref();
    strict::check_query(
        collection,
        &Demand {
            limit: Some(limit),
            filter,
            params: search.params.as_ref(),
            exact: None,
        },
    )
}

/// Recommend and discover: all of a batch is checked and looked up before any is searched for.
async fn by_examples<E: Examples>(
    served: &Served,
    asked: &Asked<'_>,
    requests: Vec<E>,
    timeout: Option<Duration>,
) -> Result<Vec<Vec<ScoredPoint>>> {
    let work = async {
        let collection = served.collection(&asked.name()).await?;
        if matches!(
            asked.operation,
            Operation::RecommendBatch | Operation::DiscoverBatch
        ) {
            strict::check_search_batch(&collection, requests.len())?;
        }
        for request in &requests {
            request.check_strict(&collection)?;
        }
        strict::check_timeout(&collection, timeout)?;
        requests.iter().try_for_each(Examples::check)?;
        let wanted = requests.iter().map(Examples::wanted);
        let wanted = wanted.collect::<Result<Vec<_>>>()?;
        let resolved = Resolved::fetch(served, &collection, &wanted).await?;
        let mut planned = Vec::with_capacity(requests.len());
        let mut shard_keys = vec![];
        for (request, wanted) in requests.into_iter().zip(&wanted) {
            resolved.check([wanted])?;
            let (search, shard_key) = request.plan(&collection.name, wanted, &resolved)?;
            planned.push(search);
            shard_keys.push(shard_key);
        }
        rank_unless_sharded(served, &collection, planned, &shard_keys).await
    };
    within(timeout, E::OPERATION, work).await
}

/// A search in no shards finds nothing; a search in shards that are not there is refused.
async fn rank_unless_sharded(
    served: &Served,
    collection: &Collection,
    mut searches: Vec<EngineRequest>,
    shard_keys: &[Option<ShardKeySelector>],
) -> Result<Vec<Vec<ScoredPoint>>> {
    for (search, shard_key) in searches.iter_mut().zip(shard_keys) {
        match shard_key {
            None => {}
            Some(selector) if selector.first().is_none() => search.limit = 0,
            Some(selector) => return Err(selector.refusal()),
        }
    }
    rank_all(served, collection, searches).await
}

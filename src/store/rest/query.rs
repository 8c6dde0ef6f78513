//! `/points/query` and its batch. (Its groups are with the other groups.)

use qdrant_edge::{ScoredPoint, WithPayloadInterface, WithVector};
use serde::Serialize;

use super::context::{Asked, Reply, Served};
use super::plan::{LIMIT, Sought};
use super::rank::{rank_all, within};
use super::resolve::Resolved;
use super::strict::{self, Demand};
use crate::error::Result;
use crate::model::Operation;
use crate::store::engine::Collection;
use crate::wire::rest::query::{
    Prefetch, Query, QueryInterface, QueryRequest, QueryRequestBatch, QueryRequestInternal,
};
use crate::wire::rest::{ShardKeySelector, output};

pub(super) async fn answer(served: &Served, asked: &Asked<'_>) -> Result<Option<Reply>> {
    if asked.operation == Operation::QueryPoints {
        return query(served, asked).await.map(Some);
    }
    if asked.operation == Operation::QueryBatch {
        return batch(served, asked).await.map(Some);
    }
    Ok(None)
}

async fn query(served: &Served, asked: &Asked<'_>) -> Result<Reply> {
    let params = asked.params()?;
    let request = asked.large_json_by(QueryRequest::from_json).await?;
    let work = search_all(served, asked, vec![request], params.timeout);
    let found = within(params.timeout, "Query", work).await?;
    Reply::result(&Points(
        found.first().map(Vec::as_slice).unwrap_or_default(),
    ))
}

async fn batch(served: &Served, asked: &Asked<'_>) -> Result<Reply> {
    let params = asked.params()?;
    let request = asked.large_json_by(QueryRequestBatch::from_json).await?;
    let work = search_all(served, asked, request.searches, params.timeout);
    let found = within(params.timeout, "Query", work).await?;
    let found: Vec<_> = found.iter().map(|points| Points(points)).collect();
    Reply::result(&found)
}

/// `{"points": […]}`
struct Points<'p>(&'p [ScoredPoint]);

impl Serialize for Points<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Named<P> {
            points: P,
        }
        let points = output::scored_points(self.0);
        Named { points }.serialize(serializer)
    }
}

/// All of a batch is checked and looked up before any of it is searched for.
async fn search_all(
    served: &Served,
    asked: &Asked<'_>,
    requests: Vec<QueryRequest>,
    timeout: Option<std::time::Duration>,
) -> Result<Vec<Vec<ScoredPoint>>> {
    let is_batch = asked.operation == Operation::QueryBatch;
    let mut searches = Vec::with_capacity(requests.len());
    for request in requests {
        let mut sought = Sought::from(request.internal);
        let wanted = sought.prepare()?;
        searches.push((sought, wanted, request.shard_key));
    }
    let collection = served.collection(&asked.name()).await?;
    if is_batch {
        strict::check_search_batch(&collection, searches.len())?;
    }
    for (sought, _, _) in &searches {
        check_strict(&collection, sought, sought.limit)?;
    }
    strict::check_timeout(&collection, timeout)?;
    let wanted = searches.iter().flat_map(|(_, wanted, _)| wanted);
    let resolved = Resolved::fetch(served, &collection, wanted.clone()).await?;
    resolved.check(wanted)?;
    let mut planned = Vec::with_capacity(searches.len());
    let mut shard_keys = vec![];
    for (sought, wanted, shard_key) in searches {
        planned.push(sought.plan(&collection.name, &wanted, &resolved)?);
        shard_keys.extend(shard_key);
    }
    check_shard_keys(&shard_keys)?;
    rank_all(served, &collection, planned).await
}

/// A request that names shards finds none.
pub(super) fn check_shard_keys(shard_keys: &[ShardKeySelector]) -> Result<()> {
    match shard_keys.first() {
        None => Ok(()),
        Some(key) => Err(key.refusal()),
    }
}

impl From<QueryRequestInternal> for Sought {
    fn from(request: QueryRequestInternal) -> Self {
        Self {
            prefetch: request.prefetch.unwrap_or_default(),
            query: request.query,
            using: request.using.unwrap_or_default(),
            filter: request.filter,
            params: request.params,
            score_threshold: request.score_threshold,
            limit: request.limit.unwrap_or(LIMIT),
            offset: request.offset.unwrap_or(0),
            with_vector: request.with_vector.unwrap_or(WithVector::Bool(false)),
            with_payload: request
                .with_payload
                .unwrap_or(WithPayloadInterface::Bool(false)),
            lookup_from: request.lookup_from,
        }
    }
}

/// What the collection's strict mode has against the query. `limit` is what it comes to.
pub(super) fn check_strict(collection: &Collection, sought: &Sought, limit: usize) -> Result<()> {
    if collection.config.strict_mode().is_none() {
        return Ok(());
    }
    for prefetch in &sought.prefetch {
        check_prefetch(collection, prefetch)?;
    }
    let is_leaf = sought.prefetch.is_empty();
    let filter = sought.filter.as_ref();
    if let Some(query) = &sought.query {
        check_kind(collection, query, &sought.using, filter, is_leaf)?;
    }
    strict::check_query(
        collection,
        &Demand {
            limit: Some(limit),
            filter,
            params: sought.params.as_ref(),
            exact: None,
        },
    )
}

fn check_prefetch(collection: &Collection, prefetch: &Prefetch) -> Result<()> {
    let below = prefetch.prefetch.as_deref().unwrap_or_default();
    for part in below {
        check_prefetch(collection, part)?;
    }
    let using = prefetch.using.as_deref().unwrap_or_default();
    let filter = prefetch.filter.as_ref();
    if let Some(query) = &prefetch.query {
        check_kind(collection, query, using, filter, below.is_empty())?;
    }
    strict::check_query(
        collection,
        &Demand {
            limit: Some(prefetch.limit.unwrap_or(LIMIT)),
            filter,
            params: prefetch.params.as_ref(),
            exact: None,
        },
    )
}

fn check_kind(
    collection: &Collection,
    query: &QueryInterface,
    using: &str,
    filter: Option<&qdrant_edge::Filter>,
    is_leaf: bool,
) -> Result<()> {
    if is_leaf && query.is_by_vector() {
        strict::check_fullscan(collection, using, filter)?;
    }
    if let QueryInterface::Query(Query::Formula(formula)) = query {
        strict::check_formula(collection, &formula.formula().formula)?;
    }
    Ok(())
}

//! What the parts of a query must be to each other, in Qdrant's words and order.

use qdrant_edge::{Fusion, OperationError, Prefetch, QueryRequest, ScoringQuery};

const DEPTH_MAX: usize = 64;

/// Whether `request` makes sense, whatever the points are.
pub(super) fn check(request: &QueryRequest) -> Result<(), OperationError> {
    let depth = depth(&request.prefetches);
    if depth > DEPTH_MAX {
        return Err(invalid(format!(
            "prefetches depth {depth} exceeds max depth {DEPTH_MAX}"
        )));
    }
    if request.prefetches.is_empty() {
        return leaf(request.query.as_ref());
    }
    let Some(query) = &request.query else {
        return Err(without_query());
    };
    request.prefetches.iter().try_for_each(part)?;
    weights(query, request.prefetches.len())
}

fn part(prefetch: &Prefetch) -> Result<(), OperationError> {
    if prefetch.prefetches.is_empty() {
        return leaf(prefetch.query.as_ref());
    }
    prefetch.prefetches.iter().try_for_each(part)?;
    let query = prefetch.query.as_ref().ok_or_else(without_query)?;
    weights(query, prefetch.prefetches.len())
}

fn leaf(query: Option<&ScoringQuery>) -> Result<(), OperationError> {
    match query {
        Some(ScoringQuery::Fusion(_)) => Err(without_prefetches("Fusion")),
        Some(ScoringQuery::Formula(_)) => Err(without_prefetches("Formula")),
        Some(
            ScoringQuery::Vector(_)
            | ScoringQuery::OrderBy(_)
            | ScoringQuery::Sample(_)
            | ScoringQuery::Mmr(_),
        )
        | None => Ok(()),
    }
}

fn weights(query: &ScoringQuery, prefetches: usize) -> Result<(), OperationError> {
    if let ScoringQuery::Fusion(Fusion::Rrf {
        weights: Some(weights),
        ..
    }) = query
        && weights.len() != prefetches
    {
        return Err(invalid(format!(
            "RRF weights length ({}) does not match number of prefetches ({prefetches})",
            weights.len(),
        )));
    }
    Ok(())
}

/// Without going deeper than is allowed by much: requests of any depth are asked about.
fn depth(prefetches: &[Prefetch]) -> usize {
    let mut depth = 0;
    let mut level: Vec<&Prefetch> = prefetches.iter().collect();
    while !level.is_empty() {
        depth += 1;
        level = level.iter().flat_map(|part| &part.prefetches).collect();
    }
    depth
}

pub(super) fn without_prefetches(what: &str) -> OperationError {
    invalid(format!("cannot apply {what} without prefetches"))
}

pub(super) fn without_query() -> OperationError {
    invalid("cannot have prefetches without a query".to_owned())
}

fn invalid(description: String) -> OperationError {
    OperationError::ValidationError { description }
}

//! Strict mode: what a collection does not allow, said before anything is done.
//!
//! Pure over the request and the collection's declaration, but for rates, which are counted here,
//! and sizes, which the engine is asked for. A check of a collection without strict mode, or with
//! it switched off, always passes. Order within a request is Qdrant's: what the request is about
//! (`check_fullscan`, `check_formula`, `check_grouping`), then `check_query` of it, then rates.

mod indexed;
mod rates;
mod room;

use std::time::Duration;

use qdrant_edge::{Condition, Expression, Filter, JsonPath, SearchParams};

use super::context::Served;
use crate::error::Result;
use crate::store::engine::Collection;
use crate::wire::rest::{StrictModeConfig, UNNAMED, VectorKind, refuse};

pub(super) use rates::Rates;
pub(super) use room::Fullness;
use room::Needs;

/// What a read, a part of a tree of reads or a member of a batch asks for, as far as limits go.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Demand<'r> {
    /// As Qdrant multiplies: groups times their size, sample times limit.
    pub(super) limit: Option<usize>,
    pub(super) filter: Option<&'r Filter>,
    pub(super) params: Option<&'r SearchParams>,
    /// Set for counts and facets only, which have no `params`.
    pub(super) exact: Option<bool>,
}

/// What a write brings.
#[derive(Clone, Copy, Debug)]
pub(super) enum Change<'r> {
    /// So many points.
    Upsert { points: usize },
    /// Vectors of so many points.
    Vectors { points: usize },
    /// New payload, for the points that fit the filter, or for given ones.
    Payload { filter: Option<&'r Filter> },
    /// Takes something away, by filter or from given points.
    Removal { filter: Option<&'r Filter> },
}

/// `timeout` as given in the query string.
pub(super) fn check_timeout(collection: &Collection, timeout: Option<Duration>) -> Result<()> {
    let Some(config) = collection.config.strict_mode() else {
        return Ok(());
    };
    let seconds = timeout.and_then(|timeout| usize::try_from(timeout.as_secs()).ok());
    check_limit(seconds, config.max_timeout, "timeout")
}

/// The number of members of a batch of searches.
pub(super) fn check_search_batch(collection: &Collection, members: usize) -> Result<()> {
    let Some(config) = collection.config.strict_mode() else {
        return Ok(());
    };
    check_limit(
        Some(members),
        config.search_max_batchsize,
        "search batch size",
    )
}

/// Limit, filter, exactness and parameters of a read.
pub(super) fn check_query(collection: &Collection, demand: &Demand<'_>) -> Result<()> {
    let Some(config) = collection.config.strict_mode() else {
        return Ok(());
    };
    check_limit(demand.limit, config.max_query_limit, "limit")?;
    if let Some(filter) = demand.filter {
        check_filter(
            collection,
            config,
            filter,
            config.unindexed_filtering_retrieve,
        )?;
    }
    check_exact(config, demand.exact)?;
    let Some(params) = demand.params else {
        return Ok(());
    };
    let oversampling = params
        .quantization
        .and_then(|settings| settings.oversampling);
    check_limit(oversampling, config.search_max_oversampling, "oversampling")?;
    check_limit(params.hnsw_ef, config.search_max_hnsw_ef, "hnsw_ef")?;
    check_exact(config, Some(params.exact))
}

/// For a query by vector that ranks the collection itself and not what a prefetch found: that it
/// is not made to read everything, for want of an index.
pub(super) fn check_fullscan(
    collection: &Collection,
    using: &str,
    filter: Option<&Filter>,
) -> Result<()> {
    let config = &collection.config;
    let forbidden = config
        .strict_mode()
        .is_some_and(|strict| strict.search_allow_exact == Some(false));
    if !forbidden || matches!(config.vector(using), Some(VectorKind::Sparse(_))) {
        return Ok(());
    }
    let own = config
        .params
        .vectors
        .get(using)
        .and_then(|params| params.hnsw_config);
    let m = own.and_then(|own| own.m).unwrap_or(config.hnsw_config.m);
    if m > 0 {
        return Ok(());
    }
    let payload_m = own.and_then(|own| own.payload_m);
    let payload_m = payload_m.unwrap_or_else(|| config.hnsw_config.payload_m.unwrap_or(m));
    let on = if using == UNNAMED {
        String::new()
    } else {
        format!(" on '{using}'")
    };
    if !filter.is_some_and(|filter| names_a_tenant(collection, filter)) {
        let what = format!(
            "Request is forbidden{on} because global vector indexing is disabled \
             (hnsw_config.m = 0)"
        );
        let help = "Use tenant-specific filter, enable global vector indexing or enable strict \
                    mode `search_allow_exact` option";
        return Err(forbid(&what, help));
    }
    if payload_m == 0 {
        let what = format!(
            "Request is forbidden{on} because vector indexing is disabled \
             (hnsw_config.m = 0 and hnsw_config.payload_m = 0)"
        );
        let help = "Enable vector indexing, use a prefetch query with indexed vectors or enable \
                    strict mode `search_allow_exact` option";
        return Err(forbid(&what, help));
    }
    Ok(())
}

/// That what a formula reads from the payload has its indexes.
pub(super) fn check_formula(collection: &Collection, formula: &Expression) -> Result<()> {
    let Some(config) = collection.config.strict_mode() else {
        return Ok(());
    };
    if config.unindexed_filtering_retrieve != Some(false) {
        return Ok(());
    }
    match indexed::lacking_in_expression(&collection.payload_schema, formula) {
        None => Ok(()),
        Some(lack) => Err(forbid(
            &lack.to_string(),
            "Create an index for this key or use a different formula expression.",
        )),
    }
}

/// That the field which is grouped by has an index that can match.
pub(super) fn check_grouping(collection: &Collection, group_by: &JsonPath) -> Result<()> {
    let Some(config) = collection.config.strict_mode() else {
        return Ok(());
    };
    if config.unindexed_filtering_retrieve != Some(false) {
        return Ok(());
    }
    let what = match collection.payload_schema.get(group_by) {
        Some(schema) if schema.supports_match() => return Ok(()),
        Some(schema) => format!(
            "Index of type \"{:?}\" found for \"{group_by}\"",
            schema.kind()
        ),
        None => format!("Index required but not found for \"{group_by}\""),
    };
    Err(forbid(
        &what,
        "Create an index supporting `match` for this key.",
    ))
}

/// The size of a write and its filter, and whether there is room for what it brings.
pub(super) async fn check_update(
    served: &Served,
    collection: &Collection,
    change: Change<'_>,
) -> Result<()> {
    let Some(config) = collection.config.strict_mode() else {
        return Ok(());
    };
    let filter = match change {
        Change::Upsert { points } => {
            check_limit(Some(points), config.upsert_max_batchsize, "upsert limit")?;
            room::check(served, collection, config, Needs::All).await?;
            None
        }
        Change::Vectors { points } => {
            check_limit(Some(points), config.upsert_max_batchsize, "update limit")?;
            room::check(served, collection, config, Needs::All).await?;
            None
        }
        Change::Payload { filter } => {
            room::check(served, collection, config, Needs::Payload).await?;
            filter
        }
        Change::Removal { filter } => filter,
    };
    match filter {
        None => Ok(()),
        Some(filter) => check_filter(
            collection,
            config,
            filter,
            config.unindexed_filtering_update,
        ),
    }
}

/// The number of vectors under one name of one point.
pub(super) fn check_multivector(collection: &Collection, name: &str, vectors: usize) -> Result<()> {
    let limits = collection
        .config
        .strict_mode()
        .and_then(|config| config.multivector_config.as_ref());
    let limit = limits
        .and_then(|limits| limits.config.get(name))
        .and_then(|limit| limit.max_vectors);
    match limit {
        Some(limit) if vectors > limit => Err(refuse::bad_request(&format!(
            "Multivector '{name}' has a limit of {limit} vectors, but {vectors} were provided!"
        ))),
        _ => Ok(()),
    }
}

/// The number of indices of one sparse vector.
pub(super) fn check_sparse(collection: &Collection, name: &str, indices: usize) -> Result<()> {
    let limits = collection
        .config
        .strict_mode()
        .and_then(|config| config.sparse_config.as_ref());
    let limit = limits
        .and_then(|limits| limits.config.get(name))
        .and_then(|limit| limit.max_length);
    match limit {
        Some(limit) if indices > limit => Err(refuse::bad_request(&format!(
            "Sparse vector '{name}' has a limit of {limit} indices, but {indices} were provided!"
        ))),
        _ => Ok(()),
    }
}

/// Whether one more payload index may be made.
pub(super) fn check_index_count(collection: &Collection) -> Result<()> {
    let limit = collection
        .config
        .strict_mode()
        .and_then(|config| config.max_payload_index_count);
    match limit {
        Some(limit) if collection.payload_schema.len() >= limit => Err(forbid(
            &format!("Collection already has the maximum number of payload indices ({limit})"),
            "Please delete an existing index before creating a new one.",
        )),
        _ => Ok(()),
    }
}

/// Charges a read against the collection's rate. Costs: 1 and the conditions of the filter for
/// scroll, count and facet; vectors and conditions for searches; ids for retrievals.
pub(super) fn spend_reads(served: &Served, collection: &Collection, cost: usize) -> Result<()> {
    served.rates.read(collection, cost)
}

/// Charges a write against the collection's rate: the points it names, or as many as a filter is
/// estimated to fit (a count with `exact` false).
pub(super) fn spend_writes(served: &Served, collection: &Collection, cost: usize) -> Result<()> {
    served.rates.write(collection, cost)
}

/// What a filter adds to the cost of a read.
pub(super) fn conditions(filter: Option<&Filter>) -> usize {
    filter.map_or(0, Filter::total_conditions_count)
}

fn check_filter(
    collection: &Collection,
    config: &StrictModeConfig,
    filter: &Filter,
    unindexed: Option<bool>,
) -> Result<()> {
    if unindexed == Some(false)
        && let Some(lack) = indexed::lacking_in_filter(&collection.payload_schema, filter)
    {
        return Err(forbid(
            &lack.to_string(),
            "Create an index for this key or use a different filter.",
        ));
    }
    let conditions = filter.total_conditions_count();
    if let Some(limit) = config.filter_max_conditions
        && conditions > limit
    {
        return Err(forbid(
            &format!("Filter condition limit reached ({conditions} > {limit})"),
            "Reduce the amount of conditions of your filter.",
        ));
    }
    let size = filter.max_condition_input_size();
    if let Some(limit) = config.condition_max_size
        && size > limit
    {
        return Err(forbid(
            &format!("Condition size limit reached ({size} > {limit})"),
            "Reduce the size of your condition.",
        ));
    }
    Ok(())
}

fn check_exact(config: &StrictModeConfig, exact: Option<bool>) -> Result<()> {
    if config.search_allow_exact == Some(false) && exact == Some(true) {
        return Err(forbid("Exact search disabled!", "Set exact=false."));
    }
    Ok(())
}

fn check_limit<T: PartialOrd + std::fmt::Display>(
    value: Option<T>,
    limit: Option<T>,
    name: &str,
) -> Result<()> {
    match (value, limit) {
        (Some(value), Some(limit)) if value > limit => Err(forbid(
            &format!("Limit exceeded {value} > {limit} for \"{name}\""),
            &format!("Reduce the \"{name}\" parameter to or below {limit}."),
        )),
        _ => Ok(()),
    }
}

fn names_a_tenant(collection: &Collection, filter: &Filter) -> bool {
    filter
        .iter_conditions()
        .filter_map(Condition::targeted_key)
        .filter_map(|key| collection.payload_schema.get(&key))
        .any(qdrant_edge::PayloadFieldSchema::is_tenant)
}

fn forbid(what: &str, help: &str) -> crate::error::Error {
    refuse::bad_request(&format!("{what}. Help: {help}"))
}

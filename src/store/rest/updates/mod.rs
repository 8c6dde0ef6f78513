//! A write to points, carried out: what strict mode says to it, what it becomes for the engine,
//! and what is said of how it went.
//!
//! The engine is always waited for. A client that does not wait is told only that the write was
//! received: what is wrong with the request itself it hears, what the write then met it does not.

mod lower;
mod rehearse;

pub use rehearse::rehearse;

use std::sync::Arc;
use std::time::Duration;

use qdrant_edge::{CountRequest, Filter, UpdateOperation};

use super::context::Served;
use super::strict::{self, Change};
use crate::error::{Error, ErrorKind, Result};
use crate::store::engine::Collection;
use crate::task;
use crate::wire::Params;
use crate::wire::rest::points::{PointWrite, Size};
use crate::wire::rest::{UpdateResult, refuse};

/// Asks strict mode.
pub(super) async fn check(
    served: &Served,
    collection: &Collection,
    write: &PointWrite,
    params: &Params,
) -> Result<()> {
    strict::check_timeout(collection, params.timeout)?;
    strict::check_update(served, collection, change(write)).await?;
    match write {
        PointWrite::Upsert(insert) => check_sizes(collection, || insert.sizes()),
        PointWrite::UpdateVectors(update) => check_sizes(collection, || {
            update.points.iter().flat_map(|point| point.vector.sizes())
        }),
        PointWrite::Delete(_)
        | PointWrite::SetPayload(_)
        | PointWrite::OverwritePayload(_)
        | PointWrite::DeletePayload(_)
        | PointWrite::ClearPayload(_)
        | PointWrite::DeleteVectors(_) => Ok(()),
    }
}

fn change(write: &PointWrite) -> Change<'_> {
    match write {
        PointWrite::Upsert(insert) => Change::Upsert {
            points: insert.len(),
        },
        PointWrite::UpdateVectors(update) => Change::Vectors {
            points: update.points.len(),
        },
        PointWrite::SetPayload(set) | PointWrite::OverwritePayload(set) => Change::Payload {
            filter: set.filter.as_ref(),
        },
        PointWrite::Delete(selector) | PointWrite::ClearPayload(selector) => Change::Removal {
            filter: selector.filter(),
        },
        PointWrite::DeletePayload(delete) => Change::Removal {
            filter: delete.filter.as_ref(),
        },
        PointWrite::DeleteVectors(delete) => Change::Removal {
            filter: delete.filter.as_ref(),
        },
    }
}

/// Rows first, then sparse vectors, whatever their order in the request.
fn check_sizes<'w, I>(collection: &Collection, sizes: impl Fn() -> I) -> Result<()>
where
    I: Iterator<Item = (&'w str, Size)>,
{
    if collection.config.strict_mode().is_none() {
        return Ok(());
    }
    for (name, size) in sizes() {
        if let Size::Rows(rows) = size {
            strict::check_multivector(collection, name, rows)?;
        }
    }
    for (name, size) in sizes() {
        if let Size::Indices(indices) = size {
            strict::check_sparse(collection, name, indices)?;
        }
    }
    Ok(())
}

/// Carries out a write that has passed `check`.
pub(super) async fn run(
    served: &Served,
    collection: &Arc<Collection>,
    write: PointWrite,
    params: &Params,
) -> Result<UpdateResult> {
    let steps = if write.needs_models() {
        let collection = Arc::clone(collection);
        let work = task::spawn_blocking("embed", move || lower::lower(write, &collection.config));
        work.await.map_err(|error| {
            refuse::service_error("a model stopped in the middle of its work").with_source(error)
        })??
    } else {
        lower::lower(write, &collection.config)?
    };
    let mut result = None;
    for step in steps {
        let operation = step?;
        spend(served, collection, &operation).await?;
        result = Some(apply(served, collection, operation, params).await?);
    }
    result.ok_or_else(|| refuse::bad_request("No filter or points provided"))
}

/// Charges the write to the collection's rate: a point each, or as many as its filter may fit.
async fn spend(
    served: &Served,
    collection: &Collection,
    operation: &UpdateOperation,
) -> Result<()> {
    let limit = collection.config.strict_mode();
    if limit.is_none_or(|config| config.write_rate_limit.is_none()) {
        return Ok(());
    }
    let cost = match (operation.point_ids(), lower::filter_of(operation)) {
        (Some(ids), _) => ids.len(),
        (None, Some(filter)) => estimate(served, collection, filter).await?,
        (None, None) => 1,
    };
    strict::spend_writes(served, collection, cost)
}

async fn estimate(served: &Served, collection: &Collection, filter: &Filter) -> Result<usize> {
    let request = CountRequest {
        filter: Some(filter.clone()),
        exact: false,
    };
    served.engine.count(&collection.name, request).await
}

async fn apply(
    served: &Served,
    collection: &Collection,
    operation: UpdateOperation,
    params: &Params,
) -> Result<UpdateResult> {
    let patience = params.timeout.filter(|_| params.wait);
    let applied = match patience {
        None => served.engine.apply(&collection.name, operation).await,
        Some(patience) => match apply_within(served, collection, operation, patience).await {
            Some(applied) => applied,
            None => return Ok(UpdateResult::taken(params.wait)),
        },
    };
    match applied {
        Ok(number) => Ok(UpdateResult::new(number, params.wait)),
        Err(error) if !params.wait && is_of_the_data(&error) => {
            Ok(UpdateResult::taken(params.wait))
        }
        Err(error) => Err(error),
    }
}

/// `None` when the time is over; the write goes on all the same.
async fn apply_within(
    served: &Served,
    collection: &Collection,
    operation: UpdateOperation,
    patience: Duration,
) -> Option<Result<u64>> {
    let engine = Arc::clone(&served.engine);
    let name = collection.name.clone();
    let work = async move { engine.apply(&name, operation).await };
    let handle = task::spawn("write in limited time", work);
    match tokio::time::timeout(patience, handle).await {
        Ok(Ok(applied)) => Some(applied),
        Ok(Err(error)) => {
            let text = "the write stopped in the middle of its work";
            Some(Err(refuse::service_error(text).with_source(error)))
        }
        Err(_elapsed) => None,
    }
}

/// The write and what is stored do not go together: a point is missing, a vector has another
/// name. Anything else that goes wrong is told to clients that do not wait as well.
fn is_of_the_data(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::BadInput | ErrorKind::NotFound)
}

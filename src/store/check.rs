//! What a write must satisfy before it goes into the log: vectors that the collection has, of the
//! size and the kind it has them in, and payloads that can be read again.
//!
//! The engine finds most of this out itself, but point by point, after others are written; and a
//! ragged multi-vector or a sparse one with unequal halves makes it panic.

use std::collections::HashMap;

use qdrant_edge::{
    DEFAULT_VECTOR_NAME, EdgeConfig, OperationError, PayloadOps, PointInsertOperations,
    PointOperations, PointStructPersisted, SetPayloadOp, UpdateOperation, VectorNameOperations,
    VectorOperations, VectorPersisted, VectorStructPersisted,
};

use serde_json::Value;

use super::refused::refused;
use crate::error::Result;
use crate::wire::rest::refuse;

/// What serde_json reads without being told otherwise.
const PAYLOAD_DEPTH_MAX: usize = 127;

pub(super) fn operation(config: &EdgeConfig, operation: &UpdateOperation) -> Result<()> {
    match operation {
        UpdateOperation::PointOperation(operation) => match operation {
            PointOperations::UpsertPoints(insert) => inserted(config, insert),
            PointOperations::UpsertPointsConditional(conditional) => {
                inserted(config, &conditional.points_op)
            }
            PointOperations::SyncPoints(sync) => points(config, &sync.points),
            PointOperations::DeletePoints { .. } | PointOperations::DeletePointsByFilter(_) => {
                Ok(())
            }
        },
        UpdateOperation::VectorOperation(operation) => match operation {
            VectorOperations::UpdateVectors(update) => update
                .points
                .iter()
                .try_for_each(|point| vectors(config, &point.vector)),
            VectorOperations::DeleteVectors(_, given) => names(config, given),
            VectorOperations::DeleteVectorsByFilter(_, given) => names(config, given),
        },
        UpdateOperation::VectorNameOperation(operation) => vector_name(config, operation),
        UpdateOperation::PayloadOperation(operation) => match operation {
            PayloadOps::SetPayload(set) => not_too_deep(set),
            PayloadOps::OverwritePayload(_)
            | PayloadOps::DeletePayload(_)
            | PayloadOps::ClearPayload { .. }
            | PayloadOps::ClearPayloadByFilter(_) => Ok(()),
        },
        UpdateOperation::FieldIndexOperation(_) => Ok(()),
    }
}

/// The parser of requests lets nothing in that is deeper than a parser of payloads reads, but for a
/// path that is long. The engine stores what is under it, and from then on fails at every call that
/// comes by that point, and at every start.
fn not_too_deep(set: &SetPayloadOp) -> Result<()> {
    let above = set.key.as_ref().map_or(0, |key| 1 + key.rest.len());
    let under = set.payload.0.values().map(depth).max().unwrap_or(0);
    if above + 1 + under <= PAYLOAD_DEPTH_MAX {
        return Ok(());
    }
    Err(refuse::wrong_input(&format!(
        "a payload may be nested {PAYLOAD_DEPTH_MAX} levels deep, and `key` leads deeper"
    )))
}

/// How many objects and arrays are inside one another.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or(0),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

/// The columnar form is read through its own list form by `write`; here only lists are looked at.
fn inserted(config: &EdgeConfig, insert: &PointInsertOperations) -> Result<()> {
    match insert {
        PointInsertOperations::PointsList(list) => points(config, list),
        PointInsertOperations::PointsBatch(_) => Ok(()),
    }
}

fn points(config: &EdgeConfig, points: &[PointStructPersisted]) -> Result<()> {
    points
        .iter()
        .try_for_each(|point| vectors(config, &point.vector))
}

fn vectors(config: &EdgeConfig, given: &VectorStructPersisted) -> Result<()> {
    match given {
        VectorStructPersisted::Single(dense) => {
            dense_fits(config, DEFAULT_VECTOR_NAME, dense.len())
        }
        VectorStructPersisted::MultiDense(rows) => multi_fits(config, DEFAULT_VECTOR_NAME, rows),
        VectorStructPersisted::Named(named) => named
            .iter()
            .try_for_each(|(name, vector)| vector_fits(config, name, vector)),
    }
}

fn vector_fits(config: &EdgeConfig, name: &str, vector: &VectorPersisted) -> Result<()> {
    match vector {
        VectorPersisted::Dense(dense) => dense_fits(config, name, dense.len()),
        VectorPersisted::MultiDense(rows) => multi_fits(config, name, rows),
        VectorPersisted::Sparse(sparse) => {
            if config.vectors.contains_key(name) {
                return Err(refused(OperationError::WrongSparse));
            }
            if !config.sparse_vectors.contains_key(name) {
                return Err(no_name(name));
            }
            if sparse.indices.len() != sparse.values.len() {
                return Err(refuse::wrong_input(
                    "Sparse indices does not match sparse vector value count",
                ));
            }
            Ok(())
        }
    }
}

fn dense_fits(config: &EdgeConfig, name: &str, size: usize) -> Result<()> {
    match config.vectors.get(name) {
        Some(params) => same_size(params.size, size),
        None if config.sparse_vectors.contains_key(name) => {
            Err(refused(OperationError::WrongSparse))
        }
        None => Err(no_name(name)),
    }
}

fn multi_fits(config: &EdgeConfig, name: &str, rows: &[Vec<f32>]) -> Result<()> {
    let Some(params) = config.vectors.get(name) else {
        return Err(if config.sparse_vectors.contains_key(name) {
            refused(OperationError::WrongMulti)
        } else {
            no_name(name)
        });
    };
    if rows.is_empty() {
        same_size(params.size, 0)?;
    }
    rows.iter()
        .try_for_each(|row| same_size(params.size, row.len()))?;
    if params.multivector_config.is_none() {
        return Err(refused(OperationError::WrongMulti));
    }
    Ok(())
}

fn same_size(expected: usize, received: usize) -> Result<()> {
    if expected == received {
        return Ok(());
    }
    Err(refused(OperationError::WrongVectorDimension {
        expected_dim: expected,
        received_dim: received,
    }))
}

fn names(config: &EdgeConfig, given: &[String]) -> Result<()> {
    let unknown = given.iter().find(|name| !has(config, name));
    unknown.map_or(Ok(()), |name| Err(no_name(name)))
}

pub(super) fn has(config: &EdgeConfig, name: &str) -> bool {
    config.vectors.contains_key(name) || config.sparse_vectors.contains_key(name)
}

fn no_name(name: &str) -> crate::error::Error {
    refused(OperationError::VectorNameNotExists {
        received_name: name.to_owned(),
    })
}

/// The engine would take a second vector of one name and mix the two up.
fn vector_name(config: &EdgeConfig, operation: &VectorNameOperations) -> Result<()> {
    match operation {
        VectorNameOperations::CreateVectorName(create) if has(config, &create.vector_name) => {
            Err(refuse::wrong_input(&format!(
                "Vector `{}` already exists in the collection",
                create.vector_name
            )))
        }
        VectorNameOperations::CreateVectorName(_) | VectorNameOperations::DeleteVectorName(_) => {
            Ok(())
        }
    }
}

/// Takes out of a logged operation what the collection has had and has no more: vectors that were
/// removed, or made anew with another size, after it was written.
pub(super) fn as_fits_now(config: &EdgeConfig, operation: &mut UpdateOperation) {
    let trim = |vector: &mut VectorStructPersisted| match vector {
        VectorStructPersisted::Named(named) => {
            named.retain(|name, vector| vector_fits(config, name, vector).is_ok());
        }
        VectorStructPersisted::Single(_) | VectorStructPersisted::MultiDense(_) => {
            if vectors(config, vector).is_err() {
                *vector = VectorStructPersisted::Named(HashMap::new());
            }
        }
    };
    match operation {
        UpdateOperation::PointOperation(PointOperations::UpsertPoints(
            PointInsertOperations::PointsList(points),
        )) => points.iter_mut().for_each(|point| trim(&mut point.vector)),
        UpdateOperation::VectorOperation(VectorOperations::UpdateVectors(update)) => {
            update
                .points
                .iter_mut()
                .for_each(|point| trim(&mut point.vector));
        }
        UpdateOperation::VectorOperation(
            VectorOperations::DeleteVectors(_, names)
            | VectorOperations::DeleteVectorsByFilter(_, names),
        ) => names.retain(|name| has(config, name)),
        UpdateOperation::PointOperation(_)
        | UpdateOperation::PayloadOperation(_)
        | UpdateOperation::FieldIndexOperation(_)
        | UpdateOperation::VectorNameOperation(_) => {}
    }
}

/// All names of a collection's vectors that `given` leaves out.
pub(super) fn left_out(config: &EdgeConfig, given: &VectorStructPersisted) -> Vec<String> {
    let mentions: Box<dyn Fn(&str) -> bool> = match given {
        VectorStructPersisted::Single(_) | VectorStructPersisted::MultiDense(_) => {
            Box::new(|name| name == DEFAULT_VECTOR_NAME)
        }
        VectorStructPersisted::Named(named) => mentioned(named),
    };
    let all = config.vectors.keys().chain(config.sparse_vectors.keys());
    let mut names: Vec<_> = all.filter(|name| !mentions(name)).cloned().collect();
    names.sort();
    names
}

fn mentioned(named: &HashMap<String, VectorPersisted>) -> Box<dyn Fn(&str) -> bool + '_> {
    Box::new(|name| named.contains_key(name))
}

//! Named vectors: added to a collection and taken from it.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a family answers its own operations and hands the rest on"
)]
#![expect(
    clippy::await_holding_invalid_type,
    reason = "changes of the catalogue are rare and must follow one another"
)]

use qdrant_edge::{
    CreateVectorName, DeleteVectorName, DenseVectorConfig, PointInsertOperations, PointOperations,
    SparseVectorConfig, UpdateOperation, VectorNameConfig, VectorNameOperations,
};

use super::context::{Asked, Reply, Served};
use super::strict;
use crate::error::{Error, Result};
use crate::model::Operation;
use crate::wire::rest::{SparseVectorParams, UpdateResult, VectorKind, VectorParams, refuse};

pub(super) async fn answer(served: &Served, asked: &Asked<'_>) -> Result<Option<Reply>> {
    let reply = match asked.operation {
        Operation::CreateVectorName => create(served, asked).await?,
        Operation::DeleteVectorName => delete(served, asked).await?,
        _ => return Ok(None),
    };
    Ok(Some(reply))
}

async fn create(served: &Served, asked: &Asked<'_>) -> Result<Reply> {
    let config: VectorNameConfig = asked.json()?;
    let params = asked.params()?;
    let name = name(asked);
    let _change = served.changes.lock().await;
    let collection = served.collection(&asked.name()).await?;
    strict::check_timeout(&collection, params.timeout)?;
    let is_there = match collection.config.vector(&name) {
        None => false,
        Some(there) => same(&name, there, &config)?,
    };
    strict::spend_writes(served, &collection, 1)?;
    let operation = if is_there {
        nothing()
    } else {
        UpdateOperation::VectorNameOperation(VectorNameOperations::CreateVectorName(
            CreateVectorName {
                vector_name: name,
                config,
            },
        ))
    };
    let number = served.engine.apply(&collection.name, operation).await?;
    Reply::result(&UpdateResult::new(number, params.wait))
}

async fn delete(served: &Served, asked: &Asked<'_>) -> Result<Reply> {
    let params = asked.params()?;
    let name = name(asked);
    let _change = served.changes.lock().await;
    let collection = served.collection(&asked.name()).await?;
    strict::check_timeout(&collection, params.timeout)?;
    strict::spend_writes(served, &collection, 1)?;
    let operation = if collection.config.vector(&name).is_none() {
        nothing()
    } else {
        UpdateOperation::VectorNameOperation(VectorNameOperations::DeleteVectorName(
            DeleteVectorName { vector_name: name },
        ))
    };
    let number = served.engine.apply(&collection.name, operation).await?;
    Reply::result(&UpdateResult::new(number, params.wait))
}

fn name(asked: &Asked<'_>) -> String {
    let name = asked.recognised.vector_name();
    name.map(std::borrow::Cow::into_owned).unwrap_or_default()
}

/// A write that changes nothing and still has its number, as in Qdrant.
fn nothing() -> UpdateOperation {
    let insert = PointInsertOperations::PointsList(Vec::new());
    UpdateOperation::PointOperation(PointOperations::UpsertPoints(insert))
}

/// Whether the vector that is there is the one that is asked for, or why it cannot be made.
fn same(name: &str, there: VectorKind<'_>, asked: &VectorNameConfig) -> Result<bool> {
    let is_same = match (there, asked) {
        (VectorKind::Dense(there), VectorNameConfig::Dense(asked)) => {
            same_dense(there, &asked.dense)
        }
        (VectorKind::Sparse(there), VectorNameConfig::Sparse(asked)) => {
            same_sparse(there, &asked.sparse)
        }
        (VectorKind::Dense(_), VectorNameConfig::Sparse(_)) => {
            return Err(exists(name, "as a dense vector"));
        }
        (VectorKind::Sparse(_), VectorNameConfig::Dense(_)) => {
            return Err(exists(name, "as a sparse vector"));
        }
    };
    if is_same {
        Ok(true)
    } else {
        Err(exists(name, "with a different configuration"))
    }
}

fn same_dense(there: &VectorParams, asked: &DenseVectorConfig) -> bool {
    there.dimensions() == asked.size
        && there.distance == asked.distance
        && there.multivector_config == asked.multivector_config
        && there.datatype.unwrap_or_default() == asked.datatype.unwrap_or_default()
}

fn same_sparse(there: &SparseVectorParams, asked: &SparseVectorConfig) -> bool {
    let datatype = there.index.and_then(|index| index.datatype);
    there.modifier.unwrap_or_default() == asked.modifier.unwrap_or_default()
        && datatype.unwrap_or_default() == asked.datatype.unwrap_or_default()
}

fn exists(name: &str, how: &str) -> Error {
    refuse::wrong_input(&format!("Vector `{name}` already exists {how}"))
}

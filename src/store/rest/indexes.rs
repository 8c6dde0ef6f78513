//! Payload indexes: made and dropped.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a family answers its own operations and hands the rest on"
)]

use qdrant_edge::{CreateIndex, FieldIndexOperations, JsonPath, UpdateOperation};

use super::context::{Asked, Reply, Served};
use super::strict;
use crate::error::Result;
use crate::model::Operation;
use crate::wire::rest::{CreateFieldIndex, UpdateResult, refuse};

/// Qdrant drops an index and makes it again: two writes.
const CREATION_COST: usize = 2;

pub(super) async fn answer(served: &Served, asked: &Asked<'_>) -> Result<Option<Reply>> {
    let reply = match asked.operation {
        Operation::CreateIndex => create(served, asked).await?,
        Operation::DeleteIndex => delete(served, asked).await?,
        _ => return Ok(None),
    };
    Ok(Some(reply))
}

async fn create(served: &Served, asked: &Asked<'_>) -> Result<Reply> {
    let request: CreateFieldIndex = asked.json()?;
    let params = asked.params()?;
    let collection = served.collection(&asked.name()).await?;
    strict::check_timeout(&collection, params.timeout)?;
    strict::check_index_count(&collection)?;
    let Some(schema) = request.field_schema else {
        return Err(refuse::bad_request(
            "Can't auto-detect field type, please specify `field_schema` in the request",
        ));
    };
    strict::spend_writes(served, &collection, CREATION_COST)?;
    let operation =
        UpdateOperation::FieldIndexOperation(FieldIndexOperations::CreateIndex(CreateIndex {
            field_name: request.field_name,
            field_schema: Some(schema),
        }));
    let number = served.engine.apply(&collection.name, operation).await?;
    Reply::result(&UpdateResult::new(number, params.wait))
}

async fn delete(served: &Served, asked: &Asked<'_>) -> Result<Reply> {
    let field = asked.recognised.field().unwrap_or_default();
    let field: JsonPath = field
        .parse()
        .map_err(|()| refuse::path_error(&format!("Invalid json path: '{field}'")))?;
    let params = asked.params()?;
    let collection = served.collection(&asked.name()).await?;
    strict::check_timeout(&collection, params.timeout)?;
    strict::spend_writes(served, &collection, 1)?;
    let operation = UpdateOperation::FieldIndexOperation(FieldIndexOperations::DeleteIndex(field));
    let number = served.engine.apply(&collection.name, operation).await?;
    Reply::result(&UpdateResult::new(number, params.wait))
}

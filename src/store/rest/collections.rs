//! Collections: made, changed, dropped, listed and described.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a family answers its own operations and hands the rest on"
)]
#![expect(
    clippy::await_holding_invalid_type,
    reason = "changes of the catalogue are rare and must follow one another"
)]

use std::collections::BTreeMap;

use qdrant_edge::PayloadIndexInfo;
use serde::Serialize;

use super::context::{Asked, CHANGE_TRIES, Reply, Served, overtaken};
use crate::error::{ErrorKind, Result};
use crate::model::Operation;
use crate::store::engine::Health;
use crate::wire::rest::{CollectionConfig, CreateCollection, UpdateCollection, path, refuse};

pub(super) async fn answer(served: &Served, asked: &Asked<'_>) -> Result<Option<Reply>> {
    let reply = match asked.operation {
        Operation::ListCollections => list(served).await?,
        Operation::CollectionExists => exists(served, asked).await?,
        Operation::GetCollection => describe(served, asked).await?,
        Operation::CreateCollection => create(served, asked).await?,
        Operation::UpdateCollection => update(served, asked).await?,
        Operation::DeleteCollection => delete(served, asked).await?,
        _ => return Ok(None),
    };
    Ok(Some(reply))
}

async fn list(served: &Served) -> Result<Reply> {
    #[derive(Serialize)]
    struct Names {
        collections: Vec<Name>,
    }
    #[derive(Serialize)]
    struct Name {
        name: String,
    }
    let names = served.engine.names().await?;
    let collections = names.into_iter().map(|name| Name { name }).collect();
    Reply::result(&Names { collections })
}

async fn exists(served: &Served, asked: &Asked<'_>) -> Result<Reply> {
    #[derive(Serialize)]
    struct Exists {
        exists: bool,
    }
    let exists = match served.collection(&asked.name()).await {
        Ok(_) => true,
        Err(error) if error.kind() == ErrorKind::NotFound => false,
        Err(error) => return Err(error),
    };
    Reply::result(&Exists { exists })
}

/// Everything about a collection. Clients read it into complete types: nothing may be missing.
#[derive(Serialize)]
struct CollectionInfo<'c> {
    status: &'static str,
    optimizer_status: OptimizerStatus,
    indexed_vectors_count: usize,
    points_count: usize,
    segments_count: usize,
    config: &'c CollectionConfig,
    payload_schema: BTreeMap<String, PayloadIndexInfo>,
    update_queue: UpdateQueue,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum OptimizerStatus {
    Ok,
    Error(String),
}

/// Writes are applied before they are answered: none waits.
#[derive(Serialize)]
struct UpdateQueue {
    length: usize,
}

async fn describe(served: &Served, asked: &Asked<'_>) -> Result<Reply> {
    let collection = served.collection(&asked.name()).await?;
    let condition = served.engine.condition(&collection.name).await?;
    let (status, optimizer_status) = match condition.health {
        Health::Green => ("green", OptimizerStatus::Ok),
        Health::Yellow => ("yellow", OptimizerStatus::Ok),
        Health::Red(why) => ("red", OptimizerStatus::Error(why)),
    };
    let schema = collection.payload_schema.iter().map(|(field, schema)| {
        let points = condition.index_points.get(field).copied();
        let info = PayloadIndexInfo::new(schema.clone(), points.unwrap_or_default());
        (field.to_string(), info)
    });
    Reply::result(&CollectionInfo {
        status,
        optimizer_status,
        indexed_vectors_count: condition.indexed_vectors_count,
        points_count: condition.points_count,
        segments_count: condition.segments_count,
        config: &collection.config,
        payload_schema: schema.collect(),
        update_queue: UpdateQueue { length: 0 },
    })
}

async fn create(served: &Served, asked: &Asked<'_>) -> Result<Reply> {
    let request: CreateCollection = asked.json()?;
    asked.params()?;
    let name = asked.name();
    path::storable(&name)?;
    let _change = served.changes.lock().await;
    if served.engine.collection(&name).await?.is_some() {
        return Err(refuse::already_exists(&format!(
            "Collection `{name}` already exists!"
        )));
    }
    if served.engine.aliases().await?.contains_key(&name) {
        return Err(refuse::wrong_input(&format!(
            "Can't create collection with name {name}. Alias with the same name already exists"
        )));
    }
    let config = request.into_config()?;
    served.engine.create(&name, config).await?;
    served.forget(&name);
    Reply::result(&true)
}

async fn update(served: &Served, asked: &Asked<'_>) -> Result<Reply> {
    let request: UpdateCollection = asked.json()?;
    asked.params()?;
    let _change = served.changes.lock().await;
    let anew = request.strict_mode_config.is_some();
    for _ in 0..CHANGE_TRIES {
        let collection = served.collection(&asked.name()).await?;
        let name = collection.name.clone();
        let config = request.clone().apply(&collection.config)?;
        if config != collection.config
            && !served.engine.configure(&name, collection, config).await?
        {
            continue;
        }
        if anew {
            served.rates.forget(&name);
        }
        return Reply::result(&true);
    }
    Err(overtaken())
}

async fn delete(served: &Served, asked: &Asked<'_>) -> Result<Reply> {
    asked.params()?;
    let name = asked.name();
    let _change = served.changes.lock().await;
    let deleted = served.engine.delete(&name).await?;
    served.forget(&name);
    Reply::result(&deleted)
}

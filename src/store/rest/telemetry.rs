//! `GET /telemetry`: the same keys as Qdrant's at every level of detail.

#![expect(
    clippy::disallowed_methods,
    reason = "telemetry tells the wall clock of the answer"
)]

use std::sync::Arc;
use std::sync::LazyLock;
use std::time::SystemTime;

use qdrant_edge::external::uuid::Uuid;
use serde_json::{Map, Value, json};
use url::form_urlencoded;

use super::cluster::PEER;
use super::context::{Asked, Reply, Served};
use super::process;
use super::tally::Row;
use crate::error::Result;
use crate::store::engine::{Collection, Condition, Health};
use crate::wire::rest::refuse;

const LEVEL_MAX: u64 = 10;

/// Another one at every start, as in Qdrant.
static INSTANCE: LazyLock<Uuid> = LazyLock::new(|| Uuid::from_u128(rand::random()));

pub(super) async fn answer(served: &Served, asked: &Asked<'_>) -> Result<Reply> {
    asked.params()?;
    let level = level(asked.query)?;
    let names = served.engine.names().await?;
    let mut collections = Map::new();
    collections.insert("number_of_collections".to_owned(), json!(names.len()));
    if level > 0 {
        let mut list = Vec::with_capacity(names.len());
        for name in &names {
            let Some(collection) = served.engine.collection(name).await? else {
                continue;
            };
            let condition = served.engine.condition(name).await?;
            list.push(describe(&collection, &condition, level));
        }
        collections.insert("collections".to_owned(), list.into());
        collections.insert("snapshots".to_owned(), json!([]));
    }
    let mut requests = Map::new();
    requests.insert("rest".to_owned(), json!({"responses": responses(served)}));
    let mut told = Map::new();
    told.insert("id".to_owned(), json!(INSTANCE.to_string()));
    told.insert("app".to_owned(), app(served, level));
    told.insert("collections".to_owned(), collections.into());
    told.insert(
        "cluster".to_owned(),
        json!({"enabled": false, "resharding_enabled": false}),
    );
    if level > 0 {
        requests.insert("grpc".to_owned(), json!({"responses": {}}));
    }
    told.insert("requests".to_owned(), requests.into());
    if level > 0 {
        told.insert("memory".to_owned(), memory());
        told.insert("hardware".to_owned(), json!({"collection_data": {}}));
    }
    Reply::result(&told)
}

fn level(query: Option<&str>) -> Result<u64> {
    let mut pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    let Some((_, level)) = pairs.find(|(name, _)| name == "details_level") else {
        return Ok(0);
    };
    let level: u64 = level
        .parse()
        .map_err(|error| refuse::query_error(&format!("{error}")))?;
    Ok(level.min(LEVEL_MAX))
}

fn app(served: &Served, level: u64) -> Value {
    let began = SystemTime::now()
        .checked_sub(served.began.elapsed())
        .unwrap_or(SystemTime::UNIX_EPOCH);
    let mut app = Map::new();
    app.insert("name".to_owned(), json!("qdrant"));
    app.insert("version".to_owned(), json!(served.qdrant_version));
    if level > 0 {
        let features = json!({
            "debug": false,
            "service_debug_feature": false,
            "recovery_mode": false,
            "gpu": false,
            "rocksdb": false,
            "staging": false,
        });
        app.insert("features".to_owned(), features);
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let system = json!({
            "distribution": null,
            "distribution_version": null,
            "is_docker": false,
            "cores": cores,
            "ram_size": null,
            "disk_size": null,
            "cpu_flags": "",
            "cpu_endian": if cfg!(target_endian = "big") { "big" } else { "little" },
        });
        app.insert("system".to_owned(), system);
    }
    app.insert("startup".to_owned(), json!(moment(began)));
    app.into()
}

fn describe(collection: &Arc<Collection>, condition: &Condition, level: u64) -> Value {
    if level == 1 {
        return json!({
            "vectors": condition.points_count,
            "optimizers_status": optimizers_status(condition),
            "params": collection.config.params,
        });
    }
    let mut told = Map::new();
    told.insert("id".to_owned(), json!(collection.name));
    told.insert("init_time_ms".to_owned(), json!(0));
    told.insert("config".to_owned(), json!(collection.config));
    if level > 2 {
        let states = Map::from_iter([(PEER.to_string(), json!("Active"))]);
        let shard = json!({
            "id": 0,
            "key": null,
            "local": local(condition, level),
            "remote": [],
            "replicate_states": states,
            "partial_snapshot": {
                "ongoing_create_snapshot_requests": 0,
                "is_recovering": false,
                "recovery_timestamp": 0,
            },
        });
        told.insert("shards".to_owned(), json!([shard]));
        told.insert("transfers".to_owned(), json!([]));
        told.insert("resharding".to_owned(), json!([]));
    }
    told.into()
}

fn local(condition: &Condition, level: u64) -> Value {
    let status = match &condition.health {
        Health::Green => "green",
        Health::Yellow => "yellow",
        Health::Red(_) => "red",
    };
    let mut local = json!({
        "variant_name": "local",
        "status": status,
        "total_optimized_points": 0,
        "num_points": condition.points_count,
        "num_vectors": condition.points_count,
        "optimizations": {
            "status": optimizers_status(condition),
            "optimizations": {"count": 0, "total_duration_micros": 0},
            "log": [],
        },
        "async_scorer": false,
        "update_queue": {"length": 0, "op_num": null},
    });
    if level > 3
        && let Some(local) = local.as_object_mut()
    {
        local.insert("segments".to_owned(), json!([]));
    }
    local
}

fn optimizers_status(condition: &Condition) -> Value {
    match &condition.health {
        Health::Green | Health::Yellow => json!("ok"),
        Health::Red(why) => json!({"error": why}),
    }
}

fn responses(served: &Served) -> Value {
    let mut calls: Map<String, Value> = Map::new();
    for row in served.tally.rows() {
        let key = format!("{} {}", row.method, row.endpoint);
        let call = calls.entry(key).or_insert_with(|| json!({}));
        if let Some(call) = call.as_object_mut() {
            call.insert(row.status.to_string(), figures(&row));
        }
    }
    calls.into()
}

fn figures(row: &Row) -> Value {
    let figures = row.figures;
    let micros = |time: std::time::Duration| time.as_secs_f64() * 1e6;
    let count = u32::try_from(figures.count).unwrap_or(u32::MAX).max(1);
    json!({
        "count": figures.count,
        "avg_duration_micros": micros(figures.total / count),
        "min_duration_micros": micros(figures.least),
        "max_duration_micros": micros(figures.most),
        "total_duration_micros": u64::try_from(figures.total.as_micros()).unwrap_or(u64::MAX),
        "last_responded": moment(figures.last),
    })
}

fn memory() -> Value {
    let resident = process::resident_bytes();
    json!({
        "active_bytes": resident,
        "allocated_bytes": resident,
        "metadata_bytes": 0,
        "resident_bytes": resident,
        "retained_bytes": 0,
    })
}

fn moment(at: SystemTime) -> String {
    humantime::format_rfc3339_micros(at).to_string()
}

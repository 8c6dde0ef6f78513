//! One collection in two shapes: a shard of Qdrant's engine, and tables.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicI32, Ordering};

use qdrant_edge::{
    EdgeConfig, EdgeShard, Filter, Payload, PointId, ScrollRequest, UpdateOperation,
    WithPayloadInterface,
};
use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::store::pgvector::catalog::Known;
use crate::store::pgvector::filter_sql::{Params, condition};
use crate::store::pgvector::scratch::Scratch;
use crate::store::pgvector::{ids, index, payload};
use crate::wire::rest::CollectionConfig;

const FUNCTIONS: &str = include_str!("../../schema/functions.sql");

static NEXT: AtomicI32 = AtomicI32::new(1);

/// An empty database with the functions that conditions need.
pub(super) async fn connect() -> (Scratch, Client) {
    let scratch = Scratch::make().await;
    let client = scratch.client().await;
    let set_up = format!("create schema qd; create schema qd_data; {FUNCTIONS}");
    client.batch_execute(&set_up).await.unwrap();
    (scratch, client)
}

pub(super) fn id_text(id: &Value) -> String {
    id.as_str().map_or_else(|| id.to_string(), str::to_owned)
}

/// A collection with two vectors.
pub(super) fn sample_config() -> CollectionConfig {
    serde_json::from_value(json!({
        "params": {"vectors": {
            "": {"size": 1, "distance": "Dot"}, "v": {"size": 1, "distance": "Dot"},
        }},
        "hnsw_config": {"m": 16, "ef_construct": 100, "full_scan_threshold": 10000},
        "optimizer_config": {
            "deleted_threshold": 0.2, "vacuum_min_vector_number": 1000,
            "default_segment_number": 1, "flush_interval_sec": 5
        },
        "wal_config": {"wal_capacity_mb": 32, "wal_segments_ahead": 0},
    }))
    .unwrap()
}

pub(super) struct Twin<'c> {
    client: &'c Client,
    shard: EdgeShard,
    folder: PathBuf,
    known: Known,
    ids: BTreeMap<Vec<u8>, String>,
}

impl<'c> Twin<'c> {
    pub(super) async fn make(
        client: &'c Client,
        indexes: &[(String, Value)],
        unready: &[(String, Value)],
        points: &[(Value, Value, Vec<&str>)],
        indexes_first: bool,
    ) -> Self {
        let cid = 1_000_000_000
            + i32::try_from(std::process::id() % 1_000_000).unwrap() * 1000
            + NEXT.fetch_add(1, Ordering::Relaxed) % 1000;
        let folder = std::env::temp_dir().join(format!("outrigger-filter-{cid}"));
        std::fs::create_dir_all(&folder).unwrap();
        let config: EdgeConfig = serde_json::from_value(json!({"vectors": {
            "": {"size": 1, "distance": "Dot"}, "v": {"size": 1, "distance": "Dot"}}}))
        .unwrap();
        let shard = EdgeShard::new(&folder, config).unwrap();
        let declared = indexes.iter().chain(unready).enumerate();
        let declared = declared.map(|(number, (path, schema))| {
            let path: qdrant_edge::JsonPath = path.parse().unwrap();
            let schema = serde_json::from_value(schema.clone()).unwrap();
            (path.to_string(), schema, number < indexes.len())
        });
        let known = Known::of_test(cid, &sample_config(), &declared.collect::<Vec<_>>());
        let ids = points.iter().map(|(id, _, _)| {
            let parsed: PointId = serde_json::from_value(id.clone()).unwrap();
            (ids::key(parsed), id_text(id))
        });
        let twin = Self {
            client,
            shard,
            folder,
            ids: ids.collect(),
            known,
        };
        if indexes_first {
            twin.index_shard(indexes);
        }
        twin.fill_shard(points);
        if !indexes_first {
            twin.index_shard(indexes);
        }
        twin.fill_tables(points, indexes_first).await;
        twin
    }

    fn update(&self, operation: Value) {
        let operation: UpdateOperation = serde_json::from_value(operation).unwrap();
        self.shard.update(operation).unwrap();
    }

    fn index_shard(&self, indexes: &[(String, Value)]) {
        for (path, schema) in indexes {
            self.update(json!({"create_index": {"field_name": path, "field_schema": schema}}));
        }
    }

    fn fill_shard(&self, points: &[(Value, Value, Vec<&str>)]) {
        let point = |(id, payload, vectors): &(Value, Value, Vec<&str>)| {
            let vectors: BTreeMap<_, _> = vectors.iter().map(|name| (*name, [1.0])).collect();
            json!({"id": id, "payload": payload, "vector": vectors})
        };
        let points: Vec<Value> = points.iter().map(point).collect();
        self.update(json!({"upsert_points": {"points": points}}));
    }

    async fn fill_tables(&self, points: &[(Value, Value, Vec<&str>)], seq_scan: bool) {
        let cid = self.known.cid;
        self.run(&format!(
            "set enable_seqscan = {seq_scan};
             create table qd_data.c{cid} (
               pid bigint generated always as identity primary key, id bytea not null unique,
               ver bigint not null, payload jsonb not null default '{{}}');
             create table qd_data.c{cid}_v1 (pid bigint primary key);
             create table qd_data.c{cid}_v2 (pid bigint primary key)"
        ))
        .await;
        let mut rows = Vec::new();
        for (id, payload, vectors) in points {
            let id: PointId = serde_json::from_value(id.clone()).unwrap();
            let payload: Payload = serde_json::from_value(payload.clone()).unwrap();
            let text = payload::encode(&payload);
            let row = self
                .client
                .query_one(
                    &format!("insert into qd_data.c{cid} (id, ver, payload) values ($1, 1, $2::text::jsonb) returning pid, payload::text"),
                    &[&ids::key(id), &text],
                )
                .await
                .unwrap();
            let pid: i64 = row.get(0);
            let back = payload::decode(row.get(1)).unwrap();
            // What Qdrant itself makes of it: it keeps text.
            let own: Value =
                serde_json::from_str(&serde_json::to_string(&payload).unwrap()).unwrap();
            assert_eq!(serde_json::to_value(&back).unwrap(), own);
            assert_eq!(sorted(&serde_json::to_value(&back).unwrap()), sorted(&own));
            for name in vectors {
                self.run(&format!(
                    "insert into {} values ({pid})",
                    self.known.vectors[*name].table
                ))
                .await;
            }
            rows.push((pid, payload));
        }
        for (path, made) in &self.known.indexes {
            if !made.ready {
                continue;
            }
            let path = path.parse().unwrap();
            let make = index::make(cid, made.ino, &path, &made.schema, false);
            for statement in make.tables.iter().chain(&make.indexes) {
                self.run(statement).await;
            }
            if let Some(words) = index::Words::new(&path, &made.schema) {
                let place = (cid, made.ino);
                match seq_scan {
                    true => words.write(self.client, place, &rows).await.unwrap(),
                    false => words.fill(self.client, place).await.unwrap(),
                }
            }
            let sql = index::points(&self.known, made.ino, &path, &made.schema);
            let count: i64 = self.client.query_one(&sql, &[]).await.unwrap().get(0);
            let info = self.shard.info();
            assert_eq!(
                usize::try_from(count).unwrap(),
                info.payload_schema[&path].points,
                "points in {path} {:?}",
                made.schema
            );
        }
    }

    async fn run(&self, sql: &str) {
        self.client
            .batch_execute(sql)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    /// The points of a filter; none if the engine breaks off.
    pub(super) fn edge(&self, filter: &Value) -> Option<BTreeSet<String>> {
        let filter: Filter = serde_json::from_value(filter.clone()).unwrap();
        let request = ScrollRequest {
            offset: None,
            limit: Some(10_000),
            filter: Some(filter),
            with_payload: Some(WithPayloadInterface::Bool(false)),
            with_vector: false.into(),
            order_by: None,
        };
        let found = catch_unwind(AssertUnwindSafe(|| self.shard.scroll(request)));
        let (records, _) = found.ok()?.ok()?;
        let id = |record: &qdrant_edge::Record| self.ids[&ids::key(record.id)].clone();
        Some(records.iter().map(id).collect())
    }

    pub(super) async fn postgres(&self, filter: &Filter) -> Result<BTreeSet<String>, String> {
        let mut params = Params::new();
        let sql =
            condition(filter, &self.known, &mut params).map_err(|error| format!("{error:?}"))?;
        let sql = format!("select c.id from qd_data.c{} c where {sql}", self.known.cid);
        let rows = self.client.query(&sql, &params.refs()).await;
        let rows = rows.map_err(|error| format!("{error:?}\n{sql}\n{params:?}"))?;
        Ok(rows
            .iter()
            .map(|row| self.ids[row.get::<_, &[u8]>(0)].clone())
            .collect())
    }

    pub(super) async fn drop(self) {
        let cid = self.known.cid;
        for made in self.known.indexes.values() {
            for statement in index::remove(cid, made.ino, &made.schema) {
                self.run(&statement).await;
            }
        }
        self.run(&format!(
            "drop table qd_data.c{cid}, qd_data.c{cid}_v1, qd_data.c{cid}_v2"
        ))
        .await;
        let folder = self.folder.clone();
        drop(self.shard);
        std::fs::remove_dir_all(folder).unwrap();
    }
}

/// The text of a value with its keys in order: it tells 5 from 5.0.
fn sorted(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let map: BTreeMap<_, _> = map
                .iter()
                .map(|(key, value)| (key, sorted(value)))
                .collect();
            format!("{map:?}")
        }
        Value::Array(items) => format!("{:?}", items.iter().map(sorted).collect::<Vec<_>>()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
    }
}

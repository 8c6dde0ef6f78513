//! A collection as one file, and back: what the catalogue says of it, then its tables as `copy`
//! gives them, in PostgreSQL's binary form.
//!
//! It is taken in one transaction that sees one moment; writes go on beside it. It is recovered
//! into tables of its own, which take the place of the collection's in the transaction that fills
//! them: nothing is seen of a file that turns out to be damaged.

use std::path::Path;
use std::pin::pin;

use deadpool_postgres::{Client, Transaction};
use futures_util::{SinkExt as _, TryStreamExt as _};
use qdrant_edge::{JsonPath, PayloadFieldSchema};
use serde::{Deserialize, Serialize};

use super::Shared;
use super::catalog::{Known, VectorTable};
use super::collections::{Change, Tries};
use super::frames::{Reader, Writer, cannot, damaged};
use super::link::Fault;
use super::names::CATALOGUE;
use crate::error::{Error, Result};
use crate::wire::rest::CollectionConfig;

const TAKING: &str = "take a snapshot";
const RECOVERING: &str = "recover a snapshot";

/// What stands first in the file.
#[derive(Deserialize, Serialize)]
struct Manifest {
    config: CollectionConfig,
    indexes: Vec<Index>,
    /// The names of the vectors whose tables follow that of the points, in this order.
    vectors: Vec<String>,
    /// The number of the last operation.
    operation: i64,
}

#[derive(Deserialize, Serialize)]
struct Index {
    path: JsonPath,
    schema: PayloadFieldSchema,
}

/// Either half of a `copy`.
enum Way {
    Out,
    In,
}

fn copy_points(known: &Known, way: &Way) -> String {
    copy(known.points_table(), "pid, id, ver, payload", way)
}

fn copy_vectors(table: &VectorTable, way: &Way) -> String {
    let columns = table.columns().join(", ");
    copy(&table.table, &format!("pid, {columns}"), way)
}

fn copy(table: &str, columns: &str, way: &Way) -> String {
    let way = match way {
        Way::Out => "to stdout",
        Way::In => "from stdin",
    };
    format!("copy {table} ({columns}) {way} (format binary)")
}

impl Shared {
    pub(super) async fn snapshot(&self, name: &str, into: &Path) -> Result<()> {
        let mut tries = Tries::begin();
        loop {
            let known = self.catalog.get(&self.pool, name).await?;
            let beside = into.with_extension("partial");
            let taken = self.take(&known, &beside).await;
            match taken {
                Ok(()) => {
                    let renamed = tokio::fs::rename(&beside, into).await;
                    return renamed.map_err(|error| cannot("write", into, error));
                }
                Err(fault) => {
                    drop(tokio::fs::remove_file(&beside).await);
                    if !tries.again(&fault).await {
                        return Err(fault.into_error());
                    }
                    self.catalog.doubt();
                }
            }
        }
    }

    async fn take(&self, known: &Known, into: &Path) -> Result<(), Fault> {
        let undone = |error| Fault::undone(TAKING, error);
        let mut client = self.pool.living(TAKING).await?;
        let transaction = self.pool.slow_transaction(&mut client, TAKING).await?;
        // Before the first look at anything: what is seen from then on is of one moment.
        let sql = "set transaction isolation level repeatable read, read only";
        transaction.batch_execute(sql).await.map_err(undone)?;
        let sql = format!(
            "select (select last_value from {}), (select epoch from {CATALOGUE}.collections \
             where cid = $1)",
            known.operations()
        );
        let row = transaction.query_one(&sql, &[&known.cid]).await;
        let row = row.map_err(undone)?;
        if row.get::<_, Option<i64>>(1) != Some(known.epoch) {
            return Err(Fault::stale(TAKING));
        }
        let indexes = known.declared.payload_schema.iter();
        let manifest = Manifest {
            config: known.declared.config.clone(),
            indexes: indexes
                .map(|(path, schema)| Index {
                    path: path.clone(),
                    schema: schema.clone(),
                })
                .collect(),
            vectors: known.vectors.keys().cloned().collect(),
            operation: row.get(0),
        };
        let mut file = Writer::create(into).await?;
        file.write(&serde_json::to_vec(&manifest)?).await?;
        file.end_section().await?;
        copy_out(&transaction, &copy_points(known, &Way::Out), &mut file).await?;
        for table in known.vectors.values() {
            copy_out(&transaction, &copy_vectors(table, &Way::Out), &mut file).await?;
        }
        file.finish().await?;
        transaction.commit().await.map_err(undone)
    }

    pub(super) async fn restore(&self, name: &str, from: &Path) -> Result<()> {
        let mut file = Reader::open(from).await?;
        let manifest: Manifest = serde_json::from_slice(&file.small().await?)
            .map_err(|error| damaged("its manifest cannot be read").with_source(error))?;
        let mut client = self.pool.living(RECOVERING).await?;
        let done = self.recover(&mut client, name, manifest, file).await;
        self.catalog.doubt();
        Ok(done?)
    }

    async fn recover(
        &self,
        client: &mut Client,
        name: &str,
        manifest: Manifest,
        mut file: Reader,
    ) -> Result<(), Fault> {
        let change = self.change(client).await?;
        change.lock_catalogue().await?;
        let config = &manifest.config;
        // Under a name that nobody asks for, until it takes the place of the one that is there.
        let draft = format!("\u{1F}{}", uuid::Uuid::new_v4());
        let known = change.make_collection(&draft, config).await?;
        let mut wanted = known.vectors.keys().collect::<Vec<_>>();
        let mut held = manifest.vectors.iter().collect::<Vec<_>>();
        wanted.sort();
        held.sort();
        if wanted != held {
            return Err(damaged("it does not hold the vectors that it declares").into());
        }
        copy_in(&change, &copy_points(&known, &Way::In), &mut file).await?;
        for vector in &manifest.vectors {
            let table = known.vector(vector)?;
            copy_in(&change, &copy_vectors(table, &Way::In), &mut file).await?;
        }
        file.finish().await?;
        let (points, operations) = (known.points_table(), known.operations());
        // Numbers go on where they were.
        change
            .execute(&format!(
                "select pg_catalog.setval(pg_catalog.pg_get_serial_sequence('{points}', 'pid')::regclass, \
                 (select coalesce(max(pid), 0) + 1 from {points}), false); \
                 select pg_catalog.setval('{operations}'::regclass, {})",
                manifest.operation.max(1)
            ))
            .await?;
        for Index { path, schema } in &manifest.indexes {
            change.add_index(&known, path, schema).await?;
        }
        change.execute(&format!("analyze {points}")).await?;
        for table in known.vectors.values() {
            change.execute(&format!("analyze {}", table.table)).await?;
        }
        change.take_place_of(name, known.cid).await?;
        change.mirror(known.cid).await?;
        // Not a mark for each of its points: they may be millions.
        let sql = "select qd.want_sweep($1, 'a snapshot was recovered') where qd.is_mirrored($2)";
        change.run(sql, &[&known.cid, &name]).await?;
        change.commit(known.cid).await?;
        self.touched.note(known.cid);
        Ok(())
    }
}

impl Change<'_> {
    /// Puts a collection that was made under another name where `name` is, aliases included.
    async fn take_place_of(&self, name: &str, cid: i32) -> Result<(), Fault> {
        if let Some(old) = self.number_of(name).await? {
            self.stop_builder(old).await?;
            self.lock_gate_of(old).await?;
            let sql = format!("update {CATALOGUE}.aliases set cid = $2 where cid = $1");
            self.run(&sql, &[&old, &cid]).await?;
            self.drop_collection(old).await?;
        }
        let sql = format!("update {CATALOGUE}.collections set name = $2 where cid = $1");
        self.run(&sql, &[&cid, &name]).await.map(drop)
    }
}

async fn copy_out(
    transaction: &Transaction<'_>,
    sql: &str,
    file: &mut Writer,
) -> Result<(), Fault> {
    let undone = |error| Fault::undone(TAKING, error);
    let rows = transaction.copy_out(sql).await.map_err(undone)?;
    let mut rows = pin!(rows);
    while let Some(bytes) = rows.try_next().await.map_err(undone)? {
        file.write(&bytes).await?;
    }
    Ok(file.end_section().await?)
}

async fn copy_in(change: &Change<'_>, sql: &str, file: &mut Reader) -> Result<(), Fault> {
    let undone = |error| Fault::undone(RECOVERING, error);
    let sink = change.transaction.copy_in(sql).await.map_err(undone)?;
    let mut sink = pin!(sink);
    while let Some(piece) = file.piece().await? {
        sink.send(piece).await.map_err(refused)?;
    }
    sink.finish().await.map_err(refused)?;
    Ok(())
}

/// Rows that PostgreSQL does not take are the file's fault.
fn refused(error: tokio_postgres::Error) -> Fault {
    let of_data = |code: &str| code.starts_with("22") || code.starts_with("23");
    if error.code().is_some_and(|code| of_data(code.code())) {
        let error: Error = Fault::undone(RECOVERING, error).into();
        return damaged("its rows cannot be read").with_source(error).into();
    }
    Fault::undone(RECOVERING, error)
}

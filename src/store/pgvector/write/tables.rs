//! Writes that change what tables and indexes there are.

use qdrant_edge::{
    CreateIndex, FieldIndexOperations, JsonPath, PayloadFieldSchema, UpdateOperation,
    VectorNameConfig, VectorNameOperations,
};

use super::{Refusal, number};
use crate::error::Result;
use crate::store::declared::SchemaChange;
use crate::store::engine::Collection;
use crate::store::pgvector::Shared;
use crate::store::pgvector::adopt;
use crate::store::pgvector::catalog::Known;
use crate::store::pgvector::collections::Change;
use crate::store::pgvector::index::{self, Words};
use crate::store::pgvector::link::Fault;
use crate::store::pgvector::names::CATALOGUE;
use crate::wire::rest::refuse;

pub(super) enum TableChange<'o> {
    Index(&'o CreateIndex),
    Unindex(&'o JsonPath),
    AddVector(&'o str, &'o VectorNameConfig),
    RemoveVector(&'o str),
}

/// The change that an operation is, if it is one.
pub(super) fn of(operation: &UpdateOperation) -> Option<TableChange<'_>> {
    match operation {
        UpdateOperation::FieldIndexOperation(FieldIndexOperations::CreateIndex(create)) => {
            Some(TableChange::Index(create))
        }
        UpdateOperation::FieldIndexOperation(FieldIndexOperations::DeleteIndex(path)) => {
            Some(TableChange::Unindex(path))
        }
        UpdateOperation::VectorNameOperation(VectorNameOperations::CreateVectorName(create)) => {
            Some(TableChange::AddVector(&create.vector_name, &create.config))
        }
        UpdateOperation::VectorNameOperation(VectorNameOperations::DeleteVectorName(delete)) => {
            Some(TableChange::RemoveVector(&delete.vector_name))
        }
        UpdateOperation::PointOperation(_)
        | UpdateOperation::VectorOperation(_)
        | UpdateOperation::PayloadOperation(_) => None,
    }
}

impl Shared {
    pub(super) async fn change_tables(
        &self,
        known: &Known,
        what: TableChange<'_>,
    ) -> Result<u64, Refusal> {
        const DOING: &str = "change a collection's tables";
        let mut client = self.pool.living(DOING).await?;
        let change = self.change(&mut client).await?;
        change.lock_gate(known).await?;
        if known.adopted.is_some()
            && matches!(
                what,
                TableChange::AddVector(..) | TableChange::RemoveVector(_)
            )
        {
            return Err(
                adopt::fixed(&known.name, "its vectors are the columns of its table").into(),
            );
        }
        match what {
            TableChange::Index(create) => {
                let path = &create.field_name;
                let schema = create.field_schema.as_ref();
                let schema = schema.ok_or_else(|| {
                    refuse::bad_request(
                        "Can't auto-detect field type, please specify `field_schema` in the request",
                    )
                })?;
                change.add_index(known, path, schema).await?;
            }
            TableChange::Unindex(path) => change.drop_index(known, path).await?,
            TableChange::AddVector(name, config) => {
                add_vector(&change, known, name, config).await?;
            }
            TableChange::RemoveVector(name) => remove_vector(&change, known, name).await?,
        }
        let sql = format!(
            "select pg_catalog.nextval('{}'::regclass)",
            known.operations()
        );
        let rows = change.transaction.query(&sql, &[]).await;
        let rows = rows.map_err(|error| Fault::undone(DOING, error))?;
        let number = number(&rows)?;
        let done = change.commit(known.cid).await;
        self.catalog.doubt();
        done?;
        Ok(number)
    }
}

impl Change<'_> {
    /// Makes an index, in place of one of another schema.
    pub(in crate::store::pgvector) async fn add_index(
        &self,
        known: &Known,
        path: &JsonPath,
        schema: &PayloadFieldSchema,
    ) -> Result<(), Fault> {
        self.drop_index(known, path).await?;
        let ino = self.next_number(known.cid).await?;
        // That there is an index changes answers, so it is noted; the owner's table stays as it is.
        if known.adopted.is_none() {
            self.make_index(known, (ino, path), schema).await?;
            // How often each value is there is known of an index only once it is looked at, and by
            // that a filtered search is planned.
            self.execute(&format!("analyze {}", known.points_table()))
                .await?;
        }
        let text = serde_json::to_string(schema)?;
        let sql = format!(
            "insert into {CATALOGUE}.payload_indexes (cid, path, ino, schema, state) \
             values ($1, $2, $3, $4, 'ready')"
        );
        let path = path.to_string();
        self.run(&sql, &[&known.cid, &path, &ino, &text])
            .await
            .map(drop)
    }

    async fn make_index(
        &self,
        known: &Known,
        (ino, path): (i32, &JsonPath),
        schema: &PayloadFieldSchema,
    ) -> Result<(), Fault> {
        let make = index::make(known.cid, ino, path, schema, false);
        for sql in &make.tables {
            self.execute(sql).await?;
        }
        if let Some(words) = Words::new(path, schema) {
            words.fill(&*self.transaction, (known.cid, ino)).await?;
        }
        for sql in &make.indexes {
            self.execute(sql).await?;
        }
        Ok(())
    }

    /// One that is not there is dropped too, as in Qdrant.
    async fn drop_index(&self, known: &Known, path: &JsonPath) -> Result<(), Fault> {
        let text = path.to_string();
        let Some(there) = known.indexes.get(&text) else {
            return Ok(());
        };
        if known.adopted.is_none() {
            for sql in index::remove(known.cid, there.ino, &there.schema) {
                self.execute(&sql).await?;
            }
        }
        let sql = format!("delete from {CATALOGUE}.payload_indexes where cid = $1 and path = $2");
        self.run(&sql, &[&known.cid, &text]).await.map(drop)
    }
}

async fn add_vector(
    change: &Change<'_>,
    known: &Known,
    name: &str,
    config: &VectorNameConfig,
) -> Result<(), Refusal> {
    let added = SchemaChange::AddVector(name.to_owned(), config.clone());
    let declared = redeclared(known, added);
    change.add_vector(known.cid, name, &declared.config).await?;
    change.mirror(known.cid).await?;
    change.write_config(known.cid, &declared.config).await?;
    Ok(())
}

async fn remove_vector(change: &Change<'_>, known: &Known, name: &str) -> Result<(), Refusal> {
    if let Some(there) = known.vectors.get(name) {
        change.stop_builder(known.cid).await?;
        change
            .execute(&format!("drop table {}", there.table))
            .await?;
        let sql = format!("delete from {CATALOGUE}.vectors where cid = $1 and name = $2");
        change.run(&sql, &[&known.cid, &name]).await?;
    }
    let declared = redeclared(known, SchemaChange::RemoveVector(name.to_owned()));
    change.write_config(known.cid, &declared.config).await?;
    Ok(())
}

fn redeclared(known: &Known, change: SchemaChange) -> Collection {
    let mut declared = Collection::clone(&known.declared);
    change.apply(&mut declared);
    declared
}

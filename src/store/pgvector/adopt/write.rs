//! Points written into adopted tables, where the settings allow it.
//!
//! A write is one transaction: the rows that it is about are locked first, and are then found by
//! their places, which cannot change any more. What a table has no room for is refused before
//! anything is written. Vectors are stored as they were given, as the table's own program does it.

use std::collections::HashMap;

use deadpool_postgres::Transaction;
use parking_lot::Mutex;
use qdrant_edge::{
    Filter, OperationError, PayloadOps, PointId, PointInsertOperations, PointOperations,
    PointStructPersisted, UpdateMode, UpdateOperation, VectorOperations,
};
use tokio_postgres::Row;

use super::rows::Given;
use super::{KeyKind, Mapping, Writes, read_only};
use crate::error::Result;
use crate::store::pgvector::catalog::Known;
use crate::store::pgvector::filter_sql::{self, Params};
use crate::store::pgvector::link::{self, Fault};
use crate::store::pgvector::pool::Values;
use crate::store::pgvector::write::{becomes, named_vector, selected_points};
use crate::store::pgvector::{Shared, ids};
use crate::store::refused::refused;

pub(super) const DOING: &str = "write into an adopted table";

impl Shared {
    /// Cancel safety: not safe; what was sent may be carried out.
    pub(in crate::store::pgvector) async fn write_adopted(
        &self,
        known: &Known,
        mapping: &Mapping,
        operation: &UpdateOperation,
    ) -> Result<u64, Fault> {
        let Some(writes) = &mapping.writes else {
            return Err(read_only(&known.name).into());
        };
        let mut client = self.pool.living(DOING).await?;
        let transaction = self.pool.write_transaction(&mut client, DOING).await?;
        let write = Write {
            known,
            mapping,
            writes,
            transaction,
            touched: Mutex::default(),
        };
        write
            .run("select qd.gate($1, $2, true)", &[&known.cid, &known.epoch])
            .await?;
        let missing = write.apply(operation).await?;
        write.mark().await?;
        let sql = format!(
            "select pg_catalog.nextval('{}'::regclass)",
            known.operations()
        );
        let rows = write.rows(&sql, &[]).await?;
        let number: i64 = rows.first().map(|row| row.get(0)).unwrap_or_default();
        let done = write.transaction.commit().await;
        done.map_err(|error| Fault::unknown(DOING, error))?;
        match missing {
            Some(missed_point_id) => {
                Err(refused(OperationError::PointIdError { missed_point_id }).into())
            }
            None => Ok(u64::try_from(number).unwrap_or_default()),
        }
    }
}

type Refs<'v> = &'v [&'v (dyn tokio_postgres::types::ToSql + Sync)];

pub(super) struct Write<'w> {
    pub(super) known: &'w Known,
    pub(super) mapping: &'w Mapping,
    pub(super) writes: &'w Writes,
    transaction: Transaction<'w>,
    /// The keys of the points that are written, and maybe of others.
    touched: Mutex<Vec<Vec<u8>>>,
}

impl Write<'_> {
    pub(super) async fn rows(&self, sql: &str, values: Refs<'_>) -> Result<Vec<Row>, Fault> {
        let rows = self.transaction.query(sql, values).await;
        rows.map_err(|error| Fault::undone(DOING, error))
    }

    async fn run(&self, sql: &str, values: Refs<'_>) -> Result<(), Fault> {
        self.rows(sql, values).await.map(drop)
    }

    /// Marks what was written, where the collection is mirrored. The table's own triggers, if it has
    /// any, do that once more.
    async fn mark(&self) -> Result<(), Fault> {
        let keys = std::mem::take(&mut *self.touched.lock());
        let sql = "insert into qdc.outbox (cid, id) \
                   select $1, k from unnest($2::bytea[]) k where qd.is_mirrored($3)";
        self.run(sql, &[&self.known.cid, &keys, &self.known.name])
            .await
    }

    /// A point that should be there and is not; the others are written.
    async fn apply(&self, operation: &UpdateOperation) -> Result<Option<PointId>, Fault> {
        match operation {
            UpdateOperation::PointOperation(operation) => {
                self.points(operation).await.map(|()| None)
            }
            UpdateOperation::VectorOperation(operation) => self.vectors(operation).await,
            UpdateOperation::PayloadOperation(operation) => self.payloads(operation).await,
            UpdateOperation::FieldIndexOperation(_) | UpdateOperation::VectorNameOperation(_) => {
                Ok(None)
            }
        }
    }

    async fn points(&self, operation: &PointOperations) -> Result<(), Fault> {
        match operation {
            PointOperations::UpsertPoints(insert) => {
                self.upsert(listed(insert), UpdateMode::Upsert, None).await
            }
            PointOperations::UpsertPointsConditional(conditional) => {
                let condition = Some(&conditional.condition);
                let condition = condition.filter(|filter| **filter != Filter::default());
                let mode = conditional.update_mode.unwrap_or_default();
                self.upsert(listed(&conditional.points_op), mode, condition)
                    .await
            }
            PointOperations::DeletePoints { ids } => self.delete(ids, None).await,
            PointOperations::DeletePointsByFilter(filter) => self.delete(&[], Some(filter)).await,
            PointOperations::SyncPoints(_) => Err(self.cannot("take a range of points over")),
        }
    }

    /// Locks rows; the place of each by its id.
    async fn lock(
        &self,
        wanted: &[PointId],
        filter: Option<&Filter>,
    ) -> Result<HashMap<PointId, String>, Fault> {
        let mut params = Params::new();
        let condition = match filter {
            Some(filter) => filter_sql::condition(filter, self.known, &mut params)?,
            None => self.known.by_ids(wanted.iter().copied(), &mut params),
        };
        let sql = format!(
            "select c.id, c.tid::text from {} c where {condition} for update",
            self.known.points_table()
        );
        let mut found = HashMap::new();
        for row in self.rows(&sql, &params.refs()).await? {
            found.insert(ids::parse(row.get(0))?, row.get(1));
        }
        let keys = ids::keys(found.keys().copied());
        self.touched.lock().extend(keys);
        Ok(found)
    }

    async fn delete(&self, wanted: &[PointId], filter: Option<&Filter>) -> Result<(), Fault> {
        let places: Vec<String> = self.lock(wanted, filter).await?.into_values().collect();
        let sql = format!(
            "delete from {} t where t.ctid = any($1::text[]::tid[])",
            self.mapping.table
        );
        self.run(&sql, &[&places]).await
    }

    async fn upsert(
        &self,
        points: &[PointStructPersisted],
        mode: UpdateMode,
        condition: Option<&Filter>,
    ) -> Result<(), Fault> {
        // Of several with one id the last is meant.
        let mut given = HashMap::with_capacity(points.len());
        for point in points {
            given.insert(point.id, self.given(point)?);
        }
        let wanted: Vec<_> = given.keys().copied().collect();
        let there = self.lock(&wanted, None).await?;
        let mut changed = there.clone();
        if let Some(filter) = condition {
            let both = Filter::new_must(qdrant_edge::Condition::Filter(filter.clone()));
            let ids = there.keys().copied().collect();
            let has_id = Filter::new_must(qdrant_edge::Condition::HasId(ids));
            changed = self.lock(&[], Some(&both.merge(&has_id))).await?;
        }
        let (old, new): (Vec<Given>, Vec<Given>) = given
            .into_values()
            .partition(|point| there.contains_key(&point.id));
        if mode != UpdateMode::InsertOnly {
            let old = old.into_iter();
            let old = old.filter_map(|point| Some((changed.get(&point.id)?.clone(), point)));
            self.replace(old.collect()).await?;
        }
        if mode != UpdateMode::UpdateOnly && !new.is_empty() {
            self.insert(new).await?;
        }
        Ok(())
    }

    /// Rows that are there get the points' payloads and vectors. The first of each pair is the
    /// place.
    async fn replace(&self, points: Vec<(String, Given)>) -> Result<(), Fault> {
        if points.is_empty() {
            return Ok(());
        }
        let (places, points): (Vec<String>, Vec<Given>) = points.into_iter().unzip();
        let mut values = Values::default();
        let places = values.push(places);
        let rows = self.unnested(format!("{places}::text[]::tid[]"), points, &mut values);
        self.check(&rows, &values).await?;
        let mut set = self.parts("n");
        set.extend(self.vector_parts());
        let set: Vec<_> = set
            .iter()
            .map(|(column, value)| format!("{column} = {value}"))
            .collect();
        let sql = format!(
            "update {} t set {} from {rows} n where t.ctid = n.key",
            self.mapping.table,
            set.join(", ")
        );
        self.run(&sql, &values.refs()).await
    }

    async fn insert(&self, points: Vec<Given>) -> Result<(), Fault> {
        let new = ids::keys(points.iter().map(|point| point.id));
        self.touched.lock().extend(new);
        let mut values = Values::default();
        let keys = match self.mapping.kind {
            KeyKind::Integer => {
                let numbers = points.iter().filter_map(|point| match point.id {
                    PointId::NumId(number) => i64::try_from(number).ok(),
                    PointId::Uuid(_) => None,
                });
                format!("{}::int8[]", values.push(numbers.collect::<Vec<i64>>()))
            }
            KeyKind::Uuid | KeyKind::Text => {
                let texts: Vec<String> = points.iter().map(|point| point.id.to_string()).collect();
                format!("{}::text[]", values.push(texts))
            }
        };
        let rows = self.unnested(keys, points, &mut values);
        self.check(&rows, &values).await?;
        let key = match self.mapping.kind {
            KeyKind::Integer => "n.key",
            KeyKind::Uuid => "n.key::uuid",
            // A text that is no UUID comes back with what it was made from.
            KeyKind::Text => {
                "case when qd.uuid5(n.p ->> '_pg_id') = n.key::uuid then n.p ->> '_pg_id' else n.key end"
            }
        };
        let mut parts = vec![(self.mapping.key.clone(), key.to_owned())];
        parts.extend(self.parts("n"));
        parts.extend(self.vector_parts());
        let fixed = self.writes.fixed.iter();
        parts.extend(fixed.map(|(column, value)| (column.clone(), value.clone())));
        let (columns, parts): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
        let sql = format!(
            "insert into {} ({}) select {} from {rows} n",
            self.mapping.table,
            columns.join(", "),
            parts.join(", ")
        );
        self.run(&sql, &values.refs()).await
    }

    async fn payloads(&self, operation: &PayloadOps) -> Result<Option<PointId>, Fault> {
        let (wanted, filter) = selected_points(operation)?;
        let there = self.lock(wanted, filter).await?;
        let missing = wanted.iter().find(|id| !there.contains_key(id)).copied();
        let mut values = Values::default();
        let places: Vec<String> = there.into_values().collect();
        let places = values.push(places);
        let new = becomes(operation, &mut values);
        let rows = format!(
            "(select c.tid as key, {new} as p from {} c where c.tid = any({places}::text[]::tid[]))",
            self.known.points_table()
        );
        self.check(&rows, &values).await?;
        let set = self.parts("n").into_iter();
        let set: Vec<_> = set
            .map(|(column, value)| format!("{column} = {value}"))
            .collect();
        let sql = format!(
            "update {} t set {} from {rows} n where t.ctid = n.key",
            self.mapping.table,
            set.join(", ")
        );
        self.run(&sql, &values.refs()).await?;
        Ok(missing)
    }

    async fn vectors(&self, operation: &VectorOperations) -> Result<Option<PointId>, Fault> {
        match operation {
            VectorOperations::UpdateVectors(update) => {
                let wanted: Vec<_> = update.points.iter().map(|point| point.id).collect();
                let there = self.lock(&wanted, None).await?;
                let mut places = there.clone();
                if let Some(filter) = &update.update_filter {
                    let fits = self.lock(&[], Some(filter)).await?;
                    places.retain(|id, _| fits.contains_key(id));
                }
                for (name, source) in &self.mapping.vectors {
                    let (mut at, mut texts) = (Vec::new(), Vec::new());
                    for point in &update.points {
                        let vector = named_vector(&point.vector, name);
                        if let (Some(place), Some(vector)) = (places.get(&point.id), vector) {
                            at.push(place.clone());
                            texts.push(self.text_of(name, vector)?);
                        }
                    }
                    let sql = format!(
                        "update {} t set {} = n.v::vector from \
                         (select distinct on (u.tid) u.tid::tid as tid, u.v from \
                         unnest($1::text[], $2::text[]) with ordinality u(tid, v, o) \
                         order by u.tid, u.o desc) n where t.ctid = n.tid returning t.ctid::text, n.tid::text",
                        self.mapping.table, source.column
                    );
                    // A changed row has another place.
                    for row in self.rows(&sql, &[&at, &texts]).await? {
                        let (new, old): (String, String) = (row.get(0), row.get(1));
                        places
                            .values_mut()
                            .filter(|place| **place == old)
                            .for_each(|place| {
                                place.clone_from(&new);
                            });
                    }
                }
                Ok(wanted.into_iter().find(|id| !there.contains_key(id)))
            }
            VectorOperations::DeleteVectors(points, names) => {
                let there = self.lock(&points.points, None).await?;
                let missing = points
                    .points
                    .iter()
                    .find(|id| !there.contains_key(id))
                    .copied();
                self.clear(there.into_values().collect(), names).await?;
                Ok(missing)
            }
            VectorOperations::DeleteVectorsByFilter(filter, names) => {
                let there = self.lock(&[], Some(filter)).await?;
                self.clear(there.into_values().collect(), names).await?;
                Ok(None)
            }
        }
    }

    async fn clear(&self, places: Vec<String>, names: &[String]) -> Result<(), Fault> {
        let mut set = Vec::new();
        for name in names {
            self.known.vector(name)?;
            if self.writes.needed.contains(name) {
                return Err(self.cannot(&format!("keep a point without its vector \"{name}\"")));
            }
            let source = self.mapping.vectors.get(name);
            let source = source.ok_or_else(|| link::nonsense(DOING))?;
            set.push(format!("{} = null", source.column));
        }
        let sql = format!(
            "update {} t set {} where t.ctid = any($1::text[]::tid[])",
            self.mapping.table,
            set.join(", ")
        );
        self.run(&sql, &[&places]).await
    }
}

/// `listed` has made lists of columns.
fn listed(insert: &PointInsertOperations) -> &[PointStructPersisted] {
    match insert {
        PointInsertOperations::PointsList(points) => points,
        PointInsertOperations::PointsBatch(_) => &[],
    }
}

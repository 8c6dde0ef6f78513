//! Points as they are read: which columns a request wants, and a record from a row.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use parking_lot::Mutex;
use qdrant_edge::{
    DEFAULT_VECTOR_NAME, Payload, PayloadSelector, PointId, Record, VectorInternal,
    VectorStructInternal, WithPayloadInterface, WithVector,
};
use tokio::time::Instant;
use tokio_postgres::Row;

use super::ann::{AnnState, Pending};
use super::catalog::{Known, VectorKind, VectorTable};
use super::filter_sql::Params;
use super::link::Fault;
use super::pool::{Pool, one_row};
use super::query::reader;
use super::vectors::{self, Space};
use super::{ids, index, link, payload};
use crate::error::Result;
use crate::store::engine::{Condition, Health};
use crate::store::explain;

/// From here on a count is slow,
const COUNT_SLOW: Duration = Duration::from_millis(250);
/// and is kept for so many times as long as it took,
const COUNT_KEPT_TIMES: u32 = 10;
/// but no longer than this.
const COUNT_KEPT_MAX: Duration = Duration::from_secs(60);

/// What is wanted of each point.
pub(super) struct Shape<'k> {
    payload: Option<Selection>,
    vectors: Vec<(&'k str, &'k VectorTable, Space)>,
    wants_vectors: bool,
    names_all: bool,
    /// A vector that is wanted and that no point can have.
    unknown: Option<String>,
}

enum Selection {
    All,
    Some(PayloadSelector),
}

impl<'k> Shape<'k> {
    pub(super) fn new(
        known: &'k Known,
        payload: &WithPayloadInterface,
        vector: &WithVector,
    ) -> Self {
        let payload = match payload {
            WithPayloadInterface::Bool(false) => None,
            WithPayloadInterface::Bool(true) => Some(Selection::All),
            WithPayloadInterface::Fields(fields) => Some(Selection::Some(
                PayloadSelector::new_include(fields.clone()),
            )),
            WithPayloadInterface::Selector(selector) => Some(Selection::Some(selector.clone())),
        };
        let all = known.vectors.keys().filter_map(|name| {
            let (table, space) = Space::of(known, name)?;
            Some((name.as_str(), table, space))
        });
        let mut unknown = None;
        let vectors = match vector {
            WithVector::Bool(false) => Vec::new(),
            WithVector::Bool(true) => all.collect(),
            WithVector::Selector(wanted) => {
                let mut names = wanted.iter();
                unknown = names
                    .find(|name| !known.vectors.contains_key(*name))
                    .cloned();
                all.filter(|(name, ..)| wanted.iter().any(|one| one == name))
                    .collect()
            }
        };
        Self {
            payload,
            vectors,
            unknown,
            wants_vectors: *vector != WithVector::Bool(false),
            names_all: names_all(vector),
        }
    }

    /// The columns to select, the id first, where the points table is `c`.
    pub(super) fn columns(&self) -> String {
        let mut columns = vec!["c.id".to_owned()];
        if self.payload.is_some() {
            columns.push("c.payload::text".to_owned());
        }
        for (at, (_, table, _)) in self.vectors.iter().enumerate() {
            // Whether it is there, then what it is.
            let of = table.column.selected();
            match &table.own {
                Some(own) => {
                    columns.push(format!("case when {} then 1::bigint end", own.there()));
                    columns.push(of.replace("s.v", &format!("c.v{}", own.number)));
                }
                None => {
                    columns.push(format!("w{at}.pid"));
                    columns.push(of.replace("s.", &format!("w{at}.")));
                }
            }
        }
        columns.join(", ")
    }

    /// What is joined to the points table for them.
    pub(super) fn joins(&self) -> String {
        let tables = self.vectors.iter().enumerate();
        let tables = tables.filter(|(_, (_, table, _))| table.own.is_none());
        let joins = tables.map(|(at, (_, table, _))| {
            format!(" left join {} w{at} on w{at}.pid = c.pid", table.table)
        });
        joins.collect()
    }

    /// The record in a row that has the columns from `at` on.
    pub(super) fn record(&self, row: &Row, mut at: usize) -> Result<Record> {
        let odd = |error| link::nonsense("read a point").with_source(error);
        let id = ids::parse(row.try_get(at).map_err(odd)?)?;
        at += 1;
        let mut record = Record {
            id,
            payload: None,
            vector: None,
            shard_key: None,
            order_value: None,
        };
        if let Some(selection) = &self.payload {
            record.payload = Some(selected(selection, row.try_get(at).map_err(odd)?)?);
            at += 1;
        }
        if self.wants_vectors {
            let mut found = HashMap::with_capacity(self.vectors.len());
            for (name, table, space) in &self.vectors {
                if row.try_get::<_, Option<i64>>(at).map_err(odd)?.is_some() {
                    let stored = vectors::read(row, at + 1, table, space)?;
                    found.insert((*name).to_owned(), stored.into_vector(space));
                }
                at += 1 + table.columns().len();
            }
            record.vector = Some(match self.names_all {
                true => VectorStructInternal::Named(found),
                false => as_one(found),
            });
        }
        Ok(record)
    }
}

fn selected(selection: &Selection, text: &str) -> Result<Payload> {
    let payload = payload::decode(text)?;
    Ok(match selection {
        Selection::All => payload,
        Selection::Some(selector) => selector.process(payload),
    })
}

/// Qdrant counts a vector that is asked for twice as two, and so says the name even of the one that
/// has none.
pub(super) fn names_all(vector: &WithVector) -> bool {
    match vector {
        WithVector::Selector(names) => names.iter().filter(|name| name.is_empty()).count() > 1,
        WithVector::Bool(_) => false,
    }
}

/// A point that has nothing but the vector without a name shows that one plainly.
fn as_one(mut found: HashMap<String, VectorInternal>) -> VectorStructInternal {
    if found.len() == 1 {
        match found.remove(DEFAULT_VECTOR_NAME) {
            Some(VectorInternal::Dense(dense)) => return VectorStructInternal::Single(dense),
            Some(VectorInternal::MultiDense(rows)) => {
                return VectorStructInternal::MultiDense(rows);
            }
            Some(sparse @ VectorInternal::Sparse(_)) => {
                found.insert(DEFAULT_VECTOR_NAME.to_owned(), sparse);
            }
            None => {}
        }
    }
    VectorStructInternal::Named(found)
}

pub(super) async fn retrieve(
    pool: &Pool,
    known: &Known,
    wanted: &[PointId],
    payload: &WithPayloadInterface,
    vector: &WithVector,
) -> Result<Vec<Record>, Fault> {
    let shape = Shape::new(known, payload, vector);
    let mut seen = HashSet::with_capacity(wanted.len());
    let once = wanted.iter().copied().filter(|id| seen.insert(*id));
    let mut params = Params::default();
    let condition = known.by_ids(once, &mut params);
    let sql = format!(
        "select {} from {} c{} where {condition}",
        shape.columns(),
        known.points_table(),
        shape.joins()
    );
    if explain::is_wanted() {
        let client = pool.lend().await?;
        let planned = reader::plan(&client, &sql, &params).await;
        client.back(&planned);
        planned?;
    }
    let rows = pool.query("read points", &sql, &params.refs()).await?;
    // Nothing is amiss while no point is found that would have to show it.
    if let Some(name) = shape.unknown.as_ref().filter(|_| !rows.is_empty()) {
        known.vector(name)?;
    }
    let mut found = HashMap::with_capacity(rows.len());
    for row in &rows {
        let record = shape.record(row, 0)?;
        found.insert(record.id, record);
    }
    Ok(wanted.iter().filter_map(|id| found.remove(id)).collect())
}

/// What collections were found to hold, where it took long to count. Such a count is kept for some
/// times as long as it took: clients ask until a collection is green, and whoever watches the metrics
/// asks for ever.
#[derive(Default)]
pub(super) struct Conditions(Mutex<HashMap<i32, Counted>>);

struct Counted {
    epoch: i64,
    condition: Condition,
    good_until: Instant,
}

impl Conditions {
    pub(super) async fn of(&self, pool: &Pool, known: &Known) -> Result<Condition, Fault> {
        if let Some(condition) = self.kept(known) {
            return Ok(condition);
        }
        let began = Instant::now();
        let condition = condition(pool, known).await?;
        let took = began.elapsed();
        let mut all = self.0.lock();
        all.retain(|_, counted| counted.good_until > Instant::now());
        if took >= COUNT_SLOW {
            let counted = Counted {
                epoch: known.epoch,
                condition: condition.clone(),
                good_until: Instant::now() + (took * COUNT_KEPT_TIMES).min(COUNT_KEPT_MAX),
            };
            all.insert(known.cid, counted);
        }
        Ok(condition)
    }

    fn kept(&self, known: &Known) -> Option<Condition> {
        let all = self.0.lock();
        let counted = all.get(&known.cid)?;
        let is_good = counted.epoch == known.epoch && counted.good_until > Instant::now();
        is_good.then(|| counted.condition.clone())
    }
}

async fn condition(pool: &Pool, known: &Known) -> Result<Condition, Fault> {
    const DOING: &str = "count what a collection holds";
    // What is in an index for search, and every sparse vector: those are searched by an index from
    // the first on.
    let indexed = known.vectors.values().filter(|table| match table.kind {
        VectorKind::Dense | VectorKind::Multi => table.ann == AnnState::Ready,
        VectorKind::Sparse => true,
    });
    let counts = indexed.map(|table| match &table.own {
        Some(own) => format!(
            " + (select count(*) from {} c where {})",
            table.table,
            own.there()
        ),
        None => format!(" + (select count(*) from {})", table.table),
    });
    let pending = known.vectors.iter();
    let pending = pending.filter_map(|(name, table)| Pending::of(known, name, table));
    let pending = pending.map(|pending| format!(" or ({})", pending.is_due));
    let sql = format!(
        "select (select count(*) from {} c), 0::bigint{}, false{}",
        known.points_table(),
        counts.collect::<String>(),
        pending.collect::<String>()
    );
    let rows = pool.query(DOING, &sql, &[]).await?;
    let row = one_row(&rows, DOING)?;
    let count = |at: usize| -> Result<usize> {
        let count: i64 = row
            .try_get(at)
            .map_err(|error| link::nonsense(DOING).with_source(error))?;
        Ok(usize::try_from(count).unwrap_or_default())
    };
    let mut index_points = HashMap::new();
    for (path, schema) in &known.declared.payload_schema {
        let Some(index) = known.indexes.get(&path.to_string()) else {
            continue;
        };
        let sql = index::points(known, index.ino, path, schema);
        let rows = pool.query(DOING, &sql, &[]).await?;
        let points: i64 = one_row(&rows, DOING)?.get(0);
        index_points.insert(path.clone(), usize::try_from(points).unwrap_or_default());
    }
    let is_pending: bool = row
        .try_get(2)
        .map_err(|error| link::nonsense(DOING).with_source(error))?;
    Ok(Condition {
        health: health(known, is_pending),
        points_count: count(0)?,
        indexed_vectors_count: count(1)?,
        // There are no segments; one is what a client expects to see of a small collection.
        segments_count: 1,
        index_points,
    })
}

/// Yellow until searches are as fast as they will be.
fn health(known: &Known, is_pending: bool) -> Health {
    if is_pending || known.indexes.values().any(|index| !index.ready) {
        return Health::Yellow;
    }
    Health::Green
}

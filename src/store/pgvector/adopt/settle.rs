//! At the start: the settings' mappings are looked at, filled in from the tables as they are, and
//! written into the catalogue. One that does not fit ends the start.
//!
//! What a sidecar's settings do not name it does not show, but leaves in the catalogue: another
//! sidecar over the same database may still want it.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tracing::info;

use super::inspect::{self, Column, Index, Table};
use super::template::{self, Plan};
use super::{Indexed, Mapping, Source};
use crate::config::{Adopt, Collection, Distance};
use crate::error::{Error, Result};
use crate::store::pgvector::collections::Change;
use crate::store::pgvector::link::Fault;
use crate::store::pgvector::names::{self, CATALOGUE, literal};
use crate::store::pgvector::outbox;
use crate::store::pgvector::pool::Pool;
use crate::wire::rest::CollectionConfig;

/// The tables to be shown, by the name of the collection.
pub(in crate::store::pgvector) type Adoptions = BTreeMap<String, Collection>;

const DOING: &str = "adopt a table";

/// A table as it is to be shown.
pub(super) struct Fitted {
    pub(super) mapping: Mapping,
    pub(super) distances: BTreeMap<String, Distance>,
}

/// Puts the settings in force. Idempotent; several sidecars may do it at once.
pub(in crate::store::pgvector) async fn settle(pool: &Pool, wanted: &Adoptions) -> Result<()> {
    if wanted.is_empty() {
        return Ok(());
    }
    let mut fitted = Vec::with_capacity(wanted.len());
    for (name, own) in wanted {
        let found = fit(pool, name, own).await?;
        info!(
            collection = name,
            table = found.mapping.table,
            "a table is adopted"
        );
        fitted.push((name, found));
    }
    let mut client = pool.get().await?;
    let transaction = pool.slow_transaction(&mut client, DOING).await?;
    let change = Change { transaction };
    change.lock_catalogue().await?;
    for (name, found) in &fitted {
        record(&change, name, found).await?;
    }
    change.commit(0).await?;
    let names: Vec<&String> = fitted.iter().map(|(name, _)| *name).collect();
    outbox::bring_in_line(pool, Some(&names)).await
}

async fn record(change: &Change<'_>, name: &str, found: &Fitted) -> Result<()> {
    let undone = |error| Fault::undone(DOING, error);
    let mapping = serde_json::to_string(&found.mapping).map_err(Fault::from)?;
    let sql = format!("select cid, config, mapping from {CATALOGUE}.collections where name = $1");
    let row = change.transaction.query_opt(&sql, &[&name]).await;
    let Some(row) = row.map_err(undone)? else {
        let config = serde_json::to_string(&config(found)?).map_err(Fault::from)?;
        let sql = format!(
            "insert into {CATALOGUE}.collections (name, config, mapping) values ($1, $2, $3) \
             returning cid"
        );
        let cid: Option<i32> = change.number(&sql, &[&name, &config, &mapping]).await?;
        let operations = names::operations(cid.unwrap_or_default());
        change
            .execute(&format!("create sequence {operations}"))
            .await?;
        change.mark_schema(&[name]).await?;
        return Ok(());
    };
    let (cid, before): (i32, Option<String>) = (row.get(0), row.get(2));
    let Some(before) = before else {
        return Err(Error::settings(format!(
            "collections.{name}: the store has a collection \"{name}\" of its own, which the \
             table {} would hide; give the table another name here, or delete the collection",
            found.mapping.table
        )));
    };
    // What clients have set of it stays, as long as the vectors are the same.
    let mut present: CollectionConfig = serde_json::from_str(row.get(1)).map_err(Fault::from)?;
    let fresh = config(found)?;
    let same = present.params.vectors.iter().map(size_of).eq(fresh
        .params
        .vectors
        .iter()
        .map(size_of));
    if same && before == mapping {
        return Ok(());
    }
    if !same {
        present.params.vectors = fresh.params.vectors;
    }
    change.write_config(cid, &present).await?;
    let sql = format!(
        "update {CATALOGUE}.collections set mapping = $2, epoch = qd.token() where cid = $1"
    );
    change.run(&sql, &[&cid, &mapping]).await?;
    Ok(change.mark_schema(&[name]).await?)
}

fn size_of<'v>(
    (name, params): (&'v str, &'v crate::wire::rest::VectorParams),
) -> (&'v str, usize, qdrant_edge::Distance) {
    (name, params.dimensions(), params.distance)
}

fn config(found: &Fitted) -> Result<CollectionConfig> {
    let vectors = found.mapping.vectors.iter().map(|(name, source)| {
        let distance = found
            .distances
            .get(name)
            .copied()
            .unwrap_or(Distance::Cosine);
        (
            name.clone(),
            json!({"size": source.size, "distance": shown(distance)}),
        )
    });
    let vectors: serde_json::Map<String, Value> = vectors.collect();
    let vectors = match vectors.get("") {
        Some(only) if vectors.len() == 1 => only.clone(),
        Some(_) | None => Value::Object(vectors),
    };
    let request = json!({"vectors": vectors});
    let request: crate::wire::rest::CreateCollection =
        serde_json::from_value(request).map_err(Fault::from)?;
    request.into_config()
}

pub(super) fn shown(distance: Distance) -> &'static str {
    match distance {
        Distance::Cosine => "Cosine",
        Distance::Dot => "Dot",
        Distance::Euclid => "Euclid",
        Distance::Manhattan => "Manhattan",
    }
}

/// Looks at the table that is meant, and fits the mapping to it.
pub(super) async fn fit(pool: &Pool, name: &str, own: &Collection) -> Result<Fitted> {
    let table = find(pool, name, own).await?;
    let misfit = |what: String| {
        Error::settings(format!(
            "collections.{name}: the table {} {what}",
            table.shown()
        ))
    };
    let kind = match table.kind.as_str() {
        "r" | "m" => None,
        "p" => Some("is partitioned; adopt its partitions one by one"),
        "v" => Some("is a view; adopt the table behind it"),
        _ => Some("is kept on another server; adopt it there"),
    };
    if let Some(kind) = kind {
        return Err(misfit(kind.to_owned()));
    }
    let source = own.source.as_deref().unwrap_or(name);
    let mut plan = template::plan(own, &table, source).map_err(misfit)?;
    if let Some(parent) = plan.parent.take() {
        by_parent(pool, &table, &mut plan, &parent, source)
            .await?
            .map_err(misfit)?;
    }
    let mut vectors = BTreeMap::new();
    let mut distances = BTreeMap::new();
    for (vector, column) in &plan.vectors {
        let distance = own
            .distance
            .unwrap_or_else(|| distance(own, &table, column));
        let source = vector_source(pool, &table, &plan, own, column, distance).await?;
        vectors.insert(vector.clone(), source.map_err(misfit)?);
        distances.insert(vector.clone(), distance);
    }
    let writes = match plan.writes {
        _ if own.writable != Some(true) => None,
        Ok(mut writes) => {
            let needed = plan.vectors.iter().filter(|(_, column)| column.is_required);
            writes.needed = needed.map(|(name, _)| name.clone()).collect();
            Some(writes)
        }
        Err(why) => {
            return Err(misfit(format!(
                "cannot be written to through Qdrant's API, because {why}; remove writable"
            )));
        }
    };
    Ok(Fitted {
        mapping: Mapping {
            table: table.quoted(),
            key: plan.key.quoted(),
            kind: plan.kind,
            payload: plan.payload,
            conditions: plan.conditions,
            vectors,
            writes,
            trigger: own.trigger == Some(true),
        },
        distances,
    })
}

async fn find(pool: &Pool, name: &str, own: &Collection) -> Result<Table> {
    let misfit = |what: String| Error::settings(format!("collections.{name}: {what}"));
    let adopt = own.adopt.unwrap_or(Adopt::Table);
    let (schema, wanted) = match &own.table {
        Some(written) => inspect::parts(written).ok_or_else(|| {
            misfit(format!(
                "{written} is no name of a table; write SCHEMA.TABLE"
            ))
        })?,
        None => {
            let source = own.source.as_deref().unwrap_or(name);
            let (schema, wanted) = template::default_table(adopt, source);
            (schema.map(str::to_owned), wanted)
        }
    };
    let mut found = inspect::find(pool, schema.as_deref(), &wanted).await?;
    match found.len() {
        0 => Err(misfit(format!(
            "there is no table {}{wanted} (or this role does not see it); create it, or name the \
             right one with table",
            schema.map(|schema| schema + ".").unwrap_or_default()
        ))),
        // One in `public` comes first.
        many if many > 1 && found.first().is_some_and(|first| first.schema != "public") => {
            let all: Vec<_> = found.iter().map(Table::shown).collect();
            Err(misfit(format!(
                "there are several tables {wanted} ({}); name the right one with table",
                all.join(", ")
            )))
        }
        _ => Ok(found.swap_remove(0)),
    }
}

/// LangChain: whether the collection is there, and how its rows are told by an index of its own.
async fn by_parent(
    pool: &Pool,
    table: &Table,
    plan: &mut Plan,
    parent: &str,
    source: &str,
) -> Result<Result<(), String>> {
    let sql = format!("select name::text, uuid::text from {parent} order by 1 limit 1000");
    let rows = pool.query(DOING, &sql, &[]).await?;
    let found = rows.iter().find(|row| row.get::<_, &str>(0) == source);
    let Some(found) = found else {
        let names: Vec<_> = rows
            .iter()
            .take(20)
            .map(|row| row.get::<_, &str>(0))
            .collect();
        return Ok(Err(format!(
            "holds no collection \"{source}\" (there is {}); name one with source",
            if names.is_empty() {
                "none".to_owned()
            } else {
                names.join(", ")
            }
        )));
    };
    let uuid: &str = found.get(1);
    // An index over the rows of one collection is found by a condition that names it outright. It
    // is as old as the index then; else the collection may be made anew under its name.
    let is_named = |index: &Index| index.predicate.as_ref().is_some_and(|of| of.contains(uuid));
    if table.indexes.iter().any(is_named) {
        plan.conditions = vec![format!("t.\"collection_id\" = {}::uuid", literal(uuid))];
    }
    Ok(Ok(()))
}

/// What an operator class compares by.
fn compares(opclass: &str) -> Option<Distance> {
    let suffixes = [
        ("_cosine_ops", Distance::Cosine),
        ("_ip_ops", Distance::Dot),
        ("_l2_ops", Distance::Euclid),
        ("_l1_ops", Distance::Manhattan),
    ];
    let found = suffixes
        .iter()
        .find(|(suffix, _)| opclass.ends_with(suffix));
    found.map(|(_, distance)| *distance)
}

/// Where nobody says: that of the table's own index, where no framework knows better.
pub(super) fn distance(own: &Collection, table: &Table, column: &Column) -> Distance {
    let by_index = match own.adopt.unwrap_or(Adopt::Table) {
        Adopt::Table | Adopt::Vecs => {
            let mut indexes = table.indexes.iter();
            indexes.find_map(|index| {
                let on = index.on.trim_start_matches('(');
                on.starts_with(&column.shown)
                    .then(|| compares(&index.opclass))?
            })
        }
        Adopt::Mem0
        | Adopt::Langchain
        | Adopt::LangchainJs
        | Adopt::Llamaindex
        | Adopt::Dify
        | Adopt::OpenWebui
        | Adopt::Anythingllm => None,
    };
    by_index.unwrap_or(Distance::Cosine)
}

async fn vector_source(
    pool: &Pool,
    table: &Table,
    plan: &Plan,
    own: &Collection,
    column: &Column,
    distance: Distance,
) -> Result<Result<Source, String>> {
    let asked = own
        .size
        .map(|size| usize::try_from(size).unwrap_or(usize::MAX));
    let declared = usize::try_from(column.modifier)
        .ok()
        .filter(|size| *size > 0);
    let name = column.quoted();
    let stored = match declared.or(asked).or_else(|| size_of_index(table, column)) {
        Some(stored) => stored,
        None => match size_of_rows(pool, table, plan, column).await? {
            Some(stored) => stored,
            None => {
                return Ok(Err(format!(
                    "has no dimension in {name}, and no row to tell it; say it with size"
                )));
            }
        },
    };
    let size = asked.unwrap_or(stored);
    if size > stored {
        return Ok(Err(format!(
            "has vectors of {stored} dimensions in {name}, and size asks for {size}; say {stored}"
        )));
    }
    let is_half = column.kind == "halfvec";
    let value = match declared {
        Some(_) => format!("t.{name}"),
        None => format!("(t.{name}::{}({stored}))", column.kind),
    };
    let index = index_of(table, column, stored, declared.is_some(), distance);
    Ok(Ok(Source {
        column: name,
        value,
        is_half,
        size,
        stored,
        index,
    }))
}

/// The text of an index's expression without what does not matter.
fn plainly(expression: &str) -> String {
    let kept = expression.chars().filter(|c| !matches!(c, '(' | ')' | ' '));
    kept.collect()
}

/// The dimension of an index over a column that has none.
fn size_of_index(table: &Table, column: &Column) -> Option<usize> {
    table.indexes.iter().find_map(|index| {
        let on = plainly(&index.on);
        let rest = on.strip_prefix(&plainly(&column.shown))?;
        let digits = rest
            .strip_prefix("::vector")
            .or_else(|| rest.strip_prefix("::halfvec"))?;
        digits.parse().ok()
    })
}

async fn size_of_rows(
    pool: &Pool,
    table: &Table,
    plan: &Plan,
    column: &Column,
) -> Result<Option<usize>> {
    let mut conditions = plan.conditions.clone();
    conditions.push(format!("t.{} is not null", column.quoted()));
    let sql = format!(
        "select vector_dims(t.{}) from {} t where {} limit 1",
        column.quoted(),
        table.quoted(),
        conditions.join(" and ")
    );
    let rows = pool.query(DOING, &sql, &[]).await?;
    let size = rows.first().map(|row| row.get::<_, i32>(0));
    Ok(size.and_then(|size| usize::try_from(size).ok()))
}

/// The index that a search by this distance can use.
fn index_of(
    table: &Table,
    column: &Column,
    stored: usize,
    is_declared: bool,
    distance: Distance,
) -> Option<Indexed> {
    let (name, shown) = (column.quoted(), plainly(&column.shown));
    let bare = is_declared.then(|| (shown.clone(), format!("t.{name}"), column.kind == "halfvec"));
    let cast = |kind: &str| {
        let value = format!("(t.{name}::{kind}({stored}))");
        (format!("{shown}::{kind}{stored}"), value, kind == "halfvec")
    };
    let ways = bare.into_iter().chain([cast("vector"), cast("halfvec")]);
    let mut all = ways.flat_map(|way| table.indexes.iter().map(move |index| (way.clone(), index)));
    all.find_map(|((on, value, is_half), index)| {
        let fits = plainly(&index.on) == on && compares(&index.opclass) == Some(distance);
        fits.then(|| {
            let mut options = index.options.split(',');
            let lists = options.find_map(|one| one.strip_prefix("lists=")?.parse().ok());
            Indexed {
                value,
                is_half,
                lists: (index.method == "ivfflat").then(|| lists.unwrap_or(100)),
            }
        })
    })
}

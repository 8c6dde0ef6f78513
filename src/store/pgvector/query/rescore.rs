//! Points that were found before, scored by a formula or chosen by novelty.

use std::collections::HashMap;

use futures_util::future::try_join;
use qdrant_edge::external::serde_json::Value;
use qdrant_edge::{Condition, Filter, JsonPath, Mmr, OperationError, VectorInternal};

use super::fill;
use super::formula::{Formula, Subject};
use super::hit::{Best, Hit};
use super::novelty::{self, Novelty};
use super::reader::Reader;
use super::refused;
use crate::store::pgvector::catalog::Known;
use crate::store::pgvector::filter_sql::{self, Params};
use crate::store::pgvector::link::Fault;
use crate::store::pgvector::vectors::{self, Space, Stored};
use crate::task;
use crate::wire::rest::refuse;

/// A formula in pieces: the engine's own type has no name outside of it.
pub(super) struct Pieces {
    pub(super) expression: Value,
    pub(super) conditions: Vec<Condition>,
    pub(super) variables: Vec<JsonPath>,
    pub(super) defaults: HashMap<String, Value>,
}

pub(super) async fn by_formula(
    reader: &Reader<'_>,
    known: &Known,
    pieces: Pieces,
    sources: Vec<Vec<Hit>>,
    limit: usize,
    threshold: Option<f32>,
) -> Result<Vec<Hit>, Fault> {
    let schema = &known.declared.payload_schema;
    let indexes = pieces.variables.iter().filter_map(|path| {
        let index = schema.get(path)?;
        Some((path.clone(), index.clone()))
    });
    let indexes = indexes.collect();
    let has_variables = !pieces.variables.is_empty();
    let formula = Formula::new(
        pieces.expression,
        pieces.conditions,
        pieces.defaults,
        indexes,
    )
    .map_err(refused)?;
    let scores: Vec<HashMap<i64, f32>> = sources
        .iter()
        .map(|source| source.iter().map(|hit| (hit.pid, hit.score)).collect())
        .collect();
    let union = novelty::once(sources.into_iter().flatten().collect());
    let pids: Vec<_> = union.iter().map(|hit| hit.pid).collect();
    let payloads = async {
        if has_variables {
            fill::payloads(reader, known, &pids).await
        } else {
            Ok(HashMap::new())
        }
    };
    let facts = facts(reader, known, &formula.conditions, &pids);
    let (payloads, facts) = try_join(payloads, facts).await?;
    let mut best = Best::new(limit);
    for mut hit in union {
        // Listed points come without their version.
        let Some((version, meets)) = facts.get(&hit.pid) else {
            continue;
        };
        let payload = payloads.get(&hit.pid).cloned().unwrap_or_default();
        let scores: Vec<_> = scores.iter().map(|of| of.get(&hit.pid).copied()).collect();
        let subject = Subject {
            payload: &payload,
            scores: &scores,
            meets,
        };
        hit.score = formula.score(&subject).map_err(refused)?;
        hit.version = *version;
        hit.order_value = None;
        if threshold.is_none_or(|threshold| hit.score >= threshold) {
            best.push(hit);
        }
    }
    Ok(best.into_sorted())
}

/// The version of each point, and which of the conditions it meets.
async fn facts(
    reader: &Reader<'_>,
    known: &Known,
    conditions: &[Condition],
    pids: &[i64],
) -> Result<HashMap<i64, (u64, Vec<bool>)>, Fault> {
    const DOING: &str = "check the conditions of a formula";
    if pids.is_empty() {
        return Ok(HashMap::new());
    }
    let mut params = Params::default();
    let mut columns = String::new();
    for condition in conditions {
        let filter = Filter::new_must(condition.clone());
        let condition = filter_sql::condition(&filter, known, &mut params)?;
        columns.push_str(&format!(", coalesce({condition}, false)"));
    }
    let places = known.by_pids(pids, &mut params);
    let text = format!(
        "select c.pid, c.ver{columns} from {points} c where {places}",
        points = known.points_table(),
    );
    let failed = |error| Fault::undone(DOING, error);
    let rows = reader.rows(DOING, &text, &params).await?;
    let facts = rows.iter().map(|row| {
        let version: i64 = row.try_get(1).map_err(failed)?;
        let meets = (2..row.len()).map(|at| row.try_get(at).map_err(failed));
        let facts = (version.unsigned_abs(), meets.collect::<Result<_, _>>()?);
        Ok((row.try_get(0).map_err(failed)?, facts))
    });
    facts.collect()
}

pub(super) async fn by_novelty(
    reader: &Reader<'_>,
    known: &Known,
    mmr: Mmr,
    sources: Vec<Vec<Hit>>,
    limit: usize,
) -> Result<Vec<Hit>, Fault> {
    let name = mmr.using.clone();
    let space = Space::of(known, &name).filter(|(_, space)| !space.is_sparse);
    let Some((_, space)) = space else {
        let text = format!("vector data config for vector {name} not found");
        return Err(refuse::service_error(&text).into());
    };
    if matches!(mmr.vector, VectorInternal::Sparse(_)) {
        return Err(refused(OperationError::WrongSparse));
    }
    let union = novelty::once(sources.into_iter().flatten().collect());
    let pids: Vec<_> = union.iter().map(|hit| hit.pid).collect();
    let mut vectors = rows(reader, known, &name, &pids).await?;
    let found = union.into_iter().filter_map(|hit| {
        let vector = vectors.remove(&hit.pid)?;
        Some((hit, vector))
    });
    let found: Vec<_> = found.collect();
    let novelty = Novelty::new(mmr, space).map_err(refused)?;
    let chosen = task::spawn_blocking("choose by novelty", move || novelty.choose(found, limit));
    let chosen = chosen.await;
    let failed =
        |error| refuse::service_error("choosing by novelty stopped half-way").with_source(error);
    Ok(chosen.map_err(failed)?)
}

async fn rows(
    reader: &Reader<'_>,
    known: &Known,
    name: &str,
    pids: &[i64],
) -> Result<HashMap<i64, Vec<f32>>, Fault> {
    const DOING: &str = "read vectors";
    let (table, space) = Space::of(known, name).ok_or_else(|| fill::no_vector(name))?;
    let mut params = Params::default();
    let from = known.vectors_of(table, pids, &mut params);
    let text = format!("select s.pid, {} from {from}", table.column.selected());
    let mut vectors = HashMap::new();
    for row in reader.rows(DOING, &text, &params).await? {
        let pid = row
            .try_get(0)
            .map_err(|error| Fault::undone(DOING, error))?;
        if let Stored::Rows(rows) = vectors::read(&row, 1, table, &space)? {
            vectors.insert(pid, rows);
        }
    }
    Ok(vectors)
}

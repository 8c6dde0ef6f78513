//! Points written and deleted as a whole.

use qdrant_edge::{
    ConditionalInsertOperation, Filter, PointId, PointInsertOperations, PointOperations,
    PointStructPersisted, PointSyncOperation, UpdateMode,
};

use super::vectors::{Left, satellites};
use super::{Gate, Plan, found_by, lock, mark, marked, nothing, removals, taking_number};
use crate::error::Result;
use crate::store::pgvector::catalog::Known;
use crate::store::pgvector::pool::{Step, Values};
use crate::store::pgvector::{ids, payload};

pub(super) fn plan(known: &Known, operation: &PointOperations) -> Result<Plan> {
    match operation {
        PointOperations::UpsertPoints(insert) => {
            upsert(known, list(insert), UpdateMode::Upsert, None)
        }
        PointOperations::UpsertPointsConditional(conditional) => {
            let ConditionalInsertOperation {
                points_op,
                condition,
                update_mode,
            } = conditional;
            let condition = Some(condition).filter(|filter| **filter != Filter::default());
            let mode = update_mode.unwrap_or_default();
            upsert(known, list(points_op), mode, condition)
        }
        PointOperations::DeletePoints { ids } => Ok(delete(known, ids)),
        PointOperations::DeletePointsByFilter(filter) => delete_by_filter(known, filter),
        PointOperations::SyncPoints(sync) => sync_points(known, sync),
    }
}

/// `listed` has made lists of columns.
fn list(insert: &PointInsertOperations) -> &[PointStructPersisted] {
    match insert {
        PointInsertOperations::PointsList(points) => points,
        PointInsertOperations::PointsBatch(_) => &[],
    }
}

fn upsert(
    known: &Known,
    points: &[PointStructPersisted],
    mode: UpdateMode,
    condition: Option<&Filter>,
) -> Result<Plan> {
    if points.is_empty() {
        return Ok(nothing(known));
    }
    let mut sorted: Vec<&PointStructPersisted> = points.iter().collect();
    sorted.sort_by_key(|point| ids::key(point.id));
    let keys = ids::keys(sorted.iter().map(|point| point.id));
    // Points that are there stay untouched whatever the condition says.
    let condition = condition.filter(|_| mode != UpdateMode::InsertOnly);
    let mut steps = Vec::with_capacity(3);
    if mode == UpdateMode::UpdateOnly {
        steps.push(lock(known, keys.clone()));
    }
    let number = steps.len();
    steps.push(rows(known, &sorted, keys.clone(), mode, condition)?);
    let vectors: Vec<_> = sorted.iter().map(|point| &point.vector).collect();
    let named = keys.clone();
    steps.extend(satellites(known, keys, &vectors, Left::Removed)?);
    Ok(Plan {
        gate: match condition {
            // What it looks at must not change under it.
            Some(_) => Gate::Alone,
            None => Gate::Shared,
        },
        steps,
        number,
        named: Some(named),
        wanted: None,
    })
}

/// Writes the rows of the points table.
fn rows(
    known: &Known,
    sorted: &[&PointStructPersisted],
    keys: Vec<Vec<u8>>,
    mode: UpdateMode,
    condition: Option<&Filter>,
) -> Result<Step> {
    let (condition, mut values) = match condition {
        Some(filter) => found_by(known, filter)?,
        None => ("true".to_owned(), Values::default()),
    };
    let keys = values.push(keys);
    let payloads = sorted.iter().map(|point| match &point.payload {
        Some(payload) => payload::encode(payload),
        None => "{}".to_owned(),
    });
    let payloads = values.push(payloads.collect::<Vec<String>>());
    let (op, points) = (taking_number(known), known.points_table());
    let inp = format!(
        "inp as materialized (select u.id, u.p::jsonb as p \
         from unnest({keys}::bytea[], {payloads}::text[]) u(id, p))"
    );
    let insert = format!(
        "insert into {points} as c (id, ver, payload) \
         select inp.id, op.n, inp.p from inp, op order by inp.id on conflict (id)"
    );
    let change = match mode {
        UpdateMode::Upsert => format!(
            "{insert} do update set ver = excluded.ver, payload = excluded.payload \
             where {condition}"
        ),
        UpdateMode::InsertOnly => format!("{insert} do nothing"),
        UpdateMode::UpdateOnly => format!(
            "update {points} c set ver = op.n, payload = inp.p from inp, op \
             where c.id = inp.id and ({condition})"
        ),
    };
    let sql = format!("{op}, {inp}, done as ({change}) select n from op");
    Ok(Step::new(sql, values))
}

fn delete(known: &Known, wanted: &[PointId]) -> Plan {
    let keys = ids::keys(wanted.iter().copied());
    let mut values = Values::default();
    let condition = marked(known, keys.clone(), &mut values);
    Plan {
        gate: Gate::Shared,
        steps: vec![
            mark(known, keys),
            deletion(known, "", &condition, "1", values),
        ],
        number: 0,
        named: None,
        wanted: None,
    }
}

fn delete_by_filter(known: &Known, filter: &Filter) -> Result<Plan> {
    let (condition, values) = found_by(known, filter)?;
    Ok(Plan {
        gate: Gate::Alone,
        steps: vec![numbered_deletion(known, &condition, values)],
        number: 0,
        named: None,
        wanted: None,
    })
}

fn numbered_deletion(known: &Known, condition: &str, values: Values) -> Step {
    let taken = format!("{},", taking_number(known));
    deletion(known, &taken, condition, "n from op", values)
}

fn deletion(known: &Known, first: &str, condition: &str, gives: &str, values: Values) -> Step {
    let points = known.points_table();
    let vectors = removals(known.tables(), "d");
    let with = if first.is_empty() { "with" } else { first };
    Step::new(
        format!(
            "{with} d as (delete from {points} c where {condition} returning c.pid){vectors} \
             select {gives}"
        ),
        values,
    )
}

/// Makes a range of ids hold these points and no others.
fn sync_points(known: &Known, sync: &PointSyncOperation) -> Result<Plan> {
    let mut values = Values::default();
    let kept = values.push(ids::keys(sync.points.iter().map(|point| point.id)));
    let mut condition = format!("not (c.id = any({kept}::bytea[]))");
    if let Some(from) = sync.from_id {
        condition += &format!(" and c.id >= {}", values.push(ids::key(from)));
    }
    if let Some(to) = sync.to_id {
        condition += &format!(" and c.id < {}", values.push(ids::key(to)));
    }
    let first = numbered_deletion(known, &condition, values);
    let mut plan = upsert(known, &sync.points, UpdateMode::Upsert, None)?;
    plan.steps.insert(0, first);
    plan.number += 1;
    plan.gate = Gate::Alone;
    Ok(plan)
}

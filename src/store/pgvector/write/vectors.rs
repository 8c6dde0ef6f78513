//! Vectors of points, in the tables beside the points.

use std::collections::BTreeMap;

use qdrant_edge::{
    DEFAULT_VECTOR_NAME, Filter, PointId, UpdateVectorsOp, VectorOperations, VectorPersisted,
    VectorStructPersisted,
};

use super::encode::encode;
use super::{Gate, Plan, found_by, lock, mark, marked, removals, taking_number};
use crate::error::Result;
use crate::store::pgvector::catalog::{Known, VectorTable};
use crate::store::pgvector::ids;
use crate::store::pgvector::pool::{Step, Values};
use crate::store::pgvector::vectors::Space;

/// What becomes of the vectors that are not given.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Left {
    Kept,
    Removed,
}

pub(super) fn plan(known: &Known, operation: &VectorOperations) -> Result<Plan> {
    match operation {
        VectorOperations::UpdateVectors(update) => change(known, update),
        VectorOperations::DeleteVectors(points, names) => remove(known, &points.points, names),
        VectorOperations::DeleteVectorsByFilter(filter, names) => {
            remove_by_filter(known, filter, names)
        }
    }
}

/// The statement that writes the vectors of the points that this operation has written, if there
/// are any. `given` goes with `keys`, one for one.
pub(super) fn satellites(
    known: &Known,
    keys: Vec<Vec<u8>>,
    given: &[&VectorStructPersisted],
    left: Left,
) -> Result<Option<Step>> {
    let mut values = Values::default();
    let keys = values.push(keys);
    let mut parts = String::new();
    for (at, name) in known.vectors.keys().enumerate() {
        let Some((table, space)) = Space::of(known, name) else {
            continue;
        };
        let mut here: Vec<(i64, VectorPersisted)> = Vec::new();
        let mut away: Vec<i64> = Vec::new();
        for (ordinal, vectors) in (1..).zip(given) {
            match named(vectors, name) {
                Some(vector) => here.push((ordinal, vector)),
                None => away.push(ordinal),
            }
        }
        if left == Left::Kept && here.is_empty() {
            continue;
        }
        parts += &written(at, (table, space), here, &mut values);
        if left == Left::Removed {
            let away = values.push(away);
            let of = &table.table;
            parts += &format!(
                ", away{at} as (delete from {of} t using w \
                 where t.pid = w.pid and w.o = any({away}::bigint[]))"
            );
        }
    }
    if parts.is_empty() {
        return Ok(None);
    }
    let (points, operations) = (known.points_table(), known.operations());
    let sql = format!(
        "with w as materialized (select c.pid, u.o \
         from unnest({keys}::bytea[]) with ordinality u(id, o) \
         join {points} c on c.id = u.id where c.ver = pg_catalog.currval('{operations}'::regclass)){parts} select 1"
    );
    Ok(Some(Step::new(sql, values)))
}

/// The part that writes into one table.
fn written(
    at: usize,
    (table, space): (&VectorTable, Space),
    here: Vec<(i64, VectorPersisted)>,
    values: &mut Values,
) -> String {
    let (ordinals, here): (Vec<i64>, Vec<VectorPersisted>) = here.into_iter().unzip();
    let encoded = encode(table.column, &space, &here.iter().collect::<Vec<_>>());
    let ordinals = values.push(ordinals);
    let (mut arrays, mut fields) = (format!("{ordinals}::bigint[]"), "o".to_owned());
    let (mut selected, mut set) = (String::new(), Vec::new());
    let mut names = Vec::new();
    for column in encoded {
        let name = column.name;
        let value = values.push_boxed(column.value);
        arrays += &format!(", {value}::{}", column.array);
        fields += &format!(", {name}");
        selected += &format!(", x.{name}{}", column.cast);
        set.push(format!("{name} = excluded.{name}"));
        names.push(name);
    }
    let (of, names, set) = (&table.table, names.join(", "), set.join(", "));
    format!(
        ", here{at} as (insert into {of} (pid, {names}) select w.pid{selected} \
         from unnest({arrays}) x({fields}) join w on w.o = x.o \
         on conflict (pid) do update set {set})"
    )
}

/// The vector of this name, if it is given.
pub(in crate::store::pgvector) fn named(
    given: &VectorStructPersisted,
    name: &str,
) -> Option<VectorPersisted> {
    match given {
        VectorStructPersisted::Single(dense) => {
            (name == DEFAULT_VECTOR_NAME).then(|| VectorPersisted::Dense(dense.clone()))
        }
        VectorStructPersisted::MultiDense(rows) => {
            (name == DEFAULT_VECTOR_NAME).then(|| VectorPersisted::MultiDense(rows.clone()))
        }
        VectorStructPersisted::Named(named) => named.get(name).cloned(),
    }
}

fn change(known: &Known, update: &UpdateVectorsOp) -> Result<Plan> {
    let wanted: Vec<PointId> = update.points.iter().map(|point| point.id).collect();
    // What is said of one point in several places comes together, the last word on a name winning.
    let mut merged: BTreeMap<Vec<u8>, VectorStructPersisted> = BTreeMap::new();
    for point in &update.points {
        let of = merged
            .entry(ids::key(point.id))
            .or_insert_with(|| VectorStructPersisted::Named(std::collections::HashMap::new()));
        merge(of, &point.vector, known);
    }
    let (keys, given): (Vec<_>, Vec<_>) = merged.into_iter().unzip();
    let given: Vec<_> = given.iter().collect();
    let (gate, mut steps) = match &update.update_filter {
        Some(filter) => {
            let touched = touch(known, &keys, filter)?;
            (Gate::Alone, vec![lock(known, keys.clone()), touched])
        }
        None => (Gate::Shared, vec![mark(known, keys.clone())]),
    };
    let number = steps.len() - 1;
    steps.extend(satellites(known, keys, &given, Left::Kept)?);
    Ok(Plan {
        gate,
        steps,
        number,
        named: None,
        wanted: Some((0, wanted)),
    })
}

fn merge(into: &mut VectorStructPersisted, from: &VectorStructPersisted, known: &Known) {
    let VectorStructPersisted::Named(into) = into else {
        return;
    };
    for name in known.vectors.keys() {
        if let Some(vector) = named(from, name) {
            into.insert(name.clone(), vector);
        }
    }
}

/// Gives those of the points that the filter takes the operation's number.
fn touch(known: &Known, keys: &[Vec<u8>], filter: &Filter) -> Result<Step> {
    let (condition, mut values) = found_by(known, filter)?;
    let keys = values.push(keys.to_vec());
    let (op, points) = (taking_number(known), known.points_table());
    let sql = format!(
        "{op}, done as (update {points} c set ver = op.n from op \
         where c.id = any({keys}::bytea[]) and ({condition})) select n from op"
    );
    Ok(Step::new(sql, values))
}

fn tables_of<'k>(known: &'k Known, names: &[String]) -> Result<Vec<&'k VectorTable>> {
    let mut names: Vec<&String> = names.iter().collect();
    names.sort();
    names.dedup();
    names.into_iter().map(|name| known.vector(name)).collect()
}

fn remove(known: &Known, wanted: &[PointId], names: &[String]) -> Result<Plan> {
    let keys = ids::keys(wanted.iter().copied());
    let tables = tables_of(known, names)?;
    let mut values = Values::default();
    let condition = marked(known, keys.clone(), &mut values);
    let points = known.points_table();
    let vectors = removals(tables.iter().map(|table| table.table.as_str()), "w");
    let removal = format!(
        "with w as materialized (select c.pid from {points} c where {condition}){vectors} select 1"
    );
    Ok(Plan {
        gate: Gate::Shared,
        steps: vec![mark(known, keys), Step::new(removal, values)],
        number: 0,
        named: None,
        wanted: Some((0, wanted.to_vec())),
    })
}

fn remove_by_filter(known: &Known, filter: &Filter, names: &[String]) -> Result<Plan> {
    let (condition, values) = found_by(known, filter)?;
    let tables = tables_of(known, names)?;
    Ok(Plan {
        gate: Gate::Alone,
        steps: vec![filtered_removal(known, &tables, &condition, values)],
        number: 0,
        named: None,
        wanted: None,
    })
}

fn filtered_removal(
    known: &Known,
    tables: &[&VectorTable],
    condition: &str,
    values: Values,
) -> Step {
    let (op, points) = (taking_number(known), known.points_table());
    let vectors = removals(tables.iter().map(|table| table.table.as_str()), "done");
    Step::new(
        format!(
            "{op}, done as (update {points} c set ver = op.n from op where {condition} \
             returning c.pid){vectors} select n from op"
        ),
        values,
    )
}

//! Writes. Each operation is checked against the collection as it is known, becomes a few
//! statements, and is carried out as one transaction that is sent whole.
//!
//! How writes that race stay right:
//! - The first statement takes the collection's gate (`qd.gate`): shared by writes that name their
//!   points, alone for those that find them by a filter and for changes of the tables.
//! - A write that names points then locks their rows in the order of their ids, so that two of them
//!   never wait for one another in a circle.
//! - Vectors of a point change under the lock of its row alone, by a statement that comes after
//!   the one that took it and so sees what was there at that moment. The rows that are locked are
//!   told from others, which may have come into being since, by the number of the operation: it is
//!   written into them first (`ver`), and found by `ver = currval(…)`.
//!
//! A write that meets a newer catalogue, or loses in a deadlock that was not foreseen, has done
//! nothing and is made anew.

mod encode;
mod payload;
mod points;
mod tables;
mod vectors;
mod words;

pub(super) use payload::{becomes, selected as selected_points};
pub(super) use vectors::named as named_vector;

use std::collections::HashSet;

use qdrant_edge::{Filter, OperationError, PointId, PointOperations, UpdateOperation};
use tokio_postgres::Row;

use super::catalog::Known;
use super::collections::Tries;
use super::filter_sql::{self, Params};
use super::pool::{Step, Values, one_row};
use super::{Shared, ids, link};
use crate::error::Result;
use crate::store::refused::refused;
use crate::store::{check, listed};

const DOING: &str = "write points";

/// Who else may write to the collection meanwhile.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Gate {
    Shared,
    Alone,
}

/// A write, ready to be sent.
struct Plan {
    gate: Gate,
    /// The one that takes the operation's number gives it as its first column.
    steps: Vec<Step>,
    /// Which step gives the number.
    number: usize,
    /// The keys of the points whose payloads may change. Where they are found by a filter, and
    /// words are kept, the last step gives them.
    named: Option<Vec<Vec<u8>>>,
    /// Ids that must be there, and the step that gives the keys of those that are.
    wanted: Option<(usize, Vec<PointId>)>,
}

impl Shared {
    /// Cancel safety: not safe; what was sent may be carried out.
    pub(super) async fn apply(&self, name: &str, operation: UpdateOperation) -> Result<u64> {
        let operation = listed::operation(operation)?;
        let mut tries = Tries::begin();
        loop {
            let known = self.catalog.get(&self.pool, name).await?;
            check::operation(&known.edge, &operation)?;
            let done = match tables::of(&operation) {
                Some(change) => self.change_tables(&known, change).await,
                None if let Some(mapping) = &known.adopted => {
                    let done = self.write_adopted(&known, mapping, &operation).await;
                    done.map_err(Refusal::Fault)
                }
                None => {
                    let mut plan = plan(&known, &operation)?;
                    let words = changes_words(&known, &operation);
                    if words {
                        plan.tell_payloads(&known);
                    }
                    self.carry_out(&known, plan, words).await
                }
            };
            match done {
                Err(Refusal::Fault(fault)) if tries.again(&fault).await => {
                    if fault.is_stale() {
                        self.catalog.doubt();
                    }
                }
                Err(Refusal::Fault(fault)) => return Err(fault.into_error()),
                Err(Refusal::Missing(missed_point_id)) => {
                    return Err(refused(OperationError::PointIdError { missed_point_id }));
                }
                Ok(number) => {
                    self.touched.note(known.cid);
                    return Ok(number);
                }
            }
        }
    }

    async fn carry_out(&self, known: &Known, plan: Plan, words: bool) -> Result<u64, Refusal> {
        let mut values = Values::default();
        let (cid, epoch) = (values.push(known.cid), values.push(known.epoch));
        let alone = plan.gate == Gate::Alone;
        let gate = format!("select 1 from (select qd.gate({cid}, {epoch}, {alone})) g");
        let mut steps = vec![Step::new(gate, values)];
        steps.extend(plan.steps);
        let answers = if words {
            self.write_words(known, &steps).await?
        } else {
            self.pool.write(DOING, &steps).await?
        };
        let rows_of = |step: usize| answers.get(step + 1).map_or(&[][..], Vec::as_slice);
        let number = number(rows_of(plan.number))?;
        if let Some((step, wanted)) = plan.wanted {
            let there = keys(rows_of(step))?;
            if let Some(missing) = wanted.into_iter().find(|id| !there.contains(id)) {
                return Err(Refusal::Missing(missing));
            }
        }
        Ok(number)
    }
}

/// Whether text indexes have to follow the payloads that an operation changes.
fn changes_words(known: &Known, operation: &UpdateOperation) -> bool {
    !known.texts.is_empty()
        && match operation {
            UpdateOperation::PointOperation(
                PointOperations::UpsertPoints(_)
                | PointOperations::UpsertPointsConditional(_)
                | PointOperations::SyncPoints(_),
            )
            | UpdateOperation::PayloadOperation(_) => true,
            UpdateOperation::PointOperation(
                PointOperations::DeletePoints { .. } | PointOperations::DeletePointsByFilter(_),
            )
            | UpdateOperation::VectorOperation(_)
            | UpdateOperation::FieldIndexOperation(_)
            | UpdateOperation::VectorNameOperation(_) => false,
        }
}

/// Why a write was not done, or not to all of its points.
enum Refusal {
    Fault(link::Fault),
    /// Done to the others, as in Qdrant.
    Missing(PointId),
}

impl From<link::Fault> for Refusal {
    fn from(fault: link::Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<crate::error::Error> for Refusal {
    fn from(error: crate::error::Error) -> Self {
        Self::Fault(error.into())
    }
}

fn number(rows: &[Row]) -> Result<u64> {
    let odd = |error| link::nonsense(DOING).with_source(error);
    let number: i64 = one_row(rows, DOING)?.try_get(0).map_err(odd)?;
    Ok(u64::try_from(number).unwrap_or_default())
}

fn keys(rows: &[Row]) -> Result<HashSet<PointId>> {
    let odd = |error| link::nonsense(DOING).with_source(error);
    // The last column, which is null where no row was found at all.
    let keys = rows
        .iter()
        .map(|row| row.try_get(row.len() - 1).map_err(odd));
    keys.filter_map(Result::transpose)
        .map(|key: Result<&[u8]>| ids::parse(key?))
        .collect()
}

fn plan(known: &Known, operation: &UpdateOperation) -> Result<Plan> {
    match operation {
        UpdateOperation::PointOperation(operation) => points::plan(known, operation),
        UpdateOperation::VectorOperation(operation) => vectors::plan(known, operation),
        UpdateOperation::PayloadOperation(operation) => payload::plan(known, operation),
        UpdateOperation::FieldIndexOperation(_) | UpdateOperation::VectorNameOperation(_) => {
            Ok(nothing(known))
        }
    }
}

/// A write that changes nothing and still has its number.
fn nothing(known: &Known) -> Plan {
    let sql = format!(
        "select pg_catalog.nextval('{}'::regclass)",
        known.operations()
    );
    Plan {
        gate: Gate::Shared,
        steps: vec![Step::new(sql, Values::default())],
        number: 0,
        named: None,
        wanted: None,
    }
}

/// The operation takes its number: the beginning of a statement.
fn taking_number(known: &Known) -> String {
    format!(
        "with op as materialized (select pg_catalog.nextval('{}'::regclass) n)",
        known.operations()
    )
}

/// Locks the rows of these points, in the order of their ids; gives the keys of those that are
/// there.
fn lock(known: &Known, keys: Vec<Vec<u8>>) -> Step {
    let mut values = Values::default();
    let keys = values.push(keys);
    let points = known.points_table();
    Step::new(
        format!(
            "select c.id from {points} c where c.id = any({keys}::bytea[]) order by c.id for update"
        ),
        values,
    )
}

/// Locks the rows of these points, in the order of their ids, and gives them the operation's
/// number; gives that and the keys of those that are there.
fn mark(known: &Known, keys: Vec<Vec<u8>>) -> Step {
    let mut values = Values::default();
    let keys = values.push(keys);
    Step::new(on_locked(known, &keys, "ver = op.n"), values)
}

/// The statement that locks the rows of the points with these keys (a parameter), in the order of
/// their ids, and changes those rows and no others; gives the operation's number, and the keys of
/// the rows.
fn on_locked(known: &Known, keys: &str, set: &str) -> String {
    let (op, points) = (taking_number(known), known.points_table());
    format!(
        "{op}, l as materialized (select c.pid from {points} c \
         where c.id = any({keys}::bytea[]) order by c.id for update), \
         done as (update {points} c set {set} from op, l where c.pid = l.pid returning c.id) \
         select (select n from op), done.id from (select 1) one left join done on true"
    )
}

/// The condition on `c` that finds the rows which this operation has marked.
fn marked(known: &Known, keys: Vec<Vec<u8>>, values: &mut Values) -> String {
    let keys = values.push(keys);
    let operations = known.operations();
    format!("c.id = any({keys}::bytea[]) and c.ver = pg_catalog.currval('{operations}'::regclass)")
}

/// The points that a statement is about, as a condition on `c`, with its first parameters.
fn found_by(known: &Known, filter: &Filter) -> Result<(String, Values)> {
    let mut params = Params::new();
    let condition = filter_sql::condition(filter, known, &mut params)?;
    Ok((condition, Values::after(params)))
}

/// Parts of a statement that take what is of the points in `from` (a query with a column `pid`)
/// out of these tables.
fn removals<'t>(tables: impl Iterator<Item = &'t str>, from: &str) -> String {
    let parts = tables.enumerate().map(|(at, name)| {
        format!(", gone{at} as (delete from {name} t using {from} g where t.pid = g.pid)")
    });
    parts.collect()
}

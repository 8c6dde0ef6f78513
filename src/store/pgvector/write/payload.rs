//! Payloads of points that are there.

use qdrant_edge::{Filter, OperationError, PayloadOps, PointId, SetPayloadOp};

use super::{Gate, Plan, found_by, on_locked, taking_number};
use crate::error::Result;
use crate::store::pgvector::catalog::Known;
use crate::store::pgvector::pool::{Step, Values};
use crate::store::pgvector::{ids, payload};
use crate::store::refused::refused;

pub(super) fn plan(known: &Known, operation: &PayloadOps) -> Result<Plan> {
    change(known, Of::named_by(operation)?, |values| {
        becomes(operation, values)
    })
}

/// The points that are named, and the filter where none are.
pub(in crate::store::pgvector) fn selected(
    operation: &PayloadOps,
) -> Result<(&[PointId], Option<&Filter>)> {
    Ok(match Of::named_by(operation)? {
        Of::Points(points) => (points, None),
        Of::Filter(filter) => (&[], Some(filter)),
    })
}

/// What the payload of `c` becomes.
pub(in crate::store::pgvector) fn becomes(operation: &PayloadOps, values: &mut Values) -> String {
    match operation {
        PayloadOps::SetPayload(set) => merged(set, values),
        PayloadOps::OverwritePayload(set) => {
            let payload = values.push(payload::encode(&set.payload));
            format!("{payload}::text::jsonb")
        }
        PayloadOps::DeletePayload(delete) => {
            let paths: Vec<_> = delete.keys.iter().map(payload::steps).collect();
            let paths = values.push(format!("[{}]", paths.join(",")));
            format!("qd.paths_del(c.payload, {paths}::text::jsonb)")
        }
        PayloadOps::ClearPayload { .. } | PayloadOps::ClearPayloadByFilter(_) => {
            "'{}'::jsonb".to_owned()
        }
    }
}

/// Which points a change is about. Points that are named win over a filter.
enum Of<'o> {
    Points(&'o [PointId]),
    Filter(&'o Filter),
}

impl<'o> Of<'o> {
    fn named_by(operation: &'o PayloadOps) -> Result<Self> {
        match operation {
            PayloadOps::SetPayload(set) | PayloadOps::OverwritePayload(set) => {
                Self::given(set.points.as_deref(), set.filter.as_ref())
            }
            PayloadOps::DeletePayload(delete) => {
                Self::given(delete.points.as_deref(), delete.filter.as_ref())
            }
            PayloadOps::ClearPayload { points } => Ok(Self::Points(points)),
            PayloadOps::ClearPayloadByFilter(filter) => Ok(Self::Filter(filter)),
        }
    }

    fn given(points: Option<&'o [PointId]>, filter: Option<&'o Filter>) -> Result<Self> {
        match (points, filter) {
            (Some(points), _) => Ok(Self::Points(points)),
            (None, Some(filter)) => Ok(Self::Filter(filter)),
            (None, None) => Err(refused(OperationError::validation_error(
                "No points or filter specified",
            ))),
        }
    }
}

/// What the payload of `c` becomes when this is set.
fn merged(set: &SetPayloadOp, values: &mut Values) -> String {
    let new = values.push(payload::encode(&set.payload));
    match &set.key {
        // A point without a payload takes the new one as it is, nulls and all.
        None => format!(
            "case when c.payload = '{{}}'::jsonb then {new}::text::jsonb \
             else qd.merge_top(c.payload, {new}::text::jsonb) end"
        ),
        Some(path) => {
            let steps = values.push(payload::steps(path));
            format!("qd.path_merge(c.payload, {steps}::text::jsonb, {new}::text::jsonb)")
        }
    }
}

fn change(known: &Known, of: Of<'_>, becomes: impl FnOnce(&mut Values) -> String) -> Result<Plan> {
    match of {
        Of::Points(wanted) => Ok(change_named(known, wanted, becomes)),
        Of::Filter(filter) => change_found(known, filter, becomes),
    }
}

/// One statement: the rows that it locks, in the order of their ids, are the rows that it changes.
/// Of a row that somebody else has changed while this waited for it, PostgreSQL takes what it has
/// become.
fn change_named(
    known: &Known,
    wanted: &[PointId],
    becomes: impl FnOnce(&mut Values) -> String,
) -> Plan {
    let mut values = Values::default();
    let named = ids::keys(wanted.iter().copied());
    let keys = values.push(named.clone());
    let payload = becomes(&mut values);
    let sql = on_locked(known, &keys, &format!("ver = op.n, payload = {payload}"));
    Plan {
        gate: Gate::Shared,
        steps: vec![Step::new(sql, values)],
        number: 0,
        named: Some(named),
        wanted: Some((0, wanted.to_vec())),
    }
}

fn change_found(
    known: &Known,
    filter: &Filter,
    becomes: impl FnOnce(&mut Values) -> String,
) -> Result<Plan> {
    let (condition, mut values) = found_by(known, filter)?;
    let payload = becomes(&mut values);
    let (op, points) = (taking_number(known), known.points_table());
    let change = format!("update {points} c set ver = op.n, payload = {payload} from op");
    let sql = if known.texts.is_empty() {
        format!("{op}, done as ({change} where {condition}) select n from op")
    } else {
        // Their words are written next.
        format!(
            "{op}, done as ({change} where {condition} returning c.pid, c.payload) \
             select (select n from op), done.pid, done.payload::text \
             from (select 1) one left join done on true"
        )
    };
    Ok(Plan {
        gate: Gate::Alone,
        steps: vec![Step::new(sql, values)],
        number: 0,
        named: None,
        wanted: None,
    })
}

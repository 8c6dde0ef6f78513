//! Points in the order of a payload field, of their ids, or of none.

use deadpool_postgres::tokio_postgres::Row;
use qdrant_edge::{
    DateTimeWrapper, Direction, OperationError, OrderBy, OrderValue, PayloadFieldSchema,
    PayloadSchemaParams, PayloadSchemaType, PointId, StartFrom,
};

use super::hit::Hit;
use super::reader::Reader;
use super::refused;
use super::search::{Scope, hit};
use crate::store::pgvector::catalog::Known;
use crate::store::pgvector::filter_sql::path::Path;
use crate::store::pgvector::filter_sql::{self, Param, Params};
use crate::store::pgvector::link::Fault;

const DOING: &str = "list points";
/// What is not found by likeness is shown with this.
const SCORE: f32 = 1.0;

/// As clients see points that were not searched for.
fn listed(reader: &Reader<'_>, row: &Row) -> Result<Hit, Fault> {
    let mut hit = hit(row, SCORE)?;
    hit.version = 0;
    hit.payload = reader.payload(row)?;
    Ok(hit)
}

fn bounded(limit: usize) -> Param {
    Param::Int(i64::try_from(limit).unwrap_or(i64::MAX))
}

/// By id, from `first` on.
pub(in crate::store::pgvector) async fn by_id(
    reader: &Reader<'_>,
    known: &Known,
    scope: &Scope,
    first: Option<PointId>,
    limit: usize,
) -> Result<Vec<Hit>, Fault> {
    let mut params = Params::default();
    let mut conditions: Vec<_> = scope.condition(known, &mut params)?.into_iter().collect();
    // How many are wanted decides whether the ids are walked along or sorted.
    if conditions.is_empty() {
        conditions.push(filter_sql::planned_anew(known, &mut params));
    }
    let (order, from) = known.from(first, &mut params);
    conditions.extend(from);
    let condition = conditions.join(" and ");
    let limit = params.push(bounded(limit));
    let text = format!(
        "select c.pid, c.id, c.ver{brought} from \
         (select c.pid, c.id, c.ver{carried} from {points} c where {condition} \
         order by {order} limit {limit}::bigint) c order by c.id",
        carried = reader.carried(),
        brought = reader.brought(),
        points = known.points_table(),
    );
    let rows = reader.rows(DOING, &text, &params).await?;
    rows.iter().map(|row| listed(reader, row)).collect()
}

/// Any of them.
pub(super) async fn sampled(
    reader: &Reader<'_>,
    known: &Known,
    scope: &Scope,
    limit: usize,
) -> Result<Vec<Hit>, Fault> {
    let mut params = Params::default();
    let condition = scope.condition(known, &mut params)?;
    let limit = params.push(bounded(limit));
    let text = format!(
        "select c.pid, c.id, c.ver{brought} from \
         (select c.pid, c.id, c.ver{carried} from {points} c where {condition} \
         order by random() limit {limit}::bigint) c",
        carried = reader.carried(),
        brought = reader.brought(),
        points = known.points_table(),
        condition = condition.as_deref().unwrap_or("true"),
    );
    let rows = reader.rows(DOING, &text, &params).await?;
    rows.iter().map(|row| listed(reader, row)).collect()
}

/// What an index that can order keeps.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Values {
    Integers,
    Floats,
    Moments,
}

impl Values {
    fn of(index: &PayloadFieldSchema) -> Option<Self> {
        match index.kind() {
            PayloadSchemaType::Integer => match index {
                PayloadFieldSchema::FieldParams(PayloadSchemaParams::Integer(params))
                    if params.range == Some(false) =>
                {
                    None
                }
                PayloadFieldSchema::FieldParams(_) | PayloadFieldSchema::FieldType(_) => {
                    Some(Self::Integers)
                }
            },
            PayloadSchemaType::Float => Some(Self::Floats),
            PayloadSchemaType::Datetime => Some(Self::Moments),
            PayloadSchemaType::Keyword
            | PayloadSchemaType::Uuid
            | PayloadSchemaType::Bool
            | PayloadSchemaType::Geo
            | PayloadSchemaType::Text => None,
        }
    }

    /// Of the element `e`.
    fn expression(self) -> &'static str {
        match self {
            Self::Integers => "qd.i64x(e)",
            Self::Floats => "case when jsonb_typeof(e) = 'number' then (e #>> '{}')::float8 end",
            Self::Moments => "case when jsonb_typeof(e) = 'string' then qd.micros(e #>> '{}') end",
        }
    }

    /// Where to begin, in the terms of the index.
    fn first(self, from: StartFrom, direction: Direction) -> Param {
        match (self, from) {
            (Self::Floats, StartFrom::Integer(value)) => Param::Float(float(value)),
            (Self::Floats, StartFrom::Float(value)) => Param::Float(value),
            // Qdrant reads the bits of the one as the other, which orders nothing.
            (Self::Floats, StartFrom::Datetime(value)) => Param::Float(float(micros(value))),
            (Self::Integers | Self::Moments, StartFrom::Integer(value)) => Param::Int(value),
            (Self::Integers | Self::Moments, StartFrom::Float(value)) => {
                Param::Int(whole(match direction {
                    Direction::Asc => value.ceil(),
                    Direction::Desc => value.floor(),
                }))
            }
            (Self::Integers | Self::Moments, StartFrom::Datetime(value)) => {
                Param::Int(micros(value))
            }
        }
    }
}

/// A point comes once for each of its values, and not at all without one.
pub(in crate::store::pgvector) async fn by_field(
    reader: &Reader<'_>,
    known: &Known,
    scope: &Scope,
    order: &OrderBy,
    limit: usize,
) -> Result<Vec<Hit>, Fault> {
    let index = known.declared.payload_schema.get(&order.key);
    let values = index.and_then(Values::of).ok_or_else(|| {
        refused(OperationError::MissingRangeIndexForOrderBy {
            key: order.key.to_string(),
        })
    })?;
    let mut params = Params::default();
    let condition = scope.condition(known, &mut params)?;
    let (comparison, direction) = match order.direction() {
        Direction::Asc => (">=", "asc"),
        Direction::Desc => ("<=", "desc"),
    };
    let first = order.start_from.map(|from| {
        let first = params.push(values.first(from, order.direction()));
        let kind = if values == Values::Floats {
            "float8"
        } else {
            "bigint"
        };
        format!("x.value {comparison} {first}::{kind}")
    });
    let limit = params.push(bounded(limit));
    let text = format!(
        "select c.pid, c.id, c.ver, c.value{brought} from \
         (select c.pid, c.id, c.ver, x.value{carried} from {points} c cross join lateral \
         (select distinct {value} as value from qd.flat(c.payload, {path}) e) x \
         where x.value is not null and {first} and {condition} \
         order by x.value {direction}, c.id {direction} limit {limit}::bigint) c \
         order by c.value {direction}, c.id {direction}",
        carried = reader.carried(),
        brought = reader.brought(),
        points = known.points_table(),
        value = values.expression(),
        path = Path::of(&order.key).jsonpath(),
        first = first.as_deref().unwrap_or("true"),
        condition = condition.as_deref().unwrap_or("true"),
    );
    let failed = |error| Fault::undone(DOING, error);
    let rows = reader.rows(DOING, &text, &params).await?;
    let hits = rows.iter().map(|row| {
        let mut hit = listed(reader, row)?;
        hit.order_value = Some(match values {
            Values::Floats => OrderValue::Float(row.try_get(3).map_err(failed)?),
            Values::Integers | Values::Moments => OrderValue::Int(row.try_get(3).map_err(failed)?),
        });
        Ok(hit)
    });
    hits.collect()
}

fn micros(moment: DateTimeWrapper) -> i64 {
    moment.timestamp()
}

#[expect(clippy::cast_precision_loss, reason = "so does Qdrant")]
fn float(value: i64) -> f64 {
    value as f64
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "what is too large is made to fit"
)]
fn whole(value: f64) -> i64 {
    value as i64
}

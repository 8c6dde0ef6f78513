//! How many points have each value of a payload field.

use deadpool_postgres::tokio_postgres::Row;
use qdrant_edge::external::uuid::Uuid;
use qdrant_edge::{
    FacetHit, FacetRequest, FacetResponse, FacetValue, OperationError, PayloadFieldSchema,
    PayloadSchemaParams, PayloadSchemaType,
};

use super::catalog::Known;
use super::filter_sql::path::Path;
use super::filter_sql::{Param, Params};
use super::lent::Lent;
use super::link::{self, Fault};
use super::payload;
use super::query::reader::Reader;
use super::query::refused;
use super::query::search::Scope;

const DOING: &str = "count values";

/// What an index that can tell values apart keeps.
#[derive(Clone, Copy)]
enum Values {
    Strings,
    Integers,
    Uuids,
    Bools,
}

impl Values {
    fn of(index: &PayloadFieldSchema) -> Option<Self> {
        match index.kind() {
            PayloadSchemaType::Keyword => Some(Self::Strings),
            PayloadSchemaType::Uuid => Some(Self::Uuids),
            PayloadSchemaType::Bool => Some(Self::Bools),
            PayloadSchemaType::Integer => match index {
                PayloadFieldSchema::FieldParams(PayloadSchemaParams::Integer(params))
                    if params.lookup == Some(false) =>
                {
                    None
                }
                PayloadFieldSchema::FieldParams(_) | PayloadFieldSchema::FieldType(_) => {
                    Some(Self::Integers)
                }
            },
            PayloadSchemaType::Float
            | PayloadSchemaType::Geo
            | PayloadSchemaType::Text
            | PayloadSchemaType::Datetime => None,
        }
    }

    /// Of the element `e`.
    fn expression(self) -> &'static str {
        match self {
            Self::Strings => {
                "case when jsonb_typeof(e) = 'string' then (e #>> '{}') collate \"C\" end"
            }
            Self::Integers => "qd.i64x(e)",
            Self::Uuids => "qd.uuid(e)",
            Self::Bools => "case when jsonb_typeof(e) = 'boolean' then e::boolean end",
        }
    }

    fn read(self, row: &Row) -> Result<FacetValue, Fault> {
        let failed = |error| Fault::undone(DOING, error);
        Ok(match self {
            Self::Strings => {
                let text: &str = row.try_get(0).map_err(failed)?;
                FacetValue::Keyword(payload::unescape(text).into_owned())
            }
            Self::Integers => FacetValue::Int(row.try_get(0).map_err(failed)?),
            Self::Uuids => {
                let uuid: Uuid = row.try_get(0).map_err(failed)?;
                FacetValue::Uuid(uuid.as_u128())
            }
            Self::Bools => FacetValue::Bool(row.try_get(0).map_err(failed)?),
        })
    }
}

/// Exactly, whatever is asked for. The most frequent first, of equals the smaller value.
pub(super) async fn facet(
    client: &mut Lent,
    known: &Known,
    request: FacetRequest,
) -> Result<FacetResponse, Fault> {
    let index = known.declared.payload_schema.get(&request.key);
    let Some(values) = index.and_then(Values::of) else {
        // Of no points Qdrant counts nothing, and misses no index for it.
        if !request.exact && is_without_points(client, known).await? {
            return Ok(FacetResponse { hits: Vec::new() });
        }
        return Err(refused(OperationError::MissingMapIndexForFacet {
            key: request.key.to_string(),
        }));
    };
    let mut params = Params::default();
    let condition = Scope::All(request.filter).condition(known, &mut params)?;
    let limit = params.push(Param::Int(i64::try_from(request.limit).unwrap_or(i64::MAX)));
    let text = format!(
        "select x.value, count(*) from {points} c cross join lateral \
         (select distinct {value} as value from qd.flat(c.payload, {path}) e) x \
         where x.value is not null and {condition} \
         group by x.value order by count(*) desc, x.value limit {limit}::bigint",
        points = known.points_table(),
        value = values.expression(),
        path = Path::of(&request.key).jsonpath(),
        condition = condition.as_deref().unwrap_or("true"),
    );
    let reader = Reader::new(client, false);
    let rows = reader.rows(DOING, &text, &params).await?;
    let hits = rows.iter().map(|row| {
        let count: i64 = row
            .try_get(1)
            .map_err(|error| Fault::undone(DOING, error))?;
        Ok(FacetHit {
            value: values.read(row)?,
            count: usize::try_from(count).map_err(|_error| link::nonsense(DOING))?,
        })
    });
    let hits = hits.collect::<Result<Vec<_>, Fault>>()?;
    Ok(FacetResponse { hits })
}

async fn is_without_points(client: &mut Lent, known: &Known) -> Result<bool, Fault> {
    let text = format!("select not exists (select from {} c)", known.points_table());
    let reader = Reader::new(client, false);
    let rows = reader.rows(DOING, &text, &Params::default()).await?;
    let row = rows.first().ok_or_else(|| link::nonsense(DOING))?;
    row.try_get(0).map_err(|error| Fault::undone(DOING, error))
}

//! The values that a payload has at a path, as Qdrant's indexes see them.

use qdrant_edge::external::serde_json::{self, Number, Value};
use qdrant_edge::external::uuid::Uuid;
use qdrant_edge::{
    DateTimeWrapper, GeoPoint, JsonPath, Payload, PayloadFieldSchema, PayloadSchemaType,
};

/// What a formula's variable stands for. An array stands for its elements, unless the path says
/// `[]` itself; with an index on the path, only what the index holds counts.
pub(super) fn of_variable(
    payload: &Payload,
    key: &JsonPath,
    index: Option<&PayloadFieldSchema>,
) -> Vec<Value> {
    let found = key.value_get(&payload.0);
    let kind = index.map(PayloadFieldSchema::kind);
    // Indexes always look into arrays, one level deep.
    let is_flat = key.has_wildcard_suffix();
    let mut values = vec![];
    for value in found {
        match value.as_array().filter(|_| !is_flat) {
            Some(elements) => values.extend(elements),
            None => values.push(value),
        }
    }
    let Some(kind) = kind else {
        return values.into_iter().cloned().collect();
    };
    let values = values.into_iter();
    values.filter_map(|value| indexed(value, kind)).collect()
}

/// The value as an index gives it back, if the index holds it.
fn indexed(value: &Value, kind: PayloadSchemaType) -> Option<Value> {
    match kind {
        PayloadSchemaType::Integer => integer(value).map(|value| Value::Number(value.into())),
        PayloadSchemaType::Float => {
            let number = value.as_f64().and_then(Number::from_f64);
            number.map(Value::Number)
        }
        PayloadSchemaType::Keyword => value.is_string().then(|| value.clone()),
        PayloadSchemaType::Bool => value.is_boolean().then(|| value.clone()),
        PayloadSchemaType::Datetime => {
            let moment = value.as_str()?.parse::<DateTimeWrapper>().ok()?;
            let moment = DateTimeWrapper::from_timestamp(moment.timestamp())?;
            serde_json::to_value(moment).ok()
        }
        PayloadSchemaType::Uuid => {
            let uuid = Uuid::parse_str(value.as_str()?).ok()?;
            Some(Value::String(uuid.to_string()))
        }
        PayloadSchemaType::Geo => {
            let point = serde_json::from_value::<GeoPoint>(value.clone()).ok()?;
            serde_json::to_value(point).ok()
        }
        // It keeps no values.
        PayloadSchemaType::Text => Some(value.clone()),
    }
}

/// A whole number, however it is written.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "what does not come back the same is refused"
)]
fn integer(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| {
        let number = value.as_f64()?;
        let whole = number as i64;
        (whole as f64 == number).then_some(whole)
    })
}

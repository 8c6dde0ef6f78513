//! Whether two stores have the same point.
//!
//! Two stores write one point down in two ways: a vector normalised twice differs in its last bits,
//! 1 comes back as 1.0, a sparse vector in another order, no payload as an empty one. None of that
//! is a difference, or it would be repaired for ever.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// The part of a vector's component that may differ: twice what a float32 rounds.
const RELATIVE_MAX: f64 = 1e-5;
const ABSOLUTE_MAX: f64 = 1e-6;

#[derive(Deserialize)]
struct Point {
    #[serde(default)]
    payload: Value,
    #[serde(default)]
    vector: Value,
}

/// Whether two points, as the stores gave them in JSON, are the same but for their ids. What is no
/// point is the same as nothing.
pub fn same_point(one: &str, other: &str) -> bool {
    if one == other {
        return true;
    }
    let (Ok(one), Ok(other)) = (
        serde_json::from_str::<Point>(one),
        serde_json::from_str::<Point>(other),
    ) else {
        return false;
    };
    same_fields(&fields(one.payload), &fields(other.payload), same_value)
        && same_vectors(&one.vector, &other.vector)
}

/// Whether what two answers show of one point is the same: its payload and its vectors, either of
/// them left out of both if it was not asked for.
pub(super) fn same_contents(one: Contents<'_>, other: Contents<'_>) -> bool {
    same_payload(one.payload, other.payload) && same_vector_texts(one.vector, other.vector)
}

/// The part of a point that can be stale.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Contents<'a> {
    pub(super) payload: Option<&'a RawValue>,
    pub(super) vector: Option<&'a RawValue>,
}

fn same_payload(one: Option<&RawValue>, other: Option<&RawValue>) -> bool {
    same_text(one, other)
        || match (value(one), value(other)) {
            (Some(one), Some(other)) => same_fields(&fields(one), &fields(other), same_value),
            (None, _) | (_, None) => false,
        }
}

fn same_vector_texts(one: Option<&RawValue>, other: Option<&RawValue>) -> bool {
    same_text(one, other)
        || match (value(one), value(other)) {
            (Some(one), Some(other)) => same_vectors(&one, &other),
            (None, _) | (_, None) => false,
        }
}

fn same_text(one: Option<&RawValue>, other: Option<&RawValue>) -> bool {
    one.map(RawValue::get) == other.map(RawValue::get)
}

/// What is not there is `null`; what is no JSON is nothing.
fn value(text: Option<&RawValue>) -> Option<Value> {
    text.map_or(Some(Value::Null), |text| {
        serde_json::from_str(text.get()).ok()
    })
}

/// No payload is an empty one.
fn fields(payload: Value) -> Map<String, Value> {
    match payload {
        Value::Object(fields) => fields,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Map::new()
        }
    }
}

fn same_fields(
    one: &Map<String, Value>,
    other: &Map<String, Value>,
    same: fn(&Value, &Value) -> bool,
) -> bool {
    one.len() == other.len()
        && one
            .iter()
            .all(|(key, value)| other.get(key).is_some_and(|found| same(value, found)))
}

fn same_value(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            // An integer is compared as one: a float cannot hold all of them.
            one == other || ((one.is_f64() || other.is_f64()) && one.as_f64() == other.as_f64())
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .zip(other)
                    .all(|(one, other)| same_value(one, other))
        }
        (Value::Object(one), Value::Object(other)) => same_fields(one, other, same_value),
        (one, other) => one == other,
    }
}

/// One vector without a name, or several by name.
fn same_vectors(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) if !is_sparse(one) && !is_sparse(other) => {
            same_fields(one, other, same_vector)
        }
        (one, other) if is_nothing(one) && is_nothing(other) => true,
        (one, other) => same_vector(one, other),
    }
}

fn is_nothing(vectors: &Value) -> bool {
    vectors.is_null() || vectors.as_object().is_some_and(Map::is_empty)
}

fn is_sparse(vector: &Map<String, Value>) -> bool {
    vector.len() == 2 && vector.contains_key("indices") && vector.contains_key("values")
}

fn same_vector(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .zip(other)
                    .all(|(one, other)| same_vector(one, other))
        }
        (Value::Object(one), Value::Object(other)) => match (entries(one), entries(other)) {
            (Some(one), Some(other)) => {
                one.len() == other.len()
                    && one
                        .iter()
                        .zip(&other)
                        .all(|(one, other)| one.0 == other.0 && close(one.1, other.1))
            }
            (None, _) | (_, None) => false,
        },
        (one, other) => match (one.as_f64(), other.as_f64()) {
            (Some(one), Some(other)) => close(one, other),
            (None, _) | (_, None) => one == other,
        },
    }
}

/// A sparse vector in the order of its indices.
fn entries(sparse: &Map<String, Value>) -> Option<Vec<(u64, f64)>> {
    let indices = sparse.get("indices")?.as_array()?;
    let values = sparse.get("values")?.as_array()?;
    let pairs = indices.iter().zip(values);
    let pairs = pairs.map(|(index, value)| Some((index.as_u64()?, value.as_f64()?)));
    let mut pairs: Vec<_> = pairs.collect::<Option<_>>()?;
    pairs.sort_unstable_by_key(|(index, _)| *index);
    (indices.len() == values.len()).then_some(pairs)
}

fn close(one: f64, other: f64) -> bool {
    (one - other).abs() <= ABSOLUTE_MAX + RELATIVE_MAX * one.abs().max(other.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(one: &str, other: &str, same: bool) {
        assert_eq!(same_point(one, other), same, "{one} {other}");
        assert_eq!(same_point(other, one), same, "{other} {one}");
    }

    #[test]
    fn two_ways_to_write_one_point_are_no_difference() {
        check(r#"{"id":1}"#, r#"{"id":1,"payload":{},"vector":{}}"#, true);
        check(r#"{"payload":null}"#, r#"{"payload":{}}"#, true);
        check(r#"{"payload":{"a":1}}"#, r#"{"payload":{"a":1.0}}"#, true);
        check(
            r#"{"payload":{"a":1,"b":2}}"#,
            r#"{"payload":{"b":2,"a":1}}"#,
            true,
        );
        check(
            r#"{"vector":[0.6,0.8]}"#,
            r#"{"vector":[0.60000002,0.8]}"#,
            true,
        );
        check(r#"{"vector":[1,0]}"#, r#"{"vector":[1.0,-0.0]}"#, true);
        check(
            r#"{"vector":{"s":{"indices":[2,1],"values":[0.5,1]}}}"#,
            r#"{"vector":{"s":{"indices":[1,2],"values":[1.0,0.5]}}}"#,
            true,
        );
        check(
            r#"{"vector":{"a":[[1,2],[3,4]],"b":[1]}}"#,
            r#"{"vector":{"b":[1.0],"a":[[1,2],[3,4.0]]}}"#,
            true,
        );
    }

    #[test]
    fn what_differs_is_told() {
        check(r#"{"payload":{"a":1}}"#, r#"{"payload":{"a":2}}"#, false);
        check(r#"{"payload":{"a":1}}"#, r#"{"payload":{"a":"1"}}"#, false);
        check(r#"{"payload":{"a":1}}"#, r#"{"payload":{}}"#, false);
        check(r#"{"payload":{"a":null}}"#, r#"{"payload":{}}"#, false);
        check(
            r#"{"payload":{"a":[1,2]}}"#,
            r#"{"payload":{"a":[2,1]}}"#,
            false,
        );
        check(
            r#"{"payload":{"a":9007199254740993}}"#,
            r#"{"payload":{"a":9007199254740992}}"#,
            false,
        );
        check(
            r#"{"vector":[0.6,0.8]}"#,
            r#"{"vector":[0.601,0.8]}"#,
            false,
        );
        check(r#"{"vector":[1]}"#, r#"{"vector":[1,2]}"#, false);
        check(r#"{"vector":{"a":[1]}}"#, r#"{"vector":{}}"#, false);
        check(r#"{"vector":{"a":[1]}}"#, r#"{"vector":{"b":[1]}}"#, false);
        check(
            r#"{"vector":{"s":{"indices":[1],"values":[0.5]}}}"#,
            r#"{"vector":{"s":{"indices":[2],"values":[0.5]}}}"#,
            false,
        );
    }
}

//! When two answers say the same: the rules of the conformance replay, but that a payload and a
//! whole number have to be the same to the last digit.

use serde_json::{Map, Value};

use super::Asked;

/// What is the engine's own business.
const OWN: [&str; 15] = [
    "time",
    "usage",
    "operation_id",
    "version",
    "segments_count",
    "indexed_vectors_count",
    "optimizer_status",
    "optimizer_config",
    "wal_config",
    "hnsw_config",
    "quantization_config",
    "strict_mode_config",
    "warnings",
    "update_queue",
    "commit",
];
const RELATIVE: f64 = 1e-4;
const ABSOLUTE: f64 = 1e-5;

/// An answer less what nobody compares.
pub(super) fn stripped(asked: &Asked, answer: &Value) -> Value {
    let is_of_points = asked.target.contains("/points") || asked.target.contains("/facet");
    without(answer, !is_of_points)
}

fn without(value: &Value, counts_go: bool) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map
                .iter()
                .filter(|(key, _)| !(OWN.contains(&key.as_str()) || counts_go && *key == "points"));
            let kept = kept.map(|(key, inner)| {
                let inner = match key.as_str() {
                    "payload" | "metadata" => inner.clone(),
                    _ => without(inner, counts_go),
                };
                (key.clone(), inner)
            });
            Value::Object(kept.collect())
        }
        Value::Array(items) => {
            Value::Array(items.iter().map(|item| without(item, counts_go)).collect())
        }
        Value::String(text) if text == "yellow" || text == "grey" => Value::from("green"),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

pub(super) fn close(one: f64, other: f64) -> bool {
    let most = one.abs().max(other.abs());
    one.total_cmp(&other).is_eq() || (one - other).abs() <= (RELATIVE * most).max(ABSOLUTE)
}

pub(super) fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            let is_whole = !(one.is_f64() || other.is_f64());
            if is_whole {
                one == other
            } else {
                close(one.as_f64().unwrap(), other.as_f64().unwrap())
            }
        }
        (Value::Object(one), Value::Object(other)) => same_objects(one, other),
        (Value::Array(one), Value::Array(other)) => {
            let in_order = one.iter().zip(other).all(|(one, other)| same(one, other));
            one.len() == other.len() && (in_order || same_but_for_ties(one, other))
        }
        _ => one == other,
    }
}

/// What is not there and what is null say the same, but for within a payload.
fn same_objects(one: &Map<String, Value>, other: &Map<String, Value>) -> bool {
    let said = |map: &Map<String, Value>, key: &str| map.get(key).cloned().unwrap_or(Value::Null);
    one.keys().chain(other.keys()).all(|key| {
        let (one, other) = (said(one, key), said(other, key));
        if ["payload", "metadata", "id", "order_value"].contains(&key.as_str()) {
            one == other
        } else {
            same(&one, &other)
        }
    })
}

/// What a list is ordered by, where it is. A score that is no number is shown as null: it stands
/// before all numbers, and beside others of its kind in any order.
pub(super) fn rank(hit: &Value) -> Option<f64> {
    if hit.get("score").is_some_and(Value::is_null) {
        return Some(f64::NAN);
    }
    for key in ["order_value", "score", "count"] {
        if let Some(rank) = hit.get(key).and_then(Value::as_f64) {
            return Some(rank);
        }
    }
    // A group stands where its best hit stands.
    rank(hit.get("hits")?.get(0)?)
}

/// Those of equal rank may change places, and of those that are cut off with the last another may
/// be kept.
fn same_but_for_ties(one: &[Value], other: &[Value]) -> bool {
    let ranks = |list: &[Value]| list.iter().map(rank).collect::<Option<Vec<f64>>>();
    let mut left: Vec<&Value> = other.iter().collect();
    let mut missing = one.iter().filter(|hit| {
        let found = left.iter().position(|other| same(hit, other));
        found.map(|at| left.swap_remove(at)).is_none()
    });
    let (Some(own), Some(others)) = (ranks(one), ranks(other)) else {
        // Names come in any order.
        let is_named = |item: &Value| {
            item.get("name")
                .or_else(|| item.get("alias_name"))
                .is_some()
        };
        return one.iter().all(is_named) && missing.next().is_none();
    };
    if !own
        .iter()
        .zip(&others)
        .all(|(one, other)| close(*one, *other))
    {
        return false;
    }
    let last = own.last().copied().unwrap_or(0.0);
    missing.all(|hit| hit.get("hits").is_some() || rank(hit).is_some_and(|rank| close(rank, last)))
}

/// Where two answers begin to differ, for a person.
pub(super) fn difference(one: &Value, other: &Value, at: &str) -> String {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            for key in one.keys().chain(other.keys()) {
                let (one, other) = (&one.get(key), &other.get(key));
                let (one, other) = (one.unwrap_or(&Value::Null), other.unwrap_or(&Value::Null));
                let is_exact = ["payload", "metadata", "id", "order_value"].contains(&key.as_str());
                if (is_exact && one != other) || !same(one, other) {
                    return difference(one, other, &format!("{at}/{key}"));
                }
            }
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            let differs = one
                .iter()
                .zip(other)
                .position(|(one, other)| !same(one, other));
            let is_ranked = one.iter().chain(other).all(|hit| rank(hit).is_some());
            if differs.is_some() && is_ranked {
                // Which of them it is hides behind ties.
                let listed = |list: &[Value]| Value::Array(list.iter().map(brief).collect());
                let (one, other) = (listed(one), listed(other));
                if one != other {
                    return format!("{at}\n    embedded: {one}\n    pgvector: {other}");
                }
            }
            if let Some(which) = differs {
                return difference(&one[which], &other[which], &format!("{at}[{which}]"));
            }
        }
        _ => {}
    }
    format!(
        "{at}\n    embedded: {}\n    pgvector: {}",
        short(one),
        short(other)
    )
}

fn brief(hit: &Value) -> Value {
    let of = hit.get("id").or_else(|| hit.get("value"));
    serde_json::json!([of, rank(hit)])
}

pub(super) fn short(value: &Value) -> String {
    let text = value.to_string();
    if text.len() <= 1500 {
        return text;
    }
    let cut: String = text.chars().take(1500).collect();
    format!("{cut} …")
}

//! Near hits: the same text embedded twice comes back with other last bits, and asks the same.
//!
//! Beside its own key a question has a near one, in which the components of its query vectors are
//! rounded and nothing else is. What is near leads to the key of the question that was asked last;
//! whether that one's answer may be served is judged there, by the one rule. An exact hit is looked
//! for first and is always exact. Who asks is part of the near key as it is of every key.
//!
//! Only where a vector must stand is anything rounded: never in a filter, a limit or an id.

use serde_json::{Map, Value};

use super::key::Key;
use super::{Age, Cache, Kept};
use crate::model::{Class, Operation};

/// How many near keys are remembered for each MiB of answers.
const KEYS_PER_MIB: u64 = 256;

pub(super) struct Near {
    decimals: u32,
    leads_to: moka::sync::Cache<Key, Key>,
}

impl Near {
    pub(super) fn new(decimals: u32, memory_bytes: u64) -> Self {
        let keys_max = (memory_bytes >> 20).max(1).saturating_mul(KEYS_PER_MIB);
        Self {
            decimals,
            leads_to: moka::sync::Cache::new(keys_max),
        }
    }

    pub(super) fn question(&self, operation: Operation, body: &[u8]) -> Option<Vec<u8>> {
        rounded(operation, body, self.decimals)
    }

    pub(super) fn find(&self, near: Key) -> Option<Key> {
        self.leads_to.get(&near)
    }

    pub(super) fn put(&self, near: Key, exact: Key) {
        self.leads_to.insert(near, exact);
    }

    pub(super) fn clear(&self) {
        self.leads_to.invalidate_all();
    }
}

impl Cache {
    /// The question with its vectors rounded, if near questions are to hit and it has any.
    pub fn rounded(&self, operation: Operation, body: &[u8]) -> Option<Vec<u8>> {
        self.near.as_ref()?.question(operation, body)
    }

    /// The kept answer to a question that differs from this one in the last bits of its vectors.
    pub fn find_near(&self, near: Key) -> Option<Kept> {
        let key = self.near.as_ref()?.find(near)?;
        let kept = self.find(key).filter(|kept| kept.age == Age::Fresh)?;
        self.metrics.near_hits.inc();
        Some(kept)
    }
}

/// The question with its query vectors rounded. `None` when it has none.
fn rounded(operation: Operation, body: &[u8], decimals: u32) -> Option<Vec<u8>> {
    if operation.class() != Class::SearchRead {
        return None;
    }
    let mut question: Value = serde_json::from_slice(body).ok()?;
    let mut rounding = Rounding {
        scale: 10f64.powi(i32::try_from(decimals).ok()?),
        count: 0,
    };
    let of = question.as_object_mut()?;
    match of.get_mut("searches").and_then(Value::as_array_mut) {
        Some(searches) => searches
            .iter_mut()
            .filter_map(Value::as_object_mut)
            .for_each(|one| rounding.search(one)),
        None => rounding.search(of),
    }
    (rounding.count > 0).then(|| question.to_string().into_bytes())
}

struct Rounding {
    scale: f64,
    count: usize,
}

impl Rounding {
    /// Goes as deep as a parsed value is, which serde_json bounds.
    fn search(&mut self, of: &mut Map<String, Value>) {
        if let Some(query) = of.get_mut("query") {
            match query.get_mut("nearest") {
                Some(nearest) => self.vector(nearest),
                None => self.vector(query),
            }
        }
        if let Some(vector) = of.get_mut("vector") {
            match vector.get_mut("vector") {
                Some(named) => self.vector(named),
                None => self.vector(vector),
            }
        }
        match of.get_mut("prefetch") {
            Some(Value::Array(all)) => all
                .iter_mut()
                .filter_map(Value::as_object_mut)
                .for_each(|one| self.search(one)),
            Some(Value::Object(one)) => self.search(one),
            Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) | None => {}
        }
    }

    fn vector(&mut self, value: &mut Value) {
        if let Some(sparse) = value.get_mut("values") {
            return self.row(sparse);
        }
        let rows = value.as_array_mut().into_iter().flatten();
        rows.filter(|row| row.is_array())
            .for_each(|row| self.row(row));
        self.row(value);
    }

    fn row(&mut self, row: &mut Value) {
        let numbers = row.as_array_mut().into_iter().flatten();
        for number in numbers.filter(|part| part.is_number()) {
            let rounded = number.as_f64().unwrap_or_default() * self.scale;
            // Without a sign on nought.
            *number = Value::from(rounded.round() + 0.0);
            self.count += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(body: &Value) -> Option<Vec<u8>> {
        rounded(Operation::QueryPoints, body.to_string().as_bytes(), 3)
    }

    #[test]
    fn vectors_that_agree_to_so_many_decimals_ask_the_same() {
        for form in [
            |x: f64| json!({"query": [x, -x]}),
            |x: f64| json!({"query": {"nearest": [x]}}),
            |x: f64| json!({"query": [[x], [x]]}),
            |x: f64| json!({"query": {"indices": [1], "values": [x]}}),
            |x: f64| json!({"vector": [x]}),
            |x: f64| json!({"vector": {"name": "a", "vector": [x]}}),
            |x: f64| json!({"prefetch": [{"prefetch": {"query": [x]}}], "query": {"fusion": "rrf"}}),
            |x: f64| json!({"searches": [{"query": [x]}]}),
        ] {
            assert_eq!(of(&form(0.123_401)).unwrap(), of(&form(0.123_399)).unwrap());
            assert_ne!(of(&form(0.123_401)), of(&form(0.124_401)));
            assert_eq!(
                of(&form(0.000_1)),
                of(&form(-0.000_1)),
                "nought has no sign"
            );
        }
    }

    #[test]
    fn nothing_but_query_vectors_is_rounded() {
        let differ = |a: Value, b: Value| assert_ne!(of(&a), of(&b), "{a} {b}");
        let with = |name: &str, value: Value| {
            let mut query = json!({"query": [0.5]});
            query[name] = value;
            query
        };
        let range = |x: f64| json!({"must": [{"key": "a", "range": {"gt": x}}]});
        differ(
            with("filter", range(0.123_401)),
            with("filter", range(0.123_399)),
        );
        let radius = |x: f64| json!({"must": [{"key": "a", "values": [x], "vector": [x]}]});
        differ(
            with("filter", radius(0.123_401)),
            with("filter", radius(0.123_399)),
        );
        differ(
            with("score_threshold", json!(0.123_401)),
            with("score_threshold", json!(0.123_399)),
        );
        differ(with("limit", json!(1)), with("limit", json!(2)));
        differ(
            json!({"query": [0.5], "using": "a"}),
            json!({"query": [0.5], "using": "b"}),
        );
        let sparse = |index: u64| json!({"query": {"indices": [index], "values": [0.5]}});
        differ(sparse(1), sparse(2));
        assert_eq!(of(&json!({"query": 7})), None, "that is a point's id");
        assert_eq!(
            of(&json!({"query": {"recommend": {"positive": [7]}}})),
            None
        );
        assert_eq!(
            rounded(Operation::ScrollPoints, b"{\"query\":[0.5]}", 3),
            None
        );
    }
}

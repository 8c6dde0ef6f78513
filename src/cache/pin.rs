//! Which tenants a read is pinned to.
//!
//! A read is pinned when every candidate it can find has one of a few values at a field that tells
//! tenants apart, and nothing but candidates decides about the answer. Only what is known to keep
//! to that counts: a part of a question that is not known here leaves it unpinned.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::tenant::{Field, Tenancy, canonical};
use crate::model::Operation;

/// Values at fields, as JSON text.
pub(super) type Pins = BTreeSet<(String, String)>;

/// A read of more tenants than this may as well depend on the whole collection.
const PINS_MAX: usize = 16;

/// Parts that decide which of the candidates are shown, and how.
const SHOWS: [&str; 14] = [
    "filter",
    "limit",
    "offset",
    "with_payload",
    "with_vector",
    "with_vectors",
    "params",
    "score_threshold",
    "order_by",
    "group_by",
    "group_size",
    "using",
    "timeout",
    "consistency",
];

/// What a read is pinned to; `None` when it is not.
pub(super) fn pins(
    operation: Operation,
    body: &[u8],
    fields: &[Arc<Field>],
    tenancy: &Tenancy,
) -> Option<Pins> {
    let says = |word: &str| memchr::memmem::find(body, word.as_bytes()).is_some();
    if fields.is_empty() || !says("\"must\"") || !says("\"match\"") {
        return None;
    }
    let Value::Object(question) = serde_json::from_slice(body).ok()? else {
        return None;
    };
    let mut reading = Reading {
        fields,
        tenancy,
        pins: Pins::new(),
    };
    reading.question(operation, &question)?;
    let pins = reading.pins;
    (!pins.is_empty() && pins.len() <= PINS_MAX).then_some(pins)
}

struct Reading<'a> {
    fields: &'a [Arc<Field>],
    tenancy: &'a Tenancy,
    pins: Pins,
}

impl Reading<'_> {
    fn question(&mut self, operation: Operation, of: &Map<String, Value>) -> Option<()> {
        if matches!(operation, Operation::QueryPoints | Operation::QueryGroups) {
            self.query(of)
        } else if matches!(operation, Operation::SearchPoints | Operation::SearchGroups) {
            self.search(of)
        } else if matches!(operation, Operation::QueryBatch | Operation::SearchBatch) {
            only(of, &["searches"])?;
            for one in of.get("searches")?.as_array()? {
                let one = one.as_object()?;
                if operation == Operation::QueryBatch {
                    self.query(one)?;
                } else {
                    self.search(one)?;
                }
            }
            Some(())
        } else if operation == Operation::ScrollPoints {
            only(of, &[])?;
            self.pinned_by(of.get("filter"))
        } else if matches!(operation, Operation::CountPoints | Operation::Facet) {
            only(of, &["exact", "key"])?;
            // What is not counted is estimated from all points.
            let exact = operation == Operation::CountPoints;
            if of.get("exact").map_or(Some(exact), Value::as_bool) != Some(true) {
                return None;
            }
            self.pinned_by(of.get("filter"))
        } else {
            None
        }
    }

    fn query(&mut self, of: &Map<String, Value>) -> Option<()> {
        only(of, &["query", "prefetch"])?;
        let using = of.get("using").filter(|using| !using.is_null());
        let using = using.map_or(Some(""), Value::as_str)?;
        let query = of.get("query").filter(|query| !query.is_null());
        if query.is_some_and(|query| !is_plain(query)) || self.tenancy.is_idf(using) {
            return None;
        }
        // The leaves decide about the candidates; what stands above them chooses among these.
        match of.get("prefetch") {
            Some(Value::Object(one)) => self.query(one),
            Some(Value::Array(all)) if !all.is_empty() => {
                all.iter().try_for_each(|one| self.query(one.as_object()?))
            }
            None | Some(Value::Null | Value::Array(_)) => self.pinned_by(of.get("filter")),
            Some(Value::Bool(_) | Value::Number(_) | Value::String(_)) => None,
        }
    }

    fn search(&mut self, of: &Map<String, Value>) -> Option<()> {
        only(of, &["vector"])?;
        let vector = of.get("vector")?;
        let (name, vector) = match vector.get("name") {
            Some(name) => (name.as_str()?, vector.get("vector")?),
            None => ("", vector),
        };
        if !is_vector(vector) || self.tenancy.is_idf(name) {
            return None;
        }
        self.pinned_by(of.get("filter"))
    }

    fn pinned_by(&mut self, filter: Option<&Value>) -> Option<()> {
        let (field, values) = self.pin_of(filter?)?;
        for value in values {
            self.pins.insert((field.text.clone(), value));
        }
        Some(())
    }

    /// The first condition that has to hold and pins a field.
    fn pin_of(&self, filter: &Value) -> Option<(Arc<Field>, Vec<String>)> {
        let filter = filter.as_object()?;
        if !filter
            .keys()
            .all(|key| matches!(key.as_str(), "must" | "should" | "min_should" | "must_not"))
        {
            return None;
        }
        let must = filter.get("must")?;
        match must.as_array() {
            Some(conditions) => conditions.iter().find_map(|one| self.pin_in(one)),
            None => self.pin_in(must),
        }
    }

    /// Goes as deep as a parsed value is, which serde_json bounds.
    fn pin_in(&self, condition: &Value) -> Option<(Arc<Field>, Vec<String>)> {
        let parts = condition.as_object()?;
        if parts.contains_key("must") {
            return self.pin_of(condition);
        }
        // Further parts would be alternatives.
        let said = parts.iter().filter(|(_, value)| !value.is_null()).count();
        let (key, matches) = (
            parts.get("key")?.as_str()?,
            parts.get("match")?.as_object()?,
        );
        let field = self.fields.iter().find(|field| field.text == key)?;
        if said != 2 || matches.len() != 1 {
            return None;
        }
        let values = match (matches.get("value"), matches.get("any")) {
            (Some(one), _) => vec![canonical(one)?],
            (None, Some(any)) => {
                let any = any.as_array().filter(|any| any.len() <= PINS_MAX)?;
                any.iter().map(canonical).collect::<Option<Vec<_>>>()?
            }
            (None, None) => return None,
        };
        Some((Arc::clone(field), values))
    }
}

fn only(of: &Map<String, Value>, own: &[&str]) -> Option<()> {
    let is_known = |(key, value): (&String, &Value)| {
        value.is_null() || SHOWS.contains(&key.as_str()) || own.contains(&key.as_str())
    };
    of.iter().all(is_known).then_some(())
}

/// A query that looks at no point but the candidates.
fn is_plain(query: &Value) -> bool {
    if is_vector(query) {
        return true;
    }
    let Some(parts) = query.as_object() else {
        return false;
    };
    let says = |words: &[&str]| parts.keys().all(|key| words.contains(&key.as_str()));
    if let Some(nearest) = parts.get("nearest") {
        return says(&["nearest", "mmr"]) && is_vector(nearest);
    }
    says(&["fusion"]) || says(&["rrf"]) || says(&["order_by"])
}

/// A vector as numbers, or a text that becomes one; a number or a string would be a point's id.
fn is_vector(value: &Value) -> bool {
    match value {
        Value::Array(parts) => parts.iter().all(|part| match part.as_array() {
            Some(row) => row.iter().all(Value::is_number),
            None => part.is_number(),
        }),
        Value::Object(parts) => {
            let says = |words: &[&str]| words.iter().all(|word| parts.contains_key(*word));
            says(&["indices", "values"]) || says(&["text", "model"])
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pinned(operation: Operation, body: &Value) -> Option<Vec<String>> {
        let told = json!({"result": {"config": {"params": {"sparse_vectors": {
            "bm25": {"modifier": "idf"}, "plain": {}}}}}});
        let tenancy = Tenancy::parse(told.to_string().as_bytes(), Some("u")).unwrap();
        let fields = ["u", "m.u"].map(|text| Arc::new(Field::parse(text).unwrap()));
        let pins = pins(operation, body.to_string().as_bytes(), &fields, &tenancy)?;
        Some(
            pins.into_iter()
                .map(|(field, value)| format!("{field}={value}"))
                .collect(),
        )
    }

    fn is(value: &str) -> Value {
        json!({"key": "u", "match": {"value": value}})
    }

    fn query(more: Value) -> Value {
        let mut query = json!({"query": [0.1, 0.2], "filter": {"must": [is("a")]}, "limit": 3});
        let all = query.as_object_mut().unwrap();
        all.extend(more.as_object().unwrap().clone());
        query
    }

    #[test]
    fn what_frameworks_send_is_pinned() {
        let a = Some(vec!["u=\"a\"".to_owned()]);
        for more in [
            json!({}),
            json!({"query": {"nearest": [0.1]}, "using": "", "with_payload": true, "offset": 0}),
            json!({"query": {"nearest": [0.1], "mmr": {"diversity": 0.5}}}),
            json!({"query": {"indices": [1], "values": [0.5]}, "using": "plain"}),
            json!({"query": {"text": "x", "model": "y"}, "prefetch": []}),
            json!({"filter": {"must": is("a"), "must_not": [is("b")]}}),
            json!({"filter": {"must": [{"must": [is("a")]}], "should": [is("b")]}}),
            json!({"filter": {"must": [{"key": "u", "match": {"any": ["a"]}, "range": null}]}}),
            json!({"query": {"fusion": "rrf"}, "filter": null, "prefetch": [query(json!({}))]}),
            json!({"query": null}),
        ] {
            let body = query(more);
            assert_eq!(pinned(Operation::QueryPoints, &body), a, "{body}");
            let batch = json!({"searches": [body]});
            assert_eq!(pinned(Operation::QueryBatch, &batch), a, "{batch}");
        }
        let filter = json!({"must": [{"key": "m.u", "match": {"value": 7}}]});
        let nested = Some(vec!["m.u=7".to_owned()]);
        let of = |operation, body| pinned(operation, &body);
        assert_eq!(
            of(
                Operation::ScrollPoints,
                json!({"filter": filter, "limit": 9})
            ),
            nested
        );
        assert_eq!(
            of(Operation::CountPoints, json!({"filter": filter})),
            nested
        );
        let search = json!({"vector": [0.5], "filter": filter, "limit": 1, "with_vector": true});
        assert_eq!(of(Operation::SearchPoints, search), nested);
        let facet = json!({"key": "k", "filter": filter, "exact": true});
        assert_eq!(of(Operation::Facet, facet), nested);
    }

    #[test]
    fn what_reads_of_several_tenants_depends_on_all_of_them() {
        let any = json!({"filter": {"must": [{"key": "u", "match": {"any": ["a", "b"]}}]}});
        let both = Some(vec!["u=\"a\"".to_owned(), "u=\"b\"".to_owned()]);
        assert_eq!(pinned(Operation::QueryPoints, &query(any)), both);
        let other = query(json!({"filter": {"must": is("b")}}));
        let batch = json!({"searches": [query(json!({})), other]});
        assert_eq!(pinned(Operation::QueryBatch, &batch), both);
    }

    #[test]
    fn what_may_look_at_other_points_is_not() {
        for more in [
            json!({"filter": null}),
            json!({"filter": {"should": [is("a")]}}),
            json!({"filter": {"must_not": [is("a")]}}),
            json!({"filter": {"must": [{"should": [is("a")]}]}}),
            json!({"filter": {"must": [{"key": "v", "match": {"value": "a"}}]}}),
            json!({"filter": {"must": [{"key": "u", "match": {"text": "a"}}]}}),
            json!({"filter": {"must": [{"key": "u", "match": {"except": ["a"]}}]}}),
            json!({"filter": {"must": [{"key": "u", "match": {"value": 1.5}}]}}),
            json!({"filter": {"must": [{"key": "u", "match": {"value": "a"}, "range": {"gt": 1}}]}}),
            json!({"filter": {"must": [is("a")], "other": 1}}),
            json!({"query": 7}),
            json!({"query": "550e8400-e29b-41d4-a716-446655440000"}),
            json!({"query": {"nearest": 7}}),
            json!({"query": {"recommend": {"positive": [[0.1]]}}}),
            json!({"query": {"discover": {"target": [0.1], "context": []}}}),
            json!({"query": {"sample": "random"}}),
            json!({"using": "bm25"}),
            json!({"lookup_from": {"collection": "other"}}),
            json!({"shard_key": "x"}),
            json!({"unheard_of": 1}),
            json!({"prefetch": [{"query": [0.1]}]}),
            json!({"prefetch": [query(json!({})), {"query": [0.1]}]}),
            json!({"prefetch": query(json!({"using": "bm25"}))}),
        ] {
            let body = query(more);
            assert_eq!(pinned(Operation::QueryPoints, &body), None, "{body}");
        }
        let filter = json!({"must": is("a")});
        let of = |operation, body| pinned(operation, &body);
        let rough = json!({"filter": filter, "exact": false});
        assert_eq!(of(Operation::CountPoints, rough), None);
        assert_eq!(
            of(Operation::Facet, json!({"key": "k", "filter": filter})),
            None
        );
        assert_eq!(
            of(Operation::GetPoints, json!({"ids": [1], "filter": filter})),
            None
        );
        let named = json!({"vector": {"name": "bm25", "vector": {"indices": [], "values": []}},
            "filter": filter, "limit": 1});
        assert_eq!(of(Operation::SearchPoints, named), None);
        let grouped = query(json!({"group_by": "k", "with_lookup": "other"}));
        assert_eq!(of(Operation::QueryGroups, grouped), None);
    }
}

//! Which points a write names, and whose they become.
//!
//! Taken from the body alone: whose the points are now is looked up at the store. What is not
//! understood is `Broad`, and the write touches the whole collection.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::tenant::{Field, Whose};
use crate::model::Operation;

/// The most points that are looked up for one write.
pub(super) const POINTS_MAX: usize = 256;

/// Why a write was taken to touch its whole collection, where tenants could be told apart. Also a
/// metric label.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Broad {
    /// The body streams, or is nothing that is understood here.
    Body,
    /// More points than are looked up.
    Points,
    /// The store did not say whose the points are.
    LookUp,
    /// A point has several values where one should stand.
    Value,
    /// Another write may have changed whose the points are in between.
    Met,
}

impl Broad {
    pub const ALL: [Self; 5] = [
        Self::Body,
        Self::Points,
        Self::LookUp,
        Self::Value,
        Self::Met,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Body => "body",
            Self::Points => "points",
            Self::LookUp => "look_up",
            Self::Value => "value",
            Self::Met => "met",
        }
    }
}

/// What a write names.
#[derive(Debug, Default)]
pub(super) struct Named {
    /// In one spelling each.
    pub(super) ids: BTreeSet<String>,
    /// At most one, and then no ids.
    pub(super) filter: Option<Value>,
    /// What points are given, whole or in part.
    payloads: Vec<Map<String, Value>>,
}

type Fields = Map<String, Value>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Upsert {
    points: Option<Vec<Point>>,
    batch: Option<Batch>,
    shard_key: Option<IgnoredAny>,
    // What it spares is left as it is.
    #[serde(rename = "update_filter")]
    _update_filter: Option<IgnoredAny>,
    #[serde(rename = "update_mode")]
    _update_mode: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Point {
    id: Value,
    payload: Option<Fields>,
}

#[derive(Deserialize)]
struct Batch {
    ids: Vec<Value>,
    payloads: Option<Vec<Option<Fields>>>,
}

/// Everything else that names points, by id or by filter.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Chosen {
    points: Option<Vec<Choice>>,
    filter: Option<Value>,
    payload: Option<Fields>,
    // Keys of the payload, or names of vectors, that are taken away.
    #[serde(rename = "keys")]
    _keys: Option<IgnoredAny>,
    #[serde(rename = "vector", alias = "vectors")]
    _vector: Option<IgnoredAny>,
    #[serde(rename = "update_filter")]
    _update_filter: Option<IgnoredAny>,
    key: Option<IgnoredAny>,
    shard_key: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Choice {
    Vectors { id: Value },
    Id(Value),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Operations {
    operations: Vec<Map<String, Value>>,
}

pub(super) fn named(operation: Operation, body: &[u8]) -> Result<Named, Broad> {
    let mut named = Named::default();
    if operation == Operation::UpsertPoints {
        named.upsert(read(body)?)?;
    } else if operation == Operation::BatchUpdate {
        let batch: Operations = read(body)?;
        for one in batch.operations {
            named.step(one)?;
        }
    } else {
        named.chosen(read(body)?)?;
    }
    if named.ids.len() > POINTS_MAX {
        return Err(Broad::Points);
    }
    Ok(named)
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Broad> {
    serde_json::from_slice(body).map_err(|_not_understood| Broad::Body)
}

impl Named {
    fn upsert(&mut self, upsert: Upsert) -> Result<(), Broad> {
        match upsert {
            Upsert {
                points: Some(points),
                batch: None,
                shard_key: None,
                ..
            } => points.into_iter().try_for_each(|point| {
                self.payloads.extend(point.payload);
                self.add(&point.id)
            }),
            Upsert {
                points: None,
                batch: Some(batch),
                shard_key: None,
                ..
            } => {
                self.payloads
                    .extend(batch.payloads.into_iter().flatten().flatten());
                batch.ids.iter().try_for_each(|id| self.add(id))
            }
            _ => Err(Broad::Body),
        }
    }

    fn chosen(&mut self, chosen: Chosen) -> Result<(), Broad> {
        if chosen.shard_key.is_some() || chosen.key.is_some() {
            return Err(Broad::Body);
        }
        self.payloads.extend(chosen.payload);
        match (chosen.points, chosen.filter) {
            (Some(points), None) => points.iter().try_for_each(|choice| match choice {
                Choice::Vectors { id } | Choice::Id(id) => self.add(id),
            }),
            (None, Some(filter)) if filter.is_object() => {
                self.filter = Some(filter);
                Ok(())
            }
            (Some(_) | None, Some(_)) | (None, None) => Err(Broad::Body),
        }
    }

    /// One step of a batch. Whose points are chosen by a filter depends on the steps before it.
    fn step(&mut self, step: Map<String, Value>) -> Result<(), Broad> {
        let mut steps = step.into_iter();
        let (Some((kind, of)), None) = (steps.next(), steps.next()) else {
            return Err(Broad::Body);
        };
        let understood = |_wrong| Broad::Body;
        match kind.as_str() {
            "upsert" => self.upsert(serde_json::from_value(of).map_err(understood)?)?,
            "delete" | "set_payload" | "overwrite_payload" | "delete_payload" | "clear_payload"
            | "update_vectors" | "delete_vectors" => {
                self.chosen(serde_json::from_value(of).map_err(understood)?)?;
            }
            _ => return Err(Broad::Body),
        }
        if self.filter.is_some() {
            return Err(Broad::Body);
        }
        Ok(())
    }

    fn add(&mut self, id: &Value) -> Result<(), Broad> {
        let text = match id {
            Value::Number(number) if number.is_u64() => number.to_string(),
            Value::String(text) => Uuid::parse_str(text)
                .map_err(|_no_id| Broad::Body)?
                .hyphenated()
                .to_string(),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::Array(_)
            | Value::Object(_) => return Err(Broad::Body),
        };
        self.ids.insert(text);
        Ok(())
    }

    /// The tenants that the points are given to, as field and value.
    pub(super) fn given_to(
        &self,
        fields: &[Arc<Field>],
    ) -> Result<BTreeSet<(String, String)>, Broad> {
        let mut tenants = BTreeSet::new();
        for payload in &self.payloads {
            add_whose(&mut tenants, fields, payload)?;
        }
        Ok(tenants)
    }

    /// What to ask the store for, to be told whose the points are now: the call and its body.
    pub(super) fn question(&self, fields: &[Arc<Field>]) -> (Operation, Vec<u8>) {
        let fields: Vec<&str> = fields.iter().map(|field| field.text.as_str()).collect();
        let (operation, mut body) = match &self.filter {
            Some(filter) => {
                let body = json!({"filter": filter, "limit": POINTS_MAX + 1});
                (Operation::ScrollPoints, body)
            }
            None => {
                let ids: Vec<Value> = self.ids.iter().map(|id| spelt(id)).collect();
                (Operation::GetPoints, json!({"ids": ids}))
            }
        };
        if let Some(body) = body.as_object_mut() {
            body.insert("with_payload".to_owned(), json!(fields));
            body.insert("with_vector".to_owned(), json!(false));
        }
        (operation, body.to_string().into_bytes())
    }
}

fn spelt(id: &str) -> Value {
    let number = id.parse::<u64>();
    number.map_or_else(|_uuid| Value::from(id), Value::from)
}

fn add_whose(
    tenants: &mut BTreeSet<(String, String)>,
    fields: &[Arc<Field>],
    payload: &Fields,
) -> Result<(), Broad> {
    for field in fields {
        match field.whose(payload) {
            Whose::Nobodys => {}
            Whose::Tenants(value) => drop(tenants.insert((field.text.clone(), value))),
            Whose::Unclear => return Err(Broad::Value),
        }
    }
    Ok(())
}

#[derive(Deserialize)]
struct Answer {
    result: Found,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Found {
    Scrolled { points: Vec<Stored> },
    Got(Vec<Stored>),
}

#[derive(Deserialize)]
struct Stored {
    payload: Option<Fields>,
}

/// Whose the points are, from the store's answer to [`Named::question`].
pub(super) fn belong_to(
    answer: &[u8],
    fields: &[Arc<Field>],
) -> Result<BTreeSet<(String, String)>, Broad> {
    let answer: Answer = serde_json::from_slice(answer).map_err(|_nonsense| Broad::LookUp)?;
    let (Found::Scrolled { points } | Found::Got(points)) = answer.result;
    if points.len() > POINTS_MAX {
        return Err(Broad::Points);
    }
    let mut tenants = BTreeSet::new();
    for payload in points.iter().filter_map(|point| point.payload.as_ref()) {
        add_whose(&mut tenants, fields, payload)?;
    }
    Ok(tenants)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "550e8400-e29b-41d4-a716-446655440000";

    fn of(operation: Operation, body: Value) -> Result<Named, Broad> {
        named(operation, body.to_string().as_bytes())
    }

    fn fields() -> [Arc<Field>; 1] {
        [Arc::new(Field::parse("u").unwrap())]
    }

    fn given(named: &Named) -> Vec<String> {
        let tenants = named.given_to(&fields()).unwrap().into_iter();
        tenants.map(|(_, value)| value).collect()
    }

    #[test]
    fn an_upsert_names_its_points_and_whose_they_become() {
        let points = json!([
            {"id": 1, "vector": [0.1], "payload": {"u": "a"}},
            {"id": UUID.replace('-', ""), "vector": {"x": [0.1]}, "payload": {"u": "b"}},
            {"id": 2, "vector": [], "payload": null},
        ]);
        let rows = of(Operation::UpsertPoints, json!({ "points": points })).unwrap();
        let columns = json!({"ids": [1, UUID, 2], "vectors": [],
            "payloads": [{"u": "a"}, {"u": "b"}, null]});
        let columns = of(Operation::UpsertPoints, json!({ "batch": columns })).unwrap();
        for named in [rows, columns] {
            assert_eq!(named.ids.iter().collect::<Vec<_>>(), ["1", "2", UUID]);
            assert_eq!(given(&named), ["\"a\"", "\"b\""]);
            let (operation, body) = named.question(&fields());
            assert_eq!(operation, Operation::GetPoints);
            let body: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(body["ids"], json!([1, 2, UUID]));
            assert_eq!(body["with_payload"], json!(["u"]));
        }
    }

    #[test]
    fn other_writes_name_points_by_id_or_by_filter() {
        let ids = json!({"points": [1]});
        for operation in [
            Operation::DeletePoints,
            Operation::ClearPayload,
            Operation::DeletePayload,
            Operation::DeleteVectors,
        ] {
            assert_eq!(of(operation, ids.clone()).unwrap().ids.len(), 1);
        }
        let vectors = json!({"points": [{"id": 1, "vector": [0.1]}]});
        assert_eq!(of(Operation::UpdateVectors, vectors).unwrap().ids.len(), 1);
        let set = json!({"points": [1], "payload": {"u": "b"}});
        assert_eq!(given(&of(Operation::SetPayload, set).unwrap()), ["\"b\""]);
        let filter = json!({"must": []});
        let named = of(Operation::DeletePoints, json!({ "filter": filter })).unwrap();
        let (operation, body) = named.question(&fields());
        assert_eq!(operation, Operation::ScrollPoints);
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((&body["filter"], &body["limit"]), (&filter, &json!(257)));
        let steps = json!({"operations": [
            {"upsert": {"points": [{"id": 1, "vector": [], "payload": {"u": "a"}}]}},
            {"set_payload": {"points": [2], "payload": {"u": "c"}}},
            {"delete": {"points": [3]}},
        ]});
        let named = of(Operation::BatchUpdate, steps).unwrap();
        assert_eq!((named.ids.len(), given(&named).len()), (3, 2));
    }

    #[test]
    fn what_is_not_understood_is_broad() {
        let point = json!({"id": 1, "vector": [], "payload": {"u": "a"}});
        let many: Vec<Value> = (0..=POINTS_MAX).map(|id| json!(id)).collect();
        for (operation, body, broad) in [
            (
                Operation::UpsertPoints,
                json!({"points": [point], "shard_key": "x"}),
                Broad::Body,
            ),
            (
                Operation::UpsertPoints,
                json!({"points": [point], "else": 1}),
                Broad::Body,
            ),
            (
                Operation::UpsertPoints,
                json!({"points": [{"id": -1}]}),
                Broad::Body,
            ),
            (
                Operation::UpsertPoints,
                json!({"points": [{"id": "x"}]}),
                Broad::Body,
            ),
            (Operation::UpsertPoints, json!({}), Broad::Body),
            (
                Operation::DeletePoints,
                json!({"points": [1], "filter": {}}),
                Broad::Body,
            ),
            (
                Operation::DeletePoints,
                json!({"points": many}),
                Broad::Points,
            ),
            (
                Operation::SetPayload,
                json!({"points": [1], "payload": {}, "key": "m"}),
                Broad::Body,
            ),
            (
                Operation::BatchUpdate,
                json!({"operations": [{"delete": {"filter": {}}}]}),
                Broad::Body,
            ),
            (
                Operation::BatchUpdate,
                json!({"operations": [{"unheard": {}}]}),
                Broad::Body,
            ),
        ] {
            assert_eq!(of(operation, body.clone()).unwrap_err(), broad, "{body}");
        }
        let list = json!({"points": [{"id": 1, "vector": [], "payload": {"u": ["a", "b"]}}]});
        let named = of(Operation::UpsertPoints, list).unwrap();
        assert_eq!(named.given_to(&fields()), Err(Broad::Value));
    }

    #[test]
    fn the_store_tells_whose_the_points_are() {
        let fields = fields();
        let whose = |result: Value| {
            let answer = json!({"result": result, "status": "ok"}).to_string();
            belong_to(answer.as_bytes(), &fields).map(|tenants| tenants.len())
        };
        let stored =
            json!([{"id": 1, "payload": {"u": "a"}}, {"id": 2, "payload": null}, {"id": 3}]);
        assert_eq!(whose(stored.clone()), Ok(1));
        assert_eq!(
            whose(json!({"points": stored, "next_page_offset": null})),
            Ok(1)
        );
        assert_eq!(
            whose(json!([{"id": 1, "payload": {"u": ["a"]}}])),
            Err(Broad::Value)
        );
        let many = vec![json!({"id": 1}); POINTS_MAX + 1];
        assert_eq!(whose(json!({ "points": many })), Err(Broad::Points));
        assert_eq!(belong_to(b"{}", &fields), Err(Broad::LookUp));
    }
}

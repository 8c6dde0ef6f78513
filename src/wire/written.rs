//! What a write to points touches, read from its body, and the same write naming the points that
//! its filter has found.
//!
//! Only as much is read as has to be known. What is read as touched may be more than what is
//! changed, never less: a form that is not known here is `None`, and whoever asks has to reckon
//! with everything.

use std::collections::BTreeMap;

use qdrant_edge::PointId;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::model::{Operation, PointKey};

/// One write to points, as its body says it.
#[derive(Clone, Debug)]
pub struct Piece<'b> {
    /// The key that this write has in a batch.
    key: &'static str,
    body: &'b RawValue,
    pub touches: Touches<'b>,
}

/// The points a write is about.
#[derive(Clone, Debug)]
pub enum Touches<'b> {
    Ids(Vec<PointKey>),
    /// Those that a filter finds, and those that are named beside it.
    Filter(&'b RawValue, Vec<PointKey>),
}

#[derive(Deserialize)]
struct Upsert {
    points: Option<Vec<OnlyId>>,
    batch: Option<OnlyIds>,
}

#[derive(Deserialize)]
struct OnlyId {
    id: PointId,
}

#[derive(Deserialize)]
struct OnlyIds {
    ids: Vec<PointId>,
}

#[derive(Deserialize)]
struct Selector<'b> {
    points: Option<Vec<PointId>>,
    #[serde(borrow)]
    filter: Option<&'b RawValue>,
}

#[derive(Deserialize)]
struct UpdateBatch<'b> {
    #[serde(borrow)]
    operations: Vec<&'b RawValue>,
}

/// What one write means, by the key it has in a batch.
const KEYS: [(&str, Operation); 8] = [
    ("upsert", Operation::UpsertPoints),
    ("delete", Operation::DeletePoints),
    ("set_payload", Operation::SetPayload),
    ("overwrite_payload", Operation::OverwritePayload),
    ("delete_payload", Operation::DeletePayload),
    ("clear_payload", Operation::ClearPayload),
    ("update_vectors", Operation::UpdateVectors),
    ("delete_vectors", Operation::DeleteVectors),
];

/// A filter that no point meets.
const MEETS_NOTHING: &str = r#"{"must":[{"has_id":[]}]}"#;

/// The writes of a request, in their order. `None`: not of a form that is known.
pub fn pieces(operation: Operation, body: &[u8]) -> Option<Vec<Piece<'_>>> {
    if operation == Operation::BatchUpdate {
        let batch: UpdateBatch<'_> = serde_json::from_slice(body).ok()?;
        return batch.operations.into_iter().map(of_batch).collect();
    }
    let (key, _) = KEYS.into_iter().find(|(_, known)| *known == operation)?;
    let body: &RawValue = serde_json::from_slice(body).ok()?;
    Some(vec![piece(key, operation, body)?])
}

fn of_batch(raw: &RawValue) -> Option<Piece<'_>> {
    let keyed: BTreeMap<&str, &RawValue> = serde_json::from_str(raw.get()).ok()?;
    // Where there are several, the first in this order is the one that is done.
    let known = KEYS.into_iter().filter(|(key, _)| keyed.contains_key(key));
    let mut known = known.collect::<Vec<_>>().into_iter();
    let (Some((key, operation)), None) = (known.next(), known.next()) else {
        return None;
    };
    piece(key, operation, keyed.get(key)?)
}

fn piece<'b>(key: &'static str, operation: Operation, body: &'b RawValue) -> Option<Piece<'b>> {
    let text = body.get();
    let names_points = [Operation::UpsertPoints, Operation::UpdateVectors].contains(&operation);
    let touches = if names_points {
        Touches::Ids(written(text)?)
    } else {
        let selector: Selector<'_> = serde_json::from_str(text).ok()?;
        selected(operation, selector)?
    };
    Some(Piece { key, body, touches })
}

fn written(text: &str) -> Option<Vec<PointKey>> {
    let upsert: Upsert = serde_json::from_str(text).ok()?;
    let listed = upsert.points.into_iter().flatten().map(|point| point.id);
    let in_columns = upsert.batch.into_iter().flat_map(|batch| batch.ids);
    Some(listed.chain(in_columns).map(key_of).collect())
}

fn selected(operation: Operation, selector: Selector<'_>) -> Option<Touches<'_>> {
    let ids = |points: Vec<PointId>| points.into_iter().map(key_of).collect();
    match (selector.points, selector.filter) {
        // Both are done there; everywhere else the ids win.
        (points, Some(filter)) if operation == Operation::DeleteVectors => {
            Some(Touches::Filter(filter, ids(points.unwrap_or_default())))
        }
        (Some(points), _) => Some(Touches::Ids(ids(points))),
        (None, Some(filter)) => Some(Touches::Filter(filter, Vec::new())),
        (None, None) => None,
    }
}

impl Piece<'_> {
    /// The write about these points instead of what its filter finds, as it stands in a batch.
    pub fn naming_in_batch(&self, ids: &[PointKey]) -> Option<Box<RawValue>> {
        keyed(self.key, &self.naming(ids)?)
    }

    /// The write about these points instead of what its filter finds.
    pub fn naming(&self, ids: &[PointKey]) -> Option<Box<RawValue>> {
        let mut fields: BTreeMap<&str, &RawValue> = serde_json::from_str(self.body.get()).ok()?;
        if ids.is_empty() {
            // A list of no ids is refused; a filter that meets nothing is not.
            let nothing: &RawValue = serde_json::from_str(MEETS_NOTHING).ok()?;
            fields.remove("points");
            fields.insert("filter", nothing);
            return serde_json::value::to_raw_value(&fields).ok();
        }
        let ids = ids_json(ids);
        let ids: &RawValue = serde_json::from_str(&ids).ok()?;
        fields.remove("filter");
        fields.insert("points", ids);
        serde_json::value::to_raw_value(&fields).ok()
    }

    /// The write as it stands in a batch, unchanged.
    pub fn as_it_is(&self) -> Option<Box<RawValue>> {
        keyed(self.key, self.body)
    }
}

fn keyed(key: &str, body: &RawValue) -> Option<Box<RawValue>> {
    RawValue::from_string(format!("{{\"{key}\":{}}}", body.get())).ok()
}

/// A JSON list of ids, as Qdrant writes them.
pub fn ids_json(ids: &[PointKey]) -> String {
    let written = ids.iter().map(|id| match id {
        PointKey::Number(_) => id.to_string(),
        PointKey::Uuid(_) => format!("\"{id}\""),
    });
    format!("[{}]", written.collect::<Vec<_>>().join(","))
}

pub fn key_of(id: PointId) -> PointKey {
    match id {
        PointId::NumId(number) => PointKey::Number(number),
        PointId::Uuid(uuid) => PointKey::Uuid(uuid.as_u128()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touched(operation: Operation, body: &str) -> Option<Vec<String>> {
        let told = |piece: &Piece<'_>| match &piece.touches {
            Touches::Ids(ids) => ids_json(ids),
            Touches::Filter(filter, beside) => format!("{filter}+{}", ids_json(beside)),
        };
        Some(
            pieces(operation, body.as_bytes())?
                .iter()
                .map(told)
                .collect(),
        )
    }

    fn one(operation: Operation, body: &str, expected: &str) {
        assert_eq!(
            touched(operation, body),
            Some(vec![expected.to_owned()]),
            "{body}"
        );
    }

    #[test]
    fn every_form_of_a_write_tells_its_points() {
        let uuid = "\"550e8400-e29b-41d4-a716-446655440000\"";
        one(
            Operation::UpsertPoints,
            r#"{"points":[{"id":1,"vector":[1,2],"payload":{"id":9}},{"id":"550e8400e29b41d4a716446655440000","vector":{}}]}"#,
            &format!("[1,{uuid}]"),
        );
        one(
            Operation::UpsertPoints,
            r#"{"batch":{"ids":[3,4],"vectors":[[1],[2]]}}"#,
            "[3,4]",
        );
        one(
            Operation::UpdateVectors,
            r#"{"points":[{"id":5,"vector":[1]}]}"#,
            "[5]",
        );
        one(Operation::DeletePoints, r#"{"points":[6]}"#, "[6]");
        one(
            Operation::DeletePoints,
            r#"{"filter":{"must":[]}}"#,
            r#"{"must":[]}+[]"#,
        );
        one(
            Operation::SetPayload,
            r#"{"payload":{"a":1},"points":[7],"filter":{}}"#,
            "[7]",
        );
        one(
            Operation::DeleteVectors,
            r#"{"vector":["a"],"points":[8],"filter":{}}"#,
            "{}+[8]",
        );
    }

    #[test]
    fn a_batch_tells_its_writes_in_their_order() {
        let body = r#"{"operations":[{"delete":{"points":[1]}},{"set_payload":{"payload":{},"filter":{}}},{"upsert":{"points":[{"id":2,"vector":[]}]}}]}"#;
        let expected = ["[1]", "{}+[]", "[2]"].map(str::to_owned);
        assert_eq!(touched(Operation::BatchUpdate, body), Some(expected.into()));
    }

    #[test]
    fn what_is_not_known_is_told_as_that() {
        for body in [
            "",
            "{}",
            r#"{"points":["x"],"filter":{}}"#,
            r#"{"points":[1],"points":[2]}"#,
        ] {
            assert_eq!(touched(Operation::DeletePoints, body), None, "{body}");
        }
        let both = r#"{"operations":[{"delete":{"points":[1]},"clear_payload":{"points":[2]}}]}"#;
        assert_eq!(touched(Operation::BatchUpdate, both), None);
        assert_eq!(touched(Operation::CreateCollection, "{}"), None);
    }

    #[test]
    fn a_write_whose_filter_meets_nothing_stays_one_by_a_filter() {
        let body = br#"{"filter":{"must":[]}}"#;
        let pieces = pieces(Operation::DeletePoints, body).unwrap();
        let named = pieces.first().unwrap().naming(&[]).unwrap();
        assert_eq!(named.get(), r#"{"filter":{"must":[{"has_id":[]}]}}"#);
    }

    #[test]
    fn a_write_by_filter_becomes_one_by_ids_and_keeps_the_rest() {
        let body = br#"{"payload":{"b":1,"a":[1e400]},"filter":{"must":[]},"key":"x"}"#;
        let pieces = pieces(Operation::SetPayload, body).unwrap();
        let ids = [PointKey::Number(1), PointKey::Uuid(0)];
        assert_eq!(
            pieces.first().unwrap().naming_in_batch(&ids).unwrap().get(),
            r#"{"set_payload":{"key":"x","payload":{"b":1,"a":[1e400]},"points":[1,"00000000-0000-0000-0000-000000000000"]}}"#
        );
    }
}

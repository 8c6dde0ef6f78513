//! Points as Qdrant writes them: records, scored points and their vectors.
//!
//! What a point lacks is left out, never written as `null`. A number that is not finite is written
//! as `null`, as `serde_json` does by itself. Nothing is copied: these are views of engine values.

use qdrant_edge::{OrderValue, Payload, PointId, VectorStructInternal};
use qdrant_edge::{Record, ScoredPoint, TypedMultiDenseVector, VectorInternal};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};

/// A point read by id, scrolled, or looked up.
pub fn record(point: &Record) -> impl Serialize + '_ {
    RecordView {
        id: &point.id,
        payload: point.payload.as_ref(),
        vector: point.vector.as_ref().map(VectorsView),
        shard_key: point.shard_key.as_ref(),
        order_value: point.order_value.as_ref(),
    }
}

pub fn records(points: &[Record]) -> impl Serialize + '_ {
    ListView(points, record)
}

/// A point found by a search.
pub fn scored_point(point: &ScoredPoint) -> impl Serialize + '_ {
    ScoredView {
        id: &point.id,
        version: point.version,
        score: point.score,
        payload: point.payload.as_ref(),
        vector: point.vector.as_ref().map(VectorsView),
        shard_key: point.shard_key.as_ref(),
        order_value: point.order_value.as_ref(),
    }
}

pub fn scored_points(points: &[ScoredPoint]) -> impl Serialize + '_ {
    ListView(points, scored_point)
}

/// All vectors of a point: one list if there is only the unnamed one, else an object.
pub fn vectors(vectors: &VectorStructInternal) -> impl Serialize + '_ {
    VectorsView(vectors)
}

#[derive(Serialize)]
struct RecordView<'p, K: Serialize> {
    id: &'p PointId,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'p Payload>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vector: Option<VectorsView<'p>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shard_key: Option<&'p K>,
    #[serde(skip_serializing_if = "Option::is_none")]
    order_value: Option<&'p OrderValue>,
}

#[derive(Serialize)]
struct ScoredView<'p, K: Serialize> {
    id: &'p PointId,
    version: u64,
    score: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'p Payload>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vector: Option<VectorsView<'p>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shard_key: Option<&'p K>,
    #[serde(skip_serializing_if = "Option::is_none")]
    order_value: Option<&'p OrderValue>,
}

struct ListView<'p, T, F>(&'p [T], F);

impl<'p, T, F, V> Serialize for ListView<'p, T, F>
where
    F: Fn(&'p T) -> V,
    V: Serialize + 'p,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(&self.1))
    }
}

struct VectorsView<'p>(&'p VectorStructInternal);

impl Serialize for VectorsView<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            VectorStructInternal::Single(vector) => vector.serialize(serializer),
            VectorStructInternal::MultiDense(rows) => multi(rows, serializer),
            VectorStructInternal::Named(named) => {
                let mut map = serializer.serialize_map(Some(named.len()))?;
                for (name, vector) in named {
                    map.serialize_entry(name, &VectorView(vector))?;
                }
                map.end()
            }
        }
    }
}

struct VectorView<'p>(&'p VectorInternal);

impl Serialize for VectorView<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            VectorInternal::Dense(vector) => vector.serialize(serializer),
            VectorInternal::Sparse(vector) => vector.serialize(serializer),
            VectorInternal::MultiDense(rows) => multi(rows, serializer),
        }
    }
}

fn multi<S: Serializer>(
    rows: &TypedMultiDenseVector<f32>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    // Rows of no length cannot be told apart; there are none in a stored vector.
    let mut list = serializer.serialize_seq(None)?;
    for row in rows.flattened_vectors.chunks_exact(rows.dim.max(1)) {
        list.serialize_element(row)?;
    }
    list.end()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use qdrant_edge::SparseVector;
    use serde_json::json;

    use super::*;

    fn bare(vector: Option<VectorStructInternal>) -> Record {
        Record {
            id: PointId::NumId(7),
            payload: None,
            vector,
            shard_key: None,
            order_value: None,
        }
    }

    fn text(value: &impl Serialize) -> String {
        serde_json::to_string(value).unwrap()
    }

    #[test]
    fn what_a_point_lacks_is_left_out() {
        assert_eq!(text(&record(&bare(None))), r#"{"id":7}"#);
        let payload = serde_json::from_value(json!({"b": 1, "a": null})).unwrap();
        let point = ScoredPoint {
            id: "550e8400e29b41d4a716446655440000".parse().unwrap(),
            version: 3,
            score: 0.5,
            payload: Some(payload),
            vector: Some(VectorStructInternal::Named(HashMap::new())),
            shard_key: None,
            order_value: Some(OrderValue::Int(4)),
        };
        assert_eq!(
            text(&scored_points(&[point])),
            r#"[{"id":"550e8400-e29b-41d4-a716-446655440000","version":3,"score":0.5,"payload":{"b":1,"a":null},"vector":{},"order_value":4}]"#
        );
    }

    #[test]
    fn vectors_of_every_kind_are_written_as_clients_read_them() {
        let single = VectorStructInternal::Single(vec![0.1, f32::NAN, f32::INFINITY, 2.0]);
        assert_eq!(
            text(&record(&bare(Some(single)))),
            r#"{"id":7,"vector":[0.1,null,null,2.0]}"#
        );
        let rows = TypedMultiDenseVector {
            flattened_vectors: vec![1.0, 2.0, 3.0, 4.0],
            dim: 2,
        };
        let multi = VectorStructInternal::MultiDense(rows.clone());
        assert_eq!(text(&vectors(&multi)), "[[1.0,2.0],[3.0,4.0]]");
        let sparse = SparseVector {
            indices: vec![7, 9],
            values: vec![0.5, 0.0],
        };
        let named = HashMap::from([
            (String::new(), VectorInternal::Dense(vec![1.0])),
            ("s".to_owned(), VectorInternal::Sparse(sparse)),
            ("m".to_owned(), VectorInternal::MultiDense(rows)),
        ]);
        let value = serde_json::to_value(vectors(&VectorStructInternal::Named(named))).unwrap();
        let expected = json!({
            "": [1.0],
            "s": {"indices": [7, 9], "values": [0.5, 0.0]},
            "m": [[1.0, 2.0], [3.0, 4.0]],
        });
        assert_eq!(value, expected);
    }
}

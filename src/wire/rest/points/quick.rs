//! The short way to read an upsert.
//!
//! Qdrant's own way reads every number three times: into a `Value`, into the buffer of an untagged
//! enum, into the vector. That way decides what an upsert means and what is said of a bad one. But
//! nearly all upserts have a plain form, read here in one go: known keys, each once, and vectors
//! that are lists of numbers or sparse. Whatever else comes is left to the long way.
//!
//! The rule: what is read here is read to the same value there.

use std::collections::HashMap;
use std::fmt;

use qdrant_edge::{Payload, PointId};
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::columns::{Batch, BatchVectorStruct};
use super::insert::{PointInsertOperations, PointStruct, PointsBatch, PointsList};
use super::vector::{Sparse, Vector, VectorStruct};

/// Numbers that a list has room for from the start, whatever it says of its length.
const NUMBERS_AHEAD: usize = 4096;

/// `None`: not of the plain form, which says nothing about its being right or wrong.
pub(super) fn read(body: &[u8]) -> Option<PointInsertOperations> {
    match serde_json::from_slice(body).ok()? {
        Plain {
            points: Some(points),
            batch: None,
        } => Some(PointInsertOperations::PointsList(PointsList {
            points: points.into_iter().map(PlainPoint::into_point).collect(),
            shard_key: None,
            update_filter: None,
            update_mode: None,
        })),
        Plain {
            points: None,
            batch: Some(batch),
        } => Some(PointInsertOperations::PointsBatch(PointsBatch {
            batch: Batch {
                ids: batch.ids,
                vectors: batch.vectors.0,
                payloads: batch.payloads,
            },
            shard_key: None,
            update_filter: None,
            update_mode: None,
        })),
        Plain { .. } => None,
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Plain {
    #[serde(default, deserialize_with = "given")]
    points: Option<Vec<PlainPoint>>,
    #[serde(default, deserialize_with = "given")]
    batch: Option<PlainBatch>,
}

/// A key that is there has a value that is not `null`.
fn given<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlainPoint {
    id: PointId,
    #[serde(alias = "vectors")]
    vector: PlainVectors,
    payload: Option<Payload>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlainBatch {
    ids: Vec<PointId>,
    vectors: PlainColumns,
    payloads: Option<Vec<Option<Payload>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlainSparse {
    indices: Vec<u32>,
    values: Vec<f32>,
}

impl PlainPoint {
    fn into_point(self) -> PointStruct {
        PointStruct {
            id: self.id,
            vector: self.vector.0,
            payload: self.payload,
        }
    }
}

/// A list of numbers, or names with vectors.
struct PlainVectors(VectorStruct);

/// A list of lists of numbers, or names with lists of vectors.
struct PlainColumns(BatchVectorStruct);

/// A list of numbers, or a sparse vector written as an object.
struct PlainVector(Vector);

impl<'de> Deserialize<'de> for PlainVectors {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;

        impl<'de> Visitor<'de> for Form {
            type Value = PlainVectors;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("numbers, or names with vectors")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
                numbers(list).map(|numbers| PlainVectors(VectorStruct::Single(numbers)))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut named = HashMap::new();
                while let Some((name, PlainVector(vector))) = map.next_entry::<String, _>()? {
                    named.insert(name, vector);
                }
                Ok(PlainVectors(VectorStruct::Named(named)))
            }
        }

        deserializer.deserialize_any(Form)
    }
}

impl<'de> Deserialize<'de> for PlainColumns {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;

        impl<'de> Visitor<'de> for Form {
            type Value = PlainColumns;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("lists of numbers, or names with vectors")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut vectors = Vec::new();
                while let Some(vector) = list.next_element::<Vec<f32>>()? {
                    vectors.push(vector);
                }
                Ok(PlainColumns(BatchVectorStruct::Single(vectors)))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut named = HashMap::new();
                while let Some((name, vectors)) = map.next_entry::<String, Vec<PlainVector>>()? {
                    let vectors = vectors.into_iter().map(|PlainVector(vector)| vector);
                    named.insert(name, vectors.collect());
                }
                Ok(PlainColumns(BatchVectorStruct::Named(named)))
            }
        }

        deserializer.deserialize_any(Form)
    }
}

impl<'de> Deserialize<'de> for PlainVector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;

        impl<'de> Visitor<'de> for Form {
            type Value = PlainVector;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("numbers, or indices and values")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
                numbers(list).map(|numbers| PlainVector(Vector::Dense(numbers)))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                let sparse = PlainSparse::deserialize(MapAccessDeserializer::new(map))?;
                Ok(PlainVector(Vector::Sparse(Sparse::Object {
                    indices: sparse.indices,
                    values: sparse.values,
                })))
            }
        }

        deserializer.deserialize_any(Form)
    }
}

fn numbers<'de, A: SeqAccess<'de>>(mut list: A) -> Result<Vec<f32>, A::Error> {
    let mut numbers = Vec::with_capacity(list.size_hint().unwrap_or(0).min(NUMBERS_AHEAD));
    while let Some(number) = list.next_element()? {
        numbers.push(number);
    }
    // Vectors stay for as long as their request: give back what growing took too much.
    numbers.shrink_to_fit();
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &str, is_plain: bool) {
        let quick = read(body.as_bytes());
        assert_eq!(quick.is_some(), is_plain, "{body}");
        let slow = serde_json::from_str::<PointInsertOperations>(body);
        if let Some(quick) = quick {
            assert_eq!(
                format!("{quick:?}"),
                format!("{:?}", slow.unwrap()),
                "{body}"
            );
        }
    }

    #[test]
    fn plain_upserts_read_the_same_both_ways() {
        for body in [
            r#"{"points": []}"#,
            r#"{"points": [{"id": 1, "vector": [1, 0.1, -3, 1e39, 18446744073709551615]}]}"#,
            r#"{"points": [{"id": "550e8400e29b41d4a716446655440000", "vectors": {}}]}"#,
            r#"{"points": [{"id": 1, "vector": {"a": [1, 2]}, "payload": {"x": 1, "x": [null]}}]}"#,
            r#"{"points": [{"id": 1, "vector": {"s": {"values": [1], "indices": [4294967295]}}}]}"#,
            r#"{"points": [{"id": 1, "vector": {"a": [1], "a": []}, "payload": null}]}"#,
            r#"{"batch": {"ids": [1, 2], "vectors": [[1, 2], []]}}"#,
            r#"{"batch": {"ids": [1], "vectors": {"a": [[0.5]]}, "payloads": [null, {"a": 1}]}}"#,
            r#"{"batch": {"ids": [], "vectors": []}}"#,
        ] {
            check(body, true);
        }
    }

    #[test]
    fn whatever_is_not_plain_is_left_alone() {
        for body in [
            "",
            "[]",
            "{}",
            r#"{"points": []} x"#,
            r#"{"points": [], "points": []}"#,
            r#"{"points": [], "batch": null}"#,
            r#"{"points": null}"#,
            r#"{"points": [], "shard_key": "a"}"#,
            r#"{"points": [], "update_mode": "insert_only"}"#,
            r#"{"points": [{"id": 1, "vector": [[1, 0], [0, 1]]}]}"#,
            r#"{"points": [{"id": 1, "vector": {"m": [[1, 0], [0, 1]]}}]}"#,
            r#"{"points": [{"id": 1, "vector": {"text": "a", "model": "b"}}]}"#,
            r#"{"points": [{"id": 1, "vector": [1, null]}]}"#,
            r#"{"points": [{"id": 1, "vector": [1], "unknown": 1}]}"#,
            r#"{"points": [{"id": 1, "vector": {"s": {"indices": [1], "values": [1], "x": 1}}}]}"#,
            r#"{"points": [{"id": 1, "vector": {"s": {"indices": [-1], "values": [1]}}}]}"#,
            r#"{"batch": {"ids": [1], "vectors": [[[1]]]}}"#,
        ] {
            check(body, false);
        }
    }
}

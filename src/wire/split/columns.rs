//! Finds the lists that are to be cut: one of points, or those of a columnar batch, which run in
//! step.

use std::fmt;
use std::ops::Range;

use serde::de::{Deserializer as _, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::Deserializer;
use serde_json::value::RawValue;

use super::refused;
use super::scan::{self, Elements};
use crate::error::{Error, Result};

/// More named vectors than this are no batch that anyone means.
const COLUMNS_MAX: usize = 1_000;

/// One list, by the range of the body between its brackets.
pub(super) struct Column {
    pub(super) role: Role,
    pub(super) interior: Range<usize>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Role {
    Points,
    Ids,
    Vectors,
    Payloads,
}

impl Column {
    pub(super) fn elements<'a>(&self, body: &'a [u8]) -> Elements<'a> {
        Elements::new(body, self.interior.clone())
    }

    /// Nothing if the value is not a list.
    fn of(role: Role, value: &RawValue, body: &[u8]) -> Option<Self> {
        let text = value.get().as_bytes();
        if !text.starts_with(b"[") {
            return None;
        }
        // The value was borrowed from the body, so its place there is the distance between them.
        let start = text.as_ptr().addr() - body.as_ptr().addr();
        Some(Self {
            role,
            interior: start + 1..start + text.len() - 1,
        })
    }
}

/// The columns of an upsert in the order in which they stand in the body. The body is JSON, and
/// not deeper than Qdrant allows, if this succeeds.
pub(super) fn find(body: &[u8]) -> Result<Vec<Column>> {
    let [points, batch] = request_fields(body)?;
    if let Some(at) = scan::too_deep_at(body) {
        return Err(too_deep(body, at));
    }
    match (points, batch) {
        (Some(points), None) => Ok(vec![list(Role::Points, points, body)?]),
        (None, Some(batch)) => batch_columns(batch, body),
        // Qdrant takes the batch of the two. We would have to repeat the points in every part.
        (Some(_), Some(_)) | (None, None) => Err(unreadable(SHAPE)),
    }
}

const SHAPE: &str = "Invalid PointInsertOperations format";

fn request_fields(body: &[u8]) -> Result<[Option<&RawValue>; 2]> {
    let object = body.trim_ascii_start().starts_with(b"{");
    if !object {
        let whole = serde_json::from_slice::<&RawValue>(body);
        return Err(whole.map_or_else(unreadable, |_| unreadable(SHAPE)));
    }
    fields(body, ["points", "batch"]).map_err(unreadable)
}

fn batch_columns(batch: &RawValue, body: &[u8]) -> Result<Vec<Column>> {
    let [ids, vectors, payloads] = fields(batch.get().as_bytes(), ["ids", "vectors", "payloads"])
        .map_err(|error| unreadable(without_place(&error)))?;
    let ids = ids.ok_or_else(|| unreadable("missing field `ids`"))?;
    let vectors = vectors.ok_or_else(|| unreadable("missing field `vectors`"))?;
    let mut columns = vec![list(Role::Ids, ids, body)?];
    columns.extend(vector_columns(vectors, body)?);
    if let Some(payloads) = payloads.filter(|payloads| payloads.get() != "null") {
        columns.push(list(Role::Payloads, payloads, body)?);
    }
    columns.sort_unstable_by_key(|column| column.interior.start);
    Ok(columns)
}

/// One list, or one a name.
fn vector_columns(vectors: &RawValue, body: &[u8]) -> Result<Vec<Column>> {
    const MISMATCH: &str = "data did not match any variant of untagged enum BatchVectorStruct";
    if let Some(column) = Column::of(Role::Vectors, vectors, body) {
        return Ok(vec![column]);
    }
    if !vectors.get().starts_with('{') {
        return Err(unreadable(MISMATCH));
    }
    let named = object(vectors.get().as_bytes(), |_| true)
        .map_err(|error| unreadable(without_place(&error)))?;
    let columns = named
        .into_iter()
        .map(|(_, value)| Column::of(Role::Vectors, value, body));
    columns
        .collect::<Option<_>>()
        .ok_or_else(|| unreadable(MISMATCH))
}

fn list(role: Role, value: &RawValue, body: &[u8]) -> Result<Column> {
    Column::of(role, value, body).ok_or_else(|| {
        // Not a list, so this fails at the first byte, and says what it found instead.
        let read = serde_json::from_str::<Vec<IgnoredAny>>(value.get());
        read.map_or_else(
            |error| unreadable(without_place(&error)),
            |_| unreadable(SHAPE),
        )
    })
}

/// The fields of these names.
fn fields<'a, const N: usize>(
    text: &'a [u8],
    names: [&'static str; N],
) -> serde_json::Result<[Option<&'a RawValue>; N]> {
    let found = object(text, |name| names.contains(&name))?;
    Ok(names.map(|name| {
        found
            .iter()
            .find(|(other, _)| other == name)
            .map(|(_, value)| *value)
    }))
}

type Field<'a> = (String, &'a RawValue);

/// The fields whose names are wanted, each of which may come once. The others are only checked.
fn object<'a>(text: &'a [u8], wanted: impl Fn(&str) -> bool) -> serde_json::Result<Vec<Field<'a>>> {
    let mut reader = Deserializer::from_slice(text);
    let found = reader.deserialize_map(Object { wanted })?;
    reader.end()?;
    Ok(found)
}

struct Object<F> {
    wanted: F,
}

impl<'a, F: Fn(&str) -> bool> Visitor<'a> for Object<F> {
    type Value = Vec<Field<'a>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("struct Batch")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found: Vec<Field<'a>> = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            if !(self.wanted)(&name) {
                map.next_value::<&RawValue>()?;
                continue;
            }
            if found.iter().any(|(other, _)| *other == name) {
                return Err(A::Error::custom(format_args!("duplicate field `{name}`")));
            }
            if found.len() == COLUMNS_MAX {
                return Err(A::Error::custom(
                    "more named vectors than a batch can be cut with",
                ));
            }
            found.push((name, map.next_value()?));
        }
        Ok(found)
    }
}

/// What Qdrant says of a wrong type inside an upsert, which it first reads into a tree: no place.
fn without_place(error: &serde_json::Error) -> String {
    let mut text = error.to_string();
    if let Some(at) = text.rfind(" at line ") {
        text.truncate(at);
    }
    text
}

fn too_deep(body: &[u8], at: usize) -> Error {
    let before = body.get(..at).unwrap_or_default();
    let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
    let line_start = before
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |end| end + 1);
    let column = at + 1 - line_start;
    unreadable(format_args!(
        "recursion limit exceeded at line {line} column {column}"
    ))
}

fn unreadable(reason: impl fmt::Display) -> Error {
    refused(format!("Format error in JSON body: {reason}"))
}

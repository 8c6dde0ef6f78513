//! The answers of stores, read from JSON as far as they are compared.
//!
//! A refusal is told by its status alone, but for one: that a point is not there is an answer.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::difference::Outcome;
use super::facet::Value;
use super::point::Contents;
use super::ranking::Hit;
use crate::model::{Operation, PointKey};

/// What one store answered.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'a> {
    pub status: u16,
    pub body: &'a [u8],
}

/// The answer to one question.
pub(super) enum Part<'a> {
    Page(Page<'a>),
    Groups(Vec<Rows<'a>>),
    Number(u64),
    Facet(Vec<Hit<Value>>),
}

#[derive(Default)]
pub(super) struct Page<'a> {
    pub(super) rows: Vec<Row<'a>>,
    pub(super) next: Option<PointKey>,
}

pub(super) struct Rows<'a> {
    pub(super) id: Value,
    pub(super) rows: Vec<Row<'a>>,
    pub(super) lookup: Option<Row<'a>>,
}

pub(super) struct Row<'a> {
    pub(super) id: PointKey,
    pub(super) score: f64,
    pub(super) order_value: f64,
    pub(super) contents: Contents<'a>,
}

pub(super) fn read<'a>(operation: Operation, reply: Reply<'a>) -> Result<Vec<Part<'a>>, Outcome> {
    let by_id = operation == Operation::GetPoint;
    if by_id && reply.status == 404 && said(reply.body).contains("Point with id") {
        return Ok(vec![Part::Page(Page::default())]);
    }
    if !(200..300).contains(&reply.status) {
        return Err(Outcome::Refused(reply.status));
    }
    parts(operation, reply.body).ok_or(Outcome::Unreadable)
}

/// The text of a refusal.
fn said(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Refusal {
        status: Said,
    }
    #[derive(Deserialize)]
    struct Said {
        error: String,
    }
    serde_json::from_slice::<Refusal>(body).map_or_else(|_| String::new(), |told| told.status.error)
}

fn parts(operation: Operation, body: &[u8]) -> Option<Vec<Part<'_>>> {
    let envelope: Envelope<'_> = serde_json::from_slice(body).ok()?;
    let text = envelope.result.get();
    let each = |text| -> Option<Vec<Part<'_>>> {
        let each: Vec<&RawValue> = serde_json::from_str(text).ok()?;
        each.into_iter()
            .map(|part| page(part.get()).map(Part::Page))
            .collect()
    };
    let is_batch = [
        Operation::SearchBatch,
        Operation::RecommendBatch,
        Operation::DiscoverBatch,
        Operation::QueryBatch,
    ];
    let is_grouped = [
        Operation::SearchGroups,
        Operation::RecommendGroups,
        Operation::QueryGroups,
    ];
    if is_batch.contains(&operation) {
        return each(text);
    }
    let part = if is_grouped.contains(&operation) {
        Part::Groups(grouped(text)?)
    } else if operation == Operation::CountPoints {
        let told: Count = serde_json::from_str(text).ok()?;
        Part::Number(told.count)
    } else if operation == Operation::Facet {
        Part::Facet(facet(text)?)
    } else if operation == Operation::GetPoint {
        let row: JsonRow<'_> = serde_json::from_str(text).ok()?;
        Part::Page(Page {
            rows: vec![row.read()?],
            next: None,
        })
    } else {
        Part::Page(page(text)?)
    };
    Some(vec![part])
}

/// A bare list of points, or one beneath a name.
fn page(text: &str) -> Option<Page<'_>> {
    let page: JsonPage<'_> = if text.starts_with('[') {
        JsonPage {
            points: serde_json::from_str(text).ok()?,
            next_page_offset: None,
        }
    } else {
        serde_json::from_str(text).ok()?
    };
    let next = match page.next_page_offset {
        Some(next) => Some(id(next)?),
        None => None,
    };
    let rows = rows(page.points)?;
    Some(Page { rows, next })
}

fn grouped(text: &str) -> Option<Vec<Rows<'_>>> {
    let told: JsonGroups<'_> = serde_json::from_str(text).ok()?;
    let groups = told.groups.into_iter();
    groups
        .map(|group| {
            let lookup = match group.lookup {
                Some(row) => Some(row.read()?),
                None => None,
            };
            Some(Rows {
                id: Value::read(&group.id),
                rows: rows(group.hits)?,
                lookup,
            })
        })
        .collect()
}

fn facet(text: &str) -> Option<Vec<Hit<Value>>> {
    let told: Facet = serde_json::from_str(text).ok()?;
    let hits = told.hits.into_iter();
    let hits = hits.map(|hit| Hit {
        id: Value::read(&hit.value),
        score: hit.count as f64,
    });
    Some(hits.collect())
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    result: &'a RawValue,
}

#[derive(Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
struct JsonPage<'a> {
    #[serde(borrow)]
    points: Vec<JsonRow<'a>>,
    #[serde(default, borrow)]
    next_page_offset: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct JsonRow<'a> {
    #[serde(borrow)]
    id: &'a RawValue,
    #[serde(default)]
    score: Option<f64>,
    #[serde(default)]
    order_value: Option<f64>,
    #[serde(default, borrow)]
    payload: Option<&'a RawValue>,
    #[serde(default, borrow)]
    vector: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct JsonGroups<'a> {
    #[serde(borrow)]
    groups: Vec<JsonGroup<'a>>,
}

#[derive(Deserialize)]
struct JsonGroup<'a> {
    id: serde_json::Value,
    #[serde(borrow)]
    hits: Vec<JsonRow<'a>>,
    #[serde(default, borrow)]
    lookup: Option<JsonRow<'a>>,
}

#[derive(Deserialize)]
struct Count {
    count: u64,
}

#[derive(Deserialize)]
struct Facet {
    hits: Vec<FacetHit>,
}

#[derive(Deserialize)]
struct FacetHit {
    value: serde_json::Value,
    count: u64,
}

impl<'a> JsonRow<'a> {
    fn read(self) -> Option<Row<'a>> {
        Some(Row {
            id: id(self.id)?,
            score: self.score.unwrap_or(f64::NAN),
            order_value: self.order_value.unwrap_or(f64::NAN),
            contents: Contents {
                payload: self.payload,
                vector: self.vector,
            },
        })
    }
}

fn rows(rows: Vec<JsonRow<'_>>) -> Option<Vec<Row<'_>>> {
    rows.into_iter().map(JsonRow::read).collect()
}

/// A number, or a UUID in any of its forms.
fn id(text: &RawValue) -> Option<PointKey> {
    if let Ok(number) = text.get().parse() {
        return Some(PointKey::Number(number));
    }
    let text: String = serde_json::from_str(text.get()).ok()?;
    let uuid = uuid::Uuid::try_parse(&text).ok()?;
    Some(PointKey::Uuid(uuid.as_u128()))
}

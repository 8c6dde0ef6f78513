//! Tables that were there before us, shown as collections.
//!
//! A mapping says which columns of a table are the id, the vectors and the payload. From it comes
//! one query that gives the rows the columns of a points table of ours; it stands in our statements
//! where the name of that table would. PostgreSQL takes it apart, so that the table's own indexes
//! are used as if it were named itself.
//!
//! Not a view: a view of ours would keep the owner from changing or dropping the table. Nothing
//! depends on a user's table, and nothing is ever changed about it but rows, where `writable` says
//! so, and triggers, where `trigger` does (`schema/outbox.sql`).
//!
//! A row's place (`ctid`) is its number within one snapshot: a row version that is seen cannot move.

mod inspect;
mod known;
mod propose;
mod rows;
mod settle;
mod template;
mod write;

use std::collections::BTreeMap;

use qdrant_edge::PointId;
use qdrant_edge::external::uuid::Uuid;
use serde::{Deserialize, Serialize};

use super::filter_sql::{Param, Params};
use super::ids;
use super::vectors::VectorColumn;
use crate::error::Error;
use crate::wire::rest::refuse;

pub use propose::{Proposal, propose};

pub(super) use known::own_tables;
pub(super) use settle::{Adoptions, settle};

/// How a table is shown, as the catalogue keeps it. Texts of SQL are over the alias `t`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Mapping {
    /// Quoted, with its schema.
    pub(super) table: String,
    /// The quoted column of the id.
    pub(super) key: String,
    pub(super) kind: KeyKind,
    /// An expression that gives an object.
    pub(super) payload: String,
    /// Which rows are meant; each of these.
    pub(super) conditions: Vec<String>,
    pub(super) vectors: BTreeMap<String, Source>,
    /// How points are written; none where they are not.
    pub(super) writes: Option<Writes>,
    /// Whether the table is to have triggers that tell of its writes.
    #[serde(default)]
    pub(super) trigger: bool,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum KeyKind {
    Uuid,
    /// Of those that are not negative.
    Integer,
    /// UUIDs as text, and any other text.
    Text,
}

/// A column with a vector.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Source {
    /// Quoted.
    pub(super) column: String,
    /// The column, cast to a size where it has none of its own.
    pub(super) value: String,
    pub(super) is_half: bool,
    /// As clients see it.
    pub(super) size: usize,
    /// As the column has it: zeros beyond `size`.
    pub(super) stored: usize,
    /// What the table's own index is over, if one can be used.
    pub(super) index: Option<Indexed>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Indexed {
    /// As the index has it.
    pub(super) value: String,
    pub(super) is_half: bool,
    /// Of an IVFFlat index: how many lists it has.
    pub(super) lists: Option<usize>,
}

/// Where the parts of a payload go when a point is written.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Writes {
    pub(super) shape: Shape,
    /// Quoted columns that get a fixed value (an expression) in a new row.
    pub(super) fixed: BTreeMap<String, String>,
    /// Vectors that a new row cannot be without.
    pub(super) needed: Vec<String>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Shape {
    /// The payload is this column, of this type.
    Whole { column: String, kind: String },
    /// Of the payload's keys the one is a text column, the other a column of this type, and there
    /// are no others.
    TextAndMeta {
        text_key: String,
        text: String,
        meta_key: String,
        meta: String,
        kind: String,
    },
    /// Each key is a column of its own: key, quoted column, type.
    Columns(Vec<(String, String, String)>),
    /// A LlamaIndex node: metadata column, its type, text column.
    Llama {
        meta: String,
        kind: String,
        text: String,
    },
}

/// What has to be known of a vector that is a column of an adopted table.
#[derive(Clone, Debug)]
pub(super) struct Own {
    /// Its columns in the query for the points: `h` whether it is there, `v` itself, `o` what the
    /// index is over.
    pub(super) number: usize,
    pub(super) stored: usize,
    /// The type of what an index is searched with.
    pub(super) asked: Option<&'static str>,
    pub(super) lists: Option<usize>,
}

impl Own {
    /// The part of a statement after `from` that gives points as `c` and their vectors as `s`.
    pub(super) fn joined(&self, points: &str) -> String {
        let n = self.number;
        format!("{points} c cross join lateral (select c.pid as pid, c.v{n} as v, c.o{n} as o) s")
    }

    /// Whether the point has this vector.
    pub(super) fn there(&self) -> String {
        format!("c.h{}", self.number)
    }

    /// A vector to search with, as long as the stored ones.
    pub(super) fn padded(&self, mut row: Vec<f32>) -> Vec<f32> {
        row.resize(self.stored.max(row.len()), 0.0);
        row
    }
}

impl Source {
    pub(super) fn own(&self, number: usize) -> Own {
        let index = self.index.as_ref();
        Own {
            number,
            stored: self.stored,
            asked: index.map(|index| match index.is_half {
                true => "vector::halfvec",
                false => "vector",
            }),
            lists: index.and_then(|index| index.lists),
        }
    }

    pub(super) fn vector_column(&self) -> VectorColumn {
        match self.is_half {
            true => VectorColumn::HalfVec,
            false => VectorColumn::Vector,
        }
    }
}

impl Mapping {
    /// The query that stands for a points table, in brackets.
    pub(super) fn points(&self) -> String {
        let (table, key) = (&self.table, &self.key);
        let id = match self.kind {
            KeyKind::Uuid => format!("'\\x01'::bytea || uuid_send(t.{key})"),
            KeyKind::Integer => format!("'\\x00'::bytea || int8send(t.{key}::int8)"),
            KeyKind::Text => format!("qd.text_id(t.{key}::text)"),
        };
        let payload = match self.kind {
            KeyKind::Uuid | KeyKind::Integer => self.payload.clone(),
            // What the point's id does not tell any more.
            KeyKind::Text => format!(
                "case when qd.is_uuid(t.{key}::text) then {payload} else {payload} || \
                 jsonb_build_object('_pg_id', t.{key}::text) end",
                payload = self.payload,
            ),
        };
        let vectors = self.vectors.values().enumerate().map(|(n, source)| {
            let (column, value) = (&source.column, &source.value);
            let order = source.index.as_ref().map_or(value, |index| &index.value);
            format!(", t.{column} is not null as h{n}, {value} as v{n}, {order} as o{n}")
        });
        let mut conditions = self.conditions.clone();
        conditions.push(format!("t.{key} is not null"));
        if self.kind == KeyKind::Integer {
            conditions.push(format!("t.{key} >= 0"));
        }
        format!(
            "(select t.ctid as tid, qd.pid(t.ctid) as pid, {id} as id, t.{key} as key, \
             0::bigint as ver, {payload} as payload{vectors} from {table} t where {conditions})",
            vectors = vectors.collect::<String>(),
            conditions = conditions.join(" and "),
        )
    }

    /// The rows at these places, as a condition on `c`.
    pub(super) fn by_pids(pids: &str) -> String {
        format!("c.tid = any(qd.tids({pids}::bigint[]))")
    }

    /// The rows with these ids, as a condition on `c` that an index on the column serves.
    pub(super) fn by_ids(
        &self,
        wanted: impl Iterator<Item = PointId>,
        params: &mut Params,
    ) -> String {
        let (mut numbers, mut uuids) = (Vec::new(), Vec::new());
        for id in wanted {
            match id {
                PointId::NumId(number) => numbers.extend(i64::try_from(number)),
                PointId::Uuid(uuid) => uuids.push(uuid),
            }
        }
        match self.kind {
            KeyKind::Uuid => format!("c.key = any({})", params.push(Param::Uuids(uuids))),
            KeyKind::Integer => format!("c.key = any({})", params.push(Param::Ints(numbers))),
            KeyKind::Text => {
                let texts = uuids.iter().flat_map(forms).collect();
                let texts = format!("c.key::text = any({})", params.push(Param::Texts(texts)));
                let hashed: Vec<_> = uuids.into_iter().filter(is_hash).collect();
                if hashed.is_empty() {
                    return texts;
                }
                // The text cannot be told from its hash: every row is looked at.
                let keys = ids::keys(hashed.into_iter().map(PointId::Uuid));
                format!(
                    "({texts} or c.id = any({}))",
                    params.push(Param::ByteArrays(keys))
                )
            }
        }
    }

    /// What the points go by so that they come in Qdrant's order, and the condition that they come
    /// from `first` on.
    pub(super) fn from(
        &self,
        first: Option<PointId>,
        params: &mut Params,
    ) -> (&'static str, Option<String>) {
        match self.kind {
            KeyKind::Text => {
                let first = first.map(|first| params.push(Param::Bytes(ids::key(first))));
                ("c.id", first.map(|first| format!("c.id >= {first}")))
            }
            KeyKind::Uuid => {
                let condition = match first {
                    // All numbers come before all UUIDs.
                    None | Some(PointId::NumId(_)) => None,
                    Some(PointId::Uuid(uuid)) => {
                        let first = params.push(Param::Uuids(vec![uuid]));
                        Some(format!("c.key >= ({first})[1]"))
                    }
                };
                ("c.key", condition)
            }
            KeyKind::Integer => {
                let condition = first.map(|first| match first {
                    PointId::NumId(number) => match i64::try_from(number) {
                        Ok(number) => format!("c.key >= {}", params.push(Param::Int(number))),
                        Err(_beyond) => "false".to_owned(),
                    },
                    PointId::Uuid(_) => "false".to_owned(),
                });
                ("c.key", condition)
            }
        }
    }
}

/// 403: what would change more of an adopted table than its rows.
pub(super) fn fixed(collection: &str, why: &str) -> Error {
    refuse::forbidden(&format!(
        "collection `{collection}` is a table that its settings adopt (collections.{collection}): {why}"
    ))
}

/// 403: a write, where the settings allow none.
fn read_only(collection: &str) -> Error {
    fixed(
        collection,
        "it is read-only; set writable = true there to have points written",
    )
}

/// The texts that count as this UUID.
fn forms(uuid: &Uuid) -> [String; 4] {
    let (with, without) = (uuid.hyphenated().to_string(), uuid.simple().to_string());
    [with.to_uppercase(), without.to_uppercase(), with, without]
}

/// Whether it may be what another text became.
fn is_hash(uuid: &Uuid) -> bool {
    uuid.get_version_num() == 5
}

//! Points as rows of an adopted table: what goes into which column, and what there is no room for.

use qdrant_edge::{PointId, PointStructPersisted, VectorPersisted};

use super::write::{DOING, Write};
use super::{KeyKind, Shape};
use crate::error::Error;
use crate::store::pgvector::link::{self, Fault};
use crate::store::pgvector::names::literal;
use crate::store::pgvector::pool::Values;
use crate::store::pgvector::write::named_vector;
use crate::wire::rest::refuse;

/// A point as it is to be: what goes into its row.
pub(super) struct Given {
    pub(super) id: PointId,
    pub(super) payload: String,
    pub(super) vectors: Vec<Option<String>>,
}

impl Write<'_> {
    pub(super) fn given(&self, point: &PointStructPersisted) -> Result<Given, Fault> {
        self.fits(point.id)?;
        let payload = match &point.payload {
            Some(payload) => plain(&payload.0)?,
            None => "{}".to_owned(),
        };
        let mut vectors = Vec::with_capacity(self.mapping.vectors.len());
        for name in self.mapping.vectors.keys() {
            let vector = named_vector(&point.vector, name);
            if vector.is_none() && self.writes.needed.contains(name) {
                return Err(self.cannot(&format!("keep a point without its vector \"{name}\"")));
            }
            vectors.push(
                vector
                    .map(|vector| self.text_of(name, vector))
                    .transpose()?,
            );
        }
        Ok(Given {
            id: point.id,
            payload,
            vectors,
        })
    }

    pub(super) fn fits(&self, id: PointId) -> Result<(), Fault> {
        let fits = match (self.mapping.kind, id) {
            (KeyKind::Uuid | KeyKind::Text, PointId::Uuid(_)) => true,
            (KeyKind::Integer, PointId::NumId(number)) => i64::try_from(number).is_ok(),
            (KeyKind::Uuid | KeyKind::Text, PointId::NumId(_))
            | (KeyKind::Integer, PointId::Uuid(_)) => false,
        };
        let kind = match self.mapping.kind {
            KeyKind::Uuid | KeyKind::Text => "a UUID",
            KeyKind::Integer => "an integer below 2^63",
        };
        match fits {
            true => Ok(()),
            false => Err(self.cannot(&format!("keep the id {id}, for ids there are {kind}"))),
        }
    }

    pub(super) fn text_of(&self, name: &str, vector: VectorPersisted) -> Result<String, Fault> {
        let VectorPersisted::Dense(mut row) = vector else {
            return Err(self.cannot("keep anything but dense vectors"));
        };
        let stored = self
            .mapping
            .vectors
            .get(name)
            .map_or(0, |source| source.stored);
        row.resize(stored.max(row.len()), 0.0);
        let numbers: Vec<_> = row.iter().map(f32::to_string).collect();
        Ok(format!("[{}]", numbers.join(",")))
    }

    /// 400.
    pub(super) fn cannot(&self, what: &str) -> Fault {
        let (table, name) = (&self.mapping.table, &self.known.name);
        refuse::wrong_input(&format!(
            "the adopted table {table} (collection `{name}`) cannot {what}"
        ))
        .into()
    }

    /// A query, in brackets, with a row for each point: `key`, `p`, and the vectors `v0` on.
    pub(super) fn unnested(&self, keys: String, points: Vec<Given>, values: &mut Values) -> String {
        let mut payloads = Vec::with_capacity(points.len());
        let mut vectors = vec![Vec::with_capacity(points.len()); self.mapping.vectors.len()];
        for point in points {
            payloads.push(point.payload);
            for (all, vector) in vectors.iter_mut().zip(point.vectors) {
                all.push(vector);
            }
        }
        let mut arrays = vec![keys, format!("{}::text[]", values.push(payloads))];
        let (mut names, mut selected) = ("key, p".to_owned(), String::new());
        for (at, texts) in vectors.into_iter().enumerate() {
            arrays.push(format!("{}::text[]", values.push(texts)));
            names += &format!(", v{at}");
            selected += &format!(", u.v{at}::vector as v{at}");
        }
        format!(
            "(select u.key, u.p::jsonb as p{selected} from unnest({}) u({names}))",
            arrays.join(", ")
        )
    }

    pub(super) fn vector_parts(&self) -> Vec<(String, String)> {
        let vectors = self.mapping.vectors.values().enumerate();
        vectors
            .map(|(at, source)| (source.column.clone(), format!("n.v{at}")))
            .collect()
    }

    /// Each column of the payload, and what it becomes of the payload `p` of alias `n`.
    pub(super) fn parts(&self, n: &str) -> Vec<(String, String)> {
        match &self.writes.shape {
            Shape::Whole { column, kind } => {
                vec![(column.clone(), format!("({n}.p - '_pg_id')::{kind}"))]
            }
            Shape::TextAndMeta {
                text_key,
                text,
                meta_key,
                meta,
                kind,
            } => vec![
                (text.clone(), format!("{n}.p ->> '{text_key}'")),
                (meta.clone(), format!("({n}.p -> '{meta_key}')::{kind}")),
            ],
            Shape::Columns(columns) => {
                let table = &self.mapping.table;
                let columns = columns.iter().map(|(_, column, _)| {
                    let value = format!("(jsonb_populate_record(null::{table}, {n}.p)).{column}");
                    (column.clone(), value)
                });
                columns.collect()
            }
            Shape::Llama { meta, kind, text } => vec![
                (
                    meta.clone(),
                    format!("qd.llama_meta({n}.p - '_pg_id')::{kind}"),
                ),
                (text.clone(), format!("qd.llama_text({n}.p)")),
            ],
        }
    }

    /// Refuses payloads that the table has no room for. `rows` is a query with a column `p`.
    pub(super) async fn check(&self, rows: &str, values: &Values) -> Result<(), Fault> {
        let (wrong, only) = match &self.writes.shape {
            Shape::Whole { .. } => return Ok(()),
            Shape::TextAndMeta {
                text_key, meta_key, ..
            } => (
                format!(
                    "n.p - array['{text_key}', '{meta_key}', '_pg_id'] <> '{{}}' \
                     or coalesce(jsonb_typeof(n.p -> '{text_key}'), '') not in ('string', 'null') \
                     or coalesce(jsonb_typeof(n.p -> '{meta_key}'), 'null') not in ('object', 'null')"
                ),
                format!(
                    "keep such a payload: it has room for \"{text_key}\" (a text) and \
                     \"{meta_key}\" (an object), and both of them are all it has"
                ),
            ),
            Shape::Columns(columns) => {
                let keys: Vec<_> = columns.iter().map(|(key, ..)| key.as_str()).collect();
                let list: Vec<_> = keys.iter().map(|key| literal(key)).collect();
                (
                    format!(
                        "n.p - array[{}, '_pg_id']::text[] <> '{{}}'",
                        list.join(", ")
                    ),
                    format!("keep such a payload: its columns are {}", keys.join(", ")),
                )
            }
            Shape::Llama { .. } => (
                "qd.llama_text(n.p) is null".to_owned(),
                "keep a payload without a text, in \"_node_content\" or in \"text\"".to_owned(),
            ),
        };
        let sql = format!("select 1 from {rows} n where {wrong} limit 1");
        match self.rows(&sql, &values.refs()).await?.is_empty() {
            true => Ok(()),
            false => Err(self.cannot(&only)),
        }
    }
}

/// A payload as the table's own program would write it.
fn plain(payload: &serde_json::Map<String, serde_json::Value>) -> Result<String, Error> {
    let text =
        serde_json::to_string(payload).map_err(|error| link::nonsense(DOING).with_source(error))?;
    match text.contains("\\u0000") {
        true => Err(refuse::wrong_input(
            "PostgreSQL cannot keep the character NUL",
        )),
        false => Ok(text),
    }
}

//! Payload indexes: what PostgreSQL keeps for each, and how many points are in it.
//!
//! Most are indexes on an expression over the payload, the one that `filter_sql` has in its
//! conditions. A text index is a table beside the points, with the words of each point that has
//! any text in the field; whoever changes a payload writes its row anew (`Words`).

use qdrant_edge::{JsonPath, Payload, PayloadFieldSchema, PayloadSchemaParams, TextIndexParams};
use serde_json::{Map, Value};
use tokio_postgres::GenericClient;

use super::catalog::Known;
use super::filter_sql::path::Path;
use super::pool::{Step, Values};
use super::tokens::{Tokenizer, stored};
use crate::error::{Error, ErrorKind, Origin, Result, Retry};

/// How many points are read at a time when a text index is filled.
const FILL_ROWS: usize = 500;

/// The table of the words of a text index.
pub(super) fn words_table(cid: i32, ino: i32) -> String {
    format!("qd_data.c{cid}_t{ino}")
}

/// Statements that make what an index needs. Those after the first `Make::tables` build PostgreSQL's
/// own indexes and may be run `concurrently`, outside of a transaction.
pub(super) struct Make {
    pub(super) tables: Vec<String>,
    pub(super) indexes: Vec<String>,
}

pub(super) fn make(
    cid: i32,
    ino: i32,
    path: &JsonPath,
    schema: &PayloadFieldSchema,
    is_concurrent: bool,
) -> Make {
    let create = match is_concurrent {
        true => "create index concurrently if not exists",
        false => "create index if not exists",
    };
    let schema = schema.expand();
    if let PayloadSchemaParams::Text(_) = schema.as_ref() {
        let table = words_table(cid, ino);
        return Make {
            tables: vec![format!(
                "create table if not exists {table} \
                 (pid bigint primary key, tok text[] not null, docs jsonb)"
            )],
            indexes: vec![format!(
                "{create} c{cid}_t{ino}_tok on {table} using gin (tok)"
            )],
        };
    }
    let expressions = expressions(&Path::of(path), schema.as_ref());
    let indexes = expressions.iter().enumerate().map(|(number, expression)| {
        let name = name(cid, ino, number);
        format!("{create} {name} on qd_data.c{cid} using {expression}")
    });
    Make {
        tables: Vec::new(),
        indexes: indexes.collect(),
    }
}

/// Statements that remove what `make` made, or a part of it.
pub(super) fn remove(cid: i32, ino: i32, schema: &PayloadFieldSchema) -> Vec<String> {
    match schema.expand().as_ref() {
        PayloadSchemaParams::Text(_) => {
            vec![format!("drop table if exists {}", words_table(cid, ino))]
        }
        PayloadSchemaParams::Integer(_) => vec![drop(cid, ino, 0), drop(cid, ino, 1)],
        PayloadSchemaParams::Keyword(_)
        | PayloadSchemaParams::Float(_)
        | PayloadSchemaParams::Geo(_)
        | PayloadSchemaParams::Bool(_)
        | PayloadSchemaParams::Datetime(_)
        | PayloadSchemaParams::Uuid(_) => vec![drop(cid, ino, 0)],
    }
}

/// A query for the number of points in an index: one row, one int8.
pub(super) fn points(
    known: &Known,
    ino: i32,
    path: &JsonPath,
    schema: &PayloadFieldSchema,
) -> String {
    let predicate = match schema.expand().as_ref() {
        PayloadSchemaParams::Text(_) if known.adopted.is_none() => {
            return format!("select count(*) from {}", words_table(known.cid, ino));
        }
        PayloadSchemaParams::Text(_) => "jsonb_typeof(e) = 'string'",
        PayloadSchemaParams::Keyword(_) => "jsonb_typeof(e) = 'string'",
        PayloadSchemaParams::Bool(_) => "jsonb_typeof(e) = 'boolean'",
        PayloadSchemaParams::Integer(_) => "qd.i64x(e) is not null",
        PayloadSchemaParams::Float(_) => "jsonb_typeof(e) = 'number'",
        PayloadSchemaParams::Datetime(_) => "qd.moment(qd.str(e)) is not null",
        PayloadSchemaParams::Uuid(_) => "qd.uuid(e) is not null",
        PayloadSchemaParams::Geo(_) => "qd.on_earth(e)",
    };
    let path = Path::of(path).jsonpath();
    format!(
        "select count(*) from {points} c \
         where exists(select 1 from qd.flat(c.payload, {path}) e where {predicate})",
        points = known.points_table(),
    )
}

fn name(cid: i32, ino: i32, number: usize) -> String {
    format!("c{cid}_p{ino}_{number}")
}

fn drop(cid: i32, ino: i32, number: usize) -> String {
    format!("drop index if exists qd_data.{}", name(cid, ino, number))
}

/// The method and the expression of each index, as `using` wants them.
fn expressions(path: &Path, schema: &PayloadSchemaParams) -> Vec<String> {
    let jsonpath = path.jsonpath();
    let held = match path.is_plain() {
        true => path.arrows("payload"),
        false => path.gathered("payload"),
    };
    let held = format!("gin (({held}) jsonb_path_ops)");
    let span = format!("gist (qd.span(payload, {jsonpath}))");
    match schema {
        PayloadSchemaParams::Keyword(_) | PayloadSchemaParams::Bool(_) => vec![held],
        PayloadSchemaParams::Integer(integer) => {
            let mut expressions = Vec::new();
            if integer.lookup.unwrap_or(true) {
                expressions.push(held);
            }
            if integer.range.unwrap_or(true) {
                expressions.push(span);
            }
            expressions
        }
        PayloadSchemaParams::Float(_) => vec![span],
        PayloadSchemaParams::Datetime(_) => vec![format!("gist (qd.dspan(payload, {jsonpath}))")],
        PayloadSchemaParams::Uuid(_) => vec![format!("gin (qd.uuids(payload, {jsonpath}))")],
        PayloadSchemaParams::Geo(_) => vec![format!("gist (qd.bbox(payload, {jsonpath}))")],
        PayloadSchemaParams::Text(_) => Vec::new(),
    }
}

/// What a text index keeps of payloads.
pub(super) struct Words {
    path: Path,
    tokenizer: Tokenizer,
    /// Whether the field may be looked at inside of one object of an array. Then the words of each
    /// value are kept by themselves too.
    is_nested: bool,
}

/// A row of the table of words.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct WordsRow {
    /// The tokens, as the text of a jsonb array.
    pub(super) tok: String,
    /// The tokens of each value by the value, as the text of a jsonb object.
    pub(super) docs: Option<String>,
}

impl Words {
    /// None when the index is not one of text.
    pub(super) fn new(path: &JsonPath, schema: &PayloadFieldSchema) -> Option<Self> {
        match schema.expand().as_ref() {
            PayloadSchemaParams::Text(params) => Some(Self::of(path, params)),
            PayloadSchemaParams::Keyword(_)
            | PayloadSchemaParams::Integer(_)
            | PayloadSchemaParams::Float(_)
            | PayloadSchemaParams::Geo(_)
            | PayloadSchemaParams::Bool(_)
            | PayloadSchemaParams::Datetime(_)
            | PayloadSchemaParams::Uuid(_) => None,
        }
    }

    fn of(path: &JsonPath, params: &TextIndexParams) -> Self {
        let path_read = Path::of(path);
        Self {
            is_nested: path_read.is_through_array(),
            path: path_read,
            tokenizer: Tokenizer::new(params),
        }
    }

    /// The row of a point with this payload, if it is to have one.
    pub(super) fn row(&self, payload: &Payload) -> Option<WordsRow> {
        let mut values = Vec::new();
        for value in self.path.values(&payload.0) {
            match value {
                Value::String(text) => values.push(text.as_str()),
                Value::Array(items) => values.extend(items.iter().filter_map(Value::as_str)),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {}
            }
        }
        if values.is_empty() {
            return None;
        }
        let tok = self.tokenizer.field(values.iter().copied());
        let docs = self.is_nested.then(|| {
            let doc = |text: &&str| {
                let tokens = self.tokenizer.document(text);
                (super::payload::escape(text).into_owned(), array(&tokens))
            };
            Value::Object(values.iter().map(doc).collect::<Map<_, _>>()).to_string()
        });
        Some(WordsRow {
            tok: array(&tok).to_string(),
            docs,
        })
    }

    /// What writes the rows of points anew; of those that have none, the row is removed.
    pub(super) fn steps(&self, (cid, ino): (i32, i32), points: &[(i64, Payload)]) -> Vec<Step> {
        let table = words_table(cid, ino);
        let mut without = Vec::new();
        let (mut pids, mut tok, mut docs) = (Vec::new(), Vec::new(), Vec::new());
        for (pid, payload) in points {
            match self.row(payload) {
                Some(row) => {
                    pids.push(*pid);
                    tok.push(row.tok);
                    docs.push(row.docs);
                }
                None => without.push(*pid),
            }
        }
        let mut steps = Vec::with_capacity(2);
        if !without.is_empty() {
            let mut values = Values::default();
            let without = values.push(without);
            let sql = format!("delete from {table} where pid = any({without}::int8[])");
            steps.push(Step::new(sql, values));
        }
        if !pids.is_empty() {
            let mut values = Values::default();
            let (pids, tok, docs) = (values.push(pids), values.push(tok), values.push(docs));
            let sql = format!(
                "insert into {table} (pid, tok, docs) \
                 select pid, qd.texts(tok::jsonb), docs::jsonb \
                 from unnest({pids}::int8[], {tok}::text[], {docs}::text[]) r(pid, tok, docs) \
                 on conflict (pid) do update set tok = excluded.tok, docs = excluded.docs"
            );
            steps.push(Step::new(sql, values));
        }
        steps
    }

    /// Carries out `steps`.
    pub(super) async fn write(
        &self,
        client: &impl GenericClient,
        place: (i32, i32),
        points: &[(i64, Payload)],
    ) -> Result<(), tokio_postgres::Error> {
        for step in self.steps(place, points) {
            client.execute(&step.sql, &step.values.refs()).await?;
        }
        Ok(())
    }

    /// Writes the rows of all points. Nobody else may write payloads meanwhile.
    pub(super) async fn fill(
        &self,
        client: &impl GenericClient,
        (cid, ino): (i32, i32),
    ) -> Result<()> {
        let unread = |error| link_error(error);
        let sql = format!(
            "select pid, payload::text from qd_data.c{cid} where pid > $1 order by pid limit {FILL_ROWS}"
        );
        let mut last = i64::MIN;
        loop {
            let rows = client.query(&sql, &[&last]).await.map_err(unread)?;
            let mut points = Vec::with_capacity(rows.len());
            for row in &rows {
                let pid: i64 = row.try_get(0).map_err(unread)?;
                let text: &str = row.try_get(1).map_err(unread)?;
                points.push((pid, super::payload::decode(text)?));
            }
            let Some((pid, _)) = points.last() else {
                return Ok(());
            };
            last = *pid;
            self.write(client, (cid, ino), &points)
                .await
                .map_err(unread)?;
        }
    }
}

fn link_error(error: tokio_postgres::Error) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        Origin::Pgvector,
        Retry::Safe,
        "fill a text index",
    )
    .with_source(error)
}

fn array(tokens: &[String]) -> Value {
    tokens.iter().map(|token| stored(token)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn words(path: &str, schema: Value) -> Words {
        Words::new(
            &path.parse().unwrap(),
            &serde_json::from_value(schema).unwrap(),
        )
        .unwrap()
    }

    fn payload(value: Value) -> Payload {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_point_has_a_row_if_it_has_a_text() {
        let words = words("a", json!("text"));
        assert_eq!(words.row(&payload(json!({"a": [5, null, ["x"]]}))), None);
        assert_eq!(words.row(&payload(json!({"b": "x"}))), None);
        let row = words.row(&payload(json!({"a": ["", 5]}))).unwrap();
        assert_eq!((row.tok.as_str(), row.docs), ("[]", None));
        let row = words.row(&payload(json!({"a": ["b a", "A"]}))).unwrap();
        assert_eq!(row.tok, r#"["a","b"]"#);
    }

    #[test]
    fn words_of_values_in_objects_are_kept_apart_too() {
        let words = words("a[].t", json!({"type": "text", "phrase_matching": true}));
        let row = words
            .row(&payload(json!({"a": [{"t": "x y"}, {"t": ["z\0"]}]})))
            .unwrap();
        assert_eq!(
            row.tok,
            r#"["x","y","","z"]"#.replace("\"\",", "\"\u{F8FA}\u{F8FD}\",")
        );
        let docs: Value = serde_json::from_str(&row.docs.unwrap()).unwrap();
        assert_eq!(docs, json!({"x y": ["x", "y"], "z\u{F8FA}\u{F8FD}": ["z"]}));
    }

    #[test]
    fn the_index_has_the_expression_of_the_condition() {
        let made = make(
            3,
            7,
            &"a.b".parse().unwrap(),
            &serde_json::from_value(json!("integer")).unwrap(),
            true,
        );
        assert_eq!(
            made.indexes,
            [
                "create index concurrently if not exists c3_p7_0 on qd_data.c3 using gin (((payload->'a'->'b')) jsonb_path_ops)",
                "create index concurrently if not exists c3_p7_1 on qd_data.c3 using gist (qd.span(payload, 'strict $ ? (exists(@.\"a\")).\"a\" ? (exists(@.\"b\")).\"b\"'::jsonpath))",
            ]
        );
    }
}

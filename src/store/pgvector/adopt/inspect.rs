//! What a table of somebody else's is made of, as PostgreSQL's catalogue tells it.

use tokio_postgres::types::ToSql;

use crate::error::Result;
use crate::store::pgvector::link;
use crate::store::pgvector::names::quoted;
use crate::store::pgvector::pool::Pool;

const DOING: &str = "look at a table";

pub(super) struct Table {
    pub(super) schema: String,
    pub(super) name: String,
    /// As `pg_class.relkind` has it.
    pub(super) kind: String,
    pub(super) columns: Vec<Column>,
    pub(super) indexes: Vec<Index>,
}

#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) name: String,
    /// `vector`, `uuid`, `int8`, …
    pub(super) kind: String,
    /// What the type has in brackets, of a vector its dimension; -1 without.
    pub(super) modifier: i32,
    pub(super) is_required: bool,
    pub(super) is_generated: bool,
    /// Quoted as PostgreSQL itself does it in the definition of an index.
    pub(super) shown: String,
}

impl Column {
    pub(super) fn is_vector(&self) -> bool {
        matches!(self.kind.as_str(), "vector" | "halfvec")
    }

    pub(super) fn is_json(&self) -> bool {
        matches!(self.kind.as_str(), "json" | "jsonb")
    }

    pub(super) fn is_text(&self) -> bool {
        matches!(self.kind.as_str(), "text" | "varchar" | "bpchar")
    }

    pub(super) fn is_integer(&self) -> bool {
        matches!(self.kind.as_str(), "int2" | "int4" | "int8")
    }

    pub(super) fn quoted(&self) -> String {
        quoted(&self.name)
    }
}

pub(super) struct Index {
    /// Its first key.
    pub(super) on: String,
    pub(super) opclass: String,
    pub(super) method: String,
    pub(super) options: String,
    /// Of an index over some of the rows.
    pub(super) predicate: Option<String>,
    pub(super) is_unique: bool,
    pub(super) is_primary: bool,
    pub(super) keys: i16,
}

impl Table {
    pub(super) fn quoted(&self) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(&self.name))
    }

    /// As a person writes it.
    pub(super) fn shown(&self) -> String {
        let part = |name: &str| match name.contains(['.', '"']) {
            true => quoted(name),
            false => name.to_owned(),
        };
        format!("{}.{}", part(&self.schema), part(&self.name))
    }

    pub(super) fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The only column of the primary key.
    pub(super) fn primary_key(&self) -> Option<&Column> {
        let index = self.indexes.iter().find(|index| index.is_primary)?;
        let mut columns = self.columns.iter();
        columns.find(|column| index.keys == 1 && column.shown == index.on)
    }

    pub(super) fn is_unique(&self, column: &Column) -> bool {
        let mut indexes = self.indexes.iter();
        indexes.any(|index| index.is_unique && index.keys == 1 && index.on == column.shown)
    }
}

/// Cuts `schema.table` in two, either half in double quotes or not.
pub(super) fn parts(written: &str) -> Option<(Option<String>, String)> {
    let mut parts: Vec<String> = Vec::new();
    let mut rest = written;
    loop {
        let (part, after) = match rest.strip_prefix('"') {
            Some(inside) => {
                let mut end = None;
                let mut marks = inside.char_indices().peekable();
                while let Some((at, mark)) = marks.next() {
                    if mark != '"' {
                        continue;
                    }
                    if marks.peek().is_some_and(|(_, next)| *next == '"') {
                        marks.next();
                    } else {
                        end = Some(at);
                        break;
                    }
                }
                let (part, after) = inside.split_at_checked(end?)?;
                (part.replace("\"\"", "\""), after.strip_prefix('"')?)
            }
            None => {
                let end = rest.find('.').unwrap_or(rest.len());
                let (part, after) = rest.split_at_checked(end)?;
                (part.to_owned(), after)
            }
        };
        if part.is_empty() {
            return None;
        }
        parts.push(part);
        match after.strip_prefix('.') {
            Some(after) => rest = after,
            None if after.is_empty() => break,
            None => return None,
        }
    }
    let name = parts.pop()?;
    let schema = parts.pop();
    parts.is_empty().then_some((schema, name))
}

/// All tables of this name, one in `public` first. None of the system's or of ours.
pub(super) async fn find(pool: &Pool, schema: Option<&str>, name: &str) -> Result<Vec<Table>> {
    let where_ = "c.relname::text = $1 and ($2::text is null or n.nspname::text = $2)";
    let (name, schema) = (cut(name), schema.map(cut));
    tables(pool, where_, &[&name, &schema]).await
}

/// A name as PostgreSQL takes it where a program gives it a longer one.
fn cut(name: &str) -> &str {
    const BYTES_MAX: usize = 63;
    let fits = name.char_indices().map(|(at, c)| at + c.len_utf8());
    let end = fits.take_while(|end| *end <= BYTES_MAX).last();
    name.get(..end.unwrap_or_default()).unwrap_or_default()
}

/// All tables that have a column with a vector.
pub(super) async fn with_vectors(pool: &Pool) -> Result<Vec<Table>> {
    let where_ = "c.relkind = 'r' and exists(select 1 from pg_catalog.pg_attribute a \
                  join pg_catalog.pg_type y on y.oid = a.atttypid where a.attrelid = c.oid \
                  and not a.attisdropped and y.typname in ('vector', 'halfvec'))";
    tables(pool, where_, &[]).await
}

async fn tables(pool: &Pool, where_: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<Table>> {
    let sql = format!(
        "select n.nspname::text, c.relname::text, c.oid, c.relkind::text \
         from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace \
         where {where_} and c.relkind in ('r', 'p', 'v', 'm', 'f') \
         and n.nspname not in ('pg_catalog', 'information_schema', 'qdc', 'qd', 'qd_data') \
         and n.nspname !~ '^pg_(toast|temp)' order by n.nspname <> 'public', 1, 2"
    );
    let mut found = Vec::new();
    for row in pool.query(DOING, &sql, values).await? {
        let oid: u32 = row.get(2);
        found.push(Table {
            schema: row.get(0),
            name: row.get(1),
            kind: row.get(3),
            columns: columns(pool, oid).await?,
            indexes: indexes(pool, oid).await?,
        });
    }
    Ok(found)
}

async fn columns(pool: &Pool, oid: u32) -> Result<Vec<Column>> {
    let sql = "select a.attname::text, y.typname::text, a.atttypmod, \
               a.attnotnull and not a.atthasdef and a.attidentity = '', a.attgenerated <> '', \
               pg_catalog.quote_ident(a.attname::text) \
               from pg_catalog.pg_attribute a join pg_catalog.pg_type y on y.oid = a.atttypid \
               where a.attrelid = $1 and a.attnum > 0 and not a.attisdropped order by a.attnum";
    let rows = pool.query(DOING, sql, &[&oid]).await?;
    let columns = rows.iter().map(|row| {
        Ok(Column {
            name: row.try_get(0)?,
            kind: row.try_get(1)?,
            modifier: row.try_get(2)?,
            is_required: row.try_get(3)?,
            is_generated: row.try_get(4)?,
            shown: row.try_get(5)?,
        })
    });
    let columns: Result<_, tokio_postgres::Error> = columns.collect();
    columns.map_err(|error| link::nonsense(DOING).with_source(error))
}

async fn indexes(pool: &Pool, oid: u32) -> Result<Vec<Index>> {
    let sql = "select pg_get_indexdef(i.indexrelid, 1, true), o.opcname::text, m.amname::text, \
               coalesce(array_to_string(c.reloptions, ','), ''), \
               i.indisunique and i.indpred is null, i.indisprimary, i.indnkeyatts, \
               pg_get_expr(i.indpred, i.indrelid) \
               from pg_catalog.pg_index i join pg_catalog.pg_class c on c.oid = i.indexrelid \
               join pg_catalog.pg_am m on m.oid = c.relam \
               join pg_catalog.pg_opclass o on o.oid = i.indclass[0] \
               where i.indrelid = $1 and i.indisvalid order by c.relname";
    let rows = pool.query(DOING, sql, &[&oid]).await?;
    let indexes = rows.iter().map(|row| {
        Ok(Index {
            on: row.try_get(0)?,
            opclass: row.try_get(1)?,
            method: row.try_get(2)?,
            options: row.try_get(3)?,
            is_unique: row.try_get(4)?,
            is_primary: row.try_get(5)?,
            keys: row.try_get(6)?,
            predicate: row.try_get(7)?,
        })
    });
    let indexes: Result<_, tokio_postgres::Error> = indexes.collect();
    indexes.map_err(|error| link::nonsense(DOING).with_source(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_cut_as_postgresql_cuts_them() {
        assert_eq!(cut("short"), "short");
        assert_eq!(cut(&"x".repeat(70)).len(), 63);
        assert_eq!(cut(&format!("{}ü", "x".repeat(62))).len(), 62);
    }

    #[test]
    fn a_tables_name_is_cut_at_the_dot_outside_of_quotes() {
        let check = |written: &str, expected: Option<(Option<&str>, &str)>| {
            let expected =
                expected.map(|(schema, name)| (schema.map(str::to_owned), name.to_owned()));
            assert_eq!(parts(written), expected, "{written}");
        };
        check("memories", Some((None, "memories")));
        check("vecs.My Docs", Some((Some("vecs"), "My Docs")));
        check("\"a.b\".\"c\"\"d\"", Some((Some("a.b"), "c\"d")));
        for wrong in ["", ".", "a.", "a.b.c", "\"a", "\"a\"b", "\"\""] {
            check(wrong, None);
        }
    }
}

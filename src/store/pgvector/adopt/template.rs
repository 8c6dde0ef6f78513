//! Who keeps what where: each framework's columns, and what its Qdrant provider would have made of
//! a row. Versions of a framework differ, so what is there decides, not what should be.

use std::collections::BTreeMap;

use super::inspect::{Column, Table};
use super::{KeyKind, Shape, Writes};
use crate::config::{Adopt, Collection};
use crate::store::pgvector::names::{literal, quoted};

/// What a person is told: reads on from the name of the table.
pub(super) type Misfit = String;

/// How a table is read, as far as it can be said without asking for rows.
pub(super) struct Plan {
    pub(super) key: Column,
    pub(super) kind: KeyKind,
    pub(super) payload: String,
    pub(super) conditions: Vec<String>,
    /// The name for clients, and the column.
    pub(super) vectors: Vec<(String, Column)>,
    /// How it is written, or why it cannot be.
    pub(super) writes: Result<Writes, &'static str>,
    /// The parent table of LangChain, where collections have their names.
    pub(super) parent: Option<String>,
}

/// Where a framework keeps the collection that it calls `name`.
pub(super) fn default_table(adopt: Adopt, name: &str) -> (Option<&'static str>, String) {
    match adopt {
        Adopt::Mem0 | Adopt::LangchainJs | Adopt::Table => (None, name.to_owned()),
        Adopt::Langchain => (None, "langchain_pg_embedding".to_owned()),
        Adopt::Llamaindex => (None, format!("data_{}", name.to_lowercase())),
        Adopt::Dify => (None, format!("embedding_{}", name.to_lowercase())),
        Adopt::OpenWebui => (None, "document_chunk".to_owned()),
        Adopt::Anythingllm => (None, "anythingllm_vectors".to_owned()),
        Adopt::Vecs => (Some("vecs"), name.to_owned()),
    }
}

/// `source` is the framework's own name of the collection.
pub(super) fn plan(own: &Collection, table: &Table, source: &str) -> Result<Plan, Misfit> {
    let template = Template { own, table, source };
    match own.adopt.unwrap_or(Adopt::Table) {
        Adopt::Mem0 => template.whole("id", Some("vector"), "payload", None),
        Adopt::Vecs => template.whole("id", Some("vec"), "metadata", None),
        Adopt::Anythingllm => {
            template.whole("id", Some("embedding"), "metadata", Some("namespace"))
        }
        Adopt::Langchain if table.column("collection_id").is_some() => template.langchain(),
        Adopt::Langchain => template.langchain_store(),
        Adopt::LangchainJs => {
            let keys = ["content", "text", "metadata", "metadata"];
            template.text_and_meta("id", "embedding", keys)
        }
        Adopt::Llamaindex => template.llamaindex(),
        Adopt::Dify => template.dify(),
        Adopt::OpenWebui => template.open_webui(),
        Adopt::Table => template.by_hand(),
    }
}

/// The collections of Open WebUI that many share, by the end of their name, and the rows in them.
fn shared(source: &str, column: &str) -> Option<String> {
    const PREFIXES: [(&str, &str); 3] = [
        ("memories", "^user-memory-"),
        ("files", "^file-"),
        ("web-search", "^web-search-"),
    ];
    const HASH: &str = "^[0-9a-f]{63}$";
    let (_, last) = source.rsplit_once('_')?;
    let fits = |pattern: &str| format!("t.{column} ~ {}", literal(pattern));
    if last == "hash-based" {
        return Some(fits(HASH));
    }
    if last == "knowledge" {
        let others = PREFIXES.iter().map(|(_, pattern)| *pattern).chain([HASH]);
        let others: Vec<_> = others.map(fits).collect();
        return Some(format!("not ({})", others.join(" or ")));
    }
    let found = PREFIXES.iter().find(|(name, _)| *name == last);
    found.map(|(_, pattern)| fits(pattern))
}

struct Template<'t> {
    own: &'t Collection,
    table: &'t Table,
    source: &'t str,
}

impl Template<'_> {
    /// The column of this name, wanted by the setting `setting`.
    fn need(&self, name: &str, setting: &str) -> Result<&Column, Misfit> {
        self.table.column(name).ok_or_else(|| {
            let mut there: Vec<_> = self
                .table
                .columns
                .iter()
                .map(|one| one.name.as_str())
                .collect();
            there.truncate(20);
            format!(
                "has no column {} (it has {}); name the right one with {setting}, or another table",
                quoted(name),
                there.join(", ")
            )
        })
    }

    fn key(&self, default: &str) -> Result<(Column, KeyKind), Misfit> {
        let name = self.own.id.as_deref().unwrap_or(default);
        let column = self.need(name, "id")?;
        let kind = match column.kind.as_str() {
            "uuid" => KeyKind::Uuid,
            _ if column.is_integer() => KeyKind::Integer,
            _ if column.is_text() => KeyKind::Text,
            other => {
                return Err(format!(
                    "has ids of type {other} in {}; an id is a uuid, an integer or a text: name \
                     another column with id",
                    quoted(name)
                ));
            }
        };
        Ok((column.clone(), kind))
    }

    fn json(&self, name: &str, setting: &str) -> Result<&Column, Misfit> {
        let column = self.need(name, setting)?;
        if column.is_json() {
            return Ok(column);
        }
        Err(format!(
            "has {} of type {}, where json or jsonb is needed; name another column with {setting}",
            quoted(name),
            column.kind
        ))
    }

    fn text(&self, name: &str) -> Result<&Column, Misfit> {
        let column = self.need(name, "adopt = \"table\" and payload")?;
        if column.is_text() {
            return Ok(column);
        }
        Err(format!(
            "has {} of type {}, where a text is needed (encrypted text cannot be shown); adopt a \
             table with plain text",
            quoted(name),
            column.kind
        ))
    }

    /// The vector without a name, in the framework's column or the one that is named.
    fn vectors(&self, default: Option<&str>) -> Result<Vec<(String, Column)>, Misfit> {
        let mut vectors = Vec::new();
        let unnamed = self.own.vector.as_deref();
        let unnamed = unnamed.or(default.filter(|_| self.own.vectors.is_empty()));
        if let Some(name) = unnamed {
            vectors.push((String::new(), self.vector(name)?));
        }
        for (name, column) in &self.own.vectors {
            vectors.push((name.clone(), self.vector(column)?));
        }
        Ok(vectors)
    }

    fn vector(&self, name: &str) -> Result<Column, Misfit> {
        let column = self.need(name, "vector")?;
        if column.is_vector() {
            return Ok(column.clone());
        }
        Err(format!(
            "has {} of type {}, where vector or halfvec is needed; name another column with vector",
            quoted(name),
            column.kind
        ))
    }

    /// The condition that a column has the value of `source`, and the value for new rows.
    fn told_apart(&self, column: &str) -> Result<(String, String, String), Misfit> {
        let column = self.need(column, "discriminator")?.quoted();
        let value = literal(self.source);
        Ok((format!("t.{column} = {value}"), column, value))
    }

    fn whole(
        &self,
        key: &str,
        vector: Option<&str>,
        payload: &str,
        discriminator: Option<&str>,
    ) -> Result<Plan, Misfit> {
        let (key, kind) = self.key(key)?;
        let payload = self.own.payload.as_deref().unwrap_or(payload);
        let column = self.json(payload, "payload")?;
        let mut plan = self.begun(key, kind, object(column), self.vectors(vector)?);
        plan.writes = Ok(Writes {
            shape: Shape::Whole {
                column: column.quoted(),
                kind: column.kind.clone(),
            },
            fixed: BTreeMap::new(),
            needed: Vec::new(),
        });
        self.among(plan, self.own.discriminator.as_deref().or(discriminator))
    }

    fn begun(
        &self,
        key: Column,
        kind: KeyKind,
        payload: String,
        vectors: Vec<(String, Column)>,
    ) -> Plan {
        Plan {
            key,
            kind,
            payload,
            conditions: Vec::new(),
            vectors,
            writes: Err("its rows cannot be made from points"),
            parent: None,
        }
    }

    fn among(&self, mut plan: Plan, discriminator: Option<&str>) -> Result<Plan, Misfit> {
        if let Some(column) = discriminator {
            let (condition, column, value) = self.told_apart(column)?;
            plan.conditions.push(condition);
            if let Ok(writes) = &mut plan.writes {
                writes.fixed.insert(column, value);
            }
        }
        Ok(plan)
    }

    /// A text and an object of metadata, `[key, column, key, column]`.
    fn text_and_meta(&self, key: &str, vector: &str, names: [&str; 4]) -> Result<Plan, Misfit> {
        let (key, kind) = self.key(key)?;
        let [text_key, text, meta_key, meta] = names;
        let text = self.text(text)?;
        let meta = self.json(self.own.payload.as_deref().unwrap_or(meta), "payload")?;
        let payload = built(&[
            (text_key, format!("t.{}", text.quoted())),
            (meta_key, as_jsonb(meta)),
        ]);
        let mut plan = self.begun(key, kind, payload, self.vectors(Some(vector))?);
        plan.writes = Ok(Writes {
            shape: Shape::TextAndMeta {
                text_key: text_key.to_owned(),
                text: text.quoted(),
                meta_key: meta_key.to_owned(),
                meta: meta.quoted(),
                kind: meta.kind.clone(),
            },
            fixed: BTreeMap::new(),
            needed: Vec::new(),
        });
        Ok(plan)
    }

    fn langchain(&self) -> Result<Plan, Misfit> {
        // The id was called so before ids were the user's to choose.
        let key = match self.table.column("id") {
            Some(_) => "id",
            None => "uuid",
        };
        let names = ["page_content", "document", "metadata", "cmetadata"];
        let mut plan = self.text_and_meta(key, "embedding", names)?;
        let schema = quoted(&self.table.schema);
        let parent = format!("{schema}.\"langchain_pg_collection\"");
        let of = format!(
            "(select p.uuid from {parent} p where p.name = {})",
            literal(self.source)
        );
        plan.conditions.push(format!("t.\"collection_id\" = {of}"));
        if let Ok(writes) = &mut plan.writes {
            writes.fixed.insert("\"collection_id\"".to_owned(), of);
        }
        plan.parent = Some(parent);
        Ok(plan)
    }

    /// The newer store of LangChain: metadata also has columns of its own.
    fn langchain_store(&self) -> Result<Plan, Misfit> {
        let names = ["page_content", "content", "metadata", "langchain_metadata"];
        let mut plan = self.text_and_meta("langchain_id", "embedding", names)?;
        let meta = self.json(
            self.own.payload.as_deref().unwrap_or("langchain_metadata"),
            "payload",
        )?;
        let taken = [plan.key.name.as_str(), "content", meta.name.as_str()];
        let own: Vec<_> = self.further(&taken);
        if !own.is_empty() {
            let own: Vec<_> = own
                .iter()
                .map(|one| (one.name.as_str(), shown(one)))
                .collect();
            let meta = format!("{} || {}", object(meta), built(&own));
            plan.payload = built(&[
                ("page_content", "t.\"content\"".to_owned()),
                ("metadata", meta),
            ]);
            plan.writes = Err("it keeps parts of the metadata in columns of their own");
        }
        Ok(plan)
    }

    fn llamaindex(&self) -> Result<Plan, Misfit> {
        let (key, kind) = self.key("node_id")?;
        let meta = self.json(
            self.own.payload.as_deref().unwrap_or("metadata_"),
            "payload",
        )?;
        let text = self.text("text")?;
        let payload = format!("qd.llama({}, t.{}::text)", as_jsonb(meta), text.quoted());
        let mut plan = self.begun(key, kind, payload, self.vectors(Some("embedding"))?);
        plan.writes = Ok(Writes {
            shape: Shape::Llama {
                meta: meta.quoted(),
                kind: meta.kind.clone(),
                text: text.quoted(),
            },
            fixed: BTreeMap::new(),
            needed: Vec::new(),
        });
        Ok(plan)
    }

    fn dify(&self) -> Result<Plan, Misfit> {
        let names = ["page_content", "text", "metadata", "meta"];
        let mut plan = self.text_and_meta("id", "embedding", names)?;
        let meta = as_jsonb(self.json(self.own.payload.as_deref().unwrap_or("meta"), "payload")?);
        plan.payload = built(&[
            ("page_content", "t.\"text\"".to_owned()),
            ("metadata", meta.clone()),
            // An annotation belongs to an app, which takes the place of a data set.
            (
                "group_id",
                format!("coalesce({meta}->>'dataset_id', {meta}->>'app_id')"),
            ),
        ]);
        plan.writes = Err("its rows have no place for the group of a point");
        Ok(plan)
    }

    fn open_webui(&self) -> Result<Plan, Misfit> {
        let names = ["text", "text", "metadata", "vmetadata"];
        let column = self
            .own
            .discriminator
            .as_deref()
            .unwrap_or("collection_name");
        let quoted = self.need(column, "discriminator")?.quoted();
        let mut plan = self.text_and_meta("id", "vector", names)?;
        let Some(rows) = shared(self.source, &quoted) else {
            return self.among(plan, Some(column));
        };
        let meta = self.json(
            self.own.payload.as_deref().unwrap_or("vmetadata"),
            "payload",
        )?;
        plan.payload = built(&[
            ("text", "t.\"text\"".to_owned()),
            ("metadata", as_jsonb(meta)),
            ("tenant_id", format!("t.{quoted}")),
        ]);
        plan.conditions.push(rows);
        plan.writes = Err("several collections of Open WebUI are in it");
        Ok(plan)
    }

    fn by_hand(&self) -> Result<Plan, Misfit> {
        let default = match (&self.own.id, self.table.primary_key()) {
            (None, Some(column)) => column.name.clone(),
            (None, None) => {
                return Err(
                    "has no primary key of one column; name the column of the id with id"
                        .to_owned(),
                );
            }
            (Some(_), _) => String::new(),
        };
        let all: Vec<_> = self
            .table
            .columns
            .iter()
            .filter(|one| one.is_vector())
            .collect();
        let has_names = self.own.vector.is_some() || !self.own.vectors.is_empty();
        let vector = match all.as_slice() {
            _ if has_names => None,
            [one] => Some(one.name.as_str()),
            [] => {
                return Err(
                    "has no column of type vector or halfvec; name another table with table"
                        .to_owned(),
                );
            }
            several => {
                let names: Vec<_> = several.iter().map(|one| one.name.as_str()).collect();
                return Err(format!(
                    "has several vectors ({}); name one with vector, or each with vectors",
                    names.join(", ")
                ));
            }
        };
        if let Some(payload) = &self.own.payload {
            return self.whole(&default, vector, payload, None);
        }
        let (key, kind) = self.key(&default)?;
        let columns = self.further(&[&key.name]);
        let keys: Vec<_> = columns
            .iter()
            .map(|one| (one.name.as_str(), shown(one)))
            .collect();
        let vectors = self.vectors(vector)?;
        let mut plan = self.begun(key, kind, built(&keys), vectors);
        let discriminator = self.own.discriminator.as_deref();
        let written = columns.iter().filter(|one| !one.is_generated);
        let written = written.filter(|one| Some(one.name.as_str()) != discriminator);
        plan.writes = Ok(Writes {
            shape: Shape::Columns(
                written
                    .map(|one| (one.name.clone(), one.quoted(), one.kind.clone()))
                    .collect(),
            ),
            fixed: BTreeMap::new(),
            needed: Vec::new(),
        });
        self.among(plan, discriminator)
    }

    /// The columns that are neither these nor vectors nor made for searching.
    fn further(&self, taken: &[&str]) -> Vec<&Column> {
        let columns = self.table.columns.iter();
        let further = columns.filter(|one| {
            !taken.contains(&one.name.as_str())
                && !one.is_vector()
                && !matches!(one.kind.as_str(), "tsvector" | "sparsevec")
        });
        further.collect()
    }
}

/// `jsonb_build_object` of these. It takes a hundred arguments at most.
fn built(keys: &[(&str, String)]) -> String {
    const KEYS_MAX: usize = 40;
    if keys.is_empty() {
        return "'{}'::jsonb".to_owned();
    }
    let objects = keys.chunks(KEYS_MAX).map(|keys| {
        let keys = keys
            .iter()
            .map(|(key, value)| format!("{}, {value}", literal(key)));
        format!(
            "jsonb_build_object({})",
            keys.collect::<Vec<_>>().join(", ")
        )
    });
    let objects: Vec<_> = objects.collect();
    match objects.as_slice() {
        [one] => one.clone(),
        _ => format!("({})", objects.join(" || ")),
    }
}

fn shown(column: &Column) -> String {
    format!("t.{}", column.quoted())
}

fn as_jsonb(column: &Column) -> String {
    match column.kind.as_str() {
        "json" => format!("qd.jsonb(t.{})", column.quoted()),
        _ => format!("t.{}", column.quoted()),
    }
}

/// A payload is an object, whatever the column holds.
fn object(column: &Column) -> String {
    let value = as_jsonb(column);
    format!("case when jsonb_typeof({value}) = 'object' then {value} else '{{}}'::jsonb end")
}

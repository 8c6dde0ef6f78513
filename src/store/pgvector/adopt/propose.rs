//! Looks through a database for tables that can be shown as collections, and says how. Nothing is
//! changed, and nothing of ours has to be there.

use std::collections::BTreeSet;

use super::KeyKind;
use super::inspect::{self, Table};
use super::settle::{Fitted, fit, shown};
use crate::config::{Adopt, Collection};
use crate::error::{ErrorKind, Result};
use crate::store::pgvector::names::quoted;
use crate::store::pgvector::pool::{Limits, Pool, one_row};
use crate::store::pgvector::{PgvectorSettings, tls};

const DOING: &str = "look for tables";
/// What the name of a collection cannot hold.
const FORBIDDEN: [char; 11] = ['<', '>', ':', '"', '/', '\\', '|', '?', '*', '\0', '\u{1F}'];
/// So many collections of one table are proposed.
const SOURCES_MAX: usize = 100;

/// A collection that could be.
pub struct Proposal {
    pub name: String,
    /// Keys and values, in the order of the README.
    pub keys: Vec<(&'static str, String)>,
    /// What a person should know: the first is what there is, the others what is odd.
    pub notes: Vec<String>,
    /// Why it cannot be; none where it can.
    pub misfit: Option<String>,
}

/// All tables with vectors, framework by framework. Asks the database and changes nothing.
///
/// Cancel safety: safe.
pub async fn propose(settings: PgvectorSettings) -> Result<Vec<Proposal>> {
    let address = tls::address(&settings.url, settings.tls, settings.has_authority)?;
    let pool = Pool::new(
        address,
        Limits {
            own: "on".to_owned(),
            connections_max: settings.pool_size,
            connect_timeout: settings.connect_timeout,
            read_timeout: settings.read_timeout,
            write_timeout: settings.write_timeout,
            slow_timeout: settings.slow_timeout,
        },
    )?;
    let mut taken = BTreeSet::new();
    let mut proposals = Vec::new();
    for table in inspect::with_vectors(&pool).await? {
        for (source, mut own) in of_table(&pool, &table).await? {
            let mut name: String = source
                .chars()
                .map(|c| if FORBIDDEN.contains(&c) { '_' } else { c })
                .collect();
            while !taken.insert(name.clone()) {
                name = format!("{}.{name}", table.schema);
            }
            let is_one_of_many = matches!(
                own.adopt,
                Some(Adopt::Anythingllm | Adopt::OpenWebui | Adopt::Langchain)
            );
            if is_one_of_many && name != source {
                own.source = Some(source);
            }
            proposals.push(proposal(&pool, &table, name, own).await?);
        }
    }
    Ok(proposals)
}

/// Who made it, as far as its columns tell.
fn maker(table: &Table) -> Adopt {
    let has = |names: &[&str]| names.iter().all(|name| table.column(name).is_some());
    let is_langchains = has(&["collection_id", "embedding", "document", "cmetadata"])
        || has(&["langchain_id", "content", "embedding", "langchain_metadata"]);
    if is_langchains {
        Adopt::Langchain
    } else if has(&["node_id", "text", "metadata_", "embedding"]) {
        Adopt::Llamaindex
    } else if has(&["id", "text", "meta", "embedding"]) && table.name.starts_with("embedding_") {
        Adopt::Dify
    } else if has(&["id", "vector", "collection_name", "text", "vmetadata"]) {
        Adopt::OpenWebui
    } else if has(&["id", "namespace", "embedding", "metadata"]) {
        Adopt::Anythingllm
    } else if has(&["id", "vec", "metadata"]) {
        Adopt::Vecs
    } else if has(&["id", "vector", "payload"]) {
        Adopt::Mem0
    } else if has(&["id", "text", "metadata", "embedding"]) {
        Adopt::LangchainJs
    } else {
        Adopt::Table
    }
}

/// The collections in a table: names, and what the settings say of them.
async fn of_table(pool: &Pool, table: &Table) -> Result<Vec<(String, Collection)>> {
    let adopt = maker(table);
    let own = Collection {
        adopt: Some(adopt),
        table: Some(table.shown()),
        ..Collection::default()
    };
    let of_sources = |names: Vec<String>| -> Vec<(String, Collection)> {
        let each = names.into_iter().map(|name| (name, own.clone()));
        each.collect()
    };
    let column = |name: &str| format!("select distinct {}::text", quoted(name));
    let from = table.quoted();
    Ok(match adopt {
        Adopt::Langchain if table.column("collection_id").is_some() => {
            let parent = format!("{}.\"langchain_pg_collection\"", quoted(&table.schema));
            let sql = format!("select name::text from {parent} order by 1 limit {SOURCES_MAX}");
            of_sources(texts(pool, &sql).await?)
        }
        Adopt::Anythingllm => {
            let sql = format!(
                "{} from {from} where namespace is not null order by 1 limit {SOURCES_MAX}",
                column("namespace")
            );
            of_sources(texts(pool, &sql).await?)
        }
        Adopt::OpenWebui => {
            let kinds = ["memories", "knowledge", "files", "web-search", "hash-based"];
            of_sources(kinds.map(|kind| format!("open-webui_{kind}")).to_vec())
        }
        Adopt::Llamaindex => {
            let name = table.name.strip_prefix("data_").unwrap_or(&table.name);
            vec![(name.to_owned(), own)]
        }
        Adopt::Dify => {
            let name = table.name.strip_prefix("embedding_").unwrap_or(&table.name);
            let middle = name.strip_prefix("vector_index_");
            // The last letter does not fit into a name of PostgreSQL's.
            let middle = middle.and_then(|name| {
                name.strip_suffix("_node")
                    .or_else(|| name.strip_suffix("_nod"))
            });
            let name = middle.map_or(name.to_owned(), |middle| {
                format!("Vector_index_{middle}_Node")
            });
            vec![(name, own)]
        }
        Adopt::Table => {
            let mut own = own;
            let vectors = table.columns.iter().filter(|column| column.is_vector());
            let vectors: Vec<_> = vectors.collect();
            if vectors.len() > 1 {
                let names = vectors
                    .iter()
                    .map(|column| (column.name.clone(), column.name.clone()));
                own.vectors = names.collect();
            }
            if table.primary_key().is_none() {
                let mut unique = table
                    .columns
                    .iter()
                    .filter(|column| table.is_unique(column));
                own.id = unique.next().map(|column| column.name.clone());
            }
            vec![(table.name.clone(), own)]
        }
        Adopt::Mem0 | Adopt::Langchain | Adopt::LangchainJs | Adopt::Vecs => {
            vec![(table.name.clone(), own)]
        }
    })
}

async fn texts(pool: &Pool, sql: &str) -> Result<Vec<String>> {
    let rows = pool.query(DOING, sql, &[]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

async fn number(pool: &Pool, sql: &str) -> Result<i64> {
    let rows = pool.query(DOING, sql, &[]).await?;
    Ok(one_row(&rows, DOING)?.get(0))
}

async fn proposal(pool: &Pool, table: &Table, name: String, own: Collection) -> Result<Proposal> {
    let adopt = own.adopt.unwrap_or(Adopt::Table);
    let mut keys = vec![
        ("adopt", adopt.as_str().to_owned()),
        ("table", own.table.clone().unwrap_or_default()),
    ];
    keys.extend(own.source.clone().map(|source| ("source", source)));
    keys.extend(own.id.clone().map(|id| ("id", id)));
    let fitted = match fit(pool, &name, &own).await {
        Ok(fitted) => fitted,
        Err(error) if error.kind() == ErrorKind::Settings => {
            return Ok(Proposal {
                name,
                keys,
                notes: Vec::new(),
                misfit: Some(error.chain()),
            });
        }
        Err(error) => return Err(error),
    };
    for name in fitted
        .mapping
        .vectors
        .keys()
        .filter(|name| !name.is_empty())
    {
        keys.push(("vectors", name.clone()));
    }
    Ok(Proposal {
        name,
        keys,
        notes: notes(pool, table, &fitted).await?,
        misfit: None,
    })
}

/// What there is, then what is odd about it.
async fn notes(pool: &Pool, table: &Table, fitted: &Fitted) -> Result<Vec<String>> {
    let mapping = &fitted.mapping;
    let (from, key) = (&mapping.table, &mapping.key);
    let rows = match mapping.conditions.is_empty() {
        true => format!("{from} t where true"),
        false => format!("{from} t where {}", mapping.conditions.join(" and ")),
    };
    let count = number(pool, &format!("select count(*) from {rows}")).await?;
    let mut said = vec![format!("{}: {count} rows", table.shown())];
    let mut notes = Vec::new();
    for (vector, source) in &mapping.vectors {
        let distance = fitted
            .distances
            .get(vector)
            .copied()
            .map_or("Cosine", shown);
        let (kind, column) = (
            if source.is_half { "halfvec" } else { "vector" },
            &source.column,
        );
        let index = if source.index.is_some() {
            "an index"
        } else {
            "no index"
        };
        said.push(format!(
            "{kind}({}) in {column}, {distance}, {index} for it",
            source.stored
        ));
        let sql = format!("select count(*) from {rows} and t.{column} is null");
        match number(pool, &sql).await? {
            0 => {}
            without => notes.push(format!("{without} rows have no vector in {column}")),
        }
        if source.index.is_none() {
            notes.push(format!(
                "without an index for {distance} on {column} a search looks at every row"
            ));
        }
    }
    let sql = format!("select count(*) - count(distinct t.{key}) from {rows}");
    match number(pool, &sql).await? {
        0 => {}
        twice => notes.push(format!(
            "{twice} rows have the id of another row, or none, in {key}"
        )),
    }
    match mapping.kind {
        KeyKind::Uuid => {}
        KeyKind::Integer => {
            let sql = format!("select count(*) from {rows} and t.{key} < 0");
            match number(pool, &sql).await? {
                0 => {}
                hidden => notes.push(format!(
                    "{hidden} rows are not shown: their ids are negative"
                )),
            }
        }
        KeyKind::Text => notes.push(
            "ids are texts: those that are no UUIDs are shown as UUIDs made from them".to_owned(),
        ),
    }
    notes.insert(0, said.join("; "));
    Ok(notes)
}

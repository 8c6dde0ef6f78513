//! What is known of the collections: one copy in this process of the catalogue in the database.
//!
//! The copy is whole and of one moment. A change is told by NOTIFY (`listen`), and the next call
//! looks; while nobody listens, every call looks. Looking costs one round trip that reads a version
//! number, unless the number has moved; calls that wait share a look that began after they came. A
//! name that is not found is looked for in the database before it is said not to be there. Writes
//! do not rely on any of this: the gate in the database turns away whoever comes with an older copy.

mod tables;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::RwLock;
use qdrant_edge::{EdgeConfig, PayloadFieldSchema};
use tokio::sync::Semaphore;
use tokio_postgres::Row;

use super::adopt::{Mapping, own_tables};
use super::ann::AnnState;
use super::index::{Words, words_table};
use super::link::{self, Fault};
use super::names;
use super::pool::{Pool, one_row};
use crate::error::{Error, ErrorKind, Origin, Result, Retry};
use crate::store::declared;
use crate::store::engine::Collection;
use crate::wire::rest::{CollectionConfig, refuse};

pub(super) use tables::{VectorKind, VectorTable, table};

const DOING: &str = "read the catalogue";

/// One collection. A snapshot: it is replaced when the collection's epoch moves.
pub(super) struct Known {
    pub(super) cid: i32,
    pub(super) name: String,
    pub(super) epoch: i64,
    /// Only indexes that are ready are in its payload schema.
    pub(super) declared: Arc<Collection>,
    /// The declaration in the shape that `store::check` looks at.
    pub(super) edge: EdgeConfig,
    pub(super) vectors: BTreeMap<String, VectorTable>,
    /// By path.
    pub(super) indexes: BTreeMap<String, PayloadIndex>,
    /// The text indexes: whoever changes a payload keeps their words.
    pub(super) texts: Vec<Text>,
    /// How a table that was there before is shown.
    pub(super) adopted: Option<Mapping>,
    points: String,
    operations: String,
}

/// A text index, and the table of its words.
pub(super) struct Text {
    pub(super) ino: i32,
    pub(super) words: Words,
    pub(super) table: String,
}

#[derive(Clone, Debug)]
pub(super) struct PayloadIndex {
    pub(super) ino: i32,
    pub(super) schema: PayloadFieldSchema,
    pub(super) ready: bool,
}

impl Known {
    /// As SQL names it, or a query in brackets. It needs an alias.
    pub(super) fn points_table(&self) -> &str {
        &self.points
    }

    /// The sequence of operation numbers, as SQL names it.
    pub(super) fn operations(&self) -> &str {
        &self.operations
    }

    /// The tables that hold something of points, beside the points themselves.
    pub(super) fn tables(&self) -> impl Iterator<Item = &str> {
        let vectors = self.vectors.values().map(|table| table.table.as_str());
        vectors.chain(self.texts.iter().map(|text| text.table.as_str()))
    }

    pub(super) fn vector(&self, name: &str) -> Result<&VectorTable> {
        self.vectors.get(name).ok_or_else(|| {
            crate::store::refused::refused(qdrant_edge::OperationError::VectorNameNotExists {
                received_name: name.to_owned(),
            })
        })
    }
}

/// The whole catalogue at one moment.
#[derive(Default)]
struct Book {
    /// `None` before the first look.
    version: Option<i64>,
    collections: BTreeMap<String, Arc<Known>>,
    aliases: Arc<BTreeMap<String, String>>,
}

pub(super) struct Catalog {
    book: RwLock<Arc<Book>>,
    /// Moves whenever the copy may have become old.
    doubts: AtomicU64,
    /// `doubts` as it was before the copy was last compared with the database.
    settled: AtomicU64,
    /// Whether changes are told to us.
    is_told: AtomicBool,
    /// One looks at a time; the others wait and find it done.
    turn: Semaphore,
    /// Looks that were begun. One that is begun after a call has come is good enough for it.
    begun: AtomicU64,
    /// The number of the last that has found out how things are.
    looked: AtomicU64,
    /// The adopted tables that are shown here. Others may be in the database.
    adopted: BTreeSet<String>,
}

impl Catalog {
    pub(super) fn new(adopted: BTreeSet<String>) -> Self {
        Self {
            adopted,
            book: RwLock::default(),
            doubts: AtomicU64::new(1),
            settled: AtomicU64::new(0),
            is_told: AtomicBool::new(false),
            turn: Semaphore::new(1),
            begun: AtomicU64::new(0),
            looked: AtomicU64::new(0),
        }
    }

    /// The copy may be old.
    pub(super) fn doubt(&self) {
        self.doubts.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether changes are being told from now on. What was missed until now is looked up. Where
    /// nobody tells any more, the database may have been put back by another: nothing of the copy
    /// is taken over into the next.
    pub(super) fn told(&self, is_told: bool) {
        self.is_told.store(is_told, Ordering::Release);
        if !is_told {
            *self.book.write() = Arc::default();
        }
        self.doubt();
    }

    /// The names of the collections that the copy has, be it old or not.
    pub(super) fn seen(&self) -> Vec<String> {
        self.book.read().collections.keys().cloned().collect()
    }

    /// The name of a collection, as far as the copy has it.
    pub(super) fn name(&self, cid: i32) -> Option<String> {
        let book = Arc::clone(&self.book.read());
        let mut known = book.collections.values();
        known
            .find(|known| known.cid == cid)
            .map(|known| known.name.clone())
    }

    pub(super) async fn names(&self, pool: &Pool) -> Result<Vec<String>> {
        Ok(self.book(pool).await?.collections.keys().cloned().collect())
    }

    pub(super) async fn all(&self, pool: &Pool) -> Result<Vec<Arc<Known>>> {
        Ok(self
            .book(pool)
            .await?
            .collections
            .values()
            .cloned()
            .collect())
    }

    pub(super) async fn aliases(&self, pool: &Pool) -> Result<Arc<BTreeMap<String, String>>> {
        Ok(Arc::clone(&self.book(pool).await?.aliases))
    }

    pub(super) async fn find(&self, pool: &Pool, name: &str) -> Result<Option<Arc<Known>>> {
        if let Some(known) = self.book(pool).await?.collections.get(name) {
            return Ok(Some(Arc::clone(known)));
        }
        self.doubt();
        Ok(self.book(pool).await?.collections.get(name).cloned())
    }

    pub(super) async fn get(&self, pool: &Pool, name: &str) -> Result<Arc<Known>> {
        let found = self.find(pool, name).await?;
        found.ok_or_else(|| refuse::no_collection(name))
    }

    /// The present copy.
    async fn book(&self, pool: &Pool) -> Result<Arc<Book>> {
        let seen = self.doubts.load(Ordering::Acquire);
        // Before the copy is taken: whoever looks puts the new one there first.
        if self.is_settled(seen) && self.is_told.load(Ordering::Acquire) {
            let present = Arc::clone(&self.book.read());
            if present.version.is_some() {
                return Ok(present);
            }
        }
        let begun = self.begun.load(Ordering::SeqCst);
        let _turn = self.turn.acquire().await.map_err(|error| {
            Error::new(ErrorKind::Internal, Origin::Pgvector, Retry::Safe, DOING).with_source(error)
        })?;
        // Whoever had the turn before may have looked after we were told to, or after we came.
        let present = Arc::clone(&self.book.read());
        let is_good_enough = self.looked.load(Ordering::SeqCst) > begun
            || self.is_settled(seen) && self.is_told.load(Ordering::Acquire);
        if is_good_enough && present.version.is_some() {
            return Ok(present);
        }
        let doubts = self.doubts.load(Ordering::Acquire);
        let look_number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let book = look(pool, &present, &self.adopted).await?;
        if let Some(book) = &book {
            *self.book.write() = Arc::clone(book);
        }
        self.settled.fetch_max(doubts, Ordering::AcqRel);
        self.looked.store(look_number, Ordering::SeqCst);
        Ok(book.unwrap_or(present))
    }

    fn is_settled(&self, doubts: u64) -> bool {
        self.settled.load(Ordering::Acquire) >= doubts
    }
}

/// The catalogue if it is another than `present`.
async fn look(
    pool: &Pool,
    present: &Book,
    adopted: &BTreeSet<String>,
) -> Result<Option<Arc<Book>>> {
    let rows = pool
        .query(DOING, "select version from qdc.state", &[])
        .await?;
    let version: i64 = one_row(&rows, DOING)?.get(0);
    if Some(version) == present.version {
        return Ok(None);
    }
    Ok(Some(Arc::new(read(pool, present, adopted).await?)))
}

/// Everything is read in one statement, so that it is of one moment: `kind` says what a row is.
const READ: &str = "
select 'version' as kind, 0 as cid, version as number, null::text as name, null::text as body,
       null::text as state
from qdc.state
union all
select 'collection', cid, epoch, name, config, mapping from qdc.collections
union all
select 'vector', cid, vno, name, kind, ann from qdc.vectors
union all
select 'index', cid, ino, path, schema, state from qdc.payload_indexes
union all
select 'alias', cid, 0, alias, null, null from qdc.aliases";

async fn read(pool: &Pool, present: &Book, adopted: &BTreeSet<String>) -> Result<Book> {
    let rows = pool.query(DOING, READ, &[]).await?;
    let mut drafts: HashMap<i32, Draft> = HashMap::new();
    let (mut version, mut aliases) = (None, Vec::new());
    for row in &rows {
        let (kind, cid): (&str, i32) = (row.get(0), row.get(1));
        let draft = drafts.entry(cid).or_default();
        match kind {
            "version" => version = Some(row.get(2)),
            "collection" => {
                draft.epoch = row.get(2);
                draft.name = row.get(3);
                draft.config = row.get(4);
                draft.mapping = row.get(5);
            }
            "vector" => draft.vectors.push(VectorRow::of(row)),
            "index" => draft.indexes.push(IndexRow::of(row)),
            _ => aliases.push((row.get::<_, String>(3), cid)),
        }
    }
    drafts.retain(|_, draft| draft.mapping.is_none() || adopted.contains(&draft.name));
    let names: HashMap<i32, String> = drafts
        .iter()
        .map(|(cid, draft)| (*cid, draft.name.clone()))
        .collect();
    let aliases = aliases
        .into_iter()
        .filter_map(|(alias, cid)| Some((alias, names.get(&cid)?.clone())));
    let mut collections = BTreeMap::new();
    for (cid, draft) in drafts.into_iter().filter(|(cid, _)| *cid != 0) {
        let same = present
            .collections
            .get(&draft.name)
            .filter(|known| known.cid == cid && known.epoch == draft.epoch);
        let known = match same {
            Some(known) => Arc::clone(known),
            None => Arc::new(draft.known(cid)?),
        };
        collections.insert(known.name.clone(), known);
    }
    Ok(Book {
        version,
        collections,
        aliases: Arc::new(aliases.collect()),
    })
}

/// A collection's rows.
#[derive(Default)]
struct Draft {
    epoch: i64,
    name: String,
    config: String,
    mapping: Option<String>,
    vectors: Vec<VectorRow>,
    indexes: Vec<IndexRow>,
}

struct VectorRow {
    vno: i32,
    name: String,
    ann: AnnState,
}

impl VectorRow {
    fn of(row: &Row) -> Self {
        Self {
            vno: number(row),
            name: row.get(3),
            ann: AnnState::parse(row.get(5)),
        }
    }
}

struct IndexRow {
    ino: i32,
    path: String,
    schema: String,
    ready: bool,
}

impl IndexRow {
    fn of(row: &Row) -> Self {
        Self {
            ino: number(row),
            path: row.get(3),
            schema: row.get(4),
            ready: row.get::<_, &str>(5) == "ready",
        }
    }
}

fn number(row: &Row) -> i32 {
    i32::try_from(row.get::<_, i64>(2)).unwrap_or_default()
}

impl Draft {
    fn known(self, cid: i32) -> Result<Known> {
        let config: CollectionConfig = serde_json::from_str(&self.config).map_err(|error| {
            link::nonsense("read a collection's configuration").with_source(error)
        })?;
        let adopted = self.mapping.as_deref().map(serde_json::from_str::<Mapping>);
        let adopted = adopted
            .transpose()
            .map_err(|error| link::nonsense("read how a table is shown").with_source(error))?;
        let mut tables = adopted.as_ref().map(own_tables).unwrap_or_default();
        for row in self.vectors {
            let declared = config.vector(&row.name);
            let declared = declared.ok_or_else(|| link::nonsense("read a collection's vectors"))?;
            tables.insert(row.name, table(cid, row.vno, declared, row.ann));
        }
        let mut indexes = BTreeMap::new();
        let mut payload_schema = HashMap::new();
        let mut texts = Vec::new();
        for row in self.indexes {
            let odd = || link::nonsense("read a payload index");
            let schema: PayloadFieldSchema =
                serde_json::from_str(&row.schema).map_err(|error| odd().with_source(error))?;
            let path = row.path.parse().map_err(|()| odd())?;
            let words = Words::new(&path, &schema).filter(|_| adopted.is_none());
            texts.extend(words.map(|words| Text {
                ino: row.ino,
                words,
                table: words_table(cid, row.ino),
            }));
            if row.ready {
                payload_schema.insert(path, schema.clone());
            }
            let index = PayloadIndex {
                ino: row.ino,
                schema,
                ready: row.ready,
            };
            indexes.insert(row.path, index);
        }
        Ok(Known {
            cid,
            name: self.name.clone(),
            epoch: self.epoch,
            edge: declared::edge_config(&config),
            declared: Arc::new(Collection {
                name: self.name,
                config,
                payload_schema,
            }),
            vectors: tables,
            indexes,
            texts,
            points: match &adopted {
                Some(mapping) => mapping.points(),
                None => names::points(cid),
            },
            adopted,
            operations: names::operations(cid),
        })
    }
}

impl Known {
    /// A collection that was just made, with the numbers that its vectors got.
    pub(super) fn new(
        cid: i32,
        name: &str,
        config: &CollectionConfig,
        vectors: Vec<(String, i32)>,
    ) -> Result<Self, Fault> {
        let vectors = vectors.into_iter().map(|(name, vno)| VectorRow {
            vno,
            name,
            ann: AnnState::None,
        });
        let draft = Draft {
            // Given by the database; whoever has just made it needs none.
            epoch: 0,
            name: name.to_owned(),
            config: serde_json::to_string(config)?,
            mapping: None,
            vectors: vectors.collect(),
            indexes: Vec::new(),
        };
        Ok(draft.known(cid)?)
    }
}

impl From<serde_json::Error> for Fault {
    fn from(error: serde_json::Error) -> Self {
        link::nonsense("encode a collection's configuration")
            .with_source(error)
            .into()
    }
}

#[cfg(test)]
mod tests;

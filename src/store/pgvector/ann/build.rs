//! Making the indexes that are due, beside all other work.
//!
//! One builder a collection, among all processes: who does not get the lock leaves it to the
//! other. A build that broke off leaves an index that is not valid behind; the next drops it. The
//! catalogue says `ready` last, and nobody searches by an index before.

use deadpool_postgres::tokio_postgres::Error as PgError;
use deadpool_postgres::tokio_postgres::error::SqlState;
use deadpool_postgres::{Client, ClientWrapper, Object};

use super::{create_index, due_from, index_name, indexed};
use crate::store::pgvector::ann::AnnState;
use crate::store::pgvector::catalog::{Known, VectorTable};
use crate::store::pgvector::link::{self, Fault};
use crate::store::pgvector::vectors::Space;
use crate::wire::rest::VectorKind;

const DOING: &str = "build an index";
/// What a graph takes of each vector, beside its numbers.
const GRAPH_BYTES: usize = 1_536;
/// No build asks PostgreSQL for more than this, unless PostgreSQL is set to give more.
const MEMORY_MAX_KB: i64 = 1_024 * 1_024;
/// The first half of a builder's advisory lock; the second is the collection's number. Not the
/// lock that is taken for changes of the catalogue: a build takes long.
pub(in crate::store::pgvector) const BUILDER_LOCK: i32 = 20_819;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::store::pgvector) enum Built {
    /// So many were made. The catalogue has changed.
    Indexes(usize),
    /// Nothing was to be made.
    Nothing,
    /// Another process is at it.
    Elsewhere,
}

/// Makes what is due in one collection. Takes as long as it takes.
///
/// Cancel safety: safe. The connection ends with the future, and with it the lock; PostgreSQL may
/// bring the index to its end, and the next build finds it.
pub(in crate::store::pgvector) async fn build_due(
    client: Client,
    known: &Known,
) -> Result<Built, Fault> {
    let mut is_due = false;
    for (name, table) in &known.vectors {
        is_due |= due(&client, known, name, table).await?.is_some();
    }
    if !is_due {
        return Ok(Built::Nothing);
    }
    // Never goes back to the pool: it holds a lock and settings of its own.
    let client = Object::take(client);
    run(&client, "set statement_timeout = 0").await?;
    if !is_locked(&client, known.cid).await? {
        return Ok(Built::Elsewhere);
    }
    let mut built = 0;
    for (name, table) in &known.vectors {
        let Some(create) = due(&client, known, name, table).await? else {
            continue;
        };
        make(&client, table, &create).await?;
        // What is there to be seen by everybody is marked so, which counting lives by; and how
        // often values are there, which plans do.
        for swept in [table.table.as_str(), known.points_table()] {
            run(&client, &format!("vacuum (analyze) {swept}")).await?;
        }
        tell(&client, known.cid, table.vno, AnnState::Ready).await?;
        built += 1;
    }
    Ok(if built == 0 {
        Built::Nothing
    } else {
        Built::Indexes(built)
    })
}

/// Makes the index, by several processes if they can be had: where the memory that these share is
/// scarce, as in a container that was given none to speak of, by one.
async fn make(client: &ClientWrapper, table: &VectorTable, create: &str) -> Result<(), Fault> {
    drop_invalid(client, table).await?;
    allow_memory(client, table).await?;
    match run(client, create).await {
        Err(fault)
            if fault.has_code(&SqlState::DISK_FULL) || fault.has_code(&SqlState::OUT_OF_MEMORY) =>
        {
            drop_invalid(client, table).await?;
            run(client, "set max_parallel_maintenance_workers = 0").await?;
            run(client, create).await
        }
        other => other,
    }
}

/// Lets this session take as much memory as the whole graph needs, within bounds: a graph that does
/// not fit is made many times slower.
async fn allow_memory(client: &ClientWrapper, table: &VectorTable) -> Result<(), Fault> {
    let text = format!(
        "select set_config('maintenance_work_mem', greatest( \
         pg_size_bytes(current_setting('maintenance_work_mem')) / 1024, \
         least((select count(*) from {}) * $1::bigint / 1024, $2::bigint))::text, false)",
        table.table
    );
    // As many bytes as a vector may have, and as much again as a graph of common width takes.
    let of_one = table.dim.saturating_mul(4).saturating_add(GRAPH_BYTES);
    let of_one = i64::try_from(of_one).unwrap_or(i64::MAX);
    let set = client.query_one(&text, &[&of_one, &MEMORY_MAX_KB]).await;
    set.map(drop).map_err(failed)
}

async fn is_locked(client: &ClientWrapper, cid: i32) -> Result<bool, Fault> {
    let text = "select pg_try_advisory_lock($1, $2)";
    let row = client.query_one(text, &[&BUILDER_LOCK, &cid]).await;
    row.and_then(|row| row.try_get(0)).map_err(failed)
}

/// The index that a vector is to have some day.
pub(in crate::store::pgvector) struct Pending {
    create: String,
    /// A query of one boolean: whether there are enough points for it.
    pub(in crate::store::pgvector) is_due: String,
}

impl Pending {
    pub(in crate::store::pgvector) fn of(
        known: &Known,
        name: &str,
        table: &VectorTable,
    ) -> Option<Self> {
        let config = &known.declared.config;
        let Some(VectorKind::Dense(params)) = config.vector(name) else {
            return None;
        };
        if table.ann == AnnState::Ready {
            return None;
        }
        let space = Space::dense(params);
        let hnsw = params.hnsw_config.map_or(config.hnsw_config, |diff| {
            diff.applied_to(&config.hnsw_config)
        });
        let create = create_index(table, &space, &hnsw)?;
        let least = due_from(&space, config.optimizer_config.indexing_threshold)?;
        // No more are counted than are needed to know.
        let is_due = format!(
            "select count(*) >= {least} from (select 1 from {} limit {least}) s",
            table.table
        );
        Some(Self { create, is_due })
    }
}

/// The statement that makes the index, if there are enough points for one.
async fn due(
    client: &ClientWrapper,
    known: &Known,
    name: &str,
    table: &VectorTable,
) -> Result<Option<String>, Fault> {
    let Some(pending) = Pending::of(known, name, table) else {
        return Ok(None);
    };
    let row = client.query_one(&pending.is_due, &[]).await;
    let is_due: bool = row.and_then(|row| row.try_get(0)).map_err(failed)?;
    Ok(is_due.then_some(pending.create))
}

/// What a build that broke off has left.
async fn drop_invalid(client: &ClientWrapper, table: &VectorTable) -> Result<(), Fault> {
    let Some((schema, _)) = table.table.rsplit_once('.') else {
        return Err(link::nonsense(DOING).into());
    };
    let name = format!("{schema}.{}", index_name(table));
    let text = "select 1 from pg_index where indexrelid = to_regclass($1) and not indisvalid";
    let found = client.query_opt(text, &[&name]).await.map_err(failed)?;
    if found.is_some() {
        run(client, &format!("drop index concurrently if exists {name}")).await?;
    }
    Ok(())
}

async fn run(client: &ClientWrapper, text: &str) -> Result<(), Fault> {
    client.batch_execute(text).await.map_err(failed)
}

/// Writes the state into the catalogue, and lets the others know.
async fn tell(client: &ClientWrapper, cid: i32, vno: i32, state: AnnState) -> Result<(), Fault> {
    // One message is one transaction. The locks are taken in the order of `Change`.
    let (which, state) = (format!("cid = {cid} and vno = {vno}"), state.as_str());
    let text = format!(
        "select 1 from qdc.collections where cid = {cid} for no key update; \
         update qdc.vectors set ann = '{state}' where {which}; \
         select qd.changed({cid}) from qdc.vectors where {which}"
    );
    run(client, &text).await
}

/// Whether any vector of the collection could have an index that it has not.
pub(in crate::store::pgvector) fn may_be_due(known: &Known) -> bool {
    let mut tables = known.vectors.values();
    // An adopted table has the indexes that its owner gives it.
    known.adopted.is_none()
        && tables.any(|table| table.ann != AnnState::Ready && indexed(table).is_some())
}

/// A number that grows with every point that comes to the collection.
pub(in crate::store::pgvector) async fn newest(
    client: &Client,
    known: &Known,
) -> Result<i64, Fault> {
    let text = format!("select coalesce(max(pid), 0) from {}", known.points_table());
    let row = client.query_one(&text, &[]).await;
    row.and_then(|row| row.try_get(0)).map_err(failed)
}

fn failed(error: PgError) -> Fault {
    Fault::undone(DOING, error)
}

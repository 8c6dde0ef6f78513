//! Making the indexes that are due, beside all other work.
//!
//! One builder a collection, among all processes: who does not get the lock leaves it to the
//! other. A build that broke off leaves an index that is not valid behind; the next drops it. The
//! catalogue says `ready` last, and nobody searches by an index before.

use deadpool_postgres::tokio_postgres::Error as PgError;
use deadpool_postgres::{Client, ClientWrapper, Object};

use super::{create_index, index_name, indexed, is_due};
use crate::store::pgvector::ann::AnnState;
use crate::store::pgvector::catalog::{Known, VectorTable};
use crate::store::pgvector::link::{self, Fault};
use crate::store::pgvector::vectors::Space;
use crate::wire::rest::VectorKind;

const DOING: &str = "build an index";
/// The first half of a builder's advisory lock; the second is the collection's number. Not the
/// lock that is taken for changes of the catalogue: a build takes long.
const LOCK_CLASS: i32 = 20_819;

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
        is_due |= table.ann != AnnState::Ready && due(&client, known, name, table).await?.is_some();
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
        if table.ann == AnnState::Ready {
            continue;
        }
        let Some(create) = due(&client, known, name, table).await? else {
            continue;
        };
        drop_invalid(&client, table).await?;
        run(&client, &create).await?;
        run(&client, &format!("analyze {}", table.table)).await?;
        tell(&client, known.cid, table.vno, AnnState::Ready).await?;
        built += 1;
    }
    Ok(if built == 0 {
        Built::Nothing
    } else {
        Built::Indexes(built)
    })
}

async fn is_locked(client: &ClientWrapper, cid: i32) -> Result<bool, Fault> {
    let text = "select pg_try_advisory_lock($1, $2)";
    let row = client.query_one(text, &[&LOCK_CLASS, &cid]).await;
    row.and_then(|row| row.try_get(0)).map_err(failed)
}

/// The statement that makes the index, if there are enough points for one.
async fn due(
    client: &ClientWrapper,
    known: &Known,
    name: &str,
    table: &VectorTable,
) -> Result<Option<String>, Fault> {
    let config = &known.declared.config;
    let Some(VectorKind::Dense(params)) = config.vector(name) else {
        return Ok(None);
    };
    let space = Space::dense(params);
    let hnsw = params.hnsw_config.map_or(config.hnsw_config, |diff| {
        diff.applied_to(&config.hnsw_config)
    });
    let Some(create) = create_index(table, &space, &hnsw) else {
        return Ok(None);
    };
    let threshold = config.optimizer_config.indexing_threshold;
    // No more are counted than are needed to know.
    let mut needed = 1_u64;
    while !is_due(&space, needed, threshold) {
        match needed.checked_mul(2) {
            Some(more) => needed = more,
            None => return Ok(None),
        }
    }
    let text = format!(
        "select count(*) from (select 1 from {} limit $1) s",
        table.table
    );
    let needed = i64::try_from(needed).unwrap_or(i64::MAX);
    let row = client.query_one(&text, &[&needed]).await.map_err(failed)?;
    let points: i64 = row.try_get(0).map_err(failed)?;
    let points = u64::try_from(points).map_err(|_error| link::nonsense(DOING))?;
    Ok(is_due(&space, points, threshold).then_some(create))
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
    let text = "with told as (update qdc.vectors set ann = $3 where cid = $1 and vno = $2 \
                returning 1) select qd.changed($1) from told";
    let told = client.query(text, &[&cid, &vno, &state.as_str()]).await;
    told.map(drop).map_err(failed)
}

/// Whether any vector of the collection could have an index that it has not.
pub(in crate::store::pgvector) fn may_be_due(known: &Known) -> bool {
    let mut tables = known.vectors.values();
    tables.any(|table| table.ann != AnnState::Ready && indexed(table).is_some())
}

fn failed(error: PgError) -> Fault {
    Fault::undone(DOING, error)
}

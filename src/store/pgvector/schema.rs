//! What has to be in the database before anything is kept there: the extension, three schemas and
//! their functions. Made once, by whichever sidecar comes first, in one transaction; where it is
//! made, a start looks and waits for nobody.
//!
//! What cannot be made says what to do about it: these texts are read by people at a start that
//! failed.

use deadpool_postgres::Transaction;
use tokio_postgres::error::SqlState;
use tracing::warn;

use super::link::Fault;
use super::names::LOCK_CLASS;
use super::pool::Pool;
use crate::error::{Error, Result};

/// Moves with every change of the files below.
const FORMAT: i32 = 5;

const TABLES: &str = include_str!("schema/tables.sql");
const GATE: &str = include_str!("schema/gate.sql");
const FUNCTIONS: &str = include_str!("schema/functions.sql");
const ADOPTED: &str = include_str!("schema/adopted.sql");
const OUTBOX: &str = include_str!("schema/outbox.sql");

const SERVER_MIN: i32 = 140_000;
const EXTENSION_MIN: (u32, u32) = (0, 7);

const DOING: &str = "set up the database";

/// What the database runs.
#[derive(Clone, Debug)]
pub(super) struct Installed {
    /// As `server_version_num` has it: 160003.
    pub(super) server: i32,
    /// The version of pgvector.
    pub(super) extension: String,
}

/// Makes what is not there yet. Idempotent; several sidecars may do it at once.
pub(super) async fn install(pool: &Pool) -> Result<Installed> {
    let mut client = pool.get().await?;
    let transaction = pool.slow_transaction(&mut client, DOING).await?;
    let server = server(&transaction).await?;
    encoding(&transaction).await?;
    let extension = match found(&transaction).await? {
        // Most starts find everything there, and wait for nobody.
        Some(version) if present(&transaction).await? == Some(FORMAT) => new_enough(version)?,
        Some(_) | None => make(&transaction).await?,
    };
    let done = transaction.commit().await;
    done.map_err(|error| Fault::undone(DOING, error))?;
    // Sessions that began before the extension was there do not look where it is.
    drop(deadpool_postgres::Client::take(client));
    Ok(Installed { server, extension })
}

/// Makes what is missing, one at a time among all sidecars; the version of the extension.
async fn make(transaction: &Transaction<'_>) -> Result<String> {
    let lock = format!("select pg_catalog.pg_advisory_xact_lock({LOCK_CLASS}, 0)");
    execute(transaction, &lock).await?;
    let extension = extension(transaction).await?;
    match present(transaction).await? {
        Some(FORMAT) => {}
        Some(newer) if newer > FORMAT => {
            return Err(Error::settings(format!(
                "the tables in the database have format {newer}, and this version of Outrigger \
                 knows formats up to {FORMAT}; run a newer Outrigger"
            )));
        }
        // Format 2 has added what adopted tables need; format 3, that versions do not count; format
        // 4, the outbox.
        Some(_) => {
            let noted = format!("update qdc.install set format = {FORMAT}");
            run(transaction, &[GATE, FUNCTIONS, ADOPTED, OUTBOX, &noted]).await?;
        }
        None => {
            let noted = format!("insert into qdc.install values ({FORMAT})");
            strangers(transaction).await?;
            let files = [TABLES, GATE, FUNCTIONS, ADOPTED, OUTBOX, &noted];
            run(transaction, &files).await?;
        }
    }
    Ok(extension)
}

/// Schemas of somebody else's under the names of ours.
async fn strangers(transaction: &Transaction<'_>) -> Result<()> {
    let sql = "select nspname::text from pg_catalog.pg_namespace \
               where nspname in ('qd', 'qdc', 'qd_data') order by 1 limit 1";
    let row = transaction.query_opt(sql, &[]).await;
    let row = row.map_err(|error| Fault::undone(DOING, error))?;
    let Some(name) = row.map(|row| row.get::<_, String>(0)) else {
        return Ok(());
    };
    Err(Error::settings(format!(
        "the database has a schema {name} already that Outrigger has not made, and Outrigger keeps \
         its own things in the schemas qd, qdc and qd_data; rename that one, or give Outrigger a \
         database of its own"
    )))
}

/// What clients store is any text at all.
async fn encoding(transaction: &Transaction<'_>) -> Result<()> {
    let sql = "select pg_catalog.current_setting('server_encoding')";
    let row = transaction.query_one(sql, &[]).await;
    let found: String = row.map_err(|error| Fault::undone(DOING, error))?.get(0);
    if found != "UTF8" {
        return Err(Error::settings(format!(
            "the database has the encoding {found}; Outrigger needs one with UTF8 (create database \
             NAME encoding 'UTF8' template template0)"
        )));
    }
    Ok(())
}

async fn execute(transaction: &Transaction<'_>, sql: &str) -> Result<(), Fault> {
    let done = transaction.batch_execute(sql).await;
    done.map_err(|error| Fault::undone(DOING, error))
}

async fn server(transaction: &Transaction<'_>) -> Result<i32> {
    let sql = "select pg_catalog.current_setting('server_version_num')::int";
    let row = transaction.query_one(sql, &[]).await;
    let found: i32 = row.map_err(|error| Fault::undone(DOING, error))?.get(0);
    if found < SERVER_MIN {
        let major = found / 10_000;
        return Err(Error::settings(format!(
            "the database runs PostgreSQL {major}; Outrigger needs 14 or later"
        )));
    }
    Ok(found)
}

/// The version of the extension, if it is there.
async fn found(transaction: &Transaction<'_>) -> Result<Option<String>> {
    let sql = "select extversion from pg_catalog.pg_extension where extname = 'vector'";
    let row = transaction.query_opt(sql, &[]).await;
    let row = row.map_err(|error| Fault::undone(DOING, error))?;
    Ok(row.map(|row| row.get(0)))
}

async fn extension(transaction: &Transaction<'_>) -> Result<String> {
    let mut version = found(transaction).await?;
    if version.is_none() {
        let made = execute(transaction, "create extension vector").await;
        made.map_err(|fault| {
            Error::settings(no_extension(&fault)).with_source(fault.into_error())
        })?;
        version = found(transaction).await?;
    }
    new_enough(version.unwrap_or_default())
}

fn new_enough(version: String) -> Result<String> {
    let mut numbers = version.split('.').map(|number| number.parse().ok());
    let found = (
        numbers.next().flatten().unwrap_or(0),
        numbers.next().flatten().unwrap_or(0),
    );
    if found < EXTENSION_MIN {
        let (major, minor) = EXTENSION_MIN;
        return Err(Error::settings(format!(
            "the database has pgvector {version}; Outrigger needs {major}.{minor} or later \
             (install it, then: alter extension vector update)"
        )));
    }
    Ok(version)
}

fn no_extension(fault: &Fault) -> &'static str {
    if fault.has_code(&SqlState::INSUFFICIENT_PRIVILEGE) {
        "the database has no extension vector, and this role may not create it; \
         have a superuser run in this database: create extension vector"
    } else {
        "the database has no extension vector, and it cannot be created; \
         install pgvector on the server, then run in this database: create extension vector"
    }
}

/// Says so where others than its owner and this role may create in the schema of the extension. Every
/// session finds functions and operators there, so whoever may put some there may have this role run
/// them.
pub(super) async fn warn_of_strangers(pool: &Pool) -> Result<()> {
    let sql = "select n.nspname::text, pg_catalog.string_agg(distinct coalesce(g.rolname::text, \
               'PUBLIC'), ', ') \
               from pg_catalog.pg_extension e \
               join pg_catalog.pg_namespace n on n.oid = e.extnamespace \
               cross join lateral pg_catalog.aclexplode(n.nspacl) a \
               left join pg_catalog.pg_roles g on g.oid = a.grantee \
               where e.extname = 'vector' and a.privilege_type = 'CREATE' \
               and a.grantee <> n.nspowner and g.rolname is distinct from current_user \
               group by n.nspname";
    for row in pool.query(DOING, sql, &[]).await? {
        let (schema, roles): (&str, &str) = (row.get(0), row.get(1));
        warn!(
            schema,
            roles,
            "these roles may create functions in the schema of the extension vector, and so have \
             Outrigger's role run them; revoke it: revoke create on schema SCHEMA from ROLE, or \
             move the extension: alter extension vector set schema ANOTHER"
        );
    }
    Ok(())
}

/// The format that is installed.
async fn present(transaction: &Transaction<'_>) -> Result<Option<i32>> {
    let sql = "select pg_catalog.to_regclass('qdc.install') is not null";
    let row = transaction.query_one(sql, &[]).await;
    let is_there: bool = row.map_err(|error| Fault::undone(DOING, error))?.get(0);
    if !is_there {
        return Ok(None);
    }
    let row = transaction
        .query_one("select format from qdc.install", &[])
        .await;
    let row = row.map_err(|error| {
        let fault = Fault::undone(DOING, error);
        denied(
            fault,
            "may not read the schema qdc that another role has made",
        )
    })?;
    Ok(Some(row.get(0)))
}

async fn run(transaction: &Transaction<'_>, files: &[&str]) -> Result<()> {
    for sql in files {
        execute(transaction, sql).await.map_err(|fault| {
            denied(
                fault,
                "may not create schemas; have its owner run: grant create on database DATABASE to ROLE",
            )
        })?;
    }
    Ok(())
}

fn denied(fault: Fault, what: &str) -> Error {
    if fault.has_code(&SqlState::INSUFFICIENT_PRIVILEGE) {
        return Error::settings(format!("this role of the database {what}"))
            .with_source(fault.into_error());
    }
    fault.into_error()
}

#[cfg(test)]
mod tests {
    use crate::error::ErrorKind;
    use crate::store::engine::Engine as _;
    use crate::store::pgvector::scratch::Scratch;

    async fn refused(scratch: &Scratch) -> String {
        let error = scratch.store().probe().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Settings);
        error.to_string()
    }

    #[tokio::test]
    async fn schemas_of_others_under_our_names_are_told() {
        let scratch = Scratch::make().await;
        let client = scratch.client().await;
        client.batch_execute("create schema qd").await.unwrap();
        let said = refused(&scratch).await;
        assert!(said.contains("a schema qd already"), "{said}");
        client.batch_execute("drop schema qd").await.unwrap();
        scratch.store().probe().await.unwrap();
        // Ours are not others'.
        scratch.store().probe().await.unwrap();
    }

    #[tokio::test]
    async fn what_an_older_version_has_made_is_brought_up_to_date() {
        let scratch = Scratch::make().await;
        scratch.store().probe().await.unwrap();
        let client = scratch.client().await;
        let older = "update qdc.install set format = 2; update qdc.state set version = 5; \
                     alter table qdc.collections alter column epoch set default 1; \
                     drop function qd.changed, qd.token cascade; \
                     alter table qdc.state drop column mirrored; \
                     drop table qdc.outbox, qdc.mirrored, qdc.dead_letters, qdc.sweeps";
        client.batch_execute(older).await.unwrap();
        scratch.store().probe().await.unwrap();
        let add = "insert into qdc.collections (name, config) values ('c', '{}') \
                   returning epoch, qd.changed(cid) is null, (select version from qdc.state)";
        let row = client.query_one(add, &[]).await.unwrap();
        assert!(row.get::<_, i64>(0) > 1_000_000);
        assert!(row.get::<_, i64>(2) > 1_000_000);
    }

    #[tokio::test]
    async fn what_is_due_in_format_4_stays_due_and_keeps_why() {
        let scratch = Scratch::make().await;
        scratch.store().probe().await.unwrap();
        let client = scratch.client().await;
        let older = "create or replace function qd.want_sweep(_cid int, _reason text) \
                     returns void language sql as $$ \
                     insert into qdc.sweeps (cid, reason, token) \
                     values (_cid, _reason, qd.token()) on conflict (cid) \
                     do update set reason = excluded.reason, token = excluded.token $$; \
                     drop function qd.reason_of_both, qd.strength; \
                     update qdc.install set format = 4; \
                     insert into qdc.collections (name, config) values ('c', '{}'); \
                     select qd.want_sweep(cid, 'never compared') from qdc.collections";
        client.batch_execute(older).await.unwrap();
        scratch.store().probe().await.unwrap();
        let wish = "select qd.want_sweep(cid, 'a store was away') from qdc.collections";
        client.batch_execute(wish).await.unwrap();
        let due = "select reason, (select format from qdc.install) from qdc.sweeps";
        let row = client.query_one(due, &[]).await.unwrap();
        let reason: &str = row.get(0);
        assert_eq!(reason, "never compared; a store was away");
        assert_eq!(row.get::<_, i32>(1), super::FORMAT);
    }

    #[tokio::test]
    async fn a_database_that_does_not_take_every_text_is_refused() {
        let scratch = Scratch::make_with("encoding 'LATIN1' locale 'C'").await;
        let said = refused(&scratch).await;
        assert!(said.contains("the encoding LATIN1"), "{said}");
    }
}

//! Collections made, changed and dropped, and their aliases: every change of the catalogue.
//!
//! Each is one transaction under an advisory lock: the catalogue's for what concerns names, the
//! collection's gate for what concerns its tables. Rows are locked in one order, that of whoever
//! makes indexes for search beside them too: the collection's, what belongs to it, and last the
//! version of the catalogue. The other sidecars are told with the commit.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use deadpool_postgres::Transaction;
use tokio::time::{Instant, sleep};
use tokio_postgres::types::{FromSql, ToSql};

use super::Shared;
use super::adopt::Adoptions;
use super::ann::{AnnState, BUILDER_LOCK};
use super::catalog::{self, Known, VectorTable};
use super::link::{self, Fault};
use super::names::{self, CATALOGUE, LOCK_CLASS};
use crate::error::Result;
use crate::wire::rest::{CollectionConfig, refuse};

const DOING: &str = "change the catalogue";

/// How often a call is tried by a newer copy of the catalogue.
const TRIES: u32 = 5;
/// And how long, where it is the gate that turns it away: then somebody else has got on each time.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE_MAX: Duration = Duration::from_millis(100);
/// How often whoever makes indexes is told to stop, and how long after one another.
const STOPS: usize = 100;
const STOP_EVERY: Duration = Duration::from_millis(50);

/// The tries of one call.
pub(super) struct Tries {
    made: u32,
    began: Instant,
}

impl Tries {
    pub(super) fn begin() -> Self {
        Self {
            made: 0,
            began: Instant::now(),
        }
    }

    /// Whether a call that has failed so is to be tried again.
    pub(super) async fn again(&mut self, fault: &Fault) -> bool {
        self.made += 1;
        if !fault.is_stale() && !fault.is_contention() {
            return false;
        }
        if self.made < TRIES {
            return true;
        }
        let again = fault.is_moved() && self.began.elapsed() < PATIENCE;
        if again {
            let pause = Duration::from_millis(self.made.into()).min(PAUSE_MAX);
            sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
        }
        again
    }
}

/// A transaction that changes the catalogue.
pub(super) struct Change<'c> {
    pub(super) transaction: Transaction<'c>,
}

impl Change<'_> {
    pub(super) async fn execute(&self, sql: &str) -> Result<(), Fault> {
        let done = self.transaction.batch_execute(sql).await;
        done.map_err(|error| Fault::undone(DOING, error))
    }

    pub(super) async fn run(
        &self,
        sql: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, Fault> {
        let done = self.transaction.execute(sql, values).await;
        done.map_err(|error| Fault::undone(DOING, error))
    }

    pub(super) async fn number<T>(
        &self,
        sql: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<T>, Fault>
    where
        T: for<'r> FromSql<'r>,
    {
        let row = self.transaction.query_opt(sql, values).await;
        let row = row.map_err(|error| Fault::undone(DOING, error))?;
        row.map(|row| row.try_get(0))
            .transpose()
            .map_err(|error| Fault::undone(DOING, error))
    }

    /// Held until the end: names and aliases are as they are.
    pub(super) async fn lock_catalogue(&self) -> Result<(), Fault> {
        let sql = format!("select pg_catalog.pg_advisory_xact_lock({LOCK_CLASS}, 0)");
        self.execute(&sql).await
    }

    /// Held until the end: nobody writes to the collection, and it is as `known` says.
    pub(super) async fn lock_gate(&self, known: &Known) -> Result<(), Fault> {
        let sql = "select qd.gate($1, $2, true)";
        self.run(sql, &[&known.cid, &known.epoch]).await?;
        let sql = format!("select 1 from {CATALOGUE}.collections where cid = $1 for no key update");
        self.run(&sql, &[&known.cid]).await.map(drop)
    }

    /// The same for a collection that is to go: writes that are under way end first, those behind
    /// find it gone.
    pub(super) async fn lock_gate_of(&self, cid: i32) -> Result<(), Fault> {
        let sql = format!("select pg_catalog.pg_advisory_xact_lock({LOCK_CLASS}, {cid})");
        self.execute(&sql).await
    }

    /// Held until the end: nobody makes indexes for search of the collection. Whoever is at it is
    /// stopped, for it may take long, and a table is not dropped before. Its connection is ended,
    /// not only its statement, so that it does not go on with the next; it is of no other use.
    pub(super) async fn stop_builder(&self, cid: i32) -> Result<(), Fault> {
        let lock = "select pg_catalog.pg_try_advisory_xact_lock($1, $2)";
        // One of another role is not ours to stop.
        let stop = "select pg_catalog.pg_terminate_backend(l.pid) \
                    from pg_catalog.pg_locks l join pg_catalog.pg_stat_activity a on a.pid = l.pid \
                    where l.locktype = 'advisory' and l.granted and l.objsubid = 2 \
                    and l.classid = $1::int::oid and l.objid = $2::int::oid \
                    and a.datname = pg_catalog.current_database() and l.database = a.datid \
                    and a.usename = current_user";
        for _ in 0..STOPS {
            let locked = self.number(lock, &[&BUILDER_LOCK, &cid]).await?;
            if locked.unwrap_or(false) {
                return Ok(());
            }
            self.run(stop, &[&BUILDER_LOCK, &cid]).await?;
            sleep(STOP_EVERY).await;
        }
        let lock = "select pg_catalog.pg_advisory_xact_lock($1, $2)";
        self.run(lock, &[&BUILDER_LOCK, &cid]).await.map(drop)
    }

    /// The number of the collection of this name.
    pub(super) async fn number_of(&self, name: &str) -> Result<Option<i32>, Fault> {
        let sql = format!("select cid from {CATALOGUE}.collections where name = $1");
        self.number(&sql, &[&name]).await
    }

    async fn is_alias(&self, name: &str) -> Result<bool, Fault> {
        let sql = format!("select true from {CATALOGUE}.aliases where alias = $1");
        Ok(self.number(&sql, &[&name]).await?.unwrap_or(false))
    }

    /// Makes of the aliases `before` those that are wanted, under the lock of the catalogue.
    /// `false`, and nothing is to be committed, where they are not as `before` any more, or the
    /// collections are not as the wanted ones need them. `shown` are the adopted tables that are
    /// seen here; what concerns others stays.
    async fn replace_aliases(
        &self,
        before: &BTreeMap<String, String>,
        aliases: &BTreeMap<String, String>,
        shown: &[&String],
        seen: &[String],
    ) -> Result<bool, Fault> {
        let undone = |error| Fault::undone(DOING, error);
        let sql = format!(
            "select a.alias, c.name from {CATALOGUE}.aliases a \
             join {CATALOGUE}.collections c using (cid) \
             where c.mapping is null or c.name = any($1)"
        );
        let rows = self.transaction.query(&sql, &[&shown]).await;
        let rows = rows.map_err(undone)?;
        let present = rows.iter().map(|row| (row.get(0), row.get(1)));
        if present.collect::<BTreeMap<String, String>>() != *before {
            return Ok(false);
        }
        let is_new = |(alias, name): &(&String, &String)| before.get(*alias) != Some(*name);
        let (new, led_to): (Vec<&String>, Vec<&String>) = aliases.iter().filter(is_new).unzip();
        let gone = before.keys().filter(|alias| !aliases.contains_key(*alias));
        let gone: Vec<&String> = gone.collect();
        // Those that lose an alias, and those that get one.
        let lost = before
            .iter()
            .filter(|(alias, name)| aliases.get(*alias) != Some(*name));
        let lost = lost.map(|(_, name)| name);
        let concerned: BTreeSet<&str> = lost
            .chain(led_to.iter().copied())
            .map(String::as_str)
            .collect();
        let sql = format!(
            "select true from {CATALOGUE}.collections c where c.name = any($1) \
             and (c.mapping is null or c.name = any($2)) and not c.name = any($3) limit 1"
        );
        // Whether an alias may have the name of a collection was judged of those that were seen.
        let unseen: Option<bool> = self.number(&sql, &[&new, &shown, &seen]).await?;
        if unseen.is_some() {
            return Ok(false);
        }
        let sql = format!("delete from {CATALOGUE}.aliases where alias = any($1)");
        self.run(&sql, &[&gone]).await?;
        let sql = format!(
            "insert into {CATALOGUE}.aliases (alias, cid) select u.alias, c.cid \
             from unnest($1::text[], $2::text[]) u(alias, name) \
             join {CATALOGUE}.collections c on c.name = u.name \
             on conflict (alias) do update set cid = excluded.cid"
        );
        let made = self.run(&sql, &[&new, &led_to]).await?;
        self.mark_schema(&concerned.into_iter().collect::<Vec<_>>())
            .await?;
        Ok(usize::try_from(made).is_ok_and(|made| made == new.len()))
    }

    /// Takes an adopted table out of the catalogue that these settings do not name: its name is
    /// wanted for something else.
    async fn forget_unknown(&self, name: &str, adopted: &Adoptions) -> Result<(), Fault> {
        if adopted.contains_key(name) {
            return Ok(());
        }
        let sql = format!(
            "select cid from {CATALOGUE}.collections where name = $1 and mapping is not null"
        );
        match self.number(&sql, &[&name]).await? {
            Some(cid) => self.drop_collection(cid).await,
            None => Ok(()),
        }
    }

    /// The next number for a vector or an index of the collection.
    pub(super) async fn next_number(&self, cid: i32) -> Result<i32, Fault> {
        let sql = format!(
            "update {CATALOGUE}.collections set numbers = numbers + 1 where cid = $1 \
             returning numbers"
        );
        Ok(self.number(&sql, &[&cid]).await?.unwrap_or_default())
    }

    pub(super) async fn add_vector(
        &self,
        cid: i32,
        name: &str,
        config: &CollectionConfig,
    ) -> Result<i32, Fault> {
        let declared = config.vector(name);
        let declared = declared.ok_or_else(|| link::nonsense("make a vector's table"))?;
        let vno = self.next_number(cid).await?;
        let table = catalog::table(cid, vno, declared, AnnState::None);
        self.make_vector_table(cid, &table).await?;
        let sql = format!(
            "insert into {CATALOGUE}.vectors (cid, name, vno, kind) values ($1, $2, $3, $4)"
        );
        let kind = table.kind.as_str();
        self.run(&sql, &[&cid, &name, &vno, &kind]).await?;
        Ok(vno)
    }

    async fn make_vector_table(&self, cid: i32, table: &VectorTable) -> Result<(), Fault> {
        let (name, columns) = (&table.table, table.column.definition(table.dim));
        self.execute(&format!(
            "create table {name} (pid bigint primary key, {columns})"
        ))
        .await?;
        let each = table.columns().iter();
        let storage = table.column.storage(table.dim);
        let storage = each.map(|column| format!("alter column {column} set storage {storage}"));
        let storage: Vec<_> = storage.collect();
        self.execute(&format!("alter table {name} {}", storage.join(", ")))
            .await?;
        self.watch(name, cid).await
    }

    /// Whoever writes to this table in SQL is heard of.
    async fn watch(&self, table: &str, cid: i32) -> Result<(), Fault> {
        let sql = "select qd.watch($1, $2)";
        self.run(sql, &[&table, &cid]).await.map(drop)
    }

    pub(super) async fn write_config(
        &self,
        cid: i32,
        config: &CollectionConfig,
    ) -> Result<(), Fault> {
        let text = serde_json::to_string(config)?;
        let sql = format!("update {CATALOGUE}.collections set config = $2 where cid = $1");
        self.run(&sql, &[&cid, &text]).await.map(drop)
    }

    /// Makes the tables of a collection and its rows in the catalogue.
    pub(super) async fn make_collection(
        &self,
        name: &str,
        config: &CollectionConfig,
    ) -> Result<Known, Fault> {
        let text = serde_json::to_string(config)?;
        let sql = format!(
            "insert into {CATALOGUE}.collections (name, config) values ($1, $2) returning cid"
        );
        let cid: i32 = self
            .number(&sql, &[&name, &text])
            .await?
            .unwrap_or_default();
        let (points, operations) = (names::points(cid), names::operations(cid));
        self.execute(&format!(
            "create sequence {operations}; \
             create table {points} (pid bigint generated always as identity primary key, \
             id bytea not null unique, ver bigint not null, \
             payload jsonb not null default '{{}}') with (fillfactor = 85)"
        ))
        .await?;
        self.watch(&points, cid).await?;
        let mut vectors = Vec::new();
        for name in config.vector_names() {
            let vno = self.add_vector(cid, name, config).await?;
            vectors.push((name.to_owned(), vno));
        }
        Known::new(cid, name, config, vectors)
    }

    /// Tells whoever follows the store that a collection of this name is to be made, or is made of
    /// something else. Under a lock that keeps `mirrored` out.
    pub(super) async fn mark_schema(&self, names: &[&str]) -> Result<(), Fault> {
        let sql = "select qd.mark('s', u.name) from unnest($1::text[]) u(name)";
        self.run(sql, &[&names]).await.map(drop)
    }

    /// Has the tables of a collection mark their writes, if it is mirrored.
    pub(super) async fn mirror(&self, cid: i32) -> Result<(), Fault> {
        let sql = format!("select qd.mirror($1, {})", i32::MAX);
        self.run(&sql, &[&cid]).await.map(drop)
    }

    /// Drops whatever belongs to a collection, its row in the catalogue included.
    pub(super) async fn drop_collection(&self, cid: i32) -> Result<(), Fault> {
        let sql = format!("select qd.mark('d', name) from {CATALOGUE}.collections where cid = $1");
        self.run(&sql, &[&cid]).await?;
        // By their names, so that no table of a vector or an index is forgotten.
        let sql = "select string_agg(format('drop table qd_data.%I;', relname), ' ') \
                   from pg_catalog.pg_class r \
                   join pg_catalog.pg_namespace n on n.oid = r.relnamespace \
                   where n.nspname = 'qd_data' and r.relkind = 'r' \
                   and (relname = $1 or relname like $2)";
        let (own, others) = (format!("c{cid}"), format!("c{cid}\\_%"));
        let drops: Option<Option<String>> = self.number(sql, &[&own, &others]).await?;
        self.execute(&drops.flatten().unwrap_or_default()).await?;
        let operations = names::operations(cid);
        self.execute(&format!("drop sequence if exists {operations}"))
            .await?;
        let sql = format!("delete from {CATALOGUE}.collections where cid = $1");
        self.run(&sql, &[&cid]).await.map(drop)
    }

    /// Says that the catalogue has changed, and commits. `cid` is 0 where no collection that stays
    /// has changed.
    pub(super) async fn commit(self, cid: i32) -> Result<(), Fault> {
        self.run("select qd.changed($1)", &[&cid]).await?;
        let done = self.transaction.commit().await;
        done.map_err(|error| Fault::unknown(DOING, error))
    }
}

impl Shared {
    /// Begins a change on a connection of the caller's.
    pub(super) async fn change<'c>(
        &self,
        client: &'c mut deadpool_postgres::Client,
    ) -> Result<Change<'c>, Fault> {
        let transaction = self.pool.slow_transaction(client, DOING).await?;
        Ok(Change { transaction })
    }

    pub(super) async fn create(&self, name: &str, config: &CollectionConfig) -> Result<()> {
        let mut client = self.pool.living(DOING).await?;
        let change = self.change(&mut client).await?;
        change.lock_catalogue().await?;
        change.forget_unknown(name, &self.adopted).await?;
        if change.number_of(name).await?.is_some() {
            return Err(refuse::already_exists(&format!(
                "Collection `{name}` already exists!"
            )));
        }
        if change.is_alias(name).await? {
            return Err(refuse::wrong_input(&format!(
                "Can't create collection with name {name}. Alias with the same name already exists"
            )));
        }
        let made = change.make_collection(name, config).await?;
        change.mark_schema(&[name]).await?;
        change.mirror(made.cid).await?;
        let done = change.commit(0).await;
        self.catalog.doubt();
        Ok(done?)
    }

    pub(super) async fn delete(&self, name: &str) -> Result<bool> {
        let mut client = self.pool.living(DOING).await?;
        let change = self.change(&mut client).await?;
        change.lock_catalogue().await?;
        let Some(cid) = change.number_of(name).await? else {
            return Ok(false);
        };
        change.stop_builder(cid).await?;
        change.lock_gate_of(cid).await?;
        change.drop_collection(cid).await?;
        let done = change.commit(0).await;
        self.catalog.doubt();
        done?;
        Ok(true)
    }

    pub(super) async fn configure(
        &self,
        name: &str,
        before: &CollectionConfig,
        config: &CollectionConfig,
    ) -> Result<bool> {
        let mut tries = Tries::begin();
        loop {
            let known = self.catalog.get(&self.pool, name).await?;
            // As the caller has seen it, and the gate lets nobody in who has seen an older one.
            if known.declared.config != *before {
                return Ok(false);
            }
            let done = self.configure_once(&known, config).await;
            self.catalog.doubt();
            match done {
                Err(fault) if tries.again(&fault).await => {}
                other => return Ok(other.map(|()| true)?),
            }
        }
    }

    async fn configure_once(&self, known: &Known, config: &CollectionConfig) -> Result<(), Fault> {
        let mut client = self.pool.living(DOING).await?;
        let change = self.change(&mut client).await?;
        change.lock_gate(known).await?;
        change.write_config(known.cid, config).await?;
        change.commit(known.cid).await?;
        // Fewer points may be enough for an index now.
        self.touched.note(known.cid);
        Ok(())
    }

    pub(super) async fn set_aliases(
        &self,
        before: &BTreeMap<String, String>,
        aliases: &BTreeMap<String, String>,
    ) -> Result<bool> {
        let seen = self.catalog.seen();
        let mut client = self.pool.living(DOING).await?;
        let change = self.change(&mut client).await?;
        change.lock_catalogue().await?;
        let shown: Vec<&String> = self.adopted.keys().collect();
        let replaced = change.replace_aliases(before, aliases, &shown, &seen);
        let is_done = replaced.await?;
        // Where it is not, nothing is committed, and the caller has seen an old copy.
        let done = if is_done {
            change.commit(0).await
        } else {
            Ok(())
        };
        self.catalog.doubt();
        done?;
        Ok(is_done)
    }
}

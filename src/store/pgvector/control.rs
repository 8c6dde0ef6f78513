//! The control tables: the mode that a fleet of sidecars shares, kept in PostgreSQL, which need not
//! be one of the stores.
//!
//! What may harm is checked in the database (`schema/control.sql`), by its clock and under its
//! locks: two who change the mode at once, one who flips too late, one who comes to life meanwhile.
//! What the modes are is not looked into.
//!
//! Two things the callers must keep. Whoever armed for a change holds his writes until he is told
//! here that the change is flipped, gone or past its deadline; his own clock is no reason. And a
//! lease counts from before it was asked for.

mod listen;

use std::time::Duration;

use rustls::ClientConfig;
use serde::{Deserialize, Serialize};
use tokio::sync::{OnceCell, watch};

use super::link::{self, Fault};
use super::names::LOCK_CLASS;
use super::pool::{Limits, Pool, Step, Values};
use super::tls;
use crate::error::{Error, Result};

const TABLES: &str = include_str!("schema/control.sql");
/// Moves with every change of that file.
const FORMAT: i32 = 2;
/// The second half of the lock under which the tables are made; no collection has it.
const MAKING: i32 = -1;
const POOL_SIZE: usize = 4;
const DOING: &str = "ask the control tables";
const MAKE: &str = "make the control tables";

/// What they are reached by.
pub struct ControlSettings {
    /// `postgresql://…`, password and all.
    pub url: String,
    /// Trusts the authority that was named, or the system's.
    pub tls: ClientConfig,
    pub has_authority: bool,
    pub connect_timeout: Duration,
    /// For one call.
    pub timeout: Duration,
}

pub struct ControlTables {
    pool: Pool,
    made: OnceCell<()>,
    heard: watch::Sender<u64>,
}

/// How things are, at one moment.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
pub struct Look {
    /// Grows with every change that is in force. 0 while there never was a mode.
    pub epoch: u64,
    pub modes: Option<Box<str>>,
    pub change: Option<Change>,
    /// All but the one who asks.
    pub others: Vec<Sidecar>,
}

/// A change that is under way.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
pub struct Change {
    pub id: Box<str>,
    pub who: Box<str>,
    pub from: Box<str>,
    pub to: Box<str>,
    /// The collection whose mode changes; without one, that of all that have none of their own.
    pub scope: Option<Box<str>>,
    /// Sidecars have to hold their writes for it.
    pub fenced: bool,
    /// As it was given.
    pub detail: Box<str>,
    pub phase: Phase,
    /// It cannot be flipped any more, by nobody.
    pub expired: bool,
    /// Until the deadline.
    pub left_ms: u64,
    pub age_ms: u64,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Sidecars hold their writes and say so.
    Arming,
    /// The new modes are in force.
    Flipped,
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
pub struct Sidecar {
    pub id: Box<str>,
    pub name: Box<str>,
    /// Its lease has not lapsed.
    pub live: bool,
    /// Its lease never does.
    pub lasts: bool,
    pub silent_ms: u64,
    /// The change that it holds its writes for.
    pub armed: Option<Box<str>>,
    /// The change whose flip it has seen.
    pub flipped: Option<Box<str>>,
}

/// What a sidecar says of itself.
#[derive(Clone, Copy, Debug)]
pub struct Beat<'b> {
    pub id: &'b str,
    pub name: &'b str,
    pub lease: Duration,
    /// It goes on while nothing is heard from here: it counts as live until it leaves.
    pub lasts: bool,
    /// Of this beat; each is above the one before.
    pub number: u64,
    pub armed: Option<&'b str>,
    pub flipped: Option<&'b str>,
}

/// A change that is to begin.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'w> {
    /// Unique for all time.
    pub id: &'w str,
    pub who: &'w str,
    pub from: &'w str,
    pub to: &'w str,
    pub scope: Option<&'w str>,
    pub fenced: bool,
    /// What else belongs to it; not looked into.
    pub detail: &'w str,
    /// As it was seen.
    pub epoch: u64,
    /// The deadline from now.
    pub patience: Duration,
}

/// What is remembered of a change.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Entry {
    pub who: Box<str>,
    pub collection: Option<Box<str>>,
    #[serde(rename = "from_mode")]
    pub from: Box<str>,
    #[serde(rename = "to_mode")]
    pub to: Box<str>,
    pub why: Box<str>,
    pub forced: bool,
}

/// The same, once it is remembered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Remembered {
    pub epoch: u64,
    /// Milliseconds since 1970.
    pub at_ms: u64,
    pub entry: Entry,
}

impl ControlTables {
    /// Asks nothing of the database yet; the tables are made when they are first needed.
    pub fn new(settings: ControlSettings) -> Result<Self> {
        let address = tls::address(&settings.url, settings.tls, settings.has_authority)?;
        let limits = Limits {
            own: "on".to_owned(),
            connections_max: POOL_SIZE,
            connect_timeout: settings.connect_timeout,
            read_timeout: settings.timeout,
            write_timeout: settings.timeout,
            slow_timeout: settings.timeout,
        };
        Ok(Self {
            pool: Pool::new(address, limits)?,
            made: OnceCell::new(),
            heard: watch::Sender::new(0),
        })
    }

    /// Cancel safety: safe.
    pub async fn look(&self, id: &str) -> Result<Look> {
        let mut values = Values::default();
        let id = values.push(id.to_owned());
        self.looked(format!("qd_control.look({id})"), values).await
    }

    /// Says that a sidecar lives, and looks. Twice does no harm; it is not said by two at once.
    ///
    /// Cancel safety: it may have been said, or be said later.
    pub async fn beat(&self, beat: Beat<'_>) -> Result<Look> {
        let mut values = Values::default();
        let number = i64::try_from(beat.number).unwrap_or(i64::MAX);
        let parts = [
            values.push(beat.id.to_owned()),
            values.push(beat.name.to_owned()),
            interval(beat.lease, &mut values),
            beat.lasts.to_string(),
            values.push(number),
            values.push(beat.armed.map(str::to_owned)),
            values.push(beat.flipped.map(str::to_owned)),
        ];
        self.looked(format!("qd_control.beat({})", parts.join(", ")), values)
            .await
    }

    /// The sidecar is none any more: nobody waits for it.
    pub async fn leave(&self, id: &str) -> Result<()> {
        let mut values = Values::default();
        let id = values.push(id.to_owned());
        self.write(format!("select qd_control.leave({id})"), values)
            .await
            .map(drop)
    }

    /// Forgets the sidecars of this name whose lease never lapses, if they were silent for so long.
    pub async fn forget(&self, name: &str, silent: Duration) -> Result<bool> {
        let mut values = Values::default();
        let name = values.push(name.to_owned());
        let silent = interval(silent, &mut values);
        let sql = format!("select qd_control.forget({name}, {silent}) > 0");
        self.yes(sql, values).await
    }

    /// Puts the modes in force if there never were any; what is in force then.
    pub async fn initialise(&self, modes: &str) -> Result<Look> {
        let mut values = Values::default();
        let modes = values.push(modes.to_owned());
        self.looked(format!("qd_control.initialise({modes})"), values)
            .await
    }

    /// `false` where another change is under way, or the epoch is another.
    pub async fn begin_change(&self, wanted: Wanted<'_>) -> Result<bool> {
        let mut values = Values::default();
        let epoch = i64::try_from(wanted.epoch).unwrap_or(i64::MAX);
        let parts = [
            values.push(wanted.id.to_owned()),
            values.push(wanted.who.to_owned()),
            values.push(wanted.from.to_owned()),
            values.push(wanted.to.to_owned()),
            values.push(wanted.scope.map(str::to_owned)),
            wanted.fenced.to_string(),
            values.push(wanted.detail.to_owned()),
            values.push(epoch),
            interval(wanted.patience, &mut values),
        ];
        let sql = format!("select qd_control.begin_change({})", parts.join(", "));
        self.yes(sql, values).await
    }

    /// Puts the new modes in force, under the next epoch. `false`, and nothing has changed, where the
    /// change is not arming (any more), past its deadline, or where a live sidecar has not armed and has
    /// to.
    ///
    /// An error that does not know the outcome is answered by `look`: the phase says.
    pub async fn flip(&self, change: &str, modes: &str, history: &[Entry]) -> Result<bool> {
        let mut values = Values::default();
        let history = serde_json::to_string(history).map_err(Fault::from)?;
        let parts = [
            values.push(change.to_owned()),
            values.push(modes.to_owned()),
            format!("{}::text::json", values.push(history)),
        ];
        let sql = format!("select qd_control.flip({})", parts.join(", "));
        self.yes(sql, values).await
    }

    /// Whether a flipped change is over by now: every live sidecar goes by it, or its time is over.
    pub async fn finish(&self, change: &str) -> Result<bool> {
        let mut values = Values::default();
        let change = values.push(change.to_owned());
        self.yes(format!("select qd_control.finish({change})"), values)
            .await
    }

    /// Ends a change that is still arming; the phase that it was found in, if it was there. One that
    /// is flipped stays so.
    pub async fn abandon(&self, change: &str) -> Result<Option<Phase>> {
        let mut values = Values::default();
        let change = values.push(change.to_owned());
        let sql = format!("select qd_control.abandon({change})");
        let found: Option<String> = self.one(sql, values).await?;
        Ok(match found.as_deref() {
            Some("arming") => Some(Phase::Arming),
            Some(_flipped) => Some(Phase::Flipped),
            None => None,
        })
    }

    /// The newest first.
    pub async fn history(&self, max: usize) -> Result<Vec<Remembered>> {
        self.ready().await?;
        let sql = "select epoch, (extract(epoch from at) * 1000)::int8, who, collection, \
                   from_mode, to_mode, why, forced from qd_control.history \
                   order by number desc limit $1";
        let max = i64::try_from(max).unwrap_or(i64::MAX);
        let rows = self.pool.query(DOING, sql, &[&max]).await?;
        let remembered = rows.iter().map(|row| Remembered {
            epoch: u64::try_from(row.get::<_, i64>(0)).unwrap_or_default(),
            at_ms: u64::try_from(row.get::<_, i64>(1)).unwrap_or_default(),
            entry: Entry {
                who: row.get::<_, &str>(2).into(),
                collection: row.get::<_, Option<&str>>(3).map(Into::into),
                from: row.get::<_, &str>(4).into(),
                to: row.get::<_, &str>(5).into(),
                why: row.get::<_, &str>(6).into(),
                forced: row.get(7),
            },
        });
        Ok(remembered.collect())
    }

    pub async fn fact(&self, key: &str) -> Result<Option<String>> {
        self.ready().await?;
        let sql = "select value from qd_control.facts where key = $1";
        let rows = self.pool.query(DOING, sql, &[&key]).await?;
        Ok(rows.first().map(|row| row.get(0)))
    }

    /// Those whose keys begin so.
    pub async fn facts(&self, prefix: &str) -> Result<Vec<(String, String)>> {
        self.ready().await?;
        let sql = "select key, value from qd_control.facts where starts_with(key, $1)";
        let rows = self.pool.query(DOING, sql, &[&prefix]).await?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    /// Without a value it is forgotten.
    pub async fn set_fact(&self, key: &str, value: Option<&str>) -> Result<()> {
        let mut values = Values::default();
        let key = values.push(key.to_owned());
        let sql = match value {
            None => format!("delete from qd_control.facts where key = {key}"),
            Some(value) => {
                let value = values.push(value.to_owned());
                format!(
                    "insert into qd_control.facts (key, value) values ({key}, {value}) \
                     on conflict (key) do update set value = excluded.value"
                )
            }
        };
        self.write(sql, values).await.map(drop)
    }

    /// Sets it if it is still what it was; whether it was. Of several who do so at once one is told so.
    pub async fn replace_fact(&self, key: &str, was: Option<&str>, value: &str) -> Result<bool> {
        let mut values = Values::default();
        let key = values.push(key.to_owned());
        let value = values.push(value.to_owned());
        let sql = match was {
            None => format!(
                "insert into qd_control.facts (key, value) values ({key}, {value}) \
                 on conflict (key) do nothing returning key"
            ),
            Some(was) => {
                let was = values.push(was.to_owned());
                format!(
                    "update qd_control.facts set value = {value} \
                     where key = {key} and value = {was} returning key"
                )
            }
        };
        let rows = self.write(sql, values).await?;
        Ok(rows.iter().any(|rows| !rows.is_empty()))
    }

    async fn looked(&self, call: String, values: Values) -> Result<Look> {
        let text: String = self.one(format!("select {call}"), values).await?;
        serde_json::from_str(&text).map_err(|error| link::nonsense(DOING).with_source(error))
    }

    async fn yes(&self, sql: String, values: Values) -> Result<bool> {
        self.one(sql, values).await
    }

    async fn one<T>(&self, sql: String, values: Values) -> Result<T>
    where
        T: for<'r> tokio_postgres::types::FromSql<'r>,
    {
        let rows = self.write(sql, values).await?;
        let row = rows.first().and_then(|rows| rows.first());
        let row = row.ok_or_else(|| link::nonsense(DOING))?;
        row.try_get(0)
            .map_err(|error| link::nonsense(DOING).with_source(error))
    }

    async fn write(&self, sql: String, values: Values) -> Result<Vec<Vec<tokio_postgres::Row>>> {
        self.ready().await?;
        Ok(self.pool.write(DOING, &[Step::new(sql, values)]).await?)
    }

    /// The tables are there. Whoever comes first makes them.
    async fn ready(&self) -> Result<()> {
        self.made.get_or_try_init(|| self.make()).await.map(drop)
    }

    async fn make(&self) -> Result<()> {
        let undone = |error| Fault::undone(MAKE, error);
        let mut client = self.pool.get().await?;
        let transaction = self.pool.slow_transaction(&mut client, MAKE).await?;
        let lock = format!("select pg_catalog.pg_advisory_xact_lock({LOCK_CLASS}, {MAKING})");
        transaction.batch_execute(&lock).await.map_err(undone)?;
        let there = "select pg_catalog.to_regclass('qd_control.install') is not null";
        let row = transaction.query_one(there, &[]).await.map_err(undone)?;
        let mut found = None;
        if row.get(0) {
            let sql = "select max(format) from qd_control.install";
            let row = transaction.query_one(sql, &[]).await.map_err(undone)?;
            found = row.get::<_, Option<i32>>(0);
        }
        match found {
            Some(FORMAT) => return Ok(()),
            Some(newer) if newer > FORMAT => {
                return Err(Error::settings(format!(
                    "the control tables have format {newer}, and this version of Outrigger knows \
                     formats up to {FORMAT}; run a newer Outrigger"
                )));
            }
            Some(_) | None => {}
        }
        let made = transaction.batch_execute(TABLES).await;
        made.map_err(|error| denied(Fault::undone(MAKE, error)))?;
        let noted = format!(
            "delete from qd_control.install; insert into qd_control.install values ({FORMAT})"
        );
        transaction.batch_execute(&noted).await.map_err(undone)?;
        transaction.commit().await.map_err(undone)?;
        Ok(())
    }
}

fn denied(fault: Fault) -> Error {
    if fault.has_code(&tokio_postgres::error::SqlState::INSUFFICIENT_PRIVILEGE) {
        let text = "this role may not create the schema qd_control; have the database's owner run: \
                    grant create on database DATABASE to ROLE";
        return Error::settings(text).with_source(fault.into_error());
    }
    fault.into_error()
}

/// An interval of PostgreSQL's, as part of a statement.
fn interval(of: Duration, values: &mut Values) -> String {
    let seconds = values.push(of.as_secs_f64());
    format!("pg_catalog.make_interval(secs => {seconds})")
}

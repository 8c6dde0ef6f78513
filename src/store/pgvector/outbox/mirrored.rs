//! Which collections are mirrored: whose tables mark what is written to them.
//!
//! A lock on a table waits for whoever has written to it, and those that come behind wait for the
//! lock. So one table is done at a time, in a transaction of its own that gives up soon and is made
//! anew, and a transaction that somebody left open holds up nobody but this.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_postgres::error::SqlState;
use tracing::{info, warn};

use crate::error::{Error, ErrorKind, Origin, Result, Retry};
use crate::store::pgvector::collections::Change;
use crate::store::pgvector::link::Fault;
use crate::store::pgvector::names::LOCK_CLASS;
use crate::store::pgvector::pool::{Pool, Step, Values};
use crate::store::pgvector::{Pgvector, Shared};

const DOING: &str = "change what is mirrored";

/// How long a lock is waited for, at first and at most. At most a little longer than PostgreSQL
/// waits before it has a vacuum of its own give way.
const LOCK_PATIENCE: Duration = Duration::from_millis(100);
const LOCK_PATIENCE_MAX: Duration = Duration::from_millis(1_200);
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// From this try on whoever makes indexes of the collection is stopped: it locks the table for as
/// long as it takes. It begins anew by itself.
const STOPS_BUILDER_FROM: u32 = 4;

/// What is to be mirrored.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct MirrorPlan {
    pub default: bool,
    /// Where something else holds, whether the collection is there or not.
    pub named: BTreeMap<String, bool>,
}

impl Pgvector {
    /// Once this returns, every write to a collection that is to be mirrored, through whichever
    /// sidecar or in SQL, that begins afterwards is marked in its own transaction; and every write
    /// that began before its table was changed has ended, because the lock that is taken for that
    /// waits for them. So is every change of the catalogue marked. Collections that are made later
    /// are mirrored from their beginning if the plan says so.
    ///
    /// `by` names the control store that the modes are kept in, and `epoch` is that of the modes
    /// that ask for this: of one control store, a plan of an earlier epoch than the last is passed
    /// over, so that a sidecar that is behind cannot switch off what a later one needs.
    ///
    /// Idempotent and durable. An error leaves some collections as they were, or marked in vain, and
    /// none that is not marked though the plan before and this one say so.
    ///
    /// Cancel safety: it may be carried out in part, as with an error.
    pub async fn mirrored(&self, plan: MirrorPlan, by: &str, epoch: u64) -> Result<()> {
        self.shared.ready().await?;
        self.shared.plan_mirrors(&plan, by, epoch).await?;
        bring_in_line(&self.shared.pool, None).await
    }
}

impl Shared {
    async fn plan_mirrors(&self, plan: &MirrorPlan, by: &str, epoch: u64) -> Result<()> {
        let mut client = self.pool.living(DOING).await?;
        let change = self.change(&mut client).await?;
        change.lock_catalogue().await?;
        // Whoever changes a collection writes this row first and then asks for the plan.
        let epoch = i64::try_from(epoch).unwrap_or(i64::MAX);
        let sql = "update qdc.state set mirrored = $1, mirrored_by = $2, mirrored_epoch = $3 \
                   where mirrored_by <> $2 or mirrored_epoch <= $3";
        if change.run(sql, &[&plan.default, &by, &epoch]).await? == 0 {
            return Ok(());
        }
        let (names, mirrored): (Vec<&String>, Vec<bool>) = plan.named.iter().unzip();
        change.execute("delete from qdc.mirrored").await?;
        let sql = "insert into qdc.mirrored select * from unnest($1::text[], $2::bool[])";
        change.run(sql, &[&names, &mirrored]).await?;
        let done = change.transaction.commit().await;
        done.map_err(|error| Fault::unknown(DOING, error))?;
        Ok(())
    }
}

/// Gives the tables the triggers that they are to have, and no others: of all collections, or of
/// these.
pub(in crate::store::pgvector) async fn bring_in_line(
    pool: &Pool,
    only: Option<&[&String]>,
) -> Result<()> {
    let began = Instant::now();
    let (mut pause, mut tries) = (PAUSE, 0_u32);
    loop {
        let due = "select c.cid, c.name, c.mapping::json ->> 'table' from qdc.collections c \
                   where ($1::text[] is null or c.name = any($1)) and qd.mirror(c.cid, 0) > 0";
        let due = pool.query(DOING, due, &[&only]).await?;
        let mut blocked = None;
        for row in &due {
            let (cid, name): (i32, &str) = (row.get(0), row.get(1));
            match mirror_one(pool, cid, tries).await {
                Ok(()) => info!(
                    collection = name,
                    "its tables have the triggers that they need"
                ),
                Err(fault) if is_passing(&fault) => blocked = Some((name, fault)),
                Err(fault) => return Err(denied(name, row.get(2), fault)),
            }
        }
        let Some((name, fault)) = blocked else {
            return Ok(());
        };
        if began.elapsed() > pool.slow_timeout() {
            let text = "somebody holds a table for too long; end the transaction that does";
            let error = Error::new(ErrorKind::Timeout, Origin::Pgvector, Retry::Safe, text);
            return Err(error.with_source(fault.into_error()));
        }
        tries = tries.saturating_add(1);
        if tries == STOPS_BUILDER_FROM {
            warn!(
                collection = name,
                "somebody holds a table that is to have triggers; it is tried again"
            );
        }
        sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Gives adopted tables the triggers that they have lost, and says which they were. What was written
/// meanwhile is not known: a mirrored one is to be compared whole.
pub(in crate::store::pgvector) async fn repair(
    pool: &Pool,
    names: &[&String],
) -> Result<Vec<String>> {
    let due = "select c.name from qdc.collections c \
               where c.name = any($1) and qd.mirror(c.cid, 0) > 0";
    let rows = pool.query(DOING, due, &[&names]).await?;
    let wrong: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    if wrong.is_empty() {
        return Ok(wrong);
    }
    warn!(collections = ?wrong, "adopted tables have lost their triggers, which are made anew");
    bring_in_line(pool, Some(&wrong.iter().collect::<Vec<_>>())).await?;
    let mut values = Values::default();
    let names = values.push(wrong.clone());
    let sql = format!(
        "select qd.want_sweep(c.cid, 'its table had lost its triggers') from qdc.collections c \
         where c.name = any({names}) and qd.is_mirrored(c.name)"
    );
    pool.write(DOING, &[Step::new(sql, values)]).await?;
    Ok(wrong)
}

/// All tables of a collection, one after the other.
async fn mirror_one(pool: &Pool, cid: i32, tries: u32) -> Result<(), Fault> {
    loop {
        let mut client = pool.living(DOING).await?;
        let transaction = pool.slow_transaction(&mut client, DOING).await?;
        let change = Change { transaction };
        if tries >= STOPS_BUILDER_FROM {
            change.stop_builder(cid).await?;
        }
        let patience = LOCK_PATIENCE.saturating_mul(tries.saturating_add(1));
        let patience = patience.min(LOCK_PATIENCE_MAX).as_millis();
        // The gate first, as whoever writes through a sidecar does. Nothing else is held but one
        // table, so nobody waits for this in a circle.
        change
            .execute(&format!(
                "set local lock_timeout = {patience}; \
                 select pg_catalog.pg_advisory_xact_lock({LOCK_CLASS}, {cid})"
            ))
            .await?;
        let due: Option<i32> = change.number("select qd.mirror($1, 1)", &[&cid]).await?;
        let done = change.transaction.commit().await;
        done.map_err(|error| Fault::undone(DOING, error))?;
        if due.unwrap_or_default() <= 1 {
            return Ok(());
        }
    }
}

/// A table of somebody else's that may not be given triggers.
fn denied(name: &str, table: Option<&str>, fault: Fault) -> Error {
    let cure = match table {
        Some(table) if fault.has_code(&SqlState::INSUFFICIENT_PRIVILEGE) => {
            format!(
                "this role may not make them; have its owner run: grant trigger on {table} to ROLE"
            )
        }
        Some(_) if fault.has_code(&SqlState::WRONG_OBJECT_TYPE) => {
            "it is no ordinary table".to_owned()
        }
        Some(_) | None => return fault.into_error(),
    };
    let text = format!(
        "collections.{name}: the table {} is to have triggers (trigger = true), and {cure}, or remove \
         trigger",
        table.unwrap_or_default()
    );
    Error::settings(text).with_source(fault.into_error())
}

/// Somebody was in the way, or a table has gone meanwhile.
fn is_passing(fault: &Fault) -> bool {
    fault.has_code(&SqlState::LOCK_NOT_AVAILABLE) || fault.is_contention() || fault.is_stale()
}

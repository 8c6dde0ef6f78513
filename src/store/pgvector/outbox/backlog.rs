//! How much is waiting, and the bound on it.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio_postgres::types::ToSql;
use tracing::warn;

use super::{CLEARING, NUMBERS, Outbox, SHOWN, age};
use crate::error::Result;
use crate::model::{Backlog, Marked, PointKey};
use crate::store::pgvector::ids;
use crate::store::pgvector::pool::{Step, Values};

const DOING: &str = "count what is in the outbox";
/// Up to so many marks of a collection are counted; beyond, their number is said by what they span.
const COUNTED_MAX: i64 = 100_000;

impl Outbox {
    /// Of the collections that have any. Rows are counted: a point that was marked twice counts
    /// twice. What waits to be compared whole is not among them (`sweeps`).
    ///
    /// Cancel safety: safe.
    pub async fn backlog(&self) -> Result<Vec<(Box<str>, Backlog)>> {
        self.shared.ready().await?;
        self.shorten().await?;
        let sql = format!(
            "{NUMBERS} \
             select c.name, case when n.n <= {COUNTED_MAX} then n.n else greatest(n.n, ( \
             select max(o.seq) - min(o.seq) + 1 from qdc.outbox o where o.cid = c.cid)) end, \
             extract(epoch from clock_timestamp() - f.at)::float8 \
             from cids p join qdc.collections c using (cid) \
             cross join lateral (select count(*) as n from (select 1 from qdc.outbox o \
             where o.cid = c.cid limit {COUNTED_MAX} + 1) o) n \
             cross join lateral (select o.at from qdc.outbox o where o.cid = c.cid \
             order by o.seq limit 1) f where {SHOWN} \
             union all \
             select o.name, count(*), extract(epoch from clock_timestamp() - min(o.at))::float8 \
             from qdc.outbox o left join qdc.collections c using (name) \
             where o.cid = 0 and (c.cid is null or {SHOWN}) group by o.name"
        );
        let rows = self
            .shared
            .pool
            .query(DOING, &sql, &[&self.shown()])
            .await?;
        let mut found: BTreeMap<Box<str>, Backlog> = BTreeMap::new();
        for row in &rows {
            let of = found.entry(row.get::<_, &str>(0).into()).or_default();
            let count: i64 = row.get(1);
            of.marks = of
                .marks
                .saturating_add(u64::try_from(count).unwrap_or_default());
            let oldest: Duration = age(row, 2);
            of.age = Some(of.age.unwrap_or_default().max(oldest));
        }
        Ok(found.into_iter().collect())
    }

    /// Which of these points have marks that were committed.
    ///
    /// Cancel safety: safe.
    pub async fn marked(&self, collection: &str, points: &[PointKey]) -> Result<Marked> {
        self.shared.ready().await?;
        let sql = "select o.id from qdc.outbox o join qdc.collections c using (cid) \
                   where c.name = $1 and o.id = any($2::bytea[]) \
                   union all select null from qdc.outbox o where o.cid = 0 and o.name = $1";
        let keys: Vec<Vec<u8>> = points.iter().map(|key| ids::key_of(*key)).collect();
        let values: [&(dyn ToSql + Sync); 2] = [&collection, &keys];
        let rows = self.shared.pool.query(DOING, sql, &values).await?;
        let mut marked = Marked::default();
        for row in &rows {
            match row.get::<_, Option<&[u8]>>(0) {
                Some(key) => drop(marked.points.insert(ids::point_key(key)?)),
                None => marked.is_barrier = true,
            }
        }
        Ok(marked)
    }

    /// Collections with more marks than there may be are to be compared whole; their marks of points
    /// go in the transaction that says so. What is marked afterwards stays.
    pub(super) async fn shorten(&self) -> Result<()> {
        let most = i64::try_from(self.rows_max).unwrap_or(i64::MAX);
        // Rows are counted only where numbers do not show that there cannot be so many.
        let sql = format!(
            "{NUMBERS} \
             select p.cid from cids p where p.cid <> 0 and ( \
             select max(o.seq) - min(o.seq) >= $1 from qdc.outbox o where o.cid = p.cid) \
             and (select count(*) > $1 from (select 1 from qdc.outbox o \
             where o.cid = p.cid limit $1 + 1) o)"
        );
        for row in self.shared.pool.query(DOING, &sql, &[&most]).await? {
            let cid: i32 = row.get(0);
            let mut values = Values::default();
            let cid_value = values.push(cid);
            let sql = format!(
                "with gone as (delete from qdc.outbox where cid = {cid_value}), \
                 c as (select c.cid from qdc.collections c where c.cid = {cid_value}) \
                 select qd.want_sweep(c.cid, 'more marks than the outbox may hold') from c"
            );
            self.shared
                .pool
                .write(CLEARING, &[Step::new(sql, values)])
                .await?;
            warn!(
                cid,
                rows_max = self.rows_max,
                "too much of a collection is waiting for the follower; it will be compared whole"
            );
        }
        Ok(())
    }
}

//! Dead letters: points that the follower refuses for good.
//!
//! A letter knows the mark under which the point was refused. A later mark takes the letter away
//! when it is taken: the point will be tried again.

use std::collections::BTreeMap;

use tokio_postgres::types::ToSql;

use super::sweeps::positive;
use super::{Draft, Outbox, SHOWN};
use crate::error::Result;
use crate::model::{DeadLetter, Subject};
use crate::store::pgvector::ids;
use crate::store::pgvector::link::Fault;
use crate::store::pgvector::pool::{Step, Values};

const READING: &str = "read the dead letters";
const WRITING: &str = "write dead letters";

impl Outbox {
    /// Before the marks are cleared. Of a collection that is gone nothing is kept. The time is that
    /// of now: `since_ms` is not heeded.
    ///
    /// Cancel safety: they may be written.
    pub async fn bury(&self, letters: &[DeadLetter]) -> Result<()> {
        let (mut names, mut keys, mut reasons, mut rows) = (vec![], vec![], vec![], vec![]);
        {
            let taken = self.taken.lock();
            for letter in letters {
                let known = taken.get(&letter.collection);
                let mark = known.and_then(|known| known.get(&Subject::Point(letter.id)));
                names.push(letter.collection.to_string());
                keys.push(ids::key_of(letter.id));
                reasons.push(letter.reason.to_string());
                rows.push(mark.map(|mark| mark.token));
            }
        }
        let mut values = Values::default();
        let (names, keys) = (values.push(names), values.push(keys));
        let (reasons, rows) = (values.push(reasons), values.push(rows));
        // Of a mark that is not known any more, any that comes is a later one.
        let sql = format!(
            "insert into qdc.dead_letters (cid, id, reason, seq) \
             select distinct on (c.cid, u.id) c.cid, u.id, u.reason, coalesce(u.seq, \
             (select last_value from pg_catalog.pg_get_serial_sequence('qdc.outbox', 'seq') s, \
             lateral (select pg_catalog.pg_sequence_last_value(s::regclass) as last_value) l), 0) \
             from unnest({names}::text[], {keys}::bytea[], {reasons}::text[], {rows}::bigint[]) \
             u(name, id, reason, seq) join qdc.collections c using (name) order by c.cid, u.id \
             on conflict (cid, id) do update set reason = excluded.reason, seq = excluded.seq"
        );
        self.shared
            .pool
            .write(WRITING, &[Step::new(sql, values)])
            .await?;
        Ok(())
    }

    /// The oldest first, of one collection or of all.
    ///
    /// Cancel safety: safe.
    pub async fn dead(&self, collection: Option<&str>, max: usize) -> Result<Vec<DeadLetter>> {
        self.shared.ready().await?;
        let sql = format!(
            "select c.name, d.id, d.reason, (extract(epoch from d.at) * 1000)::int8 \
             from qdc.dead_letters d join qdc.collections c using (cid) \
             where {SHOWN} and ($2::text is null or c.name = $2) order by d.at, d.id limit $3"
        );
        let max = i64::try_from(max).unwrap_or(i64::MAX);
        let shown = self.shown();
        let values: [&(dyn ToSql + Sync); 3] = [&shown, &collection, &max];
        let rows = self.shared.pool.query(READING, &sql, &values).await?;
        let letters = rows.iter().map(|row| {
            let odd = |error| Fault::undone(READING, error);
            Ok(DeadLetter {
                collection: row.try_get::<_, &str>(0).map_err(odd)?.into(),
                id: ids::point_key(row.try_get(1).map_err(odd)?)?,
                reason: row.try_get::<_, &str>(2).map_err(odd)?.into(),
                since_ms: positive(row.try_get(3).map_err(odd)?),
            })
        });
        letters.collect()
    }

    /// Of the collections that have any.
    ///
    /// Cancel safety: safe.
    pub async fn dead_count(&self) -> Result<BTreeMap<Box<str>, u64>> {
        self.shared.ready().await?;
        let sql = format!(
            "select c.name, count(*) from qdc.dead_letters d join qdc.collections c using (cid) \
             where {SHOWN} group by c.name"
        );
        let rows = self
            .shared
            .pool
            .query(READING, &sql, &[&self.shown()])
            .await?;
        let counts = rows.iter();
        let counts = counts.map(|row| (row.get::<_, &str>(0).into(), positive(row.get(1))));
        Ok(counts.collect())
    }

    /// They become marks again; how many there were.
    ///
    /// Cancel safety: they may become marks.
    pub async fn revive(&self, collection: Option<&str>) -> Result<u64> {
        self.shared.ready().await?;
        let mut values = Values::default();
        let name = values.push(collection.map(str::to_owned));
        let sql = format!(
            "with gone as (delete from qdc.dead_letters d using qdc.collections c \
             where c.cid = d.cid and ({name}::text is null or c.name = {name}) \
             returning d.cid, d.id) insert into qdc.outbox (cid, id) \
             select cid, id from gone returning 1"
        );
        let rows = self
            .shared
            .pool
            .write(WRITING, &[Step::new(sql, values)])
            .await?;
        self.poke();
        let count = rows.first().map_or(0, Vec::len);
        Ok(u64::try_from(count).unwrap_or(u64::MAX))
    }

    /// Takes the letters away of points that have been marked since.
    pub(super) async fn unbury(
        &self,
        of: &[(i32, Box<str>)],
        drafts: &BTreeMap<Box<str>, Draft>,
    ) -> Result<()> {
        let (mut cids, mut keys, mut rows) = (vec![], vec![], vec![]);
        for (cid, name) in of {
            for (subject, mark) in drafts.get(name).iter().flat_map(|draft| &draft.rows) {
                if let Subject::Point(key) = subject {
                    cids.push(*cid);
                    keys.push(ids::key_of(*key));
                    rows.push(mark.token);
                }
            }
        }
        let mut values = Values::default();
        let (cids, keys, rows) = (values.push(cids), values.push(keys), values.push(rows));
        let sql = format!(
            "delete from qdc.dead_letters d \
             using unnest({cids}::int[], {keys}::bytea[], {rows}::bigint[]) u(cid, id, seq) \
             where d.cid = u.cid and d.id = u.id and d.seq < u.seq"
        );
        self.shared
            .pool
            .write(WRITING, &[Step::new(sql, values)])
            .await?;
        Ok(())
    }
}

//! Collections that have to be compared whole.

use super::{DOING, Outbox, SHOWN};
use crate::error::Result;
use crate::model::SweepDue;
use crate::store::pgvector::link::Fault;
use crate::store::pgvector::pool::{Step, Values};

const WANTING: &str = "ask for a sweep";

impl Outbox {
    /// All collections, where none is named. One that is asked for anew is not answered by a sweep
    /// that began before.
    ///
    /// Cancel safety: it may be asked for.
    pub async fn want_sweep(&self, collection: Option<&str>, reason: &str) -> Result<()> {
        self.shared.ready().await?;
        let mut values = Values::default();
        let reason = values.push(reason.to_owned());
        let sql = match collection {
            None => format!("select qd.want_sweep(0, {reason})"),
            Some(name) => {
                let name = values.push(name.to_owned());
                format!(
                    "select qd.want_sweep(cid, {reason}) from qdc.collections where name = {name}"
                )
            }
        };
        self.shared
            .pool
            .write(WANTING, &[Step::new(sql, values)])
            .await?;
        self.poke();
        Ok(())
    }

    /// In the order in which they were asked for.
    ///
    /// Cancel safety: safe.
    pub async fn sweeps(&self) -> Result<Vec<SweepDue>> {
        self.shared.ready().await?;
        let sql = format!(
            "select c.name, s.reason, s.token, (extract(epoch from s.at) * 1000)::int8 \
             from qdc.sweeps s left join qdc.collections c using (cid) \
             where s.cid = 0 or c.cid is not null and {SHOWN} order by s.at"
        );
        let rows = self
            .shared
            .pool
            .query(DOING, &sql, &[&self.shown()])
            .await?;
        let dues = rows.iter().map(|row| {
            let odd = |error| Fault::undone(DOING, error);
            let name: Option<&str> = row.try_get(0).map_err(odd)?;
            Ok(SweepDue {
                collection: name.map(Into::into),
                reason: row.try_get::<_, &str>(1).map_err(odd)?.into(),
                token: positive(row.try_get(2).map_err(odd)?),
                since_ms: positive(row.try_get(3).map_err(odd)?),
            })
        });
        dues.collect()
    }

    /// It was done, unless it was asked for anew meanwhile.
    ///
    /// Cancel safety: it may be done.
    pub async fn swept(&self, due: &SweepDue) -> Result<()> {
        let mut values = Values::default();
        let token = values.push(i64::try_from(due.token).unwrap_or(i64::MAX));
        // Those of collections that are gone go with it.
        let sql = format!(
            "delete from qdc.sweeps s where s.token = {token} or s.cid <> 0 \
             and not exists (select 1 from qdc.collections c where c.cid = s.cid)"
        );
        let step = Step::new(sql, values);
        self.shared.pool.write("end a sweep", &[step]).await?;
        Ok(())
    }
}

pub(super) fn positive(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

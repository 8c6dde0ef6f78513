//! The outbox: the ledger of what a follower of this store has still to be told.
//!
//! Marks are made by triggers (`schema/outbox.sql`) in the transaction of the write, whoever writes
//! and by whatever way; `mirrored` says of which collections. All sidecars share it, and one works
//! it off (`Lead`). What is taken stays until it is cleared, and only the very rows that were taken
//! are: one that was made meanwhile is a mark of its own.
//!
//! A write that is under way is not seen here before it has ended. A backlog of nothing is exact
//! once writes are held and those before have ended, as a fence has it.
//!
//! A barrier is given before the marks of points of its collection, whichever came first. What is
//! copied is always the present state, and that of a point may need what the barrier brings: a new
//! vector, or the collection itself.

mod backlog;
mod lead;
mod letters;
mod mirrored;
mod sweeps;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_postgres::Row;

use super::pool::{Step, Values};
use super::{Pgvector, Shared, ids};
use crate::error::Result;
use crate::model::{Batch, Mark, PointKey, Subject};

pub use lead::Lead;
pub use mirrored::MirrorPlan;

pub(super) use mirrored::{bring_in_line, repair};

const DOING: &str = "read the outbox";
const CLEARING: &str = "clear marks in the outbox";
const MARKING: &str = "mark in the outbox";

/// Of so many collections the marks of points are taken at once; the others have their turn next.
const COLLECTIONS_AT_ONCE: usize = 16;
/// So many rows are read for one mark at most: a point that is written over and over has many.
const ROWS_A_MARK: usize = 4;
/// Marks of whole collections that are read at once.
const WHOLES_AT_ONCE: i64 = 10_000;

/// A query that gives, as `cids`, the numbers that there are rows of, 0 among them.
pub(super) const NUMBERS: &str = "with recursive cids(cid) as ( \
     (select cid from qdc.outbox order by cid limit 1) \
     union all \
     select (select o.cid from qdc.outbox o where o.cid > p.cid order by o.cid limit 1) \
     from cids p where p.cid is not null)";

/// Which collections are told of here, as a condition on `c`: adopted tables only where the settings
/// show them. `$1` are their names.
pub(super) const SHOWN: &str = "(c.mapping is null or c.name = any($1::text[]))";

/// What was taken, by collection, until it is taken anew.
type Taken = HashMap<Box<str>, HashMap<Subject, Rows>>;

/// The rows of one mark.
struct Rows {
    /// The last.
    token: i64,
    all: Vec<i64>,
}

/// Not `Clone`: what was taken is known here.
pub struct Outbox {
    shared: Arc<Shared>,
    /// Past so many rows of a collection it is compared whole instead.
    rows_max: u64,
    taken: Mutex<Taken>,
    /// The last collection whose points were taken.
    last: Mutex<i32>,
    woken: Notify,
}

impl Pgvector {
    /// Past `rows_max` marks of a collection it is compared whole instead.
    pub fn outbox(&self, rows_max: u64) -> Outbox {
        Outbox {
            shared: Arc::clone(&self.shared),
            rows_max,
            taken: Mutex::default(),
            last: Mutex::default(),
            woken: Notify::new(),
        }
    }
}

impl Outbox {
    /// Durable on return. A point of a collection that is not there is nothing to be told.
    ///
    /// Cancel safety: the marks may be made.
    pub async fn mark(&self, collection: &str, subjects: &[Subject]) -> Result<()> {
        self.shared.ready().await?;
        let mut keys = Vec::new();
        let mut wholes = Vec::new();
        for subject in subjects {
            match subject {
                Subject::Point(key) => keys.push(ids::key_of(*key)),
                Subject::Schema => wholes.push("s"),
                Subject::Dropped => wholes.push("d"),
            }
        }
        let mut values = Values::default();
        let (name, wholes) = (values.push(collection.to_owned()), values.push(wholes));
        let sql = format!(
            "insert into qdc.outbox (cid, what, name) \
             select 0, w::\"char\", {name} from unnest({wholes}::text[]) w"
        );
        let mut steps = vec![Step::new(sql, values)];
        let mut values = Values::default();
        let (name, keys) = (values.push(collection.to_owned()), values.push(keys));
        let sql = format!(
            "insert into qdc.outbox (cid, id) \
             select c.cid, k from qdc.collections c, unnest({keys}::bytea[]) k where c.name = {name}"
        );
        steps.push(Step::new(sql, values));
        self.shared.pool.write(MARKING, &steps).await?;
        self.poke();
        Ok(())
    }

    /// Takes nothing away. What is given was committed, and a read of this process that begins
    /// afterwards sees it, and what the collection was made of then.
    ///
    /// Cancel safety: safe.
    pub async fn take(&self, max: usize) -> Result<Vec<Batch>> {
        self.take_beside(max, &[]).await
    }

    /// The same but for what is `busy`: which rows were taken of that is known still.
    ///
    /// Cancel safety: safe.
    pub async fn take_beside(&self, max: usize, busy: &[Box<str>]) -> Result<Vec<Batch>> {
        self.shared.ready().await?;
        self.shorten().await?;
        let mut found = self.look().await?;
        found.wholes.retain(|whole| !busy.contains(&whole.name));
        found.collections.retain(|(_, name)| !busy.contains(name));
        let mut drafts = BTreeMap::new();
        for whole in &found.wholes {
            let draft: &mut Draft = drafts.entry(whole.name.clone()).or_default();
            draft.add_whole(whole);
        }
        let turn: Vec<_> = self.turn(found.collections);
        let turn = turn.into_iter();
        let turn: Vec<_> = turn
            .filter(|(_, name)| !drafts.contains_key(name))
            .collect();
        self.points(&turn, max, &mut drafts).await?;
        if found.has_letters {
            self.unbury(&turn, &drafts).await?;
        }
        let mut batches = Vec::with_capacity(drafts.len());
        let mut taken = self.taken.lock();
        for (name, draft) in drafts {
            batches.extend(draft.batch(&name));
            taken.insert(name, draft.rows);
        }
        drop(taken);
        if !batches.is_empty() {
            // What was written may be in a table that our copy of the catalogue has not got yet, for
            // the word of it may be on its way.
            self.shared.catalog.doubt();
        }
        Ok(batches)
    }

    /// Only what is as it was taken.
    ///
    /// Cancel safety: the marks may be cleared.
    pub async fn clear(&self, collection: &str, marks: &[Mark]) -> Result<()> {
        let mut rows = Vec::with_capacity(marks.len());
        {
            let taken = self.taken.lock();
            let known = taken.get(collection);
            for mark in marks {
                let token = i64::try_from(mark.token).unwrap_or(i64::MAX);
                match known.and_then(|known| known.get(&mark.subject)) {
                    Some(known) if known.token == token => rows.extend_from_slice(&known.all),
                    Some(_) | None => rows.push(token),
                }
            }
        }
        let mut values = Values::default();
        let (name, rows) = (values.push(collection.to_owned()), values.push(rows));
        let sql = format!(
            "delete from qdc.outbox where seq = any({rows}::bigint[]) and cid = any(array( \
             select 0 union all select c.cid from qdc.collections c where c.name = {name}))"
        );
        let step = Step::new(sql, values);
        self.shared.pool.write(CLEARING, &[step]).await?;
        let mut taken = self.taken.lock();
        if let Some(known) = taken.get_mut(collection) {
            for mark in marks {
                let token = i64::try_from(mark.token).unwrap_or(i64::MAX);
                if known.get(&mark.subject).is_some_and(|of| of.token == token) {
                    known.remove(&mark.subject);
                }
            }
        }
        Ok(())
    }

    /// Everything: nobody follows any more. What is written afterwards is marked as `mirrored` says,
    /// and so is what is under way: forget last.
    pub async fn forget(&self) -> Result<()> {
        self.shared.ready().await?;
        let tables = ["outbox", "dead_letters", "sweeps"].into_iter();
        let steps: Vec<_> = tables
            .map(|table| Step::new(format!("delete from qdc.{table}"), Values::default()))
            .collect();
        self.shared.pool.write(CLEARING, &steps).await?;
        self.taken.lock().clear();
        Ok(())
    }

    /// There may be something new.
    pub fn poke(&self) {
        self.woken.notify_one();
    }

    /// Returns when there may be something new that this process knows of. Others write too: whoever
    /// waits looks now and then.
    ///
    /// Cancel safety: safe.
    pub async fn woken(&self) {
        self.woken.notified().await;
    }

    fn shown(&self) -> Vec<&String> {
        self.shared.adopted.keys().collect()
    }

    /// What there is, without the points; what is of no collection any more is removed.
    async fn look(&self) -> Result<Found> {
        let sql = format!(
            "{NUMBERS} \
             select p.cid, c.name, null::bigint, false, 0::float8, \
             coalesce({SHOWN}, false), exists (select 1 from qdc.dead_letters) \
             from cids p left join qdc.collections c using (cid) where p.cid <> 0 \
             union all \
             (select 0, o.name, o.seq, o.what = 'd', \
             extract(epoch from clock_timestamp() - o.at)::float8, true, false \
             from qdc.outbox o left join qdc.collections c using (name) \
             where o.cid = 0 and (c.cid is null or {SHOWN}) order by o.seq limit {WHOLES_AT_ONCE})"
        );
        let rows = self
            .shared
            .pool
            .query(DOING, &sql, &[&self.shown()])
            .await?;
        let mut found = Found::default();
        let mut orphans: Vec<i32> = Vec::new();
        for row in &rows {
            let (cid, name): (i32, Option<&str>) = (row.get(0), row.get(1));
            found.has_letters |= row.get::<_, bool>(6);
            match (row.get::<_, Option<i64>>(2), name) {
                (Some(seq), Some(name)) => found.wholes.push(Whole {
                    name: name.into(),
                    seq,
                    is_dropped: row.get(3),
                    age: age(row, 4),
                }),
                (None, Some(name)) if row.get(5) => found.collections.push((cid, name.into())),
                (None, Some(_shown_by_others)) => {}
                (_, None) => orphans.push(cid),
            }
        }
        if !orphans.is_empty() {
            let mut values = Values::default();
            let orphans = values.push(orphans);
            let sql =
                format!("delete from qdc.outbox where cid = any({orphans}::int[]) and cid <> 0");
            let step = Step::new(sql, values);
            self.shared.pool.write(CLEARING, &[step]).await?;
        }
        found.collections.sort();
        Ok(found)
    }

    /// Those whose turn it is.
    fn turn(&self, mut all: Vec<(i32, Box<str>)>) -> Vec<(i32, Box<str>)> {
        let mut last = self.last.lock();
        let first = all.iter().position(|(cid, _)| *cid > *last);
        all.rotate_left(first.unwrap_or_default());
        all.truncate(COLLECTIONS_AT_ONCE);
        *last = all.last().map_or(0, |(cid, _)| *cid);
        all
    }

    /// Reads the marks of the points of these collections.
    async fn points(
        &self,
        of: &[(i32, Box<str>)],
        max: usize,
        drafts: &mut BTreeMap<Box<str>, Draft>,
    ) -> Result<()> {
        if of.is_empty() {
            return Ok(());
        }
        let sql = "select p.cid, o.seq, o.id, \
                   extract(epoch from clock_timestamp() - o.at)::float8 \
                   from unnest($1::int[]) p(cid) cross join lateral \
                   (select q.seq, q.id, q.at from qdc.outbox q where q.cid = p.cid \
                   order by q.seq limit $2) o order by p.cid, o.seq";
        let cids: Vec<i32> = of.iter().map(|(cid, _)| *cid).collect();
        let rows_max = i64::try_from(max.saturating_mul(ROWS_A_MARK)).unwrap_or(i64::MAX);
        let rows = self
            .shared
            .pool
            .query(DOING, sql, &[&cids, &rows_max])
            .await?;
        let names: HashMap<i32, &Box<str>> = of.iter().map(|(cid, name)| (*cid, name)).collect();
        for row in &rows {
            if let (Some(name), Some(key)) = (names.get(&row.get(0)), row.get(2)) {
                let key = ids::point_key(key)?;
                let draft = drafts.entry((*name).clone()).or_default();
                draft.add_point(key, row.get(1), age(row, 3), max);
            }
        }
        Ok(())
    }
}

fn age(row: &Row, at: usize) -> Duration {
    // Clocks are set back now and then.
    Duration::try_from_secs_f64(row.get(at)).unwrap_or_default()
}

#[derive(Default)]
struct Found {
    wholes: Vec<Whole>,
    /// Those with marks of points.
    collections: Vec<(i32, Box<str>)>,
    has_letters: bool,
}

/// A mark of a whole collection.
struct Whole {
    name: Box<str>,
    seq: i64,
    is_dropped: bool,
    age: Duration,
}

/// What is to be a batch.
#[derive(Default)]
struct Draft {
    rows: HashMap<Subject, Rows>,
    order: Vec<Subject>,
    age: Duration,
}

impl Draft {
    /// What went before that the collection was dropped is of a life that is over.
    fn add_whole(&mut self, whole: &Whole) {
        let (mut all, mut subject) = (Vec::new(), Subject::Schema);
        if let Some(before) = self.order.pop() {
            all = self
                .rows
                .remove(&before)
                .map_or(Vec::new(), |rows| rows.all);
            if before == Subject::Dropped && !whole.is_dropped {
                // Comes after it, by itself.
                let token = all.last().copied().unwrap_or_default();
                self.rows.insert(before, Rows { token, all });
                self.order.push(before);
                return;
            }
        }
        if whole.is_dropped {
            subject = Subject::Dropped;
        }
        all.push(whole.seq);
        let token = whole.seq;
        self.rows.insert(subject, Rows { token, all });
        self.order.push(subject);
        self.age = self.age.max(whole.age);
    }

    fn add_point(&mut self, key: PointKey, seq: i64, age: Duration, max: usize) {
        let subject = Subject::Point(key);
        if let Some(rows) = self.rows.get_mut(&subject) {
            rows.token = seq;
            rows.all.push(seq);
        } else if self.order.len() < max {
            let all = vec![seq];
            self.rows.insert(subject, Rows { token: seq, all });
            self.order.push(subject);
            self.age = self.age.max(age);
        }
    }

    fn batch(&self, name: &str) -> Option<Batch> {
        let marks = self.order.iter().filter_map(|subject| {
            let token = u64::try_from(self.rows.get(subject)?.token).ok()?;
            let subject = *subject;
            Some(Mark { token, subject })
        });
        let marks: Vec<_> = marks.collect();
        let batch = Batch {
            collection: name.into(),
            marks,
            age: self.age,
        };
        (!batch.marks.is_empty()).then_some(batch)
    }
}

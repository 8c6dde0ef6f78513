//! Looks now and then whether an index has become due, and has it made.
//!
//! Only collections that this process has written to are looked at, and all of them once at the
//! start: what another process writes is for that one to look after.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{debug, info, warn};

use super::{Built, build_due, may_be_due, newest};
use crate::error::Result;
use crate::store::pgvector::Shared;
use crate::store::pgvector::catalog::Known;
use crate::task::{Group, Phase, Stop};

const EVERY: Duration = Duration::from_secs(5);
/// After a build that failed the next one is tried after a while that doubles up to this.
const REST_MAX: Duration = Duration::from_secs(60 * 60);
/// An index is not begun while its collection grows by more than one part in so many between two
/// looks: points are stored many times faster without it, and it is made faster of them all.
const GROWTH_PARTS: i64 = 50;
/// But no longer than this. What grows for ever is searched meanwhile.
const PATIENCE: Duration = Duration::from_secs(10 * 60);

/// The collections that have been written to since they were last looked at, by their numbers.
#[derive(Default)]
pub(in crate::store::pgvector) struct Touched(Mutex<BTreeSet<i32>>);

impl Touched {
    pub(in crate::store::pgvector) fn note(&self, cid: i32) {
        self.0.lock().insert(cid);
    }

    fn take(&self) -> BTreeSet<i32> {
        std::mem::take(&mut self.0.lock())
    }
}

/// A build that is under way when the process ends goes on in PostgreSQL, or is made anew.
pub(in crate::store::pgvector) fn start(shared: Arc<Shared>, tasks: &Group, mut stop: Stop) {
    tasks.spawn("pg-indexes", async move {
        tokio::select! {
            () = stop.reached(Phase::Draining) => {}
            () = for_ever(&shared) => {}
        }
    });
}

async fn for_ever(shared: &Shared) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_first = true;
    let mut growing = Growing::default();
    let mut failed = Failed::default();
    loop {
        ticks.tick().await;
        let touched = shared.touched.take();
        if !is_first && touched.is_empty() {
            continue;
        }
        match shared.catalog.all(&shared.pool).await {
            Ok(all) => {
                let mut wanted = all;
                wanted.retain(|known| is_first || touched.contains(&known.cid));
                growing.keep(&touched);
                for known in wanted.iter().filter(|known| may_be_due(known)) {
                    if failed.is_resting(known.cid) {
                        shared.touched.note(known.cid);
                    } else if is_first || !growing.is_still(shared, known).await {
                        build(shared, known, &mut failed).await;
                    } else {
                        shared.touched.note(known.cid);
                    }
                }
                is_first = false;
            }
            Err(error) => {
                debug!(error = %error.chain(), "which indexes are due is not known");
                touched.into_iter().for_each(|cid| shared.touched.note(cid));
            }
        }
    }
}

/// Collections whose indexes could not be made: how often in a row, and when it is tried again.
#[derive(Default)]
struct Failed(BTreeMap<i32, (u32, Instant)>);

impl Failed {
    fn is_resting(&self, cid: i32) -> bool {
        let rests = self.0.get(&cid);
        rests.is_some_and(|(_, until)| *until > Instant::now())
    }

    /// How long it is left alone now: a build that takes hours and fails must not go on for ever.
    fn note(&mut self, cid: i32) -> Duration {
        let (times, until) = self.0.entry(cid).or_insert((0, Instant::now()));
        let rest = EVERY
            .saturating_mul(2_u32.saturating_pow(*times))
            .min(REST_MAX);
        *times = times.saturating_add(1);
        *until = Instant::now() + rest;
        rest
    }
}

/// Collections that were growing when they were last looked at.
#[derive(Default)]
struct Growing(BTreeMap<i32, Seen>);

#[derive(Clone, Copy)]
struct Seen {
    newest: i64,
    /// When it was first seen to grow.
    since: Instant,
}

impl Growing {
    /// Forgets those that nobody writes to any more.
    fn keep(&mut self, touched: &BTreeSet<i32>) {
        self.0.retain(|cid, _| touched.contains(cid));
    }

    /// Whether the collection may be growing still. One that is seen for the first time
    /// may be.
    async fn is_still(&mut self, shared: &Shared, known: &Known) -> bool {
        let newest = match newest_of(shared, known).await {
            Ok(newest) => newest,
            Err(error) => {
                debug!(error = %error.chain(), "whether a collection grows is not known");
                return true;
            }
        };
        let before = self.0.get(&known.cid).copied();
        let since = before.map_or_else(Instant::now, |seen| seen.since);
        let is_growing = before.is_none_or(|seen| {
            let growth = newest.saturating_sub(seen.newest);
            growth.saturating_mul(GROWTH_PARTS) > newest && since.elapsed() < PATIENCE
        });
        if is_growing {
            self.0.insert(known.cid, Seen { newest, since });
        } else {
            self.0.remove(&known.cid);
        }
        is_growing
    }
}

async fn newest_of(shared: &Shared, known: &Known) -> Result<i64> {
    let client = shared.pool.get().await?;
    Ok(newest(&client, known).await?)
}

async fn build(shared: &Shared, known: &Known, failed: &mut Failed) {
    let collection = &known.name;
    match built(shared, known).await {
        Ok(Built::Indexes(count)) => {
            failed.0.remove(&known.cid);
            info!(collection, count, "indexes for search are made");
            shared.catalog.doubt();
        }
        Ok(Built::Nothing) => drop(failed.0.remove(&known.cid)),
        // Whoever is at it may have begun before the last of our writes.
        Ok(Built::Elsewhere) => shared.touched.note(known.cid),
        Err(error) => {
            let rest = failed.note(known.cid).as_secs();
            warn!(collection, error = %error.chain(), again_in_seconds = rest,
                "no index for search was made; searches compare all points meanwhile");
            shared.touched.note(known.cid);
        }
    }
}

async fn built(shared: &Shared, known: &Known) -> Result<Built> {
    let client = shared.pool.get().await?;
    Ok(build_due(client, known).await?)
}

//! Looks now and then whether an index has become due, and has it made.
//!
//! Only collections that this process has written to are looked at, and all of them once at the
//! start: what another process writes is for that one to look after.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{debug, info};

use super::{Built, build_due, may_be_due};
use crate::error::Result;
use crate::store::pgvector::Shared;
use crate::store::pgvector::catalog::Known;
use crate::task::{Group, Phase, Stop};

const EVERY: Duration = Duration::from_secs(5);

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
                is_first = false;
                for known in wanted.iter().filter(|known| may_be_due(known)) {
                    build(shared, known).await;
                }
            }
            Err(error) => {
                debug!(error = %error.chain(), "which indexes are due is not known");
                touched.into_iter().for_each(|cid| shared.touched.note(cid));
            }
        }
    }
}

async fn build(shared: &Shared, known: &Known) {
    let collection = &known.name;
    match built(shared, known).await {
        Ok(Built::Indexes(count)) => {
            info!(collection, count, "indexes for search are made");
            shared.catalog.doubt();
        }
        Ok(Built::Nothing) => {}
        // Whoever is at it may have begun before the last of our writes.
        Ok(Built::Elsewhere) => shared.touched.note(known.cid),
        Err(error) => {
            debug!(collection, error = %error.chain(), "no index for search was made");
            shared.touched.note(known.cid);
        }
    }
}

async fn built(shared: &Shared, known: &Known) -> Result<Built> {
    let client = shared.pool.get().await?;
    Ok(build_due(client, known).await?)
}

//! Whether the follower may answer in the authority's place: everything that has to be known for
//! that, and is asked anew each time, after the read began.
//!
//! What a sidecar does not know of must not have been acknowledged by anybody. So, besides that
//! nothing waits (`Direction::is_equal`):
//!
//! - The plan that the read goes by is still that of the control store: by another one somebody
//!   might write what is not marked.
//! - The marks are all there are. An outbox is everybody's; it can only be asked of the authority
//!   itself, so an answer of it is as good as one to the read. A journal has what went through its
//!   own sidecar: it will do where there is one sidecar only, and where several share a control
//!   store, while no other journal of this direction is noted there (`mode::journals`). Each is
//!   before its sidecar serves, and one that may have marks in it stays noted when its sidecar is
//!   gone.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::sync::Following;
use crate::cache::Cache;
use crate::config::Settings;
use crate::error::{Error, ErrorKind, Origin, Result, Retry};
use crate::mode::{ModeFuture, Plan, StandIn, journals};
use crate::model::Role;

/// How long it may take to find out.
const WITHIN: Duration = Duration::from_secs(1);
/// How long nobody tries again after one has tried in vain: where it cannot be known, reads are not
/// to take longer to fail.
const IN_VAIN_FOR: Duration = Duration::from_secs(2);

pub(super) struct StandIns {
    following: Arc<Following>,
    cache: Arc<Cache>,
    /// Tables that others write to without telling anybody.
    untold: Vec<String>,
    failed: Mutex<Option<Instant>>,
}

impl StandIns {
    /// `None`: nobody asked for it, or there is no second store.
    pub(super) fn build(
        settings: &Settings,
        following: &Arc<Following>,
        cache: &Arc<Cache>,
    ) -> Option<Arc<dyn StandIn>> {
        if !settings.read_failover || settings.secondary.is_none() {
            return None;
        }
        let adopted = settings.adopted().into_iter();
        let untold = adopted.filter(|(_, own)| own.trigger != Some(true));
        Some(Arc::new(Self {
            following: Arc::clone(following),
            cache: Arc::clone(cache),
            untold: untold.map(|(name, _)| name).collect(),
            failed: Mutex::default(),
        }))
    }

    async fn find_out(&self, plan: &Plan, names: &[String]) -> Result<bool> {
        let (following, authority) = (&self.following, plan.authority_role);
        let mirrors = following.mirrors();
        let (Some(mirror), Some(back)) = (mirrors.from(authority), mirrors.from(authority.other()))
        else {
            return Ok(false);
        };
        if !following.knows_what_to_compare() || names.iter().any(|name| self.untold.contains(name))
        {
            return Ok(false);
        }
        // Before the marks: what is left from another mode is marked before it is taken away.
        let left = back.direction().ledger();
        if left.others_may_drain() && !left.backlog().await?.is_empty() {
            return Ok(false);
        }
        if !mirror.direction().is_equal(names).await? {
            return Ok(false);
        }
        if let Some(journal) = mirror.direction().ledger().journal_id()
            && !self.is_only_journal(authority, journal).await?
        {
            return Ok(false);
        }
        let in_force = following.control.table().await?;
        Ok(in_force.is_some_and(|table| table.epoch == plan.epoch)
            && following.router.snapshot().epoch() == plan.epoch)
    }

    async fn is_only_journal(&self, authority: Role, id: u128) -> Result<bool> {
        let control = &self.following.control;
        if control.lease().is_none() {
            return Ok(!self.cache.has_company());
        }
        journals::is_only(&**control, authority, id).await
    }
}

impl StandIn for StandIns {
    fn is_equal<'a>(&'a self, plan: &'a Plan, names: &'a [String]) -> ModeFuture<'a, Result<bool>> {
        Box::pin(async move {
            let failed = *self.failed.lock();
            if failed.is_some_and(|at| at.elapsed() < IN_VAIN_FOR) {
                return Err(unknown());
            }
            let found = tokio::time::timeout(WITHIN, self.find_out(plan, names)).await;
            let found = found.unwrap_or_else(|_elapsed| Err(unknown()));
            *self.failed.lock() = found.is_err().then(Instant::now);
            found
        })
    }
}

fn unknown() -> Error {
    let doing = "know whether the follower has every write";
    Error::new(ErrorKind::Unavailable, Origin::Proxy, Retry::Safe, doing)
}

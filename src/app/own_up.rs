//! What has to be compared whole before anybody relies on it, found out at the start: marks that are
//! not all there, and stores that are not those that the notes are of (`places`).
//!
//! Until that is known, and durable, nothing is brought to a follower, no authority moves unforced,
//! and the gate stays shut. It is tried until it succeeds, and again whenever the lease had run out:
//! meanwhile others may have gone on with other stores.

use std::sync::atomic::{AtomicU64, Ordering};

use tracing::error;

use super::deeds::YES;
use super::sync::{Following, LOOK, LOST, PAUSE};
use crate::error::{Error, ErrorKind, Origin, Result, Retry};
use crate::model::{ASKED_FOR, NEVER_COMPARED, OTHER_AUTHORITY, Role};
use crate::sync::{AUTHORITY_LACKS, Direction};

/// Why everything is compared where the follower is another store. It is begun as if never compared.
const FOLLOWER_MOVED: &str = "never compared since the follower has another address";
/// Begun only when asked for: the authority may lack what the follower has.
const AUTHORITY_MOVED: &str = "never compared since the authority has another address";

/// Under which term of the lease it was found out last: the number after it, 0 for never.
#[derive(Default)]
pub(super) struct OwnedUp(AtomicU64);

impl OwnedUp {
    pub(super) fn ever(&self) -> bool {
        self.0.load(Ordering::Acquire) > 0
    }

    pub(super) fn is_of(&self, term: u64) -> bool {
        self.0.load(Ordering::Acquire) == term + 1
    }

    fn now_of(&self, term: u64) {
        self.0.store(term + 1, Ordering::Release);
    }
}

impl Following {
    /// Owns up until it has succeeded, and again under each new lease.
    pub(super) async fn keep_owning_up(&self) {
        let mut is_told = true;
        loop {
            tokio::time::sleep(LOOK).await;
            let held = self.passage.held();
            if held.is_none_or(|(term, _)| self.owned_up.is_of(term)) {
                continue;
            }
            if let Err(error) = self.own_up().await {
                if !std::mem::replace(&mut is_told, true) {
                    error!(
                        error = %error.chain(),
                        "nothing is brought to the follower: it is not known what has to be compared"
                    );
                }
                tokio::time::sleep(PAUSE).await;
            } else {
                is_told = false;
            }
        }
    }

    /// A direction that is followed and whose marks are not all there, or one of whose stores is
    /// another than before, is compared whole.
    pub(super) async fn own_up(&self) -> Result<()> {
        // Before anything is asked. Without a lease there is nothing to be found out for.
        let Some((term, _)) = self.passage.held() else {
            let doing = "find out what has to be compared before the modes are known";
            let (kind, retry) = (ErrorKind::Busy, Retry::Safe);
            return Err(Error::new(kind, Origin::Proxy, retry, doing));
        };
        let moved = self.moved().await?;
        self.check_company(&moved).await?;
        if self.owned_up.ever() && moved.is_empty() {
            self.owned_up.now_of(term);
            return Ok(());
        }
        for role in Role::BOTH {
            if let Some(mirror) = self.mirrors.from(role) {
                self.own_up_from(role, mirror.direction(), &moved).await?;
            }
        }
        if let Some(places) = &self.places {
            let now_ms = u64::try_from(self.clock.since_epoch().as_millis()).unwrap_or(u64::MAX);
            places.settle(&*self.control, &moved, now_ms).await?;
            if !places.moved(&*self.control).await?.is_empty() {
                let text = "another sidecar started at the same time with other stores";
                return Err(Error::settings(text.to_owned()));
            }
        }
        self.owned_up.now_of(term);
        Ok(())
    }

    async fn own_up_from(&self, role: Role, direction: &Direction, moved: &[Role]) -> Result<()> {
        let ledger = direction.ledger();
        let is_followed = self.router.snapshot().follows_from(role);
        if !is_followed && !ledger.others_may_drain() {
            // An outbox is not lost, and whoever keeps it need not be there.
            return Ok(());
        }
        let mut dues = ledger.sweeps().await?;
        dues.retain(|due| due.collection.is_none());
        if !is_followed {
            // There were no marks to lose.
            if let Some(due) = dues.iter().find(|due| *due.reason == *LOST) {
                ledger.swept(due).await?;
            }
            return Ok(());
        }
        if !moved.is_empty() {
            // What waits was for another store, deletions of collections among it.
            ledger.forget().await?;
            let mut before = dues.iter().map(|due| &*due.reason);
            let before = before.find(|reason| reason.starts_with(OTHER_AUTHORITY));
            let reason = match (moved.contains(&role), before) {
                (true, _) => AUTHORITY_MOVED,
                (false, Some(before)) => before,
                (false, None) => FOLLOWER_MOVED,
            };
            return ledger.want_sweep(None, reason).await;
        }
        let fact = format!("followed_from_{role}");
        if self.control.fact(&fact).await?.is_none() {
            ledger.want_sweep(None, NEVER_COMPARED).await?;
            return self.control.put_fact(&fact, YES).await;
        }
        let is_known = |reason: &str| {
            let known = [NEVER_COMPARED, ASKED_FOR];
            known.iter().any(|words| reason.starts_with(words))
        };
        let Some(due) = dues.iter().find(|due| !is_known(&due.reason)) else {
            return Ok(());
        };
        // Not everything is marked. If the authority is not what it was either, whatever lost its
        // marks may have taken its points.
        match direction.authority_lacks().await?.first() {
            None => error!(authority = %role, "{}; everything is compared", due.reason),
            Some(collection) => {
                error!(
                    authority = %role,
                    %collection,
                    "{}, and the authority has a collection no more that the follower has from it: \
                     nothing is compared before `outrigger sync sweep` asks for it, which will \
                     delete the follower's",
                    due.reason
                );
                ledger.want_sweep(None, AUTHORITY_LACKS).await?;
            }
        }
        Ok(())
    }

    /// The roles in which this sidecar has another store than is noted.
    pub(super) async fn moved(&self) -> Result<Vec<Role>> {
        match &self.places {
            Some(places) => places.moved(&*self.control).await,
            None => Ok(Vec::new()),
        }
    }

    /// Where one store follows another, no two sidecars may disagree on which stores these are: one
    /// would bring to its own follower what the other then takes for done.
    pub(super) async fn check_company(&self, moved: &[Role]) -> Result<()> {
        let snapshot = self.router.snapshot();
        let follows = Role::BOTH.iter().any(|role| snapshot.follows_from(*role));
        let fleet = self.fleet.get().filter(|_| self.control.lease().is_some());
        let (Some(role), Some(fleet), true) = (moved.first(), fleet, follows) else {
            return Ok(());
        };
        let look = fleet.look().await?;
        let mut others = look.members.iter().filter(|of| of.is_live);
        match others.find(|of| of.id != fleet.id()) {
            None => Ok(()),
            Some(other) => Err(Error::settings(format!(
                "the {role} is at another address than {} has it, while one store follows the \
                 other; end all sidecars first, or give this one the address of the others",
                other.name
            ))),
        }
    }
}

//! What has to be compared whole before anybody relies on it, found out at the start: marks that are
//! not all there, and stores that are not those that the notes are of (`places`).
//!
//! Until that is known, and durable, nothing is brought to a follower, no authority moves unforced,
//! and the gate stays shut. It is tried until it succeeds.

use std::sync::atomic::Ordering;

use tracing::error;

use super::deeds::YES;
use super::sync::{Following, LOST};
use crate::error::{Error, Result};
use crate::model::Role;
use crate::sync::{NEVER_COMPARED, OTHER_AUTHORITY};

/// Why everything is compared where the follower is another store. It is begun as if never compared.
const MOVED: &str = "never compared since the follower has another address";

impl Following {
    /// A direction that is followed and whose marks are not all there, or one of whose stores is
    /// another than before, is compared whole.
    pub(super) async fn own_up(&self) -> Result<()> {
        let snapshot = self.router.snapshot();
        let moved = self.moved().await?;
        self.check_company(&moved).await?;
        for role in Role::BOTH {
            let Some(mirror) = self.mirrors.from(role) else {
                continue;
            };
            let ledger = mirror.direction().ledger();
            if !snapshot.follows_from(role) && !ledger.others_may_drain() {
                // An outbox is not lost, and whoever keeps it need not be there.
                continue;
            }
            let dues = ledger.sweeps().await?;
            let lost = dues.iter().find(|due| *due.reason == *LOST);
            if !snapshot.follows_from(role) {
                // There were no marks to lose.
                if let Some(due) = lost {
                    ledger.swept(due).await?;
                }
                continue;
            }
            if !moved.is_empty() {
                // What waits was for another store, deletions of collections among it.
                ledger.forget().await?;
                let reason = match moved.contains(&role) {
                    true => OTHER_AUTHORITY,
                    false => MOVED,
                };
                ledger.want_sweep(None, reason).await?;
            }
            let fact = format!("followed_from_{role}");
            if self.control.fact(&fact).await?.is_none() {
                ledger.want_sweep(None, NEVER_COMPARED).await?;
                self.control.put_fact(&fact, YES).await?;
            } else if lost.is_some() {
                error!(authority = %role, "{LOST}; everything is compared");
            }
        }
        if let Some(places) = &self.places {
            let now_ms = u64::try_from(self.clock.since_epoch().as_millis()).unwrap_or(u64::MAX);
            places.settle(&*self.control, &moved, now_ms).await?;
        }
        self.has_owned_up.store(true, Ordering::Release);
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

//! What has to be compared whole before anybody relies on it, found out at the start: marks that are
//! not all there, and stores that are not those that the notes are of (`places`).
//!
//! Until that is known, and durable, nothing is brought to a follower, no authority moves unforced,
//! and the gate stays shut. It is tried until it succeeds, and again whenever the lease had run out:
//! meanwhile others may have gone on with other stores.

use std::io;

use parking_lot::Mutex;
use tracing::error;

use super::deeds::{YES, lacks};
use super::kept_for;
use super::places::Places;
use super::sync::{Following, LOOK, LOST, PAUSE};
use crate::error::{Error, ErrorKind, Origin, Result, Retry};
use crate::model::{ASKED_FOR, NEVER_COMPARED, OTHER_AUTHORITY, Role};
use crate::sync::{AUTHORITY_LACKS, Direction};
use crate::task;

/// Why everything is compared where the follower is another store. It is begun as if never compared.
const FOLLOWER_MOVED: &str = "never compared since the follower has another address";
/// Begun only when asked for: the authority may lack what the follower has.
const AUTHORITY_MOVED: &str = "never compared since the authority has another address";

/// Under which term of the lease and which epoch of the modes it was found out last.
#[derive(Default)]
pub(super) struct OwnedUp(Mutex<Option<Known>>);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Known {
    pub(super) term: u64,
    /// Nobody asks which stores the others have while none follows.
    pub(super) epoch: u64,
}

impl OwnedUp {
    pub(super) fn ever(&self) -> bool {
        self.0.lock().is_some()
    }

    pub(super) fn is_of(&self, known: Known) -> bool {
        *self.0.lock() == Some(known)
    }

    fn now_of(&self, known: Known) {
        *self.0.lock() = Some(known);
    }
}

impl Following {
    /// Owns up until it has succeeded, and again under each new lease and each new mode.
    pub(super) async fn keep_owning_up(&self) {
        // The first time, the start has told.
        let mut is_told = !self.knows_what_to_compare();
        loop {
            tokio::time::sleep(LOOK).await;
            if self.known_now().is_none_or(|now| self.owned_up.is_of(now)) {
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

    fn known_now(&self) -> Option<Known> {
        let (term, _) = self.passage.held()?;
        let epoch = self.router.snapshot().epoch();
        Some(Known { term, epoch })
    }

    /// A direction that is followed and whose marks are not all there, or one of whose stores is
    /// another than before, is compared whole.
    pub(super) async fn own_up(&self) -> Result<()> {
        // Before anything is asked. Without a lease there is nothing to be found out for.
        let Some(known) = self.known_now() else {
            let doing = "find out what has to be compared before the modes are known";
            let (kind, retry) = (ErrorKind::Busy, Retry::Safe);
            return Err(Error::new(kind, Origin::Proxy, retry, doing));
        };
        let moved = self.moved().await?;
        if let Some(role) = moved.first().filter(|_| self.owned_up.ever()) {
            // They were noted when this process started, and by another since.
            return Err(Error::settings(format!(
                "another sidecar has the {role} at another address by now: restart this one with it"
            )));
        }
        self.check_company(&moved).await?;
        if self.owned_up.ever() {
            self.owned_up.now_of(known);
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
            for role in Role::BOTH {
                self.keep_for(role, places).await?;
            }
        }
        self.owned_up.now_of(known);
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
        // Others may have gone on with other stores while this sidecar was away.
        let mut apart = self.strange(role).await?;
        apart.extend(moved);
        if !apart.is_empty() {
            // What waits was for another store, deletions of collections among it.
            ledger.forget().await?;
        }
        if !is_followed {
            // There were no marks to lose.
            if let Some(due) = dues.iter().find(|due| *due.reason == *LOST) {
                ledger.swept(due).await?;
            }
            return Ok(());
        }
        if !apart.is_empty() {
            let mut before = dues.iter().map(|due| &*due.reason);
            let before = before.find(|reason| reason.starts_with(OTHER_AUTHORITY));
            let reason = match (apart.contains(&role), before) {
                (true, _) => AUTHORITY_MOVED,
                (false, Some(before)) => before,
                (false, None) => FOLLOWER_MOVED,
            };
            if !moved.is_empty() && reason.starts_with(OTHER_AUTHORITY) {
                self.control.put_fact(&lacks(role), reason).await?;
            }
            return ledger.want_sweep(None, reason).await;
        }
        let fact = format!("followed_from_{role}");
        if self.control.fact(&fact).await?.is_none() {
            ledger.want_sweep(None, NEVER_COMPARED).await?;
            return self.control.put_fact(&fact, YES).await;
        }
        let starts_with =
            |reason: &str, known: [&str; 2]| known.iter().any(|words| reason.starts_with(words));
        let is_known = |reason: &str| starts_with(reason, [NEVER_COMPARED, ASKED_FOR]);
        let waits = |reason: &str| starts_with(reason, [OTHER_AUTHORITY, ASKED_FOR]);
        if let Some(reason) = self.control.fact(&lacks(role)).await?
            && !dues.iter().any(|due| waits(&due.reason))
        {
            // Another found it out, and nobody has asked for it yet.
            return ledger.want_sweep(None, &reason).await;
        }
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
                self.control.put_fact(&lacks(role), AUTHORITY_LACKS).await?;
                ledger.want_sweep(None, AUTHORITY_LACKS).await?;
            }
        }
        Ok(())
    }

    /// Those of the stores that the journal of this authority is not of.
    async fn strange(&self, role: Role) -> Result<Vec<Role>> {
        let (Some(places), Some(folder)) = (&self.places, self.journal_of(role)) else {
            return Ok(Vec::new());
        };
        let noted = blocking("read which stores a journal is of", move || {
            kept_for::read(&folder)
        });
        Ok(noted
            .await?
            .map_or_else(Vec::new, |noted| places.apart(&noted)))
    }

    async fn keep_for(&self, role: Role, places: &Places) -> Result<()> {
        let Some(folder) = self.journal_of(role) else {
            return Ok(());
        };
        let text = places.text();
        let doing = "note which stores a journal is of";
        blocking(doing, move || kept_for::write(&folder, &text)).await
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

async fn blocking<T: Send + 'static>(
    doing: &'static str,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T> {
    let (kind, retry) = (ErrorKind::Internal, Retry::Safe);
    let failed = || Error::new(kind, Origin::Proxy, retry, doing);
    let done = task::spawn_blocking("kept-for", work).await;
    let done = done.map_err(|error| failed().with_source(error))?;
    done.map_err(|error| failed().with_source(error))
}

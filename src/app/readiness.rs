//! What a change of mode is told of the follower, and has done: how it stands, that it is to be
//! followed, and that the marks are worked off.

use tokio::time::Instant;
use tracing::info;

use super::deeds::{YES, lacks};
use super::leave::plan;
use super::sync::{Following, LOOK};
use crate::error::{Error, ErrorKind, Origin, Result, Retry};
use crate::mode::{Drain, ModeFuture, Readiness, Standing, journals};
use crate::model::NEVER_COMPARED;
use crate::model::Role;

impl Readiness for Following {
    fn standing<'a>(&'a self, collection: Option<&'a str>) -> ModeFuture<'a, Result<Standing>> {
        Box::pin(async move {
            let Some(direction) = self.direction(collection) else {
                return Ok(Standing::default());
            };
            if !self.knows_what_to_compare() {
                let doing = "know what has to be compared first";
                let (kind, retry) = (ErrorKind::Unavailable, Retry::Safe);
                return Err(Error::new(kind, Origin::Proxy, retry, doing));
            }
            let ledger = direction.ledger();
            let (sweeps, dead) = (direction.sweeps().await?, ledger.dead_count().await?);
            let is_asked = |name: Option<&str>| match (collection, name) {
                (_, None) => true,
                (asked, Some(name)) => self.is_asked(asked, name),
            };
            let sweeps = sweeps
                .iter()
                .filter(|due| is_asked(due.collection.as_deref()));
            let reasons = sweeps.map(|due| {
                let whose = due.collection.as_deref().unwrap_or("all collections");
                format!("{whose}: {}", due.reason)
            });
            let dead = dead.iter().filter(|(name, _)| is_asked(Some(name)));
            Ok(Standing {
                waiting: self.waiting(direction, collection).await?,
                sweeps: reasons.collect(),
                dead_letters: dead.map(|(_, count)| count).sum(),
                absent: self.absent(collection).await?,
                validation: None,
            })
        })
    }

    fn to_be_followed<'a>(
        &'a self,
        collection: Option<&'a str>,
        follower: Role,
    ) -> ModeFuture<'a, Result<()>> {
        Box::pin(async move {
            let authority = follower.other();
            let snapshot = self.router.snapshot();
            let Some(mirror) = self.mirrors.from(authority) else {
                return Ok(());
            };
            if let Some(role) = self.moved().await?.first() {
                return Err(Error::settings(format!(
                    "the {role} is at another address than another sidecar has noted: restart the \
                     sidecars that have not got the new one"
                )));
            }
            let ledger = mirror.direction().ledger();
            let is_new = snapshot.plan(collection).follower.is_none();
            if is_new && !snapshot.follows_from(authority) {
                // What is left from an earlier time says nothing any more: everything is compared.
                // Where it comes back from the other way round it does: what was to be compared
                // when the authority moved away with force still is.
                ledger.forget().await?;
                if self.control.fact(&lacks(authority)).await?.is_some() {
                    self.control.drop_fact(&lacks(authority)).await?;
                }
            }
            if let Some((_, store)) = self.pgvector.iter().find(|(role, _)| *role == authority) {
                let mut plan = plan(snapshot.table(), authority);
                match collection {
                    None => plan.default = true,
                    Some(name) => drop(plan.named.insert(name.to_owned(), true)),
                }
                let id = self.control_id().await?;
                store.mirrored(plan, &id, snapshot.epoch() + 1).await?;
            }
            // Where one has followed the other until now, the fence sees to it that they are equal.
            if is_new {
                ledger.want_sweep(collection, NEVER_COMPARED).await?;
            }
            let fact = format!("followed_from_{authority}");
            self.control.put_fact(&fact, YES).await?;
            info!(%follower, collection = collection.unwrap_or("*"), "a store is to be followed");
            Ok(())
        })
    }
}

impl Following {
    /// Sidecars whose journals for the direction of this collection nobody keeps.
    async fn absent(&self, collection: Option<&str>) -> Result<Vec<String>> {
        let authority = self.router.snapshot().plan(collection).authority_role;
        let Some(fleet) = self.fleet.get().filter(|_| self.control.lease().is_some()) else {
            return Ok(Vec::new());
        };
        let look = fleet.looks().borrow().clone();
        let look = match look {
            Some(look) => look,
            None => fleet.look().await?,
        };
        let unkept = journals::unkept(&*self.control, authority, &look).await?;
        Ok(unkept.into_iter().map(|of| of.name).collect())
    }
}

impl Drain for Following {
    fn drain<'a>(
        &'a self,
        collection: Option<&'a str>,
        most: u64,
        until: Instant,
    ) -> ModeFuture<'a, Result<u64>> {
        Box::pin(async move {
            let Some(direction) = self.direction(collection) else {
                return Ok(0);
            };
            loop {
                direction.ledger().poke();
                let waiting = self.waiting(direction, collection).await?;
                if waiting <= most || Instant::now() >= until {
                    return Ok(waiting);
                }
                tokio::time::sleep(LOOK).await;
            }
        })
    }
}

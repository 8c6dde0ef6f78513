//! What this mechanism has made at the follower, and what it may therefore undo.
//!
//! A follower may be somebody's who keeps more there than what is mirrored. So a collection of it
//! is deleted only where it is known to be ours: made here, or once found equal to the authority's
//! of that name, whichever of the two followed then. What is known is durable (`Deeds`). Where the
//! authority's collection was deleted and its mark is lost, or was made again with other vectors,
//! ours goes too; what is not ours stays, and a person is told.
//!
//! Where its deletion is known, a name goes that ever was ours: several sidecars that delete and
//! make it by their own marks at the same time may note that it was parted with when it is there
//! again.

use serde_json::Value;
use tracing::{info, warn};

use super::direction::Direction;
use super::ledger::Told;
use super::schema::{self, Brought};
use crate::error::Result;
use crate::model::{NEVER_COMPARED, SweepDue};

/// Which collections of the follower are ours. Durable.
pub trait Deeds: Send + Sync {
    fn set_ours<'a>(&'a self, collection: &'a str, is_ours: bool) -> Told<'a, ()>;

    /// Whether one store's collection of this name was once brought from the other's, whichever of
    /// them followed then: where nothing waits they are the same.
    fn are_paired<'a>(&'a self, collection: &'a str) -> Told<'a, bool>;

    /// Whether it ever was, or what was there was nobody's (`take_over`).
    fn was_ours<'a>(&'a self, collection: &'a str) -> Told<'a, bool>;

    /// What the follower has of this name is nobody's, and not known to be the authority's.
    fn take_over<'a>(&'a self, collection: &'a str) -> Told<'a, ()>;

    /// Both stores' collections of this name were compared point by point, and the follower has all
    /// that differed.
    fn compared<'a>(&'a self, collection: &'a str, of: Compared) -> Told<'a, ()>;

    /// The authority's is gone: what it has of this name later is another one, and was not compared.
    fn part<'a>(&'a self, collection: &'a str) -> Told<'a, ()>;
}

/// What a sweep of a collection came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Compared {
    /// When it ended, in milliseconds since 1970.
    pub at_ms: u64,
    pub points: u64,
    pub differed: u64,
}

impl Direction {
    /// Makes the collection at the follower what it is at the authority. Where that cannot be, why.
    /// A new one that may lack points is to be swept, and so is one that nobody has compared yet.
    pub(super) async fn bring_along(&self, collection: &str) -> Result<Option<Box<str>>> {
        self.brought_along(collection, false).await
    }

    /// The same; `is_ours` where whatever the follower has of it came from the authority.
    async fn brought_along(&self, collection: &str, is_ours: bool) -> Result<Option<Box<str>>> {
        let there = schema::describe(&self.follower, collection).await?;
        let here = schema::describe(&self.authority, collection).await?;
        let Some(here) = here else {
            return self.bring_to_sweep(collection).await;
        };
        let has_points = |of: &Value| of["points_count"].as_u64() != Some(0);
        let Some(there) = there else {
            if has_points(&here) {
                // Only what is marked would come, and there may be more. Known before it is made:
                // whoever makes it may not come to say so afterwards.
                let reason = "it was not at the follower";
                self.ledger.want_sweep(Some(collection), reason).await?;
            }
            return self.bring_to_sweep(collection).await;
        };
        let is_known = self.deeds.are_paired(collection).await?;
        let why = self.bring_to_sweep(collection).await?;
        if is_known || why.is_some() {
            return Ok(why);
        }
        if has_points(&here) || has_points(&there) {
            // It may be another one of the same name and the same vectors.
            self.is_to_be_compared(collection, is_ours).await?;
        } else {
            // Nothing of anybody's is in it.
            self.deeds.take_over(collection).await?;
        }
        Ok(why)
    }

    /// What is compared is made equal, and what only the follower has is deleted: with many points
    /// it is begun when somebody says so.
    async fn is_to_be_compared(&self, collection: &str, is_ours: bool) -> Result<()> {
        let dues = self.ledger.sweeps().await?;
        let is_due = |due: &SweepDue| due.collection.as_deref().is_none_or(|of| of == collection);
        if dues.iter().any(is_due) {
            return Ok(());
        }
        let reason = match is_ours {
            true => "it was brought by another".to_owned(),
            false => format!("{NEVER_COMPARED}, and the follower had one of its name"),
        };
        self.ledger.want_sweep(Some(collection), &reason).await
    }

    /// The same, for whoever compares it next.
    pub(super) async fn bring_to_sweep(&self, collection: &str) -> Result<Option<Box<str>>> {
        let (authority, follower) = (&self.authority, &self.follower);
        let is_new = schema::describe(follower, collection).await?.is_none()
            && schema::describe(authority, collection).await?.is_some();
        if is_new {
            self.deeds.set_ours(collection, true).await?;
        }
        let mut brought = schema::bring(authority, follower, &*self.follows, collection).await?;
        if is_new && !self.was_made(collection, &brought).await? {
            self.deeds.set_ours(collection, false).await?;
        }
        if matches!(brought, Brought::Other(_)) && self.deeds.are_paired(collection).await? {
            // Read again before anything is deleted for it: it may be made again just now.
            brought = schema::bring(authority, follower, &*self.follows, collection).await?;
        }
        // A refusal, whatever it is about, is no reason: what is there would be refused again.
        if let Brought::Other(why) = &brought
            && self.deeds.are_paired(collection).await?
        {
            warn!(collection, %why, "it was made again as another; what the follower had goes");
            let reason = "it was made again as another";
            self.ledger.want_sweep(Some(collection), reason).await?;
            schema::drop_collection(follower, collection).await?;
            brought = schema::bring(authority, follower, &*self.follows, collection).await?;
        }
        match brought {
            Brought::Alike | Brought::Made | Brought::Gone => Ok(None),
            Brought::Blocked(why) | Brought::Other(why) => Ok(Some(why)),
        }
    }

    /// Whether what the follower has is what was made there just now.
    async fn was_made(&self, collection: &str, brought: &Brought) -> Result<bool> {
        match brought {
            Brought::Alike | Brought::Made | Brought::Gone => Ok(true),
            Brought::Blocked(_) => {
                let there = schema::describe(&self.follower, collection).await?;
                Ok(there.is_some())
            }
            Brought::Other(_) => Ok(false),
        }
    }

    /// Deletes at the follower what has gone at the authority, where it is ours, and brings along
    /// what is there by now. Where that cannot be, why.
    pub(super) async fn replace(&self, collection: &str) -> Result<Option<Box<str>>> {
        let is_ours = self.deeds.was_ours(collection).await?;
        // In this order: a mark may be given up half-way, and then a sweep has to know whose it is.
        self.drop_there(collection, is_ours).await?;
        self.parted(collection).await?;
        self.brought_along(collection, is_ours).await
    }

    /// Somebody may have deleted it: what has gone at the authority goes at the follower, where it
    /// is ours.
    pub(super) async fn find_out(&self, collection: &str) -> Result<()> {
        let is_ours = self.deeds.was_ours(collection).await?;
        self.drop_stranger(collection, is_ours).await
    }

    /// Deletes the follower's collections that are ours and that the authority has not.
    pub(super) async fn drop_strangers(&self) -> Result<()> {
        let there = schema::collections(&self.follower).await?;
        for stranger in there.iter().filter(|name| (self.follows)(name)) {
            // Nobody is known to have deleted it.
            let is_ours = self.deeds.are_paired(stranger).await?;
            self.drop_stranger(stranger, is_ours).await?;
        }
        Ok(())
    }

    async fn drop_stranger(&self, stranger: &str, is_ours: bool) -> Result<()> {
        // Looked at anew: it may have been made since the sweep began.
        if schema::describe(&self.authority, stranger).await?.is_some() {
            return Ok(());
        }
        self.drop_there(stranger, is_ours).await?;
        self.parted(stranger).await?;
        if schema::describe(&self.authority, stranger).await?.is_some() {
            // And what was copied of it by now may have gone with the one before.
            let reason = "it was made while the one before was deleted";
            self.ledger.want_sweep(Some(stranger), reason).await?;
        }
        Ok(())
    }

    async fn parted(&self, collection: &str) -> Result<()> {
        self.state.parts(collection);
        self.deeds.part(collection).await
    }

    /// The authority's is gone.
    async fn drop_there(&self, collection: &str, is_ours: bool) -> Result<()> {
        if is_ours {
            info!(
                collection,
                "the authority has it no more; the follower deletes it"
            );
            schema::drop_collection(&self.follower, collection).await?;
        } else if schema::describe(&self.follower, collection)
            .await?
            .is_some()
        {
            warn!(
                collection,
                "the follower has a collection that the authority has not, and that did not come \
                 from it; it is left alone"
            );
        }
        Ok(())
    }

    /// The collections that the follower has from the authority, and that the authority has no more,
    /// though nobody told of their deletion.
    pub async fn authority_lacks(&self) -> Result<Vec<String>> {
        let mut lacking = Vec::new();
        for collection in schema::collections(&self.follower).await? {
            if (self.follows)(&collection)
                && self.deeds.are_paired(&collection).await?
                && schema::describe(&self.authority, &collection)
                    .await?
                    .is_none()
                && !self.ledger.marked(&collection, &[]).await?.is_barrier
            {
                lacking.push(collection);
            }
        }
        Ok(lacking)
    }
}

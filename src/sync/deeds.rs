//! What this mechanism has made at the follower, and what it may therefore undo.
//!
//! A follower may be somebody's who keeps more there than what is mirrored. So a collection of it
//! is deleted only where it is known to be ours: made here, or once found equal to the authority's
//! of that name, whichever of the two followed then. What is known is durable (`Deeds`). Where the
//! authority's collection was deleted and its mark is lost, or was made again with other vectors,
//! ours goes too; what is not ours stays, and a person is told.
//!
//! Where its deletion is known, a name goes that ever was ours. Several sidecars delete and make it by
//! their own marks at the same time: what is there again was made by one of them, so who parts with a
//! collection takes back what he has found noted, and nothing that was noted since; and who makes one
//! notes it before and after.

use serde_json::Value;
use tracing::{info, warn};

use super::direction::Direction;
use super::ledger::Told;
use super::schema::{self, Brought, Makes};
use crate::error::Result;
use crate::model::{NEVER_COMPARED, PERHAPS_DELETED, SweepDue};
use crate::stage::Stage;

/// Which collections of the follower are ours. Durable.
pub trait Deeds: Send + Sync {
    fn noted<'a>(&'a self, collection: &'a str) -> Told<'a, Noted>;

    /// The follower's collection of this name is ours from now on. What was noted before.
    fn claim<'a>(&'a self, collection: &'a str) -> Told<'a, Claimed>;

    /// What the follower has of this name is nobody's, and not known to be the authority's.
    fn take_over<'a>(&'a self, collection: &'a str) -> Told<'a, ()>;

    /// Both stores' collections of this name were compared point by point, and the follower has all
    /// that differed.
    fn compared<'a>(&'a self, collection: &'a str, of: Compared) -> Told<'a, ()>;

    /// Whoever follows this authority, and whenever, compares nothing unasked before everything was
    /// compared: why.
    fn lacks<'a>(&'a self, why: &'a str) -> Told<'a, ()>;

    /// Why, if nobody has seen to it yet.
    fn lacking(&self) -> Told<'_, Option<String>>;

    /// Everything was compared.
    fn all_compared(&self) -> Told<'_, ()>;

    /// The authority's is gone: what it has of this name later is another one, and was not compared.
    /// What was `noted` is true no more; what was noted since stays.
    fn part<'a>(&'a self, collection: &'a str, noted: Noted) -> Told<'a, ()>;
}

/// What is known of the two collections of one name.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Noted {
    /// Of the follower's.
    pub there: Option<Note>,
    /// Of the authority's, from when it was the follower.
    pub here: Option<Note>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Note {
    /// Whether it still is.
    pub is_ours: bool,
    /// Each claim has another.
    pub number: u64,
}

/// Before and after.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Claimed {
    pub before: Noted,
    pub now: Noted,
}

/// Why a collection is compared that the follower had before it came from the authority.
pub(super) fn namesake() -> String {
    format!("{NEVER_COMPARED}, and the follower had one of its name")
}

impl Noted {
    /// Whether one store's collection of this name was once brought from the other's, whichever of
    /// them followed then: where nothing waits they are the same.
    pub fn are_paired(&self) -> bool {
        let notes = [self.there, self.here];
        notes.iter().flatten().any(|note| note.is_ours)
    }

    /// Whether it ever was, or what was there was nobody's (`Deeds::take_over`).
    pub fn was_ours(&self) -> bool {
        self.there.or(self.here).is_some()
    }
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
        let is_known = self.are_paired(collection).await?;
        if is_ours && !is_known {
            // It was dropped a moment ago: another has brought this one.
            self.deeds.claim(collection).await?;
        }
        let why = self.bring_to_sweep(collection).await?;
        if is_known || why.is_some() {
            return Ok(why);
        }
        if has_points(&here) || has_points(&there) {
            // It may be another one of the same name and the same vectors.
            self.is_to_be_compared(collection, is_ours).await?;
        } else if !is_ours {
            // Nothing of anybody's is in it.
            self.deeds.take_over(collection).await?;
        }
        Ok(why)
    }

    /// What is compared is made equal, and what only the follower has is deleted: with many points
    /// it is begun when somebody says so.
    async fn is_to_be_compared(&self, collection: &str, is_ours: bool) -> Result<()> {
        let dues = self.ledger.sweeps().await?;
        // One of everything may have listed its collections before this one was there.
        let is_due = |due: &SweepDue| due.collection.as_deref() == Some(collection);
        if dues.iter().any(is_due) {
            return Ok(());
        }
        let reason = match is_ours {
            true => "it was brought by another".to_owned(),
            false => namesake(),
        };
        self.ledger.want_sweep(Some(collection), &reason).await
    }

    /// The same, for whoever compares it next.
    pub(super) async fn bring_to_sweep(&self, collection: &str) -> Result<Option<Box<str>>> {
        let mut brought = self.brought(collection).await?;
        if matches!(brought, Brought::Other(_)) && self.are_paired(collection).await? {
            // Read again before anything is deleted for it: it may be made again just now.
            brought = self.brought(collection).await?;
        }
        // A refusal, whatever it is about, is no reason: what is there would be refused again.
        if let Brought::Other(why) = &brought
            && self.are_paired(collection).await?
        {
            warn!(collection, %why, "it was made again as another; what the follower had goes");
            let reason = "it was made again as another";
            self.ledger.want_sweep(Some(collection), reason).await?;
            schema::drop_collection(&self.follower, collection).await?;
            brought = self.brought(collection).await?;
        }
        match brought {
            Brought::Alike | Brought::Made | Brought::Gone | Brought::Lacking => Ok(None),
            Brought::Blocked(why) | Brought::Other(why) => Ok(Some(why)),
        }
    }

    /// What the follower lacks is made there, and nothing is made that was not claimed before: both
    /// stores may have changed since whoever asked for it has looked.
    async fn brought(&self, collection: &str) -> Result<Brought> {
        let bring = async |makes: Makes| {
            let (authority, follower) = (&self.authority, &self.follower);
            schema::bring(authority, follower, &*self.follows, collection, makes).await
        };
        let brought = bring(Makes::Nothing).await?;
        if brought != Brought::Lacking {
            return Ok(brought);
        }
        let claimed = self.deeds.claim(collection).await?;
        let brought = bring(Makes::Collections).await?;
        self.has_claimed(collection, claimed, &brought).await?;
        Ok(brought)
    }

    /// Holds a claim against what came of it.
    async fn has_claimed(
        &self,
        collection: &str,
        claimed: Claimed,
        brought: &Brought,
    ) -> Result<()> {
        let is_ours = match brought {
            Brought::Alike | Brought::Made => true,
            Brought::Gone | Brought::Blocked(_) | Brought::Lacking => {
                let there = schema::describe(&self.follower, collection).await?;
                there.is_some()
            }
            // Somebody made it meanwhile: another sidecar, if it was claimed.
            Brought::Other(_) => claimed.before.are_paired(),
        };
        match is_ours {
            // Anew: who parts with the one before may have found the claim noted already.
            true => self.deeds.claim(collection).await.map(drop),
            false => self.deeds.part(collection, claimed.now).await,
        }
    }

    /// Both stores' collections of this name were compared.
    pub(super) async fn are_the_same(&self, collection: &str) -> Result<()> {
        let noted = self.deeds.noted(collection).await?;
        if noted.there.is_none_or(|note| !note.is_ours) {
            self.deeds.claim(collection).await?;
        }
        Ok(())
    }

    pub(super) async fn are_paired(&self, collection: &str) -> Result<bool> {
        Ok(self.deeds.noted(collection).await?.are_paired())
    }

    /// Deletes at the follower what has gone at the authority, where it is ours, and brings along
    /// what is there by now. Where that cannot be, why.
    pub(super) async fn replace(&self, collection: &str) -> Result<Option<Box<str>>> {
        let noted = self.deeds.noted(collection).await?;
        // In this order: a mark may be given up half-way, and then a sweep has to know whose it is.
        self.drop_there(collection, noted.was_ours()).await?;
        self.parted(collection, noted).await?;
        self.brought_along(collection, noted.was_ours()).await
    }

    /// Somebody may have deleted it: what has gone at the authority goes at the follower, where it
    /// is ours.
    pub(super) async fn find_out(&self, collection: &str) -> Result<()> {
        let noted = self.deeds.noted(collection).await?;
        let is_ours = noted.was_ours();
        self.drop_stranger(collection, is_ours, noted).await
    }

    /// Deletes the follower's collections that are ours and that the authority has not.
    pub(super) async fn drop_strangers(&self) -> Result<()> {
        let there = schema::collections(&self.follower).await?;
        for stranger in there.iter().filter(|name| (self.follows)(name)) {
            // Nobody is known to have deleted it.
            let noted = self.deeds.noted(stranger).await?;
            let is_ours = noted.are_paired();
            self.drop_stranger(stranger, is_ours, noted).await?;
        }
        Ok(())
    }

    async fn drop_stranger(&self, stranger: &str, is_ours: bool, noted: Noted) -> Result<()> {
        // Looked at anew: it may have been made since the sweep began.
        if schema::describe(&self.authority, stranger).await?.is_some() {
            return Ok(());
        }
        self.drop_there(stranger, is_ours).await?;
        self.parted(stranger, noted).await?;
        if schema::describe(&self.authority, stranger).await?.is_some() {
            // And what was copied of it by now may have gone with the one before.
            let reason = "it was made while the one before was deleted";
            self.ledger.want_sweep(Some(stranger), reason).await?;
        }
        Ok(())
    }

    async fn parted(&self, collection: &str, noted: Noted) -> Result<()> {
        self.stages.reached(Stage::AfterDrop).await;
        self.state.parts(collection);
        self.deeds.part(collection, noted).await
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
        let dues = self.ledger.sweeps().await?;
        let may_be_deleted = |name: &str| {
            let mut dues = dues
                .iter()
                .filter(|due| due.collection.as_deref() == Some(name));
            dues.any(|due| due.reason.starts_with(PERHAPS_DELETED))
        };
        for collection in schema::collections(&self.follower).await? {
            if (self.follows)(&collection)
                && !may_be_deleted(&collection)
                && self.are_paired(&collection).await?
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

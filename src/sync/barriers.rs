//! Marks of whole collections: what each is made of, that it was deleted, and the aliases.

use super::direction::Direction;
use super::drain::Worked;
use super::mirror::WHOLE_STORE;
use super::schema::{self, Brought};
use crate::error::Result;
use crate::model::Batch;

impl Direction {
    pub(super) async fn bring(&self, batch: &Batch, lead: u64) -> Result<Worked> {
        let collection = &*batch.collection;
        if collection != WHOLE_STORE && self.ledger.others_may_drain() {
            // What was not waited for may only have been taken in, an index for one.
            self.authority.settle(collection).await?;
        }
        if collection != WHOLE_STORE
            && !self.led_on(collection, &batch.marks).await?
            && let Some(why) = self.bring_along(collection).await?
        {
            return Ok(Worked::Blocked(why));
        }
        if let Brought::Blocked(why) =
            schema::aliases(&self.authority, &self.follower, &*self.follows).await?
        {
            return Ok(Worked::Blocked(why));
        }
        self.done(batch, &batch.marks, lead).await?;
        Ok(Worked::Done(0))
    }

    pub(super) async fn drop_collection(&self, batch: &Batch, lead: u64) -> Result<Worked> {
        let collection = &*batch.collection;
        if let Some(why) = self.replace(collection).await? {
            return Ok(Worked::Blocked(why));
        }
        if self.ledger.others_may_drain()
            && schema::describe(&self.authority, collection)
                .await?
                .is_some()
        {
            // Somebody else may have copied points of the new one before the old one was dropped.
            let reason = "it was deleted and made again";
            self.ledger.want_sweep(Some(collection), reason).await?;
        }
        schema::aliases(&self.authority, &self.follower, &*self.follows).await?;
        self.done(batch, &batch.marks, lead).await?;
        Ok(Worked::Done(0))
    }
}

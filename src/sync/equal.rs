//! Whether the follower is equal to the authority, as far as anybody was told of a write.
//!
//! What the follower may lack is, at every instant, a mark, a dead letter or a sweep that is due,
//! and one may become the other. So letters and sweeps are looked at before the marks and after
//! them: what was neither before, and no mark in between, and neither afterwards, is nowhere. A
//! write has its mark from before it is sent (or from its transaction on) until the follower has
//! what it made, whether or not its outcome is known. So whoever asks after a write was acknowledged
//! and finds nothing has the write at the follower.

use super::direction::Direction;
use super::mirror::WHOLE_STORE;
use super::schema;
use crate::error::Result;

impl Direction {
    /// Whether nothing that was acknowledged before this was asked is lacking at the follower, of
    /// the collections that these names mean. Names that are not known to mean a collection that
    /// was brought there are not equal: the follower may have another of that name.
    ///
    /// The authority is not asked. An error: it cannot be known now.
    ///
    /// Cancel safety: safe.
    pub async fn is_equal(&self, names: &[String]) -> Result<bool> {
        let before = self.owing().await?;
        let mut owing: Vec<Box<str>> = Vec::new();
        let marks = self.ledger.backlog().await?;
        owing.extend(marks.into_iter().map(|(name, _)| name));
        let after = self.owing().await?;
        let (Some(before), Some(after)) = (before, after) else {
            return Ok(false);
        };
        owing.extend(before.into_iter().chain(after));
        let owes = |name: &str| owing.iter().any(|owing| &**owing == name);
        // Before the aliases of the two are the same, no name can be told.
        if owes(WHOLE_STORE) {
            return Ok(false);
        }
        let aliases = schema::alias_map(&self.follower).await?;
        for name in names {
            let real = aliases.get(name).unwrap_or(name);
            let is_known = (self.follows)(real) && self.are_paired(real).await?;
            if !is_known || owes(name) || owes(real) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The collections that have dead letters or are to be compared whole. `None`: all are.
    async fn owing(&self) -> Result<Option<Vec<Box<str>>>> {
        let (sweeps, dead) = (self.ledger.sweeps().await?, self.ledger.dead_count().await?);
        let swept: Option<Vec<Box<str>>> = sweeps.into_iter().map(|due| due.collection).collect();
        let dead = dead.into_iter().filter(|(_, count)| *count > 0);
        Ok(swept.map(|swept| {
            swept
                .into_iter()
                .chain(dead.map(|(name, _)| name))
                .collect()
        }))
    }
}

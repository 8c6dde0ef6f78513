//! What a change of mode has to know of the follower, and to have done: told by whoever keeps it
//! equal, which this room does not know.

use std::future::Future;
use std::pin::Pin;

use tokio::time::Instant;

use super::router::Plan;
use crate::compare::Table;
use crate::error::Result;
use crate::model::Role;

pub type ModeFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// How the follower stands to the authority.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Standing {
    /// Ids that may differ.
    pub waiting: u64,
    /// Why whole collections have to be compared first; empty when none has to.
    pub sweeps: Vec<String>,
    pub dead_letters: u64,
    /// Sidecars that are not there, and whose journals may have marks that nobody else knows of.
    pub absent: Vec<String>,
    /// Why the last validation does not vouch for the follower. `None`: it does, or none is asked
    /// for.
    pub validation: Option<String>,
}

/// Told by whoever keeps the follower equal. `collection`: by its real name; `None` is all that
/// have no mode of their own.
pub trait Readiness: Send + Sync {
    fn standing<'a>(&'a self, collection: Option<&'a str>) -> ModeFuture<'a, Result<Standing>>;

    /// A follower is about to be followed with that was not: what it lacks has to be known durably
    /// when this returns. Called before the change; it may still come to nothing.
    fn to_be_followed<'a>(
        &'a self,
        collection: Option<&'a str>,
        follower: Role,
    ) -> ModeFuture<'a, Result<()>>;
}

/// What the gate found of one collection.
#[derive(Clone, Debug)]
pub struct Checked {
    pub collection: String,
    /// Nothing can be read of it, so only what is not read counts.
    pub is_empty: bool,
    pub table: Table,
}

/// Judges whether the follower may become the store that is read.
pub trait Gate: Send + Sync {
    /// Whether a change waits for it. People may ask it anyway.
    fn is_in_force(&self) -> bool;

    /// Every collection that a change of this one's mode concerns; `None` is all that have no mode
    /// of their own.
    ///
    /// Cancel safety: safe, it only reads.
    fn check<'a>(&'a self, collection: Option<&'a str>) -> ModeFuture<'a, Result<Vec<Checked>>>;
}

/// Works marks off.
pub trait Drain: Send + Sync {
    /// Returns as soon as at most `most` marks wait, or at `until`; how many wait then. Nought has
    /// to be exact: a write under way counts.
    ///
    /// Cancel safety: safe.
    fn drain<'a>(
        &'a self,
        collection: Option<&'a str>,
        most: u64,
        until: Instant,
    ) -> ModeFuture<'a, Result<u64>>;
}

/// Whether a follower may answer in the place of the store that it follows.
pub trait StandIn: Send + Sync {
    /// Whether the follower of this plan has all that was acknowledged before this was asked, of
    /// whatever these names mean. An error: that cannot be known now.
    ///
    /// Cancel safety: safe.
    fn is_equal<'a>(&'a self, plan: &'a Plan, names: &'a [String]) -> ModeFuture<'a, Result<bool>>;
}

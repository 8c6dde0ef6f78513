//! When this process may change anything at a follower.
//!
//! What is the follower by what is known here may be the authority by now: others may have moved it
//! while this process was cut off, or stood still. So every call that changes something there is
//! made under a leave that was taken before the authority was read: the modes are those of one epoch
//! and mirror the collection, and the lease under which that is known has not been broken since
//! (`held`). It is asked right before each call, and a call is given up when the lease would be
//! over. What was begun under a leave that is gone is not cleared: it is looked at again, under
//! another one.
//!
//! The fence holds a drainer up by its marks: it waits until none are left, and they are left until
//! the follower has answered. A sweep has none, so it changes the follower, and marks, as a write
//! does, with a permit (`entered`): the fence waits for it, and then it waits for the fence.
//!
//! What is left: a call that the network, or the store, keeps for longer than `MARGIN` after it was
//! given up; and a mark made by a writer who goes round the sidecars while the authority moves.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::direction::Direction;
use crate::error::{Error, ErrorKind, Origin, Result, Retry};

/// So long before the lease ends nothing is on its way to the follower any more.
const MARGIN: Duration = Duration::from_secs(1);
/// How often it is looked whether a sweep may go on.
const LOOK: Duration = Duration::from_millis(50);

/// What is known of the modes, as long as both numbers are the same.
#[derive(Clone, Copy, Debug)]
pub struct Leave {
    pub epoch: u64,
    /// Another after every gap in the lease.
    pub term: u64,
    /// When the lease ends, unless it is renewed. `None`: never.
    pub until: Option<Instant>,
}

/// Keeps the fence waiting.
pub type SweepPermit = Box<dyn Any + Send + Sync>;

impl Direction {
    /// This direction, with leave to change a collection of the follower as things are now. `None`:
    /// there is none.
    pub(super) fn held(&self, collection: &str) -> Option<Self> {
        // Before it is asked what is followed: an epoch that is the same afterwards was that one's.
        let leave = (self.leave)()?;
        if !(self.follows)(collection) {
            return None;
        }
        let (follows, now) = (Arc::clone(&self.follows), Arc::clone(&self.leave));
        let collection: Box<str> = collection.into();
        let may_write = Arc::new(move || {
            let follows = follows(&collection);
            let now = now().filter(|now| (now.epoch, now.term) == (leave.epoch, leave.term));
            let until = match now {
                Some(now) if follows => now.until,
                Some(_) | None => return Err(gone()),
            };
            let until = until.map(|until| until.checked_sub(MARGIN).unwrap_or(until));
            match until {
                Some(until) if until <= Instant::now() => Err(gone()),
                until => Ok(until),
            }
        });
        let mut own = self.clone();
        own.follower = self.follower.under(may_write);
        Some(own)
    }

    /// Whether the leave holds.
    pub(super) fn may_write(&self) -> Result<()> {
        self.follower.leave().map(drop)
    }

    /// The same for a sweep, with a permit; waits while there is none to be had. An error once the
    /// collection is not followed any more.
    ///
    /// Cancel safety: safe.
    pub(super) async fn entered(&self, collection: &str) -> Result<(Self, SweepPermit)> {
        loop {
            if !(self.follows)(collection) {
                return Err(gone());
            }
            if let Some(permit) = (self.permit)()
                && let Some(own) = self.held(collection)
            {
                return Ok((own, permit));
            }
            sleep(LOOK).await;
        }
    }
}

pub(super) fn gone() -> Error {
    let doing = "change the follower: what was known of the modes does not hold any more";
    Error::new(ErrorKind::Busy, Origin::Proxy, Retry::Safe, doing)
}

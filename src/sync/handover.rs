//! Marks that are left in a journal when the store it was kept for has become the follower.
//!
//! The fence waits until the marks of every live sidecar are worked off. One that stood still
//! meanwhile, or was killed, may have a write in its journal that came to its store after that. The
//! store then differs from the authority of today, and nobody else knows where: a mark says that
//! two stores may differ in a point, whichever of them follows.

use super::direction::Direction;
use crate::error::Result;
use crate::model::Subject;

/// Marks handed over together.
const MARKS_MAX: usize = 256;

/// Makes the marks of the collections that `is_followed` now the other way marks of that way.
///
/// An outbox is no journal: what is marked there is everybody's, and was worked off. With a permit:
/// what is marked is seen by the fence, or waits for it.
///
/// Cancel safety: safe. A mark may be in both ledgers then.
pub async fn hand_over(
    left: &Direction,
    taking: &Direction,
    is_followed: impl Fn(&str) -> bool,
) -> Result<()> {
    if !left.ledger.others_may_drain() {
        return Ok(());
    }
    let Some(_permit) = (taking.permit)() else {
        return Ok(());
    };
    let (left, taking) = (&left.ledger, &taking.ledger);
    for batch in left.take(MARKS_MAX, &[]).await? {
        let collection = &*batch.collection;
        if !is_followed(collection) {
            continue;
        }
        let mut subjects = Vec::with_capacity(batch.marks.len());
        for mark in &batch.marks {
            subjects.push(match mark.subject {
                Subject::Dropped => {
                    // It is the follower's that is gone.
                    let reason = "it was deleted in another mode";
                    taking.want_sweep(Some(collection), reason).await?;
                    Subject::Schema
                }
                subject @ (Subject::Schema | Subject::Point(_)) => subject,
            });
        }
        taking.mark(collection, &subjects).await?;
        left.clear(collection, &batch.marks).await?;
    }
    Ok(())
}

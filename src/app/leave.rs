//! What sync is told of the modes: what is followed, what may be acted on, and what the fence waits
//! for.

use std::sync::Arc;

use super::own_up::{Known, OwnedUp};
use super::sync::Parts;
use crate::mode::Table;
use crate::model::{Mode, Role};
use crate::store::MirrorPlan;
use crate::sync::{Leave, SweepPermit, WHOLE_STORE};

/// Whether a collection is mirrored from the store in this role.
pub(super) fn follows(parts: &Parts<'_>, role: Role) -> Box<dyn Fn(&str) -> bool + Send + Sync> {
    let router = Arc::clone(parts.router);
    Box::new(move |collection| {
        let snapshot = router.snapshot();
        if collection == WHOLE_STORE {
            return snapshot.follows_from(role);
        }
        snapshot.plan(Some(collection)).is_followed_from(role)
    })
}

/// What this sidecar knows of the modes, as long as its lease holds. Nothing is brought to a
/// follower of which it is not known, since the lease began, that what was noted of it is true.
pub(super) fn leave(
    parts: &Parts<'_>,
    owned_up: &Arc<OwnedUp>,
) -> Box<dyn Fn() -> Option<Leave> + Send + Sync> {
    let (router, passage) = (Arc::clone(parts.router), Arc::clone(parts.passage));
    let owned_up = Arc::clone(owned_up);
    Box::new(move || {
        // A lease is renewed when what was seen is in force.
        let (term, until) = passage.held()?;
        let epoch = router.snapshot().epoch();
        if !owned_up.is_of(Known { term, epoch }) {
            return None;
        }
        Some(Leave { epoch, term, until })
    })
}

pub(super) fn permit(parts: &Parts<'_>) -> Box<dyn Fn() -> Option<SweepPermit> + Send + Sync> {
    let passage = Arc::clone(parts.passage);
    Box::new(move || Some(Box::new(passage.begin()?) as SweepPermit))
}

/// What a store in this role has to mark.
pub(super) fn plan(table: &Table, role: Role) -> MirrorPlan {
    let is_followed = |mode: Mode| mode.authority() == role && mode.follower().is_some();
    let own = table.collections.iter();
    MirrorPlan {
        default: is_followed(table.mode),
        named: own
            .map(|(name, mode)| (name.clone(), is_followed(*mode)))
            .collect(),
    }
}

//! What sync is told of the modes: what is followed, what may be acted on, and what the fence waits
//! for.

use std::sync::Arc;

use super::sync::Parts;
use crate::model::Role;
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

/// What this sidecar knows of the modes, as long as its lease holds.
pub(super) fn leave(parts: &Parts<'_>) -> Box<dyn Fn() -> Option<Leave> + Send + Sync> {
    let (router, passage) = (Arc::clone(parts.router), Arc::clone(parts.passage));
    Box::new(move || {
        // A lease is renewed when what was seen is in force.
        let (term, until) = passage.held()?;
        let epoch = router.snapshot().epoch();
        Some(Leave { epoch, term, until })
    })
}

pub(super) fn permit(parts: &Parts<'_>) -> Box<dyn Fn() -> Option<SweepPermit> + Send + Sync> {
    let passage = Arc::clone(parts.passage);
    Box::new(move || Some(Box::new(passage.begin()?) as SweepPermit))
}

//! The two ways in which one store can follow the other.

use std::sync::Arc;

use crate::mode::Plan;
use crate::model::Role;
use crate::sync::Mirror;

/// A mirror for each direction; none without a second store.
#[derive(Clone, Default)]
pub struct Mirrors {
    pub primary: Option<Arc<Mirror>>,
    pub secondary: Option<Arc<Mirror>>,
}

impl Mirrors {
    /// Whether there is a second store.
    pub(super) fn are_there(&self) -> bool {
        self.primary.is_some() || self.secondary.is_some()
    }

    /// The one whose authority is the store in this role.
    pub fn from(&self, authority: Role) -> Option<&Arc<Mirror>> {
        match authority {
            Role::Primary => self.primary.as_ref(),
            Role::Secondary => self.secondary.as_ref(),
        }
    }

    /// The one that a write goes through, if its plan has a follower.
    pub(super) fn of(&self, plan: &Plan) -> Option<&Arc<Mirror>> {
        plan.follower.as_ref()?;
        self.from(plan.authority_role)
    }
}

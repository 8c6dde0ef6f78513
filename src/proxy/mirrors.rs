//! The two ways in which one store can follow the other.

use std::sync::Arc;

use tracing::warn;

use crate::mode::Plan;
use crate::model::{Role, StoreKind};
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

    /// A write was sent under modes without a follower, and others may have got one meanwhile: what
    /// it has done is known to nobody. A PostgreSQL marks it by itself.
    pub(super) async fn doubt(&self, plan: &Plan) {
        if plan.authority.kind() == StoreKind::Pgvector {
            return;
        }
        for mirror in [&self.primary, &self.secondary].into_iter().flatten() {
            let reason = "a write was under way when the control store was lost";
            let wanted = mirror.direction().ledger().want_sweep(None, reason).await;
            if let Err(error) = wanted {
                warn!(error = %error.chain(), "it is not noted that everything has to be compared");
            }
        }
    }

    /// The one that a write goes through, if its plan has a follower.
    pub(super) fn of(&self, plan: &Plan) -> Option<&Arc<Mirror>> {
        plan.follower.as_ref()?;
        self.from(plan.authority_role)
    }
}

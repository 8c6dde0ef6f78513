//! The journals of this sidecar, noted where the modes are kept (`mode::journals`).

use std::sync::Arc;

use super::sync::{Following, PAUSE};
use crate::error::Result;
use crate::mode::journals;
use crate::model::Role;
use crate::sync::Direction;
use crate::task::{Group, Phase, Stop};

impl Following {
    /// Notes the journals for those who share the control store, and crosses them out at the end.
    pub(super) async fn keep_journals(self: &Arc<Self>, tasks: &Group, stop: &Stop) -> Result<()> {
        let Some(fleet) = self.fleet.get().filter(|_| self.control.lease().is_some()) else {
            return Ok(());
        };
        for (role, _, journal) in self.journals() {
            journals::note(fleet, role, journal).await?;
        }
        let (own, mut stop) = (Arc::clone(self), stop.clone());
        tasks.spawn("mirror-journals", async move {
            // The proxy has drained by then.
            stop.reached(Phase::Draining).await;
            for (role, direction, journal) in own.journals() {
                if direction.owes_nothing().await {
                    let crossing = journals::cross_out(&*own.control, role, journal);
                    drop(tokio::time::timeout(PAUSE, crossing).await);
                }
            }
        });
        Ok(())
    }

    fn journals(&self) -> impl Iterator<Item = (Role, &Arc<Direction>, u128)> {
        Role::BOTH.into_iter().filter_map(|role| {
            let direction = self.mirrors.from(role)?.direction();
            Some((role, direction, direction.ledger().journal_id()?))
        })
    }
}

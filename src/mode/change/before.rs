//! What is asked before the fence goes up, with traffic flowing: whether the follower is there and
//! nearly equal, and whether what clients read would be the same there.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::words::{lacks, shut};
use super::{Changer, JUDGED_WITHIN, NEAR_WITHIN, NotDone, Wish, told};
use crate::error::{Error, ErrorKind, Origin, Result, Retry};
use crate::mode::follower::Checked;
use crate::model::{Mode, Step};

/// Marks that may wait when the fence goes up: they are worked off inside it.
const NEARLY_NONE: u64 = 200;
/// How long a probe of the follower may take.
const PROBE_WITHIN: Duration = Duration::from_secs(1);

/// What the gate before `cutover` says.
#[derive(Clone, Debug)]
pub struct Check {
    /// The mode in force.
    pub from: Mode,
    pub verdict: Verdict,
    /// Whether a change waits for it (`cutover.gate`).
    pub is_in_force: bool,
    /// Empty where it is not asked.
    pub collections: Vec<Checked>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// All that is asked for holds.
    Open,
    /// Something is missing.
    Shut,
    /// This mode has to come before.
    First(Mode),
    /// `cutover` is in force already, or the secondary is read anyway: the gate is not asked.
    NotAsked,
}

impl Changer {
    /// Before the fence goes up, with traffic flowing.
    pub(super) async fn come_near(&self, from: Mode, wish: &Wish) -> Result<(), NotDone> {
        let name = wish.collection.as_deref();
        let until = Instant::now() + NEAR_WITHIN;
        if wish.is_forced {
            // Not asked to succeed: the fence tells.
            let until = until.min(Instant::now() + self.fence_timeout);
            drop(self.drain.drain(name, NEARLY_NONE, until).await);
            return Ok(());
        }
        let stores = self.fleet.router().stores();
        if let Some(follower) = from.follower().and_then(|role| stores.get(role)) {
            let probed = follower.probe(PROBE_WITHIN).await;
            probed.map_err(|error| {
                NotDone::because(format!("the follower does not answer: {}", error.chain()))
            })?;
        }
        let standing = self.readiness.standing(name).await.map_err(told)?;
        if let Some(reason) = lacks(&standing) {
            return Err(NotDone::because(reason));
        }
        let left = self
            .drain
            .drain(name, NEARLY_NONE, until)
            .await
            .map_err(told)?;
        if left > NEARLY_NONE {
            let text = format!(
                "the follower is not in sync: {left} ids wait and do not become fewer fast enough"
            );
            return Err(NotDone::because(text));
        }
        Ok(())
    }

    /// Whether the gate lets this change pass.
    pub(super) async fn pass_gate(&self, from: Mode, wish: &Wish) -> Result<(), NotDone> {
        let moves = wish.to == Mode::Cutover && from.authority() != wish.to.authority();
        if !moves || wish.is_forced || !self.gate.is_in_force() {
            return Ok(());
        }
        let checked = self
            .judged(wish.collection.as_deref())
            .await
            .map_err(told)?;
        match shut(&checked) {
            Some(reason) => Err(NotDone::because(reason)),
            None => Ok(()),
        }
    }

    /// What the gate says now of a step to `cutover`, of this collection or of all.
    ///
    /// Cancel safety: safe, it only reads.
    pub async fn check(&self, collection: Option<&str>) -> Result<Check> {
        let snapshot = self.fleet.router().snapshot();
        let from = snapshot.table().mode_of(collection);
        let mut check = Check {
            from,
            verdict: Verdict::NotAsked,
            is_in_force: self.gate.is_in_force(),
            collections: Vec::new(),
        };
        match Mode::step(from, Mode::Cutover) {
            Step::Same | Step::Plain => {}
            Step::Refused { first } => check.verdict = Verdict::First(first),
            Step::Fenced => {
                check.collections = self.judged(collection).await?;
                let is_open = check.collections.iter().all(|of| of.table.passes());
                check.verdict = match is_open {
                    true => Verdict::Open,
                    false => Verdict::Shut,
                };
            }
        }
        Ok(check)
    }

    async fn judged(&self, collection: Option<&str>) -> Result<Vec<Checked>> {
        let judging = timeout(JUDGED_WITHIN, self.gate.check(collection));
        judging.await.unwrap_or_else(|_elapsed| {
            let doing = "find out in time how far both stores agree";
            Err(Error::new(
                ErrorKind::Timeout,
                Origin::Proxy,
                Retry::Safe,
                doing,
            ))
        })
    }
}

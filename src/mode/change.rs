//! A change of mode, from the wish to its end.
//!
//! Checked first, while traffic flows: whether the step is one that can be made, whether the other
//! store is there and equal. Then, where the authority moves, the fence: every live sidecar holds
//! its writes, what is marked is worked off to the last mark, the modes are flipped in the control
//! store, and writes go on. The fence lasts for `fence_timeout` at most: past it the change is
//! abandoned, the old mode stays, and it is said how far it came.
//!
//! Where the authority is to move to the secondary, the gate is asked too, before the fence: whether
//! what clients read would be the same there.
//!
//! Force leaves the checks out, never the fence. One thing only it may skip inside: into
//! `secondary_only` the authority does not move, so with force the follower may be left as it is:
//! who lets go of a primary that is gone cannot make it equal first.
//!
//! A change runs in a task of its own: whoever asked may hang up.

mod before;
mod words;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{info, warn};

use super::control::{Ack, Begun, Change, ControlFuture, Flip, Phase, Proposal};
use super::fleet::{Fleet, LEASE};
use super::follower::{Drain, Gate, Readiness};
use crate::error::Result;
use crate::model::{Mode, Step};
use crate::stage::{Stage, Stages};
use crate::task::Group;
pub use before::{Check, Verdict};
use words::{lacks, note, refused, silent, so_already, under_way};

/// How long marks are worked off before the fence goes up.
const NEAR_WITHIN: Duration = Duration::from_secs(10);
/// How long the gate may take to judge.
const JUDGED_WITHIN: Duration = Duration::from_secs(10);
/// How long the control store may take.
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);
/// Who is waited for, and silent for longer, is not asked to take part in a change.
const SILENT: Duration = LEASE;
/// How long it is waited for that all go by the new modes.
const SETTLED_WITHIN: Duration = Duration::from_secs(15);

/// A wish.
#[derive(Clone, Debug)]
pub struct Wish {
    pub to: Mode,
    /// By its real name.
    pub collection: Option<String>,
    pub who: String,
    pub why: String,
    /// Leaves the checks out.
    pub is_forced: bool,
    /// Names of sidecars that are waited for though they are silent, and that have ended for good.
    pub gone: Vec<String>,
    /// The modes that it was wished for in. In others it is not done.
    pub only_at: Option<u64>,
}

#[derive(Clone, Debug)]
pub struct Done {
    pub from: Mode,
    pub to: Mode,
    pub epoch: u64,
    /// It was in force already.
    pub was_so: bool,
    /// How long writes were held.
    pub held: Option<Duration>,
    /// What to know about it.
    pub note: Option<&'static str>,
}

/// Why it was not done. The old mode is in force.
#[derive(Clone, Debug)]
pub struct NotDone {
    pub reason: String,
    /// The mode that has to come first.
    pub first: Option<Mode>,
    /// How long writes were held before it was given up.
    pub held: Option<Duration>,
}

impl NotDone {
    fn because(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            first: None,
            held: None,
        }
    }

    fn held(mut self, held: Duration) -> Self {
        self.held = Some(held);
        self
    }
}

/// Why the modes may not be changed here at all, if so.
pub type Hindrance = Box<dyn Fn() -> Option<String> + Send + Sync>;

/// What changes are made with.
pub struct ChangerParts {
    pub fleet: Arc<Fleet>,
    pub readiness: Arc<dyn Readiness>,
    pub drain: Arc<dyn Drain>,
    pub gate: Arc<dyn Gate>,
    pub fence_timeout: Duration,
    pub hindrance: Hindrance,
    pub tasks: Group,
    pub stages: Stages,
}

pub struct Changer {
    fleet: Arc<Fleet>,
    readiness: Arc<dyn Readiness>,
    drain: Arc<dyn Drain>,
    gate: Arc<dyn Gate>,
    fence_timeout: Duration,
    hindrance: Hindrance,
    tasks: Group,
    stages: Stages,
    is_busy: AtomicBool,
}

/// Lets the next change begin.
struct Turn<'c>(&'c AtomicBool);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

impl Changer {
    pub fn new(parts: ChangerParts) -> Arc<Self> {
        Arc::new(Self {
            fleet: parts.fleet,
            readiness: parts.readiness,
            drain: parts.drain,
            gate: parts.gate,
            fence_timeout: parts.fence_timeout,
            hindrance: parts.hindrance,
            tasks: parts.tasks,
            stages: parts.stages,
            is_busy: AtomicBool::new(false),
        })
    }

    pub fn fleet(&self) -> &Arc<Fleet> {
        &self.fleet
    }

    /// The longest that a change may take to be answered.
    pub fn patience(&self) -> Duration {
        NEAR_WITHIN + JUDGED_WITHIN + self.fence_timeout + SETTLED_WITHIN
    }

    /// Makes a change, or says why not.
    ///
    /// Cancel safety: the change goes on to its end.
    pub async fn set(self: &Arc<Self>, wish: Wish) -> Result<Done, NotDone> {
        let (tells, told) = oneshot::channel();
        let own = Arc::clone(self);
        self.tasks.spawn("mode-change", async move {
            let made = AssertUnwindSafe(own.make(&wish)).catch_unwind().await;
            let made = made.unwrap_or_else(|_panic| {
                Err(NotDone::because(
                    "a bug ended the change; the log has the place",
                ))
            });
            match &made {
                Ok(done) if done.was_so => {}
                Ok(done) => info!(
                    from = %done.from, to = %done.to, epoch = done.epoch,
                    collection = wish.collection.as_deref().unwrap_or("*"),
                    who = wish.who, why = wish.why, forced = wish.is_forced, held = ?done.held,
                    "another mode is in force"
                ),
                Err(not_done) => warn!(
                    to = %wish.to, collection = wish.collection.as_deref().unwrap_or("*"),
                    who = wish.who, reason = not_done.reason, "the mode was not changed"
                ),
            }
            // Whoever asked may be gone.
            drop(tells.send(made));
        });
        let gone = |_gone| Err(NotDone::because("the sidecar is ending"));
        told.await.unwrap_or_else(gone)
    }

    async fn make(&self, wish: &Wish) -> Result<Done, NotDone> {
        if self.is_busy.swap(true, Ordering::SeqCst) {
            return Err(NotDone::because("another change of mode is under way"));
        }
        let _turn = Turn(&self.is_busy);
        self.forget(&wish.gone).await?;
        let look = self.fleet.look().await.map_err(told)?;
        let name = wish.collection.as_deref();
        let from = look.table.mode_of(name);
        let is_fenced = match Mode::step(from, wish.to) {
            Step::Same => return Ok(so_already(from, &look)),
            Step::Plain => false,
            Step::Fenced => true,
            Step::Refused { first } => return Err(refused(from, wish.to, first)),
        };
        if let Some(epoch) = wish.only_at.filter(|epoch| *epoch != look.table.epoch) {
            let now = look.table.epoch;
            return Err(NotDone::because(format!(
                "it was wished for at epoch {epoch}, and {now} is in force"
            )));
        }
        if let Some(change) = &look.change {
            return Err(under_way(change));
        }
        if let Some(member) = look.silent(SILENT).next() {
            return Err(silent(member));
        }
        if let Some(reason) = (self.hindrance)() {
            return Err(NotDone::because(reason));
        }
        let stores = self.fleet.router().stores();
        if wish.to.needs_secondary() && stores.secondary.is_none() {
            let text = format!(
                "{} needs a secondary store, and none is configured",
                wish.to
            );
            return Err(NotDone::because(text));
        }
        if let Some(follower) = wish.to.follower()
            && from.follower() != Some(follower)
        {
            let telling = self.readiness.to_be_followed(name, follower);
            telling.await.map_err(told)?;
        }
        if is_fenced {
            self.come_near(from, wish).await?;
            self.pass_gate(from, wish).await?;
        }
        let proposal = Proposal {
            epoch: look.table.epoch,
            collection: wish.collection.clone(),
            from,
            to: wish.to,
            is_fenced,
            is_forced: wish.is_forced,
            who: wish.who.clone(),
            why: wish.why.clone(),
            lasts: self.fence_timeout,
        };
        self.carry_out(proposal).await
    }

    async fn forget(&self, gone: &[String]) -> Result<(), NotDone> {
        for name in gone {
            let control = self.fleet.control();
            if !answered(control.forget(name, SILENT)).await? {
                return Err(NotDone::because(format!(
                    "no sidecar {name:?} is waited for that has been silent for {SILENT:?}"
                )));
            }
            info!(
                name,
                "a sidecar was said to be gone, and is not waited for any more"
            );
        }
        Ok(())
    }

    async fn carry_out(&self, proposal: Proposal) -> Result<Done, NotDone> {
        let began = Instant::now();
        let control = self.fleet.control();
        let begun = answered(control.begin(proposal.clone())).await?;
        let change = match begun {
            Begun::Yes(change) => change,
            Begun::Busy(other) => return Err(under_way(&other)),
            Begun::Moved => {
                return Err(NotDone::because(
                    "the modes were changed by somebody else meanwhile; look again",
                ));
            }
        };
        self.fleet.hurry();
        let until = began + self.fence_timeout;
        // A panic in what others have given us must not leave the writes held until the time is
        // over.
        let brought = AssertUnwindSafe(self.bring_to_flip(&change, until));
        let brought = brought.catch_unwind().await.unwrap_or_else(|_panic| {
            Err(NotDone::because(
                "a bug ended the change inside the fence; the log has the place",
            ))
        });
        if let Err(not_done) = brought
            && self.is_abandoned(&change).await
        {
            let held = proposal.is_fenced.then(|| began.elapsed());
            return Err(match held {
                Some(held) => not_done.held(held),
                None => not_done,
            });
        }
        self.fleet.hurry();
        let epoch = self.settled(&change).await;
        Ok(Done {
            from: proposal.from,
            to: proposal.to,
            epoch: epoch.unwrap_or(proposal.epoch + 1),
            was_so: false,
            held: proposal.is_fenced.then(|| began.elapsed()),
            note: note(proposal.from, proposal.to),
        })
    }

    /// Everything between arming and the flip. `Ok`: it has flipped.
    async fn bring_to_flip(&self, change: &Change, until: Instant) -> Result<(), NotDone> {
        let proposal = &change.proposal;
        let name = proposal.collection.as_deref();
        loop {
            if proposal.is_fenced {
                self.all_armed(change, until).await?;
                self.stages.reached(Stage::InsideFence).await;
                let stays = proposal.from.authority() == proposal.to.authority();
                let may_leave = stays && proposal.is_forced;
                // What may be left takes half of the time at most: the flip comes after it.
                let until = if may_leave {
                    until.min(Instant::now() + self.fence_timeout / 2)
                } else {
                    until
                };
                let drained = timeout_at(until, self.drain.drain(name, 0, until)).await;
                let left = match drained {
                    Ok(Err(_unknown)) if may_leave => 0,
                    Ok(left) => left.map_err(told)?,
                    Err(_elapsed) if may_leave => 0,
                    Err(_elapsed) => {
                        let text = "the marks were not worked off within fence_timeout";
                        return Err(NotDone::because(text));
                    }
                };
                if left > 0 && !may_leave {
                    let text = format!(
                        "{left} ids were left that the follower does not have yet when \
                         fence_timeout ({:?}) was over",
                        self.fence_timeout
                    );
                    return Err(NotDone::because(text));
                }
                if !proposal.is_forced {
                    // Since it was asked before the fence, an id may have been refused for good.
                    let standing = timeout_at(until, self.readiness.standing(name)).await;
                    let standing = standing.map_err(|_elapsed| {
                        NotDone::because("it was not told within fence_timeout how the follower is")
                    })?;
                    if let Some(reason) = lacks(&standing.map_err(told)?) {
                        return Err(NotDone::because(reason));
                    }
                }
            }
            self.stages.reached(Stage::BeforeFlip).await;
            match answered(self.fleet.control().flip(change.id)).await? {
                Flip::Done => return Ok(()),
                // One has come meanwhile.
                Flip::Lacking(_) => {
                    let mut looks = self.fleet.looks();
                    self.fleet.hurry();
                    drop(timeout_at(until, looks.changed()).await);
                }
                Flip::Gone => {
                    let text = "the change was abandoned by another sidecar, or took too long";
                    return Err(NotDone::because(text));
                }
            }
        }
    }

    async fn all_armed(&self, change: &Change, until: Instant) -> Result<(), NotDone> {
        let ack = Ack {
            change: change.id,
            phase: Phase::Arming,
        };
        let mut looks = self.fleet.looks();
        let mut lacking = Vec::new();
        let armed = async {
            loop {
                let look = looks.borrow_and_update().clone();
                if let Some(look) = look
                    && look.change.as_ref().is_some_and(|of| of.id == change.id)
                {
                    lacking = look.lacking(ack);
                    if lacking.is_empty() {
                        return;
                    }
                }
                if looks.changed().await.is_err() {
                    return;
                }
            }
        };
        if timeout_at(until, armed).await.is_ok() {
            return Ok(());
        }
        let writes = self.fleet.passage().under_way();
        Err(NotDone::because(format!(
            "not every sidecar held its writes within fence_timeout ({:?}): {} did not{}",
            self.fence_timeout,
            if lacking.is_empty() {
                "this one".to_owned()
            } else {
                lacking.join(", ")
            },
            match writes {
                0 => String::new(),
                writes => format!("; {writes} writes are under way here"),
            }
        )))
    }

    /// Whether the old mode stays. Where that cannot be found out by asking, it is waited for:
    /// one of the two it will be.
    async fn is_abandoned(&self, change: &Change) -> bool {
        if let Ok(false) = answered(self.fleet.control().abandon(change.id)).await {
            return false;
        }
        let until = Instant::now() + SETTLED_WITHIN;
        while Instant::now() < until {
            // An answer from now on: what was seen before may be from before the change.
            if let Ok(look) = self.fleet.look().await {
                if look.table.epoch > change.proposal.epoch {
                    return false;
                }
                if look.change.as_ref().is_none_or(|of| of.id != change.id) {
                    return true;
                }
            }
        }
        true
    }

    /// Waits until all go by what came out; the epoch then.
    async fn settled(&self, change: &Change) -> Option<u64> {
        let mut looks = self.fleet.looks();
        let gone = async {
            loop {
                let look = looks.borrow_and_update().clone();
                if let Some(look) = look
                    && look.table.epoch > change.proposal.epoch
                    && look.change.as_ref().is_none_or(|of| of.id != change.id)
                {
                    return Some(look.table.epoch);
                }
                looks.changed().await.ok()?;
            }
        };
        timeout(SETTLED_WITHIN, gone).await.ok().flatten()
    }
}

async fn answered<T>(asked: ControlFuture<'_, T>) -> Result<T, NotDone> {
    match timeout(ANSWERED_WITHIN, asked).await {
        Ok(answer) => answer.map_err(told),
        Err(_elapsed) => Err(NotDone::because("the control store does not answer")),
    }
}

fn told(error: crate::error::Error) -> NotDone {
    NotDone::because(error.chain())
}

#[cfg(test)]
mod tests;

//! This sidecar among those that go by the same modes: it says that it lives, looks what is to be
//! done, and does its part of a change. One task does all of it, turn by turn.
//!
//! # Why two authorities never coexist
//!
//! Call a sidecar *free* while its gate (`Passage`) lets writes through and its lease holds by its
//! own clock; only then can a write be sent and be said to be done (`Permit::check`). Each goes by
//! the table that it saw last.
//!
//! 1. An authority moves in one place only: `flip` in the control store. It is refused unless every
//!    sidecar that is live *by the control store's clock* has said that it is armed for this very
//!    change.
//! 2. A sidecar says so only after it has closed its gate and the last write that it let through
//!    has ended. Its gate stays closed until it has seen what became of the change, and it puts
//!    the new table in force before it opens. So one that is armed is not free, and is free again
//!    only by the table that came out.
//! 3. A sidecar that is not live by the control store's clock is not free by its own: it reckons
//!    its lease from before it sent the beat (`Lease`), by a clock that does not go back.
//! 4. A sidecar that comes, or comes back, renews its lease only after the table that it was shown
//!    is in force here and its gate is closed if a change is on. Being shown and being live are one
//!    decision in the control store: either it was live before `flip`, and was waited for, or it
//!    was shown what came out.
//!
//! So when `flip` is done nobody is free by the old table (2, 3), and nobody becomes free by it
//! later (2, 4). What is left is a write that was sent before a process stood still, and reaches
//! the store after the flip: its sidecar does not say that it was done (`Permit::check` again), so
//! what is lost was never acknowledged.
//!
//! Where the control store is in the database of the store that follows, it is out of reach when
//! that store is, and a follower that is down must fail no client. There a sidecar's lease *lasts*:
//! it goes on by the table that it knows, and the control store counts it as live however long it is
//! silent. By 1 nothing moves without it. A sidecar that was killed there is waited for too, until
//! one that starts from its data folder leaves in its stead (`Home`), or until somebody who knows
//! that it has ended says so (`Wish::gone`). Beats are numbered, so that one that was sent with the
//! lease that lapses takes nothing back from one that was sent later.
//!
//! Where the authority does not move, the old table and the new one may be in force side by side
//! for a moment; whoever needs that nobody goes by the old one any more (a backfill) waits until no
//! change is under way. Such a change is not finished before every sidecar that lives has said that
//! it goes by the new one and that the last write which may go by the old one has ended.
//!
//! Who began a change may vanish. Armed sidecars abandon it once its time is over, which the
//! control store refuses if it has flipped; one that has flipped is finished by whoever sees that
//! all go by it.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::control::{Ack, Beat, Change, Control, ControlFuture, Look, Phase, Proposal, SidecarId};
use super::follower::ModeFuture;
use super::home::Home;
use super::passage::{Fence, Passage};
use super::router::{Router, Snapshot};
use super::table::Table;
use crate::error::{Error, ErrorKind, Origin, Result, Retry};
use crate::task::{self, Stop};

/// How long a sidecar counts as live after a beat, where several share a control store.
pub const LEASE: Duration = Duration::from_secs(10);
/// How often it says that it lives.
const BEAT: Duration = Duration::from_secs(2);
/// How often it looks while a change is on.
const HASTE: Duration = Duration::from_millis(50);
/// How long the control store may take. Less than a call waits for a look: one that hangs must not
/// be all that it waits for.
const ANSWERED_WITHIN: Duration = Duration::from_millis(700);
/// How long whoever asks for a look waits for it.
const LOOKED_WITHIN: Duration = Duration::from_secs(3);

/// Whether this sidecar's own part of a change is done, so that it may say that it is armed. Asked
/// over and over while writes are held.
pub type OnArm = Box<dyn Fn(Proposal) -> ModeFuture<'static, bool> + Send + Sync>;

/// Told of every table that comes into force here.
pub type OnSwap = Box<dyn Fn(&Snapshot) + Send + Sync>;

pub struct Fleet {
    control: Arc<dyn Control>,
    router: Arc<Router>,
    passage: Arc<Passage>,
    id: SidecarId,
    name: String,
    on_swap: OnSwap,
    on_arm: OnArm,
    hurry: Notify,
    /// Held as long as this sidecar lives.
    home: OnceLock<Home>,
    seen: watch::Sender<Option<Arc<Look>>>,
}

/// What the task carries from turn to turn.
#[derive(Default)]
struct Hand {
    beats: u64,
    ack: Option<Ack>,
    held: Option<(u64, Fence)>,
    was_lost: bool,
}

/// When to look again.
enum Next {
    Now,
    Soon,
    Later,
}

impl Fleet {
    pub fn new(
        control: Arc<dyn Control>,
        router: Arc<Router>,
        passage: Arc<Passage>,
        name: String,
        on_swap: OnSwap,
        on_arm: OnArm,
    ) -> Arc<Self> {
        Arc::new(Self {
            control,
            router,
            passage,
            id: rand::random(),
            name,
            on_swap,
            on_arm,
            hurry: Notify::new(),
            home: OnceLock::new(),
            seen: watch::Sender::new(None),
        })
    }

    pub fn control(&self) -> &Arc<dyn Control> {
        &self.control
    }

    pub fn router(&self) -> &Arc<Router> {
        &self.router
    }

    pub(super) fn passage(&self) -> &Arc<Passage> {
        &self.passage
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn id(&self) -> SidecarId {
        self.id
    }

    /// Keeps the data folder for as long as this sidecar may be waited for.
    pub fn live_in(&self, home: Home) {
        // There is one to a sidecar; a second is let go of.
        drop(self.home.set(home));
    }

    /// What was seen last, and what is seen from now on.
    pub fn looks(&self) -> watch::Receiver<Option<Arc<Look>>> {
        self.seen.subscribe()
    }

    /// Has the task look at once.
    pub fn hurry(&self) {
        self.hurry.notify_one();
    }

    /// One look that begins from now on.
    ///
    /// Cancel safety: safe.
    pub async fn look(&self) -> Result<Arc<Look>> {
        let mut looks = self.looks();
        // The one under way may have been asked before this.
        for _ in 0..2 {
            self.hurry();
            let changed = tokio::time::timeout(LOOKED_WITHIN, looks.changed()).await;
            changed
                .map_err(|_elapsed| lost())?
                .map_err(|_gone| lost())?;
        }
        looks.borrow().clone().ok_or_else(lost)
    }

    /// The first turn: the table that is in force elsewhere is in force here when it returns.
    /// Then keeps on until `stop`, which is that of the desk: the proxy has drained by then.
    pub async fn join(self: &Arc<Self>, tasks: &task::Group, stop: Stop) -> Result<()> {
        let mut hand = Hand::default();
        let next = self.turn(&mut hand).await?;
        let fleet = Arc::clone(self);
        tasks.spawn("fleet", async move { fleet.keep(hand, next, stop).await });
        Ok(())
    }

    async fn keep(&self, mut hand: Hand, mut next: Next, mut stop: Stop) {
        loop {
            tokio::select! {
                () = stop.reached(task::Phase::Draining) => break,
                () = self.pause(&next) => {}
            }
            // A panic in a turn must not leave others to wait for this sidecar, nor open its gate
            // by letting go of what is in hand.
            let turn = AssertUnwindSafe(self.turn(&mut hand)).catch_unwind().await;
            let turned = turn.unwrap_or_else(|_panic| {
                error!("a bug ended a turn of the fleet; it is made again");
                Err(lost())
            });
            next = match turned {
                Ok(next) => {
                    if std::mem::take(&mut hand.was_lost) {
                        info!("the control store answers again");
                    }
                    next
                }
                Err(error) => {
                    if !std::mem::replace(&mut hand.was_lost, true) {
                        warn!(
                            error = %error.chain(),
                            goes_on = self.goes_on_alone(),
                            "the control store does not answer; unless this sidecar goes on by                              what it knows, writes are refused when its lease is over"
                        );
                    }
                    if hand.held.is_some() {
                        Next::Soon
                    } else {
                        Next::Later
                    }
                }
            };
        }
        drop(tokio::time::timeout(HASTE, self.control.leave(self.id)).await);
    }

    async fn pause(&self, next: &Next) {
        let pause = match next {
            Next::Now => return,
            Next::Soon => HASTE,
            Next::Later => BEAT,
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = self.hurry.notified() => {}
            () = self.passage.lease().wanted() => {}
            woken = self.control.woken() => {
                if woken.is_err() {
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    async fn turn(&self, hand: &mut Hand) -> Result<Next> {
        let sent = Instant::now();
        let lasts = self.goes_on_alone();
        hand.beats += 1;
        let beat = Beat {
            id: self.id,
            name: self.name.clone(),
            ack: hand.ack,
            lasts,
            number: hand.beats,
        };
        let look = Arc::new(answered(self.control.beat(beat)).await?);
        let next = self.act(&look, hand).await?;
        // Only now: what was shown is in force here.
        let lease = self.control.lease().filter(|_| !lasts);
        self.passage.lease().renew(sent, lease);
        self.seen.send_replace(Some(look));
        Ok(next)
    }

    /// Whether the control store is out of reach when a store is that only follows.
    fn goes_on_alone(&self) -> bool {
        let keeper = self.control.keeper();
        keeper.is_some_and(|keeper| self.router.snapshot().has_authority_beside(keeper))
    }

    async fn act(&self, look: &Look, hand: &mut Hand) -> Result<Next> {
        self.adopt(&look.table)?;
        let Some(change) = &look.change else {
            hand.ack = None;
            // After the table: who waits at the gate takes the snapshot next.
            hand.held = None;
            return Ok(Next::Later);
        };
        let ack = Ack {
            change: change.id,
            phase: change.phase,
        };
        match change.phase {
            Phase::Arming => self.arm(change, ack, hand).await,
            Phase::Flipped => {
                if hand.ack != Some(ack) {
                    if self.passage.elders() > 0 {
                        return Ok(Next::Soon);
                    }
                    hand.ack = Some(ack);
                    return Ok(Next::Now);
                }
                if look.lacking(ack).is_empty() || change.is_over {
                    let is_finished = answered(self.control.finish(change.id)).await?;
                    return Ok(if is_finished { Next::Now } else { Next::Soon });
                }
                Ok(Next::Soon)
            }
        }
    }

    async fn arm(&self, change: &Change, ack: Ack, hand: &mut Hand) -> Result<Next> {
        if change.is_over {
            answered(self.control.abandon(change.id)).await?;
            return Ok(Next::Now);
        }
        if !change.proposal.is_fenced {
            return Ok(Next::Soon);
        }
        if !self.can_go_by(change) {
            error!(
                mode = %change.proposal.to,
                "a mode is asked for that needs a secondary store, and this sidecar has none"
            );
            return Ok(Next::Soon);
        }
        let is_held = hand.held.as_ref().is_some_and(|(id, _)| *id == change.id);
        if !is_held {
            // A guard of another change goes last, so that the gate stays closed throughout.
            let fence = self.passage.close();
            hand.held = Some((change.id, fence));
            hand.ack = None;
        }
        if hand.ack == Some(ack) {
            return Ok(Next::Soon);
        }
        if let Some((_, fence)) = &hand.held
            && tokio::time::timeout(HASTE, fence.drained()).await.is_ok()
            && (self.on_arm)(change.proposal.clone()).await
        {
            hand.ack = Some(ack);
            return Ok(Next::Now);
        }
        Ok(Next::Soon)
    }

    fn can_go_by(&self, change: &Change) -> bool {
        !change.proposal.to.needs_secondary() || self.router.stores().secondary.is_some()
    }

    fn adopt(&self, table: &Table) -> Result<()> {
        let current = self.router.snapshot();
        if current.table() == table {
            return Ok(());
        }
        let Some(snapshot) = self.router.swap(table.clone()) else {
            let text = "the modes in force need a secondary store, and this sidecar has none";
            error!("{text}");
            return Err(Error::new(
                ErrorKind::Settings,
                Origin::Proxy,
                Retry::Never,
                text,
            ));
        };
        self.passage.turn();
        (self.on_swap)(&snapshot);
        Ok(())
    }
}

async fn answered<T>(asked: ControlFuture<'_, T>) -> Result<T> {
    let answer = tokio::time::timeout(ANSWERED_WITHIN, asked).await;
    answer.map_err(|_elapsed| lost())?
}

fn lost() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        Origin::Proxy,
        Retry::Safe,
        "the control store does not answer",
    )
}

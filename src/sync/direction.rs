//! One direction: an authority, its follower, and the marks between them.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::deeds::Deeds;
use super::leave::{Leave, SweepPermit, gone};
use super::ledger::Ledger;
use super::peer::Peer;
use super::state::{Report, State};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Origin, Result, Retry};
use crate::metrics::SyncMetrics;
use crate::stage::Stages;
use crate::store::Store;

/// How often it is looked whether the follower has a write that waits for it.
const BOTH_LOOK: Duration = Duration::from_millis(5);

/// Whether something holds of a collection.
pub(super) type Asked = dyn Fn(&str) -> bool + Send + Sync;
/// What may be acted on at present.
type Known = dyn Fn() -> Option<Leave> + Send + Sync;
type Permits = dyn Fn() -> Option<SweepPermit> + Send + Sync;

pub struct DirectionSettings {
    pub authority: Arc<dyn Store>,
    pub follower: Arc<dyn Store>,
    pub ledger: Arc<dyn Ledger>,
    pub deeds: Arc<dyn Deeds>,
    /// How long either store may take over one call.
    pub patience: Duration,
    pub clock: Clock,
    pub metrics: SyncMetrics,
    /// Whether a collection is mirrored in this direction.
    pub follows: Box<Asked>,
    /// Whether every sidecar goes by the same modes, so that whatever is written is marked.
    pub is_settled: Box<dyn Fn() -> bool + Send + Sync>,
    /// What this process knows of the modes; `None` while it does not know.
    pub leave: Box<Known>,
    /// What the fence waits for, and `None` while it is closed.
    pub permit: Box<Permits>,
    /// How long a call whose reply was lost may still be carried out at the follower.
    pub doubt: Duration,
    pub stages: Stages,
}

/// Cheap to clone: all of them are the same direction.
#[derive(Clone)]
pub struct Direction {
    pub(super) authority: Peer,
    /// Of which nothing may be changed, but where there is leave (`held`).
    pub(super) follower: Peer,
    pub(super) ledger: Arc<dyn Ledger>,
    pub(super) deeds: Arc<dyn Deeds>,
    pub(super) clock: Clock,
    pub(super) metrics: SyncMetrics,
    pub(super) state: Arc<State>,
    pub(super) follows: Arc<Asked>,
    pub(super) is_settled: Arc<dyn Fn() -> bool + Send + Sync>,
    pub(super) leave: Arc<Known>,
    pub(super) permit: Arc<Permits>,
    pub(super) doubt: Duration,
    pub(super) stages: Stages,
}

impl Direction {
    pub fn new(settings: DirectionSettings) -> Self {
        let DirectionSettings {
            authority,
            follower,
            ledger,
            deeds,
            patience,
            clock,
            metrics,
            follows,
            is_settled,
            leave,
            permit,
            doubt,
            stages,
        } = settings;
        Self {
            authority: Peer::new(authority, patience),
            follower: Peer::new(follower, patience).under(Arc::new(|| Err(gone()))),
            ledger,
            deeds,
            clock,
            metrics,
            state: Arc::default(),
            follows: follows.into(),
            is_settled: is_settled.into(),
            leave: leave.into(),
            permit: permit.into(),
            doubt,
            stages,
        }
    }

    pub fn ledger(&self) -> &Arc<dyn Ledger> {
        &self.ledger
    }

    /// How many marks wait, of one collection or of all.
    pub async fn waiting(&self, collection: Option<&str>) -> Result<u64> {
        let backlog = self.ledger.backlog().await?;
        let ours = backlog
            .iter()
            .filter(|(name, _)| collection.is_none_or(|wanted| wanted == &**name));
        Ok(ours.map(|(_, backlog)| backlog.marks).sum())
    }

    /// Whether it is known that nothing waits and nothing has to be compared.
    pub async fn owes_nothing(&self) -> bool {
        let (waiting, dead) = (self.waiting(None).await, self.ledger.dead_count().await);
        let dues = self.ledger.sweeps().await;
        matches!(waiting, Ok(0))
            && dead.is_ok_and(|of| of.is_empty())
            && dues.is_ok_and(|of| of.is_empty())
    }

    /// Waits until the follower has all that was marked before `since`, of one collection or of all.
    ///
    /// Cancel safety: safe, it only waits.
    pub async fn has_all(
        &self,
        collection: Option<&str>,
        since: Instant,
        until: Instant,
    ) -> Result<()> {
        loop {
            self.ledger.poke();
            if self.has_by_now(collection, since).await? {
                return Ok(());
            }
            if Instant::now() >= until {
                let doing = "the authority has this write, and the follower does not have it yet \
                             (mirror.ack = \"both\")";
                let (kind, retry) = (ErrorKind::Timeout, Retry::OutcomeUnknown);
                return Err(Error::new(kind, Origin::Proxy, retry, doing));
            }
            tokio::time::sleep(BOTH_LOOK).await;
        }
    }

    /// Whether the follower has it.
    pub(super) async fn has_by_now(
        &self,
        collection: Option<&str>,
        since: Instant,
    ) -> Result<bool> {
        // Before the ages are told: after a slow answer it would be more than has passed for them,
        // and what is older would look younger.
        let passed = since.elapsed();
        let backlog = self.ledger.backlog().await?;
        let mut ours = backlog
            .iter()
            .filter(|(name, _)| collection.is_none_or(|wanted| wanted == &**name));
        // What is younger came later. Of what sleeps in doubt no age is told, and the follower
        // has what sleeps because of a lost reply.
        Ok(ours.all(|(name, of)| {
            of.age.is_none_or(|age| age < passed) || self.state.sleeps(name, of.marks)
        }))
    }

    /// All that is known.
    pub async fn report(&self) -> Result<Report> {
        let backlog = self.ledger.backlog().await?;
        self.state.unblock_all_but(&backlog);
        Ok(Report {
            backlog,
            dead: self.ledger.dead_count().await?,
            sweeps: self.sweeps().await?,
            sweeping: self.state.sweeping(),
            blocked: self.state.blocked(),
            failing: self.state.failing(),
        })
    }

    pub(super) fn unreadable(&self, why: &str) -> Error {
        let doing = format!("read points at the {} store: {why}", self.authority.kind());
        let (kind, origin) = (ErrorKind::Unavailable, Origin::from(self.authority.kind()));
        Error::new(kind, origin, Retry::Safe, doing)
    }
}
